//! `guests`: the domains as the running agent sees them, and what to do about what is wrong.
//!
//! In:  the agent's answer. Out: a table, warnings under it.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;
use super::report::Report;
use super::table::{Table, plain, shell_word};
use crate::config::Config;
use crate::control::{Answer, ChannelReport, GuestReport, Question, ask};

/// What `guests` prints.
#[derive(Debug, Serialize)]
pub struct GuestsReport {
    libvirt_connected: bool,
    guests: Vec<GuestReport>,
    warnings: Vec<String>,
}

/// Asks the running agent.
pub fn guests(config: &Config) -> Result<GuestsReport, Failure> {
    match ask(&config.control_socket(), &Question::Guests)? {
        Answer::Guests { libvirt_connected, problems, guests } => {
            Ok(GuestsReport::new(libvirt_connected, &problems, guests))
        }
        Answer::Error { text } => Err(Failure::Answer(text)),
        Answer::Explain { .. } | Answer::Looks => {
            Err(Failure::Answer("another question was answered: restart the agent".into()))
        }
    }
}

impl GuestsReport {
    fn new(libvirt_connected: bool, problems: &[String], guests: Vec<GuestReport>) -> Self {
        let disconnected = "the agent is not connected to libvirt: new domains are not seen until it is; \
                            is libvirtd running?";
        let warnings = (!libvirt_connected).then(|| disconnected.to_owned()).into_iter();
        let policy = problems.iter().map(|problem| format!("policy: {problem}"));
        let warnings = warnings.chain(policy).chain(guests.iter().flat_map(guest_warnings)).collect();
        Self { libvirt_connected, guests, warnings }
    }
}

fn guest_warnings(guest: &GuestReport) -> Vec<String> {
    let (name, word) = (&guest.name, shell_word(&guest.name));
    if guest.channels.is_empty() {
        let text = |cluster: &String| {
            format!(
                "{name} is in cluster {cluster:?} but has no channel now, so it cannot ask: \
                 `fence-vmchanneld channel add --cluster {} {word}` adds it, or tells what is left to do",
                shell_word(cluster)
            )
        };
        return guest.cluster.iter().map(text).collect();
    }
    let unlabelled = guest.cluster.is_none().then(|| {
        format!(
            "{name} has a channel but no cluster, so only policy files may allow it anything: \
             `fence-vmchanneld channel add --cluster NAME {word}`"
        )
    });
    let channels = guest.channels.iter().filter_map(|channel| channel_warning(guest, channel));
    unlabelled.into_iter().chain(channels).collect()
}

fn channel_warning(guest: &GuestReport, channel: &ChannelReport) -> Option<String> {
    let (name, port) = (&guest.name, &channel.port);
    match channel.state.as_str() {
        "waiting" if guest.state == "on" => Some(format!(
            "{name}: QEMU is not connected to the {port} channel; if it was added while the VM ran, \
             stop and start the VM (a reboot inside it is not enough)"
        )),
        "occupied" => Some(format!(
            "{name}: another program holds the {port} channel at {}; find it with `ss -xp` and stop it",
            channel.path.display()
        )),
        state if state.starts_with("failed") => Some(format!("{name}: the {port} channel {state}")),
        _ => None,
    }
}

impl Report for GuestsReport {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["NAME", "STATE", "CLUSTER", "PID", "CHANNEL", "LINK"]);
        for guest in &self.guests {
            let pid = guest.pid.map(|pid| pid.to_string()).unwrap_or_default();
            let cluster = guest.cluster.clone().unwrap_or_default();
            let mut first = [guest.name.clone(), guest.state.clone(), cluster, pid];
            for channel in &guest.channels {
                let [name, state, cluster, pid] = std::mem::replace(&mut first, [" "; 4].map(str::to_owned));
                let kind = format!("{} {}", channel.port, channel.mode);
                table.row([name, state, cluster, pid, kind, channel.state.clone()]);
            }
            if guest.channels.is_empty() {
                let [name, state, cluster, pid] = first;
                table.row([name, state, cluster, pid, String::new(), String::new()]);
            }
        }
        table.write(out)?;
        if self.guests.iter().all(|guest| guest.channels.is_empty() && guest.cluster.is_none()) {
            writeln!(
                out,
                "no domain has a channel or a cluster: `fence-vmchanneld channel add --cluster NAME DOMAIN...`"
            )?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "warning: {}", plain(warning)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(cluster: Option<&str>, channel_state: Option<&str>) -> GuestReport {
        let channel = |state: &str| ChannelReport {
            port: "virtio".into(),
            mode: "connect".into(),
            path: "/run/fence-vmchannel/guests/a.sock".into(),
            state: state.into(),
        };
        GuestReport {
            name: "web1".into(),
            uuid: uuid::Uuid::nil(),
            state: "on".into(),
            cluster: cluster.map(str::to_owned),
            pid: Some(42),
            channels: channel_state.map(channel).into_iter().collect(),
        }
    }

    fn text(guests: Vec<GuestReport>) -> String {
        let mut out = Vec::new();
        GuestsReport::new(true, &[], guests).write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_served_guest_is_one_line_without_warnings() {
        let text = text(vec![guest(Some("web"), Some("served"))]);

        assert_eq!(
            text,
            "NAME  STATE  CLUSTER  PID  CHANNEL         LINK\n\
             web1  on     web      42   virtio connect  served\n"
        );
    }

    #[test]
    fn a_member_without_a_channel_is_told_how_to_get_one() {
        assert!(text(vec![guest(Some("web"), None)]).contains("channel add --cluster web web1"));
    }

    #[test]
    fn a_running_guest_whose_channel_waits_must_be_stopped_and_started() {
        assert!(text(vec![guest(Some("web"), Some("waiting"))]).contains("stop and start the VM"));
    }

    #[test]
    fn where_nobody_can_ask_yet_the_next_step_is_told_however_many_domains_there_are() {
        for guests in [vec![], vec![guest(None, None)]] {
            assert!(text(guests).ends_with("`fence-vmchanneld channel add --cluster NAME DOMAIN...`\n"));
        }
        assert!(!text(vec![guest(None, None), guest(Some("web"), Some("served"))]).contains("channel add"));
    }

    #[test]
    fn a_lost_libvirt_and_a_broken_policy_file_are_warnings() {
        let report = GuestsReport::new(false, &["a.toml:3: no such action".into()], Vec::new());

        assert!(report.warnings[0].contains("not connected to libvirt"));
        assert_eq!(report.warnings[1], "policy: a.toml:3: no such action");
    }
}
