//! Where a request may go, and what is known of how nodes perform.

use crate::ApiError;
use crate::channel::lock;
use atoma_types::{Hash32, NodeId, Price};
use http::HeaderMap;
use serde::Deserialize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Request header with a [`Route`] as JSON.
pub const ROUTE_HEADER: &str = "x-atoma-route";
/// Longest header and most nodes in a list.
const HEADER_MAX: usize = 4 * 1024;
const NODES_MAX: usize = 64;
/// Bodies of at least this size go where their beginning went before, because engines keep what they computed for it;
/// so much of them is looked at.
const STICKY_MIN: usize = 1_024;
const STICKY_BYTES: usize = 512;

/// What a request asks of the node that answers it. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// These first, in this order; then others.
    pub order: Vec<NodeId>,
    /// No others than these.
    pub only: Vec<NodeId>,
    /// None of these.
    pub ignore: Vec<NodeId>,
    /// Most to pay per million units, in base units.
    pub max_price: Option<Price>,
    /// What to prefer; by default the least busy of two drawn at random.
    pub sort: Option<Sort>,
    /// Requests of one session go to the same node while it has room.
    pub session: Option<String>,
    /// Whether the node may have another one of the stack answer when it has no room; by default it may.
    pub forward: Option<bool>,
}

/// What to prefer in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Price,
    /// Time to the beginning of the answer, as seen here.
    Latency,
    /// Bytes of streamed answers per second, as seen here.
    Throughput,
}

impl Route {
    /// What the headers ask for.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let wrong = |reason: String| {
            ApiError::bad_request("invalid_route", format!("{ROUTE_HEADER} is not a route: {reason}"))
        };
        let Some(value) = headers.get(ROUTE_HEADER) else { return Ok(Self::default()) };
        if value.len() > HEADER_MAX {
            return Err(wrong(format!("longer than {HEADER_MAX} bytes")));
        }
        if !value.as_bytes().trim_ascii_start().starts_with(b"{") {
            return Err(wrong("not a JSON object".to_owned()));
        }
        let route: Self =
            serde_json::from_slice(value.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        if [&route.order, &route.only, &route.ignore].iter().any(|nodes| nodes.len() > NODES_MAX) {
            return Err(wrong(format!("a list has more than {NODES_MAX} nodes")));
        }
        Ok(route)
    }

    pub(crate) fn allows(&self, node: NodeId) -> bool {
        (self.only.is_empty() || self.only.contains(&node)) && !self.ignore.contains(&node)
    }

    /// Place in the order that was asked for.
    pub(crate) fn rank(&self, node: NodeId) -> usize {
        self.order.iter().position(|first| *first == node).unwrap_or(self.order.len())
    }

    /// What decides which node a request sticks to, if anything.
    pub(crate) fn stickiness(&self, body: &[u8]) -> Option<Hash32> {
        match &self.session {
            Some(session) => Some(Hash32::of(session.as_bytes())),
            None if body.len() >= STICKY_MIN => body.get(..STICKY_BYTES).map(Hash32::of),
            None => None,
        }
    }
}

/// Failures in a row after which a node is left alone for a while.
const FAILURES_MAX: u32 = 3;
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// How long a node that has no room is asked for nothing.
const BUSY_MAX: Duration = Duration::from_secs(1);
/// How fast a measurement is forgotten.
const DECAY: Duration = Duration::from_secs(10);

/// How a node performs, whatever stack pays it.
#[derive(Debug, Default)]
pub struct Standing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rests_until: Option<Instant>,
    latency: Average,
    throughput: Average,
}

/// Whether requests should be sent to a node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Well,
    /// It failed, and its rest is over: one request at a time.
    Probing,
    Resting,
}

impl Standing {
    pub(crate) fn health(&self, now: Instant) -> Health {
        let state = lock(&self.state);
        match state.rests_until {
            Some(until) if now < until => Health::Resting,
            _ if state.failures >= FAILURES_MAX => Health::Probing,
            _ => Health::Well,
        }
    }

    /// It answered, and the answer began after this time.
    pub(crate) fn succeeded(&self, after: Duration, now: Instant) {
        let mut state = lock(&self.state);
        state.failures = 0;
        state.rests_until = None;
        state.latency.observe_peak(micros(after), now);
    }

    /// So many bytes of an answer were streamed in this time.
    pub(crate) fn streamed(&self, bytes: u64, time: Duration, now: Instant) {
        let rate = bytes.saturating_mul(1_000_000) / micros(time).max(1);
        lock(&self.state).throughput.observe(rate, now);
    }

    /// It could not be reached, broke off, or failed. That a request was wrong is no failure.
    pub(crate) fn failed(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.failures = state.failures.saturating_add(1);
        if let Some(excess) = state.failures.checked_sub(FAILURES_MAX) {
            let rest = REST_MIN.saturating_mul(1 << excess.min(6)).min(REST_MAX);
            state.rests_until = Some(now + rest);
        }
    }

    /// Its account of an answer was wrong: it is left alone as long as possible.
    pub(crate) fn distrust(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.failures = FAILURES_MAX.saturating_mul(4);
        state.rests_until = Some(now + REST_MAX);
    }

    /// It has no room, and said for how long.
    pub(crate) fn busy(&self, time: Duration, now: Instant) {
        let until = now + time.min(BUSY_MAX);
        let mut state = lock(&self.state);
        state.rests_until = Some(state.rests_until.map_or(until, |rest| rest.max(until)));
    }

    /// Microseconds until an answer begins; 0 if not known.
    pub(crate) fn latency_us(&self, now: Instant) -> u64 {
        lock(&self.state).latency.value(now)
    }

    /// Bytes per second; 0 if not known.
    pub(crate) fn throughput(&self) -> u64 {
        lock(&self.state).throughput.last
    }
}

/// An average that forgets exponentially; by integers: what is left after a time t of [`DECAY`] T is T / (T + t).
#[derive(Debug, Default)]
struct Average {
    last: u64,
    at: Option<Instant>,
}

impl Average {
    fn observe(&mut self, value: u64, now: Instant) {
        let left = self.left(now);
        let old = u128::from(self.last) * u128::from(left);
        let new = u128::from(value) * u128::from(1_000 - left);
        self.last = u64::try_from((old + new) / 1_000).unwrap_or(u64::MAX);
        self.at = Some(now);
    }

    /// A value above the average takes its place at once: who gets slow is avoided at once.
    fn observe_peak(&mut self, value: u64, now: Instant) {
        if value > self.value(now) {
            (self.last, self.at) = (value, Some(now));
        } else {
            self.observe(value, now);
        }
    }

    /// The average, fading while nothing is observed.
    fn value(&self, now: Instant) -> u64 {
        let faded = u128::from(self.last) * u128::from(self.left(now)) / 1_000;
        u64::try_from(faded).unwrap_or(u64::MAX)
    }

    /// Permille that are left of the last value.
    fn left(&self, now: Instant) -> u64 {
        let Some(at) = self.at else { return 0 };
        let (passed, decay) = (micros(now.saturating_duration_since(at)), micros(DECAY));
        decay.saturating_mul(1_000) / decay.saturating_add(passed).max(1)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Tries beyond the first are a fifth of all requests at most, and a few at the start: nodes that all fail must not get
/// several times the load.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// In fifths of a try.
    left: Mutex<u64>,
}

const RETRY_PRICE: u64 = 5;
const RETRIES_MAX: u64 = 100;

impl Default for RetryBudget {
    fn default() -> Self {
        Self { left: Mutex::new(RETRIES_MAX * RETRY_PRICE) }
    }
}

impl RetryBudget {
    pub(crate) fn earn(&self) {
        let mut left = lock(&self.left);
        *left = left.saturating_add(1).min(RETRIES_MAX * RETRY_PRICE);
    }

    pub(crate) fn spend(&self) -> bool {
        let mut left = lock(&self.left);
        let enough = left.checked_sub(RETRY_PRICE);
        *left = enough.unwrap_or(*left);
        enough.is_some()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn route(text: &str) -> Result<Route, ApiError> {
        Route::of(&HeaderMap::from_iter([(
            ROUTE_HEADER.parse().unwrap(),
            HeaderValue::from_str(text).unwrap(),
        )]))
    }

    #[test]
    fn a_route_is_read_whole_or_refused() {
        assert_eq!(Route::of(&HeaderMap::new()).unwrap(), Route::default());
        let asked =
            route(r#"{"order":[2],"only":[1,2],"ignore":[3],"max_price":7,"sort":"latency"}"#).unwrap();
        assert_eq!((asked.max_price, asked.sort), (Some(Price(7)), Some(Sort::Latency)));
        assert!(asked.allows(NodeId(1)) && !asked.allows(NodeId(3)) && !asked.allows(NodeId(4)));
        assert!(asked.rank(NodeId(2)) < asked.rank(NodeId(1)));
        let many = format!(r#"{{"only":[{}1]}}"#, "1,".repeat(NODES_MAX));
        for bad in ["", "[]", r#"{"sort":"luck"}"#, r#"{"onyl":[1]}"#, r#"{"max_price":-1}"#, &many] {
            assert_eq!(route(bad).unwrap_err().code, "invalid_route", "{bad}");
        }
    }

    #[test]
    fn a_failing_node_rests_and_is_probed() {
        let (standing, start) = (Standing::default(), Instant::now());
        (0..2).for_each(|_| standing.failed(start));
        assert_eq!(standing.health(start), Health::Well);
        standing.failed(start);
        assert_eq!(standing.health(start), Health::Resting);
        let later = start + REST_MIN;
        assert_eq!(standing.health(later), Health::Probing);
        standing.failed(later);
        assert_eq!(standing.health(later + REST_MIN), Health::Resting);
        standing.succeeded(Duration::from_millis(3), later);
        assert_eq!(standing.health(later), Health::Well);
        standing.busy(Duration::from_secs(9), later);
        assert_eq!(standing.health(later), Health::Resting);
        assert_eq!(standing.health(later + BUSY_MAX), Health::Well);
    }

    #[test]
    fn latency_rises_at_once_and_fades() {
        let (standing, start) = (Standing::default(), Instant::now());
        standing.succeeded(Duration::from_micros(100), start);
        standing.succeeded(Duration::from_micros(1_000), start);
        assert_eq!(standing.latency_us(start), 1_000);
        assert_eq!(standing.latency_us(start + DECAY), 500);
        standing.succeeded(Duration::from_micros(100), start + DECAY);
        assert!((100..1_000).contains(&standing.latency_us(start + DECAY)));
        standing.streamed(500, Duration::from_millis(500), start);
        assert_eq!(standing.throughput(), 1_000);
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests() {
        let budget = RetryBudget::default();
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 100);
        (0..50).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 10);
    }
}
