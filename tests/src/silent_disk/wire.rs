//! The kernel's words to a file system: a directory with one file of zeros, `disk`.
//!
//! In:  a question as read from `/dev/fuse`. Out: the answer to write back, if one is due. All from linux/fuse.h.
//!
//! Invariant: what is not known is answered "not implemented", so that nobody waits without being meant to.

use nix::libc::{ENOENT, ENOSYS, S_IFDIR, S_IFREG};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const IN_HEADER: usize = 40;
const ROOT: u64 = 1;
const FILE: u64 = 2;
const SIZE: u64 = 1 << 20;
const MAX_WRITE: u32 = 1 << 16;
/// Each read goes to us at once: FOPEN_DIRECT_IO.
const DIRECT: u32 = 1;

/// What the kernel asks.
#[derive(Debug)]
pub(super) struct Question<'a> {
    op: u32,
    unique: u64,
    node: u64,
    rest: &'a [u8],
}

impl<'a> Question<'a> {
    /// The question in these bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (op, unique, node) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        Some(Self { op, unique, node, rest: bytes.get(IN_HEADER..)? })
    }

    /// Whether the file's contents are read or written.
    pub(super) fn is_for_data(&self) -> bool {
        matches!(self.op, READ | WRITE)
    }
}

/// The answer, if the kernel waits for one.
pub(super) fn answer(question: &Question<'_>) -> Option<Vec<u8>> {
    let body = match question.op {
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        INIT => Ok(init()),
        LOOKUP if question.rest.starts_with(b"disk\0") => Ok(entry()),
        LOOKUP => Err(ENOENT),
        GETATTR | SETATTR => Ok(attributes(question.node)),
        OPEN | OPENDIR => Ok(words(&[0, 0, DIRECT, 0])),
        READ => Ok(vec![0; usize::try_from(u32_at(question.rest, 16)?).ok()?]),
        WRITE => Ok(words(&[u32_at(question.rest, 16)?, 0])),
        STATFS => Ok(vec![0; 80]),
        READDIR | RELEASE | RELEASEDIR | FLUSH | FSYNC => Ok(Vec::new()),
        _ => Err(ENOSYS),
    };
    let (error, body) = match body {
        Ok(body) => (0, body),
        Err(error) => (-error, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).ok()?;
    let mut reply = length.to_le_bytes().to_vec();
    reply.extend(error.to_le_bytes());
    reply.extend(question.unique.to_le_bytes());
    reply.extend(body);
    Some(reply)
}

/// fuse_init_out: version 7.31, no read-ahead, no flags.
fn init() -> Vec<u8> {
    let mut body = words(&[7, 31, 0, 0, 0, MAX_WRITE, 1]);
    body.resize(64, 0);
    body
}

/// fuse_entry_out: nothing is remembered by the kernel.
fn entry() -> Vec<u8> {
    let mut body = FILE.to_le_bytes().to_vec();
    body.resize(40, 0);
    body.extend(attr(FILE));
    body
}

/// fuse_attr_out.
fn attributes(node: u64) -> Vec<u8> {
    let mut body = vec![0; 16];
    body.extend(attr(node));
    body
}

/// fuse_attr: a directory or a file that everybody may use, owned by root.
fn attr(node: u64) -> Vec<u8> {
    let (size, mode) = if node == ROOT { (0, S_IFDIR | 0o755) } else { (SIZE, S_IFREG | 0o666) };
    let mut attr = Vec::new();
    for number in [node, size, size / 512, 0, 0, 0] {
        attr.extend(number.to_le_bytes());
    }
    attr.extend(words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]));
    attr
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
