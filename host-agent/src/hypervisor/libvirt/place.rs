//! What a URI says about where domains live.
//!
//! In:  a libvirt URI. Out: a [`Place`].
//!
//! Invariant: only this host. The pids of another host mean nothing here, so a remote URI is refused.

use std::path::PathBuf;

/// Where the domains of a URI live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The driver lives in this process, and its state in the connection.
    pub(super) is_in_process: bool,
    /// Where libvirt writes the pid files; `None` where domains have no processes.
    pub(super) run_dir: Option<PathBuf>,
}

/// Why the agent cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The URI is no URI.
    #[error("{0:?} is not a libvirt URI: use qemu:///system or qemu:///session")]
    NotAUri(String),
    /// The URI names another host.
    #[error("{0:?} is on another host: run an agent there, with qemu:///system")]
    Remote(String),
    /// The agent does not know how this driver's domains run.
    #[error("{0:?} is not supported: use qemu:///system, qemu:///session, or the test driver")]
    Unsupported(String),
    /// The place of the pid files is unknown.
    #[error("the pid files of {0:?} are at an unknown place: set run-dir")]
    RunDir(String),
    /// libvirt's event loop did not start.
    #[error("libvirt's event loop does not start: {0}")]
    EventLoop(String),
}

impl Place {
    /// `run_dir` overrules what follows from the URI.
    pub(super) fn of(uri: &str, run_dir: Option<PathBuf>) -> Result<Self, StartError> {
        let (driver, rest) = uri.split_once("://").ok_or_else(|| StartError::NotAUri(uri.to_owned()))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !host.is_empty() || !matches!(driver.split_once('+'), None | Some((_, "unix"))) {
            return Err(StartError::Remote(uri.to_owned()));
        }
        match driver.split('+').next() {
            Some("test") => Ok(Self { is_in_process: driver == "test", run_dir: None }),
            Some("qemu") => {
                let known = run_dir.or_else(|| qemu_run_dir(path.split('?').next().unwrap_or_default()));
                let run_dir = known.ok_or_else(|| StartError::RunDir(uri.to_owned()))?;
                Ok(Self { is_in_process: false, run_dir: Some(run_dir) })
            }
            _ => Err(StartError::Unsupported(uri.to_owned())),
        }
    }
}

fn qemu_run_dir(path: &str) -> Option<PathBuf> {
    match path {
        "system" => Some(PathBuf::from("/run/libvirt/qemu")),
        "session" => {
            std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("libvirt/qemu/run"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_dir(uri: &str) -> Option<PathBuf> {
        Place::of(uri, None).unwrap().run_dir
    }

    #[test]
    fn the_systems_pid_files_are_found() {
        assert_eq!(run_dir("qemu:///system"), Some(PathBuf::from("/run/libvirt/qemu")));
        assert_eq!(
            run_dir("qemu+unix:///system?socket=/x/libvirt-sock"),
            Some(PathBuf::from("/run/libvirt/qemu"))
        );
        let own = Place::of("qemu:///system", Some(PathBuf::from("/own"))).unwrap();
        assert_eq!(own.run_dir, Some(PathBuf::from("/own")));
    }

    #[test]
    fn test_drivers_have_no_processes_and_one_kind_lives_in_this_process() {
        let in_process = |uri: &str| {
            let place = Place::of(uri, None).unwrap();
            assert_eq!(place.run_dir, None);
            place.is_in_process
        };

        assert!(in_process("test:///default") && in_process("test:///etc/x.xml"));
        assert!(!in_process("test+unix:///x.xml?socket=/s"));
    }

    #[test]
    fn other_hosts_and_unknown_drivers_are_refused() {
        for uri in
            ["qemu+ssh://host/system", "qemu://host/system", "qemu+tls:///system", "qemu+ssh:///system"]
        {
            assert!(matches!(Place::of(uri, None), Err(StartError::Remote(_))), "{uri}");
        }
        assert!(matches!(Place::of("xen:///", None), Err(StartError::Unsupported(_))));
        assert!(matches!(Place::of("qemu", None), Err(StartError::NotAUri(_))));
        assert!(matches!(Place::of("qemu:///embed?root=/x", None), Err(StartError::RunDir(_))));
    }
}
