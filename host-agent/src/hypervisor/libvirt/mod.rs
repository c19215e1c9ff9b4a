//! The real hypervisor: libvirt.
