//! Puts the parts together, and takes them apart in order.

use crate::channels::{Channels, Offer, RestoreChannelsError, Shelf, follow_events};
use crate::clock::{Clock, wall_ms};
use crate::config::{Admission, ConfigError, NodeConfig};
use crate::gate::Gate;
use crate::http::{App, Bodies, Streams, router};
use crate::journal::{Boot, Identity, Journal, JournalError, OpenError, Opened, Writer};
use crate::market::Market;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::settle::{SettleError, Settler};
use atoma_chain::{ChainError, EventCursor};
use atoma_inference::{Engine, Replaceable};
use atoma_types::message::AUTH_LIFE_MAX_MS;
use atoma_types::onchain::Node;
use atoma_types::{NodeId, SecretKey, TaskId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Security level that this version serves.
const LEVEL: u8 = 0;
/// How long connections may take to close once their answers are out.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often to look whether anything is left to settle.
const DONE_EVERY: Duration = Duration::from_millis(500);
/// How long the last settlement may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a node did not start. Messages fit one line.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {addr}: {source}; stop what uses it, or set another listen address")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("node {0} is not registered in this market; run atoma node register")]
    NotRegistered(NodeId),
    #[error(
        "the receipt key is {own}, the chain has {on_chain} for node {node}; use the registered key file"
    )]
    OtherKey { node: NodeId, own: String, on_chain: String },
    #[error("task {0} does not exist in this market")]
    UnknownTask(TaskId),
    #[error("task {0} is of another security level than {LEVEL}, the only one this version serves")]
    Level(TaskId),
    #[error("node {node} is not subscribed to task {task}; run atoma node register")]
    NotSubscribed { node: NodeId, task: TaskId },
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error("cannot read the journal: {0}")]
    Read(#[from] JournalError),
    #[error(transparent)]
    Restore(#[from] RestoreChannelsError),
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A task's model is missing among the engines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} needs the model {model}, which no engine here serves")]
pub struct NoEngine {
    pub task: TaskId,
    pub model: String,
}

/// What is left undone after a drain. Nothing is lost: the next start goes on.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error("the last settlement failed: {0}")]
    Settle(#[from] SettleError),
    #[error("the last settlement took longer than {} s", SETTLE_TIMEOUT.as_secs())]
    SettleTimeout,
    #[error("the journal was not closed in order: {0}")]
    Journal(#[from] JournalError),
}

/// What a node needs beside its configuration.
pub struct Parts {
    pub market: Arc<dyn Market>,
    pub receipt_key: SecretKey,
    pub engines: Vec<Arc<dyn Engine>>,
}

/// A running node. Dropping it stops it at once, as a crash would; [`NodeHandle::drain`] stops it in order.
pub struct NodeHandle {
    addr: SocketAddr,
    node: NodeId,
    app: Arc<App>,
    grace: Duration,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
    settler: Option<JoinHandle<Settler>>,
    journal_writer: Option<Writer>,
}

/// Starts a node: binds, checks itself against the chain, restores its books, serves. A node that is disabled
/// on chain only settles what it holds.
pub async fn spawn(config: NodeConfig, parts: Parts) -> Result<NodeHandle, SpawnError> {
    config.check()?;
    let listen = |source| SpawnError::Listen { addr: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let disabled_ms = check_node(&config, &parts).await?.disabled_ms;
    // A disabled node serves nothing, needs no engine, and may have lost its places among the offers.
    let offers = if disabled_ms == 0 { offers(&config, &parts).await? } else { Vec::new() };
    let identity = Identity { db: parts.market.db(), node: config.node };
    let opened = Journal::open(&config.journal, identity, config.limits.records_bytes).await?;
    let cursor = cursor(&opened.journal).await?;
    let clock = Arc::new(Clock::default());
    clock.observe_chain(parts.market.now_ms().await?);
    let channels = Channels::new(Shelf {
        market: parts.market.clone(),
        journal: opened.journal.clone(),
        clock,
        node: config.node,
        offers,
        open_unpaid_grants: config.limits.open_unpaid_grants,
        channel_bodies: Admission { concurrent: config.limits.bodies_of_channel(), ..config.admission },
        disabled_ms: AtomicU64::new(disabled_ms),
    });
    channels.restore().await?;
    let peers = Peers::new(parts.market, &config.limits)?;
    Ok(start(config, parts.receipt_key, Ready { listener, addr, opened, channels, peers, cursor }))
}

struct Ready {
    listener: TcpListener,
    addr: SocketAddr,
    opened: Opened,
    channels: Channels,
    peers: Peers,
    cursor: Option<EventCursor>,
}

fn start(config: NodeConfig, key: SecretKey, ready: Ready) -> NodeHandle {
    let Ready { listener, addr, opened, channels, peers, cursor } = ready;
    let metrics = Arc::new(Metrics::default());
    let app = Arc::new(App {
        channels: channels.clone(),
        journal: opened.journal,
        key,
        bodies: Bodies::new(&config.limits, &config.admission),
        gate: Gate::new(&config.admission),
        metrics: metrics.clone(),
        streams: Streams::default(),
        peers,
        limits: config.limits,
        draining: AtomicBool::new(false),
        refuse_expiring_before_ms: refuse_before(opened.boot),
    });
    let stop = CancellationToken::new();
    let server = atoma_http::serve(listener, router(app.clone()), config.limits.bounds(), stop.clone());
    tokio::spawn(follow_events(channels.clone(), cursor, stop.clone()));
    tokio::spawn(watch_streams(app.clone(), stop.clone()));
    tokio::spawn(crate::standing::watch(channels.clone(), metrics.clone(), stop.clone()));
    let settler = Settler::new(channels, config.settle, metrics);
    match app.channels.shelf().is_disabled() {
        true => tracing::warn!(node = %config.node, %addr, "disabled on chain: settling, serving nothing"),
        false => tracing::info!(node = %config.node, %addr, "serving"),
    }
    NodeHandle {
        addr,
        node: config.node,
        grace: config.limits.grace(),
        server: Some(tokio::spawn(server)),
        settler: Some(tokio::spawn(settler.run(stop.clone()))),
        journal_writer: Some(opened.writer),
        app,
        stop,
    }
}

/// After a power failure the journal may lack authorizations that were served; none of them lives longer.
fn refuse_before(boot: Boot) -> u64 {
    match boot {
        Boot::Whole => 0,
        Boot::PowerLoss => wall_ms().saturating_add(AUTH_LIFE_MAX_MS),
    }
}

async fn watch_streams(app: Arc<App>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = app.streams.watch() => {}
    }
}

async fn check_node(config: &NodeConfig, parts: &Parts) -> Result<Node, SpawnError> {
    let node = parts.market.node(config.node).await?.ok_or(SpawnError::NotRegistered(config.node))?;
    let own = parts.receipt_key.public_key();
    if node.receipt_key != own {
        let (own, on_chain) = (own.to_string(), node.receipt_key.to_string());
        return Err(SpawnError::OtherKey { node: config.node, own, on_chain });
    }
    Ok(node)
}

async fn offers(config: &NodeConfig, parts: &Parts) -> Result<Vec<Arc<Offer>>, SpawnError> {
    let mut offers: Vec<Arc<Offer>> = Vec::with_capacity(config.tasks.len());
    for id in &config.tasks {
        let task = parts.market.task(*id).await?.ok_or(SpawnError::UnknownTask(*id))?;
        if task.level != LEVEL {
            return Err(SpawnError::Level(*id));
        }
        let model = parts.market.model(task.model).await?.ok_or(SpawnError::UnknownTask(*id))?.label;
        // The newest, also if it has ended: the stacks that it sold are served to their end.
        let all = parts.market.offers(*id).await?;
        let own = all.iter().filter(|slot| slot.node == config.node).max_by_key(|slot| slot.until_epoch);
        let own = own.ok_or(SpawnError::NotSubscribed { node: config.node, task: *id })?;
        let (price, max_units) = (own.price, own.max_units);
        let same = offers.iter().find(|offer| offer.model == model).map(|offer| offer.engine.clone());
        let engine = match same {
            Some(engine) => engine,
            None => Arc::new(Replaceable::new(engine_for(&parts.engines, *id, &model)?)),
        };
        offers.push(Arc::new(Offer { task: *id, level: task.level, price, max_units, model, engine }));
    }
    Ok(offers)
}

fn engine_for(engines: &[Arc<dyn Engine>], task: TaskId, model: &str) -> Result<Arc<dyn Engine>, NoEngine> {
    let found = engines.iter().find(|engine| engine.model() == model);
    found.cloned().ok_or_else(|| NoEngine { task, model: model.to_owned() })
}

async fn cursor(journal: &Journal) -> Result<Option<EventCursor>, JournalError> {
    let json = journal.cursor().await?;
    // One that cannot be read is as good as none: stacks are read again at every start.
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

impl NodeHandle {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Whether this node is disabled on chain and only settles.
    pub fn is_disabled(&self) -> bool {
        self.app.channels.shelf().is_disabled()
    }

    /// Serves with these engines from the next request on; what runs ends on the engine that began it. If the model of
    /// a task is missing, nothing changes.
    pub fn replace_engines(&self, engines: &[Arc<dyn Engine>]) -> Result<(), NoEngine> {
        let offers = &self.app.channels.shelf().offers;
        let found = offers.iter().map(|offer| engine_for(engines, offer.task, &offer.model));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        for (offer, engine) in offers.iter().zip(found) {
            offer.engine.replace(engine);
        }
        self.app.metrics.reloads.increment();
        Ok(())
    }

    /// Counts a change of the engines that could not be taken up.
    pub fn count_refused_reload(&self) {
        self.app.metrics.reload_failures.increment();
    }

    /// Waits until this node is disabled on chain and nothing is left to settle.
    pub async fn done(&self) {
        while !self.is_disabled() || !self.app.channels.all().is_empty() {
            tokio::time::sleep(DONE_EVERY).await;
        }
    }

    /// Refuses new requests, lets running ones finish within the grace, settles, closes the journal.
    pub async fn drain(mut self) -> Result<(), DrainError> {
        self.app.draining.store(true, Ordering::Relaxed);
        // Answers of other nodes come last: they are handed on as long as own ones run.
        let idle = async {
            self.app.gate.idle_within(self.grace).await && self.app.peers.idle_within(self.grace).await
        };
        if !tokio::time::timeout(self.grace, idle).await.unwrap_or(false) {
            self.cut_off().await;
        }
        self.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(CLOSE_TIMEOUT, &mut server).await.is_err()
        {
            server.abort();
        }
        let settled = self.settle_last().await;
        let journal = self.app.journal.clone();
        if let Some(writer) = self.journal_writer.take() {
            journal.close(writer).await?;
        }
        settled
    }

    /// Ends what still runs: answers that are being read at their next frame, unread ones at once.
    async fn cut_off(&self) {
        self.app.streams.cut.cancel();
        if !self.app.gate.idle_within(CLOSE_TIMEOUT / 2).await {
            self.app.streams.drop_unread_for(Duration::ZERO);
        }
        self.app.gate.idle_within(CLOSE_TIMEOUT / 2).await;
    }

    async fn settle_last(&mut self) -> Result<(), DrainError> {
        let Some(settler) = self.settler.take() else { return Ok(()) };
        let last = async {
            match settler.await {
                Ok(mut settler) => settler.settle_all().await,
                Err(_) => Ok(()),
            }
        };
        match tokio::time::timeout(SETTLE_TIMEOUT, last).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(DrainError::SettleTimeout),
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.app.streams.cut.cancel();
        if let Some(server) = self.server.take() {
            server.abort();
        }
        if let Some(settler) = self.settler.take() {
            settler.abort();
        }
    }
}
