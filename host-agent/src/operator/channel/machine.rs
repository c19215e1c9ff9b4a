//! libvirt, as far as channels need it.
//!
//! In:  a URI, names or UUIDs. Out: [`Machine`]s with their definitions, and single changes to them.
//!
//! Invariant: only this file of the operator's commands talks to libvirt; its words are kept in the error.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use fence_vmchannel_protocol::{METADATA_NAMESPACE, Target};
use quick_xml::escape::escape;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use super::definition::Definition;
use super::nearest::nearest;
use super::plan::{Known, Scope};

/// Why libvirt could not be asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// No connection.
    #[error(
        "cannot reach libvirt at {uri} ({text}): is libvirtd running, is this root, and is libvirt-uri in the settings right?"
    )]
    Unreachable {
        /// The URI.
        uri: String,
        /// libvirt's words.
        text: String,
    },
    /// Not QEMU.
    #[error(
        "{uri} is a {driver} host: fencing channels exist for QEMU and KVM only; set libvirt-uri to qemu:///system"
    )]
    NotQemu {
        /// The URI.
        uri: String,
        /// libvirt's name of the driver.
        driver: String,
    },
    /// Not a name.
    #[error("{domain:?} is no domain's name or UUID: {source}")]
    BadName {
        /// What was typed.
        domain: String,
        /// What is wrong with it.
        source: fence_vmchannel_protocol::WordError,
    },
    /// No such domain.
    #[error("there is no domain {domain:?}: {hint}")]
    Unknown {
        /// What was typed.
        domain: String,
        /// Names near it.
        hint: String,
    },
    /// Its XML is none.
    #[error("the XML of {domain} cannot be read ({text}): look at `virsh dumpxml {domain}`")]
    Unreadable {
        /// The domain.
        domain: String,
        /// What is wrong.
        text: String,
    },
    /// It hangs.
    #[error(
        "libvirt did not answer within {0:?}: see whether libvirtd hangs, then `fence-vmchanneld channel show`, \
             as what was asked may still happen"
    )]
    Hangs(Duration),
    /// We do not know.
    #[error("what asks libvirt panicked, with the words above: this is a bug of ours, please report it")]
    Panicked,
    /// Anything else.
    #[error("libvirt says: {0}")]
    Failed(String),
}

impl From<virt::error::Error> for LibvirtError {
    fn from(error: virt::error::Error) -> Self {
        Self::Failed(error.message().to_owned())
    }
}

/// Does this with libvirt, which may hang in any call, on a thread of its own that is abandoned after this time.
pub(super) fn within<T: Send + 'static, E: From<LibvirtError> + Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let worker = std::thread::spawn(move || sender.send(work()));
    let done = match receiver.recv_timeout(deadline) {
        Ok(done) => done,
        Err(RecvTimeoutError::Timeout) => return Err(LibvirtError::Hangs(deadline).into()),
        Err(RecvTimeoutError::Disconnected) => Err(LibvirtError::Panicked.into()),
    };
    // At its end libvirt and its libraries free what is this thread's, and at the process's end all there is: not at once.
    let _ = worker.join();
    done
}

/// The host's libvirt.
pub(super) struct Host {
    connect: Connect,
}

/// One domain, with what it was when we looked.
pub(super) struct Machine {
    domain: Domain,
    pub(super) known: Known,
}

impl Host {
    /// Connects, for reading or for changing.
    pub(super) fn open(uri: &str, writing: bool) -> Result<Self, LibvirtError> {
        virt::error::clear_error_callback();
        let open = if writing { Connect::open } else { Connect::open_read_only };
        let unreachable = |error: virt::error::Error| LibvirtError::Unreachable {
            uri: uri.to_owned(),
            text: error.message().to_owned(),
        };
        let connect = open(Some(uri)).map_err(unreachable)?;
        match connect.get_type()? {
            driver if matches!(driver.as_str(), "QEMU" | "TEST") => Ok(Self { connect }),
            driver => Err(LibvirtError::NotQemu { uri: uri.to_owned(), driver }),
        }
    }

    /// The domains of these names or UUIDs, each once; all domains, by name, when none is given.
    pub(super) fn machines(&self, wanted: &[String]) -> Result<Vec<Machine>, LibvirtError> {
        if wanted.is_empty() {
            let all = self.connect.list_all_domains(0)?;
            let mut machines = all.into_iter().map(Machine::look).collect::<Result<Vec<_>, _>>()?;
            machines.sort_by(|a, b| a.known.name.cmp(&b.known.name));
            return Ok(machines);
        }
        let mut machines: Vec<Machine> = Vec::new();
        for word in wanted {
            let machine = Machine::look(self.find(word)?)?;
            if !machines.iter().any(|known| known.known.uuid == machine.known.uuid) {
                machines.push(machine);
            }
        }
        Ok(machines)
    }

    fn find(&self, word: &str) -> Result<Domain, LibvirtError> {
        let bad = |source| LibvirtError::BadName { domain: word.to_owned(), source };
        let found = match word.parse::<Target>().map_err(bad)? {
            Target::Uuid(uuid) => Domain::lookup_by_uuid(&self.connect, uuid),
            Target::Name(name) => Domain::lookup_by_name(&self.connect, name.as_str()),
        };
        match found {
            Ok(domain) => Ok(domain),
            Err(error) if error.code() == virt::error::ErrorNumber::NoDomain => {
                let all = self.connect.list_all_domains(0)?;
                let names = all.iter().map(Domain::get_name).collect::<Result<Vec<_>, _>>()?;
                Err(LibvirtError::Unknown { domain: word.to_owned(), hint: nearest(word, &names) })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Machine {
    fn look(domain: Domain) -> Result<Self, LibvirtError> {
        let (name, uuid) = (domain.get_name()?, domain.get_uuid()?);
        let read = |flags| -> Result<Definition, LibvirtError> {
            let xml = domain.get_xml_desc(flags)?;
            Definition::read(&xml).map_err(|text| LibvirtError::Unreadable { domain: name.clone(), text })
        };
        let persistent = domain.is_persistent()?.then(|| read(sys::VIR_DOMAIN_XML_INACTIVE)).transpose()?;
        let live = domain.is_active()?.then(|| read(0)).transpose()?;
        Ok(Self { known: Known { name, uuid, persistent, live }, domain })
    }

    /// Adds a device.
    pub(super) fn attach(&self, scope: Scope, xml: &str) -> Result<(), LibvirtError> {
        self.domain.attach_device_flags(xml, affects(scope))?;
        Ok(())
    }

    /// Takes a device away.
    pub(super) fn detach(&self, scope: Scope, xml: &str) -> Result<(), LibvirtError> {
        self.domain.detach_device_flags(xml, affects(scope))?;
        Ok(())
    }

    /// Sets or clears the cluster's label.
    pub(super) fn set_cluster(&self, scope: Scope, cluster: Option<&str>) -> Result<(), LibvirtError> {
        let element = cluster.map(|cluster| format!("<member cluster=\"{}\"/>", escape(cluster)));
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
        let key = cluster.is_some().then_some("fence");
        let uri = Some(METADATA_NAMESPACE);
        self.domain.set_metadata(kind, element.as_deref(), key, uri, affects(scope))?;
        Ok(())
    }
}

fn affects(scope: Scope) -> u32 {
    match scope {
        Scope::Persistent => sys::VIR_DOMAIN_AFFECT_CONFIG,
        Scope::Live => sys::VIR_DOMAIN_AFFECT_LIVE,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// What a thread still has to do when its work is done.
    struct Rest(Arc<AtomicBool>);

    impl Drop for Rest {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(100)); // as on a busy machine
            self.0.store(true, Ordering::Relaxed);
        }
    }

    thread_local! {
        static REST: RefCell<Option<Rest>> = const { RefCell::new(None) };
    }

    #[test]
    fn whatever_the_thread_still_frees_is_freed_before_the_process_can_end() {
        let is_over = Arc::new(AtomicBool::new(false));
        let rest = Rest(is_over.clone());

        let done: Result<u8, LibvirtError> = within(Duration::from_secs(10), move || {
            REST.set(Some(rest));
            Ok(1)
        });

        assert_eq!(done.unwrap(), 1);
        assert!(is_over.load(Ordering::Relaxed));
    }

    #[test]
    fn a_thread_that_panics_is_not_taken_for_a_libvirt_that_hangs() {
        let deadline = Duration::from_secs(10);

        let done: Result<u8, LibvirtError> = within(deadline, || panic!("as a bug would"));

        let told = done.unwrap_err().to_string();
        assert!(told.contains("bug of ours"), "{told}");
    }
}
