//! Every refusal as the OpenAI error object, in one place.

use crate::channels::LookupError;
use crate::gate::GateError;
use crate::journal::JournalError;
use crate::ledger::{Refusal, VoucherRefusal};
use atoma_inference::EngineError;
use atoma_types::wire::DecodeError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// Most characters of a message, or of a member's name.
const TEXT_MAX: usize = 1_000;

/// An answer that is not an answer. Nothing was charged for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
    param: Option<String>,
    retry_after_s: Option<u64>,
    /// More members of the body, beside `error`.
    extra: Map<String, Value>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind_of(status),
            code,
            message: cut(message.into()),
            param: None,
            retry_after_s: None,
            extra: Map::new(),
        }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn unauthorized(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    pub(crate) fn draining() -> Self {
        let message = "this node is shutting down; use another one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).retry_after(5)
    }

    /// As of a channel that has ended: whoever hears it looks at the chain, and stops asking.
    pub(crate) fn disabled() -> Self {
        let message = "this node was disabled on chain and only settles; use another one";
        Self::new(StatusCode::PAYMENT_REQUIRED, "stack_ended", message)
    }

    /// The same, as said to a probe.
    pub(crate) fn unready(self) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, kind: kind_of(status), ..self }
    }

    /// Our fault; what went wrong is in the log, not in the answer.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the node failed; nothing was charged")
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn param(mut self, param: Option<String>) -> Self {
        self.param = param.map(cut);
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }

    /// Whether another node may well have the room that this one lacks.
    pub(super) fn is_no_room(&self) -> bool {
        matches!(self.code, "draining" | "overloaded" | "engine_unavailable" | "journal_unavailable")
    }

    /// The JSON body, also sent as the last event of a stream that broke.
    pub(crate) fn to_json(&self) -> Value {
        let mut body = self.extra.clone();
        let error =
            json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        body.insert("error".to_owned(), error);
        Value::Object(body)
    }
}

/// Much of a request may be quoted in what is said about it.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
    }
    text
}

fn kind_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::PAYMENT_REQUIRED => "insufficient_quota",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::bad_request("malformed_authorization", format!("x-atoma-auth is {error}"))
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let message = error.to_string();
        let payment = |code| Self::new(StatusCode::PAYMENT_REQUIRED, code, message.clone());
        match error {
            LookupError::UnknownStack => payment("unknown_stack"),
            LookupError::NoChannel | LookupError::LostRecords => payment("unknown_channel"),
            LookupError::ForgedRequest => Self::unauthorized("invalid_signature", message),
            LookupError::ForgedGrant | LookupError::Grant(_) | LookupError::OpenFailed(_) => {
                payment("invalid_grant")
            }
            LookupError::OpensPaused => payment("opening_paused"),
            LookupError::OpenUnknown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "opening_unknown", message).retry_after(60)
            }
            LookupError::NoGas => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "cannot_open", message).retry_after(60)
            }
            LookupError::NotServed(_) => payment("task_not_served"),
            LookupError::OtherMarket => Self::unauthorized("wrong_db", message),
            LookupError::Chain | LookupError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "chain_unavailable", message).retry_after(1)
            }
            LookupError::Journal(error) => error.into(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Replayed(_) => Self::unauthorized("auth_replayed", message),
            Refusal::Ended => Self::new(StatusCode::PAYMENT_REQUIRED, "stack_ended", message),
            Refusal::OutlivesStack => Self::new(StatusCode::PAYMENT_REQUIRED, "outlives_stack", message),
            Refusal::Insufficient { available, .. } => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_units", message)
                    .with("available_units", json!(available.0))
            }
            Refusal::MissingReceipt { from } => {
                Self::new(StatusCode::PAYMENT_REQUIRED, "missing_receipt", message)
                    .with("missing_from", json!(from))
            }
            Refusal::WindowBusy => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "window_full", message).retry_after(1)
            }
            Refusal::NoUnits => Self::bad_request("max_units_too_small", message),
        }
    }
}

impl From<VoucherRefusal> for ApiError {
    fn from(refusal: VoucherRefusal) -> Self {
        let message = refusal.to_string();
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, message.clone());
        match refusal {
            VoucherRefusal::Foreign => Self::bad_request("voucher_foreign", message),
            VoucherRefusal::Signature => Self::unauthorized("invalid_signature", message),
            VoucherRefusal::Backwards { .. } => conflict("voucher_backwards"),
            VoucherRefusal::Ahead { .. } => conflict("voucher_ahead"),
            VoucherRefusal::Mismatch { .. } => conflict("voucher_mismatch"),
        }
    }
}

impl From<GateError> for ApiError {
    fn from(error: GateError) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", error.to_string()).retry_after(1)
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "the journal failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "journal_unavailable",
            "the node cannot keep its books now",
        )
        .retry_after(5)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::BadRequest { message, param } => {
                Self::bad_request("invalid_request", message).param(param)
            }
            EngineError::UnknownModel { .. } => {
                Self::new(StatusCode::NOT_FOUND, "model_not_found", error.to_string())
                    .param(Some("model".to_owned()))
            }
            EngineError::ContextLength { param, .. } => {
                Self::bad_request("context_length_exceeded", error.to_string()).param(Some(param.to_owned()))
            }
            EngineError::Overloaded { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", error.to_string())
                    .retry_after(retry_after.as_secs().max(1))
            }
            EngineError::Unavailable { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_unavailable", error.to_string())
                    .retry_after(retry_after.as_secs().max(1))
            }
            EngineError::Internal(_) => {
                tracing::error!(%error, "the engine failed");
                Self::internal()
            }
        }
    }
}
