//! The stream decoder.
//!
//! Properties: any chunking gives the same frames; they are those that a reading of the whole stream at once, line by
//! line, gives; after a newline a good line is read whatever came before; at most one line is held.

use fence_vmchannel_protocol::limits::LINE_BYTES;
use fence_vmchannel_protocol::{Decoder, Frame, LineError, encode_line};

use crate::oracle::crc32c;
use crate::targets::{replies, requests};

pub(crate) fn check(input: &[u8]) {
    one_stream(input);
    one_stream(&mended(input));
    // Few, since long lines are slow.
    if input.len().is_multiple_of(16) {
        one_stream(&padded(input, LINE_BYTES - 1));
        one_stream(&padded(input, LINE_BYTES));
    }
}

/// The stream and then one line of so many bytes without its newline.
fn padded(stream: &[u8], bytes: usize) -> Vec<u8> {
    [stream, b"\n", "f".repeat(bytes).as_bytes(), b"\n"].concat()
}

fn one_stream(stream: &[u8]) {
    let whole = frames([stream]);

    assert_eq!(whole, frames(stream.chunks(1)), "byte by byte");
    assert_eq!(whole, frames(stream.chunks(7)), "in sevens");
    assert_eq!(whole, frames(stream.chunks(LINE_BYTES)), "in lines' lengths");
    assert_eq!(whole.iter().map(told).collect::<Vec<_>>(), expected(stream));
    a_good_line_is_read_after(stream);
    is_bounded(stream);
    for frame in whole {
        if let Frame::Plain(json) = frame {
            requests::check(&json);
            replies::check(&json);
        }
    }
}

fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
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

fn a_good_line_is_read_after(noise: &[u8]) {
    let line = encode_line(&"good").unwrap_or_default();

    // Up to four newlines may be the last bytes of a legacy struct that has begun.
    let last = frames([noise, b"\n\n\n\n\n", &line]).pop();

    assert_eq!(last, Some(Frame::Plain(b"\"good\"".to_vec())));
}

/// An unfinished line is held as its bytes, and a decoder shows at most four characters for each.
fn is_bounded(stream: &[u8]) {
    let mut decoder = Decoder::default();
    let unfinished: Vec<u8> = stream.iter().copied().filter(|&byte| byte != b'\n').collect();
    if unfinished.len() < LINE_BYTES {
        return;
    }

    let mut rest = unfinished.as_slice();
    while let Some(frame) = decoder.push(&mut rest) {
        assert!(matches!(frame, Frame::Legacy(_)), "only a struct has an end of its own: {frame:?}");
    }

    assert!(format!("{decoder:?}").len() < 100 + LINE_BYTES * 5);
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Plain(Vec<u8>),
    Signed,
    Struct,
    Noise(LineError),
}

fn told(frame: &Frame) -> Told {
    match frame {
        Frame::Plain(json) => Told::Plain(json.clone()),
        Frame::Signed(_) => Told::Signed,
        Frame::Legacy(_) => Told::Struct,
        Frame::Noise(error) => Told::Noise(*error),
    }
}

/// What the stream holds, read line by line and struct by struct. The last part has no end yet.
fn expected(stream: &[u8]) -> Vec<Told> {
    let (mut told, mut rest) = (Vec::new(), stream);
    loop {
        let newline = rest.iter().position(|&byte| byte == b'\n');
        if rest.starts_with(b"abba") && newline.is_none_or(|at| at >= 70) {
            let Some((_, after)) = rest.split_at_checked(74) else { return told };
            told.push(Told::Struct);
            rest = after;
            continue;
        }
        let Some((line, after)) = newline.and_then(|at| rest.split_at_checked(at)) else { return told };
        told.extend(expected_of_line(line));
        rest = after.get(1..).unwrap_or_default();
    }
}

fn expected_of_line(line: &[u8]) -> Option<Told> {
    let first = *line.first()?;
    if first != b'f' && first != b'\r' {
        return Some(Told::Noise(LineError::Form));
    }
    if line.len() >= LINE_BYTES {
        return Some(Told::Noise(LineError::TooLong));
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return None;
    }
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (Some(b"fv2"), Some(tag), Some(json)) = (words.next(), words.next(), words.next()) else {
        return Some(Told::Noise(LineError::Form));
    };
    let hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    let plain_id = |id: &[u8]| {
        (1..=64).contains(&id.len())
            && id.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    Some(match tag.splitn(3, |&byte| byte == b':').collect::<Vec<_>>().as_slice() {
        [b"crc", sum] if sum.len() == 8 && hex(sum) => {
            let right = format!("{:08x}", crc32c(json));
            if sum.eq_ignore_ascii_case(right.as_bytes()) {
                Told::Plain(json.to_vec())
            } else {
                Told::Noise(LineError::Crc)
            }
        }
        [b"mac", id, mac] if plain_id(id) && mac.len() == 64 && hex(mac) => Told::Signed,
        _ => Told::Noise(LineError::Form),
    })
}

/// The stream with each line's CRC made right, since no mutation would ever hit it.
fn mended(stream: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = stream.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    for line in &mut lines {
        if line.starts_with(b"fv2 crc:") && line.get(16) == Some(&b' ') {
            let json = line.split_off(17);
            let json = json.strip_suffix(b"\r").unwrap_or(&json);
            *line = [format!("fv2 crc:{:08x} ", crc32c(json)).as_bytes(), json].concat();
        }
    }
    lines.join(&b'\n')
}
