//! What can occur in a simulation, and how often it did.
//!
//! Invariant: what never occurs in a long run was never tested, so a sweep fails that misses any of it.

macro_rules! seen {
    ($($name:ident = $word:literal),+ $(,)?) => {
        /// Something that occurred.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Seen { $($name),+ }

        impl Seen {
            pub(crate) const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $word)),+];
        }
    };
}

seen! {
    // Faults of libvirt's calls. How many of them there are is told by `FAULTS`.
    CallFails = "a call fails",
    CallHangs = "a call hangs until its deadline",
    CallIsLate = "a call answers late",
    CallIsBusy = "no connection is free for a call",
    StopOnlySaysSo = "destroy returns 0, the process lives",
    StopFailsAndKills = "destroy fails, the process dies",
    StopFails = "destroy fails, the process lives",
    StopIsLate = "destroy takes effect late",
    StartOnlySaysSo = "create returns 0, there is no process",
    Prepares = "create takes long, and libvirt says nothing clear meanwhile",
    StartFailsAndStarts = "create fails or hangs, the process is there later",
    // Faults of what is heard.
    EventLost = "an event is lost",
    EventDoubled = "an event comes twice",
    EventLate = "an event comes late, after others",
    NoteLost = "a hook's note is lost",
    // Faults of looking and killing.
    FileUnsure = "a pid file cannot be read",
    ScanUnsure = "the processes cannot be listed",
    ScanSlow = "listing the processes takes long",
    KillRefused = "SIGKILL cannot be sent",
    // What happens to machines.
    IgnoresTerm = "a process ignores SIGTERM",
    Stuck = "a process is in D state for a while",
    Immortal = "a process is in D state for ever",
    LosesSight = "libvirt says shut off, the process lives",
    Crashes = "a guest vanishes",
    Restarts = "somebody restarts a machine",
    Starts = "somebody starts a machine",
    Leaves = "a machine migrates away",
    LeavingFails = "migrating away fails",
    Arrives = "a machine arrives",
    ArrivingFails = "arriving fails",
    // What happens to libvirtd and the agent.
    LibvirtDies = "libvirtd dies and comes back",
    LibvirtHangs = "libvirtd hangs for a while",
    AgentDies = "the agent is killed and comes back",
    AgentDiesWriting = "the agent is killed while it writes its journal",
    AgentDiesActing = "the agent is killed while it acts",
    AgentStops = "the agent is stopped by SIGTERM and comes back",
    AgentHeldUp = "the agent is held up for a while, and goes on",
    JournalTorn = "the journal's last line is half",
    JournalFull = "the journal cannot be written",
    // What guests do.
    NotReading = "a guest does not read for a while",
    Garbage = "a guest writes garbage",
    Repeated = "a guest repeats a request",
    Delayed = "a guest asks with a delay",
    Foreign = "a guest asks about another cluster's",
    Mutual = "two guests fence each other at once",
    // What guests hear.
    OffProcessGone = "heard: off, process-gone",
    OffNeverRan = "heard: off, never-ran-here",
    Rebooted = "heard: rebooted",
    OffNotStarted = "heard: off, not seen started",
    StartedOn = "heard: on",
    SaidOn = "heard: status on",
    SaidOff = "heard: status off",
    Listed = "heard: a list",
    ListedOff = "heard: a list with one that is off",
    Progress = "heard: progress",
    NotPermitted = "heard: not-permitted",
    Condemned = "heard: condemned",
    Busy = "heard: busy",
    BadRequest = "heard: bad-request",
    BadFrame = "heard: bad-frame",
    UnknownState = "heard: unknown-state",
    CannotKill = "heard: cannot-kill",
    StartFailed = "heard: start-failed",
    Moved = "heard: moved",
    Timeout = "heard: timeout",
    Stopping = "heard: stopping",
    RepeatEqual = "a repeat got the same verdict",
    RepeatEqualAfterRestart = "a repeat got the same verdict from a restarted agent",
    Joined = "two requests got one action",
    Quiet = "a host without any fault",
}

/// How many of [`Seen::ALL`] are faults that a world may or may not have.
pub(crate) const FAULTS: usize = Seen::NotReading as usize + 1;

/// How often everything occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Self {
        Self(vec![0; Seen::ALL.len()])
    }
}

impl Coverage {
    pub(crate) fn saw(&mut self, what: Seen) {
        self.0[what as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// What never occurred.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let all = Seen::ALL.iter().zip(&self.0);
        all.filter(|(_, count)| **count == 0).map(|((_, word), _)| *word).collect()
    }

    pub(crate) fn table(&self) -> String {
        let line = |((_, word), count): (&(Seen, &str), &u64)| format!("{count:>12}  {word}\n");
        Seen::ALL.iter().zip(&self.0).map(line).collect()
    }
}
