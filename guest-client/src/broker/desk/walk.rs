//! Programs, the host and the time do anything in any order: what must hold after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use fence_vmchannel_protocol::{Method, Power};

use super::super::policy::Policy;
use super::*;

/// A number after the other, each from its seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What is known from outside.
struct World {
    desk: Desk,
    dice: Dice,
    now: Instant,
    /// Whom each program is, and the ids that were taken of it.
    present: BTreeMap<ProgramId, (Rights, BTreeSet<RequestId>)>,
    /// When lines went to the host.
    sent: VecDeque<Instant>,
}

impl World {
    fn join(&mut self) {
        let rights = match self.dice.below(4) {
            0 => Policy::default().rights(0, 0),
            1 => Rights::looking().of(1),
            2 => Rights::ordering().of(2),
            _ => Rights::default().of(3),
        };
        if let Some(id) = self.desk.join(rights.clone()) {
            self.present.insert(id, (rights, BTreeSet::new()));
        }
        assert!(self.present.len() <= PROGRAMS);
    }

    fn someone(&mut self) -> Option<ProgramId> {
        let place = self.dice.below(self.present.len().max(1) as u64);
        self.present.keys().nth(usize::try_from(place).unwrap()).copied()
    }

    fn some_id(&mut self) -> RequestId {
        let number = u8::try_from(self.dice.below(24)).unwrap();
        RequestId::from_random([number + 1; 16]).unwrap()
    }

    fn ask(&mut self) {
        let (Some(program), id) = (self.someone(), self.some_id()) else { return };
        let target = || "web2".parse().unwrap();
        let ask = match self.dice.below(4) {
            0 => Ask::Power(Power::Off, target()),
            1 => Ask::List,
            _ => Ask::Status(target()),
        };
        let timeout = Duration::from_millis(100 + self.dice.below(20_000));
        let request = Request { id, ask, timeout, delay: Duration::ZERO, method: Method::OnOff };
        let (rights, taken) = self.present.get_mut(&program).unwrap();
        let permitted = rights.permit(&request.ask);
        let json = encode_line(&request).unwrap();
        let signed = id.to_string().ends_with(['3', '6', '9']).then_some(json);
        let answer = self.desk.ask(program, Question { request, signed }, self.now);
        assert!(permitted || answer.is_err(), "what is not permitted is declined");
        if answer.is_ok() {
            taken.insert(id);
        }
    }

    fn send(&mut self) {
        let Some(line) = self.desk.next_line(self.now) else { return };
        let text = String::from_utf8(line).unwrap();
        let owner = |id: &RequestId| text.contains(&format!("\"id\":\"{id}\""));
        let asker = self.present.values().find(|(_, taken)| taken.iter().any(owner));
        assert!(asker.is_some(), "nobody who is there asked this: {text}");
        self.sent.push_back(self.now);
        let second = self.sent.iter().filter(|at| **at + Duration::from_secs(1) > self.now).count();
        assert!(second <= 36 + 20, "{second} lines in a second");
        // A signed one that is heard late takes its room back, though another has it by then.
        let asked = self.desk.asked.values().filter(|one| one.question.signed.is_none());
        let orders = asked.clone().filter(|one| matches!(one.question.request.ask, Ask::Power(..)));
        assert!(orders.clone().filter(|one| one.user == 2).count() <= 1);
        let lists = |first| {
            let of_kind = asked.clone().filter(move |one| one.first == first);
            of_kind.filter(|one| one.question.request.ask == Ask::List).count()
        };
        assert!(lists(true) <= 1 && lists(false) <= 1);
        assert!(asked.count() <= 8 && orders.count() <= 4);
    }

    fn hear(&mut self) {
        let (id, is_final) = (self.some_id(), self.dice.below(3) > 0);
        if let Some(program) = self.desk.heard(id, is_final) {
            let (_, taken) = self.present.get(&program).expect("an answer for one that is gone");
            assert!(taken.contains(&id), "an answer for one that did not ask");
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..10 => self.join(),
            10..14 => {
                if let Some(program) = self.someone() {
                    self.desk.leave(program);
                    self.present.remove(&program);
                }
            }
            14..50 => self.ask(),
            50..75 => self.send(),
            75..92 => self.hear(),
            92..97 => {
                self.now += Duration::from_millis(self.dice.below(400));
                for (program, id) in self.desk.expire(self.now) {
                    assert!(self.present.get(&program).is_some_and(|(_, taken)| taken.contains(&id)));
                }
            }
            97 => {
                for program in self.desk.doubt_signed() {
                    assert!(self.present.contains_key(&program), "a word for one that is gone");
                }
            }
            98 => self.desk.ask_again(self.now),
            _ => {
                self.desk.host_is_lost();
                self.present.clear();
            }
        }
        assert!(self.desk.programs.values().all(|program| program.waiting.len() <= WAITING + 8));
        assert!(self.desk.owned.len() <= OWNED);
        assert!(self.desk.asked.len() <= 8 + 36 + 20 * 10, "what is unheard is forgotten soon");
    }
}

#[test]
fn whatever_programs_do_an_answer_is_for_who_asked_and_the_host_is_not_asked_too_much() {
    let seed = RandomState::new().hash_one(0) | 1;
    println!("seed {seed}");
    let now = Instant::now();
    let (present, sent) = (BTreeMap::new(), VecDeque::new());
    let mut world = World { desk: Desk::new(now), dice: Dice(seed), now, present, sent };

    (0..60_000).for_each(|_| world.step());

    assert!(world.sent.len() > 1000, "{} lines", world.sent.len());
}
