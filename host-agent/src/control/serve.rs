//! The agent's side of the control socket.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fence_vmchannel_protocol::{PowerState, Target};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::{Answer, ChannelReport, GuestReport, Question};
use crate::agent::Agent;
use crate::audit::Quota;
use crate::channel::socket::Listener;
use crate::domain::{ChannelSpec, Domain, Mode, Port};
use crate::inventory::{Hint, look_at_all};
use crate::policy::Action;
use crate::rules::Problems;

/// How long an operator's command may take to ask and to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the domains' states may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait where descriptors are short, and where the socket cannot be made.
const RETRY: Duration = Duration::from_millis(500);
const REOPEN: Duration = Duration::from_secs(1);
/// How often to look whether the socket's file is still there, where nobody asks.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Bytes of a question.
const QUESTION_BYTES: u64 = 16 * 1024;

/// Answers questions, one after the other, until it is dropped. The socket is there when this returns, unless the log says why not.
pub fn serve(path: PathBuf, agent: Arc<Agent>, problems: Problems) -> impl Future<Output = ()> {
    let first = Listener::open(&path, None);
    async move { answer_all(first, &path, &agent, &problems).await }
}

async fn answer_all(first: io::Result<Listener>, path: &Path, agent: &Agent, problems: &Problems) {
    let mut listener = opened(first, path).await;
    let mut file = inode(path);
    loop {
        let Ok(came) = timeout(LOOK_AGAIN, listener.accept()).await else {
            // Somebody may have removed it.
            if inode(path) != file {
                listener = opened(Listener::open(path, None), path).await;
                file = inode(path);
            }
            continue;
        };
        match came {
            Ok((stream, _)) => {
                if let Err(error) = timeout(PATIENCE, answer(stream, agent, problems)).await {
                    tracing::debug!(%error, "an operator's command did not read its answer");
                }
            }
            // Who waits at the socket is answered later; a new socket would take a descriptor too.
            Err(error) => {
                if agent.board.shortage().take().is_some() {
                    tracing::warn!(path = %path.display(), %error, "an operator's command could not be taken; trying again");
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// What tells the file at this path from any other that was there.
fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|found| found.ino())
}

/// The socket, as soon as it can be made.
async fn opened(first: io::Result<Listener>, path: &Path) -> Listener {
    let (mut opened, quota) = (first, Quota::default());
    loop {
        match opened {
            Ok(listener) => return listener,
            Err(error) if quota.take().is_some() => {
                tracing::error!(path = %path.display(), %error, "the control socket cannot be made");
            }
            Err(_) => {}
        }
        sleep(REOPEN).await;
        opened = Listener::open(path, None);
    }
}

async fn answer(mut stream: UnixStream, agent: &Agent, problems: &Problems) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(QUESTION_BYTES)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Guests) => guests(agent, problems).await,
        Ok(Question::Explain { source, action, target }) => {
            explain(agent, &source, &action, &target).unwrap_or_else(|text| Answer::Error { text })
        }
        Ok(Question::Look { domain }) => {
            let _ = agent.hints.try_send(Hint::Changed(domain)); // a full queue is looked at all the same
            Answer::Looks
        }
        Err(error) => Answer::Error { text: format!("not a question: {error}") },
    };
    write.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await
}

async fn guests(agent: &Agent, problems: &Problems) -> Answer {
    let domains: Vec<Arc<Domain>> = agent.domains().iter().cloned().collect();
    let named = agent.hypervisor.named_now();
    let states =
        look_at_all(&*agent.hypervisor, &agent.inventory, (&domains, named.as_ref()), LOOK_PATIENCE).await;
    let mut guests: Vec<_> =
        domains.iter().zip(states).map(|(domain, state)| guest(agent, domain, state)).collect();
    guests.sort_by(|one: &GuestReport, other| one.name.cmp(&other.name));
    Answer::Guests {
        libvirt_connected: agent.hypervisor.is_connected(),
        problems: problems.now().iter().map(ToString::to_string).collect(),
        guests,
    }
}

fn guest(agent: &Agent, domain: &Domain, state: Option<PowerState>) -> GuestReport {
    let state = match state {
        Some(PowerState::On) => "on",
        Some(PowerState::Off) => "off",
        None => "unknown",
    };
    let channel = |spec: &ChannelSpec| ChannelReport {
        port: match spec.port {
            Port::Virtio => "virtio",
            Port::Serial => "serial",
        }
        .into(),
        mode: match spec.mode {
            Mode::Connect => "connect",
            Mode::Bind => "bind",
        }
        .into(),
        path: spec.path.to_path_buf(),
        state: agent.board.of(domain.uuid, spec).to_string(),
    };
    GuestReport {
        name: domain.name.to_string(),
        uuid: domain.uuid,
        state: state.into(),
        cluster: domain.cluster.clone(),
        pid: domain.instance.as_ref().filter(|_| domain.is_alive()).map(|instance| instance.id.pid),
        channels: domain.channels.iter().map(channel).collect(),
    }
}

fn explain(agent: &Agent, source: &str, action: &str, target: &str) -> Result<Answer, String> {
    let domains = agent.domains();
    let find = |text: &str| {
        let target: Target = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        let unknown = || format!("no domain {text:?} on this host; `fence-vmchanneld guests` lists them");
        domains.find(&target).cloned().ok_or_else(unknown)
    };
    let action: Action = action.parse()?;
    let decision = agent.rules().explain(&*find(source)?, action, &*find(target)?);
    Ok(Answer::Explain { allowed: decision.allowed, rule: decision.rule })
}
