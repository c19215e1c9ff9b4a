//! A process that the agent takes for a domain's QEMU: it has the domain's UUID after `-uuid` in its command line.
//!
//! In:  `-uuid UUID`, then what kind of guest it is: none (one that asks, [`speaker`]), `-silent`, or `-attack KIND`.
//! Out: what such a guest does. Linked to no library of libvirt, so that ten thousand of them fit into a machine.

mod misbehaviour;
mod speaker;
mod words;

use std::env;
use std::fs::File;
use std::io::{self, Read, stdin};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, encode_line};
use misbehaviour::{Kind, misbehave};

const AGAIN: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["-uuid", _] => speaker::speak(),
        ["-uuid", _, "-silent", socket] => be_silent(socket),
        ["-uuid", _, "-attack", kind, socket] => attack(kind, socket),
        _ => Err(io::Error::other("usage: -uuid UUID [-silent SOCKET | -attack KIND SOCKET]")),
    }
}

/// Connects when a byte comes on stdin, which many share, and stays until the agent ends.
fn be_silent(socket: &str) -> io::Result<()> {
    // standard input as Rust has it would read everybody's bytes at once
    File::open("/dev/stdin")?.read_exact(&mut [0])?;
    let mut stream = UnixStream::connect(socket)?;
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// Connects when a byte comes on stdin, and misbehaves until it is killed. Who is cut off comes back after a second, as QEMU
/// does.
fn attack(kind: &str, socket: &str) -> io::Result<()> {
    stdin().read_exact(&mut [0])?;
    let kind = Kind::ALL.into_iter().find(|it| it.name() == kind);
    let kind = kind.ok_or_else(|| io::Error::other("there is no such attack"))?;
    let request = || words::request(Ask::List).ok().and_then(|it| encode_line(&it).ok()).unwrap_or_default();
    loop {
        misbehave(UnixStream::connect(socket)?, kind, request, &AtomicBool::new(false));
        if kind == Kind::Close {
            return stdin().read_to_end(&mut Vec::new()).map(drop);
        }
        sleep(AGAIN);
    }
}
