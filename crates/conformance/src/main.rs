//! `audit` and `conformance` from the command line. Prints what was played, with which seed, and what was found.

use anyhow::{Context, Result, bail};
use atoma_conformance::expect::Scope;
use atoma_conformance::vm::Vm;
use atoma_conformance::{audit, conform, costs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Exit status for a command line that cannot be understood (`EX_USAGE`).
const USAGE: u8 = 64;

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
    let (numbers, flags): (&[&str], &[&str]) = match words.first() {
        Some(&"audit") => (&["--ops", "--seed"], &[]),
        Some(&"conformance") => {
            (&["--sequences", "--ops", "--seed", "--aborts"], &["--all-aborts", "--everything"])
        }
        Some(&"costs") => (&[], &[]),
        Some(&("help" | "--help" | "-h")) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(USAGE);
        }
    };
    let options = match Options::read(&words[1..], numbers, flags) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let outcome = match words[0] {
        "audit" => Ok(run_audit(&options)),
        "conformance" => run_conformance(&options),
        _ => run_costs(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What stands behind the command.
struct Options {
    numbers: BTreeMap<String, u64>,
    flags: Vec<String>,
}

impl Options {
    /// Refuses what is not one of these options.
    fn read(words: &[&str], numbers: &[&str], flags: &[&str]) -> Result<Self> {
        let mut options = Self { numbers: BTreeMap::new(), flags: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if flags.contains(word) {
                options.flags.push((*word).to_owned());
            } else if numbers.contains(word) {
                let number = words.next().and_then(|number| number.replace('_', "").parse().ok());
                let number = number.with_context(|| format!("{word} needs a whole number"))?;
                options.numbers.insert((*word).to_owned(), number);
            } else {
                match [numbers, flags].concat().join(", ") {
                    known if known.is_empty() => bail!("{word}: this takes no options"),
                    known => bail!("{word} is not known here: known are {known}"),
                }
            }
        }
        Ok(options)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.numbers.get(name).copied().unwrap_or(default)
    }

    fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The same options again, with the seed if it was not among them.
    fn again(&self, seed: u64) -> String {
        let mut numbers = self.numbers.clone();
        numbers.insert("--seed".to_owned(), seed);
        let numbers = numbers.iter().map(|(name, number)| format!("{name} {number}"));
        numbers.chain(self.flags.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// A list of what the plays did not reach.
fn print_missed<T: std::fmt::Debug>(what: &str, missed: &[T]) {
    match missed {
        [] => println!("{what}: none"),
        _ => println!("{what}: {missed:?} (no fault: these plays did not come to it)"),
    }
}

fn run_audit(options: &Options) -> bool {
    let (ops, seed) = (options.number("--ops", 200_000), options.number("--seed", 1));
    let started = Instant::now();
    let report = audit::run(ops, seed, &|done, plays| {
        if done * 10 / plays != (done - 1) * 10 / plays {
            eprintln!("{done} of {plays} plays");
        }
    });
    let (ok, aborted) = (report.coverage.succeeded(), report.coverage.aborted());
    print!("{}", report.coverage);
    print_missed("entry points that never succeeded", &Vec::from_iter(report.coverage.never_succeeded()));
    print_missed("events never emitted", &report.coverage.never_emitted());
    print_missed("abort codes that never came", &report.coverage.never_aborted());
    println!(
        "{} operations in {} plays: {ok} succeeded, {aborted} aborted, in {:.1} s; seed {seed}",
        report.steps,
        report.plays,
        started.elapsed().as_secs_f64()
    );
    if let Some(failure) = &report.failure {
        println!("VIOLATED in the play of seed {}: {}", failure.seed, failure.violation);
        for step in &failure.steps {
            println!("  {step}");
        }
    } else {
        println!("every invariant held");
    }
    println!("again with: cargo xtask audit --ops {ops} --seed {seed}");
    report.failure.is_none()
}

fn run_conformance(options: &Options) -> Result<bool> {
    let aborts = if options.has("--all-aborts") { u64::MAX } else { options.number("--aborts", 6) };
    let wanted = conform::Wanted {
        sequences: options.number("--sequences", 40),
        ops: options.number("--ops", 50),
        seed: options.number("--seed", 1),
        aborts: usize::try_from(aborts).unwrap_or(usize::MAX),
        scope: if options.has("--everything") { Scope::Everything } else { Scope::Changed },
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
    print_missed("entry points that never succeeded", &Vec::from_iter(found.coverage.never_succeeded()));
    let differing = found.disagreements.len();
    println!(
        "agreed: {} of {} tests",
        found.sequences + found.aborts - differing,
        found.sequences + found.aborts
    );
    println!("again with: cargo xtask conformance {}", options.again(wanted.seed));
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
    const PAGE: &str = "docs/costs.md";
    std::fs::write(root().join(PAGE), costs::page(&costs::grow()))?;
    println!("wrote {PAGE}");
    Ok(true)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where built things are.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
