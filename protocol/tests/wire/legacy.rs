//! The legacy structs: golden bytes, any input, every hash, and told apart from lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fence_vmchannel_protocol::legacy::{
    Code, Hash, HostRecord, NETWORK_BYTES, NetworkError, NetworkRequest, Op, SERIAL_BYTES, SerialReply,
    SerialRequest, SharedKey, StructError,
};
use fence_vmchannel_protocol::{Decoder, Frame, Item, LineError, PowerState, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::decoding::frames;
use crate::examples::requests;

const UUID: &str = "8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a";

fn asks(op: Op, target: &str) -> SerialRequest {
    SerialRequest { op, target: target.parse().ok(), seqno: 0x0001_02ff }
}

fn item(name: &str, state: Option<PowerState>) -> Item {
    Item { name: name.parse().unwrap(), uuid: UUID.parse().unwrap(), state }
}

fn key() -> SharedKey {
    SharedKey::try_from(b"an example key of 32 bytes, no m".to_vec()).unwrap()
}

fn network(hash: Hash) -> NetworkRequest {
    NetworkRequest {
        op: Op::Off,
        hash,
        target: Some("web2".parse().unwrap()),
        callback: Some("192.0.2.7:1229".parse().unwrap()),
        random: [1, 2, 3, 4, 5, 6],
        seqno: 77,
    }
}

/// Every struct that the document shows.
fn structs() -> BTreeMap<&'static str, Vec<u8>> {
    let tcp = NetworkRequest { callback: None, target: Some(UUID.parse().unwrap()), ..network(Hash::Sha512) };
    let v6 = NetworkRequest { callback: Some("[2001:db8::7]:1229".parse().unwrap()), ..network(Hash::Sha1) };
    let seal = |request: NetworkRequest| request.seal(Some(&key())).unwrap().to_vec();
    BTreeMap::from([
        ("serial-off", asks(Op::Off, "web2").encode().unwrap().to_vec()),
        ("serial-status-uuid", asks(Op::Status, UUID).encode().unwrap().to_vec()),
        ("serial-list", asks(Op::List, "").encode().unwrap().to_vec()),
        ("serial-reply-success", SerialReply(Code::Success).encode().to_vec()),
        ("serial-reply-list", SerialReply(Code::List).encode().to_vec()),
        ("record-on", HostRecord::encode(&item("web2", Some(PowerState::On))).to_vec()),
        ("record-off", HostRecord::encode(&item("web2", Some(PowerState::Off))).to_vec()),
        ("network-multicast-none", seal(network(Hash::None))),
        ("network-multicast-sha256", seal(network(Hash::Sha256))),
        ("network-multicast-ipv6-sha1", seal(v6)),
        ("network-tcp-sha512", seal(tcp)),
    ])
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

fn serial(bytes: &[u8]) -> Result<SerialRequest, StructError> {
    SerialRequest::decode(bytes.try_into().unwrap())
}

#[test]
fn every_legacy_struct_is_written_as_its_golden_bytes_which_the_protocol_document_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = |name: &str| fs::read_to_string(root.join(format!("tests/golden-legacy/{name}.hex")));
    let document = fs::read_to_string(root.join("../docs/protocol.md")).unwrap();

    for (name, bytes) in structs() {
        assert_eq!(golden(name).unwrap_or_default(), hex(&bytes), "{name}");
        let shown = format!("\n```legacy {name}\n{}```\n", hex(&bytes));
        assert!(document.contains(&shown), "docs/protocol.md lacks: {shown}");
    }
    let files = fs::read_dir(root.join("tests/golden-legacy")).unwrap().count();
    assert_eq!(files, structs().len(), "every golden file belongs to a struct");
}

#[test]
fn a_serial_request_is_read_as_it_was_written() {
    for op in Op::ALL {
        let request = asks(op, "web2");
        assert_eq!(serial(&request.encode().unwrap()), Ok(request));
    }
    let by_uuid = serial(&asks(Op::Off, UUID).encode().unwrap()).unwrap();
    assert_eq!(by_uuid.target, Some(Target::Uuid(UUID.parse().unwrap())));
}

#[test]
fn a_serial_request_that_is_wrong_in_any_field_is_refused() {
    let good = asks(Op::Off, "web2").encode().unwrap();
    let with = |place: std::ops::Range<usize>, byte: u8| {
        let mut bytes = good;
        bytes[place].fill(byte);
        serial(&bytes)
    };

    assert_eq!(with(0..1, b'A'), Err(StructError::Magic));
    assert_eq!(with(4..5, 7), Err(StructError::Op(7)));
    assert_eq!(with(6..70, b'x'), Err(StructError::NoEnd), "a name that fills its field may have been cut");
    assert_eq!(with(6..7, 0x1b), Err(StructError::Text));
    assert_eq!(with(6..7, 0xff), Err(StructError::Text));
}

#[test]
fn a_name_that_does_not_fit_is_not_cut() {
    let long = "n".repeat(64);

    assert_eq!(asks(Op::Off, &long).encode(), Err(StructError::TooLong));
    assert!(asks(Op::Off, &long[1..]).encode().is_ok());
    let record = HostRecord::decode(&HostRecord::encode(&item(&long, None))).unwrap();
    assert_eq!((record.name.as_str(), record.uuid.as_str()), (UUID, UUID));
}

#[test]
fn a_state_that_is_not_known_is_never_listed_as_off() {
    let read = |state| HostRecord::decode(&HostRecord::encode(&item("web2", state))).unwrap().is_on();

    assert!(read(None));
    assert!(read(Some(PowerState::On)));
    assert!(!read(Some(PowerState::Off)));
    assert_eq!(HostRecord::decode(&HostRecord::END), None);
}

#[test]
fn a_record_of_a_host_that_does_not_care_is_read_and_can_be_printed() {
    let mut record = HostRecord::encode(&item("web2", Some(PowerState::On)));
    record[..64].fill(b'n');
    record[3] = 0x1b;
    record[129] = 0xaa;

    let read = HostRecord::decode(&record).unwrap();

    assert_eq!(read.name, format!("nnn\u{fffd}{}", "n".repeat(60)));
    assert_eq!((read.uuid.as_str(), read.is_on()), (UUID, true));
}

#[test]
fn a_reply_with_an_unknown_code_is_a_failure() {
    assert_eq!(SerialReply::decode(b"abba\x02"), Ok(SerialReply(Code::Off)));
    assert_eq!(SerialReply::decode(b"abba\xfe"), Ok(SerialReply(Code::Failure)));
    assert_eq!(SerialReply::decode(b"abbb\x00"), Err(StructError::Magic));
}

#[test]
fn a_network_request_with_each_hash_is_read_as_it_was_written() {
    for hash in Hash::ALL {
        for callback in [None, Some("192.0.2.7:1229"), Some("[2001:db8::7]:1229")] {
            let callback = callback.map(|at| at.parse().unwrap());
            let request = NetworkRequest { callback, ..network(hash) };

            let packet = request.seal(Some(&key())).unwrap();

            assert_eq!(NetworkRequest::open(&packet, Some(&key()), hash), Ok(request));
        }
    }
}

#[test]
fn a_network_request_with_a_weak_or_a_wrong_hash_is_not_even_read() {
    let other = SharedKey::try_from(vec![7; 32]).unwrap();
    let open = |hash, key: Option<&SharedKey>, least| {
        NetworkRequest::open(&network(hash).seal(Some(&self::key())).unwrap(), key, least)
    };

    assert_eq!(
        open(Hash::Sha1, Some(&key()), Hash::Sha256),
        Err(NetworkError::TooWeak(Hash::Sha1, Hash::Sha256))
    );
    assert_eq!(
        open(Hash::None, Some(&key()), Hash::Sha1),
        Err(NetworkError::TooWeak(Hash::None, Hash::Sha1))
    );
    assert_eq!(open(Hash::Sha512, Some(&other), Hash::Sha256), Err(NetworkError::Wrong));
    assert_eq!(open(Hash::Sha512, None, Hash::Sha256), Err(NetworkError::NoKey));
    for place in 0..NETWORK_BYTES {
        let mut packet = network(Hash::Sha1).seal(Some(&key())).unwrap();
        packet[place] ^= 1 << (place % 8);
        let opened = NetworkRequest::open(&packet, Some(&key()), Hash::Sha1);
        assert!(opened.is_err(), "a changed byte {place} is noticed: {opened:?}");
    }
}

#[test]
fn a_challenge_is_answered_by_who_has_the_key_and_by_nothing_else() {
    let (challenge, other) = ([9; 64], SharedKey::try_from(vec![7; 32]).unwrap());

    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        let answer = hash.answer(&key(), &challenge).unwrap();
        assert!(hash.is_answer(&key(), &challenge, &answer));
        assert!(!hash.is_answer(&other, &challenge, &answer));
        assert!(!hash.is_answer(&key(), &[8; 64], &answer));
    }
    assert_eq!(Hash::None.answer(&key(), &challenge), None);
    assert!(!Hash::None.is_answer(&key(), &challenge, &[0; 64]), "no hash is no proof");
}

#[test]
fn structs_and_lines_on_one_channel_are_told_apart_by_their_first_byte() {
    let request = asks(Op::Off, "web2");
    let line = fence_vmchannel_protocol::encode_line(&requests()[0].1).unwrap();
    let stream =
        [&request.encode().unwrap()[..], &line, b"\n", &request.encode().unwrap(), b"noise\n"].concat();

    let read = frames([stream.as_slice()]);

    let expected = [Frame::Legacy(Ok(request.clone())), frames([line.as_slice()]).remove(0)];
    let noise = [Frame::Legacy(Ok(request)), Frame::Noise(LineError::Form)];
    assert_eq!(read, [expected, noise].concat());
    assert_eq!(read, frames(stream.chunks(1)));
    assert_eq!(read, frames(stream.chunks(7)));
}

#[test]
fn a_line_after_half_a_struct_is_read_at_its_newline() {
    let half = &asks(Op::Off, "web2").encode().unwrap()[..20];
    let line = fence_vmchannel_protocol::encode_line(&requests()[0].1).unwrap();

    let read = frames([half, b"\n", &line]);

    assert_eq!(read, [vec![Frame::Noise(LineError::Form)], frames([line.as_slice()])].concat());
}

#[test]
fn half_a_struct_and_noise_without_an_end_are_over_after_a_silence() {
    let request = asks(Op::Off, "web2");
    let bytes = request.encode().unwrap();
    for before in [&bytes[..SERIAL_BYTES - 1], b"abb", b"web1 login: "] {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&mut &*before), None);
        assert!(decoder.awaits_end());

        decoder.silence();

        assert!(!decoder.awaits_end());
        assert_eq!(decoder.push(&mut &bytes[..]), Some(Frame::Legacy(Ok(request.clone()))));
    }
}

proptest! {
    #[test]
    fn any_legacy_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), NETWORK_BYTES)) {
        let packet: [u8; NETWORK_BYTES] = bytes.clone().try_into().unwrap();
        for least in Hash::ALL {
            if let Ok(request) = NetworkRequest::open(&packet, Some(&key()), least) {
                prop_assert!(request.hash == Hash::None || request.seal(Some(&key())).is_ok());
            }
        }
        let _ = (serial(&bytes[..SERIAL_BYTES]), HostRecord::decode(bytes.first_chunk().unwrap()));
    }

    #[test]
    fn a_legacy_request_that_is_read_is_written_as_the_same(op in 0u8..9, name in "\\PC{0,30}", seqno in any::<u32>()) {
        let mut bytes = [0; SERIAL_BYTES];
        bytes[..4].copy_from_slice(b"abba");
        bytes[4] = op;
        bytes[6..70].iter_mut().zip(name.bytes().take(63)).for_each(|(to, byte)| *to = byte);
        bytes[70..].copy_from_slice(&seqno.to_le_bytes());

        if let Ok(request) = serial(&bytes) {
            let uuid = matches!(request.target, Some(Target::Uuid(_)));
            prop_assert!(uuid || request.encode() == Ok(bytes));
            prop_assert_eq!(serial(&request.encode().unwrap()), Ok(request));
        }
    }
}

#[test]
fn a_uuid_field_takes_nothing_but_a_uuid() {
    let request = NetworkRequest { target: Some(Target::Uuid(Uuid::nil())), ..network(Hash::None) };
    let mut packet = request.seal(None).unwrap();
    packet[4] = b'x';

    assert_eq!(NetworkRequest::open(&packet, None, Hash::None), Err(StructError::Text.into()));
}
