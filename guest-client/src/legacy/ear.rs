//! Hears a reply in the bytes of either dialect.
//!
//! In:  bytes, in any chunks. Out: [`Reply`]s.
//!
//! Invariant: a list that is not whole is no list; it is bounded.

use fence_vmchannel_protocol::Target;
use fence_vmchannel_protocol::legacy::{
    Code, HostRecord, RECORD_BYTES, SERIAL_REPLY_BYTES, SerialReply, StructError,
};

/// No host has more domains; a server that sends on and on is not listened to.
const RECORDS_MOST: usize = 20_000;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The end of a question that is no list.
    Code(Code),
    /// A whole list.
    List(Vec<HostRecord>),
}

impl Reply {
    /// Whether it is a list with this target.
    pub(super) fn names(&self, target: &Target) -> bool {
        match self {
            Self::Code(_) => false,
            Self::List(records) => records.iter().any(|record| is(record, target)),
        }
    }
}

/// Whether the record is this target's.
pub(super) fn is(record: &HostRecord, target: &Target) -> bool {
    match target {
        Target::Name(name) => record.name == name.as_str(),
        Target::Uuid(uuid) => record.uuid.parse().ok() == Some(*uuid),
    }
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// With a magic before it; a list ends with a result of its own.
    Serial,
    /// As one byte.
    Network,
}

/// Collects bytes until they are a reply.
#[derive(Debug)]
pub(crate) struct Ear {
    dialect: Dialect,
    bytes: Vec<u8>,
    /// The records of the list that has begun.
    list: Option<Vec<HostRecord>>,
    /// The list that is whole, but for its own result.
    ended: Option<Vec<HostRecord>>,
}

impl Ear {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, bytes: Vec::new(), list: None, ended: None }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next reply, if it is whole.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(records) = &mut self.list {
                let record = self.bytes.first_chunk::<RECORD_BYTES>().copied()?;
                self.bytes.drain(..RECORD_BYTES);
                match HostRecord::decode(&record) {
                    Some(record) if records.len() < RECORDS_MOST => records.push(record),
                    Some(_) => return Some(Reply::Code(Code::Failure)),
                    None => {
                        let records = self.list.take().unwrap_or_default();
                        if self.dialect == Dialect::Network {
                            return Some(Reply::List(records));
                        }
                        self.ended = Some(records);
                    }
                }
                continue;
            }
            match (self.result()?, self.ended.take()) {
                (Code::List, _) => self.list = Some(Vec::new()),
                (Code::Success, Some(records)) => return Some(Reply::List(records)),
                (code, _) => return Some(Reply::Code(code)),
            }
        }
    }

    /// The next result; whatever stands before a magic is none.
    fn result(&mut self) -> Option<Code> {
        if self.dialect == Dialect::Network {
            let byte = *self.bytes.first()?;
            self.bytes.drain(..1);
            return Some(Code::from_byte(byte).unwrap_or(Code::Failure));
        }
        loop {
            let reply = self.bytes.first_chunk::<SERIAL_REPLY_BYTES>()?;
            // the `b` of a magic whose first letters were the last one of another
            let overlaps = reply.ends_with(b"b");
            match SerialReply::decode(reply) {
                Ok(SerialReply(code)) if !overlaps => {
                    self.bytes.drain(..SERIAL_REPLY_BYTES);
                    return Some(code);
                }
                Ok(_)
                | Err(
                    StructError::Magic
                    | StructError::Op(_)
                    | StructError::NoEnd
                    | StructError::TooLong
                    | StructError::Text,
                ) => {
                    self.bytes.drain(..1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, state: u8) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..name.len()].copy_from_slice(name.as_bytes());
        record[128] = state;
        record
    }

    fn list() -> Vec<u8> {
        [b"abba\xfd".as_slice(), &record("web1", 1), &record("web2", 5), &HostRecord::END, b"abba\0"].concat()
    }

    fn heard_in_chunks_of(size: usize, bytes: &[u8]) -> Vec<Reply> {
        let mut ear = Ear::new(Dialect::Serial);
        let mut replies = Vec::new();
        for chunk in bytes.chunks(size) {
            ear.hear(chunk);
            replies.extend(std::iter::from_fn(|| ear.reply()));
        }
        replies
    }

    #[test]
    fn any_chunks_give_the_same_replies_and_noise_is_skipped() {
        let bytes = [b"\r\nlogin: abb".as_slice(), &list(), b"abba\x02"].concat();

        let whole = heard_in_chunks_of(bytes.len(), &bytes);

        assert!(matches!(&whole[..], [Reply::List(records), Reply::Code(Code::Off)] if records.len() == 2));
        for size in 1..7 {
            assert_eq!(heard_in_chunks_of(size, &bytes), whole, "chunks of {size}");
        }
    }

    #[test]
    fn a_list_whose_own_result_is_no_success_or_does_not_come_is_no_list() {
        let mut failed = list();
        *failed.last_mut().unwrap() = 1;
        let cut = &list()[..list().len() - 5];

        assert_eq!(heard_in_chunks_of(9, &failed), [Reply::Code(Code::Failure)]);
        assert!(heard_in_chunks_of(9, cut).is_empty());
    }

    #[test]
    fn a_result_that_nobody_knows_is_a_failure() {
        assert_eq!(heard_in_chunks_of(5, b"abba\x2a"), [Reply::Code(Code::Failure)]);
        let mut ear = Ear::new(Dialect::Network);
        ear.hear(&[200]);
        assert_eq!(ear.reply(), Some(Reply::Code(Code::Failure)));
    }
}
