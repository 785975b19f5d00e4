//! `audit` and `conformance` from the command line. Prints what was played, with which seed, and what was found.

use anyhow::{Result, bail};
use atoma_conformance::expect::Scope;
use atoma_conformance::vm::Vm;
use atoma_conformance::{audit, conform, costs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
usage: audit [--ops N] [--seed S]
       conformance [--sequences N] [--ops M] [--seed S] [--aborts K] [--all-aborts] [--everything]
       costs

  audit        plays N operations on the model alone and checks every invariant after each
  conformance  plays N sequences of M operations on the model and on the Move VM and compares events, coins and
               objects. Every operation that aborts needs a run of its own: K of each sequence run, chosen evenly over
               entry points and codes. With --everything all objects are compared after every operation, not only
               those that the model changed and, at the end, all
  costs        counts on the model what every entry point costs, and writes docs/costs.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["audit", rest @ ..] => run_audit(rest),
        ["conformance", rest @ ..] => run_conformance(rest),
        ["costs"] => run_costs(),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(64)
        }
    }
}

/// The number after `--name`, if it is there.
fn number(words: &[&str], name: &str, default: u64) -> Result<u64> {
    let Some(at) = words.iter().position(|word| *word == name) else { return Ok(default) };
    match words.get(at + 1).and_then(|word| word.parse().ok()) {
        Some(number) => Ok(number),
        None => bail!("{name} needs a number"),
    }
}

fn run_audit(words: &[&str]) -> Result<bool> {
    let (ops, seed) = (number(words, "--ops", 200_000)?, number(words, "--seed", 1)?);
    let started = Instant::now();
    let report = audit::run(ops, seed);
    let (ok, aborted) = (report.coverage.succeeded(), report.coverage.aborted());
    print!("{}", report.coverage);
    println!("never succeeded: {:?}", report.coverage.never_succeeded());
    println!("never emitted: {:?}", report.coverage.never_emitted());
    println!("never aborted with: {:?}", report.coverage.never_aborted());
    println!(
        "{} operations in {} plays: {ok} succeeded, {aborted} aborted, in {:.1} s; seed {seed}",
        report.steps,
        report.plays,
        started.elapsed().as_secs_f64()
    );
    if let Some(failure) = report.failure {
        println!("VIOLATED in the play of seed {}: {}", failure.seed, failure.violation);
        for step in &failure.steps {
            println!("  {step}");
        }
        return Ok(false);
    }
    println!("every invariant held; again with: cargo xtask audit --ops {ops} --seed {seed}");
    Ok(true)
}

fn run_conformance(words: &[&str]) -> Result<bool> {
    let has = |name: &str| words.contains(&name);
    let aborts = if has("--all-aborts") { u64::MAX } else { number(words, "--aborts", 6)? };
    let wanted = conform::Wanted {
        sequences: number(words, "--sequences", 40)?,
        ops: number(words, "--ops", 50)?,
        seed: number(words, "--seed", 1)?,
        aborts: usize::try_from(aborts).unwrap_or(usize::MAX),
        scope: if has("--everything") { Scope::Everything } else { Scope::Changed },
    };
    let started = Instant::now();
    let vm = Vm::new(&root(), &target())?;
    let found =
        conform::run(&vm, wanted, |done| eprintln!("{done} of {} sequences agree", wanted.sequences))?;
    println!(
        "{} sequences: {} operations that succeed and {} of {} that abort ({} kinds), in {:.1} s; seed {}",
        found.sequences,
        found.succeeded,
        found.aborts,
        found.aborts_all,
        found.kinds,
        started.elapsed().as_secs_f64(),
        wanted.seed
    );
    println!("entry points that never succeeded: {:?}", found.coverage.never_succeeded());
    let differing = found.disagreements.len();
    println!(
        "agreed: {} of {} tests",
        found.sequences + found.aborts - differing,
        found.sequences + found.aborts
    );
    println!("again with: cargo xtask conformance {}", words.join(" "));
    for (at, other) in found.disagreements.iter().enumerate() {
        println!("DISAGREED: {}\n{}", other.test, other.said);
        if at == 0 {
            other.steps.iter().for_each(|step| println!("  {step}"));
            println!("{}", conform::explain(&vm, other)?);
        }
    }
    Ok(differing == 0)
}

fn run_costs() -> Result<bool> {
    let path = root().join("docs/costs.md");
    std::fs::write(&path, costs::page(&costs::grow()))?;
    println!("wrote {}", path.display());
    Ok(true)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where built things are.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
