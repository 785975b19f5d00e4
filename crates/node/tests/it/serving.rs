use crate::support::{Market, chat};
use atoma_types::{Hash32, Status, Transcript, Units};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_receipted_streaming_and_not() {
    let market = Market::open().await;
    let node = market.start().await;
    let user = market.user().await;
    let (mut transcript, mut total) = (Transcript::new(), Units::ZERO);

    let answer = user.ask(&node.url(), &chat(false, "three short words"), None).await;
    assert_eq!(answer.status, 200);
    user.verify(&answer, &mut transcript, &mut total);
    let body = answer.json();
    assert_eq!(body["usage"]["completion_tokens"], answer.receipt().output);
    assert_eq!(answer.receipt().input, 3);

    let voucher = user.voucher_for(answer.receipt());
    let answer = user.ask(&node.url(), &chat(true, "and now in pieces"), Some(voucher)).await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    assert!(answer.done && answer.body.starts_with(b"data: "));
    user.verify(&answer, &mut transcript, &mut total);
    assert_eq!(answer.receipt().status, Status::Complete);

    let channel = user.channel(&node.url()).await;
    assert_eq!((channel["count"].as_u64(), channel["acknowledged_count"].as_u64()), (Some(2), Some(1)));
    assert_eq!(channel["root"], json!(transcript.root()));
    let receipts = user.receipts(&node.url(), 1).await;
    assert_eq!(receipts.last(), answer.receipt.as_ref());
    assert_eq!(receipts.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_does_not_verify() {
    let market = Market::open().await;
    let node = market.start().await;
    let user = market.user().await;
    let answer = user.ask(&node.url(), &chat(false, "hello"), None).await;
    let mut receipt = answer.receipt.clone().unwrap();
    assert!(receipt.verify(&user.node_key).is_ok());
    receipt.message.output ^= 1;
    assert!(receipt.verify(&user.node_key).is_err());
    let mut body = answer.body.clone();
    body[0] ^= 1;
    assert_ne!(Hash32::of(&body), answer.receipt().response_hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_and_the_open_endpoints_answer() {
    let market = Market::open().await;
    let node = market.start().await;
    let user = market.user().await;
    let body = json!({"model": "mock", "prompt": "one two", "max_tokens": 4}).to_string().into_bytes();
    let authorization = user.authorize(user.auth(&body, 6), None);
    let answer = user
        .http
        .post(format!("{}/v1/completions", node.url()))
        .header("x-atoma-auth", atoma_types::wire::encode(&authorization))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    let get = async |path: &str| user.http.get(format!("{}{path}", node.url())).send().await.unwrap();
    let models: Value = get("/v1/models").await.json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "mock");
    let info: Value = get("/v1/node").await.json().await.unwrap();
    assert_eq!(info["receipt_key"], json!(user.node_key));
    assert_eq!(get("/health").await.status(), 200);
    assert_eq!(get("/ready").await.status(), 200);
    let metrics = get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("atoma_node_completed_total 1\n") && metrics.contains("atoma_node_units_total 6\n")
    );
    assert_eq!(get("/v1/nothing").await.status(), 404);
    assert_eq!(get("/v1/chat/completions").await.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_comes_along_opens_and_extends_the_channel() {
    let market = Market::open().await;
    let node = market.start().await;
    let user = market.user_with(atoma_types::onchain::Selection::Any).await;
    let body = chat(false, "hi").to_string().into_bytes();

    let without = user.post(&node.url(), &body, &user.authorize(user.auth(&body, 50), None)).await;
    assert_eq!(without.code(), (402, "unknown_channel".to_owned()));

    let mut authorization = user.authorize(user.auth(&body, 50), None);
    authorization.grants = vec![user.grant(100, 1)];
    let answer = user.post(&node.url(), &body, &authorization).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(user.on_chain().await.channel(market.node).unwrap().granted, Units(100));

    let voucher = user.voucher_for(answer.receipt());
    let mut authorization = user.authorize(user.auth(&body, 150), Some(voucher));
    authorization.grants = vec![user.grant(400, 2)];
    assert_eq!(user.post(&node.url(), &body, &authorization).await.status, 200);
    assert_eq!(user.on_chain().await.channel(market.node).unwrap().granted, Units(400));

    // Both prepaid openings are used: the node pays no gas for a third.
    let mut authorization = user.authorize(user.auth(&body, 50), None);
    authorization.grants = vec![user.grant(500, 3)];
    let refused = user.post(&node.url(), &body, &authorization).await;
    assert_eq!(refused.code(), (402, "invalid_grant".to_owned()));
}
