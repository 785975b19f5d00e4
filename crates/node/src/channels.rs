//! The channels this node serves: found on chain when first asked for, then kept up to date by events.
//!
//! A request on a known channel costs no round trip. An unknown stack is looked up once for all who ask
//! at the same time, and a stack that is not ours is remembered for a moment, so that asking again is free.

mod follow;
mod load;

pub(crate) use follow::follow_events;
pub use load::RestoreChannelsError;

use crate::clock::Clock;
use crate::journal::{Journal, JournalError};
use crate::ledger::{Ledger, Terms};
use crate::market::Market;
use atoma_inference::Engine;
use atoma_types::{Address, Grant, NodeId, Price, Signed, TaskId, Units};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a stack that is not ours is remembered.
const ABSENT_FOR: Duration = Duration::from_secs(5);
const ABSENT_MAX: usize = 10_000;
/// How long a grant that cost gas in vain, or would, is remembered.
const REFUSED_FOR: Duration = Duration::from_secs(60);
const REFUSED_MAX: usize = 10_000;
/// Stacks being looked up at once.
const FLIGHTS_MAX: usize = 64;

/// A task this node serves.
pub(crate) struct Offer {
    pub(crate) task: TaskId,
    pub(crate) level: u8,
    pub(crate) price: Price,
    /// Most units of one stack that this node offers.
    pub(crate) max_units: Units,
    /// The model's label on chain, which is also the engine's name for it.
    pub(crate) model: String,
    pub(crate) engine: Arc<dyn Engine>,
}

/// Why a stack cannot be served here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the stack does not exist on this chain; check its id")]
    UnknownStack,
    #[error("the stack belongs to another market")]
    OtherMarket,
    #[error("the stack is for task {0}, which this node does not serve")]
    NotServed(TaskId),
    #[error("the stack has no open channel with this node; open one, or attach a grant")]
    NoChannel,
    #[error("this node lost its records of the channel; open another stack")]
    LostRecords,
    #[error("the grant's signature does not verify under the stack's request key")]
    ForgedGrant,
    #[error("the grant was refused: {0}")]
    Grant(String),
    #[error("the chain cannot be reached; try again")]
    Chain,
    #[error("too many unknown stacks are being looked up; try again")]
    Busy,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl LookupError {
    /// Whether asking the chain again at once would give the same answer.
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::UnknownStack | Self::OtherMarket | Self::NotServed(_) | Self::NoChannel | Self::LostRecords
        )
    }
}

/// One channel: its terms, and its books behind a lock that is never held across a wait.
pub(crate) struct Channel {
    pub(crate) terms: Terms,
    pub(crate) offer: Arc<Offer>,
    books: Mutex<Ledger>,
    /// Settled units when earnings were last withdrawn.
    withdrawn: AtomicU64,
}

impl Channel {
    fn new(ledger: Ledger, offer: Arc<Offer>) -> Self {
        Self { terms: ledger.terms().clone(), offer, books: Mutex::new(ledger), withdrawn: AtomicU64::new(0) }
    }

    pub(crate) fn withdrawn_at(&self) -> Units {
        Units(self.withdrawn.load(Ordering::Relaxed))
    }

    pub(crate) fn mark_withdrawn(&self, settled: Units) {
        self.withdrawn.store(settled.0, Ordering::Relaxed);
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Ledger> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all lookups share.
pub(crate) struct Shelf {
    pub(crate) market: Arc<dyn Market>,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<Clock>,
    pub(crate) node: NodeId,
    pub(crate) offers: Vec<Arc<Offer>>,
    /// Whether to pay gas for a grant that earns no opening fee.
    pub(crate) open_unpaid_grants: bool,
}

type Flight = Shared<BoxFuture<'static, Result<Arc<Channel>, LookupError>>>;

/// All channels of this node.
#[derive(Clone)]
pub(crate) struct Channels {
    shelf: Arc<Shelf>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: HashMap<Address, Arc<Channel>>,
    absent: HashMap<Address, (Instant, LookupError)>,
    flights: HashMap<Address, Flight>,
    /// Known stacks, or ones in flight, that the chain may have changed since they were read.
    stale: HashSet<Address>,
    /// Refused grants that the user did sign, by stack and nonce.
    refused: HashMap<(Address, u64), (Instant, LookupError)>,
}

impl Channels {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self { shelf: Arc::new(shelf), state: Arc::default() }
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel that is known already.
    pub(crate) fn get(&self, stack: Address) -> Option<Arc<Channel>> {
        self.state().open.get(&stack).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Channel>> {
        self.state().open.values().cloned().collect()
    }

    pub(crate) fn forget(&self, stack: Address) {
        let mut state = self.state();
        state.open.remove(&stack);
        state.stale.remove(&stack);
    }

    /// Marks a known stack, or one being looked up, to be read again. False if it is neither.
    pub(crate) fn mark_stale(&self, stack: Address) -> bool {
        let mut state = self.state();
        let ours = state.open.contains_key(&stack) || state.flights.contains_key(&stack);
        if ours {
            state.stale.insert(stack);
        }
        ours
    }

    /// Events were missed: every known stack may have changed.
    fn mark_all_stale(&self) {
        let mut state = self.state();
        let State { open, flights, stale, .. } = &mut *state;
        stale.extend(open.keys().chain(flights.keys()));
    }

    fn is_stale(&self, stack: Address) -> bool {
        self.state().stale.contains(&stack)
    }

    fn unmark_stale(&self, stack: Address) -> bool {
        self.state().stale.remove(&stack)
    }

    /// Reads again what is marked; what cannot be read stays marked.
    pub(crate) async fn refresh_stale(&self) {
        let stale: Vec<_> = {
            let state = self.state();
            state.stale.iter().filter(|stack| state.open.contains_key(*stack)).copied().collect()
        };
        for stack in stale {
            if let Err(error) = self.refresh(stack).await {
                tracing::warn!(%stack, %error, "cannot read a stack again yet");
            }
        }
    }

    /// The channel of `stack`, from memory or from the chain; opened or extended first if `grants` holds a
    /// newer grant for this node.
    pub(crate) async fn find(
        &self,
        stack: Address,
        grants: &[Signed<Grant>],
    ) -> Result<Arc<Channel>, LookupError> {
        let own =
            |grant: &&Signed<Grant>| grant.message.node == self.shelf.node && grant.message.stack == stack;
        let grant = grants.iter().filter(own).max_by_key(|grant| grant.message.nonce);
        // A lookup that somebody else began may end without our grant, or with a bad one: then ask once more.
        match self.find_once(stack, grant).await {
            Err(LookupError::NoChannel) if grant.is_some() => self.find_once(stack, grant).await,
            Err(LookupError::ForgedGrant | LookupError::Grant(_)) => self.find_once(stack, grant).await,
            other => other,
        }
    }

    async fn find_once(
        &self,
        stack: Address,
        grant: Option<&Signed<Grant>>,
    ) -> Result<Arc<Channel>, LookupError> {
        let flight = {
            let mut state = self.state();
            if let Some(channel) = state.open.get(&stack) {
                let known = channel.books().limits().grant_nonce;
                if grant.is_none_or(|grant| grant.message.nonce <= known) {
                    return Ok(channel.clone());
                }
            }
            if let Some(error) = grant.and_then(|grant| state.still_refused(stack, grant.message.nonce)) {
                return Err(error);
            }
            if grant.is_none()
                && let Some(error) = state.still_absent(stack)
            {
                return Err(error);
            }
            self.join_flight(&mut state, stack, grant.cloned())?
        };
        flight.await
    }

    fn join_flight(
        &self,
        state: &mut State,
        stack: Address,
        grant: Option<Signed<Grant>>,
    ) -> Result<Flight, LookupError> {
        if let Some(flight) = state.flights.get(&stack) {
            return Ok(flight.clone());
        }
        if state.flights.len() >= FLIGHTS_MAX {
            return Err(LookupError::Busy);
        }
        let channels = self.clone();
        // A task of its own: whoever asked first may hang up, the others still wait.
        let task = tokio::spawn(async move {
            let nonce = grant.as_ref().map(|grant| grant.message.nonce);
            let result = channels.shelf.look_up(stack, grant, channels.get(stack)).await;
            if let (Some(nonce), Err(error @ LookupError::Grant(_))) = (nonce, &result) {
                channels.state().remember_refused(stack, nonce, error.clone());
            }
            channels.land(stack, result.clone());
            // An event came while the stack was read: the answer may be from before it.
            if channels.is_stale(stack)
                && let Err(error) = channels.refresh(stack).await
            {
                tracing::warn!(%stack, %error, "cannot read a stack again yet");
            }
            result
        });
        let flight = task.map(|joined| joined.unwrap_or(Err(LookupError::Chain))).boxed().shared();
        state.flights.insert(stack, flight.clone());
        Ok(flight)
    }

    fn land(&self, stack: Address, result: Result<Arc<Channel>, LookupError>) {
        let mut state = self.state();
        state.flights.remove(&stack);
        match result {
            Ok(channel) => {
                state.absent.remove(&stack);
                state.open.insert(stack, channel);
            }
            Err(error) if error.is_lasting() && !state.stale.contains(&stack) => {
                state.remember_absent(stack, error)
            }
            Err(_) => {}
        }
        if !state.open.contains_key(&stack) {
            state.stale.remove(&stack);
        }
    }
}

impl State {
    fn still_absent(&mut self, stack: Address) -> Option<LookupError> {
        let (since, error) = self.absent.get(&stack)?;
        if since.elapsed() < ABSENT_FOR {
            return Some(error.clone());
        }
        self.absent.remove(&stack);
        None
    }

    fn still_refused(&mut self, stack: Address, nonce: u64) -> Option<LookupError> {
        let (since, error) = self.refused.get(&(stack, nonce))?;
        if since.elapsed() < REFUSED_FOR {
            return Some(error.clone());
        }
        self.refused.remove(&(stack, nonce));
        None
    }

    fn remember_refused(&mut self, stack: Address, nonce: u64, error: LookupError) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.retain(|_, (since, _)| since.elapsed() < REFUSED_FOR);
        }
        if self.refused.len() < REFUSED_MAX {
            self.refused.insert((stack, nonce), (Instant::now(), error));
        }
    }

    fn remember_absent(&mut self, stack: Address, error: LookupError) {
        if self.absent.len() >= ABSENT_MAX {
            self.absent.retain(|_, (since, _)| since.elapsed() < ABSENT_FOR);
        }
        if self.absent.len() < ABSENT_MAX {
            self.absent.insert(stack, (Instant::now(), error));
        }
    }
}
