//! The channels that can answer for one task, and choosing among them.

use super::{ChainClock, Inner, Quote};
use crate::ApiError;
use crate::channel::{Channel, Slot, lock};
use crate::ledger::Blocked;
use crate::market::MarketError;
use crate::route::{Health, Sort};
use atoma_types::{Address, Hash32, NodeId, Price, TaskId, Units};
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// A waiting request looks again at least this often, should a place have gone to one that cannot use it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A stack that ends within this time is not used for new requests.
const END_MARGIN_MS: u64 = 90_000;

/// The channels of one task.
pub(super) struct Pool {
    pub(super) task: TaskId,
    channels: Mutex<Arc<Vec<Arc<Channel>>>>,
    pub(super) freed: Arc<Notify>,
    /// One purchase at a time.
    pub(super) buying: Arc<Semaphore>,
    failure: Mutex<Option<(Instant, MarketError)>>,
    clock: Arc<ChainClock>,
}

impl Pool {
    pub(super) fn new(task: TaskId, clock: Arc<ChainClock>) -> Self {
        Self {
            task,
            channels: Mutex::default(),
            freed: Arc::new(Notify::new()),
            buying: Arc::new(Semaphore::new(1)),
            failure: Mutex::new(None),
            clock,
        }
    }

    pub(super) fn channels(&self) -> Arc<Vec<Arc<Channel>>> {
        Arc::clone(&lock(&self.channels))
    }

    pub(super) fn add(&self, channel: Arc<Channel>) {
        let mut channels = lock(&self.channels);
        if channels.iter().any(|known| same(known, &channel)) {
            return;
        }
        let mut all = channels.as_ref().clone();
        all.push(channel);
        *channels = Arc::new(all);
        drop(channels);
        self.freed.notify_waiters();
    }

    pub(super) fn remove(&self, stack: Address) {
        let mut channels = lock(&self.channels);
        let left = channels.iter().filter(|channel| channel.identity().stack != stack).cloned().collect();
        *channels = Arc::new(left);
    }

    /// Whether new requests can use it, as far as stack and channel go.
    fn is_usable(&self, channel: &Channel) -> bool {
        let summary = channel.summary();
        summary.ended.is_none()
            && !summary.closing
            && self.clock.now_ms().saturating_add(END_MARGIN_MS) < channel.identity().ends_ms
    }

    /// Units of the largest usable channel, and the highest price among them.
    pub(super) fn limits(&self) -> Option<(Units, Price)> {
        let channels = self.channels();
        let usable = || channels.iter().filter(|channel| self.is_usable(channel));
        let units = usable().map(|channel| channel.summary().granted).max()?;
        Some((units, usable().map(|channel| channel.price()).max()?))
    }

    /// A place for a quoted request at a channel that its route allows, that was not tried yet and that costs no more
    /// than the quote says.
    fn reserve(&self, quote: &Quote, tried: &[(Address, NodeId)]) -> Result<Slot, Shortage> {
        let (channels, now) = (self.channels(), Instant::now());
        let candidates = channels
            .iter()
            .filter(|channel| quote.route.allows(channel.identity().node) && !is_tried(channel, tried))
            .filter(|channel| self.is_usable(channel))
            .map(|channel| Candidate::new(channel, now))
            .collect();
        let mut shortage = Shortage::Nothing;
        for Candidate { channel, .. } in in_order(candidates, quote) {
            if channel.price() > quote.max_price {
                if shortage == Shortage::Nothing && channel.summary().units_free >= quote.max_units {
                    shortage = Shortage::Dearer;
                }
                continue;
            }
            match channel.reserve(quote.max_units) {
                Ok(slot) => return Ok(slot),
                Err(Blocked::Window(_) | Blocked::Units) => shortage = Shortage::Busy,
                Err(Blocked::Exhausted { .. } | Blocked::Ended(_)) => {}
            }
        }
        Err(shortage)
    }

    /// Channels that new requests can use, with room left above the low-water mark.
    pub(super) fn well_stocked(&self, low_water_permille: u64) -> usize {
        let full = |channel: &&Arc<Channel>| {
            let summary = channel.summary();
            let low = u128::from(summary.granted.0) * u128::from(low_water_permille) / 1_000;
            u128::from(summary.granted.saturating_sub(summary.total_units).0) > low
        };
        self.channels().iter().filter(|channel| self.is_usable(channel)).filter(full).count()
    }

    pub(super) fn set_failure(&self, error: Option<MarketError>) {
        *lock(&self.failure) = error.map(|error| (Instant::now(), error));
        self.freed.notify_waiters();
    }

    /// Why a purchase failed since `since`.
    pub(super) fn failure_since(&self, since: Instant) -> Option<MarketError> {
        lock(&self.failure).as_ref().filter(|(at, _)| *at >= since).map(|(_, error)| error.clone())
    }
}

/// A channel that may answer.
struct Candidate<'a> {
    channel: &'a Arc<Channel>,
    in_flight: u64,
    rests: bool,
    /// Microseconds that a further request may wait there.
    load: u64,
}

/// What a request in flight counts of which no latency is known.
const IN_FLIGHT_US: u64 = 10_000;
/// Requests in flight that a node may have above the average and still get those that stick to it.
const STICKY_EXCESS: u64 = 4;

impl<'a> Candidate<'a> {
    fn new(channel: &'a Arc<Channel>, now: Instant) -> Self {
        let in_flight = channel.in_flight();
        let standing = channel.standing();
        let rests = match standing.health(now) {
            Health::Well => false,
            Health::Probing => in_flight > 0,
            Health::Resting => true,
        };
        let latency = standing.latency_us(now).saturating_add(IN_FLIGHT_US);
        Self { channel, in_flight, rests, load: latency.saturating_mul(in_flight.saturating_add(1)) }
    }

    fn node(&self) -> NodeId {
        self.channel.identity().node
    }
}

/// The order in which to try: who rests last, then as the route says, then by load. Of those that are equally wanted the
/// better of two drawn at random comes first, so that many gateways do not all choose the same.
fn in_order<'a>(mut candidates: Vec<Candidate<'a>>, quote: &Quote) -> Vec<Candidate<'a>> {
    let (route, now) = (&quote.route, Instant::now());
    let wanted = |candidate: &Candidate<'_>| {
        let standing = candidate.channel.standing();
        let preference = match route.sort {
            None => 0,
            Some(Sort::Price) => candidate.channel.price().0,
            Some(Sort::Latency) => standing.latency_us(now),
            Some(Sort::Throughput) => u64::MAX - standing.throughput(),
        };
        (candidate.rests, route.rank(candidate.node()), preference)
    };
    candidates.sort_by_cached_key(|candidate| (wanted(candidate), candidate.load));
    let equal = match candidates.first().map(&wanted) {
        Some(best) => candidates.iter().take_while(|candidate| wanted(candidate) == best).count(),
        None => 0,
    };
    let first =
        quote.sticks_to.and_then(|key| home(&candidates[..equal], key)).or_else(|| better_of_two(equal));
    if let Some(first) = first {
        candidates[..=first].rotate_right(1);
    }
    candidates
}

/// Where requests with this key go: the node with the highest hash of both, unless it is much busier than others.
fn home(candidates: &[Candidate<'_>], key: Hash32) -> Option<usize> {
    let hash = |node: NodeId| {
        let mut hasher = DefaultHasher::new();
        (key.0, node.0).hash(&mut hasher);
        hasher.finish()
    };
    let at = (0..candidates.len()).max_by_key(|at| (hash(candidates[*at].node()), usize::MAX - at))?;
    let all = candidates.iter().fold(0u64, |sum, candidate| sum.saturating_add(candidate.in_flight));
    let average = all / u64::try_from(candidates.len()).unwrap_or(u64::MAX).max(1);
    let most = average.saturating_add(average / 4).saturating_add(STICKY_EXCESS);
    (candidates[at].in_flight <= most).then_some(at)
}

/// The better of two places drawn from a list that is sorted.
fn better_of_two(len: usize) -> Option<usize> {
    if len < 3 {
        // Sorted already.
        return (len > 0).then_some(0);
    }
    let drawn = RandomState::new().build_hasher().finish();
    let (low, high) = (drawn & 0xffff_ffff, drawn >> 32);
    let place = |half: u64| usize::try_from(half).ok().map(|half| half % len);
    Some(place(low)?.min(place(high)?))
}

/// Why there is no place just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    /// Places become free.
    Busy,
    /// Only a purchase helps.
    Nothing,
    /// There are places at a higher price only.
    Dearer,
}

impl Inner {
    /// Waits for a place, buying a stack if there is none to wait for.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        quote: &Quote,
        tried: &[(Address, NodeId)],
    ) -> Result<Slot, ApiError> {
        if let Ok(slot) = pool.reserve(quote, tried) {
            return Ok(slot);
        }
        let _place =
            self.waiting.try_acquire().map_err(|_| ApiError::busy("too many requests are waiting"))?;
        let since = Instant::now();
        let deadline = since + self.policy.wait;
        loop {
            let freed = pool.freed.notified();
            let buys = match pool.reserve(quote, tried) {
                Ok(slot) => return Ok(slot),
                Err(Shortage::Busy) => {
                    self.restock(pool);
                    false
                }
                Err(Shortage::Dearer) => {
                    let message = "no node has room at the accepted price: try again, or accept a higher one";
                    return Err(ApiError::unavailable("price_rose", message));
                }
                Err(Shortage::Nothing) => {
                    if let Some(error) = pool.failure_since(since) {
                        return Err(ApiError::no_stack(&error));
                    }
                    let asked_all = pool.channels().iter().any(|channel| !channel.summary().closing);
                    if !tried.is_empty() && asked_all {
                        return Err(ApiError::bad_gateway("every node failed"));
                    }
                    self.buy_in_background(pool);
                    true
                }
            };
            if Instant::now() >= deadline && buys {
                let message = "units are being bought, and the chain has not confirmed it in time: try again";
                return Err(ApiError::unavailable("no_stack", message));
            }
            if Instant::now() >= deadline {
                return Err(ApiError::busy("no node had room in time: try again"));
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }
}

fn is_tried(channel: &Channel, tried: &[(Address, NodeId)]) -> bool {
    let identity = channel.identity();
    tried.contains(&(identity.stack, identity.node))
}

fn same(left: &Channel, right: &Channel) -> bool {
    (left.identity().stack, left.identity().node) == (right.identity().stack, right.identity().node)
}
