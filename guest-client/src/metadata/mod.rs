//! What this fence agent is, in the XML that cluster software reads.
//!
//! In:  the name under which it was called. Out: XML after the schema of the fence-agents project (`metadata.rng`).
//!
//! Invariant: every parameter is a key of standard input, and every `mixed` an option of the command line.

mod parameters;

use crate::action::Action;
use crate::options::Personality;
use parameters::{Parameter, of};

const LONGDESC: &str = "fence_vmchannel fences libvirt virtual machines from inside another one, without any \
network between guest and host. The request goes over the guest's own virtio-serial or serial channel to the agent \
fence-vmchanneld on the host, which decides by its policy, stops the target, proves that it stopped, and answers. \
An off or a reboot succeeds only with that proof.";

const COMPAT: &str = "It uses this guest's own channel to fence-vmchanneld where the guest has one and the options \
name no other way; else it speaks to fence_virtd, whose answers carry no proof. A reboot also starts what was off.";

/// The metadata of the agent under this name.
#[must_use]
pub fn xml(personality: Personality) -> String {
    let parameters: String = of(personality).iter().map(Parameter::xml).collect();
    let own = personality == Personality::Vmchannel;
    let told = |action: &&Action| {
        !matches!(
            (action, own),
            (Action::Hello | Action::Whoami | Action::HostStatus, _) | (Action::Null, true)
        )
    };
    let actions: String = Action::ALL.iter().filter(told).map(action_xml).collect();
    let longdesc = match personality {
        Personality::Vmchannel => LONGDESC.to_owned(),
        Personality::Virt | Personality::Xvm => {
            format!("This is fence_vmchannel with the options of {}. {COMPAT}", personality.name())
        }
    };
    format!(
        r#"<?xml version="1.0" ?>
<resource-agent name="{}" shortdesc="{}">
<longdesc>{longdesc}</longdesc>
<vendor-url>{}</vendor-url>
<parameters>
{parameters}</parameters>
<actions>
{actions}</actions>
</resource-agent>"#,
        personality.name(),
        shortdesc(personality),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

fn shortdesc(personality: Personality) -> &'static str {
    match personality {
        Personality::Vmchannel => "Fence agent for virtual machines over their own channel to the host",
        Personality::Virt => "Fence agent for virtual machines over a channel, a serial port, TCP or vsock",
        Personality::Xvm => "Fence agent for virtual machines over a channel or by multicast",
    }
}

impl Parameter {
    fn xml(&self) -> String {
        let default = self.default.as_ref().map(|value| format!(r#" default="{value}""#)).unwrap_or_default();
        format!(
            r#"	<parameter name="{}" unique="0" required="0"{}>
		<getopt mixed="{}" />
		<content type="{}"{default} />
		<shortdesc lang="en">{}</shortdesc>
	</parameter>
"#,
            self.name, self.attributes, self.mixed, self.kind, self.says,
        )
    }
}

fn action_xml(action: &Action) -> String {
    // A fenced machine is not started by itself when its node joins.
    let automatic = if *action == Action::On { r#" automatic="0""# } else { "" };
    format!("\t<action name=\"{}\"{automatic} />\n", action.word())
}
