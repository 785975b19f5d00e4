//! A gateway that is killed while requests are in flight.

use crate::market::{MODEL, Market, PRICE, funded, gateway};
use crate::serving::{get, post, start};
use crate::sim::{self, Manner, World, eventually, text_of};
use atoma_chain::{ChainClient, Wallet, fetch_deployment};
use atoma_client::request::Endpoint;
use atoma_gateway::store::Store;
use atoma_gateway::{GatewayHandle, NewKey};
use atoma_inference::mock::MockConfig;
use atoma_types::{Amount, Units};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What the child prints before its address.
const READY: &str = "gateway listens on ";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Not a test: the body of the child process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the crash test as a child process"]
async fn child_gateway() {
    let dir = PathBuf::from(variable("ATOMA_TEST_DIR"));
    let deployment = fetch_deployment(&variable("ATOMA_TEST_RPC")).await.unwrap();
    let chain = ChainClient::connect(deployment).await.unwrap();
    let wallet = Wallet::load(dir.join("wallet.key")).unwrap();
    let handle = gateway(&chain, &wallet, &dir.join("gateway"), 1).await;
    println!("{READY}{}", handle.url());
    std::future::pending::<()>().await;
}

/// A gateway in a process of its own.
async fn start_child(market: &Market) -> (Child, String) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_gateway", "--exact", "--ignored", "--nocapture"])
        .env("ATOMA_TEST_RPC", market.devnet.url())
        .env("ATOMA_TEST_DIR", market.dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, url)) = line.split_once(READY) {
            return (process, url.to_owned());
        }
    }
}

fn chat(stream: bool) -> Bytes {
    let messages = json!([{"role": "user", "content": "say something nice"}]);
    let body = json!({"model": MODEL, "messages": messages, "stream": stream, "max_tokens": 40});
    Bytes::from(body.to_string())
}

/// Asks and reads so many chunks of the answer, as far as there are that many.
async fn ask(url: &str, key: &str, stream: bool, chunks: usize) {
    let post = reqwest::Client::new().post(format!("{url}/v1/chat/completions"));
    let Ok(response) = post.bearer_auth(key).body(chat(stream)).send().await else { return };
    let mut body = response.bytes_stream();
    for _ in 0..chunks {
        let Some(Ok(_)) = body.next().await else { return };
    }
}

/// The key's usage once nothing is set aside.
async fn at_rest(gateway: &GatewayHandle, key: &str) -> Value {
    let nothing = async || get(gateway, key, "/v1/usage").await["reserved"] == json!(0);
    eventually("nothing is set aside", nothing).await;
    get(gateway, key, "/v1/usage").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_exact_however_often_the_gateway_is_killed() {
    let engine = MockConfig { tokens: 40, delay: Duration::from_millis(5), ..MockConfig::default() };
    let market = Market::start_with(1, engine).await;
    let wallet = funded(&market.chain).await;
    wallet.save_new(market.dir.path().join("wallet.key")).unwrap();
    let data = market.dir.path().join("gateway");
    let store = Store::open(&data.join("keys.db")).await.unwrap();
    let budget = Amount(4_000);
    let key = store.create_key(NewKey { name: "test".into(), budget: Some(budget) }).await.unwrap().secret;

    for round in 0..4 {
        let (mut child, url) = start_child(&market).await;
        // Some answers are read, some are in flight, some are not yet sent when the process dies.
        ask(&url, &key, round % 2 == 0, usize::MAX).await;
        let asked = (0..6).map(|n| ask(&url, &key, n % 3 != 0, n * 8));
        tokio::select! {
            _ = futures::future::join_all(asked) => {}
            () = ask(&url, &key, true, 5 + round * 10) => {}
        }
        // SIGKILL on Unix.
        child.kill().await.unwrap();
    }

    let gateway = market.gateway(&wallet, &data, 1).await;
    let settled = at_rest(&gateway, &key).await;
    let (stack, _, summary) = gateway.session.channels().remove(0);
    assert_eq!((gateway.session.channels().len(), &summary.ended), (1, &None));
    let url = format!("http://{}/v1/channels?stack={stack}", market.nodes[0].addr());
    let books: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    // The key paid for every answer that the node has booked, for each once.
    assert_eq!(
        (&settled["totals"]["requests"], &settled["totals"]["units"]),
        (&books["count"], &books["total_units"])
    );
    let units: Units = serde_json::from_value(books["total_units"].clone()).unwrap();
    assert_eq!(settled["spent"], json!(PRICE.cost(units).unwrap()));
    assert_eq!(settled["spent"], settled["totals"]["cost"]);

    // Until nothing fits any more.
    for _ in 0..budget.0 {
        at_rest(&gateway, &key).await;
        let asked = (0..4).map(|_| async { post(&gateway, &key, chat(false)).await.status().is_success() });
        if !futures::future::join_all(asked).await.contains(&true) {
            break;
        }
    }
    let usage = at_rest(&gateway, &key).await;
    let left = budget.0 - usage["spent"].as_u64().unwrap();
    let most = gateway.session.quote(Endpoint::ChatCompletions, &chat(false)).await.unwrap().max_cost.0;
    assert!(left < most, "{usage}");
    gateway.drain(false).await.unwrap();
}

/// A copy of what is on disk now, which is what a kill would leave.
pub(crate) fn as_killed(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_request_in_flight_over_a_crash_is_charged_once() {
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let first = start(&world, &dir, 1).await;
    let key = crate::serving::key(&first, Some(1_000_000)).await;
    let mut answer = post(&first, &key, sim::chat(true)).await;
    answer.chunk().await.unwrap().unwrap();
    let copy = as_killed(&dir);
    world.go_on();
    assert!(text_of(answer).await.ends_with("data: [DONE]\n\n"));
    for _ in 0..2 {
        let second = start(&world, &copy, 1).await;
        let usage = crate::serving::usage(&second, &key, 1).await;
        assert_eq!(usage["totals"]["requests"], json!(1));
        assert_eq!(usage["spent"], json!(sim::PRICE.cost(Units(world.booked_units(0))).unwrap()));
        drop(second);
    }
    assert_eq!((world.booked(0), world.purchases()), (1, 1));
}
