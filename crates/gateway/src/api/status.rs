//! Whether the gateway lives, and what it counts.

use super::openapi::{Answer, Doc, json_of};
use super::shape::shapes;
use super::{Shared, draining};
use atoma_client::ApiError;
use axum::Json;
use axum::extract::State;

pub(super) const HEALTH: Doc = Doc::get("Whether the gateway lives.", &[], json_of::<Status>("200"));
pub(super) const READY: Doc = Doc::get("Whether it can answer.", &[], json_of::<Status>("200"));
pub(super) const METRICS: Doc =
    Doc::get("Counters, for Prometheus.", &[], Answer::Other("200", "text/plain"));

shapes! {
    /// How it is.
    sent struct Status { status: &'static str }
}

pub(super) async fn health() -> Json<Status> {
    Json(Status { status: "ok" })
}

pub(super) async fn ready(State(gateway): Shared) -> Result<Json<Status>, ApiError> {
    if gateway.stop.is_cancelled() {
        return Err(draining());
    }
    if gateway.session.catalog().model_labels().is_empty() {
        return Err(ApiError::unavailable("no_model", "no node offers a model yet"));
    }
    Ok(Json(Status { status: "ready" }))
}

pub(super) async fn metrics(State(gateway): Shared) -> String {
    let channels = gateway.session.channels();
    let summaries: Vec<_> = channels.into_iter().map(|(_, _, summary)| summary).collect();
    gateway.metrics.render(&summaries, gateway.keys.leases(), gateway.supply_metrics())
}
