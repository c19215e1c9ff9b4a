//! `make man`: writes the man pages and completions of the source tree anew.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match fence_vmchannel_handbook::write(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "make man: {error}");
            ExitCode::FAILURE
        }
    }
}
