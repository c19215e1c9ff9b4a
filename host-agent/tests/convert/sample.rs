//! One sample, converted as one of its `# test:` lines says.

use std::path::{Path, PathBuf};

use clap::Parser;
use fence_vmchannel_host_agent::operator::cli::{Command, CommandLine};
use fence_vmchannel_host_agent::operator::convert::{ConvertArgs, ConvertReport, Machine, convert_with};

use crate::incumbent::Incumbent;

/// A sample with the choices that are made for it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) text: String,
    /// The line after `# test:`.
    pub(crate) choices: String,
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert")
}

/// All of them, each once for every `# test:` line.
pub(crate) fn samples() -> Vec<Sample> {
    let entries = std::fs::read_dir(directory().join("samples")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    let conf =
        files.iter().filter(|file| name(file).ends_with(".conf") && !name(file).ends_with(".cluster.conf"));
    let each = conf.flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        let choices: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# test:")).map(str::trim).collect();
        assert!(!choices.is_empty(), "{}: no `# test:` line", file.display());
        let sample =
            |choices: &&str| Sample { name: name(file), text: text.clone(), choices: (*choices).to_owned() };
        choices.iter().map(sample).collect::<Vec<_>>()
    });
    each.collect()
}

impl Sample {
    /// Its arguments, as typed.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.is_xvmd() {
            words.push(directory().join("samples").join(&self.name).display().to_string());
        }
        let kept = self.choices.replace("\\ ", "\u{1}");
        let paths = directory().join("samples").display().to_string();
        let word = |word: &str| word.replace('\u{1}', " ").replace("samples", &paths);
        words.extend(kept.split(' ').filter(|choice| !choice.is_empty()).map(word));
        words
    }

    fn is_xvmd(&self) -> bool {
        self.choices.contains("--xvmd")
    }

    /// What is allowed here that was not before, by a choice in words.
    pub(crate) fn may_be_wider(&self) -> bool {
        ["--addresses-as members", "--open-as groups"].iter().any(|choice| self.choices.contains(choice))
    }

    pub(crate) fn before(&self) -> Incumbent {
        if self.is_xvmd() { Incumbent::without_groups() } else { Incumbent::read(&self.text) }
    }

    pub(crate) fn convert(&self, known: &Result<Vec<Machine>, String>) -> ConvertReport {
        convert_with(&self.args(), known).unwrap()
    }

    pub(crate) fn args(&self) -> ConvertArgs {
        let words = ["fence-vmchanneld", "convert-config"].map(str::to_owned).into_iter().chain(self.words());
        let line = CommandLine::try_parse_from(words);
        let Command::ConvertConfig(args) = line.unwrap().command else { panic!("another command") };
        args
    }
}
