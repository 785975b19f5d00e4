//! Talking to a gateway's API: every answer has the form that the OpenAPI document gives it.

use atoma_gateway::GatewayHandle;
use reqwest::Method;
use serde_json::{Value, json};

/// Status and body of an answer; an object without one is null.
pub(crate) async fn call(
    gateway: &GatewayHandle,
    method: Method,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("{}{path}", gateway.url());
    let mut request = reqwest::Client::new().request(method.clone(), url);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
    check(gateway, &method, path, status, &value).await;
    (status, value)
}

pub(crate) async fn get(gateway: &GatewayHandle, path: &str, token: &str) -> (u16, Value) {
    call(gateway, Method::GET, path, token, None).await
}

pub(crate) async fn post(gateway: &GatewayHandle, path: &str, token: &str, body: Value) -> (u16, Value) {
    call(gateway, Method::POST, path, token, Some(body)).await
}

async fn check(gateway: &GatewayHandle, method: &Method, path: &str, status: u16, value: &Value) {
    let url = format!("{}/openapi.json", gateway.url());
    let document: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let path = path.split('?').next().unwrap();
    let (_, operations) =
        document["paths"].as_object().unwrap().iter().find(|(known, _)| is_of(known, path)).unwrap();
    let responses = &operations[method.as_str().to_lowercase()]["responses"];
    let found = if status >= 400 { &responses["default"] } else { &responses[status.to_string()] };
    assert!(found.is_object(), "{method} {path} answers {status}, which is not described");
    let schema = &found["content"]["application/json"]["schema"];
    let schema =
        if schema["$ref"].is_string() { &document["components"]["schemas"]["Error"] } else { schema };
    if !schema.is_null() {
        fits(schema, value, path);
    }
}

fn is_of(known: &str, path: &str) -> bool {
    let (known, path): (Vec<_>, Vec<_>) = (known.split('/').collect(), path.split('/').collect());
    known.len() == path.len()
        && known.iter().zip(&path).all(|(one, other)| one.starts_with('{') || one == other)
}

/// As much of JSON Schema as the document uses.
fn fits(schema: &Value, value: &Value, place: &str) {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => return,
        kind => vec![kind.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) => {
            assert!(number.is_i64() || number.is_u64(), "{place}: {number}");
            "integer"
        }
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&json!(kind)), "{place}: {value} is not {kinds:?}");
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], item, place);
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(name.as_str().unwrap()), "{place}: no {name}");
    }
    for (name, field) in fields {
        let known = &schema["properties"][name];
        assert!(known.is_object() || schema["additionalProperties"] != json!(false), "{place}: {name}");
        fits(known, field, &format!("{place}.{name}"));
    }
}
