//! An inference server without a model, for clients written in other languages: it does all that OpenAI's protocol
//! lets one ask of a model, and always the same for the same question. It repeats, counts, measures images, calls the
//! tools that it must or that it hears named, fills in JSON schemas, embeds, and draws.
//!
//! Prints one line of JSON with its address, then runs until its input ends.

#![expect(clippy::unwrap_used, reason = "test harness")]

mod chat;
mod image;
mod responses;
mod say;
mod vectors;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// Between two tokens of a stream.
const PACE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() {
    let router = Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/v1/chat/completions", post(|body: Bytes| async move { answer(&body, chat::chat) }))
        .route("/v1/completions", post(|body: Bytes| async move { answer(&body, chat::complete) }))
        .route("/v1/responses", post(|body: Bytes| async move { answer(&body, responses::respond) }))
        .route("/v1/embeddings", post(|body: Bytes| async move { answer(&body, vectors::embed) }))
        .route("/v1/images/generations", post(|body: Bytes| async move { answer(&body, image::draw) }))
        .layer(DefaultBodyLimit::max(8 << 20));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", json!({"url": format!("http://{}", listener.local_addr().unwrap())}));
    std::io::stdout().flush().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let until_end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(until_end).await.unwrap().unwrap();
}

/// What is answered to a body.
enum Answer {
    Whole(Value),
    /// Events of a stream, in their wire form.
    Stream(Vec<String>),
}

/// What is wrong with a body: the member, and why.
struct Wrong(&'static str, String);

type Answered = Result<Answer, Wrong>;

fn answer(body: &[u8], make: fn(&Value) -> Answered) -> Response {
    let parsed = serde_json::from_slice::<Value>(body);
    let made = match &parsed {
        Ok(body) => make(body),
        Err(error) => Err(Wrong("body", error.to_string())),
    };
    match made {
        Ok(Answer::Whole(answer)) => Json(answer).into_response(),
        Ok(Answer::Stream(events)) => {
            let events = futures::stream::iter(events).then(|event| async move {
                tokio::time::sleep(PACE).await;
                Ok::<_, Infallible>(event)
            });
            let body = axum::body::Body::from_stream(events);
            ([("content-type", "text/event-stream")], body).into_response()
        }
        Err(Wrong(param, message)) => {
            let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": "invalid_value"});
            (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
        }
    }
}

/// An integer of the body, if it has one.
fn integer(body: &Value, name: &'static str) -> Result<Option<usize>, Wrong> {
    match &body[name] {
        Value::Null => Ok(None),
        value => {
            let read = value.as_u64().and_then(|value| usize::try_from(value).ok());
            read.map(Some).ok_or_else(|| Wrong(name, format!("{name} is no count: {value}")))
        }
    }
}

/// A number that is the same for the same text.
fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
