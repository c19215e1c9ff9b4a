use crate::round::{Kind, play};
use crate::sweep::sweep;

#[test]
fn a_hundred_thousand_simulated_hosts_with_faults_never_say_off_of_what_runs() {
    let coverage = sweep(Kind::Anything, 100_000);

    if std::env::var_os("SEEDS").is_none_or(|seeds| seeds == "100000")
        && std::env::var_os("KIND").is_none_or(|kind| kind.is_empty())
    {
        assert_eq!(coverage.missing(), [""; 0], "what never occurs is not tested");
    }
}

#[test]
fn a_hundred_thousand_simulated_hosts_with_one_trouble_over_and_over_never_say_off_of_what_runs() {
    sweep(Kind::Dense, 100_000);
}

#[test]
fn of_two_guests_that_fence_each_other_one_survives_in_each_of_a_hundred_thousand_rounds() {
    sweep(Kind::Mutual, 100_000);
}

#[test]
fn a_seed_replays_to_the_same_history() {
    for kind in [Kind::Anything, Kind::Dense, Kind::Mutual] {
        for seed in 1..200 {
            let (one, other) = (play(kind, seed, true), play(kind, seed, true));

            assert!(one.history == other.history, "seed {seed}:\n{}\n---\n{}", one.history, other.history);
            assert_eq!(one.coverage, play(kind, seed, false).coverage, "seed {seed}, untold");
        }
    }
}
