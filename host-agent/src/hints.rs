//! What hook notes mean to the census.
//!
//! In:  notes of the spool. Out: hints.
//!
//! Invariant: a note only hastens a look; nothing is concluded from it but which sockets to have ready for a domain that is
//! about to start, and these are the domain's own by their names.

use std::path::{Path, PathBuf};

use fence_vmchannel_protocol::note::{DomainXml, Note, Operation};
use tokio::sync::mpsc;

use crate::domain::{Domain, Standing};
use crate::domain_xml;
use crate::hooks::Spool;
use crate::inventory::Hint;

/// Turns notes into hints until it is dropped.
pub async fn follow(mut spool: Spool, guests_dir: PathBuf, hints: mpsc::Sender<Hint>) {
    loop {
        let note = spool.next().await;
        let hint = hint_of(&note, &guests_dir);
        tracing::debug!(domain = %note.domain.escape_debug(), operation = ?note.operation, "hook note");
        if hints.send(hint).await.is_err() {
            return;
        }
    }
}

fn hint_of(note: &Note, guests_dir: &Path) -> Hint {
    let DomainXml::Whole(xml) = &note.xml else { return Hint::Anything };
    let Ok(parsed) = domain_xml::parse(xml, guests_dir) else { return Hint::Anything };
    if note.operation == Operation::Release {
        return Hint::Released(parsed.uuid);
    }
    if !matches!(note.operation, Operation::Prepare | Operation::Migrate | Operation::Restore) {
        return Hint::Changed(parsed.uuid);
    }
    Hint::Starting(Box::new(Domain {
        uuid: parsed.uuid,
        name: parsed.name,
        standing: Standing::Unclear,
        persistent: false,
        cluster: None,
        channels: parsed.channels,
        owner: None,
        instance: None,
    }))
}
