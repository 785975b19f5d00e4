//! What a node says when it does not answer. None of its bytes go to the user as they came.

use crate::ApiError;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest refusal.
pub(super) const REFUSAL_MAX: usize = 1024 * 1024;
/// Characters of a node's words that are passed on.
const MESSAGE_MAX: usize = 1_000;
const WORD_MAX: usize = 128;

/// A refusal's body; empty if it is nothing of the kind.
#[derive(Default, Deserialize)]
pub(super) struct Refusal {
    error: ErrorObject,
    /// Receipts that the node says are missing.
    #[serde(default)]
    pub(super) receipts: Vec<String>,
}

/// OpenAI's error object.
#[derive(Default, Deserialize)]
struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    param: Option<String>,
    /// Some engines send a number.
    #[serde(default)]
    code: Value,
}

impl Refusal {
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    pub(super) fn code(&self) -> &str {
        self.error.code.as_str().unwrap_or_default()
    }

    /// Our own error about it.
    pub(super) fn error(&self, status: StatusCode) -> ApiError {
        let message = format!("the node answered {status}: {}", cut(&self.error.message, MESSAGE_MAX));
        match status {
            StatusCode::TOO_MANY_REQUESTS => ApiError::busy(message),
            StatusCode::SERVICE_UNAVAILABLE => ApiError::unavailable("node_unavailable", message),
            _ => ApiError::bad_gateway(message),
        }
    }

    /// The error object for the user, written anew, if the refusal is about the request itself and says so.
    pub(super) fn about_request(&self, status: StatusCode) -> Option<Bytes> {
        let about_request = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY
        );
        let ErrorObject { message, kind, param, code } = &self.error;
        if !about_request || message.is_empty() || kind.is_empty() {
            return None;
        }
        let code = match code {
            Value::String(code) => Value::from(cut(code, WORD_MAX)),
            Value::Number(_) => code.clone(),
            _ => Value::Null,
        };
        let error = json!({
            "message": cut(message, MESSAGE_MAX),
            "type": cut(kind, WORD_MAX),
            "param": param.as_deref().map(|param| cut(param, WORD_MAX)),
            "code": code,
        });
        Some(Bytes::from(json!({"error": error}).to_string()))
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn passed_on(status: u16, body: &str) -> Option<Value> {
        let status = StatusCode::from_u16(status).unwrap();
        let bytes = Refusal::read(body.as_bytes()).about_request(status)?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn only_error_objects_about_the_request_are_passed_on() {
        let body = r#"{"error":{"message":"m","type":"t","param":"p","code":"c","evil":1},"more":2}"#;
        let clean = json!({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}});
        for status in [400, 404, 413, 422] {
            assert_eq!(passed_on(status, body), Some(clean.clone()));
        }
        for status in [401, 402, 403, 409, 418, 429, 500] {
            assert_eq!(passed_on(status, body), None);
        }
        let number = r#"{"error":{"message":"m","type":"t","code":400}}"#;
        let clean = json!({"error": {"message": "m", "type": "t", "param": null, "code": 400}});
        assert_eq!(passed_on(400, number), Some(clean));
        for body in ["", "<html>", "{}", r#"{"error":"m"}"#, r#"{"error":{"message":"m"}}"#, "[]"] {
            assert_eq!(passed_on(400, body), None, "{body}");
        }
    }

    #[test]
    fn what_is_passed_on_is_short() {
        let long = "é".repeat(10_000);
        let error = json!({"message": long, "type": long, "param": long, "code": long});
        let passed = passed_on(400, &json!({ "error": error }).to_string()).unwrap();
        let length = |field: &str| passed["error"][field].as_str().unwrap().chars().count();
        assert_eq!(["message", "type", "param", "code"].map(length), [1_000, 128, 128, 128]);
        let refusal = Refusal::read(json!({ "error": error }).to_string().as_bytes());
        assert!(refusal.error(StatusCode::IM_A_TEAPOT).message.chars().count() < 1_100);
    }
}
