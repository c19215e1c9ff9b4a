//! The audit log: one line for each decision.
//!
//! In:  decisions and their ends. Out: `tracing` lines under the target `audit`.
//!
//! Invariant: guest bytes are never logged raw (names have no control characters), and a guest cannot write more than
//! [`LINES_PER_MINUTE`] lines about things that change nothing.

use std::sync::Mutex;
use std::time::Duration;

use fence_vmchannel_protocol::{Power, RequestId};
use tokio::time::Instant;

use crate::arbiter::{Decision, OrderNumber};
use crate::domain::Instance;
use crate::identity::Guest;
use crate::order::Outcome;
use crate::orders::Orders;
use crate::policy::{Permit, Refusal};

/// How many lines a guest can cause in a minute.
pub const LINES_PER_MINUTE: u32 = 6;

/// A power request was permitted, and taken or not. What it comes to is written when it ends.
pub fn accepted(permit: &Permit, request: RequestId, decision: &Decision, quota: &Quota) {
    let (asker, target, op) = (permit.asker().name(), permit.name(), word(permit.power()));
    match decision {
        Decision::Begin(order) => {
            tracing::debug!(target: "audit", op, %target, %asker, %request, order, rule = permit.rule(), "accepted");
        }
        Decision::Join(order) => {
            tracing::debug!(target: "audit", op, %target, %asker, %request, order, "joined")
        }
        Decision::Repeat(_) => tracing::debug!(target: "audit", op, %target, %asker, %request, "repeated"),
        Decision::Refuse(reason, why) => {
            if let Some(left_out) = quota.take() {
                let left_out = Some(left_out).filter(|count| *count > 0);
                tracing::info!(target: "audit", op, %target, %asker, %reason, why, left_out, "refused");
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
    /// Writes the line. An order that acted is always written; one that had nothing to do is written within its asker's
    /// bounds.
    pub fn write(&self, order: OrderNumber, took: Duration, acted: bool, orders: &Orders) {
        let permit = self.permit;
        let left_out = orders.quota(permit.asker().uuid()).take();
        if !acted && left_out.is_none() {
            return;
        }
        let left_out = left_out.filter(|count| *count > 0);
        let (asker, target, uuid) = (permit.asker().name(), permit.name(), permit.target());
        let (op, rule, took_ms) = (word(permit.power()), permit.rule(), took.as_millis());
        let pid = self.instance.map(|instance| instance.id.pid);
        let evidence = match self.outcome {
            Some(Outcome::Off(proof) | Outcome::Restarted(proof, _)) => Some(proof.evidence().word()),
            Some(Outcome::On | Outcome::Failed(..)) | None => None,
        };
        match self.outcome {
            Some(Outcome::Off(_) | Outcome::On | Outcome::Restarted(_, Ok(()))) => {
                tracing::info!(target: "audit", op, %target, %uuid, %asker, evidence, pid, took_ms, order, rule,
                    left_out, "done");
            }
            Some(Outcome::Restarted(_, Err(why))) => {
                tracing::warn!(target: "audit", op, %target, %uuid, %asker, evidence, pid, took_ms, order, rule, why, left_out,
                    "off, not seen started");
            }
            Some(Outcome::Failed(reason, why)) => {
                tracing::error!(target: "audit", op, %target, %uuid, %asker, %reason, why, pid, took_ms, order, rule, left_out,
                    "failed");
            }
            None => {
                tracing::error!(target: "audit", op, %target, %uuid, %asker, pid, took_ms, order, "dropped")
            }
        }
    }
}

/// What one guest may still write this minute.
#[derive(Debug)]
pub struct Quota(Mutex<(Instant, u32, u64)>);

impl Default for Quota {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0, 0)))
    }
}

impl Quota {
    /// `Some(how many were left out since)` if a line may be written now.
    pub fn take(&self) -> Option<u64> {
        let mut quota = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (since, written, left_out) = &mut *quota;
        if since.elapsed() >= Duration::from_secs(60) {
            (*since, *written) = (Instant::now(), 0);
        }
        if *written >= LINES_PER_MINUTE {
            *left_out += 1;
            return None;
        }
        *written += 1;
        Some(std::mem::take(left_out))
    }

    /// A guest's claim was refused.
    pub fn refused(&self, guest: &Guest, op: &str, target: &str, refusal: &Refusal) {
        if let Some(left_out) = self.take() {
            let (reason, rule, asker) = (refusal.reason, &refusal.rule, guest.name());
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::info!(target: "audit", op, target, %asker, %reason, rule, left_out, "refused");
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
