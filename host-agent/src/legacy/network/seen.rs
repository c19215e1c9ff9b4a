//! What was asked already: packets that are sent again, by their client or by whoever recorded them.
//!
//! In:  a packet's hash, and what it asks. Out: whether that is new.
//!
//! Invariant: bounded, questions for each asker; only packets with a right hash get in, so nobody without the key can push others out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::{Challenge, Op};
use tokio::time::Instant;
use uuid::Uuid;

/// How many packets are remembered: 20 a second for nearly an hour. Where a challenge is answered, a recorded packet is worth nothing
/// after that either.
const PACKETS: usize = 65_536;
/// For how long a question is the same one, however many copies of it come.
const SAME: Duration = Duration::from_secs(60);
/// How many questions of one asker are remembered: more than an address may ask in that time.
const QUESTIONS: usize = 2_048;

/// A question as its copies have it in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) caller: Uuid,
    pub(super) op: Op,
    pub(super) target: Option<Target>,
    pub(super) seqno: u32,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    packets: HashSet<[u8; 32]>,
    oldest: VecDeque<[u8; 32]>,
    /// By who asked: nobody fills another's.
    questions: HashMap<Uuid, VecDeque<(Instant, Asked)>>,
}

impl Seen {
    /// Whether this hash of a packet was seen.
    pub(super) fn has(&self, hash: &Challenge) -> bool {
        hash.first_chunk::<32>().is_some_and(|short| self.packets.contains(short))
    }

    /// Whether this hash of a packet is a new one.
    pub(super) fn is_new(&mut self, hash: &Challenge) -> bool {
        // The shortest hash has 20 bytes; the rest of it is padding.
        let Some(short) = hash.first_chunk().copied() else { return false };
        if !self.packets.insert(short) {
            return false;
        }
        self.oldest.push_back(short);
        if self.oldest.len() > PACKETS
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.packets.remove(&oldest);
        }
        true
    }

    /// Whether nobody answers this question yet, nor did a moment ago.
    pub(super) fn begin(&mut self, asked: &Asked) -> bool {
        let now = Instant::now();
        self.questions.retain(|_, questions| {
            while questions.front().is_some_and(|(at, _)| now.duration_since(*at) > SAME) {
                questions.pop_front();
            }
            !questions.is_empty()
        });
        let questions = self.questions.entry(asked.caller).or_default();
        if questions.len() >= QUESTIONS || questions.iter().any(|(_, known)| known == asked) {
            return false;
        }
        questions.push_back((now, asked.clone()));
        true
    }

    /// Nothing was done for this packet, and who sends it again has to prove itself again.
    pub(super) fn forget(&mut self, hash: &Challenge) {
        if let Some(short) = hash.first_chunk::<32>() {
            self.packets.remove(short);
            self.oldest.retain(|known| known != short);
        }
    }

    /// Its client could not be reached, and nothing was done: its next copy may try.
    pub(super) fn take_back(&mut self, asked: &Asked) {
        if let Some(questions) = self.questions.get_mut(&asked.caller) {
            questions.retain(|(_, known)| known != asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seqno: u32) -> Asked {
        Asked { caller: Uuid::nil(), op: Op::Reboot, target: None, seqno }
    }

    #[tokio::test(start_paused = true)]
    async fn copies_of_a_question_are_one_for_a_minute_unless_nothing_came_of_it() {
        let mut seen = Seen::default();

        assert!(seen.begin(&asked(1)) && seen.begin(&asked(2)));
        assert!(!seen.begin(&asked(1)));
        seen.take_back(&asked(1));
        assert!(seen.begin(&asked(1)));
        tokio::time::advance(SAME + Duration::from_secs(1)).await;
        assert!(seen.begin(&asked(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_ever_new_questions_is_stopped_and_nobody_else_is() {
        let mut seen = Seen::default();
        let other = Asked { caller: Uuid::max(), ..asked(1) };

        let begun = (0..10_000).filter(|number| seen.begin(&asked(*number))).count();

        assert_eq!(begun, QUESTIONS);
        assert!(seen.begin(&other));
    }

    #[test]
    fn a_packet_is_new_once_and_memory_is_bounded() {
        let mut seen = Seen::default();
        let hash = |number: u32| {
            let mut hash = [0; 64];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            hash
        };

        for number in 0..70_000 {
            assert!(seen.is_new(&hash(number)));
            assert!(!seen.is_new(&hash(number)));
        }

        assert_eq!((seen.packets.len(), seen.oldest.len()), (PACKETS, PACKETS));
        assert!(!seen.is_new(&hash(10_000)));
    }
}
