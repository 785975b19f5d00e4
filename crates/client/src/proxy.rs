//! An OpenAI-compatible endpoint over a [`Session`]: what `atoma connect` runs on localhost. Whoever can
//! reach it spends the wallet's money, so it listens on loopback unless told otherwise.

use crate::ApiError;
use crate::market::Market;
use crate::request::{BODY_MAX, Endpoint};
use crate::route::Route;
use crate::session::{OpenError, Session, SessionConfig};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a body may take to arrive, unless told otherwise.
pub const BODY_TIME: Duration = Duration::from_secs(60);
/// Most that is read of a body that is too long.
const BODY_DISCARDED_MAX: usize = 4 * BODY_MAX;
/// How long answers in flight may take once shutting down.
const GRACE: Duration = Duration::from_secs(30);

/// What the endpoint needs.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    pub listen: SocketAddr,
    pub session: SessionConfig,
    /// How long a body may take to arrive.
    pub body_time: Duration,
}

impl ConnectConfig {
    /// On a free port of localhost.
    pub fn local(session: SessionConfig) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { listen, session, body_time: BODY_TIME }
    }
}

/// The endpoint could not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot listen on {listen}: {reason}: choose another address")]
    Listen { listen: SocketAddr, reason: String },
    #[error(transparent)]
    Session(#[from] OpenError),
}

/// A running endpoint. Dropping it stops taking requests.
#[derive(Debug)]
pub struct Handle {
    pub addr: SocketAddr,
    pub session: Session,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

/// Starts the endpoint with a wallet's standing in a market. Spent stacks are closed and refunded by itself.
pub async fn spawn(mut config: ConnectConfig, market: Arc<dyn Market>) -> Result<Handle, ConnectError> {
    let listen = config.listen;
    let failed = |error: std::io::Error| ConnectError::Listen { listen, reason: error.to_string() };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    config.session.policy.tidy = true;
    let session = Session::open(config.session, market).await?;
    let stop = CancellationToken::new();
    let bounds = atoma_http::Bounds::default();
    let app = router(session.clone(), config.body_time);
    let server = tokio::spawn(atoma_http::serve(listener, app, bounds, stop.clone()));
    Ok(Handle { addr, session, stop, server: Some(server) })
}

impl Handle {
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops taking requests, lets those in flight finish, and acknowledges everything.
    pub async fn drain(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            let _ = tokio::time::timeout(GRACE, server).await;
        }
        if let Err(error) = self.session.drain().await {
            tracing::error!(%error, "the journal could not be written");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(session: Session, body_time: Duration) -> Router {
    let mut router =
        Router::new().route("/v1/models", get(models)).route("/health", get(health)).fallback(not_found);
    for endpoint in Endpoint::ALL {
        let handler = move |State(session): State<Session>, headers: HeaderMap, body: Body| {
            let body = read_body(body, BODY_MAX, body_time);
            ask(session, endpoint, headers, body)
        };
        router = router.route(endpoint.path(), post(handler));
    }
    router.method_not_allowed_fallback(wrong_method).with_state(session)
}

async fn ask(
    session: Session,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: impl Future<Output = Result<Bytes, ApiError>>,
) -> Result<Response, ApiError> {
    let route = Route::of(&headers)?;
    let body = body.await?;
    let quote = session.quote(endpoint, &body).await?.routed(route, &body);
    Ok(session.ask(&quote, body).await?.into_response())
}

async fn models(State(session): State<Session>) -> Json<Value> {
    Json(model_list(&session.models().await))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub async fn not_found() -> Response {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such endpoint").into_response()
}

pub async fn wrong_method() -> Response {
    let message = "this endpoint takes another method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).into_response()
}

/// Models as OpenAI lists them.
pub fn model_list(models: &[String]) -> Value {
    let one = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": "atoma"});
    json!({"object": "list", "data": models.iter().map(one).collect::<Vec<_>>()})
}

/// Reads a request body of at most `most` bytes within `time`. One that is too long is read on
/// for a while, because a client that still writes would not see the refusal.
pub async fn read_body(body: Body, most: usize, time: Duration) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(time, collect(body, most)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body took too long to arrive",
        )),
    }
}

async fn collect(body: Body, most: usize) -> Result<Bytes, ApiError> {
    let broken = |_| ApiError::bad_request("body_unreadable", "the body broke off");
    let mut chunks = body.into_data_stream();
    let Some(first) = chunks.next().await.transpose().map_err(broken)? else { return Ok(Bytes::new()) };
    let mut length = first.len();
    let mut all = None;
    while let Some(chunk) = chunks.next().await.transpose().map_err(broken)? {
        length = length.saturating_add(chunk.len());
        if length > BODY_DISCARDED_MAX {
            break;
        }
        if length <= most {
            all.get_or_insert_with(|| BytesMut::from(first.as_ref())).extend_from_slice(&chunk);
        }
    }
    if length > most {
        return Err(ApiError::body_too_large(most));
    }
    Ok(all.map_or(first, BytesMut::freeze))
}
