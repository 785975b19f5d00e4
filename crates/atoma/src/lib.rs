//! The one binary: parse, call, print. Rules live in the crates it calls; nothing here decides about money.
//!
//! Start with `cli.rs` for what can be said, `command/` for what is done, [`market`] for the market that `dev`,
//! `demo` and the benchmarks start.

mod cli;
mod command;
mod home;
pub mod market;
mod network;
mod output;

use clap::Parser;
use std::process::ExitCode;

/// Exit status for a command line or configuration that cannot be understood (`EX_USAGE`).
const USAGE: u8 = 64;

/// The whole program: parses the command line, runs the command, reports.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    output::start_logging(&cli.log);
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", output::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: cli::Cli) -> anyhow::Result<ExitCode> {
    atoma_http::raise_file_limit();
    let home = home::Home::open(cli.home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(command::run(home, cli.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
