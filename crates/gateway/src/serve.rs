//! A request's way through the gateway, and the gateway's start and end.

use crate::account::{Account, Attempt, Notebook};
use crate::config::{ConfigError, GatewayConfig};
use crate::keys::{self, CreatedKey, Hold, Key, Keys, NewKey};
use crate::metrics::{InFlight, Metrics, add};
use crate::store::{Reservation, Store, StoreError, UsageRow, now_ms};
use atoma_client::channel::Completion;
use atoma_client::journal::JournalError;
use atoma_client::market::Market;
use atoma_client::proxy::{model_list, not_found, read_body, wrong_method};
use atoma_client::request::Endpoint;
use atoma_client::session::{Answer, AnswerBody, LifeError, OpenError, Quote};
use atoma_client::{ApiError, Session, SessionConfig};
use atoma_types::Address;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long answers in flight may take once draining.
const GRACE: Duration = Duration::from_secs(30);
/// How often changed keys are read again.
const KEYS_EVERY: Duration = Duration::from_secs(2);
/// Requests listed by `/v1/usage`.
const USAGE_LISTED: u32 = 100;

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
    session: Session,
    pub(crate) store: Store,
    keys: Keys,
    /// Places for bodies.
    bodies: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    accounting: TaskTracker,
    stop: CancellationToken,
}

/// A request that may be sent.
struct Admitted {
    body: Bytes,
    quote: Quote,
    hold: Hold,
    place: Place,
}

/// What bounds the bodies in memory: a place of the process and one of the key.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

type Reply = oneshot::Sender<Result<Answer, ApiError>>;

/// Starts a gateway with a wallet's standing in a market.
pub async fn spawn(config: GatewayConfig, market: Arc<dyn Market>) -> Result<GatewayHandle, GatewayError> {
    config.check()?;
    let listen = config.listen;
    let failed = |error: std::io::Error| GatewayError::Listen { listen, reason: error.to_string() };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let store = Store::open(&config.data.join("keys.db")).await?;
    let session_config = SessionConfig { journal: config.data.join("journal.db"), policy: config.policy() };
    let session = Session::open(session_config, market).await?;
    let keys = Keys::new(config.requests.bodies_per_key);
    keys.load(store.keys().await?);
    let unresolved = store.reservations().await?;
    let stop = CancellationToken::new();
    let gateway = Arc::new(Gateway {
        session: session.clone(),
        store,
        keys,
        bodies: Arc::new(Semaphore::new(config.requests.bodies)),
        metrics: Arc::default(),
        accounting: TaskTracker::new(),
        stop: stop.clone(),
    });
    for reservation in unresolved {
        gateway.resume(reservation);
    }
    tokio::spawn(Arc::clone(&gateway).follow_keys());
    tokio::spawn(stock(session.clone(), config.models));
    let app = router(Arc::clone(&gateway));
    let server = tokio::spawn(atoma_http::serve(listener, app, atoma_http::Bounds::default(), stop.clone()));
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
        let created = self.gateway.store.create_key(new).await?;
        self.gateway.keys.load(self.gateway.store.keys().await?);
        Ok(created)
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
        self.gateway.store.flush().await?;
        let closed = if close_stacks { self.session.close_all().await? } else { Vec::new() };
        Ok(DrainReport { closed })
    }
}

impl Drop for GatewayHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(gateway: Arc<Gateway>) -> Router {
    let mut router = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/usage", get(usage))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(not_found);
    for endpoint in Endpoint::ALL {
        let handler = move |State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body| async move {
            gateway.answer(endpoint, headers, body).await
        };
        router = router.route(endpoint.path(), post(handler));
    }
    router.method_not_allowed_fallback(wrong_method).with_state(gateway)
}

impl Gateway {
    async fn answer(
        self: Arc<Self>,
        endpoint: Endpoint,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, ApiError> {
        let admitted = self.admit(endpoint, &headers, body).await;
        let admitted = admitted.inspect_err(|_| add(&self.metrics.refused, 1))?;
        let in_flight = InFlight::new(&self.metrics);
        let (reply, answered) = oneshot::channel();
        // A task of its own, so that who hangs up early is still charged for what was asked.
        self.accounting.spawn(Arc::clone(&self).pay(admitted, reply));
        let answered = answered.await.unwrap_or_else(|_| Err(draining()));
        let answer = answered.inspect_err(|_| add(&self.metrics.failed, 1))?;
        let AnswerBody::Stream(stream) = answer.body else { return Ok(answer.into_response()) };
        // In flight until the last byte, or until the user hangs up.
        let counted = stream.map(move |chunk| {
            let _in_flight = &in_flight;
            chunk
        });
        let mut response = Response::new(Body::from_stream(counted));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    /// Key, place, body, price and budget, in this order: nothing is read for who may not ask.
    async fn admit(&self, endpoint: Endpoint, headers: &HeaderMap, body: Body) -> Result<Admitted, ApiError> {
        if self.stop.is_cancelled() {
            return Err(draining());
        }
        let key = self.authenticate(headers).await?;
        let place = self.place(&key)?;
        let body = read_body(body).await?;
        let quote = self.session.quote(endpoint, &body).await?;
        let hold = key.reserve(quote.max_cost)?;
        Ok(Admitted { body, quote, hold, place })
    }

    fn place(&self, key: &Key) -> Result<Place, ApiError> {
        let of_key = key.place()?;
        let full = |_| ApiError::unavailable("overloaded", "too many requests are in flight: try again");
        Ok((Arc::clone(&self.bodies).try_acquire_owned().map_err(full)?, of_key))
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Key>, ApiError> {
        let secret = keys::bearer(headers)?;
        self.keys.find(secret).ok_or_else(|| keys::unknown_key(secret))
    }

    /// Asks, hands the answer on, and settles the key's budget when it is known what each attempt cost.
    async fn pay(self: Arc<Self>, admitted: Admitted, reply: Reply) {
        let Admitted { body, quote, hold, place } = admitted;
        let notebook = Notebook::new(&self, quote.model.clone(), hold);
        let answered = self.session.ask_noting(&quote, body, &notebook).await;
        drop(place);
        let attempts = notebook.attempts();
        // If nobody waits any more, dropping the answer stops the node.
        drop(reply.send(answered));
        attempts.into_iter().for_each(|attempt| self.watch(attempt));
    }

    /// Settles an attempt when it is known what it cost, unless the gateway is gone by then.
    fn watch(self: &Arc<Self>, attempt: Attempt) {
        let gateway = Arc::downgrade(self);
        self.accounting.spawn(async move {
            let completion = attempt.paid.await.ok();
            if let Some(gateway) = gateway.upgrade() {
                gateway.settle(attempt.account, completion).await;
            }
        });
    }

    /// Finds out how a request is paid that was in flight when the last process ended. Until then all it may
    /// cost counts.
    fn resume(self: &Arc<Self>, reservation: Reservation) {
        let Reservation { id, key, most, model, sent } = reservation;
        let Some(key) = self.keys.by_id(key) else { return };
        let account = Account { reservation: id, model, hold: key.reserve_again(most) };
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

    pub(crate) async fn settle(&self, account: Account, completion: Option<Completion>) {
        let Account { reservation, model, hold } = account;
        match completion {
            Some(Completion::Settled { receipt, cost }) => {
                let key = hold.key().id;
                let cost = cost.min(hold.amount());
                let message = &receipt.message;
                if message.status.is_billable() {
                    add(&self.metrics.input_tokens, message.input);
                    add(&self.metrics.output_tokens, message.output);
                }
                add(&self.metrics.paid, 1);
                add(&self.metrics.units, message.units.0);
                add(&self.metrics.cost, cost.0);
                let row = UsageRow { reservation, key, at_ms: now_ms(), model, cost, receipt: *receipt };
                // Handed over before the balance shows it, so that whoever sees it spent finds the row.
                self.store.record(row).await;
                hold.settle(cost);
            }
            Some(Completion::Unpaid { reason }) => {
                tracing::debug!(reason, "an answer was not paid");
                add(&self.metrics.unpaid, 1);
                self.store.release(reservation).await;
            }
            // Not known in this process any more: the next start finds out.
            None => hold.keep(),
        }
    }

    /// Follows keys that were made, changed or disabled in the store by others.
    async fn follow_keys(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(KEYS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.store.keys().await {
                Ok(rows) => self.keys.load(rows),
                Err(error) => tracing::warn!(%error, "cannot read the keys"),
            }
        }
    }
}

fn draining() -> ApiError {
    ApiError::unavailable("draining", "the gateway is shutting down")
}

async fn models(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    gateway.authenticate(&headers).await?;
    Ok(Json(model_list(&gateway.session.models().await)))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<Json<Value>, ApiError> {
    if gateway.stop.is_cancelled() {
        return Err(draining());
    }
    if gateway.session.catalog().model_labels().is_empty() {
        return Err(ApiError::unavailable("no_model", "no node offers a model yet"));
    }
    Ok(Json(json!({"status": "ready"})))
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> String {
    let channels = gateway.session.channels();
    let ended = channels.iter().filter(|(_, _, summary)| summary.ended.is_some()).count();
    gateway.metrics.render(channels.len(), ended)
}

/// What the key's holder spent. Amounts are base units of the coin.
async fn usage(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let key = gateway.authenticate(&headers).await?;
    let broken = |error: StoreError| {
        tracing::error!(%error, "cannot read usage");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "usage cannot be read")
    };
    let balance = key.balance();
    gateway.store.flush().await.map_err(broken)?;
    let totals = gateway.store.totals(key.id).await.map_err(broken)?;
    let entries = gateway.store.usage(key.id, USAGE_LISTED).await.map_err(broken)?;
    Ok(Json(json!({
        "object": "usage",
        "key": format!("…{}", key.last4),
        "budget": balance.budget,
        "spent": balance.spent,
        "reserved": balance.reserved,
        "totals": totals,
        "data": entries,
    })))
}
