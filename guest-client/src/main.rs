//! `fence_vmchannel`: thin entry point, see the library.

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    fence_vmchannel_guest_client::run(std::env::args_os().collect(), started).print()
}
