//! Every bound of the broker, and who may go beyond which.
//!
//! The host's own: 20 requests a second with bursts of 40, eight unanswered requests, four open orders and one list of a
//! guest. The broker keeps within them, so that no program is told "busy" because of the others.

use std::time::Duration;

use crate::broker::policy::Rights;

/// Requests to the host in a second, and at once.
pub(super) const REQUESTS: (u32, u32) = (20, 36);
/// Of these at once, how many are left for those who go first.
pub(super) const RESERVE: u32 = 12;
/// The host makes one list at a time, in much less than this. Who goes first waits no longer for a list of another: the host
/// may be unable to read that one, or long at it, and says itself whether it is busy.
pub(super) const LIST_OF_OTHERS: Duration = Duration::from_secs(1);
/// Requests of one program that wait.
pub(super) const WAITING: usize = 8;
/// Programs at a time.
pub(in crate::broker) const PROGRAMS: usize = 64;
/// Programs at a time of all who do not go first, of one user, and of those who may ask nothing and are told so.
const OTHERS: usize = 48;
const OF_ONE_USER: usize = 16;
const WITHOUT_RIGHTS: usize = 8;
/// The host keeps this many verdicts of a guest for so long.
pub(super) const OWNED: usize = 256;
pub(super) const OWNED_FOR: Duration = Duration::from_secs(660);

/// How many requests the host may have.
#[derive(Debug)]
pub(super) struct Room {
    /// Of all programs.
    pub(super) all: usize,
    /// Of them, power requests.
    pub(super) power: usize,
    /// Of one user.
    pub(super) of_one_user: usize,
    /// Of them, power requests: the host may be at each for as long as its delay and its time, whoever waits for it.
    pub(super) power_of_one_user: usize,
    /// Tokens that are left to others.
    pub(super) reserve: u32,
}

pub(super) fn room(first: bool) -> Room {
    match first {
        true => Room { all: 8, power: 4, of_one_user: 8, power_of_one_user: 4, reserve: 0 },
        false => Room { all: 5, power: 2, of_one_user: 3, power_of_one_user: 1, reserve: RESERVE },
    }
}

pub(super) fn may_join<'a>(rights: &Rights, present: &(impl Iterator<Item = &'a Rights> + Clone)) -> bool {
    let count = |like: &dyn Fn(&Rights) -> bool| present.clone().filter(|other| like(other)).count();
    if count(&|_| true) >= PROGRAMS {
        return false;
    }
    rights.first
        || (count(&|other| !other.first) < OTHERS
            && count(&|other| other.user == rights.user) < OF_ONE_USER
            && (rights.any() || count(&|other| !other.any()) < WITHOUT_RIGHTS))
}
