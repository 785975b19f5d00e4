//! An OpenAI-compatible server whose streams say a word now and then, until they are told to end.

use anyhow::Result;
use atoma_bench::fleet::MODEL;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) url: String,
    /// Ends every stream.
    pub(crate) end: CancellationToken,
}

#[derive(Clone)]
struct Server {
    pause: Duration,
    end: CancellationToken,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
}

/// `pause` is the time between two words of a stream.
pub(crate) async fn serve(pause: Duration) -> Result<Engine> {
    let end = CancellationToken::new();
    let router = Router::new()
        .route("/health", get(async || "ok"))
        .route("/v1/chat/completions", post(answer))
        .with_state(Server { pause, end: end.clone() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Engine { url, end })
}

async fn answer(State(server): State<Server>, Json(asked): Json<Asked>) -> Response {
    if !asked.stream {
        let message = json!({"role": "assistant", "content": "word "});
        let choice = json!({"index": 0, "message": message, "finish_reason": "length"});
        let whole = json!({
            "id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage(1),
        });
        return Json(whole).into_response();
    }
    let words = stream::unfold(Some((server, 0u64)), |state| async move {
        let (server, said) = state?;
        let ends = said > 0 && tokio::time::timeout(server.pause, server.end.cancelled()).await.is_ok();
        match ends {
            true => Some((Ok::<_, Infallible>(last(said)), None)),
            false => Some((Ok(chunk(json!({"content": "word "}), Value::Null)), Some((server, said + 1)))),
        }
    });
    ([("content-type", "text/event-stream")], Body::from_stream(words)).into_response()
}

fn usage(said: u64) -> Value {
    json!({"prompt_tokens": 2, "completion_tokens": said, "total_tokens": 2 + said})
}

fn event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn chunk(delta: Value, finish: Value) -> Bytes {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    event(&json!({"id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}))
}

fn last(said: u64) -> Bytes {
    let usage = event(&json!({
        "id": "x", "object": "chat.completion.chunk", "model": MODEL, "choices": [], "usage": usage(said),
    }));
    [&chunk(json!({}), json!("stop"))[..], &usage, b"data: [DONE]\n\n"].concat().into()
}
