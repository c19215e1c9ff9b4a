//! The libvirt backend on libvirt's own test driver: real library, real events, no processes.
#![expect(clippy::unwrap_used, reason = "what a test cannot set up fails it")]

use std::path::PathBuf;
use std::time::Duration;

use fence_vmchannel_host_agent::domain::{ChannelSpec, Mode, Port, Standing};
use fence_vmchannel_host_agent::hypervisor::libvirt::{Libvirt, Settings};
use fence_vmchannel_host_agent::hypervisor::{CallError, Change, Hypervisor};
use uuid::Uuid;
use virt::connect::Connect;

const GUESTS: &str = "/run/fence-vmchannel/guests";
/// Far more than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// The file of a test host: running domains web0, web1, ... with our channel and a cluster label.
fn host(domains: usize) -> tempfile::NamedTempFile {
    let domain = |number: usize| {
        let uuid = uuid(number);
        format!(
            "<domain type='test'><name>web{number}</name><uuid>{uuid}</uuid><metadata>\
             <fence:member xmlns:fence='urn:fence-vmchannel:1' cluster='web'/></metadata><memory>8192</memory>\
             <os><type>hvm</type></os><devices><channel type='unix'><source mode='connect' path='{GUESTS}/{uuid}.sock'/>\
             <target type='virtio' name='org.fence_vmchannel.0'/></channel></devices></domain>"
        )
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = (1..=domains).map(domain).collect::<String>();
    std::fs::write(file.path(), format!("<node>{text}</node>")).unwrap();
    file
}

fn on(file: &tempfile::NamedTempFile) -> Libvirt {
    Libvirt::start(Settings::new(format!("test://{}", file.path().display()), GUESTS)).unwrap()
}

/// Runs the test beside the keeper's loop, as the daemon would.
async fn beside<T>(libvirt: &Libvirt, test: impl Future<Output = T>) -> T {
    let test = async { tokio::time::timeout(PATIENCE, test).await.unwrap() };
    tokio::select! {
        () = libvirt.run() => panic!("the keeper ended"),
        result = test => result,
    }
}

#[tokio::test]
async fn a_connection_begins_with_everything_and_then_domains_can_be_listed() {
    let file = host(2);
    let libvirt = on(&file);
    assert!(!libvirt.is_connected());
    assert!(matches!(libvirt.domains().await, Err(CallError::Unreachable(_))));

    let (change, domains) =
        beside(&libvirt, async { (libvirt.changed().await, libvirt.domains().await) }).await;

    assert_eq!(change, Change::Everything);
    let mut domains = domains.unwrap();
    domains.sort_by_key(|domain| domain.uuid);
    let path = PathBuf::from(format!("{GUESTS}/{}.sock", uuid(1)));
    assert_eq!(domains.len(), 2);
    assert_eq!((domains[0].uuid, domains[0].name.as_str()), (uuid(1), "web1"));
    assert_eq!((domains[0].standing, domains[0].persistent), (Standing::Active, true));
    assert_eq!(domains[0].cluster.as_deref(), Some("web"));
    assert_eq!(
        domains[0].channels,
        [ChannelSpec { port: Port::Virtio, mode: Mode::Connect, path: path.into() }]
    );
    assert_eq!(domains[0].instance, None, "the test driver has no processes");
    assert!(libvirt.is_connected() && libvirt.is_simulated());
}

#[tokio::test]
async fn one_domain_is_asked_by_its_uuid() {
    let file = host(1);
    let libvirt = on(&file);

    beside(&libvirt, async {
        libvirt.changed().await;
        assert_eq!(libvirt.domain(uuid(1)).await.unwrap().name.as_str(), "web1");
        assert_eq!(libvirt.standing(uuid(1)).await, Ok(Standing::Active));
        assert_eq!(libvirt.domain(uuid(9)).await, Err(CallError::NoDomain));
        assert_eq!(libvirt.standing(uuid(9)).await, Err(CallError::NoDomain));
    })
    .await;
}

/// A test daemon's state is shared by its connections, so somebody else can change a domain.
#[tokio::test]
async fn a_domain_that_changes_is_told_by_its_uuid() {
    // The in-process default driver shares its state between connections of one process.
    let libvirt = Libvirt::start(Settings::new("test:///default", GUESTS)).unwrap();

    let (change, uuid) = beside(&libvirt, async {
        assert_eq!(libvirt.changed().await, Change::Everything);
        let mut admin = Connect::open(Some("test:///default")).unwrap();
        let domain = virt::domain::Domain::lookup_by_name(&admin, "test").unwrap();
        domain.suspend().unwrap();
        let uuid = domain.get_uuid().unwrap();
        admin.close().unwrap();
        (libvirt.changed().await, uuid)
    })
    .await;

    assert_eq!(change, Change::Domain(uuid));
}

#[tokio::test]
async fn ten_thousand_domains_are_listed() {
    let file = host(10_000);
    let libvirt = on(&file);

    let (count, took) = beside(&libvirt, async {
        libvirt.changed().await;
        let start = std::time::Instant::now();
        (libvirt.domains().await.unwrap().len(), start.elapsed())
    })
    .await;

    println!("10000 domains in {took:?}");
    assert_eq!(count, 10_000);
}
