//! Buying by use, and books that agree with the chain, with real nodes on a real devnet.

use crate::market::{MODEL, Market, funded};
use crate::serving::{key, post, usage};
use crate::sim::{eventually, text_of};
use atoma_chain::{Balances, Call, ChainClient, Wallet};
use atoma_client::catalog::Catalog;
use atoma_client::market::{ChainMarket, Done, Market as Seam, MarketError, Prepared};
use atoma_gateway::config::Choice;
use atoma_gateway::{GatewayConfig, GatewayHandle, spawn};
use atoma_inference::mock::MockConfig;
use atoma_types::onchain::Stack;
use atoma_types::{Address, Amount, SecretKey};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const UNITS: u64 = 3_000;

fn chat() -> Bytes {
    let messages = json!([{"role": "user", "content": "say something nice"}]);
    Bytes::from(json!({"model": MODEL, "messages": messages, "max_tokens": 40}).to_string())
}

fn config(dir: &Path, selection: Choice) -> GatewayConfig {
    let mut config = GatewayConfig::local(dir);
    config.stacks.per_task = 1;
    config.stacks.units = UNITS;
    config.stacks.selection = selection;
    config.stacks.nodes = 2;
    config.stacks.low_water_permille = 500;
    config.supply.refresh_ms = 1;
    config.supply.horizon_s = 1;
    config
}

async fn start(market: &Market, wallet: &Wallet, config: GatewayConfig) -> GatewayHandle {
    spawn(config, Arc::new(ChainMarket::new(market.chain.clone(), wallet.clone()))).await.unwrap()
}

async fn ask(gateway: &GatewayHandle, key: &str, times: usize) {
    for _ in 0..times {
        let text = text_of(post(gateway, key, chat()).await).await;
        assert!(text.contains("choices"), "{text}");
    }
}

async fn books(gateway: &GatewayHandle, dir: &Path) -> Value {
    let token = std::fs::read_to_string(dir.join("operator.token")).unwrap();
    let (status, books) = crate::api::get(gateway, "/v1/operator/books", &token).await;
    assert_eq!(status, 200);
    books
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

/// The books of a gateway that paid `before − now` out of its wallet.
async fn check(chain: &ChainClient, wallet: &Wallet, before: Amount, books: &Value) {
    let float = &books["float"];
    let now = chain.balances(wallet.address()).await.unwrap().coin;
    assert_eq!(number(float, "wallet"), now.0);
    let (paid, returned) = (number(float, "paid_into_stacks"), number(float, "returned"));
    assert_eq!(paid - returned, before.0 - now.0);
    let (consumed, unused) = (number(float, "consumed"), number(float, "unused"));
    assert_eq!(paid, returned + consumed + unused);
    let parts = ["refundable_now", "refundable_later", "open"].map(|name| number(float, name));
    assert_eq!(parts.iter().sum::<u64>(), unused);
    // What nodes are paid, and the surcharge of half a percent.
    let nodes = number(books, "paid_to_nodes");
    assert!((nodes..=nodes + nodes / 200 + 2).contains(&consumed), "{books}");
    let charged = number(books, "charged_to_accounts") + number(books, "charged_to_operator");
    assert_eq!(float["result"].as_i64().unwrap(), charged.cast_signed() - consumed.cast_signed());
    assert!(float["gas_mist"].as_i64().unwrap() != 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stacks_grow_with_use_and_the_books_agree_with_the_chain() {
    for selection in [Choice::Single, Choice::Limited, Choice::Any] {
        let mut market = Market::start_with(3, MockConfig { tokens: 40, ..MockConfig::default() }).await;
        let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
        let before = market.chain.balances(wallet.address()).await.unwrap().coin;
        let gateway = start(&market, &wallet, config(dir.path(), selection)).await;
        let key = key(&gateway, None).await;
        ask(&gateway, &key, 50).await;
        let grown = async || gateway.session.holdings().await.unwrap().spent.growths >= 2;
        if selection == Choice::Single {
            ask(&gateway, &key, 60).await;
        } else {
            eventually("granted where it is used", grown).await;
            ask(&gateway, &key, 60).await;
        }
        eventually("topped up", async || {
            let holdings = gateway.session.holdings().await.unwrap();
            holdings.stacks.iter().any(|stack| stack.units.0 > UNITS)
        })
        .await;
        assert_eq!(gateway.session.holdings().await.unwrap().spent.purchases, 1, "{selection:?}");
        usage(&gateway, &key, 110).await;
        let serving = books(&gateway, dir.path()).await;
        check(&market.chain, &wallet, before, &serving).await;
        let models = crate::api::get(&gateway, "/v1/models", &key).await.1;
        assert_eq!(models["data"][0]["context_length"], json!(8_192));
        let metrics = reqwest::get(format!("{}/metrics", gateway.url())).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("atoma_gateway_supply_lacks_funds 0\n"), "{metrics}");
        let line = format!("atoma_gateway_float_unused {}\n", number(&serving["float"], "unused"));
        assert!(metrics.contains(&line), "{line}{metrics}");

        // What the books say before anything is settled is what it costs in the end, to the unit.
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
        let holdings = session.holdings().await.unwrap();
        assert_eq!(holdings.consumed().unwrap(), before.sub(after).unwrap());
        assert_eq!(holdings.consumed().unwrap().0, number(&serving["float"], "consumed"));
        assert!(holdings.stacks.is_empty());
    }
}

/// A wallet whose process dies once it prepared its next transaction: that is never sent.
struct Dying {
    market: ChainMarket,
    dies: Arc<AtomicBool>,
}

impl Seam for Dying {
    fn db(&self) -> Address {
        self.market.db()
    }

    fn request_key(&self, label: &str) -> SecretKey {
        self.market.request_key(label)
    }

    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>> {
        self.market.catalog()
    }

    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>> {
        self.market.stack(id)
    }

    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>> {
        self.market.now_ms()
    }

    fn balances(&self) -> BoxFuture<'_, Result<Balances, MarketError>> {
        self.market.balances()
    }

    fn prepare(&self, call: Call) -> BoxFuture<'_, Result<Prepared, MarketError>> {
        self.market.prepare(call)
    }

    fn submit(&self, prepared: Prepared) -> BoxFuture<'_, Result<Done, MarketError>> {
        if self.dies.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        self.market.submit(prepared)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_that_a_kill_interrupted_is_paid_once() {
    let market = Market::start_with(1, MockConfig { tokens: 40, ..MockConfig::default() }).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let before = market.chain.balances(wallet.address()).await.unwrap().coin;
    let dies = Arc::new(AtomicBool::new(false));
    let dying = Dying { market: ChainMarket::new(market.chain.clone(), wallet.clone()), dies: dies.clone() };
    let first = spawn(config(dir.path(), Choice::Single), Arc::new(dying)).await.unwrap();
    let key = key(&first, None).await;
    ask(&first, &key, 1).await;
    dies.store(true, Ordering::Relaxed);
    // Serving goes on with what there is while nothing can be bought.
    ask(&first, &key, 40).await;
    eventually("prepared", async || first.session.journal().intents().await.unwrap().len() == 1).await;
    usage(&first, &key, 41).await;
    let killed = crate::crash::as_killed(&dir);
    drop(first);

    let second = start(&market, &wallet, config(killed.path(), Choice::Single)).await;
    let holdings = second.session.holdings().await.unwrap();
    assert_eq!((holdings.spent.purchases, holdings.spent.growths), (1, 1));
    assert!(second.session.journal().intents().await.unwrap().is_empty());
    ask(&second, &key, 20).await;
    usage(&second, &key, 61).await;
    check(&market.chain, &wallet, before, &books(&second, killed.path()).await).await;
    let (stack, _, summary) = second.session.channels().remove(0);
    let on_chain = market.chain.stack(stack).await.unwrap().unwrap();
    assert_eq!((on_chain.total_units, on_chain.granted_units), (summary.granted, summary.granted));
    second.drain(false).await.unwrap();
}
