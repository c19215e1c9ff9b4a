//! The scripts around the client, `vm-client` and the plugin for cluster-glue, towards a host on which their guest has a key.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fence_vmchannel_protocol::signing::Direction;
use fence_vmchannel_protocol::{Ask, Body, Frame, Item, Reason, Reply, Request, Verdict};
use tempfile::TempDir;

use crate::host::{CLIENT, Host, Line, Socket, done, off_with_evidence};
use crate::host_status::status;
use crate::signed::{NONCE, greet, key, key_file};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging");

/// What resource agents have of the cluster, as far as `vm-client` needs it.
const SHELLFUNCS: &str =
    "OCF_SUCCESS=0 OCF_ERR_GENERIC=1 OCF_ERR_ARGS=2 OCF_ERR_UNIMPLEMENTED=3 OCF_ERR_INSTALLED=5
OCF_ERR_CONFIGURED=6 OCF_NOT_RUNNING=7
ocf_log() { echo \"$@\" >&2; }
ocf_exit_reason() { echo \"$@\" >&2; }
check_binary() { command -v \"$1\" >/dev/null || exit $OCF_ERR_INSTALLED; }
attrd_updater() { echo \"$*\" >>\"$HA_RSCTMP/set\"; }
";

/// A host that takes only what is signed, and tells everything else so.
fn with_a_key(socket: &Socket) {
    loop {
        serve(&mut socket.accept());
    }
}

fn serve(line: &mut Line) {
    let (id, key) = key();
    while let Some(frame) = line.hear_more_frames() {
        match frame {
            Frame::Plain(json) => refuse_unsigned(line, &Request::parse(&json).unwrap()),
            Frame::Signed(signed) => {
                assert_eq!(signed.key(), &id);
                let json = signed.open(&key, &NONCE, Direction::Request).unwrap();
                let Request { id: request, ask, .. } = Request::parse(&json).unwrap();
                let reply = Reply { id: request, body: answer(&ask) };
                line.say(&key.seal_reply(&id, &NONCE, &reply).unwrap());
            }
            Frame::Legacy(_) | Frame::Noise(_) => {}
        }
    }
}

fn refuse_unsigned(line: &mut Line, request: &Request) {
    match request.ask {
        Ask::Hello => greet(line, request, NONCE),
        Ask::Monitor => line.verdict(request, done()),
        Ask::Whoami | Ask::List | Ask::HostStatus | Ask::Explain(_) | Ask::Status(_) | Ask::Power(..) => {
            line.verdict(request, Verdict::refused(Reason::BadSignature));
        }
    }
}

fn answer(ask: &Ask) -> Body {
    match ask {
        Ask::HostStatus => Body::HostStatus(Box::new(status())),
        Ask::List => {
            let uuid = "8d7e6f5a-4b3c-4d2e-8f1a-0b9c8d7e6f5a".parse().unwrap();
            Body::Items(vec![Item { name: "web2".parse().unwrap(), uuid, state: None }], false)
        }
        Ask::Power(..) => Body::Verdict(off_with_evidence()),
        Ask::Hello | Ask::Whoami | Ask::Monitor | Ask::Explain(_) | Ask::Status(_) => Body::Verdict(done()),
    }
}

/// A guest with the scripts, the client, and two files with its key; the name of one is not the key's.
struct Guest {
    place: TempDir,
    host: Host<()>,
    key: (TempDir, String),
}

impl Guest {
    fn new() -> Self {
        let guest = Self {
            place: tempfile::tempdir().unwrap(),
            host: Host::on_a_socket(|socket| with_a_key(&socket)),
            key: key_file(0o600),
        };
        fs::copy(&guest.key.1, guest.path("node.key")).unwrap();
        fs::write(guest.path("ocf-shellfuncs"), SHELLFUNCS).unwrap();
        symlink(CLIENT, guest.path("fence_vmchannel")).unwrap();
        let plugin = fs::read_to_string(Path::new(PACKAGING).join("cluster-glue/fence_vmchannel")).unwrap();
        let here = format!("PATH={}:", guest.place.path().display());
        fs::write(guest.path("plugin"), plugin.replacen("PATH=", &here, 1)).unwrap();
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Its parameters for each way to name the key.
    fn keys(&self) -> [Vec<(&'static str, String)>; 2] {
        let node = self.path("node.key").display().to_string();
        [vec![("key_file", self.key.1.clone())], vec![("key_file", node), ("key_id", "cluster".to_owned())]]
    }

    /// An action of `vm-client`, and the node attributes that it set.
    fn vm_client(&self, action: &str, parameters: &[(&str, String)]) -> (Output, String) {
        fs::write(self.path("set"), "").unwrap();
        let mut command = Command::new(Path::new(PACKAGING).join("ocf/vm-client"));
        command.arg(action).env("OCF_FUNCTIONS_DIR", self.place.path());
        command.env("HA_RSCTMP", self.place.path()).env("OCF_RESKEY_client", CLIENT);
        command.env("OCF_RESKEY_device", &self.host.device).env("OCF_RESKEY_timeout", "5");
        command.envs(parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
        let ran = command.output().unwrap();
        (ran, fs::read_to_string(self.path("set")).unwrap())
    }

    /// An action of the plugin.
    fn plugin(&self, words: &[&str], parameters: &[(&str, String)]) -> Output {
        let mut command = Command::new("sh");
        command.arg(self.path("plugin")).args(words).envs([("hostlist", "web2"), ("timeout", "5")]);
        command.env("device", &self.host.device);
        command.envs(parameters.iter().map(|(name, value)| (name, value))).output().unwrap()
    }
}

fn is_valid_xml(text: &[u8], place: &Path) -> bool {
    fs::write(place, text).unwrap();
    Command::new("xmllint").args(["--nonet", "--noout"]).arg(place).status().unwrap().success()
}

#[test]
fn vm_client_signs_with_the_key_of_its_guest_and_without_it_has_no_attributes() {
    let guest = Guest::new();

    let (unsigned, nothing) = guest.vm_client("start", &[]);
    let signed = guest.keys().map(|key| guest.vm_client("monitor", &key));

    assert!(unsigned.status.success(), "{unsigned:?}");
    assert!(
        !nothing.contains("-U") && String::from_utf8_lossy(&unsigned.stderr).contains("signed"),
        "{unsigned:?}"
    );
    for (ran, set) in signed {
        assert!(ran.status.success(), "{ran:?}");
        assert!(set.contains("-n host-agent -U ok"), "{set} {ran:?}");
        assert!(set.contains("-n host-pingd -U very poor"), "{set} {ran:?}");
    }
}

#[test]
fn vm_client_describes_its_key_and_tells_of_one_that_cannot_be_used() {
    let guest = Guest::new();
    let open = guest.path("open.key");
    fs::copy(&guest.key.1, &open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();

    let (described, _) = guest.vm_client("meta-data", &[]);
    let well = guest.keys().map(|key| guest.vm_client("validate-all", &key).0);
    let (without_file, _) = guest.vm_client("validate-all", &[("key_id", "cluster".to_owned())]);
    let (too_open, _) = guest.vm_client("validate-all", &[("key_file", open.display().to_string())]);

    let xml = String::from_utf8_lossy(&described.stdout);
    assert!(is_valid_xml(&described.stdout, &guest.path("metadata")), "{xml}");
    assert!(
        ["key_file", "key_id"].iter().all(|name| xml.contains(&format!("<parameter name=\"{name}\""))),
        "{xml}"
    );
    assert_eq!(well.map(|ran| ran.status.code()), [Some(0); 2]);
    assert_eq!(without_file.status.code(), Some(6), "{without_file:?}");
    assert!(String::from_utf8_lossy(&without_file.stderr).contains("key_file"), "{without_file:?}");
    assert_eq!(too_open.status.code(), Some(2), "{too_open:?}");
    assert!(String::from_utf8_lossy(&too_open.stderr).contains("open.key"), "{too_open:?}");
}

#[test]
fn the_plugin_of_cluster_glue_signs_with_the_key_of_its_guest_and_without_it_fails() {
    let guest = Guest::new();

    for action in [&["status"][..], &["gethosts"], &["reset", "web2"], &["off", "web2"]] {
        let signed = guest.keys().map(|key| guest.plugin(action, &key));
        assert!(signed.iter().all(|ran| ran.status.success()), "{action:?}: {signed:?}");
    }
    for action in [&["status"][..], &["reset", "web2"]] {
        let unsigned = guest.plugin(action, &[]);
        assert_eq!(unsigned.status.code(), Some(1), "{unsigned:?}");
    }
}

#[test]
fn the_plugin_of_cluster_glue_describes_its_key() {
    let guest = Guest::new();

    let described = guest.plugin(&["getinfo-xml"], &[]).stdout;

    let xml = String::from_utf8_lossy(&described);
    assert!(is_valid_xml(&described, &guest.path("parameters")), "{xml}");
    assert!(
        ["key_file", "key_id"].iter().all(|name| xml.contains(&format!("<parameter name=\"{name}\""))),
        "{xml}"
    );
}
