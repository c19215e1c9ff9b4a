//! A guest that asks.
//!
//! In:  on stdin, the path of the agent's socket, then requests, one on each line.
//! Out: on stdout, one line for each: nanoseconds until the final reply, how many targets were listed, that reply.
//!
//! Invariant: the time is taken here, beside the socket, and holds nothing of the way to the bench.

use std::io::{self, BufRead, Error, Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Body, Decoder, Frame, Reply, Request, RequestId, encode_line};

use crate::words::{PATIENCE, frame};

/// Speaks until stdin ends.
pub(crate) fn speak() -> io::Result<()> {
    let mut lines = stdin().lock().lines();
    let Some(socket) = lines.next().transpose()? else { return Ok(()) };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for line in lines {
        let request = request(&line?)?;
        let line = encode_line(&request).map_err(Error::other)?;
        let begun = Instant::now();
        stream.write_all(&line)?;
        let (reply, listed) = final_reply(&mut stream, request.id)?;
        let took = begun.elapsed();
        told(took, listed, &reply)?;
    }
    Ok(())
}

fn request(line: &str) -> io::Result<Request> {
    let Some(Frame::Plain(json)) = frame(line) else { return Err(Error::other("that is no request")) };
    Request::parse(&json).map_err(Error::other)
}

fn final_reply(stream: &mut UnixStream, id: RequestId) -> io::Result<(Reply, usize)> {
    let (mut decoder, mut listed) = (Decoder::default(), 0);
    loop {
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Err(Error::other("the agent closed an asker's connection"));
        }
        let mut rest = chunk.get(..length).unwrap_or_default();
        while let Some(frame) = decoder.push(&mut rest) {
            let Frame::Plain(json) = frame else { continue };
            let reply = Reply::parse(&json).map_err(Error::other)?;
            if let Body::Items(items, _) = &reply.body {
                listed += items.len();
            }
            if reply.id == id && reply.is_final() {
                return Ok((reply, listed));
            }
        }
    }
}

fn told(took: Duration, listed: usize, reply: &Reply) -> io::Result<()> {
    let reply = encode_line(reply).map_err(Error::other)?;
    let mut line = format!("{} {listed} ", took.as_nanos()).into_bytes();
    line.extend(reply);
    let mut stdout = stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}
