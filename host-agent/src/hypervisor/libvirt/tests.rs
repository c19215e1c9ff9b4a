use virt::connect::Connect;
use virt::domain::Domain as Handle;

use super::act::{self, Started};
use super::pool::HELD_UP;
use super::*;

const DOMAIN: Uuid = Uuid::from_u128(5);

const HARDWARE: &str = "<memory>8192</memory><os><type>hvm</type></os>";

/// libvirt's own test driver, in this process, with one running domain.
struct Driver(Connect);

impl Driver {
    fn open() -> Self {
        start_event_loop().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let domain = format!("<domain type='test'><name>web1</name><uuid>{DOMAIN}</uuid>{HARDWARE}</domain>");
        std::fs::write(file.path(), format!("<node>{domain}</node>")).unwrap();
        Self(Connect::open(Some(&format!("test://{}", file.path().display()))).unwrap())
    }

    fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        look::standing(&self.0, uuid)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.close().unwrap();
    }
}

fn stop(connect: &Connect, uuid: Uuid) -> Result<(), CallError> {
    let interest = Arc::new(());
    act::stop(connect, uuid, (Instant::now(), &Arc::downgrade(&interest)))
}

#[test]
fn what_nobody_waits_for_any_more_is_not_stopped() {
    let driver = Driver::open();
    let wanted = Arc::downgrade(&Arc::new(()));

    assert!(act::stop(&driver.0, DOMAIN, (Instant::now(), &wanted)).is_err());

    assert_eq!(driver.standing(DOMAIN), Ok(Standing::Active), "it may be another run by then");
}

#[test]
fn a_domain_is_stopped_and_started_again_and_neither_minds_a_repeat() {
    let driver = Driver::open();
    let connect = &driver.0;
    assert_eq!(driver.standing(DOMAIN), Ok(Standing::Active));

    assert_eq!(stop(connect, DOMAIN), Ok(()));
    assert_eq!(driver.standing(DOMAIN), Ok(Standing::ShutOff));
    assert_eq!(stop(connect, DOMAIN), Err(CallError::NotRunning));

    assert_eq!(act::start(connect, DOMAIN, &Recipe::Defined), Ok(Started::Now));
    assert_eq!(act::start(connect, DOMAIN, &Recipe::Defined), Ok(Started::Already));
    assert_eq!(driver.standing(DOMAIN), Ok(Standing::Active));
}

#[test]
fn a_transient_domain_is_made_again_from_its_recipe() {
    let driver = Driver::open();
    let uuid = Uuid::from_u128(7);
    let xml = format!(
        "<domain type='test'><name>passing</name><uuid>{uuid}</uuid>{HARDWARE}\
         <devices><graphics type='vnc' port='-1' passwd='secret'/></devices></domain>"
    );
    Handle::create_xml(&driver.0, &xml, 0).unwrap();

    let recipe = act::recipe(&driver.0, uuid).unwrap();
    stop(&driver.0, uuid).unwrap();
    assert_eq!(driver.standing(uuid), Err(CallError::NoDomain));

    assert!(matches!(&recipe, Recipe::Transient(xml) if xml.contains("secret")));
    assert_eq!(act::start(&driver.0, uuid, &recipe), Ok(Started::Now));
    assert_eq!(driver.standing(uuid), Ok(Standing::Active));
}

#[test]
fn a_defined_domain_needs_no_recipe_but_its_definition() {
    let driver = Driver::open();

    assert!(act::recipe(&driver.0, DOMAIN) == Ok(Recipe::Defined));
}

#[test]
fn an_unknown_domain_is_an_error_for_every_question_and_order() {
    let driver = Driver::open();
    let nobody = Uuid::from_u128(1);

    assert_eq!(driver.standing(nobody), Err(CallError::NoDomain));
    assert_eq!(stop(&driver.0, nobody), Err(CallError::NoDomain));
    assert_eq!(act::start(&driver.0, nobody, &Recipe::Defined), Err(CallError::NoDomain));
    assert!(act::recipe(&driver.0, nobody) == Err(CallError::NoDomain));
    assert_eq!(act::job(&driver.0, nobody), Err(CallError::NoDomain));
    assert_eq!(act::abort_job(&driver.0, nobody), Err(CallError::NoDomain));
}

#[test]
fn paused_is_active_and_a_refused_start_says_why_in_one_line() {
    let driver = Driver::open();
    Handle::lookup_by_uuid(&driver.0, DOMAIN).unwrap().suspend().unwrap();
    let broken = Recipe::Transient("<domain type='test'><name>x</name></domain>".to_owned());

    let refused = act::start(&driver.0, Uuid::from_u128(2), &broken);

    assert_eq!(driver.standing(DOMAIN), Ok(Standing::Active));
    assert!(matches!(refused, Err(CallError::Failed(text)) if !text.contains('\n') && !text.is_empty()));
}

/// A gate that stays closed until it is dropped, for calls to hang at.
fn gate() -> (std::sync::mpsc::Sender<()>, std::sync::Arc<Mutex<std::sync::mpsc::Receiver<()>>>) {
    let (gate, passage) = std::sync::mpsc::channel();
    (gate, std::sync::Arc::new(Mutex::new(passage)))
}

/// More calls than the pool lets hang in one lane.
const LOOKS_AND_HUNG: usize = 20;

fn small_pool() -> Pool {
    start_event_loop().unwrap();
    Pool::new(Supply::Uri("test:///default".to_owned()), 1)
}

#[tokio::test]
async fn a_call_past_its_deadline_is_left_behind_and_others_go_on() {
    let pool = small_pool();
    let (gate, passage) = gate();
    let deadline = Duration::from_millis(50);

    let hung =
        pool.call((Lane::Act, DOMAIN), deadline, move |_| Ok(passage.lock().unwrap().recv().is_ok())).await;
    let is_alive = |connect: &Connect| Ok(connect.is_alive() == Ok(true));
    let same = pool.call((Lane::Act, DOMAIN), deadline, is_alive).await;
    let next = pool.call((Lane::Act, Uuid::from_u128(2)), Duration::from_secs(20), is_alive).await;

    let late = Err(CallError::Deadline(deadline));
    assert_eq!((hung, same, next), (late.clone(), late, Ok(true)), "nothing overtakes what hangs");
    drop(gate);
    assert_eq!(pool.call((Lane::Act, DOMAIN), Duration::from_secs(20), is_alive).await, Ok(true));
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_agent_is_held_up_is_no_silence_of_libvirts() {
    let pool = small_pool();
    let (gate, passage) = gate();
    let deadline = Duration::from_millis(50);
    let stall = deadline + 2 * HELD_UP;
    let answers = move |_: &_| {
        std::thread::sleep(stall + HELD_UP);
        Ok(true)
    };
    let silent = move |_: &_| Ok(passage.lock().unwrap().recv().is_ok());

    let (asked, ()) = tokio::join!(pool.call((Lane::Decide, DOMAIN), deadline, answers), async {
        std::thread::sleep(stall);
    });
    let (silent, ()) = tokio::join!(pool.call((Lane::Look, DOMAIN), deadline, silent), async {
        std::thread::sleep(stall);
    });
    drop(gate);

    assert_eq!((asked, silent), (Ok(true), Err(CallError::Deadline(deadline))));
}

#[tokio::test]
async fn calls_that_hang_are_bounded() {
    let pool = small_pool();
    let (gate, passage) = gate();

    let (mut last, mut domain) = (Ok(true), 0);
    while !matches!(last, Err(CallError::Busy)) {
        domain += 1;
        let (passage, about) = (passage.clone(), (Lane::Look, Uuid::from_u128(domain)));
        let hang = move |_: &_| Ok(passage.lock().unwrap().recv().is_ok());
        last = pool.call(about, Duration::from_millis(5), hang).await;
    }
    let of_an_order = pool
        .call((Lane::Decide, DOMAIN), Duration::from_secs(20), |connect| Ok(connect.is_alive() == Ok(true)));
    let of_an_order = of_an_order.await;
    drop(gate);

    assert_eq!(last, Err(CallError::Busy));
    assert_eq!(of_an_order, Ok(true), "an order has room of its own");
}

#[tokio::test]
async fn calls_about_one_domain_that_hang_keep_no_room_from_others() {
    let pool = small_pool();
    let (gate, passage) = gate();

    for _ in 0..LOOKS_AND_HUNG {
        let passage = passage.clone();
        let hang = move |_: &_| Ok(passage.lock().unwrap().recv().is_ok());
        let hung = pool.call((Lane::Look, DOMAIN), Duration::from_millis(5), hang).await;
        assert_eq!(hung, Err(CallError::Deadline(Duration::from_millis(5))));
    }
    let about_another = (Lane::Look, Uuid::from_u128(77));
    let other =
        pool.call(about_another, Duration::from_secs(20), |connect| Ok(connect.is_alive() == Ok(true))).await;
    drop(gate);

    assert_eq!(other, Ok(true));
}

#[tokio::test]
async fn without_libvirt_a_call_fails_and_never_waits() {
    let settings = Settings::new("qemu:///system?socket=/nonexistent/libvirt-sock", "/run/guests");
    let libvirt = Libvirt::start(settings).unwrap();

    let asked = libvirt.standing(DOMAIN).await;

    assert!(matches!(asked, Err(CallError::Unreachable(_))), "{asked:?}");
    assert!(!libvirt.is_connected());
}
