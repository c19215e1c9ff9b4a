//! Random messages: the whole range of what is valid, its worst cases more often than chance would.

use std::time::Duration;

use fence_vmchannel_protocol::limits::{
    ATTRIBUTE_NAME_BYTES, ATTRIBUTES_MOST, DELAY_MAX, NAME_BYTES, PLAIN_TEXT_BYTES, TIMEOUT_MAX, TIMEOUT_MIN,
};
use fence_vmchannel_protocol::{
    AgentHealth, Ask, Attribute, Body, Evidence, GuestIdentity, Hello, HostStatus, Item, LibvirtHealth,
    Method, Name, Phase, PlainText, Power, PowerState, Reason, Reply, Request, RequestId, Ruling, Target,
    Verdict,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

/// `text` repeated up to the longest name.
pub(crate) fn longest(text: &str) -> Name {
    text.repeat(NAME_BYTES / text.len()).parse().unwrap()
}

/// What takes the most bytes on the wire, or needs care in JSON.
pub(crate) const HARD: [&str; 7] = ["é", "\u{2028}", "𝒳", "\"", "\\", "\u{ffff}", "a"];

pub(crate) fn name() -> impl Strategy<Value = Name> {
    let any = "\\PC{1,80}".prop_filter_map("too long or a control", |text| text.parse().ok());
    prop_oneof![4 => any, 1 => select(HARD.as_slice()).prop_map(longest)]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![uuid().prop_map(Target::Uuid), name().prop_map(|n| n.to_string().parse().unwrap())]
}

fn id() -> impl Strategy<Value = RequestId> {
    any::<[u8; 16]>().prop_filter_map("the reserved id", RequestId::from_random)
}

fn millis(from: Duration, to: Duration) -> impl Strategy<Value = Duration> {
    let range = |d: Duration| u64::try_from(d.as_millis()).unwrap();
    (range(from)..=range(to)).prop_map(Duration::from_millis)
}

fn ask() -> impl Strategy<Value = Ask> {
    let power = select(vec![Power::Off, Power::On, Power::Reboot]);
    prop_oneof![
        select(vec![Ask::Hello, Ask::Whoami, Ask::Monitor, Ask::List, Ask::HostStatus]),
        target().prop_map(Ask::Explain),
        target().prop_map(Ask::Status),
        (power, target()).prop_map(|(power, target)| Ask::Power(power, target)),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let method = select(vec![Method::OnOff, Method::Cycle]);
    (id(), ask(), millis(TIMEOUT_MIN, TIMEOUT_MAX), millis(Duration::ZERO, DELAY_MAX), method)
        .prop_map(|(id, ask, timeout, delay, method)| Request { id, ask, timeout, delay, method })
}

fn state() -> impl Strategy<Value = Option<PowerState>> {
    option::of(select(PowerState::ALL))
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let reason = || select(Reason::ALL);
    let ruling = prop_oneof![
        Just(Ruling::Done),
        reason().prop_map(Ruling::Refused),
        reason().prop_map(Ruling::Failed),
    ];
    let took = option::of(any::<u64>().prop_map(Duration::from_millis));
    let evidence = option::of(select(Evidence::ALL));
    let detail = option::of("\\PC{0,60}");
    (ruling, state(), evidence, option::of(uuid()), took, detail, any::<bool>()).prop_map(
        |(ruling, state, evidence, uuid, took, detail, simulated)| Verdict {
            ruling,
            state,
            evidence,
            uuid,
            took,
            detail,
            simulated,
        },
    )
}

pub(crate) fn item() -> impl Strategy<Value = Item> {
    (name(), uuid(), state()).prop_map(|(name, uuid, state)| Item { name, uuid, state })
}

fn guest() -> impl Strategy<Value = GuestIdentity> {
    // A label has at most 128 bytes.
    let label = prop_oneof!["[a-z]{1,64}", Just("é".repeat(64)), Just("\"".repeat(128))];
    (name(), uuid(), option::of(label)).prop_map(|(name, uuid, cluster)| GuestIdentity {
        name,
        uuid,
        cluster,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    guest().prop_map(|guest| Hello {
        server: "fence-vmchanneld 0.1.0".into(),
        protocol: 2,
        nonce: "00112233445566778899aabbccddeeff".into(),
        guest,
        ops: ["hello", "whoami", "monitor", "list", "status", "off", "on", "reboot"].map(Into::into).into(),
        line_bytes: 4096,
    })
}

/// Also the largest there is: every text and every number as long as it may be.
fn host_status() -> impl Strategy<Value = HostStatus> {
    let text = || prop_oneof!["[!#-&(-\\[\\]-_a-~]{1,64}", Just("x".repeat(PLAIN_TEXT_BYTES))];
    let text = move || text().prop_map(|text| text.parse::<PlainText>().unwrap());
    let name = prop_oneof!["[a-z][a-zA-Z0-9_.-]{0,31}", Just("n".repeat(ATTRIBUTE_NAME_BYTES))];
    let age = || option::of(prop_oneof![any::<u64>(), Just(u64::MAX)]);
    let attribute = (name, option::of(text()), age()).prop_map(|(name, value, age_s)| Attribute {
        name: name.parse().unwrap(),
        value,
        age_s,
    });
    let load = option::of(prop_oneof![any::<[u32; 3]>(), Just([u32::MAX; 3])]);
    (
        (select(AgentHealth::ALL), select(LibvirtHealth::ALL), any::<bool>()),
        (option::of(text()), option::of(any::<bool>()), load, option::of(any::<u32>()), age()),
        proptest::collection::vec(attribute, 0..=ATTRIBUTES_MOST),
    )
        .prop_map(
            |((agent, libvirt, simulated), (host, maintenance, load, processors, uptime), attributes)| {
                let (load_percent, uptime_s) = (load, uptime);
                HostStatus {
                    agent,
                    libvirt,
                    host,
                    maintenance,
                    load_percent,
                    processors,
                    uptime_s,
                    attributes,
                    simulated,
                }
            },
        )
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let elapsed = any::<u64>().prop_map(Duration::from_millis);
    let body = prop_oneof![
        (select(Phase::ALL), elapsed).prop_map(|(phase, elapsed)| Body::Progress(phase, elapsed)),
        verdict().prop_map(Body::Verdict),
        (proptest::collection::vec(item(), 0..=1), any::<bool>())
            .prop_map(|(items, more)| Body::Items(items, more)),
        hello().prop_map(Body::Hello),
        guest().prop_map(Body::Whoami),
        host_status().prop_map(|status| Body::HostStatus(Box::new(status))),
    ];
    (id(), body).prop_map(|(id, body)| Reply { id, body })
}
