//! Keeps what is known of the host fresh.
//!
//! In:  the settings. Out: [`Facts`].
//!
//! Invariant: each source is asked at its own interval and by one look at a time, whether guests ask or not; a look that
//! fails leaves the last reading to grow too old.

use std::time::Duration;

use fence_vmchannel_protocol::PlainText;
use futures_util::future::{join, join_all};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::extract::{Wanted, value};
use super::file::{FileError, content};
use super::host::Host;
use super::program::{ProgramError, output};
use super::{AttributeSettings, Facts, Maintenance, Source};

/// How often the host itself is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What looks.
#[derive(Debug, Clone)]
pub struct Keeper {
    facts: Facts,
    maintenance: Maintenance,
}

/// Why a look brought nothing.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{program} {cause}", program = .0, cause = .1)]
    Program(String, ProgramError),
    #[error("{path} {cause}", path = .0, cause = .1)]
    File(String, FileError),
    #[error("{0} is not read within {1} s")]
    Hung(String, u64),
    #[error("{0}")]
    NoValue(String),
}

impl Keeper {
    /// Looks for these facts.
    #[must_use]
    pub fn new(facts: Facts, maintenance: Maintenance) -> Self {
        facts.saw_host(Host::look(&maintenance));
        Self { facts, maintenance }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let attributes = self.facts.0.settings.attributes.iter().enumerate();
        let kept = attributes.map(|(place, attribute)| keep(&self.facts, place, attribute));
        join(self.keep_host(), join_all(kept)).await;
    }

    async fn keep_host(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.facts.saw_host(Host::look(&self.maintenance));
        }
    }
}

async fn keep(facts: &Facts, place: usize, attribute: &AttributeSettings) {
    let mut told = None;
    loop {
        let trouble = match look(attribute).await {
            Ok(value) => {
                facts.read(place, value);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if trouble != told {
            match &trouble {
                Some(why) => tracing::warn!(attribute = %attribute.name, "host status: {why}"),
                None => tracing::info!(attribute = %attribute.name, "host status: it is known again"),
            }
            told = trouble;
        }
        sleep(attribute.every).await;
    }
}

/// What the source says now; `None` where it says nothing that can be told.
async fn look(attribute: &AttributeSettings) -> Result<Option<PlainText>, LookError> {
    let text = match &attribute.source {
        Source::Command(words) => {
            let program = words.first().cloned().unwrap_or_default();
            output(words, attribute.timeout).await.map_err(|error| LookError::Program(program, error))?
        }
        Source::File(path) => {
            let shown = path.display().to_string();
            let mut reading = Box::pin(content(path.clone(), attribute.file_valid));
            let read = match timeout(attribute.timeout, &mut reading).await {
                Ok(read) => read,
                Err(_) => {
                    tracing::warn!(attribute = %attribute.name, "host status: {shown} does not answer");
                    let _late = reading.await; // one thread for it, however long it takes
                    return Err(LookError::Hung(shown, attribute.timeout.as_secs()));
                }
            };
            read.map_err(|error| LookError::File(shown, error))?
        }
    };
    let node = attribute.node.as_deref();
    let found = value(attribute.format, &text, Wanted { name: &attribute.source_name, node });
    let found = found.map_err(LookError::NoValue)?;
    Ok(if attribute.words.is_empty() { found.parse().ok() } else { attribute.words.of(&found).cloned() })
}
