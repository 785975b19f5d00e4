//! Any server that speaks OpenAI's protocol as an [`Engine`]: vLLM, SGLang, llama-server, Ollama, TEI and others.
//!
//! Bodies and answers pass through byte for byte; of a body only the members change that must (`splice.rs`), of a
//! stream only the usage is held back that the client did not ask for. Usage is the engine's own, up to what a client
//! can accept (`answer.rs`). Several servers may serve one model alike (`replicas.rs`). Start reading at `relay.rs`.

mod answer;
mod config;
mod count;
mod probe;
mod refusal;
mod relay;
mod replicas;
mod request;
mod splice;
mod sse;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use tokio::task::JoinSet;

pub use config::{CountBy, UpstreamConfig, UpstreamError, UpstreamLimits};
use count::Counter;
use relay::Relay;
use replicas::{Bounds, Pool};
use request::{Model, Request};

use crate::engine::{Endpoint, Engine, EngineError, Generation, Load, Prepared};

/// Frames that the engine may be ahead of its reader.
const FRAMES_AHEAD: usize = 16;
/// Idle connections are closed before servers do it, at 5 s and later.
const IDLE: Duration = Duration::from_secs(4);

/// What requests share.
#[derive(Debug)]
struct Upstream {
    model: Model,
    http: reqwest::Client,
    pool: Arc<Pool>,
    limits: UpstreamLimits,
    count: Option<CountBy>,
}

/// See the [module documentation](self). Runs on the tokio runtime that it was connected on.
pub struct UpstreamEngine {
    upstream: Arc<Upstream>,
    /// Ask the replicas how they are, for as long as the engine is there.
    _probes: JoinSet<()>,
}

impl fmt::Debug for UpstreamEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamEngine").field("model", &self.upstream.model.label).finish_non_exhaustive()
    }
}

impl UpstreamEngine {
    /// Asks every replica once how it is, then serves with those that are well; others are taken up when they come.
    pub async fn connect(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        Self::open(config, None).await
    }

    /// The same model with another configuration. Requests that run go on as they began; servers that stay are given
    /// no more at once than before.
    pub async fn reconnect(&self, config: UpstreamConfig) -> Result<Self, UpstreamError> {
        Self::open(config, Some(&self.upstream.pool)).await
    }

    async fn open(config: UpstreamConfig, before: Option<&Pool>) -> Result<Self, UpstreamError> {
        config.check()?;
        let http = http_client(&config)?;
        let counter = counter(&config)?;
        let bounds = Bounds { concurrent: config.limits.concurrent, waiting: config.limits.waiting };
        let pool = Arc::new(Pool::new(config.base_urls(), bounds, before));
        let model = Model {
            upstream: config.upstream_model.filter(|upstream| *upstream != config.model),
            label: config.model,
            endpoints: config.endpoints,
            context_tokens: config.context_tokens,
            counter,
        };
        let upstream = Arc::new(Upstream { model, http, pool, limits: config.limits, count: config.count });
        let mut first = JoinSet::new();
        for index in 0..upstream.pool.urls().len() {
            let upstream = Arc::clone(&upstream);
            first.spawn(async move { upstream.probe(index).await });
        }
        first.join_all().await;
        let mut probes = JoinSet::new();
        for index in 0..upstream.pool.urls().len() {
            let upstream = Arc::clone(&upstream);
            probes.spawn(async move {
                loop {
                    tokio::time::sleep(upstream.limits.probe()).await;
                    upstream.probe(index).await;
                }
            });
        }
        Ok(Self { upstream, _probes: probes })
    }
}

impl Upstream {
    async fn probe(&self, index: usize) {
        probe::probe(&self.http, &self.pool, index).await;
    }
}

impl Engine for UpstreamEngine {
    fn model(&self) -> &str {
        &self.upstream.model.label
    }

    fn context_tokens(&self) -> u64 {
        self.upstream.model.context_tokens
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        self.upstream.model.prepare(endpoint, body)
    }

    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError> {
        let generates = prepared.max_output_tokens != Some(0);
        let mut request: Request = prepared.into_payload()?;
        if generates && output_limit < request.choices {
            return Err(EngineError::bad("max_tokens", "no output tokens are allowed"));
        }
        let lease = self.upstream.pool.lease(&BTreeSet::new(), Instant::now())?;
        let body = request.body(output_limit);
        let (sink, generation) = Generation::channel(FRAMES_AHEAD, || {});
        let relay = Relay::new(Arc::clone(&self.upstream), request, body, output_limit);
        tokio::spawn(relay.run(lease, sink));
        Ok(generation)
    }

    fn load(&self) -> Load {
        self.upstream.pool.load(Instant::now())
    }
}

fn http_client(config: &UpstreamConfig) -> Result<reqwest::Client, UpstreamError> {
    let client = |reason: String| UpstreamError::Client { model: config.model.clone(), reason };
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if let Some(path) = &config.api_key_file {
        headers.insert(AUTHORIZATION, api_key(config, path)?);
    }
    let builder = reqwest::Client::builder()
        .default_headers(headers)
        .connect_timeout(config.limits.connect())
        .pool_idle_timeout(IDLE)
        .redirect(Policy::none())
        .tcp_nodelay(true);
    builder.build().map_err(|error| client(error.to_string()))
}

fn api_key(config: &UpstreamConfig, path: &Path) -> Result<HeaderValue, UpstreamError> {
    let key = |error| UpstreamError::Key { model: config.model.clone(), path: path.to_owned(), error };
    let text = std::fs::read_to_string(path).map_err(key)?;
    let value = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| key(std::io::Error::other("it is not one line of ASCII")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn counter(config: &UpstreamConfig) -> Result<Counter, UpstreamError> {
    Counter::new(config.tokenizer.as_deref(), config.context_tokens).map_err(|reason| {
        UpstreamError::Tokenizer {
            model: config.model.clone(),
            path: config.tokenizer.clone().unwrap_or_default(),
            reason,
        }
    })
}
