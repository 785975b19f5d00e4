//! A wallet's standing with the market: its stacks, and asking nodes with them.

mod answer;
mod buy;
mod contexts;
mod demand;
mod forward;
mod holdings;
mod life;
mod pay;
mod plan;
mod pool;
mod receipts;
mod refusal;
mod send;

pub use answer::{Answer, AnswerBody, AnswerStream, FORWARDED_BY_HEADER, NODE_HEADER, STACK_HEADER};
pub use demand::Supply;
pub use holdings::{Holdings, StackHolding, Stocked};
pub use life::{ChannelView, LifeError, StackView};

use crate::ApiError;
use crate::catalog::Catalog;
use crate::channel::{Completion, Sent, lock};
use crate::journal::{Journal, JournalError};
use crate::ledger::Bounds;
use crate::market::{Market, MarketError};
use crate::request::{Endpoint, RequestView};
use crate::route::{RetryBudget, Route, Standing};
use atoma_types::onchain::{Selection, Task};
use atoma_types::{Amount, Hash32, NodeId, Price, TaskId, Units};
use bytes::Bytes;
use futures::future::BoxFuture;
use pool::Pool;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of a node within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How old the catalog may be before it is read again.
const CATALOG_LIFE: Duration = Duration::from_secs(30);
/// A model that is not known makes the catalog be read again, but not more often than this.
const CATALOG_LIFE_MIN: Duration = Duration::from_secs(1);

/// How a session buys and asks.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Usable stacks to keep per task in use. Load spreads over them.
    pub stacks_per_task: usize,
    /// Least units of a stack.
    pub units: Units,
    /// Most to pay per million units; the market's prices if `None`.
    pub max_price: Option<Price>,
    /// How nodes are chosen: one is drawn, several are drawn, or we choose by how they perform.
    pub selection: Selection,
    /// Over how many nodes a stack is spread unless one is drawn.
    pub nodes: usize,
    /// How stacks are sized by use.
    pub supply: Supply,
    /// Output tokens to authorize where a request names no limit.
    pub default_output: u64,
    /// Buy, top up and grant in the background, sized by use. Without it that is done when a request finds no
    /// room.
    pub ahead: bool,
    /// Close spent stacks and get their rest back in the background.
    pub tidy: bool,
    /// A stack with less than this many permille of what it should have left is topped up, or replaced.
    pub low_water_permille: u64,
    /// Most stacks per task that were bought and not refunded: what nodes that disagree can lock up.
    pub stacks_open_max: usize,
    /// Requests that may wait for a place at a node.
    pub queue: usize,
    /// How long they wait.
    pub wait: Duration,
    /// Nodes to try before the first byte.
    pub attempts: u32,
    /// How long a node may take to give the receipt of an answer that broke off. Asked after that and having
    /// none, it is paid nothing for it.
    pub patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stacks_per_task: 1,
            units: Units(1_000_000),
            max_price: None,
            selection: Selection::Single,
            nodes: 3,
            supply: Supply::default(),
            default_output: 1_024,
            ahead: false,
            tidy: false,
            low_water_permille: 200,
            stacks_open_max: 64,
            queue: 1_024,
            wait: Duration::from_secs(30),
            attempts: 3,
            patience: Duration::from_secs(600),
        }
    }
}

/// Where a session keeps its journal, and its policy.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub journal: PathBuf,
    pub policy: Policy,
}

/// A session could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot read the market: {0}")]
    Market(#[from] MarketError),
    #[error("cannot make an HTTP client: {0}")]
    Http(String),
}

/// A request that can be sent, with the most it can cost.
#[derive(Clone, Debug)]
pub struct Quote {
    pub endpoint: Endpoint,
    pub task: TaskId,
    pub model: String,
    pub streams: bool,
    pub max_units: Units,
    /// No channel at a higher price is used.
    pub max_price: Price,
    pub max_cost: Amount,
    /// What an answer may claim at most.
    pub bounds: Bounds,
    /// Where it may go.
    pub route: Route,
    pub(crate) sticks_to: Option<Hash32>,
}

impl Quote {
    /// The same for nodes that the route allows, at its price at most.
    pub fn routed(mut self, route: Route, body: &[u8]) -> Self {
        self.max_price = route.max_price.map_or(self.max_price, |most| most.min(self.max_price));
        self.max_cost = most_cost(self.max_price, self.max_units);
        self.sticks_to = route.stickiness(body);
        self.route = route;
        self
    }
}

/// A difference of two floors is at most one above the floor of the difference.
fn most_cost(price: Price, units: Units) -> Amount {
    price.cost(units).map_or(Amount::MAX, |cost| Amount(cost.0.saturating_add(1)))
}

/// Whoever must know of a request before it is sent. One that is tried with several nodes is noted for each:
/// each may have to be paid.
pub trait Note: Sync {
    /// Writes it down. If that fails, the request is not sent. `paid` tells how it was paid once a restart
    /// cannot change that any more; it is dropped if only the next start can find out.
    fn before_send(
        &self,
        sent: Sent,
        paid: oneshot::Receiver<Completion>,
    ) -> BoxFuture<'_, Result<(), ApiError>>;
}

/// Keeps what tells how the newest request was paid.
#[derive(Default)]
struct Newest(Mutex<Option<oneshot::Receiver<Completion>>>);

impl Note for Newest {
    fn before_send(
        &self,
        _: Sent,
        paid: oneshot::Receiver<Completion>,
    ) -> BoxFuture<'_, Result<(), ApiError>> {
        *lock(&self.0) = Some(paid);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A wallet's standing with the market. Clones share it.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    market: Arc<dyn Market>,
    journal: Journal,
    http: reqwest::Client,
    policy: Policy,
    catalog: Mutex<(Arc<Catalog>, Instant)>,
    pools: Mutex<HashMap<TaskId, Arc<Pool>>>,
    /// How each node performs, whatever channel is used.
    standings: Mutex<HashMap<NodeId, Arc<Standing>>>,
    contexts: Mutex<contexts::Contexts>,
    retries: RetryBudget,
    waiting: Semaphore,
    tasks: TaskTracker,
    stopping: CancellationToken,
    clock: Arc<ChainClock>,
}

/// The chain's clock, by how far it is from ours when last looked at.
#[derive(Debug, Default)]
struct ChainClock {
    ahead_ms: AtomicI64,
}

impl ChainClock {
    fn now_ms(&self) -> u64 {
        now_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn set(&self, chain_ms: u64) {
        let ahead = i128::from(chain_ms) - i128::from(now_ms());
        self.ahead_ms.store(i64::try_from(ahead).unwrap_or_default(), Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// Reads journal and market, finishes purchases that a crash interrupted, and takes up its stacks.
    pub async fn open(config: SessionConfig, market: Arc<dyn Market>) -> Result<Self, OpenError> {
        let journal = Journal::open(&config.journal).await?;
        let catalog = market.catalog().await?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(256)
            .build()
            .map_err(|error| OpenError::Http(error.to_string()))?;
        let inner = Inner {
            market,
            journal,
            http,
            waiting: Semaphore::new(config.policy.queue),
            policy: config.policy,
            catalog: Mutex::new((Arc::new(catalog), Instant::now())),
            pools: Mutex::new(HashMap::new()),
            standings: Mutex::default(),
            contexts: Mutex::default(),
            retries: RetryBudget::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            clock: Arc::default(),
        };
        let session = Self { inner: Arc::new(inner) };
        session.inner.read_chain_clock().await;
        session.inner.resume().await?;
        session
            .inner
            .tasks
            .spawn(receipts::keep(Arc::downgrade(&session.inner), session.inner.stopping.clone()));
        Ok(session)
    }

    /// Names of the models that can be asked for.
    pub async fn models(&self) -> Vec<String> {
        let catalog = self.inner.fresh_catalog(CATALOG_LIFE).await;
        catalog.model_labels().into_iter().map(str::to_owned).collect()
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog()
    }

    /// Tokens of input and output that every node of a task takes, as far as they told.
    pub fn context_length(&self, task: TaskId) -> Option<u64> {
        self.inner.context_of(task)
    }

    /// Checks a body for an endpoint, and says what it can cost at most. The body is only looked at.
    pub async fn quote(&self, endpoint: Endpoint, body: &[u8]) -> Result<Quote, ApiError> {
        let view = RequestView::parse(body)?;
        let task = self.inner.task_for(&view.model, Some(endpoint)).await?;
        let (limit, max_price) = self.inner.limits(&task)?;
        let max_units = view
            .max_units(endpoint, body, self.inner.policy.default_output, task.weights, limit)
            .ok()
            .flatten()
            .ok_or_else(|| {
                let message = format!("the request does not fit into the {limit} units of a stack");
                ApiError::bad_request("request_too_large", message)
            })?;
        let max_cost = most_cost(max_price, max_units);
        let (streams, bounds) = (view.wants_stream(), view.bounds(endpoint, body));
        let (task, model) = (task.id, view.model.into_owned());
        let quote = Quote {
            endpoint,
            task,
            model,
            streams,
            max_units,
            max_price,
            max_cost,
            bounds,
            route: Route::default(),
            sticks_to: None,
        };
        Ok(quote.routed(Route::default(), body))
    }

    /// Sends a quoted body to a node, to another if the first fails before its first byte, and gives the
    /// answer's bytes as they are.
    pub async fn ask(&self, quote: &Quote, body: Bytes) -> Result<Answer, ApiError> {
        let newest = Newest::default();
        let mut answer = self.ask_noting(quote, body, &newest).await?;
        if answer.status.is_success() {
            answer.completion = lock(&newest.0).take();
        }
        Ok(answer)
    }

    /// Like [`ask`](Self::ask), and no request is sent before it was noted. If several nodes are tried, the
    /// last one noted gives the answer.
    pub async fn ask_noting(&self, quote: &Quote, body: Bytes, note: &dyn Note) -> Result<Answer, ApiError> {
        if self.inner.stopping.is_cancelled() {
            return Err(ApiError::unavailable("draining", "shutting down: ask another one"));
        }
        let Quote { endpoint, streams, bounds, .. } = *quote;
        let request = send::Request { endpoint, body_hash: Hash32::of(&body), body, streams, bounds, note };
        self.inner.ask(&request, quote).await
    }

    /// What tells how a request that an earlier run noted is paid, as for a [`Note`].
    pub async fn completion_of(&self, sent: &Sent) -> Result<oneshot::Receiver<Completion>, JournalError> {
        self.inner.completion_of(sent).await
    }

    /// Buys what the policy asks for of this model, ahead of the first request.
    pub async fn prepare(&self, model: &str) -> Result<(), ApiError> {
        let task = self.inner.task_for(model, None).await?;
        let pool = self.inner.pool(task.id);
        self.inner.stock(&pool).await.map_err(|error| ApiError::no_stack(&error))
    }

    /// Ends background work and acknowledges everything that was checked. Answers still being read go on.
    pub async fn drain(&self) -> Result<(), JournalError> {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        let _ = tokio::time::timeout(SILENCE_MAX, self.inner.tasks.wait()).await;
        self.inner.acknowledge_all().await;
        for channel in self.inner.pools().iter().flat_map(|pool| pool.channels().as_ref().clone()) {
            channel.leave_lost();
        }
        self.inner.journal.flush().await
    }

    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }
}

impl Inner {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&lock(&self.catalog).0)
    }

    /// The catalog, read again if it is older than `life`. If the chain does not answer, the old one.
    async fn fresh_catalog(&self, life: Duration) -> Arc<Catalog> {
        let claimed = {
            let mut held = lock(&self.catalog);
            let stale = held.1.elapsed() >= life;
            if stale {
                // One reads, the others go on with what there is.
                held.1 = Instant::now();
            }
            stale
        };
        if claimed {
            match self.market.catalog().await {
                Ok(catalog) => lock(&self.catalog).0 = Arc::new(catalog),
                Err(error) => {
                    tracing::warn!(%error, "cannot read the market; going on with what was read before")
                }
            }
        }
        self.catalog()
    }

    async fn read_chain_clock(&self) {
        match self.market.now_ms().await {
            Ok(chain_ms) => self.clock.set(chain_ms),
            Err(error) => tracing::debug!(%error, "cannot read the chain's clock"),
        }
    }

    async fn task_for(&self, model: &str, endpoint: Option<Endpoint>) -> Result<Task, ApiError> {
        if let Some(task) = self.catalog().task_for(model, endpoint) {
            return Ok(task.clone());
        }
        let catalog = self.fresh_catalog(CATALOG_LIFE_MIN).await;
        if let Some(task) = catalog.task_for(model, endpoint) {
            return Ok(task.clone());
        }
        Err(match (endpoint, catalog.task_for(model, None)) {
            (Some(endpoint), Some(_)) => ApiError::endpoint_not_offered(model, endpoint.path()),
            _ => ApiError::model_not_found(model),
        })
    }

    /// Most units that one request may be authorized for, and the highest price that may be charged.
    fn limits(&self, task: &Task) -> Result<(Units, Price), ApiError> {
        let pool = self.pool(task.id);
        if let Some(limits) = pool.limits() {
            return Ok(limits);
        }
        let terms =
            self.catalog().terms(task, self.policy.units, self.policy.max_price).ok().flatten().ok_or_else(
                || ApiError::unavailable("no_node", "no node sells this model at an accepted price"),
            )?;
        Ok((terms.units, terms.max_price))
    }

    fn pool(&self, task: TaskId) -> Arc<Pool> {
        Arc::clone(
            lock(&self.pools)
                .entry(task)
                .or_insert_with(|| Arc::new(Pool::new(task, Arc::clone(&self.clock)))),
        )
    }

    fn standing(&self, node: NodeId) -> Arc<Standing> {
        Arc::clone(lock(&self.standings).entry(node).or_default())
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        lock(&self.pools).values().cloned().collect()
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
