//! Answers that do not end as planned.

use crate::support::{MODEL, Market, chat, mock, read};
use atoma_inference::{Endpoint, Engine, EngineError, Frame, Generation, Outcome, Prepared, Summary};
use atoma_types::amount::UnitWeights;
use atoma_types::{Status, Transcript, Units};
use bytes::Bytes;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_pays_for_what_it_got() {
    let market = Market::open().await;
    let handle = market.spawn(market.config(), mock(5_000, Duration::from_millis(10))).await;
    let node = handle.url();
    let user = market.user().await;
    let body = chat(true, "tell me a long story").to_string().into_bytes();
    let response = user.send(&node, &body, &user.authorize(user.auth(&body, 6_000), None)).await;
    let mut frames = response.bytes_stream();
    let mut received = 0;
    while received < 5 {
        let text = String::from_utf8(frames.next().await.unwrap().unwrap().to_vec()).unwrap();
        received += text.matches("\"content\":").count();
    }
    drop(frames);

    user.until(&node, |channel| channel["count"] == 1).await;
    let receipts = user.receipts(&node, 1).await;
    let receipt = receipts[0].verify(&user.node_key).unwrap();
    assert_eq!((receipt.status, receipt.input), (Status::Aborted, 5));
    assert!(receipt.output < 5_000 && receipt.output >= 4, "{}", receipt.output);
    assert_eq!(receipt.units, UnitWeights::default().units(receipt.input, receipt.output).unwrap());
    let channel = user.channel(&node).await;
    assert_eq!(channel["in_flight"], 0);
    assert_eq!(channel["available"].as_u64().unwrap() + receipt.units.0, 10_000);
    // The channel goes on.
    let voucher = user.voucher_for(receipt);
    let mut short = chat(false, "short");
    short["max_tokens"] = 2.into();
    assert_eq!(user.ask(&node, &short, Some(voucher)).await.status, 200);
}

/// Says one thing, then breaks.
struct BrokenEngine;

impl Engine for BrokenEngine {
    fn model(&self) -> &str {
        MODEL
    }

    fn context_tokens(&self) -> u64 {
        100
    }

    fn prepare(&self, _: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        let stream = String::from_utf8_lossy(body).contains("\"stream\":true");
        Ok(Prepared::new(3, None, stream, ()))
    }

    fn run(&self, _: Prepared, _: u64) -> Result<Generation, EngineError> {
        let (sink, generation) = Generation::channel(2, || {});
        assert!(
            sink.try_send(Frame { bytes: Bytes::from_static(b"data: {\"half\":1}\n\n"), output_tokens: 7 })
        );
        sink.finish(Summary {
            input_tokens: 3,
            output_tokens: 7,
            outcome: Outcome::Failed("a secret of the node".to_owned()),
            work: [0; 32],
            prompt_ids: vec![],
            output_ids: vec![],
            seed: 0,
        });
        Ok(generation)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_charges_nothing() {
    let market = Market::open().await;
    let handle = market.spawn(market.config(), Arc::new(BrokenEngine)).await;
    let node = handle.url();
    let user = market.user().await;
    let (mut transcript, mut total) = (Transcript::new(), Units::ZERO);

    let streamed = user.ask(&node, &chat(true, "x"), None).await;
    let text = String::from_utf8(streamed.body.clone()).unwrap();
    assert!(text.starts_with("data: {\"half\":1}\n\ndata: {\"error\":"), "{text}");
    assert!(text.contains("engine_failed") && !text.contains("secret") && streamed.done);
    user.verify(&streamed, &mut transcript, &mut total);
    assert_eq!((streamed.receipt().status, total), (Status::Failed, Units::ZERO));

    let whole = user.ask(&node, &chat(false, "x"), Some(user.voucher_for(streamed.receipt()))).await;
    assert_eq!(whole.code(), (500, "engine_failed".to_owned()));
    user.verify(&whole, &mut transcript, &mut total);
    assert_eq!(user.channel(&node).await["total_units"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_answers_end_and_takes_no_new_ones() {
    let market = Market::open().await;
    let handle = market.spawn(market.config(), mock(30, Duration::from_millis(20))).await;
    let node = handle.url();
    let user = market.user().await;
    let body = chat(true, "a little longer").to_string().into_bytes();
    let running = user.send(&node, &body, &user.authorize(user.auth(&body, 100), None)).await;
    let (answer, drained) = tokio::join!(read(running), handle.drain());
    drained.unwrap();
    assert!(answer.done);
    user.verify(&answer, &mut Transcript::new(), &mut Units::ZERO.clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_ever() {
    let market = Market::open().await;
    let mut config = market.config();
    config.limits.grace_ms = 50;
    let handle = market.spawn(config, mock(100_000, Duration::from_millis(20))).await;
    let node = handle.url();
    let user = market.user().await;
    let body = chat(true, "endless").to_string().into_bytes();
    let running = user.send(&node, &body, &user.authorize(user.auth(&body, 5_000), None)).await;
    let (answer, drained) = tokio::join!(read(running), handle.drain());
    drained.unwrap();
    assert!(answer.done && String::from_utf8_lossy(&answer.body).contains("draining"));
    assert_eq!(answer.receipt().status, Status::Aborted);
}
