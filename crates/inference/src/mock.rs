//! An engine without a model, for serving benchmarks and tests: it says a fixed text at a set pace.
//!
//! It parses bodies and writes responses like the real one. Its tokens are the words of the prompt and of a counter,
//! its `work` is a hash of its output; two equal bodies with equal limits always get equal tokens.

use std::time::Duration;

use bytes::Bytes;

use crate::api::{self, Finish, Input, Piece, Request, Responder};
use crate::digest::{Work, hash_parts};
use crate::engine::{
    Endpoint, Engine, EngineError, Frame, Generation, GenerationSink, Outcome, Prepared, Summary,
};
use crate::sampling::Sampling;

/// Frames that the mock may be ahead of its reader.
const FRAMES_AHEAD: usize = 8;

/// What a [`MockEngine`] answers.
#[derive(Debug, Clone)]
pub struct MockConfig {
    pub model: String,
    pub context_tokens: u64,
    /// Tokens of an answer whose request and caller set no lower limit.
    pub tokens: u64,
    /// Pause before each token; zero for none.
    pub delay: Duration,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self { model: "mock".into(), context_tokens: 8192, tokens: 16, delay: Duration::ZERO }
    }
}

/// See the [module documentation](self). Runs on the tokio runtime from which [`Engine::run`] is called.
#[derive(Debug)]
pub struct MockEngine {
    config: MockConfig,
}

impl MockEngine {
    pub fn new(config: MockConfig) -> Self {
        Self { config }
    }
}

struct Job {
    request: Request,
    prompt: Vec<u32>,
}

impl Engine for MockEngine {
    fn model(&self) -> &str {
        &self.config.model
    }

    fn context_tokens(&self) -> u64 {
        self.config.context_tokens
    }

    fn prepare(&self, endpoint: Endpoint, body: &Bytes) -> Result<Prepared, EngineError> {
        let request = api::parse(endpoint, body, &self.config.model, &Sampling::default())?;
        let prompt = words(&request.input);
        let input_tokens = u64::try_from(prompt.len()).unwrap_or(u64::MAX);
        let asked = request.max_tokens.unwrap_or(1);
        if input_tokens.saturating_add(asked) > self.config.context_tokens {
            return Err(EngineError::ContextLength {
                input_tokens,
                output_tokens: asked,
                limit: self.config.context_tokens,
                param: "messages",
            });
        }
        let max = request.max_tokens.map(|max| max.saturating_mul(request.choices.into()));
        Ok(Prepared::new(input_tokens, max, request.stream, Job { request, prompt }))
    }

    fn run(&self, prepared: Prepared, output_limit: u64) -> Result<Generation, EngineError> {
        let job: Job = prepared.into_payload()?;
        let asked = job.request.max_tokens.unwrap_or(u64::MAX);
        let limit = self.config.tokens.min(asked).min(output_limit / u64::from(job.request.choices.max(1)));
        if limit == 0 {
            return Err(EngineError::bad("max_tokens", "no output tokens are allowed"));
        }
        let (sink, generation) = Generation::channel(FRAMES_AHEAD, || {});
        let seed = job.request.seed.unwrap_or(0);
        let responder = Responder::new(&job.request, &self.config.model, "fp_mock", seed, 0, "mock");
        let answer =
            Answer { job, responder, limit, delay: self.config.delay, outputs: Vec::new(), tokens: 0 };
        tokio::spawn(answer.run(sink));
        Ok(generation)
    }
}

/// One number per word; at least one.
fn words(input: &Input) -> Vec<u32> {
    let number = |word: &str| {
        let digest = hash_parts(&[word.as_bytes()]);
        u32::from_le_bytes([digest[0], digest[1], 0, 0])
    };
    match input {
        Input::Tokens(tokens) => tokens.clone(),
        Input::Prompt(text) => text.split_whitespace().map(number).collect(),
        Input::Chat(chat) => {
            chat.messages.iter().flat_map(|message| message.content.split_whitespace()).map(number).collect()
        }
    }
}

struct Answer {
    job: Job,
    responder: Responder,
    limit: u64,
    delay: Duration,
    outputs: Vec<Vec<u32>>,
    tokens: u64,
}

impl Answer {
    async fn run(mut self, mut sink: GenerationSink) {
        let outcome = self.say(&mut sink).await.unwrap_or_else(|error| Outcome::Failed(error.to_string()));
        let positions: Vec<Vec<_>> = self
            .outputs
            .iter()
            .map(|tokens| tokens.iter().map(|token| (*token, [0; 32])).collect())
            .collect();
        let work = Work::new(&[0; 32], positions.iter().map(Vec::as_slice));
        let summary = Summary {
            input_tokens: u64::try_from(self.job.prompt.len()).unwrap_or(u64::MAX),
            output_tokens: self.tokens,
            outcome,
            work: if self.tokens == 0 { [0; 32] } else { work.digest() },
            prompt_ids: self.job.prompt,
            output_ids: self.outputs,
            seed: self.job.request.seed.unwrap_or(0),
        };
        sink.finish(summary);
    }

    async fn say(&mut self, sink: &mut GenerationSink) -> Result<Outcome, EngineError> {
        for choice in 0..self.job.request.choices {
            self.outputs.push(Vec::new());
            for token in 0..self.limit {
                if !self.delay.is_zero() {
                    let _ = tokio::time::timeout(self.delay, sink.closed()).await;
                }
                if sink.is_cancelled() {
                    return Ok(Outcome::Aborted);
                }
                let finish = (token + 1 == self.limit).then_some(Finish::Length);
                let piece = Piece { choice, text: format!("word{token} "), log_probs: Vec::new(), finish };
                self.tokens += 1;
                if let Some(output) = self.outputs.last_mut() {
                    output.push(u32::try_from(token).unwrap_or(u32::MAX));
                }
                let bytes = self.responder.piece(piece)?;
                if !self.send(sink, bytes).await {
                    return Ok(Outcome::Aborted);
                }
            }
        }
        let input = u64::try_from(self.job.prompt.len()).unwrap_or(u64::MAX);
        let bytes = self.responder.end(input, self.tokens)?;
        Ok(if self.send(sink, bytes).await { Outcome::Complete } else { Outcome::Aborted })
    }

    async fn send(&self, sink: &GenerationSink, bytes: Option<Bytes>) -> bool {
        match bytes {
            Some(bytes) => sink.send(Frame { bytes, output_tokens: self.tokens }).await,
            None => true,
        }
    }
}
