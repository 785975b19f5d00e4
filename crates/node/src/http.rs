//! The node's HTTP: OpenAI's endpoints for money, and a few to look inside.

mod body;
mod error;
mod forward;
mod info;
mod paid;
mod running;
mod stream;
mod vouchers;

pub(crate) use body::Bodies;
pub(crate) use error::ApiError;
pub use info::{ChannelInfo, NodeInfo, TaskInfo};
pub(crate) use stream::Streams;

use crate::channels::Channels;
use crate::config::Limits;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::peers::Peers;
use atoma_inference::Endpoint;
use atoma_types::SecretKey;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::routing::{get, post};
use http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every request shares.
pub(crate) struct App {
    pub(crate) channels: Channels,
    pub(crate) journal: Journal,
    pub(crate) key: SecretKey,
    pub(crate) bodies: Bodies,
    pub(crate) gate: Gate,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Streams,
    pub(crate) peers: Peers,
    pub(crate) limits: Limits,
    pub(crate) draining: AtomicBool,
    /// After a power failure: authorizations that expire before this may have been served already.
    pub(crate) refuse_expiring_before_ms: u64,
}

impl App {
    pub(crate) fn check_accepting(&self) -> Result<(), ApiError> {
        self.check_enabled()?;
        self.check_not_draining()
    }

    fn check_enabled(&self) -> Result<(), ApiError> {
        if self.channels.shelf().is_disabled() { Err(ApiError::disabled()) } else { Ok(()) }
    }

    fn check_not_draining(&self) -> Result<(), ApiError> {
        if self.draining.load(Ordering::Relaxed) { Err(ApiError::draining()) } else { Ok(()) }
    }
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::ALL {
        let serve = move |State(app): State<Arc<App>>, request: Request| paid::serve(app, endpoint, request);
        router = router.route(endpoint.path(), post(serve));
    }
    router
        .route("/v1/models", get(info::models))
        .route("/v1/node", get(info::node))
        .route("/v1/channels", get(info::channel))
        .route("/v1/receipts", get(vouchers::receipts))
        .route(
            "/v1/vouchers",
            post(vouchers::submit).layer(DefaultBodyLimit::max(vouchers::SUBMISSION_BYTES_MAX)),
        )
        .route("/health", get(info::health))
        .route("/ready", get(info::ready))
        .route("/metrics", get(info::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such endpoint")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this endpoint takes another method")
}
