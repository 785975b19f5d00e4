//! Wrong requests to the gateway and to the endpoint of `atoma connect`, in front of real nodes on a real chain: each
//! gets an error that says what is wrong, and after all of them the books of everybody agree.

#[path = "../../../node/tests/it/mutations.rs"]
mod mutations;

use atoma::market::{Market, MarketConfig, PRICE, Ware, funded_wallet};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_client::proxy::{self, ConnectConfig};
use atoma_client::{Policy, Session, SessionConfig};
use atoma_gateway::{GatewayConfig, GatewayHandle, NewKey};
use atoma_inference::upstream::{UpstreamConfig, UpstreamEngine};
use atoma_types::Units;
use atoma_types::wire::Endpoint;
use futures::StreamExt as _;
use mutations::Dice;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Requests to one endpoint in one way, and how many at once.
const REQUESTS: usize = 800;
const AT_ONCE: usize = 8;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a body may take.
const BODY: Duration = Duration::from_secs(2);
const UNITS: Units = Units(1_000_000);

fn model_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses => "parrot",
        Endpoint::Embeddings => "sorter",
        Endpoint::Images => "painter",
    }
}

async fn open(folder: &Path) -> Market {
    let server = mutations::engine().await;
    let mut wares = Vec::new();
    for model in ["parrot", "sorter", "painter"] {
        let endpoints: Vec<Endpoint> =
            Endpoint::ALL.into_iter().filter(|endpoint| model_of(*endpoint) == model).collect();
        let config = UpstreamConfig {
            endpoints: endpoints.clone(),
            ..UpstreamConfig::new(model, vec![server.clone()], 8_192)
        };
        let engine = Arc::new(UpstreamEngine::connect(config).await.unwrap());
        wares.push(Ware::answering(&endpoints, engine).unwrap());
    }
    let settle = atoma_node::Settle { every_ms: 50, min_amount: 0, ..atoma_node::Settle::default() };
    let config = MarketConfig {
        nodes: 2,
        wares,
        devnet: atoma_devnet::Config::test(),
        folder: folder.join("market"),
        price: PRICE,
        settle,
        admission: atoma_node::Admission::default(),
    };
    Market::start(config).await.unwrap()
}

async fn gateway(chain: &ChainClient, folder: &Path) -> (GatewayHandle, String) {
    let wallet = funded_wallet(chain.deployment(), chain, folder).await.unwrap();
    let mut config = GatewayConfig::local(folder);
    config.requests.body_ms = u64::try_from(BODY.as_millis()).unwrap();
    let market = Arc::new(ChainMarket::new(chain.clone(), wallet));
    let gateway = atoma_gateway::spawn(config, market).await.unwrap();
    let key = gateway.create_key(NewKey::default()).await.unwrap().secret;
    (gateway, key)
}

async fn connect(chain: &ChainClient, folder: &Path, wait: Duration) -> proxy::Handle {
    let wallet = funded_wallet(chain.deployment(), chain, folder).await.unwrap();
    let policy = Policy { units: UNITS, wait, ..Policy::default() };
    let session = SessionConfig { journal: folder.join("journal.sqlite"), policy };
    let config = ConnectConfig { body_time: BODY, ..ConnectConfig::local(session) };
    proxy::spawn(config, Arc::new(ChainMarket::new(chain.clone(), wallet))).await.unwrap()
}

/// A way to the nodes.
struct Way {
    http: reqwest::Client,
    url: String,
    addr: SocketAddr,
    key: String,
}

impl Way {
    fn new(addr: SocketAddr, key: &str) -> Self {
        Self { http: reqwest::Client::new(), url: format!("http://{addr}"), addr, key: key.to_owned() }
    }

    fn post(&self, endpoint: Endpoint, body: Vec<u8>) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{}", self.url, endpoint.path())).body(body)
    }

    /// Whether there was an answer; anything but an answer or an error of the caller's is a failure of the test.
    async fn served(&self, request: reqwest::RequestBuilder) -> bool {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        mutations::check(status, &headers, &body)
    }

    async fn wrong_bodies(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        for endpoint in Endpoint::ALL {
            let bodies: Vec<_> =
                (0..REQUESTS).map(|_| mutations::body(&mut dice, endpoint, model_of(endpoint))).collect();
            let answers = futures::stream::iter(bodies)
                .map(|body| self.served(self.post(endpoint, body).bearer_auth(&self.key)))
                .buffer_unordered(AT_ONCE);
            let served = answers.filter(|served| std::future::ready(*served)).count().await;
            assert!((1..REQUESTS).contains(&served), "{endpoint:?}: {served} served");
            self.right(endpoint).await;
        }
    }

    async fn right(&self, endpoint: Endpoint) {
        for body in mutations::right(endpoint, model_of(endpoint)) {
            let request = self.post(endpoint, body.to_string().into_bytes()).bearer_auth(&self.key);
            assert!(self.served(request).await, "{body}");
        }
    }

    /// Headers that are almost right; with a wrong key there is no answer.
    async fn wrong_headers(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let body = mutations::right(Endpoint::ChatCompletions, "parrot")[0].to_string().into_bytes();
        let route = json!({"order": [2, 1], "ignore": [7], "sort": "latency", "session": "a"});
        for (name, right) in [
            ("x-atoma-route", route.to_string()),
            ("authorization", format!("Bearer {}", self.key)),
            ("content-type", "application/json".to_owned()),
            ("accept", "text/event-stream".to_owned()),
        ] {
            for _ in 0..200 {
                let value = mutations::damaged(&mut dice, right.clone().into_bytes());
                let Ok(value) = reqwest::header::HeaderValue::from_bytes(&value) else { continue };
                let mut request = self.post(Endpoint::ChatCompletions, body.clone()).header(name, &value);
                if name != "authorization" {
                    request = request.bearer_auth(&self.key);
                }
                self.served(request).await;
            }
        }
        self.right(Endpoint::ChatCompletions).await;
    }

    /// A body that comes too slowly, one that breaks off, and one that is none.
    async fn wrong_transfers(&self) {
        let head = |rest: &str| {
            let (path, key) = (Endpoint::ChatCompletions.path(), &self.key);
            format!("POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n{rest}\r\n\r\n")
        };
        let slow = format!("{}{{", head("content-length: 100"));
        assert_eq!(self.raw(slow.as_bytes(), "body_timeout").await, 408);
        let chunked = format!("{}zz\r\n", head("transfer-encoding: chunked"));
        assert_eq!(self.raw(chunked.as_bytes(), "body_unreadable").await, 400);
        let mut gone = TcpStream::connect(self.addr).await.unwrap();
        gone.write_all(slow.as_bytes()).await.unwrap();
        drop(gone);
        let long = vec![b' '; 5 << 20];
        let request = self.post(Endpoint::ChatCompletions, long).bearer_auth(&self.key);
        assert_eq!(request.send().await.unwrap().status(), 413);
        let long = "a".repeat(1 << 20);
        let request = self.post(Endpoint::ChatCompletions, Vec::new()).header("x-long", long);
        // Closed before all was read, the connection may break.
        let answer = request.bearer_auth(&self.key).send().await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
        for (method, path, status) in [("GET", "/v1/chat/completions", 405), ("POST", "/v1/nothing", 404)] {
            let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
            let answer = request.bearer_auth(&self.key).send().await.unwrap();
            assert_eq!(answer.status(), status);
            assert!(answer.json::<Value>().await.unwrap()["error"]["message"].is_string());
        }
        self.right(Endpoint::ChatCompletions).await;
    }

    /// Sends bytes and waits for an error with this code; its status.
    async fn raw(&self, bytes: &[u8], code: &str) -> u16 {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        let answered = async {
            while !String::from_utf8_lossy(&read).contains(&format!("\"code\":\"{code}\"")) {
                let more = stream.read_buf(&mut read).await.unwrap();
                assert!(more > 0, "no {code} in {}", String::from_utf8_lossy(&read));
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap();
        String::from_utf8_lossy(&read)[9..12].parse().unwrap()
    }

    async fn all(&self, seed: u64) {
        self.wrong_bodies(seed).await;
        self.wrong_headers(seed).await;
        self.wrong_transfers().await;
    }
}

/// What the session booked, if the chain holds the same for each stack.
async fn booked(chain: &ChainClient, session: &Session) -> u64 {
    let mut stacks = BTreeMap::new();
    for (stack, node, summary) in session.channels() {
        assert_eq!(summary.ended, None, "node {node}");
        *stacks.entry(stack).or_insert(0) += summary.total_units.0;
    }
    for (stack, units) in &stacks {
        assert_eq!(chain.stack(*stack).await.unwrap().unwrap().settled_units.0, *units, "stack {stack}");
    }
    stacks.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_errors_and_leave_the_books_right() {
    let dir = TempDir::new().unwrap();
    let market = open(dir.path()).await;
    let chain = market.chain.clone();
    let (gateway, key) = gateway(&chain, &dir.path().join("gateway")).await;
    let connect = connect(&chain, &dir.path().join("user"), Duration::from_secs(30)).await;
    Way::new(gateway.addr, &key).all(1).await;
    Way::new(connect.addr, "none").all(2).await;

    let used = async || {
        let request = reqwest::Client::new().get(format!("{}/v1/usage", gateway.url())).bearer_auth(&key);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let all_paid = async {
        loop {
            let usage = used().await;
            if usage["reserved"] == 0 {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let usage = tokio::time::timeout(PATIENCE, all_paid).await.unwrap();
    assert_eq!(usage["spent"], usage["totals"]["cost"]);
    let sessions = [gateway.session.clone(), connect.session.clone()];
    gateway.drain(false).await.unwrap();
    connect.drain().await;
    let Market { nodes, devnet, .. } = market;
    for node in nodes {
        node.handle.drain().await.unwrap();
    }
    assert_eq!(usage["totals"]["units"], booked(&chain, &sessions[0]).await);
    assert!(booked(&chain, &sessions[1]).await > 0);
    devnet.shutdown().await;
}

/// Passes bytes on to the chain, or keeps them back.
struct Strait {
    url: String,
    open: watch::Sender<bool>,
}

impl Strait {
    async fn before(chain: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(chain).await else { return };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, is_open.clone()));
                tokio::spawn(pass(far_in, near_out, is_open.clone()));
            }
        });
        Self { url, open }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut is_open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let opened = is_open.wait_for(|open| *open).await.is_ok();
        if !opened || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stalls_is_named_and_what_is_bought_goes_on() {
    let dir = TempDir::new().unwrap();
    let market = open(dir.path()).await;
    let address = market.devnet.url().strip_prefix("http://").unwrap().parse().unwrap();
    let strait = Strait::before(address).await;
    let mut deployment = market.chain.deployment().clone();
    deployment.rpc_url.clone_from(&strait.url);
    let chain = ChainClient::connect(deployment).await.unwrap();
    let connect = connect(&chain, &dir.path().join("user"), Duration::from_millis(500)).await;
    connect.session.prepare("parrot").await.unwrap();
    let way = Way::new(connect.addr, "none");
    way.right(Endpoint::ChatCompletions).await;

    strait.open.send(false).unwrap();
    for _ in 0..3 {
        way.right(Endpoint::ChatCompletions).await;
        let body = mutations::right(Endpoint::Embeddings, "sorter")[0].to_string().into_bytes();
        let refused = way.post(Endpoint::Embeddings, body).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        let error: Value = refused.json().await.unwrap();
        assert_eq!(error["error"]["code"], "no_stack");
    }
    strait.open.send(true).unwrap();
    let again = async {
        loop {
            let body = mutations::right(Endpoint::Embeddings, "sorter")[0].to_string().into_bytes();
            let answer = way.post(Endpoint::Embeddings, body).send().await.unwrap();
            if answer.status() == 200 {
                return;
            }
            assert_eq!(answer.status(), 503);
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    let session = connect.session.clone();
    connect.drain().await;
    let Market { nodes, devnet, chain, .. } = market;
    for node in nodes {
        node.handle.drain().await.unwrap();
    }
    assert!(booked(&chain, &session).await > 0);
    devnet.shutdown().await;
}
