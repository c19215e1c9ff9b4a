//! The first listing.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_there_at_the_start_is_listed_once() {
    let stage = Stage::before_the_connection([domain(1, RUNNING)]);
    *stage.script.listing_takes.lock().unwrap() = Duration::from_secs(2);

    stage.passes(0).await;
    assert!(
        stage.listings().is_empty(),
        "what happens before the connection hears of events would go unseen"
    );
    stage.tells(Change::Everything).await;
    stage.passes(20).await;

    assert_eq!(stage.known(1), Some(RUNNING));
    assert_eq!(stage.script.listings.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_listed_also_if_nothing_is_heard_of_a_connection() {
    let stage = Stage::before_the_connection([domain(1, RUNNING)]);

    stage.passes(1).await;

    assert_eq!(stage.known(1), Some(RUNNING));
    assert_eq!(stage.listings(), [1]);
}

#[tokio::test(start_paused = true)]
async fn those_that_run_are_known_also_while_libvirt_is_busy_with_one_of_them_and_lists_none() {
    let stage = Stage::before_the_connection([domain(1, RUNNING), domain(2, OFF)]);
    *stage.script.listing_takes.lock().unwrap() = Duration::from_secs(20);

    stage.passes(4).await;

    assert_eq!((stage.known(1), stage.known(2)), (Some(RUNNING), None));
    assert!(!stage.published.borrow().is_complete(), "what is not known may be there");
    stage.passes(20).await;
    assert_eq!((stage.known(1), stage.known(2)), (Some(RUNNING), Some(OFF)));
    assert!(stage.published.borrow().is_complete());
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_at_all_processes_because_of_a_listing_that_has_failed_by_then() {
    let stage = Stage::before_the_connection([domain(1, RUNNING)]);
    *stage.script.fails.lock().unwrap() = true;

    stage.passes(60).await;

    assert!(stage.listings().len() > 30, "libvirt is not there");
    assert_eq!(*stage.script.looks_for_all.lock().unwrap(), 0);
}
