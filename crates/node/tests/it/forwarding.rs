//! Requests that a node without room passes on to another node of their stack.

use crate::support::{Answer, Market, PATIENCE, PRICE, User, chat, funded, mock, read, wall_ms};
use atoma_node::{
    Admission, NodeConfig, NodeHandle, Offering, Parts, Registration, Settle, SuiMarket, register_if_needed,
};
use atoma_types::message::Message as _;
use atoma_types::onchain::Selection;
use atoma_types::wire::{ALTERNATES_HEADER, AUTH_HEADER, Authorization, FORWARD_HEADER, decode, encode};
use atoma_types::{Forward, NodeId, RequestAuth, SecretKey, Signed, Transcript, Units};
use axum::Router;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Room for one request at a time.
const NARROW: Admission = Admission { concurrent: 1, waiting: 0, wait_ms: 0 };
const OTHER_KEY: [u8; 32] = [19; 32];

/// Two nodes of one market; the first has room for one slow request.
struct Pair {
    market: Market,
    first: NodeHandle,
    second: NodeHandle,
    _dir: TempDir,
}

impl Pair {
    async fn start(second: Admission) -> Self {
        let market = Market::open().await;
        let config = NodeConfig { admission: NARROW, ..market.config() };
        let first = market.spawn(config, mock(100_000, Duration::from_millis(20))).await;
        let (operator, dir) = (funded(&market.chain).await, tempfile::tempdir().unwrap());
        let receipt_key = SecretKey::from_seed(OTHER_KEY);
        let registration = |endpoint: String| Registration {
            endpoint,
            receipt_key: receipt_key.public_key(),
            payout: None,
            collateral: None,
            offerings: vec![Offering { task: market.task, price: PRICE, max_units: Units(1_000_000) }],
        };
        let nowhere = registration("http://127.0.0.1:1".to_owned());
        let node = register_if_needed(&market.chain, &operator, &nowhere).await.unwrap();
        let settle = Settle { every_ms: 5, units: 1, min_amount: 0, ..Settle::default() };
        let slow = second.concurrent == 1;
        let config =
            NodeConfig { admission: second, settle, ..NodeConfig::test(node, vec![market.task], dir.path()) };
        let parts = Parts {
            market: Arc::new(SuiMarket::new(market.chain.clone(), operator.clone())),
            receipt_key: receipt_key.clone(),
            engines: vec![if slow {
                mock(100_000, Duration::from_millis(20))
            } else {
                mock(16, Duration::ZERO)
            }],
        };
        let second = atoma_node::spawn(config, parts).await.unwrap();
        register_if_needed(&market.chain, &operator, &registration(second.url())).await.unwrap();
        Self { market, first, second, _dir: dir }
    }

    /// A user with a channel at both nodes.
    async fn user(&self) -> User {
        let user = self.market.user_with(Selection::Any).await;
        user.open_channel(4_000, 1).await;
        self.at_second(&user).open_channel(4_000, 1).await;
        user
    }

    /// The same user as the second node sees it.
    fn at_second(&self, user: &User) -> User {
        user.at(self.second.node(), SecretKey::from_seed(OTHER_KEY).public_key())
    }

    /// Takes the room of a node until it is dropped.
    async fn occupy(&self, node: &NodeHandle) -> reqwest::Response {
        let user = self.market.user_with(Selection::Any).await;
        let user = if node.node() == self.second.node() { self.at_second(&user) } else { user };
        user.open_channel(10_000, 1).await;
        let body = chat(true, "go on").to_string().into_bytes();
        let authorization = user.authorize(user.auth(&body, 9_000), None);
        let mut response = user.send(&node.url(), &body, &authorization).await;
        assert_eq!(response.status(), 200);
        response.chunk().await.unwrap();
        response
    }

    async fn metric(node: &NodeHandle, name: &str) -> u64 {
        let page = reqwest::get(format!("{}/metrics", node.url())).await.unwrap().text().await.unwrap();
        let line = page.lines().find(|line| line.starts_with(&format!("atoma_node_{name}_total ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// A request that may be passed on.
fn may_pass(user: &User, body: &[u8]) -> Authorization {
    user.authorize(RequestAuth { hops: 1, ..user.auth(body, 60) }, None)
}

async fn post(node: &str, body: &[u8], authorization: &Authorization, more: &[(&str, String)]) -> Answer {
    let url = format!("{node}/v1/chat/completions");
    let request = reqwest::Client::new().post(url).header(AUTH_HEADER, encode(authorization));
    let request = more.iter().fold(request, |request, (name, value)| request.header(*name, value));
    read(request.body(body.to_vec()).send().await.unwrap()).await
}

/// Asks the first node, and allows the second one.
async fn ask(pair: &Pair, user: &User, stream: bool) -> Answer {
    let body = chat(stream, "hello there").to_string().into_bytes();
    let alternates = (ALTERNATES_HEADER, pair.second.node().to_string());
    post(&pair.first.url(), &body, &may_pass(user, &body), &[alternates]).await
}

fn forward_of(answer: &Answer) -> Signed<Forward> {
    decode(answer.headers[FORWARD_HEADER].to_str().unwrap()).unwrap()
}

fn roomy() -> Admission {
    Admission::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_passes_on_and_all_books_agree() {
    let pair = Pair::start(roomy()).await;
    let user = pair.user().await;
    let there = pair.at_second(&user);
    let _busy = pair.occupy(&pair.first).await;
    let (mut transcript, mut total) = (Transcript::new(), Units::ZERO);
    let mut newest = None;
    for stream in [false, true, false] {
        let answer = ask(&pair, &user, stream).await;
        assert_eq!((answer.status, answer.done), (200, stream), "{}", String::from_utf8_lossy(&answer.body));
        there.verify(&answer, &mut transcript, &mut total);
        let forward = forward_of(&answer);
        let forward = forward.verify(&user.node_key).unwrap();
        assert_eq!((forward.from, forward.to), (pair.first.node(), pair.second.node()));
        assert_eq!(forward.request_hash, answer.receipt().request_hash);
        let voucher = there.voucher_for(answer.receipt());
        assert_eq!(there.acknowledge(&pair.second.url(), &voucher).await.status, 200);
        newest = Some(voucher);
    }
    // The first one booked nothing, and holds nothing back.
    let books = user.channel(&pair.first.url()).await;
    assert_eq!(
        (&books["count"], &books["available"], &books["in_flight"]),
        (&json!(0), &json!(4_000), &json!(0))
    );
    let books = there.channel(&pair.second.url()).await;
    assert_eq!((&books["count"], &books["total_units"]), (&json!(3), &json!(total.0)));
    assert_eq!(books["voucher"], json!(encode(&newest.unwrap())));
    assert_eq!(Pair::metric(&pair.first, "forwarded").await, 3);
    assert_eq!(Pair::metric(&pair.second, "taken_over").await, 3);

    // Whoever lacks the answers finds receipts and forwards at the second one.
    let url = format!("{}/v1/receipts?stack={}&from=1", pair.second.url(), user.stack);
    let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let forwards = page["forwards"].as_array().unwrap();
    assert_eq!((page["receipts"].as_array().unwrap().len(), forwards.len()), (3, 3));

    there.until(&pair.second.url(), |channel| channel["settled_units"] == json!(total.0)).await;
    let chain = user.on_chain().await;
    assert_eq!(chain.channel(pair.second.node()).unwrap().settled_units, total);
    assert_eq!(chain.channel(pair.first.node()).unwrap().settled_units, Units::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_passes_on() {
    let pair = Pair::start(roomy()).await;
    let user = pair.user().await;
    // It knows the stack.
    user.channel(&pair.first.url()).await;
    let busy = pair.occupy(&pair.first).await;
    let Pair { market, first, second, _dir } = pair;
    let (url, node) = (first.url(), first.node());
    let draining = tokio::spawn(first.drain());
    let unready = async {
        while reqwest::get(format!("{url}/ready")).await.unwrap().status() == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unready).await.unwrap();
    let body = chat(true, "hello").to_string().into_bytes();
    let alternates = (ALTERNATES_HEADER, second.node().to_string());
    let answer = post(&url, &body, &may_pass(&user, &body), &[alternates]).await;
    assert_eq!((answer.status, answer.done), (200, true));
    let forward = forward_of(&answer).message;
    assert_eq!((forward.from, forward.to), (node, second.node()));
    // Whoever does not allow it is told to go elsewhere.
    let refused = post(&url, &body, &user.authorize(user.auth(&body, 60), None), &[]).await;
    assert_eq!(refused.code(), (503, "draining".to_owned()));
    drop(busy);
    draining.await.unwrap().unwrap();
    drop((market, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_other_node_takes_is_refused_as_it_was_and_leaves_no_trace() {
    let pair = Pair::start(NARROW).await;
    let user = pair.user().await;
    let (first, second) = (pair.occupy(&pair.first).await, pair.occupy(&pair.second).await);
    let body = chat(false, "hello").to_string().into_bytes();
    let authorization = may_pass(&user, &body);
    let (here, there) = (pair.first.node(), pair.second.node());
    // Each names the other, and itself: nothing goes in circles.
    let all = [(ALTERNATES_HEADER, format!("{here},{there}"))];
    for _ in 0..2 {
        let answer = post(&pair.first.url(), &body, &authorization, &all).await;
        assert_eq!(answer.code(), (429, "overloaded".to_owned()));
        assert!(!answer.headers.contains_key(FORWARD_HEADER) && answer.headers.contains_key("retry-after"));
    }
    for named in ["", "nobody", "999", "1,2,3,4,5,6,7,8,9"] {
        let alternates = [(ALTERNATES_HEADER, named.to_owned())];
        let answer = post(&pair.first.url(), &body, &authorization, &alternates).await;
        assert_eq!(answer.code(), (429, "overloaded".to_owned()), "{named}");
    }
    assert_eq!(Pair::metric(&pair.second, "forwarded").await, 0);
    // The same authorization is served where there is room again.
    let short = json!({"model": "mock", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]});
    let short = short.to_string().into_bytes();
    let authorization = may_pass(&user, &short);
    assert_eq!(post(&pair.first.url(), &short, &authorization, &all).await.status, 429);
    drop((first, second));
    let free = async {
        loop {
            let answer = post(&pair.first.url(), &short, &authorization, &[]).await;
            if answer.status != 429 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, free).await.unwrap();
    assert_eq!((answer.status, answer.receipt().node), (200, here));
}

/// Changes a request before it is signed.
type Spoil = fn(&mut RequestAuth);

/// What the first node signs to pass a request on.
fn forward(pair: &Pair, auth: &RequestAuth) -> Forward {
    let request_hash = auth.signed_hash();
    Forward { db: auth.db, stack: auth.stack, request_hash, from: auth.node, to: pair.second.node() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_truly_passed_on_is_not_taken_over() {
    let pair = Pair::start(roomy()).await;
    let user = pair.user().await;
    let body = chat(false, "hello").to_string().into_bytes();
    let (url, key) = (pair.second.url(), pair.market.receipt_key.clone());
    let take = async |authorization: &Authorization, forward: Signed<Forward>| {
        post(&url, &body, authorization, &[(FORWARD_HEADER, encode(&forward))]).await
    };
    let code = |code: &str| (401, code.to_owned());

    let authorization = may_pass(&user, &body);
    assert_eq!(post(&url, &body, &authorization, &[]).await.code(), code("wrong_node"));
    let garbled = post(&url, &body, &authorization, &[(FORWARD_HEADER, "AAAA".to_owned())]).await;
    assert_eq!(garbled.code(), (400, "malformed_forward".to_owned()));

    // Signed by somebody else, or about something else.
    let honest = forward(&pair, &authorization.auth.message);
    let stranger = take(&authorization, honest.clone().sign(&user.key)).await;
    assert_eq!(stranger.code(), code("invalid_forward"));
    let spoil: [fn(&mut Forward); 5] = [
        |forward| forward.db = atoma_types::Address::TWO,
        |forward| forward.stack = atoma_types::Address::TWO,
        |forward| forward.request_hash = atoma_types::Hash32::ZERO,
        |forward| forward.from = forward.to,
        |forward| forward.to = NodeId(77),
    ];
    for spoil in spoil {
        let mut spoilt = honest.clone();
        spoil(&mut spoilt);
        assert_eq!(take(&authorization, spoilt.sign(&key)).await.code(), code("invalid_forward"));
    }
    // Not to be passed on, expired, or not signed by the user.
    let cases: [(Spoil, &str); 2] =
        [(|auth| auth.hops = 0, "invalid_forward"), (|auth| auth.expires_ms = wall_ms() - 1, "auth_expired")];
    for (change, expected) in cases {
        let mut auth = authorization.auth.message.clone();
        change(&mut auth);
        let forward = forward(&pair, &auth).sign(&key);
        assert_eq!(take(&user.authorize(auth, None), forward).await.code(), code(expected));
    }
    let auth = authorization.auth.message.clone();
    let forged = Authorization { auth: auth.sign(&key), voucher: None, grants: vec![] };
    assert_eq!(take(&forged, honest.clone().sign(&key)).await.code(), code("invalid_signature"));
    let books = pair.at_second(&user).channel(&url).await;
    assert_eq!((&books["count"], &books["available"]), (&json!(0), &json!(4_000)));

    // Once.
    assert_eq!(take(&authorization, honest.clone().sign(&key)).await.status, 200);
    assert_eq!(take(&authorization, honest.sign(&key)).await.code(), code("auth_replayed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_on_is_neither_served_nor_passed_on_again() {
    let pair = Pair::start(roomy()).await;
    let user = pair.user().await;
    let busy = pair.occupy(&pair.first).await;
    let body = chat(false, "hello").to_string().into_bytes();
    let authorization = may_pass(&user, &body);
    let alternates = [(ALTERNATES_HEADER, pair.second.node().to_string())];
    assert_eq!(post(&pair.first.url(), &body, &authorization, &alternates).await.status, 200);
    let again = post(&pair.first.url(), &body, &authorization, &alternates).await;
    assert_eq!(again.code(), (401, "auth_replayed".to_owned()));
    drop(busy);
    let free = async {
        loop {
            let page = reqwest::get(format!("{}/metrics", pair.first.url())).await.unwrap();
            if page.text().await.unwrap().contains("atoma_node_running 0\n") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
    let again = post(&pair.first.url(), &body, &authorization, &alternates).await;
    assert_eq!(again.code(), (401, "auth_replayed".to_owned()));
    assert_eq!(user.channel(&pair.first.url()).await["in_flight"], json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_the_other_node_opens_its_channel() {
    let pair = Pair::start(roomy()).await;
    let user = pair.market.user_with(Selection::Any).await;
    user.open_channel(4_000, 1).await;
    let _busy = pair.occupy(&pair.first).await;
    user.channel(&pair.first.url()).await;
    let body = chat(false, "hello").to_string().into_bytes();
    let mut authorization = may_pass(&user, &body);
    authorization.grants = vec![pair.at_second(&user).grant(2_000, 1)];
    let answer = post(&pair.first.url(), &body, &authorization, &[]).await;
    assert_eq!((answer.status, answer.receipt().node), (200, pair.second.node()));
    let stack = user.on_chain().await;
    assert_eq!(stack.channel(pair.second.node()).unwrap().granted, Units(2_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_no_node_answers_for_nobody() {
    let pair = Pair::start(roomy()).await;
    let user = pair.user().await;
    let _busy = pair.occupy(&pair.first).await;
    // Somebody registered the address of another's engine, which answers whoever reaches it.
    let engine = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", engine.local_addr().unwrap());
    let router = Router::new().fallback(|| async { "{\"choices\": []}" });
    tokio::spawn(async move { axum::serve(engine, router).await.unwrap() });
    let operator = funded(&pair.market.chain).await;
    let registration = Registration {
        endpoint,
        receipt_key: SecretKey::from_seed([29; 32]).public_key(),
        payout: None,
        collateral: None,
        offerings: vec![],
    };
    let node = register_if_needed(&pair.market.chain, &operator, &registration).await.unwrap();
    let body = chat(false, "hello").to_string().into_bytes();
    let alternates = [(ALTERNATES_HEADER, node.to_string())];
    let answer = post(&pair.first.url(), &body, &may_pass(&user, &body), &alternates).await;
    assert_eq!(answer.code(), (429, "overloaded".to_owned()));
}
