//! Reads everything that was named on the command line.
//!
//! In:  [`ConvertArgs`]. Out: [`Before`], the remarks of all inputs, and what they are called.
//!
//! Invariant: reads only.

use std::path::{Path, PathBuf};

use super::before::Before;
use super::finding::{Finding, Place, Remarks};
use super::{ConvertArgs, ConvertError, cluster_conf, fence_virt, xvmd};

/// Where fence_virtd has its configuration.
pub(super) const DEFAULT_FILE: &str = "/etc/fence_virt.conf";

/// What was read.
pub(super) struct Input {
    pub(super) before: Before,
    pub(super) findings: Vec<Finding>,
    /// For headings.
    pub(super) names: String,
    /// The input that decides, as a whole.
    pub(super) whole: Place,
}

pub(super) fn read(args: &ConvertArgs) -> Result<Input, ConvertError> {
    let (mut before, mut findings, mut names) = (Before::default(), Vec::new(), Vec::new());
    let file = match (&args.file, &args.xvmd) {
        (Some(file), Some(_)) => return Err(ConvertError::TwoDaemons(file.clone())),
        (None, Some(_)) => None,
        (file, None) => Some(file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))),
    };
    if let Some(file) = file {
        let mut remarks = Remarks::on(0, &file.display().to_string());
        let text = text_of(&file)?;
        let parsed = fence_virt::read(&text, &mut before, &mut remarks);
        parsed.map_err(|source| ConvertError::Grammar { file: file.clone(), source })?;
        names.push(file.display().to_string());
        findings.append(&mut remarks.findings);
    }
    if let Some(options) = &args.xvmd {
        let mut remarks = Remarks::on(0, "fence_xvmd's options");
        xvmd::read(options, &mut before, &mut remarks);
        names.push("fence_xvmd's options".to_owned());
        findings.append(&mut remarks.findings);
    }
    if let Some(file) = &args.cluster_conf {
        let mut remarks = Remarks::on(1, &file.display().to_string());
        let parsed = cluster_conf::read(&text_of(file)?, &mut before, &mut remarks);
        parsed.map_err(|source| ConvertError::ClusterConf { file: file.clone(), source })?;
        names.push(file.display().to_string());
        findings.append(&mut remarks.findings);
    }
    let whole = Place { rank: 0, file: names.first().cloned().unwrap_or_default(), line: 0 };
    Ok(Input { before, findings, names: names.join(" and "), whole })
}

fn text_of(file: &Path) -> Result<String, ConvertError> {
    std::fs::read_to_string(file).map_err(|source| ConvertError::Unreadable { file: file.to_owned(), source })
}
