//! `fence-vmchanneld`: the host's agent and the operator's commands. Everything is in the library.

use std::io::Write;

use fence_vmchannel_host_agent::hypervisor::libvirt;
use fence_vmchannel_host_agent::operator;

fn main() {
    operator::logging::start();
    let mut out = std::io::stdout().lock();
    let code = operator::main(std::env::args_os(), &mut out, &mut operator::logging::Log);
    // Nobody reads our words any more: that is the one error that cannot be told.
    let told = code.and_then(|code| out.flush().map(|()| code));
    operator::logging::finish();
    libvirt::end_process(told.unwrap_or(1))
}
