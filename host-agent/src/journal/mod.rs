//! The journal: what orders did, so that a restarted agent knows it.
//!
//! In:  orders that are about to act, and how they end. Out: the same again, after the agent was killed at any moment.
//!
//! Invariant: an order is written down before it acts, its verdict before anybody hears it. The file is as long as what
//! happened in the last [`VERDICT_KEPT`], or may still be asked about, never longer than what is read at the next start, and a torn
//! end costs its last line and no more.

mod file;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use fence_vmchannel_protocol::{Evidence, Verdict};
use uuid::Uuid;

use crate::arbiter::{OPEN_PER_GUEST, OrderNumber, VERDICT_KEPT, VERDICTS_PER_GUEST};
pub use file::JournalFile;
pub use record::{Acting, Asked, Ended, Record, records};

/// The file is written anew when it has grown to twice of what it must hold, but not before it has this many bytes.
const REWRITE_AT: usize = 256 * 1024;

/// Room that must be left when an order begins: for the ends of all that are open, whatever fills the disk meanwhile.
const SPARE: u64 = 128 * 1024;

/// A journal of this length takes no new order. What the open ones still bring fits into the rest of what is read.
const FULL_AT: usize = 64 << 20;
const _: () = assert!(4 * FULL_AT as u64 <= file::MOST);
/// How often a full journal is written anew, to see whether it still is.
const FULL_FOR: Duration = Duration::from_secs(10);

/// How many ends are kept for one guest: all that the arbiter keeps. It counts by when an answer was given, the journal by when
/// the order ended, and between these two are no more orders than a guest may wait for.
const ENDS_PER_GUEST: usize = VERDICTS_PER_GUEST + OPEN_PER_GUEST;

/// Where the journal's bytes are kept.
pub trait Store: Send {
    /// Adds these bytes at the end, all or none of them, and returns when they are safe. It fails if there is not room for as
    /// many as `spare` more.
    fn append(&mut self, bytes: &[u8], spare: u64) -> io::Result<()>;
    /// Puts these bytes in the place of all others, all or none of them, and returns when they are safe. `spare` as above.
    fn replace(&mut self, bytes: &[u8], spare: u64) -> io::Result<()>;
}

/// What the journal knows of one order.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What it was about to do.
    pub acting: Acting,
    /// What proved that its target was off, where its start came next.
    pub off: Option<Evidence>,
    /// Who was told something else than its end, and what last.
    pub answered: BTreeMap<Asked, Verdict>,
    /// Its end.
    pub ended: Option<Ended>,
}

/// The journal of this host's orders.
pub struct Journal {
    store: Box<dyn Store>,
    boot: String,
    orders: BTreeMap<OrderNumber, Known>,
    elsewhere: BTreeSet<Uuid>,
    bytes: usize,
    rewrite_at: usize,
    full_at: usize,
    /// The journal's own clock: the latest that it heard of.
    now: Duration,
    /// When a full journal is written anew next.
    shorten_at: Duration,
    /// Something that must not be forgotten could not be written.
    is_behind: bool,
    /// The last line was not written whole.
    is_torn: bool,
}

impl Journal {
    /// The journal with this content. What was written before the host's last boot is about processes that are no more.
    #[must_use]
    pub fn open(store: Box<dyn Store>, content: &[u8], boot: &str) -> Self {
        let mut journal = Self {
            store,
            boot: boot.to_owned(),
            orders: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            bytes: 0,
            rewrite_at: REWRITE_AT,
            full_at: FULL_AT,
            now: Duration::ZERO,
            shorten_at: Duration::ZERO,
            is_behind: false,
            is_torn: false,
        };
        let mut is_ours = false;
        let (all, broken) = records(content);
        for record in all {
            if let Record::Host { boot } = &record {
                is_ours = *boot == journal.boot;
            } else if is_ours {
                journal.apply(record);
            }
        }
        if broken > 0 {
            tracing::warn!(broken, "lines of the journal cannot be read: what they told is lost");
        }
        journal.is_behind = journal.rewrite().is_err();
        journal
    }

    /// A journal that ends with its process.
    #[must_use]
    pub fn in_memory() -> Self {
        struct Nowhere;
        impl Store for Nowhere {
            fn append(&mut self, _: &[u8], _: u64) -> io::Result<()> {
                Ok(())
            }
            fn replace(&mut self, _: &[u8], _: u64) -> io::Result<()> {
                Ok(())
            }
        }
        Self::open(Box::new(Nowhere), &[], "")
    }

    /// All orders that it knows of.
    pub fn orders(&self) -> impl Iterator<Item = (OrderNumber, &Known)> {
        self.orders.iter().map(|(number, known)| (*number, known))
    }

    /// Those that were leaving for another host, or had moved there, when they were heard of last.
    #[must_use]
    pub fn elsewhere(&self) -> &BTreeSet<Uuid> {
        &self.elsewhere
    }

    /// These are elsewhere now, or on their way, and no others: libvirt may never say so again.
    pub fn are_elsewhere(&mut self, now: &BTreeSet<Uuid>) {
        let left = now.difference(&self.elsewhere).map(|domain| Record::Left { domain: *domain });
        let back = self.elsewhere.difference(now).map(|domain| Record::Back { domain: *domain });
        left.chain(back).collect::<Vec<_>>().into_iter().for_each(|record| self.must_write(record));
    }

    /// An order is about to act. It must not if this fails.
    pub fn acting(&mut self, acting: Acting) -> io::Result<()> {
        self.now = self.now.max(acting.accepted); // also if it is refused: a full journal grows old
        self.write(Record::Acting(Box::new(acting)), SPARE)
    }

    /// An order's target is proven off, and its start comes next. It must not if this fails.
    pub fn off(&mut self, order: OrderNumber, evidence: Evidence) -> io::Result<()> {
        self.write(Record::Off { order, evidence }, 0)
    }

    /// An equal request waits for the same order.
    pub fn joined(&mut self, order: OrderNumber, asked: Asked, until: Duration) {
        if self.orders.get(&order).is_some_and(|known| !known.acting.askers.contains(&asked)) {
            self.must_write(Record::Joined { order, asked, until });
        }
    }

    /// A guest is told something else than the order's end, which is still to come. It may be told here any number of times.
    pub fn answered(&mut self, order: OrderNumber, asked: Asked, verdict: &Verdict) {
        let is_new = |known: &Known| known.ended.is_none() && known.answered.get(&asked) != Some(verdict);
        if self.orders.get(&order).is_some_and(is_new) {
            self.must_write(Record::Answered { order, asked, verdict: verdict.clone() });
        }
    }

    /// An order ended. One that did not act is none of the journal's.
    pub fn ended(&mut self, order: OrderNumber, ended: Ended) {
        if self.orders.contains_key(&order) {
            self.must_write(Record::Ended { order, ended });
        }
    }

    /// Forgets what is about domains that are no more.
    pub fn retain(&mut self, is_known: impl Fn(Uuid) -> bool) {
        let now = self.now;
        self.orders.retain(|_, known| is_known(known.acting.permit.target()) || !known.is_old(now));
    }

    /// Whether something that must not be forgotten could not be written yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Writes what could not be written when it happened, and takes out what was written of an order that was refused.
    pub fn catch_up(&mut self) {
        if (self.is_behind || self.is_torn) && self.rewrite().is_ok() {
            tracing::info!("the journal can be written again");
        }
    }

    fn must_write(&mut self, record: Record) {
        if let Err(error) = self.write(record.clone(), 0) {
            tracing::error!(%error, "the journal cannot be written: make room in the runtime directory");
            self.apply(record);
            self.is_behind = true;
        }
    }

    fn write(&mut self, record: Record, spare: u64) -> io::Result<()> {
        // What others were told fits into the room that was kept for it, though what came before could not be written.
        if self.is_behind && spare > 0 {
            self.rewrite()?;
        } else if self.bytes >= self.rewrite_at && self.rewrite().is_err() {
            self.rewrite_at = 2 * self.bytes; // the longer file is as good
        }
        let mut line = record.to_line()?;
        if self.is_torn && self.rewrite().is_err() {
            line.insert(0, b'\n'); // it would be the rest of one that was written in part
        }
        let is_new = matches!(&record, Record::Acting(acting) if !self.orders.contains_key(&acting.order));
        if is_new && self.bytes + line.len() > self.full_at {
            self.shorten(line.len())?;
        }
        self.is_torn = true;
        self.store.append(&line, spare)?;
        self.is_torn = false;
        self.bytes += line.len();
        self.apply(record);
        Ok(())
    }

    /// Writes what there is to know, and leaves out what nobody will ask for any more.
    fn rewrite(&mut self) -> io::Result<()> {
        self.forget_old();
        let mut bytes = Record::Host { boot: self.boot.clone() }.to_line()?;
        let left = self.elsewhere.iter().map(|domain| Record::Left { domain: *domain });
        let orders = self.orders.iter().flat_map(|(order, known)| known.records(*order));
        for record in left.chain(orders) {
            bytes.extend(record.to_line()?);
        }
        self.store.replace(&bytes, SPARE)?;
        (self.bytes, self.rewrite_at) = (bytes.len(), REWRITE_AT.max(2 * bytes.len()));
        (self.is_behind, self.is_torn) = (false, false);
        Ok(())
    }

    /// Makes room for a new order's line by forgetting what is old, unless that was tried just now.
    fn shorten(&mut self, line: usize) -> io::Result<()> {
        if self.now >= self.shorten_at {
            self.shorten_at = self.now + FULL_FOR;
            self.rewrite()?;
        }
        if self.bytes + line > self.full_at {
            let why = "it is full of what was done in the last ten minutes; ask again in some minutes";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        Ok(())
    }

    /// Old ends go, but for each target's last: its stopped instance may live still, and must not act.
    fn forget_old(&mut self) {
        self.forget_many();
        let now = self.now;
        let last: HashMap<Uuid, OrderNumber> =
            self.orders.iter().map(|(number, known)| (known.acting.permit.target(), *number)).collect();
        self.orders.retain(|number, known| {
            let is_for_nobody = known.ended.is_some() && known.acting.askers.is_empty();
            !(known.is_old(now) || is_for_nobody) || last.get(&known.acting.permit.target()) == Some(number)
        });
    }

    /// Of each guest's ends the oldest go, which the arbiter has forgotten too.
    fn forget_many(&mut self) {
        let mut kept: HashMap<Uuid, usize> = HashMap::new();
        let end = |known: &Known| known.ended.as_ref().map_or(Duration::MAX, |ended| ended.at);
        let mut latest: Vec<_> = self.orders.iter_mut().collect();
        latest.sort_by_key(|(number, known)| std::cmp::Reverse((end(known), **number)));
        for (_, Known { acting, answered, ended, .. }) in latest {
            acting.askers.retain(|asked| {
                let count = kept.entry(asked.guest).or_default();
                *count += 1;
                let is_kept = ended.is_none() || *count <= ENDS_PER_GUEST;
                if !is_kept {
                    answered.remove(asked);
                }
                is_kept
            });
        }
    }

    fn apply(&mut self, record: Record) {
        match &record {
            Record::Acting(acting) => self.now = self.now.max(acting.accepted),
            Record::Ended { ended, .. } => self.now = self.now.max(ended.at),
            Record::Host { .. }
            | Record::Left { .. }
            | Record::Back { .. }
            | Record::Off { .. }
            | Record::Joined { .. }
            | Record::Answered { .. } => {}
        }
        match record {
            Record::Host { .. } => {}
            Record::Left { domain } => drop(self.elsewhere.insert(domain)),
            Record::Back { domain } => drop(self.elsewhere.remove(&domain)),
            Record::Acting(acting) => {
                let fresh = |acting| Known { acting, off: None, answered: BTreeMap::new(), ended: None };
                let (number, acting) = (acting.order, *acting);
                self.orders
                    .entry(number)
                    .and_modify(|known| known.acting = acting.clone())
                    .or_insert_with(|| fresh(acting.clone()));
            }
            Record::Off { order, evidence } => {
                self.change(order, |known| known.off = Some(evidence));
            }
            Record::Joined { order, asked, until } => self.change(order, |known| {
                known.acting.askers.push(asked);
                known.acting.until = known.acting.until.max(until);
            }),
            Record::Answered { order, asked, verdict } => {
                self.change(order, |known| drop(known.answered.insert(asked, verdict)));
            }
            Record::Ended { order, ended } => self.change(order, |known| {
                known.acting.recipe = None; // it has secrets
                known.ended = Some(ended);
            }),
        }
    }

    fn change(&mut self, order: OrderNumber, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.orders.get_mut(&order) {
            change(known);
        }
    }
}

impl Known {
    /// Whether nobody will ask for its end any more.
    fn is_old(&self, now: Duration) -> bool {
        let is_told = |ended: &Ended| now.saturating_sub(ended.at) > VERDICT_KEPT && now > self.acting.until;
        self.ended.as_ref().is_some_and(is_told)
    }

    /// The records that tell it again.
    fn records(&self, order: OrderNumber) -> impl Iterator<Item = Record> {
        let acting = Record::Acting(Box::new(self.acting.clone()));
        let off = self.off.map(|evidence| Record::Off { order, evidence });
        let answer = move |(asked, verdict): (Asked, Verdict)| Record::Answered { order, asked, verdict };
        let ended = self.ended.clone().map(|ended| Record::Ended { order, ended });
        let answered = self.answered.clone().into_iter().map(answer);
        std::iter::once(acting).chain(off).chain(answered).chain(ended)
    }
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;
