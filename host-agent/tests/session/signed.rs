//! Guests that have to sign what they ask.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fence_vmchannel_host_agent::hypervisor::simulated::Entry;
use fence_vmchannel_host_agent::policy::Policy;
use fence_vmchannel_protocol::signing::Key;
use fence_vmchannel_protocol::{
    Ask, Body, Evidence, Item, Power, PowerState, Reason, Reply, Request, RequestId, Ruling, Verdict,
};

use crate::agent::domain;
use crate::clock::pass;
use crate::guest::{Guest, off, power, reply_in, request};
use crate::signer::{RULES, Scene, secret};

const BAD_SIGNATURE: Ruling = Ruling::Refused(Reason::BadSignature);

fn status(target: &str) -> Request {
    request(Ask::Status(target.parse().unwrap()))
}

/// The one reply to a line that cannot be opened.
async fn refusal_of(guest: &mut Guest, line: &[u8]) -> Reply {
    guest.says(line);
    reply_in(&guest.hears_line().await)
}

fn says_bad_signature(reply: &Reply) -> bool {
    refuses(reply, Reason::BadSignature)
}

/// A refusal under no id, without a word of why.
fn refuses(reply: &Reply, reason: Reason) -> bool {
    let Body::Verdict(verdict) = &reply.body else { return false };
    let bare = Verdict { simulated: verdict.simulated, ..Verdict::refused(reason) };
    reply.id == RequestId::NONE && *verdict == bare
}

#[tokio::test(start_paused = true)]
async fn a_guest_with_keys_acts_by_a_signed_line_and_hears_signed_replies() {
    let scene =
        Scene::set_with(vec![domain("web1", "web"), Entry { stop_ms: 2_500, ..domain("web2", "web") }]).await;
    let mut web1 = scene.signer("web1", "cluster").await;

    let verdict = web1.asks(&off("web2")).await; // its progress was signed too, or `hears` had failed

    assert_eq!((verdict.ruling, verdict.state), (Ruling::Done, Some(PowerState::Off)));
    assert_eq!(verdict.evidence, Some(Evidence::ProcessGone));
    assert_eq!(scene.agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_with_keys_cannot_act_by_an_unsigned_line_and_is_told_why() {
    let scene = Scene::set().await;
    let mut web1 = scene.agent.guest("web1").await;

    for asked in [
        off("web2"),
        power(Power::On, "web2"),
        power(Power::Reboot, "web2"),
        status("web2"),
        request(Ask::List),
    ] {
        let verdict = web1.asks(&asked).await;

        assert_eq!(verdict.ruling, BAD_SIGNATURE, "{asked:?}");
        assert!(verdict.detail.unwrap().contains("must be signed"));
        assert_eq!((verdict.state, verdict.evidence), (None, None));
    }
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guest_with_keys_may_greet_unsigned_and_others_need_no_key() {
    let scene = Scene::set().await;

    assert_eq!(scene.agent.guest("web1").await.asks_whoami().await.name.as_str(), "web1");
    assert_eq!(scene.agent.guest("web1").await.asks_monitor().await.ruling, Ruling::Done);
    assert_eq!(scene.agent.guest("web3").await.asks_off("web1").await.ruling, Ruling::Done);
}

#[tokio::test(start_paused = true)]
async fn a_key_has_its_own_list_of_actions() {
    let scene = Scene::set().await;
    let mut monitoring = scene.signer("web1", "monitoring").await;

    let looked = monitoring.asks(&status("web2")).await;
    let shot = monitoring.asks(&off("web2")).await;

    assert_eq!((looked.ruling, looked.state), (Ruling::Done, Some(PowerState::On)));
    assert_eq!(shot.ruling, Ruling::Refused(Reason::NotPermitted));
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_gives_no_right_that_the_policy_does_not_give() {
    let scene = Scene::set().await;
    let denied = format!("{RULES}[[deny]]\nfrom = ['web1']\nto = ['web2']\nactions = ['off']\n");
    scene.agent.has_rules_in(&scene.keys, &denied);
    let mut web1 = scene.signer("web1", "cluster").await;

    assert_eq!(web1.asks(&off("web2")).await.ruling, Ruling::Refused(Reason::NotPermitted));
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signed_line_that_is_replayed_acts_no_second_time_even_when_its_verdict_is_long_forgotten() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let (first, line) = {
        let asked = off("web2");
        (asked.clone(), web1.line(&asked))
    };
    web1.asks(&first).await;
    web1.asks(&power(Power::On, "web2")).await;

    web1.guest.says(&line);
    let soon = web1.verdict_of(&first).await;
    pass(Duration::from_secs(660)).await;
    web1.asks(&off("web3")).await; // old verdicts are forgotten now
    web1.guest.says(&line);
    let late = web1.verdict_of(&first).await;

    assert_eq!(soon.evidence, Some(Evidence::ProcessGone), "its stored verdict");
    assert_eq!((late.ruling, late.evidence), (BAD_SIGNATURE, None));
    assert!(scene.agent.runs("web2"));
    assert_eq!(scene.agent.orders(), ["stop web2", "start web2", "stop web3"]);
}

#[tokio::test(start_paused = true)]
async fn a_signed_status_that_is_replayed_tells_nothing() {
    let scene = Scene::set().await;
    let mut monitoring = scene.signer("web1", "monitoring").await;
    let asked = status("web2");
    monitoring.asks(&asked).await;

    let replayed = monitoring.asks(&asked).await;

    assert_eq!((replayed.ruling, replayed.state), (BAD_SIGNATURE, None));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_a_signed_line_while_its_order_runs_is_silent_and_acts_once() {
    let scene =
        Scene::set_with(vec![domain("web1", "web"), Entry { stop_ms: 500, ..domain("web2", "web") }]).await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let asked = off("web2");
    let line = web1.line(&asked);

    web1.guest.says(&[line.clone(), line].concat());
    let verdict = web1.verdict_of(&asked).await;
    pass(Duration::from_secs(2)).await;

    assert_eq!(verdict.ruling, Ruling::Done);
    assert!(web1.guest.has_heard().is_none(), "one verdict");
    assert_eq!(scene.agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_signed_line_of_another_connection_is_refused_and_the_same_request_signed_anew_gets_its_verdict() {
    let scene = Scene::set().await;
    let mut before = scene.signer("web1", "cluster").await;
    let asked = off("web2");
    let first = before.asks(&asked).await;
    let line = before.line(&asked);
    let mut after = scene.signer("web1", "cluster").await;

    let replayed = refusal_of(&mut after.guest, &line).await;
    let again = after.asks(&asked).await;

    assert!(says_bad_signature(&replayed), "{replayed:?}");
    assert_eq!(again, first);
    assert_eq!(scene.agent.orders(), ["stop web2"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_signed_with_another_guests_key_or_an_unknown_one_gets_one_and_the_same_refusal() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let others = Key::of_file(&secret("web2.cluster")).unwrap();
    let names = ["cluster", "monitoring", "nobody-has-this"];

    for name in names {
        let line = others.seal_request(&name.parse().unwrap(), &web1.nonce, &off("web3")).unwrap();
        let reply = refusal_of(&mut web1.guest, &line).await;

        assert!(says_bad_signature(&reply), "{name}: {reply:?}");
    }
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_line_with_a_cut_or_changed_mac_is_refused() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let line = String::from_utf8(web1.line(&off("web2"))).unwrap();
    let mac = line.split([':', ' ']).nth(3).unwrap();
    assert_eq!(mac.len(), 64);

    let cut = line.replace(mac, &mac[..32]);
    let none = line.replace(mac, "");
    let zeros = line.replace(mac, &"0".repeat(64));
    let moved = line.replace("web2", "web3");

    for noise in [cut, none] {
        let reply = refusal_of(&mut web1.guest, noise.as_bytes()).await;
        assert!(refuses(&reply, Reason::BadFrame), "{reply:?}");
        pass(Duration::from_secs(1)).await;
    }
    for forged in [zeros, moved] {
        let reply = refusal_of(&mut web1.guest, forged.as_bytes()).await;
        assert!(says_bad_signature(&reply), "{reply:?}");
    }
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reply_sent_back_as_a_request_is_refused() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let line = web1.line(&status("web2"));
    web1.guest.says(&line);
    let reply = web1.guest.hears_line().await;

    assert!(says_bad_signature(&refusal_of(&mut web1.guest, &reply).await));
}

#[tokio::test(start_paused = true)]
async fn bad_signatures_are_answered_seldom_however_many_come_and_a_right_one_at_once() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let forged = Key::of_file(&[7; 32]).unwrap().seal_request(&web1.id, &web1.nonce, &off("web2")).unwrap();

    for _ in 0..30 {
        web1.guest.says(&forged);
    }
    let answered = web1.guest.hears_all().await.len();

    assert_eq!(answered, 4, "the first ones, and then one a second");
    assert_eq!(web1.asks(&status("web2")).await.ruling, Ruling::Done);
}

#[tokio::test(start_paused = true)]
async fn a_key_file_that_others_may_read_is_refused_and_its_guest_still_has_to_sign() {
    let scene = Scene::set().await;
    let file = scene.keys.path().join("web1.cluster.key");
    set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let loaded = Policy::load(scene.keys.path());
    let [problem] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };
    assert!(problem.file == file && problem.text.contains("mode 0644"), "{problem}");

    scene.agent.has(loaded.policy); // as at a start
    let mut web1 = scene.signer("web1", "cluster").await;
    let line = web1.line(&off("web2"));

    assert!(says_bad_signature(&refusal_of(&mut web1.guest, &line).await));
    assert_eq!(web1.guest.asks_off("web2").await.ruling, BAD_SIGNATURE);
    assert_eq!(scene.signer("web1", "monitoring").await.asks(&status("web2")).await.ruling, Ruling::Done);
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_away_during_a_delay_acts_no_more() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let delayed = Request { delay: Duration::from_secs(3), ..off("web2") };
    let line = web1.line(&delayed);

    web1.guest.says(&line);
    pass(Duration::from_secs(1)).await;
    scene.agent.has_rules_in(&scene.keys, "[[signed]]\nfrom = ['web1']\nkeys = []\n");

    assert_eq!(web1.verdict_of(&delayed).await.ruling, BAD_SIGNATURE);
    assert!(scene.agent.orders().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unsigned_line_with_a_signed_requests_id_does_not_fetch_its_verdict() {
    let scene = Scene::set().await;
    let asked = off("web2");
    scene.signer("web1", "cluster").await.asks(&asked).await;

    let unsigned = scene.agent.guest("web1").await.asks(&asked).await;
    let without_right = scene.signer("web1", "monitoring").await.asks(&asked).await;

    assert_eq!((unsigned.ruling, unsigned.evidence), (BAD_SIGNATURE, None));
    assert_eq!(without_right.ruling, Ruling::Refused(Reason::NotPermitted));
    assert_eq!(without_right.evidence, None);
}

#[tokio::test(start_paused = true)]
async fn after_many_signed_requests_hello_brings_a_new_nonce_and_the_old_lines_are_worth_nothing() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "monitoring").await;
    let old = web1.nonce;
    let first = web1.line(&status("web2"));
    for _ in 0..128 {
        assert_eq!(web1.asks(&status("web2")).await.ruling, Ruling::Done);
    }

    web1.nonce = web1.guest.asks_hello().await.nonce.parse().unwrap();

    assert_ne!(web1.nonce, old);
    assert!(says_bad_signature(&refusal_of(&mut web1.guest, &first).await));
    assert_eq!(web1.asks(&status("web2")).await.ruling, Ruling::Done);
}

#[tokio::test(start_paused = true)]
async fn who_never_says_hello_again_comes_to_the_end_of_its_nonce() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "monitoring").await;
    for _ in 0..256 {
        assert_eq!(web1.asks(&status("web2")).await.ruling, Ruling::Done);
    }

    let line = web1.line(&status("web2"));

    assert!(says_bad_signature(&refusal_of(&mut web1.guest, &line).await));
}

#[tokio::test(start_paused = true)]
async fn every_part_of_a_signed_list_is_signed_and_fits_into_a_line() {
    let names: Vec<String> = (1..=60).map(|n| format!("web{n}")).collect();
    let scene = Scene::set_with(names.iter().map(|name| domain(name, "web")).collect()).await;
    let mut web1 = scene.signer("web1", "monitoring").await;
    let asked = request(Ask::List);
    let line = web1.line(&asked);
    web1.guest.says(&line);

    let (mut all, mut parts): (Vec<Item>, u32) = Default::default();
    loop {
        let Body::Items(items, more) = web1.hears().await.body else { panic!("a list was asked for") };
        all.extend(items);
        parts += 1;
        if !more {
            break;
        }
    }

    assert_eq!(all.len(), 60);
    assert!(parts > 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_request_under_a_right_signature_is_told_signed() {
    let scene = Scene::set().await;
    let mut web1 = scene.signer("web1", "cluster").await;
    let wrong = Request { timeout: Duration::from_millis(1), ..off("web2") };

    assert_eq!(web1.asks(&wrong).await.ruling, Ruling::Refused(Reason::BadRequest));
    assert!(scene.agent.orders().is_empty());
}
