//! Shared helpers.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use atoma_inference::{
    Endpoint, Engine, EngineError, Frame, Generation, ModelStore, Outcome, Prepared, ReferenceConfig,
    ReferenceEngine, Summary,
};
use bytes::Bytes;
use serde_json::{Value, json};

pub(crate) const MODEL: &str = "smollm2-135m-instruct";

/// The weights, fetched once if need be.
pub(crate) fn weights() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| pull(MODEL)).clone()
}

/// A model's file. Runs its own runtime, so that any test can call it.
pub(crate) fn pull(model: &'static str) -> PathBuf {
    let home = std::env::var_os("ATOMA_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".atoma"));
    let store = ModelStore::new(home.join("models"));
    let pull = async move { store.pull(model, |_| {}).await.unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime.block_on(pull)).join().unwrap()
}

pub(crate) fn config() -> ReferenceConfig {
    ReferenceConfig { threads: 2, context_tokens: 1024, kv_tokens: 8192, ..ReferenceConfig::default() }
}

pub(crate) fn load(config: &ReferenceConfig) -> ReferenceEngine {
    ReferenceEngine::load(MODEL, &weights(), config).unwrap()
}

/// One engine for all tests that need nothing special.
pub(crate) fn engine() -> Arc<ReferenceEngine> {
    static ENGINE: OnceLock<Arc<ReferenceEngine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(load(&config()))))
}

pub(crate) fn prepare(engine: &dyn Engine, body: &Value) -> Result<Prepared, EngineError> {
    let endpoint =
        if body.get("prompt").is_some() { Endpoint::Completions } else { Endpoint::ChatCompletions };
    engine.prepare(endpoint, &Bytes::from(body.to_string()))
}

fn with(mut body: Value, extra: Value) -> Value {
    if let Value::Object(extra) = extra {
        for (key, value) in extra {
            body[key] = value;
        }
    }
    body
}

/// A chat body: one user message, and what `extra` adds.
pub(crate) fn chat(text: &str, extra: Value) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    with(json!({"model": MODEL, "messages": messages, "max_tokens": 16, "seed": 1}), extra)
}

/// A plain completion, which has far fewer prompt tokens than a chat.
pub(crate) fn prompt(text: &str, extra: Value) -> Value {
    with(json!({"model": MODEL, "prompt": text, "max_tokens": 16, "seed": 1}), extra)
}

pub(crate) fn start(engine: &dyn Engine, body: &Value) -> Generation {
    engine.run(prepare(engine, body).unwrap(), 10_000).unwrap()
}

pub(crate) async fn drain(mut generation: Generation) -> (Vec<Frame>, Summary) {
    let mut frames = Vec::new();
    while let Some(frame) = generation.next().await {
        frames.push(frame);
    }
    (frames, generation.finish().await)
}

pub(crate) async fn complete(engine: &dyn Engine, body: &Value) -> (Vec<Frame>, Summary) {
    let (frames, summary) = drain(start(engine, body)).await;
    assert_eq!(summary.outcome, Outcome::Complete);
    (frames, summary)
}

/// The one JSON body of an answer that was not streamed.
pub(crate) fn whole(frames: &[Frame]) -> Value {
    assert_eq!(frames.len(), 1, "one frame holds the whole body");
    serde_json::from_slice(&frames[0].bytes).unwrap()
}

/// The events of a stream; every frame must consist of whole ones.
pub(crate) fn events(frames: &[Frame]) -> Vec<Value> {
    let mut events = Vec::new();
    for frame in frames {
        let text = std::str::from_utf8(&frame.bytes).unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        for event in text.trim_end().split("\n\n") {
            events.push(serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap());
        }
    }
    events
}
