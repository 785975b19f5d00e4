//! One request in progress: what was fed, what was sampled, what was told to the reader.

use std::time::Instant;

use super::Loaded;
use super::request::Job;
use crate::api::{Finish, Piece, Responder, TokenLogProb};
use crate::digest::{Position, Work};
use crate::engine::{EngineError, Frame, GenerationSink, Outcome, Summary};
use crate::model::Sequence;
use crate::sampling::{Counts, LogProbs};
use crate::stream::{Progress, TextStream};

/// One of a request's answers.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) sequence: Sequence,
    pub(super) tokens: Vec<u32>,
    /// Tokens that were fed back, with the hash of the logits that followed. One behind `tokens` while generating.
    pub(super) positions: Vec<Position>,
    pub(super) counts: Counts,
    text: TextStream,
    pub(super) finish: Option<Finish>,
}

impl Choice {
    fn new(sequence: Sequence) -> Self {
        Self {
            sequence,
            tokens: Vec::new(),
            positions: Vec::new(),
            counts: Counts::default(),
            text: TextStream::default(),
            finish: None,
        }
    }

    /// The sampled token that has not been fed yet.
    pub(super) fn unfed(&self) -> Option<u32> {
        self.tokens.get(self.positions.len()).copied()
    }
}

/// A token drawn for a choice.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) choice: usize,
    pub(super) token: u32,
    pub(super) log_probs: Option<LogProbs>,
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) job: Job,
    pub(super) sink: GenerationSink,
    responder: Responder,
    /// Most tokens per choice.
    limit: usize,
    /// Prompt tokens fed.
    pub(super) fed: usize,
    pub(super) prompt_hash: [u8; 32],
    pub(super) choices: Vec<Choice>,
    output_tokens: u64,
    ended: bool,
    failure: Option<String>,
    pub(super) stopped: bool,
    /// Since when the reader has left no room for frames.
    pub(super) stalled: Option<Instant>,
}

impl Active {
    pub(super) fn new(
        job: Job,
        sink: GenerationSink,
        responder: Responder,
        limit: usize,
        sequences: Vec<Sequence>,
    ) -> Self {
        Self {
            job,
            sink,
            responder,
            limit,
            fed: 0,
            prompt_hash: [0; 32],
            choices: sequences.into_iter().map(Choice::new).collect(),
            output_tokens: 0,
            ended: false,
            failure: None,
            stopped: false,
            stalled: None,
        }
    }

    pub(super) fn prefilling(&self) -> bool {
        self.fed < self.job.prompt.len()
    }

    /// Frames that one step may add.
    pub(super) fn frames_per_step(choices: usize) -> usize {
        choices + 1
    }

    /// Whether the reader has room for what the next step says.
    pub(super) fn has_room(&self) -> bool {
        self.ended || self.sink.room() >= Self::frames_per_step(self.choices.len())
    }

    /// Whether nothing is left to compute.
    pub(super) fn done(&self) -> bool {
        let fed = self.choices.iter().all(|choice| choice.unfed().is_none());
        let settled = self.stopped || self.choices.iter().all(|choice| choice.finish.is_some());
        fed && settled && (self.stopped || !self.prefilling())
    }

    /// Takes a sampled token into its choice and tells the reader what it means.
    pub(super) fn accept(&mut self, loaded: &Loaded, sampled: Sampled) {
        let Some(choice) = self.choices.get_mut(sampled.choice) else { return };
        let token = sampled.token;
        choice.tokens.push(token);
        choice.counts.add(&self.job.request.sampling, token);
        self.output_tokens += 1;
        let ends = loaded.tokenizer.ends(token);
        let spelling = if ends { &[] } else { loaded.tokenizer.spelling(token) };
        let (mut text, mut finish) = match choice.text.push(spelling, &self.job.request.stops) {
            Progress::Text(text) => (text, None),
            Progress::Stopped(text) => (text, Some(Finish::Stop)),
        };
        if finish.is_none() && (ends || choice.tokens.len() >= self.limit) {
            text.push_str(&choice.text.finish());
            finish = Some(if ends { Finish::Stop } else { Finish::Length });
        }
        choice.finish = finish;
        let log_probs = match sampled.log_probs {
            Some(found) if !ends => vec![describe(loaded, token, found, self.job.request.log_probs)],
            _ => Vec::new(),
        };
        let choice = u32::try_from(sampled.choice).unwrap_or(u32::MAX);
        let bytes = self.responder.piece(Piece { choice, text, log_probs, finish });
        self.send(bytes);
    }

    /// Once every choice has finished, sends what closes the answer.
    pub(super) fn close_if_finished(&mut self) {
        if self.ended || !self.choices.iter().all(|choice| choice.finish.is_some()) {
            return;
        }
        let input = u64::try_from(self.job.prompt.len()).unwrap_or(u64::MAX);
        let bytes = self.responder.end(input, self.output_tokens);
        self.send(bytes);
        self.ended = true;
        self.sink.end_frames();
    }

    fn send(&mut self, bytes: Result<Option<bytes::Bytes>, EngineError>) {
        match bytes {
            Ok(Some(bytes)) => {
                if !self.sink.try_send(Frame { bytes, output_tokens: self.output_tokens }) {
                    self.stopped = true;
                }
            }
            Ok(None) => {}
            Err(error) => {
                self.failure = Some(error.to_string());
                self.stopped = true;
            }
        }
    }

    /// The end of the request: its caches to give back, and what to tell the reader.
    pub(super) fn retire(self) -> (Vec<Sequence>, GenerationSink, Summary) {
        let outcome = match self.failure {
            Some(reason) => Outcome::Failed(reason),
            None if self.ended => Outcome::Complete,
            None => Outcome::Aborted,
        };
        let work = if self.output_tokens == 0 {
            [0; 32]
        } else {
            let positions = self.choices.iter().map(|choice| choice.positions.as_slice());
            Work::new(&self.prompt_hash, positions).digest()
        };
        let (mut sequences, mut output_ids) = (Vec::new(), Vec::new());
        for choice in self.choices {
            sequences.push(choice.sequence);
            output_ids.push(choice.tokens);
        }
        let summary = Summary {
            input_tokens: u64::try_from(self.job.prompt.len()).unwrap_or(u64::MAX),
            output_tokens: self.output_tokens,
            outcome,
            work,
            seed: self.job.request.sampling.seed,
            prompt_ids: self.job.prompt,
            output_ids,
        };
        (sequences, self.sink, summary)
    }
}

fn describe(loaded: &Loaded, token: u32, found: LogProbs, top: Option<usize>) -> TokenLogProb {
    let entry = |token: u32, logprob: f64| TokenLogProb {
        token: loaded.tokenizer.label(token),
        logprob,
        bytes: loaded.tokenizer.spelling(token).to_vec(),
        top_logprobs: None,
    };
    let alternatives = found.top.iter().map(|(token, logprob)| entry(*token, *logprob)).collect();
    TokenLogProb { top_logprobs: top.is_some().then_some(alternatives), ..entry(token, found.chosen) }
}
