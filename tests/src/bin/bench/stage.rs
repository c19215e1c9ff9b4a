//! The stage: a lab with both daemons, domains in one cluster, and those who ask.
//!
//! In:  a lab, and how many of each. Out: guests to start and stop, askers to ask, libvirt to ask directly.

use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Power, Target};
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::askers::{Answer, Asker, CLUSTER, Disguise};
use crate::error::{Result, unexpected};
use crate::incumbent::{self, Incumbent};
use crate::sections::Size;

/// After a start, before the next measurement: libvirt's events and the agent's looks are over.
const SETTLED: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// How many take part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    /// Askers of each daemon.
    pub(crate) askers: usize,
    /// Domains that are started and stopped.
    pub(crate) guests: usize,
}

impl Cast {
    /// All domains that libvirt knows.
    pub(crate) const fn domains(self) -> usize {
        2 * self.askers + self.guests
    }
}

/// Everything that takes part.
pub(crate) struct Stage<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) agent: Agent<'lab>,
    pub(crate) askers: Vec<Asker>,
    pub(crate) incumbent: Incumbent,
    pub(crate) guests: Vec<Guest<'lab>>,
    /// A connection of our own, as any program has one.
    pub(crate) libvirt: Connect,
    settled: Duration,
    turn: usize,
}

impl<'lab> Stage<'lab> {
    /// Defines all domains, starts the incumbent's askers and both daemons; everybody is connected.
    pub(crate) fn set(lab: &'lab Lab, cast: Cast, size: Size) -> Result<Self> {
        let libvirt = connect(lab)?;
        let disguises =
            (0..cast.askers).map(|n| Disguise::new(format!("asker{n:02}"))).collect::<Result<Vec<_>>>()?;
        for disguise in &disguises {
            Domain::define_xml(&libvirt, &disguise.xml())?;
        }
        let plan = |number| {
            let plan = Guest::named(&format!("guest{number:02}")).in_cluster(CLUSTER);
            plan.with(Channel::VirtioConnect).cheap().define(lab)
        };
        let guests: Vec<Guest<'lab>> = (0..cast.guests).map(plan).collect::<std::result::Result<_, _>>()?;
        let incumbent = enlist(lab, &libvirt, cast.askers)?;
        let agent = Agent::start(lab)?;
        let mut askers = disguises.iter().map(|it| it.asker(lab)).collect::<Result<Vec<_>>>()?;
        let uuids = disguises.iter().map(|it| it.uuid.as_str()).chain(guests.iter().map(Guest::uuid));
        for uuid in uuids {
            let socket = lab.path(&format!("/run/fence-vmchannel/guests/{uuid}.sock"));
            wait_until(&format!("the agent's socket {}", socket.display()), || Ok(socket.exists()))?;
        }
        for (asker, disguise) in askers.iter_mut().zip(&disguises) {
            asker.connect(lab, disguise)?;
        }
        Ok(Self { lab, agent, askers, incumbent, guests, libvirt, settled: size.span(SETTLED), turn: 0 })
    }

    /// Sees to it that so many guests run.
    pub(crate) fn start(&self, count: usize) -> Result<()> {
        for guest in self.guests.iter().take(count) {
            self.start_one(guest)?;
        }
        sleep(self.settled);
        Ok(())
    }

    /// Sees to it that so many guests are off.
    pub(crate) fn stop(&self, count: usize) -> Result<()> {
        for guest in self.guests.iter().take(count) {
            self.stop_one(guest)?;
        }
        sleep(self.settled);
        Ok(())
    }

    /// The next asker's question, one after the other, so that each has its pause.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer> {
        self.turn = (self.turn + 1) % self.askers.len().max(1);
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
        if self.start_one(guest)? {
            sleep(self.settled);
        }
        Ok(())
    }

    /// Sees to it that the guest is off, and libvirt is done with it.
    pub(crate) fn rest(&self, guest: &Guest<'_>) -> Result<()> {
        self.stop_one(guest)?;
        sleep(self.settled);
        Ok(())
    }

    fn start_one(&self, guest: &Guest<'_>) -> Result<bool> {
        let domain = self.domain(guest)?;
        let rests = !domain.is_active()?;
        if rests {
            domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED)?;
        }
        Ok(rests)
    }

    fn stop_one(&self, guest: &Guest<'_>) -> Result<()> {
        let domain = self.domain(guest)?;
        if domain.is_active()? {
            domain.destroy().ok(); // the agent's own call may still be at it
        }
        wait_until(&format!("the end of {}", guest.name()), || Ok(!domain.is_active()?))
    }
}

/// The incumbent with its askers' domains, which run, and their sockets in our hands.
fn enlist(lab: &Lab, libvirt: &Connect, askers: usize) -> Result<Incumbent> {
    incumbent::make_directory(lab)?;
    let names: Vec<String> = (0..askers).map(|number| format!("other{number:02}")).collect();
    for name in &names {
        let domain = Domain::define_xml(libvirt, &incumbent::asker_xml(name))?;
        domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED)?;
    }
    let sockets = names.iter().map(|name| incumbent::listen(lab, name)).collect::<Result<Vec<_>>>()?;
    Incumbent::start(lab, "qemu:///system", &sockets)
}

/// A connection to the lab's libvirtd.
pub(crate) fn connect(lab: &Lab) -> Result<Connect> {
    virt::error::clear_error_callback(); // libvirt would print what it also returns
    Ok(Connect::open(Some(&uri(lab, "qemu", "/system")))?)
}

/// The lab's libvirtd, for those outside.
pub(crate) fn uri(lab: &Lab, driver: &str, path: &str) -> String {
    let socket = lab.path("/run/libvirt/libvirt-sock");
    format!("{driver}+unix://{path}?socket={}", socket.display())
}

/// The question for a change of power.
pub(crate) fn power(power: Power, guest: &Guest<'_>) -> Result<Ask> {
    Ok(Ask::Power(power, target(guest)?))
}

/// The guest as a target, by its name, as clusters do.
pub(crate) fn target(guest: &Guest<'_>) -> Result<Target> {
    guest.name().parse().map_err(unexpected)
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(unexpected(format!("waited in vain for {what}")));
        }
        sleep(LOOK_AGAIN);
    }
    Ok(())
}
