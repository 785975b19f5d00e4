//! An operator's life with a node: into the market, serving, out of it again, with every coin; and what is in the logs
//! meanwhile.

use crate::chain::Devnet;
use crate::{assert_one_line_error, atoma, run, text};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const PROMPT: &str = "the vault's code is 4711";
const ANSWER: &str = "nobody may read 0815";

/// A server that speaks OpenAI's protocol and always says the same.
struct Engine {
    url: String,
}

impl Engine {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                std::thread::spawn(move || answer(connection.unwrap()));
            }
        });
        Self { url }
    }
}

fn answer(connection: TcpStream) {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let usage = json!({"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220});
    let (kind, text) = if !head.starts_with("POST") {
        ("text/plain", "ok".to_owned())
    } else if serde_json::from_slice::<Value>(&body).unwrap()["stream"] == true {
        let event = |choices: Value, usage: Value| {
            format!("data: {}\n\n", json!({"choices": choices, "usage": usage}))
        };
        let says = event(json!([{"index": 0, "delta": {"content": ANSWER}}]), Value::Null);
        ("text/event-stream", format!("{says}{}data: [DONE]\n\n", event(json!([]), usage)))
    } else {
        let choices = json!([{"index": 0, "message": {"role": "assistant", "content": ANSWER}}]);
        ("application/json", json!({"choices": choices, "usage": usage}).to_string())
    };
    let length = text.len();
    let mut connection = reader.into_inner();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = connection.write_all(format!("{head}{text}").as_bytes());
}

/// A program that runs on, with all that it logs in a file. Killed when dropped.
struct Service {
    child: Child,
    /// The last word of its first line.
    place: String,
    log: PathBuf,
}

impl Service {
    fn start(home: &Path, log: &str, arguments: &[&str]) -> Self {
        let log = home.join(log);
        let mut command = atoma(home);
        command.args(["--log", "debug"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let shown = || std::fs::read_to_string(&log).unwrap();
        let place = first.split_whitespace().last().unwrap_or_else(|| panic!("it says nothing: {}", shown()));
        Self { place: place.to_owned(), child, log }
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end: {}", self.said());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A devnet with a task, and a node's folder whose wallet has coins.
struct Site {
    home: TempDir,
    folder: PathBuf,
    devnet: Devnet,
    listen: String,
}

impl Site {
    fn start() -> Self {
        let home = tempdir().unwrap();
        let devnet = Devnet::start_with(home.path(), &[]);
        let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = reserved.local_addr().unwrap().to_string();
        let site = Self { folder: home.path().join("node"), home, devnet, listen };
        site.done(&["wallet", "new"]);
        site.market(&["wallet", "faucet"]);
        let made = site.market(&["task", "create", "--model", "served", "--price-ceiling", "400_000"]);
        assert!(made.starts_with("task    1: served"), "{made}");
        assert!(site.market(&["task", "list"]).contains("served"));
        site.done(&["node", "init", site.folder()]);
        let wallet = site.folder.join("wallet.key");
        site.market(&["wallet", "faucet", "--wallet", wallet.to_str().unwrap()]);
        site
    }

    fn folder(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = run(self.home.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// On the devnet.
    fn market(&self, arguments: &[&str]) -> String {
        self.done(&[arguments, &["--rpc", &self.devnet.url]].concat())
    }

    /// A command for the node, which knows its market.
    fn node(&self, command: &str, more: &[&str]) -> String {
        self.done(&[&["node", command, self.folder()], more].concat())
    }

    fn node_fails(&self, command: &str, more: &[&str], part: &str) {
        let output = run(self.home.path(), &[&["node", command, self.folder()], more].concat());
        assert_one_line_error(&output, part);
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.node("status", &["--json"])).unwrap()
    }

    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "{status}");
        }
    }

    fn configure(&self, engines: &str) {
        let file = self.folder.join("node.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let own = text.split("\n[[engines]]").next().unwrap();
        std::fs::write(file, format!("{own}\n[[engines]]\n{engines}\n[settle]\nmin_amount = 0\n")).unwrap();
    }

    fn register(&self) -> String {
        let endpoint = format!("http://{}", self.listen);
        let place = ["--endpoint", &endpoint, "--listen", &self.listen];
        let offer = ["--task", "1", "--price", "200_000"];
        self.market(&[&["node", "register", self.folder()], &place[..], &offer].concat())
    }

    fn collateral_and_coins(&self) -> u64 {
        let status = self.status();
        status["node"]["collateral"].as_u64().unwrap() + status["wallet"]["coin"].as_u64().unwrap()
    }
}

fn upstream(engines: &[&Engine]) -> String {
    let replicas: Vec<&str> = engines.iter().map(|engine| engine.url.as_str()).collect();
    format!("kind = \"upstream\"\nmodel = \"served\"\nreplicas = {replicas:?}\ncontext_tokens = 4096\n")
}

#[test]
fn from_registration_to_the_collateral_back() {
    let site = Site::start();
    let (first, second) = (Engine::start(), Engine::start());
    site.node_fails("reload", &[], "register the node first");
    assert!(site.register().contains("offering task 1 at 200000"));
    site.configure(&upstream(&[&first]));
    site.node_fails("reload", &[], "the node does not run");
    let owned = site.collateral_and_coins();
    let settings = site.folder.join("node.toml");
    let mut node = Service::start(site.home.path(), "node.log", &["node", "run", settings.to_str().unwrap()]);

    // Prices change, offers end and begin again.
    let dearer = site.node("subscribe", &["--task", "1", "--price", "300_000"]);
    assert!(dearer.contains("at 300000 from the next epoch on"), "{dearer}");
    assert!(site.node("unsubscribe", &["--task", "1"]).contains("from the next epoch on no new stack"));
    assert!(site.node("unsubscribe", &["--task", "1"]).contains("nothing to do"));
    site.node_fails("subscribe", &["--task", "9", "--price", "1"], "task 9 does not exist");
    site.market(&["devnet", "advance", "--epochs", "1"]);
    assert!(
        site.node("subscribe", &["--task", "1", "--price", "200_000"]).contains("offering task 1 at 200000")
    );
    let status = site.status();
    assert_eq!((&status["service"]["service"], &status["service"]["channels"]), (&json!("ready"), &json!(0)));

    // Engines come and go while it serves.
    site.configure(&upstream(&[&first, &second]));
    assert!(site.node("reload", &[]).contains("reloaded the engines"));
    site.configure("kind = \"upstream\"\nmodel = \"served\"\nreplicas = []\ncontext_tokens = 4096\n");
    site.node_fails("reload", &[], "replicas must name 1 to 64 servers");
    site.configure(&upstream(&[&second]).replace("served", "another"));
    site.node_fails("reload", &[], "kept its engines");
    assert!(node.said().contains("task 1 needs the model served"), "{}", node.said());
    site.configure(&upstream(&[&second]));
    assert!(site.node("reload", &[]).contains("reloaded the engines"));

    // A gateway asks.
    let listen = ["gateway", "run", "--listen", "127.0.0.1:0", "--rpc", &site.devnet.url];
    let mut gateway = Service::start(site.home.path(), "gateway.log", &listen);
    let key = site.done(&["gateway", "key"]).trim().to_owned();
    let chat = ["chat", PROMPT, "--model", "served", "--url", &gateway.place, "--key", &key];
    let said = asked(&site, &chat);
    assert!(said.contains(ANSWER), "{said}");
    let busy = site.until(|status| status["service"]["channels"] == 1);
    assert_eq!(busy["service"]["service"], "ready");

    // No new stacks; what is there is served, acknowledged, and settled when the node leaves.
    let drained = site.node("drain", &[]);
    assert!(drained.contains("1 offer ended"), "{drained}");
    assert!(site.status()["offers"][0]["offer"].is_null());
    assert!(site.node("status", &[]).contains("not offered"));
    gateway.terminate();
    assert!(gateway.ended().success(), "{}", gateway.said());
    site.until(|status| status["service"]["unsettled"].as_u64() > Some(0));
    site.node_fails("withdraw", &[], "say so with --yes");
    let disabled = site.node("withdraw", &["--yes"]);
    assert!(disabled.contains("it ends by itself"), "{disabled}");
    assert!(node.ended().success(), "{}", node.said());
    site.node_fails("withdraw", &[], "the collateral can be taken in");
    site.market(&["devnet", "advance", "700", "--epochs", "3"]);
    assert!(site.node("status", &[]).contains("its collateral comes back now"));
    let back = site.node("withdraw", &[]);
    assert!(back.contains("1000") && back.contains("coins came back"), "{back}");
    site.node_fails("withdraw", &[], "was taken already");
    let balance =
        ["wallet", "balance", "--json", "--wallet", site.folder.join("wallet.key").to_str().unwrap()]
            .map(str::to_owned);
    let balance = site.market(&balance.iter().map(String::as_str).collect::<Vec<_>>());
    let coins = serde_json::from_str::<Value>(&balance).unwrap()["coin"].as_u64().unwrap();
    assert!(coins > owned, "{coins} after, {owned} before: nothing was earned");

    // Logs tell what happened, and nothing that is somebody's.
    let secrets = [
        PROMPT.to_owned(),
        ANSWER.to_owned(),
        key.trim_start_matches("atoma-").to_owned(),
        site.done(&["wallet", "export", "--yes-show-my-secret"]).trim().to_owned(),
        hidden(&site.folder.join("receipt.key")),
    ];
    for log in [node.said(), gateway.said()] {
        assert!(log.contains("DEBUG"), "{log}");
        for secret in &secrets {
            assert!(secret.len() > 8 && !log.contains(secret.as_str()), "{secret} is in: {log}");
        }
    }
}

/// What a key file holds.
fn hidden(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap().trim().trim_matches('"').to_owned()
}

/// Asks until the gateway knows of the node.
fn asked(site: &Site, chat: &[&str]) -> String {
    let since = Instant::now();
    loop {
        let output = run(site.home.path(), chat);
        if output.status.success() {
            return text(&output.stdout);
        }
        assert!(since.elapsed() < PATIENCE, "{}", text(&output.stderr));
    }
}
