//! Debian's own fence_virt in a real guest, with our agent and with its own daemon; ours beside it.

use std::fs;
use std::time::Duration;

use fence_vmchannel_tests::fence_virt::{Daemon, Listener, Packages, SOCKETS, make_directory};
use fence_vmchannel_tests::image::Image;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, Ran, Result};

const SOON: Duration = Duration::from_secs(5);

/// A lab whose guests have Debian's fence_virt.
fn lab() -> Result<Lab> {
    let lab = Lab::start()?;
    Image::get()?.put_into_with(&lab, &Packages::get()?.client()?, &[])?;
    Ok(lab)
}

fn theirs(asker: &Guest<'_>, device: &str, words: &str) -> Result<Ran> {
    asker.run(&format!("/usr/sbin/fence_virt -D {device} {words} 2>&1"))
}

fn ours(asker: &Guest<'_>, device: &str, words: &str) -> Result<Ran> {
    asker.run(&format!("fence_vmchannel --compat fence_virt -D {device} {words} 2>&1"))
}

#[test]
fn an_untouched_fence_virt_fences_its_neighbour_and_the_audit_log_has_the_evidence() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let asker = Guest::named("old1").in_cluster("web").with(Channel::SerialConnect).boot(&lab)?;
    let neighbour = Guest::named("old2").in_cluster("web").cheap().start(&lab)?;
    let first = neighbour.process()?;
    let ask = |words: &str| theirs(&asker, "/dev/ttyS1", words);

    let on = ask("-o status -n old2")?;
    let list = ask("-o list")?;
    let monitor = ask("-o monitor")?;
    let metadata = ask("-o metadata")?;
    let off = ask("-o off -n old2")?;
    let gone = first.is_gone();
    let seen_off = ask("-o status -n old2")?;
    let list_status = ask("-o list-status")?;
    let start = ask(&format!("-o on -n {}", neighbour.uuid()))?;
    let second = neighbour.process()?;
    let reboot = ask("-o reboot -n old2")?;

    assert_eq!((on.exit_code, on.output.trim()), (0, "Status: ON"));
    let listed = format!("{:<32} {} on", "old2", neighbour.uuid());
    assert!(list.exit_code == 0 && list.output.contains(&listed), "{}", list.output);
    assert_eq!(monitor.exit_code, 0, "{}", monitor.output);
    assert!(metadata.exit_code == 0 && metadata.output.contains("<resource-agent"), "{}", metadata.output);
    assert_eq!(off.exit_code, 0, "{}\n{}", off.output, agent.log().join("\n"));
    assert!(gone, "the process is gone before the client says so");
    agent.wait_for_log(&["audit", "process-gone", "old1", "old2"], SOON)?;
    assert_eq!((seen_off.exit_code, seen_off.output.trim()), (2, "Status: OFF"));
    assert!(list_status.output.contains(&listed.replace(" on", " off")), "{}", list_status.output);
    assert_eq!((start.exit_code, reboot.exit_code), (0, 0), "{}{}", start.output, reboot.output);
    assert!(second.is_gone() && neighbour.is_running(), "a reboot is a new process");
    Ok(())
}

#[test]
fn an_untouched_fence_virt_is_never_told_off_about_what_is_foreign_or_unknown() -> Result<()> {
    let lab = lab()?;
    let agent = Agent::start(&lab)?;
    let asker = Guest::named("alone1").in_cluster("web").with(Channel::SerialBind).boot(&lab)?;
    let foreign = Guest::named("alone2").in_cluster("db").cheap().start(&lab)?;
    let ask = |words: &str| theirs(&asker, "/dev/ttyS1", words);

    let list = ask("-o list")?;
    let refused = ["off", "on", "reboot", "status"].map(|action| {
        let about = |name: &str| ask(&format!("-o {action} -n {name}"));
        Ok([about("alone2")?, about("nobody")?])
    });

    assert!(list.exit_code == 0 && !list.output.contains("alone2"), "{}", list.output);
    for result in refused {
        let [of_foreign, of_unknown]: [Ran; 2] = result?;
        assert!(![0, 2].contains(&of_foreign.exit_code), "{of_foreign:?}");
        assert_eq!(of_foreign, of_unknown, "nobody learns which names there are");
    }
    assert!(foreign.is_running());
    agent.wait_for_log(&["audit", "refused", "alone1", "alone2"], SOON)?;
    Ok(())
}

#[test]
fn what_fence_virtd_says_of_a_name_it_does_not_know_is_off_for_its_own_client_and_a_failure_for_ours()
-> Result<()> {
    let lab = lab()?;
    make_directory(&lab)?;
    let port = Channel::SerialAt { path: format!("{SOCKETS}/liar1.sock"), port: 1 };
    let asker = Guest::named("liar1").with(port).boot(&lab)?;
    let paused = Guest::named("liar2").cheap().start(&lab)?;
    let key = lab.directory().join("key");
    fs::write(&key, "a key that it wants and never uses").unwrap();
    let _daemon = Daemon::start(&lab, &Listener::Serial(1), &key)?;

    let believed = theirs(&asker, "/dev/ttyS1", "-o status -n nobody")?;
    let ours_of_nobody = ["status", "off", "reboot", "on"]
        .map(|action| ours(&asker, "/dev/ttyS1", &format!("-o {action} -n nobody")));
    let status = ours(&asker, "/dev/ttyS1", "-o status -n liar2")?;
    let off = ours(&asker, "/dev/ttyS1", "-o off -n liar2")?;

    assert_eq!(believed.exit_code, 2, "the defect that ours is to bear: {believed:?}");
    for result in ours_of_nobody {
        let ran = result?;
        assert_eq!(ran.exit_code, 1, "{ran:?}");
        assert!(ran.output.contains("does not list nobody"), "{ran:?}");
    }
    assert_eq!(status.exit_code, 0, "{status:?}");
    assert_eq!(off.exit_code, 0, "{off:?}");
    assert!(!paused.is_running());
    Ok(())
}
