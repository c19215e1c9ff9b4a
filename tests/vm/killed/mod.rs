//! The agent is killed at any moment, with requests under way: nothing is done twice, and who asks again hears the end.

mod fate;
mod interrupted;
mod subject;

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use fate::{Fate, fate};
use fence_vmchannel_protocol::Power;
use fence_vmchannel_tests::rounds::{Spread, rounds};
use fence_vmchannel_tests::{Agent, Asker, Channel, Dice, Guest, Lab, Result};
use subject::{Heard, Subject, told};

/// What a cluster would wait for a verdict.
const PATIENCE: Duration = Duration::from_secs(30);
/// The channels are back so soon.
const BACK: Duration = Duration::from_secs(2);
/// How many guests are there to be asked about, for each of the two requests of a round.
const TARGETS: usize = 2;

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
    assert!(back.median() <= BACK, "a busy machine may take longer once, not each time: {back}");
    println!("from the kill until the channels are back: {back}; the goal is {BACK:?}");
    println!("from the last repeat to its verdict: {}", Spread::of(took));
    println!(
        "0 false, 0 lost, 0 done twice, {repeats} repeats heard the same again, {} failures",
        failed.len()
    );
    println!("{failed:#?}");
    Ok(())
}
