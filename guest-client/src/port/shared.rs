//! The broker, where this guest has one, in the place of the port.
//!
//! In:  `--device`, the broker's socket. Out: a [`Stream`] to it, or none.
//!
//! Invariant: only a broker of root, or of this very user, is believed: whoever listens there gives the verdicts.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use tokio::net::UnixStream;

use super::stream::Stream;
use super::{Places, PortError, find};

/// The ways to the host.
#[derive(Debug)]
pub(crate) struct Ways {
    /// The broker's socket, tried first; none where a device was named.
    pub(crate) broker: Option<PathBuf>,
    /// The port.
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
                Ok(Self { broker: None, device: broker })
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// A connection to the broker, if one listens that can be believed.
pub(super) async fn connect(broker: &Path) -> Option<Stream> {
    let stream = UnixStream::connect(broker).await.ok()?;
    let listener = stream.peer_cred().ok()?.uid();
    (listener == 0 || listener == geteuid().as_raw()).then_some(Stream::Socket(stream))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::port::Port;
    use crate::trace::Trace;

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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut port = Port::new(Ways::find(named, places).unwrap(), Trace::silent());
            port.connect(Instant::now() + Duration::from_secs(5)).await.unwrap();
            port.path().to_owned()
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
}
