use std::fs;

use super::*;
use crate::domain::Standing;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::simulated::{Entry, Simulated};

fn domain(name: &str, cluster: Option<&str>) -> Domain {
    let uuid = uuid::Uuid::from_u128(name.bytes().fold(7, |sum, b| sum * 257 + u128::from(b)));
    Domain {
        uuid,
        name: name.parse().unwrap(),
        standing: Standing::Active,
        persistent: true,
        cluster: cluster.map(Into::into),
        channels: Vec::new(),
        owner: None,
        instance: None,
    }
}

fn loaded(files: &[(&str, &str)]) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Policy::load(dir.path())
}

fn policy(text: &str) -> Policy {
    let loaded = Policy::read([(Ok(text.to_owned()), "10.toml".into())]);
    assert_eq!(loaded.problems, []);
    loaded.policy
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    let decision = Policy::default().decide(&domain("web1", None), Action::Status, &domain("web2", None));

    assert!(!decision.allowed);
    assert!(decision.rule.contains("default deny"));
}

#[test]
fn members_of_one_cluster_may_act_on_each_other_and_on_nobody_else() {
    let (web1, web2) = (domain("web1", Some("web")), domain("web2", Some("web")));

    for action in Action::ALL {
        assert!(Policy::default().decide(&web1, action, &web2).allowed);
        assert!(!Policy::default().decide(&web1, action, &domain("db1", Some("db"))).allowed);
        assert!(!Policy::default().decide(&web1, action, &domain("plain", None)).allowed);
    }
}

#[test]
fn an_allow_rule_adds_just_its_actions() {
    let policy = policy("[[allow]]\nfrom = ['backup']\nto = ['cluster:web']\nactions = ['status']\n");
    let (backup, web1) = (domain("backup", None), domain("web1", Some("web")));

    assert!(policy.decide(&backup, Action::Status, &web1).allowed);
    assert!(!policy.decide(&backup, Action::Off, &web1).allowed);
    assert!(!policy.decide(&web1, Action::Status, &backup).allowed);
}

#[test]
fn a_deny_wins_over_the_cluster_and_over_every_allow() {
    let policy = policy(
        "[[allow]]\nfrom = ['*']\nto = ['*']\n\n[[deny]]\nfrom = ['cluster:web']\nto = ['web2']\nactions = ['off']\n",
    );
    let (web1, web2) = (domain("web1", Some("web")), domain("web2", Some("web")));

    let decision = policy.decide(&web1, Action::Off, &web2);

    assert!(!decision.allowed);
    assert!(decision.rule.ends_with("10.toml:5"), "{}", decision.rule);
    assert!(policy.decide(&web1, Action::Reboot, &web2).allowed);
}

#[test]
fn a_group_means_its_members_by_name_and_by_uuid() {
    let (web1, web2) = (domain("web1", None), domain("web2", None));
    let text =
        format!("[groups]\nweb = ['web1', '{}']\n[[allow]]\nfrom = ['@web']\nto = ['@web']\n", web2.uuid);
    let policy = policy(&text);

    assert!(policy.decide(&web1, Action::Off, &web2).allowed);
    assert!(policy.decide(&web2, Action::Off, &web1).allowed);
    assert!(!policy.decide(&web1, Action::Off, &domain("web3", None)).allowed);
}

#[test]
fn a_broken_file_that_only_allows_is_unused_and_the_others_hold() {
    let loaded = loaded(&[
        ("10.toml", "[[allow]]\nfrom = ['a']\nto = ['b']\n"),
        ("20.toml", "[[allow]]\nform = ['a']\nto = ['c']\n"),
    ]);

    let [problem] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };

    assert!(problem.to_string().contains("20.toml") && problem.text.contains("line 2"), "{problem}");
    assert!(problem.text.contains("from"), "says what was expected: {problem}");
    assert!(loaded.policy.decide(&domain("a", None), Action::Off, &domain("b", None)).allowed);
    assert!(!loaded.policy.decide(&domain("a", None), Action::Off, &domain("c", None)).allowed);
}

#[test]
fn a_broken_file_that_denies_closes_everything_instead_of_opening_what_it_denied() {
    let loaded = loaded(&[("10.toml", "[[deny]]\nfrom = ['web1']\nto = ['web2'\n")]);

    let decision =
        loaded.policy.decide(&domain("web1", Some("web")), Action::Off, &domain("web2", Some("web")));

    assert_eq!(loaded.problems.len(), 1);
    assert!(!decision.allowed);
    assert!(decision.rule.contains("10.toml"), "{}", decision.rule);
}

#[test]
fn a_broken_file_that_denies_in_escaped_letters_closes_everything_too() {
    let loaded = loaded(&[("10.toml", "[[\"d\\u0065ny\"]]\nfrom = ['web1']\nto = ['web2'\n")]);
    let (web1, web2) = (domain("web1", Some("web")), domain("web2", Some("web")));

    assert!(!loaded.policy.decide(&web1, Action::Off, &web2).allowed);
}

#[test]
fn an_unknown_action_group_or_empty_list_names_the_line() {
    for (text, expected) in [
        (
            "[[allow]]\nfrom = ['a']\nto = ['b']\nactions = ['fence']\n",
            "expected status, list, off, on, reboot or host-status",
        ),
        ("\n[[allow]]\nfrom = ['@web']\nto = ['b']\n", "line 2: no group \"web\""),
        ("[[allow]]\nfrom = []\nto = ['b']\n", "at least one"),
        ("[[allow]]\nfrom = ['cluster:']\nto = ['b']\n", "needs a label"),
        ("[[deny]]\nfrom = ['a']\nto = ['b']\nactions = []\n", "at least one action"),
        (
            "[groups]\nall = ['@web']\nweb = ['a']\n[[deny]]\nfrom = ['@all']\nto = ['b']\n",
            "line 4: group \"all\" has \"@web\" in it",
        ),
    ] {
        let problems = loaded(&[("x.toml", text)]).problems;

        assert!(problems[0].text.contains(expected), "{}", problems[0].text);
    }
}

#[test]
fn a_missing_directory_has_no_rules_and_no_problems() {
    let loaded = Policy::load(std::path::Path::new("/nonexistent/policy.d"));

    assert_eq!(loaded.problems, []);
    assert!(loaded.policy.closed.is_none());
}

#[test]
fn a_policy_directory_that_cannot_be_read_closes_everything() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (web1, web2) = (domain("web1", Some("web")), domain("web2", Some("web")));

    let loaded = Policy::load(file.path());

    assert_eq!(loaded.problems.len(), 1);
    assert!(!loaded.policy.decide(&web1, Action::Off, &web2).allowed);
}

#[test]
fn an_empty_file_closes_everything_since_what_it_denied_is_lost_and_one_of_comments_has_no_rules() {
    let (web1, web2) = (domain("web1", Some("web")), domain("web2", Some("web")));

    for text in ["", "\n \t\r\n"] {
        let emptied = loaded(&[("10.toml", text)]);

        assert!(emptied.problems[0].text.contains("delete it"), "{:?}", emptied.problems);
        assert!(!emptied.policy.decide(&web1, Action::Off, &web2).allowed);
    }
    assert!(policy("# none\n").decide(&web1, Action::Off, &web2).allowed);
}

/// Running domains of these names and clusters, and the first one as a guest.
async fn guest_among(names: &[(&str, &str)]) -> (Guest, Inventory) {
    let entry = |(name, cluster): &(&str, &str)| Entry {
        name: name.parse().unwrap(),
        uuid: domain(name, None).uuid,
        cluster: Some((*cluster).to_owned()),
        running: true,
        persistent: true,
        stop_ms: 0,
        stubborn: false,
        immortal: false,
    };
    let hypervisor = Simulated::of(names.iter().map(entry).collect(), std::path::Path::new("/run"));
    let inventory: Inventory = hypervisor.domains().await.unwrap().into_iter().collect();
    let asker = inventory.get(domain(names[0].0, None).uuid).unwrap();
    (Guest::recognise(&hypervisor, asker, 0).unwrap(), inventory)
}

#[tokio::test]
async fn a_permit_says_who_may_do_what_to_whom_and_by_which_rule() {
    let (web1, inventory) = guest_among(&[("web1", "web"), ("web2", "web")]).await;
    let web2 = domain("web2", None);

    for target in [Target::Name(web2.name.clone()), Target::Uuid(web2.uuid)] {
        let permit = Policy::default().permit(&web1, Power::Reboot, &target, &inventory).unwrap();

        assert_eq!((permit.asker().uuid(), permit.asker().name()), (web1.uuid(), web1.name()));
        assert_eq!((permit.target(), permit.name(), permit.power()), (web2.uuid, &web2.name, Power::Reboot));
        assert!(permit.rule().contains("members of cluster \"web\""), "{}", permit.rule());
    }
}

#[tokio::test]
async fn a_guest_whose_own_process_has_ended_gets_no_permit() {
    let (web1, inventory) = guest_among(&[("web1", "web"), ("web2", "web")]).await;
    let target = "web2".parse().unwrap();
    let before = Policy::default().permit(&web1, Power::Off, &target, &inventory);

    web1.instance().process.kill().unwrap();

    let refused = Policy::default().permit(&web1, Power::Off, &target, &inventory).unwrap_err();
    let by_struct = Caller::Guest(web1);
    let by_struct = Policy::default().permit_for(&by_struct, Power::Off, &target, &inventory).unwrap_err();
    assert!(before.is_ok());
    assert_eq!([refused.reason, by_struct.reason], [Reason::Condemned; 2]);
}

#[tokio::test]
async fn a_guest_is_told_the_same_of_what_is_not_its_own_and_of_what_is_not_there() {
    let (web1, inventory) = guest_among(&[("web1", "web"), ("db1", "db")]).await;
    let refusal = |name: &str| {
        let target = name.parse().unwrap();
        Policy::default().permit(&web1, Power::Off, &target, &inventory).unwrap_err()
    };

    assert_eq!(refusal("db1").reason, Reason::NotPermitted);
    assert_eq!(refusal("nobody").reason, Reason::NotPermitted);
    assert_ne!(refusal("db1").rule, refusal("nobody").rule, "the operator is told which it was");
}

#[test]
fn an_action_is_shown_as_it_is_written() {
    for action in Action::ALL {
        assert_eq!(action.to_string().parse(), Ok(action));
    }
}

#[test]
fn thirty_two_hex_digits_are_a_name_and_only_hyphens_make_a_uuid() {
    let by_uuid = domain("web1", None);
    let by_name = Domain { name: "0123456789abcdef".repeat(2).parse().unwrap(), ..domain("web2", None) };
    let to = |word: &str| policy(&format!("[[allow]]\nfrom = ['*']\nto = ['{word}']\n"));
    let digits = by_uuid.uuid.simple().to_string();

    assert!(to(&by_uuid.uuid.to_string()).decide(&by_name, Action::Off, &by_uuid).allowed);
    assert!(!to(&digits).decide(&by_name, Action::Off, &by_uuid).allowed);
    assert!(to(by_name.name.as_str()).decide(&by_uuid, Action::Off, &by_name).allowed);
}

/// A peer on a legacy network, in this cluster.
fn peer(cluster: &str) -> Caller {
    Caller::Peer(crate::identity::Peer::new(
        "10.0.0.7".parse().unwrap(),
        cluster.into(),
        crate::identity::Dialect::Tcp,
    ))
}

#[tokio::test]
async fn a_caller_in_a_legacy_dialect_is_its_domain_or_what_the_administrator_wrote_of_its_address() {
    let (web1, inventory) = guest_among(&[("web1", "web"), ("web2", "web"), ("db1", "db")]).await;
    let (guest, peer) = (Caller::Guest(web1), peer("db"));
    let may = |caller: &Caller, name: &str, inventory: &Inventory| {
        Policy::default().target_for(caller, Action::Off, &name.parse().unwrap(), inventory).is_ok()
    };

    assert!(may(&guest, "web2", &inventory) && !may(&guest, "db1", &inventory));
    assert!(may(&peer, "db1", &inventory) && !may(&peer, "web2", &inventory));
    assert!(Source::of(&guest, &inventory).is_some() && Source::of(&peer, &inventory).is_some());
    assert!(Source::of(&guest, &Inventory::default()).is_none());
}

#[test]
fn a_rule_about_everybody_denies_peers_and_allows_them_nothing_and_one_about_a_cluster_fits_its_peers() {
    let db1 = domain("db1", Some("db"));
    let may = |text: &str, cluster: &str| {
        let policy = policy(text);
        let decision = policy.decide_for(Source::Network(cluster), Action::Off, &db1);
        assert_eq!(policy.allows(Source::Network(cluster), Action::Off, &db1), decision.allowed);
        decision.allowed
    };

    assert!(!may("[[allow]]\nfrom = ['*']\nto = ['*']\n", "web"));
    assert!(may("# none\n", "db") && !may("[[deny]]\nfrom = ['*']\nto = ['*']\n", "db"));
    let of_web = "[[allow]]\nfrom = ['cluster:web']\nto = ['*']\n";
    assert!(may(of_web, "web") && !may(of_web, "ops"));
    let by_name = format!("[[allow]]\nfrom = ['web', '{}']\nto = ['*']\n", db1.uuid);
    assert!(!may(&by_name, "web"));
}

#[test]
fn rules_that_hold_make_a_directory_that_is_gone_a_mistake() {
    let (dir, gone) = (tempfile::tempdir().unwrap(), std::path::Path::new("/nonexistent/policy.d"));
    fs::write(dir.path().join("10.toml"), "[[allow]]\nfrom = ['a']\nto = ['b']\n").unwrap();

    let after_none = Policy::default().load_after(dir.path());
    assert_eq!(after_none.problems, []);
    assert!(after_none.policy.decide(&domain("a", None), Action::Off, &domain("b", None)).allowed);
    assert_eq!(after_none.policy.load_after(gone).problems.len(), 1);
    assert_eq!(Policy::default().load_after(gone).problems, []);
}

#[test]
fn a_policy_is_empty_only_without_rules_without_keys_and_unless_it_is_closed() {
    let keys = "[[signed]]\nfrom = ['a']\nkeys = []\n";
    let closed = loaded(&[("10.toml", "")]).policy;

    assert!(Policy::default().is_empty());
    assert!(!policy("[[allow]]\nfrom = ['a']\nto = ['b']\n").is_empty());
    assert!(!closed.is_empty() && closed.closed.is_some());
    let policy = Policy { key_rules: policy(keys).key_rules, ..Policy::default() };
    assert!(!policy.is_empty() && policy.has_keys() && !Policy::default().has_keys());
}

#[tokio::test]
async fn whether_a_guest_has_to_sign_and_what_can_be_told_is_decided_before_anything_else() {
    let (web1, all) = guest_among(&[("web1", "web"), ("web2", "web")]).await;
    let signed = policy("[[signed]]\nfrom = ['web1']\nkeys = []\n");
    let (unsigned, none) = (Policy::default(), Inventory::default());
    let reason = |asked: Result<(), Refusal>| asked.err().map(|refusal| refusal.reason);

    for action in Action::ALL {
        let untold = (action == Action::List).then_some(Reason::Busy);
        assert_eq!(reason(unsigned.may_ask(&web1, action, &all)), None, "{action}");
        assert_eq!(reason(unsigned.may_ask(&web1, action, &none)), untold, "{action}");
        assert_eq!(reason(signed.may_ask(&web1, action, &all)), Some(Reason::BadSignature), "{action}");
        assert_eq!(reason(signed.may_ask(&web1, action, &none)), Some(Reason::Busy), "{action}");
        let caller = Caller::Guest(web1.clone());
        assert_eq!(reason(signed.may_call(&caller, action, &all)), Some(Reason::BadSignature), "{action}");
        assert_eq!(reason(signed.may_call(&peer("web"), action, &all)), None, "{action}");
        assert_eq!(reason(signed.may_call(&peer("web"), action, &none)), untold, "{action}");
    }
}
