//! The resource agent `vm-client` in a real cluster of one node: corosync, Pacemaker and its attributes, with the real client and
//! a real agent (over simulated machines) at the other end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fence_vmchannel_tests::cluster_node::ClusterNode;
use fence_vmchannel_tests::{Ran, Result, programs};

const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/ocf/vm-client");
const INSTALLED: &str = "/usr/lib/ocf/resource.d/fence-vmchannel/vm-client";
const UUID: &str = "3f0c2a52-0d5e-4c9b-9a6e-1f2d3c4b5a69";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The settings of the host, whose own Pacemaker is the node's: its attributes by both of Pacemaker's programs.
const SETTINGS: &str = r#"
runtime-dir = "/run/host"
policy-dir = "/run/policy.d"
[host-status]
host-name = "rack3"
[[host-status.attribute]]
name = "network"
source-name = "pingd"
command = ["/usr/sbin/attrd_updater", "--query", "--name", "pingd"]
format = "attrd-updater"
every-seconds = 1
words = { "0" = "lost", "1..999" = "poor", "1000.." = "ok" }
[[host-status.attribute]]
name = "ping"
source-name = "pingd"
node = "n1"
command = ["/usr/sbin/crm_mon", "--one-shot", "--show-node-attributes", "--output-as=xml"]
format = "crm-mon"
every-seconds = 1
"#;

/// A node with the resource agent and, beside it, the host that it asks.
struct Scene {
    node: ClusterNode,
    host: Child,
}

impl Scene {
    fn new() -> Result<Self> {
        let node = ClusterNode::start()?;
        fs::create_dir_all(node.path(Path::new(INSTALLED).parent().unwrap().to_str().unwrap())).unwrap();
        fs::copy(AGENT, node.path(INSTALLED)).unwrap();
        fs::set_permissions(node.path(INSTALLED), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(programs::ours("fence_vmchannel")?, node.path("/usr/sbin/fence_vmchannel")).unwrap();
        fs::copy(programs::ours("fence-vmchanneld")?, node.path("/usr/sbin/fence-vmchanneld")).unwrap();
        fs::write(node.path("/run/agent.toml"), SETTINGS).unwrap();
        let guest = format!("[[domain]]\nname = 'web1'\nuuid = '{UUID}'\ncluster = 'web'\n");
        fs::write(node.path("/run/guests.toml"), guest).unwrap();
        programs::succeed(node.command("attrd_updater").args(["--name", "pingd", "--update", "1000"]))?;
        let host = host(&node);
        let scene = Self { node, host };
        scene.until(
            || scene.run("fence_vmchannel", &["-o", "host-status", "-t", "1", "-D", &device()]),
            |ran| ran.output.contains("attribute network: ok") && ran.output.contains("attribute ping: 1000"),
        );
        Ok(scene)
    }

    fn run(&self, program: &str, words: &[&str]) -> Ran {
        programs::run(self.node.command(program).args(words)).unwrap()
    }

    /// An action of the resource agent, as Pacemaker calls it.
    fn action(&self, action: &str, parameters: &[(&str, &str)]) -> Ran {
        let mut command = self.node.command("env");
        command.args(["OCF_ROOT=/usr/lib/ocf", "OCF_RESOURCE_INSTANCE=host-status", "OCF_RESKEY_timeout=15"]);
        command.arg(format!("OCF_RESKEY_device={}", device()));
        command.args(parameters.iter().map(|(name, value)| format!("OCF_RESKEY_{name}={value}")));
        programs::run(command.args([INSTALLED, action])).unwrap()
    }

    /// A node attribute's value; empty where it has none.
    fn attribute(&self, name: &str) -> String {
        let told = self.run("attrd_updater", &["--query", "--name", name]).output;
        let value = told.split_once("value=\"").and_then(|(_, rest)| rest.split_once('"'));
        value.map(|(value, _)| value.to_owned()).unwrap_or_default()
    }

    fn attributes(&self) -> [String; 5] {
        ["host-agent", "host-libvirt", "host-name", "host-maintenance", "host-network"]
            .map(|name| self.attribute(name))
    }

    fn until(&self, look: impl Fn() -> Ran, holds: impl Fn(&Ran) -> bool) -> Ran {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ran = look();
            if holds(&ran) {
                return ran;
            }
            assert!(Instant::now() < deadline, "{ran:?}");
            sleep(Duration::from_millis(50)); // other programs tell nobody when they are done
        }
    }

    fn kill_host(&mut self) {
        let pid = fs::read_to_string(self.node.path("/run/host.pid")).unwrap_or_default();
        self.run("kill", &["-KILL", pid.trim()]);
        self.host.wait().ok();
    }

    fn maintenance(&self, what: &str) {
        let set = self.run("fence-vmchanneld", &["--config", "/run/agent.toml", "maintenance", what]);
        assert_eq!(set.exit_code, 0, "{}", set.errors);
        let word = format!("maintenance: {what}");
        let ask = || self.run("fence_vmchannel", &["-o", "host-status", "-D", &device()]);
        self.until(ask, |ran| ran.output.contains(&word));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_host();
    }
}

fn device() -> String {
    format!("/run/host/guests/{UUID}.sock")
}

/// Its pid in the node is in a file there, since nsenter is not the program that it starts.
fn host(node: &ClusterNode) -> Child {
    let mut command = node.command("sh");
    let run = "exec fence-vmchanneld --config /run/agent.toml run --simulate /run/guests.toml";
    command.args(["-c", &format!("echo $$ >/run/host.pid; {run}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn vm_client_passes_ocf_tester_in_a_real_cluster() -> Result<()> {
    let scene = Scene::new()?;

    let device = format!("device={}", device());
    let tested = scene.run("ocf-tester", &["-v", "-n", "host-status", "-o", &device, INSTALLED]);

    assert_eq!(tested.exit_code, 0, "{}{}", tested.output, tested.errors);
    assert!(tested.output.contains("passed all tests"), "{}", tested.output);
    assert!(!tested.output.contains("* rc="), "{}", tested.output);
    Ok(())
}

#[test]
fn node_attributes_follow_the_host_and_vanish_with_its_answers() -> Result<()> {
    let mut scene = Scene::new()?;

    let started = scene.action("start", &[]);
    let first = scene.attributes();
    scene.maintenance("on");
    let monitored = scene.action("monitor", &[]);
    let second = scene.attributes();
    scene.kill_host();
    let in_vain = scene.action("monitor", &[("timeout", "1")]);
    let still = scene.action("monitor", &[("timeout", "1")]);
    let third = scene.attributes();
    scene.host = host(&scene.node);
    let again = scene.action("monitor", &[]);
    let fourth = scene.attributes();
    let stopped = scene.action("stop", &[]);
    let probed = scene.action("monitor", &[]);

    let codes = [&started, &monitored, &in_vain, &still, &again, &stopped, &probed].map(|ran| ran.exit_code);
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 7], "a host that is away is no failure of the resource");
    assert_eq!(first, ["ok", "connected", "rack3", "off", "ok"]);
    assert_eq!(second, ["ok", "connected", "rack3", "on", "ok"]);
    assert_eq!(third, ["", "", "", "", ""], "what the host does not say any more is not gone by");
    assert!(in_vain.errors.contains("the host does not tell how it is"), "{}", in_vain.errors);
    assert!(!still.errors.contains("the host does not tell"), "said once: {}", still.errors);
    assert!(again.errors.contains("the host tells how it is again"), "{}", again.errors);
    assert_eq!(fourth[3], "on", "the flag outlives the agent");
    assert_eq!(scene.attributes(), ["", "", "", "", ""]);
    Ok(())
}

#[test]
fn vm_client_starts_also_while_the_host_is_away_and_sets_the_attributes_when_it_is_back() -> Result<()> {
    let mut scene = Scene::new()?;

    scene.kill_host();
    let started = scene.action("start", &[("timeout", "1")]);
    let away = scene.attributes();
    scene.host = host(&scene.node);
    let monitored = scene.action("monitor", &[]);

    assert_eq!([&started, &monitored].map(|ran| ran.exit_code), [0, 0], "{started:?} {monitored:?}");
    assert!(started.errors.contains("the host does not tell how it is"), "{}", started.errors);
    assert_eq!(away, ["", "", "", "", ""]);
    assert_eq!(scene.attribute("host-agent"), "ok");
    Ok(())
}

#[test]
fn an_attribute_that_its_source_does_not_know_any_more_is_removed() -> Result<()> {
    let scene = Scene::new()?;
    scene.action("start", &[]);
    let before = scene.attribute("host-network");

    scene.run("attrd_updater", &["--name", "pingd", "--delete"]);
    let ask = || scene.run("fence_vmchannel", &["-o", "host-status", "-D", &device()]);
    scene.until(ask, |ran| ran.output.contains("attribute network unknown"));
    let monitored = scene.action("monitor", &[]);

    assert_eq!((before.as_str(), monitored.exit_code), ("ok", 0));
    assert_eq!(
        (scene.attribute("host-network"), scene.attribute("host-agent")),
        (String::new(), "ok".to_owned())
    );
    Ok(())
}

#[test]
fn parameters_choose_and_name_the_attributes_and_wrong_ones_are_told() -> Result<()> {
    let scene = Scene::new()?;

    let chosen = scene.action("start", &[("prefix", "vmhost_"), ("attributes", "network name")]);
    let told =
        ["vmhost_network", "vmhost_name", "vmhost_agent", "host-network"].map(|name| scene.attribute(name));
    let wrong = [
        ("prefix", "a b"),
        ("timeout", "soon"),
        ("dampen", "-1"),
        ("client", "/nonexistent"),
        ("device", "/nonexistent/port"),
    ]
    .map(|parameter| scene.action("validate-all", &[parameter]));

    assert_eq!(chosen.exit_code, 0, "{}", chosen.errors);
    assert_eq!(told, ["ok", "rack3", "", ""]);
    assert_eq!(wrong.clone().map(|ran| ran.exit_code), [6, 6, 6, 5, 2]);
    assert!(wrong.iter().all(|ran| !ran.errors.is_empty()), "{wrong:?}");
    Ok(())
}

#[test]
fn pacemaker_runs_vm_client_and_knows_how_the_nodes_host_is() -> Result<()> {
    let scene = Scene::new()?;
    let resource = format!(
        "<primitive id='hs' class='ocf' provider='fence-vmchannel' type='vm-client'><instance_attributes id='hs-p'>\
         <nvpair id='hs-d' name='device' value='{}'/></instance_attributes><operations>\
         <op id='hs-m' name='monitor' interval='1s' timeout='20s'/></operations></primitive>",
        device()
    );

    let created = scene.run("cibadmin", &["--create", "--scope", "resources", "--xml-text", &resource]);
    scene.until(
        || scene.run("cibadmin", &["--query"]),
        |ran| ran.output.contains("name=\"host-network\" value=\"ok\""),
    );
    scene.maintenance("on");
    scene.until(
        || scene.run("cibadmin", &["--query"]),
        |ran| ran.output.contains("name=\"host-maintenance\" value=\"on\""),
    );
    let running = scene.run("crm_resource", &["--locate", "--resource", "hs"]);

    assert_eq!(created.exit_code, 0, "{}", created.errors);
    assert!(running.output.contains("running on: n1"), "{}{}", running.output, running.errors);
    Ok(())
}
