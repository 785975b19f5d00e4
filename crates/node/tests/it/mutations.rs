//! Requests that are almost right, made from right ones by dice: the same seed makes the same requests, and
//! `ATOMA_SEED` makes others. And a server that answers whatever is JSON.

use atoma_types::wire::Endpoint;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::{Router, routing::get};
use serde_json::{Map, Value, json};

/// Largest body that the server reads.
const BODY_MAX: usize = 8 << 20;

/// Numbers that look random (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let other: u64 = std::env::var("ATOMA_SEED").map_or(0, |other| other.parse().unwrap());
        Self(seed.wrapping_add(other.wrapping_mul(1_000)))
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`; 0 if there is nothing less.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Right bodies for an endpoint.
pub(crate) fn right(endpoint: Endpoint, model: &str) -> Vec<Value> {
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]);
    match endpoint {
        Endpoint::ChatCompletions => vec![
            json!({"model": model, "messages": messages, "max_tokens": 4}),
            json!({"model": model, "messages": messages, "stream": true, "stream_options": {"include_usage": true},
                "max_tokens": 4, "n": 2, "stop": ["a", "b"], "temperature": 0.5, "seed": 7}),
        ],
        Endpoint::Completions => vec![
            json!({"model": model, "prompt": "hello", "max_tokens": 4}),
            json!({"model": model, "prompt": "hello", "max_tokens": 4, "stream": true, "stop": "x", "n": 1}),
        ],
        Endpoint::Responses => vec![
            json!({"model": model, "input": "hello", "max_output_tokens": 4, "instructions": "Be brief."}),
            json!({"model": model, "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
                "max_output_tokens": 4, "stream": true}),
        ],
        Endpoint::Embeddings => vec![
            json!({"model": model, "input": "hello", "encoding_format": "base64"}),
            json!({"model": model, "input": ["hello", "there"], "dimensions": 8}),
        ],
        Endpoint::Images => vec![
            json!({"model": model, "prompt": "a cat", "size": "4x4", "n": 1}),
            json!({"model": model, "prompt": "a cat", "size": "4x8", "n": 2, "response_format": "b64_json"}),
        ],
    }
}

/// A body that is wrong in one way or another, or in none.
pub(crate) fn body(dice: &mut Dice, endpoint: Endpoint, model: &str) -> Vec<u8> {
    let mut value = dice.of(&right(endpoint, model)).clone();
    match dice.below(10) {
        0 => value.to_string().into_bytes(),
        1..=4 => {
            spoil(dice, &mut value);
            value.to_string().into_bytes()
        }
        5 | 6 => written(dice, &value).into_bytes(),
        _ => damaged(dice, value.to_string().into_bytes()),
    }
}

/// Replaces, removes or adds a member somewhere.
fn spoil(dice: &mut Dice, value: &mut Value) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = dice.of(&names).clone();
            match dice.below(8) {
                0 => drop(members.remove(&name)),
                1 => add(dice, members),
                2..=4 => spoil(dice, &mut members[&name]),
                _ => members[&name] = wrong(dice),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = dice.below(items.len());
            match dice.below(4) {
                0 => drop(items.remove(at)),
                1 => items.push(wrong(dice)),
                _ => spoil(dice, &mut items[at]),
            }
        }
        other => *other = wrong(dice),
    }
}

fn add(dice: &mut Dice, members: &mut Map<String, Value>) {
    let names = [
        "n",
        "best_of",
        "n_predict",
        "background",
        "previous_response_id",
        "conversation",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "stream",
        "stream_options",
        "stop",
        "size",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "response_format",
        "user",
        "\u{0}",
        "",
        "model ",
    ];
    members.insert((*dice.of(&names)).to_owned(), wrong(dice));
}

/// Some value that is wrong nearly everywhere.
fn wrong(dice: &mut Dice) -> Value {
    let long = "a".repeat(1 + dice.below(100_000));
    let values = [
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(129),
        json!(""),
        json!("-1"),
        json!("99999999999x99999999999"),
        json!("0x0"),
        json!("\u{0}\u{7f}\u{ffff}"),
        json!(long),
        json!([]),
        json!({}),
        json!([[[[]]]]),
        json!({"a": {"b": [{"c": null}]}}),
        json!({"include_usage": false}),
        json!([null, 1, "a"]),
        json!([{"role": "nobody"}]),
        json!([{"image_url": {"url": "image_url"}}]),
        json!(vec![0; 1_000]),
    ];
    dice.of(&values).clone()
}

/// JSON that no library writes: members twice, numbers out of range, deep nesting, half a surrogate, spaces.
fn written(dice: &mut Dice, value: &Value) -> String {
    let text = value.to_string();
    let names: Vec<&String> = value.as_object().into_iter().flat_map(Map::keys).collect();
    let name = dice.of(&names).to_string();
    let depth = 1 + dice.below(50_000);
    let member = |member: String| text.replacen('{', &format!("{{{member},"), 1);
    match dice.below(9) {
        0 => member(format!("\"{name}\":{}", value[&name])),
        1 => member(format!("\"{name}\":{}", wrong(dice))),
        2 => member("\"max_tokens\":1e999".to_owned()),
        3 => member("\"max_tokens\":184467440737095516160".to_owned()),
        4 => member(format!("\"deep\":{}{}", "[".repeat(depth), "]".repeat(depth))),
        5 => member(format!("\"stop\":{}{}", "[".repeat(depth), "]".repeat(depth))),
        6 => member("\"user\":\"\\ud800\"".to_owned()),
        7 => text.replace(':', "\r\n\t : "),
        _ => format!("{text} {text}"),
    }
}

/// Bytes that were damaged on their way.
pub(crate) fn damaged(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let noise = u8::try_from(dice.below(256)).unwrap();
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, noise),
            2 => drop(bytes.splice(at..at, [0xff, 0xfe, 0xc0])),
            3 => bytes.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
            4 => bytes.extend_from_within(at..),
            _ if bytes.is_empty() => bytes.push(noise),
            _ => bytes[at] ^= noise.max(1),
        }
    }
    bytes
}

/// Checks that an answer is one, or an error of the caller's as OpenAI's clients read them. Says which.
pub(crate) fn check(status: u16, headers: &reqwest::header::HeaderMap, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let shown: String = text.chars().take(500).collect();
    // Whatever is asked, the node that is left may be dearer than the one that was quoted.
    let is_callers = (400..500).contains(&status) || (status == 503 && text.contains("\"price_rose\""));
    assert!(status == 200 || is_callers, "{status} {shown}");
    if status == 200 && headers["content-type"].to_str().unwrap().starts_with("text/event-stream") {
        assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""), "{shown}");
        return true;
    }
    let value: Value =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {status} {shown}"));
    if status == 200 {
        assert!(value.is_object() && value.get("error").is_none(), "{shown}");
        return true;
    }
    let error = &value["error"];
    let is_text =
        |name: &str| error[name].as_str().is_some_and(|text| !text.is_empty() && text.len() < 5_000);
    assert!(is_text("message") && is_text("type"), "{status} {shown}");
    assert!(error["param"].is_null() || error["param"].is_string(), "{status} {shown}");
    assert!(error["code"].is_string() || error["code"].is_number(), "{status} {shown}");
    false
}

/// A server that refuses what is no JSON object, and else counts one token in and one out.
pub(crate) async fn engine() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/health", get(|| async {})).fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn answer(request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), BODY_MAX).await.unwrap();
    let (status, kind, answer) = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(body) if body.get("stream") == Some(&Value::Bool(true)) => {
            (StatusCode::OK, "text/event-stream", streamed(&path))
        }
        Ok(body) => (StatusCode::OK, "application/json", whole(&path, &body).to_string()),
        Err(error) => {
            let error = json!({"error": {"message": error.to_string(), "type": "invalid_request_error"}});
            (StatusCode::BAD_REQUEST, "application/json", error.to_string())
        }
    };
    Response::builder().status(status).header("content-type", kind).body(Body::from(answer)).unwrap()
}

fn usage() -> Value {
    json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
}

fn whole(path: &str, body: &Map<String, Value>) -> Value {
    match path {
        "/v1/embeddings" => {
            json!({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": usage()})
        }
        "/v1/images/generations" => {
            let count = body.get("n").and_then(Value::as_u64).unwrap_or(1);
            json!({"created": 1, "data": (0..count).map(|_| json!({"b64_json": "AAAA"})).collect::<Vec<_>>()})
        }
        "/v1/responses" => {
            let part = json!({"type": "output_text", "text": "word"});
            let output = json!([{"type": "message", "content": [part]}]);
            json!({"object": "response", "output": output, "usage": {"input_tokens": 1, "output_tokens": 1}})
        }
        _ => {
            json!({"choices": [{"index": 0, "message": {"content": "word"}, "text": "word"}], "usage": usage()})
        }
    }
}

fn streamed(path: &str) -> String {
    if path == "/v1/responses" {
        let delta = json!({"type": "response.output_text.delta", "delta": "word"});
        let usage = json!({"input_tokens": 1, "output_tokens": 1});
        let last = json!({"type": "response.completed", "response": {"usage": usage}});
        return format!("data: {delta}\n\ndata: {last}\n\n");
    }
    let word = json!({"choices": [{"index": 0, "delta": {"content": "word"}, "text": "word"}]});
    let last = json!({"choices": [], "usage": usage()});
    format!("data: {word}\n\ndata: {last}\n\ndata: [DONE]\n\n")
}
