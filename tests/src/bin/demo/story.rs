//! Telling: headings, prose, and commands that are shown, run, and shown with what they printed.
//!
//! In:  commands for the host's or a guest's shell. Out: [`Heard`], to be checked against what it should be.
//!
//! Invariant: what is shown under a command is what that run of it printed.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Guest, LabError, Ran};

use crate::hosting::Host;
use crate::interruption::interrupted;

/// What a step returns.
pub(crate) type Told<T> = std::result::Result<T, Stumble>;

/// Why the story could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stumble {
    /// The lab failed.
    #[error("{0}")]
    Lab(#[from] LabError),
    /// A program did not do what it should.
    #[error("`{command}` should have {wanted}, but ended with exit code {exit_code}:\n{output}")]
    Unexpected { command: String, wanted: String, exit_code: i32, output: String },
    /// Something was found that should not be.
    #[error("{0}")]
    Wrong(String),
    /// The story has nobody to listen.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// The teller.
#[derive(Debug)]
pub(crate) struct Story<'lab> {
    host: &'lab Host<'lab>,
    begun: Instant,
    chapters: u32,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Heard {
    command: String,
    ran: Ran,
}

impl<'lab> Story<'lab> {
    pub(crate) fn on(host: &'lab Host<'lab>, begun: Instant) -> Self {
        Self { host, begun, chapters: 0 }
    }

    /// How long the story has been told.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A heading.
    pub(crate) fn chapter(&mut self, title: &str) -> Told<()> {
        self.chapters += 1;
        let seconds = self.begun.elapsed().as_secs();
        let heading = paint("1", &format!("{}. {title}", self.chapters));
        say(&format!("\n{heading}  {}\n", paint("2", &format!("[{seconds} s]"))))
    }

    /// Prose.
    pub(crate) fn tell(&self, text: &str) -> Told<()> {
        say(text)
    }

    /// A command on the host that somebody else runs.
    pub(crate) fn show_host(&self, command: &str) -> Told<()> {
        say(&format!("{} {command}", paint("1;36", "host#")))
    }

    /// A command on the host.
    pub(crate) fn host(&self, command: &str) -> Told<Heard> {
        self.show_host(command)?;
        heard(command, self.host.run(command)?)
    }

    /// A command in a guest.
    pub(crate) fn guest(&self, guest: &Guest, command: &str) -> Told<Heard> {
        say(&format!("{} {command}", paint("1;32", &format!("{}#", guest.name()))))?;
        heard(command, guest.run(command)?)
    }

    /// Waits until a guest has a shell, and tells how long that was.
    pub(crate) fn await_boot(&self, guests: &[&Guest]) -> Told<()> {
        let begun = Instant::now();
        for guest in guests {
            guest.wait_for_shell()?;
        }
        let took = begun.elapsed().as_secs_f64();
        let names: Vec<&str> = guests.iter().map(|guest| guest.name()).collect();
        let note = format!("({} booted in {took:.1} s)\n", names.join(", "));
        say(&paint("2", &note))
    }
}

impl Heard {
    /// Goes on only if it ended with this exit code.
    pub(crate) fn exits(self, wanted: i32) -> Told<Self> {
        let right = self.ran.exit_code == wanted;
        self.check(right, &format!("ended with exit code {wanted}"))
    }

    /// Goes on only if it printed this.
    pub(crate) fn says(self, part: &str) -> Told<Self> {
        let right = self.ran.output.contains(part);
        self.check(right, &format!("printed {part:?}"))
    }

    /// Goes on only if it did not print this.
    pub(crate) fn omits(self, part: &str) -> Told<Self> {
        let right = !self.ran.output.contains(part);
        self.check(right, &format!("printed nothing about {part:?}"))
    }

    /// What it printed.
    pub(crate) fn output(&self) -> &str {
        &self.ran.output
    }

    /// The number that stands between `before` and `after` in what it printed.
    pub(crate) fn number(&self, before: &str, after: &str) -> Told<f64> {
        let places = self.ran.output.split(before).skip(1);
        let mut texts = places.filter_map(|rest| rest.split(after).next());
        let number = texts.find_map(|text| text.trim().parse().ok());
        number.ok_or_else(|| self.unexpected(&format!("printed a number before {after:?}")))
    }

    fn check(self, right: bool, wanted: &str) -> Told<Self> {
        if right { Ok(self) } else { Err(self.unexpected(wanted)) }
    }

    fn unexpected(&self, wanted: &str) -> Stumble {
        Stumble::Unexpected {
            command: self.command.clone(),
            wanted: wanted.to_owned(),
            exit_code: self.ran.exit_code,
            output: self.ran.output.clone(),
        }
    }
}

/// Tells on stderr why it ended.
pub(crate) fn complain(text: &str) {
    // there is nobody left to tell that stderr is closed
    writeln!(io::stderr(), "\ndemo: {text}").ok();
}

/// The last words.
pub(crate) fn farewell(text: &str) {
    writeln!(io::stdout(), "\n{text}").ok();
}

/// Prints a line or more.
pub(crate) fn say(text: &str) -> Told<()> {
    if interrupted() {
        return Err(Stumble::Interrupted);
    }
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn heard(command: &str, ran: Ran) -> Told<Heard> {
    let text = ran.output.trim_end();
    if !text.is_empty() {
        say(text)?;
    }
    if ran.exit_code != 0 {
        say(&paint("2", &format!("(exit code {})", ran.exit_code)))?;
    }
    say("")?;
    Ok(Heard { command: command.to_owned(), ran })
}

/// Colours are for a terminal only.
fn paint(style: &str, text: &str) -> String {
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
