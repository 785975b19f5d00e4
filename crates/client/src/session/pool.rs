//! The channels that can answer for one task, and choosing among them.

use super::{ChainClock, Inner, Quote};
use crate::ApiError;
use crate::channel::{Channel, Slot, lock};
use crate::ledger::Blocked;
use atoma_types::{Address, NodeId, Price, TaskId, Units};
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
    failure: Mutex<Option<(Instant, String)>>,
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

    /// A place for a quoted request at the least busy healthy channel that was not tried yet and costs no more
    /// than the quote says.
    fn reserve(&self, quote: &Quote, tried: &[(Address, NodeId)]) -> Result<Slot, Shortage> {
        let channels = self.channels();
        let mut candidates: Vec<_> = channels
            .iter()
            .filter(|channel| self.is_usable(channel) && !is_tried(channel, tried))
            .map(|channel| (!channel.is_healthy(), channel.summary().in_flight, channel))
            .collect();
        candidates.sort_by_key(|(resting, in_flight, _)| (*resting, *in_flight));
        let mut shortage = Shortage::Nothing;
        for (_, _, channel) in candidates {
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

    pub(super) fn set_failure(&self, reason: Option<String>) {
        *lock(&self.failure) = reason.map(|reason| (Instant::now(), reason));
        self.freed.notify_waiters();
    }

    /// Why a purchase failed since `since`.
    pub(super) fn failure_since(&self, since: Instant) -> Option<String> {
        lock(&self.failure).as_ref().filter(|(at, _)| *at >= since).map(|(_, reason)| reason.clone())
    }
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
            match pool.reserve(quote, tried) {
                Ok(slot) => return Ok(slot),
                Err(Shortage::Busy) => self.restock(pool),
                Err(Shortage::Dearer) => {
                    let message = "the price rose since the request was quoted: try again";
                    return Err(ApiError::unavailable("price_rose", message));
                }
                Err(Shortage::Nothing) => {
                    if let Some(reason) = pool.failure_since(since) {
                        return Err(ApiError::unavailable("no_stack", reason));
                    }
                    let asked_all = pool.channels().iter().any(|channel| !channel.summary().closing);
                    if !tried.is_empty() && asked_all {
                        return Err(ApiError::bad_gateway("every node failed"));
                    }
                    self.buy_in_background(pool);
                }
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
