//! Signed requests from inside a real guest, with keys that the operator's command made.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::signing::{Key, Nonce};
use fence_vmchannel_protocol::{Ask, Power, Request, RequestId, encode_line};
use fence_vmchannel_tests::asker::{request, target};
use fence_vmchannel_tests::host::operator;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab, LabError, Result};

const SOON: Duration = Duration::from_secs(5);
/// The port that belongs to us, in a guest without udev.
const PORT: &str =
    "/dev/$(basename $(dirname $(grep -l org.fence_vmchannel.0 /sys/class/virtio-ports/*/name)))";

/// A guest of one cluster with its neighbours.
struct Scene<'lab> {
    lab: &'lab Lab,
    agent: Agent<'lab>,
    asker: Guest<'lab>,
    target: Guest<'lab>,
}

impl<'lab> Scene<'lab> {
    fn set(lab: &'lab Lab, name: &str) -> Result<Self> {
        let agent = Agent::start(lab)?;
        let node = |number: u8| Guest::named(&format!("{name}{number}")).in_cluster("web");
        let asker = node(1).with(Channel::VirtioConnect).start(lab)?;
        let target = node(2).cheap().start(lab)?;
        asker.wait_for_shell()?;
        Ok(Self { lab, agent, asker, target })
    }

    /// Gives a guest a key, waits until the agent has it, and gives its secret.
    fn key(&self, guest: &Guest<'_>, name: &str, more: &[&str]) -> Result<String> {
        let words =
            [&["channel", "key", "add", guest.name(), name, "--show-secret", "--json"], more].concat();
        let added = operator(self.lab, &words)?.success("channel key add")?;
        let secret = added.split(r#""secret":""#).nth(1).and_then(|rest| rest.split('"').next());
        self.explained(guest, name)?;
        Ok(secret.unwrap_or_default().to_owned())
    }

    /// Waits until what this guest asks for must be, or may be, signed with this key.
    fn explained(&self, guest: &Guest<'_>, key: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let told = operator(self.lab, &["explain", guest.name(), "status", self.target.name()])?.output;
            if told.contains("signed with key") && told.contains(key) {
                return Ok(());
            }
            assert!(begun.elapsed() < SOON, "{told}");
        }
    }

    /// Puts a secret into the asker, as `channel key add` says.
    fn put(&self, secret: &str, file: &str) -> Result<()> {
        self.asker
            .run(&format!("(umask 077; echo {secret} >/{file}.key)"))?
            .success("putting a key")
            .map(drop)
    }

    /// What the client says inside the asker: its exit code, and all its words.
    fn client(&self, words: &str) -> Result<(i32, String)> {
        let ran = self.asker.run(&format!("fence_vmchannel {words} -n {} 2>&1", self.target.name()))?;
        Ok((ran.exit_code, ran.output))
    }
}

#[test]
fn a_guest_with_keys_fences_by_signing_and_by_nothing_else() -> Result<()> {
    let lab = Lab::start()?;
    let scene = Scene::set(&lab, "sign")?;
    let process = scene.target.process()?;
    let before = scene.client("-o status")?;
    let cluster = scene.key(&scene.asker, "cluster", &[])?;
    let monitoring = scene.key(&scene.asker, "monitoring", &["--actions", "status,list"])?;
    let elses = scene.key(&scene.target, "cluster", &[])?;
    scene.put(&cluster, "cluster")?;
    scene.put(&monitoring, "monitoring")?;
    scene.put(&elses, "elses")?;
    scene.put(&cluster, "open")?;
    scene.asker.run("chmod 0644 /open.key")?.success("opening the key to others")?;

    let unsigned = scene.client("-o off")?;
    let looks = scene.client("-o status -k /monitoring.key")?;
    let no_right = scene.client("-o off -k /monitoring.key")?;
    let anothers = scene.client("-o off -k /elses.key --key-id cluster")?;
    let too_open = scene.client("-o off -k /open.key --key-id cluster")?;
    let lived = !process.is_gone();
    let monitor = scene.client("-o monitor -k /cluster.key")?;
    let off = scene.client("-o off -k /cluster.key --json")?;

    assert_eq!(before.0, 0, "{before:?}");
    assert!(unsigned.0 == 1 && unsigned.1.contains("signed with a key of this guest"), "{unsigned:?}");
    assert_eq!(looks.0, 0, "{looks:?}");
    assert!(no_right.0 == 1 && no_right.1.contains("does not permit"), "{no_right:?}");
    assert!(
        anothers.0 == 1 && anothers.1.contains("does not accept signatures of key cluster"),
        "{anothers:?}"
    );
    assert!(too_open.0 == 1 && too_open.1.contains("chmod 0600"), "{too_open:?}");
    assert!(lived, "none of these did anything");
    assert_eq!(monitor.0, 0, "{monitor:?}");
    assert_eq!(off.0, 0, "{off:?}\n{}", scene.agent.log().join("\n"));
    assert!(off.1.contains(r#""evidence":"process-gone""#) && process.is_gone(), "{off:?}");
    scene.agent.wait_for_log(&["audit", "refused", "must be signed"], SOON)?;
    Ok(())
}

#[test]
fn a_signed_line_that_a_program_in_the_guest_sends_again_does_nothing() -> Result<()> {
    let lab = Lab::start()?;
    let scene = Scene::set(&lab, "replay")?;
    let key = Key::of_file(scene.key(&scene.asker, "cluster", &[])?.as_bytes()).expect("a key");
    let say = |line: &[u8]| -> Result<String> {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let heard = scene.asker.run(&format!("printf '\\n%s\\n' '{line}' >&3; timeout 20 head -n 1 <&3"))?;
        Ok(heard.output)
    };
    let asked = |ask| request(ask, Duration::from_secs(20));
    scene.asker.run(&format!("exec 3<>{PORT}"))?.success("opening the port")?;
    let nonce = |heard: &str| -> Result<Nonce> {
        let nonce = heard.split(r#""nonce":""#).nth(1).and_then(|rest| rest.split('"').next());
        nonce.unwrap_or_default().parse().map_err(|_| LabError::Supervisor(heard.to_owned()))
    };
    let plain = |request: &Request| encode_line(request).expect("it fits");
    let first_nonce = nonce(&say(&plain(&asked(Ask::Hello)?))?)?;
    let signed = |request: &Request| {
        key.seal_request(&"cluster".parse().expect("a name"), &first_nonce, request).expect("it fits")
    };
    let off = signed(&asked(Ask::Power(Power::Off, target(&scene.target)?))?);
    let status = signed(&asked(Ask::Status(target(&scene.target)?))?);

    let looked = say(&status)?;
    let done = say(&off)?;
    scene.target.wait_until_shut_off()?;
    scene.target.start()?;
    let process = scene.target.process()?;
    let off_again = say(&off)?;
    let status_again = say(&status)?;
    let mut agent = scene.agent;
    agent.restart()?;
    let (begun, mut after_restart) = (Instant::now(), String::new());
    while !after_restart.contains("fv2") {
        after_restart = say(&off)?; // nothing is heard until QEMU has connected again
        assert!(begun.elapsed() < 4 * SOON, "{after_restart}");
    }

    assert!(looked.contains("fv2 mac:cluster:") && looked.contains(r#""state":"on""#), "{looked}");
    assert!(done.contains("fv2 mac:cluster:") && done.contains("process-gone"), "{done}");
    assert!(off_again.contains("process-gone"), "the verdict of then is told again: {off_again}");
    assert!(status_again.contains("bad-signature") && !status_again.contains("state"), "{status_again}");
    assert!(after_restart.contains("fv2 crc:") && after_restart.contains("bad-signature"), "{after_restart}");
    assert!(after_restart.contains(&RequestId::NONE.to_string()), "{after_restart}");
    assert!(!process.is_gone(), "nothing was done twice");
    Ok(())
}

#[test]
fn a_key_file_that_becomes_too_open_changes_nothing_while_the_agent_runs_and_counts_for_nothing_at_its_start()
-> Result<()> {
    let lab = Lab::start()?;
    let scene = Scene::set(&lab, "open")?;
    let secret = scene.key(&scene.asker, "cluster", &[])?;
    scene.put(&secret, "cluster")?;
    let file = lab.policy().join(format!("keys/{}.cluster.key", scene.asker.uuid()));

    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("its mode can be changed");
    scene.agent.sighup()?;
    scene.agent.wait_for_log(&["cluster.key", "mode 0644", "the rules from before hold"], SOON)?;
    let running = scene.client("-o status -k /cluster.key")?;
    let check = operator(&lab, &["check-config"])?;
    let listed = operator(&lab, &["channel", "key", "list"])?;
    let Scene { mut agent, asker, target, .. } = scene;
    agent.restart()?;
    let scene = Scene { lab: &lab, agent, asker, target };
    let signed = scene.client("-o status -k /cluster.key -t 15")?;
    let unsigned = scene.client("-o status")?;

    assert_eq!(running.0, 0, "{running:?}");
    assert!(check.exit_code == 1 && check.output.contains("mode 0644"), "{}", check.output);
    assert!(listed.exit_code == 1 && listed.output.contains("mode 0644"), "{}", listed.output);
    assert!(signed.0 == 1 && signed.1.contains("does not accept"), "{signed:?}");
    assert!(unsigned.0 == 1 && unsigned.1.contains("signed"), "{unsigned:?}");
    Ok(())
}
