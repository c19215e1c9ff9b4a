//! What fence_virtd gets wrong and only real VMs show; each would fail on its behaviour (`docs/incumbent.md`).

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Power, PowerState};
use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Asker, Channel, Guest, Lab, Result, programs};

const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);
/// By then libvirt no longer waits for the end of a process; it takes about 100 s.
const GIVES_UP: Duration = Duration::from_secs(240);

#[test]
fn a_reboot_takes_the_configuration_that_was_changed_meanwhile() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "conf1", "web")?;
    let target = Guest::named("conf2").in_cluster("web").cheap().start(&lab)?;
    let memory = || -> Result<String> {
        let told = lab.virsh(&["dominfo", "conf2"])?;
        Ok(told.lines().find(|line| line.starts_with("Max memory")).unwrap_or_default().to_owned())
    };
    let before = memory()?;
    lab.virsh(&["setmaxmem", "conf2", "32M", "--config"])?;
    let unchanged = memory()?;

    let reboot = asker.power(Power::Reboot, &target, PATIENCE)?;

    assert!(reboot.is_done() && reboot.verdict.state == Some(PowerState::On), "{reboot:?}");
    assert!(before.contains("16384") && unchanged == before, "{before} {unchanged}");
    assert!(memory()?.contains("32768"), "{}", memory()?);
    Ok(())
}

#[test]
fn what_libvirt_calls_shut_off_while_its_process_lives_is_on_and_never_off() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 1\ngive-up-after-seconds = 6\n")?;
    let mut asker = Asker::in_cluster(&lab, "dead1", "web")?;
    let target = Guest::named("dead2").in_cluster("web").cheap().start(&lab)?;
    let process = target.process()?;
    process.freeze()?;

    let begun = Instant::now();
    let destroy = lab.virsh_within(GIVES_UP, &["destroy", "dead2"]).map_err(|error| error.to_string());
    while lab.virsh_within(GIVES_UP, &["domstate", "dead2"])?.trim() != "shut off" {
        assert!(begun.elapsed() < GIVES_UP, "{destroy:?}");
    }
    println!("libvirt calls it shut off after {:?}: {destroy:?}", begun.elapsed());
    let off = asker.power(Power::Off, &target, PATIENCE)?;
    let status = asker.status(&target, PATIENCE)?;
    let on = asker.power(Power::On, &target, PATIENCE)?;
    let lived = !process.is_gone();
    process.thaw()?;
    process.wait_until_gone(SOON)?;
    let truth = asker.power(Power::Off, &target, PATIENCE)?;

    assert!(lived, "it could not be killed");
    assert!(!off.is_done() && !off.says_off(), "{off:?}");
    assert_eq!(status.verdict.state, Some(PowerState::On), "{status:?}");
    assert!(!on.is_done(), "nothing is started beside it: {on:?}");
    assert!(truth.says_off(), "{truth:?}");
    Ok(())
}

#[test]
fn a_late_reply_is_never_taken_for_the_answer_to_the_next_request() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 5\n")?;
    let asker = Guest::named("late1").in_cluster("web").with(Channel::VirtioConnect).start(&lab)?;
    let slow = Guest::named("late2").in_cluster("web").cheap().start(&lab)?;
    let _other = Guest::named("late3").in_cluster("web").cheap().start(&lab)?;
    asker.wait_for_shell()?;
    let process = slow.process()?;
    process.stop()?;

    // The client that asked for the off is killed; the verdict comes when nobody has the port open.
    let killed = asker.run(
        "fence_vmchannel -o off -n late2 >/dev/null 2>&1 & sleep 1; kill -9 $!; wait; \
         fence_vmchannel -o status -n late3",
    )?;
    process.wait_until_gone(SOON)?;
    let next =
        asker.run("sleep 1; fence_vmchannel -o status -n late3 --json; fence_vmchannel -o off -n nope")?;
    let truth = asker.run("fence_vmchannel -o status -n late2")?;

    assert_eq!(killed.exit_code, 0, "{}", killed.output);
    assert!(next.output.contains(r#""state":"on""#), "{}", next.output);
    assert_eq!(next.exit_code, 1, "the off of another name is no success: {}", next.output);
    assert_eq!(truth.exit_code, 2, "{}", truth.output);
    Ok(())
}

#[test]
fn channels_of_every_kind_are_served_at_once_without_any_key_and_no_other_one_is_touched() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let plan = |name: &str| Guest::named(name).in_cluster("web");
    let both = plan("kind1").with(Channel::VirtioConnect).with(Channel::SerialConnect).start(&lab)?;
    let bound = plan("kind2").with(Channel::VirtioBind { path: None }).cheap().define(&lab)?;
    let serial = plan("kind3").with(Channel::SerialBind).cheap().start(&lab)?;
    let file = lab.directory().join("agent-channel.xml");
    let foreign = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
    fs::write(&file, foreign).unwrap();
    lab.virsh(&["attach-device", "kind2", &file.to_string_lossy(), "--config"])?;
    bound.start()?;
    both.wait_for_shell()?;
    for guest in [&both, &bound, &serial] {
        agent.wait_for_log(&["served", guest.name()], SOON)?;
    }

    let by_virtio = both.run("fence_vmchannel -o status -n kind2")?;
    let by_serial = both.run("fence_vmchannel -o status -n kind3 --device /dev/ttyS1")?;

    assert_eq!(
        (by_virtio.exit_code, by_serial.exit_code),
        (0, 0),
        "{}{}",
        by_virtio.output,
        by_serial.output
    );
    let sockets = fs::read_to_string(format!("/proc/{}/net/unix", agent.pid())).unwrap();
    let lines = |name: &str| sockets.lines().filter(|line| line.contains(name)).count();
    assert!(lines("org.fence_vmchannel.0") > 1, "QEMU's listener and the agent's connection: {sockets}");
    assert_eq!(lines("org.qemu.guest_agent.0"), 1, "QEMU's listener and nobody else: {sockets}");
    assert!(!lab.path("/etc/cluster").join("fence_xvm.key").exists());
    Ok(())
}

#[test]
fn channels_that_close_while_their_guests_run_on_cost_no_processor_time() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let virtio = [Channel::VirtioConnect, Channel::VirtioBind { path: None }];
    let channels = virtio.into_iter().chain([Channel::SerialConnect, Channel::SerialBind]);
    let mut guests = Vec::new();
    for (number, channel) in channels.enumerate() {
        let guest = Guest::named(&format!("close{number}")).in_cluster("web").with(channel).cheap();
        guests.push(guest.start(&lab)?);
    }
    for guest in &guests {
        agent.wait_for_log(&["served", guest.name()], SOON)?;
        close_channels(&lab, guest.name())?;
    }
    let deadline = Instant::now() + SOON;
    while operator(&lab, &["guests"])?.output.contains("served") {
        assert!(Instant::now() < deadline, "{}", operator(&lab, &["guests"])?.output);
    }

    let used = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        let fields: Vec<u64> =
            after_name.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
        Duration::from_millis((fields[10] + fields[11]) * 10) // user and system time, in hundredths of a second
    };
    let before = used();
    thread::sleep(Duration::from_secs(5)); // what is measured is this time
    let cost = used() - before;

    println!("four channels that closed cost {cost:?} in 5 s");
    assert!(guests.iter().all(Guest::is_running));
    assert!(cost < Duration::from_millis(250), "{cost:?} of 5 s");
    Ok(())
}

/// QEMU closes the guest's channels: a serial port goes on without its socket, a virtio port is taken out.
fn close_channels(lab: &Lab, guest: &str) -> Result<()> {
    let told = lab.virsh(&["qemu-monitor-command", guest, "--hmp", "info chardev"])?;
    for (name, _) in told.lines().filter_map(|line| line.split_once(": filename=")) {
        if let Some(channel) = name.strip_prefix("charchannel") {
            lab.virsh(&["detach-device-alias", guest, &format!("channel{channel}"), "--live"])?;
        } else if name.starts_with("charserial") {
            let change = format!("chardev-change {name} null");
            let said = lab.virsh(&["qemu-monitor-command", guest, "--hmp", &change])?;
            assert_eq!(said.trim(), "", "{change}");
        }
    }
    Ok(())
}

#[test]
#[expect(clippy::zombie_processes, reason = "a test that fails leaves it to the lab's end")]
fn two_hypervisors_have_an_agent_each_and_neither_loses_the_others_domains() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let _guest = Guest::named("uri1").in_cluster("web").cheap().start(&lab)?;
    let settings = lab.directory().join("second.toml");
    let directory = lab.directory().join("second").display().to_string();
    let text =
        format!("libvirt-uri = 'test:///default'\nruntime-dir = '{directory}'\npolicy-dir = '{directory}'\n");
    fs::write(&settings, text).unwrap();
    let second = |words: &[&str]| {
        let mut command = lab.command(programs::ours("fence-vmchanneld")?);
        command.args(words).arg("--config").arg(&settings).stdin(Stdio::null());
        Ok::<_, fence_vmchannel_tests::LabError>(command)
    };
    let mut running = second(&["run"])?.stderr(Stdio::null()).spawn().unwrap();

    let deadline = Instant::now() + SOON;
    let mut of_second = programs::run(&mut second(&["guests"])?)?;
    while !of_second.output.contains("test") && Instant::now() < deadline {
        of_second = programs::run(&mut second(&["guests"])?)?;
    }
    let of_first = operator(&lab, &["guests"])?;
    running.kill().unwrap();
    running.wait().unwrap();

    assert!(of_second.output.lines().any(|line| line.starts_with("test ")), "{of_second:?}");
    assert!(
        of_first.output.contains("uri1") && !of_second.output.contains("uri1"),
        "{of_first:?} {of_second:?}"
    );
    Ok(())
}
