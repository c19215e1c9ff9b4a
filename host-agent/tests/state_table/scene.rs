//! What is enumerated: how libvirt, the processes and the domain can stand to each other.
//!
//! In:  nothing. Out: every [`Scene`] that can be, and why the others cannot.
//!
//! Invariant: a scene that is left out is named in [`LEFT_OUT`] with its reason.

use fence_vmchannel_host_agent::domain::{Job, Standing};

/// What libvirt says of the target when it is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// This.
    Says(Standing),
    /// It does not know the domain.
    NoDomain,
    /// There is no connection.
    Unreachable,
    /// The connection stands, and no call is answered.
    Hangs,
    /// The connection stands, and every call fails.
    Fails,
}

/// How the target's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// Nobody has ever seen one.
    None,
    /// The one that was known has exited; a zombie or reaped.
    Gone,
    /// It runs, and libvirt can stop it.
    Alive,
    /// It runs, ignores SIGTERM and libvirt, and dies of SIGKILL.
    Stubborn,
    /// It is in D state: nothing ends it.
    Stuck,
    /// The known one is gone; somebody started another.
    Another,
    /// It runs; as soon as it ends somebody starts another.
    Restarts,
    /// None is known and there is no pid file; a QEMU has the UUID among its arguments.
    Arguments,
    /// The known one is gone; a QEMU has the UUID among its arguments.
    GoneArguments,
    /// It runs and is known, but libvirt's pid file cannot be read any more.
    AliveNoFile,
    /// None is known, and libvirt's pid file cannot be read.
    UnsureFile,
    /// None is known, there is no pid file, and nobody could look at all processes.
    UnsureScan,
}

/// What kind of domain it is, or what it is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its definition outlives its run.
    Persistent,
    /// Its definition goes with its run.
    Transient,
    /// It migrates to another host; the migration can be aborted.
    Leaving,
    /// It migrates to another host; the abort comes too late, and it moves.
    LeavingTooLate,
    /// It migrates to another host; libvirt refuses to abort that.
    LeavingUnabortable,
    /// It migrates here from another host.
    Arriving,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    /// What libvirt said when the domain was looked at last.
    pub(crate) seen: Standing,
    pub(crate) word: Word,
}

/// Combinations that cannot be, or that another test holds.
pub(crate) const LEFT_OUT: [(&str, &str); 6] = [
    (
        "transient, and libvirt says shut off or moved",
        "libvirt forgets a transient domain with its run: it says \"no such domain\"",
    ),
    (
        "not migrating, and libvirt says leaving",
        "libvirt says that only of a migration: such a domain has a job, or is arriving",
    ),
    (
        "migrating, and libvirt says crashed, shut off, moved, unclear or no such domain",
        "the migration is over, and the domain is like any other",
    ),
    ("migrating, without a process that ever ran", "what migrates has a process on both hosts"),
    (
        "libvirt tells nothing, and what an abort of the migration would bring",
        "nobody asks for it: the kinds are the same line",
    ),
    (
        "managed save",
        "is \"shut off, never had one\" here; that it boots freshly is held on real VMs by a_target_that_was_saved_is_off_and_on_boots_it_freshly",
    ),
];

/// All that libvirt can say of a domain, in the order of the table.
pub(crate) const STANDINGS: [Standing; 6] = [
    Standing::Active,
    Standing::Leaving,
    Standing::Crashed,
    Standing::ShutOff,
    Standing::Moved,
    Standing::Unclear,
];

fn words() -> impl Iterator<Item = Word> {
    STANDINGS.map(Word::Says).into_iter().chain([Word::NoDomain, Word::Unreachable, Word::Hangs, Word::Fails])
}

/// All processes, in the order of the table.
pub(crate) const PROCESSES: [Process; 12] = [
    Process::None,
    Process::Gone,
    Process::Alive,
    Process::Stubborn,
    Process::Stuck,
    Process::Another,
    Process::Restarts,
    Process::Arguments,
    Process::GoneArguments,
    Process::AliveNoFile,
    Process::UnsureFile,
    Process::UnsureScan,
];

/// All kinds, in the order of the table.
pub(crate) const KINDS: [Kind; 6] = [
    Kind::Persistent,
    Kind::Transient,
    Kind::Leaving,
    Kind::LeavingTooLate,
    Kind::LeavingUnabortable,
    Kind::Arriving,
];

/// Every scene in which libvirt's word has not changed since the domain was looked at.
pub(crate) fn steady() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for kind in KINDS {
        for process in PROCESSES {
            for word in words() {
                let scene = Scene { kind, process, seen: last_seen(kind, process, word), word };
                if can_be(scene) {
                    scenes.push(scene);
                }
            }
        }
    }
    scenes
}

/// Every scene of a persistent domain in which libvirt says something else than when the domain was looked at.
pub(crate) fn changed() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for process in [Process::None, Process::Gone, Process::Alive] {
        for seen in STANDINGS {
            for word in words() {
                let is_steady = last_seen(Kind::Persistent, process, word) == seen;
                // On its way it has a job; what is said here is said of one that stays.
                if !is_steady && word != Word::Says(Standing::Leaving) {
                    scenes.push(Scene { kind: Kind::Persistent, process, seen, word });
                }
            }
        }
    }
    scenes
}

fn last_seen(kind: Kind, process: Process, word: Word) -> Standing {
    let never =
        matches!(process, Process::None | Process::Arguments | Process::UnsureFile | Process::UnsureScan);
    match word {
        Word::Says(standing) => standing,
        Word::NoDomain | Word::Unreachable | Word::Hangs | Word::Fails if kind.is_migrating() => {
            Standing::Leaving
        }
        Word::NoDomain | Word::Unreachable | Word::Hangs | Word::Fails
            if never && kind == Kind::Persistent =>
        {
            Standing::ShutOff
        }
        Word::NoDomain | Word::Unreachable | Word::Hangs | Word::Fails => Standing::Active,
    }
}

fn can_be(scene: Scene) -> bool {
    let Scene { kind, process, word, .. } = scene;
    match kind {
        Kind::Persistent => word != Word::Says(Standing::Leaving),
        Kind::Transient => {
            !matches!(word, Word::Says(Standing::Leaving | Standing::ShutOff | Standing::Moved))
        }
        Kind::Leaving | Kind::LeavingTooLate | Kind::LeavingUnabortable | Kind::Arriving => {
            let told = matches!(word, Word::Says(Standing::Active | Standing::Leaving));
            let untold = word.is_silence() && kind == Kind::Leaving;
            (told || untold) && process != Process::None
        }
    }
}

impl Word {
    /// Whether libvirt tells nothing.
    pub(crate) fn is_silence(self) -> bool {
        matches!(self, Self::Unreachable | Self::Hangs | Self::Fails)
    }
}

impl Kind {
    pub(crate) fn is_migrating(self) -> bool {
        !matches!(self, Self::Persistent | Self::Transient)
    }

    /// What libvirt calls it as long as the domain is active.
    pub(crate) fn job(self) -> Job {
        match self {
            Self::Persistent | Self::Transient => Job::None,
            Self::Leaving | Self::LeavingTooLate | Self::LeavingUnabortable => Job::Leaving,
            Self::Arriving => Job::Arriving,
        }
    }
}

impl Scene {
    /// Whether the domain may run on another host when the request comes.
    pub(crate) fn may_run_elsewhere(self) -> bool {
        let moving = [Standing::Moved, Standing::Leaving];
        let says = |standing: &Standing| self.word == Word::Says(*standing);
        self.kind == Kind::Arriving
            || moving.contains(&self.seen)
                && !matches!(self.word, Word::Says(Standing::Active | Standing::Crashed))
            || moving.iter().any(says)
    }
}
