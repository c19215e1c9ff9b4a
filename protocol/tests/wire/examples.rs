//! One message of every kind, by the name of its golden file.

use std::time::Duration;

use fence_vmchannel_protocol::signing::{Key, KeyId, Nonce};
use fence_vmchannel_protocol::{
    AgentHealth, Ask, Attribute, Body, Evidence, GuestIdentity, Hello, HostStatus, Item, LibvirtHealth,
    Method, Phase, Power, PowerState, Reason, Reply, Request, RequestId, Ruling, Target, Verdict,
};
use uuid::Uuid;

pub(crate) const ID: &str = "5f0c9a3e7b1d48266f1e0d9c8b7a6950";
const WEB1: &str = "3f0c2a52-0d5e-4c9b-9a6e-1f2d3c4b5a69";
const WEB2: &str = "8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a";

pub(crate) fn id() -> RequestId {
    ID.parse().unwrap()
}

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}

pub(crate) fn nonce() -> Nonce {
    Nonce(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes())
}

pub(crate) fn key() -> (KeyId, Key) {
    let bytes = b"an example key of 32 bytes, no m".to_vec();
    ("monitoring".parse().unwrap(), Key::try_from(bytes).unwrap())
}

fn asks(ask: Ask) -> Request {
    Request { id: id(), ask, timeout: Duration::from_secs(55), delay: Duration::ZERO, method: Method::OnOff }
}

fn power(power: Power, target: &str) -> Request {
    asks(Ask::Power(power, target.parse().unwrap()))
}

/// The requests under a CRC.
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let web2: Target = "web2".parse().unwrap();
    vec![
        ("request-hello", asks(Ask::Hello)),
        ("request-whoami", asks(Ask::Whoami)),
        ("request-monitor", asks(Ask::Monitor)),
        ("request-list", asks(Ask::List)),
        ("request-host-status", asks(Ask::HostStatus)),
        ("request-explain", asks(Ask::Explain("db1".parse().unwrap()))),
        ("request-status", asks(Ask::Status(web2))),
        ("request-status-unicode", asks(Ask::Status("büro \"\\\" 2".parse().unwrap()))),
        ("request-off", power(Power::Off, "web2")),
        ("request-off-delayed", Request { delay: Duration::from_secs(3), ..power(Power::Off, WEB2) }),
        ("request-on", power(Power::On, "web2")),
        ("request-reboot", power(Power::Reboot, "web2")),
        ("request-reboot-cycle", Request { method: Method::Cycle, ..power(Power::Reboot, "web2") }),
    ]
}

fn says(body: Body) -> Reply {
    Reply { id: id(), body }
}

pub(crate) fn off() -> Verdict {
    Verdict {
        state: Some(PowerState::Off),
        evidence: Some(Evidence::ProcessGone),
        uuid: Some(uuid(WEB2)),
        took: Some(Duration::from_millis(4)),
        ..Verdict::new(Ruling::Done)
    }
}

fn item(name: &str, id: &str, state: Option<PowerState>) -> Item {
    Item { name: name.parse().unwrap(), uuid: uuid(id), state }
}

/// The replies under a CRC.
pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let guest =
        GuestIdentity { name: "web1".parse().unwrap(), uuid: uuid(WEB1), cluster: Some("web".into()) };
    let hello = Hello {
        server: "fence-vmchanneld 0.1.0".into(),
        protocol: fence_vmchannel_protocol::PROTOCOL,
        nonce: nonce().to_string(),
        guest: guest.clone(),
        ops: ["hello", "status", "list", "monitor", "off", "on", "reboot", "whoami"].map(Into::into).into(),
        line_bytes: fence_vmchannel_protocol::limits::LINE_BYTES,
    };
    let on = Verdict { state: Some(PowerState::On), evidence: None, took: Some(Duration::ZERO), ..off() };
    let failed = Verdict {
        ruling: Ruling::Failed(Reason::CannotKill),
        took: Some(Duration::from_secs(45)),
        detail: Some("QEMU pid 4711 in D state, waiting in nfs_wait".into()),
        ..on.clone()
    };
    let first = vec![item("web1", WEB1, Some(PowerState::On))];
    let last = vec![item("web2", WEB2, None)];
    let attribute = |name: &str, value: Option<&str>, age_s| Attribute {
        name: name.parse().unwrap(),
        value: value.map(|value| value.parse().unwrap()),
        age_s,
    };
    let status = HostStatus {
        agent: AgentHealth::Ok,
        libvirt: LibvirtHealth::Connected,
        host: Some("rack3-a".parse().unwrap()),
        maintenance: Some(false),
        load_percent: Some([42, 31, 20]),
        processors: Some(8),
        uptime_s: Some(93_784),
        attributes: vec![attribute("pingd", Some("ok"), Some(4)), attribute("storage", None, Some(95))],
        simulated: false,
    };
    let hidden = HostStatus {
        agent: AgentHealth::Starting,
        libvirt: LibvirtHealth::Away,
        host: None,
        maintenance: None,
        load_percent: None,
        processors: None,
        uptime_s: None,
        attributes: Vec::new(),
        simulated: true,
    };
    let bad_frame = Body::Verdict(Verdict::refused(Reason::BadFrame));
    vec![
        ("reply-hello", says(Body::Hello(hello))),
        ("reply-whoami", says(Body::Whoami(guest))),
        ("reply-progress", says(Body::Progress(Phase::Killing, Duration::from_millis(5004)))),
        ("reply-off", says(Body::Verdict(off()))),
        ("reply-status-on", says(Body::Verdict(on))),
        ("reply-monitor", says(Body::Verdict(Verdict::new(Ruling::Done)))),
        ("reply-refused", says(Body::Verdict(Verdict::refused(Reason::NotPermitted)))),
        ("reply-failed", says(Body::Verdict(failed))),
        ("reply-list-part", says(Body::Items(first, true))),
        ("reply-list-last", says(Body::Items(last, false))),
        ("reply-host-status", says(Body::HostStatus(Box::new(status)))),
        ("reply-host-status-hidden", says(Body::HostStatus(Box::new(hidden)))),
        ("reply-simulated", says(Body::Verdict(Verdict { simulated: true, ..off() }))),
        ("reply-bad-frame", Reply { id: RequestId::NONE, body: bad_frame }),
    ]
}
