//! A guest that is asked about while the agent is killed, and what must hold of it.
//!
//! In:  a guest and an asker. Out: what the asker heard; a failed assertion where something false was told or done twice.

use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Evidence, Power, PowerState, Reason, Request, Ruling, Verdict};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::guest::Process;
use fence_vmchannel_tests::{Answer, Asker, Guest, LabError, Result};

use super::PATIENCE;
use super::fate::Blow;

/// Until every asker has its verdict, whatever happens meanwhile.
const IN_ALL: Duration = Duration::from_secs(40);

/// A guest that is asked about in a round.
pub(super) struct Subject<'a, 'lab> {
    pub(super) guest: &'a Guest<'lab>,
    power: Power,
    /// Its process of before the round.
    process: Option<Process>,
    starts: usize,
}

/// What an asker heard at last.
pub(super) struct Heard {
    pub(super) request: Request,
    pub(super) answer: Answer,
    /// Whether the process of before the round was gone at that very moment.
    pub(super) gone: bool,
}

impl<'a, 'lab> Subject<'a, 'lab> {
    pub(super) fn prepare(guest: &'a Guest<'lab>, power: Power, runs: bool) -> Result<Self> {
        if guest.is_running() && !runs {
            let process = guest.process()?;
            // A libvirtd that was killed while it started a guest has lost sight of it.
            if guest.destroy().is_err() {
                process.kill()?;
            }
            process.wait_until_gone(PATIENCE)?;
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
    pub(super) fn ask(&self, asker: &mut Asker<'_>) -> Result<Heard> {
        let request = request(Ask::Power(self.power, target(self.guest)?), PATIENCE)?;
        self.ask_again(asker, request)
    }

    pub(super) fn ask_again(&self, asker: &mut Asker<'_>, request: Request) -> Result<Heard> {
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

    pub(super) fn started(&self) -> usize {
        self.guest.starts() - self.starts
    }

    /// What must hold once all that asked about it have heard.
    pub(super) fn check(&self, heard: &[&Heard], libvirtd: Option<Blow>) {
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
pub(super) fn told(verdict: &Verdict) -> (Ruling, Option<PowerState>, Option<Evidence>) {
    (verdict.ruling, verdict.state, verdict.evidence)
}
