use std::sync::{Arc, Mutex};
use std::time::Duration;

use fence_vmchannel_protocol::{Power, Reason, RequestId, Ruling};

use super::*;
use crate::domain::InstanceId;

/// Bytes that outlive the journal, and a disk that can be full.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<(Vec<u8>, bool)>>);

impl Disk {
    pub(super) fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    pub(super) fn is_full(&self, full: bool) {
        self.0.lock().unwrap().1 = full;
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::open(Box::new(self.clone()), &self.content(), "boot one")
    }

    pub(super) fn write(&self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let (content, full) = &mut *self.0.lock().unwrap();
        if *full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write(content);
        Ok(())
    }
}

impl Store for Disk {
    fn append(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.write(|content| content.extend_from_slice(bytes))
    }

    fn replace(&mut self, bytes: &[u8], _: u64) -> io::Result<()> {
        self.write(|content| *content = bytes.to_vec())
    }
}

pub(super) fn asked(guest: u128) -> Asked {
    Asked { guest: Uuid::from_u128(guest), request: RequestId::from_random([7; 16]).unwrap() }
}

pub(super) fn acting(order: OrderNumber) -> Acting {
    let permit = serde_json::json!({
        "asker": { "uuid": Uuid::from_u128(1), "name": "web1", "instance": { "pid": 11, "started": 1 } },
        "target": Uuid::from_u128(2), "name": "web2", "power": "off", "rule": "both are members",
    });
    Acting {
        order,
        permit: serde_json::from_value(permit).unwrap(),
        askers: vec![asked(1)],
        accepted: Duration::from_secs(order),
        until: Duration::from_secs(order + 50),
        instance: Some(InstanceId { pid: 22, started: 2 }),
        persistent: false,
        recipe: Some(crate::hypervisor::Recipe::Transient("<domain/>".into())),
    }
}

pub(super) fn ended(at: u64) -> Ended {
    let verdict = Verdict { took: Some(Duration::from_millis(5)), ..Verdict::new(Ruling::Done) };
    Ended { verdict, stopped: Some(InstanceId { pid: 22, started: 2 }), at: Duration::from_secs(at) }
}

/// A journal in which everything happened that can be written.
fn eventful(disk: &Disk) -> Journal {
    let mut journal = disk.journal();
    journal.acting(acting(1)).unwrap();
    journal.joined(1, asked(3), Duration::from_secs(70));
    journal.answered(1, asked(3), &Verdict::failed(Reason::Timeout, "not done in time"));
    journal.off(1, Evidence::ProcessGone).unwrap();
    journal.ended(1, ended(60));
    journal.acting(acting(2)).unwrap();
    journal
}

pub(super) fn told(journal: &Journal) -> Vec<(OrderNumber, Known)> {
    journal.orders().map(|(number, known)| (number, known.clone())).collect()
}

#[test]
fn what_was_written_is_known_again_after_a_restart() {
    let disk = Disk::default();
    let before = told(&eventful(&disk));

    let after = told(&disk.journal());

    assert_eq!(after, before);
    assert_eq!(after[0].1.acting.askers, [asked(1), asked(3)]);
    assert_eq!(after[0].1.answered[&asked(3)], Verdict::failed(Reason::Timeout, "not done in time"));
    assert_eq!((after[0].1.off, &after[0].1.ended), (Some(Evidence::ProcessGone), &Some(ended(60))));
    assert_eq!((after[1].1.off, &after[1].1.ended), (None, &None));
}

#[test]
fn a_torn_end_costs_its_last_line_and_no_more() {
    let disk = Disk::default();
    eventful(&disk);
    let whole = disk.content();
    let (all, _) = records(&whole);

    for cut in 0..whole.len() {
        let torn = &whole[..cut];
        let lines = torn.iter().filter(|&&byte| byte == b'\n').count();
        let (read, _) = records(torn);
        // A line that lacks nothing but its newline is whole.
        assert!(read.len() == lines || read.len() == lines + 1, "cut at {cut}");
        assert_eq!(read, all[..read.len()], "cut at {cut}");
    }
}

#[test]
fn a_journal_with_a_torn_end_is_written_on_without_loss() {
    let disk = Disk::default();
    eventful(&disk);
    let torn = disk.content().len() - 5;
    disk.0.lock().unwrap().0.truncate(torn);

    disk.journal().acting(acting(3)).unwrap();

    let numbers: Vec<_> = disk.journal().orders().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn a_line_of_which_any_byte_was_changed_is_none() {
    let line = Record::Acting(Box::new(acting(1))).to_line().unwrap();
    let line = line.strip_suffix(b"\n").unwrap();
    assert_eq!(Record::from_line(line), Some(Record::Acting(Box::new(acting(1)))));

    for place in 0..line.len() {
        let mut changed = line.to_vec();
        changed[place] ^= 1;
        assert_eq!(Record::from_line(&changed), None, "byte {place}");
    }
}

#[test]
fn what_was_written_before_the_hosts_last_boot_is_forgotten() {
    let disk = Disk::default();
    eventful(&disk);

    let journal = Journal::open(Box::new(disk.clone()), &disk.content(), "boot two");

    assert_eq!(told(&journal), []);
    assert_eq!(told(&disk.journal()), [], "and removed");
}

#[test]
fn an_order_that_cannot_be_written_is_not_known_and_a_full_disk_heals() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    disk.is_full(true);

    assert!(journal.acting(acting(1)).is_err());
    assert_eq!(told(&journal), []);

    disk.is_full(false);
    journal.acting(acting(1)).unwrap();
    assert_eq!(told(&disk.journal()), told(&journal));
}

#[test]
fn an_end_that_cannot_be_written_is_written_as_soon_as_there_is_room() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.acting(acting(1)).unwrap();
    disk.is_full(true);
    journal.ended(1, ended(60));
    assert!(journal.acting(acting(2)).is_err(), "first of all the end");

    disk.is_full(false);
    journal.acting(acting(2)).unwrap();

    assert_eq!(told(&disk.journal())[0].1.ended, Some(ended(60)));
}

#[test]
fn an_order_that_did_not_act_is_none_of_the_journals() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let empty = disk.content();

    journal.joined(1, asked(3), Duration::from_secs(70));
    journal.answered(1, asked(3), &Verdict::new(Ruling::Done));
    journal.ended(1, ended(60));

    assert_eq!(disk.content(), empty);
}

#[test]
fn twenty_thousand_orders_leave_a_journal_of_the_last_ten_minutes() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let mut longest = 0;

    for number in 1..=20_000 {
        journal.acting(Acting { askers: vec![asked(u128::from(number))], ..acting(number) }).unwrap();
        journal.ended(number, ended(number));
        longest = longest.max(disk.0.lock().unwrap().0.len());
    }

    let kept = journal.orders().count();
    assert!((600..2000).contains(&kept), "{kept} orders");
    assert!(longest < 4 * 1024 * 1024, "{longest} bytes");
}

#[test]
fn the_last_end_of_each_target_is_kept_as_long_as_the_target_is_known() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.acting(acting(1)).unwrap();
    journal.ended(1, ended(1));
    let mut other = serde_json::to_value(acting(2)).unwrap();
    other["permit"]["target"] = serde_json::json!(Uuid::from_u128(9));
    journal.acting(serde_json::from_value(other).unwrap()).unwrap();
    journal.ended(2, ended(5000));
    let mut journal = disk.journal();
    assert_eq!(journal.orders().count(), 2, "its stopped instance may live still");

    journal.retain(|uuid| uuid == Uuid::from_u128(9));

    assert_eq!(journal.orders().map(|(number, _)| number).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_file_holds_what_was_added_and_then_only_what_replaced_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (mut file, content) = JournalFile::open(&path).unwrap();
    assert_eq!(content, b"");

    file.append(b"one\n", 100_000).unwrap();
    file.append(b"two\n", 0).unwrap();
    assert_eq!(JournalFile::open(&path).unwrap().1, b"one\ntwo\n");
    file.replace(b"three\n", 100_000).unwrap();
    file.append(b"four\n", 0).unwrap();

    assert_eq!(JournalFile::open(&path).unwrap().1, b"three\nfour\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it may hold a domain's XML with its secrets");
}

#[test]
fn a_permit_is_read_back_as_it_was_given() {
    let permit = acting(1).permit;

    assert_eq!((permit.power(), permit.name().as_str()), (Power::Off, "web2"));
    assert_eq!(permit.asker().instance(), InstanceId { pid: 11, started: 1 });
}

/// How often everything was to be written anew, the room that was to be left each time that something was added, and whether
/// only adding works.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<(usize, Vec<u64>, bool)>>);

impl Watched {
    fn journal(&self) -> Journal {
        Journal::open(Box::new(self.clone()), &[], "boot one")
    }

    fn rewrites(&self) -> usize {
        self.0.lock().unwrap().0
    }
}

impl Store for Watched {
    fn append(&mut self, _: &[u8], spare: u64) -> io::Result<()> {
        self.0.lock().unwrap().1.push(spare);
        Ok(())
    }

    fn replace(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        let (rewrites, _, fails) = &mut *self.0.lock().unwrap();
        *rewrites += 1;
        if *fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_journal_of_a_hundred_orders_is_only_added_to() {
    let watched = Watched::default();
    let mut journal = watched.journal();

    for number in 1..=100 {
        journal.acting(acting(number)).unwrap();
        journal.ended(number, ended(number));
        journal.catch_up();
    }

    assert_eq!(watched.rewrites(), 1, "when it was opened");
}

#[test]
fn a_long_journal_that_cannot_be_written_anew_is_added_to_and_that_is_tried_seldom() {
    let watched = Watched::default();
    let mut journal = watched.journal();
    watched.0.lock().unwrap().2 = true;

    for number in 1..=2000 {
        journal.acting(acting(number)).unwrap();
    }

    assert!((3..6).contains(&watched.rewrites()), "{}", watched.rewrites());
}

#[test]
fn an_order_begins_only_where_there_is_room_for_the_ends_of_a_hundred_others() {
    let watched = Watched::default();
    let mut journal = watched.journal();

    journal.acting(acting(1)).unwrap();
    journal.ended(1, ended(60));

    let end = Record::Ended { order: 1, ended: ended(60) }.to_line().unwrap().len();
    let spare = watched.0.lock().unwrap().1.clone();
    assert!(spare[0] > 100 * u64::try_from(end).unwrap(), "{spare:?}");
    assert_eq!(spare[1], 0, "an end is written if it fits");
}

#[test]
fn a_journal_that_is_behind_says_so_until_it_has_caught_up() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    journal.acting(acting(1)).unwrap();
    assert!(!journal.is_behind());

    disk.is_full(true);
    journal.ended(1, ended(60));
    journal.catch_up();
    assert!(journal.is_behind(), "there is no room");
    disk.is_full(false);
    journal.catch_up();

    assert!(!journal.is_behind());
    assert_eq!(told(&disk.journal())[0].1.ended, Some(ended(60)));
}

#[test]
fn who_is_elsewhere_is_known_again_after_a_restart_until_it_is_back() {
    let (disk, [one, other]) = (Disk::default(), [5, 6].map(Uuid::from_u128));
    let mut journal = disk.journal();

    journal.are_elsewhere(&[one, other].into());
    assert_eq!(disk.journal().elsewhere(), &[one, other].into());
    journal.are_elsewhere(&[other].into());

    assert_eq!(journal.elsewhere(), &[other].into());
    assert_eq!(disk.journal().elsewhere(), &[other].into());
}

#[test]
fn a_journal_keeps_an_end_as_long_as_its_asker_may_ask_again() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let patient = Acting { until: Duration::from_secs(3600), ..acting(1) };
    journal.acting(patient).unwrap();
    journal.ended(1, ended(60));
    for (order, at) in [(2, 3000), (3, 3601)] {
        journal.acting(Acting { accepted: Duration::from_secs(at), ..acting(order) }).unwrap();
        journal.rewrite().unwrap();
        assert_eq!(told(&journal).first().map(|(number, _)| *number == 1), Some(order == 2), "at {at} s");
    }
}

#[test]
fn an_old_order_about_a_domain_that_is_no_more_is_forgotten_though_its_asker_is_there() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    for order in 1..=2 {
        let mut gone = acting(order);
        let permit = serde_json::to_value(&gone.permit).unwrap();
        let mut permit = permit.as_object().unwrap().clone();
        permit.insert("target".into(), serde_json::json!(Uuid::from_u128(100 + u128::from(order))));
        gone.permit = serde_json::from_value(permit.into()).unwrap();
        journal.acting(gone).unwrap();
        journal.ended(order, ended(order * (VERDICT_KEPT.as_secs() + 1)));
    }

    journal.retain(|uuid| uuid == Uuid::from_u128(1)); // the asker

    assert_eq!(journal.orders().map(|(number, _)| number).collect::<Vec<_>>(), [2]);
}
