//! The channels that can answer for one task, and choosing among them.

use super::buy::Need;
use super::demand::Demand;
use super::{ChainClock, Inner, Quote};
use crate::ApiError;
use crate::channel::{Channel, Slot, lock};
use crate::ledger::Blocked;
use crate::market::MarketError;
use crate::route::{Health, Sort};
use atoma_types::onchain::Stack;
use atoma_types::{Address, Hash32, NodeId, Price, TaskId, Units};
use http::StatusCode;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// A waiting request looks again at least this often, should a place have gone to one that cannot use it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A stack that ends within this time is not used for new requests.
pub(super) const END_MARGIN_MS: u64 = 90_000;

/// The channels of one task.
pub(super) struct Pool {
    pub(super) task: TaskId,
    channels: Mutex<Arc<Vec<Arc<Channel>>>>,
    pub(super) freed: Arc<Notify>,
    /// The open stacks as they were when last read, which is after each change that this session made.
    stacks: Mutex<HashMap<Address, Arc<Stack>>>,
    demand: Mutex<Demand>,
    /// Units that were used of stacks that are gone.
    gone: Mutex<Units>,
    /// One purchase at a time.
    pub(super) buying: Arc<Semaphore>,
    failure: Mutex<Option<Failure>>,
    clock: Arc<ChainClock>,
}

/// Why a purchase came to nothing, and when.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) at: Instant,
    pub(super) error: MarketError,
}

impl Pool {
    pub(super) fn new(task: TaskId, clock: Arc<ChainClock>) -> Self {
        Self {
            task,
            channels: Mutex::default(),
            freed: Arc::new(Notify::new()),
            stacks: Mutex::default(),
            demand: Mutex::default(),
            gone: Mutex::default(),
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
        lock(&self.stacks).remove(&stack);
        let mut channels = lock(&self.channels);
        let (over, left): (Vec<_>, Vec<_>) =
            channels.iter().cloned().partition(|channel| channel.identity().stack == stack);
        let used = over.iter().fold(0, |sum: u64, one| sum.saturating_add(one.summary().total_units.0));
        *channels = Arc::new(left);
        drop(channels);
        let mut gone = lock(&self.gone);
        gone.0 = gone.0.saturating_add(used);
    }

    /// What the chain says of an open stack now.
    pub(super) fn set_stack(&self, stack: Stack) {
        lock(&self.stacks).insert(stack.id, Arc::new(stack));
    }

    /// It is closing: nothing more is bought for it.
    pub(super) fn leave(&self, stack: Address) {
        lock(&self.stacks).remove(&stack);
    }

    pub(super) fn stack(&self, id: Address) -> Option<Arc<Stack>> {
        lock(&self.stacks).get(&id).cloned()
    }

    pub(super) fn stacks(&self) -> Vec<Arc<Stack>> {
        lock(&self.stacks).values().cloned().collect()
    }

    /// Looks at what was used since the last look.
    pub(super) fn observe(&self, average: Duration, now: Instant) {
        let mut sums = (*lock(&self.gone), Units::ZERO);
        for channel in self.channels().iter() {
            let summary = channel.summary();
            let free = summary.granted.saturating_sub(summary.total_units);
            sums.0.0 = sums.0.0.saturating_add(summary.total_units.0);
            sums.1.0 = sums.1.0.saturating_add(free.saturating_sub(summary.units_free).0);
        }
        lock(&self.demand).observe(sums.0, sums.1, average, now);
    }

    /// It is wanted, whether it was used yet or not.
    pub(super) fn want(&self) {
        lock(&self.demand).want(Instant::now());
    }

    pub(super) fn is_wanted(&self, idle: Duration) -> bool {
        lock(&self.demand).is_wanted(idle, Instant::now())
    }

    /// Units that last so long at the present rate.
    pub(super) fn units_for(&self, horizon: Duration) -> Units {
        lock(&self.demand).units_for(horizon)
    }

    /// Thousandths of a unit per second.
    pub(super) fn rate(&self) -> u64 {
        lock(&self.demand).rate()
    }

    /// Whether new requests can use it, as far as stack and channel go.
    fn is_usable(&self, channel: &Channel) -> bool {
        let summary = channel.summary();
        summary.ended.is_none()
            && !summary.closing
            && self.clock.now_ms().saturating_add(END_MARGIN_MS) < channel.identity().ends_ms
    }

    /// Units of the largest stack with a usable channel, and the highest price among them.
    pub(super) fn limits(&self) -> Option<(Units, Price)> {
        let channels = self.channels();
        let usable = || channels.iter().filter(|channel| self.is_usable(channel));
        let total = |channel: &Arc<Channel>| {
            let stack = self.stack(channel.identity().stack);
            stack.map_or(channel.summary().granted, |stack| stack.total_units)
        };
        Some((usable().map(total).max()?, usable().map(|channel| channel.price()).max()?))
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

    /// Units that new requests can use of a stack, those not granted yet included.
    pub(super) fn left(&self, stack: &Stack) -> Units {
        let channels = self.channels();
        let of_stack = channels.iter().filter(|channel| channel.identity().stack == stack.id);
        let usable: Vec<_> =
            of_stack.filter(|channel| self.is_usable(channel)).map(|channel| channel.summary()).collect();
        if usable.is_empty() {
            return Units::ZERO;
        }
        let ungranted = stack.total_units.saturating_sub(stack.granted_units).0;
        Units(
            usable.iter().fold(ungranted, |sum, one| {
                sum.saturating_add(one.granted.saturating_sub(one.total_units).0)
            }),
        )
    }

    /// Stacks that new requests can use, with no less left than the low-water mark of what each should have.
    pub(super) fn well_stocked(&self, share: Units, low_water_permille: u64) -> usize {
        let full = |stack: &&Arc<Stack>| {
            let of = u128::from(share.min(stack.total_units).0);
            u128::from(self.left(stack).0) * 1_000 >= of * u128::from(low_water_permille)
        };
        self.stacks().iter().filter(full).count()
    }

    pub(super) fn set_failure(&self, error: Option<MarketError>) {
        *lock(&self.failure) = error.map(|error| Failure { at: Instant::now(), error });
        self.freed.notify_waiters();
    }

    /// Why the last purchase failed, unless a later one succeeded.
    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// Why a purchase failed since `since`.
    fn failure_since(&self, since: Instant) -> Option<MarketError> {
        self.failure().filter(|failure| failure.at >= since).map(|failure| failure.error)
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
                Err(Shortage::Dearer) if quote.route.max_price.is_some() => {
                    let message =
                        "no node has room at the route's max_price: try again, or name a higher one";
                    return Err(ApiError::new(StatusCode::NOT_FOUND, "no_node_at_price", message));
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
                    self.make_room(pool, Need::of(quote));
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
