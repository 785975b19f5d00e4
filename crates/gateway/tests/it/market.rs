//! The whole way with the real parts: devnet, nodes with the mock engine, gateway.

use crate::serving::{key, post, usage};
use crate::sim::{eventually, text_of};
use atoma_chain::{AddModel, Call, ChainClient, CreateTask, Wallet, faucet};
use atoma_client::market::ChainMarket;
use atoma_client::receipt::{self, Evidence};
use atoma_devnet::{Config, Devnet};
use atoma_gateway::{ChainTransfers, GatewayConfig, GatewayHandle, spawn, spawn_with};
use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_node::{
    Admission, NodeConfig, NodeHandle, Offering, Parts, Registration, SuiMarket, register_if_needed,
};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::AuditTerms;
use atoma_types::wire::{RECEIPT_COMMENT, RECEIPT_HEADER};
use atoma_types::{Amount, Hash32, ModelId, NodeId, Price, SecretKey, TaskId, Units};
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use sui_crypto::ed25519::Ed25519PrivateKey;
use tempfile::TempDir;

pub(crate) const MODEL: &str = "mock";
pub(crate) const PRICE: Price = Price(2_000_000);

pub(crate) struct Market {
    pub(crate) devnet: Devnet,
    pub(crate) chain: ChainClient,
    task: TaskId,
    pub(crate) nodes: Vec<NodeHandle>,
    pub(crate) dir: TempDir,
    engine: MockConfig,
}

impl Market {
    async fn start(nodes: u8) -> Self {
        Self::start_with(nodes, MockConfig::default()).await
    }

    pub(crate) async fn start_with(nodes: u8, engine: MockConfig) -> Self {
        let devnet = atoma_devnet::spawn(Config::test()).await.unwrap();
        let chain = ChainClient::connect(devnet.deployment().clone()).await.unwrap();
        let creator = funded(&chain).await;
        let model = AddModel {
            label: MODEL.into(),
            modality: 0,
            weights_root: Hash32::ZERO,
            creator_fee_permille: 10,
        };
        creator.execute(&chain, Call::AddModel(model)).await.unwrap();
        let task = CreateTask {
            role: 0,
            model: ModelId(1),
            level: 0,
            exact: false,
            price_ceiling: Price(5_000_000),
            weights: UnitWeights::default(),
            surcharge_permille: 5,
            min_collateral: Amount::ZERO,
            min_reputation: 0,
            whitelist: vec![],
            echelons: vec![0],
            audit: AuditTerms::default(),
        };
        creator.execute(&chain, Call::CreateTask(task)).await.unwrap();
        let (nodes_running, dir) = (vec![], tempfile::tempdir().unwrap());
        let mut market = Self { devnet, chain, task: TaskId(1), nodes: nodes_running, dir, engine };
        for n in 1..=nodes {
            market.add_node(n).await;
        }
        market
    }

    async fn add_node(&mut self, n: u8) {
        self.add_node_with(n, PRICE, self.engine.clone(), Admission::default()).await;
    }

    pub(crate) async fn add_node_with(
        &mut self,
        n: u8,
        price: Price,
        engine: MockConfig,
        admission: Admission,
    ) {
        let (operator, receipt_key) = (funded(&self.chain).await, SecretKey::from_seed([n; 32]));
        let offering = Offering { task: self.task, price, max_units: Units(1_000_000) };
        let registration = |endpoint: String| Registration {
            endpoint,
            receipt_key: receipt_key.public_key(),
            payout: None,
            collateral: None,
            offerings: vec![offering],
        };
        let nowhere = registration("http://127.0.0.1:1".into());
        let node = register_if_needed(&self.chain, &operator, &nowhere).await.unwrap();
        let parts = Parts {
            market: Arc::new(SuiMarket::new(self.chain.clone(), operator.clone())),
            receipt_key: receipt_key.clone(),
            engines: vec![Arc::new(MockEngine::new(engine))],
        };
        let dir = self.dir.path().join(format!("node-{n}"));
        std::fs::create_dir_all(&dir).unwrap();
        let config = NodeConfig { admission, ..NodeConfig::test(node, vec![self.task], &dir) };
        let handle = atoma_node::spawn(config, parts).await.unwrap();
        let here = registration(format!("http://{}", handle.addr()));
        register_if_needed(&self.chain, &operator, &here).await.unwrap();
        self.nodes.push(handle);
    }

    pub(crate) async fn gateway(&self, wallet: &Wallet, dir: &Path, stacks: usize) -> GatewayHandle {
        gateway(&self.chain, wallet, dir, stacks).await
    }

    pub(crate) async fn advance_clock(&self, ms: u64) {
        let url = format!("{}/devnet/v1/clock", self.devnet.url());
        let body = json!({ "advance_ms": ms });
        reqwest::Client::new().post(url).json(&body).send().await.unwrap().error_for_status().unwrap();
    }
}

pub(crate) async fn gateway(
    chain: &ChainClient,
    wallet: &Wallet,
    dir: &Path,
    stacks: usize,
) -> GatewayHandle {
    let mut config = GatewayConfig::local(dir);
    config.stacks.per_task = stacks;
    config.stacks.units = 100_000;
    config.requests.patience_ms = 2_000;
    let market = ChainMarket::new(chain.clone(), wallet.clone());
    spawn(config, Arc::new(market)).await.unwrap()
}

pub(crate) async fn funded(chain: &ChainClient) -> Wallet {
    let wallet = Wallet::generate().unwrap();
    faucet(chain.deployment(), wallet.address()).await.unwrap();
    wallet
}

fn chat(stream: bool) -> Bytes {
    let messages = json!([{"role": "user", "content": "say something nice"}]);
    Bytes::from(json!({"model": MODEL, "messages": messages, "stream": stream}).to_string())
}

/// Checks a receipt as it travelled against the node's key on chain; with any byte flipped it fails.
async fn verify(chain: &ChainClient, encoded: &str, response: &[u8]) {
    let signed = receipt::parse(encoded.as_bytes()).unwrap();
    let node = chain.node(signed.message.node).await.unwrap().unwrap();
    let stack = chain.stack(signed.message.stack).await.unwrap().unwrap();
    let (node, stack) = (Some(&node), Some(&stack));
    let evidence = Evidence { node, stack, response: Some(response), ..Evidence::default() };
    let report = receipt::verify(encoded.as_bytes(), evidence);
    assert!(report.ok, "{report:?}");
    let mut bytes = bcs::to_bytes(&signed).unwrap();
    bytes[100] ^= 1;
    assert!(!receipt::verify(&bytes, evidence).ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gets_paid_and_verified_answers_and_the_rest_comes_back() {
    let mut market = Market::start(2).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let before = market.chain.balances(wallet.address()).await.unwrap().coin;
    let gateway = market.gateway(&wallet, dir.path(), 2).await;
    let key = key(&gateway, None).await;

    let whole = post(&gateway, &key, chat(false)).await;
    assert_eq!(whole.status().as_u16(), 200);
    let receipt = whole.headers()[RECEIPT_HEADER].to_str().unwrap().to_owned();
    let body = whole.bytes().await.unwrap();
    verify(&market.chain, &receipt, &body).await;

    let stream = text_of(post(&gateway, &key, chat(true)).await).await;
    let (covered, rest) = stream.split_once(RECEIPT_COMMENT).unwrap();
    let (receipt, end) = rest.split_once("\n\n").unwrap();
    assert_eq!(end, "data: [DONE]\n\n");
    verify(&market.chain, receipt, covered.as_bytes()).await;

    let all = (0..40).map(|n| {
        let (gateway, key) = (&gateway, &key);
        async move { text_of(post(gateway, key, chat(n % 2 == 0)).await).await }
    });
    for text in futures::future::join_all(all).await {
        assert!(text.contains("choices") && !text.contains("\"error\""), "{text}");
    }
    let usage = usage(&gateway, &key, 42).await;
    assert_eq!(usage["totals"]["requests"], json!(42));
    let cost = usage["totals"]["cost"].as_u64().unwrap();

    let session = gateway.session.clone();
    let report = gateway.drain(true).await.unwrap();
    for node in market.nodes.drain(..) {
        node.drain().await.unwrap();
    }
    market.advance_clock(30_000).await;
    for (stack, _) in report.closed {
        session.refund(stack).await.unwrap();
    }
    let after = market.chain.balances(wallet.address()).await.unwrap().coin;
    let spent = before.sub(after).unwrap();
    // Nodes and creator got what the gateway counted; the surcharge comes on top.
    assert!(spent.0 >= cost && spent.0 <= cost + cost / 100 + 8, "spent {spent}, counted {cost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_of_the_coin_is_credited_once_over_restarts() {
    let market = Market::start(1).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let start = async || {
        let transfers = Arc::new(ChainTransfers::new(market.chain.clone(), wallet.address()));
        let payer = Arc::new(ChainMarket::new(market.chain.clone(), wallet.clone()));
        spawn_with(crate::accounts::open(&dir), payer, Some(transfers)).await.unwrap()
    };
    let first = start().await;
    let builder = Wallet::from_seed([9; 32]);
    faucet(market.chain.deployment(), builder.address()).await.unwrap();
    let signer = Ed25519PrivateKey::new([9; 32]);
    let session = crate::accounts::sign_in_with(&first, &signer).await;
    let credited = async |gateway: &GatewayHandle| {
        crate::api::get(gateway, "/v1/account", &session).await.1["balance"]["credited"].clone()
    };
    let send = async |amount| {
        let transfer = Call::TransferCoin { to: wallet.address(), amount: Amount(amount) };
        builder.execute(&market.chain, transfer).await.unwrap();
    };
    send(700_000).await;
    eventually("credited", async || credited(&first).await == json!(700_000)).await;
    // What the gateway's own wallet gets back of itself is no deposit.
    first.session.prepare(MODEL).await.unwrap();
    first.drain(true).await.unwrap();
    send(300_000).await;
    let second = start().await;
    eventually("credited", async || credited(&second).await == json!(1_000_000)).await;
    let (_, deposits) = crate::api::get(&second, "/v1/deposits", &session).await;
    assert_eq!(deposits["data"].as_array().unwrap().len(), 2);
    let (_, account) = crate::api::get(&second, "/v1/account", &session).await;
    assert_eq!(account["deposit_address"], json!(wallet.address()));
    let books = second.store().books().await.unwrap();
    assert_eq!((books.credited, books.owed_to_accounts, books.unclaimed), (1_000_000, 1_000_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_goes_on_with_its_stacks() {
    let market = Market::start(1).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let first = market.gateway(&wallet, dir.path(), 1).await;
    let key = key(&first, None).await;
    for _ in 0..5 {
        text_of(post(&first, &key, chat(true)).await).await;
    }
    let stacks = first.session.channels();
    drop(first);
    let second = market.gateway(&wallet, dir.path(), 1).await;
    for _ in 0..5 {
        let text = text_of(post(&second, &key, chat(true)).await).await;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    let after = second.session.channels();
    assert_eq!((stacks.len(), after.len()), (1, 1));
    assert_eq!((stacks[0].0, after[0].2.count, &after[0].2.ended), (after[0].0, 10, &None));
    second.drain(false).await.unwrap();
    let url = format!("http://{}/v1/channels?stack={}", market.nodes[0].addr(), after[0].0);
    let books: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!((&books["count"], &books["acknowledged_count"]), (&json!(10), &json!(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_pays_what_came_and_the_node_goes_on() {
    let market = Market::start(1).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let gateway = market.gateway(&wallet, dir.path(), 1).await;
    let key = key(&gateway, None).await;
    for _ in 0..3 {
        drop(post(&gateway, &key, chat(true)).await);
        let text = text_of(post(&gateway, &key, chat(true)).await).await;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    gateway.session.acknowledge().await;
    let (_, node, summary) = gateway.session.channels().remove(0);
    assert_eq!((node, summary.ended), (NodeId(1), None));
}
