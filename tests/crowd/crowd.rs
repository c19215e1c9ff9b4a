//! A crowd: hostile guests, honest ones, and one that is fenced.
//!
//! In:  a number. Out: a lab with an agent and everybody connected.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::Power;
use fence_vmchannel_tests::attack::Attack;
use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Asker, Channel, Guest, Lab, Result, programs};

/// Honest guests that ask in turn, so that each keeps to its rate.
const HONEST: u32 = 4;
/// Long enough for five hundred processes on a busy machine.
const CONNECTED: Duration = Duration::from_secs(120);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A domain that is only defined.
pub(crate) struct Defined {
    pub(crate) name: String,
    pub(crate) uuid: String,
}

impl Defined {
    /// A domain of this cluster with our channel; libvirtd reads it at its start.
    pub(crate) fn write(lab: &Lab, name: &str, cluster: &str) -> Self {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><metadata>\
             <fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='{cluster}'/></metadata>\
             <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
             <emulator>/usr/bin/qemu-system-x86_64</emulator><channel type='unix'>\
             <source mode='connect' path='/run/fence-vmchannel/guests/{uuid}.sock'>\
             <reconnect enabled='yes' timeout='1'/></source>\
             <target type='virtio' name='org.fence_vmchannel.0'/></channel></devices></domain>"
        );
        fs::write(lab.path(&format!("/etc/libvirt/qemu/{name}.xml")), xml).unwrap();
        Self { name: name.to_owned(), uuid }
    }

    pub(crate) fn socket(&self, lab: &Lab) -> PathBuf {
        lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", self.uuid))
    }
}

/// Libvirtd reads what was written for it.
pub(crate) fn read_definitions(lab: &Lab) -> Result<()> {
    lab.libvirtd_kill()?;
    lab.libvirtd_start()
}

/// Makes the directory into which definitions are written.
pub(crate) fn lab() -> Result<Lab> {
    let lab = Lab::start()?;
    fs::create_dir_all(lab.path("/etc/libvirt/qemu")).unwrap();
    Ok(lab)
}

/// A hostile guest's process; it ends with its stdin.
pub(crate) struct Attacker {
    process: Child,
    words: Option<ChildStdin>,
}

impl Attacker {
    fn start(lab: &Lab, domain: &Defined, mate: &str, victim: &str) -> Self {
        let socket = domain.socket(lab);
        // It gets what nobody else wants (SCHED_IDLE).
        let mut process = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(programs::ours("fence-vmchannel-attacker").unwrap())
            .args(["-uuid", &domain.uuid])
            .arg(socket)
            .args([mate, victim])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let words = process.stdin.take();
        let pid_file = lab.path(&format!("/run/libvirt/qemu/{}.pid", domain.name));
        fs::write(pid_file, process.id().to_string()).unwrap();
        Self { process, words }
    }

    pub(crate) fn go_over_to(&mut self, attack: Attack) {
        writeln!(self.words.as_mut().unwrap(), "{attack}").unwrap();
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        drop(self.words.take());
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The agent, libvirtd and this process that measures them go before others.
pub(crate) fn before_others(lab: &Lab, agent: &Agent<'_>) -> Result<()> {
    programs::before_others(&[std::process::id(), agent.pid(), lab.libvirtd_pid()?])
}

/// Without its socket a domain does not start.
fn wait_for_socket(lab: &Lab, guest: &Guest<'_>) {
    let socket = lab.path(&format!("/run/fence-vmchannel/guests/{}.sock", guest.uuid()));
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "no socket {}", socket.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Everybody.
pub(crate) struct Crowd<'lab> {
    pub(crate) agent: Agent<'lab>,
    pub(crate) hostile: Vec<Attacker>,
    pub(crate) honest: Vec<Asker<'lab>>,
    /// It runs all the time.
    steady: Guest<'lab>,
    /// It is fenced.
    pub(crate) target: Guest<'lab>,
    lab: &'lab Lab,
}

impl<'lab> Crowd<'lab> {
    /// So many channels, all but one of which belong to hostile guests.
    pub(crate) fn of(lab: &'lab Lab, channels: usize) -> Result<Self> {
        let hostile = (1..channels).map(|number| Defined::write(lab, &format!("wild{number:03}"), "wild"));
        let hostile: Vec<_> = hostile.collect();
        let mate = Defined::write(lab, "mate", "wild");
        read_definitions(lab)?;
        let plan = |name| Guest::named(name).in_cluster("tame").with(Channel::VirtioConnect).cheap();
        let (steady, target) = (plan("steady").define(lab)?, plan("target").define(lab)?);
        // Running before the agent comes: libvirt has no event of theirs.
        let start = |domain| Attacker::start(lab, domain, &mate.name, "tame0");
        let hostile: Vec<_> = hostile.iter().map(start).collect();
        let agent = Agent::start(lab)?;
        let honest = (0..HONEST).map(|number| Asker::in_cluster(lab, &format!("tame{number}"), "tame"));
        let honest = honest.collect::<Result<Vec<_>>>()?;
        for guest in [&steady, &target] {
            wait_for_socket(lab, guest);
        }
        steady.start()?;
        let crowd = Self { agent, hostile, honest, steady, target, lab };
        crowd.wait_until_all_are_served();
        before_others(lab, &crowd.agent)?;
        Ok(crowd)
    }

    /// Waits until every hostile guest is connected, as the operator sees it.
    pub(crate) fn wait_until_all_are_served(&self) {
        let deadline = Instant::now() + CONNECTED;
        let served = |table: &str| {
            let rows = table.lines().filter(|row| row.starts_with("wild") && row.ends_with("served"));
            rows.count()
        };
        loop {
            let table = operator(self.lab, &["guests"]).unwrap().output;
            if served(&table) == self.hostile.len() {
                return;
            }
            assert!(Instant::now() < deadline, "{table}");
        }
    }

    /// Every hostile guest goes over to its share of these attacks.
    pub(crate) fn attack(&mut self, attacks: &[Attack]) {
        self.hostile.iter_mut().zip(attacks.iter().cycle()).for_each(|(one, attack)| one.go_over_to(*attack));
    }

    /// One honest question after the other for so long, each asker within its rate.
    pub(crate) fn ask(&mut self, time: Duration) -> Vec<Duration> {
        let (until, turn) = (Instant::now() + time, Duration::from_millis(55) / HONEST);
        let mut took = Vec::new();
        let (mut next, mut number) = (Instant::now(), 0);
        while Instant::now() < until {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next = next.max(Instant::now() - turn) + turn;
            let one = number % self.honest.len();
            let asker = &mut self.honest[one];
            let answer = asker.status(&self.steady, PATIENCE).unwrap();
            assert!(answer.is_done(), "{answer:?}");
            took.push(answer.took);
            number += 1;
        }
        took
    }

    /// Fences the target so often, and starts it again.
    pub(crate) fn fence(&mut self, times: usize) -> Vec<Duration> {
        let once = |_| {
            self.target.start().unwrap();
            let process = self.target.process().unwrap();
            std::thread::sleep(Duration::from_millis(300)); // everybody has seen it
            let answer = self.honest[0].power(Power::Off, &self.target, PATIENCE).unwrap();
            let log =
                || self.agent.log().into_iter().filter(|line| !line.contains("wild")).collect::<Vec<_>>();
            assert!(answer.is_done() && answer.says_off(), "{answer:?}\n{}", log().join("\n"));
            assert!(process.is_gone(), "a false off");
            self.wait_until_libvirt_knows();
            answer.took
        };
        (0..times).map(once).collect()
    }

    fn wait_until_libvirt_knows(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.lab.virsh(&["domstate", self.target.name()]).unwrap().trim() != "shut off" {
            assert!(Instant::now() < deadline, "libvirt does not notice the end of the target");
        }
    }
}
