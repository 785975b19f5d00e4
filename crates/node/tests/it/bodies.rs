//! Whose bodies are read, how many, and for how long.

use crate::support::{Market, PATIENCE, User, chat, mock};
use atoma_inference::{Endpoint, Engine, EngineError, Generation, Prepared};
use atoma_node::Admission;
use atoma_types::message::Message as _;
use atoma_types::wire::{AUTH_HEADER, Authorization, encode};
use atoma_types::{SecretKey, Transcript, Units};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A client that sends what and when it likes.
struct Raw(TcpStream);

impl Raw {
    /// Sends the head of a request whose body has `length` bytes.
    async fn open(node: &str, path: &str, authorization: Option<&Authorization>, length: usize) -> Self {
        let host = node.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let auth = authorization.map(|auth| format!("{AUTH_HEADER}: {}\r\n", encode(auth)));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\n{}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n",
            auth.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn chat(node: &str, authorization: &Authorization, length: usize) -> Self {
        Self::open(node, "/v1/chat/completions", Some(authorization), length).await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads until `text` has come.
    async fn expect(&mut self, text: &str) {
        let mut read = Vec::new();
        let search = async {
            while !String::from_utf8_lossy(&read).contains(text) {
                let more = self.0.read_buf(&mut read).await.unwrap();
                assert!(more > 0, "no {text} in {}", String::from_utf8_lossy(&read));
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap();
    }
}

async fn bodies(user: &User, node: &str, wanted: usize) {
    let line = format!("\natoma_node_bodies {wanted}\n");
    let search = async {
        while !user
            .http
            .get(format!("{node}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains(&line)
        {}
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap();
}

fn forged(user: &User, body: &[u8]) -> Authorization {
    let stranger = SecretKey::from_seed([5; 32]);
    Authorization { auth: user.auth(body, 100).sign(&stranger), voucher: None, grants: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_request_is_answered_without_its_body_and_takes_nobodys_place() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.bodies = 1;
    config.admission.waiting = 0;
    let handle = market.spawn(config, mock(4, Duration::ZERO)).await;
    let (node, user) = (handle.url(), market.user().await);
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::chat(&node, &forged(&user, b""), 4 * 1024 * 1024).await;
        raw.expect("\"invalid_signature\"").await;
        idle.push(raw);
    }
    bodies(&user, &node, 0).await;
    assert_eq!(user.ask(&node, &chat(false, "hi"), None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_take_no_more_than_their_places() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.bodies = 1;
    config.limits.body_ms = 600_000;
    config.admission = Admission { waiting: 0, ..config.admission };
    let handle = market.spawn(config, mock(4, Duration::ZERO)).await;
    let node = handle.url();
    let (slow, other) = (market.user().await, market.user().await);
    let body = chat(false, "slowly").to_string().into_bytes();
    let (first, rest) = body.split_at(10);
    let mut raw = Raw::chat(&node, &slow.authorize(slow.auth(&body, 60), None), body.len()).await;
    raw.send(first).await;
    bodies(&other, &node, 1).await;

    let refused = other.ask(&node, &chat(false, "hi"), None).await;
    assert_eq!(refused.code(), (429, "bodies_busy".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(other.channel(&node).await["in_flight"], 0);
    // The slow one's own window is taken too: it cannot come again with another body.
    let mut again = Raw::chat(&node, &slow.authorize(slow.auth(&body, 60), None), body.len()).await;
    again.expect("\"window_full\"").await;

    raw.send(rest).await;
    raw.expect("\"chat.completion\"").await;
    bodies(&other, &node, 0).await;
    let answer = other.ask(&node, &chat(false, "hi"), None).await;
    other.verify(&answer, &mut Transcript::new(), &mut Units::ZERO.clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stack_holds_no_more_than_its_share() {
    let market = Market::open().await;
    let mut config = market.config();
    // One for each channel.
    config.limits.bodies = 8;
    config.limits.body_ms = 600_000;
    config.admission = Admission { waiting: 0, ..config.admission };
    let handle = market.spawn(config, mock(4, Duration::ZERO)).await;
    let node = handle.url();
    let (greedy, other) = (market.user().await, market.user().await);
    // Its window grows with what it acknowledges.
    let first = greedy.ask(&node, &chat(false, "hi"), None).await;
    greedy.acknowledge(&node, &greedy.voucher_for(first.receipt())).await;
    let body = chat(false, "slowly").to_string().into_bytes();
    let mut raw = Raw::chat(&node, &greedy.authorize(greedy.auth(&body, 60), None), body.len()).await;
    raw.send(&body[..1]).await;
    bodies(&other, &node, 1).await;

    let refused = greedy.ask(&node, &chat(false, "hi"), None).await;
    assert_eq!(refused.code(), (429, "bodies_busy".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(other.ask(&node, &chat(false, "hi"), None).await.status, 200);
    raw.send(&body[1..]).await;
    raw.expect("\"chat.completion\"").await;
}

/// An engine that prepares when it is told to.
struct Halting {
    inner: Arc<dyn Engine>,
    begun: mpsc::UnboundedSender<()>,
    go_on: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Engine for Halting {
    fn model(&self) -> &str {
        self.inner.model()
    }

    fn context_tokens(&self) -> u64 {
        self.inner.context_tokens()
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        self.begun.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        self.inner.prepare(endpoint, body)
    }

    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError> {
        self.inner.run(prepared, output_limit)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_keeps_its_place_while_its_body_is_prepared() {
    let market = Market::open().await;
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (tell, go_on) = std::sync::mpsc::channel();
    let engine = Halting { inner: mock(4, Duration::ZERO), begun, go_on: Mutex::new(go_on) };
    let handle = market.spawn(market.config(), Arc::new(engine)).await;
    let (node, user) = (handle.url(), market.user().await);
    let body = chat(false, &"x".repeat(64 * 1024)).to_string().into_bytes();
    let mut raw = Raw::chat(&node, &user.authorize(user.auth(&body, 60), None), body.len()).await;
    raw.send(&body).await;
    has_begun.recv().await.unwrap();
    drop(raw);
    user.until(&node, |channel| channel["in_flight"] == 0).await;
    bodies(&user, &node, 1).await;
    tell.send(()).unwrap();
    bodies(&user, &node, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_nothing_is_closed() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.head_ms = 100;
    let handle = market.spawn(config, mock(4, Duration::ZERO)).await;
    let mut silent = TcpStream::connect(handle.addr()).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(closed.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_given_up_and_leaves_no_trace() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.body_ms = 3_000;
    let handle = market.spawn(config, mock(4, Duration::ZERO)).await;
    let (node, user) = (handle.url(), market.user().await);
    let body = chat(false, "hello").to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 60), None);
    let mut raw = Raw::chat(&node, &authorization, body.len()).await;
    raw.send(&body[..1]).await;
    let mut voucher = Raw::open(&node, "/v1/vouchers", None, 100).await;
    voucher.send(b"{").await;
    for slow in [&mut raw, &mut voucher] {
        slow.expect("\"body_timeout\"").await;
    }
    let channel = user.channel(&node).await;
    assert_eq!((channel["in_flight"].as_u64(), &channel["available"]), (Some(0), &channel["granted"]));
    assert_eq!(user.post(&node, &body, &authorization).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_sees_why_it_was_refused() {
    let market = Market::open().await;
    let handle = market.start().await;
    let (node, user) = (handle.url(), market.user().await);
    let body = vec![b' '; 3 * 1024 * 1024];
    for _ in 0..20 {
        let answer = user.post(&node, &body, &forged(&user, &body)).await;
        assert_eq!(answer.code(), (401, "invalid_signature".to_owned()));
    }
}
