//! Every bad input gets its own error, and no unit moves.

use crate::support::{Answer, Market, User, chat, mock, wall_ms};
use atoma_node::{NodeConfig, SpawnError};
use atoma_types::message::Message as _;
use atoma_types::wire::{Authorization, decode};
use atoma_types::{Address, Hash32, NodeId, Receipt, RequestAuth, SecretKey, Signed, Units};
use serde_json::Value;
use std::time::Duration;

/// The request, changed by `change` before it is signed.
async fn changed(user: &User, node: &str, change: impl FnOnce(&mut RequestAuth)) -> Answer {
    let body = chat(false, "hello").to_string().into_bytes();
    let mut auth = user.auth(&body, 100);
    change(&mut auth);
    user.post(node, &body, &user.authorize(auth, None)).await
}

async fn assert_nothing_moved(user: &User, node: &str) {
    let channel = user.channel(node).await;
    assert_eq!((channel["count"].as_u64(), channel["total_units"].as_u64()), (Some(0), Some(0)));
    assert_eq!((channel["in_flight"].as_u64(), &channel["available"]), (Some(0), &channel["granted"]));
    assert_eq!(user.on_chain().await.settled_units, Units::ZERO);
}

/// Changes an authorization before it is signed.
type Spoil = Box<dyn FnOnce(&mut RequestAuth)>;

#[tokio::test(flavor = "multi_thread")]
async fn bad_authorizations() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user().await;
    let code = |status: u16, code: &str| (status, code.to_owned());

    let cases: Vec<(Spoil, u16, &str)> = vec![
        (Box::new(|auth| auth.db = Address::TWO), 401, "wrong_db"),
        (Box::new(|auth| auth.node = NodeId(77)), 401, "wrong_node"),
        (Box::new(|auth| auth.expires_ms = wall_ms() - 1), 401, "auth_expired"),
        (Box::new(|auth| auth.expires_ms = wall_ms() + 700_000), 401, "auth_too_long"),
        (Box::new(|auth| auth.body_hash = Hash32::ZERO), 401, "body_mismatch"),
        (Box::new(|auth| auth.stack = Address::TWO), 402, "unknown_stack"),
        (Box::new(|auth| auth.max_units = Units(10_001)), 402, "insufficient_units"),
        (Box::new(|auth| auth.max_units = Units::MAX), 402, "insufficient_units"),
        (Box::new(|auth| auth.max_units = Units::ZERO), 400, "max_units_too_small"),
        (Box::new(|auth| auth.max_units = Units(1)), 400, "max_units_too_small"),
        (Box::new(|auth| auth.hops = 2), 400, "malformed_authorization"),
    ];
    for (change, status, expected) in cases {
        assert_eq!(changed(&user, &node, change).await.code(), code(status, expected));
    }

    let clocks: [(Spoil, &str); 2] = [
        (Box::new(|auth| auth.expires_ms -= 120_000), " ms ago by this node's clock"),
        (Box::new(|auth| auth.expires_ms += 700_000), " left by this node's clock"),
    ];
    for (change, said) in clocks {
        let refused = changed(&user, &node, change).await.json();
        assert!(refused["error"]["message"].as_str().unwrap().contains(said), "{refused}");
    }

    let body = chat(false, "hello").to_string().into_bytes();
    let stranger = SecretKey::from_seed([5; 32]);
    let foreign =
        Authorization { auth: user.auth(&body, 100).sign(&stranger), voucher: None, grants: vec![] };
    assert_eq!(user.post(&node, &body, &foreign).await.code(), code(401, "invalid_signature"));

    let bare =
        async |request: reqwest::RequestBuilder| crate::support::read(request.send().await.unwrap()).await;
    let url = format!("{node}/v1/chat/completions");
    let post = || user.http.post(&url).body(body.clone());
    assert_eq!(bare(post()).await.code(), code(401, "missing_authorization"));
    assert_eq!(bare(post().header("x-atoma-auth", "!!")).await.code(), code(400, "malformed_authorization"));
    assert_eq!(
        bare(post().header("x-atoma-auth", "AAAA")).await.code(),
        code(400, "malformed_authorization")
    );
    assert_nothing_moved(&user, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user().await;
    let send = async |body: Vec<u8>| {
        let authorization = user.authorize(user.auth(&body, 1_000), None);
        user.post(&node, &body, &authorization).await.code()
    };
    assert_eq!(send(b"{\"model\": ".to_vec()).await, (400, "invalid_request".to_owned()));
    let other = chat(false, "hi").to_string().replace("mock", "other");
    assert_eq!(send(other.into_bytes()).await, (404, "model_not_found".to_owned()));
    assert_eq!(send(vec![b' '; 4 * 1024 * 1024 + 1]).await, (413, "body_too_large".to_owned()));
    let mut asks = chat(false, "hi");
    asks["max_tokens"] = 5_000.into();
    let body = asks.to_string().into_bytes();
    let answer = user.post(&node, &body, &user.authorize(user.auth(&body, 100), None)).await;
    assert_eq!(answer.code(), (400, "max_units_too_small".to_owned()));
    assert_eq!(answer.json()["needed_units"], 5_001);
    assert_nothing_moved(&user, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_length_is_bounded_too() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let body = vec![b' '; 4 * 1024 * 1024 + 1];
    let authorization = user.authorize(user.auth(&body, 100), None);
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.chunks(65_536).map(|chunk| Ok(chunk.to_vec())).collect();
    let request = user
        .http
        .post(format!("{}/v1/chat/completions", handle.url()))
        .header("x-atoma-auth", atoma_types::wire::encode(&authorization))
        .body(reqwest::Body::wrap_stream(futures::stream::iter(chunks)));
    assert_eq!(request.send().await.unwrap().status(), 413);
    assert_nothing_moved(&user, &handle.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_and_missing_acknowledgements() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user().await;
    let body = chat(false, "hello").to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 100), None);
    let first = user.post(&node, &body, &authorization).await;
    assert_eq!(first.status, 200);
    assert_eq!(user.post(&node, &body, &authorization).await.code(), (401, "auth_replayed".to_owned()));

    let refused = user.ask(&node, &chat(false, "more"), None).await;
    assert_eq!(refused.code(), (402, "missing_receipt".to_owned()));
    let details: Value = refused.json();
    assert_eq!(details["missing_from"], 1);
    let missing: Signed<Receipt> = decode(details["receipts"][0].as_str().unwrap()).unwrap();
    assert_eq!(Some(&missing), first.receipt.as_ref());
    assert_eq!(user.channel(&node).await["count"], 1);
    assert_eq!(
        user.ask(&node, &chat(false, "more"), Some(user.voucher_for(&missing.message))).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_vouchers() {
    let market = Market::open().await;
    let handle = market.start().await;
    let node = handle.url();
    let user = market.user().await;
    let first = user.ask(&node, &chat(false, "one"), None).await;
    let voucher = user.voucher_for(first.receipt());
    let second = user.ask(&node, &chat(false, "two"), Some(voucher.clone())).await;
    let newest = second.receipt();
    let (units, count, root) = (newest.total_units, newest.count, newest.root);
    let lie = async |voucher| user.acknowledge(&node, &voucher).await.code();

    assert_eq!(lie(user.voucher(Units(1), count, root)).await, (409, "voucher_backwards".to_owned()));
    assert_eq!(lie(user.voucher(units, count + 1, root)).await, (409, "voucher_ahead".to_owned()));
    assert_eq!(lie(user.voucher(units, count, Hash32::ZERO)).await, (409, "voucher_mismatch".to_owned()));
    let stranger = SecretKey::from_seed([5; 32]);
    let forged = user.voucher(units, count, root).message.sign(&stranger);
    assert_eq!(lie(forged).await, (401, "invalid_signature".to_owned()));
    let mut elsewhere = user.voucher(units, count, root).message;
    elsewhere.node = NodeId(9);
    assert_eq!(lie(elsewhere.sign(&user.key)).await, (400, "voucher_foreign".to_owned()));
    assert_eq!(user.channel(&node).await["acknowledged_count"], 1);

    let taken = user.acknowledge(&node, &user.voucher_for(newest)).await;
    assert_eq!((taken.status, taken.json()["count"].as_u64()), (200, Some(2)));
    assert_eq!(lie(voucher.clone()).await, (409, "voucher_backwards".to_owned()));
    // Beside a request an older one is no error: requests overtake each other.
    assert_eq!(user.ask(&node, &chat(false, "three"), Some(voucher)).await.status, 200);
    assert_eq!(user.channel(&node).await["acknowledged_count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_submissions_are_named_by_their_own_status() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let submit = async |body: String| {
        let request = user.http.post(format!("{}/v1/vouchers", handle.url()));
        let request = request.header("content-type", "application/json").body(body);
        crate::support::read(request.send().await.unwrap()).await.code()
    };
    let long = format!("{{\"voucher\":\"{}\"}}", "A".repeat(8 * 1024));
    assert_eq!(submit(long).await, (413, "body_too_large".to_owned()));
    assert_eq!(submit("{".to_owned()).await, (400, "invalid_request".to_owned()));
    assert_eq!(submit("{}".to_owned()).await, (422, "invalid_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_says_when_to_come_back() {
    let market = Market::open().await;
    let mut config = market.config();
    config.admission = atoma_node::Admission { concurrent: 1, waiting: 0, wait_ms: 1 };
    let handle = market.spawn(config, mock(1_000, Duration::from_millis(20))).await;
    let (one, two) = (market.user().await, market.user().await);
    let body = chat(true, "long").to_string().into_bytes();
    let running = one.send(&handle.url(), &body, &one.authorize(one.auth(&body, 2_000), None)).await;
    assert_eq!(running.status(), 200);
    let refused = two.ask(&handle.url(), &chat(false, "hi"), None).await;
    assert_eq!(refused.code(), (429, "overloaded".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_nothing_moved(&two, &handle.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_start_says_why_in_one_line() {
    let market = Market::open().await;
    let handle = market.start().await;
    let start = async |config: NodeConfig| {
        atoma_node::spawn(config, market.parts(mock(1, Duration::ZERO))).await.err().unwrap()
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let fresh = |node| NodeConfig::test(node, vec![market.task], elsewhere.path());

    let mut busy = fresh(market.node);
    busy.listen = handle.addr();
    let mut unknown_task = fresh(market.node);
    unknown_task.tasks = vec![atoma_types::TaskId(99)];
    let errors = [
        start(busy).await,
        start(market.config()).await,
        start(fresh(NodeId(99))).await,
        start(unknown_task).await,
        atoma_node::spawn(
            fresh(market.node),
            atoma_node::Parts { engines: vec![], ..market.parts(mock(1, Duration::ZERO)) },
        )
        .await
        .err()
        .unwrap(),
        atoma_node::spawn(
            fresh(market.node),
            atoma_node::Parts {
                receipt_key: SecretKey::from_seed([1; 32]),
                ..market.parts(mock(1, Duration::ZERO))
            },
        )
        .await
        .err()
        .unwrap(),
    ];
    assert!(matches!(errors[0], SpawnError::Listen { .. }));
    assert!(matches!(errors[1], SpawnError::Journal(_)));
    assert!(matches!(errors[2], SpawnError::NotRegistered(_)));
    assert!(matches!(errors[3], SpawnError::UnknownTask(_)));
    assert!(matches!(errors[4], SpawnError::NoEngine { .. }));
    assert!(matches!(errors[5], SpawnError::OtherKey { .. }));
    for error in errors {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
