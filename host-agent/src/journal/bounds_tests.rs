use fence_vmchannel_protocol::Reason;

use super::tests::{Disk, acting, asked, told};
use super::*;

#[test]
fn an_answer_that_is_known_is_not_written_again_and_a_new_one_takes_its_place() {
    let disk = Disk::default();
    let mut journal = disk.journal();
    let askers: Vec<_> = (1..=2000).map(asked).collect();
    journal.acting(Acting { askers: askers.clone(), ..acting(1) }).unwrap();
    let early = Verdict::failed(Reason::Timeout, "not done in time");
    let tell_all = |journal: &mut Journal| {
        for asked in &askers {
            journal.answered(1, *asked, &early);
        }
    };
    tell_all(&mut journal);
    let once = disk.content().len();

    for _ in 0..10 {
        tell_all(&mut journal); // as at each step that acts
    }

    assert_eq!(disk.content().len(), once);
    let later = Verdict::failed(Reason::Timeout, "still not done");
    journal.answered(1, asked(2), &later);
    assert_eq!(told(&disk.journal()), told(&journal));
    let answered: Vec<_> = told(&journal)[0].1.answered.clone().into_iter().collect();
    assert_eq!(answered.len(), 2000);
    assert!(answered.contains(&(asked(2), later)), "what was heard last");
}
