//! Chores of the repository: `cargo xtask test` runs every check and test there is, `cargo xtask bench`
//! measures. Nothing here is needed to run the product.

mod clients;
mod steps;

use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

const HELP: &str = "\
usage: cargo xtask <command>

  test [STEP...]            every check and test, or only the named steps, in this order:
                            fmt, clippy, deny, rust, audit, move, conformance, demo, typescript, python
  audit [ARGS...]           plays on the contract's model, every invariant checked (--ops N, --seed S)
  conformance [ARGS...]     the same plays on the model and on the Move VM (--sequences N, --ops M, --seed S,
                            --aborts K, --all-aborts, --everything)
  costs                     counts what every entry point costs and writes docs/costs.md
  move build|test           the Move packages on the real compiler, and their tests on the real VM
  bench engine [ARGS...]    speed and determinism of the reference engine (--json, --threads 1,2)
  bench serving [ARGS...]   requests per second and added latency of node and gateway (--json)
  bench streams [ARGS...]   memory of node and gateway for each of many streams open at once (--open N, --json)
  soak [ARGS...]            many requests while users hang up, engines fail, nodes and the gateway are killed; then
                            the books of all must agree (--requests N, --seed S, --faults all)

Needs beside the Rust toolchain: Node.js with npm (move, conformance, typescript), Python 3.9 with venv (python) and
cargo-deny (deny). Where one is missing the step fails and says how to install it.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", only @ ..] => steps::test(only),
        [name @ ("audit" | "conformance" | "costs"), rest @ ..] => steps::plays(name, rest),
        ["move", step @ ("build" | "test")] => steps::move_steps(&[step]),
        ["bench", name @ ("engine" | "serving" | "streams"), rest @ ..] => bench(name, rest),
        ["soak", rest @ ..] => bench("soak", rest),
        ["--help" | "-h" | "help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(name: &str, rest: &[&str]) -> Result<()> {
    steps::run(Command::new(clients::built(name)?).args(rest))
        .with_context(|| format!("the {name} benchmark failed"))
}
