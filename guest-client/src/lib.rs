//! The guest client.
