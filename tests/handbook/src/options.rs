//! A program's command line as roff.
//!
//! In:  its [`Command`]. Out: options, commands, and the sections of the text behind its help.

use clap::{Arg, Command};

use super::roff;

/// The options and arguments of a command, without those for help and version.
pub(crate) fn options(command: &Command) -> String {
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(is_shown).map(one).collect()
}

fn one(arg: &Arg) -> String {
    let mut names: Vec<String> =
        arg.get_short().map(|short| roff::bold(&format!("-{short}"))).into_iter().collect();
    let longs = arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default());
    names.extend(longs.map(|long| roff::bold(&format!("--{long}"))));
    let values: Vec<&str> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
    let takes = arg.get_action().takes_values();
    let value = if takes { roff::italic(&values.join(" ")) } else { String::new() };
    let head = match (names.is_empty(), takes) {
        (true, _) => value,
        (false, true) => format!("{} {value}", names.join(", ")),
        (false, false) => names.join(", "),
    };
    let says = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let says = match takes && !defaults.is_empty() {
        true => format!("{says} [default: {}]", defaults.join(" ")),
        false => says,
    };
    let choices: String = arg.get_possible_values().iter().filter(|_| takes).filter_map(choice).collect();
    let choices = if choices.is_empty() { choices } else { format!(".RS\n{choices}.RE\n") };
    format!(".TP\n{head}\n{}\n{choices}", roff::paragraphs(&says))
}

fn choice(value: &clap::builder::PossibleValue) -> Option<String> {
    let help = value.get_help()?.to_string();
    Some(format!(".TP\n{}\n{}\n", roff::bold(value.get_name()), roff::paragraphs(&help)))
}

/// All commands of a program, each with its options.
pub(crate) fn commands(program: &Command) -> String {
    program
        .get_subcommands()
        .filter(|c| c.get_name() != "help")
        .map(|command| described(command, ""))
        .collect()
}

fn described(command: &Command, before: &str) -> String {
    let name = format!("{before}{}", command.get_name());
    if command.get_subcommands().next().is_some() {
        let inner = format!("{name} ");
        return command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .map(|c| described(c, &inner))
            .collect();
    }
    let positionals = command.get_positionals().map(|arg| {
        let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
        let value = roff::italic(value.unwrap_or(arg.get_id().as_str()));
        let many =
            if arg.get_action().takes_values() && arg.get_num_args().is_some_and(|n| n.max_values() > 1) {
                "..."
            } else {
                ""
            };
        if arg.is_required_set() { format!(" {value}{many}") } else { format!(" [{value}{many}]") }
    });
    let required = command.get_opts().filter(|arg| arg.is_required_set()).map(|arg| {
        let value = arg
            .get_value_names()
            .and_then(|names| names.first())
            .map(|name| name.as_str())
            .unwrap_or_default();
        format!(
            " {} {}",
            roff::bold(&format!("--{}", arg.get_long().unwrap_or_default())),
            roff::italic(value)
        )
    });
    let some = if command.get_opts().any(|arg| !arg.is_required_set() && !arg.is_global_set()) {
        " [\\fIoptions\\fR]"
    } else {
        ""
    };
    let usage = format!(
        "{}{}{some}{}",
        roff::bold(&name),
        required.collect::<String>(),
        positionals.collect::<String>()
    );
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let ending = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples =
        sections(&ending).into_iter().find(|(heading, _)| heading == "Examples").map(|(_, text)| text);
    let examples =
        examples.map(|text| format!(".RS\n.PP\n{}.RE\n", roff::example(&text))).unwrap_or_default();
    format!(".SS {}\n{}\n{}{examples}", quoted(&usage), roff::paragraphs(&about), options(command))
}

fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('"', "\\(dq"))
}

/// A section of the text behind a program's help.
pub(crate) fn ending(program: &Command, heading: &str) -> Option<String> {
    let ending = program.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, text) = sections(&ending).into_iter().find(|(known, _)| known == heading)?;
    Some(roff::example(&text))
}

/// `Heading:` with the lines below it, or behind it.
fn sections(ending: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in ending.lines() {
        let heading = line.split_once(':').filter(|_| !line.starts_with(' '));
        let name = heading.map(|(heading, _)| heading.split(',').next().unwrap_or(heading));
        match (heading, name, sections.last_mut()) {
            (Some((_, rest)), Some(name), _) if name.len() < 20 => {
                sections.push((name.to_owned(), format!("{}\n", rest.trim())));
            }
            (_, _, Some((_, text))) => text.push_str(&format!("{line}\n")),
            (_, _, None) => {}
        }
    }
    sections.into_iter().map(|(heading, text)| (heading, text.trim_matches('\n').to_owned())).collect()
}
