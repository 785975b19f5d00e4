//! What must be known of a request body before it is sent: which model, whether it streams, and the most
//! it may cost. The body itself is sent on as it came.

use crate::ApiError;
use crate::ledger::{Bounds, SLACK_TOKENS, TOKENS_MAX};
use atoma_types::amount::UnitWeights;
pub use atoma_types::wire::Endpoint;
use atoma_types::wire::image_pixels;
use atoma_types::{ArithmeticError, Units};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Longest body that is taken.
pub const BODY_MAX: usize = 4 * 1024 * 1024;
/// Input tokens that a chat template may add to the conversation. What it adds to each message is less than
/// the JSON around it.
const TEMPLATE_TOKENS: u64 = 256;
/// Input tokens that an image may have of which the body names only the address; it does so with these words, once or
/// twice.
const IMAGE_TOKENS: u64 = 8_192;
const IMAGE_WORDS: &[u8] = b"image_url";
/// Most answers to one request.
const CHOICES_MAX: u64 = 128;

/// The fields of a body that decide where it goes and what it may cost.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct RequestView<'a> {
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    #[serde(default)]
    pub stream: Option<bool>,
    #[serde(default)]
    pub max_tokens: Option<u64>,
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    #[serde(default)]
    pub n: Option<u64>,
    /// Of images.
    #[serde(borrow, default)]
    size: Option<Cow<'a, str>>,
    /// One string or several; anything else is for the node to refuse.
    #[serde(default)]
    stop: Value,
}

impl<'a> RequestView<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.len() > BODY_MAX {
            return Err(ApiError::body_too_large(BODY_MAX));
        }
        let view: Self = serde_json::from_slice(body).map_err(|error| {
            let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
            let unread = || ApiError::bad_request(code, format!("the body is not a valid request: {error}"));
            wrong_member(body).unwrap_or_else(unread)
        })?;
        if view.n.is_some_and(|n| n > CHOICES_MAX) {
            return Err(ApiError::wrong_member("n", &format!("at most {CHOICES_MAX}")));
        }
        Ok(view)
    }

    pub fn wants_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Most units that the answer may be charged: its most input tokens, and the output asked for, or
    /// `default_output` per choice. At most `limit`; `None` if the input alone exceeds it.
    pub fn max_units(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        default_output: u64,
        weights: UnitWeights,
        limit: Units,
    ) -> Result<Option<Units>, ArithmeticError> {
        let input = input_max(body);
        let default = || default_output.saturating_mul(self.choices());
        let output = self.asked(endpoint).unwrap_or_else(default);
        if weights.units(input, 0)? >= limit {
            return Ok(None);
        }
        Ok(Some(weights.units(input, output).unwrap_or(Units::MAX).min(limit)))
    }

    /// Most tokens that an honest answer can claim:
    ///
    /// - input: a token covers at least one byte of the body, the template adds 256, and an image may be elsewhere;
    /// - output: as many as were asked for, where a limit was given; the pixels of images, nothing of embeddings;
    /// - output that does not show in what is received: for each choice the longest stop string, of which
    ///   each byte may have been a token, and 16; all pixels.
    pub fn bounds(&self, endpoint: Endpoint, body: &[u8]) -> Bounds {
        let asked = self.asked(endpoint);
        let unseen = match endpoint {
            Endpoint::Images => asked.unwrap_or_default(),
            _ => index(self.longest_stop()).saturating_add(SLACK_TOKENS).saturating_mul(self.choices()),
        };
        Bounds { input: input_max(body), output: asked.unwrap_or(TOKENS_MAX).min(TOKENS_MAX), unseen }
    }

    /// Output tokens asked for in all choices together.
    fn asked(&self, endpoint: Endpoint) -> Option<u64> {
        let per_choice = match endpoint {
            Endpoint::ChatCompletions => self.max_completion_tokens.or(self.max_tokens),
            Endpoint::Completions => self.max_tokens,
            Endpoint::Responses => self.max_output_tokens,
            Endpoint::Embeddings => Some(0),
            Endpoint::Images => Some(image_pixels(self.size.as_deref())),
        };
        Some(per_choice?.saturating_mul(self.choices()))
    }

    fn choices(&self) -> u64 {
        self.n.unwrap_or(1)
    }

    fn longest_stop(&self) -> usize {
        match &self.stop {
            Value::String(stop) => stop.len(),
            Value::Array(stops) => stops.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// What is wrong with a body that is an object of other members than are read.
fn wrong_member(body: &[u8]) -> Option<ApiError> {
    let body: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    let must = |name: &'static str, what: &str, is_right: fn(&Value) -> bool| {
        let wrong = body.get(name).filter(|value| !value.is_null() && !is_right(value));
        wrong.map(|_| ApiError::wrong_member(name, what))
    };
    let count = |name| must(name, "an integer that is not negative", Value::is_u64);
    if !body.get("model").is_some_and(Value::is_string) {
        return Some(ApiError::wrong_member("model", "the name of a model"));
    }
    let counts = ["max_tokens", "max_completion_tokens", "max_output_tokens", "n"];
    counts
        .into_iter()
        .find_map(count)
        .or_else(|| must("stream", "a boolean", Value::is_boolean))
        .or_else(|| must("size", "a text", Value::is_string))
}

fn input_max(body: &[u8]) -> u64 {
    let images = index(memchr::memmem::find_iter(body, IMAGE_WORDS).count());
    index(body.len()).saturating_add(TEMPLATE_TOKENS).saturating_add(images.saturating_mul(IMAGE_TOKENS))
}

fn index(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_needs_and_says_what_is_wrong() {
        let view = RequestView::parse(br#"{"model":"m","messages":[{"a":1}],"stream":true}"#).unwrap();
        assert_eq!((view.model.as_ref(), view.wants_stream()), ("m", true));
        assert_eq!(RequestView::parse(b"{").unwrap_err().code, "invalid_json");
        assert_eq!(RequestView::parse(b"{}").unwrap_err().code, "invalid_request");
        let wrong = |body: &str| RequestView::parse(body.as_bytes()).unwrap_err().param;
        for member in ["\"n\":129", "\"max_tokens\":-1", "\"stream\":1", "\"size\":[]", "\"n\":1.5"] {
            let name = member.split('"').nth(1);
            assert_eq!(wrong(&format!("{{\"model\":\"m\",{member}}}")), name);
        }
        assert_eq!(wrong("{\"model\":7}"), Some("model"));
        assert_eq!(wrong("{\"model\":\"m\",\"n\":1,\"n\":2}"), None);
        assert_eq!(RequestView::parse(&vec![b' '; BODY_MAX + 1]).unwrap_err().code, "body_too_large");
    }

    #[test]
    fn an_estimate_is_bounded_and_an_explicit_zero_is_not_a_default() {
        let weights = UnitWeights::default();
        let units = |body: &[u8], limit| {
            let view = RequestView::parse(body).unwrap();
            view.max_units(Endpoint::ChatCompletions, body, 500, weights, Units(limit)).unwrap()
        };
        assert_eq!(units(br#"{"model":"m"}"#, 10_000), Some(Units(13 + 256 + 500)));
        assert_eq!(units(br#"{"model":"m","max_tokens":0}"#, 10_000), Some(Units(28 + 256)));
        assert_eq!(units(br#"{"model":"m","max_tokens":9,"n":2}"#, 10_000), Some(Units(34 + 256 + 18)));
        assert_eq!(units(br#"{"model":"m","max_tokens":99999}"#, 10_000), Some(Units(10_000)));
        assert_eq!(units(br#"{"model":"m"}"#, 100), None);
    }

    #[test]
    fn bounds_follow_from_the_body_alone() {
        let at = |endpoint, body: &[u8]| RequestView::parse(body).unwrap().bounds(endpoint, body);
        let bounds = |body: &[u8]| at(Endpoint::ChatCompletions, body);
        let plain = Bounds { input: 13 + 256, output: TOKENS_MAX, unseen: 16 };
        assert_eq!(bounds(br#"{"model":"m"}"#), plain);
        let limited = bounds(br#"{"model":"m","max_tokens":9,"n":2,"stop":"END"}"#);
        assert_eq!(limited, Bounds { input: 47 + 256, output: 18, unseen: 2 * (3 + 16) });
        let newer =
            bounds(br#"{"model":"m","max_tokens":9,"max_completion_tokens":7,"stop":["a","four",5]}"#);
        assert_eq!((newer.output, newer.unseen), (7, 4 + 16));
        assert_eq!(bounds(br#"{"model":"m","stop":7}"#).unseen, 16);
        let seeing = br#"{"model":"m","messages":[{"type":"image_url","image_url":{"url":"http://a.b/c"}}]}"#;
        assert_eq!(bounds(seeing).input, index(seeing.len()) + 256 + 2 * 8_192);
        let responses = at(Endpoint::Responses, br#"{"model":"m","max_output_tokens":5,"max_tokens":9}"#);
        assert_eq!(responses.output, 5);
        assert_eq!(at(Endpoint::Embeddings, br#"{"model":"m","input":"a"}"#).output, 0);
        let images = |body| at(Endpoint::Images, body);
        assert_eq!(images(br#"{"model":"m","n":2,"size":"512x256"}"#).output, 2 * 512 * 256);
        assert_eq!(images(br#"{"model":"m","size":"auto"}"#).unseen, 1_024 * 1_024);
    }
}
