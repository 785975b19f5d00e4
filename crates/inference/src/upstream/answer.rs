//! What an engine's answer says of itself: its text, its usage, its end.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::count::{Counter, Meter};
use super::request::{Request, count};
use crate::engine::Endpoint;

/// Choices whose text is counted apart.
const METERS_MAX: usize = 128;

/// Token counts as the engine gives them, under either of their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
}

impl Usage {
    fn input(self) -> Option<u64> {
        let told = self.prompt_tokens.or(self.input_tokens);
        told.or_else(|| self.total_tokens?.checked_sub(self.completion_tokens.unwrap_or(0)))
    }

    fn output(self) -> Option<u64> {
        let told = self.completion_tokens.or(self.output_tokens);
        told.or_else(|| self.total_tokens?.checked_sub(self.prompt_tokens?))
    }
}

/// An answer, or an event of one.
#[derive(Default, Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// What the last events of `/v1/responses` hold.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default, alias = "message")]
    delta: Said<'a>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

impl Choice<'_> {
    /// What can be read of it. Tool calls count as the JSON that they are written in.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let said = &self.delta;
        // Some servers send their reasoning under two names.
        let reasoning = said.reasoning_content.as_ref().or(said.reasoning.as_ref());
        let calls = said.tool_calls.map(RawValue::get);
        let words = [self.text.as_ref(), said.content.as_ref(), reasoning, said.refusal.as_ref()];
        words.into_iter().flatten().map(AsRef::as_ref).chain(calls)
    }
}

/// What an event is to its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of the answer.
    Part,
    /// Nothing but the usage.
    Usage,
    /// The last part of an answer that has no other end.
    Last,
    /// The engine says that it could not go on.
    Error(String),
}

/// Not JSON, or no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Adds up what comes of one answer.
#[derive(Debug, Default)]
pub(super) struct Tally {
    meters: Vec<Meter>,
    /// By the tokenizer, of each choice.
    tokenized: Vec<u64>,
    /// Parts of choices that hold text.
    parts: u64,
    /// Most tokens that a client can see in what came: one for each byte of text and at least one for each part.
    visible: u64,
    usage: Option<Usage>,
    images: u64,
}

/// What an answer is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) input: u64,
    pub(super) output: u64,
    /// The engine claimed more than this.
    pub(super) is_overstated: bool,
}

impl Tally {
    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &str, counter: &Counter) -> Result<Kind, Unreadable> {
        let body = read(data)?;
        if let Some(error) = body.error {
            return Ok(Kind::Error(error.get().to_owned()));
        }
        let kind = body.kind.as_deref().unwrap_or_default();
        if kind == "error" {
            return Ok(Kind::Error(data.to_owned()));
        }
        if kind.starts_with("response") {
            return Ok(self.response_event(data, &body, counter));
        }
        self.take_usage(body.usage);
        if body.choices.is_empty() && self.usage.is_some() && body.usage.is_some() {
            return Ok(Kind::Usage);
        }
        self.take_choices(&body.choices, counter);
        Ok(Kind::Part)
    }

    fn response_event(&mut self, data: &str, body: &Body<'_>, counter: &Counter) -> Kind {
        self.visible = self.visible.saturating_add(count(data.len()));
        match body.kind.as_deref().unwrap_or_default() {
            "response.completed" | "response.incomplete" => {
                self.take_usage(body.response.as_ref().and_then(|response| response.usage));
                Kind::Last
            }
            "response.failed" => Kind::Error(data.to_owned()),
            kind if kind.ends_with(".delta") => {
                self.parts = self.parts.saturating_add(1);
                if let Ok(Delta { delta }) = serde_json::from_str(data) {
                    self.measure(0, &delta, counter);
                }
                Kind::Part
            }
            _ => Kind::Part,
        }
    }

    /// Takes an answer that came as one body.
    pub(super) fn whole(
        &mut self,
        body: &[u8],
        endpoint: Endpoint,
        counter: &Counter,
    ) -> Result<Kind, Unreadable> {
        let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
        let body = read(text)?;
        if let Some(error) = body.error {
            return Ok(Kind::Error(error.get().to_owned()));
        }
        self.take_usage(body.usage);
        self.take_choices(&body.choices, counter);
        match endpoint {
            Endpoint::Responses => self.visible = count(text.len()),
            Endpoint::Images => {
                let images: Vec<IgnoredAny> =
                    body.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
                self.images = count(images.len());
            }
            _ => {}
        }
        Ok(Kind::Last)
    }

    fn take_usage(&mut self, usage: Option<&RawValue>) {
        let usage = usage.and_then(|usage| serde_json::from_str::<Option<Usage>>(usage.get()).ok()).flatten();
        self.usage = usage.or(self.usage);
    }

    fn take_choices(&mut self, choices: &[Choice<'_>], counter: &Counter) {
        for choice in choices {
            let bytes: usize = choice.texts().map(str::len).sum();
            self.visible = self.visible.saturating_add(count(bytes.max(1)));
            if bytes == 0 {
                continue;
            }
            self.parts = self.parts.saturating_add(1);
            for text in choice.texts() {
                self.measure(choice.index, text, counter);
            }
        }
    }

    fn measure(&mut self, choice: u64, text: &str, counter: &Counter) {
        if !counter.has_tokenizer() {
            return;
        }
        let index = usize::try_from(choice).unwrap_or(usize::MAX).min(METERS_MAX);
        if self.meters.len() <= index {
            self.meters.resize_with(index + 1, Meter::default);
            self.tokenized.resize(index + 1, 0);
        }
        if let (Some(meter), Some(tokens)) = (self.meters.get_mut(index), self.tokenized.get_mut(index)) {
            *tokens = meter.push(counter, text).unwrap_or(*tokens);
        }
    }

    /// Output tokens up to here, never more than a client can see in what came.
    pub(super) fn output_so_far(&self, limit: u64) -> u64 {
        let told = self.usage.and_then(Usage::output);
        told.unwrap_or_else(|| self.counted_output()).min(self.visible).min(limit)
    }

    fn counted_output(&self) -> u64 {
        if self.meters.is_empty() {
            return self.parts;
        }
        self.tokenized.iter().fold(0, |sum, tokens| sum.saturating_add(*tokens))
    }

    /// What the whole answer is charged for; `None` if neither the engine told nor it may be counted.
    pub(super) fn charge(&self, request: &Request, limit: u64, may_count: bool) -> Option<Charge> {
        if request.endpoint == Endpoint::Images {
            let output = self.images.saturating_mul(request.pixels);
            return Some(Charge { input: 0, output: output.min(limit), is_overstated: output > limit });
        }
        let told = self.usage.unwrap_or_default();
        let input = told.input().or(may_count.then_some(request.input.counted))?;
        let (output, output_max) = match request.endpoint {
            Endpoint::Embeddings => (0, 0),
            _ => {
                let output = told.output().or_else(|| may_count.then(|| self.counted_output()))?;
                (output, limit.min(self.visible.saturating_add(request.unseen)))
            }
        };
        Some(Charge {
            input: input.min(request.input.most),
            output: output.min(output_max),
            is_overstated: input > request.input.most || output > output_max,
        })
    }
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    delta: Cow<'a, str>,
}

/// What is understood of a JSON object; of one in another shape, nothing.
fn read(text: &str) -> Result<Body<'_>, Unreadable> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Unreadable);
    }
    match serde_json::from_str(text) {
        Ok(body) => Ok(body),
        Err(error) if error.is_data() && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Ok(Body::default())
        }
        Err(_) => Err(Unreadable),
    }
}

/// Longest word of an engine's error that is taken for a name.
const NAME_MAX: usize = 64;

/// An engine's error by its types and codes. Its other words may repeat what a user asked, and this goes to the log.
pub(super) fn name_of(error: &str) -> String {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    let is_name = |word: &str| {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        !word.is_empty() && word.len() <= NAME_MAX && word.bytes().all(named)
    };
    let places = ["/type", "/code", "/response/error/type", "/response/error/code"];
    let words = places.iter().filter_map(|place| match error.pointer(place)? {
        Value::String(word) if is_name(word) => Some(word.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn counter() -> Counter {
        Counter::new(None, 100).unwrap()
    }

    fn after(events: &[&str]) -> (Tally, Vec<Kind>) {
        let mut tally = Tally::default();
        let kinds = events.iter().map(|event| tally.event(event, &counter()).unwrap()).collect();
        (tally, kinds)
    }

    #[test]
    fn parts_usage_and_errors_are_told_apart() {
        let (tally, kinds) = after(&[
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":"four"}},{"index":1,"delta":{"tool_calls":[1]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text"}]}}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}"#,
            r#"{"choices":[],"prompt_filter_results":[]}"#,
        ]);
        assert_eq!(kinds, [Kind::Part, Kind::Part, Kind::Part, Kind::Usage, Kind::Part]);
        assert_eq!((tally.parts, tally.visible), (2, 1 + 4 + 3));
        assert_eq!((tally.usage.unwrap().input(), tally.usage.unwrap().output()), (Some(3), Some(0)));
        assert_eq!(after(&[r#"{"error":{"message":"x"}}"#]).1, [Kind::Error(r#"{"message":"x"}"#.into())]);
        for broken in ["", "7", "[]", "{", "{\"choices\":}", "nonsense"] {
            assert_eq!(Tally::default().event(broken, &counter()), Err(Unreadable), "{broken}");
        }
    }

    #[test]
    fn errors_are_named_without_what_was_asked() {
        assert_eq!(
            name_of(r#"{"message":"no: my secret","type":"BadRequestError","code":400}"#),
            "BadRequestError 400"
        );
        assert_eq!(name_of(r#"{"type":"my secret","code":null}"#), "");
        assert_eq!(
            name_of(r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#),
            "response.failed server_error"
        );
        assert_eq!(name_of("nonsense"), "");
    }

    #[test]
    fn the_events_of_responses_are_read() {
        let (tally, kinds) = after(&[
            r#"{"type":"response.created","response":{"usage":null}}"#,
            r#"{"type":"response.output_text.delta","delta":"hi"}"#,
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":1}}}"#,
        ]);
        assert_eq!(kinds, [Kind::Part, Kind::Part, Kind::Last]);
        assert_eq!((tally.parts, tally.usage.unwrap().input()), (1, Some(5)));
        let failed = after(&[r#"{"type":"response.failed","response":{}}"#]).1;
        assert!(matches!(failed[0], Kind::Error(_)));
    }

    #[test]
    fn usage_may_lack_what_follows_from_the_rest() {
        let usage = |text| serde_json::from_str::<Usage>(text).unwrap();
        assert_eq!(usage(r#"{"total_tokens":7}"#).input(), Some(7));
        assert_eq!(usage(r#"{"total_tokens":7,"prompt_tokens":5}"#).output(), Some(2));
        assert_eq!(usage(r#"{"total_tokens":0,"prompt_tokens":5}"#).output(), None);
        assert_eq!(usage("{}"), Usage::default());
    }
}
