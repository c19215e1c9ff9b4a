//! `fence-vmchanneld`: the host's agent and the operator's commands. Everything is in the library.

use std::process::ExitCode;

use fence_vmchannel_host_agent::operator;

fn main() -> ExitCode {
    operator::logging::start();
    let code = operator::main(std::env::args_os(), &mut std::io::stdout().lock(), &mut std::io::stderr());
    // Nobody reads our words any more: that is the one error that cannot be told.
    ExitCode::from(code.unwrap_or(1))
}
