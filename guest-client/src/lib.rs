//! The guest client `fence_vmchannel`: a fence agent that asks the host over the guest's own channel.
//!
//! In:  options (command line or standard input). Out: an [`Outcome`]: exit code and words.
//!
//! Invariant: the program says that a target is off only if the host said so, with evidence, in answer to this very
//! request.
//!
//! The flow: [`options`] -> [`action`] -> [`port`] -> [`conversation`] (with its listener) -> [`outcome`]. The
//! personalities `fence_virt` and `fence_xvm` (by the program's name) would choose other [`options`] and another
//! conversation; the rest would be the same.

#![forbid(unsafe_code)]

pub mod action;
pub mod conversation;
pub mod listener;
pub mod metadata;
pub mod options;
pub mod outcome;
pub mod port;
pub mod trace;

use std::ffi::OsString;
use std::time::Instant;

use action::Action;
use conversation::{ConversationError, Question, converse};
use fence_vmchannel_protocol::Ask;
use listener::Answer;
use options::{Options, OptionsError};
use outcome::{Finding, Outcome, chain, judge};
use port::{Places, Port, PortError, find};
use trace::Trace;

/// The whole program, from its arguments to its end. `started` is when the process began.
#[must_use]
pub fn run(arguments: Vec<OsString>, started: Instant) -> Outcome {
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
    if let Some(ask) = &options.ask {
        return match ask_host(ask, options, started) {
            Ok(answer) => judge(options.action, ask, answer),
            Err(error) => Finding::failure(chain(&error)).and(no_answer(ask)),
        };
    }
    if options.action == Action::Metadata {
        return Finding::success(vec![metadata::xml(metadata::NAME)]);
    }
    let validated = match options.action == Action::ValidateAll {
        true => port::validate(options.device.as_deref(), &Places::default()),
        false => Ok(()),
    };
    match validated {
        Ok(()) => Finding::success(Vec::new()),
        Err(error) => Finding::failure(chain(&error)),
    }
}

fn ask_host(ask: &Ask, options: &Options, started: Instant) -> Result<Answer, ConversationError> {
    let trace = Trace::new(started, options.verbose);
    let path = find(options.device.as_deref(), &Places::default())?;
    let within = options.timeout + options.delay;
    let deadline = (started + within).into();
    let question = Question { ask: ask.clone(), delay: options.delay, within, deadline };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|source| PortError::Device { device: path.clone(), source })?;
    let answer = runtime.block_on(async {
        let mut port = Port::new(path, trace);
        converse(&question, &mut port, trace).await
    });
    match &answer {
        Ok(answer) => trace.say(format_args!("answered: {answer}")),
        Err(_) => trace.say(format_args!("no answer")),
    }
    answer
}

fn no_answer(ask: &Ask) -> Option<String> {
    ask.target().map(|target| format!("the state of {target} is unknown"))
}
