//! Migrations: a machine leaves for the other host, or arrives from it.
//!
//! Invariant: as with libvirt, the source can go on until the destination was told to, and never both. While a migration
//! is in its last moments libvirtd neither dies nor hangs: docs/decisions/0005 names that gap.

use fence_vmchannel_host_agent::domain::{Job, Standing};
use fence_vmchannel_host_agent::hypervisor::Change;

use super::State;
use super::effects::Effect;
use super::machine::{MIGRATED, Opinion};
use crate::seen::Seen;

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Memory is copied; the source runs.
    Copying,
    /// The source is paused.
    Switching,
    /// The destination runs, the source is about to end.
    Resumed,
}

/// A migration under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moving {
    token: u64,
    pub(crate) leaves: bool,
    source: usize,
    destination: usize,
    pub(crate) phase: Phase,
    fails: bool,
}

impl State {
    /// What libvirt here says of a machine's migration.
    pub(crate) fn job_of(&self, machine: usize) -> Job {
        match (&self.machines[machine].moving, self.machines[machine].libvirt) {
            (_, Some(Opinion { active: false, .. })) if self.machines[machine].prepared > 0 => Job::Starting,
            (_, None | Some(Opinion { active: false, .. })) => Job::Ended,
            (None, _) if self.machines[machine].has_left => Job::Leaving, // until libvirt has cleaned up
            (Some(moving), _) if moving.leaves => Job::Leaving,
            (Some(_), _) => Job::Arriving,
            (None, _) => Job::None,
        }
    }

    /// Somebody migrates a machine away. It must run here.
    pub(crate) fn leave(&mut self, machine: usize, source: usize) {
        self.saw(Seen::Leaves);
        let destination = self.begin_run(machine, false, false);
        self.begin_moving(machine, true, source, destination);
    }

    /// Somebody migrates a machine here. It must run on the other host.
    pub(crate) fn arrive(&mut self, machine: usize, source: usize) {
        self.saw(Seen::Arrives);
        let destination = self.begin_run(machine, true, false);
        let of = &mut self.machines[machine];
        of.pid_file = Some(destination);
        of.libvirt = Some(Opinion { active: true, standing: Standing::Leaving });
        self.announce(machine);
        self.begin_moving(machine, false, source, destination);
    }

    fn begin_moving(&mut self, machine: usize, leaves: bool, source: usize, destination: usize) {
        let (token, fails) = (self.rng.next(), self.rng.chance(250));
        let phase = Phase::Copying;
        self.machines[machine].heard_leaving = None;
        self.machines[machine].moving = Some(Moving { token, leaves, source, destination, phase, fails });
        self.tell("world", |s| {
            format!("{} migrates {}", s.name(machine), if leaves { "away" } else { "here" })
        });
        let after = self.rng.between(1000, 6000);
        self.later(after, Effect::Move(machine, token));
    }

    pub(crate) fn move_on(&mut self, machine: usize, token: u64) {
        let Some(mut moving) = self.machines[machine].moving.filter(|moving| moving.token == token) else {
            return;
        };
        match moving.phase {
            // Nor is anything copied out of a process that hangs in the kernel.
            Phase::Copying if moving.fails || self.runs[moving.source].frozen => return self.stay(machine),
            Phase::Copying => {
                moving.phase = Phase::Switching;
                self.tell("world", |s| format!("{} is paused for its migration", s.name(machine)));
                self.opine(machine, Standing::Leaving);
            }
            Phase::Switching => {
                moving.phase = Phase::Resumed;
                self.runs[moving.destination].holds = true;
                self.runs[moving.destination].waits = false;
                self.runs[moving.source].holds = false;
                self.tell("world", |s| format!("{} goes on at its destination", s.name(machine)));
                if !moving.leaves {
                    self.machines[machine].is_defined = self.machines[machine].persistent;
                    self.opine(machine, Standing::Active);
                }
            }
            Phase::Resumed => return self.kill(moving.source, MIGRATED),
        }
        self.machines[machine].moving = Some(moving);
        let after = self.rng.between(20, 300);
        self.later(after, Effect::Move(machine, token));
    }

    /// An agent hears of this.
    pub(super) fn is_heard(&mut self, change: &Change) {
        if let Change::Leaves(uuid) = *change
            && let Some(machine) = self.machine(uuid)
        {
            self.machines[machine].heard_leaving = Some(self.now);
        }
    }

    fn opine(&mut self, machine: usize, standing: Standing) {
        if let Some(opinion) = &mut self.machines[machine].libvirt {
            opinion.standing = standing;
        }
        if standing == Standing::Leaving {
            self.announce_that(machine, &Effect::Leaves(machine));
        } else {
            self.announce(machine);
        }
    }

    /// libvirt is asked to abort a migration; in its last moments it does not.
    pub(super) fn abort(&mut self, machine: usize) {
        if self.machines[machine].moving.is_some_and(|moving| moving.leaves && moving.phase == Phase::Copying)
        {
            self.stay(machine);
        }
    }

    /// The migration fails or is aborted: the source goes on.
    pub(crate) fn stay(&mut self, machine: usize) {
        let Some(moving) = self.machines[machine].moving.take() else { return };
        self.saw(if moving.leaves { Seen::LeavingFails } else { Seen::ArrivingFails });
        self.tell("world", |s| format!("{} stays where it is", s.name(machine)));
        if moving.leaves {
            self.opine(machine, Standing::Active);
        }
        self.kill(moving.destination, "its migration failed");
    }

    /// A process of a migrating machine ended.
    pub(super) fn end_of_a_mover(&mut self, machine: usize, run: usize) {
        let Some(moving) = self.machines[machine].moving else { return };
        match moving.phase {
            Phase::Copying if run == moving.source => {
                self.machines[machine].moving = None;
                self.kill(moving.destination, "its source ended");
            }
            // All was copied: only chance knows whether libvirt there lets it run.
            Phase::Switching if run == moving.source && self.rng.chance(500) => {
                self.machines[machine].moving = None;
                self.machines[machine].has_left = moving.leaves;
                self.runs[moving.destination].holds = true;
                self.runs[moving.destination].waits = false;
                self.tell("world", |s| format!("{} goes on at its destination", s.name(machine)));
            }
            Phase::Switching if run == moving.source => {
                self.machines[machine].moving = None;
                self.kill(moving.destination, "its source ended");
            }
            Phase::Copying | Phase::Switching if run == moving.destination => {
                self.machines[machine].moving = None;
                if moving.leaves {
                    self.opine(machine, Standing::Active);
                }
            }
            Phase::Resumed if run == moving.source => {
                self.machines[machine].moving = None;
                self.machines[machine].has_left = moving.leaves;
            }
            Phase::Resumed => {
                self.machines[machine].moving = None;
                self.kill(moving.source, MIGRATED);
            }
            Phase::Copying | Phase::Switching => {}
        }
    }
}
