//! The gateway's start and end, and what goes on while it runs. A request's way is in [`crate::ask`].

use crate::account::{Account, Attempt};
use crate::api;
use crate::config::{ConfigError, GatewayConfig};
use crate::deposits::{self, Transfers};
use crate::identity;
use crate::keys::{CreatedKey, Keys, NewKey};
use crate::metrics::Metrics;
use crate::money;
use crate::passwords::Passwords;
use crate::signin::Limiter;
use crate::store::{Ledger, Reservation, Store, StoreError, now_ms};
use atoma_client::journal::JournalError;
use atoma_client::market::Market;
use atoma_client::session::{LifeError, OpenError};
use atoma_client::{Session, SessionConfig};
use atoma_http::Bounds;
use atoma_types::Address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long answers in flight may take once draining.
const GRACE: Duration = Duration::from_secs(30);
/// How often what others changed is read again, and idle money is given back.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks between two signs of life.
const LOOKS_PER_BEAT: u32 = 3;
/// And between two removals of what is long over.
const LOOKS_PER_TIDYING: u32 = 300;
/// How often the chain is asked where the money is.
const FLOAT_EVERY: Duration = Duration::from_secs(30);
/// How long a change may take from its time to its commit.
const OVERLAP_MS: u64 = 60_000;

/// The gateway could not start or end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {listen}: {reason}: choose another address")]
    Listen { listen: SocketAddr, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Deposits(#[from] deposits::BeginError),
    #[error(transparent)]
    Session(#[from] OpenError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Stack(#[from] LifeError),
}

/// What a drain left behind.
#[derive(Clone, Debug, Default)]
pub struct DrainReport {
    /// Stacks that were asked to close, with the chain time from which each can be refunded.
    pub closed: Vec<(Address, u64)>,
}

/// A running gateway. Dropping it stops taking requests.
#[derive(Debug)]
pub struct GatewayHandle {
    pub addr: SocketAddr,
    pub session: Session,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) session: Session,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) keys: Arc<Keys>,
    /// Places for bodies.
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) accounting: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) config: GatewayConfig,
    pub(crate) passwords: Passwords,
    pub(crate) sign_ins: Limiter,
    /// What the operator proves itself with.
    pub(crate) operator: identity::OperatorToken,
    /// Where deposits go, if they are followed.
    pub(crate) deposit_address: Option<Address>,
    /// When keys and accounts were read last.
    looked_ms: AtomicU64,
}

/// Starts a gateway with a wallet's standing in a market. It takes no deposits.
pub async fn spawn(config: GatewayConfig, market: Arc<dyn Market>) -> Result<GatewayHandle, GatewayError> {
    spawn_with(config, market, None).await
}

/// Starts a gateway that credits the transfers it is told of.
pub async fn spawn_with(
    config: GatewayConfig,
    market: Arc<dyn Market>,
    transfers: Option<Arc<dyn Transfers>>,
) -> Result<GatewayHandle, GatewayError> {
    config.check()?;
    let listen = config.listen;
    let failed = |error: std::io::Error| GatewayError::Listen { listen, reason: error.to_string() };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let store = Store::open(&config.database()?).await?;
    let keys = Arc::new(Keys::new(config.requests.bodies_per_key));
    let looked_ms = now_ms();
    keys.load(store.accounts(0).await?, store.keys(0).await?);
    let name = if store.is_shared() { Some(identity::of(&config.data)?) } else { None };
    let session_config = SessionConfig { journal: config.data.join("journal.db"), policy: config.policy() };
    // First, because nobody else can have the data folder then.
    let session = Session::open(session_config, market).await?;
    let log = if store.is_shared() { None } else { Some(config.data.join("reservations")) };
    let (ledger, unresolved) = Ledger::open(&store, name.as_deref(), log.as_deref(), keys.clone()).await?;
    if let Some(transfers) = &transfers {
        deposits::begin(&store, transfers.as_ref()).await?;
    }
    let stop = CancellationToken::new();
    let gateway = Arc::new(Gateway {
        session: session.clone(),
        store,
        ledger,
        keys,
        bodies: Arc::new(Semaphore::new(config.requests.bodies)),
        metrics: Arc::default(),
        accounting: TaskTracker::new(),
        stop: stop.clone(),
        passwords: Passwords::new(config.accounts.password_hashes),
        sign_ins: Limiter::default(),
        operator: identity::OperatorToken::of(&config.data)?,
        deposit_address: transfers.as_ref().map(|transfers| transfers.address()),
        looked_ms: AtomicU64::new(looked_ms),
        config,
    });
    for reservation in unresolved {
        gateway.resume(reservation);
    }
    tokio::spawn(Arc::clone(&gateway).look_after());
    tokio::spawn(Arc::clone(&gateway).watch_float());
    tokio::spawn(stock(session.clone(), gateway.config.models.clone()));
    if let Some(transfers) = transfers {
        tokio::spawn(deposits::follow(gateway.store.clone(), transfers, stop.clone()));
    }
    let app = api::router(Arc::clone(&gateway));
    let bounds = Bounds { connections: gateway.config.requests.connections, ..Bounds::default() };
    let server = tokio::spawn(atoma_http::serve(listener, app, bounds, stop.clone()));
    Ok(GatewayHandle { addr, session, gateway, stop, server: Some(server) })
}

/// Buys ahead of demand; what fails is tried again by the first request.
async fn stock(session: Session, models: Vec<String>) {
    for model in models {
        if let Err(error) = session.prepare(&model).await {
            tracing::warn!(%error, model, "cannot buy ahead");
        }
    }
}

impl GatewayHandle {
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Makes an API key that works at once.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, StoreError> {
        self.gateway.create_key(new).await
    }

    /// Reads again what others changed, as the gateway does by itself every two seconds.
    pub async fn look(&self) -> Result<(), StoreError> {
        self.gateway.look().await
    }

    /// Keys and usage, for an operator.
    pub fn store(&self) -> &Store {
        &self.gateway.store
    }

    /// Stops admitting, lets what is in flight finish, acknowledges everything, and closes the stacks if
    /// asked to.
    pub async fn drain(mut self, close_stacks: bool) -> Result<DrainReport, GatewayError> {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            let _ = tokio::time::timeout(GRACE, server).await;
        }
        self.session.drain().await?;
        self.gateway.accounting.close();
        let _ = tokio::time::timeout(GRACE, self.gateway.accounting.wait()).await;
        self.gateway.ledger.flush().await?;
        let closed = if close_stacks { self.session.close_all().await? } else { Vec::new() };
        Ok(DrainReport { closed })
    }
}

impl Drop for GatewayHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Gateway {
    /// Makes a key that works at once.
    pub(crate) async fn create_key(&self, new: NewKey) -> Result<CreatedKey, StoreError> {
        if let Some(account) = new.account
            && let Some(row) = self.store.account(account).await?
        {
            self.keys.load(vec![row], Vec::new());
        }
        let created = self.store.create_key(new).await?;
        self.keys.load(Vec::new(), vec![self.store.key(created.id).await?]);
        Ok(created)
    }

    /// Finds out how a request is paid that was in flight when the last process ended. Until then all it may
    /// cost counts.
    fn resume(self: &Arc<Self>, reservation: Reservation) {
        let Reservation { id, payers, most, model, sent } = reservation;
        let Some(key) = self.keys.by_id(payers.key) else { return };
        let hold = money::hold_again(&key, most, payers.purses, payers.day, self.ledger.generation());
        let account = Account { reservation: id, model, hold };
        let gateway = Arc::clone(self);
        self.accounting.spawn(async move {
            match gateway.session.completion_of(&sent).await {
                Ok(paid) => gateway.watch(Attempt { account, paid }),
                Err(error) => {
                    tracing::error!(%error, "cannot account for a request");
                    gateway.settle(account, None).await;
                }
            }
        });
    }

    /// Follows what others changed in the store, gives back money that is not used, and says that it lives.
    async fn look_after(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0u32;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            looks = looks.wrapping_add(1);
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "cannot read the keys");
            }
            let idle = self.keys.idle();
            if !idle.is_empty() {
                self.ledger.give_back(idle).await;
            }
            if looks.is_multiple_of(LOOKS_PER_BEAT)
                && let Err(error) = self.beat().await
            {
                tracing::warn!(%error, "the database is not looked after");
            }
            if looks.is_multiple_of(LOOKS_PER_TIDYING)
                && let Err(error) = self.store.tidy().await
            {
                tracing::warn!(%error, "the database is not tidied");
            }
        }
    }

    /// Reads where the money is, for the metrics. By itself: a chain that is away must hold nothing else up.
    async fn watch_float(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(FLOAT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.look_at_float() => {}
            }
        }
    }

    /// Says that this gateway lives, and does what somebody must do now and then.
    async fn beat(&self) -> Result<(), StoreError> {
        if self.store.is_shared() {
            self.ledger.flush().await?;
            self.ledger.reap().await?;
        }
        if self.deposit_address.is_some() {
            self.store.credit_deposits().await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), StoreError> {
        let now = now_ms();
        let since = self.looked_ms.load(Ordering::Relaxed).saturating_sub(OVERLAP_MS);
        self.keys.load(self.store.accounts(since).await?, self.store.keys(since).await?);
        self.looked_ms.store(now, Ordering::Relaxed);
        Ok(())
    }
}
