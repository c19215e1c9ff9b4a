//! The audit log: one line for each decision.
//!
//! In:  decisions and their ends. Out: `tracing` lines under the target `audit`.
//!
//! Invariant: guest bytes are never logged raw (names have no control characters), and a guest cannot write more than
//! [`LINES_PER_MINUTE`] lines about things that change nothing.

use std::sync::Mutex;
use std::time::Duration;

use fence_vmchannel_protocol::RequestId;
use tokio::time::Instant;

use crate::arbiter::Decision;
use crate::domain::Instance;
use crate::identity::Guest;
use crate::order::Outcome;
use crate::policy::{Permit, Refusal};

/// How many lines a guest can cause in a minute.
pub const LINES_PER_MINUTE: u32 = 6;

/// A power request was permitted, and taken or not. What begins an order is always written.
pub fn accepted(permit: &Permit, request: RequestId, decision: &Decision) {
    let (asker, target, op) = (permit.asker().name(), permit.name(), permit.power());
    match decision {
        Decision::Begin(order) => {
            tracing::info!(target: "audit", %asker, ?op, %target, uuid = %permit.target(), %request, order,
                rule = permit.rule(), "order accepted");
        }
        Decision::Join(order) => {
            tracing::debug!(target: "audit", %asker, ?op, %target, %request, order, "joined")
        }
        Decision::Repeat(_) => tracing::debug!(target: "audit", %asker, ?op, %target, %request, "repeated"),
        Decision::Refuse(reason, why) => {
            tracing::debug!(target: "audit", %asker, ?op, %target, %request, %reason, why, "refused");
        }
    }
}

/// An order ended.
pub fn ended(permit: &Permit, outcome: Option<&Outcome>, instance: Option<&Instance>, took: Duration) {
    let (target, op, took_ms) = (permit.name(), permit.power(), took.as_millis());
    let pid = instance.map_or(0, |instance| instance.id.pid);
    match outcome {
        Some(Outcome::Off(proof)) => {
            tracing::info!(target: "audit", %target, ?op, pid, evidence = %proof.evidence(), took_ms, "off");
        }
        Some(Outcome::Restarted(proof, started)) => {
            let started = started.as_ref().map_or_else(String::as_str, |()| "yes");
            tracing::info!(target: "audit", %target, ?op, pid, evidence = %proof.evidence(), started, took_ms, "rebooted");
        }
        Some(Outcome::On) => tracing::info!(target: "audit", %target, ?op, took_ms, "on"),
        Some(Outcome::Failed(reason, why)) => {
            tracing::error!(target: "audit", %target, ?op, pid, %reason, why, took_ms, "order failed");
        }
        None => {
            tracing::error!(target: "audit", %target, ?op, pid, took_ms, "order ended without an outcome")
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
    pub fn refused(&self, guest: &Guest, what: &str, refusal: &Refusal) {
        if let Some(left_out) = self.take() {
            let (reason, rule) = (refusal.reason, &refusal.rule);
            tracing::info!(target: "audit", asker = %guest.name(), what, %reason, rule, left_out, "refused");
        }
    }

    /// Somebody who is not the domain's QEMU connected to its socket.
    pub fn stranger(&self, domain: &str, pid: i32, uid: u32, why: &dyn std::fmt::Display) {
        if let Some(left_out) = self.take() {
            tracing::warn!(target: "audit", domain, pid, uid, %why, left_out, "stranger refused");
        }
    }
}
