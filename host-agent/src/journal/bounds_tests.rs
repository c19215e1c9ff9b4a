use fence_vmchannel_protocol::{Reason, RequestId};

use super::tests::{Disk, acting, asked, ended, told};
use super::*;
use crate::arbiter::Arbiter;

#[test]
fn an_answer_that_is_known_is_not_written_again_and_a_new_one_takes_its_place() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let askers: Vec<_> = (1..=2000).map(asked).collect();
    journal.acting(Acting { askers: askers.clone(), ..acting(1) }).unwrap();
    let early = Verdict::failed(Reason::Timeout, "not done in time");
    let tell_all = |journal: &mut Journal| {
        for asked in &askers {
            journal.answered(1, *asked, &early);
        }
    };
    tell_all(&mut journal);
    let once = disk.content().len();

    for _ in 0..10 {
        tell_all(&mut journal); // as at each step that acts
    }

    assert_eq!(disk.content().len(), once);
    let later = Verdict::failed(Reason::Timeout, "still not done");
    journal.answered(1, asked(2), &later);
    assert_eq!(told(&disk.journal()), told(&journal));
    let answered: Vec<_> = told(&journal)[0].1.answered.clone().into_iter().collect();
    assert_eq!(answered.len(), 2000);
    assert!(answered.contains(&(asked(2), later)), "what was heard last");
}

/// The request with this number of the guest 1.
fn request(number: u64) -> Asked {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Asked { request: RequestId::from_random(id).unwrap(), ..asked(1) }
}

#[test]
fn of_one_guests_orders_only_so_many_are_kept_as_the_arbiter_keeps() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let early = Verdict::failed(Reason::Timeout, "not done in time");
    for number in 1..=500 {
        let askers = vec![request(number), asked(u128::from(number) % 20 + 2)];
        journal.acting(Acting { askers, ..acting(number) }).unwrap();
        journal.answered(number, request(number), &early);
        journal.ended(number, ended(number));
    }
    journal.acting(Acting { askers: vec![request(501)], ..acting(501) }).unwrap();

    let journal = disk.journal();
    let mut arbiter = Arbiter::default();
    for (number, known) in journal.orders() {
        arbiter.restore(number, known);
    }

    let of_the_guest = journal
        .orders()
        .filter(|(_, known)| known.acting.askers.iter().any(|who| who.guest == asked(1).guest));
    assert_eq!(of_the_guest.count(), ENDS_PER_GUEST);
    assert_eq!(journal.orders().map(|(_, known)| known.answered.len()).sum::<usize>(), ENDS_PER_GUEST - 1);
    assert_eq!(journal.orders().count(), 501, "the others who waited are only few times in it");
    let kept = u64::try_from(VERDICTS_PER_GUEST).unwrap();
    assert!((502 - kept..=500).all(|number| arbiter.given(&request(number)) == Some(&early)));
}

#[test]
fn an_order_for_which_nobody_is_kept_goes() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    for number in 1..=500 {
        journal.acting(Acting { askers: vec![request(number)], ..acting(number) }).unwrap();
        journal.ended(number, ended(number));
    }

    let kept: Vec<_> = disk.journal().orders().map(|(number, _)| number).collect();

    assert_eq!(kept.len(), ENDS_PER_GUEST);
    assert_eq!(kept.last(), Some(&500));
}

#[test]
fn a_full_journal_takes_no_order_until_what_it_holds_has_grown_old_but_each_end() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.full_at = 50_000;
    let of_another = |number: u64, at| Acting {
        askers: vec![asked(u128::from(number))],
        accepted: Duration::from_secs(at),
        ..acting(number)
    };
    journal.acting(of_another(1, 1)).unwrap();
    let taken = (2..1000).take_while(|number| {
        let is_taken = journal.acting(of_another(*number, 1)).is_ok();
        journal.ended(*number, ended(2));
        is_taken
    });
    let taken = taken.count();
    assert!((20..200).contains(&taken), "{taken}");

    let refused = journal.acting(of_another(1001, 100)).unwrap_err().to_string();
    assert!(refused.contains("ask again"), "{refused}");
    assert!(disk.content().len() <= 50_000);
    journal.off(1, Evidence::ProcessGone).unwrap();
    journal.ended(1, ended(101));
    assert!(!journal.is_behind());
    assert_eq!(told(&disk.journal()), told(&journal), "and nothing is lost");

    let later = 3 + VERDICT_KEPT.as_secs();
    journal.acting(of_another(1002, later)).unwrap();
    assert!(told(&journal).len() < 5, "though no other order has ended since");
}

#[test]
fn a_full_journal_is_not_written_anew_for_each_order_that_it_refuses() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.full_at = 1000;
    journal.acting(acting(1)).unwrap();
    assert!(journal.acting(acting(2)).is_err());
    let written = disk.content();
    disk.is_full(true);

    for _ in 0..10 {
        let refused = journal.acting(Acting { accepted: Duration::from_secs(11), ..acting(2) });
        assert!(refused.unwrap_err().to_string().contains("ask again"), "it was looked at 9 seconds ago");
    }
    let refused = journal.acting(Acting { accepted: Duration::from_secs(12), ..acting(2) });

    assert!(!refused.unwrap_err().to_string().contains("ask again"), "it was to be written anew");
    assert_eq!(disk.content(), written);
}

/// A disk that is full but for what was kept for the open orders.
struct Reserved(Disk);

impl Store for Reserved {
    fn append(&mut self, bytes: &[u8], spare: u64) -> io::Result<()> {
        if spare > 0 {
            self.0.write(|content| content.extend_from_slice(&bytes[..9]))?; // and it cannot take that back
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.append(bytes, spare)
    }

    fn replace(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn an_order_that_finds_no_room_takes_none_from_those_that_are_open() {
    let disk = Disk::default();
    disk.journal().acting(acting(1)).unwrap();
    let mut journal = disk.journal();
    journal.store = Box::new(Reserved(disk.clone()));

    journal.acting(acting(2)).unwrap_err();
    journal.off(1, Evidence::ProcessGone).unwrap();
    journal.ended(1, ended(60));

    assert!(!journal.is_behind());
    let known = &told(&disk.journal())[0].1;
    assert_eq!((known.off, &known.ended), (Some(Evidence::ProcessGone), &Some(ended(60))));
}

#[test]
fn what_others_could_not_write_keeps_no_end_out_of_the_room_that_was_kept_for_it() {
    let disk = Disk::default();
    disk.journal().acting(acting(1)).unwrap();
    let mut journal = disk.journal();
    journal.store = Box::new(Reserved(disk.clone()));
    disk.is_full(true);
    journal.joined(1, asked(3), Duration::from_secs(70));
    assert!(journal.is_behind());
    disk.is_full(false); // but it cannot be written anew

    journal.off(1, Evidence::ProcessGone).unwrap();
    journal.ended(1, ended(60));

    assert!(journal.is_behind(), "who joined is not written down");
    journal.acting(acting(2)).unwrap_err();
    let known = &told(&disk.journal())[0].1;
    assert_eq!((known.off, &known.ended), (Some(Evidence::ProcessGone), &Some(ended(60))));
}

#[test]
fn what_was_refused_for_want_of_room_is_taken_out_as_soon_as_there_is_some() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.store = Box::new(Reserved(disk.clone()));
    journal.acting(acting(2)).unwrap_err();
    let torn = disk.content();

    journal.store = Box::new(disk.clone());
    journal.catch_up();

    assert!(disk.content().len() < torn.len());
}
