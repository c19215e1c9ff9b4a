//! Whose turn it is.
//!
//! In:  the requests that wait and those that the host has. Out: the one that goes next.
//!
//! Invariant: who goes first is never behind another; among the others the user who was served longest ago is next, and
//! of its programs the one that was served longest ago.

use std::collections::HashMap;

use fence_vmchannel_protocol::Ask;
use tokio::time::Instant;

use super::{Desk, Program, ProgramId, Rights, Waiting, limits};

/// Users that are remembered, though their programs come for one request each.
const USERS: usize = 1024;

/// When each user was served last.
#[derive(Debug, Default)]
pub(super) struct Turns {
    count: u64,
    users: HashMap<u32, u64>,
}

impl Turns {
    pub(super) fn next(&mut self, user: u32) -> u64 {
        self.count += 1;
        if self.users.len() >= USERS {
            self.users.clear();
        }
        self.users.insert(user, self.count);
        self.count
    }

    fn of(&self, user: u32) -> u64 {
        self.users.get(&user).copied().unwrap_or(0)
    }
}

impl Desk {
    /// The program whose turn it is, and the place of its request that can go.
    pub(super) fn pick(&self, now: Instant) -> Option<(ProgramId, usize)> {
        let candidates = self.programs.iter().filter_map(|(id, program)| {
            let place = program.waiting.iter().position(|waiting| self.can_go(program, waiting, now))?;
            let user = self.turns.of(program.rights.user);
            Some(((!program.rights.first, user, program.served, *id), place))
        });
        candidates.min().map(|((_, _, _, id), place)| (id, place))
    }

    fn can_go(&self, program: &Program, waiting: &Waiting, now: Instant) -> bool {
        let room = limits::room(program.rights.first);
        if self.bucket.ready_at(room.reserve) > now {
            return false;
        }
        let request = &waiting.question.request;
        if self.asked.get(&request.id).is_some_and(|asked| asked.takes_room(now)) {
            return true; // a repeat takes no more room: the host knows it, or lost it
        }
        let count = |like: &dyn Fn(&super::Asked) -> bool| {
            self.asked.values().filter(|one| one.takes_room(now) && like(one)).count()
        };
        let Rights { user, first, .. } = program.rights;
        let is_power = |ask: &Ask| matches!(ask, Ask::Power(..));
        let is_order = |one: &super::Asked| is_power(&one.question.request.ask);
        let is_of_user = |one: &super::Asked| one.user == user && !one.first;
        let has_room = count(&|_| true) < room.all && count(&is_of_user) < room.of_one_user;
        let has_room_for_order = || {
            count(&is_order) < room.power
                && count(&|one| is_order(one) && is_of_user(one)) < room.power_of_one_user
        };
        has_room
            && (!is_power(&request.ask) || has_room_for_order())
            && (request.ask != Ask::List || count(&|one| one.holds_back_list(first, now)) == 0)
    }
}
