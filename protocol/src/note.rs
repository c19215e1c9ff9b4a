//! Hook notes: what the libvirt hook tells the host agent.
