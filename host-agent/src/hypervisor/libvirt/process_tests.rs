use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const NAME: &str = "web1";

/// A process whose command line looks like that of a domain's QEMU.
struct Machine {
    child: Child,
    uuid: Uuid,
    run_dir: tempfile::TempDir,
}

impl Machine {
    fn start(seed: u128) -> Self {
        let uuid = Uuid::from_u128(u128::from(std::process::id()) << 64 | seed);
        let run_dir = tempfile::tempdir().unwrap();
        let qemu = run_dir.path().join("qemu-system-test");
        fs::copy("/bin/sh", &qemu).unwrap();
        // The shell ignores its arguments; it reads until its input is closed.
        let child = loop {
            let mut command = Command::new(&qemu);
            command.args([
                "-c",
                "read line",
                "qemu (x) 1 2",
                "-name",
                "guest=web1",
                "-uuid",
                &uuid.to_string(),
            ]);
            match command.stdin(Stdio::piped()).spawn() {
                // Another test's child holds the copy open for writing until it has become its own program.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                child => break child.unwrap(),
            }
        };
        let machine = Self { child, uuid, run_dir };
        machine.write_pid(machine.pid());
        machine.wait_for_exec();
        machine
    }

    /// Between fork and exec it has our own command line.
    fn wait_for_exec(&self) {
        while domain_of(&command_line(self.pid()).unwrap()) != Some(self.uuid) {
            std::thread::yield_now();
        }
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    fn write_pid(&self, pid: i32) {
        fs::write(self.run_dir.path().join(format!("{NAME}.pid")), format!("{pid}\n")).unwrap();
    }

    fn instance(&self) -> Option<Instance> {
        instance_from_pid_file(self.run_dir.path(), NAME, self.uuid).instance()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_process_is_gone_when_it_has_been_killed_and_not_before() {
    let machine = Machine::start(1);
    let instance = machine.instance().unwrap();
    assert!(!instance.process.is_gone());
    assert!(tokio::time::timeout(Duration::from_millis(20), instance.process.gone()).await.is_err());

    instance.process.kill().unwrap();
    tokio::join!(instance.process.gone(), instance.process.gone());

    assert!(instance.process.is_gone(), "though nobody has reaped it");
    assert!(!instance.process.is_peer(machine.pid()));
    assert!(instance.process.describe().ends_with("has exited"));
    assert!(instance.process.kill().is_ok(), "a dead process needs no killing");
}

#[test]
fn an_instance_is_its_pid_and_its_start() {
    let machine = Machine::start(2);

    let instance = machine.instance().unwrap();

    assert_eq!(instance, machine.instance().unwrap());
    assert_eq!(instance.id.pid, machine.pid());
    assert!(instance.id.started > 0);
    assert!(instance.process.is_peer(machine.pid()) && !instance.process.is_peer(1));
    assert!(instance.process.describe().contains(" in state "), "{}", instance.process.describe());
}

#[test]
fn what_a_process_is_doing_is_looked_at_once_for_all_who_ask_within_a_moment() {
    const MOMENT: Duration = Duration::from_millis(200);
    let machine = Machine::start(14);
    let process = machine.instance().unwrap().process;
    let is_stopped = || doing::slowest_thread(machine.pid()).is_some_and(|(state, _)| state.starts_with('T'));
    let (first, second) = loop {
        let signal = |name| nix::sys::signal::kill(nix::unistd::Pid::from_raw(machine.pid()), name).unwrap();
        signal(nix::sys::signal::Signal::SIGCONT);
        while is_stopped() {
            std::thread::yield_now();
        }
        std::thread::sleep(MOMENT);
        let begun = std::time::Instant::now();
        let first = process.describe();
        signal(nix::sys::signal::Signal::SIGSTOP);
        while !is_stopped() {
            std::thread::yield_now();
        }
        let second = process.describe();
        if begun.elapsed() < MOMENT {
            break (first, second); // or this test was held up
        }
    };

    assert_eq!(second, first);
    std::thread::sleep(MOMENT);
    assert!(process.describe().contains("in state T"), "{}", process.describe());
    process.kill().unwrap();
    while !process.is_gone() {
        std::thread::yield_now();
    }
    assert!(process.describe().ends_with("has exited"), "an end is told at once");
}

#[test]
fn a_process_is_held_again_only_if_it_is_the_very_same_one() {
    let mut machine = Machine::start(10);
    let id = machine.instance().unwrap().id;

    assert_eq!(again(id).instance().map(|held| held.id), Some(id));
    let later = InstanceId { started: id.started + 1, ..id };
    assert_eq!(again(later), Sighting::Absent, "another process with its number is not it");
    machine.child.kill().unwrap();
    machine.child.wait().unwrap();
    assert_eq!(again(id), Sighting::Absent);
}

#[test]
fn a_process_is_held_once_however_often_it_is_found() {
    let machine = Machine::start(11);
    let first = machine.instance().unwrap();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();

    let again: Vec<_> = (0..100).map(|_| machine.instance().unwrap()).collect();

    assert!(again.iter().all(|found| Arc::ptr_eq(&found.process, &first.process)));
    // Other tests of this process open some meanwhile.
    assert!(descriptors() < before + 50, "one descriptor for all of them");
}

#[test]
fn of_two_processes_of_one_domain_both_are_found() {
    let (one, other) = (Machine::start(13), Machine::start(13));

    let found = everyone().unwrap();

    let mut pids: Vec<_> = found.domains[&one.uuid].iter().map(|instance| instance.id.pid).collect();
    pids.sort_unstable();
    assert_eq!(pids, [one.pid().min(other.pid()), one.pid().max(other.pid())]);
}

#[test]
fn what_was_learned_of_a_process_holds_though_its_arguments_cannot_be_read_any_more() {
    let mut machine = Machine::start(12);
    let held = machine.instance().unwrap();
    machine.child.kill().unwrap();

    // Until it is reaped it is a zombie without arguments.
    let found = machine.instance();

    assert!(found.is_none() || found.as_ref() == Some(&held), "{found:?}");
    machine.child.wait().unwrap();
    assert_eq!(machine.instance(), None);
    assert!(!everyone().unwrap().domains.contains_key(&machine.uuid));
}

#[test]
fn a_pid_file_that_names_another_process_gives_no_instance() {
    let machine = Machine::start(3);

    for pid in [1, 0, -1, i32::try_from(std::process::id()).unwrap()] {
        machine.write_pid(pid);
        assert_eq!(machine.instance(), None, "{pid}");
    }
    fs::write(machine.run_dir.path().join("web1.pid"), "99999999999999").unwrap();
    assert_eq!(machine.instance(), None);
}

#[test]
fn a_pid_file_that_names_a_qemu_without_a_uuid_is_not_the_absence_of_a_process() {
    let machine = Machine::start(11);
    let qemu = machine.run_dir.path().join("qemu-system-test");
    let mut disguised = Command::new(&qemu).args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(disguised.id()).unwrap();
    machine.write_pid(pid);
    while !is_qemu(Pid::from_raw(pid).unwrap()).unwrap() {
        std::thread::yield_now(); // between fork and exec it is not yet one
    }

    let sighting = instance_from_pid_file(machine.run_dir.path(), NAME, machine.uuid);
    disguised.kill().unwrap();
    disguised.wait().unwrap();

    assert_eq!(sighting, Sighting::Unsure);
}

#[test]
fn a_process_is_read_once_and_nothing_that_is_new_is_read_where_nobody_may_wait() {
    let machine = Machine::start(15);
    let dir = machine.run_dir.path();

    let new = instance_at_once(dir, NAME, machine.uuid, None);
    let read = instance_in_time(dir, NAME, machine.uuid, None);
    let known = instance_at_once(dir, NAME, machine.uuid, None);

    assert_eq!(new, None);
    assert!(matches!(read, Sighting::Runs(_)));
    assert_eq!(known, Some(read));
    assert_eq!(instance_at_once(dir, "another", machine.uuid, None), Some(Sighting::Absent));
}

#[test]
fn a_name_cannot_lead_out_of_the_directory() {
    let machine = Machine::start(4);
    let inner = machine.run_dir.path().join("qemu");
    fs::create_dir(&inner).unwrap();

    assert_eq!(instance_from_pid_file(&inner, "../web1", machine.uuid), Sighting::Absent);
}

#[test]
fn a_qemu_with_the_uuid_is_found_even_without_a_pid_file() {
    let machine = Machine::start(5);
    let uuid = machine.uuid;

    assert!(everyone().unwrap().domains.contains_key(&uuid));
    drop(machine);
    assert!(!everyone().unwrap().domains.contains_key(&uuid));
}

#[test]
fn only_the_argument_after_uuid_counts() {
    let uuid = Uuid::from_u128(7);
    let line = |text: String| domain_of(text.replace(' ', "\0").as_bytes()) == Some(uuid);

    assert!(line(format!("qemu -uuid {uuid} -m 1")));
    assert!(line(format!("qemu -uuid x -uuid {}", uuid.to_string().to_uppercase())));
    assert!(line(format!("qemu -uuid -uuid {uuid}")));
    assert!(!line(format!("qemu -name {uuid} -uuid")));
    assert!(!line(format!("qemu -uuid {uuid}x")));
    assert!(!line(format!("qemu -smbios uuid={uuid}")));
}

#[test]
fn the_start_time_is_read_behind_a_hostile_command_name() {
    assert!(start_time(i32::try_from(std::process::id()).unwrap()).is_some());
    assert_eq!(start_time(-1), None);
}

#[test]
fn a_pid_file_that_cannot_be_read_is_not_the_absence_of_a_process() {
    let run_dir = tempfile::tempdir().unwrap();
    std::fs::write(run_dir.path().join("half.pid"), "").unwrap();
    std::fs::create_dir(run_dir.path().join("dir.pid")).unwrap();

    assert_eq!(instance_in_time(run_dir.path(), "half", Uuid::nil(), None), Sighting::Unsure);
    assert_eq!(instance_in_time(run_dir.path(), "dir", Uuid::nil(), None), Sighting::Unsure);
    assert_eq!(instance_in_time(run_dir.path(), "none", Uuid::nil(), None), Sighting::Absent);
}

#[test]
fn another_program_with_a_uuid_among_its_arguments_is_no_qemu() {
    let uuid = Uuid::from_u128(u128::from(std::process::id()) << 64 | 77);
    let mut other = Command::new("/bin/sh")
        .args(["-c", "read line", "sh", "-uuid", &uuid.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();

    let found = everyone().unwrap().domains.contains_key(&uuid);
    other.kill().unwrap();
    other.wait().unwrap();

    assert!(!found);
}

#[test]
fn while_the_pid_file_still_names_the_process_that_ended_no_other_was_started() {
    let mut machine = Machine::start(5);
    let ended = machine.instance().unwrap().id;
    machine.child.kill().unwrap();
    machine.child.wait().unwrap();

    let now = instance_in_time(machine.run_dir.path(), NAME, machine.uuid, Some(ended));

    assert_eq!(now, Sighting::Absent);
}

#[test]
fn all_pid_files_are_found_in_one_look_and_a_directory_that_cannot_be_listed_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["web1.pid", "db 1.pid", "web1.xml", "channel"] {
        fs::write(dir.path().join(file), "1\n").unwrap();
    }

    let named = named_by_pid_files(dir.path()).unwrap();
    let before_libvirt = named_by_pid_files(&dir.path().join("nobody")).unwrap();
    let unlisted = named_by_pid_files(&dir.path().join("channel"));

    assert_eq!(named, ["web1", "db 1"].map(str::to_owned).into());
    assert!(before_libvirt.is_empty());
    assert!(unlisted.is_err());
}

#[test]
fn a_process_of_which_nothing_can_be_read_is_not_taken_for_no_qemu() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!is_qemu_in(dir.path()).unwrap(), "it has ended");

    fs::create_dir(dir.path().join("comm")).unwrap(); // can be read by nobody

    assert!(is_qemu_in(dir.path()).is_err());
}

#[test]
fn the_program_of_a_wrapped_qemu_is_one_too() {
    let of = |program: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(program, dir.path().join("exe")).unwrap();
        is_qemu_in(dir.path()).unwrap()
    };

    let qemus = [
        "/usr/bin/qemu-system-x86_64",
        "/usr/libexec/qemu-kvm (deleted)",
        "/nix/store/q/bin/.qemu-system-x86_64-wrapped",
    ];
    assert_eq!(qemus.map(of), [true; 3]);
    assert_eq!(["/usr/sbin/virtqemud", "/usr/bin/swtpm", "/usr/bin/..qemu"].map(of), [false; 3]);
    assert!(is_name_of_qemu(b".qemu-system-x8\n"), "as the kernel cuts it");
}

#[test]
fn a_process_is_held_in_a_way_that_the_oldest_supported_kernel_knows() {
    let machine = Machine::start(12);
    let pidfd = open(Pid::from_raw(machine.pid()).unwrap()).unwrap();

    // A flag is no error to Linux 5.10 and newer, and to none before.
    let flags = rustix::fs::fcntl_getfl(&pidfd).unwrap();

    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
}

#[test]
fn of_a_process_with_very_many_threads_only_so_many_are_looked_at() {
    let (count, end) = (doing::MAX_THREADS, std::sync::Barrier::new(doing::MAX_THREADS + 1));
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| end.wait());
        }
        let all = fs::read_dir("/proc/self/task").unwrap().count();
        let pid = i32::try_from(std::process::id()).unwrap();
        let looked_at = doing::threads(pid).map(Iterator::count);
        end.wait();

        assert!(all > count);
        assert_eq!(looked_at, Some(count));
    });
}
