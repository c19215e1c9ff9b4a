//! The words that guest and host speak: frames, messages, verdicts. No sockets, no clock.
