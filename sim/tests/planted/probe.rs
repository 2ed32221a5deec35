//! Mistakes of the probes: each is found by the oracle of what was really said, or by what never ends.

use ouroboros_sim::probe::ProbeFlaw;
use ouroboros_sim::{Report, Sim};

/// Worlds within which a mistake must show.
const SEEDS: u64 = 100;

fn run(seed: u64, flaw: Option<ProbeFlaw>) -> Report {
    let sim = Sim::new(seed).nodes(3);
    flaw.into_iter().fold(sim, Sim::flaw).run()
}

/// The first seed in which a mistake breaks a promise that nothing breaks without it.
fn found(flaw: ProbeFlaw) -> (u64, String) {
    let broken = |seed| run(seed, Some(flaw)).violation.filter(|_| run(seed, None).violation.is_none());
    let found = (0..SEEDS).find_map(|seed| broken(seed).map(|violation| (seed, violation)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{flaw:?} is not found"));
    println!("{flaw:?}: seed {seed}: {} {}", violation.promise, violation.what);
    (seed, format!("{} {}", violation.promise, violation.what))
}

#[test]
fn a_probe_that_checks_no_tag_is_caught_believing_what_was_forged() {
    let (_, what) = found(ProbeFlaw::TagUnchecked);
    assert!(what.starts_with("P8"), "{what}");
}

#[test]
fn a_probe_that_takes_what_comes_twice_is_caught() {
    let (_, what) = found(ProbeFlaw::ReplaysTaken);
    assert!(what.starts_with("P8"), "{what}");
}

#[test]
fn a_probe_that_takes_what_belongs_to_an_earlier_life_is_caught() {
    let (_, what) = found(ProbeFlaw::SessionUnchecked);
    assert!(what.starts_with("P8"), "{what}");
}

#[test]
fn a_probe_that_says_nothing_again_is_caught_when_the_faults_have_stopped() {
    let (_, what) = found(ProbeFlaw::NeverAgain);
    assert!(what.starts_with("P6"), "{what}");
}
