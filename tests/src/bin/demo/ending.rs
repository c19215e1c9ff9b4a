//! The frame of the story: the lab before it, and what is left after it.
//!
//! In:  `KEEP` from the environment. Out: nothing of the lab is left, which is looked at and told; or, with `KEEP=1`,
//!      how to enter it and how to end it.
//!
//! Invariant: only a story that was told to its end is kept.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, mem};

use fence_vmchannel_tests::Lab;
use fence_vmchannel_tests::image::Image;

use crate::chapters::{self, Cast, Figures};
use crate::hosting::{Host, RunningAgent};
use crate::interruption;
use crate::story::{Story, Stumble, Told, complain, say};

/// What becomes of the lab after the story.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Removed,
    Kept,
}

/// How to see whether something of the lab is left.
#[derive(Debug)]
struct Traces {
    directory: PathBuf,
    mounts: PathBuf,
}

/// Makes the lab, tells the story in it, and takes it away again. The text says how clean it left the machine.
pub(crate) fn tell_from_start_to_end() -> (Told<()>, String) {
    match prepare() {
        Err(stumble) => (Err(stumble), "Nothing was started.".into()),
        Ok((lab, begun)) => {
            let traces = Traces::of(&lab);
            let told = tell_in(&lab, begun);
            if matches!(told, Ok(After::Kept)) {
                mem::forget(lab);
                return (Ok(()), String::new());
            }
            drop(lab);
            match traces.and_then(|traces| traces.are_gone()) {
                Ok(clean) => (told.map(drop), clean),
                Err(left) => (told.and(Err(left)), "Not everything could be removed.".into()),
            }
        }
    }
}

fn prepare() -> Told<(Lab, Instant)> {
    say("demo: one virtual machine fences another, without any network between them and the host")?;
    say(
        "demo: preparing what the guests boot: Debian's cloud kernel (fetched once), busybox, fence_vmchannel",
    )?;
    Image::get()?;
    let begun = Instant::now();
    interruption::listen().map_err(std::io::Error::from)?;
    Ok((Lab::start()?, begun))
}

fn tell_in(lab: &Lab, begun: Instant) -> Told<After> {
    let host = Host::of(lab)?;
    interruption::supervisor_is(host.supervisor()?);
    let mut story = Story::on(&host, begun);
    let (cast, agent) = tell(&mut story, &host).inspect_err(|_| {
        if !interruption::interrupted() {
            complain(&format!("what the agent logged last:\n{}", host.end_of_log()));
        }
    })?;
    if env::var_os("KEEP").is_none_or(|keep| keep != "1") {
        return Ok(After::Removed);
    }
    keep(&mut story, &host)?;
    mem::forget((cast, agent));
    Ok(After::Kept)
}

fn tell<'lab>(story: &mut Story<'_>, host: &Host<'lab>) -> Told<(Cast<'lab>, RunningAgent)> {
    let cast = chapters::a_host_with_three_machines(story, host)?;
    let agent = chapters::everything_on_the_host(story, host, &cast)?;
    chapters::what_web1_sees(story, &cast)?;
    let off = chapters::web1_fences_web2(story, host, &cast)?;
    chapters::web1_is_refused(story, &cast)?;
    let reboot = chapters::web2_comes_back(story, &cast)?;
    let by_virsh = chapters::the_same_by_virsh(story)?;
    chapters::summary(story, &Figures { off, reboot, by_virsh })?;
    Ok((cast, agent))
}

fn keep(story: &mut Story<'_>, host: &Host<'_>) -> Told<()> {
    story.chapter("The lab stays (KEEP=1)")?;
    host.outlive_the_demo()?;
    story.tell(&format!(
        "Enter its host:    {}\n\
         try there:         fence-vmchanneld guests\n                   \
         virsh console web1     (a root shell in the guest after Enter; back by Ctrl-])\n\
         the agent's log:   {}\n\
         end it all:        kill {}",
        host.entry(),
        host.log().display(),
        host.supervisor()?,
    ))
}

impl Traces {
    fn of(lab: &Lab) -> Told<Self> {
        let libvirtd = Path::new("/proc").join(lab.libvirtd_pid()?.to_string());
        Ok(Self { directory: lab.directory().to_owned(), mounts: fs::read_link(libvirtd.join("ns/mnt"))? })
    }

    fn are_gone(&self) -> Told<String> {
        let (left, directory) = (living_in(&self.mounts), self.directory.display());
        if left > 0 || self.directory.exists() {
            return Err(Stumble::Wrong(format!("{left} processes of the lab are left, or its {directory}")));
        }
        Ok(format!("Cleaned up: no process of the lab is left, and {directory} is removed."))
    }
}

/// How many processes live in a mount namespace.
fn living_in(mounts: &Path) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("ns/mnt")).is_ok_and(|link| link == mounts))
        .count()
}
