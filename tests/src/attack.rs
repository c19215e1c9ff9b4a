//! What a hostile guest may do on its own channel, and what an escaped one may do to its own socket.
//!
//! In:  a socket of the agent's. Out: an [`Attack`] on it, until the connection ends.
//!
//! Invariant: an attack goes as fast as the agent lets it: nothing here waits for anything but the socket.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::thread;

use fence_vmchannel_protocol::encode_line;
use fence_vmchannel_protocol::legacy::{Op, SerialRequest};

/// What a hostile guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Nothing: it is connected.
    Rest,
    /// Nothing: it has closed its connection and stays away.
    Gone,
    /// Valid requests without an end: `hello`, `whoami`, `monitor`, `list`, `status`.
    Valid,
    /// Only `list`, the dearest question.
    Lists,
    /// Lines that are whole and mean nothing.
    Invalid,
    /// Lines that break off.
    Halves,
    /// One byte at a time.
    Bytes,
    /// Requests, and never reads a reply.
    Deaf,
    /// Connects, says half a line and leaves, over and over.
    Storm,
    /// 4 KiB lines of nothing.
    Blanks,
    /// The same id again and again, also for something else.
    Repeats,
    /// Fences guests that are not its own, by names and with the ids of others.
    Forged,
    /// Names with terminal escapes and line ends.
    Escapes,
    /// Orders that it may give, about a domain that is off.
    Orders,
    /// Structs of the legacy dialect: whole, halves, lists and orders, also among lines.
    Structs,
}

/// The id of a request that an honest guest made.
pub const FORGED_ID: &str = "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";

impl Attack {
    /// All that do something.
    pub const ALL: [Self; 13] = [
        Self::Valid,
        Self::Lists,
        Self::Invalid,
        Self::Halves,
        Self::Bytes,
        Self::Deaf,
        Self::Storm,
        Self::Blanks,
        Self::Repeats,
        Self::Forged,
        Self::Escapes,
        Self::Orders,
        Self::Structs,
    ];

    /// Attacks over this connection until it ends. `mate` is a domain of its own cluster, `victim` one of another.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn carry_out(self, mut stream: UnixStream, mate: &str, victim: &str) -> io::Result<()> {
        if !matches!(self, Self::Deaf | Self::Storm | Self::Gone) {
            let mut replies = stream.try_clone()?;
            thread::spawn(move || io::copy(&mut replies, &mut io::sink())); // as fast as they come
        }
        if self == Self::Gone {
            return Ok(());
        }
        if self == Self::Rest {
            return stream.read(&mut [0]).map(drop);
        }
        for turn in 0_u64.. {
            let bytes = self.bytes(turn, mate, victim)?;
            let step = if self == Self::Bytes { 1 } else { bytes.len() };
            bytes.chunks(step.max(1)).try_for_each(|part| stream.write_all(part))?;
            if self == Self::Storm {
                return Ok(());
            }
        }
        Ok(())
    }

    fn bytes(self, turn: u64, mate: &str, victim: &str) -> io::Result<Vec<u8>> {
        let id = format!("{:016x}{turn:016x}", std::process::id());
        let asks = |op: &str, target: &str| line(&[("id", &id), ("op", op), ("target", target)]);
        match self {
            Self::Rest | Self::Gone => Ok(Vec::new()),
            Self::Valid => match turn % 5 {
                0 => line(&[("id", &id), ("op", "hello")]),
                1 => line(&[("id", &id), ("op", "whoami")]),
                2 => line(&[("id", &id), ("op", "monitor")]),
                3 => line(&[("id", &id), ("op", "list")]),
                _ => asks("status", mate),
            },
            Self::Lists | Self::Deaf => line(&[("id", &id), ("op", "list")]),
            Self::Invalid => match turn % 4 {
                0 => asks("explode", mate),
                1 => line(&[("id", &id), ("op", "off")]),
                2 => Ok(b"fv2 crc:00000000 {\"id\":0}\n".to_vec()),
                _ => line(&[("op", "status"), ("target", mate)]),
            },
            Self::Halves | Self::Storm => asks("status", mate).map(|mut line| {
                line.truncate(usize::try_from(turn % 80).unwrap_or_default() + 1);
                line
            }),
            Self::Bytes => asks("status", mate),
            Self::Blanks => Ok([&[b'x'; 4095][..], b"\n"].concat()),
            Self::Repeats => {
                let op = ["status", "off"].get(usize::from(turn % 7 == 6)).copied().unwrap_or("status");
                line(&[("id", FORGED_ID), ("op", op), ("target", victim)])
            }
            Self::Forged => match turn % 2 {
                0 => line(&[("id", FORGED_ID), ("op", "off"), ("target", victim)]),
                _ => asks("reboot", victim),
            },
            Self::Escapes => match turn % 3 {
                0 => asks("off", "\u{1b}[2J\u{1b}]0;owned\u{7}"),
                1 => asks("off", &format!("{victim}\u{202e}\u{85}")),
                _ => Ok(b"\x1b[2J\x1b[31mnot a line\r\n".to_vec()),
            },
            Self::Orders => asks("off", mate),
            Self::Structs => structs(turn, mate, victim),
        }
    }
}

fn structs(turn: u64, mate: &str, victim: &str) -> io::Result<Vec<u8>> {
    let (op, target) = match turn % 6 {
        0 => (Op::List, ""),
        1 => (Op::Off, mate),
        2 => (Op::Reboot, victim),
        3 => return Ok(b"abba\xff\xff".repeat(12)),
        _ => (Op::Status, mate),
    };
    let seqno = u32::try_from(turn % 1_000_000).unwrap_or_default();
    let request = SerialRequest { op, target: target.parse().ok(), seqno };
    let mut bytes = request.encode().map_err(io::Error::other)?.to_vec();
    if turn % 6 == 5 {
        bytes.truncate(usize::try_from(turn % 74).unwrap_or_default()); // what follows is not where it seems
    }
    Ok(bytes)
}

fn line(words: &[(&str, &str)]) -> io::Result<Vec<u8>> {
    let object: BTreeMap<_, _> = words.iter().copied().collect();
    encode_line(&object).map_err(io::Error::other)
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Attack {
    type Err = io::Error;

    fn from_str(word: &str) -> io::Result<Self> {
        let known =
            Self::ALL.into_iter().chain([Self::Rest, Self::Gone]).find(|attack| attack.to_string() == word);
        known.ok_or_else(|| io::Error::other(format!("there is no attack {word:?}")))
    }
}
