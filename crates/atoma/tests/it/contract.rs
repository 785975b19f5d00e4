//! `atoma contract` against a devnet, with a compiler that makes the modules that the test names, and once with the real
//! one.

use crate::chain::Devnet;
use crate::{assert_one_line_error, atoma, run, text};
use atoma_devnet::{WALRUS_PACKAGE, base_modules, market_modules};
use atoma_types::Address;
use atoma_types::onchain::Package;
use atoma_types::onchain::package::empty_module;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::{TempDir, tempdir};

/// A home with a funded wallet, a devnet, and a folder that is the whole `PATH`.
pub(crate) struct Site {
    pub(crate) home: TempDir,
    tools: TempDir,
    pub(crate) devnet: Devnet,
}

impl Site {
    /// The wallet administers the devnet's first market, too.
    pub(crate) fn start() -> Self {
        let (home, tools) = (tempdir().unwrap(), tempdir().unwrap());
        run(home.path(), &["wallet", "new"]);
        let address = text(&run(home.path(), &["wallet", "address"]).stdout);
        let devnet = Devnet::start_with(home.path(), &["--admin", address.trim()]);
        let funded = run(home.path(), &["wallet", "faucet", "--rpc", &devnet.url]);
        assert!(funded.status.success(), "{}", text(&funded.stderr));
        let site = Self { home, tools, devnet };
        site.compiles_to("atoma_base", &base_modules());
        site.compiles_to("atoma", &market_modules());
        let compiler = std::env::current_exe().unwrap();
        site.runs(&format!(
            "ATOMA_TEST_TOOLS={} ATOMA_TEST_ROOT=$5 exec {} --ignored --exact {COMPILER} --nocapture",
            site.tools.path().display(),
            compiler.display()
        ));
        site
    }

    /// From now on the compiler makes of this folder a package of these modules.
    pub(crate) fn compiles_to(&self, folder: &str, modules: &[&str]) {
        std::fs::write(self.tools.path().join(folder), modules.join("\n")).unwrap();
    }

    /// From now on the compiler prints this.
    fn prints(&self, line: &str) {
        let output = self.tools.path().join("output");
        std::fs::write(&output, line).unwrap();
        self.runs(&format!("exec /bin/cat {}", output.display()));
    }

    fn runs(&self, script: &str) {
        let tool = self.tools.path().join("sui");
        std::fs::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn contract(&self, arguments: &[&str]) -> Output {
        self.contract_of(self.home.path(), arguments)
    }

    pub(crate) fn contract_of(&self, home: &Path, arguments: &[&str]) -> Output {
        self.call(home, &self.devnet, &self.contracts(), arguments)
    }

    /// On another devnet than the site's.
    pub(crate) fn on(&self, devnet: &Devnet, arguments: &[&str]) -> Output {
        self.call(self.home.path(), devnet, &self.contracts(), arguments)
    }

    pub(crate) fn with_sources(&self, contracts: &Path, arguments: &[&str]) -> Output {
        self.call(self.home.path(), &self.devnet, contracts, arguments)
    }

    fn call(&self, home: &Path, devnet: &Devnet, contracts: &Path, arguments: &[&str]) -> Output {
        let mut command = self.command(home);
        command.arg("contract").args(arguments);
        if arguments.iter().any(|word| ["publish", "propose", "apply"].contains(word)) {
            command.arg("--contracts").arg(contracts);
        }
        command.args(["--network", "devnet", "--rpc", &devnet.url]);
        command.output().unwrap()
    }

    /// The program with the site's tools alone.
    pub(crate) fn command(&self, home: &Path) -> Command {
        let mut command = atoma(home);
        command.env("PATH", self.tools.path());
        command
    }

    /// Runs what must succeed and gives what it says.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.contract(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A test's own sources, if it has some.
    pub(crate) fn contracts(&self) -> PathBuf {
        let own = self.tools.path().join("contracts");
        if own.exists() { own } else { repository().join("contracts") }
    }

    /// Runs what must fail, after some output or none.
    pub(crate) fn fails(&self, arguments: &[&str], part: &str) {
        let output = self.contract(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().last().unwrap().contains(part), "{part} is not in: {said}");
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.home.path().join("networks/devnet.toml")
    }

    fn advance(&self, seconds: u64) {
        let moved =
            run(self.home.path(), &["devnet", "advance", &seconds.to_string(), "--rpc", &self.devnet.url]);
        assert!(moved.status.success(), "{}", text(&moved.stderr));
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

const COMPILER: &str = "contract::stands_in_for_the_compiler";

/// Prints a package of the modules that the test named for it, linked as its manifests say.
#[test]
#[ignore = "run as `sui` by the tests of the contract's commands"]
fn stands_in_for_the_compiler() {
    let root = PathBuf::from(std::env::var_os("ATOMA_TEST_ROOT").unwrap());
    let tools = PathBuf::from(std::env::var_os("ATOMA_TEST_TOOLS").unwrap());
    let folder = root.file_name().unwrap();
    let names = std::fs::read_to_string(tools.join(folder)).unwrap();
    let framework = vec![Address::from_static("0x1"), Address::TWO];
    let (mut named, mut dependencies) = (framework.clone(), framework);
    if folder == "atoma" {
        let manifest = std::fs::read_to_string(root.join("../atoma_base/Move.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let address = |section: &str, key: &str| manifest[section][key].as_str().unwrap().parse().unwrap();
        named.extend([WALRUS_PACKAGE, address("addresses", "atoma_base")]);
        dependencies.extend([WALRUS_PACKAGE, address("package", "published-at")]);
    }
    let modules = names.lines().map(|name| empty_module(name, "Some", &named)).collect();
    let package = Package::new(modules, dependencies).unwrap();
    let modules: Vec<String> = package.bytecode().iter().map(|module| STANDARD.encode(module)).collect();
    let json = serde_json::json!({
        "modules": modules, "dependencies": package.dependencies(), "digest": package.digest().0,
    });
    println!("\n{json}");
}

/// What a line that begins with `name` says.
pub(crate) fn field(said: &str, name: &str) -> String {
    let line = said.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_contract_is_published_initialised_changed_and_upgraded() {
    let site = Site::start();
    let tried = site.done(&["publish", "--dry-run"]);
    assert!(tried.contains("nothing was sent"), "{tried}");
    assert!(!site.profile().exists());

    let published = site.done(&["publish"]);
    let (base, package) = (field(&published, "base"), field(&published, "package"));
    let profile = std::fs::read_to_string(site.profile()).unwrap();
    assert!(profile.contains(&base) && profile.contains(&package), "{profile}");
    assert_one_line_error(&site.contract(&["params"]), "atoma contract init");
    assert_one_line_error(&site.contract(&["publish"]), "--replace");

    let made = site.done(&["init", "--set", "open_fee=40_000"]);
    let db = field(&made, "database");
    assert_one_line_error(&site.contract(&["init"]), &db);
    assert!(site.done(&["params"]).contains("open_fee                40000\n"));
    // The other commands find this market by the profile, too.
    let listed = run(site.home.path(), &["node", "list", "--network", "devnet", "--rpc", &site.devnet.url]);
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));

    let set = site.done(&["params", "--set", "bond=600000"]);
    assert!(set.contains("they hold from epoch"), "{set}");
    assert!(site.done(&["params"]).contains("bond                    500000, from the next epoch on 600000"));
    site.done(&["pause"]);
    site.done(&["resume"]);

    assert_one_line_error(&site.contract(&["upgrade", "propose"]), "atoma contract upgrade lock");
    assert_one_line_error(&site.contract(&["upgrade", "lock"]), "--yes-forever");
    let locked = site.done(&["upgrade", "lock", "--yes-forever"]);
    assert_eq!(locked.lines().filter(|line| line.starts_with("lock ")).count(), 2, "{locked}");
    assert_one_line_error(&site.contract(&["upgrade", "lock", "--yes-forever"]), &field(&locked, "lock"));
    assert_one_line_error(&site.contract(&["upgrade", "apply"]), "nothing is proposed");

    site.compiles_to("atoma", &[&market_modules()[..], &["another"]].concat());
    let proposed = site.done(&["upgrade", "propose", "--same-version"]);
    assert!(proposed.contains("in 5000 s"), "{proposed}");
    let digest = field(&proposed, "digest");
    assert!(site.done(&["upgrade", "status"]).contains(&digest));
    assert_one_line_error(&site.contract(&["upgrade", "apply"]), "too early");
    site.done(&["upgrade", "cancel"]);
    assert_eq!(site.done(&["upgrade", "status"]).matches("proposal    none").count(), 2);

    site.done(&["upgrade", "propose", "--same-version"]);
    site.advance(5_000);
    site.compiles_to("atoma", &[&market_modules()[..], &["third"]].concat());
    site.fails(&["upgrade", "apply"], &digest);
    site.compiles_to("atoma", &[&market_modules()[..], &["another"]].concat());
    let applied = site.done(&["upgrade", "apply"]);
    assert_ne!(field(&applied, "package"), format!("{package},"));
    // Calls go to the new version; the market stays the old one's.
    site.done(&["pause"]);
    assert!(site.done(&["upgrade", "status"]).contains("version 2"));
    // The model has one version only, so there is nothing to move to.
    let migrated = site.done(&["upgrade", "migrate"]);
    assert!(migrated.contains("nothing to migrate: database and package are both version 1"), "{migrated}");
}

#[test]
fn the_base_is_upgraded_before_the_market_on_it() {
    let site = Site::start();
    let first = field(&site.done(&["publish"]), "base");
    site.done(&["init"]);
    site.done(&["upgrade", "lock", "--yes-forever"]);
    site.compiles_to("atoma_base", &[&base_modules()[..], &["another"]].concat());
    site.fails(&["upgrade", "propose", "--same-version"], "--package base");
    site.done(&["upgrade", "propose", "--package", "base"]);
    site.advance(5_000);
    let applied = site.done(&["upgrade", "apply", "--package", "base"]);
    assert!(applied.contains("upgrade it, too"), "{applied}");
    let second = field(&applied, "package");
    let status = site.done(&["upgrade", "status"]);
    assert!(status.contains(&format!("base        {second} version 2")), "{status}");

    site.done(&["upgrade", "propose", "--same-version"]);
    site.advance(5_000);
    site.done(&["upgrade", "apply"]);
    let profile = std::fs::read_to_string(site.profile()).unwrap();
    assert!(profile.contains(&first) && profile.contains(second.trim_end_matches(',')), "{profile}");
}

#[test]
fn a_proposal_that_nobody_used_lapses() {
    let site = Site::start();
    site.done(&["publish"]);
    site.done(&["init"]);
    site.done(&["upgrade", "lock", "--yes-forever"]);
    site.compiles_to("atoma", &[&market_modules()[..], &["another"]].concat());
    site.done(&["upgrade", "propose", "--same-version"]);
    site.advance(5_000 + 14 * 24 * 3_600 + 1);
    assert!(site.done(&["upgrade", "status"]).contains("lapsed"));
    assert_one_line_error(&site.contract(&["upgrade", "apply"]), "too late");
    site.done(&["upgrade", "cancel"]);
    site.done(&["upgrade", "propose", "--same-version"]);
}

#[test]
fn publishing_goes_on_with_the_base_that_is_there() {
    let site = Site::start();
    // The devnet refuses this market, when its base is published already.
    site.compiles_to("atoma", &market_modules()[1..]);
    site.fails(&["publish"], "FeatureNotYetSupported");
    let profile = std::fs::read_to_string(site.profile()).unwrap();
    assert!(profile.contains("[base]") && !profile.contains("[deployed]"), "{profile}");
    assert_one_line_error(&site.contract(&["init"]), "atoma contract publish");

    site.compiles_to("atoma", &market_modules());
    let published = site.done(&["publish"]);
    assert!(published.contains("published already"), "{published}");
    assert!(profile.contains(field(&published, "base").trim_end_matches(',')));
    assert!(!std::fs::read_to_string(site.profile()).unwrap().contains("\n[base]"));
    site.done(&["init"]);
    // Both anew.
    assert!(!site.done(&["publish", "--replace"]).contains("published already"));
}

/// Cargo's tests need no Node.js; `cargo xtask test move` runs this one, too.
#[test]
#[ignore = "needs Node.js and `npm ci` in tests/move"]
fn the_real_packages_are_published_and_upgraded() {
    let site = Site::start();
    let tools = site.tools.path();
    std::fs::remove_file(tools.join("sui")).unwrap();
    let node = Command::new("/bin/sh").args(["-c", "command -v node"]).output().unwrap();
    std::os::unix::fs::symlink(text(&node.stdout).trim(), tools.join("node")).unwrap();
    std::os::unix::fs::symlink(repository().join("tests"), tools.join("tests")).unwrap();
    copy(&repository().join("contracts"), &tools.join("contracts"));
    let digest = site
        .command(site.home.path())
        .args(["contract", "digest", "--contracts"])
        .arg(site.contracts())
        .output();
    assert!(digest.unwrap().status.success());
    site.done(&["publish"]);
    site.done(&["init"]);
    site.done(&["upgrade", "lock", "--yes-forever"]);

    let math = tools.join("contracts/atoma_base/sources/math.move");
    let source = std::fs::read_to_string(&math).unwrap();
    std::fs::write(&math, format!("{source}\npublic fun of_the_second_version(): u64 {{ 2 }}\n")).unwrap();
    site.done(&["upgrade", "propose", "--package", "base"]);
    site.advance(5_000);
    site.done(&["upgrade", "apply", "--package", "base"]);
    site.done(&["upgrade", "propose", "--same-version"]);
    site.advance(5_000);
    site.done(&["upgrade", "apply"]);
    assert_eq!(site.done(&["upgrade", "status"]).matches("version 2").count(), 2);
    site.done(&["pause"]);
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(std::fs::copy(from, to).unwrap()),
        }
    }
}

#[test]
fn the_devnets_first_market_needs_no_profile() {
    let site = Site::start();
    assert!(site.done(&["params", "--json"]).contains("\"bond\":500000"));
    site.done(&["params", "--set", "bond=700000"]);
    site.done(&["pause"]);
}

#[test]
fn whoever_holds_no_cap_is_refused() {
    let site = Site::start();
    site.done(&["publish"]);
    let other = tempdir().unwrap();
    run(other.path(), &["wallet", "new"]);
    run(other.path(), &["wallet", "faucet", "--rpc", &site.devnet.url]);
    let pause = site.contract_of(other.path(), &["pause"]);
    assert!(text(&pause.stderr).contains("holds no admin cap of this market"), "{}", text(&pause.stderr));
    // With the publisher's profile, and another wallet.
    std::fs::create_dir_all(other.path().join("networks")).unwrap();
    std::fs::copy(site.profile(), other.path().join("networks/devnet.toml")).unwrap();
    let init = site.contract_of(other.path(), &["init"]);
    assert_eq!(init.status.code(), Some(1));
    assert!(text(&init.stderr).contains("holds no object"), "{}", text(&init.stderr));
}

#[test]
fn bad_input_is_one_line() {
    let site = Site::start();
    let home = site.home.path();
    let nowhere = run(home, &["contract", "params", "--network", "nowhere"]);
    assert_one_line_error(&nowhere, "devnet, mainnet, testnet");
    for command in [&["stack", "list"][..], &["contract", "params"], &["contract", "init"]] {
        let output = run(home, &[command, &["--network", "mainnet"]].concat());
        assert_one_line_error(&output, "not deployed on mainnet");
    }
    assert_one_line_error(&site.contract(&["params", "--set", "bond"]), "NAME=VALUE");
    assert_one_line_error(&site.contract(&["params", "--set", "bound=1"]), "no parameter is called bound");
    assert_one_line_error(&site.contract(&["params", "--set", "bond=much"]), "whole number");
    assert_one_line_error(&site.contract(&["params", "--set", "min_collateral=0"]), "out of bounds");
    assert_one_line_error(&site.contract(&["params", "--set", "unit_ms=1"]), "unit_ms never changes");
    assert_one_line_error(&site.contract(&["params", "--file", "/nowhere.toml"]), "/nowhere.toml");
    assert_one_line_error(&site.contract(&["init"]), "atoma contract publish");
    let no_key = tempdir().unwrap();
    assert_one_line_error(&site.contract_of(no_key.path(), &["pause"]), "atoma wallet new");
    // This devnet, where the profile names another chain.
    std::fs::create_dir_all(home.join("networks")).unwrap();
    let testnet = include_str!("../../../chain/networks/testnet.toml");
    std::fs::write(home.join("networks/mine.toml"), testnet).unwrap();
    let wrong = run(home, &["contract", "publish", "--network", "mine", "--rpc", &site.devnet.url]);
    assert_one_line_error(&wrong, "69WiPg3DAQiwdxfncX6wYQ2siKwAe6L9BZthQea3JNMD");
}

#[test]
fn what_the_compiler_does_wrong_is_one_line() {
    let site = Site::start();
    let error = |part: &str| {
        site.fails(&["publish"], part);
        assert!(!site.profile().exists());
    };
    // Padded beyond what Sui takes: nothing is signed, not for the base either.
    let names: Vec<String> = (0..400).map(|at| format!("{}{at}", "m".repeat(100))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.compiles_to("atoma", &names);
    error("the market's package is too large");
    site.compiles_to("atoma_base", &names);
    error("the base package is too large");
    site.compiles_to("atoma_base", &base_modules()[1..]);
    site.compiles_to("atoma", &market_modules());
    error("FeatureNotYetSupported");
    site.prints("BUILDING atoma");
    error("printed no package");
    site.prints(r#"{"modules": ["AAAA"], "dependencies": [], "digest": []}"#);
    error("no package that can be read");
    std::fs::remove_file(site.tools.path().join("sui")).unwrap();
    error("no Move compiler: install the Sui CLI");
}
