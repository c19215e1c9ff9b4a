//! Man pages: what people wrote, with what the programs say put in.
//!
//! In:  `docs/man/source/NAME.SECTION`. Out: `docs/man/NAME.SECTION`.
//!
//! A line `@AGENT-OPTIONS@`, and so on, is replaced as a whole.

use std::path::Path;

use fence_vmchannel_guest_client::metadata;
use fence_vmchannel_guest_client::options::Personality;

use super::options::{commands, ending, options};
use super::{HandbookError, Leaf, agent, client, markdown, read, roff};

const SOURCE: &str = "docs/man/source";

pub(crate) fn pages(root: &Path) -> Result<Vec<Leaf>, HandbookError> {
    let directory = root.join(SOURCE);
    let unreadable = |source| HandbookError::File { file: directory.clone(), source };
    let entries = std::fs::read_dir(&directory)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.iter().map(|name| page(root, name)).collect()
}

fn page(root: &Path, name: &str) -> Result<Leaf, HandbookError> {
    let path = format!("{SOURCE}/{name}");
    let source = read(root, &path)?;
    let mut text = format!(".\\\" Made by `make man` from {path}: change that one\n");
    for line in source.lines() {
        if !line.starts_with('@') {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        let missing = || HandbookError::Mark { file: root.join(&path), mark: line.to_owned() };
        text.push_str(&put_in(root, line.trim_matches('@'))?.ok_or_else(missing)?);
    }
    let text = text.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    Ok(Leaf { path: Path::new("docs/man").join(name), text })
}

fn put_in(root: &Path, mark: &str) -> Result<Option<String>, HandbookError> {
    let operations = || read(root, "docs/operations.md");
    Ok(match mark {
        "AGENT-OPTIONS" => Some(options(&agent())),
        "AGENT-COMMANDS" => Some(commands(&agent())),
        "AGENT-EXAMPLES" => ending(&agent(), "Examples"),
        "AGENT-ENVIRONMENT" => ending(&agent(), "Environment"),
        "AGENT-EXIT" => ending(&agent(), "Exit codes"),
        "CLIENT-OPTIONS" => Some(options(&client())),
        "CLIENT-ACTIONS" => ending(&client(), "Actions"),
        "CLIENT-EXAMPLES" => ending(&client(), "Examples"),
        "CLIENT-EXIT" => ending(&client(), "Exit codes"),
        "CLIENT-KEYS" => Some(keys(&metadata::xml(Personality::Vmchannel))),
        "BROKER-OPTIONS" => Some(options(&fence_vmchannel_guest_client::broker::command())),
        "SETTINGS" => Some(settings(&operations()?)),
        "ATTRIBUTE-KEYS" => Some(attribute_keys(&operations()?)),
        "POLICY-EXAMPLE" => Some(roff::example(&markdown::code(&operations()?, "## Policy", "toml"))),
        _ => None,
    })
}

/// The keys of standard input, from what cluster software reads.
fn keys(metadata: &str) -> String {
    let parameters = metadata.split("<parameter name=\"").skip(1);
    let each = parameters.map(|parameter| {
        let name = parameter.split('"').next().unwrap_or_default();
        let says =
            parameter.split_once("<shortdesc lang=\"en\">").and_then(|(_, rest)| rest.split('<').next());
        format!(".TP\n{}\n{}\n", roff::bold(name), roff::paragraphs(says.unwrap_or_default()))
    });
    each.collect()
}

/// The table of settings.
fn settings(operations: &str) -> String {
    let rows = markdown::table(operations, "## Settings");
    let each = rows.iter().map(|row| match row.as_slice() {
        [key, default, meaning] => {
            let (key, default, meaning) =
                (markdown::inline(key), markdown::inline(default), markdown::inline(meaning));
            let default = if default.is_empty() { default } else { format!(" (default: {default})") };
            format!(".TP\n{key}{default}\n{meaning}\n")
        }
        _ => String::new(),
    });
    each.collect()
}

/// The table of an attribute's keys, each of which is told with its default.
fn attribute_keys(operations: &str) -> String {
    let rows = markdown::table(operations, "### What guests may know of their host");
    let each = rows.iter().filter_map(|row| match row.as_slice() {
        [key, meaning] => Some(format!(".TP\n{}\n{}\n", markdown::inline(key), markdown::inline(meaning))),
        _ => None,
    });
    each.collect()
}
