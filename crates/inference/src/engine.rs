//! The one interface behind which every engine stands, and the handle of a running generation.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use atoma_types::wire::Endpoint;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Serves one model.
///
/// A caller first `prepare`s a body, which costs nothing but parsing and tokenizing, decides how many tokens it may
/// produce, and then `run`s it.
pub trait Engine: Send + Sync + 'static {
    /// The model's id as in `/v1/models`.
    fn model(&self) -> &str;

    /// The most tokens that prompt and answer may have together.
    fn context_tokens(&self) -> u64;

    /// Parses and checks a request body. Takes milliseconds for large bodies; no engine resource is held.
    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError>;

    /// Starts generating at most `output_limit` tokens over all choices. Fails at once if the queue is full.
    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError>;

    /// How busy it is. An engine that refuses in [`Self::run`] by itself need not say.
    fn load(&self) -> Load {
        Load::default()
    }
}

/// How busy an engine is, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether it could serve anything now.
    pub healthy: bool,
    /// Requests at work in it, also those of others.
    pub running: u64,
    /// Requests that wait inside it.
    pub waiting: u64,
    /// Requests that it takes at once; `None` if that is not known.
    pub capacity: Option<u64>,
    /// Answers since the start for which it claimed more than was possible, and was paid less.
    pub overstated: u64,
    /// Servers behind it, and how many of them can be reached; an engine in this process is one.
    pub replicas: u64,
    pub replicas_healthy: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            healthy: true,
            running: 0,
            waiting: 0,
            capacity: None,
            overstated: 0,
            replicas: 1,
            replicas_healthy: 1,
        }
    }
}

impl Load {
    /// Whether one more request would be too many.
    pub fn is_full(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.running >= capacity)
    }
}

/// A parsed and admitted request: what a node must know before it spends anything.
pub struct Prepared {
    /// The most that the input can count.
    pub input_tokens: u64,
    /// What the input counts if the answer is broken off before its engine told.
    pub input_tokens_broken_off: u64,
    /// What the body asks for over all its choices, if it says.
    pub max_output_tokens: Option<u64>,
    pub stream: bool,
    payload: Box<dyn Any + Send>,
}

impl Prepared {
    /// Input of an exact count; `payload` is whatever the engine that made it needs to run it.
    pub fn new(
        input_tokens: u64,
        max_output_tokens: Option<u64>,
        stream: bool,
        payload: impl Any + Send,
    ) -> Self {
        Self {
            input_tokens,
            input_tokens_broken_off: input_tokens,
            max_output_tokens,
            stream,
            payload: Box::new(payload),
        }
    }

    /// For engines of which only the end of an answer tells the input's exact count.
    #[must_use]
    pub fn broken_off_at(self, input_tokens: u64) -> Self {
        Self { input_tokens_broken_off: input_tokens.min(self.input_tokens), ..self }
    }

    pub fn payload<T: Any>(&self) -> Option<&T> {
        self.payload.downcast_ref()
    }

    /// The payload, if `T` is what the engine put in: an engine only runs what it prepared itself.
    pub fn into_payload<T: Any>(self) -> Result<T, EngineError> {
        let foreign = || EngineError::Internal("the request was prepared by another engine".into());
        self.payload.downcast().map(|payload| *payload).map_err(|_| foreign())
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("input_tokens", &self.input_tokens)
            .field("max_output_tokens", &self.max_output_tokens)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// An engine that can be replaced while it serves. A request ends on the engine that prepared it.
pub struct Replaceable {
    model: String,
    current: RwLock<Arc<dyn Engine>>,
}

/// What a [`Replaceable`] prepares.
struct Held {
    engine: Arc<dyn Engine>,
    prepared: Prepared,
}

impl Replaceable {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { model: engine.model().to_owned(), current: RwLock::new(engine) }
    }

    /// The next requests go to `engine`, which serves the same model.
    pub fn replace(&self, engine: Arc<dyn Engine>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = engine;
    }

    fn current(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine for Replaceable {
    fn model(&self) -> &str {
        &self.model
    }

    fn context_tokens(&self) -> u64 {
        self.current().context_tokens()
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        let engine = self.current();
        let prepared = engine.prepare(endpoint, body)?;
        let Prepared { input_tokens, input_tokens_broken_off, max_output_tokens, stream, .. } = prepared;
        let payload = Box::new(Held { engine, prepared });
        Ok(Prepared { input_tokens, input_tokens_broken_off, max_output_tokens, stream, payload })
    }

    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError> {
        let Held { engine, prepared } = prepared.into_payload()?;
        engine.run(prepared, output_limit)
    }

    fn load(&self) -> Load {
        self.current().load()
    }
}

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The request is wrong; `param` names the field, in OpenAI's notation.
    #[error("{message}")]
    BadRequest { message: String, param: Option<String> },
    /// Prompt and answer do not fit into the model's context.
    #[error(
        "the prompt has at least {input_tokens} tokens and asks for {output_tokens} more, but this model's context holds {limit}"
    )]
    ContextLength { input_tokens: u64, output_tokens: u64, limit: u64, param: &'static str },
    /// The body names a model that is not served here.
    #[error("the model `{asked}` does not exist here, this engine serves `{serves}`")]
    UnknownModel { asked: String, serves: String },
    /// The queue is full; try again later or elsewhere.
    #[error("the engine is busy and its queue is full, try again in {} s", .retry_after.as_secs())]
    Overloaded { retry_after: Duration },
    /// Nothing that could serve can be reached.
    #[error("the engine cannot be reached now, try again in {} s", .retry_after.as_secs())]
    Unavailable { retry_after: Duration },
    /// A fault of ours; the text is for the log, not for the client.
    #[error("the engine failed: {0}")]
    Internal(String),
}

impl EngineError {
    pub(crate) fn bad(param: &str, message: impl Into<String>) -> Self {
        Self::BadRequest { message: message.into(), param: Some(param.to_owned()) }
    }
}

/// Bytes to pass to the client unchanged.
///
/// In a stream, whole server-sent events without the closing `data: [DONE]`; else the one JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Bytes,
    /// Tokens sampled up to here, over all choices.
    pub output_tokens: u64,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every choice ended by itself (end token, stop string or length) and every frame was taken.
    Complete,
    /// The caller stopped it.
    Aborted,
    /// The engine could not go on; the text is for the log.
    Failed(String),
    /// The engine says that the request itself is wrong: status and body are for the client. No frame came before.
    Refused { status: u16, body: Bytes },
}

/// What a generation cost and proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub input_tokens: u64,
    /// Every sampled token counts, stop tokens too.
    pub output_tokens: u64,
    pub outcome: Outcome,
    /// See [`Work`](crate::Work); zeros if nothing was sampled or the engine is not exact.
    pub work: [u8; 32],
    pub prompt_ids: Vec<u32>,
    pub output_ids: Vec<Vec<u32>>,
    /// The seed that was used, the engine's own if the request had none.
    pub seed: u64,
}

impl Summary {
    pub(crate) fn failed(reason: &str) -> Self {
        Self {
            input_tokens: 0,
            output_tokens: 0,
            outcome: Outcome::Failed(reason.to_owned()),
            work: [0; 32],
            prompt_ids: Vec::new(),
            output_ids: Vec::new(),
            seed: 0,
        }
    }
}

struct Control {
    cancelled: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A running generation. Dropping it cancels it.
pub struct Generation {
    frames: mpsc::Receiver<Frame>,
    summary: Option<oneshot::Receiver<Summary>>,
    control: Arc<Control>,
}

impl Generation {
    /// The two ends of a generation, for whoever implements an [`Engine`].
    ///
    /// At most `capacity` frames wait for the reader. `wake` is called whenever it took a frame or cancelled.
    pub fn channel(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> (GenerationSink, Self) {
        let (frames_in, frames) = mpsc::channel(capacity.max(1));
        let (summary_in, summary) = oneshot::channel();
        let control = Arc::new(Control { cancelled: AtomicBool::new(false), wake: Box::new(wake) });
        let sink = GenerationSink {
            frames: Some(frames_in),
            summary: Some(summary_in),
            control: Arc::clone(&control),
        };
        (sink, Self { frames, summary: Some(summary), control })
    }

    /// The next frame; `None` after the last one.
    pub async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await;
        (self.control.wake)();
        frame
    }

    /// Waits until the engine has stopped and tells what it did. Before the last frame this cancels.
    pub async fn finish(mut self) -> Summary {
        let Some(summary) = self.summary.take() else { return Summary::failed("finished twice") };
        self.frames.close();
        self.cancel();
        let mut summary = summary.await.unwrap_or_else(|_| Summary::failed("the engine stopped"));
        if summary.outcome == Outcome::Complete && self.frames.try_recv().is_ok() {
            summary.outcome = Outcome::Aborted;
        }
        summary
    }

    fn cancel(&self) {
        self.control.cancelled.store(true, Ordering::Release);
        (self.control.wake)();
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").finish_non_exhaustive()
    }
}

/// The engine's end of a [`Generation`].
pub struct GenerationSink {
    frames: Option<mpsc::Sender<Frame>>,
    summary: Option<oneshot::Sender<Summary>>,
    control: Arc<Control>,
}

impl GenerationSink {
    /// Whether the reader has gone or asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.control.cancelled.load(Ordering::Acquire)
    }

    /// How many frames can be queued now.
    pub fn room(&self) -> usize {
        self.frames.as_ref().map_or(0, mpsc::Sender::capacity)
    }

    /// Queues a frame without waiting; false if there is no room or no reader.
    pub fn try_send(&self, frame: Frame) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.try_send(frame).is_ok())
    }

    /// Queues a frame, waiting for room; false if there is no reader.
    pub async fn send(&self, frame: Frame) -> bool {
        match &self.frames {
            Some(frames) => frames.send(frame).await.is_ok(),
            None => false,
        }
    }

    /// Waits until the reader has gone or asked to stop.
    pub async fn closed(&self) {
        if let Some(frames) = &self.frames {
            frames.closed().await;
        }
    }

    /// Tells the reader that no frame follows, though the engine may still be at work.
    pub fn end_frames(&mut self) {
        self.frames = None;
    }

    /// Ends the generation.
    pub fn finish(mut self, summary: Summary) {
        self.frames = None;
        if let Some(sender) = self.summary.take() {
            let _ = sender.send(summary);
        }
    }
}

impl fmt::Debug for GenerationSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationSink").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
