//! An ordinary user's libvirt: `qemu:///session`, with an agent of the same user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::{Lab, Result, programs};

const USER: u32 = 65534;
const HOME: &str = "/run/user/65534";
const UUID: &str = "5e551011-0000-4000-8000-000000000001";

/// A command of the user, inside the lab.
fn users(lab: &Lab, program: &str) -> Command {
    let mut command = lab.command("setpriv");
    let user = USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", program]);
    command.env("HOME", HOME).env("XDG_RUNTIME_DIR", HOME).env_remove("XDG_CACHE_HOME");
    command
}

#[test]
#[expect(clippy::zombie_processes, reason = "a test that fails leaves it to the lab's end")]
fn an_ordinary_user_runs_agent_and_guests_without_root() -> Result<()> {
    let lab = Lab::start()?;
    let home = lab.path(HOME);
    let own = |path: &std::path::Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(USER), Some(USER)).unwrap();
    };
    fs::create_dir_all(&home).unwrap();
    own(&home, 0o700);
    let agent = home.join("fence-vmchanneld");
    fs::copy(programs::ours("fence-vmchanneld")?, &agent).unwrap();
    own(&agent, 0o755);
    let settings = home.join("agent.toml");
    let text = format!(
        "libvirt-uri = 'qemu:///session'\nruntime-dir = '{HOME}/fv'\npolicy-dir = '{HOME}/policy.d'\n"
    );
    fs::write(&settings, text).unwrap();
    own(&settings, 0o644);
    let xml = format!(
        "<domain type='qemu'><name>mine</name><uuid>{UUID}</uuid>\
         <metadata><f:member xmlns:f='urn:fence-vmchannel:1' cluster='home'/></metadata>\
         <memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>\
         <memballoon model='none'/><channel type='unix'><source mode='connect' path='{HOME}/fv/guests/{UUID}.sock'>\
         <reconnect enabled='yes' timeout='1'/></source><target type='virtio' name='org.fence_vmchannel.0'/></channel>\
         </devices></domain>"
    );
    let file = home.join("mine.xml");
    fs::write(&file, xml).unwrap();
    own(&file, 0o644);
    let virsh =
        |words: &[&str]| programs::succeed(users(&lab, "virsh").args(["-c", "qemu:///session"]).args(words));
    let ask = |words: &[&str]| {
        let config = format!("{HOME}/agent.toml");
        programs::run(
            users(&lab, &format!("{HOME}/fence-vmchanneld")).args(words).args(["--config", &config]),
        )
    };

    virsh(&["define", &format!("{HOME}/mine.xml")])?;
    let mut running = users(&lab, &format!("{HOME}/fence-vmchanneld"))
        .args(["run", "--config", &format!("{HOME}/agent.toml")])
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !home.join(format!("fv/guests/{UUID}.sock")).exists() {
        assert!(Instant::now() < deadline, "no socket for the user's guest");
        std::thread::yield_now();
    }
    virsh(&["start", "mine", "--paused"])?;
    let mut guests = ask(&["guests"])?;
    while !guests.output.contains("served") && Instant::now() < deadline {
        guests = ask(&["guests"])?;
    }
    virsh(&["destroy", "mine"])?;
    running.kill().unwrap();
    running.wait().unwrap();

    assert!(guests.output.contains("served"), "{}{}", guests.output, guests.errors);
    Ok(())
}
