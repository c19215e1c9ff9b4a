//! A hostile guest, or rather its QEMU: the agent takes it for that by its pid.
//!
//! In:  as arguments `-uuid UUID`, the agent's socket, a domain of its own cluster and one of another; on stdin, the attacks
//!      to go over to.
//! Out: trouble, until stdin ends.

use std::io::{BufRead, Error, ErrorKind, Result, stdin};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fence_vmchannel_tests::attack::Attack;

/// Until it tries again where nobody listens.
const NOBODY: Duration = Duration::from_millis(20);

/// What it does now, and over which connection.
type Now = Arc<Mutex<(Attack, Option<UnixStream>)>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(3).collect();
    let [socket, mate, victim] = <[String; 3]>::try_from(words).map_err(|_| Error::other("three words"))?;
    let now: Now = Arc::new(Mutex::new((Attack::Rest, None)));
    let told = now.clone();
    thread::spawn(move || {
        loop {
            if attack(&told, &socket, &mate, &victim)
                .is_err_and(|error| error.kind() != ErrorKind::BrokenPipe)
            {
                thread::sleep(NOBODY); // there is no agent, or it has enough of us
            }
        }
    });
    for word in stdin().lock().lines() {
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 = word?.parse()?;
        if let Some(stream) = now.1.take() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
    Ok(())
}

fn attack(now: &Now, socket: &str, mate: &str, victim: &str) -> Result<()> {
    if now.lock().unwrap_or_else(PoisonError::into_inner).0 == Attack::Gone {
        return Err(ErrorKind::NotConnected.into());
    }
    let stream = UnixStream::connect(socket)?;
    let attack = {
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        now.1 = Some(stream.try_clone()?);
        now.0
    };
    attack.carry_out(stream, mate, victim)?;
    now.lock().unwrap_or_else(PoisonError::into_inner).1.take();
    Ok(())
}
