//! The agent is killed at any moment, with requests under way: nothing is done twice, and who asks again hears the end.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Power, PowerState, Reason, Request, Ruling, Verdict};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::rounds::{Spread, rounds};
use fence_vmchannel_tests::{Agent, Answer, Asker, Channel, Dice, Guest, Lab, LabError, Result};

/// What a cluster would wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until every asker has its verdict, whatever happens meanwhile.
const IN_ALL: Duration = Duration::from_secs(40);
/// Acceptance, the journal's first lines and the stop fall into this time.
const HOT: Duration = Duration::from_millis(40);
/// An order is over so soon, also a reboot.
const ORDER: Duration = Duration::from_millis(700);
/// The channels are back so soon.
const BACK: Duration = Duration::from_secs(2);
/// How many guests are there to be asked about, for each of the two requests of a round.
const TARGETS: usize = 2;

/// How one round goes.
#[derive(Debug, Clone, Copy)]
struct Fate {
    power: Power,
    /// Whether the target runs before.
    runs: bool,
    /// Whether another guest asks for the same.
    is_joined: bool,
    /// What is asked about another guest meanwhile.
    other: Power,
    /// When the agent is killed, after the requests were sent.
    killed_at: Duration,
    /// When it is killed once more, after it was ready again.
    killed_again_at: Option<Duration>,
    libvirtd: Option<Blow>,
    /// Whether it is killed once more after all verdicts, and everything is asked again.
    is_repeated: bool,
}

/// What happens to libvirtd, and for how long.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Killed(Duration),
    Stopped(Duration),
}

fn power(dice: &mut Dice) -> Power {
    match dice.below(3) {
        0 => Power::Off,
        1 => Power::Reboot,
        _ => Power::On,
    }
}

fn fate(dice: &mut Dice) -> Fate {
    let power_of_target = power(dice);
    let away = dice.between(Duration::ZERO, Duration::from_millis(1500));
    let latest = if dice.below(2) == 0 { HOT } else { ORDER };
    Fate {
        power: power_of_target,
        runs: power_of_target != Power::On,
        is_joined: dice.below(2) == 0,
        other: power(dice),
        killed_at: dice.between(Duration::ZERO, latest),
        killed_again_at: (dice.below(4) == 0).then(|| dice.between(Duration::ZERO, ORDER)),
        libvirtd: match dice.below(10) {
            0 => Some(Blow::Killed(away)),
            1 => Some(Blow::Stopped(away)),
            _ => None,
        },
        is_repeated: dice.below(3) == 0,
    }
}

impl Blow {
    fn strike(self, lab: &Lab) -> Result<()> {
        let (Self::Killed(away) | Self::Stopped(away)) = self;
        match self {
            Self::Killed(_) => lab.libvirtd_kill()?,
            Self::Stopped(_) => lab.libvirtd_stop()?,
        }
        thread::sleep(away); // how long it is away is the test
        if matches!(self, Self::Killed(_)) { lab.libvirtd_start() } else { lab.libvirtd_cont() }
    }
}

/// A guest that is asked about in a round.
struct Subject<'a, 'lab> {
    guest: &'a Guest<'lab>,
    power: Power,
    /// Its process of before the round.
    process: Option<Process>,
    starts: usize,
}

/// What an asker heard at last.
struct Heard {
    request: Request,
    answer: Answer,
    /// Whether the process of before the round was gone at that very moment.
    gone: bool,
}

impl<'a, 'lab> Subject<'a, 'lab> {
    fn prepare(guest: &'a Guest<'lab>, power: Power, runs: bool) -> Result<Self> {
        if guest.is_running() && !runs {
            guest.destroy()?;
        }
        if !guest.is_running() {
            guest.wait_until_shut_off()?;
            if runs {
                guest.start()?;
            }
        }
        let process = if runs { Some(guest.process()?) } else { None };
        Ok(Self { guest, power, process, starts: guest.starts() })
    }

    /// Asks, and asks again by the same id as often as the agent goes away, as a client does.
    fn ask(&self, asker: &mut Asker<'_>) -> Result<Heard> {
        let request = request(Ask::Power(self.power, target(self.guest)?), PATIENCE)?;
        self.ask_again(asker, request)
    }

    fn ask_again(&self, asker: &mut Asker<'_>, request: Request) -> Result<Heard> {
        let deadline = Instant::now() + IN_ALL;
        loop {
            let lost = match asker.ask(&request) {
                Ok(answer) if answer.verdict.ruling == Ruling::Refused(Reason::Busy) => None, // it was not taken
                Ok(answer) => {
                    let gone = self.process.as_ref().is_none_or(Process::is_gone);
                    return Ok(Heard { request, answer, gone });
                }
                Err(lost) => Some(lost),
            };
            if Instant::now() > deadline {
                return Err(lost.unwrap_or_else(|| LabError::Supervisor("busy for ever".into())));
            }
            match lost {
                Some(_) => asker.reconnect().or_else(|error| late(deadline, error))?,
                None => thread::sleep(Duration::from_millis(20)), // as long as another order is open
            }
        }
    }

    fn started(&self) -> usize {
        self.guest.starts() - self.starts
    }

    /// What must hold once all that asked about it have heard.
    fn check(&self, heard: &[&Heard], libvirtd: Option<Blow>) {
        let what = || heard.iter().map(|heard| &heard.answer).collect::<Vec<_>>();
        for one in heard {
            let is_true = one.gone || !one.answer.says_off();
            assert!(is_true, "false: it lives, and {:?}", one.answer);
            assert!(libvirtd.is_some() || one.answer.is_done(), "failed: {:?}", one.answer);
        }
        let done = heard.iter().filter(|heard| heard.answer.is_done()).count();
        let most = match self.power {
            Power::Off => 0,
            Power::On => 1,
            // one that comes when the new run is just being started is about that one
            Power::Reboot => done.max(1),
        };
        // libvirtd that is killed in the middle of a start may have to start it again
        let most = most + usize::from(most > 0 && matches!(libvirtd, Some(Blow::Killed(_))));
        assert!(
            self.started() <= most,
            "{} was started {} times: {:?}",
            self.guest.name(),
            self.started(),
            what()
        );
        let runs = self.guest.is_running();
        if done == heard.len() && libvirtd.is_none() {
            let state = if runs { PowerState::On } else { PowerState::Off };
            let told = heard.iter().all(|heard| heard.answer.verdict.state == Some(state));
            assert!(
                told && runs == (self.power != Power::Off),
                "{} is {state:?}: {:?}",
                self.guest.name(),
                what()
            );
        }
    }
}

fn late(deadline: Instant, error: LabError) -> Result<()> {
    if Instant::now() > deadline { Err(error) } else { Ok(()) }
}

/// What a repeat must tell again.
fn told(verdict: &Verdict) -> (Ruling, Option<PowerState>, Option<fence_vmchannel_protocol::Evidence>) {
    (verdict.ruling, verdict.state, verdict.evidence)
}

/// The agent, who asks it, and a guest by whose QEMU it is seen when channels are back.
struct Stage<'lab> {
    lab: &'lab Lab,
    agent: Agent<'lab>,
    witness: Guest<'lab>,
    back: Vec<Duration>,
}

impl Stage<'_> {
    /// Kills the agent and starts it again. In a healthy round the channels' return is timed.
    fn kill(&mut self, is_timed: bool) -> Result<()> {
        let begun = Instant::now();
        self.agent.restart()?;
        if is_timed {
            let served = format!("domain={}", self.witness.name());
            self.agent.wait_for_log(&["served", &served], Duration::from_secs(20))?;
            self.back.push(begun.elapsed());
        }
        Ok(())
    }

    /// The requests of a round, with the agent killed meanwhile. The first asker's subject is the first, and the second's if
    /// it joins.
    fn play(
        &mut self,
        fate: Fate,
        subjects: &[Subject<'_, '_>; 2],
        askers: &mut [Asker<'_>; 3],
    ) -> Result<(Vec<Heard>, Heard)> {
        let [subject, other] = subjects;
        let [first, second, third] = askers;
        let lab = self.lab;
        thread::scope(|scope| {
            let struck = scope.spawn(move || fate.libvirtd.map_or(Ok(()), |blow| blow.strike(lab)));
            let mut asking = vec![scope.spawn(|| subject.ask(first))];
            if fate.is_joined {
                asking.push(scope.spawn(|| subject.ask(second)));
            }
            let aside = scope.spawn(|| other.ask(third));
            thread::sleep(fate.killed_at); // the moment is the test
            self.kill(false)?;
            if let Some(at) = fate.killed_again_at {
                thread::sleep(at);
                self.kill(false)?;
            }
            struck.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            let heard = asking.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)));
            let heard = heard.collect::<Result<Vec<_>>>();
            Ok((heard?, aside.join().unwrap_or_else(|panic| resume_unwind(panic))?))
        })
    }
}

#[test]
fn an_agent_that_is_killed_at_any_moment_does_nothing_twice_and_who_asks_again_hears_the_end() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start_with(&lab, "kill-after-seconds = 1\n")?;
    let witness = Guest::named("witness").with(Channel::VirtioConnect).cheap().start(&lab)?;
    let asker = |number| Asker::in_cluster(&lab, &format!("asker{number}"), "web");
    let mut askers = [asker(1)?, asker(2)?, asker(3)?];
    let guests = (0..2 * TARGETS)
        .map(|number| {
            Guest::named(&format!("killed{number}"))
                .in_cluster("web")
                .with(Channel::VirtioConnect)
                .cheap()
                .define(&lab)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut stage = Stage { lab: &lab, agent, witness, back: Vec::new() };
    let mut dice = Dice::cast()?;
    let (mut took, mut failed, mut repeats) = (Vec::new(), Vec::new(), 0);

    for round in 0..rounds(25) {
        let fate = fate(&mut dice);
        println!("round {round}: {fate:?}");
        let (first, second) = guests.split_at(TARGETS);
        let subjects = [
            Subject::prepare(&first[round % TARGETS], fate.power, fate.runs)?,
            Subject::prepare(&second[round % TARGETS], fate.other, fate.other != Power::On)?,
        ];

        let (heard, aside) = stage.play(fate, &subjects, &mut askers)?;

        let [subject, other] = &subjects;
        subject.check(&heard.iter().collect::<Vec<_>>(), fate.libvirtd);
        other.check(&[&aside], fate.libvirtd);
        took.extend(heard.iter().chain([&aside]).map(|heard| heard.answer.took));
        failed.extend(
            heard
                .iter()
                .chain([&aside])
                .filter(|heard| !heard.answer.is_done())
                .map(|heard| format!("round {round}: {:?}", heard.answer.verdict)),
        );
        if fate.is_repeated {
            stage.kill(true)?;
            let [first, second, third] = &mut askers;
            let mut again = vec![(subject, first, &heard[0]), (other, third, &aside)];
            again.extend(heard.get(1).map(|heard| (subject, second, heard)));
            for (subject, asker, before) in again {
                let starts = subject.started();
                let repeated = subject.ask_again(asker, before.request.clone())?;
                if before.answer.is_done() {
                    let (now, then) = (&repeated.answer.verdict, &before.answer.verdict);
                    assert_eq!(told(now), told(then), "a repeat hears what was told");
                    assert_eq!(subject.started(), starts, "a repeat starts nothing");
                    repeats += 1;
                }
            }
            subject.check(&heard.iter().collect::<Vec<_>>(), fate.libvirtd);
        }
    }

    let back = Spread::of(stage.back);
    println!("from the kill until the channels are back: {back}; the goal is {BACK:?}");
    println!("from the last repeat to its verdict: {}", Spread::of(took));
    println!(
        "0 false, 0 lost, 0 done twice, {repeats} repeats heard the same again, {} failures",
        failed.len()
    );
    println!("{failed:#?}");
    Ok(())
}
