//! A bounded queue from many tasks to one thread, which takes batches.
//!
//! Sending an entry appends it to a [`Log`], in the order in which the thread gets it: from then on killing the process
//! loses nothing, and nobody has to wait for the thread. Entries wait for company, a moment at most, because a commit
//! costs more than what is in it, unless somebody waits for one.

#[cfg(test)]
mod tests;

use crate::Log;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Most entries in a batch.
const BATCH: usize = 512;

/// What is kept of an entry before the thread has it.
pub trait Logged {
    /// Writes what brings it back after a crash: nothing for one that is of no use then.
    fn log(&self, bytes: &mut Vec<u8>) -> io::Result<()>;
}

/// Why a queue takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("closed")]
    Closed,
    #[error("{0}")]
    Broken(Arc<str>),
}

/// A queue with room for `capacity` entries. One that nobody waits for stays in it for `linger` at most.
pub fn queue<T>(capacity: usize, linger: Duration, log: Log) -> (Queue<T>, Batches<T>) {
    let state = State {
        entries: VecDeque::new(),
        applied: log.sequence(),
        log,
        sent: 0,
        taken: 0,
        done: 0,
        waiting: Vec::new(),
        since: None,
        taken_at: Instant::now(),
        hurried: false,
        stopped: None,
        gone: false,
        taker: Taker::Busy,
    };
    let places = Arc::new(Semaphore::new(capacity));
    let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), places });
    (Queue(Arc::new(Handle(shared.clone()))), Batches { shared, linger })
}

/// Where entries are handed over. The queue closes with the last clone.
#[derive(Debug)]
pub struct Queue<T>(Arc<Handle<T>>);

/// See [`Queue::downgrade`].
#[derive(Debug)]
pub struct WeakQueue<T>(Weak<Handle<T>>);

/// Room for one entry. Sending through it never waits.
#[derive(Debug)]
pub struct Place<T> {
    queue: Queue<T>,
    permit: OwnedSemaphorePermit,
}

/// Stands for an entry that was sent.
#[derive(Debug)]
pub struct Ticket<T> {
    queue: Queue<T>,
    /// Counts entries from 1.
    number: u64,
}

/// What the thread takes from. Dropping it closes the queue and drops what is in it.
#[derive(Debug)]
pub struct Batches<T> {
    shared: Arc<Shared<T>>,
    linger: Duration,
}

#[derive(Debug)]
struct Handle<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct State<T> {
    /// With the sequence of the newest record when they were sent.
    entries: VecDeque<(T, u64)>,
    log: Log,
    /// Sequence of the newest record that was taken.
    applied: u64,
    sent: u64,
    taken: u64,
    /// Those that the thread is finished with.
    done: u64,
    /// Whoever waits until so many are done.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Since when, at most, an entry is not done.
    since: Option<Instant>,
    /// When the batch at hand was taken.
    taken_at: Instant,
    /// Somebody waits for one of the entries.
    hurried: bool,
    stopped: Option<Stopped>,
    /// Nobody takes entries any more.
    gone: bool,
    taker: Taker,
}

/// What the thread that takes is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taker {
    /// It will look at the queue without being told.
    Busy,
    /// It gives what nobody waits for a moment to gather.
    Lingers,
    /// It waits for any entry.
    Idle,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Queue<T> {
    /// Waits for room.
    pub async fn place(&self) -> Result<Place<T>, Stopped> {
        let permit = self.places().acquire_owned().await.map_err(|_| self.0.0.lock().reason())?;
        Ok(Place { queue: self.clone(), permit })
    }

    /// Room, if there is any.
    pub fn try_place(&self) -> Option<Place<T>> {
        let permit = self.places().try_acquire_owned().ok()?;
        Some(Place { queue: self.clone(), permit })
    }

    /// Returns when the thread is finished with everything sent so far.
    pub async fn flush(&self) -> Result<(), Stopped> {
        let done = {
            let mut state = self.0.0.lock();
            if state.gone || matches!(state.stopped, Some(Stopped::Broken(_))) {
                return Err(state.reason());
            }
            if state.done == state.sent {
                return Ok(());
            }
            let (tell, done) = oneshot::channel();
            let sent = state.sent;
            state.waiting.push((sent, tell));
            self.0.0.hurry(&mut state, sent);
            done
        };
        done.await.map_err(|_| self.0.0.lock().reason())
    }

    /// Takes nothing more. What is in the queue is still given out.
    pub fn close(&self) {
        self.0.0.close();
    }

    /// How many entries wait to be taken.
    pub fn waiting(&self) -> usize {
        self.0.0.lock().entries.len()
    }

    /// For how long, at most, the oldest entry has not been done.
    pub fn lag(&self) -> Duration {
        self.0.0.lock().since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// A handle that does not keep the queue open.
    pub fn downgrade(&self) -> WeakQueue<T> {
        WeakQueue(Arc::downgrade(&self.0))
    }

    fn places(&self) -> Arc<Semaphore> {
        self.0.0.places.clone()
    }
}

impl<T> WeakQueue<T> {
    /// Closes the queue, if it is open, and drops what is in it.
    pub fn abandon(&self) {
        if let Some(handle) = self.0.upgrade() {
            handle.0.abandon();
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T: Logged> Place<T> {
    /// Puts an entry into the log and at the end of the queue. An error drops it.
    pub fn send(self, entry: T) -> Result<Ticket<T>, Stopped> {
        let Self { queue, permit } = self;
        let shared = &queue.0.0;
        let mut state = shared.lock();
        if state.stopped.is_some() {
            return Err(state.reason());
        }
        if let Err(error) = state.log.append(|bytes| entry.log(bytes)) {
            let reason = format!("cannot write the log: {error}");
            state.stopped = Some(Stopped::Broken(reason.into()));
            return Err(state.reason());
        }
        let sequence = state.log.sequence();
        state.entries.push_back((entry, sequence));
        state.since.get_or_insert_with(Instant::now);
        state.sent = state.sent.saturating_add(1);
        permit.forget();
        if state.taker == Taker::Idle {
            shared.wake(&mut state);
        }
        let number = state.sent;
        drop(state);
        Ok(Ticket { queue, number })
    }
}

impl<T> Ticket<T> {
    /// Somebody waits for the entry.
    pub fn hurry(self) {
        let shared = &self.queue.0.0;
        shared.hurry(&mut shared.lock(), self.number);
    }
}

impl<T> Batches<T> {
    /// Blocks until there is something to do, and appends it to `batch` in the order in which it was sent. Whatever was
    /// taken before is done. False when the queue is closed and empty.
    pub fn take(&mut self, batch: &mut Vec<T>) -> bool {
        let shared = &self.shared;
        let mut state = shared.lock();
        state.finish();
        loop {
            let lingers = |state: &mut State<T>| state.waits(!state.is_due(), Taker::Lingers);
            state = match shared.wake.wait_timeout_while(state, self.linger, lingers) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if state.is_closed() || !state.entries.is_empty() {
                break;
            }
            let idles = |state: &mut State<T>| {
                state.waits(state.entries.is_empty() && !state.is_closed(), Taker::Idle)
            };
            state = shared.wake.wait_while(state, idles).unwrap_or_else(PoisonError::into_inner);
        }
        state.taker = Taker::Busy;
        state.taken_at = Instant::now();
        let count = state.entries.len().min(BATCH);
        let State { entries, applied, .. } = &mut *state;
        batch.extend(entries.drain(..count).map(|(entry, sequence)| {
            *applied = sequence;
            entry
        }));
        state.taken = state.taken.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        state.hurried &= !state.entries.is_empty();
        drop(state);
        shared.places.add_permits(count);
        count > 0
    }

    /// Sequence of the newest record of what was taken: to be committed with it.
    pub fn applied(&self) -> u64 {
        self.shared.lock().applied
    }

    /// What was taken is committed. Once in a while `sync` is asked to bring the database onto the disk, so that the
    /// log need not grow.
    pub fn committed(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let is_long = |state: &State<T>| state.log.is_long(state.applied);
        if is_long(&self.shared.lock()) {
            sync()?;
            self.shared.lock().log.turn();
        }
        Ok(())
    }

    /// Nothing more can be written: the queue takes nothing. What is in it is in the log.
    pub fn broken(&self, reason: Arc<str>) {
        let mut state = self.shared.lock();
        state.stopped = Some(Stopped::Broken(reason));
        state.waiting.clear();
    }
}

impl<T> Drop for Batches<T> {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &mut State<T>) {
        if state.taker != Taker::Busy {
            state.taker = Taker::Busy;
            self.wake.notify_one();
        }
    }

    fn hurry(&self, state: &mut State<T>, number: u64) {
        if state.taken < number && !state.hurried {
            state.hurried = true;
            self.wake(state);
        }
    }

    fn close(&self) {
        self.places.close();
        let mut state = self.lock();
        state.stopped.get_or_insert(Stopped::Closed);
        self.wake(&mut state);
    }

    fn abandon(&self) {
        self.close();
        // Dropped when nothing is locked.
        let (_entries, _waiting) = {
            let mut state = self.lock();
            state.gone = true;
            (std::mem::take(&mut state.entries), std::mem::take(&mut state.waiting))
        };
    }
}

impl<T> State<T> {
    fn is_closed(&self) -> bool {
        self.stopped.is_some()
    }

    fn reason(&self) -> Stopped {
        self.stopped.clone().unwrap_or(Stopped::Closed)
    }

    fn is_due(&self) -> bool {
        self.hurried || self.is_closed() || self.entries.len() >= BATCH
    }

    /// Whatever was taken is done.
    fn finish(&mut self) {
        self.done = self.taken;
        // What is here came after the last batch was taken.
        self.since = (!self.entries.is_empty()).then_some(self.taken_at);
        let (done, waiting) = (self.done, std::mem::take(&mut self.waiting));
        for (number, tell) in waiting {
            if number <= done {
                let _ = tell.send(());
            } else {
                self.waiting.push((number, tell));
            }
        }
    }

    fn waits(&mut self, waits: bool, taker: Taker) -> bool {
        self.taker = if waits { taker } else { Taker::Busy };
        waits
    }
}
