//! Domains of which only a hook note tells.

use super::*;
use crate::domain::{ChannelSpec, Mode, Port};

impl Stage {
    /// Whether this domain's channels are there, and nothing else of it is known.
    fn is_announced(&self, number: u128) -> bool {
        let (now, uuid) = (self.published.borrow(), Uuid::from_u128(number));
        let has_channels = now.with_announced().any(|domain| domain.uuid == uuid);
        assert_eq!(has_channels, now.at_the_door(uuid).is_some());
        has_channels && now.get(uuid).is_none()
    }

    async fn announces(&self, domain: Domain) {
        self.hints(Hint::Starting(Box::new(domain))).await;
        self.passes(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_note_gives_a_domain_no_name_and_no_cluster() {
    let stage = Stage::with([]).await;

    stage.announces(domain(1, Standing::Unclear)).await;

    let now = stage.published.borrow().clone();
    assert!(stage.is_announced(1));
    for target in ["web1".parse().unwrap(), Target::Uuid(Uuid::from_u128(1))] {
        assert_eq!(now.find(&target), None, "whom it means only libvirt can say");
    }
    assert!(now.is_complete() && !now.has_all());
    assert_eq!((now.iter().count(), now.by_name().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_note_tells_of_a_known_domain_only_which_sockets_to_have_ready() {
    let stage = Stage::with([domain(1, OFF)]).await;
    let path = std::path::Path::new("/run/fence-vmchannel/guests/1.sock").into();
    let channels = vec![ChannelSpec { port: Port::Virtio, mode: Mode::Connect, path }];
    *stage.script.look_takes.lock().unwrap() = Duration::from_secs(5);

    let (name, cluster) = ("other".parse().unwrap(), Some("other".into()));
    let noted = Domain { name, cluster, channels: channels.clone(), ..domain(1, Standing::Unclear) };
    stage.announces(noted).await;

    let now = stage.published.borrow().clone();
    assert_eq!(
        now.get(Uuid::from_u128(1)).map(|known| Domain::clone(known)),
        Some(Domain { channels, ..domain(1, OFF) })
    );
    assert!(now.has_all() && now.find(&"other".parse().unwrap()).is_none());
    stage.passes(5).await;
    assert_eq!(
        stage.published.borrow().get(Uuid::from_u128(1)).map(|known| known.channels.len()),
        Some(0),
        "libvirt's word"
    );
}

#[tokio::test(start_paused = true)]
async fn an_announced_domain_stays_until_libvirt_knows_it() {
    let stage = Stage::with([]).await;

    stage.hints(Hint::Starting(Box::new(domain(1, Standing::Unclear)))).await;
    stage.passes(0).await;
    assert!(stage.is_announced(1));
    stage.tells(one(1)).await; // libvirt does not know it yet
    stage.tells(Change::Everything).await;
    stage.passes(1).await;
    assert!(stage.is_announced(1));
    stage.becomes(domain(1, RUNNING));
    stage.tells(one(1)).await;
    stage.passes(0).await;
    assert!(!stage.is_announced(1));
    assert_eq!(stage.known(1), Some(RUNNING));

    stage.vanishes(1);
    stage.tells(one(1)).await;
    stage.passes(0).await;
    assert_eq!(stage.known(1), None, "from then on it is a domain like any other");
    assert!(!stage.is_announced(1));
}

#[tokio::test(start_paused = true)]
async fn an_announced_domain_whose_start_failed_is_forgotten_at_once() {
    let stage = Stage::with([]).await;
    stage.announces(domain(1, Standing::Unclear)).await;
    assert!(stage.is_announced(1));

    stage.hints(Hint::Released(Uuid::from_u128(1))).await;
    stage.passes(1).await;

    assert!(!stage.is_announced(1) && stage.published.borrow().has_all());
}

#[tokio::test(start_paused = true)]
async fn an_announced_domain_that_never_comes_is_forgotten_after_a_minute() {
    let stage = Stage::with([]).await;
    stage.hints(Hint::Starting(Box::new(domain(1, Standing::Unclear)))).await;

    stage.passes(59).await;
    assert!(stage.is_announced(1));
    stage.passes(31).await; // the next listing

    assert!(!stage.is_announced(1));
}
