//! `audit`: many plays on the model alone, every invariant checked after every step.

use crate::check::Checker;
use crate::coverage::Coverage;
use crate::op::Step;
use crate::plan::Director;
use crate::shrink::shrink;
use crate::world::{Outcome, World};
use atoma_contract::auditor::Violation;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Steps of one play, the overture apart.
pub const STEPS_A_PLAY: u64 = 400;
const TRIES: usize = 3_000;

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    pub plays: u64,
    pub steps: u64,
    pub coverage: Coverage,
    pub failure: Option<Failure>,
}

/// A violated rule, with the smallest sequence found that violates it.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    pub steps: Vec<Step>,
}

/// A play as it went.
#[derive(Debug, Default)]
pub struct Play {
    pub steps: Vec<Step>,
    pub outcomes: Vec<Outcome>,
    pub overture: usize,
    pub coverage: Coverage,
}

/// Directs one play of `steps` steps and checks it. Steps that name nothing are left out.
///
/// # Errors
/// The rule violated, with the steps so far.
pub fn play(seed: u64, steps: u64) -> Result<Play, (Violation, Vec<Step>)> {
    let (mut director, mut checker) = (Director::new(seed), Checker::new());
    let mut play = Play::default();
    let mut left = steps;
    while left > 0 {
        let is_overture = director.is_overture();
        left -= u64::from(!is_overture);
        let step = director.next();
        play.steps.push(step);
        let step = &play.steps[play.steps.len() - 1];
        match checker.play(&mut director.world, step) {
            Ok(Outcome::Missing) => drop(play.steps.pop()),
            Ok(outcome) => {
                play.coverage.note(step, &outcome);
                play.outcomes.push(outcome);
                play.overture += usize::from(is_overture);
            }
            Err(violation) => return Err((violation, play.steps)),
        }
    }
    let (clock_ms, epoch) = play.steps.last().map_or((0, 0), |step| (step.clock_ms, step.epoch));
    match checker.end(&director.world, clock_ms, epoch) {
        Ok(()) => Ok(play),
        Err(violation) => Err((violation, play.steps)),
    }
}

/// Plays given steps on a fresh world and checks them, to the end by time alone.
///
/// # Errors
/// The rule violated.
pub fn replay(steps: &[Step]) -> Result<(), Violation> {
    let (mut world, mut checker) = (World::default(), Checker::new());
    for step in steps {
        checker.play(&mut world, step)?;
    }
    let (clock_ms, epoch) = steps.last().map_or((0, 0), |step| (step.clock_ms, step.epoch));
    checker.end(&world, clock_ms, epoch)
}

/// Plays `ops` steps in plays of their own seeds, from `seed` on, on all cores. `progress` hears after each play how
/// many of how many are done.
#[must_use]
pub fn run(ops: u64, seed: u64, progress: &(impl Fn(u64, u64) + Sync)) -> Report {
    let plays = ops.div_ceil(STEPS_A_PLAY);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = u64::try_from(threads).unwrap_or(1).min(plays).max(1);
    let shares = (0..threads).map(|thread| (thread..plays).step_by(usize::try_from(threads).unwrap_or(1)));
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let next = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, plays);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .map(|share| scope.spawn(|| some(share.map(|play| seed.wrapping_add(play)), &stop, &next)))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut whole = Report::default();
    for report in reports {
        whole.plays += report.plays;
        whole.steps += report.steps;
        whole.coverage.merge(&report.coverage);
        whole.failure = whole.failure.or(report.failure);
    }
    whole
}

fn some(seeds: impl Iterator<Item = u64>, stop: &AtomicBool, next: &impl Fn()) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match play(seed, STEPS_A_PLAY) {
            Ok(play) => {
                report.plays += 1;
                report.steps += u64::try_from(play.steps.len()).unwrap_or(0);
                report.coverage.merge(&play.coverage);
                next();
            }
            Err((violation, steps)) => {
                stop.store(true, Ordering::Relaxed);
                report.failure = Some(smallest(seed, violation, &steps));
                break;
            }
        }
    }
    report
}

fn smallest(seed: u64, violation: Violation, steps: &[Step]) -> Failure {
    let rule = violation.rule;
    let steps = shrink(steps, TRIES, |fewer| replay(fewer).is_err_and(|found| found.rule == rule));
    let violation = replay(&steps).err().unwrap_or(violation);
    Failure { seed, violation, steps }
}
