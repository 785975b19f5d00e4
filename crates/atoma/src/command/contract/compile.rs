//! The Move compiler, as another program: `sui` where there is one, else the same compiler as WebAssembly under
//! Node.js. Both compile a copy in which what the package is built on is where it is on the network.

use crate::output::Step;
use anyhow::{Context, Result, bail};
use atoma_types::Address;
use atoma_types::onchain::Package;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::process::Command;

/// Where a package is: its first version, which declares its types, and its newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) original: Address,
    pub(super) newest: Address,
}

/// What either compiler prints.
#[derive(Deserialize)]
struct Dump {
    modules: Vec<String>,
    dependencies: Vec<Address>,
    digest: [u8; 32],
}

/// Compiles the package `atoma_base` in the folder `contracts`, or with a base that is published the package `atoma`.
pub(super) async fn package(contracts: &Path, walrus: Located, base: Option<Located>) -> Result<Package> {
    let name = if base.is_some() { "atoma" } else { "atoma_base" };
    let copy = tempfile::tempdir().context("no folder for temporary files")?;
    stage(contracts, copy.path(), walrus, base)
        .with_context(|| format!("cannot read the packages in {}", contracts.display()))?;
    let root = copy.path().join(name);
    let step = Step::start(&format!("compiling {name}"));
    let mut sui = Command::new("sui");
    sui.args(["move", "build", "--dump-bytecode-as-base64", "--path"]).arg(&root);
    let output = match sui.kill_on_drop(true).output().await {
        Err(error) if error.kind() == ErrorKind::NotFound => with_node(contracts, &root).await?,
        output => output.context("cannot run `sui`")?,
    };
    drop(step);
    read(&output)
}

async fn with_node(contracts: &Path, root: &Path) -> Result<Output> {
    let tests = contracts.join("../tests/move");
    let installed = tests.join("node_modules/@zktx.io/sui-move-builder").is_dir();
    let mut node = Command::new("node");
    node.arg(tests.join("run.mjs")).arg("dump").arg(root).kill_on_drop(true);
    if !installed {
        bail!("no Move compiler: install the Sui CLI, or Node.js 20 and run `npm ci` in {}", tests.display());
    }
    match node.output().await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("no Move compiler: install the Sui CLI, or Node.js 20 or newer")
        }
        output => output.context("cannot run `node`"),
    }
}

fn read(output: &Output) -> Result<Package> {
    if !output.status.success() {
        let (said, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        eprintln!("{}\n{}", said.trim(), error.trim());
        bail!("the package does not compile: {}", first_error(&format!("{said}\n{error}")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.lines().rev().find(|line| line.trim_start().starts_with('{'));
    let dump: Dump = serde_json::from_str(json.context("the compiler printed no package")?)
        .context("the compiler printed no package that can be read")?;
    let modules = dump.modules.iter().map(|module| STANDARD.decode(module));
    let package = Package::new(modules.collect::<Result<_, _>>()?, dump.dependencies)?;
    if package.digest().0 != dump.digest {
        bail!("the compiler's digest of the package is not this program's: one of them is wrong");
    }
    Ok(package)
}

/// Of all that a compiler says: the first error, and where it is.
fn first_error(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).skip_while(|line| !line.starts_with("error"));
    let Some(error) = lines.next() else { return "see above".to_owned() };
    match lines.find_map(|line| line.strip_prefix("┌─ ")) {
        Some(place) => format!("{error} ({})", place.trim_start_matches("./")),
        None => error.to_owned(),
    }
}

/// The package's own version, with the file that says so: shared objects of another are refused.
pub(super) fn version(contracts: &Path) -> Result<(PathBuf, u64)> {
    let folder = contracts.join("atoma/sources");
    let files =
        sources(&folder).with_context(|| format!("cannot read the packages in {}", contracts.display()))?;
    let found = files.into_iter().find_map(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        let (_, body) = text.split_once("macro fun package_version(): u64 {")?;
        let version = body.split('}').next()?.trim().parse().ok()?;
        Some((file, version))
    });
    found.with_context(|| format!("no file in {} says what package_version!() is", folder.display()))
}

/// Copies manifests and sources, and writes into the manifests where Walrus and the base are.
fn stage(contracts: &Path, to: &Path, walrus: Located, base: Option<Located>) -> std::io::Result<()> {
    let packages = [
        ("atoma", None),
        ("atoma_base", base.map(|base| ("atoma_base", base))),
        ("framework/MoveStdlib", None),
        ("framework/Sui", None),
        ("framework/Walrus", Some(("walrus", walrus))),
    ];
    for (package, at) in packages {
        let (from, to) = (contracts.join(package), to.join(package));
        std::fs::create_dir_all(to.join("sources"))?;
        let mut manifest = std::fs::read_to_string(from.join("Move.toml"))?;
        if let Some((name, at)) = at {
            manifest = located(&manifest, name, at);
        }
        std::fs::write(to.join("Move.toml"), manifest)?;
        for source in sources(&from.join("sources"))? {
            if let Some(name) = source.file_name() {
                std::fs::copy(&source, to.join("sources").join(name))?;
            }
        }
    }
    Ok(())
}

fn sources(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let files: Vec<PathBuf> = files.collect::<Result<_, _>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "move")).collect())
}

/// The manifest of the package that calls itself `name`, as one that is published.
fn located(manifest: &str, name: &str, at: Located) -> String {
    let address = format!("{name} = \"0x");
    let line = |line: &str| {
        if line == "[package]" {
            format!("{line}\npublished-at = \"{}\"\n", at.newest)
        } else if line.starts_with("published-at = ") {
            String::new()
        } else if line.starts_with(&address) {
            format!("{name} = \"{}\"\n", at.original)
        } else {
            format!("{line}\n")
        }
    };
    manifest.lines().map(line).collect()
}
