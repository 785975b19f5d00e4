//! A market in memory and nodes that keep real books, as they should or not. No part of it is shared with
//! the code under test but the protocol's types.

#![expect(dead_code, reason = "shared by the tests of two crates")]

#[path = "sim/market.rs"]
mod market;

pub(crate) use market::SimMarket;

use atoma_chain::Call;
use atoma_client::market::Done;
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::onchain::{Attestation, Node, Seal, Stack};
use atoma_types::wire::{self, AUTH_HEADER, Authorization, RECEIPT_HEADER, SSE_DONE};
use atoma_types::{
    Address, Amount, Hash32, NodeId, Price, Receipt, RequestAuth, SecretKey, Signed, Status, Transcript,
    Units, Voucher,
};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub(crate) const MODEL: &str = "sim-model";
pub(crate) const WEIGHTS: UnitWeights = UnitWeights { input: 1_000, output: 1_000 };
pub(crate) const PRICE: Price = Price(200_000);
pub(crate) const INPUT: u64 = 7;
pub(crate) const WORDS: [&str; 5] = ["one ", "two ", "three ", "four ", "five"];

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    InflatesUnits,
    TampersReceipt,
    SendsNoReceipt,
    Fails,
    BreaksOff,
    /// Streams its first word, then waits until told to go on.
    Waits,
    /// Its clock is ahead: whatever is signed has expired.
    Late,
    /// Refuses with a 400.
    Refuses,
    /// Refuses with a 400 of another making.
    RefusesRaw,
    /// Refuses with a receipt for a failure, in a body that breaks off.
    BreaksRefusal,
    /// Refuses with a receipt that charges.
    ChargesRefusal,
    /// Breaks off within a whole answer, with its receipt in the head or without.
    BreaksWhole {
        receipt: bool,
    },
    /// Answers with a head and not a byte, and books what it read.
    BreaksUnbegun,
    /// Breaks off within a whole answer that it does not book, unless told to.
    Forgets,
    /// Streams many words of one byte at once, then waits until told to go on.
    Bursts,
    /// Claims so many input or output tokens.
    ClaimsInput(u64),
    ClaimsOutput(u64),
}

/// What a node says whose clock is ahead.
pub(crate) const LATE: &str = "expired 9 ms ago by this node's clock";
/// Words of a burst.
pub(crate) const BURST: u64 = 600;

#[derive(Default)]
struct Book {
    transcript: Transcript,
    total: Units,
    receipts: Vec<Signed<Receipt>>,
    nonces: HashSet<u64>,
    in_flight: u64,
    acknowledged: u64,
    vouchers: Vec<Signed<Voucher>>,
}

struct SimNode {
    id: NodeId,
    key: SecretKey,
    manner: Manner,
    books: HashMap<Address, Book>,
    requests: u64,
    /// Words streamed.
    words: u64,
    /// Nonces that were used twice.
    replays: u64,
    most_at_once: u64,
    running: u64,
    /// Whether it gives no receipts when asked for them.
    silent: bool,
    /// The newest request that it answered without booking it.
    unbooked: Option<Signed<RequestAuth>>,
}

#[derive(Default)]
struct Chain {
    stacks: HashMap<Address, Stack>,
    /// Calls by the bytes of their transactions, and what those did.
    calls: HashMap<Vec<u8>, Call>,
    done: HashMap<Vec<u8>, Done>,
    purchases: usize,
    growths: usize,
    /// Whether the wallet has no coins.
    poor: bool,
    /// Whether no transaction arrives.
    unreachable: bool,
    closed: Vec<Address>,
    refunded: Vec<Address>,
    nodes: Vec<Node>,
    draws: usize,
    clock_ms: Option<u64>,
    /// Of purchases from now on.
    price: Option<Price>,
    /// Purchases that execute but whose answer is lost, as often as said.
    lost_answers: u32,
    /// Whether reading a stack fails.
    hidden: bool,
}

/// The market and its nodes. Clones share it.
#[derive(Clone)]
pub(crate) struct World {
    chain: Arc<Mutex<Chain>>,
    nodes: Arc<Vec<Mutex<SimNode>>>,
    go_on: Arc<Notify>,
}

impl World {
    /// Starts a node for each manner.
    pub(crate) async fn start(manners: &[Manner]) -> Self {
        let nodes = manners.iter().zip(1u8..).map(|(manner, id)| {
            Mutex::new(SimNode {
                id: NodeId(id.into()),
                key: SecretKey::from_seed([id; 32]),
                manner: *manner,
                books: HashMap::new(),
                requests: 0,
                words: 0,
                replays: 0,
                most_at_once: 0,
                running: 0,
                silent: false,
                unbooked: None,
            })
        });
        let world = Self { chain: Arc::default(), nodes: Arc::new(nodes.collect()), go_on: Arc::default() };
        for which in 0..manners.len() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let app = Router::new()
                .route("/v1/chat/completions", post(complete))
                .route("/v1/completions", post(complete))
                .route("/v1/receipts", get(receipts))
                .route("/v1/vouchers", post(voucher))
                .layer(axum::extract::DefaultBodyLimit::disable())
                .with_state((world.clone(), which));
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            let node = world.node(which);
            let row = Node {
                id: node.id,
                owner: Address::TWO,
                payout: Address::TWO,
                endpoint,
                receipt_key: node.key.public_key(),
                seal: Seal::default(),
                attestation: Attestation::default(),
                collateral: Amount(1_000_000_000),
                raised_ms: 0,
                bookings: vec![],
                timeout_pot: Amount::ZERO,
                timeout_until_ms: 0,
                convictions: 0,
                reputation: 50,
                reputation_epoch: 0,
                answer_interval_ms: 1_000,
                queue_tail_ms: 0,
                disabled_ms: 0,
                exit_ms: 0,
                exit_epoch: 0,
                open_audits: 0,
                open_disputes: 0,
                writes: 0,
                writes_epoch: 0,
                registered_epoch: 0,
            };
            drop(node);
            world.chain().nodes.push(row);
        }
        world
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    fn node(&self, which: usize) -> MutexGuard<'_, SimNode> {
        self.nodes[which].lock().unwrap()
    }

    pub(crate) fn set_manner(&self, which: usize, manner: Manner) {
        self.node(which).manner = manner;
    }

    /// Whether a node answers when asked for receipts.
    pub(crate) fn set_silent(&self, which: usize, silent: bool) {
        self.node(which).silent = silent;
    }

    /// Books, as if it had been answered in full, what a node refused or forgot.
    pub(crate) fn book_late(&self, which: usize) {
        let auth = {
            let mut node = self.node(which);
            let auth = node.unbooked.take().unwrap();
            node.running += 1;
            node.books.get_mut(&auth.message.stack).unwrap().in_flight += 1;
            auth
        };
        self.book(which, &auth, b"", 0, Status::Complete);
    }

    /// What later purchases pay.
    pub(crate) fn set_price(&self, price: Price) {
        self.chain().price = Some(price);
    }

    /// Lets waiting streams go on.
    pub(crate) fn go_on(&self) {
        self.go_on.notify_waiters();
    }

    pub(crate) fn lose_answers(&self, times: u32) {
        self.chain().lost_answers = times;
    }

    pub(crate) fn hide_stacks(&self, hidden: bool) {
        self.chain().hidden = hidden;
    }

    /// Ends every channel of a stack on chain, as a revocation or a release does.
    pub(crate) fn end_channels(&self, stack: Address) {
        let mut chain = self.chain();
        let now = chain.clock_ms.unwrap_or_else(wall_ms);
        chain.stacks.get_mut(&stack).unwrap().channels.iter_mut().for_each(|row| row.closed_ms = now);
    }

    pub(crate) fn advance_clock(&self, ms: u64) {
        let mut chain = self.chain();
        chain.clock_ms = Some(chain.clock_ms.unwrap_or_else(wall_ms) + ms);
    }

    pub(crate) fn purchases(&self) -> usize {
        self.chain().purchases
    }

    /// Transactions that bought more units, or granted more of them.
    pub(crate) fn growths(&self) -> usize {
        self.chain().growths
    }

    pub(crate) fn set_poor(&self, poor: bool) {
        self.chain().poor = poor;
    }

    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.chain().unreachable = unreachable;
    }

    pub(crate) fn stacks(&self) -> Vec<Stack> {
        self.chain().stacks.values().cloned().collect()
    }

    pub(crate) fn closed(&self) -> Vec<Address> {
        self.chain().closed.clone()
    }

    pub(crate) fn refunded(&self) -> Vec<Address> {
        self.chain().refunded.clone()
    }

    pub(crate) fn requests(&self, which: usize) -> u64 {
        self.node(which).requests
    }

    pub(crate) fn words(&self, which: usize) -> u64 {
        self.node(which).words
    }

    pub(crate) fn most_at_once(&self, which: usize) -> u64 {
        self.node(which).most_at_once
    }

    pub(crate) fn replays(&self) -> u64 {
        (0..self.nodes.len()).map(|which| self.node(which).replays).sum()
    }

    /// Answers that a node booked.
    pub(crate) fn booked(&self, which: usize) -> u64 {
        self.node(which).books.values().map(|book| book.receipts.len() as u64).sum()
    }

    pub(crate) fn booked_units(&self, which: usize) -> u64 {
        self.node(which).books.values().map(|book| book.total.0).sum()
    }

    /// Answers of a node that the user acknowledged.
    pub(crate) fn acknowledged(&self, which: usize) -> u64 {
        self.node(which).books.values().map(|book| book.acknowledged).sum()
    }

    /// Every voucher that a node holds is for exactly what it answered.
    pub(crate) fn check_vouchers(&self) {
        for which in 0..self.nodes.len() {
            let node = self.node(which);
            for (stack, book) in &node.books {
                let key = self.chain().stacks[stack].request_key;
                for voucher in &book.vouchers {
                    let voucher = voucher.verify(&key).unwrap();
                    let count = usize::try_from(voucher.count).unwrap();
                    assert_eq!(book.transcript.root_at(count).unwrap(), voucher.root);
                    assert_eq!(book.receipts[count - 1].message.total_units, voucher.units);
                }
            }
        }
    }

    fn check(&self, which: usize, headers: &HeaderMap, body: &[u8]) -> Result<Signed<RequestAuth>, Response> {
        let text = headers.get(AUTH_HEADER).ok_or_else(|| refuse(401, "missing_authorization"))?;
        let authorization = Authorization::decode(text.to_str().unwrap()).map_err(|_| refuse(400, "bad"))?;
        let auth = authorization.auth.message.clone();
        let stack =
            self.chain().stacks.get(&auth.stack).cloned().ok_or_else(|| refuse(402, "unknown_stack"))?;
        let mut node = self.node(which);
        node.requests += 1;
        authorization.auth.verify(&stack.request_key).map_err(|_| refuse(401, "invalid_signature"))?;
        let (wrong, id) = (Hash32::of(body) != auth.body_hash, node.id);
        if wrong || auth.node != id || auth.expires_ms <= wall_ms() {
            return Err(refuse(401, "invalid_signature"));
        }
        if stack.channel(id).is_some_and(|row| row.closed_ms != 0) {
            return Err(refuse(402, "stack_ended"));
        }
        let book = node.books.entry(auth.stack).or_default();
        if let Some(voucher) = authorization.voucher {
            take_voucher(book, voucher, &stack);
        }
        if !book.nonces.insert(auth.nonce) {
            node.replays += 1;
            return Err(refuse(401, "auth_replayed"));
        }
        let unacknowledged = book.receipts.len() as u64 - book.acknowledged;
        if unacknowledged + book.in_flight >= (book.acknowledged + 1).clamp(1, 64) {
            let from = book.acknowledged + 1;
            let missing: Vec<String> =
                book.receipts.iter().filter(|one| one.message.count >= from).map(wire::encode).collect();
            let error = json!({"message": "missing", "type": "x", "code": "missing_receipt"});
            let body = json!({"error": error, "missing_from": from, "receipts": missing});
            return Err((StatusCode::PAYMENT_REQUIRED, Json(body)).into_response());
        }
        let granted = stack.channel(id).unwrap().granted;
        assert!(book.total.0 + auth.max_units.0 <= granted.0, "asked for more than was granted");
        book.in_flight += 1;
        node.running += 1;
        node.most_at_once = node.most_at_once.max(node.running);
        Ok(authorization.auth)
    }

    /// Books an answer and signs its receipt, truly or not.
    fn book(
        &self,
        which: usize,
        auth: &Signed<RequestAuth>,
        response: &[u8],
        output: u64,
        status: Status,
    ) -> Signed<Receipt> {
        let mut node = self.node(which);
        node.running -= 1;
        let (key, manner, id) = (node.key.clone(), node.manner, node.id);
        let book = node.books.get_mut(&auth.message.stack).unwrap();
        book.in_flight -= 1;
        let input = if let Manner::ClaimsInput(input) = manner { input } else { INPUT };
        let output = if let Manner::ClaimsOutput(output) = manner { output } else { output };
        let mut units =
            if status.is_billable() { WEIGHTS.units(input, output).unwrap() } else { Units::ZERO };
        if manner == Manner::InflatesUnits {
            units.0 += 1;
        }
        let mut receipt = Receipt {
            db: auth.message.db,
            stack: auth.message.stack,
            node: id,
            request_hash: auth.message.signed_hash(),
            response_hash: Hash32::of(response),
            input,
            output,
            units,
            total_units: book.total.add(units).unwrap(),
            count: book.receipts.len() as u64 + 1,
            root: Hash32::ZERO,
            work: Hash32::ZERO,
            replica_hash: Hash32::ZERO,
            status,
            finished_ms: wall_ms(),
        };
        receipt.root = book.transcript.append(&receipt.record());
        book.total = receipt.total_units;
        let mut signed = receipt.sign(&key);
        book.receipts.push(signed.clone());
        if manner == Manner::TampersReceipt {
            signed.message.output += 1;
        }
        signed
    }
}

fn take_voucher(book: &mut Book, voucher: Signed<Voucher>, stack: &Stack) {
    voucher.verify(&stack.request_key).unwrap();
    assert!(voucher.message.count <= book.receipts.len() as u64, "acknowledged more than was answered");
    book.acknowledged = book.acknowledged.max(voucher.message.count);
    book.vouchers.push(voucher);
}

fn refuse(status: u16, code: &str) -> Response {
    refuse_saying(status, code, "refused")
}

fn refuse_saying(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"error": {"message": message, "type": "x", "param": null, "code": code}});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

fn wall_ms() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis())
        .unwrap()
}

async fn complete(State((world, which)): State<(World, usize)>, headers: HeaderMap, body: Bytes) -> Response {
    let auth = match world.check(which, &headers, &body) {
        Ok(auth) => auth,
        Err(refusal) => return refusal,
    };
    let manner = world.node(which).manner;
    if matches!(manner, Manner::Fails | Manner::Late | Manner::Refuses | Manner::RefusesRaw | Manner::Forgets)
    {
        let mut node = world.node(which);
        node.running -= 1;
        node.books.get_mut(&auth.message.stack).unwrap().in_flight -= 1;
        node.unbooked = Some(auth);
        return match manner {
            Manner::Forgets => Response::new(cut_short(WORDS.concat().as_bytes())),
            Manner::Fails => refuse(503, "nope"),
            Manner::Late => refuse_saying(401, "auth_expired", LATE),
            Manner::Refuses => refuse(400, "nope"),
            _ => (StatusCode::BAD_REQUEST, "<script>nope</script>").into_response(),
        };
    }
    if matches!(manner, Manner::BreaksRefusal | Manner::ChargesRefusal) {
        let refusal = refuse(500, "failed");
        let (mut head, body) = refusal.into_parts();
        let text = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let charges = manner == Manner::ChargesRefusal;
        let status = if charges { Status::Complete } else { Status::Failed };
        let receipt = world.book(which, &auth, &text, 0, status);
        head.headers.insert(RECEIPT_HEADER, wire::encode(&receipt).parse().unwrap());
        head.headers.remove("content-length");
        return Response::from_parts(head, if charges { Body::from(text) } else { cut_short(&text) });
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    if request["stream"] == json!(true) {
        return streamed(world, which, auth, manner);
    }
    let text =
        json!({"choices": [{"message": {"role": "assistant", "content": WORDS.concat()}}]}).to_string();
    let receipt = world.book(which, &auth, text.as_bytes(), 5, Status::Complete);
    let broken = matches!(manner, Manner::BreaksWhole { .. });
    let body = if broken { cut_short(text.as_bytes()) } else { Body::from(text) };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    if !matches!(manner, Manner::SendsNoReceipt | Manner::BreaksWhole { receipt: false }) {
        response.headers_mut().insert(RECEIPT_HEADER, wire::encode(&receipt).parse().unwrap());
    }
    response
}

/// A body that breaks off in the middle.
fn cut_short(text: &[u8]) -> Body {
    let half = Bytes::copy_from_slice(&text[..text.len() / 2]);
    Body::from_stream(stream::unfold(Some(half), |half| async move {
        // What was written goes out before the connection breaks.
        tokio::task::yield_now().await;
        Some(half.map_or((Err(std::io::Error::other("broken")), None), |half| (Ok(half), None)))
    }))
}

fn streamed(world: World, which: usize, auth: Signed<RequestAuth>, manner: Manner) -> Response {
    struct Running {
        world: World,
        which: usize,
        auth: Signed<RequestAuth>,
        sent: Vec<u8>,
        words: u64,
        booked: bool,
    }
    impl Drop for Running {
        fn drop(&mut self) {
            if !self.booked {
                self.world.book(self.which, &self.auth, &self.sent, self.words, Status::Aborted);
            }
        }
    }
    let running = Running { world, which, auth, sent: Vec::new(), words: 0, booked: false };
    let frames = stream::unfold(Some(running), move |running| async move {
        let mut running = running?;
        if manner == Manner::BreaksUnbegun {
            return Some((Err(std::io::Error::other("broken")), None));
        }
        if running.words == 1 && manner == Manner::Waits {
            let go_on = Arc::clone(&running.world.go_on);
            go_on.notified().await;
        }
        if running.words == 2 && manner == Manner::BreaksOff {
            // What was written so far goes out first.
            tokio::task::yield_now().await;
            return Some((Err(std::io::Error::other("broken")), None));
        }
        if manner == Manner::Bursts && running.words == BURST {
            let go_on = Arc::clone(&running.world.go_on);
            go_on.notified().await;
        }
        let word = match manner {
            Manner::Bursts => (running.words < BURST).then_some(&"x"),
            _ => WORDS.get(usize::try_from(running.words).unwrap()),
        };
        if let Some(word) = word {
            let event = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": word}}]}));
            running.sent.extend_from_slice(event.as_bytes());
            running.words += 1;
            running.world.node(running.which).words += 1;
            return Some((Ok(Bytes::from(event)), Some(running)));
        }
        running.booked = true;
        let receipt =
            running.world.book(running.which, &running.auth, &running.sent, running.words, Status::Complete);
        let comment =
            if manner == Manner::SendsNoReceipt { String::new() } else { wire::receipt_comment(&receipt) };
        Some((Ok(Bytes::from(format!("{comment}{SSE_DONE}"))), None))
    });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}

async fn receipts(
    State((world, which)): State<(World, usize)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let from: u64 = query["from"].parse().unwrap();
    let node = world.node(which);
    if node.silent {
        return refuse(503, "silent");
    }
    let book = node.books.get(&query["stack"].parse().unwrap());
    let known = book.into_iter().flat_map(|book| &book.receipts);
    let page: Vec<String> =
        known.filter(|one| one.message.count >= from).take(64).map(wire::encode).collect();
    Json(json!({"receipts": page})).into_response()
}

async fn voucher(State((world, which)): State<(World, usize)>, Json(body): Json<Value>) -> Json<Value> {
    let voucher: Signed<Voucher> = wire::decode(body["voucher"].as_str().unwrap()).unwrap();
    let stack = world.chain().stacks[&voucher.message.stack].clone();
    let mut node = world.node(which);
    let book = node.books.get_mut(&stack.id).unwrap();
    take_voucher(book, voucher, &stack);
    Json(json!({"count": book.acknowledged}))
}

/// A chat request body.
pub(crate) fn chat(stream: bool) -> Bytes {
    long_chat(stream, 16)
}

pub(crate) fn long_chat(stream: bool, max_tokens: u64) -> Bytes {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": MODEL, "messages": messages, "stream": stream, "max_tokens": max_tokens});
    Bytes::from(body.to_string())
}

/// Reads a stream to its end.
pub(crate) async fn text_of(response: reqwest::Response) -> String {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// Waits until something is so, for at most a minute.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(so().await, "never: {what}");
}
