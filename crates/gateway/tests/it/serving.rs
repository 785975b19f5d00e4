//! Answers through the gateway.

use crate::sim::{MODEL, Manner, SimMarket, WORDS, World, chat, eventually, text_of};
use atoma_client::request::BODY_MAX;
use atoma_gateway::config::Requests;
use atoma_gateway::{GatewayConfig, GatewayHandle, NewKey, spawn};
use atoma_types::Amount;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

pub(crate) async fn start(world: &World, dir: &TempDir, stacks: usize) -> GatewayHandle {
    start_with(world, dir, stacks, Requests::default()).await
}

pub(crate) async fn start_with(
    world: &World,
    dir: &TempDir,
    stacks: usize,
    requests: Requests,
) -> GatewayHandle {
    let mut config = GatewayConfig { requests, ..GatewayConfig::local(dir.path()) };
    config.stacks.per_task = stacks;
    start_config(world, config).await
}

pub(crate) async fn start_config(world: &World, config: GatewayConfig) -> GatewayHandle {
    spawn(config, Arc::new(SimMarket(world.clone()))).await.unwrap()
}

pub(crate) async fn key(gateway: &GatewayHandle, budget: Option<u64>) -> String {
    let new = NewKey { name: "test".into(), budget: budget.map(Amount), ..NewKey::default() };
    gateway.create_key(new).await.unwrap().secret
}

pub(crate) async fn post(gateway: &GatewayHandle, key: &str, body: Bytes) -> reqwest::Response {
    let url = format!("{}/v1/chat/completions", gateway.url());
    reqwest::Client::new().post(url).bearer_auth(key).body(body).send().await.unwrap()
}

pub(crate) async fn get(gateway: &GatewayHandle, key: &str, path: &str) -> Value {
    let url = format!("{}{path}", gateway.url());
    reqwest::Client::new().get(url).bearer_auth(key).send().await.unwrap().json().await.unwrap()
}

/// The key's usage once so many requests are accounted for; answers are accounted just after their end.
pub(crate) async fn usage(gateway: &GatewayHandle, key: &str, requests: u64) -> Value {
    eventually("accounted for", async || {
        let usage = get(gateway, key, "/v1/usage").await;
        usage["totals"]["requests"] == json!(requests) && usage["reserved"] == json!(0)
    })
    .await;
    get(gateway, key, "/v1/usage").await
}

#[tokio::test]
async fn answers_pass_unchanged_and_are_accounted() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let key = key(&gateway, Some(1_000_000)).await;
    let whole = post(&gateway, &key, chat(false)).await;
    assert_eq!(whole.headers()["x-atoma-node"], "1");
    assert!(whole.headers()["x-atoma-stack"].to_str().unwrap().starts_with("0x"));
    assert!(whole.headers().contains_key("x-atoma-receipt"));
    assert!(text_of(whole).await.contains(&WORDS.concat()));
    let streamed = post(&gateway, &key, chat(true)).await;
    assert_eq!(streamed.headers()["content-type"], "text/event-stream");
    let streamed = text_of(streamed).await;
    assert!(streamed.contains("\n\n: atoma-receipt ") && streamed.ends_with("data: [DONE]\n\n"));
    let usage = usage(&gateway, &key, 2).await;
    assert_eq!(usage["totals"]["requests"], json!(2));
    assert_eq!(usage["totals"]["units"], json!(world.booked_units(0)));
    assert_eq!((&usage["reserved"], &usage["data"][0]["model"]), (&json!(0), &json!(MODEL)));
    assert_eq!(usage["spent"], usage["totals"]["cost"]);
    let models = get(&gateway, &key, "/v1/models").await;
    assert_eq!(models["data"][0]["id"], json!(MODEL));
    let metrics = reqwest::get(format!("{}/metrics", gateway.url())).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("atoma_gateway_answers_paid_total 2\n"), "{metrics}");
    for line in [
        "atoma_gateway_requests_in_flight 0",
        "atoma_gateway_request_seconds_count 2",
        "atoma_gateway_first_byte_seconds_count 2",
        "atoma_gateway_reserved_base_units 0",
        "atoma_gateway_channels 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in: {metrics}");
    }
    let cost = format!("atoma_gateway_cost_base_units_total {}\n", usage["totals"]["cost"]);
    assert!(metrics.contains(&cost) && metrics.contains("atoma_gateway_leased_base_units "), "{metrics}");
    gateway.drain(false).await.unwrap();
    assert_eq!(world.acknowledged(0), 2);
    world.check_vouchers();
}

#[tokio::test]
async fn bad_input_is_refused_and_moves_nothing() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let key = key(&gateway, None).await;
    let unknown = json!({"model": "nobody's", "messages": []}).to_string();
    let cases: [(Vec<u8>, u16, &str); 4] = [
        (b"{\"model\":".to_vec(), 400, "invalid_json"),
        (b"[]".to_vec(), 400, "invalid_request"),
        (unknown.into_bytes(), 404, "model_not_found"),
        (vec![b' '; BODY_MAX + 1], 413, "body_too_large"),
    ];
    for (body, status, code) in cases {
        let response = post(&gateway, &key, body.into()).await;
        assert_eq!(response.status().as_u16(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], json!(code));
    }
    let metrics = reqwest::get(format!("{}/metrics", gateway.url())).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("atoma_gateway_errors_total{code=\"model_not_found\"} 1\n"), "{metrics}");
    assert_eq!((world.purchases(), world.requests(0)), (0, 0));
}

#[tokio::test]
async fn a_tampered_receipt_ends_the_channel_and_another_node_answers() {
    let manners = [Manner::TampersReceipt, Manner::Honest];
    let (world, dir) = (World::start(&manners).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 2).await;
    let key = key(&gateway, None).await;
    gateway.session.prepare(MODEL).await.unwrap();
    for _ in 0..6 {
        assert!(text_of(post(&gateway, &key, chat(false)).await).await.contains(&WORDS.concat()));
    }
    let ended: Vec<_> = gateway.session.channels().into_iter().filter_map(|(_, _, one)| one.ended).collect();
    assert_eq!(ended.len(), 1);
    let usage = usage(&gateway, &key, 6).await;
    assert_eq!(usage["totals"]["requests"], json!(6));
    gateway.drain(false).await.unwrap();
    assert_eq!((world.requests(0), world.acknowledged(0), world.acknowledged(1)), (1, 0, 6));
}

#[tokio::test]
async fn load_spreads_over_several_nodes() {
    let manners = [Manner::Honest, Manner::Honest, Manner::Honest];
    let (world, dir) = (World::start(&manners).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 3).await;
    let key = key(&gateway, None).await;
    gateway.session.prepare(MODEL).await.unwrap();
    let all = (0..90).map(|n| {
        let (gateway, key) = (&gateway, &key);
        async move { text_of(post(gateway, key, chat(n % 2 == 0)).await).await }
    });
    for text in futures::future::join_all(all).await {
        assert!(text.contains("five"));
    }
    for node in 0..3 {
        // Every window starts at one, and then grows with the speed of the node.
        assert!(world.booked(node) >= 1, "node {node} answered {}", world.booked(node));
    }
    gateway.drain(false).await.unwrap();
    assert_eq!((0..3).map(|node| world.acknowledged(node)).sum::<u64>(), 90);
    world.check_vouchers();
}

#[tokio::test]
async fn a_restart_reuses_no_nonce_and_buys_nothing_again() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let first = start(&world, &dir, 1).await;
    let key = key(&first, Some(10_000_000)).await;
    for _ in 0..4 {
        text_of(post(&first, &key, chat(true)).await).await;
    }
    usage(&first, &key, 4).await;
    drop(first);
    let second = start(&world, &dir, 1).await;
    for _ in 0..4 {
        text_of(post(&second, &key, chat(true)).await).await;
    }
    let usage = usage(&second, &key, 8).await;
    assert_eq!(usage["totals"]["requests"], json!(8));
    assert_eq!(usage["spent"], usage["totals"]["cost"]);
    second.drain(false).await.unwrap();
    assert_eq!((world.purchases(), world.replays(), world.acknowledged(0)), (1, 0, 8));
    world.check_vouchers();
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_closes_the_stacks() {
    let (world, dir) = (World::start(&[Manner::Waits]).await, TempDir::new().unwrap());
    let gateway = start(&world, &dir, 1).await;
    let key = key(&gateway, None).await;
    let response = post(&gateway, &key, chat(true)).await;
    let (addr, drained) = (gateway.addr, tokio::spawn(gateway.drain(true)));
    // The listener is gone before the answer is over.
    eventually("closed", async || TcpStream::connect(addr).await.is_err()).await;
    world.go_on();
    assert!(text_of(response).await.ends_with("data: [DONE]\n\n"));
    let report = drained.await.unwrap().unwrap();
    assert_eq!(report.closed.len(), 1);
    assert_eq!((world.closed().len(), world.acknowledged(0)), (1, 1));
}

/// A request whose body never ends.
async fn endless(gateway: &GatewayHandle, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\
         content-length: 9\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn bodies_are_bounded_per_key_and_in_all() {
    let (world, dir) = (World::start(&[Manner::Honest]).await, TempDir::new().unwrap());
    let requests = Requests { bodies: 2, bodies_per_key: 1, ..Requests::default() };
    let gateway = start_with(&world, &dir, 1, requests).await;
    let keys = [key(&gateway, None).await, key(&gateway, None).await, key(&gateway, None).await];
    let status = async |key: &str| post(&gateway, key, chat(false)).await.status().as_u16();
    // One that finds its place taken, by the look for it, is refused: hence several.
    let (mut first, mut second) = (Vec::new(), Vec::new());
    eventually("the key has no place", async || {
        first.push(endless(&gateway, &keys[0]).await);
        status(&keys[0]).await == 429
    })
    .await;
    assert_eq!(status(&keys[1]).await, 200);
    eventually("there is no place", async || {
        second.push(endless(&gateway, &keys[1]).await);
        status(&keys[2]).await == 503
    })
    .await;
    for (key, status, code) in [(&keys[1], 429, "rate_limit_exceeded"), (&keys[2], 503, "overloaded")] {
        let refused = post(&gateway, key, chat(false)).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (status, &"1".parse().unwrap())
        );
        let error: Value = refused.json().await.unwrap();
        assert_eq!(error["error"]["code"], json!(code));
    }
    drop(first);
    eventually("there is a place again", async || status(&keys[2]).await == 200).await;
}
