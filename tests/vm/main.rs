//! End-to-end tests on real libvirt and real QEMU.

mod lab;
