//! Checking an answer: one teacher-forced pass over prompt and answer, sampling every position again.

use rayon::prelude::*;

use super::Loaded;
use crate::digest::{Position, Work, hash_logits};
use crate::model::{Buffers, KvPool, Row, Sequence};
use crate::sampling::{Counts, Sampling, sample};

/// Rows per step of a replay.
const CHUNK: usize = 64;

/// Why an answer cannot be replayed at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("token {0} does not exist in this model")]
    UnknownToken(u32),
    #[error("prompt and answer have {tokens} tokens, but this model's context holds {limit}")]
    ContextLength { tokens: usize, limit: usize },
    #[error("the request was prepared by another engine")]
    Foreign,
}

/// The first output token that the model would not have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    pub choice: usize,
    pub position: usize,
    pub expected: u32,
    pub recorded: u32,
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The digests of this answer, whether or not the tokens match. `None` if nothing was generated.
    pub work: Option<Work>,
    pub mismatch: Option<Mismatch>,
}

impl Replay {
    /// Whether the model with these parameters gives exactly the recorded tokens.
    pub fn tokens_equal(&self) -> bool {
        self.mismatch.is_none()
    }

    /// The digest to compare with a record's; zeros if nothing was generated.
    pub fn digest(&self) -> [u8; 32] {
        self.work.map_or([0; 32], |work| work.digest())
    }
}

/// Buffers and cache of replays.
#[derive(Debug)]
pub(super) struct State {
    buffers: Buffers,
    kv: KvPool,
}

impl State {
    pub(super) fn new(loaded: &Loaded) -> Self {
        // The prompt and one answer at a time; answers fork from the prompt.
        let kv = KvPool::new(loaded.model.page_shape(), 2 * loaded.context + 128);
        Self { buffers: Buffers::default(), kv }
    }
}

pub(super) fn run(
    loaded: &Loaded,
    state: &mut State,
    prompt: &[u32],
    outputs: &[Vec<u32>],
    sampling: &Sampling,
) -> Result<Replay, ReplayError> {
    check(loaded, prompt, outputs)?;
    if outputs.iter().all(Vec::is_empty) {
        return Ok(Replay { work: None, mismatch: None });
    }
    let full = || ReplayError::ContextLength { tokens: prompt.len(), limit: loaded.context };
    let mut base = take(&mut state.kv, prompt.len()).ok_or_else(full)?;
    let last = loaded.pool.install(|| {
        let mut last = Vec::new();
        feed(loaded, state, &mut base, prompt, prompt.len() - 1, &mut |_, logits| last = logits.to_vec());
        last
    });
    let mut mismatch = None;
    let mut choices: Vec<Vec<Position>> = Vec::with_capacity(outputs.len());
    for (index, output) in outputs.iter().enumerate() {
        let Some(mut sequence) = take(&mut state.kv, prompt.len() + output.len()) else { continue };
        state.kv.fork(&base, &mut sequence);
        let (positions, first) =
            loaded.pool.install(|| choice(loaded, state, &mut sequence, &last, index, output, sampling));
        state.kv.release(sequence);
        mismatch = mismatch.or(first);
        choices.push(positions);
    }
    state.kv.release(base);
    let work = Work::new(&hash_logits(&last), choices.iter().map(Vec::as_slice));
    Ok(Replay { work: Some(work), mismatch })
}

fn check(loaded: &Loaded, prompt: &[u32], outputs: &[Vec<u32>]) -> Result<(), ReplayError> {
    if prompt.is_empty() {
        return Err(ReplayError::EmptyPrompt);
    }
    let known = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < loaded.tokenizer.len());
    if let Some(id) = prompt.iter().chain(outputs.iter().flatten()).find(|id| !known(id)) {
        return Err(ReplayError::UnknownToken(*id));
    }
    let tokens = prompt.len() + outputs.iter().map(Vec::len).max().unwrap_or(0);
    if tokens > loaded.context {
        return Err(ReplayError::ContextLength { tokens, limit: loaded.context });
    }
    Ok(())
}

fn take(kv: &mut KvPool, tokens: usize) -> Option<Sequence> {
    kv.reserve(&[tokens])?.pop()
}

/// Feeds `tokens` and calls `each` with the logits of every token from index `from` on.
fn feed(
    loaded: &Loaded,
    state: &mut State,
    sequence: &mut Sequence,
    tokens: &[u32],
    from: usize,
    each: &mut dyn FnMut(usize, &[f32]),
) {
    let mut start = 0;
    for chunk in tokens.chunks(CHUNK) {
        let row = |(i, token): (usize, &u32)| Row { sequence: 0, token: *token, logits: start + i >= from };
        let rows: Vec<Row> = chunk.iter().enumerate().map(row).collect();
        let end = sequence.len() + chunk.len();
        state.kv.grow(sequence, end);
        let logits = loaded.model.step(loaded.threads, &mut [&mut *sequence], &rows, &mut state.buffers);
        if start + chunk.len() > from {
            each(start.max(from), logits);
        }
        start += chunk.len();
    }
}

/// One answer: its digest positions and the first token that differs.
fn choice(
    loaded: &Loaded,
    state: &mut State,
    sequence: &mut Sequence,
    prompt_logits: &[f32],
    index: usize,
    output: &[u32],
    sampling: &Sampling,
) -> (Vec<Position>, Option<Mismatch>) {
    let vocabulary = loaded.model.shape().vocabulary;
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    let mut counts = Counts::default();
    let mut before = vec![counts.clone()];
    for token in output {
        counts.add(sampling, *token);
        before.push(counts.clone());
    }
    let judge = |position: usize, logits: &[f32]| {
        let recorded = *output.get(position)?;
        let at = u64::try_from(position).unwrap_or(u64::MAX);
        let expected = sample(sampling, (number, at), &before[position], loaded.tokenizer.silent(), logits);
        (expected != recorded).then_some(Mismatch { choice: index, position, expected, recorded })
    };
    let mut mismatch = judge(0, prompt_logits);
    let mut positions = Vec::with_capacity(output.len());
    feed(loaded, state, sequence, output, 0, &mut |first, logits| {
        let rows: Vec<([u8; 32], Option<Mismatch>)> = logits
            .par_chunks(vocabulary)
            .enumerate()
            .map(|(i, logits)| (hash_logits(logits), judge(first + i + 1, logits)))
            .collect();
        for (i, (hash, found)) in rows.into_iter().enumerate() {
            positions.push((output[first + i], hash));
            mismatch = mismatch.or(found);
        }
    });
    (positions, mismatch)
}
