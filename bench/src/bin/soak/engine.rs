//! An OpenAI-compatible server that is quick, exact about usage, and fails when told to.

use crate::faults::Dice;
use anyhow::Result;
use atoma_bench::fleet::MODEL;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two tokens of every other answer.
const PACE: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) url: String,
    state: Arc<Server>,
}

#[derive(Debug)]
struct Server {
    bad: AtomicBool,
    answers: AtomicU64,
    dice: Mutex<Dice>,
}

impl Engine {
    pub(crate) fn misbehave(&self) {
        self.state.bad.store(true, Ordering::Relaxed);
    }

    pub(crate) fn behave(&self) {
        self.state.bad.store(false, Ordering::Relaxed);
    }
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    Unavailable,
    BreaksOff,
    Garbage,
}

pub(crate) async fn serve(seed: u64) -> Result<Engine> {
    let state = Arc::new(Server {
        bad: AtomicBool::new(false),
        answers: AtomicU64::new(0),
        dice: Mutex::new(Dice::new(seed, 2)),
    });
    let router = Router::new()
        .route("/health", get(async || "ok"))
        .route("/v1/models", get(async || Json(json!({"object": "list", "data": [{"id": MODEL}]}))))
        .route("/v1/chat/completions", post(answer))
        .with_state(Arc::clone(&state));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Engine { url, state })
}

impl Server {
    fn fate(&self) -> Fate {
        let roll = self.dice.lock().unwrap_or_else(PoisonError::into_inner).below(4);
        match (self.bad.load(Ordering::Relaxed), roll) {
            (false, _) | (true, 0) => Fate::Good,
            (true, 1) => Fate::Unavailable,
            (true, 2) => Fate::BreaksOff,
            (true, _) => Fate::Garbage,
        }
    }
}

async fn answer(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        let error = json!({"error": {"message": "bad body", "type": "invalid_request_error", "code": null}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    let (fate, tokens) = (server.fate(), asked.max_tokens.unwrap_or(16));
    if fate == Fate::Unavailable {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let usage = json!({"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens});
    if !asked.stream {
        let text = if fate == Fate::Good {
            "word ".repeat(usize::try_from(tokens).unwrap_or(0))
        } else {
            String::new()
        };
        let message = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "message": message, "finish_reason": "length"});
        let whole = json!({"id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage});
        return match fate {
            Fate::Good => Json(whole).into_response(),
            _ => ([("content-type", "application/json")], "{\"choices\":").into_response(),
        };
    }
    let paced = server.answers.fetch_add(1, Ordering::Relaxed) % 2 == 0;
    let wants_usage = asked.stream_options.is_some_and(|options| options.include_usage);
    stream(events(tokens, wants_usage.then_some(usage), fate), paced)
}

/// The answer's events; a bad one ends in the middle.
fn events(tokens: u64, usage: Option<Value>, fate: Fate) -> Vec<Bytes> {
    let event = |value: Value| Bytes::from(format!("data: {value}\n\n"));
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        event(json!({"id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}))
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend((0..tokens).map(|_| chunk(json!({"content": "word "}), Value::Null)));
    match fate {
        Fate::BreaksOff => events.truncate(events.len() / 2),
        Fate::Garbage => {
            events.truncate(events.len() / 2);
            events.push(Bytes::from_static(b"data: {\"choices\": nonsense\n\n"));
        }
        _ => {
            events.push(chunk(json!({}), json!("length")));
            events.extend(usage.map(|usage| event(json!({"id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": usage}))));
            events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        }
    }
    events
}

fn stream(events: Vec<Bytes>, paced: bool) -> Response {
    let body = futures::stream::iter(events).then(move |event| async move {
        if paced {
            tokio::time::sleep(PACE).await;
        }
        Ok::<_, Infallible>(event)
    });
    ([("content-type", "text/event-stream")], Body::from_stream(body)).into_response()
}
