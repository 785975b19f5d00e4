//! The servers behind one model: which of them can take a request, and how busy they are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{EngineError, Load};

/// A server error now and then is the request's; so many without an answer between them are the server's.
const FAILURES_MAX: u32 = 3;
/// Probes in a row that a busy server may leave unanswered.
const MISSES_MAX: u32 = 3;
/// How long a replica is left alone after its first ejection; the time doubles with each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_DOUBLINGS_MAX: u32 = 6;
/// How long a replica that is full without saying for how long is left alone.
const BUSY: Duration = Duration::from_secs(1);
const BUSY_MAX: Duration = Duration::from_secs(60);

/// What a server's own metrics say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reported {
    pub(super) running: u64,
    pub(super) waiting: u64,
    /// Part of the key-value cache that is in use, in permille.
    pub(super) cache_permille: u64,
}

#[derive(Debug, Default)]
struct Replica {
    /// Shared with pools that held the same server before.
    in_flight: Arc<AtomicU64>,
    /// Answered its last probe.
    healthy: bool,
    misses: u32,
    /// Failed requests since the last one that did not.
    failures: u32,
    ejections: u32,
    ejected_until: Option<Instant>,
    busy_until: Option<Instant>,
    reported: Option<Reported>,
}

impl Replica {
    fn is_up(&self, now: Instant) -> bool {
        self.healthy && self.ejected_until.is_none_or(|until| until <= now)
    }

    fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn at_work(&self) -> u64 {
        self.reported.map_or(0, |reported| reported.running).max(self.in_flight())
    }

    /// What orders replicas: requests at work, then how full the cache is.
    fn busyness(&self) -> (u64, u64) {
        (self.at_work(), self.reported.map_or(0, |reported| reported.cache_permille))
    }

    fn has_room(&self, now: Instant, bounds: &Bounds) -> bool {
        let waiting = self.reported.map_or(0, |reported| reported.waiting);
        self.in_flight() < bounds.concurrent
            && waiting < bounds.waiting
            && self.busy_until.is_none_or(|until| until <= now)
    }

    fn eject(&mut self, now: Instant) {
        let pause = BACK_OFF.saturating_mul(1 << self.ejections.min(BACK_OFF_DOUBLINGS_MAX));
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        self.ejected_until = Some(now + pause);
        // Only a probe brings it back.
        self.healthy = false;
    }
}

/// What one replica may be given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) concurrent: u64,
    /// Requests that may wait inside it, as far as its metrics tell.
    pub(super) waiting: u64,
}

#[derive(Debug)]
struct State {
    replicas: Vec<Replica>,
    /// Where to begin looking, so that equals take turns.
    turn: usize,
    overstated: u64,
}

/// All replicas of a model.
#[derive(Debug)]
pub(super) struct Pool {
    urls: Vec<String>,
    bounds: Bounds,
    state: Mutex<State>,
}

impl Pool {
    /// Servers that are in `before`, too, keep the count of what they are at work on.
    pub(super) fn new(urls: Vec<String>, bounds: Bounds, before: Option<&Self>) -> Self {
        let replicas = urls.iter().map(|url| Replica {
            in_flight: before.and_then(|before| before.in_flight(url)).unwrap_or_default(),
            ..Replica::default()
        });
        let overstated = before.map_or(0, |before| before.lock().overstated);
        let state = State { replicas: replicas.collect(), turn: 0, overstated };
        Self { urls, bounds, state: Mutex::new(state) }
    }

    fn in_flight(&self, url: &str) -> Option<Arc<AtomicU64>> {
        let at = self.urls.iter().position(|known| known == url)?;
        self.with(at, |replica| Arc::clone(&replica.in_flight))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Takes a place on the least busy replica that is up and was not tried.
    pub(super) fn lease(
        self: &Arc<Self>,
        tried: &BTreeSet<usize>,
        now: Instant,
    ) -> Result<Lease, EngineError> {
        let mut state = self.lock();
        let State { replicas, turn, .. } = &mut *state;
        let order = (0..replicas.len()).map(|i| (*turn + i) % replicas.len());
        let up: Vec<usize> =
            order.filter(|i| !tried.contains(i) && replicas.get(*i).is_some_and(|r| r.is_up(now))).collect();
        let open = up.iter().copied().filter_map(|i| Some((i, replicas.get(i)?)));
        let open = open.filter(|(_, replica)| replica.has_room(now, &self.bounds));
        let Some((index, _)) = open.min_by_key(|(_, replica)| replica.busyness()) else {
            let retry_after = BUSY;
            return Err(match up.is_empty() {
                true => EngineError::Unavailable { retry_after },
                false => EngineError::Overloaded { retry_after },
            });
        };
        *turn = index + 1;
        if let Some(replica) = replicas.get(index) {
            replica.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Lease { pool: Arc::clone(self), index })
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        let state = self.lock();
        let mut load =
            Load { healthy: false, capacity: Some(0), overstated: state.overstated, ..Load::default() };
        (load.replicas, load.replicas_healthy) = (count(state.replicas.len()), 0);
        for replica in state.replicas.iter().filter(|replica| replica.is_up(now)) {
            load.healthy = true;
            load.replicas_healthy = load.replicas_healthy.saturating_add(1);
            load.running = load.running.saturating_add(replica.at_work());
            load.waiting = load.waiting.saturating_add(replica.reported.map_or(0, |r| r.waiting));
            let room = if replica.has_room(now, &self.bounds) {
                self.bounds.concurrent.saturating_sub(replica.in_flight())
            } else {
                0
            };
            load.capacity =
                load.capacity.map(|all| all.saturating_add(replica.at_work()).saturating_add(room));
        }
        load
    }

    pub(super) fn count_overstated(&self) {
        let mut state = self.lock();
        state.overstated = state.overstated.saturating_add(1);
    }

    fn with<T>(&self, index: usize, change: impl FnOnce(&mut Replica) -> T) -> Option<T> {
        self.lock().replicas.get_mut(index).map(change)
    }

    /// Whether a replica's time of ejection is over, so that it may be asked how it is.
    pub(super) fn may_probe(&self, index: usize, now: Instant) -> bool {
        self.with(index, |replica| replica.ejected_until.is_none_or(|until| until <= now)).unwrap_or(false)
    }

    /// What came of asking a replica how it is; `None` if it did not answer in time.
    pub(super) fn probed(&self, index: usize, healthy: Option<bool>, reported: Option<Reported>) {
        self.with(index, |replica| {
            replica.misses = if healthy.is_none() { replica.misses.saturating_add(1) } else { 0 };
            let before = replica.healthy;
            replica.healthy = healthy.unwrap_or(before && replica.misses < MISSES_MAX);
            replica.reported = reported;
            if before != replica.healthy {
                tracing::info!(
                    replica = self.urls.get(index),
                    healthy = replica.healthy,
                    "an engine changed"
                );
            }
        });
    }
}

/// A place on one replica, given back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    index: usize,
}

impl Lease {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn url(&self) -> &str {
        self.pool.urls.get(self.index).map_or("", String::as_str)
    }

    /// The replica answered as it should.
    pub(super) fn succeeded(&self) {
        self.pool.with(self.index, |replica| (replica.failures, replica.ejections) = (0, 0));
    }

    /// The replica answered with an error of its own, or not at all.
    pub(super) fn failed(&self, now: Instant) {
        self.pool.with(self.index, |replica| {
            replica.failures = replica.failures.saturating_add(1);
            if replica.failures >= FAILURES_MAX {
                replica.eject(now);
            }
        });
    }

    /// The replica cannot be used.
    pub(super) fn eject(&self, now: Instant) {
        self.pool.with(self.index, |replica| replica.eject(now));
    }

    /// The replica takes no more for now.
    pub(super) fn busy(&self, retry_after: Option<Duration>, now: Instant) {
        let pause = retry_after.unwrap_or(BUSY).min(BUSY_MAX);
        self.pool.with(self.index, |replica| replica.busy_until = Some(now + pause));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.with(self.index, |replica| replica.in_flight.fetch_sub(1, Ordering::Relaxed));
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn pool(replicas: usize) -> Arc<Pool> {
        let urls = (0..replicas).map(|i| format!("http://replica-{i}")).collect();
        let pool = Arc::new(Pool::new(urls, Bounds { concurrent: 2, waiting: 4 }, None));
        for index in 0..replicas {
            pool.probed(index, Some(true), None);
        }
        pool
    }

    fn lease(pool: &Arc<Pool>, now: Instant) -> Result<Lease, EngineError> {
        pool.lease(&BTreeSet::new(), now)
    }

    #[test]
    fn the_least_busy_is_taken_until_all_are_full() {
        let now = Instant::now();
        let pool = pool(3);
        let held: Vec<Lease> = (0..6).map(|_| lease(&pool, now).unwrap()).collect();
        let on = |index| held.iter().filter(|lease| lease.index() == index).count();
        assert_eq!([on(0), on(1), on(2)], [2, 2, 2]);
        assert!(matches!(lease(&pool, now), Err(EngineError::Overloaded { .. })));
        assert!(pool.load(now).is_full());
        let freed = held.into_iter().next().unwrap().index();
        assert!(!pool.load(now).is_full());
        pool.probed(freed, Some(true), Some(Reported { running: 1, waiting: 4, cache_permille: 0 }));
        pool.probed((freed + 1) % 3, Some(true), Some(Reported { running: 9, ..Reported::default() }));
        assert_eq!(lease(&pool, now).unwrap().index(), (freed + 2) % 3);
    }

    #[test]
    fn an_ejected_replica_comes_back_by_a_probe_after_a_time_that_doubles() {
        let mut now = Instant::now();
        let pool = pool(1);
        for pause in [1, 2, 4] {
            lease(&pool, now).unwrap().eject(now);
            assert!(matches!(lease(&pool, now), Err(EngineError::Unavailable { .. })));
            assert!(!pool.load(now).healthy && !pool.may_probe(0, now));
            now += Duration::from_secs(pause);
            assert!(pool.may_probe(0, now) && lease(&pool, now).is_err());
            pool.probed(0, Some(true), None);
            assert!(pool.load(now).healthy);
        }
        lease(&pool, now).unwrap().succeeded();
        lease(&pool, now).unwrap().eject(now);
        now += Duration::from_secs(1);
        assert!(pool.may_probe(0, now));
    }

    #[test]
    fn single_failures_and_full_queues_do_not_eject() {
        let mut now = Instant::now();
        let pool = pool(1);
        for _ in 0..4 {
            lease(&pool, now).unwrap().failed(now);
            lease(&pool, now).unwrap().failed(now);
            lease(&pool, now).unwrap().succeeded();
        }
        (0..3).for_each(|_| lease(&pool, now).unwrap().failed(now));
        assert!(matches!(lease(&pool, now), Err(EngineError::Unavailable { .. })));
        let pool = self::pool(1);
        lease(&pool, now).unwrap().busy(Some(Duration::from_secs(7)), now);
        assert!(matches!(lease(&pool, now), Err(EngineError::Overloaded { .. })));
        now += Duration::from_secs(7);
        assert!(lease(&pool, now).is_ok());
    }

    #[test]
    fn a_server_that_stays_keeps_its_count() {
        let now = Instant::now();
        let before = pool(2);
        let held: Vec<Lease> = (0..3).map(|_| lease(&before, now).unwrap()).collect();
        let stays = held.iter().filter(|lease| lease.url() == "http://replica-1").count();
        let urls = vec!["http://new".to_owned(), "http://replica-1".to_owned()];
        let after = Arc::new(Pool::new(urls, Bounds { concurrent: 2, waiting: 4 }, Some(&before)));
        (0..2).for_each(|index| after.probed(index, Some(true), None));
        assert_eq!(after.load(now).running, count(stays));
        drop(held);
        assert_eq!((after.load(now).running, before.load(now).running), (0, 0));
    }

    #[test]
    fn a_busy_server_may_miss_some_probes() {
        let now = Instant::now();
        let pool = pool(1);
        pool.probed(0, None, None);
        pool.probed(0, None, None);
        assert!(pool.load(now).healthy);
        pool.probed(0, None, None);
        assert!(!pool.load(now).healthy);
    }
}
