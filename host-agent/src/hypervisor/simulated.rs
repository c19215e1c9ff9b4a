//! A hypervisor without machines.
