//! The HTTP API: one table of routes, from which the router and the OpenAPI document are made.

mod accounts;
mod books;
mod caller;
mod keys;
mod market;
mod openapi;
mod operator;
mod shape;
mod status;

#[cfg(test)]
mod tests;

use crate::serve::Gateway;
use crate::store::StoreError;
use atoma_client::ApiError;
use atoma_client::proxy::{BODY_TIME, not_found, read_body, wrong_method};
use atoma_client::request::Endpoint;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use http::{HeaderMap, StatusCode};
use openapi::{Doc, described};
use std::sync::Arc;

/// Largest body of a request that asks no model.
const BODY_MAX: usize = 16 * 1024;

type Shared = State<Arc<Gateway>>;

/// An endpoint: where it is, what answers it, and what it is for.
struct Route {
    path: &'static str,
    handler: MethodRouter<Arc<Gateway>>,
    doc: Doc,
}

fn routes() -> Vec<Route> {
    let asking = Endpoint::ALL.into_iter().map(|endpoint| {
        let handler = move |State(gateway): Shared, headers: HeaderMap, body: Body| async move {
            gateway.answer(endpoint, headers, body).await
        };
        Route { path: endpoint.path(), handler: post(handler), doc: Doc::asking(endpoint.path()) }
    });
    let mut routes = vec![
        described("/v1/models", get(market::models), market::MODELS),
        described("/v1/nodes", get(market::nodes), market::NODES),
        described("/v1/tasks", get(market::tasks), market::TASKS),
        described("/v1/stacks", get(market::stacks), market::STACKS),
        described("/v1/stats", get(market::stats), market::STATS),
        described("/v1/accounts", post(accounts::sign_up), accounts::SIGN_UP),
        described("/v1/sessions/challenge", post(accounts::challenge), accounts::CHALLENGE),
        described("/v1/sessions", post(accounts::sign_in), accounts::SIGN_IN),
        described("/v1/sessions", delete(accounts::sign_out), accounts::SIGN_OUT),
        described("/v1/account", get(accounts::show), accounts::SHOW),
        described("/v1/account/password", post(accounts::set_password), accounts::SET_PASSWORD),
        described("/v1/account/addresses", post(accounts::add_address), accounts::ADD_ADDRESS),
        described("/v1/keys", get(keys::list), keys::LIST),
        described("/v1/keys", post(keys::create), keys::CREATE),
        described("/v1/keys/{id}", delete(keys::delete), keys::DELETE),
        described("/v1/deposits", get(books::deposits), books::DEPOSITS),
        described("/v1/usage", get(books::usage), books::USAGE),
        described("/v1/usage/export", get(books::export), books::EXPORT),
        described("/v1/receipts/{request}", get(books::receipt), books::RECEIPT),
        described("/v1/operator/books", get(operator::books), operator::BOOKS),
        described("/health", get(status::health), status::HEALTH),
        described("/ready", get(status::ready), status::READY),
        described("/metrics", get(status::metrics), status::METRICS),
        described("/openapi.json", get(openapi::serve), openapi::ITSELF),
    ];
    routes.extend(asking);
    routes
}

pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let mut router = Router::new().fallback(not_found);
    for Route { path, handler, .. } in routes() {
        router = router.route(path, handler);
    }
    router.method_not_allowed_fallback(wrong_method).with_state(gateway)
}

/// An error of the API with its own headers.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    pub(crate) headers: HeaderMap,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, headers: HeaderMap::new() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.error.into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

pub(crate) fn draining() -> ApiError {
    ApiError::unavailable("draining", "the gateway is shutting down")
}

pub(crate) fn store_failed(error: StoreError) -> ApiError {
    tracing::error!(%error, "the store failed");
    ApiError::unavailable("store_failed", "the gateway cannot keep its books now: try again")
}

pub(crate) fn out_of_scope(scope: &str) -> ApiError {
    let message = format!("the key may not do this: it has no scope {scope:?}");
    ApiError { kind: "permission_error", ..ApiError::new(StatusCode::FORBIDDEN, "out_of_scope", message) }
}

/// Reads a small JSON body.
async fn read<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = read_body(body, BODY_MAX, BODY_TIME).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
        ApiError::bad_request(code, format!("the body is not a valid request: {error}"))
    })
}
