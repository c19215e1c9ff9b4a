//! The operator's commands on a real libvirtd.

use std::fs;
use std::time::Duration;

use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Result};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn channel_add_on_two_plain_domains_is_all_that_is_needed_on_the_host() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    let web1 = Guest::named("web1").define(&lab)?;
    let web2 = Guest::named("web2").define(&lab)?;
    let db1 = Guest::named("db1").cheap().define(&lab)?;

    let dry = operator(&lab, &["channel", "add", "--cluster", "web", "--dry-run", "web1", "web2"])?;
    let untouched = !lab.virsh(&["dumpxml", "web1"])?.contains("fence");
    let add = operator(&lab, &["channel", "add", "--cluster", "web", "web1", "web2"])?;
    let again = operator(&lab, &["channel", "add", "--cluster", "web", "web1", "web2"])?;
    for guest in [&web1, &web2] {
        guest.start()?;
    }
    web1.wait_for_shell()?;
    let off = web1.run("fence_vmchannel -o off -n web2 --json")?;

    assert_eq!((dry.exit_code, add.exit_code, again.exit_code), (0, 0, 0), "{}{}", add.output, add.errors);
    assert!(untouched, "--dry-run changes nothing");
    assert!(again.output.contains("already"), "{}", again.output);
    assert_eq!(off.exit_code, 0, "{}\n{}", off.output, agent.log().join("\n"));
    assert!(!web2.is_running() && !db1.is_running());

    let allowed = operator(&lab, &["explain", "web1", "off", "web2"])?;
    let denied = operator(&lab, &["explain", "web1", "off", "db1"])?;
    let unknown = operator(&lab, &["explain", "web1", "off", "nope"])?;
    assert_eq!((allowed.exit_code, denied.exit_code, unknown.exit_code), (0, 1, 2));
    assert!(allowed.output.contains("cluster") && denied.output.contains("default deny"));

    let guests = operator(&lab, &["guests"])?;
    let line =
        |name: &str| guests.output.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("web1").contains("on") && line("web1").contains("served"), "{}", guests.output);
    assert!(line("web2").contains("off") && line("web2").contains("web"), "{}", guests.output);
    let pid = web1.pid()?.to_string();
    assert!(line("web1").contains(&pid), "{}", guests.output);
    Ok(())
}

#[test]
fn a_policy_file_adds_and_narrows_and_a_broken_one_changes_nothing() -> Result<()> {
    let lab = Lab::start()?;
    let agent = Agent::start(&lab)?;
    for (name, cluster) in [("pol1", "web"), ("pol2", "web"), ("pol3", "db")] {
        std::mem::forget(
            Guest::named(name).in_cluster(cluster).with(Channel::VirtioConnect).cheap().define(&lab)?,
        );
    }
    let explained = |target: &str, code: i32| -> Result<()> {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let ran = operator(&lab, &["explain", "pol1", "off", target])?;
            if ran.exit_code == code {
                return Ok(());
            }
            assert!(std::time::Instant::now() < deadline, "{}{}", ran.output, ran.errors);
        }
    };
    explained("pol2", 0)?;
    explained("pol3", 1)?;

    let file = lab.policy().join("10-test.toml");
    fs::create_dir_all(lab.policy()).unwrap();
    fs::write(&file, "[[allow]]\nfrom = ['pol1']\nto = ['pol3']\n[[deny]]\nfrom = ['*']\nto = ['pol2']\n")
        .unwrap();
    explained("pol3", 0)?;
    explained("pol2", 1)?;

    fs::write(&file, "[[allow]]\nfrom = ['pol1'\n").unwrap();
    agent.wait_for_log(&["10-test.toml", "not used"], SOON)?;
    explained("pol3", 0)?;
    explained("pol2", 1)?;
    let check = operator(&lab, &["check-config"])?;
    assert_eq!(check.exit_code, 1, "{}", check.output);
    assert!(format!("{}{}", check.output, check.errors).contains("10-test.toml"), "{}", check.output);

    fs::remove_file(&file).unwrap();
    agent.sighup()?;
    explained("pol3", 1)?;
    explained("pol2", 0)
}

#[test]
fn a_hook_that_is_installed_is_called_after_the_reload() -> Result<()> {
    let lab = Lab::start()?;
    let status = |expected: &str| -> Result<()> {
        let ran = operator(&lab, &["hook", "status", "--json"])?;
        assert!(ran.output.contains(expected), "{expected}: {}{}", ran.output, ran.errors);
        Ok(())
    };
    status("missing")?;

    let install = operator(&lab, &["hook", "install", "--reload"])?;
    assert_eq!(install.exit_code, 0, "{}{}", install.output, install.errors);
    let guest = Guest::named("hook1").with(Channel::VirtioConnect).cheap().transient().start(&lab)?;

    assert!(guest.is_running(), "the hook made the socket");
    status("installed")?;
    let remove = operator(&lab, &["hook", "remove"])?;
    assert_eq!(remove.exit_code, 0, "{}{}", remove.output, remove.errors);
    status("missing")
}

#[test]
fn a_guest_that_runs_with_one_channel_is_given_a_second_one_at_once() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let guest = Guest::named("two1").in_cluster("web").with(Channel::SerialConnect).cheap().define(&lab)?;
    let controller = lab.policy().join("controller.xml");
    fs::create_dir_all(lab.policy()).unwrap();
    fs::write(&controller, "<controller type='virtio-serial' index='0'/>").unwrap();
    lab.virsh(&["attach-device", "two1", &controller.display().to_string(), "--config"])?;
    guest.start()?;

    let add = operator(&lab, &["channel", "add", "--cluster", "web", "two1"])?;
    let live = lab.virsh(&["dumpxml", "two1"])?;

    assert_eq!(add.exit_code, 0, "{}{}", add.output, add.errors);
    assert!(!add.output.contains("not now"), "{}", add.output);
    assert!(live.contains("name='org.fence_vmchannel.0'"), "{live}\n{}", add.output);
    Ok(())
}

#[test]
fn without_an_agent_or_libvirt_the_commands_say_so() -> Result<()> {
    let lab = Lab::start()?;
    let guests = operator(&lab, &["guests"])?;
    lab.libvirtd_kill()?;
    let add = operator(&lab, &["channel", "add", "--cluster", "web", "web1"])?;
    lab.libvirtd_start()?;
    let unknown = operator(&lab, &["channel", "add", "--cluster", "web", "wbe1"])?;

    assert_eq!((guests.exit_code, add.exit_code, unknown.exit_code), (1, 1, 1));
    assert!(guests.errors.contains("agent is not running"), "{}", guests.errors);
    assert!(add.errors.contains("libvirt"), "{}", add.errors);
    assert!(unknown.errors.contains("wbe1"), "{}{}", unknown.output, unknown.errors);
    Ok(())
}
