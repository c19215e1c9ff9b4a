//! The settings of the host's status.
//!
//! In:  the table `[host-status]` as it was written. Out: [`Settings`], all of it valid.
//!
//! Invariant: what guests may know is what is written here; a program is a list of words with an absolute path first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_protocol::limits::ATTRIBUTES_MOST;
use fence_vmchannel_protocol::{AttributeName, PlainText};
use serde::{Deserialize, Serialize};

use super::{Format, Words};

/// What guests learn of every host; `name` is what `vm-client` calls the host's name.
const RESERVED: [&str; 8] =
    ["agent", "libvirt", "host", "name", "maintenance", "load", "processors", "uptime"];

/// The table as it was written.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct SettingsTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    host_name: Option<String>,
    hide: Vec<Hidden>,
    #[serde(rename = "attribute")]
    attributes: Vec<AttributeTable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Hidden {
    HostName,
    Load,
    Uptime,
}

/// One `[[host-status.attribute]]` as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct AttributeTable {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(default)]
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_valid_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    words: BTreeMap<String, String>,
}

/// Why the table was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[host-status] {0}")]
pub(crate) struct SettingsError(String);

/// Where an attribute's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// What a program prints: its absolute path and its arguments.
    Command(Vec<String>),
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeSettings {
    /// What guests call it.
    pub name: AttributeName,
    /// Where its value comes from.
    pub source: Source,
    /// How that is read.
    pub format: Format,
    /// What the source calls it.
    pub source_name: String,
    /// Whose it is, where the source has several nodes.
    pub node: Option<String>,
    /// How long after a look the next one begins.
    pub every: Duration,
    /// How long a look may take.
    pub timeout: Duration,
    /// How long a value is told after it was found out.
    pub valid: Duration,
    /// How long ago a file may have been written.
    pub file_valid: Option<Duration>,
    /// What numbers are called; empty: told as they are.
    pub words: Words,
}

/// The settings that hold; written as their table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(into = "SettingsTable")]
pub struct Settings {
    /// The host's name for guests; `None`: its own.
    pub host_name: Option<PlainText>,
    /// Not told.
    pub hides_host_name: bool,
    /// Not told, nor the number of processors.
    pub hides_load: bool,
    /// Not told.
    pub hides_uptime: bool,
    /// What else is told.
    pub attributes: Vec<AttributeSettings>,
}

impl SettingsTable {
    /// The settings in this table.
    pub(crate) fn check(self) -> Result<Settings, SettingsError> {
        let wrong = |what: String| SettingsError(what);
        let name = self
            .host_name
            .map(|name| name.parse::<PlainText>().map_err(|e| format!("host-name {name:?}: {e}")));
        let attributes = self.attributes.into_iter().map(AttributeTable::check);
        let attributes = attributes.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if attributes.len() > ATTRIBUTES_MOST {
            return Err(wrong(format!(
                "has {} attributes: {ATTRIBUTES_MOST} fit into an answer",
                attributes.len()
            )));
        }
        let mut names: Vec<_> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        names.sort_unstable();
        if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next) {
            return Err(wrong(format!("attribute {twice:?} is there twice: give each its own name")));
        }
        Ok(Settings {
            host_name: name.transpose().map_err(wrong)?,
            hides_host_name: self.hide.contains(&Hidden::HostName),
            hides_load: self.hide.contains(&Hidden::Load),
            hides_uptime: self.hide.contains(&Hidden::Uptime),
            attributes,
        })
    }
}

impl Settings {
    /// As lines of a settings file; none where nothing is set.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct File<'a> {
            host_status: &'a Settings,
        }
        if *self == Self::default() {
            return Vec::new();
        }
        let text = toml::to_string(&File { host_status: self }).unwrap_or_default();
        std::iter::once("").chain(text.trim_end().lines()).map(str::to_owned).collect()
    }
}

impl From<Settings> for SettingsTable {
    fn from(settings: Settings) -> Self {
        let hide = [
            (settings.hides_host_name, Hidden::HostName),
            (settings.hides_load, Hidden::Load),
            (settings.hides_uptime, Hidden::Uptime),
        ];
        Self {
            host_name: settings.host_name.map(String::from),
            hide: hide.into_iter().filter_map(|(hides, what)| hides.then_some(what)).collect(),
            attributes: settings.attributes.into_iter().map(AttributeTable::from).collect(),
        }
    }
}

impl From<AttributeSettings> for AttributeTable {
    fn from(attribute: AttributeSettings) -> Self {
        let (file, command) = match attribute.source {
            Source::File(file) => (Some(file), None),
            Source::Command(words) => (None, Some(words)),
        };
        let of_several = attribute.format != Format::Text;
        let words = attribute.words.written();
        Self {
            name: attribute.name.into(),
            file,
            command,
            format: attribute.format,
            source_name: of_several.then_some(attribute.source_name),
            node: attribute.node,
            every_seconds: Some(attribute.every.as_secs()),
            timeout_seconds: Some(attribute.timeout.as_secs()),
            valid_seconds: Some(attribute.valid.as_secs()),
            file_valid_seconds: attribute.file_valid.map(|valid| valid.as_secs()),
            words: words.map(|(range, word)| (range.to_owned(), word.to_owned())).collect(),
        }
    }
}

impl AttributeTable {
    fn check(self) -> Result<AttributeSettings, String> {
        let called = self.name.clone();
        self.checked().map_err(|what| format!("attribute {called:?}: {what}"))
    }

    fn checked(self) -> Result<AttributeSettings, String> {
        let name: AttributeName = self.name.parse().map_err(|error| format!("{error}"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err("the host itself is told under this name: take another one".into());
        }
        let every = seconds("every-seconds", self.every_seconds, 10, 1)?;
        let timeout = seconds("timeout-seconds", self.timeout_seconds, 5, 1)?;
        let needed = (every + timeout).as_secs();
        let valid = seconds("valid-seconds", self.valid_seconds, needed + 2 * every.as_secs(), needed)?;
        let file_valid = self.file_valid_seconds.map(|told| seconds("file-valid-seconds", Some(told), 0, 1));
        let source = source(self.file, self.command)?;
        if file_valid.is_some() && !matches!(source, Source::File(_)) {
            return Err("file-valid-seconds is for a `file`".into());
        }
        if self.format == Format::Text && (self.node.is_some() || self.source_name.is_some()) {
            return Err("node and source-name are for format = \"attrd-updater\" or \"crm-mon\"".into());
        }
        Ok(AttributeSettings {
            source_name: self.source_name.unwrap_or(self.name),
            name,
            source,
            format: self.format,
            node: self.node,
            every,
            timeout,
            valid,
            file_valid: file_valid.transpose()?,
            words: Words::read(&self.words)?,
        })
    }
}

fn source(file: Option<PathBuf>, command: Option<Vec<String>>) -> Result<Source, String> {
    match (file, command) {
        (Some(file), None) if file.is_absolute() => Ok(Source::File(file)),
        (Some(file), None) => Err(format!("file = {:?}: expected an absolute path", file.display())),
        (None, Some(words)) => match words.first() {
            Some(program) if program.starts_with('/') && !words.iter().any(|word| word.contains('\0')) => {
                Ok(Source::Command(words))
            }
            Some(_) | None => {
                Err("command = [\"/absolute/path\", \"argument\", ...] is expected; there is no shell".into())
            }
        },
        (None, None) => Err("say where it comes from: `file` or `command`".into()),
        (Some(_), Some(_)) => Err("it comes from a `file` or a `command`, not both".into()),
    }
}

fn seconds(key: &str, told: Option<u64>, default: u64, least: u64) -> Result<Duration, String> {
    const MOST: u64 = 86_400;
    let value = told.unwrap_or(default);
    let in_range = (least..=MOST).contains(&value);
    in_range
        .then(|| Duration::from_secs(value))
        .ok_or_else(|| format!("{key} = {value}: expected {least} to {MOST}"))
}
