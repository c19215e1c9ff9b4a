//! The incremental decoder: any chunking of a stream gives the same frames.
//!
//! In:  bytes as they come. Out: [`Frame`]s.
//!
//! Invariant: holds at most one line ([`LINE_BYTES`]); noise costs no memory and ends at the next newline.
//!
//! A message's first byte tells its dialect: `f` starts a v2 line, `a` a legacy struct. A struct has no end that could be
//! searched for, so a half one is given up by whoever has a clock, see [`Decoder::silence`].

use crate::legacy::{SERIAL_BYTES, SerialRequest, StructError, goes_on};
use crate::limits::LINE_BYTES;
use crate::line::{Line, LineError, SignedLine, parse_line};

/// What the stream held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The JSON of a line whose CRC-32C is right.
    Plain(Vec<u8>),
    /// A line with a MAC, to be opened with its key.
    Signed(SignedLine),
    /// A whole struct of the serial dialect.
    Legacy(Result<SerialRequest, StructError>),
    /// A line that is none; everything up to its newline was dropped.
    Noise(LineError),
}

/// Turns a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// Why the rest of the present line is dropped: it cannot become one, so only its end is awaited.
    noise: Option<LineError>,
    /// The struct that has begun; empty while there is none.
    legacy: Vec<u8>,
}

impl Decoder {
    /// Takes bytes off the front of `input` up to the end of the next frame. `None` once all input is taken.
    pub fn push(&mut self, input: &mut &[u8]) -> Option<Frame> {
        while !input.is_empty() {
            if self.begins_struct(input) {
                if let Some(frame) = self.push_struct(input) {
                    return Some(frame);
                }
                continue;
            }
            let newline = input.iter().position(|&b| b == b'\n');
            let (part, rest) = input.split_at(newline.unwrap_or(input.len()));
            self.keep(part);
            *input = rest.get(1..).unwrap_or_default();
            if newline.is_some()
                && let Some(frame) = self.end_line()
            {
                return Some(frame);
            }
        }
        None
    }

    /// Nothing came for a while: a half struct, and noise without an end, are over.
    pub fn silence(&mut self) {
        self.legacy = Vec::new();
        self.noise = None;
    }

    /// Whether [`Decoder::silence`] would change anything.
    #[must_use]
    pub fn awaits_end(&self) -> bool {
        self.noise.is_some() || !self.legacy.is_empty()
    }

    fn begins_struct(&self, input: &[u8]) -> bool {
        let between = self.line.is_empty() && self.noise.is_none();
        !self.legacy.is_empty() || (between && input.first() == Some(&b'a'))
    }

    /// Takes bytes for as long as they can be a struct; what turns out to be none is noise.
    fn push_struct(&mut self, input: &mut &[u8]) -> Option<Frame> {
        while let Some((&byte, rest)) = input.split_first() {
            if !goes_on(self.legacy.len(), byte) {
                self.legacy = Vec::new();
                self.noise = Some(LineError::Form);
                return None;
            }
            self.legacy.push(byte);
            *input = rest;
            if let Some(whole) = self.legacy.first_chunk::<SERIAL_BYTES>() {
                let request = SerialRequest::decode(whole);
                self.legacy = Vec::new();
                return Some(Frame::Legacy(request));
            }
        }
        None
    }

    fn keep(&mut self, part: &[u8]) {
        let starts_wrong = self.line.is_empty() && part.first().is_some_and(|&b| b != b'f' && b != b'\r');
        let too_long = self.line.len() + part.len() >= LINE_BYTES;
        if self.noise.is_none() && starts_wrong {
            self.noise = Some(LineError::Form);
        } else if self.noise.is_none() && too_long {
            self.noise = Some(LineError::TooLong);
            self.line = Vec::new();
        } else if self.noise.is_none() {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) -> Option<Frame> {
        if let Some(error) = self.noise.take() {
            return Some(Frame::Noise(error));
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            return None; // a lone newline is how a client begins
        }
        Some(match parse_line(line) {
            Ok(Line::Plain(json)) => Frame::Plain(json),
            Ok(Line::Signed(signed)) => Frame::Signed(signed),
            Err(error) => Frame::Noise(error),
        })
    }
}
