use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::operator::report::Report;
use crate::policy::Policy;

/// libvirt's test driver knows one domain, `test`.
fn config(policy_dir: &Path) -> Config {
    let file = policy_dir.with_extension("toml");
    let text = format!("libvirt-uri = 'test:///default'\npolicy-dir = '{}'\n", policy_dir.display());
    fs::write(&file, text).unwrap();
    fs::create_dir_all(policy_dir).unwrap();
    Config::load(Some(&file)).unwrap()
}

fn to_add(key: &str) -> KeyAddArgs {
    KeyAddArgs {
        domain: "test".into(),
        key: key.into(),
        actions: Vec::new(),
        from_file: None,
        show_secret: false,
    }
}

fn to_remove(key: &str) -> KeyRemoveArgs {
    KeyRemoveArgs { domain: "test".into(), key: key.into(), allow_unsigned: false }
}

fn told(report: &impl Report) -> String {
    let mut out = Vec::new();
    report.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_added_key_is_a_private_file_and_a_rule_that_holds() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));

    let first = add(&config, &to_add("cluster")).unwrap();
    let looks = KeyAddArgs { actions: vec![Action::Status, Action::HostStatus], ..to_add("monitoring") };
    let second = add(&config, &looks).unwrap();
    let third = add(&config, &to_add("spare")).unwrap(); // reads what the others wrote

    assert!(first.is_first && !second.is_first);
    assert_eq!(fs::metadata(&first.file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(first.file.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    let loaded = Policy::load(&config.policy_dir);
    assert_eq!(loaded.problems, []);
    let [rule] = loaded.policy.key_rules() else { panic!("one rule") };
    let keys: Vec<_> = rule.keys().iter().map(|key| (key.id().as_str(), key.actions().len())).collect();
    assert_eq!(keys, [("cluster", 6), ("monitoring", 2), ("spare", Action::ALL.len())]);
    assert!(rule.keys().iter().all(crate::policy::ListedKey::is_usable));
    assert_ne!(fs::read(&first.file).unwrap(), fs::read(&third.file).unwrap());
}

#[test]
fn a_secret_is_told_only_if_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));

    let silent = add(&config, &to_add("one")).unwrap();
    let telling = add(&config, &KeyAddArgs { show_secret: true, ..to_add("two") }).unwrap();
    let listed = list(&config, &["test".into()]).unwrap();

    let secrets = [&silent.file, &telling.file].map(|file| fs::read_to_string(file).unwrap());
    let is_in = |secret: &String, report: String| report.contains(secret.trim_end());
    assert!(!is_in(&secrets[0], told(&silent) + &serde_json::to_string(&silent).unwrap()));
    assert!(is_in(&secrets[1], told(&telling)));
    let listing = told(&listed) + &serde_json::to_string(&listed).unwrap();
    assert!(listing.contains("one") && listing.contains("two"), "{listing}");
    assert!(!secrets.iter().any(|secret| is_in(secret, listing.clone())));
}

#[test]
fn a_guest_whose_last_key_is_removed_may_do_nothing_unless_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let file = add(&config, &to_add("cluster")).unwrap().file;

    let removed = remove(&config, &to_remove("cluster")).unwrap();
    let closed = Policy::load(&config.policy_dir).policy.has_keys();
    add(&config, &to_add("cluster")).unwrap();
    remove(&config, &KeyRemoveArgs { allow_unsigned: true, ..to_remove("cluster") }).unwrap();

    assert!(closed, "it has to sign, and has no key");
    assert!(told(&removed).contains("may do nothing now"), "{}", told(&removed));
    assert!(!file.exists());
    assert!(!Policy::load(&config.policy_dir).policy.has_keys());
}

#[test]
fn a_key_that_is_there_a_wrong_name_and_a_file_that_was_changed_by_hand_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let added = add(&config, &to_add("cluster")).unwrap();
    let secret = fs::read(&added.file).unwrap();

    let again = add(&config, &to_add("cluster")).unwrap_err().to_string();
    let wrong = add(&config, &to_add("../x")).unwrap_err().to_string();
    let missing = remove(&config, &to_remove("other")).unwrap_err().to_string();
    let text = fs::read_to_string(&added.policy).unwrap();
    fs::write(&added.policy, format!("{text}[[deny]]\nfrom = ['*']\nto = ['*']\n")).unwrap();
    let by_hand = add(&config, &to_add("monitoring")).unwrap_err().to_string();
    fs::write(&added.policy, text.replace("keys/", "/etc/keys/")).unwrap();
    let elsewhere = remove(&config, &to_remove("cluster")).unwrap_err().to_string();

    assert!(again.contains("has a key cluster already"), "{again}");
    assert!(wrong.contains("1 to 64 of A-Z"), "{wrong}");
    assert!(missing.contains("lists no key other"), "{missing}");
    assert!(
        by_hand.contains("changed by hand") && elsewhere.contains("changed by hand"),
        "{by_hand} {elsewhere}"
    );
    assert_eq!(fs::read(&added.file).unwrap(), secret);
}

#[test]
fn the_key_of_another_host_can_be_taken_but_not_from_a_file_that_is_open_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let file = dir.path().join("other.key");
    fs::write(&file, "k".repeat(40)).unwrap();
    let from = |mode, key| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        add(&config, &KeyAddArgs { from_file: Some(file.clone()), ..to_add(key) })
    };

    let open = from(0o644, "open").unwrap_err().to_string();
    let taken = from(0o600, "taken").unwrap();

    assert!(open.contains("chmod 0600"), "{open}");
    assert_eq!(fs::read(&taken.file).unwrap(), fs::read(&file).unwrap());
}

#[test]
fn a_list_without_keys_tells_whether_these_guests_may_do_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let open = told(&list(&config, &[]).unwrap());
    add(&config, &to_add("cluster")).unwrap();
    remove(&config, &to_remove("cluster")).unwrap();

    let closed = told(&list(&config, &["test".into()]).unwrap());
    fs::write(config.policy_dir.join("10-broken.toml"), "[[allow]]\n").unwrap();
    let unread = told(&list(&config, &[]).unwrap());

    assert!(open.contains("need not be signed"), "{open}");
    assert!(closed.contains("must sign, and no key is listed"), "{closed}");
    assert!([&closed, &unread].iter().all(|told| !told.contains("need not be signed")), "{closed}{unread}");
}

#[test]
fn a_key_that_cannot_be_used_is_listed_as_such_and_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let file = add(&config, &to_add("cluster")).unwrap().file;
    let well = list(&config, &[]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();

    let ill = list(&config, &[]).unwrap();

    assert_eq!((well.exit_code(), ill.exit_code()), (0, 1));
    assert!(told(&ill).contains("mode 0640"), "{}", told(&ill));
}

#[test]
fn a_key_that_a_running_agent_does_not_take_or_drop_yet_ends_with_1_and_says_until_when() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let broken = config.policy_dir.join("10-broken.toml");
    fs::write(&broken, "[[allow]]\n").unwrap();

    let added = add(&config, &to_add("cluster")).unwrap();
    let removed = remove(&config, &to_remove("cluster")).unwrap();
    fs::remove_file(&broken).unwrap();
    let well = add(&config, &to_add("cluster")).unwrap();

    assert_eq!([added.exit_code(), removed.exit_code(), well.exit_code()], [1, 1, 0]);
    for told in [told(&added), told(&removed)] {
        assert!(told.contains("keeps the rules from before until this is mended"), "{told}");
        assert!(told.contains("10-broken.toml: not used"), "{told}");
        assert!(!told.contains("at once") && !told.contains("From now on"), "{told}");
    }
    assert!(told(&removed).contains("still takes that key"), "{}", told(&removed));
}

#[test]
fn removing_a_key_that_a_file_written_by_hand_lists_too_ends_with_1_and_names_that_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));
    let key = add(&config, &to_add("cluster")).unwrap().file;
    let rule = format!("[[signed]]\nfrom = ['*']\nkeys = [{{ id = 'cluster', file = {key:?} }}]\n");
    fs::write(config.policy_dir.join("by-hand.toml"), rule).unwrap();

    let removed = remove(&config, &to_remove("cluster")).unwrap();

    assert_eq!(removed.exit_code(), 1);
    let named = format!("{}: not used", key.display());
    assert!(told(&removed).contains(&named), "{}", told(&removed));
}

#[test]
fn keys_that_are_added_at_the_same_time_are_all_listed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("policy.d"));

    std::thread::scope(|scope| {
        for number in 0..8 {
            let (config, key) = (&config, format!("key{number}"));
            scope.spawn(move || add(config, &to_add(&key)).unwrap());
        }
    });

    let loaded = Policy::load(&config.policy_dir);
    assert_eq!(loaded.problems, []);
    let [rule] = loaded.policy.key_rules() else { panic!("one rule") };
    assert_eq!(rule.keys().len(), 8);
}
