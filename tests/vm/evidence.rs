//! What counts as off, and what never does.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Ask, Power};
use fence_vmchannel_tests::asker::request;
use fence_vmchannel_tests::{Agent, Asker, Channel, Guest, Lab, Result};

const PATIENCE: Duration = Duration::from_secs(20);

fn asker<'lab>(lab: &'lab Lab, name: &str) -> Result<Guest<'lab>> {
    Guest::named(name).in_cluster("web").with(Channel::VirtioConnect).boot(lab)
}

#[test]
#[expect(clippy::zombie_processes, reason = "a test that fails may leave it")]
fn a_process_that_libvirt_lost_sight_of_is_stopped_before_its_domain_is_called_off() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = asker(&lab, "stray1")?;
    let target = Guest::named("stray2").in_cluster("web").cheap().define(&lab)?;
    let seen = asker.run("fence_vmchannel -o status -n stray2")?;
    let mut stray = Command::new("qemu-system-x86_64")
        .args(["-machine", "none", "-display", "none", "-S", "-uuid", target.uuid()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();

    let off = asker.run("fence_vmchannel -o off -n stray2 --json")?;
    let again = asker.run("fence_vmchannel -o off -n stray2 --json")?;

    assert_eq!(seen.exit_code, 2, "{}", seen.output);
    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert!(off.output.contains("process-gone"), "{}", off.output);
    assert!(!stray.wait().unwrap().success(), "it was killed");
    assert!(again.output.contains("never-ran-here"), "{}", again.output);
    Ok(())
}

#[test]
fn a_paused_domain_is_on_in_status_and_in_list() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = asker(&lab, "pause1")?;
    let target = Guest::named("pause2").in_cluster("web").cheap().start(&lab)?;
    let state = lab.virsh(&["domstate", "pause2"])?;

    let status = asker.run("fence_vmchannel -o status -n pause2")?;
    let list = asker.run("fence_vmchannel -o list-status")?;

    assert_eq!(state.trim(), "paused");
    assert_eq!(status.exit_code, 0, "{}", status.output);
    assert!(list.output.contains(&format!("pause2,{},on", target.uuid())), "{}", list.output);
    Ok(())
}

#[test]
fn a_long_name_is_a_name_like_any_other() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = asker(&lab, "long1")?;
    let name = "n".repeat(120);
    let target = Guest::named(&name).in_cluster("web").cheap().start(&lab)?;

    let status = asker.run(&format!("fence_vmchannel -o status -n {name}"))?;
    let off = asker.run(&format!("fence_vmchannel -o off -n {name}"))?;

    assert_eq!((status.exit_code, off.exit_code), (0, 0), "{}{}", status.output, off.output);
    assert!(!target.is_running());
    Ok(())
}

#[test]
fn a_target_is_named_by_its_uuid_as_well() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = asker(&lab, "uuid1")?;
    let target = Guest::named("uuid2").in_cluster("web").cheap().start(&lab)?;

    let off = asker.run(&format!("fence_vmchannel -o off -n {}", target.uuid()))?;

    assert_eq!(off.exit_code, 0, "{}", off.output);
    assert!(!target.is_running());
    Ok(())
}

#[test]
fn on_of_what_cannot_be_started_is_a_clear_failure() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = asker(&lab, "broken1")?;
    let plan = Guest::named("broken2").in_cluster("web").cheap();
    let target = plan.define(&lab)?;
    cannot_start(&lab, "broken2")?;

    let on = asker.run("fence_vmchannel -o on -n broken2 2>&1")?;
    let reboot = asker.run("fence_vmchannel -o reboot -n broken2 2>&1")?;

    assert_eq!(on.exit_code, 1, "{}", on.output);
    assert!(on.output.contains("start-failed") && on.output.contains("/run/nowhere.sock"), "{}", on.output);
    assert_eq!(
        reboot.exit_code, 0,
        "it is off, proven; that it does not start is a warning: {}",
        reboot.output
    );
    assert!(reboot.output.contains("/run/nowhere.sock"), "{}", reboot.output);
    assert!(!target.is_running());
    Ok(())
}

#[test]
fn of_starts_that_fail_over_and_over_only_so_many_are_written_down() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "tries1", "web")?;
    let plan = Guest::named("tries2").in_cluster("web").cheap();
    let _target = plan.define(&lab)?;
    cannot_start(&lab, "tries2")?;
    let begun = Instant::now();
    for _ in 0..20 {
        let request = request(Ask::Power(Power::On, "tries2".parse().unwrap()), PATIENCE)?;
        asker.peer().say(&request)?;
        while !asker.peer().hear(request.id, Instant::now() + PATIENCE)?.is_final() {}
    }
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap() + 1;

    let log = agent.log();
    let told = log.iter().filter(|line| line.contains("audit") && line.contains("tries2")).count();
    assert!((1..=6 * minutes).contains(&told), "{told} in {:?}: {log:?}", begun.elapsed());
    Ok(())
}

/// Its channel's socket is outside our directory, where nobody makes it.
#[expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
fn cannot_start(lab: &Lab, name: &str) -> Result<()> {
    let xml = "<channel type='unix'><source mode='connect' path='/run/nowhere.sock'/>\
               <target type='virtio' name='org.fence_vmchannel.0'/></channel>";
    let file = lab.directory().join("broken.xml");
    std::fs::write(&file, xml).unwrap();
    lab.virsh(&["attach-device", name, &file.to_string_lossy(), "--config"]).map(drop)
}
