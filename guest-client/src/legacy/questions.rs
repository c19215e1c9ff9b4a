//! What is asked of a legacy server, and what of its word is believed.
//!
//! In:  an action and its target. Out: a [`Finding`].
//!
//! Invariant: a success, and an "off", is believed only of a target that the server lists, and only if its list then says
//! the same. fence_virtd calls any name that it does not know off, and a member of a cluster of them may even call it stopped.
//!
//! Every conversation begins with a list. Replies of the serial dialect bear no number; but a list looks like nothing else, and
//! servers answer in order: what was waiting from an earlier call is over when the list is there. Where several servers hear
//! the question, the line keeps to the one whose list named the target.

use std::time::Duration;

use fence_vmchannel_protocol::legacy::{Code, HostRecord, Op};
use fence_vmchannel_protocol::{Item, Name, PowerState, Target};

use tokio::time::sleep;

use super::ear::{Reply, is};
use super::error::LegacyError;
use super::line::Line;
use crate::outcome::Finding;
use crate::trace::Trace;

/// How often, and how soon, the list is looked at again when it does not show yet what was done.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A legacy server, asked one thing after the other.
pub(super) struct Server {
    line: Line,
    trace: Trace,
}

impl Server {
    pub(super) fn new(line: Line, trace: Trace) -> Self {
        Self { line, trace }
    }

    pub(super) async fn list(&mut self) -> Result<Vec<HostRecord>, LegacyError> {
        let reply = self.line.list().await?;
        self.records(reply)
    }

    fn records(&self, reply: Reply) -> Result<Vec<HostRecord>, LegacyError> {
        match reply {
            Reply::List(records) => {
                self.trace.say(format_args!("the server lists {} domains", records.len()));
                Ok(records)
            }
            Reply::Code(code) => Err(failure(code, "for this guest")),
        }
    }

    pub(super) async fn monitor(&mut self) -> Result<Finding, LegacyError> {
        self.list().await?;
        self.done(Op::Monitor, None).await.map(|()| Finding::success(Vec::new()))
    }

    pub(super) async fn status(&mut self, target: &Target) -> Result<Finding, LegacyError> {
        let listed = self.known(target).await?;
        let code = self.result(Op::Status, Some(target)).await?;
        match (code, listed) {
            (Code::Success, _) => Ok(Finding::success(vec![format!("{target} is on")])),
            (Code::Off, Some(PowerState::Off)) => Ok(Finding::off(format!("{target} is off"))),
            (Code::Off, state) => Err(contradiction(target, state)),
            (code @ (Code::Failure | Code::Denied | Code::List), _) => {
                Err(failure(code, &target.to_string()))
            }
        }
    }

    pub(super) async fn off(&mut self, target: &Target) -> Result<Finding, LegacyError> {
        self.known(target).await?;
        self.done(Op::Off, Some(target)).await?;
        match self.settled(target, PowerState::Off).await? {
            Some(PowerState::Off) => {
                Ok(Finding::success(vec![format!("{target} is off, by the server's word")]))
            }
            state => Err(contradiction(target, state)),
        }
    }

    pub(super) async fn on(&mut self, target: &Target) -> Result<Finding, LegacyError> {
        self.known(target).await?;
        self.done(Op::On, Some(target)).await?;
        match self.settled(target, PowerState::On).await? {
            Some(PowerState::On) => Ok(Finding::success(vec![format!("{target} is on")])),
            state => Err(contradiction(target, state)),
        }
    }

    pub(super) async fn reboot(&mut self, target: &Target) -> Result<Finding, LegacyError> {
        self.known(target).await?;
        self.done(Op::Reboot, Some(target)).await?;
        match self.settled(target, PowerState::On).await? {
            Some(PowerState::On) => {
                Ok(Finding::success(vec![format!("{target} was rebooted, by the server's word")]))
            }
            // fence_virtd does not start what was off; who fences wants it off
            Some(PowerState::Off) => {
                let told = vec![format!("{target} is off, by the server's word")];
                Ok(Finding::success(told).and(Some(format!("warning: {target} was not started again"))))
            }
            None => Err(contradiction(target, None)),
        }
    }

    /// Asks, and takes nothing but success.
    async fn done(&mut self, op: Op, target: Option<&Target>) -> Result<(), LegacyError> {
        match self.result(op, target).await? {
            Code::Success => Ok(()),
            code @ (Code::Failure | Code::Off | Code::Denied | Code::List) => {
                Err(failure(code, &target.map(ToString::to_string).unwrap_or_default()))
            }
        }
    }

    async fn result(&mut self, op: Op, target: Option<&Target>) -> Result<Code, LegacyError> {
        let reply = self.line.ask(op, target).await?;
        self.trace.say(format_args!("{}: {reply:?}", op.word()));
        match reply {
            Reply::Code(code) => Ok(code),
            Reply::List(_) => Err(LegacyError::Confused),
        }
    }

    /// As [`Self::known`], once it is this state; libvirt, and so the list, may be a moment behind the deed.
    async fn settled(
        &mut self,
        target: &Target,
        wanted: PowerState,
    ) -> Result<Option<PowerState>, LegacyError> {
        let mut state = self.known(target).await?;
        for _ in 0..LOOKS {
            if state == Some(wanted) {
                break;
            }
            sleep(LOOK_AGAIN).await;
            state = self.known(target).await?;
        }
        Ok(state)
    }

    /// The state of a target that the server lists, as far as it is known.
    async fn known(&mut self, target: &Target) -> Result<Option<PowerState>, LegacyError> {
        let reply = self.line.list_naming(target).await?;
        let records = self.records(reply)?;
        let mut found = records.iter().filter(|record| is(record, target));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(state(record)),
            _ => Err(LegacyError::NotListed { target: target.to_string() }),
        }
    }
}

fn failure(code: Code, target: &str) -> LegacyError {
    match code {
        Code::Denied => LegacyError::Denied { target: target.to_owned() },
        Code::Failure => LegacyError::Failed,
        Code::Success | Code::Off | Code::List => LegacyError::Confused,
    }
}

fn contradiction(target: &Target, state: Option<PowerState>) -> LegacyError {
    let state = state.map_or("neither on nor off", PowerState::word);
    LegacyError::Contradiction { target: target.to_string(), state }
}

/// By libvirt's number. What is paused can go on to write, and is on.
fn state(record: &HostRecord) -> Option<PowerState> {
    match record.state {
        1..=4 | 7 => Some(PowerState::On),
        5 => Some(PowerState::Off),
        _ => None,
    }
}

/// The list's domains, and a word about those whose name or UUID is none.
pub(super) fn targets(records: &[HostRecord]) -> (Vec<Item>, Option<String>) {
    let items: Vec<Item> = records
        .iter()
        .filter_map(|record| {
            let name: Name = record.name.parse().ok()?;
            Some(Item { name, uuid: record.uuid.parse().ok()?, state: state(record) })
        })
        .collect();
    let strange = records.len() - items.len();
    let told =
        (strange > 0).then(|| format!("{strange} entries of the server's list have no name or no UUID"));
    (items, told)
}
