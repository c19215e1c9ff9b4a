//! What this fence agent is, in the XML that cluster software reads.
//!
//! In:  the agent's name. Out: XML after the schema of the fence-agents project (`metadata.rng`).
//!
//! Invariant: every parameter is a key of standard input, and every `mixed` an option of the command line.

use fence_vmchannel_protocol::limits::TIMEOUT_DEFAULT;

use crate::action::Action;

/// The agent's name.
pub const NAME: &str = "fence_vmchannel";

struct Parameter {
    name: &'static str,
    mixed: &'static str,
    kind: &'static str,
    default: Option<String>,
    says: &'static str,
    attributes: &'static str,
}

fn parameters() -> [Parameter; 9] {
    let parameter = |name, mixed, kind, default: Option<&str>, says| Parameter {
        name,
        mixed,
        kind,
        default: default.map(str::to_owned),
        says,
        attributes: "",
    };
    let old = |name, attributes| Parameter {
        attributes,
        ..parameter(name, "-n, --plug=[name]", "string", None, "Name or UUID of the virtual machine to fence")
    };
    let timeout = TIMEOUT_DEFAULT.as_secs().to_string();
    [
        parameter(
            "action",
            "-o, --action=[action]",
            "string",
            Some(Action::DEFAULT.word()),
            "Fencing action",
        ),
        Parameter { attributes: r#" obsoletes="port""#, ..old("plug", "") },
        old("port", r#" deprecated="1""#),
        old("domain", r#" deprecated="1""#),
        parameter(
            "device",
            "-D, --device=[path]",
            "string",
            None,
            "Device of the channel to the host, for example /dev/ttyS1; without it the virtio port \
             org.fence_vmchannel.0 is used",
        ),
        parameter(
            "timeout",
            "-t, --timeout=[seconds]",
            "second",
            Some(&timeout),
            "Wait so many seconds for the host's verdict",
        ),
        parameter(
            "delay",
            "-w, --delay=[seconds]",
            "second",
            Some("0"),
            "Let the host wait so many seconds before it accepts an off or a reboot: the node without a delay wins \
             a race",
        ),
        parameter(
            "uuid",
            "-U, --uuid",
            "boolean",
            Some("0"),
            "Take the virtual machine's UUID only, not its name",
        ),
        parameter("verbose", "-v, --verbose", "boolean", Some("0"), "Tell each step on standard error"),
    ]
}

const LONGDESC: &str = "fence_vmchannel fences libvirt virtual machines from inside another one, without any \
network between guest and host. The request goes over the guest's own virtio-serial or serial channel to the agent \
fence-vmchanneld on the host, which decides by its policy, stops the target, proves that it stopped, and answers. \
An off or a reboot succeeds only with that proof.";

/// The metadata of the agent.
#[must_use]
pub fn xml(name: &str) -> String {
    let parameters: String = parameters().iter().map(Parameter::xml).collect();
    let told = |action: &Action| !matches!(action, Action::Null | Action::Hello | Action::Whoami);
    let actions: String = Action::ALL.iter().filter(|action| told(action)).map(action_xml).collect();
    format!(
        r#"<?xml version="1.0" ?>
<resource-agent name="{name}" shortdesc="Fence agent for virtual machines over their own channel to the host">
<longdesc>{LONGDESC}</longdesc>
<vendor-url>{}</vendor-url>
<parameters>
{parameters}</parameters>
<actions>
{actions}</actions>
</resource-agent>"#,
        env!("CARGO_PKG_REPOSITORY"),
    )
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
