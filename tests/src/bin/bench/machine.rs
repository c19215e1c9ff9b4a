//! What was measured on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fence_vmchannel_tests::fence_virt::Packages;
use fence_vmchannel_tests::programs::{ours, succeed};

use crate::error::Result;

/// The sources, for their revision and their documents.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Machine, kernel and versions, as name and value.
pub(crate) fn facts() -> Result<Vec<(&'static str, String)>> {
    let said = |program: &str, words: &[&str]| {
        succeed(Command::new(program).args(words)).map(|said| said.trim().to_owned())
    };
    let agent = said(&ours("fence-vmchanneld")?.to_string_lossy(), &["--version"])?;
    let revision = said("git", &["-C", WORKSPACE, "describe", "--always", "--dirty"]);
    let kvm = if Path::new("/dev/kvm").exists() { "present, not used by the lab" } else { "none" };
    Ok(vec![
        ("date", said("date", &["-u", "+%F %H:%M UTC"])?),
        ("machine", format!("{}, {} of memory", processors()?, first_words("/proc/meminfo", "MemTotal:")?)),
        ("load at the start", fs::read_to_string("/proc/loadavg")?.split(' ').take(1).collect()),
        ("kernel", said("uname", &["-sr"])?),
        ("KVM", kvm.to_owned()),
        ("libvirt", said("libvirtd", &["--version"])?),
        ("QEMU", said("qemu-system-x86_64", &["--version"])?.lines().take(1).collect()),
        ("incumbent", Packages::get().map_or_else(|error| error.to_string(), |packages| packages.version())),
        ("agent", format!("{agent}, {}", revision.unwrap_or_else(|_| "revision unknown".into()))),
    ])
}

fn processors() -> Result<String> {
    let count =
        fs::read_to_string("/proc/cpuinfo")?.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!("{count} x {}", first_words("/proc/cpuinfo", "model name")?))
}

fn first_words(file: &str, key: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown");
    Ok(line.trim_matches([' ', '\t', ':']).to_owned())
}

/// Where the report goes: among the documents, or beside this program.
pub(crate) fn place(is_full: bool) -> Result<PathBuf> {
    if is_full {
        return Ok(Path::new(WORKSPACE).join("docs"));
    }
    Ok(std::env::current_exe()?.with_file_name("bench"))
}
