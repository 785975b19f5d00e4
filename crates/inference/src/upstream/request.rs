//! What must be known of a body before it is sent on, and the few changes that it is sent on with.

use std::borrow::Cow;

use atoma_types::wire::image_pixels;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use super::count::{Count, Counter};
use super::splice::{Edit, Object, ObjectError, Place, splice};
use crate::engine::{Endpoint, EngineError, Prepared};

/// Input tokens that a chat template may add to the conversation, beside what it adds to each message.
const TEMPLATE_TOKENS: u64 = 256;
/// Input tokens of an image of which the body names only the address; it does so with these words, once or twice.
const IMAGE_TOKENS: u64 = 8_192;
const IMAGE_WORDS: &[u8] = b"image_url";
/// Output tokens of a choice that its text need not show.
const SLACK_TOKENS: u64 = 16;
const CHOICES_MAX: u64 = 128;
/// By how much an exact count of the prompt may differ from the engine's: marks of its beginning and its end.
const MARK_TOKENS: u64 = 16;

const NAMES: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "size",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "messages",
    "prompt",
    "input",
    "instructions",
    "tools",
    "n_predict",
    "background",
    "previous_response_id",
    "conversation",
];
/// What an engine that honours it does outside of what the client pays for, or with what another client said.
const REFUSED: &[&str] = &["n_predict", "background", "previous_response_id", "conversation"];
const STREAM_OPTIONS: &[&str] = &["include_usage"];

/// What of an engine a request depends on.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) label: String,
    /// What the server calls it, if that differs.
    pub(super) upstream: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) context_tokens: u64,
    pub(super) counter: Counter,
}

/// A request that can be sent on.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    body: Bytes,
    edits: Vec<Edit>,
    /// Where a limit on each choice's tokens goes, if the body has none.
    cap: Option<Place>,
    pub(super) stream: bool,
    /// The client did not ask for the chunk with the usage.
    pub(super) hide_usage: bool,
    pub(super) choices: u64,
    /// Pixels of one image.
    pub(super) pixels: u64,
    pub(super) input: Input,
    /// Output tokens that need not show in the text.
    pub(super) unseen: u64,
    context_tokens: u64,
}

/// What is known of the input's tokens before the engine tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) most: u64,
    /// Exact, or the next best thing.
    pub(super) counted: u64,
    /// Whether `counted` comes from a tokenizer.
    pub(super) is_tokenized: bool,
}

impl Model {
    /// Reads a body. It is not changed by this, and what it means is for the server to judge.
    pub(super) fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        if !self.endpoints.contains(&endpoint) {
            let message = format!("the model `{}` does not answer at {}", self.label, endpoint.path());
            return Err(EngineError::bad("model", message));
        }
        let text = std::str::from_utf8(body).map_err(|_| bad_body("the body is not UTF-8"))?;
        let object = Object::read(text, NAMES).map_err(|error| match &error {
            ObjectError::Json(_) => bad_body(&error.to_string()),
            ObjectError::Twice(name) => EngineError::bad(name, error.to_string()),
        })?;
        self.check_model(&object)?;
        check_refused(&object)?;
        let stream = boolean(&object, "stream")?.unwrap_or(false);
        if stream && matches!(endpoint, Endpoint::Embeddings | Endpoint::Images) {
            return Err(EngineError::bad("stream", "this endpoint does not stream"));
        }
        let choices = choices(&object, endpoint)?;
        let asked = asked(&object, endpoint)?;
        let input = self.input(&object, endpoint, body);
        self.check_context(&input, asked, endpoint)?;
        let mut edits = Vec::new();
        if let Some(upstream) = &self.upstream {
            edits.push(object.place("model").write(&serde_json::Value::from(upstream.as_str()).to_string()));
        }
        let hide_usage = match (stream, endpoint) {
            (true, Endpoint::ChatCompletions | Endpoint::Completions) => ask_for_usage(&object, &mut edits)?,
            _ => false,
        };
        let pixels = match endpoint {
            Endpoint::Images => image_pixels(value::<Cow<'_, str>>(&object, "size")?.as_deref()),
            _ => 0,
        };
        let request = Request {
            endpoint,
            body: body.clone(),
            edits,
            cap: cap_place(&object, endpoint, asked),
            stream,
            hide_usage,
            choices,
            pixels,
            input,
            unseen: longest_stop(&object).saturating_add(SLACK_TOKENS).saturating_mul(choices),
            context_tokens: self.context_tokens,
        };
        let most = match endpoint {
            Endpoint::Images => Some(pixels.saturating_mul(choices)),
            _ => asked.map(|asked| asked.saturating_mul(choices)),
        };
        Ok(Prepared::new(input.most, most, stream, request).broken_off_at(input.counted))
    }

    fn check_model(&self, object: &Object<'_>) -> Result<(), EngineError> {
        let asked: Cow<'_, str> =
            value(object, "model")?.ok_or_else(|| EngineError::bad("model", "`model` is missing"))?;
        if asked == self.label.as_str() {
            return Ok(());
        }
        Err(EngineError::UnknownModel { asked: asked.into_owned(), serves: self.label.clone() })
    }

    /// A prompt of which it is certain that it does not fit need not be sent.
    fn check_context(
        &self,
        input: &Input,
        asked: Option<u64>,
        endpoint: Endpoint,
    ) -> Result<(), EngineError> {
        let output = asked.unwrap_or(1);
        let limit = self.context_tokens;
        let generates =
            matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses);
        if !generates || !input.is_tokenized || input.counted.saturating_add(output) <= limit {
            return Ok(());
        }
        let param = match endpoint {
            _ if input.counted < limit => limit_name(endpoint),
            Endpoint::ChatCompletions => "messages",
            Endpoint::Completions => "prompt",
            _ => "input",
        };
        Err(EngineError::ContextLength { input_tokens: input.counted, output_tokens: output, limit, param })
    }

    fn input(&self, object: &Object<'_>, endpoint: Endpoint, body: &[u8]) -> Input {
        if endpoint == Endpoint::Images {
            return Input { most: 0, counted: 0, is_tokenized: false };
        }
        let most = input_most(body);
        let texts = texts(object, endpoint);
        let Count { tokens, is_exact } = self.counter.count(&texts, endpoint != Endpoint::ChatCompletions);
        // Only of a plain prompt or a text to embed is known what the engine makes of it.
        let whole = is_exact && matches!(endpoint, Endpoint::Completions | Endpoint::Embeddings);
        let marks = MARK_TOKENS.saturating_mul(count(texts.len().max(1)));
        let most = if whole { most.min(tokens.saturating_add(marks)) } else { most };
        Input { most, counted: tokens.min(most), is_tokenized: is_exact }
    }
}

impl Request {
    /// The body for the server, such that it makes at most `limit` tokens over all choices.
    ///
    /// A limit that might not fit into the context beside the prompt is left out: servers refuse such, and the
    /// context then bounds the answer to about as much.
    pub(super) fn body(&mut self, limit: u64) -> Bytes {
        let mut edits = std::mem::take(&mut self.edits);
        let each = limit / self.choices.max(1);
        let around = self.input.counted.saturating_add(self.input.counted / 4).saturating_add(64);
        if let Some(place) = self.cap.take()
            && around.saturating_add(each) <= self.context_tokens
        {
            edits.push(place.write(&each.to_string()));
        }
        splice(&self.body, edits)
    }
}

fn bad_body(message: &str) -> EngineError {
    EngineError::BadRequest { message: message.to_owned(), param: None }
}

fn wrong_type(name: &str, what: &str) -> EngineError {
    EngineError::bad(name, format!("`{name}` must be {what}"))
}

fn value<'a, T: Deserialize<'a>>(object: &Object<'a>, name: &str) -> Result<Option<T>, EngineError> {
    let Some(raw) = object.get(name) else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| wrong_type(name, "of another type"))
}

fn boolean(object: &Object<'_>, name: &str) -> Result<Option<bool>, EngineError> {
    value(object, name).map_err(|_| wrong_type(name, "a boolean"))
}

fn integer(object: &Object<'_>, name: &str) -> Result<Option<u64>, EngineError> {
    value(object, name).map_err(|_| wrong_type(name, "an integer that is not negative"))
}

/// The value, if it is there and of this type; anything else is for the server to refuse.
fn lenient<T: DeserializeOwned>(object: &Object<'_>, name: &str) -> Option<T> {
    value(object, name).ok().flatten()
}

fn check_refused(object: &Object<'_>) -> Result<(), EngineError> {
    let harmless = |raw: &RawValue| raw.get() == "false";
    match REFUSED.iter().find(|name| object.get(name).is_some_and(|raw| !harmless(raw))) {
        Some(name) => Err(EngineError::bad(name, format!("`{name}` is not supported by this model"))),
        None => Ok(()),
    }
}

fn choices(object: &Object<'_>, endpoint: Endpoint) -> Result<u64, EngineError> {
    if matches!(endpoint, Endpoint::Responses | Endpoint::Embeddings) {
        return Ok(1);
    }
    let n = integer(object, "n")?.unwrap_or(1);
    if n == 0 || n > CHOICES_MAX {
        return Err(EngineError::bad("n", format!("`n` must be between 1 and {CHOICES_MAX}, got {n}")));
    }
    if integer(object, "best_of")?.is_some_and(|best_of| best_of != n) {
        return Err(EngineError::bad("best_of", "`best_of` must be equal to `n`"));
    }
    let prompts = lenient::<Vec<IgnoredAny>>(object, "prompt").map_or(0, |prompts| prompts.len());
    let is_ids = lenient::<Vec<u64>>(object, "prompt").is_some();
    if endpoint == Endpoint::Completions && prompts > 1 && !is_ids {
        return Err(EngineError::bad("prompt", "send one prompt per request"));
    }
    Ok(n)
}

/// Output tokens that the body asks for, of each choice.
fn asked(object: &Object<'_>, endpoint: Endpoint) -> Result<Option<u64>, EngineError> {
    match endpoint {
        Endpoint::ChatCompletions => {
            let old = integer(object, "max_tokens")?;
            match (old, integer(object, "max_completion_tokens")?) {
                (Some(old), Some(new)) if old != new => Err(EngineError::bad(
                    "max_tokens",
                    "`max_tokens` and `max_completion_tokens` differ, give only one of them",
                )),
                (old, new) => Ok(new.or(old)),
            }
        }
        Endpoint::Completions => integer(object, "max_tokens"),
        Endpoint::Responses => integer(object, "max_output_tokens"),
        Endpoint::Embeddings => Ok(Some(0)),
        Endpoint::Images => Ok(None),
    }
}

const fn limit_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Responses => "max_output_tokens",
        _ => "max_tokens",
    }
}

fn cap_place(object: &Object<'_>, endpoint: Endpoint, asked: Option<u64>) -> Option<Place> {
    match endpoint {
        _ if asked.is_some() => None,
        Endpoint::Embeddings | Endpoint::Images => None,
        _ => Some(object.place(limit_name(endpoint))),
    }
}

/// Has the server report usage at the end of a stream; true if the client did not ask for it.
fn ask_for_usage(object: &Object<'_>, edits: &mut Vec<Edit>) -> Result<bool, EngineError> {
    let Some(options) = object.get("stream_options") else {
        edits.push(object.place("stream_options").write("{\"include_usage\":true}"));
        return Ok(true);
    };
    let inner = object.nested(options, STREAM_OPTIONS);
    let inner = inner.map_err(|_| wrong_type("stream_options", "an object without repeated members"))?;
    let asked = boolean(&inner, "include_usage").map_err(|_| wrong_type("stream_options", "well-formed"))?;
    if asked == Some(true) {
        return Ok(false);
    }
    edits.push(inner.place("include_usage").write("true"));
    Ok(true)
}

fn longest_stop(object: &Object<'_>) -> u64 {
    let stops = match lenient::<String>(object, "stop") {
        Some(stop) => vec![stop],
        None => lenient::<Vec<String>>(object, "stop").unwrap_or_default(),
    };
    count(stops.iter().map(String::len).max().unwrap_or(0))
}

/// Most input tokens that a client accepts for a body: a token covers at least one byte of it, the template adds 256,
/// and an image may be elsewhere.
fn input_most(body: &[u8]) -> u64 {
    let images = count(memchr::memmem::find_iter(body, IMAGE_WORDS).count());
    count(body.len()).saturating_add(TEMPLATE_TOKENS).saturating_add(images.saturating_mul(IMAGE_TOKENS))
}

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text<'a> {
    Words(Cow<'a, str>),
    /// So many tokens, given by their numbers.
    Ids(u64),
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(#[serde(borrow)] Vec<Part<'a>>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

/// What of a body the model reads, as far as that can be seen.
fn texts<'a>(object: &Object<'a>, endpoint: Endpoint) -> Vec<Text<'a>> {
    let mut texts = match endpoint {
        Endpoint::ChatCompletions => messages(object, "messages"),
        Endpoint::Completions => plain(object, "prompt"),
        Endpoint::Embeddings => plain(object, "input"),
        Endpoint::Responses => {
            let input = plain(object, "input");
            if input.is_empty() { messages(object, "input") } else { input }
        }
        Endpoint::Images => Vec::new(),
    };
    if matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Responses) {
        texts.extend(plain(object, "instructions"));
        texts.extend(object.get("tools").map(|tools| Text::Words(tools.get().into())));
    }
    texts
}

fn messages<'a>(object: &Object<'a>, name: &str) -> Vec<Text<'a>> {
    let messages: Vec<Message<'a>> = value(object, name).ok().flatten().unwrap_or_default();
    let mut texts = Vec::new();
    for message in messages {
        match message.content {
            Some(Content::Text(text)) => texts.push(Text::Words(text)),
            Some(Content::Parts(parts)) => {
                texts.extend(parts.into_iter().filter_map(|part| part.text).map(Text::Words));
            }
            Some(Content::Other(_)) | None => {}
        }
    }
    texts
}

fn plain<'a>(object: &Object<'a>, name: &str) -> Vec<Text<'a>> {
    match value::<Texts<'a>>(object, name).ok().flatten() {
        Some(Texts::One(text)) => vec![Text::Words(text)],
        Some(Texts::Many(texts)) => texts.into_iter().map(Text::Words).collect(),
        Some(Texts::Ids(ids)) => vec![Text::Ids(count(ids.len()))],
        Some(Texts::ManyIds(all)) => all.iter().map(|ids| Text::Ids(count(ids.len()))).collect(),
        None => Vec::new(),
    }
}

pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn model() -> Model {
        Model {
            label: "sold".into(),
            upstream: None,
            endpoints: Endpoint::ALL.to_vec(),
            context_tokens: 1_000,
            counter: Counter::new(None, 1_000).unwrap(),
        }
    }

    fn prepare(model: &Model, endpoint: Endpoint, body: &str) -> Result<Prepared, EngineError> {
        model.prepare(endpoint, &Bytes::from(body.to_owned()))
    }

    /// What is sent for a chat body, with a limit.
    fn sent(model: &Model, body: &str, limit: u64) -> String {
        let prepared = prepare(model, Endpoint::ChatCompletions, body).unwrap();
        let mut request: Request = prepared.into_payload().unwrap();
        String::from_utf8(request.body(limit).to_vec()).unwrap()
    }

    fn param(endpoint: Endpoint, body: &str) -> String {
        match prepare(&model(), endpoint, body) {
            Err(EngineError::BadRequest { param: Some(param), .. }) => param,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_body_that_says_all_is_sent_as_it_came() {
        let body = "{ \"model\":\"sold\" , \"x\\u0079\":[1.50, 1e3],\n\"max_tokens\": 9, \"stream\":true,\
                    \"stream_options\":{\"include_usage\":true},\"n\":2}";
        assert_eq!(sent(&model(), body, 18), body);
    }

    #[test]
    fn only_what_must_differ_is_changed() {
        let named = Model { upstream: Some("org/\"Real\"".into()), ..model() };
        assert_eq!(
            sent(&named, r#"{"a":1,"model": "sold","max_tokens":5}"#, 5),
            r#"{"a":1,"model": "org/\"Real\"","max_tokens":5}"#
        );
        let body = r#"{"model":"sold","stream":true,"stream_options":{"x":1,"include_usage":false},"n":2}"#;
        let expected = r#"{"max_tokens":7,"model":"sold","stream":true,"stream_options":{"x":1,"include_usage":true},"n":2}"#;
        assert_eq!(sent(&model(), body, 15), expected);
        let body = r#"{"model":"sold","stream":true,"max_tokens":null}"#;
        let expected =
            r#"{"stream_options":{"include_usage":true},"model":"sold","stream":true,"max_tokens":30}"#;
        assert_eq!(sent(&model(), body, 30), expected);
        let hides = |options: &str| {
            let body = format!("{{\"model\":\"sold\",\"stream\":true,\"stream_options\":{options}}}");
            let prepared = prepare(&model(), Endpoint::ChatCompletions, &body).unwrap();
            prepared.payload::<Request>().unwrap().hide_usage
        };
        assert!(hides("null") && hides("{}") && hides("{\"include_usage\":null}"));
        assert!(!hides("{\"include_usage\":true}"));
    }

    #[test]
    fn a_limit_that_may_not_fit_beside_the_prompt_is_the_contexts() {
        let body = format!(
            r#"{{"model":"sold","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "word".repeat(400)
        );
        assert!(sent(&model(), &body, 400).contains("max_tokens"));
        assert_eq!(sent(&model(), &body, 500), body);
        let body = r#"{"model":"sold","input":"hi"}"#;
        let prepared = prepare(&model(), Endpoint::Responses, body).unwrap();
        let mut request: Request = prepared.into_payload().unwrap();
        assert_eq!(&request.body(3)[..], br#"{"max_output_tokens":3,"model":"sold","input":"hi"}"#);
    }

    #[test]
    fn the_bounds_are_those_of_a_client() {
        let at = |endpoint, body: &str| {
            let prepared = prepare(&model(), endpoint, body).unwrap();
            (prepared.input_tokens, prepared.input_tokens_broken_off, prepared.max_output_tokens)
        };
        let body = json!({"model": "sold", "n": 2, "max_completion_tokens": 3, "stop": ["ab", "abc"], "messages": [
            {"role": "system", "content": "12345678"},
            {"role": "user", "content": [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:"}}]},
            {"role": "assistant", "content": null},
        ]})
        .to_string();
        assert_eq!(at(Endpoint::ChatCompletions, &body), (count(body.len()) + 256 + 2 * 8_192, 3, Some(6)));
        let prepared = prepare(&model(), Endpoint::ChatCompletions, &body).unwrap();
        assert_eq!(prepared.payload::<Request>().unwrap().unseen, 2 * (3 + 16));
        let images = r#"{"model":"sold","prompt":"a cat","n":2,"size":"512x256"}"#;
        assert_eq!(at(Endpoint::Images, images), (0, 0, Some(2 * 512 * 256)));
        // Token ids are counted exactly, up to the marks around them.
        let ids = format!(r#"{{"model":"sold","input":[[1,2,3],{}]}}"#, json!(vec![7; 200]));
        assert_eq!(at(Endpoint::Embeddings, &ids), (203 + 32, 203, Some(0)));
        let responses = r#"{"model":"sold","input":[{"role":"user","content":[{"type":"input_text","text":"12345678"}]}]}"#;
        assert_eq!(at(Endpoint::Responses, responses), (count(responses.len()) + 256, 2, None));
    }

    #[test]
    fn what_cannot_be_charged_right_is_refused() {
        let chat = |extra: &str| param(Endpoint::ChatCompletions, &format!(r#"{{"model":"sold",{extra}}}"#));
        assert_eq!(chat(r#""max_tokens":1,"max_tokens":2"#), "max_tokens");
        assert_eq!(chat(r#""max_tokens":1,"max_completion_tokens":2"#), "max_tokens");
        assert_eq!(chat(r#""max_tokens":-1"#), "max_tokens");
        assert_eq!(chat(r#""max_tokens":"9""#), "max_tokens");
        assert_eq!(chat(r#""n":0"#), "n");
        assert_eq!(chat(r#""n":2,"best_of":3"#), "best_of");
        assert_eq!(chat(r#""n_predict":9"#), "n_predict");
        assert_eq!(chat(r#""stream":1"#), "stream");
        assert_eq!(chat(r#""stream":true,"stream_options":[]"#), "stream_options");
        assert_eq!(
            chat(r#""stream":true,"stream_options":{"include_usage":true,"include_usage":false}"#),
            "stream_options"
        );
        assert_eq!(
            param(Endpoint::Responses, r#"{"model":"sold","previous_response_id":"r"}"#),
            "previous_response_id"
        );
        assert_eq!(param(Endpoint::Completions, r#"{"model":"sold","prompt":["a","b"]}"#), "prompt");
        assert_eq!(param(Endpoint::Embeddings, r#"{"model":"sold","stream":true}"#), "stream");
        assert!(prepare(&model(), Endpoint::Responses, r#"{"model":"sold","background":false}"#).is_ok());
        assert!(prepare(&model(), Endpoint::Completions, r#"{"model":"sold","prompt":[1,2]}"#).is_ok());
        let other = prepare(&model(), Endpoint::ChatCompletions, r#"{"model":"other"}"#);
        assert!(matches!(other, Err(EngineError::UnknownModel { .. })));
        let ids = json!({"model": "sold", "prompt": vec![1; 1_000]}).to_string();
        let long = prepare(&model(), Endpoint::Completions, &ids);
        assert!(matches!(long, Err(EngineError::ContextLength { param: "prompt", .. })), "{long:?}");
        let chat_only = Model { endpoints: vec![Endpoint::ChatCompletions], ..model() };
        assert!(prepare(&chat_only, Endpoint::Embeddings, r#"{"model":"sold"}"#).is_err());
        for broken in ["", "[]", "{", "{\"model\":\"sold\"} x"] {
            let error = prepare(&model(), Endpoint::ChatCompletions, broken).unwrap_err();
            assert!(matches!(error, EngineError::BadRequest { param: None, .. }), "{broken}");
        }
    }
}
