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
        fields.map(|(name, value)| (format!("ATOMA_{}", name.to_uppercase()), shown(value))).collect()
    }

    fn text(&self, field: &str) -> Result<&str> {
        self.ready[field].as_str().with_context(|| format!("{field} was not announced"))
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

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

/// The `@mysten/sui` client against the devnet, and the `openai` package for TypeScript against what it is for.
pub(crate) fn typescript() -> Result<()> {
    let folder = root().join("tests/clients/sui-ts");
    npm_ci(&folder)?;
    let served = Served::start(Command::new(built("examples/devnet_for_clients")?))?;
    run(Command::new("npm").arg("test").current_dir(folder).envs(served.environment()))?;
    served.stop()?;
    let folder = root().join("tests/clients/openai-ts");
    npm_ci(&folder)?;
    let ways = Ways::open()?;
    run(Command::new("npm").arg("test").current_dir(folder).envs(ways.environment()))?;
    ways.close()
}

/// The `openai` package for Python.
pub(crate) fn python() -> Result<()> {
    let folder = root().join("tests/clients/openai-py");
    let python = virtual_environment(&folder.join("requirements.txt"))?;
    let ways = Ways::open()?;
    run(Command::new(python).args(["-m", "pytest", "-q"]).current_dir(folder).envs(ways.environment()))?;
    ways.close()
}

/// What the nodes sell in front of an engine at some address; the suites know these models by name. The hermit takes
/// one request at a time.
const ENGINES: &str = r#"
[[engines]]
kind = "reference"
model = "smollm2-135m-instruct"

[[engines]]
kind = "minilm"
model = "all-minilm-l6-v2"

[[engines]]
kind = "upstream"
model = "parrot"
replicas = ["ENGINE"]
context_tokens = 100000
endpoints = ["chat/completions", "completions", "responses"]

[[engines]]
kind = "upstream"
model = "hermit"
replicas = ["ENGINE"]
context_tokens = 100000
limits = { concurrent = 1 }

[[engines]]
kind = "upstream"
model = "sorter"
replicas = ["ENGINE"]
context_tokens = 8192
endpoints = ["embeddings"]

[[engines]]
kind = "upstream"
model = "painter"
replicas = ["ENGINE"]
context_tokens = 256
endpoints = ["images/generations"]
"#;

/// Both ways to nodes, the gateway and `atoma connect`, and one of the latter whose wallet is empty.
struct Ways {
    engine: Served,
    dev: Served,
    connect: Served,
    poor: Served,
}

impl Ways {
    fn open() -> Result<Self> {
        let (atoma, folder) = (built("atoma")?, root().join("target/clients"));
        let engine = Served::start(Command::new(release_dir()?.join("examples/engine_for_clients")))?;
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let engines = folder.join("engines.toml");
        std::fs::write(&engines, ENGINES.replace("ENGINE", engine.text("url")?))?;
        let mut dev = Command::new(&atoma);
        dev.args(["dev", "--json", "--ephemeral", "--nodes", "2", "--engines"]).arg(engines);
        let dev = Served::start(dev)?;
        let rpc = dev.text("rpc_url")?;
        let connect = |name: &str, is_funded: bool| {
            let at_home = |arguments: &[&str]| {
                let mut command = Command::new(&atoma);
                command.arg("--home").arg(folder.join(name)).args(arguments);
                command
            };
            run(at_home(&["wallet", "new"]).stdout(Stdio::null()))?;
            if is_funded {
                run(at_home(&["wallet", "faucet", "--rpc", rpc]).stdout(Stdio::null()))?;
            }
            Served::start(at_home(&["connect", "--json", "--port", "0", "--rpc", rpc]))
        };
        let (connect, poor) = (connect("user", true)?, connect("poor", false)?);
        Ok(Self { engine, dev, connect, poor })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let fields = [
            ("GATEWAY_URL", &self.dev.ready["base_url"]),
            ("GATEWAY_KEY", &self.dev.ready["api_key"]),
            ("NODES", &self.dev.ready["nodes"]),
            ("CONNECT_URL", &self.connect.ready["base_url"]),
            ("POOR_URL", &self.poor.ready["base_url"]),
        ];
        fields.map(|(name, value)| (format!("ATOMA_{name}"), shown(value))).to_vec()
    }

    fn close(self) -> Result<()> {
        [self.poor, self.connect, self.dev, self.engine].into_iter().try_for_each(Served::stop)
    }
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
