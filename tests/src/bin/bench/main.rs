//! Measures the agent beside fence_virtd and direct libvirt calls, in turn, in one run; `make bench` starts it.
//!
//! In:  a machine where the lab runs; release builds beside this program; `FENCE_BENCH`, see [`sections`].
//! Out: tables on stdout; after a full run also `docs/performance.md` and its plots. Never a test: a machine that is busy
//!      has other figures.

mod askers;
mod attacks;
mod crowd;
mod error;
mod goals;
mod incumbent;
mod inside;
mod legacy;
mod looks;
mod machine;
mod memory;
mod misbehaviour;
mod outage;
mod plots;
mod power;
mod report;
mod samples;
mod scale;
mod sections;
mod stage;
mod words;

use std::env;

use error::Result;

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [memory::CONNECTED, uri] => memory::hold_a_connection(uri),
        _ => sections::run(env::var("FENCE_BENCH").ok().as_deref()),
    }
}
