//! A node in front of another server: what that server does, in books and receipts.

use crate::support::{Answer, MODEL, Market, PATIENCE, User, chat, read};
use atoma_inference::upstream::{UpstreamConfig, UpstreamEngine};
use atoma_node::NodeHandle;
use atoma_types::{Receipt, Signed, Status, Transcript, Units, Voucher};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use futures::{StreamExt as _, stream};
use http::{Response, header};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// An answer: status, body, and whether the connection is kept open without an end.
#[derive(Clone)]
struct Reply(u16, String, bool);

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Vec<u8>>>,
}

/// A server that gives these answers in turn.
struct Server {
    url: String,
    script: Arc<Script>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script { replies: Mutex::new(replies.into()), ..Script::default() });
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, script }
    }

    /// A node in front of it.
    async fn sold_by(&self, market: &Market) -> NodeHandle {
        let mut config = UpstreamConfig::new(MODEL, vec![self.url.clone()], 8_192);
        config.limits.probe_ms = 20;
        let engine = UpstreamEngine::connect(config).await.unwrap();
        market.spawn(market.config(), Arc::new(engine)).await
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response<Body> {
    if !request.uri().path().starts_with("/v1/chat") {
        let status = if request.uri().path() == "/health" { 200 } else { 404 };
        return Response::builder().status(status).body(Body::empty()).unwrap();
    }
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    script.seen.lock().unwrap().push(body.to_vec());
    let Reply(status, text, open) = script.replies.lock().unwrap().pop_front().unwrap();
    let kind = if text.starts_with("data:") { "text/event-stream" } else { "application/json" };
    let first = stream::once(async move { Ok::<_, std::io::Error>(text) });
    let body = match open {
        true => Body::from_stream(first.chain(stream::pending())),
        false => Body::from_stream(first),
    };
    Response::builder().status(status).header(header::CONTENT_TYPE, kind).body(body).unwrap()
}

fn says(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

fn usage(input: u64, output: u64) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

fn streamed(texts: &[&str], usage: &Value) -> Reply {
    let text: String = texts.iter().map(|text| says(text)).collect();
    Reply(200, format!("{text}data: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage})), false)
}

fn whole(text: &str, usage: &Value) -> Reply {
    Reply(200, json!({"choices": [{"message": {"content": text}}], "usage": usage}).to_string(), false)
}

/// Asks with room for everything that these tests get.
async fn ask(user: &User, node: &str, body: &Value, voucher: Option<Signed<Voucher>>) -> Answer {
    let body = body.to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 1_000), voucher);
    user.post(node, &body, &authorization).await
}

fn billed(receipt: &Receipt) -> (Status, u64, u64, Units) {
    (receipt.status, receipt.input, receipt.output, receipt.units)
}

#[tokio::test(flavor = "multi_thread")]
async fn books_hold_what_the_server_says_up_to_what_a_client_accepts() {
    let market = Market::open().await;
    let lie = usage(1_000_000, 1_000_000);
    let server = Server::start(vec![
        streamed(&["one", " two"], &usage(7, 2)),
        whole("one two three", &usage(7, 3)),
        streamed(&["four"], &lie),
        whole("", &usage(0, 0)),
    ])
    .await;
    let node = server.sold_by(&market).await;
    let user = market.user().await;
    let (mut transcript, mut total, mut voucher) = (Transcript::new(), Units::ZERO, None);
    let body = chat(true, "say something");
    let most = u64::try_from(body.to_string().len()).unwrap() + 256;
    let cases = [
        (body.clone(), (7, 2)),
        (chat(false, "say something"), (7, 3)),
        (body.clone(), (most, 4 + 16)),
        (chat(false, "say something"), (0, 0)),
    ];
    for (body, (input, output)) in cases {
        let answer = ask(&user, &node.url(), &body, voucher).await;
        assert_eq!(answer.status, 200);
        user.verify(&answer, &mut transcript, &mut total);
        let receipt = answer.receipt();
        assert_eq!(billed(receipt), (Status::Complete, input, output, Units(input + output)));
        voucher = Some(user.voucher_for(receipt));
    }
    let metrics =
        user.http.get(format!("{}/metrics", node.url())).send().await.unwrap().text().await.unwrap();
    let counted = format!("atoma_node_engine_overstated_total{{model=\"{MODEL}\"}} 1\n");
    assert!(metrics.contains(&counted), "{metrics}");
    // What the client did not ask for it did not get; what it sent, the server got, with a limit.
    let seen = String::from_utf8(server.script.seen.lock().unwrap()[0].clone()).unwrap();
    let body = body.to_string();
    let limit = 1_000 - most;
    let added = format!("{{\"stream_options\":{{\"include_usage\":true}},\"max_tokens\":{limit},");
    assert_eq!(seen, body.replacen('{', &added, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_or_fails_costs_nothing() {
    let market = Market::open().await;
    let server = Server::start(vec![
        Reply(400, json!({"object": "error", "message": "too hot", "type": "BadRequestError", "param": "temperature", "code": 400}).to_string(), false),
        Reply(200, says("half"), false),
        Reply(500, "oops".to_owned(), false),
        streamed(&["whole"], &usage(7, 1)),
    ])
    .await;
    let node = server.sold_by(&market).await;
    let user = market.user().await;
    let (mut transcript, mut total) = (Transcript::new(), Units::ZERO);
    let body = chat(true, "say something");

    let refused = ask(&user, &node.url(), &body, None).await;
    assert_eq!(refused.code(), (400, "invalid_request".to_owned()));
    assert_eq!(refused.json()["error"]["message"], "too hot");
    user.verify(&refused, &mut transcript, &mut total);
    assert_eq!(billed(refused.receipt()), (Status::Refused, 0, 0, Units::ZERO));

    let voucher = user.voucher_for(refused.receipt());
    let broken = ask(&user, &node.url(), &body, Some(voucher)).await;
    assert!(broken.done && String::from_utf8_lossy(&broken.body).contains("engine_failed"));
    user.verify(&broken, &mut transcript, &mut total);
    assert_eq!((broken.receipt().status, broken.receipt().units), (Status::Failed, Units::ZERO));

    let voucher = user.voucher_for(broken.receipt());
    let failed = ask(&user, &node.url(), &body, Some(voucher)).await;
    assert_eq!(failed.code(), (500, "engine_failed".to_owned()));
    user.verify(&failed, &mut transcript, &mut total);

    let voucher = user.voucher_for(failed.receipt());
    let good = ask(&user, &node.url(), &body, Some(voucher)).await;
    user.verify(&good, &mut transcript, &mut total);
    assert_eq!(total, Units(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_pays_for_the_events_that_it_got() {
    let market = Market::open().await;
    let events = [says("one"), says(" two"), says(" three")].concat();
    let server = Server::start(vec![Reply(200, events, true)]).await;
    let node = server.sold_by(&market).await;
    let user = market.user().await;
    let body = chat(true, "count up to a hundred").to_string().into_bytes();
    let response = user.send(&node.url(), &body, &user.authorize(user.auth(&body, 1_000), None)).await;
    let (mut chunks, mut received) = (response.bytes_stream(), String::new());
    while !received.contains("three") {
        received.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
    }
    drop(chunks);
    user.until(&node.url(), |channel| channel["count"] == 1).await;
    let receipts = user.receipts(&node.url(), 1).await;
    let receipt = receipts[0].verify(&user.node_key).unwrap();
    // "count up to a hundred" has 21 bytes.
    assert_eq!(billed(receipt), (Status::Aborted, 5, 3, Units(8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_or_gone_uses_nothing_up() {
    let market = Market::open().await;
    let busy = Reply(503, "busy".to_owned(), false);
    let server = Server::start(vec![busy, streamed(&["whole"], &usage(7, 1))]).await;
    let node = server.sold_by(&market).await;
    let user = market.user().await;
    let failed = ask(&user, &node.url(), &chat(false, "hello"), None).await;
    assert_eq!(failed.code(), (500, "engine_failed".to_owned()));
    let voucher = user.voucher_for(failed.receipt());

    let body = chat(true, "hello").to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 1_000), Some(voucher));
    let again = async {
        let mut refusals = 0;
        loop {
            let answer = read(user.send(&node.url(), &body, &authorization).await).await;
            if answer.status == 200 {
                return (answer, refusals);
            }
            // The same authorization may be sent again.
            assert_eq!(answer.code(), (429, "overloaded".to_owned()));
            assert!(answer.headers.contains_key("retry-after") && answer.receipt.is_none());
            refusals += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (answer, refusals) = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert!(refusals > 0);
    assert_eq!(billed(answer.receipt()), (Status::Complete, 7, 1, Units(8)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_server_is_not_ready() {
    let market = Market::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let engine = UpstreamEngine::connect(UpstreamConfig::new(MODEL, vec![url], 8_192)).await.unwrap();
    let node = market.spawn(market.config(), Arc::new(engine)).await;
    let user = market.user().await;
    let answer = ask(&user, &node.url(), &chat(false, "hello"), None).await;
    assert_eq!(answer.code(), (503, "engine_unavailable".to_owned()));
    assert!(answer.headers.contains_key("retry-after"));
    let get = async |path: &str| user.http.get(format!("{}{path}", node.url())).send().await.unwrap();
    assert_eq!(get("/ready").await.status(), 503);
    assert_eq!(get("/health").await.status(), 200);
    let metrics = get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains(&format!("atoma_node_engine_healthy{{model=\"{MODEL}\"}} 0\n")));
}
