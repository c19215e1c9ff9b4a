//! The lab itself: it is real, private, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use fence_vmchannel_tests::{Channel, Guest, Lab, Result, programs};

#[test]
fn a_real_guest_boots_without_a_network_and_shows_a_shell() -> Result<()> {
    let lab = Lab::shared()?;
    let guest = Guest::named("lab-real").with(Channel::VirtioBind { path: None }).boot(lab)?;

    let name = guest.run("uname -n")?;
    let networks = guest.run("ls /sys/class/net | grep -v '^lo$'")?;
    let port = guest.run("cat /sys/class/virtio-ports/*/name")?;
    let client = guest.run("fence_vmchannel --version >/dev/null 2>&1 || test $? -ne 127")?;

    assert_eq!((name.exit_code, name.output.as_str()), (0, "lab-real\n"));
    assert_eq!((networks.exit_code, networks.output.as_str()), (1, ""));
    assert_eq!(port.output, "org.fence_vmchannel.0\n");
    assert_eq!(client.exit_code, 0, "{}", client.output);
    Ok(())
}

#[test]
fn a_cheap_guest_is_a_real_process_that_ends_when_it_is_destroyed() -> Result<()> {
    let lab = Lab::shared()?;
    let guest = Guest::named("lab-cheap").cheap().start(lab)?;
    let process = guest.process()?;

    let ran_before = guest.is_running();
    guest.destroy()?;

    assert!(ran_before);
    assert!(process.is_gone());
    assert!(!guest.is_running());
    Ok(())
}

#[test]
fn guests_survive_the_death_of_libvirtd() -> Result<()> {
    let lab = Lab::start()?;
    let guest = Guest::named("survivor").cheap().start(&lab)?;
    let first = lab.libvirtd_pid()?;

    lab.libvirtd_kill()?;
    let alone = guest.is_running();
    lab.libvirtd_start()?;

    assert!(alone);
    assert_ne!(lab.libvirtd_pid()?, first);
    assert_eq!(lab.virsh(&["list", "--name"])?.trim(), "survivor");
    Ok(())
}

#[test]
fn a_lab_that_ends_leaves_no_process_and_no_file_not_even_a_stuck_guest() -> Result<()> {
    let lab = Lab::start()?;
    let stopped = Guest::named("stopped").cheap().start(&lab)?;
    let frozen = Guest::named("frozen").cheap().start(&lab)?;
    let processes = [stopped.process()?, frozen.process()?];
    processes[0].stop()?;
    processes[1].freeze()?;
    let (directory, libvirtd) = (lab.directory().to_owned(), lab.libvirtd_pid()?);
    let mut stranger = lab.command("sleep").arg("1000").spawn().unwrap();
    let mount = "mkdir /run/full && mount -t tmpfs none /run/full && touch /run/full/file";
    assert!(lab.command("sh").args(["-c", mount]).status().unwrap().success());
    std::mem::forget((stopped, frozen)); // as if the test had been killed

    drop(lab);

    assert!(processes.iter().all(|process| process.is_gone()));
    assert!(!stranger.wait().unwrap().success(), "what runs inside the lab ends with it");
    assert!(!fs::exists(format!("/proc/{libvirtd}")).unwrap());
    assert!(!directory.exists());
    Ok(())
}

#[test]
fn a_lab_ends_when_the_process_that_owns_it_is_killed() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("fvl.owner-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let supervisor = programs::ours("fence-vmchannel-lab")?;
    let script = format!("sleep 1000 | setsid {} {}", supervisor.display(), directory.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut owner = shell.spawn().unwrap();
    let mut answers = BufReader::new(owner.stdout.take().unwrap());
    let mut started = String::new();
    answers.read_line(&mut started).unwrap();

    let group = Pid::from_raw(i32::try_from(owner.id()).unwrap());
    killpg(group, Signal::SIGKILL).unwrap();
    owner.wait().unwrap();
    answers.read_to_string(&mut String::new()).unwrap(); // the supervisor's end

    let libvirtd = started.trim().strip_prefix("ok ").unwrap();
    assert!(!fs::exists(format!("/proc/{libvirtd}")).unwrap());
    assert!(!directory.exists());
    Ok(())
}
