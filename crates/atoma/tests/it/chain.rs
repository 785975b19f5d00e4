use crate::{assert_one_line_error, atoma, run, text, without_sources};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::tempdir;

/// A devnet in its own process, stopped when dropped.
pub(crate) struct Devnet {
    child: Child,
    pub(crate) url: String,
}

impl Devnet {
    fn start(home: &Path) -> Self {
        Self::start_with(home, &[])
    }

    pub(crate) fn start_with(home: &Path, more: &[&str]) -> Self {
        let mut command = atoma(home);
        command.args(["devnet", "run", "--ephemeral", "--port", "0"]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.split_whitespace().last().unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_gateway_on_a_busy_port_names_it() {
    let home = tempdir().unwrap();
    let devnet = Devnet::start(home.path());
    run(home.path(), &["wallet", "new"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(home.path(), &["gateway", "run", "--listen", &address, "--rpc", &devnet.url]);
    assert_one_line_error(&output, &address);
}

#[test]
fn coins_from_the_faucet_can_be_sent() {
    let home = tempdir().unwrap();
    let devnet = Devnet::start(home.path());
    let rpc = ["--rpc", devnet.url.as_str()];
    run(home.path(), &["wallet", "new"]);
    let funded = run(home.path(), &[&["wallet", "faucet"][..], &rpc].concat());
    assert_eq!(funded.status.code(), Some(0), "{}", text(&funded.stderr));

    let balance = |address: &[&str]| {
        let output = run(home.path(), &[&["wallet", "balance", "--json"][..], &rpc, address].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["coin"].as_u64().unwrap()
    };
    let before = balance(&[]);
    let other = format!("0x{}", "42".repeat(32));
    let sent = run(home.path(), &[&["wallet", "send", &other, "1_500_000"][..], &rpc].concat());
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    assert_eq!(balance(&[]), before - 1_500_000);
    assert_eq!(balance(&["--address", &other]), 1_500_000);

    let too_much = run(home.path(), &[&["wallet", "send", &other, "900000000000000"][..], &rpc].concat());
    assert_one_line_error(&too_much, "not enough coins");
    let unknown = run(home.path(), &[&["stack", "show", &other][..], &rpc].concat());
    assert_one_line_error(&unknown, "there is no stack");
    let garbage = run(home.path(), &[&["receipt", "verify", "AAAA"][..], &rpc].concat());
    assert_one_line_error(&garbage, "not a receipt");
}

#[test]
fn the_clock_moves_forward() {
    let home = tempdir().unwrap();
    let devnet = Devnet::start(home.path());
    let moved = run(home.path(), &["devnet", "advance", "3600", "--rpc", &devnet.url]);
    assert_eq!(moved.status.code(), Some(0), "{}", text(&moved.stderr));
}

#[test]
fn a_node_without_weights_says_how_to_get_them() {
    let home = tempdir().unwrap();
    let devnet = Devnet::start(home.path());
    let folder = home.path().join("node");
    let made = run(home.path(), &["node", "init", folder.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let config = folder.join("node.toml");
    let quoted = |name: &str| format!("{:?}", folder.join(name));
    let (journal, receipt_key, wallet) =
        (quoted("journal.sqlite"), quoted("receipt.key"), quoted("wallet.key"));
    let lines = format!("journal = {journal}\nreceipt_key = {receipt_key}\nwallet = {wallet}\n");
    std::fs::write(&config, format!("node = 1\ntasks = [1]\n{lines}")).unwrap();
    let mut node = without_sources(home.path());
    node.args(["node", "run", config.to_str().unwrap(), "--rpc", &devnet.url]);
    assert_one_line_error(&node.output().unwrap(), "atoma model pull smollm2-135m-instruct");
}
