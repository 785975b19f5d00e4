//! How an upstream engine is configured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::engine::Endpoint;

/// Why an upstream engine does not start. Messages fit one line.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("engine `{model}`: {field} {reason}")]
    Value { model: String, field: &'static str, reason: String },
    #[error("engine `{model}`: cannot read the API key in {path}: {error}")]
    Key { model: String, path: PathBuf, error: std::io::Error },
    #[error("engine `{model}`: {path} is not a tokenizer.json: {reason}")]
    Tokenizer { model: String, path: PathBuf, reason: String },
    #[error("engine `{model}`: {reason}")]
    Client { model: String, reason: String },
}

/// A model on servers that speak OpenAI's protocol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// The model's label in the market.
    pub model: String,
    /// What the servers call it; left out, the same.
    #[serde(default)]
    pub upstream_model: Option<String>,
    /// Base URLs of servers that serve it alike, without `/v1`.
    pub replicas: Vec<String>,
    /// A file with the key that the servers ask for.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// The most tokens that prompt and answer may have together, as the servers were started with.
    pub context_tokens: u64,
    /// The model's `tokenizer.json`: counts what an engine does not.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// What it answers, as paths below `/v1/`.
    #[serde(default = "chat", deserialize_with = "endpoints")]
    pub endpoints: Vec<Endpoint>,
    /// What to charge where the servers tell no usage and there is no tokenizer; left out, such answers fail.
    #[serde(default)]
    pub count: Option<CountBy>,
    #[serde(default)]
    pub limits: UpstreamLimits,
}

/// A way to count that is only right for some servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountBy {
    /// Each event with text is one output token, and each four bytes of the prompt's text are one input token.
    Events,
}

/// Bounds on what the servers are given, and on what is waited for and read from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamLimits {
    /// Requests at once on one replica.
    pub concurrent: u64,
    /// A replica with so many waiting inside it, as far as its metrics tell, is given no more.
    pub waiting: u64,
    pub connect_ms: u64,
    /// Time until the first bytes of a stream,
    pub begin_ms: u64,
    /// then between any two,
    pub stall_ms: u64,
    /// or until the whole of an answer that is not streamed.
    pub answer_ms: u64,
    /// How often replicas are asked how they are.
    pub probe_ms: u64,
    /// Largest event of a stream.
    pub event_bytes: usize,
    /// Largest answer that is not streamed.
    pub answer_bytes: usize,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            concurrent: 64,
            waiting: 16,
            connect_ms: 2_000,
            begin_ms: 120_000,
            stall_ms: 30_000,
            answer_ms: 600_000,
            probe_ms: 1_000,
            event_bytes: 1 << 20,
            answer_bytes: 32 << 20,
        }
    }
}

fn chat() -> Vec<Endpoint> {
    vec![Endpoint::ChatCompletions, Endpoint::Completions]
}

fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let endpoint = |name: &String| {
        let found = Endpoint::ALL.into_iter().find(|endpoint| below_v1(*endpoint) == name);
        found.ok_or_else(|| {
            let known = Endpoint::ALL.map(below_v1).join(", ");
            serde::de::Error::custom(format!("`{name}` is no endpoint; known are {known}"))
        })
    };
    names.iter().map(endpoint).collect()
}

fn below_v1(endpoint: Endpoint) -> &'static str {
    endpoint.path().trim_start_matches("/v1/")
}

impl UpstreamConfig {
    /// Only what has no default.
    pub fn new(model: impl Into<String>, replicas: Vec<String>, context_tokens: u64) -> Self {
        Self {
            model: model.into(),
            upstream_model: None,
            replicas,
            api_key_file: None,
            context_tokens,
            tokenizer: None,
            endpoints: chat(),
            count: None,
            limits: UpstreamLimits::default(),
        }
    }

    /// Refuses values that cannot work.
    pub fn check(&self) -> Result<(), UpstreamError> {
        let value = |field, reason: &str| {
            Err(UpstreamError::Value { model: self.model.clone(), field, reason: reason.to_owned() })
        };
        if self.replicas.is_empty() || self.replicas.len() > 64 {
            return value("replicas", "must name 1 to 64 servers");
        }
        for replica in &self.replicas {
            match reqwest::Url::parse(replica) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
                _ => {
                    return value("replicas", &format!("has {replica:?}, which is not an http or https URL"));
                }
            }
        }
        if self.context_tokens == 0 {
            return value("context_tokens", "must be above 0");
        }
        if self.endpoints.is_empty() {
            return value("endpoints", "must name at least one");
        }
        let limits = &self.limits;
        let times = [limits.connect_ms, limits.begin_ms, limits.stall_ms, limits.answer_ms, limits.probe_ms];
        if times.contains(&0) {
            return value("limits", "must give every time more than 0 ms");
        }
        if limits.concurrent == 0 || limits.waiting == 0 {
            return value("limits", "must let at least 1 request in and 1 wait");
        }
        if limits.event_bytes == 0 || limits.answer_bytes == 0 {
            return value("limits", "must let events and answers have bytes");
        }
        Ok(())
    }

    /// Where the servers' paths begin.
    pub(super) fn base_urls(&self) -> Vec<String> {
        let base = |url: &String| {
            let url = url.trim_end_matches('/');
            url.strip_suffix("/v1").unwrap_or(url).to_owned()
        };
        self.replicas.iter().map(base).collect()
    }
}

impl UpstreamLimits {
    pub(super) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(super) fn begin(&self) -> Duration {
        Duration::from_millis(self.begin_ms)
    }

    pub(super) fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }

    pub(super) fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_ms)
    }

    pub(super) fn probe(&self) -> Duration {
        Duration::from_millis(self.probe_ms)
    }
}
