//! Virtual sockets, tried within one guest: the kernel leads CID 2 back to a guest that has `vsock_loopback` and no way out.
//!
//! In:  combinations. Out: their rows.
//!
//! Invariant: there are no processes to look at here, since the machines are numbers: our agent's simulation, libvirt's test
//! driver. So a cell says `yes` only if the client said so and the server, asked again, says the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::trial::{self, Ask};
use super::{Action, Client, Combination, Row, Server};
use crate::error::{Doing, Result};
use crate::fence_virt::{Hash, Packages};
use crate::guest::Guest;
use crate::image::{Image, VSOCK};
use crate::lab::Lab;
use crate::programs::{self, Ran, succeed};

const KEY: &str = "/etc/fence_xvm.key";
const AGENT: &str = "usr/sbin/fence-vmchanneld";
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/fence-virt";
/// The agent, libvirt's client and fence_virtd with all their libraries.
const MEMORY_MIB: u32 = 512;
/// Who asks, as the other end of a loop sees it.
const LOCAL_CID: u32 = 1;
/// So often is a server looked for, ten times a second.
const LOOKS: u32 = 200;

/// Tries them all in a lab of their own.
pub(super) fn rows(
    packages: &Packages,
    (combinations, target): (&[Combination], &str),
    told: &impl Fn(&Row),
) -> Result<Vec<Row>> {
    let lab = Lab::start()?;
    Image::get()?.put_into_with(&lab, &files(packages, &lab, target)?, &VSOCK)?;
    let guest = Guest::named("loop").with_memory(MEMORY_MIB).boot(&lab)?;
    for line in PREPARE {
        guest.run(line)?.success(line)?;
    }
    for module in VSOCK {
        guest.run(&format!("insmod /lib/modules/{module}"))?.success(module)?;
    }
    let mut rows = Vec::new();
    for server in Server::ALL {
        for hash in Hash::ALL {
            let these: Vec<_> =
                combinations.iter().copied().filter(|one| (one.server, one.hash) == (server, hash)).collect();
            if let Some(&first) = these.first() {
                start(&guest, first, target)?;
                for combination in these {
                    let ask: &Ask<'_> = &|action| run(&guest, combination, action, target);
                    let row = Row { combination, cells: trial::cells_by_word(ask, target)? };
                    told(&row);
                    rows.push(row);
                }
                guest.run(END)?.success("end the server")?;
            }
        }
    }
    Ok(rows)
}

/// What a package's installation would have done.
const PREPARE: [&str; 3] = [
    "mkdir -p /run /var/run; echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd; echo 'root:x:0:' >/etc/group",
    "chmod 600 /etc/fence_xvm.key; ln -s /sbin/fence_vmchannel /run/fence_virt",
    "ip link set lo up",
];
const END: &str = "kill $server; wait $server; true";

fn run(guest: &Guest<'_>, one: Combination, action: Action, target: &str) -> Result<Ran> {
    let program = if one.client == Client::Ours { "/run" } else { "/usr/sbin" };
    let words = one.options(action, target, Path::new(KEY)).join(" ");
    guest.run(&format!("{program}/{} {words} 2>&1", one.client.program(one.way)))
}

/// Starts a server, and waits until it takes connections.
fn start(guest: &Guest<'_>, first: Combination, target: &str) -> Result<()> {
    let hash = first.hash.word();
    let server = match first.server {
        Server::Agent => {
            format!("/{AGENT} run --config /etc/agent-{hash}.toml --simulate /etc/simulated.toml")
        }
        Server::FenceVirtd => format!("/usr/sbin/fence_virtd -F -f /etc/fence_virt-{hash}.conf"),
    };
    let begin = format!("{server} >/tmp/server.log 2>&1 & server=$!");
    guest.run(&begin)?.success(&begin)?;
    // It tells nobody when it listens, and which hashes it takes is what is to be found out.
    let words = first.options(Action::List, target, Path::new(KEY)).join(" ");
    let listens = format!("! /usr/sbin/fence_virt {words} 2>&1 | grep -q 'Unable to connect'");
    let look = format!(
        "i=0; until {listens}; do kill -0 $server && [ $i -lt {LOOKS} ] || break; i=$((i+1)); usleep 100000; done; {listens}"
    );
    guest.run(&look)?.success(&look).map(drop)
}

/// The programs with their libraries, and everything that they read.
fn files(packages: &Packages, lab: &Lab, target: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
    let agent = lab.directory().join("fence-vmchanneld");
    let built = programs::ours("fence-vmchanneld")?;
    succeed(Command::new("strip").arg("-o").args([&agent, &built]))?; // with its symbols it needs more memory than the guest has
    let mut files = packages.server_and_client()?;
    files.extend(packages.libraries_of(&agent)?);
    files.push((agent, AGENT.into()));
    let mut write = |name: String, text: &str| {
        let file = lab.directory().join(&name);
        fs::write(&file, text).doing(format!("write {name}"))?;
        files.push((file, Path::new("etc").join(name)));
        Ok(())
    };
    write("fence_xvm.key".into(), "a key that both sides of a test know and that is long enough")?;
    write("simulated.toml".into(), &simulated(target))?;
    write("domains.xml".into(), &domains(target))?;
    for hash in Hash::ALL {
        write(format!("agent-{}.toml", hash.word()), &settings_of_agent(hash))?;
        write(format!("fence_virt-{}.conf", hash.word()), &settings_of_fence_virtd(hash))?;
    }
    Ok(files)
}

fn simulated(target: &str) -> String {
    format!(
        "[[domain]]\nname = \"{target}\"\nuuid = \"00000000-0000-4000-8000-000000000001\"\ncluster = \"web\"\nrunning = true\n"
    )
}

fn domains(target: &str) -> String {
    format!(
        "<node><domain type='test'><name>{target}</name><uuid>00000000-0000-4000-8000-000000000001</uuid>\
         <memory>16384</memory><os><type>hvm</type></os></domain></node>"
    )
}

fn settings_of_agent(hash: Hash) -> String {
    let hash = hash.word();
    format!(
        "[legacy]\nkey-file = \"{KEY}\"\nhash = \"{hash}\"\nauth = \"{hash}\"\n\
         [[legacy.listener]]\nkind = \"vsock\"\n[[legacy.peer]]\ncid = {LOCAL_CID}\ncluster = \"web\"\n"
    )
}

fn settings_of_fence_virtd(hash: Hash) -> String {
    let hash = hash.word();
    format!(
        "fence_virtd {{ listener = \"vsock\"; backend = \"libvirt\"; module_path = \"{MODULES}\"; }}\n\
         listeners {{ vsock {{ key_file = \"{KEY}\"; hash = \"{hash}\"; auth = \"{hash}\"; }} }}\n\
         backends {{ libvirt {{ uri = \"test:///etc/domains.xml\"; }} }}\n"
    )
}
