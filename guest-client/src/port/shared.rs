//! The broker, where this guest has one, in the place of the port.
//!
//! In:  `--device`, the broker's socket. Out: a [`Stream`] to it, or none.
//!
//! Invariant: only a broker of root, or of this very user, is believed: whoever listens there gives the verdicts.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::device::is_busy;
use super::opening::{Attempt, open_when_free};
use super::stream::Stream;
use super::{Places, PortError, find};
use crate::trace::Trace;

/// The ways to the host.
#[derive(Debug)]
pub(crate) struct Ways {
    /// The broker's socket, tried first; none where a device was named.
    pub(crate) broker: Option<PathBuf>,
    /// The port; the broker's socket again where there is no port.
    pub(crate) device: PathBuf,
}

impl Ways {
    /// The device that was named; or the broker, and the port while there is no broker.
    ///
    /// # Errors
    /// As [`find`], where there is no broker either.
    pub(crate) fn find(named: Option<&Path>, places: &Places) -> Result<Self, PortError> {
        let broker = named.is_none().then(|| places.broker.clone());
        match (find(named, places), broker) {
            (Ok(device), broker) => Ok(Self { broker, device }),
            // Who may not see the port may still ask the broker.
            (Err(PortError::NotFound), Some(broker)) if broker.exists() => {
                Ok(Self { broker: Some(broker.clone()), device: broker })
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Who listens in the broker's place.
pub(super) enum Listener {
    /// A broker that can be believed.
    Ours(Stream),
    /// This user, who is neither root nor ourselves.
    Foreign(u32),
}

/// Whoever listens in the broker's place.
pub(super) async fn connect(broker: &Path) -> io::Result<Listener> {
    let stream = UnixStream::connect(broker).await?;
    let listener = stream.peer_cred()?.uid();
    let is_ours = listener == 0 || listener == geteuid().as_raw();
    Ok(if is_ours { Listener::Ours(Stream::Socket(stream)) } else { Listener::Foreign(listener) })
}

/// The broker where there is nothing else; it is waited for, and one that has served comes back.
pub(super) async fn connect_to_nothing_else(
    broker: &Path,
    has_served: bool,
    deadline: Instant,
    trace: Trace,
) -> Result<Stream, PortError> {
    let attempt = async || match connect(broker).await {
        Ok(listener) => Ok(Attempt::Open(listener)),
        Err(error) if is_busy(&error) => Ok(Attempt::Busy),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(Attempt::Away),
        Err(error) if error.kind() == ErrorKind::NotFound && has_served => Ok(Attempt::Away),
        Err(error) => Err(error),
    };
    let broker = || broker.to_owned();
    match open_when_free(&broker(), deadline, trace, attempt).await {
        Ok(Listener::Ours(stream)) => Ok(stream),
        Ok(Listener::Foreign(owner)) => Err(PortError::BrokerOfAnother { broker: broker(), owner }),
        Err(PortError::HostAway { .. }) => Err(PortError::OnlyBrokerGone { broker: broker() }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::port::Port;

    /// A guest with a port, by a socket in its place, and perhaps with a broker.
    fn guest(root: &Path) -> (Places, UnixListener) {
        let broker = root.join("broker.sock");
        let places = Places { dev: root.join("dev"), sys_ports: root.join("sys"), broker };
        let port = places.dev.join("virtio-ports");
        fs::create_dir_all(&port).unwrap();
        let host = UnixListener::bind(port.join(fence_vmchannel_protocol::PORT_NAME)).unwrap();
        (places, host)
    }

    fn opened(places: &Places, named: Option<&Path>) -> PathBuf {
        tried(places, named).unwrap()
    }

    /// The path of what was opened.
    fn tried(places: &Places, named: Option<&Path>) -> Result<PathBuf, PortError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut port = Port::new(Ways::find(named, places).unwrap(), Trace::silent());
            port.connect(Instant::now() + Duration::from_secs(1)).await?;
            Ok(port.path().to_owned())
        })
    }

    #[test]
    fn the_broker_is_asked_where_there_is_one_and_else_the_port() {
        let root = tempfile::tempdir().unwrap();
        let (places, _host) = guest(root.path());
        let port = Ways::find(None, &places).unwrap().device;

        assert_eq!(opened(&places, None), port);
        let broker = UnixListener::bind(&places.broker).unwrap();
        assert_eq!(opened(&places, None), places.broker);
        drop(broker); // killed: its socket stays
        assert_eq!(opened(&places, None), port);
    }

    #[test]
    fn a_device_that_is_named_is_used_although_there_is_a_broker() {
        let root = tempfile::tempdir().unwrap();
        let (places, _host) = guest(root.path());
        let _broker = UnixListener::bind(&places.broker).unwrap();
        let port = Ways::find(None, &places).unwrap().device;

        assert_eq!(opened(&places, Some(&port)), port);
    }

    #[test]
    fn without_a_port_the_broker_is_enough() {
        let root = tempfile::tempdir().unwrap();
        let (mut places, _host) = guest(root.path());
        places.dev = root.path().join("none");
        let _broker = UnixListener::bind(&places.broker).unwrap();

        assert_eq!(opened(&places, None), places.broker);
    }

    /// Somebody who is neither root nor ourselves listens in the broker's place, until the child's end.
    fn foreign_listener(root: &Path, broker: &Path) -> Child {
        fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
        let script = "$| = 1; my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 8) or die $!; \
                      print qq(ready\\n); <STDIN>";
        let mut perl = Command::new("perl");
        perl.args(["-MIO::Socket::UNIX", "-e", script]).arg(broker).uid(65534).gid(65534);
        let mut child = perl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        child
    }

    #[test]
    fn a_broker_of_another_user_is_never_believed_with_a_port_or_without_one() {
        if !geteuid().is_root() {
            return; // only root can be another user
        }
        let root = tempfile::tempdir().unwrap();
        let (mut places, _host) = guest(root.path());
        let mut foreign = foreign_listener(root.path(), &places.broker);
        let port = Ways::find(None, &places).unwrap().device;

        let with_a_port = opened(&places, None);
        places.dev = root.path().join("none");
        let without = tried(&places, None);
        foreign.kill().unwrap();
        foreign.wait().unwrap();

        assert_eq!(with_a_port, port);
        let Err(PortError::BrokerOfAnother { owner, .. }) = without else { panic!("{without:?}") };
        assert_eq!(owner, 65534);
    }

    #[test]
    fn without_a_port_a_broker_that_is_gone_is_told_in_time() {
        let root = tempfile::tempdir().unwrap();
        let (mut places, _host) = guest(root.path());
        places.dev = root.path().join("none");
        drop(UnixListener::bind(&places.broker).unwrap()); // killed: its socket stays

        let Err(error) = tried(&places, None) else { panic!("nobody is there") };

        assert!(error.to_string().contains("the broker at"), "{error}");
    }
}
