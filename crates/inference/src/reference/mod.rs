//! The reference engine: bit-reproducible generation on the CPU.

mod replay;
mod request;
mod scheduler;
mod sequence;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::engine::{Endpoint, Engine, EngineError, Generation, Prepared};
use crate::gguf::{Gguf, GgufError};
use crate::kernels::Isa;
use crate::model::{Model, ModelError};
use crate::sampling::Sampling;
use crate::template::ChatTemplate;
use crate::tokenizer::{Tokenizer, TokenizerError};

pub use replay::{Mismatch, Replay, ReplayError};
use request::Job;
use scheduler::Scheduler;

/// How the reference engine runs. Nothing but `defaults` can change an answer.
#[derive(Debug, Clone)]
pub struct ReferenceConfig {
    /// Worker threads of the forward pass.
    pub threads: usize,
    /// Use the portable code even where the processor could do better.
    pub scalar: bool,
    /// Most tokens of prompt and answer together; never more than the model was made for.
    pub context_tokens: usize,
    /// Positions in the key-value cache, over all requests (46 KiB each for SmolLM2-135M).
    pub kv_tokens: usize,
    /// Choices generated at the same time.
    pub max_running: usize,
    pub queue: Queue,
    /// Prompt tokens per step while nothing else runs, and while others are generating.
    pub prefill_chunk: usize,
    pub prefill_chunk_shared: usize,
    /// How long a reader may leave frames lying before its request is aborted.
    pub stall_timeout: Duration,
    /// Temperature and `top_p` of a body that names none: what the model's makers recommend.
    pub defaults: Sampling,
}

/// Requests that wait for room.
#[derive(Debug, Clone)]
pub struct Queue {
    pub capacity: usize,
    pub timeout: Duration,
}

impl Default for ReferenceConfig {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            scalar: false,
            context_tokens: 8192,
            kv_tokens: 16384,
            max_running: 16,
            queue: Queue { capacity: 64, timeout: Duration::from_secs(60) },
            prefill_chunk: 64,
            prefill_chunk_shared: 16,
            stall_timeout: Duration::from_secs(60),
            defaults: Sampling::default(),
        }
    }
}

/// Why the reference engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {error}; get the weights with `atoma model pull {model}`")]
    Read { path: String, model: String, error: std::io::Error },
    #[error("{path} is not a usable model: {error}; get it again with `atoma model pull {model}`")]
    Model { path: String, model: String, error: ModelError },
    #[error("{path} has no usable tokenizer: {error}; get it again with `atoma model pull {model}`")]
    Tokenizer { path: String, model: String, error: TokenizerError },
    #[error("{0}")]
    Config(&'static str),
    #[error("cannot start the engine's threads: {0}")]
    Threads(String),
}

/// Everything about a model that requests share.
pub(crate) struct Loaded {
    id: String,
    fingerprint: String,
    model: Model,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    context: usize,
    defaults: Sampling,
    threads: usize,
    pool: rayon::ThreadPool,
}

/// Runs one GGUF model on this machine's CPU.
pub struct ReferenceEngine {
    loaded: Arc<Loaded>,
    scheduler: Scheduler,
    /// Replays share one set of buffers and wait for each other.
    replays: Mutex<replay::State>,
}

impl fmt::Debug for ReferenceEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceEngine")
            .field("model", &self.loaded.id)
            .field("isa", &self.isa())
            .finish_non_exhaustive()
    }
}

impl ReferenceEngine {
    /// Loads the weights at `path` (see [`ModelStore`](crate::ModelStore)) and serves them as `model`.
    pub fn load(model: &str, path: &Path, config: &ReferenceConfig) -> Result<Self, LoadError> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| LoadError::Read {
            path: shown.clone(),
            model: model.to_owned(),
            error,
        })?;
        Self::from_bytes(model, &shown, &bytes, config)
    }

    fn from_bytes(
        model: &str,
        path: &str,
        bytes: &[u8],
        config: &ReferenceConfig,
    ) -> Result<Self, LoadError> {
        check(config)?;
        let bad_model = |error| LoadError::Model { path: path.to_owned(), model: model.to_owned(), error };
        let bad_tokenizer =
            |error| LoadError::Tokenizer { path: path.to_owned(), model: model.to_owned(), error };
        let isa = if config.scalar { Isa::scalar() } else { Isa::detect() };
        let gguf = Gguf::parse(bytes).map_err(|error| bad_model(error.into()))?;
        let network = Model::load(&gguf, isa).map_err(bad_model)?;
        let tokenizer = Tokenizer::from_gguf(&gguf).map_err(bad_tokenizer)?;
        if tokenizer.len() != network.shape().vocabulary {
            let text = format!("{} tokens for {} logits", tokenizer.len(), network.shape().vocabulary);
            return Err(bad_tokenizer(TokenizerError::Build(text)));
        }
        let source = gguf.string("tokenizer.chat_template").map_err(|error| bad_model(error.into()))?;
        let template = ChatTemplate::new(source, tokenizer.bos_name(), tokenizer.eos_name());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|i| format!("atoma-compute-{i}"))
            .build()
            .map_err(|error| LoadError::Threads(error.to_string()))?;
        let context = config.context_tokens.min(network.shape().context).min(config.kv_tokens);
        let loaded = Arc::new(Loaded {
            id: model.to_owned(),
            fingerprint: fingerprint(&gguf).map_err(|error| bad_model(error.into()))?,
            model: network,
            tokenizer,
            template,
            context,
            threads: config.threads,
            defaults: config.defaults.clone(),
            pool,
        });
        let scheduler = Scheduler::start(Arc::clone(&loaded), config)
            .map_err(|error| LoadError::Threads(error.to_string()))?;
        let replays = Mutex::new(replay::State::new(&loaded));
        Ok(Self { loaded, scheduler, replays })
    }

    /// `avx2` or `scalar`.
    pub fn isa(&self) -> &'static str {
        self.loaded.model.isa().name()
    }

    /// Feeds a recorded answer and tells whether this model with these parameters gives it, token by token.
    ///
    /// Blocks for the length of one prefill over prompt and answers; call it off the async runtime.
    pub fn replay(
        &self,
        prompt: &[u32],
        outputs: &[Vec<u32>],
        sampling: &crate::Sampling,
    ) -> Result<Replay, ReplayError> {
        let mut state = self.replays.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        replay::run(&self.loaded, &mut state, prompt, outputs, sampling)
    }

    /// [`replay`](Self::replay) for a prepared request, which must have named its seed.
    pub fn replay_request(&self, prepared: &Prepared, outputs: &[Vec<u32>]) -> Result<Replay, ReplayError> {
        let job = prepared.payload::<Job>().ok_or(ReplayError::Foreign)?;
        self.replay(&job.prompt, outputs, &job.request.sampling)
    }

    /// The text of a prompt's tokens and an answer's tokens, control tokens left out.
    pub fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|token| self.loaded.tokenizer.spelling(*token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Engine for ReferenceEngine {
    fn model(&self) -> &str {
        &self.loaded.id
    }

    fn context_tokens(&self) -> u64 {
        u64::try_from(self.loaded.context).unwrap_or(u64::MAX)
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        request::prepare(&self.loaded, endpoint, body)
    }

    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError> {
        self.scheduler.submit(prepared.into_payload()?, output_limit)
    }
}

fn check(config: &ReferenceConfig) -> Result<(), LoadError> {
    let positive = [
        config.threads,
        config.context_tokens,
        config.kv_tokens,
        config.max_running,
        config.prefill_chunk,
        config.prefill_chunk_shared,
    ];
    if positive.contains(&0) {
        return Err(LoadError::Config("every size in the engine's configuration must be at least 1"));
    }
    Ok(())
}

/// Identifies the weights by the output norm and the first embedding rows.
fn fingerprint(gguf: &Gguf<'_>) -> Result<String, GgufError> {
    let norm = gguf.tensor("output_norm.weight")?.data;
    let embedding = gguf.tensor("token_embd.weight")?.data;
    let head = embedding.get(..1 << 16).unwrap_or(embedding);
    let digest = crate::digest::hash_parts(&[norm, head]);
    Ok(format!("fp_{}", hex::encode(&digest[..6])))
}
