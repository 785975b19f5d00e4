//! What the node says about itself.

use super::{ApiError, App};
use crate::metrics::Gauges;
use atoma_inference::Engine as _;
use atoma_types::wire::encode;
use atoma_types::{Address, Hash32, NodeId, Price, PublicKey, TaskId, Units};
use axum::Json;
use axum::extract::{Query, State, rejection::QueryRejection};
use http::{HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub node: NodeId,
    pub db: Address,
    pub receipt_key: PublicKey,
    pub version: String,
    pub tasks: Vec<TaskInfo>,
}

/// One task that the node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    pub task: TaskId,
    pub model: String,
    pub price: Price,
    pub context_tokens: u64,
}

/// `GET /v1/channels?stack=0x…`: the node's books of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    pub stack: Address,
    pub node: NodeId,
    pub price: Price,
    pub granted: Units,
    pub available: Units,
    pub total_units: Units,
    pub count: u64,
    pub root: Hash32,
    pub acknowledged_count: u64,
    pub acknowledged_units: Units,
    /// The newest voucher, as the user signed it.
    pub voucher: Option<String>,
    pub settled_count: u64,
    pub settled_units: Units,
    pub in_flight: usize,
    pub window: u64,
    pub ends_ms: u64,
    pub closed: bool,
}

#[derive(Deserialize)]
pub(super) struct StackQuery {
    pub(super) stack: Address,
}

pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.channels.shelf().offers.iter().map(|offer| {
        json!({"id": offer.model, "object": "model", "created": 0, "owned_by": format!("atoma-node-{}", app.channels.shelf().node)})
    });
    let mut seen: Vec<Value> = Vec::new();
    for model in models {
        if !seen.contains(&model) {
            seen.push(model);
        }
    }
    Json(json!({"object": "list", "data": seen}))
}

pub(super) async fn node(State(app): State<Arc<App>>) -> Json<NodeInfo> {
    let shelf = app.channels.shelf();
    let tasks = shelf.offers.iter().map(|offer| TaskInfo {
        task: offer.task,
        model: offer.model.clone(),
        price: offer.price,
        context_tokens: offer.engine.context_tokens(),
    });
    Json(NodeInfo {
        node: shelf.node,
        db: shelf.market.db(),
        receipt_key: app.key.public_key(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tasks: tasks.collect(),
    })
}

pub(super) async fn channel(
    State(app): State<Arc<App>>,
    query: Result<Query<StackQuery>, QueryRejection>,
) -> Result<Json<ChannelInfo>, ApiError> {
    let channel = app.channels.find(StackQuery::parse(query)?).await?;
    let books = channel.books();
    let limits = books.limits();
    Ok(Json(ChannelInfo {
        stack: channel.terms.stack,
        node: channel.terms.node,
        price: channel.terms.price,
        granted: limits.granted,
        available: books.available(),
        total_units: books.total_units(),
        count: books.count(),
        root: books.root(),
        acknowledged_count: books.acknowledged_count(),
        acknowledged_units: books.acknowledged_units(),
        voucher: books.voucher().map(encode),
        settled_count: limits.settled_count,
        settled_units: limits.settled_units,
        in_flight: books.in_flight(),
        window: books.window(),
        ends_ms: limits.ends_ms,
        closed: limits.closed,
    }))
}

/// Alive; `settling` if the node is disabled on chain and only settles.
pub(super) async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let status = if app.channels.shelf().is_disabled() { "settling" } else { "ok" };
    Json(json!({"status": status}))
}

pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.check_accepting().map_err(ApiError::unready)?;
    let offers = &app.channels.shelf().offers;
    if !offers.is_empty() && offers.iter().all(|offer| !offer.engine.load().healthy) {
        let message = "no engine can be reached now";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "engine_unavailable", message));
    }
    Ok(Json(json!({"status": "ready"})))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> ([(HeaderName, &'static str); 1], String) {
    let gauges = Gauges {
        running: app.gate.running(),
        waiting: app.gate.waiting(),
        bodies: app.bodies.held(),
        journal: app.journal.backlog(),
    };
    let page = app.metrics.render(gauges, app.channels.shelf(), &app.channels.all());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}
