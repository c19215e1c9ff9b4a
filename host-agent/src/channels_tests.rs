use std::time::Duration;

use fence_vmchannel_protocol::encode_line;
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::channel::REQUESTS;
use crate::channel::board::Board;
use crate::channel::tend::QUIET;
use crate::domain::{Domain, Mode, Standing};
use crate::host_status::Facts;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::simulated::{Entry, Simulated};
use crate::inventory::Hint;
use crate::journal::Journal;
use crate::orders::{Clock, Orders, Patience};
use crate::policy::Policy;

/// The channels of a host with so many domains that are off, as the daemon drives them.
struct Stage {
    dir: TempDir,
    host: Arc<Simulated>,
    agent: Arc<Agent>,
    published: watch::Sender<Arc<Inventory>>,
    heard: mpsc::Receiver<Hint>,
    channels: Channels,
    tasks: JoinSet<Task>,
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

impl Stage {
    async fn with(domains: u128) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let entry = |number| Entry {
            name: format!("web{number}").parse().unwrap(),
            uuid: uuid(number),
            cluster: Some("web".into()),
            running: false,
            persistent: true,
            stop_ms: 0,
            stubborn: false,
            immortal: false,
        };
        let host = Arc::new(Simulated::of((0..domains).map(entry).collect(), dir.path()));
        let hypervisor: Arc<dyn Hypervisor> = host.clone();
        let (published, inventory) = watch::channel(Arc::default());
        let patience = Patience { kill_after: QUIET, give_up_after: QUIET };
        let journal = (Journal::in_memory(), Clock::Boot);
        let orders = Orders::new(
            hypervisor.clone(),
            (inventory.clone(), mpsc::channel(1).0),
            patience,
            mpsc::channel(1).0,
            journal,
        );
        let policy = watch::channel(Arc::new(Policy::default())).1;
        let stopping = watch::channel(false).1;
        let (board, host_status) = (Board::default(), Facts::default());
        let (hints, heard) = mpsc::channel(1);
        let agent = Agent { hypervisor, inventory, policy, orders, board, host_status, hints, stopping };
        let (channels, tasks) = (Channels::open().unwrap(), JoinSet::new());
        let mut stage = Self { dir, host, agent: Arc::new(agent), published, heard, channels, tasks };
        stage.look().await;
        stage
    }

    /// The agent sees how the domains are now.
    async fn look(&mut self) {
        let now = self.agent.hypervisor.domains().await.unwrap();
        self.sees(now);
    }

    fn sees(&mut self, domains: Vec<Domain>) {
        let now: Arc<Inventory> = Arc::new(domains.into_iter().collect());
        self.published.send_replace(now.clone());
        self.channels.follow(&now, &self.agent, &mut self.tasks);
    }

    /// Everything happens that does so within this time.
    async fn pass(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                seats = self.channels.knocked() => self.channels.tend(&seats, &self.agent, &mut self.tasks),
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Task::Channels(idle)) => self.channels.rest(idle, &self.agent, &mut self.tasks),
                    other => assert!(other.is_err_and(|error| error.is_cancelled())),
                },
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    async fn settle(&mut self) {
        self.pass(Duration::from_millis(10)).await;
    }

    fn socket(&self, number: u128) -> std::path::PathBuf {
        self.dir.path().join(format!("{}.sock", uuid(number)))
    }

    fn tender(&self, number: u128) -> Option<&Tender> {
        self.channels.tended.get(&uuid(number))?.first().map(|one| &one.by)
    }

    fn is_idle(&self, number: u128) -> bool {
        matches!(self.tender(number), Some(Tender::Lobby(_)))
    }

    fn has_task(&self, number: u128) -> bool {
        matches!(self.tender(number), Some(Tender::Task(_)))
    }

    /// The agent looks after its files.
    async fn sweeps(&mut self) {
        self.channels.sweep(self.dir.path(), &self.agent, &mut self.tasks);
        self.settle().await;
    }

    /// Somebody comes, who is not the guest, and is turned away.
    async fn turns_away(&mut self, number: u128) {
        let mut stranger = UnixStream::connect(self.socket(number)).await.unwrap();
        self.settle().await;
        assert_eq!(stranger.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_there_is_a_socket_and_no_task() {
    let mut stage = Stage::with(3 * PART as u128).await;

    stage.settle().await;

    assert!(stage.tasks.is_empty());
    assert!((0..3 * PART as u128).all(|number| stage.is_idle(number) && stage.socket(number).exists()));
}

#[tokio::test(start_paused = true)]
async fn who_knocks_is_looked_at_by_a_task_that_ends_when_nobody_has_come_for_a_minute() {
    let mut stage = Stage::with(2).await;
    stage.settle().await;

    stage.turns_away(1).await;

    assert!(stage.has_task(1) && stage.is_idle(0));
    stage.pass(QUIET / 2).await;
    stage.turns_away(1).await;
    stage.pass(QUIET - Duration::from_secs(1)).await;
    assert!(stage.has_task(1), "bounds of a channel are not forgotten by coming back");
    stage.pass(Duration::from_secs(2)).await;
    assert!(stage.is_idle(1) && stage.tasks.is_empty());
    stage.turns_away(1).await;
}

#[tokio::test(start_paused = true)]
async fn who_knocks_over_and_over_is_let_in_in_its_turn_also_after_a_pause() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    for _ in 0..20 {
        stage.turns_away(0).await;
    }
    let mut another = stage.agent.board.turns().line_up();
    assert!((&mut another).now_or_never().is_none(), "somebody else has its turn");

    let mut stranger = UnixStream::connect(stage.socket(0)).await.unwrap();
    stage.settle().await;
    let out_of_turn = stranger.read(&mut [0]).now_or_never();
    drop(another);
    stage.settle().await;

    assert!(out_of_turn.is_none(), "it was looked at already: {out_of_turn:?}");
    assert_eq!(stranger.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_started_has_a_task_and_its_guest_is_served() {
    let mut stage = Stage::with(2).await;
    stage.settle().await;

    stage.host.run(uuid(1)).unwrap();
    stage.look().await;

    assert!(stage.has_task(1) && stage.is_idle(0));
    let _guest = UnixStream::connect(stage.socket(1)).await.unwrap();
    stage.settle().await;
    let spec = stage.agent.domains().get(uuid(1)).unwrap().channels[0].clone();
    assert_eq!(stage.agent.board.of(uuid(1), &spec).to_string(), "served");
    stage.pass(QUIET * 3).await;
    assert!(stage.has_task(1), "as long as somebody is there");
}

/// As many questions as a guest may ask at once.
fn questions() -> Vec<u8> {
    let question = |number: u32| {
        let id = format!("{:032x}", number + 1);
        encode_line(&HashMap::from([("id", &*id), ("op", "whoami")])).unwrap()
    };
    (0..REQUESTS.1).flat_map(question).collect()
}

/// How many answers wait for this guest.
async fn answers(guest: &mut UnixStream) -> usize {
    let mut said = vec![0; 64 * 1024];
    let count = guest.read(&mut said).now_or_never().map_or(0, Result::unwrap);
    said[..count].iter().filter(|byte| **byte == b'\n').count()
}

#[tokio::test(start_paused = true)]
async fn who_connects_over_and_over_may_not_ask_more_for_that() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    stage.host.run(uuid(0)).unwrap();
    stage.look().await;

    let mut count = 0;
    for _ in 0..10 {
        let mut guest = UnixStream::connect(stage.socket(0)).await.unwrap();
        guest.write_all(&questions()).await.unwrap();
        stage.settle().await;
        count += answers(&mut guest).await;
    }

    let at_once = REQUESTS.1 as usize;
    assert!((at_once..at_once + 10).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn who_closes_its_connection_over_and_over_may_not_ask_more_for_that() {
    let mut stage = Stage::with(1).await;
    stage.host.run(uuid(0)).unwrap();
    let mut domain = stage.agent.hypervisor.domains().await.unwrap().remove(0);
    let path = stage.dir.path().join("of-qemu.sock");
    let qemu = UnixListener::bind(&path).unwrap();
    domain.channels.iter_mut().for_each(|spec| (spec.mode, spec.path) = (Mode::Bind, path.as_path().into()));
    stage.sees(vec![domain]);

    let mut count = 0;
    for _ in 0..10 {
        let (mut guest, _) = tokio::select! {
            came = qemu.accept() => came.unwrap(),
            () = stage.pass(QUIET) => panic!("the agent does not connect"),
        };
        guest.write_all(&questions()).await.unwrap();
        stage.settle().await;
        count += answers(&mut guest).await;
    }

    let at_once = REQUESTS.1 as usize;
    assert!((at_once..at_once * 2).contains(&count), "{count}, of which 20 in each second");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_guest_that_was_served_makes_somebody_look_how_it_ended() {
    let mut stage = Stage::with(1).await;
    stage.settle().await;
    stage.host.run(uuid(0)).unwrap();
    stage.look().await;
    let guest = UnixStream::connect(stage.socket(0)).await.unwrap();
    stage.settle().await;

    drop(guest); // QEMU closes its sockets some moments before its process is gone
    stage.settle().await;
    assert!(stage.heard.try_recv().is_err(), "it may come back");
    let domain = stage.agent.domains().get(uuid(0)).cloned().unwrap();
    domain.instance.as_ref().unwrap().process.kill().unwrap();
    stage.settle().await;

    assert!(matches!(stage.heard.try_recv(), Ok(Hint::Changed(who)) if who == uuid(0)));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_starts_while_its_socket_is_made_has_a_task() {
    let mut stage = Stage::with(2).await;

    stage.host.run(uuid(1)).unwrap();
    stage.look().await;
    stage.settle().await;

    assert!(stage.has_task(1) && stage.is_idle(0));
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_undefined_leaves_no_file_whatever_its_channel_was_doing() {
    let mut stage = Stage::with(4).await;
    stage.settle().await;
    stage.turns_away(1).await;
    stage.host.run(uuid(2)).unwrap();
    stage.look().await;
    let _guest = UnixStream::connect(stage.socket(2)).await.unwrap();
    stage.settle().await;
    assert!(stage.is_idle(0) && stage.has_task(1) && stage.has_task(2));

    (0..3).for_each(|number| stage.host.forget(uuid(number)));
    stage.look().await;
    stage.settle().await;

    assert!((0..3).all(|number| stage.tender(number).is_none() && !stage.socket(number).exists()));
    assert!(stage.is_idle(3) && stage.socket(3).exists());
    assert!(stage.tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_undefined_while_its_socket_is_made_leaves_no_file() {
    let mut stage = Stage::with(2).await;

    stage.host.forget(uuid(0));
    stage.look().await;
    stage.settle().await;

    assert!(stage.tender(0).is_none() && !stage.socket(0).exists());
    assert!(stage.is_idle(1));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_cannot_be_made_is_tried_again_and_then_waits_like_the_others() {
    let mut stage = Stage::with(0).await;
    let away = stage.dir.path().with_extension("away");
    std::fs::rename(stage.dir.path(), &away).unwrap();
    let host = Stage::with(2).await;
    let domains = host.agent.domains();
    let elsewhere = |domain: &Arc<Domain>| {
        let mut domain = Domain::clone(domain);
        domain.channels[0].path = stage.dir.path().join(format!("{}.sock", domain.uuid)).into();
        domain.standing = Standing::ShutOff;
        domain
    };
    let now: Arc<Inventory> = Arc::new(domains.iter().map(elsewhere).collect());
    stage.channels.follow(&now, &stage.agent, &mut stage.tasks);
    stage.settle().await;
    assert!(stage.has_task(0) && stage.has_task(1));

    std::fs::rename(&away, stage.dir.path()).unwrap();
    stage.pass(QUIET + Duration::from_secs(1)).await;

    assert!(stage.is_idle(0) && stage.is_idle(1) && stage.socket(0).exists() && stage.socket(1).exists());
}

#[path = "channels/files_tests.rs"]
mod files;
