//! The upstream engine against a server that does as it is told.

mod accounting;
mod failures;
mod passing;
mod replicas;

use crate::fake::{Fake, PATIENCE};
use crate::support::drain;
use atoma_inference::upstream::{CountBy, UpstreamConfig, UpstreamEngine};
use atoma_inference::{Endpoint, Engine, Frame, Generation, Load, Outcome, Summary};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

const MODEL: &str = "sold";

fn config(replicas: &[&Fake]) -> UpstreamConfig {
    let replicas = replicas.iter().map(|fake| fake.url.clone()).collect();
    let mut config = UpstreamConfig::new(MODEL, replicas, 8_192);
    config.endpoints = Endpoint::ALL.to_vec();
    config.limits.probe_ms = 20;
    config
}

async fn connect(fake: &Fake) -> UpstreamEngine {
    UpstreamEngine::connect(config(&[fake])).await.unwrap()
}

/// An engine that counts events where it is told nothing.
async fn counting(fake: &Fake) -> UpstreamEngine {
    UpstreamEngine::connect(UpstreamConfig { count: Some(CountBy::Events), ..config(&[fake]) }).await.unwrap()
}

fn chat(extra: Value) -> Value {
    let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello, how are you?"}]});
    if let Value::Object(extra) = extra {
        body.as_object_mut().unwrap().extend(extra);
    }
    body
}

fn start(engine: &UpstreamEngine, endpoint: Endpoint, body: &Value, limit: u64) -> Generation {
    let prepared = engine.prepare(endpoint, &Bytes::from(body.to_string())).unwrap();
    engine.run(prepared, limit).unwrap()
}

async fn ask_at(engine: &UpstreamEngine, endpoint: Endpoint, body: &Value) -> (Vec<Frame>, Summary) {
    let answer = drain(start(engine, endpoint, body, 1_000));
    tokio::time::timeout(PATIENCE, answer).await.unwrap()
}

async fn ask(engine: &UpstreamEngine, body: &Value) -> (Vec<Frame>, Summary) {
    ask_at(engine, Endpoint::ChatCompletions, body).await
}

/// The frames' bytes, one after the other.
fn text(frames: &[Frame]) -> String {
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

fn failure(summary: &Summary) -> &str {
    match &summary.outcome {
        Outcome::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn until(engine: &UpstreamEngine, wanted: impl Fn(Load) -> bool) {
    let search = async {
        while !wanted(engine.load()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap();
}
