//! A target that moves to another host: two labs, each with a libvirtd and an agent of its own. It is off nowhere while it
//! runs anywhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use fence_vmchannel_protocol::{Evidence, Power, PowerState, Reason, Ruling};
use fence_vmchannel_tests::asker::Answer;
use fence_vmchannel_tests::rounds::{Spread, rounds};
use fence_vmchannel_tests::{Agent, Asker, Dice, Guest, Lab, LabError, Result};

const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

/// Two hosts that guests move between.
struct Hosts {
    here: Lab,
    there: Lab,
}

impl Hosts {
    fn start() -> Result<Self> {
        let hosts = Self { here: Lab::start()?, there: Lab::start()? };
        // QEMU, which is not root, listens there for what comes.
        let (lab, door) = (hosts.there.directory(), hosts.door());
        let made =
            fs::create_dir(&door).and_then(|()| open_to(lab, 0o711)).and_then(|()| open_to(&door, 0o777));
        made.map_err(|source| LabError::System { doing: format!("make {}", door.display()), source })?;
        Ok(hosts)
    }

    fn door(&self) -> std::path::PathBuf {
        self.there.directory().join("door")
    }

    /// Moves a guest from here to there; returns when it is over.
    fn migrate(&self, name: &str, more: &[&str]) -> Result<String> {
        let socket = self.there.path("/run/libvirt/libvirt-sock");
        let to = format!("qemu+unix:///system?socket={}", socket.display());
        let door = format!("unix://{}/{name}.sock", self.door().display());
        let words = ["migrate", "--live", "--p2p", name, &to, "--migrateuri", &door];
        self.here.virsh(&[&words, more].concat())
    }
}

fn open_to(directory: &std::path::Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(mode))
}

/// Waits until libvirt moves the domain.
fn wait_until_it_moves(lab: &Lab, name: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let job = lab.virsh(&["domjobinfo", name]).unwrap_or_else(|error| error.to_string());
        if job.lines().any(|line| line.starts_with("Operation:") && line.contains("Outgoing migration")) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "it does not migrate: {job}");
    }
}

/// What libvirt says of the domain, nothing if it does not know it.
fn state(lab: &Lab, name: &str) -> Option<String> {
    lab.virsh(&["domstate", name]).ok().map(|state| state.trim().to_owned())
}

fn says_moved(answer: &Answer) -> bool {
    answer.verdict.ruling == Ruling::Failed(Reason::Moved) && !answer.says_off()
}

#[test]
fn an_off_in_the_middle_of_a_migration_ends_both_the_migration_and_the_target() -> Result<()> {
    let hosts = Hosts::start()?;
    let (_here, _there) = (Agent::start(&hosts.here)?, Agent::start(&hosts.there)?);
    let mut asker = Asker::in_cluster(&hosts.here, "leave1", "web")?;
    let _image = Guest::named("leave0").define(&hosts.there)?;
    let leaving = Guest::named("leave2").in_cluster("web").unseen().boot(&hosts.here)?;
    let process = leaving.process()?;

    let (off, gone, ended) = thread::scope(|scope| -> Result<_> {
        let moving = scope.spawn(|| hosts.migrate("leave2", &["--bandwidth", "1"]));
        wait_until_it_moves(&hosts.here, "leave2")?;
        let off = asker.power(Power::Off, &leaving, PATIENCE)?;
        Ok((off, process.is_gone(), moving.join().unwrap()))
    })?;
    let deadline = Instant::now() + SOON;
    while leaving.is_running() {
        assert_ne!(state(&hosts.there, "leave2").as_deref(), Some("running"));
        assert!(Instant::now() < deadline, "the other host keeps what arrived");
    }

    println!(
        "off while it migrates: {:?} after {:?}; the migration: {ended:?}",
        off.verdict.ruling, off.took
    );
    assert!(off.is_done() && off.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{off:?}");
    assert!(ended.is_err());
    Ok(())
}

#[test]
fn an_off_of_what_migrates_is_true_also_when_libvirtd_dies_or_hangs_meanwhile() -> Result<()> {
    let hosts = Hosts::start()?;
    let (_here, _there) = (Agent::start(&hosts.here)?, Agent::start(&hosts.there)?);
    let mut asker = Asker::in_cluster(&hosts.here, "lone1", "web")?;
    let _image = Guest::named("lone0").define(&hosts.there)?;
    let leaving = Guest::named("lone2").in_cluster("web").unseen().define(&hosts.here)?;

    for dies in [true, false] {
        leaving.start()?;
        leaving.wait_for_shell()?;
        let process = leaving.process()?;
        let (off, gone) = thread::scope(|scope| -> Result<_> {
            let moving = scope.spawn(|| hosts.migrate("lone2", &["--bandwidth", "1"]));
            wait_until_it_moves(&hosts.here, "lone2")?;
            if dies {
                hosts.here.libvirtd_kill()?
            } else {
                hosts.here.libvirtd_stop()?
            }
            let off = asker.power(Power::Off, &leaving, PATIENCE);
            let gone = process.is_gone();
            if dies {
                hosts.here.libvirtd_start()?
            } else {
                hosts.here.libvirtd_cont()?
            }
            let _ = moving.join().unwrap(); // it fails
            Ok((off?, gone))
        })?;
        let deadline = Instant::now() + PATIENCE;
        while leaving.is_running() {
            assert_ne!(state(&hosts.there, "lone2").as_deref(), Some("running"));
            assert!(Instant::now() < deadline, "the other host keeps what arrived");
        }

        let how = if dies { "killed" } else { "stopped" };
        println!("libvirtd {how} in mid migration: {:?} after {:?}", off.verdict, off.took);
        assert_eq!(off.says_off(), gone, "{off:?}");
        assert!(off.is_done(), "{off:?}");
        leaving.wait_until_shut_off()?;
    }
    Ok(())
}

#[test]
fn what_arrives_and_what_has_moved_is_off_nowhere_until_it_is_fenced_where_it_runs() -> Result<()> {
    let hosts = Hosts::start()?;
    let (_here, _there) = (Agent::start(&hosts.here)?, Agent::start(&hosts.there)?);
    let mut asker_here = Asker::in_cluster(&hosts.here, "move1", "web")?;
    let mut asker_there = Asker::in_cluster(&hosts.there, "move3", "web")?;
    let _image = Guest::named("move0").define(&hosts.there)?;
    let moving = Guest::named("move2").in_cluster("web").unseen().boot(&hosts.here)?;
    let source = moving.process()?;

    let arriving = thread::scope(|scope| -> Result<_> {
        let migration = scope.spawn(|| hosts.migrate("move2", &["--bandwidth", "1"]));
        wait_until_it_moves(&hosts.here, "move2")?;
        let deadline = Instant::now() + SOON;
        let mut arriving = asker_there.power(Power::Off, &moving, PATIENCE)?;
        while arriving.verdict.ruling == Ruling::Refused(Reason::NotPermitted) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100)); // 20 requests in a second
            arriving = asker_there.power(Power::Off, &moving, PATIENCE)?;
        }
        let lived = !source.is_gone();
        hosts.here.virsh(&["migrate-setspeed", "move2", "1000"])?;
        migration.join().unwrap()?;
        assert!(lived, "the source is let alone");
        Ok(arriving)
    })?;
    let there = state(&hosts.there, "move2");
    let moved = asker_here.power(Power::Off, &moving, PATIENCE)?;
    let seen_here = asker_here.status(&moving, PATIENCE)?;
    let runs_on = state(&hosts.there, "move2");
    let fenced = asker_there.power(Power::Off, &moving, PATIENCE)?;
    let gone = !moving.is_running();

    println!("off while it arrives: {:?}; off where it came from: {:?}", arriving.verdict, moved.verdict);
    println!("off where it runs: {:?} after {:?}", fenced.verdict.ruling, fenced.took);
    assert!(says_moved(&arriving), "{arriving:?}");
    assert!(
        says_moved(&moved) && there == runs_on && there.as_deref() == Some("running"),
        "{moved:?} {runs_on:?}"
    );
    assert_ne!(seen_here.verdict.state, Some(PowerState::Off), "{seen_here:?}");
    assert!(fenced.is_done() && fenced.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{fenced:?}");
    Ok(())
}

/// What happens to the libvirtd of the host that the target leaves.
#[derive(Debug, Clone, Copy)]
enum Blow {
    None,
    Killed,
    Stopped,
}

impl Blow {
    fn fall(self, lab: &Lab) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Killed => lab.libvirtd_kill(),
            Self::Stopped => lab.libvirtd_stop(),
        }
    }

    fn heal(self, lab: &Lab) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Killed => lab.libvirtd_start(),
            Self::Stopped => lab.libvirtd_cont(),
        }
    }
}

/// Whether the domain runs on this host, once what arrived is let run or cleared away.
fn comes_to_run(lab: &Lab, name: &str) -> bool {
    let deadline = Instant::now() + SOON;
    loop {
        match state(lab, name).as_deref() {
            None | Some("shut off") => return false,
            Some("running") => return true,
            Some(other) => assert!(Instant::now() < deadline, "it stays {other}"),
        }
    }
}

/// A migration of a small running guest, and an off at this moment of it, which is true or is no off.
fn off_at(
    hosts: &Hosts,
    asker: &mut Asker<'_>,
    target: &Guest<'_>,
    (moment, blow): (Duration, Blow),
) -> Result<Answer> {
    target.start()?;
    hosts.here.virsh(&["resume", target.name()])?;
    let source = target.process()?;
    let (answer, gone) = thread::scope(|scope| -> Result<_> {
        let moving = scope.spawn(|| hosts.migrate(target.name(), &[]));
        thread::sleep(moment); // the moment is the test
        blow.fall(&hosts.here)?;
        let answer = asker.power(Power::Off, target, PATIENCE);
        let gone = source.is_gone();
        blow.heal(&hosts.here)?;
        let _ = moving.join(); // it succeeds or is aborted
        Ok((answer?, gone))
    })?;

    let runs_there = comes_to_run(&hosts.there, target.name());
    assert!(!answer.says_off() || (gone && !runs_there), "{moment:?}, {blow:?}: false: {answer:?}");
    if runs_there {
        hosts.there.virsh(&["destroy", target.name()])?;
    }
    if !source.is_gone() {
        target.destroy().ok(); // it may just be ending
    }
    target.wait_until_shut_off()?;
    Ok(answer)
}

/// Offs at random moments of migrations, and what they came to.
fn offs_at_random(name: &str, count: usize, blows: &[Blow]) -> Result<String> {
    let hosts = Hosts::start()?;
    let (_here, _there) = (Agent::start(&hosts.here)?, Agent::start(&hosts.there)?);
    let mut asker = Asker::in_cluster(&hosts.here, &format!("{name}1"), "web")?;
    let target = Guest::named(&format!("{name}2")).in_cluster("web").unseen().cheap().define(&hosts.here)?;
    let mut dice = Dice::cast()?;
    let (mut took, mut others) = (Vec::new(), Vec::new());

    for blow in blows.iter().cycle().take(count) {
        let moment = dice.between(Duration::ZERO, Duration::from_millis(700));
        let answer = off_at(&hosts, &mut asker, &target, (moment, *blow))?;
        if !answer.says_off() {
            others.push(format!(
                "{moment:?}, {blow:?}: {:?} {:?}",
                answer.verdict.ruling, answer.verdict.detail
            ));
        }
        took.push(answer.took);
    }

    let (took, offs) = (Spread::of(took), count - others.len());
    Ok(format!(
        "off at a random moment of a migration, {blows:?}: {took}\n0 false; {offs} off, the others: {others:#?}"
    ))
}

#[test]
fn an_off_at_any_moment_of_a_migration_is_never_said_of_what_runs_on_the_other_host() -> Result<()> {
    println!("{}", offs_at_random("any", rounds(8), &[Blow::None])?);
    Ok(())
}

/// The last step of a migration that libvirtd dies in before it could tell of it is left out: see the threat model.
#[test]
fn an_off_at_any_moment_of_a_migration_is_not_false_either_while_libvirtd_is_dead_or_hangs() -> Result<()> {
    println!("{}", offs_at_random("blow", rounds(6), &[Blow::Killed, Blow::Stopped])?);
    Ok(())
}
