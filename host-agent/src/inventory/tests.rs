mod announced;
mod first;
mod leaves;
mod living;
mod names;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::domain::{InstanceId, Job, Sighting, Standing};
use crate::hypervisor::{CallError, Change, Hypervisor, Recipe};
use crate::policy::Permit;

const EVERY: Duration = Duration::from_secs(30);
const RUNNING: Standing = Standing::Active;
const OFF: Standing = Standing::ShutOff;

/// A hypervisor whose answers are what was so when it was asked, and come when the script says.
struct Script {
    domains: Mutex<BTreeMap<Uuid, Domain>>,
    listing_takes: Mutex<Duration>,
    look_takes: Mutex<Duration>,
    fails: Mutex<bool>,
    listings: Mutex<Vec<Instant>>,
    /// How often somebody looked which have a process.
    looks_for_all: Mutex<usize>,
    changes: tokio::sync::Mutex<mpsc::Receiver<Change>>,
}

/// The census over it, and everything that reaches it.
struct Stage {
    script: Arc<Script>,
    changes: mpsc::Sender<Change>,
    hints: mpsc::Sender<Hint>,
    published: watch::Receiver<Arc<Inventory>>,
    begun: Instant,
    _census: JoinSet<()>,
}

fn domain(number: u128, standing: Standing) -> Domain {
    Domain {
        uuid: Uuid::from_u128(number),
        name: format!("web{number}").parse().unwrap(),
        standing,
        persistent: true,
        cluster: Some("web".into()),
        channels: Vec::new(),
        owner: None,
        instance: None,
    }
}

impl Stage {
    /// A host with these domains, listed once.
    async fn with(domains: impl IntoIterator<Item = Domain>) -> Self {
        let stage = Self::before_the_connection(domains);
        stage.tells(Change::Everything).await;
        stage.passes(0).await;
        stage
    }

    /// A host with these domains, of which nothing is known yet.
    fn before_the_connection(domains: impl IntoIterator<Item = Domain>) -> Self {
        let (changes, heard) = mpsc::channel(16);
        let script = Arc::new(Script {
            domains: Mutex::new(domains.into_iter().map(|domain| (domain.uuid, domain)).collect()),
            listing_takes: Mutex::default(),
            look_takes: Mutex::default(),
            fails: Mutex::default(),
            listings: Mutex::default(),
            looks_for_all: Mutex::default(),
            changes: tokio::sync::Mutex::new(heard),
        });
        let (hints, hinted) = mpsc::channel(16);
        let (sender, published) = watch::channel(Arc::new(Inventory::default()));
        let begun = Instant::now();
        let mut census = JoinSet::new();
        census.spawn(Census::new(script.clone(), hinted, sender, EVERY).run());
        Self { script, changes, hints, published, begun, _census: census }
    }

    /// Lets seconds pass, and what happens in them happen.
    async fn passes(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds) + Duration::from_millis(1)).await;
    }

    fn becomes(&self, domain: Domain) {
        self.script.domains.lock().unwrap().insert(domain.uuid, domain);
    }

    fn vanishes(&self, number: u128) {
        self.script.domains.lock().unwrap().remove(&Uuid::from_u128(number));
    }

    async fn tells(&self, change: Change) {
        self.changes.send(change).await.unwrap();
    }

    async fn hints(&self, hint: Hint) {
        self.hints.send(hint).await.unwrap();
    }

    fn known(&self, number: u128) -> Option<Standing> {
        self.published.borrow().get(Uuid::from_u128(number)).map(|domain| domain.standing)
    }

    /// The seconds in which everything was listed.
    fn listings(&self) -> Vec<u64> {
        let listings = self.script.listings.lock().unwrap();
        let mut seconds: Vec<_> = listings.iter().map(|at| (*at - self.begun).as_secs()).collect();
        seconds.dedup();
        seconds
    }
}

fn one(number: u128) -> Change {
    Change::Domain(Uuid::from_u128(number))
}

#[async_trait]
impl Hypervisor for Script {
    fn is_connected(&self) -> bool {
        true
    }

    fn is_simulated(&self) -> bool {
        false
    }

    async fn changed(&self) -> Change {
        self.changes.lock().await.recv().await.unwrap()
    }

    async fn domains(&self) -> Result<Vec<Domain>, CallError> {
        self.listings.lock().unwrap().push(Instant::now());
        let seen = self.domains.lock().unwrap().values().cloned().collect();
        let (takes, fails) = (*self.listing_takes.lock().unwrap(), *self.fails.lock().unwrap());
        sleep(takes).await;
        if fails { Err(CallError::Unreachable("gone".into())) } else { Ok(seen) }
    }

    async fn domain(&self, uuid: Uuid) -> Result<Domain, CallError> {
        let seen = self.domains.lock().unwrap().get(&uuid).cloned();
        let (takes, fails) = (*self.look_takes.lock().unwrap(), *self.fails.lock().unwrap());
        sleep(takes).await;
        if fails { Err(CallError::Deadline(takes)) } else { seen.ok_or(CallError::NoDomain) }
    }

    async fn running(&self) -> Vec<Uuid> {
        *self.looks_for_all.lock().unwrap() += 1;
        let domains = self.domains.lock().unwrap();
        domains.values().filter(|domain| domain.standing == RUNNING).map(|domain| domain.uuid).collect()
    }

    fn instance_again(&self, _id: InstanceId) -> Sighting {
        Sighting::Absent
    }

    fn instance_now(&self, _domain: &Domain) -> Sighting {
        Sighting::Absent
    }

    async fn process_of(&self, _uuid: Uuid, _age: Duration) -> Sighting {
        Sighting::Absent
    }

    async fn standing(&self, uuid: Uuid) -> Result<Standing, CallError> {
        self.domain(uuid).await.map(|domain| domain.standing)
    }

    async fn job(&self, _permit: &Permit, _within: Duration) -> Result<Job, CallError> {
        Ok(Job::None)
    }

    async fn abort_job(&self, _permit: &Permit) -> Result<(), CallError> {
        Ok(())
    }

    async fn recipe(&self, _permit: &Permit) -> Result<Recipe, CallError> {
        Ok(Recipe::Defined)
    }

    async fn stop(&self, _permit: &Permit, _asked: Instant) -> Result<(), CallError> {
        Ok(())
    }

    async fn start(&self, _permit: &Permit, _recipe: &Recipe) -> Result<(), CallError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_only_makes_somebody_look_and_what_was_seen_decides() {
    let stage = Stage::with([domain(1, RUNNING)]).await;

    stage.tells(one(1)).await; // nothing is different
    stage.passes(1).await;
    assert_eq!(stage.known(1), Some(RUNNING));
    stage.becomes(domain(1, OFF));
    stage.tells(one(1)).await;
    stage.passes(1).await;

    assert_eq!(stage.known(1), Some(OFF));
    assert_eq!(stage.listings(), [0], "one domain was looked at, not all");
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_heals_by_the_next_listing() {
    let stage = Stage::with([domain(1, RUNNING), domain(2, RUNNING)]).await;
    stage.becomes(domain(1, OFF));
    stage.becomes(domain(3, RUNNING));
    stage.vanishes(2);

    stage.passes(29).await;
    assert_eq!((stage.known(1), stage.known(2), stage.known(3)), (Some(RUNNING), Some(RUNNING), None));
    stage.passes(1).await;

    assert_eq!((stage.known(1), stage.known(2), stage.known(3)), (Some(OFF), None, Some(RUNNING)));
}

#[tokio::test(start_paused = true)]
async fn a_connect_lists_everything_at_once_and_the_clock_begins_anew() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    stage.passes(10).await;

    stage.tells(Change::Everything).await;
    stage.passes(35).await;

    assert_eq!(stage.listings(), [0, 10, 40]);
}

#[tokio::test(start_paused = true)]
async fn an_older_listing_never_overwrites_a_newer_look_at_one_domain() {
    let stage = Stage::with([domain(1, RUNNING), domain(2, RUNNING)]).await;
    *stage.script.listing_takes.lock().unwrap() = Duration::from_secs(5);
    stage.tells(Change::Everything).await;
    stage.passes(1).await; // the listing has seen them running, and is under way

    stage.becomes(domain(1, OFF));
    stage.vanishes(2);
    stage.becomes(domain(3, RUNNING));
    for number in 1..=3 {
        stage.tells(one(number)).await;
    }
    stage.passes(1).await;
    let before = (stage.known(1), stage.known(2), stage.known(3));
    stage.passes(5).await; // the listing is over

    assert_eq!(before, (Some(OFF), None, Some(RUNNING)));
    assert_eq!((stage.known(1), stage.known(2), stage.known(3)), before);
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_it_is_looked_at_is_looked_at_once_more() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.look_takes.lock().unwrap() = Duration::from_secs(2);
    stage.tells(one(1)).await;
    stage.passes(1).await; // it was seen running

    stage.becomes(domain(1, OFF));
    stage.tells(one(1)).await;
    stage.passes(4).await;

    assert_eq!(stage.known(1), Some(OFF));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_vanished_is_removed() {
    let stage = Stage::with([domain(1, RUNNING), domain(2, RUNNING)]).await;

    stage.vanishes(1);
    stage.tells(one(1)).await;
    stage.passes(1).await;

    assert_eq!((stage.known(1), stage.known(2)), (None, Some(RUNNING)));
    assert!(stage.published.borrow().find(&"web1".parse().unwrap()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_is_tried_again_after_a_second_and_forgets_nothing() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.fails.lock().unwrap() = true;
    stage.passes(9).await;

    stage.tells(Change::Everything).await;
    stage.passes(2).await;
    assert_eq!(stage.known(1), Some(RUNNING));
    *stage.script.fails.lock().unwrap() = false;
    stage.becomes(domain(1, OFF));
    stage.passes(1).await;

    assert_eq!(stage.known(1), Some(OFF));
    assert_eq!(stage.listings(), [0, 9, 10, 11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_is_followed_by_a_listing_within_a_second() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    stage.becomes(domain(1, OFF));
    *stage.script.fails.lock().unwrap() = true;
    stage.tells(one(1)).await;
    stage.passes(0).await;
    assert_eq!(stage.known(1), Some(RUNNING), "a failure says nothing");

    *stage.script.fails.lock().unwrap() = false;
    stage.passes(1).await;

    assert_eq!(stage.known(1), Some(OFF));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_while_libvirt_is_away() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.fails.lock().unwrap() = true;

    stage.tells(Change::Lost).await;
    stage.passes(300).await;

    assert_eq!(stage.known(1), Some(RUNNING));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_woken_where_nothing_is_different() {
    let mut stage = Stage::with([domain(1, RUNNING)]).await;
    stage.published.mark_unchanged();

    stage.tells(one(1)).await;
    stage.tells(Change::Everything).await;
    stage.passes(100).await;

    assert!(!stage.published.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_older_look_at_one_domain_never_overwrites_a_newer_listing() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.look_takes.lock().unwrap() = Duration::from_secs(5);
    stage.tells(one(1)).await;
    stage.passes(1).await; // it was seen running, and that answer is under way
    stage.becomes(domain(1, OFF)); // its event is lost

    stage.tells(Change::Everything).await;
    stage.passes(1).await;
    assert_eq!(stage.known(1), Some(OFF));
    stage.passes(5).await;

    assert_eq!(stage.known(1), Some(OFF));
}
