//! What hastens a look: hook notes, and events of the last moments of a migration.

use super::living::Living;
use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_seen_to_leave_has_moved_though_libvirt_says_shut_off_when_it_is_looked_at() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.look_takes.lock().unwrap() = Duration::from_secs(2);
    stage.tells(one(1)).await;
    stage.passes(1).await; // it was seen running, which is told later
    stage.becomes(domain(1, OFF)); // somebody destroyed it in its last moments

    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.passes(1).await;
    assert_eq!(stage.known(1), Some(Standing::Leaving));
    stage.passes(5).await;

    assert_eq!(stage.known(1), Some(Standing::Moved), "an older look has not undone it");
}

#[tokio::test(start_paused = true)]
async fn what_stayed_after_all_runs_and_what_was_seen_shut_off_before_the_event_was_read_has_moved() {
    let stage = Stage::with([domain(1, RUNNING), domain(2, OFF)]).await;

    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.tells(Change::Leaves(Uuid::from_u128(2))).await;
    stage.passes(1).await;

    assert_eq!((stage.known(1), stage.known(2)), (Some(RUNNING), Some(Standing::Moved)));
}

#[tokio::test(start_paused = true)]
async fn a_hook_note_hastens_a_look_like_an_event() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    stage.becomes(domain(1, OFF));
    stage.becomes(domain(2, RUNNING));

    stage.hints(Hint::Changed(Uuid::from_u128(1))).await;
    stage.passes(1).await;
    assert_eq!((stage.known(1), stage.known(2)), (Some(OFF), None));
    stage.hints(Hint::Anything).await;
    stage.passes(1).await;

    assert_eq!(stage.known(2), Some(RUNNING));
}

#[tokio::test(start_paused = true)]
async fn what_leaves_before_it_is_listed_for_the_first_time_has_moved() {
    let stage = Stage::with([]).await;
    *stage.script.listing_takes.lock().unwrap() = Duration::from_secs(5);
    stage.becomes(domain(1, RUNNING));
    stage.tells(Change::Everything).await;
    stage.passes(1).await; // the listing has seen it running, and is under way

    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.becomes(domain(1, OFF));
    stage.passes(10).await;

    assert_eq!(stage.known(1), Some(Standing::Moved));
}

#[tokio::test(start_paused = true)]
async fn a_look_of_before_the_event_counts_for_nothing_though_a_listing_ends_in_between() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    *stage.script.listing_takes.lock().unwrap() = Duration::from_secs(3);
    *stage.script.look_takes.lock().unwrap() = Duration::from_secs(5);
    stage.tells(Change::Everything).await;
    stage.tells(one(1)).await;
    stage.passes(1).await; // both have seen it running, and are under way

    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.becomes(domain(1, OFF));
    stage.passes(20).await;

    assert_eq!(stage.known(1), Some(Standing::Moved));
}

#[tokio::test(start_paused = true)]
async fn what_moved_has_moved_also_after_a_start_here_that_failed() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;

    let mut known = Vec::new();
    for standing in [Standing::Leaving, OFF, Standing::Unclear, OFF] {
        stage.becomes(domain(1, standing)); // unclear while it is being started
        stage.tells(one(1)).await;
        stage.passes(1).await;
        known.push(stage.known(1).unwrap());
    }

    use Standing::{Leaving, Moved};
    assert_eq!(known, [Leaving, Moved, Leaving, Moved], "and never as if nothing had been");
}

#[tokio::test(start_paused = true)]
async fn what_moved_has_moved_also_after_it_was_undefined_and_defined_anew_here() {
    for told in [one(1), Change::Everything] {
        let stage = Stage::with([domain(1, RUNNING)]).await;
        stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
        stage.becomes(domain(1, OFF));
        stage.tells(told).await;
        stage.passes(1).await;

        stage.vanishes(1);
        stage.tells(told).await;
        stage.passes(1).await;
        assert_eq!(stage.known(1), None);
        stage.becomes(domain(1, OFF));
        stage.tells(told).await;
        stage.passes(1).await;
        assert_eq!(stage.known(1), Some(Standing::Moved), "{told:?}");

        stage.becomes(domain(1, RUNNING));
        stage.tells(told).await;
        stage.passes(1).await;
        stage.becomes(domain(1, OFF));
        stage.tells(told).await;
        stage.passes(1).await;
        assert_eq!(stage.known(1), Some(OFF), "it came back");
    }
}

#[tokio::test(start_paused = true)]
async fn what_moved_has_moved_also_if_a_look_caught_a_start_here_that_failed() {
    let stage = Stage::with([domain(1, RUNNING)]).await;
    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.becomes(domain(1, OFF));
    stage.tells(one(1)).await;
    stage.passes(1).await;

    let process = Living::new();
    stage.becomes(Domain { instance: Some(process.instance()), ..domain(1, OFF) }); // its state was asked first
    stage.tells(one(1)).await;
    stage.passes(1).await;
    process.ends();

    assert_eq!(stage.known(1), Some(Standing::Moved));
}

#[test]
fn what_is_remembered_of_those_that_nobody_knows_is_bounded() {
    let all = || (1..=5000).map(Uuid::from_u128);
    let mut inventory: Inventory = (1..=5000).map(|number| domain(number, Standing::Moved)).collect();

    all().for_each(|uuid| inventory.forget(uuid));
    inventory.put(domain(5001, Standing::Moved));
    inventory.forget(Uuid::from_u128(5001));

    assert_eq!((inventory.iter().count(), inventory.elsewhere().len()), (0, MAX_ELSEWHERE));
    assert!(inventory.elsewhere().contains(&Uuid::from_u128(5001)), "the last one is");
}
