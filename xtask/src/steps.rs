//! The steps of `cargo xtask test`, cheapest first, and how a step runs a program.

use crate::clients;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("clippy", clippy),
    ("deny", deny),
    ("rust", rust),
    ("audit", audit),
    ("move", move_package),
    ("conformance", conformance),
    ("demo", clients::demo),
    ("typescript", clients::typescript),
    ("python", clients::python),
];

pub(crate) fn test(only: &[&str]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|(step, _)| step == *name)) {
        bail!("no step is called {unknown}; `cargo xtask help` lists them");
    }
    let mut passed = 0;
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        eprintln!("==> {name}");
        let started = Instant::now();
        step().with_context(|| format!("step {name} failed; run it alone with `cargo xtask test {name}`"))?;
        eprintln!("==> {name} passed in {:.1} s", started.elapsed().as_secs_f64());
        passed += 1;
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn fmt() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(&mut cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn deny() -> Result<()> {
    if !exists(&mut cargo(&["deny", "--version"])) {
        bail!("cargo-deny is missing; install it with `cargo install --locked cargo-deny`");
    }
    run(&mut cargo(&["deny", "check", "licenses", "bans", "sources"]))
}

fn rust() -> Result<()> {
    run(&mut cargo(&["test", "--release", "--workspace"]))
}

fn move_package() -> Result<()> {
    move_steps(&["build", "test"])?;
    let name = "contract::the_real_packages_are_published_and_upgraded";
    run(cargo(&["test", "--release", "--workspace", "--test", "it", "--", "--ignored", "--exact"]).arg(name))
}

/// Builds the Move packages, or runs their tests, with what must not compile.
pub(crate) fn move_steps(steps: &[&str]) -> Result<()> {
    let folder = root().join("tests/move");
    npm_ci(&folder)?;
    run(Command::new("node").arg("run.mjs").args(steps).current_dir(&folder))?;
    if steps.contains(&"test") {
        run(Command::new("node").arg("refused.mjs").current_dir(&folder))?;
    }
    Ok(())
}

/// A share of what `cargo xtask audit` plays at length.
fn audit() -> Result<()> {
    plays("audit", &["--ops", "200000"])
}

/// A share of what `cargo xtask conformance` plays at length.
fn conformance() -> Result<()> {
    plays("conformance", &["--sequences", "40", "--ops", "50", "--aborts", "4"])
}

/// Plays on the contract's model, and on the Move VM.
pub(crate) fn plays(name: &str, arguments: &[&str]) -> Result<()> {
    if name == "conformance" {
        npm_ci(&root().join("tests/move"))?;
    }
    run(Command::new(clients::built("atoma-conformance")?).arg(name).args(arguments))
}

/// Installs exactly what the lock file names, unless that is already there.
pub(crate) fn npm_ci(folder: &Path) -> Result<()> {
    if !exists(Command::new("npm").arg("--version")) {
        bail!("npm is missing; install Node.js 20 or newer");
    }
    let installed = folder.join("node_modules/.package-lock.json");
    let newer =
        |a: &Path, b: &Path| Some(a.metadata().ok()?.modified().ok()? >= b.metadata().ok()?.modified().ok()?);
    if newer(&installed, &folder.join("package-lock.json")) == Some(true) {
        return Ok(());
    }
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))
}

/// Cargo as it would be started from a shell: what `cargo run` told this program about itself would have build scripts
/// (ring's looks at `CARGO_PKG_NAME`) run again, and half of the dependencies built again, at every change between both.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        // Not the environment: it may hold keys.
        let program = command.get_program().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

pub(crate) fn exists(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}
