//! Request bodies of the chat and the plain completions endpoint.
//!
//! A field that would change the answer and is not supported is an error, never ignored: the answer must be a
//! function of the body alone, and the client must be able to rely on it.

use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::engine::{Endpoint, EngineError};
use crate::sampling::Sampling;
use crate::template::Message;

const MAX_CHOICES: u64 = 4;
const MAX_STOPS: usize = 4;
const MAX_STOP_BYTES: usize = 256;
const MAX_TOP_LOGPROBS: u64 = 20;
const MAX_MESSAGES: usize = 2048;

/// Fields that bear on bookkeeping only.
const INERT: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "parallel_tool_calls",
];

/// A conversation or a raw prompt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    Chat(ChatInput),
    Prompt(String),
    Tokens(Vec<u32>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatInput {
    pub(crate) messages: Vec<Message>,
}

/// A checked request, before tokenizing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) endpoint: Endpoint,
    pub(crate) input: Input,
    /// The seed is absent if the body has none.
    pub(crate) sampling: Sampling,
    pub(crate) seed: Option<u64>,
    pub(crate) choices: u32,
    /// Per choice.
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stops: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// How many alternatives to report per token, if log probabilities are wanted at all.
    pub(crate) log_probs: Option<usize>,
}

/// Parses a body for a model called `model`.
pub(crate) fn parse(
    endpoint: Endpoint,
    body: &[u8],
    model: &str,
    defaults: &Sampling,
) -> Result<Request, EngineError> {
    if !matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions) {
        let message = format!("the model `{model}` does not answer at {}", endpoint.path());
        return Err(EngineError::bad("model", message));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| EngineError::BadRequest {
        message: format!("the body is not valid JSON: {error}"),
        param: None,
    })?;
    let fields = Fields::top(&value)?;
    let asked = fields.required("model")?;
    let asked = asked.as_str().ok_or_else(|| wrong("model", "a string", asked))?;
    if asked != model {
        return Err(EngineError::UnknownModel { asked: asked.to_owned(), serves: model.to_owned() });
    }
    let (input, log_probs, specific) = match endpoint {
        Endpoint::ChatCompletions => (chat_input(&fields)?, chat_log_probs(&fields)?, CHAT_FIELDS),
        _ => (prompt_input(&fields)?, prompt_log_probs(&fields)?, PROMPT_FIELDS),
    };
    unsupported(&fields, specific)?;
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let seed = seed(&fields)?;
    Ok(Request {
        endpoint,
        input,
        sampling: sampling(&fields, seed, defaults)?,
        seed,
        choices: u32::try_from(fields.integer("n", 1..=MAX_CHOICES)?.unwrap_or(1)).unwrap_or(1),
        max_tokens: max_tokens(&fields, endpoint)?,
        stops: stops(&fields)?,
        stream,
        include_usage: include_usage(&fields, stream)?,
        log_probs,
    })
}

const COMMON_FIELDS: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "seed",
    "n",
    "max_tokens",
    "stop",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
];
const CHAT_FIELDS: &[&str] = &["messages", "max_completion_tokens", "top_logprobs"];
const PROMPT_FIELDS: &[&str] = &["prompt"];

/// Rejects every field that is neither used, inert, nor set to what it means by default.
fn unsupported(fields: &Fields<'_>, specific: &[&str]) -> Result<(), EngineError> {
    for key in fields.keys() {
        if COMMON_FIELDS.contains(&key) || specific.contains(&key) || INERT.contains(&key) {
            continue;
        }
        let value = fields.get(key).unwrap_or(&Value::Null);
        let harmless = match key {
            "tools" | "functions" => value.as_array().is_some_and(Vec::is_empty),
            "tool_choice" | "function_call" => matches!(value.as_str(), Some("none" | "auto")),
            "response_format" => value.get("type").and_then(Value::as_str) == Some("text"),
            "modalities" => value.as_array().is_some_and(|all| all.iter().all(|m| m == "text")),
            "logit_bias" => value.as_object().is_some_and(serde_json::Map::is_empty),
            "best_of" => value.as_u64() == Some(fields.get("n").and_then(Value::as_u64).unwrap_or(1)),
            "echo" => value.as_bool() == Some(false),
            "suffix" => value.as_str() == Some(""),
            _ => false,
        };
        if !harmless {
            return Err(EngineError::bad(key, format!("`{key}` is not supported by this model")));
        }
    }
    Ok(())
}

fn chat_input(fields: &Fields<'_>) -> Result<Input, EngineError> {
    let value = fields.required("messages")?;
    let Value::Array(items) = value else { return Err(wrong("messages", "an array", value)) };
    if items.is_empty() {
        return Err(EngineError::bad("messages", "`messages` must have at least one message"));
    }
    if items.len() > MAX_MESSAGES {
        let text = format!("`messages` may have at most {MAX_MESSAGES} messages, got {}", items.len());
        return Err(EngineError::bad("messages", text));
    }
    let messages = items.iter().enumerate().map(|(i, item)| message(item, i)).collect::<Result<_, _>>()?;
    Ok(Input::Chat(ChatInput { messages }))
}

fn message(value: &Value, index: usize) -> Result<Message, EngineError> {
    let fields = Fields::nested(value, format!("messages[{index}]"))?;
    let path = fields.path("role");
    let role = fields.required("role")?;
    let role = match role.as_str().ok_or_else(|| wrong(&path, "a string", role))? {
        role @ ("system" | "user" | "assistant") => role,
        "developer" => "system",
        other => {
            let text = format!(
                "`{path}` is `{other}`, but this model knows only system, developer, user and assistant"
            );
            return Err(EngineError::bad(&path, text));
        }
    };
    for key in ["tool_calls", "function_call", "audio"] {
        if fields.get(key).is_some_and(|value| value.as_array().is_none_or(|calls| !calls.is_empty())) {
            let path = fields.path(key);
            return Err(EngineError::bad(&path, format!("`{path}` is not supported by this model")));
        }
    }
    let content = content(fields.required("content")?, &fields.path("content"))?;
    Ok(Message { role: role.to_owned(), content })
}

/// A string, or an array of text parts.
fn content(value: &Value, path: &str) -> Result<String, EngineError> {
    let parts = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        other => return Err(wrong(path, "a string or an array of text parts", other)),
    };
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let fields = Fields::nested(part, format!("{path}[{i}]"))?;
        let at = fields.path("type");
        match fields.string("type")? {
            Some("text") => {}
            Some(other) => {
                let text = format!("`{at}` is `{other}`, but this model reads only text");
                return Err(EngineError::bad(&at, text));
            }
            None => return Err(EngineError::bad(&at, format!("`{at}` is missing"))),
        }
        let part = fields.required("text")?;
        text.push_str(part.as_str().ok_or_else(|| wrong(&fields.path("text"), "a string", part))?);
    }
    Ok(text)
}

fn prompt_input(fields: &Fields<'_>) -> Result<Input, EngineError> {
    let value = fields.required("prompt")?;
    let invalid = || wrong("prompt", "one string or an array of token ids", value);
    match value {
        Value::String(text) => Ok(Input::Prompt(text.clone())),
        Value::Array(items) if items.len() == 1 && items[0].is_string() => {
            items[0].as_str().map(|text| Input::Prompt(text.to_owned())).ok_or_else(invalid)
        }
        Value::Array(items) => {
            let token = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
            let tokens: Option<Vec<u32>> = items.iter().map(token).collect();
            tokens.map(Input::Tokens).ok_or_else(invalid)
        }
        _ => Err(invalid()),
    }
}

fn chat_log_probs(fields: &Fields<'_>) -> Result<Option<usize>, EngineError> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    if top.is_some() && !wanted {
        return Err(EngineError::bad("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
    }
    Ok(wanted.then(|| top.and_then(|top| usize::try_from(top).ok()).unwrap_or(0)))
}

fn prompt_log_probs(fields: &Fields<'_>) -> Result<Option<usize>, EngineError> {
    Ok(fields.integer("logprobs", 0..=5)?.and_then(|top| usize::try_from(top).ok()))
}

/// Any 64-bit integer, signed or not.
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, EngineError> {
    let Some(value) = fields.get("seed") else { return Ok(None) };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.map(Some).ok_or_else(|| wrong("seed", "a 64-bit integer", value))
}

fn sampling(fields: &Fields<'_>, seed: Option<u64>, defaults: &Sampling) -> Result<Sampling, EngineError> {
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(defaults.temperature),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(defaults.top_p),
        seed: seed.unwrap_or(0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
    })
}

fn max_tokens(fields: &Fields<'_>, endpoint: Endpoint) -> Result<Option<u64>, EngineError> {
    let old = fields.integer("max_tokens", 1..=u64::MAX)?;
    if endpoint != Endpoint::ChatCompletions {
        return Ok(old);
    }
    let new = fields.integer("max_completion_tokens", 1..=u64::MAX)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(EngineError::bad(
            "max_tokens",
            "`max_tokens` and `max_completion_tokens` differ, give only one of them",
        )),
        (old, new) => Ok(new.or(old)),
    }
}

fn stops(fields: &Fields<'_>) -> Result<Vec<String>, EngineError> {
    let items = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(value @ Value::Array(items)) => {
            let strings: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            strings.ok_or_else(|| {
                EngineError::bad("stop", format!("`stop` must hold only strings, got {value}"))
            })?
        }
        Some(other) => return Err(wrong("stop", "a string or an array of strings", other)),
    };
    if items.len() > MAX_STOPS {
        let text = format!("`stop` may have at most {MAX_STOPS} strings, got {}", items.len());
        return Err(EngineError::bad("stop", text));
    }
    if items.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        let text = format!("every string in `stop` must have between 1 and {MAX_STOP_BYTES} bytes");
        return Err(EngineError::bad("stop", text));
    }
    Ok(items)
}

fn include_usage(fields: &Fields<'_>, stream: bool) -> Result<bool, EngineError> {
    let Some(value) = fields.get("stream_options") else { return Ok(false) };
    if !stream {
        return Err(EngineError::bad("stream_options", "`stream_options` needs `stream` to be true"));
    }
    let options = Fields::nested(value, "stream_options".to_owned())?;
    Ok(options.boolean("include_usage")?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use serde_json::json;

    fn chat(body: &Value) -> Result<Request, EngineError> {
        let mut full = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in body.as_object().unwrap() {
            full[key] = value.clone();
        }
        parse(Endpoint::ChatCompletions, full.to_string().as_bytes(), "m", &Sampling::default())
    }

    fn error(body: &Value) -> (Option<String>, String) {
        match chat(body) {
            Err(EngineError::BadRequest { message, param }) => (param, message),
            other => (None, format!("unexpected {other:?}")),
        }
    }

    #[test]
    fn reads_every_parameter() {
        let request = chat(&json!({
            "temperature": 0.5, "top_p": 0.9, "seed": -1, "n": 2, "max_completion_tokens": 7, "stop": ["a", "b"],
            "stream": true, "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 3,
            "frequency_penalty": 1, "presence_penalty": null, "user": "u", "tools": [],
        }))
        .unwrap();
        assert_eq!(request.sampling.seed, u64::MAX);
        assert_eq!((request.choices, request.max_tokens, request.log_probs), (2, Some(7), Some(3)));
        assert_eq!(request.stops, ["a", "b"]);
        assert!(request.stream && request.include_usage);
        assert_eq!((request.sampling.temperature, request.sampling.frequency_penalty), (0.5, 1.0));
    }

    #[test]
    fn joins_text_parts_and_maps_developer() {
        let content = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let request = chat(&json!({"messages": [{"role": "developer", "content": content}]})).unwrap();
        let Input::Chat(chat) = request.input else { unreachable!() };
        assert_eq!((chat.messages[0].role.as_str(), chat.messages[0].content.as_str()), ("system", "ab"));
    }

    #[test]
    fn every_error_names_its_field() {
        let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        let cases = [
            (json!({"temperature": "hot"}), "temperature", "must be a number, got a string"),
            (json!({"temperature": 2.1}), "temperature", "between 0 and 2, got 2.1"),
            (json!({"top_p": -0.1}), "top_p", "between 0 and 1"),
            (json!({"n": 5}), "n", "between 1 and 4, got 5"),
            (json!({"n": 1.5}), "n", "must be an integer, got a fractional number"),
            (json!({"max_tokens": 0}), "max_tokens", "at least 1, got 0"),
            (json!({"max_tokens": -3}), "max_tokens", "at least 1, got -3"),
            (json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_tokens", "give only one"),
            (json!({"seed": 1.5}), "seed", "64-bit integer"),
            (json!({"stop": ["a", 1]}), "stop", "only strings"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop", "at most 4"),
            (json!({"stop": ""}), "stop", "between 1 and"),
            (json!({"stream": "yes"}), "stream", "must be a boolean"),
            (json!({"stream_options": {}}), "stream_options", "needs `stream`"),
            (json!({"top_logprobs": 2}), "top_logprobs", "needs `logprobs`"),
            (json!({"tools": [{}]}), "tools", "not supported"),
            (json!({"top_k": 5}), "top_k", "not supported"),
            (json!({"response_format": {"type": "json_object"}}), "response_format", "not supported"),
            (json!({"messages": []}), "messages", "at least one"),
            (json!({"messages": "hi"}), "messages", "must be an array, got a string"),
            (json!({"messages": [{"role": "tool", "content": ""}]}), "messages[0].role", "knows only"),
            (json!({"messages": [{"content": ""}]}), "messages[0].role", "is missing"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content", "is missing"),
            (
                json!({"messages": [{"role": "user", "content": 3}]}),
                "messages[0].content",
                "must be a string",
            ),
            (
                json!({"messages": [{"role": "user", "content": image}]}),
                "messages[0].content[0].type",
                "only text",
            ),
        ];
        for (body, param, text) in cases {
            let (got, message) = error(&body);
            assert_eq!(got.as_deref(), Some(param), "{body}: {message}");
            assert!(message.contains(text), "{body}: {message}");
        }
    }

    #[test]
    fn rejects_what_is_not_a_request() {
        let parse =
            |body: &[u8]| parse(Endpoint::ChatCompletions, body, "m", &Sampling::default()).unwrap_err();
        assert!(parse(b"{\"model\": ").to_string().contains("not valid JSON"));
        assert!(parse(b"[]").to_string().contains("must be a JSON object, got an array"));
        assert!(parse(b"\xff").to_string().contains("not valid JSON"));
        let unknown = parse(br#"{"model": "gpt-5", "messages": []}"#);
        assert_eq!(unknown, EngineError::UnknownModel { asked: "gpt-5".into(), serves: "m".into() });
        assert!(super::parse(Endpoint::Embeddings, b"{}", "m", &Sampling::default()).is_err());
    }

    #[test]
    fn prompts_come_as_text_or_tokens() {
        let prompt = |prompt: Value| {
            let body = json!({"model": "m", "prompt": prompt}).to_string();
            parse(Endpoint::Completions, body.as_bytes(), "m", &Sampling::default())
                .map(|request| request.input)
        };
        assert_eq!(prompt(json!("a")).unwrap(), Input::Prompt("a".into()));
        assert_eq!(prompt(json!(["a"])).unwrap(), Input::Prompt("a".into()));
        assert_eq!(prompt(json!([1, 2])).unwrap(), Input::Tokens(vec![1, 2]));
        assert!(prompt(json!(["a", "b"])).is_err());
        assert!(prompt(json!(3)).is_err());
    }
}
