//! One v2 line: `fv2 TAG JSON\n`.
//!
//! In:  the bytes of a line without its newline. Out: its JSON, with the tag checked.
//!
//! Invariant: JSON under a `crc:` tag is handed out only if the CRC-32C matches; JSON under a `mac:` tag only by
//! [`SignedLine::open`].

use crc::{CRC_32_ISCSI, Crc, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::LINE_BYTES;
use crate::signing::{Direction, Key, KeyId, MAC_BYTES, Nonce};

static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Why a line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not of the form `fv2 TAG JSON`.
    #[error("not of the form `fv2 TAG JSON`")]
    Form,
    /// The CRC-32C of its JSON is another one.
    #[error("its CRC-32C does not match")]
    Crc,
    /// It would be longer than a line may be.
    #[error("longer than {LINE_BYTES} bytes")]
    TooLong,
    /// Its MAC is not that of the key, or the key is unknown.
    #[error("its MAC does not match")]
    Mac,
}

/// A line with a MAC that is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLine {
    key: KeyId,
    mac: [u8; MAC_BYTES],
    json: Vec<u8>,
}

impl SignedLine {
    /// The key that the line says it is signed with.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The JSON, if the MAC is right for this key, nonce and direction.
    pub fn open(self, key: &Key, nonce: &Nonce, direction: Direction) -> Result<Vec<u8>, LineError> {
        if key.verify(nonce, direction, &self.json, &self.mac) { Ok(self.json) } else { Err(LineError::Mac) }
    }

    /// The JSON, whoever wrote it: for a program that passes the line on to where it is opened.
    #[must_use]
    pub fn unopened(&self) -> &[u8] {
        &self.json
    }

    /// The line as it came, with its newline.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let hex: String = self.mac.iter().map(|b| format!("{b:02x}")).collect();
        [format!("fv2 mac:{}:{hex} ", self.key).as_bytes(), &self.json, b"\n"].concat()
    }
}

/// A line as it was read: its JSON, or a signed line still to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Plain(Vec<u8>),
    Signed(SignedLine),
}

pub(crate) fn parse_line(line: &[u8]) -> Result<Line, LineError> {
    let rest = line.strip_prefix(b"fv2 ").ok_or(LineError::Form)?;
    let space = rest.iter().position(|&b| b == b' ').ok_or(LineError::Form)?;
    let (tag, json) = rest.split_at(space);
    let json = json.get(1..).ok_or(LineError::Form)?.to_vec();
    let tag = std::str::from_utf8(tag).map_err(|_| LineError::Form)?;
    if let Some(hex) = tag.strip_prefix("crc:") {
        let told = (hex.len() == 8 && !hex.starts_with('+')).then(|| u32::from_str_radix(hex, 16).ok());
        let told = told.flatten().ok_or(LineError::Form)?;
        return if told == CRC_32C.checksum(&json) { Ok(Line::Plain(json)) } else { Err(LineError::Crc) };
    }
    let (key, mac) = tag.strip_prefix("mac:").and_then(|t| t.split_once(':')).ok_or(LineError::Form)?;
    let key = key.parse().map_err(|_| LineError::Form)?;
    let mac = parse_hex(mac).ok_or(LineError::Form)?;
    Ok(Line::Signed(SignedLine { key, mac, json }))
}

/// Exactly so many bytes in hex digits.
pub(crate) fn parse_hex<const BYTES: usize>(hex: &str) -> Option<[u8; BYTES]> {
    let digits = hex.bytes().map(|b| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()));
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).filter_map(|c| Some(c.first()? << 4 | c.last()?)).collect();
    if digits.len() == 2 * BYTES { bytes.try_into().ok() } else { None }
}

/// A message as one line under a CRC-32C tag, with its newline.
pub fn encode_line<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    encode_json(&to_ascii_json(message)?)
}

/// The JSON of a [`Frame::Plain`](crate::Frame::Plain) as a line again, whatever its keys: for a program that passes it on.
pub fn encode_json(json: &[u8]) -> Result<Vec<u8>, LineError> {
    let mut line = format!("fv2 crc:{:08x} ", CRC_32C.checksum(json)).into_bytes();
    finish(&mut line, json)?;
    Ok(line)
}

/// A message as one line under a MAC, with its newline.
pub(crate) fn encode_signed<T: Serialize>(
    message: &T,
    (id, key): (&KeyId, &Key),
    nonce: &Nonce,
    direction: Direction,
) -> Result<Vec<u8>, LineError> {
    let json = to_ascii_json(message)?;
    let mac = key.sign(nonce, direction, &json).ok_or(LineError::Mac)?;
    let hex: String = mac.iter().map(|b| format!("{b:02x}")).collect();
    let mut line = format!("fv2 mac:{id}:{hex} ").into_bytes();
    finish(&mut line, &json)?;
    Ok(line)
}

fn finish(line: &mut Vec<u8>, json: &[u8]) -> Result<(), LineError> {
    line.extend_from_slice(json);
    line.push(b'\n');
    if line.len() <= LINE_BYTES { Ok(()) } else { Err(LineError::TooLong) }
}

/// JSON in ASCII only: other characters are written as `\uXXXX`, so that a line survives any serial console.
fn to_ascii_json<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    let mut json = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, Ascii);
    message.serialize(&mut serializer).map_err(|_| LineError::Form)?;
    Ok(json)
}

/// What a JSON object holds. An array is refused: serde would take its elements for the keys in their order.
pub(crate) fn from_object<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_slice(json)
}

struct Ascii;

/// Whether all of it is printable ASCII.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        part: &str,
    ) -> std::io::Result<()> {
        if is_plain(part) {
            return out.write_all(part.as_bytes()); // nearly all that is ever written
        }
        let mut units = [0; 2];
        part.chars().try_for_each(|c| {
            if c.is_ascii() && !c.is_ascii_control() {
                return out.write_all(&[u8::try_from(c).unwrap_or(b'?')]);
            }
            c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
        })
    }
}
