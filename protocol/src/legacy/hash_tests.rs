use sha1::block_api::compress as compress_sha1;
use sha2::block_api::{compress256, compress512};

use super::*;
use crate::legacy::{NETWORK_BYTES, NetworkRequest, Op};

/// Bytes of a request before its hash.
const BODY: usize = NETWORK_BYTES - CHALLENGE_BYTES;

fn key(length: usize) -> SharedKey {
    let bytes: Vec<u8> = (0..length).map(|number| u8::try_from(number % 251).unwrap() + 1).collect();
    SharedKey::try_from(bytes).unwrap()
}

/// What the hash itself adds after this many bytes.
fn padding(hash: Hash, length: usize) -> Vec<u8> {
    let (block, number) = if hash == Hash::Sha512 { (128, 16) } else { (64, 8) };
    let zeroes = (2 * block - 1 - number - length % block) % block;
    let bits = (8 * length as u128).to_be_bytes();
    [&[0x80][..], &vec![0; zeroes], &bits[16 - number..]].concat()
}

/// The hash of what had this hash, its padding and `more`. Nothing but the hash and the length is known of what was before.
fn goes_on(hash: Hash, from: &Challenge, length: usize, more: &[u8]) -> Challenge {
    let rest = [more, &padding(hash, length + more.len())].concat();
    let words =
        |bytes: &[u8]| bytes.chunks_exact(4).map(|w| u32::from_be_bytes(w.try_into().unwrap())).collect();
    let told: Vec<u8> = match hash {
        Hash::None => panic!("there is nothing to go on with"),
        Hash::Sha1 => {
            let state: Vec<u32> = words(&from[..20]);
            let mut state: [u32; 5] = state.try_into().unwrap();
            compress_sha1(&mut state, rest.as_chunks().0);
            state.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
        Hash::Sha256 => {
            let state: Vec<u32> = words(&from[..32]);
            let mut state: [u32; 8] = state.try_into().unwrap();
            compress256(&mut state, rest.as_chunks().0);
            state.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
        Hash::Sha512 => {
            let state = from.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word));
            let mut state: [u64; 8] = state.collect::<Vec<_>>().try_into().unwrap();
            compress512(&mut state, rest.as_chunks().0);
            state.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
    };
    let mut padded = [0; CHALLENGE_BYTES];
    padded[..told.len()].copy_from_slice(&told);
    padded
}

/// A packet that asks for `off`, made of one answer to a chosen challenge and without the key; `None` where the padding would reach
/// into what must be zeroes.
fn forged(key: &SharedKey, hash: Hash) -> Option<[u8; NETWORK_BYTES]> {
    let mut challenge = [0; CHALLENGE_BYTES];
    challenge[0] = Op::Off.byte();
    challenge[1] = hash.byte();
    challenge[4..8].copy_from_slice(b"web2");
    let answer = hash.answer(key, &challenge).unwrap();

    let length = key.0.len() + CHALLENGE_BYTES;
    let mut body = [&challenge[..], &padding(hash, length)].concat();
    let between = body.len();
    if between > BODY {
        return None;
    }
    body.resize(NETWORK_BYTES, 0);
    let told = goes_on(hash, &answer, key.0.len() + between, &body[between..]);
    body.truncate(BODY);
    Some([&body[..], &told].concat().try_into().unwrap())
}

/// Whether this is the hash of the packet's bytes before it.
fn is_right(hash: Hash, key: &SharedKey, packet: &[u8; NETWORK_BYTES]) -> bool {
    let (body, told) = packet.split_last_chunk().unwrap();
    hash.keyed(key, &[body, &[0; CHALLENGE_BYTES]].concat()) == *told
}

#[test]
fn an_answer_to_a_challenge_becomes_a_request_with_just_the_key_lengths_that_are_warned_of() {
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        for length in 1..=600 {
            let key = key(length);
            let warned_of = key.lets_answers_become_requests(hash);
            match forged(&key, hash) {
                Some(packet) => assert!(warned_of && is_right(hash, &key, &packet), "{hash} {length}"),
                None => assert!(!warned_of, "{hash} {length}"),
            }
        }
    }
}

#[test]
fn a_request_that_was_made_of_an_answer_is_taken_for_a_real_one() {
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        let key = key(32);
        let request = NetworkRequest::open(&forged(&key, hash).unwrap(), Some(&key), hash).unwrap();

        assert_eq!((request.op, request.target), (Op::Off, "web2".parse().ok()));
    }
}

#[test]
fn keys_as_they_are_recommended_have_a_safe_length_with_every_hash() {
    for length in [64, 128, 512, 1024, 4096, 5000] {
        assert!(!Hash::ALL.iter().any(|hash| key(length).lets_answers_become_requests(*hash)), "{length}");
    }
}
