//! Requests that a node without room passes on: real nodes, a real chain, and nodes that do it falsely.

use crate::market::{MODEL, Market as TestMarket, funded};
use crate::serving::{key, usage};
use crate::sim::eventually;
use atoma_chain::{AcquireStack, Balances, Call, ChainClient, OpenChannel, Wallet};
use atoma_client::catalog::Catalog;
use atoma_client::channel::Completion;
use atoma_client::market::{ChainMarket, Done, Market, MarketError, Prepared};
use atoma_client::request::Endpoint;
use atoma_client::route::Route;
use atoma_client::session::{Answer, AnswerBody};
use atoma_client::{ApiError, Policy, Session, SessionConfig};
use atoma_gateway::{GatewayConfig, spawn};
use atoma_inference::mock::MockConfig;
use atoma_node::{Admission, Offering, Registration, register_if_needed};
use atoma_types::message::Message as _;
use atoma_types::onchain::{Selection, Stack};
use atoma_types::wire::{AUTH_HEADER, Authorization, FORWARD_HEADER, RECEIPT_HEADER, encode};
use atoma_types::{
    Address, Amount, Forward, Hash32, NodeId, Price, Receipt, SecretKey, Signed, Status, TaskId, Transcript,
    Units,
};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const CHEAP: Price = Price(2_000_000);
const DEAR: Price = Price(2_500_000);
const NARROW: Admission = Admission { concurrent: 1, waiting: 0, wait_ms: 0 };

/// A wallet whose stacks have a channel at each of these nodes.
struct At {
    inner: ChainMarket,
    chain: ChainClient,
    wallet: Wallet,
    nodes: Vec<NodeId>,
}

impl At {
    fn new(chain: &ChainClient, wallet: &Wallet, nodes: &[NodeId]) -> Arc<Self> {
        let inner = ChainMarket::new(chain.clone(), wallet.clone());
        Arc::new(Self { inner, chain: chain.clone(), wallet: wallet.clone(), nodes: nodes.to_vec() })
    }

    async fn open(&self, stack: Address) -> Result<(), MarketError> {
        let found = self.chain.stack(stack).await?.unwrap();
        let units = Units(found.total_units.0 / self.nodes.len() as u64);
        for node in self.nodes.iter().filter(|node| found.channel(**node).is_none()) {
            let max_price = found.max_price;
            let open = OpenChannel { stack, node: *node, units, max_price, nonce: 1, signature: None };
            self.wallet.execute(&self.chain, Call::OpenChannel(open)).await?;
        }
        Ok(())
    }
}

impl Market for At {
    fn db(&self) -> Address {
        self.inner.db()
    }

    fn request_key(&self, label: &str) -> SecretKey {
        self.inner.request_key(label)
    }

    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>> {
        self.inner.catalog()
    }

    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>> {
        self.inner.stack(id)
    }

    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>> {
        self.inner.now_ms()
    }

    fn balances(&self) -> BoxFuture<'_, Result<Balances, MarketError>> {
        self.inner.balances()
    }

    fn prepare(&self, call: Call) -> BoxFuture<'_, Result<Prepared, MarketError>> {
        self.inner.prepare(match call {
            Call::AcquireStack(purchase) => {
                Call::AcquireStack(AcquireStack { selection: Selection::Any, nodes: 0, ..purchase })
            }
            other => other,
        })
    }

    fn submit(&self, prepared: Prepared) -> BoxFuture<'_, Result<Done, MarketError>> {
        Box::pin(async move {
            let done = self.inner.submit(prepared).await?;
            if let Some(stack) = done.bought {
                self.open(stack).await?;
            }
            Ok(done)
        })
    }
}

fn engine(tokens: u64, delay_ms: u64) -> MockConfig {
    let delay = Duration::from_millis(delay_ms);
    MockConfig { model: MODEL.into(), context_tokens: 1_000_000, tokens, delay }
}

fn chat(stream: bool, max_tokens: u64) -> Bytes {
    let messages = json!([{"role": "user", "content": "say something nice"}]);
    let body = json!({"model": MODEL, "messages": messages, "stream": stream, "max_tokens": max_tokens});
    Bytes::from(body.to_string())
}

async fn session(market: Arc<At>, dir: &TempDir) -> Session {
    let policy = Policy { units: Units(100_000), patience: Duration::from_secs(2), ..Policy::default() };
    Session::open(SessionConfig { journal: dir.path().join("client.db"), policy }, market).await.unwrap()
}

/// The first node first.
fn to_first() -> Route {
    Route { order: vec![FIRST], ..Route::default() }
}

async fn ask(session: &Session, route: Route, body: Bytes) -> Result<Answer, ApiError> {
    let quote = session.quote(Endpoint::ChatCompletions, &body).await?.routed(route, &body);
    session.ask(&quote, body).await
}

async fn read(answer: Answer) -> (String, Completion) {
    let text = match answer.body {
        AnswerBody::Whole(bytes) => bytes.to_vec(),
        AnswerBody::Stream(stream) => stream.map(Result::unwrap).collect::<Vec<_>>().await.concat(),
    };
    (String::from_utf8(text).unwrap(), answer.completion.unwrap().await.unwrap())
}

/// The books of a stack at a node.
async fn books(market: &TestMarket, node: usize, stack: Address) -> Value {
    let url = format!("http://{}/v1/channels?stack={stack}", market.nodes[node].addr());
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

async fn channel_books(market: &TestMarket, node: usize, stack: Address) -> (u64, u64, u64) {
    let books = books(market, node, stack).await;
    let number = |name: &str| books[name].as_u64().unwrap();
    (number("count"), number("acknowledged_count"), number("total_units"))
}

/// A market whose first node has room for one slow request, which somebody has, and whose second has much.
struct Full {
    market: TestMarket,
    _occupant: (Session, Answer, TempDir),
}

impl Full {
    async fn start(second: MockConfig) -> Self {
        let mut market = TestMarket::start_with(0, engine(16, 0)).await;
        market.add_node_with(1, CHEAP, engine(100_000, 20), NARROW).await;
        market.add_node_with(2, DEAR, second, Admission::default()).await;
        let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
        let occupant = session(At::new(&market.chain, &wallet, &[FIRST]), &dir).await;
        let mut answer = ask(&occupant, Route::default(), chat(true, 50_000)).await.unwrap();
        let AnswerBody::Stream(stream) = &mut answer.body else { panic!("not a stream") };
        stream.next().await.unwrap().unwrap();
        Self { market, _occupant: (occupant, answer, dir) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_passes_on_and_the_other_is_paid() {
    let Full { market, _occupant } = Full::start(engine(16, 0)).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let session = session(At::new(&market.chain, &wallet, &[FIRST, SECOND]), &dir).await;
    session.prepare(MODEL).await.unwrap();
    let stack = session.channels()[0].0;
    let mut paid = Amount::ZERO;
    for stream in [false, true, true, false] {
        // The first one is left alone for a moment after it passed something on.
        eventually("asked again", async || {
            let answer = ask(&session, to_first(), chat(stream, 16)).await.unwrap();
            let forwarded_by = answer.forwarded_by;
            assert_eq!(answer.node, SECOND);
            assert_eq!(answer.headers["x-atoma-node"], "2");
            let (text, completion) = read(answer).await;
            assert!(text.contains("choices") && !text.contains("\"error\""), "{text}");
            let Completion::Settled { receipt, cost, price } = completion else { panic!("not paid") };
            assert_eq!((receipt.message.node, price), (SECOND, DEAR));
            paid = paid.add(cost).unwrap();
            assert!(forwarded_by.is_none_or(|node| node == FIRST));
            forwarded_by.is_some()
        })
        .await;
    }
    session.drain().await.unwrap();
    let (count, acknowledged, units) = channel_books(&market, 1, stack).await;
    assert!(count >= 4 && count == acknowledged, "{count} {acknowledged}");
    assert_eq!(paid, DEAR.cost(Units(units)).unwrap());
    assert_eq!(channel_books(&market, 0, stack).await, (0, 0, 0));
    let summaries = session.channels();
    assert!(summaries.iter().all(|(_, _, summary)| summary.ended.is_none() && summary.in_flight == 0));
    // As the chain pays it.
    let TestMarket { mut nodes, chain, .. } = market;
    nodes.pop().unwrap().drain().await.unwrap();
    let on_chain = chain.stack(stack).await.unwrap().unwrap();
    assert_eq!(on_chain.channel(SECOND).unwrap().settled_units, Units(units));
    assert_eq!(on_chain.channel(SECOND).unwrap().paid, paid);
    assert_eq!(on_chain.channel(FIRST).unwrap().settled_units, Units::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_passed_on_only_where_its_route_and_price_allow() {
    let Full { market, _occupant } = Full::start(engine(16, 0)).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let session = session(At::new(&market.chain, &wallet, &[FIRST, SECOND]), &dir).await;
    session.prepare(MODEL).await.unwrap();
    let stack = session.channels()[0].0;
    let refused = [
        Route { only: vec![FIRST], ..Route::default() },
        Route { ignore: vec![SECOND], ..Route::default() },
        Route { max_price: Some(CHEAP), ..Route::default() },
    ];
    for route in refused {
        let error = ask(&session, route, chat(false, 16)).await.unwrap_err();
        assert_ne!(error.status, StatusCode::OK);
    }
    assert_eq!(channel_books(&market, 1, stack).await, (0, 0, 0));
    // Not passed on, but asked for by the client itself.
    let answer = ask(&session, Route { forward: Some(false), ..to_first() }, chat(false, 16)).await.unwrap();
    assert_eq!((answer.node, answer.forwarded_by), (SECOND, None));
    session.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_finds_out_who_answered_and_pays_once() {
    // Slow enough to be copied meanwhile.
    let Full { market, _occupant } = Full::start(engine(16, 100)).await;
    let wallet = funded(&market.chain).await;
    for (stream, early) in [(false, true), (true, true), (true, false)] {
        let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let first = session(At::new(&market.chain, &wallet, &[FIRST, SECOND]), &dir).await;
        first.prepare(MODEL).await.unwrap();
        let stack = first.channels()[0].0;
        let asking = tokio::spawn({
            let session = first.clone();
            async move { read(ask(&session, to_first(), chat(stream, 16)).await.unwrap()).await }
        });
        if early {
            // Killed before it knows who answers.
            eventually("at work", async || books(&market, 1, stack).await["in_flight"] == json!(1)).await;
        } else {
            // Killed between the answer and its voucher.
            eventually("answered", async || books(&market, 1, stack).await["count"] == json!(1)).await;
        }
        first.journal().flush().await.unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let (_, completion) = asking.await.unwrap();
        assert!(matches!(completion, Completion::Settled { .. }));
        drop(first);
        let second = session(At::new(&market.chain, &wallet, &[FIRST, SECOND]), &copy).await;
        eventually("known", async || {
            second.channels().iter().any(|(_, node, summary)| *node == SECOND && summary.count == 1)
        })
        .await;
        second.drain().await.unwrap();
        let (count, acknowledged, units) = channel_books(&market, 1, stack).await;
        assert_eq!((count, acknowledged), (1, 1), "{stream} {early}");
        let channels = second.channels();
        assert!(channels.iter().all(|(_, _, summary)| summary.ended.is_none()));
        let of_second = channels.iter().find(|(_, node, _)| *node == SECOND).unwrap();
        assert_eq!(of_second.2.total_units, Units(units));
        assert_eq!(channel_books(&market, 0, stack).await, (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_charged_the_price_of_who_answered() {
    let Full { market, _occupant } = Full::start(engine(16, 0)).await;
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let mut config = GatewayConfig::local(dir.path());
    config.stacks.units = 100_000;
    let gateway = spawn(config, At::new(&market.chain, &wallet, &[FIRST, SECOND])).await.unwrap();
    let key = key(&gateway, None).await;
    gateway.session.prepare(MODEL).await.unwrap();
    let response = reqwest::Client::new()
        .post(format!("{}/v1/chat/completions", gateway.url()))
        .bearer_auth(&key)
        .header("x-atoma-route", r#"{"order": [1]}"#)
        .body(chat(false, 16))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["x-atoma-node"], "2");
    assert_eq!(response.headers()["x-atoma-forwarded-by"], "1");
    let usage = usage(&gateway, &key, 1).await;
    let row = &usage["data"][0];
    assert_eq!((&row["node"], &row["price"]), (&json!(2), &json!(DEAR.0)), "{row}");
    let units = row["units"].as_u64().unwrap();
    assert_eq!(row["cost"], json!(DEAR.cost(Units(units)).unwrap().0));
    assert_eq!(usage["reserved"], json!(0));
    gateway.drain(false).await.unwrap();
}

/// What a first node does that passes everything on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Books it as well.
    Doubles,
    /// Answers itself.
    Serves,
    /// Shows another word than its own.
    Forges,
    /// Says that the answer was lost.
    Loses,
    /// Says nothing.
    Dies,
}

/// A first node that is not to be trusted.
struct Liar {
    key: SecretKey,
    second: String,
    manner: Mutex<Manner>,
    transcript: Mutex<(Transcript, Units)>,
    receipts: Mutex<Vec<Signed<Receipt>>>,
    vouchers: Mutex<u64>,
}

impl Liar {
    async fn start(market: &mut TestMarket) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let key = SecretKey::from_seed([1; 32]);
        let registration = Registration {
            endpoint,
            receipt_key: key.public_key(),
            payout: None,
            collateral: None,
            offerings: vec![Offering { task: TaskId(1), price: CHEAP, max_units: Units(1_000_000) }],
        };
        let operator = funded(&market.chain).await;
        assert_eq!(register_if_needed(&market.chain, &operator, &registration).await.unwrap(), FIRST);
        market.add_node_with(2, DEAR, engine(16, 0), Admission::default()).await;
        let liar = Arc::new(Self {
            key,
            second: format!("http://{}", market.nodes[0].addr()),
            manner: Mutex::new(Manner::Doubles),
            transcript: Mutex::default(),
            receipts: Mutex::default(),
            vouchers: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(lie))
            .route("/v1/receipts", get(lies))
            .route("/v1/vouchers", post(count_voucher))
            .with_state(liar.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        liar
    }

    fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Books an answer as its own.
    fn book(&self, authorization: &Authorization, body: &[u8]) -> Signed<Receipt> {
        let auth = &authorization.auth.message;
        let mut books = self.transcript.lock().unwrap();
        let units = Units(3 + 16);
        let mut receipt = Receipt {
            db: auth.db,
            stack: auth.stack,
            node: auth.node,
            request_hash: auth.signed_hash(),
            response_hash: Hash32::of(body),
            input: 3,
            output: 16,
            units,
            total_units: books.1.add(units).unwrap(),
            count: books.0.count() as u64 + 1,
            root: Hash32::ZERO,
            work: Hash32::ZERO,
            replica_hash: Hash32::ZERO,
            status: Status::Complete,
            finished_ms: 1,
        };
        receipt.root = books.0.append(&receipt.record());
        books.1 = receipt.total_units;
        let signed = receipt.sign(&self.key);
        self.receipts.lock().unwrap().push(signed.clone());
        signed
    }
}

async fn lie(State(liar): State<Arc<Liar>>, headers: HeaderMap, body: Bytes) -> Response {
    let manner = *liar.manner.lock().unwrap();
    let auth = headers[AUTH_HEADER].to_str().unwrap();
    let authorization = Authorization::decode(auth).unwrap();
    if manner == Manner::Serves {
        let text = "x".repeat(100);
        let receipt = liar.book(&authorization, text.as_bytes());
        return ([(RECEIPT_HEADER, encode(&receipt))], text).into_response();
    }
    let message = &authorization.auth.message;
    let (request_hash, from) = (message.signed_hash(), message.node);
    let forward = Forward { db: message.db, stack: message.stack, request_hash, from, to: SECOND };
    let signed = encode(&forward.clone().sign(&liar.key));
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/chat/completions", liar.second))
        .header(AUTH_HEADER, auth)
        .header(FORWARD_HEADER, &signed)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let receipt = answer.headers()[RECEIPT_HEADER].to_str().unwrap().to_owned();
    let text = answer.bytes().await.unwrap();
    let forged = encode(&forward.sign(&SecretKey::from_seed([7; 32])));
    match manner {
        Manner::Doubles => drop(liar.book(&authorization, &text)),
        Manner::Loses => {
            return (StatusCode::BAD_GATEWAY, [(FORWARD_HEADER, signed)], "lost").into_response();
        }
        Manner::Dies => panic!("a node dies"),
        Manner::Serves | Manner::Forges => {}
    }
    let shown = if manner == Manner::Forges { forged } else { signed };
    ([(FORWARD_HEADER, shown), (RECEIPT_HEADER, receipt)], text).into_response()
}

async fn lies(State(liar): State<Arc<Liar>>) -> axum::Json<Value> {
    let receipts: Vec<String> = liar.receipts.lock().unwrap().iter().map(encode).collect();
    axum::Json(json!({ "receipts": receipts }))
}

async fn count_voucher(State(liar): State<Arc<Liar>>) {
    *liar.vouchers.lock().unwrap() += 1;
}

async fn with_liar(manner: Manner) -> (TestMarket, Arc<Liar>, Session, Address, TempDir) {
    let mut market = TestMarket::start_with(0, engine(16, 0)).await;
    let liar = Liar::start(&mut market).await;
    liar.set(manner);
    let (wallet, dir) = (funded(&market.chain).await, TempDir::new().unwrap());
    let session = session(At::new(&market.chain, &wallet, &[FIRST, SECOND]), &dir).await;
    session.prepare(MODEL).await.unwrap();
    let stack = session.channels()[0].0;
    (market, liar, session, stack, dir)
}

fn ended(session: &Session, node: NodeId) -> Option<String> {
    let channels = session.channels();
    let (_, _, summary) = channels.iter().find(|(_, of, _)| *of == node).unwrap();
    summary.ended.as_ref().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_passes_on_and_charges_is_not_paid() {
    let (market, liar, session, stack, _dir) = with_liar(Manner::Doubles).await;
    let answer = ask(&session, to_first(), chat(false, 16)).await.unwrap();
    assert_eq!((answer.node, answer.forwarded_by), (SECOND, Some(FIRST)));
    assert!(matches!(read(answer).await.1, Completion::Settled { .. }));
    // Its next receipt follows on the one that it had no right to.
    liar.set(Manner::Serves);
    eventually("found out", async || {
        let _ = ask(&session, to_first(), chat(false, 16)).await;
        ended(&session, FIRST).is_some()
    })
    .await;
    session.drain().await.unwrap();
    assert_eq!((*liar.vouchers.lock().unwrap(), ended(&session, SECOND)), (0, None));
    let (count, acknowledged, _) = channel_books(&market, 0, stack).await;
    assert!(count > 0 && count == acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_word_ends_the_channel_of_who_shows_it() {
    let (_market, liar, session, _, _dir) = with_liar(Manner::Forges).await;
    let _ = ask(&session, to_first(), chat(false, 16)).await;
    let reason = ended(&session, FIRST).unwrap();
    assert!(reason.contains("passed a request on"), "{reason}");
    session.drain().await.unwrap();
    assert_eq!(*liar.vouchers.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_on_its_way_is_found_at_who_gave_it() {
    for manner in [Manner::Loses, Manner::Dies] {
        let (market, liar, session, stack, _dir) = with_liar(manner).await;
        // The client asks the second node itself then.
        let answer = ask(&session, to_first(), chat(false, 16)).await.unwrap();
        assert_eq!((answer.node, answer.forwarded_by), (SECOND, None), "{manner:?}");
        read(answer).await;
        eventually("known", async || channel_books(&market, 0, stack).await.1 == 2).await;
        session.drain().await.unwrap();
        assert_eq!(channel_books(&market, 0, stack).await.0, 2);
        assert_eq!((ended(&session, FIRST), ended(&session, SECOND)), (None, None), "{manner:?}");
        assert_eq!(*liar.vouchers.lock().unwrap(), 0);
    }
}
