//! A request's way through the gateway: admitted, asked, paid.

use crate::account::{Account, Attempt, Notebook};
use crate::api::{Refusal, draining, store_failed};
use crate::keys::{self, Key, Scopes};
use crate::metrics::{InFlight, add};
use crate::money::{self, Hold, Now, Purchase, Refused};
use crate::rates::{self, Full, Rate};
use crate::serve::Gateway;
use crate::store::{PurseKind, UsageRow, Want, now_ms};
use atoma_client::ApiError;
use atoma_client::channel::Completion;
use atoma_client::proxy::read_body;
use atoma_client::request::{BODY_MAX, Endpoint};
use atoma_client::route::Route;
use atoma_client::session::{Answer, AnswerBody, Quote};
use atoma_types::Amount;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// How often money is looked for that others may take first.
const LEASE_TRIES: usize = 8;
/// More than any request costs. Sums of what is in flight stay within 64 bits.
const MOST_MAX: Amount = Amount(1_000_000_000_000_000);

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

impl Gateway {
    pub(crate) async fn answer(
        self: Arc<Self>,
        endpoint: Endpoint,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, Refusal> {
        let refused = |refusal: &Refusal| self.metrics.refuse(refusal.error.code);
        let key = self.key_for_asking(&headers).inspect_err(refused)?;
        let answered = match self.admit(endpoint, &key, &headers, body).await {
            Ok(admitted) => Arc::clone(&self).ask(admitted).await.map_err(|error| ours(error).into()),
            Err(refusal) => {
                refused(&refusal);
                Err(refusal)
            }
        };
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        for (rate, standing) in money::standings(&key.owners(), Now::read()) {
            rates::describe(response.headers_mut(), rate, standing);
        }
        Ok(response)
    }

    async fn ask(self: Arc<Self>, admitted: Admitted) -> Result<Response, ApiError> {
        let in_flight = InFlight::new(&self.metrics);
        let (reply, answered) = oneshot::channel();
        // A task of its own, so that who hangs up early is still charged for what was asked.
        self.accounting.spawn(Arc::clone(&self).pay(admitted, reply));
        let answered = answered.await.unwrap_or_else(|_| Err(draining()));
        let answer = answered.inspect_err(|error| in_flight.failed(error.code))?;
        in_flight.answered();
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

    /// The key, if it may ask now: nothing else is looked at before.
    fn key_for_asking(&self, headers: &HeaderMap) -> Result<Arc<Key>, Refusal> {
        if self.stop.is_cancelled() {
            return Err(draining().into());
        }
        let secret = keys::bearer(headers)?;
        let key = self.keys.find(secret).ok_or_else(|| keys::unknown_key(secret))?;
        if !key.scopes.has(Scopes::INFERENCE) {
            return Err(crate::api::out_of_scope("inference").into());
        }
        Ok(key)
    }

    /// Rate, place, route, body, price and money, in this order: nothing is read for who may not ask.
    async fn admit(
        &self,
        endpoint: Endpoint,
        key: &Arc<Key>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Admitted, Refusal> {
        money::count_request(&key.owners(), Now::read()).map_err(|full| too_many(Rate::Requests, full))?;
        let place = self.place(key)?;
        let route = Route::of(headers)?;
        let body = read_body(body, BODY_MAX, self.config.requests.body_time()).await?;
        let quote = self.session.quote(endpoint, &body).await?.routed(route, &body);
        let hold = self.hold(key, self.charged(quote.max_cost), quote.max_units.0).await?;
        Ok(Admitted { body, quote, hold, place })
    }

    fn place(&self, key: &Key) -> Result<Place, ApiError> {
        let of_key = key.place()?;
        let full = |_| ApiError::unavailable("overloaded", "too many requests are in flight: try again");
        Ok((Arc::clone(&self.bodies).try_acquire_owned().map_err(full)?, of_key))
    }

    /// What a key is charged for what a node is paid.
    fn charged(&self, paid: Amount) -> Amount {
        let markup = paid.share(self.config.pricing.markup_permille);
        markup.and_then(|markup| paid.add(markup)).unwrap_or(Amount::MAX)
    }

    /// Sets money and units aside, from what is leased already if it can.
    pub(crate) async fn hold(
        self: &Gateway,
        key: &Arc<Key>,
        most: Amount,
        units: u64,
    ) -> Result<Hold, Refusal> {
        if most > MOST_MAX {
            return Err(exhausted(PurseKind::Key, most).into());
        }
        for _ in 0..LEASE_TRIES {
            if let Ok(hold) = self.try_hold(key, most, units)? {
                return Ok(hold);
            }
            let _leasing = key.leasing.lock().await;
            match self.try_hold(key, most, units)? {
                Ok(hold) => return Ok(hold),
                Err(wants) => self.lease(wants).await?,
            }
        }
        Err(ApiError::busy("the key's money is in demand: try again").into())
    }

    /// Sets aside, or says what must be leased for it.
    fn try_hold(
        &self,
        key: &Arc<Key>,
        most: Amount,
        units: u64,
    ) -> Result<Result<Hold, Vec<Want>>, ApiError> {
        let purchase = Purchase { most, units, generation: self.ledger.generation() };
        match money::hold(key, purchase, Now::read()) {
            Ok(hold) => Ok(Ok(hold)),
            Err(Refused::Short(wants)) => Ok(Err(wants)),
            Err(Refused::Empty(kind)) => Err(exhausted(kind, most)),
            Err(Refused::Rate(rate, full)) => Err(too_many(rate, full)),
        }
    }

    async fn lease(&self, wants: Vec<Want>) -> Result<(), ApiError> {
        let grants = self.ledger.lease(wants).await.map_err(store_failed)?;
        let now = Instant::now();
        grants.iter().for_each(|grant| self.keys.granted(grant, now));
        Ok(())
    }

    /// Leases for the next request like this one, so that it need not wait.
    fn lease_ahead(self: &Arc<Self>, hold: &Hold) {
        let (key, most) = (hold.key(), hold.amount());
        let wants = money::wants(key, most, Now::read());
        let Ok(leasing) = Arc::clone(&key.leasing).try_lock_owned() else { return };
        if wants.is_empty() {
            return;
        }
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = gateway.lease(wants).await {
                tracing::debug!(%error, "cannot lease ahead");
            }
            drop(leasing);
        });
    }

    /// Asks, hands the answer on, and settles the key's budget when it is known what each attempt cost.
    async fn pay(self: Arc<Self>, admitted: Admitted, reply: Reply) {
        let Admitted { body, quote, hold, place } = admitted;
        self.lease_ahead(&hold);
        let notebook = Notebook::new(&self, quote.model.clone(), hold);
        let answered = self.session.ask_noting(&quote, body, &notebook).await;
        drop(place);
        let attempts = notebook.attempts();
        // If nobody waits any more, dropping the answer stops the node.
        drop(reply.send(answered));
        attempts.into_iter().for_each(|attempt| self.watch(attempt));
    }

    /// Settles an attempt when it is known what it cost, unless the gateway is gone by then.
    pub(crate) fn watch(self: &Arc<Self>, attempt: Attempt) {
        let gateway = Arc::downgrade(self);
        self.accounting.spawn(async move {
            let completion = attempt.paid.await.ok();
            if let Some(gateway) = gateway.upgrade() {
                gateway.settle(attempt.account, completion).await;
            }
        });
    }

    pub(crate) async fn settle(&self, account: Account, completion: Option<Completion>) {
        let Account { reservation, model, hold } = account;
        match completion {
            Some(Completion::Settled { receipt, cost: paid, price }) => {
                let cost = self.charged(paid).min(hold.amount());
                let message = &receipt.message;
                if message.status.is_billable() {
                    add(&self.metrics.input_tokens, message.input);
                    add(&self.metrics.output_tokens, message.output);
                }
                add(&self.metrics.paid, 1);
                add(&self.metrics.units, message.units.0);
                add(&self.metrics.cost, cost.0);
                let (units, payers, paid) = (message.units.0, hold.payers(), paid.min(cost));
                let receipt = *receipt;
                let row =
                    UsageRow { reservation, payers, at_ms: now_ms(), model, price, paid, cost, receipt };
                // Handed over before the balance shows it, so that whoever sees it spent finds the row.
                self.ledger.record(row).await;
                hold.settle(cost, units);
            }
            Some(Completion::Unpaid { reason }) => {
                tracing::debug!(reason, "an answer was not paid");
                add(&self.metrics.unpaid, 1);
                self.ledger.release(reservation).await;
            }
            // Not known in this process any more: the next start finds out.
            None => hold.keep(),
        }
    }
}

/// What the gateway's own wallet lacks is not the caller's to pay.
fn ours(error: ApiError) -> ApiError {
    match error.status {
        StatusCode::PAYMENT_REQUIRED => {
            ApiError::unavailable("no_stack", "the gateway cannot buy units now: try again")
        }
        _ => error,
    }
}

fn exhausted(kind: PurseKind, most: Amount) -> ApiError {
    let whose = match kind {
        PurseKind::Key => "the key's budget",
        PurseKind::Account => "the account's balance",
        PurseKind::KeyDay => "what the key may spend a day",
        PurseKind::AccountDay => "what the account may spend a day",
    };
    let message = format!("{whose} does not cover this request: it may cost {most}; see /v1/usage");
    ApiError {
        kind: "insufficient_quota",
        ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)
    }
}

fn too_many(rate: Rate, full: Full) -> ApiError {
    let (what, limit) = (rate.name(), full.standing.limit);
    let message = match full.retry_s {
        Some(seconds) => format!("{limit} {what} in a minute are used up: try again in {seconds} s"),
        None => format!("the request may take more than the {limit} {what} that are allowed in a minute"),
    };
    ApiError { retry_after: full.retry_s, ..ApiError::busy(message) }
}
