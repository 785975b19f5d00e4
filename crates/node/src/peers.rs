//! Other nodes of the market, as far as requests are passed on to them and taken over from them: who they are on chain,
//! how busy they were when last asked, and which requests went to them.

mod passed;

use crate::config::{Admission, Limits};
use crate::gate::{Gate, Pass};
use crate::market::Market;
use atoma_types::{Forward, Hash32, NodeId, PublicKey, Signed};
use passed::Passed;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest silence of a peer: before its answer begins, and within it.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How long what the chain says of a node is believed.
const ROW_LIFE: Duration = Duration::from_secs(60);
/// When a chain that did not answer is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Peers in memory; idle ones are forgotten beyond it.
const PEERS_MAX: usize = 1_024;
/// Peers that are tried for one request.
const TRIES: usize = 2;
/// Longest time that a peer without room is left alone.
const REST_MAX: Duration = Duration::from_secs(1);

/// All that this node knows of others.
pub(crate) struct Peers {
    market: Arc<dyn Market>,
    pub(crate) http: reqwest::Client,
    known: Mutex<HashMap<NodeId, Arc<Peer>>>,
    relays: Gate,
    passed: Mutex<Passed>,
}

/// A node, as the chain has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) endpoint: String,
    receipt_key: PublicKey,
}

/// Another node.
#[derive(Default)]
pub(crate) struct Peer {
    state: Mutex<State>,
    /// One reads the chain, the others wait for it.
    looking: tokio::sync::Mutex<()>,
    in_flight: AtomicUsize,
}

#[derive(Default)]
struct State {
    row: Option<Row>,
    /// When to ask the chain again; at once if `None`.
    look_at: Option<Instant>,
    rests_until: Option<Instant>,
}

/// A request at a peer.
pub(crate) struct Busy(Arc<Peer>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Peer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it, unless the chain is to be asked.
    fn known(&self, now: Instant) -> Option<Option<Row>> {
        let state = self.state();
        state.look_at.is_some_and(|at| now < at).then(|| state.row.clone())
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.state().rests_until.is_some_and(|until| now < until)
    }

    /// It has no room, or cannot be reached.
    pub(crate) fn rest(&self, time: Duration) {
        self.state().rests_until = Some(Instant::now() + time.min(REST_MAX));
    }

    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Peers {
    pub(crate) fn new(market: Arc<dyn Market>, limits: &Limits) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(limits.forwards)
            .build()?;
        let relays = Gate::new(&Admission { concurrent: limits.forwards, waiting: 0, wait_ms: 0 });
        Ok(Self { market, http, known: Mutex::default(), relays, passed: Mutex::default() })
    }

    /// A place among the requests that are passed on, if there is one.
    pub(crate) async fn relay(&self) -> Option<Pass> {
        self.relays.enter().await.ok()
    }

    /// Waits until no answer of another node is on its way; false if that takes longer than `time`.
    pub(crate) async fn idle_within(&self, time: Duration) -> bool {
        self.relays.idle_within(time).await
    }

    /// Whether the node that passes a request on signed that.
    pub(crate) async fn has_signed(&self, forward: &Signed<Forward>) -> bool {
        let (_, row) = self.find(forward.message.from).await;
        row.is_some_and(|row| forward.verify(&row.receipt_key).is_ok())
    }

    /// Those to try of these nodes, in order: of two drawn at random the one with fewer requests of ours comes first.
    pub(crate) async fn choose(&self, nodes: &[NodeId]) -> Vec<(NodeId, Arc<Peer>, Row)> {
        let mut able = Vec::with_capacity(nodes.len());
        for node in nodes {
            let (peer, row) = self.find(*node).await;
            if let Some(row) = row
                && !peer.is_resting(Instant::now())
            {
                able.push((*node, peer, row));
            }
        }
        let mut drawn = RandomState::new().build_hasher().finish();
        for place in 0..able.len().min(TRIES) {
            let left = able.len() - place;
            let pick = usize::try_from(drawn & 0xffff_ffff).unwrap_or(0) % left;
            able.swap(place, place + pick);
            drawn >>= 32;
        }
        able.truncate(TRIES);
        able.sort_by_key(|(_, peer, _)| peer.in_flight.load(Ordering::Relaxed));
        able
    }

    /// Notes that a request is passed on, until it expires. False if it was before, or nothing more can be noted.
    pub(crate) fn pass_on(&self, request_hash: Hash32, expires_ms: u64, now_ms: u64) -> bool {
        self.passed().insert(request_hash, expires_ms, now_ms)
    }

    /// Nobody took it.
    pub(crate) fn take_back(&self, request_hash: &Hash32) {
        self.passed().remove(request_hash);
    }

    pub(crate) fn has_passed_on(&self, request_hash: &Hash32) -> bool {
        self.passed().contains(request_hash)
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node and, unless it is unknown or disabled, what the chain says of it: read now and then, whatever is asked.
    async fn find(&self, node: NodeId) -> (Arc<Peer>, Option<Row>) {
        let peer = self.peer(node);
        if let Some(row) = peer.known(Instant::now()) {
            return (peer, row);
        }
        let row = {
            let _one = peer.looking.lock().await;
            match peer.known(Instant::now()) {
                Some(row) => row,
                None => self.look_up(node, &peer).await,
            }
        };
        (peer, row)
    }

    async fn look_up(&self, node: NodeId, peer: &Peer) -> Option<Row> {
        let found = tokio::time::timeout(LOOK_TIMEOUT, self.market.node(node)).await;
        let mut state = peer.state();
        match found {
            Ok(Ok(found)) => {
                let enabled = found.filter(|found| found.disabled_ms == 0);
                state.row = enabled.map(|found| Row {
                    endpoint: found.endpoint.trim_end_matches('/').to_owned(),
                    receipt_key: found.receipt_key,
                });
                state.look_at = Some(Instant::now() + ROW_LIFE);
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(%node, "cannot look up another node");
                state.look_at = Some(Instant::now() + LOOK_AGAIN);
            }
        }
        state.row.clone()
    }

    fn peer(&self, node: NodeId) -> Arc<Peer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PEERS_MAX && !known.contains_key(&node) {
            known.retain(|_, peer| peer.in_flight.load(Ordering::Relaxed) > 0);
        }
        known.entry(node).or_default().clone()
    }
}
