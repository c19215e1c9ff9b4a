//! A hundred channels, a thousand, ten thousand.
//!
//! In:  so many domains. Out: what both daemons hold, how soon all channels are there, how long a list takes.
//!
//! The agent's domains are defined in a real libvirtd, and each has a process that the agent takes for its QEMU, connected
//! to its channel. fence_virtd serves running domains only, so its domains are those of libvirt's test driver.

use std::fs;
use std::io::{Write, pipe};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::Ask;
use fence_vmchannel_tests::{Agent, Lab};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use virt::connect::Connect;
use virt::domain::Domain;

use crate::askers::{Asker, Disguise, Stranger};
use crate::error::{Result, unexpected};
use crate::goals::{Goal, Judged};
use crate::incumbent::{self, Incumbent};
use crate::legacy::Operation;
use crate::memory::{Held, load};
use crate::report::{Holding, Report, Row};
use crate::samples::{Samples, timed};
use crate::sections::{Size, tell};
use crate::stage::{connect, uri, wait_until};

const IDLE: Duration = Duration::from_secs(3);
const MOST: usize = 10_000;
const MOST_KIB: usize = 40 * 1024;
/// Descriptors for three of each channel, here and in whatever is started here.
const DESCRIPTORS: u64 = 65_536;
/// Descriptors for everything else.
const SPARE: usize = 200;
const LIST: Goal = Goal::within(
    Duration::from_millis(20),
    "the list has so many parts, and each channel takes its time to read them",
);
const THERE: Goal = Goal::within(
    Duration::from_secs(2),
    "libvirt itself takes this long to tell of the domains one by one: see the direct figure",
);

/// The agent at each number of channels.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    report.chapter("Many channels", TEXT);
    let limit = raise_limits()?;
    let within = |count| Channels::within(limit, count);
    let full = [within(100), within(1000), Channels::idle(MOST), within(MOST)];
    let quick = [within(30), Channels::idle(30)];
    let all = if size.is_quick { &quick[..] } else { &full };
    all.iter().try_for_each(|channels| with(*channels, size, report))
}

const TEXT: &str = "\
Until all channels are there: from the daemon's start to the last of its sockets, or to its last connection. The direct figure is a
listing of all domains with the XML of each. `idle`: one of the channels is connected, the one that asks; the goals are about these. Of
the others as many are connected as the machine's limit of descriptors allows, each to a process of its own.";

/// A listening socket for each channel; for each that is connected a connection and a pidfd too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Channels {
    all: usize,
    connected: usize,
}

impl Channels {
    /// Nobody is connected but who asks.
    fn idle(all: usize) -> Self {
        Self { all, connected: 1 }
    }

    fn are_idle(self) -> bool {
        self.connected == 1
    }

    fn name(self) -> String {
        format!("{}{} channels", self.all, if self.are_idle() { " idle" } else { "" })
    }

    /// As many connected ones as the agent has descriptors for.
    fn within(limit: usize, all: usize) -> Self {
        Self { all, connected: all.min(limit.saturating_sub(SPARE).saturating_sub(all) / 2) }
    }
}

struct Crowd {
    disguises: Vec<Disguise>,
    strangers: Vec<Stranger>,
    gate: std::io::PipeWriter,
}

impl Crowd {
    /// Defines the domains, and starts a process for each that is to be connected but the first one.
    fn gather(lab: &Lab, libvirt: &Connect, channels: Channels) -> Result<Self> {
        let disguises = (0..channels.all)
            .map(|number| Disguise::new(format!("many{number:05}")))
            .collect::<Result<Vec<_>>>()?;
        for disguise in &disguises {
            Domain::define_xml(libvirt, &disguise.xml())?;
        }
        let (shared, gate) = pipe()?;
        let silent = |disguise: &Disguise| disguise.silent(lab, Stdio::from(shared.try_clone()?));
        let strangers =
            disguises.iter().take(channels.connected).skip(1).map(silent).collect::<Result<Vec<_>>>()?;
        Ok(Self { disguises, strangers, gate })
    }

    /// Lets everybody connect; the first one asks.
    fn connect(&mut self, lab: &Lab) -> Result<Asker> {
        let first = self.disguises.first().ok_or_else(|| unexpected("the crowd is empty"))?;
        let mut asker = first.asker(lab)?;
        asker.connect(lab, first)?;
        self.gate.write_all(&vec![b'!'; self.strangers.len()])?;
        Ok(asker)
    }
}

fn with(channels: Channels, size: Size, report: &mut Report) -> Result<()> {
    let count = channels.all;
    let name = channels.name();
    tell(&format!("         {name} of the agent, {} connected", channels.connected));
    let lab = Lab::start()?;
    let libvirt = connect(&lab)?;
    let mut crowd = Crowd::gather(&lab, &libvirt, channels)?;
    let direct = timed(|| -> Result<()> {
        let domains = libvirt.list_all_domains(0)?;
        Ok(domains.iter().try_for_each(|domain| domain.get_xml_desc(0).map(drop))?)
    })?;
    let begun = Instant::now();
    let agent = Agent::start(&lab)?;
    let sockets = lab.path("/run/fence-vmchannel/guests");
    wait_until("all sockets of the agent", || Ok(fs::read_dir(&sockets)?.count() >= count))?;
    let there = begun.elapsed();
    let row = Row::new(format!("start, until {name} are there"), Samples::from_iter([there]));
    report.add(with_goal(row.direct("list + XML of each", Samples::from_iter([direct.1])), channels, THERE));

    let mut asker = crowd.connect(&lab)?;
    let connected = || Ok(agent.holdings()?.descriptors >= count + 2 * channels.connected);
    wait_until("all connections", connected)?;
    let (mut lists, mut looks) = (Samples::default(), Samples::default());
    let target = crowd.disguises.last().ok_or_else(|| unexpected("nobody to ask about"))?.name.clone();
    for _ in 0..size.of(30, 2) {
        let answer = asker.ask(Ask::List)?;
        if answer.listed != count {
            return Err(unexpected(format!("{} of {count} domains are listed", answer.listed)));
        }
        lists.push(answer.took);
        looks.push(asker.ask(Ask::Status(target.parse().map_err(unexpected)?))?.took);
    }
    report.add(Row::new(format!("status, {name}"), looks));
    report.add(with_goal(Row::new(format!("list, {name}"), lists), channels, LIST));
    hold(&agent, &lab, channels, size, report)?;
    drop(agent);
    drop(asker);
    drop(crowd);
    Ok(())
}

fn with_goal(row: Row, channels: Channels, goal: Goal) -> Row {
    if channels == Channels::idle(MOST) { row.goal(goal) } else { row }
}

fn hold(agent: &Agent<'_>, lab: &Lab, channels: Channels, size: Size, report: &mut Report) -> Result<()> {
    let Channels { all: count, connected } = channels;
    let idle = load(agent.pid(), size.span(IDLE)).ok();
    let held = Held::by(agent.pid())?;
    let bare = Held::by_a_connection(&uri(lab, "qemu", "/system"))?;
    let who = if channels.are_idle() { "agent, idle" } else { "agent" };
    report.holds(Holding { channels: count, connected, who, held: Ok(held), idle });
    report.holds(Holding {
        channels: count,
        connected: 0,
        who: "only a connection to libvirt",
        held: Ok(bare),
        idle: None,
    });
    if channels == Channels::idle(MOST) {
        report.judge(Judged {
            what: channels.name(),
            incumbent: "no service past 1024 descriptors".to_owned(),
            ours: format!("{} KiB, {} of them anonymous", held.resident, held.anonymous),
            goal: format!("<= {MOST_KIB} KiB"),
            is_met: held.resident <= MOST_KIB,
            otherwise: format!(
                "each channel takes {} bytes of the agent's own memory, beside {} KiB of libvirt's client",
                held.anonymous.saturating_sub(bare.anonymous) * 1024 / MOST,
                bare.resident
            ),
        });
    }
    Ok(())
}

/// fence_virtd at each number of channels, and past its limit.
pub(crate) fn the_incumbent(size: Size, report: &mut Report) -> Result<()> {
    report.chapter(
        "Many channels of fence_virtd",
        "With libvirt's test driver; times in milliseconds as above.",
    );
    raise_limits()?;
    let counts: &[usize] = if size.is_quick { &[30] } else { &[100, 1000, 1100] };
    counts.iter().try_for_each(|count| one_of_the_incumbents(*count, size, report))
}

fn one_of_the_incumbents(count: usize, size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    incumbent::make_directory(&lab)?;
    let file = lab.directory().join("domains.xml");
    fs::write(&file, running_domains(count))?;
    let names = (0..count).map(|number| format!("many{number:05}"));
    let sockets = names.map(|name| incumbent::listen(&lab, &name)).collect::<Result<Vec<UnixListener>>>()?;
    let uri = test_uri(&file);
    let who = "fence_virtd";
    let mut daemon = match Incumbent::start(&lab, &uri, &sockets) {
        Ok(daemon) => daemon,
        Err(error) => {
            report.holds(Holding {
                channels: count,
                connected: 0,
                who,
                held: Err(error.to_string()),
                idle: None,
            });
            return Ok(());
        }
    };
    let [mut looks, mut lists] = [(); 2].map(|()| Samples::default());
    for _ in 0..size.of(30, 2) {
        looks.push(daemon.expect(Operation::Status, "many00000", 0)?.took);
        lists.push(daemon.expect(Operation::List, "", 0)?.took);
    }
    for (what, took) in [("status", looks), ("list", lists)] {
        report.add(Row::of_the_incumbent(format!("{what}, {count} channels"), took));
    }
    let there = Samples::from_iter([daemon.connected]);
    report.add(Row::of_the_incumbent(format!("start, until {count} channels are there"), there));
    let idle = load(daemon.pid(), size.span(IDLE)).ok();
    report.holds(Holding {
        channels: count,
        connected: count,
        who,
        held: Held::by(daemon.pid()).map_err(|e| e.to_string()),
        idle,
    });
    Ok(())
}

/// libvirtd's own test driver: its domains are in libvirtd's memory, not in the daemon's.
fn test_uri(file: &Path) -> String {
    format!("test+unix://{}?socket=/run/libvirt/libvirt-sock", file.display())
}

fn running_domains(count: usize) -> String {
    let domain = |number| {
        format!(
            "<domain type='test'><name>many{number:05}</name>\
             <uuid>00000000-0000-4000-8000-{number:012x}</uuid>\
             <memory>16384</memory><os><type>hvm</type></os><devices><channel type='unix'>\
             <source mode='bind' path='{}/many{number:05}.sock'/>\
             <target type='virtio' name='org.fence_virt.0'/></channel></devices></domain>",
            incumbent::SOCKETS
        )
    };
    let domains: String = (0..count).map(domain).collect();
    format!("<node>{domains}</node>")
}

/// Sets the limit of open descriptors, for this process and those it starts, and says which one it is now. Not everywhere
/// may root raise the hard limit.
fn raise_limits() -> Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(std::io::Error::from)?;
    let most = hard.max(DESCRIPTORS);
    let (limit, raised) = match setrlimit(Resource::RLIMIT_NOFILE, most, most) {
        Ok(()) => (most, Ok(())),
        Err(_) => (hard, setrlimit(Resource::RLIMIT_NOFILE, hard, hard)),
    };
    raised.map_err(std::io::Error::from)?;
    usize::try_from(limit).map_err(unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_channels_are_connected_as_there_are_descriptors_for() {
        assert_eq!(Channels::within(65_536, 10_000), Channels { all: 10_000, connected: 10_000 });
        assert_eq!(Channels::within(20_000, 10_000), Channels { all: 10_000, connected: 4900 });
        assert_eq!(Channels::within(1024, 1000), Channels { all: 1000, connected: 0 });
    }
}
