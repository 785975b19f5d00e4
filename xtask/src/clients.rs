//! Steps that run the built product under real, unmodified clients.

use crate::steps::{cargo, exists, npm_ci, root, run};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A program that prints one line of JSON when it is ready and stops when its standard input closes.
struct Served {
    child: Child,
    ready: Value,
}

impl Served {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let served = serde_json::from_str(&line);
        let mut this = Self { child, ready: Value::Null };
        this.ready =
            served.with_context(|| format!("{command:?} did not announce itself but said {line:?}"))?;
        Ok(this)
    }

    /// The announced fields as environment variables `ATOMA_<FIELD>`.
    fn environment(&self) -> Vec<(String, String)> {
        let fields = self.ready.as_object().into_iter().flatten();
        fields
            .map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (format!("ATOMA_{}", name.to_uppercase()), text)
            })
            .collect()
    }

    fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server ended with {status} when asked to drain");
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The whole story once; every check it makes must hold.
pub(crate) fn demo() -> Result<()> {
    let output = Command::new(built("atoma")?).args(["demo", "--json"]).stderr(Stdio::inherit()).output()?;
    let report: Value = serde_json::from_slice(&output.stdout).context("demo printed no JSON object")?;
    let checks = report["checks"].as_array().context("demo reported no checks")?;
    for check in checks {
        println!("{} {}", if check["ok"] == true { "ok    " } else { "FAILED" }, check["name"]);
    }
    if !output.status.success() || checks.is_empty() || checks.iter().any(|check| check["ok"] != true) {
        bail!("the demo's checks do not all hold");
    }
    Ok(())
}

/// The `@mysten/sui` client against the devnet.
pub(crate) fn typescript() -> Result<()> {
    let folder = root().join("tests/clients/sui-ts");
    npm_ci(&folder)?;
    let served = Served::start(Command::new(built("examples/devnet_for_clients")?))?;
    run(Command::new("npm").arg("test").current_dir(folder).envs(served.environment()))?;
    served.stop()
}

/// The `openai` package against the gateway of `atoma dev`.
pub(crate) fn python() -> Result<()> {
    let folder = root().join("tests/clients/openai-py");
    let python = virtual_environment(&folder.join("requirements.txt"))?;
    let mut command = Command::new(built("atoma")?);
    command.args(["dev", "--json", "--ephemeral", "--port", "0"]);
    let served = Served::start(command)?;
    run(Command::new(python)
        .arg("-m")
        .arg("pytest")
        .arg("-q")
        .current_dir(folder)
        .envs(served.environment()))?;
    served.stop()
}

fn virtual_environment(requirements: &std::path::Path) -> Result<PathBuf> {
    let folder = root().join("target/python-venv");
    let python = folder.join("bin/python");
    if !exists(Command::new(&python).arg("--version")) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("needs Python 3.9 or newer with venv (Debian: apt-get install python3-venv)")?;
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
}

/// A binary or example of the workspace, built if need be. All are built as the Rust tests are: another selection of
/// packages would select other features of their dependencies and build those again.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    run(&mut cargo(&["build", "--quiet", "--release", "--workspace", "--all-targets"]))?;
    Ok(release_dir()?.join(name))
}

fn release_dir() -> Result<PathBuf> {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(target).join("release"))
}
