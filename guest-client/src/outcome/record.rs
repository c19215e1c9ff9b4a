//! The result as one line of JSON.
//!
//! In:  a finding. Out: one JSON object; its keys are always there, `null` where they do not apply.
//!
//! Invariant: `success` is true for exit code 0 only.

use fence_vmchannel_protocol::{HostStatus, Ruling, Verdict};
use serde::Serialize;

use super::{Exit, Finding};
use crate::options::Options;

#[derive(Serialize)]
struct Record<'a> {
    action: &'a str,
    target: Option<String>,
    success: bool,
    exit: u8,
    /// `done`, `refused`, `failed`; `null` where the host gave none.
    verdict: Option<&'a str>,
    state: Option<&'a str>,
    evidence: Option<&'a str>,
    uuid: Option<String>,
    took_ms: Option<u64>,
    reason: Option<&'a str>,
    detail: Option<&'a str>,
    simulated: bool,
    /// The answer to `host-status`, with the keys of the protocol.
    host_status: Option<&'a HostStatus>,
    /// What the caller would read on standard output without `--json`.
    lines: &'a [String],
    /// What the caller reads on standard error.
    messages: &'a [String],
}

pub(super) fn line(finding: &Finding, options: &Options) -> String {
    let (verdict, status) = (finding.verdict.as_ref(), finding.host_status.as_ref());
    let (word, reason) = match verdict.map(|v| v.ruling) {
        None => (None, None),
        Some(Ruling::Done) => (Some("done"), None),
        Some(Ruling::Refused(reason)) => (Some("refused"), Some(reason.word())),
        Some(Ruling::Failed(reason)) => (Some("failed"), Some(reason.word())),
    };
    let record = Record {
        action: options.action.word(),
        target: options.ask.as_ref().and_then(|ask| Some(ask.target()?.to_string())),
        success: finding.exit == Exit::Success,
        exit: finding.exit as u8,
        verdict: word,
        state: verdict.and_then(|v| Some(v.state?.word())),
        evidence: verdict.and_then(|v| Some(v.evidence?.word())),
        uuid: verdict.and_then(|v| Some(v.uuid?.to_string())),
        took_ms: verdict.and_then(took_ms),
        reason,
        detail: verdict.and_then(|v| v.detail.as_deref()),
        simulated: verdict.is_some_and(|v| v.simulated) || status.is_some_and(|s| s.simulated),
        host_status: status,
        lines: &finding.told,
        messages: &finding.complaints,
    };
    serde_json::to_string(&record).unwrap_or_default()
}

fn took_ms(verdict: &Verdict) -> Option<u64> {
    verdict.took.and_then(|took| u64::try_from(took.as_millis()).ok())
}
