//! The mock engine keeps the contract of the real ones.

use std::time::Duration;

use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_inference::{Engine, Outcome};
use serde_json::json;

use crate::support::{complete, events, prepare, start, whole};

fn body(extra: &serde_json::Value) -> serde_json::Value {
    let mut body = json!({"model": "mock", "messages": [{"role": "user", "content": "one two three"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[tokio::test]
async fn it_says_as_many_tokens_as_asked() {
    let engine = MockEngine::new(MockConfig { tokens: 5, ..MockConfig::default() });
    let (frames, summary) = complete(&engine, &body(&json!({"stream": true}))).await;
    assert_eq!((summary.input_tokens, summary.output_tokens), (3, 5));
    assert_eq!(events(&frames).last().unwrap()["choices"][0]["finish_reason"], "length");
    let (frames, again) = complete(&engine, &body(&json!({"n": 2, "max_tokens": 4}))).await;
    assert_eq!(whole(&frames)["usage"]["completion_tokens"], 8);
    assert_eq!(again.output_ids.len(), 2);
    assert!(prepare(&engine, &body(&json!({"max_tokens": 9000}))).is_err());
    assert_eq!(engine.model(), "mock");
}

#[tokio::test]
async fn it_stops_when_told() {
    let engine =
        MockEngine::new(MockConfig { tokens: 10_000, context_tokens: 20_000, ..MockConfig::default() });
    let mut running = start(&engine, &body(&json!({"stream": true})));
    running.next().await.unwrap();
    let summary = running.finish().await;
    assert_eq!(summary.outcome, Outcome::Aborted);
    assert!(summary.output_tokens < 10_000);
    let slow = MockConfig { delay: Duration::from_secs(3600), ..MockConfig::default() };
    let summary = start(&MockEngine::new(slow), &body(&json!({}))).finish().await;
    assert_eq!((summary.outcome, summary.output_tokens), (Outcome::Aborted, 0));
}
