//! Continuous batching: one thread owns the model's state; requests join and leave between steps.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use super::request::Job;
use super::sequence::{Active, Sampled};
use super::{Loaded, Queue, ReferenceConfig};
use crate::api::Responder;
use crate::digest::hash_logits;
use crate::engine::{EngineError, Generation, GenerationSink, Outcome, Summary};
use crate::model::{Buffers, KvPool, Row};
use crate::sampling::{log_probs, sample};

/// What a client is told to wait when the queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Steps that the engine may run ahead of its reader.
const STEPS_AHEAD: usize = 4;

/// The handle: submits requests and stops the thread when dropped.
#[derive(Debug)]
pub(super) struct Scheduler {
    shared: Arc<Shared>,
    queue: Queue,
    context: usize,
    kv_tokens: usize,
    max_running: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    signal: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Waiting>,
    signalled: bool,
    shutdown: bool,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    sink: GenerationSink,
    /// Most tokens per choice.
    limit: usize,
    deadline: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.lock().signalled = true;
        self.signal.notify_one();
    }

    fn shut_down(&self) {
        let mut inbox = self.lock();
        inbox.shutdown = true;
        inbox.waiting.clear();
        drop(inbox);
        self.signal.notify_one();
    }
}

impl Scheduler {
    pub(super) fn start(loaded: Arc<Loaded>, config: &ReferenceConfig) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            kv: KvPool::new(loaded.model.page_shape(), config.kv_tokens),
            active: Vec::new(),
            buffers: Buffers::default(),
            config: config.clone(),
            shared: Arc::clone(&shared),
            loaded: Arc::clone(&loaded),
        };
        let thread = std::thread::Builder::new().name("atoma-engine".into()).spawn(move || worker.run())?;
        Ok(Self {
            shared,
            queue: config.queue.clone(),
            context: loaded.context,
            kv_tokens: config.kv_tokens,
            max_running: config.max_running,
            thread: Some(thread),
        })
    }

    /// Queues a job that may sample `output_limit` tokens, shared evenly by its choices.
    pub(super) fn submit(&self, job: Job, output_limit: u64) -> Result<Generation, EngineError> {
        let choices = usize::try_from(job.request.choices).unwrap_or(usize::MAX);
        let limit = self.limit(&job, choices, output_limit)?;
        let shared = Arc::clone(&self.shared);
        let frames = Active::frames_per_step(choices) * STEPS_AHEAD;
        let (sink, generation) = Generation::channel(frames, move || shared.wake());
        let mut inbox = self.shared.lock();
        if inbox.shutdown {
            return Err(EngineError::Internal("the engine has stopped".into()));
        }
        if inbox.waiting.len() >= self.queue.capacity {
            return Err(EngineError::Overloaded { retry_after: RETRY_AFTER });
        }
        let deadline = Instant::now() + self.queue.timeout;
        inbox.waiting.push_back(Waiting { job, sink, limit, deadline });
        inbox.signalled = true;
        drop(inbox);
        self.shared.signal.notify_one();
        Ok(generation)
    }

    /// Tokens per choice: what the body asks for, what the caller allows, what fits the context and the cache.
    fn limit(&self, job: &Job, choices: usize, output_limit: u64) -> Result<usize, EngineError> {
        if choices > self.max_running {
            let text = format!("`n` is {choices}, but this engine runs at most {} choices", self.max_running);
            return Err(EngineError::bad("n", text));
        }
        let asked = job.request.max_tokens.unwrap_or(u64::MAX);
        let allowed = output_limit / u64::from(job.request.choices.max(1));
        let room = self.context.min(self.kv_tokens / choices).saturating_sub(job.prompt.len());
        let limit = usize::try_from(asked.min(allowed)).unwrap_or(usize::MAX).min(room);
        if allowed == 0 {
            let text =
                format!("{output_limit} output tokens are allowed for {choices} choices, that is none each");
            return Err(EngineError::bad("max_tokens", text));
        }
        if limit == 0 {
            return Err(EngineError::ContextLength {
                input_tokens: u64::try_from(job.prompt.len()).unwrap_or(u64::MAX),
                output_tokens: 1,
                limit: u64::try_from(self.context.min(self.kv_tokens / choices)).unwrap_or(u64::MAX),
                param: "n",
            });
        }
        Ok(limit)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.shut_down();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Worker {
    kv: KvPool,
    active: Vec<Active>,
    buffers: Buffers,
    config: ReferenceConfig,
    shared: Arc<Shared>,
    loaded: Arc<Loaded>,
}

/// Marks the engine stopped however its thread ends, so that nobody waits for it.
struct StopOnExit(Arc<Shared>);

impl Drop for StopOnExit {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

/// Rows that one request has in a step.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The next `count` prompt tokens; `last` if these are the final ones.
    Prompt { active: usize, count: usize, last: bool },
    /// A choice's newest token.
    Token { active: usize, choice: usize },
}

/// Something to do with one row of logits.
#[derive(Debug, Clone, Copy)]
enum Task {
    Hash,
    Sample { active: usize, choice: usize },
}

enum Done {
    Hash([u8; 32]),
    Sample(Sampled),
}

impl Worker {
    fn run(mut self) {
        let _stop = StopOnExit(Arc::clone(&self.shared));
        loop {
            if !self.admit() {
                return;
            }
            self.observe();
            self.retire();
            let parts = self.plan();
            if parts.is_empty() {
                self.wait();
                continue;
            }
            self.step(&parts);
            self.retire();
        }
    }

    /// Lets waiting requests in while there is room; false if the engine is to stop.
    fn admit(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.lock();
        if inbox.shutdown {
            return false;
        }
        inbox.signalled = false;
        let mut gone = take_out(&mut inbox.waiting, |waiting| waiting.sink.is_cancelled());
        while let Some(waiting) = inbox.waiting.pop_front() {
            if let Err(waiting) = self.start(waiting) {
                inbox.waiting.push_front(waiting);
                break;
            }
        }
        let now = Instant::now();
        gone.extend(take_out(&mut inbox.waiting, |waiting| waiting.deadline <= now));
        drop(inbox);
        for waiting in gone {
            turn_away(waiting);
        }
        true
    }

    /// Gives a request its caches, or hands it back if there is no room yet.
    #[expect(clippy::result_large_err, reason = "the request itself comes back, once, on this thread")]
    fn start(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        let choices = usize::try_from(waiting.job.request.choices).unwrap_or(1);
        let running: usize = self.active.iter().map(|active| active.choices.len()).sum();
        if running + choices > self.config.max_running {
            return Err(waiting);
        }
        let length = waiting.job.prompt.len() + waiting.limit;
        let Some(sequences) = self.kv.reserve(&vec![length; choices]) else { return Err(waiting) };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut unique = [0; 12];
        // An id is a label; should the system have no randomness, the seed serves.
        if getrandom::fill(&mut unique).is_err() {
            unique[..8].copy_from_slice(&waiting.job.request.sampling.seed.to_le_bytes());
        }
        let Waiting { job, sink, limit, .. } = waiting;
        let responder = Responder::new(
            &job.request,
            &self.loaded.id,
            &self.loaded.fingerprint,
            job.request.sampling.seed,
            created,
            &hex::encode(unique),
        );
        self.active.push(Active::new(job, sink, responder, limit, sequences));
        Ok(())
    }

    /// Notes which requests are to stop: their reader has gone, or has left frames lying for too long.
    fn observe(&mut self) {
        let now = Instant::now();
        for active in &mut self.active {
            active.stalled = if active.has_room() { None } else { Some(active.stalled.unwrap_or(now)) };
            let waited = active.stalled.map_or(Duration::ZERO, |since| now - since);
            active.stopped |= active.sink.is_cancelled() || waited >= self.config.stall_timeout;
        }
    }

    /// Decides which rows the next step feeds: every ready token, then prompts in the order they came.
    fn plan(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (index, active) in self.active.iter().enumerate() {
            for (choice, state) in active.choices.iter().enumerate() {
                let last_row = active.stopped || state.finish.is_some();
                if state.unfed().is_some() && (active.stalled.is_none() || last_row) {
                    parts.push(Part::Token { active: index, choice });
                }
            }
        }
        let alone = parts.is_empty();
        let mut budget = if alone { self.config.prefill_chunk } else { self.config.prefill_chunk_shared };
        for (index, active) in self.active.iter().enumerate() {
            if active.prefilling() && !active.stopped && budget > 0 {
                let left = active.job.prompt.len() - active.fed;
                let count = left.min(budget);
                budget -= count;
                parts.push(Part::Prompt { active: index, count, last: count == left });
            }
        }
        parts
    }

    fn step(&mut self, parts: &[Part]) {
        let loaded = Arc::clone(&self.loaded);
        let (rows, wanted) = self.rows(parts);
        self.grow(parts);
        let Self { active, buffers, .. } = self;
        let done = loaded.pool.install(|| {
            let choices = active.iter_mut().flat_map(|active| &mut active.choices);
            let mut sequences: Vec<_> = choices.map(|choice| &mut choice.sequence).collect();
            let logits = loaded.model.step(loaded.threads, &mut sequences, &rows, buffers);
            judge(active, &wanted, logits, &loaded)
        });
        self.apply(parts, done);
    }

    /// The step's rows, and what to do with each row of logits that it yields. Sequences are numbered in the order
    /// of requests and choices.
    fn rows(&self, parts: &[Part]) -> (Vec<Row>, Vec<Vec<Task>>) {
        let mut first = Vec::with_capacity(self.active.len());
        let mut next = 0;
        for active in &self.active {
            first.push(next);
            next += active.choices.len();
        }
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for part in parts {
            match *part {
                Part::Token { active, choice } => {
                    let state = &self.active[active].choices[choice];
                    let token = state.unfed().unwrap_or(0);
                    rows.push(Row { sequence: first[active] + choice, token, logits: true });
                    let goes_on = state.finish.is_none() && !self.active[active].stopped;
                    let sample = goes_on.then_some(Task::Sample { active, choice });
                    wanted.push([Some(Task::Hash), sample].into_iter().flatten().collect());
                }
                Part::Prompt { active, count, last } => {
                    let state = &self.active[active];
                    let tokens = &state.job.prompt[state.fed..state.fed + count];
                    for (i, token) in tokens.iter().enumerate() {
                        let logits = last && i + 1 == count;
                        rows.push(Row { sequence: first[active], token: *token, logits });
                    }
                    if last {
                        let samples = (0..state.choices.len()).map(|choice| Task::Sample { active, choice });
                        wanted.push(std::iter::once(Task::Hash).chain(samples).collect());
                    }
                }
            }
        }
        (rows, wanted)
    }

    fn grow(&mut self, parts: &[Part]) {
        for part in parts {
            let (active, choice, count) = match *part {
                Part::Token { active, choice } => (active, choice, 1),
                Part::Prompt { active, count, .. } => (active, 0, count),
            };
            let sequence = &mut self.active[active].choices[choice].sequence;
            let len = sequence.len() + count;
            self.kv.grow(sequence, len);
        }
    }

    /// Books a step's results, in the order of its parts.
    fn apply(&mut self, parts: &[Part], done: Vec<Vec<Done>>) {
        let loaded = Arc::clone(&self.loaded);
        let mut done = done.into_iter();
        for part in parts {
            match *part {
                Part::Prompt { active, count, last } => {
                    let state = &mut self.active[active];
                    state.fed += count;
                    if !last {
                        continue;
                    }
                    let Some((from, others)) = state.choices.split_first_mut() else { continue };
                    for other in others {
                        self.kv.fork(&from.sequence, &mut other.sequence);
                    }
                    for result in done.next().unwrap_or_default() {
                        match result {
                            Done::Hash(hash) => state.prompt_hash = hash,
                            Done::Sample(sampled) => state.accept(&loaded, sampled),
                        }
                    }
                }
                Part::Token { active, choice } => {
                    let state = &mut self.active[active];
                    for result in done.next().unwrap_or_default() {
                        match result {
                            Done::Hash(hash) => {
                                let choice = &mut state.choices[choice];
                                let token = choice.unfed().unwrap_or(0);
                                choice.positions.push((token, hash));
                            }
                            Done::Sample(sampled) => state.accept(&loaded, sampled),
                        }
                    }
                }
            }
        }
        for active in &mut self.active {
            active.close_if_finished();
        }
    }

    /// Lets go of finished requests: first their room, then the news.
    fn retire(&mut self) {
        for active in self.active.extract_if(.., |active| active.done()).collect::<Vec<_>>() {
            let (sequences, sink, summary) = active.retire();
            for sequence in sequences {
                self.kv.release(sequence);
            }
            sink.finish(summary);
        }
    }

    /// Sleeps until somebody calls or a deadline passes.
    fn wait(&self) {
        let inbox = self.shared.lock();
        let queued = inbox.waiting.iter().map(|waiting| waiting.deadline);
        let stalled = self.active.iter().filter_map(|active| active.stalled);
        let next = queued.chain(stalled.map(|since| since + self.config.stall_timeout)).min();
        let quiet = |inbox: &mut Inbox| !inbox.signalled && !inbox.shutdown;
        match next {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                drop(self.shared.signal.wait_timeout_while(inbox, left, quiet));
            }
            None => drop(self.shared.signal.wait_while(inbox, quiet)),
        }
    }
}

/// Hashes and samples every row of logits, all in parallel.
fn judge(active: &[Active], wanted: &[Vec<Task>], logits: &[f32], loaded: &Loaded) -> Vec<Vec<Done>> {
    let (vocabulary, silent) = (loaded.model.shape().vocabulary, loaded.tokenizer.silent());
    let one = |task: &Task, logits: &[f32]| match *task {
        Task::Hash => Done::Hash(hash_logits(logits)),
        Task::Sample { active: index, choice } => {
            let request = &active[index].job.request;
            let state = &active[index].choices[choice];
            let number = u32::try_from(choice).unwrap_or(u32::MAX);
            let position = u64::try_from(state.tokens.len()).unwrap_or(u64::MAX);
            let token = sample(&request.sampling, (number, position), &state.counts, silent, logits);
            let log_probs = request.log_probs.map(|top| log_probs(logits, token, top));
            Done::Sample(Sampled { choice, token, log_probs })
        }
    };
    wanted
        .par_iter()
        .zip(logits.par_chunks(vocabulary))
        .map(|(tasks, logits)| tasks.par_iter().map(|task| one(task, logits)).collect())
        .collect()
}

/// Removes what `unwanted` picks, keeping the order of the rest.
fn take_out(waiting: &mut VecDeque<Waiting>, unwanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
    let (out, keep): (Vec<_>, Vec<_>) = waiting.drain(..).partition(unwanted);
    waiting.extend(keep);
    out
}

/// A request that was cancelled or waited too long before it began.
fn turn_away(waiting: Waiting) {
    let outcome = if waiting.sink.is_cancelled() {
        Outcome::Aborted
    } else {
        Outcome::Failed("the request waited too long for room in the engine".into())
    };
    let summary = Summary {
        input_tokens: u64::try_from(waiting.job.prompt.len()).unwrap_or(u64::MAX),
        output_tokens: 0,
        outcome,
        work: [0; 32],
        seed: waiting.job.request.sampling.seed,
        output_ids: (0..waiting.job.request.choices).map(|_| Vec::new()).collect(),
        prompt_ids: waiting.job.prompt,
    };
    waiting.sink.finish(summary);
}
