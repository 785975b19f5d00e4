//! `atoma contract` as its operator meets it: what stands where, what comes next, and what is refused before it costs.

use crate::chain::Devnet;
use crate::contract::{Site, copy, field, repository};
use crate::{assert_one_line_error, atoma, run, text};
use atoma_devnet::{base_modules, market_modules};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Another home with a funded wallet and the site's profile, and its address.
fn other(site: &Site) -> (TempDir, String) {
    let other = tempdir().unwrap();
    run(other.path(), &["wallet", "new"]);
    run(other.path(), &["wallet", "faucet", "--rpc", &site.devnet.url]);
    std::fs::create_dir_all(other.path().join("networks")).unwrap();
    if site.profile().exists() {
        std::fs::copy(site.profile(), other.path().join("networks/devnet.toml")).unwrap();
    }
    let address = text(&run(other.path(), &["wallet", "address"]).stdout);
    (other, address.trim().to_owned())
}

fn market(site: &Site) {
    site.done(&["publish"]);
    site.done(&["init"]);
}

#[test]
fn a_base_of_another_wallet_is_not_gone_on_with() {
    let site = Site::start();
    site.compiles_to("atoma", &market_modules()[1..]);
    site.fails(&["publish"], "FeatureNotYetSupported");
    site.compiles_to("atoma", &market_modules());
    let owner = text(&run(site.home.path(), &["wallet", "address"]).stdout);
    let (other, address) = other(&site);
    let resumed = site.contract_of(other.path(), &["publish"]);
    let error = text(&resumed.stderr);
    assert!(error.contains(&format!("belongs to {}, not to this wallet", owner.trim())), "{error}");
    assert!(error.contains("--replace") && error.contains(&address), "{error}");
    let anew = site.contract_of(other.path(), &["publish", "--replace"]);
    assert_eq!(anew.status.code(), Some(0), "{}", text(&anew.stderr));
    assert!(!text(&anew.stdout).contains("published already"));
}

#[test]
fn a_cap_of_another_wallet_does_not_keep_the_other_from_being_locked() {
    let site = Site::start();
    market(&site);
    let (other, _) = other(&site);
    let output = site.contract_of(other.path(), &["upgrade", "lock", "--yes-forever"]);
    let error = text(&output.stderr);
    let last = error.lines().last().unwrap();
    assert!(last.contains("the cap of the base") && last.contains("the cap of the market"), "{error}");
}

#[test]
fn status_says_what_stands_and_what_is_next() {
    let site = Site::start();
    let keyless = tempdir().unwrap();
    let status = |more: &[&str]| {
        std::fs::create_dir_all(keyless.path().join("networks")).unwrap();
        if site.profile().exists() {
            std::fs::copy(site.profile(), keyless.path().join("networks/devnet.toml")).unwrap();
        }
        let output = site.contract_of(keyless.path(), more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let next = |said: &str| said.lines().last().unwrap().to_owned();
    assert!(
        next(&status(&["status"])).contains("the devnet's own; `atoma contract publish --network devnet`")
    );
    let published = site.done(&["publish"]);
    assert_eq!(next(&published), "next        `atoma contract init --network devnet`");
    assert_eq!(next(&status(&["status"])), next(&published));
    let made = site.done(&["init"]);
    assert!(next(&made).contains("upgrade lock --yes-forever --network devnet"), "{made}");
    let unlocked = status(&["status"]);
    assert_eq!(unlocked.matches("UNLOCKED: its holder 0x").count(), 2, "{unlocked}");
    assert_eq!(next(&unlocked), next(&made));
    assert_eq!(status(&["upgrade", "status"]).matches("UNLOCKED").count(), 2);
    site.done(&["upgrade", "lock", "--yes-forever"]);
    site.done(&["pause"]);
    site.done(&["params", "--set", "bond=600000"]);
    let running = status(&["status"]);
    for part in ["next        nothing: the market runs", "PAUSED", "500000 -> 600000", "version     1"] {
        assert!(running.contains(part), "{part} is not in: {running}");
    }
    let object: Value = serde_json::from_str(&status(&["status", "--json"])).unwrap();
    assert_eq!((object["version"].as_u64(), object["paused"].as_bool()), (Some(1), Some(true)));
    assert_eq!(object["packages"][1]["locked"], true);
    assert!(status(&["params"]).contains("bond"));
    assert!(status(&["treasury"]).starts_with("treasury    0"));
}

#[test]
fn parameters_hold_when_the_epoch_ends() {
    let site = Site::start();
    let set = site.done(&["params", "--set", "bond=600000"]);
    assert!(set.contains("500000 -> 600000") && set.contains("atoma devnet advance --epochs 1"), "{set}");
    let rpc = ["--rpc", site.devnet.url.as_str()];
    let advance = |what: &[&str]| run(site.home.path(), &[&["devnet", "advance"][..], what, &rpc].concat());
    let ended = advance(&["--epochs", "1"]);
    assert!(text(&ended.stdout).contains("in epoch 1"), "{}", text(&ended.stderr));
    let held = site.done(&["params"]);
    assert!(held.contains("bond                    600000\n") && held.contains("this is epoch 1"), "{held}");
    assert_one_line_error(&advance(&["18446744073709551"]), "at most 315360000000");
    assert_one_line_error(&advance(&["--epochs", "1001"]), "at most 1000");
    assert_eq!(advance(&[]).status.code(), Some(64));
}

#[test]
fn what_would_change_nothing_is_not_sent() {
    let site = Site::start();
    let refused = |arguments: &[&str], part: &str| assert_one_line_error(&site.contract(arguments), part);
    refused(&["params", "--set", "bond=500000"], "nothing would change");
    refused(&["params", "--set", "bond=1", "--set", "bond=2"], "bond is set twice");
    refused(&["params", "--set", "bnod=1"], "nearest is bond");
    refused(&["params", "--set", "=1"], "has no name");
    refused(&["params", "--set", "exit_ms=640001"], "exit_ms must be a multiple of unit_ms = 1000");
    refused(&["params", "--set", "burn_permille=499"], "burn_permille must be from 500 to 1000, and is 499");
    let file = site.home.path().join("bad.toml");
    std::fs::write(&file, "bond = 1\nopen_fee = much\n").unwrap();
    refused(&["params", "--file", file.to_str().unwrap()], "line 2: ");
    let tried = site.done(&["params", "--set", "bond=600000", "--dry-run"]);
    assert!(tried.contains("500000 -> 600000") && tried.contains("would succeed"), "{tried}");
    assert!(site.done(&["resume"]).contains("go on already; nothing was sent"));
    site.done(&["pause"]);
    assert!(site.done(&["pause"]).contains("are stopped already; nothing was sent"));
    refused(&["retire-model", "7", "--yes-forever"], "there is no model 7");
    refused(&["treasury", "--pay", "1", "--to", "0x1"], "the treasury holds");
    assert_eq!(site.contract(&["treasury", "--pay", "1"]).status.code(), Some(64));
}

#[test]
fn proposals_are_looked_at_before_anything_is_sent() {
    let site = Site::start();
    market(&site);
    site.done(&["upgrade", "lock", "--yes-forever"]);
    assert_one_line_error(&site.contract(&["upgrade", "propose"]), "package_version!() in");
    site.fails(&["upgrade", "propose", "--same-version"], "these sources are what is deployed");
    assert!(site.done(&["upgrade", "cancel"]).contains("there is none; nothing was sent"));
    site.compiles_to("atoma", &[&market_modules()[..], &["another"]].concat());
    let tried = site.done(&["upgrade", "propose", "--same-version", "--dry-run"]);
    assert!(!tried.contains("ready"), "{tried}");
    let digest = field(&site.done(&["upgrade", "propose", "--same-version"]), "digest");
    let again = site.contract(&["upgrade", "propose", "--same-version"]);
    assert_one_line_error(&again, &format!("proposal {digest} is pending, ready in 5000 s"));
    assert!(site.done(&["upgrade", "cancel"]).contains(&digest));
    // Sources of a newer version need no flag.
    let contracts = site.home.path().join("contracts");
    copy(&repository().join("contracts"), &contracts);
    let db = contracts.join("atoma/sources/db.move");
    let source = std::fs::read_to_string(&db).unwrap();
    std::fs::write(&db, source.replace("package_version(): u64 { 1 }", "package_version(): u64 { 2 }"))
        .unwrap();
    let proposed = site.with_sources(&contracts, &["upgrade", "propose", "--json"]);
    let object: Value = serde_json::from_str(&text(&proposed.stdout)).unwrap();
    assert_eq!(object["digest"], digest);
    assert!(object["ready_ms"].is_u64() && object["transactions"][0]["digest"].is_string(), "{object}");
}

#[test]
fn every_command_prints_one_object_if_asked() {
    let site = Site::start();
    let object = |arguments: &[&str]| -> Value {
        let said = site.done(&[arguments, &["--json"]].concat());
        assert_eq!(said.lines().count(), 1, "{said}");
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(object(&["publish", "--dry-run"])["dry_run"], true);
    let published = object(&["publish"]);
    assert_eq!(published["transactions"].as_array().unwrap().len(), 2);
    assert!(published["package"].is_string() && published["market_bytes"].is_u64(), "{published}");
    assert!(object(&["init"])["database"].is_string());
    assert_eq!(object(&["params", "--set", "bond=600000"])["changes"][0]["after"], 600_000);
    assert_eq!(object(&["params"])["next"]["bond"], 600_000);
    assert_eq!(object(&["pause"])["paused"], true);
    assert_eq!(object(&["resume"])["paused"], false);
    assert_eq!(object(&["treasury"])["treasury_balance"], 0);
    assert!(object(&["upgrade", "lock", "--yes-forever"])["market_lock"].is_string());
    assert_eq!(object(&["upgrade", "status"])["packages"][0]["package"], "base");
    assert_eq!(object(&["upgrade", "migrate"])["version"], 1);
    assert!(object(&["upgrade", "cancel"])["transactions"].is_null());
}

#[test]
fn caps_are_handed_over_together() {
    let site = Site::start();
    market(&site);
    let (other, address) = other(&site);
    assert_one_line_error(&site.contract(&["hand-over", "--to", &address]), "--yes");
    let over = site.done(&["hand-over", "--to", &address, "--yes"]);
    assert!(over.contains("the AdminCap and 2 UpgradeCaps"), "{over}");
    assert_one_line_error(&site.contract(&["pause"]), "holds no admin cap");
    assert_eq!(site.done(&["status"]).matches(&address).count(), 3);
    for command in [&["pause"][..], &["upgrade", "lock", "--yes-forever"]] {
        let output = site.contract_of(other.path(), command);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}

#[test]
fn a_devnet_made_anew_is_published_to_again() {
    let site = Site::start();
    market(&site);
    let profile = std::fs::read_to_string(site.profile()).unwrap();
    assert!(!profile.contains(&site.devnet.url) && profile.contains("127.0.0.1:9000"), "{profile}");
    let anew = Devnet::start_with(site.home.path(), &[]);
    let home = site.home.path();
    let place = ["--network", "devnet", "--rpc", anew.url.as_str()];
    let refused = run(home, &[&["contract", "status"][..], &place].concat());
    assert_one_line_error(&refused, "atoma contract publish --network devnet --replace");
    assert_one_line_error(&run(home, &[&["wallet", "balance"][..], &place].concat()), "--replace");
    run(home, &["wallet", "faucet", "--rpc", &anew.url]);
    let published = site.on(&anew, &["publish", "--replace"]);
    assert_eq!(published.status.code(), Some(0), "{}", text(&published.stderr));
    assert!(text(&published.stdout).contains("devnet.toml.old"));
    assert_eq!(std::fs::read_to_string(site.profile().with_extension("toml.old")).unwrap(), profile);
    // Before there is a market, there is SUI.
    let balance = run(home, &[&["wallet", "balance"][..], &place].concat());
    assert_eq!(balance.status.code(), Some(0), "{}", text(&balance.stderr));
    let twice = site.on(&anew, &["publish", "--replace"]);
    assert!(text(&twice.stdout).contains("devnet.toml.old"), "{}", text(&twice.stderr));
}

#[test]
fn missing_gas_is_said_before_anything_is_signed() {
    let site = Site::start();
    let poor = tempdir().unwrap();
    run(poor.path(), &["wallet", "new"]);
    let publish = site.contract_of(poor.path(), &["publish"]);
    let error = text(&publish.stderr);
    assert!(error.lines().last().unwrap().contains("has 0.0000 SUI: send it"), "{error}");
    assert!(!poor.path().join("networks/devnet.toml").exists());
}

#[test]
fn names_of_profiles_are_said_and_keys_in_addresses_are_not() {
    let home = tempdir().unwrap();
    let networks = home.path().join("networks");
    std::fs::create_dir_all(&networks).unwrap();
    let mine = include_str!("../../../chain/networks/devnet.toml");
    std::fs::write(networks.join("leak.toml"), mine).unwrap();
    let init = run(home.path(), &["contract", "init", "--network", "leak"]);
    assert_one_line_error(&init, "atoma contract publish --network leak");
    let url = "http://127.0.0.1:9/v1/hush?key=hush";
    let status = run(home.path(), &["contract", "status", "--network", "leak", "--rpc", url]);
    assert_one_line_error(&status, "http://127.0.0.1:9:");
    assert!(!text(&status.stderr).contains("hush"), "{}", text(&status.stderr));
}

#[test]
fn an_auditor_needs_neither_key_nor_node() {
    let site = Site::start();
    market(&site);
    let digest = |more: &[&str]| {
        let mut command = site.command(site.home.path());
        command.args(["contract", "digest", "--contracts"]).arg(site.contracts()).args(more);
        text(&command.output().unwrap().stdout)
    };
    let profile = std::fs::read_to_string(site.profile()).unwrap();
    let object: Value = serde_json::from_str(&digest(&["--network", "devnet", "--json"])).unwrap();
    for part in ["base_digest", "market_digest"] {
        assert!(profile.contains(object[part].as_str().unwrap()), "{object} is not in: {profile}");
    }
    let without = digest(&[]);
    assert!(without.contains("depends on where its base is"), "{without}");
    assert!(without.contains(object["base_digest"].as_str().unwrap()), "{without}");
    site.compiles_to("atoma_base", &base_modules()[1..]);
    assert!(!digest(&["--package", "base"]).contains(object["base_digest"].as_str().unwrap()));
    let help = text(&atoma(site.home.path()).args(["contract", "digest", "--help"]).output().unwrap().stdout);
    assert!(help.contains("neither wallet nor full node"), "{help}");
}
