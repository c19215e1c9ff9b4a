//! Targets that do not die: what is said of them is true, comes in time, and names what they wait for.

use std::fs::{self, OpenOptions};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use fence_vmchannel_protocol::{Ask, Evidence, Phase, Power, PowerState, Reason, Ruling};
use fence_vmchannel_tests::asker::{Answer, request, target};
use fence_vmchannel_tests::{Agent, Asker, Channel, Guest, Lab, Result, SilentDisk};

const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

fn detail(answer: &Answer) -> &str {
    answer.verdict.detail.as_deref().unwrap_or_default()
}

#[test]
fn a_target_that_is_stopped_is_off_within_the_grace_and_a_second() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 2\n")?;
    let mut asker = Asker::in_cluster(&lab, "halt1", "web")?;
    let stopped = Guest::named("halt2").in_cluster("web").cheap().start(&lab)?;
    let process = stopped.process()?;
    process.stop()?;

    let off = asker.power(Power::Off, &stopped, PATIENCE)?;
    let gone = process.is_gone();

    println!("SIGSTOP, grace of 2 s: off after {:?}", off.took);
    assert!(off.is_done() && off.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{off:?}");
    assert!(off.took > Duration::from_secs(2) && off.took < Duration::from_secs(3), "{:?}", off.took);
    Ok(())
}

#[test]
fn a_target_in_state_d_is_a_failure_that_names_it_in_time_and_the_truth_is_told_when_it_is_over() -> Result<()>
{
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 1\ngive-up-after-seconds = 10\n")?;
    let mut asker = Asker::in_cluster(&lab, "frozen1", "web")?;
    let frozen = Guest::named("frozen2").in_cluster("web").cheap().start(&lab)?;
    let process = frozen.process()?;
    process.freeze()?;

    let hurried = request(Ask::Power(Power::Off, target(&frozen)?), Duration::from_secs(6))?;
    let in_a_hurry = asker.ask(&hurried)?;
    let patient = asker.power(Power::Off, &frozen, PATIENCE)?;
    let meanwhile = asker.status(&frozen, PATIENCE)?;
    let lived = !process.is_gone();
    process.thaw()?;
    process.wait_until_gone(SOON)?;
    let repeated = asker.ask(&hurried)?;
    let afterwards = asker.power(Power::Off, &frozen, PATIENCE)?;

    println!("of 6 s: {:?} after {:?}, {}", in_a_hurry.verdict.ruling, in_a_hurry.took, detail(&in_a_hurry));
    println!("of 20 s: {:?} after {:?}, {}", patient.verdict.ruling, patient.took, detail(&patient));
    println!("progress heard after {:?}", in_a_hurry.progress);
    assert_eq!(in_a_hurry.verdict.ruling, Ruling::Failed(Reason::Timeout), "{in_a_hurry:?}");
    assert!(in_a_hurry.took < Duration::from_millis(6500), "no later than it was asked for");
    assert_eq!(patient.verdict.ruling, Ruling::Failed(Reason::CannotKill), "{patient:?}");
    let state = format!("QEMU pid {} in state D (disk sleep), waiting in ", process.pid);
    for answer in [&in_a_hurry, &patient] {
        assert!(detail(answer).contains(&state), "{answer:?}");
    }
    let told: Vec<Phase> = in_a_hurry.progress.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(told.len(), 5, "after each second: {in_a_hurry:?}");
    assert_eq!(told.last(), Some(&Phase::Killing), "{in_a_hurry:?}");
    assert!(lived && meanwhile.verdict.state == Some(PowerState::On), "{meanwhile:?}");
    assert_eq!(repeated.verdict, in_a_hurry.verdict, "what was answered stays answered");
    assert!(afterwards.is_done() && afterwards.says_off(), "{afterwards:?}");
    Ok(())
}

#[test]
fn a_target_whose_disk_never_answers_is_never_called_off_while_a_thread_of_it_lives() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start_with(&lab, "kill-after-seconds = 1\ngive-up-after-seconds = 6\n")?;
    let mut asker = Asker::in_cluster(&lab, "disk1", "web")?;
    let disk = SilentDisk::mount(&lab)?;
    let hung = Guest::named("disk2").in_cluster("web").cheap().with_disk(SilentDisk::PATH).start(&lab)?;
    let process = hung.process()?;
    disk.fall_silent();
    lab.virsh(&["resume", "disk2"])?;
    disk.wait_for_somebody(SOON)?;

    let off = asker.power(Power::Off, &hung, PATIENCE)?;
    let (lived, threads) = (!process.is_gone(), threads(process.pid));
    let meanwhile = asker.status(&hung, PATIENCE)?;
    drop(disk);
    process.wait_until_gone(SOON)?;
    let afterwards = asker.power(Power::Off, &hung, PATIENCE)?;

    println!(
        "a read that is never answered: {:?} after {:?}, {}",
        off.verdict.ruling,
        off.took,
        detail(&off)
    );
    println!("the process's threads: {threads:?}");
    assert!(lived, "the kernel waits for the answer, whatever signal comes");
    assert_eq!(off.verdict.ruling, Ruling::Failed(Reason::CannotKill), "{off:?}");
    assert!(detail(&off).contains(&format!("QEMU pid {}", process.pid)), "{off:?}");
    assert!(detail(&off).contains("state D"), "{off:?}");
    assert_eq!(meanwhile.verdict.state, Some(PowerState::On), "{meanwhile:?}");
    assert!(afterwards.is_done() && afterwards.says_off(), "{afterwards:?}");
    Ok(())
}

/// State and place of waiting of each thread.
fn threads(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let told = tasks.map(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default().to_owned();
        let place = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        format!("{state} {place}")
    });
    told.collect()
}

#[test]
fn a_target_that_is_being_saved_is_stopped_all_the_same_and_boots_freshly_afterwards() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "save1", "web")?;
    let saved = Guest::named("save2").in_cluster("web").cheap().start(&lab)?;
    let process = saved.process()?;
    let image = lab.path("/var/lib/libvirt/qemu/save/save2.save");
    mkfifo(&image, Mode::S_IRWXU).unwrap();
    let slow = OpenOptions::new().read(true).write(true).open(&image).unwrap(); // nobody reads

    let (off, gone) = thread::scope(|scope| -> Result<_> {
        let saving = scope.spawn(|| lab.virsh(&["managedsave", "save2"]));
        wait_for_job(&lab, "save2", "Save")?;
        let off = asker.power(Power::Off, &saved, PATIENCE)?;
        let gone = process.is_gone();
        drop(slow);
        let ended = saving.join().unwrap();
        println!("off while it is saved: {:?} after {:?}; the save: {ended:?}", off.verdict.ruling, off.took);
        Ok((off, gone))
    })?;
    saved.wait_until_shut_off()?;
    let on = asker.power(Power::On, &saved, PATIENCE)?;

    assert!(off.is_done() && off.verdict.evidence == Some(Evidence::ProcessGone) && gone, "{off:?}");
    assert!(on.is_done(), "{on:?}");
    assert!(is_fresh(&saved)?);
    Ok(())
}

#[test]
fn a_target_that_was_saved_is_off_and_on_boots_it_freshly() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let mut asker = Asker::in_cluster(&lab, "kept1", "web")?;
    let saved = Guest::named("kept2").in_cluster("web").cheap().start(&lab)?;
    lab.virsh(&["managedsave", "kept2"])?;

    let off = asker.power(Power::Off, &saved, PATIENCE)?;
    let on = asker.power(Power::On, &saved, PATIENCE)?;

    println!("off of what was saved: {:?}; on: {:?}", off.verdict, on.verdict);
    assert!(off.is_done() && off.verdict.evidence == Some(Evidence::NeverRanHere), "{off:?}");
    assert!(on.is_done() && saved.is_running(), "{on:?}");
    assert!(is_fresh(&saved)?);
    Ok(())
}

/// Waits until libvirt does this with the domain.
fn wait_for_job(lab: &Lab, name: &str, operation: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let job = lab.virsh(&["domjobinfo", name])?;
        if job.lines().any(|line| line.starts_with("Operation:") && line.contains(operation)) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "no such job: {job}");
    }
}

/// Whether it runs without having been restored.
fn is_fresh(guest: &Guest<'_>) -> Result<bool> {
    let arguments = fs::read(format!("/proc/{}/cmdline", guest.pid()?)).unwrap_or_default();
    Ok(!arguments.is_empty() && !arguments.split(|byte| *byte == 0).any(|word| word == b"-incoming"))
}

#[test]
fn a_guests_client_hears_of_a_target_in_state_d_before_its_own_time_is_over() -> Result<()> {
    let lab = Lab::start()?;
    let _agent = Agent::start(&lab)?;
    let asker = Guest::named("client1").in_cluster("web").with(Channel::VirtioConnect).boot(&lab)?;
    let frozen = Guest::named("client2").in_cluster("web").cheap().start(&lab)?;
    let process = frozen.process()?;
    process.freeze()?;

    let off = asker.run("time fence_vmchannel -v -o off -n client2 --timeout 21 2>&1")?;
    process.thaw()?;

    println!("{}", off.output);
    assert_eq!(off.exit_code, 1, "{}", off.output);
    let state = format!("QEMU pid {} in state D (disk sleep), waiting in ", process.pid);
    assert!(off.output.contains(&state), "{}", off.output);
    assert!(off.output.matches("progress: ").count() >= 10, "{}", off.output);
    assert!(!off.output.contains("no answer"), "{}", off.output);
    Ok(())
}
