//! An engine's refusal in OpenAI's words.

use bytes::Bytes;
use serde_json::{Value, json};

/// Longest message that is passed on.
const MESSAGE_MAX: usize = 2_000;

/// The error object for a body that came with `status`, whatever shape it has: OpenAI's own, the same without the
/// wrapping (older vLLM), `{"error": "…"}` (Ollama, TEI), `{"detail": …}` (FastAPI), or no JSON at all.
pub(super) fn openai_error(status: u16, body: &[u8]) -> Bytes {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = match &value["error"] {
        Value::Null => &value,
        error => error,
    };
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let message = [&error["message"], &error["detail"], &value["message"]].into_iter().find_map(text);
    let message = message.or_else(|| error.as_str().map(str::to_owned));
    let message = message.unwrap_or_else(|| format!("the engine refused the request with status {status}"));
    let kind = error["type"].as_str().unwrap_or("invalid_request_error");
    let code = error["code"].as_str().unwrap_or("invalid_request");
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    let body = json!({"error": {"message": message, "type": kind, "param": error["param"], "code": code}});
    Bytes::from(body.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(body: &str) -> (String, String, String) {
        let error: Value = serde_json::from_slice(&openai_error(400, body.as_bytes())).unwrap();
        let error = &error["error"];
        assert_eq!(error.as_object().unwrap().len(), 4);
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        (text("message"), text("type"), text("code"))
    }

    #[test]
    fn every_shape_becomes_openais() {
        let said = |message: &str| {
            (message.to_owned(), "invalid_request_error".to_owned(), "invalid_request".to_owned())
        };
        assert_eq!(
            read(r#"{"error":{"message":"no","type":"t","param":"p","code":"c"}}"#),
            ("no".into(), "t".into(), "c".into())
        );
        let vllm = r#"{"object":"error","message":"no","type":"BadRequestError","param":null,"code":400}"#;
        assert_eq!(read(vllm), ("no".into(), "BadRequestError".into(), "invalid_request".into()));
        assert_eq!(read(r#"{"error":"no","error_type":"Validation"}"#), said("no"));
        assert_eq!(read(r#"{"message":"no"}"#), said("no"));
        assert_eq!(read(r#"{"detail":[{"loc":["n"]}]}"#), said(r#"[{"loc":["n"]}]"#));
        assert_eq!(read("<html>"), said("the engine refused the request with status 400"));
        assert_eq!(read(&format!("{{\"error\":\"{}\"}}", "é".repeat(3_000))).0.chars().count(), MESSAGE_MAX);
    }
}
