//! The guest client `fence_vmchannel`: a fence agent that asks the host over the guest's own channel.
//!
//! In:  options (command line or standard input). Out: an [`Outcome`]: exit code and words.
//!
//! Invariant: the program says that a target is off only if the host said so, with evidence, in answer to this very
//! request.
//!
//! The flow: [`options`] -> [`action`] -> [`port`] -> [`conversation`] (with its listener) -> [`outcome`]. Called as
//! `fence_virt` or `fence_xvm`, it reads other [`options`], may take another way to the host (`legacy`), and prints
//! other words; the rest is the same.

#![forbid(unsafe_code)]

pub mod action;
pub mod broker;
pub mod cluster_lines;
pub mod conversation;
mod ear;
pub mod key;
mod legacy;
pub mod listener;
pub mod metadata;
pub mod options;
pub mod outcome;
pub mod port;
pub mod trace;
mod voice;

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use action::Action;
use conversation::{ConversationError, Question, converse, converse_unless_busy};
use fence_vmchannel_protocol::Ask;
use key::SigningKey;
use listener::Answer;
use options::{Options, OptionsError, Transport};
use outcome::{Finding, Outcome, chain, judge, whom};
use port::{Places, Port, PortError, Ways};
use trace::Trace;

/// The whole program, from its arguments to its end. `started` is when the process began.
#[must_use]
pub fn run(arguments: Vec<OsString>, started: Instant) -> Outcome {
    if arguments.get(1).is_some_and(|word| word == broker::WORD) {
        return broker::run(arguments.into_iter().skip(1), started);
    }
    if let Some(lines) = cluster_lines::print(&arguments) {
        return lines.map_or_else(|error| Outcome::failure(&error), Outcome::success);
    }
    let (options, warnings) = Options::read(arguments, &std::io::stdin());
    let outcome = match options {
        Ok(options) => Outcome::of(act(&options, started), &options),
        Err(OptionsError::Usage(usage)) if !usage.use_stderr() => {
            Outcome::success(vec![usage.to_string().trim_end().to_owned()])
        }
        Err(error) => Outcome::failure(&error),
    };
    Outcome { complaints: [warnings, outcome.complaints].concat(), ..outcome }
}

fn act(options: &Options, started: Instant) -> Finding {
    let transport = way(options);
    if let Some(ask) = &options.ask {
        let Transport::Channel { device, .. } = &transport else {
            return legacy::ask(&transport, ask, options, started);
        };
        let key = SigningKey::of(&transport).map_err(ConversationError::from);
        return match key.and_then(|key| ask_host(ask, (device.as_deref(), key), options, started)) {
            Ok((answer, None)) => judge(options.action, ask, answer),
            Ok((answer, Some(list))) => whom(judge(options.action, ask, answer), list),
            Err(error) => Finding::failure(chain(&error)).and(no_answer(ask)),
        };
    }
    if options.action == Action::Metadata {
        return Finding::success(vec![metadata::xml(options.personality)]);
    }
    let validated = match (options.action, &transport) {
        (Action::ValidateAll, Transport::Channel { device, .. }) => {
            let there = port::validate(device.as_deref(), &Places::default());
            there.map_err(ConversationError::from).and_then(|()| Ok(SigningKey::of(&transport).map(drop)?))
        }
        (Action::ValidateAll, Transport::Serial { device, .. }) => {
            port::validate(Some(device), &Places::default()).map_err(ConversationError::from)
        }
        _ => Ok(()),
    };
    match validated {
        Ok(()) => Finding::success(Vec::new()),
        Err(error) => Finding::failure(chain(&error)),
    }
}

/// The transport of the options. One that no option asked for gives way to this guest's own channel, where there is
/// one: its answers have evidence, those of the legacy dialects have none.
fn way(options: &Options) -> Transport {
    if !options.transport_named && Ways::find(None, &Places::default()).is_ok() {
        return Transport::Channel { device: None, key_file: None, key_id: None };
    }
    options.transport.clone()
}

/// The host's answer; for a monitor that is well also whom this guest may fence, since a host that is able to act may yet
/// refuse all that this guest asks.
fn ask_host(
    ask: &Ask,
    (device, key): (Option<&Path>, Option<SigningKey>),
    options: &Options,
    started: Instant,
) -> Result<(Answer, Option<Answer>), ConversationError> {
    let trace = Trace::new(started, options.verbose);
    let ways = Ways::find(device, &Places::default())?;
    let path = ways.device.clone();
    let within = options.timeout + options.delay;
    let deadline = (started + within).into();
    let question = Question { ask: ask.clone(), delay: options.delay, key, within, deadline };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|source| PortError::Device { device: path.clone(), source })?;
    let answers = runtime.block_on(async {
        let mut port = Port::new(ways, trace);
        let answer = converse(&question, &mut port, trace).await?;
        trace.say(format_args!("answered: {answer}"));
        if *ask != Ask::Monitor || !answer.is_done() {
            return Ok((answer, None));
        }
        let list = Question { ask: Ask::List, ..question };
        let list = converse_unless_busy(&list, &mut port, trace).await?;
        trace.say(format_args!("answered: {list}"));
        Ok((answer, Some(list)))
    });
    if answers.is_err() {
        trace.say(format_args!("no answer"));
    }
    answers
}

fn no_answer(ask: &Ask) -> Option<String> {
    ask.target().map(|target| format!("the state of {target} is unknown"))
}
