//! Two nodes that have lost each other fence each other at once: one survives, and it is the one that was to.

use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Power, Request, encode_line};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::rounds::{Spread, rounds};
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, LabError, Result};

const PATIENCE: Duration = Duration::from_secs(20);
/// What each node asks for at once: more than one, so that something is left in the loser's socket.
const REQUESTS: usize = 3;
/// The port that belongs to us, in a guest without udev.
const PORT: &str =
    "/dev/$(basename $(dirname $(grep -l org.fence_vmchannel.0 /sys/class/virtio-ports/*/name)))";

/// Two nodes of a cluster, ready to fence each other.
struct Nodes<'lab> {
    agent: &'lab Agent<'lab>,
    first: Guest<'lab>,
    second: Guest<'lab>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    First,
    Second,
}

impl Who {
    fn other(self) -> Self {
        if self == Self::First { Self::Second } else { Self::First }
    }

    /// One of the two, in turn.
    fn of_round(round: usize) -> Self {
        if round.is_multiple_of(2) { Self::First } else { Self::Second }
    }
}

/// How one duel went.
struct Duel {
    survivor: Who,
    /// From the moment at which the agent hears both until one is gone.
    took: Duration,
}

impl<'lab> Nodes<'lab> {
    fn boot(lab: &'lab Lab, agent: &'lab Agent<'lab>) -> Result<Self> {
        let node = |name| Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).start(lab);
        let nodes = Self { agent, first: node("node1")?, second: node("node2")? };
        nodes.first.wait_for_shell()?;
        nodes.second.wait_for_shell()?;
        Ok(nodes)
    }

    /// This one and the other one.
    fn from(&self, who: Who) -> (&Guest<'lab>, &Guest<'lab>) {
        match who {
            Who::First => (&self.first, &self.second),
            Who::Second => (&self.second, &self.first),
        }
    }

    /// Both requests lie in both sockets before the agent reads either: it stands still meanwhile. The verdicts are the
    /// survivor's.
    fn fight(&self, shoots_first: Who, delay: impl Fn(Who) -> Duration) -> Result<Duel> {
        for who in [Who::First, Who::Second] {
            let (node, other) = self.from(who);
            // It waits for the host, which may not serve it yet.
            node.run(&format!("fence_vmchannel -o status -n {}", other.name()))?
                .success("the other's status")?;
        }
        let (first, second) = (self.first.process()?, self.second.process()?);
        self.agent.sigstop()?;
        for who in [shoots_first, shoots_first.other()] {
            let (node, other) = self.from(who);
            shoot(node, other, delay(who))?;
        }
        let begun = Instant::now();
        self.agent.sigcont()?;
        let survivor = survivor(&first, &second)?;
        let took = begun.elapsed();

        let hear = format!("timeout 10 grep -m {REQUESTS} '\"verdict\"' <&3; exec 3>&-");
        let heard = self.from(survivor).0.run(&hear)?.output;
        let proven = heard.matches(r#""verdict":"done""#).count();
        assert_eq!(proven, REQUESTS, "{heard}");
        assert!(heard.contains(r#""evidence":"process-gone""#), "{heard}");
        assert_ne!(first.is_gone(), second.is_gone(), "only one dies");
        Ok(Duel { survivor, took })
    }

    /// Starts the loser again. That takes so long that whatever it left behind would have had its effect.
    fn rise(&self, survivor: Who) -> Result<()> {
        let (survivor, loser) = self.from(survivor);
        let process = survivor.process()?;
        loser.wait_until_shut_off()?;
        loser.start()?;
        loser.wait_for_shell()?;
        assert!(!process.is_gone(), "nothing that the loser left in its socket is acted on");
        Ok(())
    }
}

/// When the shell has written a line, QEMU has it, and has put it into the agent's socket.
fn shoot(node: &Guest<'_>, other: &Guest<'_>, delay: Duration) -> Result<()> {
    let mut lines = Vec::new();
    for _ in 0..REQUESTS {
        let request = Request { delay, ..request(Ask::Power(Power::Off, target(other)?), PATIENCE)? };
        let line = encode_line(&request).map_err(|error| LabError::Supervisor(error.to_string()))?;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    let write = format!("exec 3<>{PORT}; printf '%s\\n' '{}' >&3", lines.join("' '"));
    node.run(&write)?.success("writing to the port").map(drop)
}

/// Waits until one of the two is gone.
fn survivor(first: &Process, second: &Process) -> Result<Who> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for (process, survivor) in [(first, Who::Second), (second, Who::First)] {
            if process.wait_until_gone(Duration::from_millis(1)).is_ok() {
                return Ok(survivor);
            }
        }
        if Instant::now() > deadline {
            return Err(LabError::Supervisor("both nodes live".into()));
        }
    }
}

#[test]
fn of_two_real_guests_that_fence_each_other_at_the_same_instant_exactly_one_survives() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let nodes = Nodes::boot(&lab, &agent)?;
    let (mut first_won, mut took) = (0, Vec::new());

    for round in 0..rounds(6) {
        let duel = nodes.fight(Who::of_round(round), |_| Duration::ZERO)?;
        nodes.rise(duel.survivor)?;
        first_won += usize::from(duel.survivor == Who::First);
        took.push(duel.took);
    }

    println!("one survivor in each round; {first_won} times the first");
    println!("until the other is gone: {}", Spread::of(took));
    Ok(())
}

#[test]
fn of_two_real_guests_that_fence_each_other_the_one_without_a_delay_survives_every_time() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let nodes = Nodes::boot(&lab, &agent)?;
    let mut took = Vec::new();

    for round in 0..rounds(4) {
        let preferred = Who::of_round(round);
        let delay = |who| if who == preferred { Duration::ZERO } else { Duration::from_millis(300) };
        let duel = nodes.fight(preferred.other(), delay)?;
        nodes.rise(duel.survivor)?;
        assert_eq!(duel.survivor, preferred, "round {round}");
        took.push(duel.took);
    }

    println!("the preferred one survived each time; the other was gone: {}", Spread::of(took));
    Ok(())
}
