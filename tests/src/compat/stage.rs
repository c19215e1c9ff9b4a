//! The lab in which combinations are tried: one guest with every port, a namespace with a network, one target.
//!
//! In:  combinations. Out: their rows, in the same order.
//!
//! Invariant: at any time one server only listens to a way.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::commands::THEIR_GUESTFWD;
use super::trial::{self, Ask};
use super::vsock;
use super::{Action, Client, Combination, Row, Server, Way};
use crate::error::{Doing, Result};
use crate::fence_virt::{Daemon, Hash, Listener, Packages, SOCKETS, make_directory};
use crate::guest::{Channel, GUESTFWD, Guest};
use crate::host::Agent;
use crate::image::{Image, NETWORK};
use crate::lab::Lab;
use crate::network::{GROUP_V4, GROUP_V6, GUEST_V4, GUEST_V6, HOST_V4, INTERFACE, Network};
use crate::programs::{self, Ran};

const TARGET: &str = "target";
const CLUSTER: &str = "web";
/// In the guest, and in the lab's directory.
const KEY: &[u8] = b"a key that both sides of a test know and that is long enough for each of them";

/// Tries them all; `told` hears of each row as soon as it is there.
///
/// # Errors
/// When the lab, a server or the guest fails; a client's failure is a result.
pub fn run(combinations: &[Combination], told: impl Fn(&Row)) -> Result<Vec<Row>> {
    let lab = Lab::start()?;
    let stage = Stage::set(&lab)?;
    let mut rows = stage.inside_a_guest(&pick(combinations, |way| !way.is_signed()), &told)?;
    rows.extend(stage.by_network(&pick(combinations, Way::is_by_network), &told)?);
    let by_vsock = pick(combinations, |way| way == Way::Vsock);
    if !by_vsock.is_empty() {
        rows.extend(vsock::rows(&stage.packages, (&by_vsock, TARGET), &told)?);
    }
    let place = |row: &Row| combinations.iter().position(|one| *one == row.combination);
    rows.sort_by_key(place);
    Ok(rows)
}

fn pick(combinations: &[Combination], of: impl Fn(Way) -> bool) -> Vec<Combination> {
    combinations.iter().copied().filter(|one| of(one.way)).collect()
}

struct Stage<'lab> {
    lab: &'lab Lab,
    packages: Packages,
    target: Guest<'lab>,
    key: PathBuf,
}

impl<'lab> Stage<'lab> {
    fn set(lab: &'lab Lab) -> Result<Self> {
        let packages = Packages::get()?;
        let key = lab.directory().join("fence_xvm.key");
        fs::write(&key, KEY).doing("write the key")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).doing("protect the key")?;
        make_directory(lab)?;
        Image::get()?.put_into_with(lab, &packages.client()?, &NETWORK)?;
        let target = Guest::named(TARGET).in_cluster(CLUSTER).cheap().start(lab)?;
        Ok(Self { lab, packages, target, key })
    }

    fn inside_a_guest(&self, combinations: &[Combination], told: &impl Fn(&Row)) -> Result<Vec<Row>> {
        if combinations.is_empty() {
            return Ok(Vec::new());
        }
        let _agent = Agent::start(self.lab)?;
        let asker = self.asker()?;
        let is_asked =
            |way| combinations.iter().any(|one| (one.server, one.way) == (Server::FenceVirtd, way));
        let listeners = [(Way::Serial, Listener::Serial(1)), (Way::Guestfwd, Listener::Channels(1))];
        let listeners = listeners.iter().filter(|(way, _)| is_asked(*way));
        let _daemons = listeners
            .map(|(_, listener)| Daemon::start(self.lab, listener, &self.key))
            .collect::<Result<Vec<_>>>()?;
        self.rows(combinations, told, |one, words| {
            let program = match one.client {
                Client::Ours => format!("/run/{}", one.client.program(one.way)),
                Client::FenceVirt | Client::FenceXvm => format!("/usr/sbin/{}", one.client.program(one.way)),
            };
            asker.run(&format!("{program} {} 2>&1", words.join(" ")))
        })
    }

    /// A guest with every port that needs no network interface, and the user network for the one that does.
    fn asker(&self) -> Result<Guest<'lab>> {
        let plan =
            Guest::named("asker").in_cluster(CLUSTER).with(Channel::SerialBind).with(Channel::Guestfwd);
        let asker = plan
            .with(Channel::SerialAt { path: format!("{SOCKETS}/asker.serial"), port: 2 })
            .with(Channel::GuestfwdAt { path: format!("{SOCKETS}/asker.channel"), address: THEIR_GUESTFWD })
            .boot(self.lab)?;
        for module in NETWORK {
            asker.run(&format!("insmod /lib/modules/{module}"))?.success(module)?;
        }
        for (card, address) in [("eth0", GUESTFWD), ("eth1", THEIR_GUESTFWD)] {
            let up = format!("ip addr add 10.0.2.15/32 dev {card} && ip link set {card} up");
            let route = format!("{up} && ip route add {address}/32 dev {card}");
            asker.run(&route)?.success(&route)?;
        }
        let name = "ln -s /sbin/fence_vmchannel /run/fence_virt";
        asker.run(name)?.success(name)?;
        Ok(asker)
    }

    fn by_network(&self, combinations: &[Combination], told: &impl Fn(&Row)) -> Result<Vec<Row>> {
        if combinations.is_empty() {
            return Ok(Vec::new());
        }
        let network = Network::of(self.lab)?;
        let ask = |one: Combination, words: &[String]| {
            let mut command = network.command(self.program(one)?);
            command.args(words).env("LD_LIBRARY_PATH", self.packages.libraries());
            programs::run(command.stdin(Stdio::null()))
        };
        let mut rows = Vec::new();
        for hash in Hash::ALL {
            let these: Vec<_> = combinations.iter().copied().filter(|one| one.hash == hash).collect();
            let of = |server: Server| these.iter().copied().filter(move |one| one.server == server);
            let to_agent: Vec<_> = of(Server::Agent).collect();
            if !to_agent.is_empty() {
                let _agent = Agent::start_with(self.lab, &settings(hash, &self.key))?;
                rows.extend(self.rows(&to_agent, told, ask)?);
            }
            for way in [Way::MulticastV4, Way::MulticastV6, Way::Tcp] {
                let to_daemon: Vec<_> = of(Server::FenceVirtd).filter(|one| one.way == way).collect();
                if !to_daemon.is_empty() {
                    let _daemon = Daemon::start(self.lab, &listener(way, hash), &self.key)?;
                    rows.extend(self.rows(&to_daemon, told, ask)?);
                }
            }
        }
        Ok(rows)
    }

    /// The client's program on the host; ours by the name that makes it speak as that one.
    fn program(&self, one: Combination) -> Result<PathBuf> {
        let name = one.client.program(one.way);
        if one.client != Client::Ours {
            return Ok(self.packages.program(name));
        }
        let link = self.lab.directory().join(name);
        if !link.exists() {
            symlink(programs::ours("fence_vmchannel")?, &link).doing(format!("make {}", link.display()))?;
        }
        Ok(link)
    }

    fn rows(
        &self,
        combinations: &[Combination],
        told: &impl Fn(&Row),
        run: impl Fn(Combination, &[String]) -> Result<Ran>,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for &combination in combinations {
            let key = Path::new(&self.key);
            let ask: &Ask<'_> = &|action: Action| run(combination, &combination.options(action, TARGET, key));
            let row = Row { combination, cells: trial::cells(ask, &self.target)? };
            told(&row);
            rows.push(row);
        }
        Ok(rows)
    }
}

fn listener(way: Way, hash: Hash) -> Listener {
    match way {
        Way::MulticastV4 => Listener::Multicast { group: GROUP_V4, interface: INTERFACE, hash },
        Way::MulticastV6 => Listener::Multicast { group: GROUP_V6, interface: INTERFACE, hash },
        Way::Tcp | Way::Serial | Way::Guestfwd | Way::Vsock => {
            Listener::Tcp { address: HOST_V4.into(), hash }
        }
    }
}

/// The agent's settings for all listeners at once.
fn settings(hash: Hash, key: &Path) -> String {
    let (hash, key) = (hash.word(), key.display());
    let peers = [GUEST_V4.to_string(), GUEST_V6.to_string()]
        .map(|address| format!("[[legacy.peer]]\naddress = \"{address}\"\ncluster = \"{CLUSTER}\"\n"));
    let groups = [GROUP_V4, GROUP_V6].map(|group| {
        format!(
            "[[legacy.listener]]\nkind = \"multicast\"\naddress = \"{group}\"\ninterface = \"{INTERFACE}\"\n"
        )
    });
    format!(
        "[legacy]\nkey-file = \"{key}\"\nhash = \"{hash}\"\nauth = \"{hash}\"\n\
         callback-networks = [\"{GUEST_V4}/32\", \"{GUEST_V6}/128\"]\n\
         {}[[legacy.listener]]\nkind = \"tcp\"\naddress = \"{HOST_V4}\"\n{}",
        groups.concat(),
        peers.concat(),
    )
}
