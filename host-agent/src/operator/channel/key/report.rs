//! What was done about a key, and what is to be done next.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::operator::report::Report;
use crate::operator::table::{plain, shell_word};

/// What `channel key add` prints.
#[derive(Debug, Serialize)]
pub struct AddReport {
    pub(super) domain: String,
    pub(super) uuid: Uuid,
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actions: Option<Vec<String>>,
    pub(super) file: PathBuf,
    pub(super) policy: PathBuf,
    /// From now on the guest has to sign.
    pub(super) is_first: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    /// Why a running agent does not take it yet.
    pub(super) problems: Vec<String>,
}

impl Report for AddReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { key, file, policy, .. } = self;
        let (domain, word) = (plain(&self.domain), shell_word(&self.domain));
        let (file, policy) = (file.display(), policy.display());
        let may = self.actions.as_ref().map_or("all that the guest may".to_owned(), |words| words.join(", "));
        writeln!(out, "{domain} has the key {key}, for {may}")?;
        writeln!(out, "  key     {file} (root only)")?;
        let (taken, from) = match self.problems.is_empty() {
            true => (" (a running agent takes it at once)", "From now on"),
            false => ("", "From then on"),
        };
        writeln!(out, "  policy  {policy}{taken}")?;
        tell_problems(&self.problems, out)?;
        if self.is_first {
            writeln!(out, "{from} the agent refuses what {domain} asks unsigned.")?;
        }
        writeln!(out, "To put it into the guest, as root on its console:")?;
        writeln!(out, "    install -d -m 0700 /etc/fence-vmchannel")?;
        match &self.secret {
            Some(secret) => writeln!(
                out,
                "    (umask 077; echo {} >/etc/fence-vmchannel/{key}.key)",
                shell_word(&plain(secret))
            )?,
            None => {
                writeln!(out, "    (umask 077; cat >/etc/fence-vmchannel/{key}.key)")?;
                writeln!(out, "  and paste the one line of {file}, then Ctrl-D")?;
            }
        }
        writeln!(out, "To try it, in the guest:")?;
        writeln!(out, "    fence_vmchannel -o monitor --key-file /etc/fence-vmchannel/{key}.key")?;
        writeln!(out, "Cluster software needs key_file=/etc/fence-vmchannel/{key}.key in its fence device,")?;
        writeln!(out, "and in the resource vm-client where there is one.")?;
        writeln!(out, "To take it away: fence-vmchanneld channel key remove {word} {key}")
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }
}

/// What keeps a running agent from taking what was written.
fn tell_problems(problems: &[String], out: &mut dyn Write) -> io::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "A running agent keeps the rules from before until this is mended:")?;
    problems.iter().try_for_each(|problem| writeln!(out, "  {}", plain(problem)))
}

/// What `channel key remove` prints.
#[derive(Debug, Serialize)]
pub struct RemoveReport {
    pub(super) domain: String,
    pub(super) uuid: Uuid,
    pub(super) key: String,
    /// How many keys it still has.
    pub(super) left: usize,
    /// Whether it may act unsigned again.
    pub(super) unsigned: bool,
    pub(super) policy: PathBuf,
    /// Why a running agent takes the key still.
    pub(super) problems: Vec<String>,
}

impl Report for RemoveReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (domain, word) = (plain(&self.domain), shell_word(&self.domain));
        if !self.problems.is_empty() {
            writeln!(
                out,
                "{domain} has no key {} any more, but a running agent still takes that key",
                self.key
            )?;
            return tell_problems(&self.problems, out);
        }
        writeln!(out, "{domain} has no key {} any more", self.key)?;
        match self.left {
            0 if self.unsigned => writeln!(out, "What {domain} asks need not be signed from now on."),
            0 => writeln!(
                out,
                "It was the last one, so {domain} may do nothing now: give it another one (fence-vmchanneld channel \
                 key add {word} NAME), or delete {} to let it act unsigned",
                self.policy.display()
            ),
            left => writeln!(out, "It has {left} more."),
        }
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.problems.is_empty())
    }
}
