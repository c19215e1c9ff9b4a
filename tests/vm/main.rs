//! Everything that needs a real libvirtd and real QEMU guests.

mod away;
mod channels;
mod chaos;
mod cycles;
mod evidence;
mod fencing;
mod input;
mod lab;
mod operator;
mod races;
mod session;
mod starting;
mod stuck;
