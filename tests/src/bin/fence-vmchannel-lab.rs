//! The lab's supervisor: holds a private libvirtd and everything that runs below it, and ends it all.
//! The work is in [`fence_vmchannel_tests::lab::supervisor`].

use std::path::PathBuf;
use std::process::ExitCode;

use fence_vmchannel_tests::lab::supervisor;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    match supervisor::run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // it was told to the lab on stdout
    }
}
