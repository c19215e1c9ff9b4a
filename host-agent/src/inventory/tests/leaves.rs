//! What hastens a look: hook notes, and events of the last moments of a migration.

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
async fn what_stayed_after_all_runs() {
    let stage = Stage::with([domain(1, RUNNING), domain(2, OFF)]).await;

    stage.tells(Change::Leaves(Uuid::from_u128(1))).await;
    stage.tells(Change::Leaves(Uuid::from_u128(2))).await;
    stage.passes(1).await;

    assert_eq!((stage.known(1), stage.known(2)), (Some(RUNNING), Some(OFF)));
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
