//! Options as somebody wrote them, and what they come to.
//!
//! In:  the words of the command line or of standard input. Out: [`Options`].
//!
//! Invariant: two different targets are never settled by guessing.

use std::time::Duration;

use fence_vmchannel_protocol::limits::{DELAY_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN};
use fence_vmchannel_protocol::{Ask, Power, Target};

use super::transport::WrittenTransport;
use super::{Options, OptionsError, Personality};
use crate::action::Action;

/// What fence_virt and fence_xvm wait, and their users expect.
const COMPAT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) personality: Personality,
    pub(super) action: Option<String>,
    pub(super) legacy_action: Option<String>,
    /// The target, as often as it was written.
    pub(super) plugs: Vec<String>,
    /// The target where no plug was written.
    pub(super) nodenames: Vec<String>,
    pub(super) uuid: Option<String>,
    pub(super) method: Option<String>,
    pub(super) transport: WrittenTransport,
    pub(super) timeout: Option<String>,
    pub(super) power_timeout: Option<String>,
    pub(super) delay: Option<String>,
    pub(super) json: bool,
    pub(super) verbose: Option<String>,
    pub(super) warnings: Vec<String>,
}

impl Written {
    pub(super) fn check(self) -> Result<Options, OptionsError> {
        let action = match self.action.as_ref().or(self.legacy_action.as_ref()) {
            Some(word) => word.parse()?,
            None => Action::DEFAULT,
        };
        let target = self.target()?;
        let timeout = self.timeout.as_ref().or(self.power_timeout.as_ref());
        let usual = match self.personality {
            Personality::Vmchannel => TIMEOUT_DEFAULT,
            Personality::Virt | Personality::Xvm => COMPAT_TIMEOUT,
        };
        let timeout = seconds("timeout", timeout, usual, (TIMEOUT_MIN, TIMEOUT_MAX))?;
        let delay = seconds("delay", self.delay.as_ref(), Duration::ZERO, (Duration::ZERO, DELAY_MAX))?;
        // Some agents take levels here; that is no reason to fail a fencing.
        let verbose = switch("verbose", self.verbose.as_ref()).unwrap_or(true);
        self.check_method()?;
        let (transport, transport_named) = self.transport.check(self.personality)?;
        let ask = action.ask(target)?;
        // Cluster software sends a device's delay with every action; only these two wait.
        let waits = matches!(ask, Some(Ask::Power(Power::Off | Power::Reboot, _)));
        Ok(Options {
            personality: self.personality,
            action,
            ask,
            transport,
            transport_named,
            timeout,
            delay: if waits { delay } else { Duration::ZERO },
            json: self.json,
            verbose,
        })
    }

    /// What was written and will be passed over.
    pub(super) fn odd(&mut self) -> Vec<String> {
        let mut odd = std::mem::take(&mut self.warnings);
        if self.personality == Personality::Vmchannel {
            let names = self.transport.of_the_legacy_dialects();
            odd.extend(names.iter().map(|name| {
                format!("{name} has no meaning for fence_vmchannel's own channel; ignored (see --compat)")
            }));
        }
        odd
    }

    fn target(&self) -> Result<Option<Target>, OptionsError> {
        let uuid_only = switch("uuid", self.uuid.as_ref())?;
        let mut names = if self.plugs.is_empty() { &self.nodenames } else { &self.plugs }.iter();
        let Some(text) = names.next() else { return Ok(None) };
        if let Some(other) = names.find(|name| *name != text) {
            // Pacemaker sets `port` where the metadata has it, and else `plug`, unless the device has set it.
            let key = match self.personality {
                Personality::Vmchannel => "plug",
                Personality::Virt | Personality::Xvm => "port",
            };
            return Err(OptionsError::TwoTargets { one: text.clone(), other: other.clone(), key });
        }
        let target: Target = text.parse().map_err(OptionsError::Target)?;
        match target {
            Target::Name(_) if uuid_only => Err(OptionsError::NotUuid { target: text.clone() }),
            target @ (Target::Name(_) | Target::Uuid(_)) => Ok(Some(target)),
        }
    }

    /// The family's other method, `cycle`, would be a restart without a proof of the stop in between.
    fn check_method(&self) -> Result<(), OptionsError> {
        match self.method.as_deref() {
            None | Some("onoff") => Ok(()),
            Some(other) => {
                let must = "onoff: only that proves that the target was off";
                Err(OptionsError::Value { option: "method", text: other.to_owned(), must })
            }
        }
    }
}

fn seconds(
    option: &'static str,
    text: Option<&String>,
    default: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, OptionsError> {
    let Some(text) = text else { return Ok(default) };
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let duration = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
    duration.filter(|d| (least..=most).contains(d)).ok_or_else(|| OptionsError::Seconds {
        option,
        text: text.clone(),
        least,
        most,
    })
}

fn switch(option: &'static str, text: Option<&String>) -> Result<bool, OptionsError> {
    let Some(text) = text else { return Ok(false) };
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "" | "0" | "no" | "false" | "off" => Ok(false),
        _ => Err(OptionsError::Switch { option, text: text.clone() }),
    }
}
