//! A bounded queue from many tasks to one thread, which takes batches.
//!
//! An entry that somebody waits for is taken as soon as the thread is free. Others wait for company, a moment
//! at most, because a commit costs more than what is in it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most entries in a batch.
const BATCH: usize = 512;

/// A queue with room for `capacity` entries. One that nobody waits for stays in it for `linger` at most.
pub fn queue<T>(capacity: usize, linger: Duration) -> (Queue<T>, Batches<T>) {
    let state = State {
        entries: VecDeque::new(),
        sent: 0,
        taken: 0,
        since: None,
        taken_at: Instant::now(),
        hurried: false,
        closed: false,
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
    entries: VecDeque<T>,
    sent: u64,
    taken: u64,
    /// Since when, at most, an entry is not done.
    since: Option<Instant>,
    /// When the batch at hand was taken.
    taken_at: Instant,
    /// Somebody waits for one of the entries.
    hurried: bool,
    closed: bool,
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
    /// Waits for room; `None` once the queue is closed.
    pub async fn place(&self) -> Option<Place<T>> {
        let permit = self.places().acquire_owned().await.ok()?;
        Some(Place { queue: self.clone(), permit })
    }

    /// Room, if there is any.
    pub fn try_place(&self) -> Option<Place<T>> {
        let permit = self.places().try_acquire_owned().ok()?;
        Some(Place { queue: self.clone(), permit })
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

impl<T> Place<T> {
    /// Puts an entry at the end, or drops it if the queue is closed.
    pub fn send(self, entry: T) -> Ticket<T> {
        let Self { queue, permit } = self;
        let shared = &queue.0.0;
        let mut state = shared.lock();
        if !state.closed {
            state.entries.push_back(entry);
            state.since.get_or_insert_with(Instant::now);
            state.sent = state.sent.saturating_add(1);
            permit.forget();
            if state.taker == Taker::Idle {
                shared.wake(&mut state);
            }
        }
        let number = state.sent;
        drop(state);
        Ticket { queue, number }
    }
}

impl<T> Ticket<T> {
    /// Somebody waits for the entry.
    pub fn hurry(self) {
        let shared = &self.queue.0.0;
        let mut state = shared.lock();
        if state.taken < self.number && !state.hurried {
            state.hurried = true;
            shared.wake(&mut state);
        }
    }
}

impl<T> Batches<T> {
    /// Blocks until there is something to do, and appends it to `batch` in the order in which it was sent.
    /// False when the queue is closed and empty.
    pub fn take(&mut self, batch: &mut Vec<T>) -> bool {
        let shared = &self.shared;
        let mut state = shared.lock();
        // The last batch is done; what is here came after it was taken.
        state.since = (!state.entries.is_empty()).then_some(state.taken_at);
        loop {
            let lingers = |state: &mut State<T>| state.waits(!state.is_due(), Taker::Lingers);
            state = match shared.wake.wait_timeout_while(state, self.linger, lingers) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if state.closed || !state.entries.is_empty() {
                break;
            }
            let idles =
                |state: &mut State<T>| state.waits(state.entries.is_empty() && !state.closed, Taker::Idle);
            state = shared.wake.wait_while(state, idles).unwrap_or_else(PoisonError::into_inner);
        }
        state.taker = Taker::Busy;
        state.taken_at = Instant::now();
        let count = state.entries.len().min(BATCH);
        batch.extend(state.entries.drain(..count));
        state.taken = state.taken.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        state.hurried &= !state.entries.is_empty();
        drop(state);
        shared.places.add_permits(count);
        count > 0
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

    fn close(&self) {
        self.places.close();
        let mut state = self.lock();
        state.closed = true;
        self.wake(&mut state);
    }

    fn abandon(&self) {
        self.close();
        // Dropped when nothing is locked.
        let _entries = std::mem::take(&mut self.lock().entries);
    }
}

impl<T> State<T> {
    fn is_due(&self) -> bool {
        self.hurried || self.closed || self.entries.len() >= BATCH
    }

    fn waits(&mut self, waits: bool, taker: Taker) -> bool {
        self.taker = if waits { taker } else { Taker::Busy };
        waits
    }
}
