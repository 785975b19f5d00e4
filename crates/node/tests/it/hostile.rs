//! Thousands of requests that are wrong in some way: each gets an error that says so, and the books are right after.

use crate::mutations::{self, Dice};
use crate::support::{Answer, MODEL, Market, User, mock, read};
use atoma_inference::upstream::{UpstreamConfig, UpstreamEngine};
use atoma_node::NodeHandle;
use atoma_types::wire::{AUTH_HEADER, Endpoint, encode};
use atoma_types::{Signed, Transcript, Units, Voucher};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Requests to one endpoint, and how many of them one user sends.
const REQUESTS: usize = 800;
const PER_USER: usize = 80;
/// Units that a request may cost.
const MOST: u64 = 2_000;

/// What a user and the node agreed on so far.
struct Books {
    user: User,
    transcript: Transcript,
    total: Units,
    voucher: Option<Signed<Voucher>>,
}

impl Books {
    async fn of(market: &Market) -> Self {
        Self { user: market.user().await, transcript: Transcript::new(), total: Units::ZERO, voucher: None }
    }

    async fn send(&self, url: String, authorization: &str, body: Vec<u8>) -> Answer {
        let request = self.user.http.post(url).header(AUTH_HEADER, authorization);
        read(request.header("content-type", "application/json").body(body).send().await.unwrap()).await
    }

    /// A body with an authorization that fits it.
    async fn ask(&mut self, node: &str, endpoint: Endpoint, body: Vec<u8>) {
        let authorization = self.user.authorize(self.user.auth(&body, MOST), self.voucher.take());
        let url = format!("{node}{}", endpoint.path());
        let answer = self.send(url, &encode(&authorization), body.clone()).await;
        // The receipt stands before the end.
        let mut whole = answer.body.clone();
        if answer.done {
            whole.extend_from_slice(b"data: [DONE]\n\n");
        }
        let is_served = mutations::check(answer.status, &answer.headers, &whole);
        assert!(answer.receipt.is_some() || !is_served, "{}", String::from_utf8_lossy(&body));
        self.voucher = authorization.voucher;
        if answer.receipt.is_some() {
            self.user.verify(&answer, &mut self.transcript, &mut self.total);
            self.voucher = Some(self.user.voucher_for(answer.receipt()));
        }
    }

    /// The node's books are the user's, and after its end the chain's, too.
    async fn close(self, node: &NodeHandle) -> (User, Units) {
        let channel = self.user.channel(&node.url()).await;
        assert_eq!(channel["in_flight"], 0);
        assert_eq!(channel["count"], self.transcript.count());
        assert_eq!(channel["total_units"], self.total.0);
        let granted = channel["granted"].as_u64().unwrap();
        assert_eq!(channel["available"], granted - self.total.0);
        if let Some(voucher) = &self.voucher {
            self.user.acknowledge(&node.url(), voucher).await;
        }
        (self.user, self.total)
    }
}

async fn play(market: &Market, node: NodeHandle, endpoints: &[Endpoint], seed: u64) {
    let (mut dice, mut closed) = (Dice::new(seed), Vec::new());
    for endpoint in endpoints {
        for _ in 0..REQUESTS / PER_USER {
            let mut books = Books::of(market).await;
            for _ in 0..PER_USER {
                let body = mutations::body(&mut dice, *endpoint, MODEL);
                books.ask(&node.url(), *endpoint, body).await;
            }
            for body in mutations::right(*endpoint, MODEL) {
                let before = books.total;
                books.ask(&node.url(), *endpoint, body.to_string().into_bytes()).await;
                assert!(books.total > before, "{body}");
            }
            closed.push(books.close(&node).await);
        }
    }
    node.drain().await.unwrap();
    for (user, total) in closed {
        assert_eq!(user.on_chain().await.settled_units, total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_to_an_engine_of_ours() {
    let market = Market::open().await;
    let node = market.spawn(market.config(), mock(4, Duration::ZERO)).await;
    play(&market, node, &[Endpoint::ChatCompletions, Endpoint::Completions], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_to_an_engine_behind_us() {
    let market = Market::open().await;
    let config = UpstreamConfig {
        endpoints: Endpoint::ALL.to_vec(),
        ..UpstreamConfig::new(MODEL, vec![mutations::engine().await], 8_192)
    };
    let engine = UpstreamEngine::connect(config).await.unwrap();
    let node = market.spawn(market.config(), Arc::new(engine)).await;
    play(&market, node, &Endpoint::ALL, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_authorizations() {
    let market = Market::open().await;
    let node = market.start().await;
    let mut books = Books::of(&market).await;
    let url = format!("{}{}", node.url(), Endpoint::ChatCompletions.path());
    let body = mutations::right(Endpoint::ChatCompletions, MODEL)[0].to_string().into_bytes();
    let mut dice = Dice::new(3);
    let auth = books.user.auth(&body, MOST);
    let right = books.user.authorize(auth, None);
    let bytes = bcs::to_bytes(&right).unwrap();
    for round in 0..1_500 {
        let header = if round % 2 == 0 {
            // Bytes that are damaged before they are written.
            encode(&Raw(mutations::damaged(&mut dice, bytes.clone())))
        } else {
            let text = mutations::damaged(&mut dice, encode(&right).into_bytes());
            text.iter().map(|byte| char::from(byte & 0x7f)).filter(|letter| !letter.is_control()).collect()
        };
        if header == encode(&right) {
            continue;
        }
        let answer = books.send(url.clone(), header.trim(), body.clone()).await;
        assert!(!mutations::check(answer.status, &answer.headers, &answer.body), "{header}");
    }
    books.ask(&node.url(), Endpoint::ChatCompletions, body).await;
    let (user, total) = books.close(&node).await;
    node.drain().await.unwrap();
    assert_eq!(user.on_chain().await.settled_units, total);
}

/// Bytes that are written as they are.
struct Raw(Vec<u8>);

impl serde::Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_no_heads() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.head_ms = 2_000;
    let node = market.spawn(config, mock(4, Duration::ZERO)).await;
    let long = format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET /health HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    let heads: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client that speaks TLS\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"POST /v1/vouchers HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/vouchers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for head in heads {
        let mut stream = TcpStream::connect(node.addr()).await.unwrap();
        // The node may stop to read before all is sent.
        let _ = stream.write_all(head).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let mut books = Books::of(&market).await;
    let right = mutations::right(Endpoint::ChatCompletions, MODEL)[0].to_string().into_bytes();
    books.ask(&node.url(), Endpoint::ChatCompletions, right).await;
    books.close(&node).await;
}
