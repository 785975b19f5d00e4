//! `conformance`: plays on the model, and the same on the Move VM.

use crate::audit;
use crate::coverage::Coverage;
use crate::emit::Sequence;
use crate::expect::Scope;
use crate::op::Step;
use crate::vm::{Module, Verdicts, Vm};
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;

/// Sequences that are played, then compared, before the next ones.
const TOGETHER: usize = 64;

/// Candidates for a smaller sequence that one run of the VM tries.
const CANDIDATES: usize = 24;
const ROUNDS: usize = 14;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub sequences: u64,
    /// Steps of each, the overture apart.
    pub ops: u64,
    pub seed: u64,
    /// Aborts of each that run on the VM, each in a test of its own.
    pub aborts: usize,
    pub scope: Scope,
}

/// What both sides said.
#[derive(Debug, Default)]
pub struct Agreement {
    pub sequences: usize,
    /// Steps that succeeded, every one compared.
    pub succeeded: u64,
    /// Aborts compared, and all that there were.
    pub aborts: usize,
    pub aborts_all: usize,
    pub coverage: Coverage,
    /// Of the aborts compared: entry points and codes.
    pub kinds: usize,
    pub disagreements: Vec<Disagreement>,
}

/// A test that did not pass.
#[derive(Debug)]
pub struct Disagreement {
    pub test: String,
    pub said: String,
    pub steps: Vec<Step>,
}

/// Chooses aborts evenly over entry points and codes.
#[derive(Debug, Default)]
struct Shares {
    chosen: BTreeMap<(&'static str, u64), u64>,
}

impl Shares {
    /// At most `count` aborts of a sequence, those seen least first.
    fn choose(&mut self, sequence: &Sequence, count: usize) -> Vec<usize> {
        let mut chosen = Vec::new();
        let mut left: Vec<(usize, u64)> = sequence.aborts().collect();
        while chosen.len() < count && !left.is_empty() {
            let seen = |at: usize, code: u64| {
                self.chosen.get(&(sequence.steps[at].op.entry(), code)).copied().unwrap_or(0)
            };
            let Some(least) = (0..left.len()).min_by_key(|index| seen(left[*index].0, left[*index].1)) else {
                break;
            };
            let (at, code) = left.swap_remove(least);
            *self.chosen.entry((sequence.steps[at].op.entry(), code)).or_default() += 1;
            chosen.push(at);
        }
        chosen.sort_unstable();
        chosen
    }
}

/// Plays, runs and compares, some sequences at a time; `progress` gets how many were compared. Ends after the first
/// that disagree, of which the first is made small.
///
/// # Errors
/// If the model breaks a rule, or the VM cannot run.
pub fn run(vm: &Vm, wanted: Wanted, mut progress: impl FnMut(usize)) -> Result<Agreement> {
    let mut agreement = Agreement::default();
    let mut shares = Shares::default();
    let seeds: Vec<u64> = (0..wanted.sequences).map(|at| wanted.seed.wrapping_add(at)).collect();
    for seeds in seeds.chunks(TOGETHER) {
        let (mut sequences, mut modules) = (Vec::new(), Vec::new());
        for seed in seeds {
            let play = audit::play(*seed, wanted.ops)
                .map_err(|(violation, _)| anyhow!("{violation}; see `cargo xtask audit --seed {seed}`"))?;
            agreement.coverage.merge(&play.coverage);
            let sequence = Sequence::play(format!("conformance_{seed}"), &play.steps, wanted.scope)?;
            let chosen = shares.choose(&sequence, wanted.aborts);
            agreement.aborts += chosen.len();
            agreement.aborts_all += sequence.aborts().count();
            modules.push(Module { name: sequence.name.clone(), source: sequence.source(&chosen, false)? });
            sequences.push(sequence);
        }
        agreement.sequences += sequences.len();
        agreement.disagreements = disagreements(&vm.run(&modules)?, &sequences);
        if let Some(first) = agreement.disagreements.first_mut() {
            *first = shrink(vm, first)?;
            break;
        }
        progress(agreement.sequences);
    }
    agreement.succeeded = agreement.coverage.succeeded();
    agreement.kinds = shares.chosen.len();
    Ok(agreement)
}

fn disagreements(verdicts: &Verdicts, sequences: &[Sequence]) -> Vec<Disagreement> {
    let failed = verdicts.iter().filter_map(|(test, said)| Some((test, said.as_ref()?)));
    failed
        .map(|(test, said)| {
            let module = test.split("::").next().unwrap_or(test);
            let sequence = sequences.iter().find(|sequence| sequence.name == module);
            let steps = sequence.map(|sequence| sequence.steps.clone()).unwrap_or_default();
            let last = failing_step(test, said).map_or(steps.len(), |last| (last + 1).min(steps.len()));
            Disagreement { test: test.clone(), said: said.clone(), steps: steps[..last].to_vec() }
        })
        .collect()
}

/// The step that a test is about, or that its abort code names.
fn failing_step(test: &str, said: &str) -> Option<usize> {
    if let Some((_, step)) = test.split_once("::step_") {
        return step.parse().ok();
    }
    let code = abort_code(said)?;
    let step = usize::try_from(code % 1_000_000_000 / 1_000).ok()?;
    matches!(code / 1_000_000_000, 1..=4).then_some(step)
}

fn abort_code(said: &str) -> Option<u64> {
    let after = said.split("aborted with code ").nth(1)?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Takes steps away as long as the VM still disagrees; many candidates to a run.
fn shrink(vm: &Vm, found: &Disagreement) -> Result<Disagreement> {
    let is_abort = found.test.contains("::step_");
    let mut smallest =
        Disagreement { steps: found.steps.clone(), test: found.test.clone(), said: found.said.clone() };
    let mut size = smallest.steps.len().div_ceil(4).max(1);
    for _ in 0..ROUNDS {
        let candidates = fewer(&smallest.steps, size);
        match first_failing(vm, candidates, is_abort)? {
            Some(smaller) => {
                size = size.min(smaller.steps.len().div_ceil(2)).max(1);
                smallest = smaller;
            }
            None if size == 1 => break,
            None => size = (size / 3).max(1),
        }
    }
    Ok(smallest)
}

/// The steps without one part each, in several ways; the last step stays, which is the one that differs.
fn fewer(steps: &[Step], size: usize) -> Vec<Vec<Step>> {
    let end = steps.len().saturating_sub(1);
    let starts: Vec<usize> = (0..end).step_by(size).collect();
    // The newest first: what is old is most often needed.
    let without = starts.iter().rev().map(|start| {
        let mut fewer = steps[..*start].to_vec();
        fewer.extend_from_slice(&steps[(start + size).min(end)..]);
        fewer
    });
    without.collect()
}

fn first_failing(vm: &Vm, candidates: Vec<Vec<Step>>, is_abort: bool) -> Result<Option<Disagreement>> {
    for (round, some) in candidates.chunks(CANDIDATES).enumerate() {
        let mut modules = Vec::new();
        let mut sequences = Vec::new();
        for (at, steps) in some.iter().enumerate() {
            let sequence = Sequence::play(format!("smaller_{round}_{at}"), steps, Scope::Changed)?;
            let last = sequence.steps.len().saturating_sub(1);
            let is_same = sequence.steps.last() == steps.last()
                && sequence.expected.last().is_some_and(|expected| (expected.code != 0) == is_abort);
            if is_same {
                let aborts = if is_abort { vec![last] } else { Vec::new() };
                modules
                    .push(Module { name: sequence.name.clone(), source: sequence.source(&aborts, false)? });
                sequences.push(sequence);
            }
        }
        if modules.is_empty() {
            continue;
        }
        let verdicts = vm.run(&modules)?;
        let mut failing = disagreements(&verdicts, &sequences);
        failing.retain(|found| found.test.contains("::step_") == is_abort);
        failing.sort_by_key(|found| found.steps.len());
        if !failing.is_empty() {
            return Ok(Some(failing.swap_remove(0)));
        }
    }
    Ok(None)
}

/// Where a difference is: the object or events, and their first byte that differs.
///
/// # Errors
/// If the VM cannot run.
pub fn explain(vm: &Vm, found: &Disagreement) -> Result<String> {
    let sequence = Sequence::play("explained".into(), &found.steps, Scope::Changed)?;
    let Some(expected) = sequence.expected.last() else { return Ok(String::new()) };
    let mut text = format!("the model: {:?}", sequence.outcomes.last());
    let code = abort_code(&found.said).unwrap_or(0);
    let which = usize::try_from(code % 1_000).unwrap_or(0);
    match code / 1_000_000_000 {
        2 => text.push_str(&format!("\nother events: {:?}", expected.events.get(which))),
        4 => text.push_str(&format!("\nanother object: {:?}", expected.items.get(which))),
        _ => return Ok(text),
    }
    let module = Module { name: sequence.name.clone(), source: sequence.source(&[], true)? };
    let verdicts = vm.run(&[module])?;
    let said = verdicts.values().flatten().next().context("it passes with whole bytes")?;
    if let Some(code) = abort_code(said).filter(|code| code / 1_000_000_000 == 9) {
        text.push_str(&format!("\nfirst byte that differs: {}", code % 1_000_000_000));
    }
    Ok(text)
}
