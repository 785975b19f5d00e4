//! all-MiniLM-L6-v2, a small model that turns texts into vectors, on this machine's processor.

mod network;
mod request;
mod safetensors;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokenizers::Tokenizer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{
    Endpoint, Engine, EngineError, Frame, Generation, GenerationSink, Load, Outcome, Prepared, Summary,
};
use crate::kernels::Isa;
use network::Network;
use request::{Request, TOKENS_MAX, answer};
pub use safetensors::SafetensorsError;

/// When to come back to a full queue.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum MiniLmError {
    #[error("cannot read {path}: {error}; get the weights with `atoma model pull`")]
    Read { path: String, error: std::io::Error },
    #[error("{path} is not all-MiniLM-L6-v2: {error}; get it again with `atoma model pull`")]
    Model { path: String, error: SafetensorsError },
    #[error("{path} is not a usable tokenizer: {reason}; get it again with `atoma model pull`")]
    Tokenizer { path: String, reason: String },
}

/// How the engine runs. Nothing of it can change an answer.
#[derive(Debug, Clone)]
pub struct MiniLmConfig {
    /// Texts embedded at the same time.
    pub threads: usize,
    /// Requests at work or waiting.
    pub requests: usize,
    /// Use the portable code even where the processor could do better.
    pub scalar: bool,
}

impl Default for MiniLmConfig {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, requests: 64, scalar: false }
    }
}

/// See the [module documentation](self). Runs on the tokio runtime from which [`Engine::run`] is called.
pub struct MiniLmEngine {
    model: String,
    tokenizer: Tokenizer,
    network: Arc<Network>,
    requests: usize,
    places: Arc<Semaphore>,
    threads: Arc<Semaphore>,
}

impl fmt::Debug for MiniLmEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiniLmEngine").field("model", &self.model).finish_non_exhaustive()
    }
}

impl MiniLmEngine {
    /// Loads the weights at `weights` (see [`ModelStore`](crate::ModelStore)) with the tokenizer beside them, and serves
    /// them as `model`.
    pub fn load(model: &str, weights: &Path, config: &MiniLmConfig) -> Result<Self, MiniLmError> {
        let tokenizer = read_tokenizer(&weights.with_extension("tokenizer.json"))?;
        let path = weights.display().to_string();
        let file = std::fs::read(weights).map_err(|error| MiniLmError::Read { path: path.clone(), error })?;
        let isa = if config.scalar { Isa::scalar() } else { Isa::detect() };
        let network = Network::load(&file, isa).map_err(|error| MiniLmError::Model { path, error })?;
        Ok(Self {
            model: model.to_owned(),
            tokenizer,
            network: Arc::new(network),
            requests: config.requests,
            places: Arc::new(Semaphore::new(config.requests)),
            threads: Arc::new(Semaphore::new(config.threads.max(1))),
        })
    }
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, MiniLmError> {
    let bad = |reason: String| MiniLmError::Tokenizer { path: path.display().to_string(), reason };
    let mut tokenizer = Tokenizer::from_file(path).map_err(|error| bad(error.to_string()))?;
    // The file cuts texts at 128 tokens and fills them up to as many.
    tokenizer.with_padding(None).with_truncation(None).map_err(|error| bad(error.to_string()))?;
    if tokenizer.get_vocab_size(true) != network::VOCABULARY {
        return Err(bad("it has another vocabulary".to_owned()));
    }
    Ok(tokenizer)
}

impl Engine for MiniLmEngine {
    fn model(&self) -> &str {
        &self.model
    }

    fn context_tokens(&self) -> u64 {
        u64::try_from(TOKENS_MAX).unwrap_or(u64::MAX)
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        if endpoint != Endpoint::Embeddings {
            let message = format!("the model `{}` does not answer at {}", self.model, endpoint.path());
            return Err(EngineError::bad("model", message));
        }
        let request = Request::parse(body, &self.model, &self.tokenizer)?;
        Ok(Prepared::new(request.tokens(), Some(0), false, request))
    }

    fn run(&self, prepared: Prepared, _: u64) -> Result<Generation, EngineError> {
        let request: Request = prepared.into_payload()?;
        let overloaded = |_| EngineError::Overloaded { retry_after: RETRY_AFTER };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(overloaded)?;
        let (sink, generation) = Generation::channel(1, || {});
        let work = Work {
            model: self.model.clone(),
            network: Arc::clone(&self.network),
            threads: Arc::clone(&self.threads),
            request,
            _place: place,
        };
        tokio::spawn(work.run(sink));
        Ok(generation)
    }

    fn load(&self) -> Load {
        let count = |places: usize| u64::try_from(places).unwrap_or(u64::MAX);
        let running = self.requests.saturating_sub(self.places.available_permits());
        Load { running: count(running), capacity: Some(count(self.requests)), ..Load::default() }
    }
}

struct Work {
    model: String,
    network: Arc<Network>,
    threads: Arc<Semaphore>,
    request: Request,
    _place: OwnedSemaphorePermit,
}

impl Work {
    async fn run(mut self, sink: GenerationSink) {
        let outcome = tokio::select! {
            biased;
            () = sink.closed() => Outcome::Aborted,
            outcome = self.answer(&sink) => outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string())),
        };
        let summary = Summary { input_tokens: self.request.tokens(), outcome, ..Summary::failed("") };
        sink.finish(summary);
    }

    async fn answer(&mut self, sink: &GenerationSink) -> Result<Outcome, EngineError> {
        let failed = |error: &dyn fmt::Display| EngineError::Internal(error.to_string());
        let mut vectors = Vec::with_capacity(self.request.inputs.len());
        for input in &self.request.inputs {
            let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|error| failed(&error))?;
            let (network, input) = (Arc::clone(&self.network), input.clone());
            // Whoever hangs up does not free the thread while it is at work.
            let embedding = tokio::task::spawn_blocking(move || {
                let vector = network.embed(&input);
                drop(thread);
                vector
            });
            vectors.push(embedding.await.map_err(|error| failed(&error))?);
        }
        let bytes = answer(&self.model, &vectors, self.request.format, self.request.tokens())?;
        let sent = sink.send(Frame { bytes: bytes.into(), output_tokens: 0 }).await;
        Ok(if sent { Outcome::Complete } else { Outcome::Aborted })
    }
}
