//! The channels this node serves: found on chain when first asked for, then kept up to date by events.
//!
//! A request on a known channel costs no round trip. An unknown stack is looked up once for all who ask
//! at the same time, and a stack that is not ours is remembered for a moment, so that asking again is free.
//! Gas is paid only for whoever signs with the stack's key, and for a grant that failed not again at once.

mod follow;
mod load;
mod recent;

pub(crate) use follow::follow_events;
pub use load::RestoreChannelsError;

use crate::clock::Clock;
use crate::config::Admission;
use crate::gate::Gate;
use crate::journal::{Journal, JournalError};
use crate::ledger::{Ledger, Terms};
use crate::market::Market;
use atoma_inference::Replaceable;
use atoma_types::{Address, Grant, NodeId, Price, PublicKey, RequestAuth, Signed, TaskId, Units};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use recent::Recent;
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
/// Openings of one stack that may fail on chain, each at the price of gas, before no more are tried for a
/// while, whatever their nonce.
const FAILED_OPENS_MAX: u32 = 3;
const PAUSED_FOR: Duration = Duration::from_secs(3_600);
/// How long the request key of a stack without a channel is remembered; it never changes.
const KEY_FOR: Duration = Duration::from_secs(60);
const KEYS_MAX: usize = 10_000;
/// Lookups that one request waits for, its own and those of others.
const LOOKUPS_MAX: usize = 3;
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
    pub(crate) engine: Arc<Replaceable>,
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
    #[error("the signature does not verify under the stack's request key")]
    ForgedRequest,
    #[error("the grant's signature does not verify under the stack's request key")]
    ForgedGrant,
    #[error("the grant was refused: {0}")]
    Grant(String),
    #[error("the grant was refused on chain: {0}; it is not tried again for a while")]
    OpenFailed(String),
    #[error("it is not known yet whether the channel was opened; ask again in a minute")]
    OpenUnknown,
    #[error("several grants of this stack were refused on chain; open the channel yourself")]
    OpensPaused,
    #[error("this node cannot pay for opening a channel now; open the channel yourself")]
    NoGas,
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

    /// Whether the grant that came along is not to be tried again for a while.
    fn refuses_grant(&self) -> bool {
        matches!(self, Self::Grant(_) | Self::OpenFailed(_) | Self::OpenUnknown | Self::OpensPaused)
    }

    /// Whether a transaction was, or may have been, executed in vain.
    fn may_have_cost_gas(&self) -> bool {
        matches!(self, Self::OpenFailed(_) | Self::OpenUnknown)
    }

    /// Whether a lookup with another grant, or with none, could have ended otherwise.
    fn depends_on_grant(&self) -> bool {
        self.refuses_grant() || matches!(self, Self::NoChannel | Self::ForgedGrant | Self::NoGas)
    }
}

/// One channel: its terms, and its books behind a lock that is never held across a wait.
pub(crate) struct Channel {
    pub(crate) terms: Terms,
    /// None if its task is not served any more: what is acknowledged is still settled.
    offer: Option<Arc<Offer>>,
    /// Its share of the places for bodies.
    pub(crate) bodies: Gate,
    books: Mutex<Ledger>,
    /// Settled units when earnings were last withdrawn.
    withdrawn: AtomicU64,
}

impl Channel {
    fn new(ledger: Ledger, offer: Option<Arc<Offer>>, bodies: &Admission) -> Self {
        Self {
            terms: ledger.terms().clone(),
            offer,
            bodies: Gate::new(bodies),
            books: Mutex::new(ledger),
            withdrawn: AtomicU64::new(0),
        }
    }

    /// What is served on it.
    pub(crate) fn offer(&self) -> Result<&Offer, LookupError> {
        self.offer.as_deref().ok_or(LookupError::NotServed(self.terms.task))
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

    /// Whether the grant with this nonce, if any, or a newer one holds already.
    fn has_grant(&self, nonce: Option<u64>) -> bool {
        nonce.is_none_or(|nonce| nonce <= self.books().limits().grant_nonce)
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
    /// How many bodies of one channel may be in memory, and how many may wait for that.
    pub(crate) channel_bodies: Admission,
    /// When the node was disabled on chain; 0 while it is not. Ends every channel.
    pub(crate) disabled_ms: AtomicU64,
}

impl Shelf {
    /// Whether this node only settles any more.
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled_ms.load(Ordering::Relaxed) != 0
    }
}

type Found = Result<Arc<Channel>, LookupError>;

/// A lookup under way, which everybody who asks for its stack joins. One at a time for each stack, so that
/// no channel is ever loaded twice.
#[derive(Clone)]
struct Flight {
    /// Nonce of the grant that it brings.
    nonce: Option<u64>,
    found: Shared<BoxFuture<'static, Found>>,
}

/// All channels of this node.
#[derive(Clone)]
pub(crate) struct Channels {
    shelf: Arc<Shelf>,
    state: Arc<Mutex<State>>,
}

struct State {
    open: HashMap<Address, Arc<Channel>>,
    absent: Recent<Address, LookupError>,
    flights: HashMap<Address, Flight>,
    /// Known stacks, or ones in flight, that the chain may have changed since they were read.
    stale: HashSet<Address>,
    /// Request keys of stacks that were read.
    keys: Recent<Address, PublicKey>,
    /// Refused grants that the user did sign, by stack and nonce.
    refused: Recent<(Address, u64), LookupError>,
    /// How many openings of a stack cost gas in vain.
    failed_opens: Recent<Address, u32>,
}

impl Channels {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self { shelf: Arc::new(shelf), state: Arc::new(Mutex::new(State::new())) }
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

    /// The channel of `stack`, from memory or from the chain.
    pub(crate) async fn find(&self, stack: Address) -> Found {
        self.find_with(stack, None).await
    }

    /// The channel that a request asks for; opened or extended first if `grants` holds a newer grant for this
    /// node. The request's own signature is checked before anything is done for it: a grant, which anybody may
    /// have seen on its way, does not make this node pay gas.
    pub(crate) async fn find_for(&self, request: &Signed<RequestAuth>, grants: &[Signed<Grant>]) -> Found {
        let stack = request.message.stack;
        let key = self.request_key(stack).await?;
        request.verify(&key).map_err(|_| LookupError::ForgedRequest)?;
        let own =
            |grant: &&Signed<Grant>| grant.message.node == self.shelf.node && grant.message.stack == stack;
        let Some(grant) = grants.iter().filter(own).max_by_key(|grant| grant.message.nonce) else {
            return self.find(stack).await;
        };
        match self.find_with(stack, Some(grant)).await {
            // Refused here, but somebody else may have opened the channel since.
            Err(error) if error.refuses_grant() => match self.find(stack).await {
                Ok(channel) if channel.has_grant(Some(grant.message.nonce)) => Ok(channel),
                _ => Err(error),
            },
            other => other,
        }
    }

    /// Whether the user signed a request, before anything else is done for it.
    pub(crate) async fn check_signature(&self, request: &Signed<RequestAuth>) -> Result<(), LookupError> {
        let key = self.request_key(request.message.stack).await?;
        request.verify(&key).map(drop).map_err(|_| LookupError::ForgedRequest)
    }

    /// The stack's request key, from memory or from the chain.
    async fn request_key(&self, stack: Address) -> Result<PublicKey, LookupError> {
        if let Some(key) = self.known_key(stack) {
            return Ok(key);
        }
        match self.find(stack).await {
            Ok(channel) => Ok(channel.terms.request_key),
            // The stack was read: it only has no channel yet.
            Err(error) => self.known_key(stack).ok_or(error),
        }
    }

    fn known_key(&self, stack: Address) -> Option<PublicKey> {
        let state = self.state();
        let of_channel = state.open.get(&stack).map(|channel| channel.terms.request_key);
        of_channel.or_else(|| state.keys.get(&stack, Instant::now()).copied())
    }

    async fn find_with(&self, stack: Address, grant: Option<&Signed<Grant>>) -> Found {
        let nonce = grant.map(|grant| grant.message.nonce);
        let mut found = Err(LookupError::Busy);
        for _ in 0..LOOKUPS_MAX {
            let brought;
            (brought, found) = self.find_once(stack, grant).await;
            // A lookup that somebody else began may end without our grant, or be refused for theirs.
            let is_answer = brought == nonce
                || match &found {
                    Ok(channel) => channel.has_grant(nonce),
                    Err(error) => !error.depends_on_grant(),
                };
            if is_answer {
                break;
            }
        }
        found
    }

    /// What is known or found, and the nonce of the grant with which it was looked up.
    async fn find_once(&self, stack: Address, grant: Option<&Signed<Grant>>) -> (Option<u64>, Found) {
        let nonce = grant.map(|grant| grant.message.nonce);
        let flight = {
            let mut state = self.state();
            if let Some(known) = state.known(stack, nonce) {
                return (nonce, known);
            }
            match self.join_flight(&mut state, stack, grant) {
                Ok(flight) => flight,
                Err(error) => return (nonce, Err(error)),
            }
        };
        (flight.nonce, flight.found.await)
    }

    fn join_flight(
        &self,
        state: &mut State,
        stack: Address,
        grant: Option<&Signed<Grant>>,
    ) -> Result<Flight, LookupError> {
        if let Some(flight) = state.flights.get(&stack) {
            return Ok(flight.clone());
        }
        if state.flights.len() >= FLIGHTS_MAX {
            return Err(LookupError::Busy);
        }
        // A task of its own: whoever asked first may hang up, the others still wait.
        let task = tokio::spawn(self.clone().fly(stack, grant.cloned()));
        let found = task.map(|joined| joined.unwrap_or(Err(LookupError::Chain))).boxed().shared();
        let flight = Flight { nonce: grant.map(|grant| grant.message.nonce), found };
        state.flights.insert(stack, flight.clone());
        Ok(flight)
    }

    async fn fly(self, stack: Address, grant: Option<Signed<Grant>>) -> Found {
        let nonce = grant.as_ref().map(|grant| grant.message.nonce);
        let mut landing = Landing { channels: &self, stack, nonce, found: Err(LookupError::Chain) };
        landing.found = self.look_up(stack, grant).await;
        let found = landing.found.clone();
        drop(landing);
        // An event came while the stack was read: the answer may be from before it.
        if self.is_stale(stack)
            && let Err(error) = self.refresh(stack).await
        {
            tracing::warn!(%stack, %error, "cannot read a stack again yet");
        }
        found
    }
}

/// Ends a flight when dropped, also if the lookup panics: its stack can be asked for again.
struct Landing<'a> {
    channels: &'a Channels,
    stack: Address,
    nonce: Option<u64>,
    found: Found,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.channels.state().land(self.stack, self.nonce, &self.found);
    }
}

impl State {
    fn new() -> Self {
        Self {
            open: HashMap::new(),
            absent: Recent::new(ABSENT_MAX, ABSENT_FOR),
            flights: HashMap::new(),
            stale: HashSet::new(),
            keys: Recent::new(KEYS_MAX, KEY_FOR),
            refused: Recent::new(REFUSED_MAX, REFUSED_FOR),
            failed_opens: Recent::new(REFUSED_MAX, PAUSED_FOR),
        }
    }

    /// The answer, if the chain need not be asked for it.
    fn known(&self, stack: Address, nonce: Option<u64>) -> Option<Found> {
        let open = self.open.get(&stack).filter(|channel| channel.has_grant(nonce));
        if let Some(channel) = open {
            return Some(Ok(channel.clone()));
        }
        let now = Instant::now();
        let error = match nonce {
            None => self.absent.get(&stack, now).cloned(),
            Some(nonce) => self.known_refusal(stack, nonce, now),
        };
        error.map(Err)
    }

    fn known_refusal(&self, stack: Address, nonce: u64, now: Instant) -> Option<LookupError> {
        if let Some(error) = self.refused.get(&(stack, nonce), now) {
            return Some(error.clone());
        }
        let failed = self.failed_opens.get(&stack, now).copied().unwrap_or(0);
        (failed >= FAILED_OPENS_MAX).then_some(LookupError::OpensPaused)
    }

    fn land(&mut self, stack: Address, nonce: Option<u64>, found: &Found) {
        self.flights.remove(&stack);
        match found {
            Ok(channel) => {
                self.absent.remove(&stack);
                self.open.insert(stack, channel.clone());
            }
            Err(error) => self.remember(stack, nonce, error),
        }
        if !self.open.contains_key(&stack) {
            self.stale.remove(&stack);
        }
    }

    fn remember(&mut self, stack: Address, nonce: Option<u64>, error: &LookupError) {
        let now = Instant::now();
        if error.is_lasting() && !self.stale.contains(&stack) {
            self.absent.insert(stack, error.clone(), now);
        }
        if let Some(nonce) = nonce
            && error.refuses_grant()
        {
            self.refused.insert((stack, nonce), error.clone(), now);
        }
        if error.may_have_cost_gas() {
            self.count_failed_open(stack, now);
        }
    }

    fn count_failed_open(&mut self, stack: Address, now: Instant) {
        let before = self.failed_opens.get(&stack, now).copied().unwrap_or(0);
        self.failed_opens.insert(stack, before.saturating_add(1), now);
    }
}
