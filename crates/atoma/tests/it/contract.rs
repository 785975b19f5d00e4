//! `atoma contract` against a devnet, with a compiler that prints what the test wrote.

use crate::chain::Devnet;
use crate::{assert_one_line_error, atoma, run, text};
use atoma_devnet::{WALRUS_PACKAGE, market_modules};
use atoma_types::Address;
use atoma_types::onchain::Package;
use atoma_types::onchain::package::empty_module;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::{TempDir, tempdir};

/// A home with a funded wallet, a devnet, and a folder that is the whole `PATH`.
struct Site {
    home: TempDir,
    tools: TempDir,
    devnet: Devnet,
}

impl Site {
    /// The wallet administers the devnet's first market, too.
    fn start() -> Self {
        let (home, tools) = (tempdir().unwrap(), tempdir().unwrap());
        run(home.path(), &["wallet", "new"]);
        let address = text(&run(home.path(), &["wallet", "address"]).stdout);
        let devnet = Devnet::start_with(home.path(), &["--admin", address.trim()]);
        let funded = run(home.path(), &["wallet", "faucet", "--rpc", &devnet.url]);
        assert!(funded.status.success(), "{}", text(&funded.stderr));
        let site = Self { home, tools, devnet };
        site.compiles_to(&market_modules());
        site
    }

    /// From now on the compiler makes a package of these modules.
    fn compiles_to(&self, names: &[&str]) {
        let dependencies = vec![Address::from_static("0x1"), Address::TWO, WALRUS_PACKAGE];
        let modules = names.iter().map(|name| empty_module(name, "Some", &dependencies)).collect();
        let package = Package::new(modules, dependencies).unwrap();
        let modules: Vec<String> = package.bytecode().iter().map(|module| STANDARD.encode(module)).collect();
        let json = serde_json::json!({
            "modules": modules, "dependencies": package.dependencies(), "digest": package.digest().0,
        });
        self.prints(&json.to_string());
    }

    fn prints(&self, line: &str) {
        let output = self.tools.path().join("output");
        std::fs::write(&output, line).unwrap();
        let tool = self.tools.path().join("sui");
        std::fs::write(&tool, format!("#!/bin/sh\nexec /bin/cat {}\n", output.display())).unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn contract(&self, arguments: &[&str]) -> Output {
        self.contract_of(self.home.path(), arguments)
    }

    fn contract_of(&self, home: &Path, arguments: &[&str]) -> Output {
        let mut command = atoma(home);
        command.env("PATH", self.tools.path()).arg("contract").args(arguments);
        if arguments.iter().any(|word| ["publish", "propose", "apply"].contains(word)) {
            command.arg("--contracts").arg(contracts());
        }
        command.args(["--network", "devnet", "--rpc", &self.devnet.url]);
        command.output().unwrap()
    }

    /// Runs what must succeed and gives what it says.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.contract(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn profile(&self) -> PathBuf {
        self.home.path().join("networks/devnet.toml")
    }

    fn advance(&self, seconds: u64) {
        let moved =
            run(self.home.path(), &["devnet", "advance", &seconds.to_string(), "--rpc", &self.devnet.url]);
        assert!(moved.status.success(), "{}", text(&moved.stderr));
    }
}

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// What a line that begins with `name` says.
fn field(said: &str, name: &str) -> String {
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
    let package = field(&published, "package");
    assert!(std::fs::read_to_string(site.profile()).unwrap().contains(&package));
    assert_one_line_error(&site.contract(&["params"]), "atoma contract init");
    let again = site.contract(&["publish"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--replace"));

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
    let lock = field(&site.done(&["upgrade", "lock", "--yes-forever"]), "lock");
    assert_one_line_error(&site.contract(&["upgrade", "lock", "--yes-forever"]), &lock);
    assert_one_line_error(&site.contract(&["upgrade", "apply"]), "nothing is proposed");

    site.compiles_to(&[&market_modules()[..], &["another"]].concat());
    let proposed = site.done(&["upgrade", "propose"]);
    assert!(proposed.contains("in 5000 s"), "{proposed}");
    let digest = field(&proposed, "digest");
    assert!(site.done(&["upgrade", "status"]).contains(&digest));
    assert_one_line_error(&site.contract(&["upgrade", "apply"]), "too early");
    site.done(&["upgrade", "cancel"]);
    assert!(site.done(&["upgrade", "status"]).contains("proposal    none"));

    site.done(&["upgrade", "propose"]);
    site.advance(5_000);
    site.compiles_to(&[&market_modules()[..], &["third"]].concat());
    let other = site.contract(&["upgrade", "apply"]);
    assert!(text(&other.stderr).contains(&digest), "{}", text(&other.stderr));
    site.compiles_to(&[&market_modules()[..], &["another"]].concat());
    let applied = site.done(&["upgrade", "apply"]);
    let upgraded = field(&applied, "package");
    assert_ne!(upgraded, format!("{package},"));
    // Calls go to the new version; the market stays the old one's.
    site.done(&["pause"]);
    assert!(site.done(&["upgrade", "status"]).contains("version 2"));
    // The model has one version only, so there is nothing to move to.
    assert_one_line_error(&site.contract(&["upgrade", "migrate"]), "Version");
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
        let output = site.contract(&["publish"]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.lines().last().unwrap().contains(part), "{part} is not in: {said}");
        assert!(!site.profile().exists());
    };
    site.prints("BUILDING atoma");
    error("printed no package");
    site.prints(r#"{"modules": ["AAAA"], "dependencies": [], "digest": []}"#);
    error("no package that can be read");
    let names: Vec<String> = (0..400).map(|at| format!("{}{at}", "m".repeat(100))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.compiles_to(&names);
    error("too large");
    site.compiles_to(&market_modules()[1..]);
    error("FeatureNotYetSupported");
    std::fs::remove_file(site.tools.path().join("sui")).unwrap();
    error("no Move compiler: install the Sui CLI");
}
