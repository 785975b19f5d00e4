use crate::{assert_one_line_error, run, text, without_sources};
use tempfile::tempdir;

#[test]
fn help_teaches_and_succeeds() {
    let home = tempdir().unwrap();
    let help = run(home.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in [
        "dev", "demo", "chat", "connect", "wallet", "node", "gateway", "devnet", "stack", "receipt", "model",
        "contract",
    ] {
        assert!(text(&help.stdout).contains(&format!("\n  {command} ")), "{command}");
        let own = run(home.path(), &[command, "--help"]);
        assert_eq!(own.status.code(), Some(0), "{command}");
        assert!(text(&own.stdout).contains("Usage: atoma "), "{command}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_64() {
    let home = tempdir().unwrap();
    for arguments in [&["frobnicate"][..], &["wallet", "send", "nobody", "1"], &["dev", "--nodes", "0"], &[]]
    {
        let output = run(home.path(), arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_a_market_commands_say_how_to_start_one() {
    let home = tempdir().unwrap();
    assert_one_line_error(&run(home.path(), &["chat", "hello"]), "atoma dev");
    assert_one_line_error(&run(home.path(), &["node", "list"]), "atoma dev");
    assert_one_line_error(&run(home.path(), &["stack", "show", "0x1"]), "atoma dev");
    let nobody = "http://127.0.0.1:9";
    assert_one_line_error(&run(home.path(), &["node", "list", "--rpc", nobody]), nobody);
    assert_one_line_error(
        &run(home.path(), &["chat", "hello", "--url", "http://127.0.0.1:9/v1"]),
        "127.0.0.1:9",
    );
}

#[test]
fn a_busy_port_is_named() {
    let home = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(home.path(), &["devnet", "run", "--ephemeral", "--port", &port]);
    assert_one_line_error(&output, &format!("127.0.0.1:{port}"));
}

#[test]
fn a_busy_port_of_dev_is_named_with_the_option_that_changes_it() {
    let home = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (option, other) in [("--port", "--rpc-port"), ("--rpc-port", "--port")] {
        let output = run(home.path(), &["dev", option, &port, other, "0"]);
        assert_one_line_error(&output, &format!("127.0.0.1:{port}; {option} chooses another"));
    }
    assert!(!home.path().join("dev").exists());
}

#[test]
fn dev_without_weights_says_how_to_get_them() {
    let home = tempdir().unwrap();
    let mut dev = without_sources(home.path());
    dev.args(["dev", "--port", "0", "--rpc-port", "0"]);
    assert_one_line_error(&dev.output().unwrap(), "atoma model pull smollm2-135m-instruct");
}

#[test]
fn weights_that_cannot_be_fetched_are_one_error() {
    let home = tempdir().unwrap();
    let mut pull = without_sources(home.path());
    pull.args(["model", "pull"]);
    assert_one_line_error(&pull.output().unwrap(), "smollm2-135m-instruct");
    assert_one_line_error(&run(home.path(), &["model", "pull", "no-such-model"]), "no-such-model");
    let list = run(home.path(), &["model", "list"]);
    assert!(text(&list.stdout).contains("atoma model pull"));
}

#[test]
fn configurations_are_refused_in_one_line() {
    let home = tempdir().unwrap();
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "node = 0\n").unwrap();
    let file = file.to_str().unwrap();
    assert_one_line_error(&run(home.path(), &["node", "run", file]), "bad.toml");
    assert_one_line_error(&run(home.path(), &["node", "run", "/nowhere/node.toml"]), "/nowhere/node.toml");
    assert_one_line_error(&run(home.path(), &["gateway", "run", file]), "node");
}

#[test]
fn completions_are_printed() {
    let home = tempdir().unwrap();
    let script = run(home.path(), &["completions", "bash"]);
    assert!(text(&script.stdout).contains("_atoma()"));
}
