//! The command lines of fence_virt and fence_xvm.
//!
//! In:  the arguments. Out: [`Written`], or a text to print (usage error, help, version).
//!
//! Invariant: every letter that those agents take is taken, with the same meaning.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser};

use super::Personality;
use super::transport::WrittenTransport;
use super::written::Written;

/// What both agents take.
#[derive(Debug, Args)]
struct Both {
    /// Tell each step on standard error
    #[arg(short = 'd', action = clap::ArgAction::Count)]
    debug: u8,
    /// What to do: null, off, on, reboot, status, list, list-status, monitor, validate-all, metadata [default: reboot]
    #[arg(short = 'o', value_name = "ACTION")]
    action: Option<String>,
    /// The target: the name or the UUID of a virtual machine
    // Each of them is kept: two different ones are an error, as with those agents.
    #[arg(short = 'n', short_alias = 'H', value_name = "TARGET", action = clap::ArgAction::Append)]
    plug: Vec<String>,
    /// The port of TCP, multicast, vsock or a forwarded address [default: 1229]
    #[arg(short = 'p', value_name = "PORT")]
    ipport: Option<String>,
    /// The hash of challenge and response: none, sha1, sha256, sha512 [default: sha256]
    #[arg(short = 'C', value_name = "HASH")]
    auth: Option<String>,
    /// The hash over the request: none, sha1, sha256, sha512 [default: sha256]
    #[arg(short = 'c', value_name = "HASH")]
    hash: Option<String>,
    /// The shared key [default: /etc/cluster/fence_xvm.key]
    #[arg(short = 'k', value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long to wait for the answer [default: 30]
    #[arg(short = 't', value_name = "SECONDS")]
    timeout: Option<String>,
    /// How long to wait before an off or a reboot [default: 0]
    #[arg(short = 'w', value_name = "SECONDS")]
    delay: Option<String>,
    /// Print this
    #[arg(short = 'h', short_alias = '?', action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Fences a virtual machine as fence_virt does.
///
/// Without options about the way, this guest's own channel is used where it has one, else the serial port.
#[derive(Debug, Parser)]
#[command(name = "fence_virt", version, disable_help_flag = true, args_override_self = true)]
struct Virt {
    #[command(flatten)]
    both: Both,
    /// The serial port [default: /dev/ttyS1]
    #[arg(short = 'D', value_name = "DEVICE")]
    serial_device: Option<PathBuf>,
    /// How the serial port is set [default: 115200,8N1]
    #[arg(short = 'P', value_name = "PARAMS")]
    serial_params: Option<String>,
    /// The address that the host forwards into a channel, usually 10.0.2.179
    #[arg(short = 'A', value_name = "ADDRESS")]
    channel_address: Option<String>,
    /// The host's address, for TCP
    #[arg(short = 'T', value_name = "ADDRESS")]
    ipaddr: Option<String>,
    /// The host's context id, for vsock [without a number: 2]
    #[arg(short = 'S', value_name = "CID", num_args = 0..=1, default_missing_value = "2")]
    vsock: Option<String>,
}

/// Fences a virtual machine as fence_xvm does.
///
/// Without options about the group, this guest's own channel is used where it has one, else multicast.
#[derive(Debug, Parser)]
#[command(name = "fence_xvm", version, disable_help_flag = true, args_override_self = true)]
struct Xvm {
    #[command(flatten)]
    both: Both,
    /// The family of the multicast group: auto, ipv4, ipv6 [default: auto]
    #[arg(short = 'i', value_name = "FAMILY")]
    ip_family: Option<String>,
    /// The multicast group [default: 225.0.0.12 or ff05::3:1]
    #[arg(short = 'a', value_name = "ADDRESS")]
    multicast_address: Option<String>,
    /// The time between two repetitions, in tenths of a second [default: 20]
    #[arg(short = 'r', value_name = "TENTHS")]
    retrans: Option<String>,
    /// The target is a UUID
    #[arg(short = 'u')]
    use_uuid: bool,
}

pub(super) fn read(personality: Personality, arguments: Vec<OsString>) -> Result<Written, clap::Error> {
    if personality == Personality::Xvm {
        let xvm = Xvm::try_parse_from(arguments)?;
        let mut written = xvm.both.written();
        written.uuid = xvm.use_uuid.then(|| "1".to_owned());
        written.transport.ip_family = xvm.ip_family;
        written.transport.multicast_address = xvm.multicast_address;
        written.transport.retrans = xvm.retrans;
        return Ok(written);
    }
    let virt = Virt::try_parse_from(arguments)?;
    let mut written = virt.both.written();
    written.transport.device = virt.serial_device;
    written.transport.serial_params = virt.serial_params;
    written.transport.channel_address = virt.channel_address;
    written.transport.ipaddr = virt.ipaddr;
    written.transport.vsock = virt.vsock;
    Ok(written)
}

impl Both {
    fn written(self) -> Written {
        Written {
            action: self.action,
            plugs: self.plug,
            timeout: self.timeout,
            delay: self.delay,
            verbose: (self.debug > 0).then(|| "1".to_owned()),
            transport: WrittenTransport {
                ipport: self.ipport,
                auth: self.auth,
                hash: self.hash,
                key_file: self.key_file,
                ..WrittenTransport::default()
            },
            ..Written::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virt(words: &[&str]) -> Written {
        let arguments = ["fence_virt"].iter().chain(words).map(OsString::from).collect();
        read(Personality::Virt, arguments).unwrap()
    }

    #[test]
    fn a_vsock_without_a_number_is_the_host_s() {
        assert_eq!(virt(&["-S", "-o", "list"]).transport.vsock.as_deref(), Some("2"));
        assert_eq!(virt(&["-S", "7"]).transport.vsock.as_deref(), Some("7"));
        assert_eq!(virt(&["-o", "list"]).transport.vsock, None);
    }
}
