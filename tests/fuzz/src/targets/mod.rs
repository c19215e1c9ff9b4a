//! One file for each decoder.

pub(crate) mod domain_xml;
pub(crate) mod hook_xml;
pub(crate) mod journal;
pub(crate) mod lines;
pub(crate) mod notes;
pub(crate) mod policy;
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod settings;
pub(crate) mod signing;
