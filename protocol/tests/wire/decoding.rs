//! The decoder takes any bytes in any chunks.

use fence_vmchannel_protocol::limits::LINE_BYTES;
use fence_vmchannel_protocol::{Decoder, Frame, LineError, Reply, Request, encode_line};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::golden::plain;
use crate::random::{reply, request};

pub(crate) fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for mut chunk in chunks {
        while let Some(frame) = decoder.push(&mut chunk) {
            frames.push(frame);
        }
        assert!(chunk.is_empty(), "the decoder takes all it is given");
    }
    frames
}

/// A piece of a stream: a good line, a damaged one, or anything.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let line = request().prop_map(|request| encode_line(&request).unwrap());
    let damaged = (request(), any::<Index>(), any::<u8>()).prop_map(|(request, at, byte)| {
        let mut line = encode_line(&request).unwrap();
        let at = at.index(line.len());
        line[at] = byte;
        line
    });
    let almost = (any::<bool>(), LINE_BYTES - 3..LINE_BYTES + 3).prop_map(|(ours, length)| {
        [if ours { "f" } else { "x" }.repeat(length).into_bytes(), b"\n".to_vec()].concat()
    });
    let anything = vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'f'), any::<u8>()], 0..40);
    prop_oneof![line, damaged, almost, anything]
}

fn cut<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), 0..9000)) {
        for frame in frames([bytes.as_slice()]) {
            if let Frame::Plain(json) = frame {
                let _ = (Request::parse(&json), Reply::parse(&json));
            }
        }
        let _ = (Request::parse(&bytes), Reply::parse(&bytes));
    }

    #[test]
    fn any_chunking_of_a_stream_gives_the_same_frames(
        pieces in vec(piece(), 0..8),
        cuts in vec(any::<Index>(), 0..30),
    ) {
        let stream = pieces.concat();
        let whole = frames([stream.as_slice()]);

        prop_assert_eq!(&whole, &frames(cut(&stream, &cuts)));
        prop_assert_eq!(&whole, &frames(stream.chunks(1)));
    }

    #[test]
    fn a_decoded_request_is_encoded_and_decoded_again_to_the_same(request in request()) {
        let line = encode_line(&request).unwrap();

        prop_assert_eq!(Request::parse(&plain(&line)), Ok(request));
    }

    #[test]
    fn a_decoded_reply_is_encoded_and_decoded_again_to_the_same(reply in reply()) {
        let line = encode_line(&reply).unwrap();

        prop_assert_eq!(Reply::parse(&plain(&line)), Ok(reply));
    }

    #[test]
    fn a_line_after_any_noise_and_a_newline_is_read(noise in vec(any::<u8>(), 0..6000), request in request()) {
        let line = encode_line(&request).unwrap();

        let read = frames([noise.as_slice(), b"\n", line.as_slice()]).pop();

        prop_assert_eq!(read, frames([line.as_slice()]).pop());
    }
}

#[test]
fn a_line_without_an_end_is_held_up_to_the_longest_line_and_no_further() {
    let mut decoder = Decoder::default();

    for _ in 0..1000 {
        assert_eq!(decoder.push(&mut [b'f'; 1000].as_slice()), None);
        let held = format!("{decoder:?}").matches("102").count(); // each byte is one `102`
        assert!(held < LINE_BYTES, "{held} bytes held");
    }
    assert_eq!(decoder.push(&mut b"\n".as_slice()), Some(Frame::Noise(LineError::TooLong)));
}

#[test]
fn noise_is_the_same_noise_however_long_and_however_cut() {
    let noise = [vec![b'x'; 3 * LINE_BYTES], b"\n".to_vec()].concat();

    assert_eq!(frames([noise.as_slice()]), [Frame::Noise(LineError::Form)]);
    assert_eq!(frames(noise.chunks(1)), [Frame::Noise(LineError::Form)]);
    assert_eq!(frames(noise.chunks(LINE_BYTES)), [Frame::Noise(LineError::Form)]);
}

#[test]
fn lone_newlines_are_no_frames() {
    assert_eq!(frames([b"\n\r\n\n".as_slice()]), []);
}

#[test]
fn a_serial_line_may_end_in_carriage_return_and_newline() {
    let line = encode_line(&crate::examples::requests()[0].1).unwrap();
    let with_return = [&line[..line.len() - 1], b"\r\n"].concat();

    assert_eq!(frames([with_return.as_slice()]), frames([line.as_slice()]));
}

#[test]
fn a_crc_is_eight_hex_digits_and_nothing_else() {
    // The CRC-32C of the nine digits is e3069283, that of `44` is 08dcda23.
    let only = |tag: &str, json: &str| frames([format!("fv2 crc:{tag} {json}\n").as_bytes()]);

    assert_eq!(only("E3069283", "123456789"), [Frame::Plain(b"123456789".to_vec())]);
    for (tag, json) in [
        ("0e3069283", "123456789"),
        ("e306928", "123456789"),
        ("+8dcda23", "44"),
        ("8dcda23", "44"),
        ("-0000000", ""),
    ] {
        assert_eq!(only(tag, json), [Frame::Noise(LineError::Form)], "{tag}");
    }
}
