//! Whom a name means.

use super::living::Living;
use super::*;

fn web1(number: u128, standing: Standing) -> Domain {
    Domain { name: "web1".parse().unwrap(), ..domain(number, standing) }
}

impl Stage {
    /// The number of the domain that has this name.
    fn named(&self, name: &str) -> Option<u128> {
        self.published.borrow().find(&name.parse().unwrap()).map(|domain| domain.uuid.as_u128())
    }
}

#[test]
fn all_are_told_by_name_also_after_one_has_come_or_gone() {
    let mut inventory: Inventory = [domain(2, RUNNING), domain(1, OFF)].into_iter().collect();
    let numbers = |inventory: &Inventory| -> Vec<u128> {
        inventory.by_name().iter().map(|domain| domain.uuid.as_u128()).collect()
    };
    assert_eq!(numbers(&inventory), [1, 2]);

    inventory.put(domain(0, OFF));
    assert_eq!(numbers(&inventory), [0, 1, 2]);
    inventory.leaves(Uuid::from_u128(2));
    assert_eq!(inventory.by_name()[2].standing, Standing::Leaving);
    inventory.forget(Uuid::from_u128(1));
    assert_eq!(numbers(&inventory), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_goes_from_one_domain_to_another_means_the_new_one() {
    let stage = Stage::with([domain(1, OFF)]).await;

    stage.becomes(web1(2, RUNNING));
    stage.becomes(Domain { name: "old".parse().unwrap(), ..domain(1, OFF) });
    stage.tells(one(2)).await;
    stage.tells(one(1)).await;
    stage.passes(1).await;

    assert_eq!((stage.named("web1"), stage.named("old")), (Some(2), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_never_lost_to_a_domain_that_had_it_for_a_while() {
    let stage = Stage::with([web1(2, RUNNING)]).await;
    stage.becomes(web1(1, RUNNING));
    stage.tells(one(1)).await;
    stage.passes(0).await;
    assert_eq!(stage.named("web1"), Some(1));

    stage.tells(one(2)).await; // unchanged, and now libvirt's last word on that name
    stage.passes(0).await;
    assert_eq!(stage.named("web1"), Some(2));
    stage.tells(one(1)).await;
    stage.passes(0).await;
    stage.vanishes(1);
    stage.tells(one(1)).await;
    stage.passes(0).await;

    assert_eq!(stage.named("web1"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_name_of_a_domain_that_libvirt_forgot_while_its_process_lives_means_nobody_else() {
    let process = Living::new();
    let stage = Stage::with([Domain { instance: Some(process.instance()), ..web1(1, RUNNING) }]).await;
    stage.vanishes(1);
    stage.becomes(web1(2, OFF));
    stage.tells(Change::Everything).await;
    stage.passes(1).await;

    assert_eq!((stage.known(1), stage.known(2)), (Some(RUNNING), Some(OFF)));
    assert_eq!(stage.named("web1"), None, "whom it meant lives, and libvirt does not know it any more");
    process.ends();

    assert_eq!(stage.named("web1"), Some(2));
}
