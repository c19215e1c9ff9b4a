//! The libvirt hook `qemu.d/50-fence-vmchannel`.
//!
//! In:  libvirt's four arguments, the domain's XML on stdin.
//! Out: exit code 0 and no word on stdout, whatever happens, within 20 ms; 100 ms where the
//! machine holds it up.
//!
//! Invariant: a VM never fails to start, and is never killed, because of this program.

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let runtime = fence_vmchannel_libvirt_hooks::runtime_dir();
    fence_vmchannel_libvirt_hooks::within_deadline(started, move || {
        fence_vmchannel_libvirt_hooks::serve(&arguments, std::io::stdin(), &runtime, started);
    });
    ExitCode::SUCCESS // a work still running ends with the process
}
