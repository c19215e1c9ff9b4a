//! The stage: a lab with an agent, a hundred domains in one cluster, and those who ask.
//!
//! In:  a lab. Out: guests to start and stop, askers to ask, libvirt to ask directly.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Agent, Channel, Guest, Lab};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::askers::{ASKERS, Answer, Asker};
use crate::error::{Result, unexpected};
use fence_vmchannel_protocol::{Ask, Power, Target};

/// All domains, the askers among them.
pub(crate) const DOMAINS: usize = 100;
/// Guests that run while single operations are measured.
pub(crate) const SOME: usize = 20;
const CLUSTER: &str = "bench";
/// After a start, before the next measurement: libvirt's events and the agent's looks are over.
const SETTLED: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that takes part.
pub(crate) struct Stage<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) agent: Agent<'lab>,
    pub(crate) askers: Vec<Asker>,
    pub(crate) guests: Vec<Guest<'lab>>,
    /// A connection of our own, as any program has one.
    pub(crate) libvirt: Connect,
    turn: usize,
}

impl<'lab> Stage<'lab> {
    pub(crate) fn set(lab: &'lab Lab) -> Result<Self> {
        virt::error::clear_error_callback(); // libvirt would print what it also returns
        let libvirt = connect(lab)?;
        let agent = Agent::start(lab)?;
        let mut askers = (0..ASKERS).map(|number| Asker::start(lab, number)).collect::<Result<Vec<_>>>()?;
        for asker in &askers {
            Domain::define_xml(&libvirt, &asker_xml(&asker.name, &asker.uuid))?;
        }
        let plan = |number| {
            let plan = Guest::named(&format!("guest{number:02}")).in_cluster(CLUSTER);
            plan.with(Channel::VirtioConnect).cheap().define(lab)
        };
        let guests: Vec<Guest<'lab>> = (ASKERS..DOMAINS).map(plan).collect::<std::result::Result<_, _>>()?;
        let uuids = askers.iter().map(|asker| asker.uuid.as_str()).chain(guests.iter().map(Guest::uuid));
        for uuid in uuids {
            let socket = lab.path(&format!("/run/fence-vmchannel/guests/{uuid}.sock"));
            wait_until(&format!("the agent's socket {}", socket.display()), || Ok(socket.exists()))?;
        }
        askers.iter_mut().try_for_each(|asker| asker.connect(lab))?;
        Ok(Self { lab, agent, askers, guests, libvirt, turn: 0 })
    }

    pub(crate) fn start_some(&self) -> Result<()> {
        self.guests.iter().take(SOME).try_for_each(|guest| self.run(guest))
    }

    pub(crate) fn start_all(&self) -> Result<()> {
        self.guests.iter().try_for_each(|guest| self.run(guest))
    }

    /// The next asker's question, one after the other, so that each has its pause.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer> {
        self.turn = (self.turn + 1) % self.askers.len();
        let asker = self.askers.get_mut(self.turn).ok_or_else(|| unexpected("there is no asker"))?;
        asker.ask(ask)
    }

    /// The guest that single operations are measured on.
    pub(crate) fn guest(&self) -> Result<&Guest<'lab>> {
        self.guests.first().ok_or_else(|| unexpected("there is no guest"))
    }

    /// libvirt's handle of a guest.
    pub(crate) fn domain(&self, guest: &Guest<'_>) -> Result<Domain> {
        Ok(Domain::lookup_by_uuid_string(&self.libvirt, guest.uuid())?)
    }

    /// Sees to it that the guest runs, paused, and everybody knows.
    pub(crate) fn run(&self, guest: &Guest<'_>) -> Result<()> {
        let domain = self.domain(guest)?;
        if !domain.is_active()? {
            domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED)?;
            sleep(SETTLED);
        }
        Ok(())
    }

    /// Sees to it that the guest is off, and libvirt is done with it.
    pub(crate) fn rest(&self, guest: &Guest<'_>) -> Result<()> {
        let domain = self.domain(guest)?;
        if domain.is_active()? {
            domain.destroy().ok(); // the agent's own call may still be at it
        }
        wait_until(&format!("the end of {}", guest.name()), || Ok(!domain.is_active()?))?;
        sleep(SETTLED);
        Ok(())
    }
}

/// A connection to the lab's libvirtd.
pub(crate) fn connect(lab: &Lab) -> Result<Connect> {
    Ok(Connect::open(Some(&uri(lab)))?)
}

/// The lab's libvirtd, for those outside.
pub(crate) fn uri(lab: &Lab) -> String {
    format!("qemu+unix:///system?socket={}", lab.path("/run/libvirt/libvirt-sock").display())
}

/// The question for a change of power.
pub(crate) fn power(power: Power, guest: &Guest<'_>) -> Result<Ask> {
    Ok(Ask::Power(power, target(guest)?))
}

/// The guest as a target, by its name, as clusters do.
pub(crate) fn target(guest: &Guest<'_>) -> Result<Target> {
    guest.name().parse().map_err(unexpected)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(unexpected(format!("waited in vain for {what}")));
        }
        sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn asker_xml(name: &str, uuid: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>\
         <metadata><fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='{CLUSTER}'/></metadata>\
         <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><channel type='unix'>\
         <source mode='connect' path='/run/fence-vmchannel/guests/{uuid}.sock'/>\
         <target type='virtio' name='org.fence_vmchannel.0'/></channel></devices></domain>"
    )
}
