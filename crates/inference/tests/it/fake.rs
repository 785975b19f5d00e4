//! A server that speaks OpenAI's protocol and does as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, header};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A piece of an answer's body.
#[derive(Clone)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// The connection breaks.
    Break,
    /// Nothing comes any more, though the connection stays.
    Stall,
}

/// What is answered to one request.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) retry_after: Option<u64>,
    pub(crate) pieces: Vec<Piece>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string())
    }

    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, kind: "application/json", retry_after: None, pieces: vec![Piece::Bytes(body.into())] }
    }

    pub(crate) fn stream(pieces: Vec<Piece>) -> Self {
        Self { status: 200, kind: "text/event-stream; charset=utf-8", retry_after: None, pieces }
    }

    /// A stream of these events' data.
    pub(crate) fn events(events: &[Value]) -> Self {
        Self::stream(events.iter().map(event).chain([done()]).collect())
    }
}

pub(crate) fn event(data: &Value) -> Piece {
    Piece::Bytes(format!("data: {data}\n\n").into())
}

pub(crate) fn done() -> Piece {
    Piece::Bytes(Bytes::from_static(b"data: [DONE]\n\n"))
}

/// A chunk of a chat.
pub(crate) fn says(text: &str) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
}

pub(crate) fn usage(input: u64, output: u64) -> Value {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage})
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Seen>>,
    health: AtomicU16,
    metrics: Mutex<Option<String>>,
    /// Answers that were begun and are over, or were dropped.
    ended: AtomicUsize,
    begun: AtomicUsize,
}

/// See the module documentation.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Fake {
    /// Gives these answers in turn, the last one again and again.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, replies)
    }

    pub(crate) fn on(listener: TcpListener, replies: Vec<Reply>) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { replies: Mutex::new(replies.into()), ..Shared::default() });
        shared.health.store(200, Ordering::Relaxed);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared }
    }

    /// What `/health` answers from now on.
    pub(crate) fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::Relaxed);
    }

    pub(crate) fn set_metrics(&self, page: &str) {
        *self.shared.metrics.lock().unwrap() = Some(page.to_owned());
    }

    /// The paid requests that came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until all answers that were begun are over.
    pub(crate) async fn idle(&self) {
        let all_ended = async {
            while self.shared.ended.load(Ordering::SeqCst) < self.shared.begun.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all_ended).await.unwrap();
    }
}

/// Counts an answer's end, however it comes.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/health" => return plain(shared.health.load(Ordering::Relaxed), String::new()),
        "/v1/models" => return plain(200, "{}".to_owned()),
        "/metrics" => {
            let page = shared.metrics.lock().unwrap().clone();
            return plain(if page.is_some() { 200 } else { 404 }, page.unwrap_or_default());
        }
        _ => {}
    }
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 23).await.unwrap();
    shared.seen.lock().unwrap().push(Seen { path, headers, body });
    let reply = {
        let mut replies = shared.replies.lock().unwrap();
        let reply = replies.pop_front().unwrap();
        if replies.is_empty() {
            replies.push_back(reply.clone());
        }
        reply
    };
    shared.begun.fetch_add(1, Ordering::SeqCst);
    let state = (reply.pieces.into_iter(), Ending(shared));
    let body = stream::unfold(state, |(mut pieces, ending)| async move {
        match pieces.next()? {
            Piece::Bytes(bytes) => Some((Ok(bytes), (pieces, ending))),
            Piece::Break => Some((Err(std::io::Error::other("broken")), (pieces, ending))),
            Piece::Stall => {
                std::future::pending::<()>().await;
                None
            }
        }
    });
    let response = Response::builder().status(reply.status).header(header::CONTENT_TYPE, reply.kind);
    let response = match reply.retry_after {
        Some(seconds) => response.header(header::RETRY_AFTER, seconds),
        None => response,
    };
    response.body(Body::from_stream(body)).unwrap()
}

fn plain(status: u16, body: String) -> Response<Body> {
    Response::builder().status(status).body(Body::from(body)).unwrap()
}
