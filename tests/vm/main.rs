//! Everything that needs a real libvirtd and real QEMU guests.

mod away;
mod broker;
mod channels;
mod chaos;
mod compat;
mod cycles;
mod defects;
mod evidence;
mod fencing;
mod input;
mod journal;
mod killed;
mod lab;
mod legacy;
mod migration;
mod operator;
mod pacemaker;
mod races;
mod session;
mod signed;
mod soak;
mod starting;
mod stonith;
mod stuck;
#[cfg(test)]
mod vm_client;
