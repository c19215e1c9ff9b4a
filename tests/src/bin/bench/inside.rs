//! Inside a real guest: the programs that a cluster manager would start.
//!
//! In:  a guest for each daemon, booted from the lab's image with Debian's fence_virt added to it.
//! Out: how long `status` takes from the program's start to its end, by the guest's own clock.

use std::fs;
use std::process::Command;
use std::time::Duration;

use fence_vmchannel_protocol::{Ask, encode_line};
use fence_vmchannel_tests::fence_virt::Packages;
use fence_vmchannel_tests::image::Image;
use fence_vmchannel_tests::programs::succeed;
use fence_vmchannel_tests::{Agent, Channel, Guest, Lab};

use crate::askers::CLUSTER;
use crate::error::{Result, unexpected};
use crate::goals::Goal;
use crate::incumbent::{self, Incumbent};
use crate::report::{Report, Row};
use crate::samples::Samples;
use crate::sections::Size;
use crate::stage::{target, wait_until};
use crate::words::request;

const TEXT: &str = "\
Without KVM: the guest's processor is emulated, and starting any program takes most of the time. What the agent and the channel
add to that is the difference to the row `starting the program`, and the row `the question alone`: a shell that holds the port
open writes the request and reads the reply.";
const VIRTIO: Goal = Goal::within(
    Duration::from_millis(2),
    "the guest is emulated: its program takes longer to start, see `starting the program` and `the question alone`",
);
const SERIAL: Goal =
    Goal::within(Duration::from_millis(40), "the guest is emulated: see `starting the program`");
const CLIENT: &str = "/usr/sbin/fence_virt";
/// The kernel's clock without starting a program: the third line of this file is `now at NANOSECONDS nsecs`.
const CLOCK: &str = "clock() { { read -r _; read -r _; read -r _ _ t _; } </proc/timer_list; }";

/// Status over each kind of port, by our client and by fence_virt.
pub(crate) fn measure(size: Size, report: &mut Report) -> Result<()> {
    let lab = Lab::start()?;
    add_the_other_client(&lab)?;
    let _agent = Agent::start(&lab)?;
    let _incumbent = Incumbent::serial(&lab)?;
    let aim = Guest::named("target").in_cluster(CLUSTER).with(Channel::VirtioConnect).cheap();
    let aim = aim.define(&lab)?;
    let ours = Guest::named("ours").in_cluster(CLUSTER);
    let ours = ours.with(Channel::VirtioConnect).with(Channel::SerialConnect).define(&lab)?;
    let theirs = Guest::named("theirs").with(Channel::SerialBind).define(&lab)?;
    move_the_port(&lab, &theirs)?;
    let sockets = [
        format!("{}.sock", ours.uuid()),
        format!("{}-serial1.sock", ours.uuid()),
        format!("{}.sock", aim.uuid()),
    ];
    for socket in sockets {
        let path = lab.path("/run/fence-vmchannel/guests").join(socket);
        wait_until("the agent's sockets", || Ok(path.exists()))?;
    }
    for guest in [&aim, &ours, &theirs] {
        guest.start()?;
    }
    for guest in [&ours, &theirs] {
        guest.wait_for_shell()?;
        guest.run(CLOCK)?;
    }
    report.chapter("Inside a guest", TEXT);
    rows(&ours, &theirs, &aim, size.of(50, 3), report)
}

fn rows(
    ours: &Guest<'_>,
    theirs: &Guest<'_>,
    aim: &Guest<'_>,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let name = aim.name();
    let port = virtio_port(ours)?;
    let status = |device: &str| format!("fence_vmchannel --action status --plug {name} --device {device}");
    let by_virtio = Row::new("status over virtio", repeated(ours, &status(&port), rounds)?);
    let refused = ours.run(&format!("{CLIENT} -o status -n {name} -D {port}"))?;
    report.add(by_virtio.incumbent_never(reason(&refused.output)).goal(VIRTIO));
    let by_serial = Row::new("status over ttyS1", repeated(ours, &status("/dev/ttyS1"), rounds)?);
    let others = repeated(theirs, &format!("{CLIENT} -o status -n {name} -D /dev/ttyS1"), rounds);
    report.add(beside(by_serial, others).goal(SERIAL));
    let starting = Row::new("starting the program", repeated(ours, "fence_vmchannel --version", rounds)?);
    report.add(beside(starting, repeated(theirs, &format!("{CLIENT} -V"), rounds)));
    report.add(Row::new("the question alone, over virtio", alone(ours, aim, &port, rounds)?));
    Ok(())
}

fn beside(row: Row, others: Result<Samples>) -> Row {
    match others {
        Ok(took) => row.incumbent(took),
        Err(error) => row.incumbent_never(reason(&error.to_string())),
    }
}

/// The command so many times, each from its start to its end; it must succeed each time.
fn repeated(guest: &Guest<'_>, command: &str, rounds: usize) -> Result<Samples> {
    let round = format!(
        "clock; a=$t; {command} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}; clock; echo took $((t - a))"
    );
    let ran = guest.run(&format!("(i=0; while [ $i -lt {rounds} ]; do {round}; i=$((i + 1)); done)"))?;
    times(&ran.success(command)?, rounds)
}

/// A request and its reply by a shell that holds the port open.
fn alone(guest: &Guest<'_>, aim: &Guest<'_>, port: &str, rounds: usize) -> Result<Samples> {
    guest.run(&format!("exec 3<>{port}"))?.success("open the port")?;
    let mut said = String::new();
    for _ in 0..rounds {
        let line = encode_line(&request(Ask::Status(target(aim)?))?).map_err(unexpected)?;
        let line = String::from_utf8(line).map_err(unexpected)?;
        let round =
            format!("clock; a=$t; echo '{}' >&3; read -r r <&3; clock; echo took $((t - a))", line.trim());
        said += &guest.run(&round)?.success("a question")?;
    }
    guest.run("exec 3>&-")?;
    times(&said, rounds)
}

fn times(said: &str, rounds: usize) -> Result<Samples> {
    let took = said.lines().filter_map(|line| line.strip_prefix("took ")?.trim().parse().ok());
    let samples: Samples = took.map(Duration::from_nanos).collect();
    match samples.count() {
        count if count == rounds => Ok(samples),
        count => Err(unexpected(format!("{count} of {rounds} rounds were timed: {said}"))),
    }
}

fn virtio_port(guest: &Guest<'_>) -> Result<String> {
    let find = "cd /sys/class/virtio-ports && grep -l org.fence_vmchannel.0 */name; cd";
    let found = guest.run(find)?.success(find)?;
    let port = found.lines().find_map(|line| line.trim().strip_suffix("/name"));
    port.map(|port| format!("/dev/{port}")).ok_or_else(|| unexpected("the guest has no virtio port"))
}

/// The first line of what a program said.
fn reason(said: &str) -> String {
    said.trim().lines().next().unwrap_or("no word").trim().chars().take(60).collect()
}

/// fence_virtd takes sockets of its own directory only.
fn move_the_port(lab: &Lab, guest: &Guest<'_>) -> Result<()> {
    let xml = lab.virsh(&["dumpxml", "--inactive", guest.name()])?;
    let moved = xml.replace("/run/fence-vmchannel/guests", incumbent::SOCKETS);
    let file = lab.directory().join("moved.xml");
    fs::write(&file, moved)?;
    lab.virsh(&["define", &file.to_string_lossy()])?;
    Ok(())
}

/// Puts the lab's image where guests boot from, with fence_virt and its libraries behind it: the kernel unpacks both archives.
fn add_the_other_client(lab: &Lab) -> Result<()> {
    let image = Image::get()?;
    let tree = lab.directory().join("fence-virt");
    for (file, place) in Packages::get()?.client()? {
        let copy = tree.join(place);
        fs::create_dir_all(copy.parent().unwrap_or(&tree))?;
        fs::copy(file, copy)?;
    }
    let archive = tree.with_extension("cpio");
    let pack = format!(
        "cd {} && find . | busybox cpio -o -H newc >{} 2>/dev/null",
        tree.display(),
        archive.display()
    );
    succeed(Command::new("sh").args(["-c", &pack]))?;
    let mut initramfs = fs::read(&image.initramfs)?;
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    initramfs.extend(fs::read(archive)?);
    let images = lab.path("/var/lib/libvirt/images");
    fs::write(images.join("initramfs"), initramfs)?;
    fs::copy(&image.kernel, images.join("vmlinuz"))?;
    Ok(())
}
