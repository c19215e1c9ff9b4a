//! The audit log: one line for each decision.
//!
//! In:  decisions and their ends. Out: `tracing` lines under the target `audit`.
//!
//! Invariant: guest bytes are never logged raw (names have no control characters), and a guest cannot write more than
//! [`LINES_PER_MINUTE`] lines about things that change nothing.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use fence_vmchannel_protocol::{Power, RequestId};
use tokio::time::Instant;

use crate::arbiter::{Decision, OrderNumber};
use crate::domain::Instance;
use crate::identity::{Asker, Guest};
use crate::order::Outcome;
use crate::orders::Orders;
use crate::policy::{Permit, Refusal};

/// How many lines a guest can cause in a minute.
pub const LINES_PER_MINUTE: u32 = 6;
const MINUTE: Duration = Duration::from_secs(60);

/// A power request was permitted, and taken or not. What it comes to is written when it ends.
pub fn accepted(permit: &Permit, request: RequestId, decision: &Decision, quota: &Quota) {
    let (asker, target, op) = (permit.asker().name(), permit.name(), word(permit.power()));
    let dialect = permit.asker().dialect().legacy();
    match decision {
        Decision::Begin(order) => {
            tracing::debug!(target: "audit", op, %target, %asker, dialect, %request, order, rule = permit.rule(), "accepted");
        }
        Decision::Join(order) => {
            tracing::debug!(target: "audit", op, %target, %asker, dialect, %request, order, "joined")
        }
        Decision::Repeat(_) => {
            tracing::debug!(target: "audit", op, %target, %asker, dialect, %request, "repeated")
        }
        Decision::Refuse(reason, why) => {
            if let Some(left_out) = quota.take() {
                let left_out = Some(left_out).filter(|count| *count > 0);
                tracing::info!(target: "audit", op, %target, %asker, dialect, %reason, why, left_out, "refused");
            }
        }
    }
}

fn word(power: Power) -> &'static str {
    match power {
        Power::Off => "off",
        Power::On => "on",
        Power::Reboot => "reboot",
    }
}

/// An order that ended: its one line.
pub struct Ended<'a> {
    /// What was ordered.
    pub permit: &'a Permit,
    /// How it ended.
    pub outcome: Option<&'a Outcome>,
    /// The process that it was about.
    pub instance: Option<&'a Instance>,
}

impl Ended<'_> {
    /// Writes the line. An order that changed anything is always written; one that had nothing to do, or whose start failed, is
    /// written within its asker's bounds.
    pub fn write(&self, order: OrderNumber, took: Duration, changed: bool, orders: &Orders) {
        let permit = self.permit;
        let left_out = orders.quota(permit.asker().uuid()).take();
        if !changed && left_out.is_none() {
            return;
        }
        let left_out = left_out.filter(|count| *count > 0);
        let (asker, target, uuid) = (permit.asker().name(), permit.name(), permit.target());
        let dialect = permit.asker().dialect().legacy();
        let (op, rule, took_ms) = (word(permit.power()), permit.rule(), took.as_millis());
        let pid = self.instance.map(|instance| instance.id.pid);
        let evidence = match self.outcome {
            Some(Outcome::Off(proof) | Outcome::Restarted(proof, _)) => Some(proof.evidence().word()),
            Some(Outcome::On | Outcome::Failed(..)) | None => None,
        };
        match self.outcome {
            Some(Outcome::Off(_) | Outcome::On | Outcome::Restarted(_, Ok(()))) => {
                tracing::info!(target: "audit", op, %target, %uuid, %asker, dialect, evidence, pid, took_ms, order,
                    rule, left_out, "done");
            }
            Some(Outcome::Restarted(_, Err(why))) => {
                tracing::warn!(target: "audit", op, %target, %uuid, %asker, dialect, evidence, pid, took_ms, order, rule, why, left_out,
                    "off, not seen started");
            }
            Some(Outcome::Failed(reason, why)) => {
                tracing::error!(target: "audit", op, %target, %uuid, %asker, dialect, %reason, why, pid, took_ms, order, rule, left_out,
                    "failed");
            }
            None => {
                tracing::error!(target: "audit", op, %target, %uuid, %asker, dialect, pid, took_ms, order, "dropped")
            }
        }
    }
}

/// What one guest may still write. In no minute, whenever it begins, more than [`LINES_PER_MINUTE`] lines.
#[derive(Debug, Default)]
pub struct Quota(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    /// When the lines of the last minute were written; nothing is held for who writes nothing.
    lines: VecDeque<Instant>,
    left_out: u64,
}

impl Quota {
    /// `Some(how many were left out since)` if a line may be written now.
    pub fn take(&self) -> Option<u64> {
        let mut written = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        while written.lines.front().is_some_and(|at| now.duration_since(*at) >= MINUTE) {
            written.lines.pop_front();
        }
        if written.lines.len() >= LINES_PER_MINUTE as usize {
            written.left_out += 1;
            return None;
        }
        written.lines.push_back(now);
        Some(std::mem::take(&mut written.left_out))
    }

    /// Whether it remembers anything that bounds the next line. A peer on a network has one though it is no domain.
    #[must_use]
    pub fn is_drawn_on(&self) -> bool {
        let written = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        written.lines.back().is_some_and(|at| at.elapsed() < MINUTE)
    }

    /// A guest's claim was refused.
    pub fn refused(&self, guest: &Guest, op: &str, target: &str, refusal: &Refusal) {
        self.refused_for(&guest.asker(), op, target, refusal);
    }

    /// The claim of anybody who may ask was refused.
    pub fn refused_for(&self, asker: &Asker, op: &str, target: &str, refusal: &Refusal) {
        if let Some(left_out) = self.take() {
            let (reason, rule, dialect) = (refusal.reason, &refusal.rule, asker.dialect().legacy());
            let asker = asker.name();
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::info!(target: "audit", op, target, %asker, dialect, %reason, rule, left_out, "refused");
        }
    }

    /// Somebody who is not the domain's QEMU connected to its socket.
    pub fn stranger(&self, domain: &str, pid: i32, uid: u32, why: &dyn std::fmt::Display) {
        if let Some(left_out) = self.take() {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::warn!(target: "audit", domain, pid, uid, %why, left_out, "stranger refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_lines_than_allowed_whenever_it_begins() {
        let quota = Quota::default();
        let mut written = Vec::new();

        for _ in 0..600 {
            tokio::time::advance(Duration::from_millis(700)).await;
            written.extend(quota.take().map(|_| Instant::now()));
        }

        let allowed = LINES_PER_MINUTE as usize;
        assert!(written.len() >= allowed * 6, "{}", written.len());
        let too_dense = written.windows(allowed + 1).find(|lines| lines[allowed] - lines[0] < MINUTE);
        assert_eq!(too_dense, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_out_is_told_with_the_next_line() {
        let quota = Quota::default();
        for _ in 0..LINES_PER_MINUTE {
            assert_eq!(quota.take(), Some(0));
        }

        assert_eq!((quota.take(), quota.take()), (None, None));
        assert!(quota.is_drawn_on());
        tokio::time::advance(MINUTE).await;

        assert!(!quota.is_drawn_on());
        assert_eq!(quota.take(), Some(2));
    }
}
