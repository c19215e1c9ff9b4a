use std::fs::{self, Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use fence_vmchannel_protocol::signing::Key;
use tempfile::TempDir;

use super::*;
use crate::domain::Standing;
use crate::policy::Loaded;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const RULES: &str = "[[signed]]\nfrom = ['web1']\nkeys = [{ id = 'cluster', file = 'k.key' }]\n";

fn domain(name: &str) -> Domain {
    Domain {
        uuid: uuid::Uuid::from_u128(name.bytes().fold(7, |sum, b| sum * 257 + u128::from(b))),
        name: name.parse().unwrap(),
        standing: Standing::Active,
        persistent: true,
        cluster: Some("web".into()),
        channels: Vec::new(),
        owner: None,
        instance: None,
    }
}

/// A policy directory with these rules and a key file of this mode.
fn directory(rules: &str, key: &[u8], mode: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules.toml"), rules).unwrap();
    let file = dir.path().join("k.key");
    fs::write(&file, key).unwrap();
    set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    dir
}

fn loaded(dir: &TempDir) -> Loaded {
    Policy::load(dir.path())
}

/// The one problem that loading this directory brings; its guest still has to sign.
fn problem(dir: &TempDir) -> String {
    let loaded = loaded(dir);
    let [problem] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };
    let refusal = loaded.policy.check_signature(&domain("web1"), Action::Status, None).unwrap_err();
    assert_eq!(refusal.reason, Reason::BadSignature);
    let decision = loaded.policy.explain(&domain("web1"), Action::Status, &domain("web2"));
    assert!(!decision.allowed && decision.rule.starts_with(NO_KEY), "{}", decision.rule);
    problem.to_string()
}

#[test]
fn a_key_file_is_used_only_if_nobody_else_may_open_it() {
    for good in [0o600, 0o400] {
        assert_eq!(loaded(&directory(RULES, SECRET, good)).problems, [], "{good:o}");
    }
    for open in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610] {
        let told = problem(&directory(RULES, SECRET, open));

        assert!(told.contains("k.key") && told.contains("chmod 0600"), "{open:o}: {told}");
    }
}

#[test]
fn a_key_file_that_is_missing_no_file_or_of_a_wrong_length_is_told() {
    let missing = directory(&RULES.replace("k.key", "no.key"), SECRET, 0o600);
    let no_file = directory(&RULES.replace("k.key", "."), SECRET, 0o600);
    let pipe = directory(&RULES.replace("k.key", "pipe"), SECRET, 0o600);
    nix::unistd::mkfifo(&pipe.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();

    assert!(problem(&missing).contains("cannot be read"));
    assert!(problem(&no_file).contains("no regular file"));
    assert!(problem(&pipe).contains("no regular file"));
    for wrong in [&b""[..], &SECRET[..31], b"0123456789abcdef0123456789abcde\n", &[b'x'; 4097]] {
        assert!(problem(&directory(RULES, wrong, 0o600)).contains("32 to 4096 bytes"));
    }
}

#[test]
fn a_link_to_a_key_file_is_judged_by_the_file() {
    let dir = directory(&RULES.replace("k.key", "link"), SECRET, 0o644);
    symlink(dir.path().join("k.key"), dir.path().join("link")).unwrap();

    assert!(problem(&dir).contains("mode 0644"));
}

#[test]
fn a_broken_file_that_lists_keys_closes_everything_instead_of_letting_unsigned_lines_through() {
    let dir = directory("[[signed]]\nfrom = ['web1']\nkeys = [{ id = 'cluster' }]\n", SECRET, 0o600);
    let loaded = loaded(&dir);

    let decision = loaded.policy.decide(&domain("web1"), Action::Off, &domain("web2"));

    assert_eq!(loaded.problems.len(), 1);
    assert!(!decision.allowed && decision.rule.contains("rules.toml"), "{}", decision.rule);
}

#[test]
fn a_wrong_key_table_names_the_line_and_what_is_wrong() {
    let key = |more: &str| format!("\n[[signed]]\nfrom = ['web1']\nkeys = [{more}]\n");
    for (rules, told) in [
        (key("{ id = 'a b', file = 'k.key' }"), "line 2: key \"a b\": a key id is 1 to 64"),
        (
            key("{ id = 'a', file = 'k.key' }, { id = 'a', file = 'k.key' }"),
            "line 2: key \"a\" is listed twice",
        ),
        (key("{ id = 'a', file = 'k.key', actions = ['fence'] }"), "line 2: unknown action"),
        (key("{ id = 'a', file = 'k.key', actions = [] }"), "line 2: `actions` names at least one"),
        (key("{ id = 'a', file = 'k.key', secret = 'x' }"), "unknown field"),
        ("[[signed]]\nkeys = []\n".into(), "missing field `from`"),
    ] {
        let problems = loaded(&directory(&rules, SECRET, 0o600)).problems;

        assert!(problems[0].text.contains(told), "{}", problems[0].text);
    }
}

#[test]
fn the_line_ending_of_a_text_is_no_part_of_the_key() {
    let nonce = Nonce([1; 16]);
    let request = br#"{"id":"5f0c9a3e7b1d48266f1e0d9c8b7a6950","op":"list"}"#;
    let request = fence_vmchannel_protocol::Request::parse(request).unwrap();
    let key = Key::of_file(SECRET).unwrap();
    let line = key.seal_request(&"cluster".parse().unwrap(), &nonce, &request).unwrap();
    let mut decoder = fence_vmchannel_protocol::Decoder::default();
    let Some(fence_vmchannel_protocol::Frame::Signed(line)) = decoder.push(&mut line.as_slice()) else {
        panic!("not signed")
    };

    for ending in ["", "\n", "\r\n"] {
        let dir = directory(RULES, &[SECRET, ending.as_bytes()].concat(), 0o600);
        let policy = loaded(&dir).policy;

        assert!(policy.open(&domain("web1"), &line, nonce).is_some(), "{ending:?}");
        assert!(policy.open(&domain("web2"), &line, nonce).is_none(), "it is web1's key");
    }
}

#[test]
fn explain_tells_with_which_keys_a_guest_has_to_sign() {
    let rules = "[[signed]]\nfrom = ['web1']\nkeys = [{ id = 'all', file = 'k.key' }, \
                 { id = 'look', file = 'k.key', actions = ['status'] }]\n";
    let policy = loaded(&directory(rules, SECRET, 0o600)).policy;
    let told = |action| policy.explain(&domain("web1"), action, &domain("web2"));

    assert!(told(Action::Status).rule.contains("signed with key all or look"), "{:?}", told(Action::Status));
    assert!(told(Action::Off).rule.contains("signed with key all ("), "{:?}", told(Action::Off));
    assert!(!policy.explain(&domain("web2"), Action::Off, &domain("web1")).rule.contains("signed"));
}

#[test]
fn what_is_listed_is_told_as_it_was_written() {
    let uuid = domain("web9").uuid;
    let rules = format!(
        "\n[[signed]]\nfrom = ['*', 'cluster:web', '{uuid}', 'web1']\nkeys = [{{ id = 'look', file = 'k.key', \
         actions = ['status', 'off'] }}, {{ id = 'lost', file = 'no.key' }}]\n"
    );
    let dir = directory(&rules, SECRET, 0o600);
    let policy = loaded(&dir).policy;

    let [rule] = policy.key_rules() else { panic!("{:?}", policy.key_rules()) };
    let [look, lost] = rule.keys() else { panic!("{:?}", rule.keys()) };

    assert!(policy.has_keys());
    assert_eq!(rule.from(), ["*", "cluster:web", &uuid.to_string(), "web1"]);
    assert!(rule.place().ends_with("rules.toml:2"), "{}", rule.place());
    assert_eq!(
        (look.id().as_str(), look.actions(), look.is_usable()),
        ("look", &[Action::Status, Action::Off][..], true)
    );
    assert_eq!((look.file(), lost.file()), (&*dir.path().join("k.key"), &*dir.path().join("no.key")));
    assert_eq!((lost.actions(), lost.is_usable()), (&Action::ALL[..], false));
}

#[test]
fn a_key_counts_by_its_name_and_its_file() {
    let rules = "[[signed]]\nfrom = ['web1']\nkeys = [{ id = 'one', file = 'k.key' }, { id = 'two', file = 'k.key' }]\n";
    let dir = directory(rules, SECRET, 0o600);
    let policy = loaded(&dir).policy;
    let may = |id: &str, file: &str| {
        let signer = Signer { id: id.parse().unwrap(), file: dir.path().join(file) };
        policy.check_signature(&domain("web1"), Action::Off, Some(&signer)).map_err(|refusal| refusal.reason)
    };

    assert_eq!([may("one", "k.key"), may("two", "k.key")], [Ok(()); 2]);
    assert_eq!(may("one", "other.key"), Err(Reason::BadSignature), "another key of that name");
    assert_eq!(may("three", "k.key"), Err(Reason::BadSignature), "it is not listed by this name");
}

#[test]
fn the_longest_key_may_have_a_line_ending_and_nothing_behind_it_and_no_more_is_read() {
    let longest = [b'x'; 4096];
    let with =
        |ending: &[u8]| loaded(&directory(RULES, &[&longest[..], ending].concat(), 0o600)).problems.len();
    let long = directory(RULES, &[b'x'; 10_000], 0o600);

    assert_eq!([with(b""), with(b"\n"), with(b"\r\n")], [0; 3]);
    assert_eq!([with(b"x"), with(b"\r\nx")], [1; 2]);
    assert_eq!(crate::policy::key_file::content(&long.path().join("k.key")).unwrap().len(), 4099);
}
