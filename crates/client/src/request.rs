//! What must be known of a request body before it is sent: which model, whether it streams, and the most
//! it may cost. The body itself is sent on as it came.

use crate::ApiError;
use atoma_types::amount::UnitWeights;
use atoma_types::{ArithmeticError, Units};
use serde::Deserialize;
use std::borrow::Cow;

/// Longest body that is taken.
pub const BODY_MAX: usize = 4 * 1024 * 1024;
/// Input tokens that a chat template may add to those in the body.
const TEMPLATE_TOKENS: u64 = 256;
/// Most answers to one request.
const CHOICES_MAX: u64 = 128;

/// An endpoint of the node that answers requests for units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
}

impl Endpoint {
    pub const ALL: [Self; 2] = [Self::ChatCompletions, Self::Completions];

    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

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
    pub n: Option<u64>,
}

impl<'a> RequestView<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.len() > BODY_MAX {
            return Err(ApiError::body_too_large(BODY_MAX));
        }
        let view: Self = serde_json::from_slice(body).map_err(|error| {
            let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
            ApiError::bad_request(code, format!("the body is not a valid request: {error}"))
        })?;
        if view.n.is_some_and(|n| n > CHOICES_MAX) {
            return Err(ApiError::bad_request("invalid_request", format!("n must be at most {CHOICES_MAX}")));
        }
        Ok(view)
    }

    pub fn wants_stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Most units that the answer may be charged: every byte of the body an input token, and the output
    /// asked for, or `default_output` per choice. At most `limit`; `None` if the input alone exceeds it.
    pub fn max_units(
        &self,
        body_bytes: usize,
        default_output: u64,
        weights: UnitWeights,
        limit: Units,
    ) -> Result<Option<Units>, ArithmeticError> {
        let input = u64::try_from(body_bytes).map_err(|_| ArithmeticError)?.saturating_add(TEMPLATE_TOKENS);
        let per_choice = self.max_completion_tokens.or(self.max_tokens).unwrap_or(default_output);
        let output = per_choice.saturating_mul(self.n.unwrap_or(1));
        if weights.units(input, 0)? >= limit {
            return Ok(None);
        }
        Ok(Some(weights.units(input, output).unwrap_or(Units::MAX).min(limit)))
    }
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
        assert_eq!(RequestView::parse(br#"{"model":"m","n":129}"#).unwrap_err().code, "invalid_request");
        assert_eq!(RequestView::parse(&vec![b' '; BODY_MAX + 1]).unwrap_err().code, "body_too_large");
    }

    #[test]
    fn an_estimate_is_bounded_and_an_explicit_zero_is_not_a_default() {
        let weights = UnitWeights::default();
        let units = |body: &[u8], limit| {
            RequestView::parse(body).unwrap().max_units(body.len(), 500, weights, Units(limit)).unwrap()
        };
        assert_eq!(units(br#"{"model":"m"}"#, 10_000), Some(Units(13 + 256 + 500)));
        assert_eq!(units(br#"{"model":"m","max_tokens":0}"#, 10_000), Some(Units(28 + 256)));
        assert_eq!(units(br#"{"model":"m","max_tokens":9,"n":2}"#, 10_000), Some(Units(34 + 256 + 18)));
        assert_eq!(units(br#"{"model":"m","max_tokens":99999}"#, 10_000), Some(Units(10_000)));
        assert_eq!(units(br#"{"model":"m"}"#, 100), None);
    }
}
