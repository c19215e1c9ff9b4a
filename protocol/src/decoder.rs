//! The incremental decoder: any chunking of a stream gives the same frames.
//!
//! In:  bytes as they come. Out: [`Frame`]s.
//!
//! Invariant: holds at most one line ([`LINE_BYTES`]); noise costs no memory and ends at the next newline.
//!
//! A message's first byte tells its dialect: `f` starts a v2 line. The legacy structs start with `a` and get their
//! place in [`Decoder::push`] beside it; until then they are noise like everything else.

use crate::limits::LINE_BYTES;
use crate::line::{Line, LineError, SignedLine, parse_line};

/// What the stream held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The JSON of a line whose CRC-32C is right.
    Plain(Vec<u8>),
    /// A line with a MAC, to be opened with its key.
    Signed(SignedLine),
    /// A line that is none; everything up to its newline was dropped.
    Noise(LineError),
}

/// Turns a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    /// Why the rest of the present line is dropped: it cannot become one, so only its end is awaited.
    noise: Option<LineError>,
}

impl Decoder {
    /// Takes bytes off the front of `input` up to the end of the next frame. `None` once all input is taken.
    pub fn push(&mut self, input: &mut &[u8]) -> Option<Frame> {
        while !input.is_empty() {
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
