//! The libvirt hook.
