//! Small runs of what the commands run at length.

use atoma_conformance::op::{Op, Step};
use atoma_conformance::shrink::shrink;
use atoma_conformance::{audit, coverage};
use atoma_types::Address;

/// Plays of every kind hold all invariants, and together they come everywhere.
#[test]
fn plays_hold_every_invariant() {
    let report = audit::run(60_000, 1, &|_, _| ());
    if let Some(failure) = &report.failure {
        panic!("seed {}: {}\n{:#?}", failure.seed, failure.violation, failure.steps);
    }
    assert!(report.steps >= 60_000);
    let missed = report.coverage.never_succeeded();
    assert!(missed.len() <= 3, "these never succeeded: {missed:?}");
    assert!(coverage::entries().len() > 70);
}

/// The same seed is the same play.
#[test]
fn a_seed_names_its_play() {
    let play = |seed| audit::play(seed, 120).unwrap();
    assert_eq!(play(7).steps, play(7).steps);
    assert_ne!(play(7).steps, play(8).steps);
}

#[test]
fn shrinking_leaves_what_is_needed() {
    let step = |tx| Step { tx, sender: Address::ZERO, epoch: 0, clock_ms: 0, op: Op::NewCap {} };
    let steps: Vec<Step> = (0..100).map(step).collect();
    let needs = |steps: &[Step]| [13, 14, 77].iter().all(|tx| steps.iter().any(|step| step.tx == *tx));
    let small = shrink(&steps, 1_000, needs);
    assert_eq!(small.iter().map(|step| step.tx).collect::<Vec<_>>(), [13, 14, 77]);
}
