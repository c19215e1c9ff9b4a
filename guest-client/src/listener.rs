//! Hears, in whatever comes over the line, the answer to one request.
//!
//! In:  bytes, in any chunks. Out: what was heard.
//!
//! Invariant: only replies with the request's own random id count; stale replies, those of others and noise do not. Where the
//! request is signed, only replies signed with the same key count, under a nonce that the request was signed under.

use std::fmt;
use std::time::Duration;

use fence_vmchannel_protocol::signing::{Direction, Nonce};
use fence_vmchannel_protocol::{
    Body, Decoder, Frame, GuestIdentity, Hello, HostStatus, Item, Phase, Reason, Reply, RequestId, Ruling,
    SignedLine, Verdict,
};

use crate::key::SigningKey;

/// The final answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The end of an order or a question.
    Verdict(Verdict),
    /// A whole list.
    Items(Vec<Item>),
    /// The answer to `hello`.
    Hello(Hello),
    /// The answer to `whoami`.
    Whoami(GuestIdentity),
    /// The answer to `host-status`.
    HostStatus(Box<HostStatus>),
}

impl Answer {
    fn ruling(&self) -> Option<Ruling> {
        match self {
            Self::Verdict(verdict) => Some(verdict.ruling),
            Self::Items(_) | Self::Hello(_) | Self::Whoami(_) | Self::HostStatus(_) => None,
        }
    }

    /// Whether the host says that it is done.
    pub(crate) fn is_done(&self) -> bool {
        self.ruling() == Some(Ruling::Done)
    }

    /// Whether the host's agent is stopping, and did not accept what was asked.
    pub(crate) fn is_stopping(&self) -> bool {
        self.ruling() == Some(Ruling::Failed(Reason::Stopping))
    }

    /// Whether the host does not take what was asked as it was signed.
    pub(crate) fn is_bad_signature(&self) -> bool {
        self.ruling() == Some(Ruling::Refused(Reason::BadSignature))
    }

    /// Whether the host has too much to do, or cannot answer yet.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.ruling(), Some(Ruling::Refused(Reason::Busy) | Ruling::Failed(Reason::Busy)))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self {
            Self::Verdict(verdict) => verdict,
            Self::Items(items) => return write!(f, "a list of {}", items.len()),
            Self::Hello(_) => return f.write_str("hello"),
            Self::HostStatus(_) => return f.write_str("the host's status"),
            Self::Whoami(guest) => return write!(f, "this guest is {}", guest.name),
        };
        match verdict.ruling {
            Ruling::Done => f.write_str("done")?,
            Ruling::Refused(reason) => write!(f, "refused, {reason}")?,
            Ruling::Failed(reason) => write!(f, "failed, {reason}")?,
        }
        verdict.state.iter().try_for_each(|state| write!(f, ", {}", state.word()))?;
        verdict.evidence.iter().try_for_each(|evidence| write!(f, ", evidence {evidence}"))?;
        verdict.took.iter().try_for_each(|took| write!(f, ", {} ms at the host", took.as_millis()))
    }
}

/// What a piece of the stream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The host works on it.
    Progress(Phase, Duration),
    /// The end.
    Answer(Answer),
    /// The host could not read a line, which may have been ours.
    Garbled,
    /// Part of a list; more follows.
    Part,
    /// The end of a list of which a part may be lost: before it came a line that could not be read. One of before the request
    /// costs a list that is asked for once more.
    Torn,
    /// The nonce to sign under.
    Nonce(Nonce),
    /// The host could not accept a signature, which may have been ours.
    BadSignature,
}

/// Listens for the replies to one request.
pub(crate) struct Listener {
    id: RequestId,
    decoder: Decoder,
    items: Vec<Item>,
    /// Whether anything unreadable came since the last list, or since the beginning.
    is_torn: bool,
    trust: Option<Trust>,
}

/// What a reply must be signed with.
struct Trust {
    key: SigningKey,
    /// The id of the `hello`, whose answer cannot be signed.
    hello: RequestId,
    /// What the request was signed under: an order keeps the nonce that it was accepted under.
    nonces: Vec<Nonce>,
}

impl Listener {
    /// Listens for replies to the request with this id; signed ones, where there is a key and a `hello` before it.
    pub(crate) fn new(id: RequestId, signing: Option<(SigningKey, RequestId)>) -> Self {
        let trust = signing.map(|(key, hello)| Trust { key, hello, nonces: Vec::new() });
        Self { id, decoder: Decoder::default(), items: Vec::new(), is_torn: false, trust }
    }

    /// The request is about to be signed under this nonce.
    pub(crate) fn expect_under(&mut self, nonce: Nonce) {
        if let Some(trust) = self.trust.as_mut().filter(|trust| !trust.nonces.contains(&nonce)) {
            trust.nonces.push(nonce);
        }
    }

    /// The request of this id is about to be sent (again). What came of a list by the same id stays, noise too, since the rest of
    /// it may be on its way: without its beginning that would pass for the whole.
    pub(crate) fn begin_anew(&mut self, id: RequestId) {
        if self.id == id {
            self.is_torn |= self.decoder.awaits_end();
            return self.decoder.silence();
        }
        self.id = id;
        self.forget();
    }

    /// Another connection, on which everything is answered from the beginning: half a line and half a list are over.
    pub(crate) fn forget(&mut self) {
        self.decoder = Decoder::default();
        self.items.clear();
        self.is_torn = false;
    }

    /// Takes bytes off the front of `input` up to something that was heard. `None` once all input is taken.
    pub(crate) fn hear(&mut self, input: &mut &[u8]) -> Option<Heard> {
        while let Some(frame) = self.decoder.push(input) {
            let heard = match frame {
                Frame::Plain(json) => Reply::parse(&json).ok().and_then(|reply| self.unsigned(reply)),
                Frame::Signed(line) => self.signed(&line),
                Frame::Legacy(_) | Frame::Noise(_) => {
                    self.is_torn = true; // it may have been a list's beginning
                    None
                }
            };
            if heard.is_some() {
                return heard;
            }
        }
        None
    }

    /// An unsigned reply. To a signed request it is no answer, whatever it says.
    fn unsigned(&mut self, reply: Reply) -> Option<Heard> {
        let refusal = refusal(&reply.body).filter(|_| reply.id == RequestId::NONE);
        match (&self.trust, reply.body) {
            (_, _) if refusal == Some(Reason::BadFrame) => Some(Heard::Garbled),
            (Some(_), _) if refusal == Some(Reason::BadSignature) => Some(Heard::BadSignature),
            (Some(trust), Body::Hello(hello)) if reply.id == trust.hello => {
                hello.nonce.parse().ok().map(Heard::Nonce)
            }
            (None, body) if reply.id == self.id => Some(self.take(body)),
            _ => None,
        }
    }

    fn signed(&mut self, line: &SignedLine) -> Option<Heard> {
        let trust = self.trust.as_ref().filter(|trust| *line.key() == trust.key.id)?;
        let open = |nonce| line.clone().open(&trust.key.key, nonce, Direction::Reply).ok();
        let reply = Reply::parse(&trust.nonces.iter().find_map(open)?).ok()?;
        (reply.id == self.id).then(|| self.take(reply.body))
    }

    fn take(&mut self, body: Body) -> Heard {
        Heard::Answer(match body {
            Body::Progress(phase, elapsed) => return Heard::Progress(phase, elapsed),
            Body::Items(items, more) => {
                self.items.extend(items);
                if more {
                    return Heard::Part;
                }
                if std::mem::take(&mut self.is_torn) {
                    self.items.clear();
                    return Heard::Torn;
                }
                Answer::Items(self.whole_list())
            }
            Body::Verdict(verdict) => Answer::Verdict(verdict),
            Body::Hello(hello) => Answer::Hello(hello),
            Body::Whoami(guest) => Answer::Whoami(guest),
            Body::HostStatus(status) => Answer::HostStatus(status),
        })
    }

    /// Each target once, as it was said last: a repeated request may have brought parts twice.
    fn whole_list(&mut self) -> Vec<Item> {
        let mut items = std::mem::take(&mut self.items);
        items.reverse();
        items.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
        items.dedup_by_key(|item| item.uuid);
        items
    }
}

fn refusal(body: &Body) -> Option<Reason> {
    let Body::Verdict(verdict) = body else { return None };
    match verdict.ruling {
        Ruling::Refused(reason) | Ruling::Failed(reason) => Some(reason),
        Ruling::Done => None,
    }
}

#[cfg(test)]
mod tests {
    use fence_vmchannel_protocol::{PowerState, encode_line};

    use super::*;

    fn id(number: u8) -> RequestId {
        RequestId::from_random([number; 16]).unwrap()
    }

    fn part(id: RequestId, number: u128, state: PowerState, more: bool) -> Vec<u8> {
        let name = format!("web{number}").parse().unwrap();
        let item = Item { name, uuid: uuid::Uuid::from_u128(number), state: Some(state) };
        encode_line(&Reply { id, body: Body::Items(vec![item], more) }).unwrap()
    }

    fn heard(listener: &mut Listener, bytes: &[u8]) -> Vec<Heard> {
        let mut rest = bytes;
        std::iter::from_fn(|| listener.hear(&mut rest)).collect()
    }

    /// The names and states of the list that was heard, if it was.
    fn list(heard: &[Heard]) -> Option<Vec<(String, Option<PowerState>)>> {
        let Some(Heard::Answer(Answer::Items(items))) = heard.last() else { return None };
        Some(items.iter().map(|item| (item.name.to_string(), item.state)).collect())
    }

    #[test]
    fn a_list_whose_request_is_sent_again_between_its_parts_is_whole() {
        let mut listener = Listener::new(id(1), None);
        let second = part(id(1), 2, PowerState::On, false);
        let (half, rest) = second.split_at(20);

        heard(&mut listener, &[&part(id(1), 1, PowerState::On, true), half].concat());
        listener.begin_anew(id(1));
        let told = list(&heard(&mut listener, rest)).unwrap();

        assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["web1", "web2"]);
    }

    #[test]
    fn of_a_target_that_is_told_twice_the_last_word_counts() {
        let mut listener = Listener::new(id(1), None);

        heard(&mut listener, &part(id(1), 1, PowerState::Off, true));
        listener.begin_anew(id(1));
        let told = list(&heard(&mut listener, &part(id(1), 1, PowerState::On, false))).unwrap();

        assert_eq!(told, [("web1".to_owned(), Some(PowerState::On))]);
    }

    #[test]
    fn a_list_with_an_unreadable_line_between_its_parts_is_none_until_it_is_told_again() {
        let mut listener = Listener::new(id(1), None);
        let (first, last) = (part(id(1), 1, PowerState::On, true), part(id(1), 3, PowerState::On, false));

        let torn = heard(&mut listener, &[&first, &b"fv2 crc:00000000 {}\n"[..], &last].concat());
        let told = list(&heard(&mut listener, &[first, last].concat())).unwrap();

        assert_eq!(torn, [Heard::Part, Heard::Torn]);
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_list_whose_beginning_could_not_be_read_is_none_until_it_is_told_again() {
        let (first, last) = (part(id(1), 1, PowerState::On, true), part(id(1), 2, PowerState::On, false));
        let lost = &first[1..];
        let cut = &first[1..first.len() - 1];
        for (before, after) in
            [([lost, &last].concat(), vec![]), (lost.to_vec(), last.clone()), (cut.to_vec(), last.clone())]
        {
            let mut listener = Listener::new(id(1), None);

            let mut torn = heard(&mut listener, &before);
            listener.begin_anew(id(1)); // the rest may be on its way
            torn.extend(heard(&mut listener, &after));
            let told = list(&heard(&mut listener, &[&first[..], &last].concat())).unwrap();

            assert_eq!(torn, [Heard::Torn]);
            assert_eq!(told.len(), 2);
        }
    }

    #[test]
    fn noise_of_another_connection_or_another_request_tears_no_list() {
        let forgets: [fn(&mut Listener); 2] = [Listener::forget, |listener| listener.begin_anew(id(2))];
        for (forget, now) in forgets.into_iter().zip([id(1), id(2)]) {
            let mut listener = Listener::new(id(1), None);
            heard(&mut listener, b"login:\n");

            forget(&mut listener);

            assert!(list(&heard(&mut listener, &part(now, 2, PowerState::On, false))).is_some());
        }
    }

    #[test]
    fn another_connection_and_another_id_begin_a_list_from_its_beginning() {
        let forgets: [fn(&mut Listener); 2] = [Listener::forget, |listener| listener.begin_anew(id(2))];
        for (forget, now) in forgets.into_iter().zip([id(1), id(2)]) {
            let mut listener = Listener::new(id(1), None);
            let beginning = [part(id(1), 1, PowerState::On, true), b"fv2 half a li".to_vec()].concat();
            heard(&mut listener, &beginning);

            forget(&mut listener);
            let told = list(&heard(&mut listener, &part(now, 2, PowerState::On, false))).unwrap();

            assert_eq!(told, [("web2".to_owned(), Some(PowerState::On))]);
        }
    }
}
