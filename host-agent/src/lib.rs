//! The host agent: serves each guest's own channel, decides, stops the target, proves it, answers.

pub mod config;
pub mod control;
pub mod domain;
pub mod domain_xml;
pub mod hooks;
pub mod hypervisor;
pub mod identity;
pub mod operator;
pub mod policy;
