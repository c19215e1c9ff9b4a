//! Whatever is broken, the hook ends with 0.

use super::program::{Hook, domain_xml, not_utf8};
use fence_vmchannel_protocol::note::{DomainXml, Operation};
use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

#[test]
fn every_operation_leaves_one_note_and_no_output() {
    let hook = Hook::new();
    let operations =
        ["prepare", "start", "started", "stopped", "release", "migrate", "restore", "reconnect", "attach"];

    for operation in operations {
        hook.call(["web1", operation, "begin", "-"], "<domain/>").ends_well();
    }

    let notes = hook.notes();
    assert_eq!(notes.iter().map(|note| note.operation.as_str()).collect::<Vec<_>>(), operations);
    assert!(notes.iter().all(|note| note.domain == "web1" && note.xml.whole() == Some("<domain/>")));
}

#[test]
fn notes_and_directories_are_closed_to_others() {
    let hook = Hook::new();

    hook.call(["web1", "prepare", "begin", "-"], &domain_xml(&hook.socket())).ends_well();

    let mode = |name: &str| hook.runtime.join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("spool"), mode("guests")), (0o711, 0o700, 0o711));
    let note = hook.spool_files().remove(0);
    assert_eq!(
        (note.metadata().unwrap().mode() & 0o7777, note.extension().unwrap()),
        (0o600, "note".as_ref())
    );
    assert!(hook.runtime.join("hook-called").exists());
}

#[test]
fn prepare_makes_a_missing_socket_for_the_domains_own_qemu_user() {
    let hook = Hook::new();

    hook.call(["web1", "prepare", "begin", "-"], &domain_xml(&hook.socket())).ends_well();

    let socket = hook.socket().metadata().unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!((socket.uid(), socket.gid(), socket.mode() & 0o777), (64055, 107, 0o660));
}

#[test]
fn only_the_begin_of_prepare_makes_sockets() {
    let hook = Hook::new();

    for (operation, sub_operation) in [("start", "begin"), ("release", "end"), ("prepare", "end")] {
        hook.call(["web1", operation, sub_operation, "-"], &domain_xml(&hook.socket())).ends_well();
    }

    assert!(!hook.socket().exists());
}

#[test]
fn an_existing_socket_is_not_touched() {
    let hook = Hook::new();
    std::fs::create_dir_all(hook.runtime.join("guests")).unwrap();
    let _agent = UnixListener::bind(hook.socket()).unwrap();
    let before = hook.socket().metadata().unwrap();

    hook.call(["web1", "prepare", "begin", "-"], &domain_xml(&hook.socket())).ends_well();

    let after = hook.socket().metadata().unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[test]
fn a_missing_or_odd_argument_is_no_failure() {
    let hook = Hook::new();
    let odd = std::ffi::OsString::from(std::ffi::OsStr::new("prepare"));

    hook.call::<_, &str>([], "").ends_well();
    hook.call(["web1"], "").ends_well();
    hook.call(["", "", "", ""], "").ends_well();
    hook.call(["n".repeat(100_000), "start".to_owned()], "").ends_well();
    hook.call([not_utf8(), odd, not_utf8(), not_utf8()], "<domain/>").ends_well();

    assert_eq!(hook.notes().len(), 1);
}

#[test]
fn huge_xml_is_omitted_from_the_note_but_its_sockets_are_made() {
    let hook = Hook::new();
    let huge = format!("{}<!--{}-->", domain_xml(&hook.socket()), "x".repeat(10 << 20));

    hook.call(["web1", "prepare", "begin", "-"], &huge).ends_well();

    assert_eq!(hook.notes()[0].xml, DomainXml::Omitted);
    assert!(hook.socket().exists());
}

#[test]
fn garbage_xml_is_passed_on_and_makes_no_sockets() {
    let hook = Hook::new();

    hook.call(["web1", "prepare", "begin", "-"], "<domain><devices><<<&bad;").ends_well();
    hook.call_with_bytes(["web1", "prepare", "begin", "-"], b"\xff\xfe\0").ends_well();

    let notes = hook.notes();
    assert_eq!(notes[0].xml.whole(), Some("<domain><devices><<<&bad;"));
    assert_eq!(notes[1].xml, DomainXml::Omitted);
}

#[test]
fn a_stdin_that_never_ends_is_not_waited_for() {
    let hook = Hook::new();

    hook.call_with_open_stdin(["web1", "prepare", "begin", "-"], &domain_xml(&hook.socket())).ends_well();

    let note = hook.notes().remove(0);
    assert_eq!((note.operation, note.xml), (Operation::Prepare, DomainXml::Omitted));
    assert!(hook.socket().exists(), "what came of the XML is enough for the socket");
}

#[test]
fn stdin_may_be_closed_endless_or_no_pipe_at_all() {
    let hook = Hook::new();

    for odd in ["/dev/null", "/dev/zero", "/", "/dev/full"] {
        let stdin = std::fs::File::open(odd).unwrap();
        hook.call_with_stdin(["web1", "prepare", "begin", "-"], &stdin).ends_well();
    }
    hook.call_by_shell("exec \"$0\" web1 start begin - <&- >&- 2>&-").ends_well();

    assert_eq!(hook.notes().len(), 5);
}

#[test]
fn a_full_disk_is_no_failure() {
    let hook = Hook::new();

    for limit in
        ["size=4k", "nr_inodes=1", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4", "size=4k,nr_inodes=5"]
    {
        hook.call_on_tiny_disk(limit, &domain_xml(&hook.socket())).ends_well();
    }
}

#[test]
fn directories_that_cannot_be_made_are_no_failure() {
    let hook = Hook::new();
    let xml = domain_xml(&hook.socket());
    let call = || hook.call(["web1", "prepare", "begin", "-"], &xml).ends_well();

    std::fs::write(&hook.runtime, "a file where the directory should be").unwrap();
    call();
    std::fs::remove_file(&hook.runtime).unwrap();
    std::fs::create_dir(&hook.runtime).unwrap();
    std::fs::write(hook.runtime.join("spool"), "").unwrap();
    std::fs::write(hook.runtime.join("guests"), "").unwrap();
    call();

    let nowhere = Hook::at("/proc/no/such/place");
    nowhere.call(["web1", "prepare", "begin", "-"], &xml).ends_well();
}

#[test]
fn a_spool_that_others_may_write_is_not_used() {
    let hook = Hook::new();
    std::fs::create_dir_all(hook.runtime.join("spool")).unwrap();
    std::fs::set_permissions(hook.runtime.join("spool"), Permissions::from_mode(0o777)).unwrap();

    hook.call(["web1", "start", "begin", "-"], "<domain/>").ends_well();

    assert!(hook.spool_files().is_empty());
}

#[test]
fn the_spool_does_not_grow_beyond_its_cap_when_nobody_reads_it() {
    let hook = Hook::new();
    hook.call(["web1", "start", "begin", "-"], "<domain/>").ends_well();
    for count in 1..1023 {
        std::fs::write(hook.runtime.join(format!("spool/{count}.note")), "").unwrap();
    }

    hook.call(["web1", "start", "begin", "-"], "<domain/>").ends_well();
    hook.call(["web1", "start", "begin", "-"], "<domain/>").ends_well();

    assert_eq!(hook.spool_files().len(), 1024);
}
