//! Errors as OpenAI clients expect them. The one place where an error becomes a status.

use crate::market::MarketError;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Most characters of a message.
const MESSAGE_MAX: usize = 1_200;

/// An OpenAI error object with its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub code: &'static str,
    pub message: String,
    /// The member of the body that is wrong.
    pub param: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::PAYMENT_REQUIRED => "insufficient_quota",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        let mut message = message.into();
        // Much of a request may be quoted in what is said about it.
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
            message.truncate(end);
        }
        Self { status, kind, code, message, param: None, retry_after: None }
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A member of the body that is not what it must be.
    pub fn wrong_member(name: &'static str, must: &str) -> Self {
        let error = Self::bad_request("invalid_request", format!("`{name}` must be {must}"));
        Self { param: Some(name), ..error }
    }

    pub fn model_not_found(model: &str) -> Self {
        let shown: String = model.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "model_not_found", format!("no node offers the model {shown:?}"))
    }

    pub fn endpoint_not_offered(model: &str, path: &str) -> Self {
        let shown: String = model.chars().take(64).collect();
        let message = format!("the model {shown:?} does not answer at {path}");
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message)
    }

    pub fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
        }
    }

    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// No units could be bought.
    pub fn no_stack(error: &MarketError) -> Self {
        match error {
            MarketError::Funds(reason) => Self::new(StatusCode::PAYMENT_REQUIRED, "wallet_empty", reason),
            error => Self::unavailable("no_stack", error.to_string()),
        }
    }

    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "node_failed", message)
    }

    pub fn body(&self) -> serde_json::Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    /// The SSE event that ends a stream which cannot go on.
    pub fn event(&self) -> Bytes {
        Bytes::from(format!("data: {}\n\n", self.body()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
