//! `make demo`: real virtual machines without a network; one fences another, told as a story.
//!
//! In:  root, the packages of `packaging/install-build-deps`, our programs as cargo built them; `KEEP=1` in the
//!      environment leaves everything running.
//! Out: what was done and what came of it, on stdout; exit code 0 only if every step gave what it should.
//!
//! Invariant: nothing is made up: each line that is shown was printed by a program that ran, and nothing survives
//! the demo unless it was asked to.

mod chapters;
mod ending;
mod hosting;
mod interruption;
mod story;

use std::process::ExitCode;

use interruption::interrupted;

fn main() -> ExitCode {
    let (told, left) = ending::tell_from_start_to_end();
    match told {
        Ok(()) => {
            story::farewell(&left);
            ExitCode::SUCCESS
        }
        Err(_) if interrupted() => {
            story::complain(&format!("interrupted. {left}"));
            ExitCode::from(130)
        }
        Err(stumble) => {
            story::complain(&format!("failed: {stumble}\n{left}"));
            ExitCode::FAILURE
        }
    }
}
