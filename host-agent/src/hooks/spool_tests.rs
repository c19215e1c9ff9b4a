use super::Spool;
use fence_vmchannel_protocol::note::{DomainXml, MAX_NOTE_BYTES, Note, Operation};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::Mode;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::timeout;

/// Sooner than the look that comes without any event.
const SOON: Duration = Duration::from_secs(3);

struct Place {
    _temporary: TempDir,
    runtime: PathBuf,
    spool: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let runtime = temporary.path().join("run");
        let spool = runtime.join("spool");
        std::fs::create_dir_all(&spool).unwrap();
        Self { _temporary: temporary, runtime, spool }
    }

    /// As the hook does it: another name first, then the rename.
    fn put(&self, name: &str, domain: &str) {
        let unfinished = self.spool.join(format!(".{name}.tmp"));
        std::fs::write(&unfinished, note(domain).encode().unwrap()).unwrap();
        std::fs::rename(unfinished, self.spool.join(format!("{name}.note"))).unwrap();
    }
}

fn note(domain: &str) -> Note {
    Note {
        operation: Operation::Started,
        sub_operation: "begin".to_owned(),
        extra: "-".to_owned(),
        domain: domain.to_owned(),
        xml: DomainXml::Omitted,
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn next(spool: &mut Spool) -> String {
    timeout(SOON, spool.next()).await.expect("a note was to come soon").domain
}

#[tokio::test]
async fn notes_that_waited_come_first_and_in_order_and_are_deleted() {
    let place = Place::new();
    for name in ["3", "1", "2"] {
        place.put(name, &format!("vm{name}"));
    }

    let mut spool = Spool::open(&place.spool);
    place.put("4", "vm4");

    for expected in ["vm1", "vm2", "vm3", "vm4"] {
        assert_eq!(next(&mut spool).await, expected);
    }
    assert_eq!(place.spool.read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_note_that_comes_later_is_heard() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);

    let (heard, ()) = tokio::join!(next(&mut spool), async { place.put("1", "web1") });

    assert_eq!(heard, "web1");
}

#[tokio::test]
async fn what_is_no_note_is_deleted_and_the_next_one_is_read() {
    let place = Place::new();
    let put = |name: &str, bytes: &[u8]| std::fs::write(place.spool.join(name), bytes).unwrap();
    put("1.note", b"garbage");
    put("2.note", &vec![b'x'; MAX_NOTE_BYTES + 1]);
    nix::unistd::mkfifo(&place.spool.join("3.note"), Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.spool.join("4.note")).unwrap();
    place.put("5", "web1");

    let mut spool = Spool::open(&place.spool);

    assert_eq!(next(&mut spool).await, "web1");
    assert_eq!(place.spool.read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_be_deleted_is_passed_by() {
    let place = Place::new();
    std::fs::create_dir(place.spool.join("1.note")).unwrap();
    let mut spool = Spool::open(&place.spool);

    for round in ["2", "3"] {
        place.put(round, round);
        assert_eq!(next(&mut spool).await, round);
    }

    assert_eq!(spool.stuck.len(), 1);
}

#[tokio::test]
async fn unfinished_notes_without_a_writer_are_swept_away() {
    let place = Place::new();
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::create(place.spool.join(".1.tmp")).unwrap().set_modified(old).unwrap();
    std::fs::write(place.spool.join(".2.tmp"), "being written").unwrap();

    let _spool = Spool::open(&place.spool);

    assert!(!place.spool.join(".1.tmp").exists());
    assert!(place.spool.join(".2.tmp").exists());
}

#[tokio::test]
async fn an_overflow_of_the_event_queue_loses_no_note() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let (here, there) = (place.spool.join("here"), place.spool.join("there"));
    std::fs::write(&here, "").unwrap();
    for _ in 0..limit.trim().parse::<u32>().unwrap() {
        std::fs::rename(&here, &there).unwrap();
        std::fs::rename(&there, &here).unwrap();
    }

    place.put("1", "web1"); // its event finds no room in the queue

    assert_eq!(next(&mut spool).await, "web1");
    place.put("2", "web2");
    assert_eq!(next(&mut spool).await, "web2");
}

#[tokio::test]
async fn a_removed_directory_is_made_again_by_the_agent() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);

    for removed in [&place.spool, &place.runtime] {
        std::fs::remove_dir_all(removed).unwrap();
        let listener = async {
            while !place.spool.exists() {
                tokio::task::yield_now().await;
            }
            place.put("1", "web1");
        };
        let (heard, ()) = tokio::join!(next(&mut spool), listener);

        assert_eq!(heard, "web1");
    }
}

#[tokio::test]
async fn a_directory_made_again_by_others_is_watched_anew() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);

    for round in ["1", "2", "3"] {
        std::fs::remove_dir_all(&place.runtime).unwrap();
        std::fs::create_dir_all(&place.spool).unwrap();
        place.put(round, round);
        assert_eq!(next(&mut spool).await, round);
        place.put("late", "late");
        assert_eq!(next(&mut spool).await, "late");
    }
}

#[tokio::test]
async fn a_directory_moved_away_is_replaced() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);

    std::fs::rename(&place.spool, place.runtime.join("away")).unwrap();
    std::fs::create_dir(&place.spool).unwrap();
    place.put("1", "web1");

    assert_eq!(next(&mut spool).await, "web1");
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_not_used_until_it_is_closed_again() {
    let place = Place::new();
    chmod(&place.spool, 0o777);
    place.put("1", "web1");
    let mut spool = Spool::open(&place.spool);

    let unused = timeout(Duration::from_millis(50), spool.next()).await;
    chmod(&place.spool, 0o700);

    assert!(unused.is_err());
    assert_eq!(next(&mut spool).await, "web1");
}

#[tokio::test]
async fn a_link_in_the_place_of_the_directory_is_not_used() {
    let place = Place::new();
    std::fs::rename(&place.spool, place.runtime.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(place.runtime.join("elsewhere"), &place.spool).unwrap();
    place.put("1", "web1");
    let mut spool = Spool::open(&place.spool);

    assert!(timeout(Duration::from_millis(50), spool.next()).await.is_err());
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_no_note() {
    let place = Place::new();
    let mut spool = Spool::open(&place.spool);

    for round in 0..50 {
        let given_up = timeout(Duration::ZERO, spool.next()).await.is_err();
        place.put("1", &format!("vm{round}"));
        assert!(given_up);
        assert_eq!(next(&mut spool).await, format!("vm{round}"));
    }
}

#[tokio::test]
async fn an_idle_or_a_broken_spool_costs_no_time() {
    let place = Place::new();
    let mut idle = Spool::open(&place.spool);
    let blocked = place.runtime.join("a file");
    std::fs::write(&blocked, "").unwrap();
    let mut broken = Spool::open(&blocked.join("spool"));
    let (before, started) = (cpu_time(), Instant::now());

    let waiting =
        timeout(Duration::from_millis(500), async { tokio::join!(idle.next(), broken.next()) }).await;

    assert!(waiting.is_err());
    assert!(cpu_time() - before < started.elapsed() / 5);
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros =
        |time: nix::sys::time::TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap();
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}
