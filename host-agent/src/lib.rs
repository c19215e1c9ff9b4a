//! The host agent: serves each guest's own channel, decides, stops the target, proves it, answers.

pub mod agent;
pub mod arbiter;
pub mod audit;
pub mod channel;
pub mod channels;
pub mod config;
pub mod control;
pub mod daemon;
pub mod domain;
pub mod domain_xml;
pub mod hints;
pub mod hooks;
pub mod host_status;
pub mod hypervisor;
pub mod identity;
pub mod inventory;
pub mod journal;
pub mod legacy;
mod list;
pub mod operator;
pub mod order;
pub mod orders;
pub mod policy;
pub mod reply;
pub mod router;
pub mod rules;
pub mod session;
