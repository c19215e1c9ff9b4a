//! Requests: what a guest asks.
//!
//! In:  the JSON of a line. Out: a [`Request`] whose every field is checked, or why not.
//!
//! Invariant: nothing in a request names who asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{DELAY_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN};
use crate::line::from_object;
use crate::words::{RequestId, Target, WordError};

/// A request that changes whether a target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Stop it at once, and prove it.
    Off,
    /// Start it.
    On,
    /// Off, proven, then on.
    Reboot,
}

/// How a reboot is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Off, proven, then on.
    #[default]
    OnOff,
    /// A reset inside the running process; proves nothing, so the host answers `unsupported`.
    Cycle,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Who are you, who am I, what can be asked.
    Hello,
    /// Who am I.
    Whoami,
    /// Is the host able to act.
    Monitor,
    /// Which targets may I act on, and what is their state.
    List,
    /// What may I know of my host.
    HostStatus,
    /// Which rule decides about this target.
    Explain(Target),
    /// Is the target on or off.
    Status(Target),
    /// Change the target's power.
    Power(Power, Target),
}

impl Ask {
    /// The operation's word on the wire.
    #[must_use]
    pub fn op(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Whoami => "whoami",
            Self::Monitor => "monitor",
            Self::List => "list",
            Self::HostStatus => "host-status",
            Self::Explain(_) => "explain",
            Self::Status(_) => "status",
            Self::Power(Power::Off, _) => "off",
            Self::Power(Power::On, _) => "on",
            Self::Power(Power::Reboot, _) => "reboot",
        }
    }

    /// The target, where there is one.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Hello | Self::Whoami | Self::Monitor | Self::List | Self::HostStatus => None,
            Self::Explain(target) | Self::Status(target) | Self::Power(_, target) => Some(target),
        }
    }
}

/// One request of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client's random number for it.
    pub id: RequestId,
    /// What is asked.
    pub ask: Ask,
    /// How long the client waits for the verdict.
    pub timeout: Duration,
    /// How long the host waits before it accepts the request.
    pub delay: Duration,
    /// How a reboot is done.
    pub method: Method,
}

/// Why a request was not taken; with its id, if that much could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RequestError {
    /// The request's id, or [`RequestId::NONE`].
    pub id: RequestId,
    /// What is wrong, for people.
    pub what: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    id: String,
    op: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    timeout_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
}

impl Serialize for Request {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = Wire {
            id: self.id.to_string(),
            op: self.ask.op(),
            target: self.ask.target().map(ToString::to_string),
            timeout_ms: self.timeout.as_millis(),
            delay_ms: Some(self.delay.as_millis()).filter(|&ms| ms > 0),
            method: (self.method == Method::Cycle).then_some("cycle"),
        };
        wire.serialize(serializer)
    }
}

/// The object with its known keys as they came; which of them are right is checked one by one.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    op: Value,
    #[serde(default)]
    target: Option<Value>,
    #[serde(default)]
    timeout_ms: Option<Value>,
    #[serde(default)]
    delay_ms: Option<Value>,
    #[serde(default)]
    method: Option<Value>,
}

impl Request {
    /// The request in a line's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, RequestError> {
        let none = |what: String| RequestError { id: RequestId::NONE, what };
        let object: Object = from_object(json).map_err(|_| none("not one JSON object".into()))?;
        let id = object.id.as_str().map(str::parse::<RequestId>);
        let id = id.unwrap_or(Err(WordError::Id)).map_err(|e| none(e.to_string()))?;
        if id == RequestId::NONE {
            return Err(none(WordError::Id.to_string()));
        }
        object.check(id).map_err(|what| RequestError { id, what })
    }
}

impl Object {
    fn check(self, id: RequestId) -> Result<Request, String> {
        let ask = self.ask()?;
        let timeout =
            duration("timeout_ms", self.timeout_ms.as_ref(), TIMEOUT_DEFAULT, TIMEOUT_MIN, TIMEOUT_MAX)?;
        let delay = duration("delay_ms", self.delay_ms.as_ref(), Duration::ZERO, Duration::ZERO, DELAY_MAX)?;
        let method = match self.method.as_ref().map(Value::as_str) {
            None | Some(Some("onoff")) => Method::OnOff,
            Some(Some("cycle")) => Method::Cycle,
            Some(_) => return Err("method is `onoff` or `cycle`".into()),
        };
        Ok(Request { id, ask, timeout, delay, method })
    }

    fn ask(&self) -> Result<Ask, String> {
        let target = || -> Result<Target, String> {
            let text = self.target.as_ref().ok_or("this op needs a target")?.as_str();
            text.ok_or("target is a string")?.parse().map_err(|e: WordError| format!("target: {e}"))
        };
        Ok(match self.op.as_str().ok_or("op is a string")? {
            "hello" => Ask::Hello,
            "whoami" => Ask::Whoami,
            "monitor" => Ask::Monitor,
            "list" => Ask::List,
            "host-status" => Ask::HostStatus,
            "explain" => Ask::Explain(target()?),
            "status" => Ask::Status(target()?),
            "off" => Ask::Power(Power::Off, target()?),
            "on" => Ask::Power(Power::On, target()?),
            "reboot" => Ask::Power(Power::Reboot, target()?),
            _ => return Err("unknown op; `hello` tells which there are".into()),
        })
    }
}

fn duration(
    key: &str,
    told: Option<&Value>,
    default: Duration,
    least: Duration,
    most: Duration,
) -> Result<Duration, String> {
    let Some(value) = told else { return Ok(default) };
    let value = value.as_u64().map(Duration::from_millis).filter(|d| (least..=most).contains(d));
    value.ok_or_else(|| format!("{key} is a whole number from {} to {}", least.as_millis(), most.as_millis()))
}
