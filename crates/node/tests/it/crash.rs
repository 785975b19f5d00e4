//! A node that is killed in the middle of an answer.

use crate::support::{Market, PATIENCE, PRICE, User, chat, journal_of, mock};
use atoma_chain::{Call, ChainClient, Wallet, fetch_deployment};
use atoma_node::{NodeConfig, Parts, Settle, SuiMarket};
use atoma_types::onchain::Event;
use atoma_types::{NodeId, SecretKey, TaskId, Units};
use futures::StreamExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What the child prints before its address.
const READY: &str = "node listens on ";

/// A node in a process of its own.
struct ChildNode {
    process: Child,
    url: String,
}

impl ChildNode {
    async fn start(market: &Market, settle_units: u64) -> Self {
        let wallet = market.dir.path().join("wallet.key");
        if !wallet.exists() {
            market.operator.save_new(&wallet).unwrap();
        }
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child_node", "--exact", "--ignored", "--nocapture"])
            .env("ATOMA_TEST_RPC", market.devnet.url())
            .env("ATOMA_TEST_DIR", market.dir.path())
            .env("ATOMA_TEST_NODE", market.node.to_string())
            .env("ATOMA_TEST_TASK", market.task.to_string())
            .env("ATOMA_TEST_KEY", hex::encode(*market.receipt_key.to_seed()))
            .env("ATOMA_TEST_SETTLE_UNITS", settle_units.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = tokio::time::timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                if let Some((_, url)) = line.split_once(READY) {
                    return url.to_owned();
                }
            }
        });
        Self { url: url.await.unwrap(), process }
    }

    async fn kill(mut self) {
        // SIGKILL on Unix.
        self.process.kill().await.unwrap();
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Not a test: the body of the child process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the crash test as a child process"]
async fn child_node() {
    let dir = PathBuf::from(variable("ATOMA_TEST_DIR"));
    let chain =
        ChainClient::connect(fetch_deployment(&variable("ATOMA_TEST_RPC")).await.unwrap()).await.unwrap();
    let wallet = Wallet::load(dir.join("wallet.key")).unwrap();
    let mut seed = [0; 32];
    hex::decode_to_slice(variable("ATOMA_TEST_KEY"), &mut seed).unwrap();
    let node: NodeId = variable("ATOMA_TEST_NODE").parse().unwrap();
    let task: TaskId = variable("ATOMA_TEST_TASK").parse().unwrap();
    let mut config = NodeConfig::test(node, vec![task], &dir);
    let units = variable("ATOMA_TEST_SETTLE_UNITS").parse().unwrap();
    config.settle =
        Settle { every_ms: 50, units, min_amount: 0, withdraw_min: 1, before_end_ms: 0, ..Settle::default() };
    let parts = Parts {
        market: Arc::new(SuiMarket::new(chain, wallet)),
        receipt_key: SecretKey::from_seed(seed),
        engines: vec![mock(40, Duration::from_millis(10))],
    };
    let handle = atoma_node::spawn(config, parts).await.unwrap();
    println!("{READY}{}", handle.url());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_settles_what_was_acknowledged_and_the_rest_is_refunded() {
    let market = Market::open().await;
    let user = market.user().await;
    let node_before = market.chain.balances(market.operator.address()).await.unwrap().coin;

    let node = ChildNode::start(&market, u64::MAX).await;
    let first = user.ask(&node.url, &chat(false, "first"), None).await;
    let voucher = user.voucher_for(first.receipt());
    let second = user.ask(&node.url, &chat(true, "second"), Some(voucher)).await;
    let body = chat(true, "third").to_string().into_bytes();
    let cut_short = user.authorize(user.auth(&body, 200), None);
    let mut third = user.send(&node.url, &body, &cut_short).await.bytes_stream();
    for _ in 0..3 {
        third.next().await.unwrap().unwrap();
    }
    node.kill().await;
    while let Some(Ok(_)) = third.next().await {}

    let node = ChildNode::start(&market, 1).await;
    assert!(journal_of(market.dir.path()).exists());
    let settled =
        market.event(|event| matches!(event, Event::Settled(event) if event.stack == user.stack)).await;
    let Event::Settled(settled) = settled.event else { panic!("not a settlement") };
    assert_eq!(
        (settled.units, settled.count, settled.root),
        (first.receipt().units, 1, first.receipt().root)
    );

    // The books are whole: the second receipt is there, the third request left nothing but its nonce.
    let channel = user.channel(&node.url).await;
    assert_eq!((channel["count"].as_u64(), channel["in_flight"].as_u64()), (Some(2), Some(0)));
    assert_eq!(user.receipts(&node.url, 2).await[..], [second.receipt.clone().unwrap()]);
    let replayed = user.post(&node.url, &body, &cut_short).await;
    assert_eq!(replayed.code(), (401, "auth_replayed".to_owned()));

    close_and_check(&market, &user, first.receipt().units, node_before.0).await;
}

/// The owner closes and takes back what was not used; nobody has a unit more or less than due.
async fn close_and_check(market: &Market, user: &User, used: Units, node_before: u64) {
    let stack = user.on_chain().await;
    let paid = PRICE.cost(used).unwrap();
    assert_eq!(stack.channel(market.node).unwrap().paid, paid);
    let fee = paid.share(stack.creator_fee_permille).unwrap();
    user.wallet.execute(&user.chain, Call::RequestClose { stack: user.stack }).await.unwrap();
    market.advance_clock(stack.params.close_delay_ms + 1).await;
    user.wallet.execute(&user.chain, Call::Refund { stack: user.stack }).await.unwrap();
    let after = user.chain.balances(user.wallet.address()).await.unwrap().coin;
    assert_eq!(after.0, user.before.0 - paid.0 - stack.surcharge.used.0);
    let to_node = |event: &Event| matches!(event, Event::Withdrawn(event) if event.stack == user.stack && event.to == market.operator.address());
    market.event(to_node).await;
    let node_after = market.chain.balances(market.operator.address()).await.unwrap().coin;
    assert_eq!(node_after.0 - node_before, paid.0 - fee.0);
    market.devnet.audit().unwrap();
}
