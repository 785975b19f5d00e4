//! One request to one node, and what to do with a refusal.

use super::answer::{Answer, AnswerStream};
use super::refusal::{REFUSAL_MAX, Refusal};
use super::{Inner, Note, Quote, now_ms};
use crate::ApiError;
use crate::channel::{Channel, Identity, Sent, Slot};
use crate::journal::JournalError;
use crate::ledger::{Bounds, Disagreement, Outcome};
use crate::request::Endpoint;
use crate::stream::tokens_in_json;
use atoma_types::message::{AUTH_LIFE_MS, Message as _};
use atoma_types::onchain::Stack;
use atoma_types::wire::{
    self, ALTERNATES_HEADER, AUTH_HEADER, Authorization, FORWARD_HEADER, GRANTS_MAX, RECEIPT_HEADER,
};
use atoma_types::{Address, Hash32, NodeId, Receipt, RequestAuth, Signed};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest answer that is not streamed.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// How long a node that passed a request on is asked for nothing.
const PASSED_ON_REST: Duration = Duration::from_secs(1);

/// A request that may be sent to several nodes in turn.
pub(super) struct Request<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) body: Bytes,
    pub(super) body_hash: Hash32,
    pub(super) streams: bool,
    pub(super) bounds: Bounds,
    pub(super) note: &'a dyn Note,
}

impl Request<'_> {
    /// What was seen of an answer that broke off before anything of it could be passed on. A node sends a
    /// whole answer at once: that none of it arrived does not show how much it made.
    fn broken_off(&self) -> Outcome {
        if self.streams { Outcome::Broken { tokens: 0 } } else { Outcome::Unwitnessed }
    }
}

/// Why a node gave no answer.
pub(super) enum Failure {
    /// The request itself is at fault: the node's answer is the user's.
    Final(Box<Answer>),
    /// The node was told what it missed, or told us: ask it again.
    Again(ApiError),
    /// It failed: ask another.
    Elsewhere(ApiError),
    /// It has no room for this long: ask another, and hold nothing against it.
    Busy(ApiError, Duration),
    /// Nothing was sent, and nothing can be.
    Ours(ApiError),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        tracing::error!(%error, "the journal failed");
        Self::Ours(ApiError::unavailable("journal_failed", "the journal cannot be written"))
    }
}

impl Inner {
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &Request<'_>,
        quote: &Quote,
    ) -> Result<Answer, ApiError> {
        let pool = self.pool(quote.task);
        let mut tried: Vec<(Address, NodeId)> = Vec::new();
        let mut last = None;
        let mut repeated = false;
        let mut attempts = 0;
        self.retries.earn();
        while attempts < self.policy.attempts {
            if attempts > 0 && !self.retries.spend() {
                break;
            }
            let slot = match self.reserve(&pool, quote, &tried).await {
                Ok(slot) => slot,
                Err(error) => return Err(last.unwrap_or(error)),
            };
            let (channel, began) = (Arc::clone(slot.channel()), Instant::now());
            let sent = self.send(request, quote, slot).await;
            let now = Instant::now();
            if sent.is_err() {
                channel.voucher_lost();
            }
            match sent {
                Ok(answer) => {
                    if answer.forwarded_by.is_some() {
                        channel.standing().busy(PASSED_ON_REST, now);
                    }
                    self.standing(answer.node).succeeded(now.duration_since(began), now);
                    return Ok(answer);
                }
                Err(Failure::Again(error)) if !repeated => {
                    repeated = true;
                    last = Some(error);
                }
                Err(failure) => {
                    attempts += 1;
                    let error = match failure {
                        Failure::Busy(error, time) => {
                            channel.standing().busy(time, now);
                            error
                        }
                        Failure::Again(error) | Failure::Elsewhere(error) => {
                            channel.standing().failed(now);
                            error
                        }
                        Failure::Final(answer) => return Ok(*answer),
                        Failure::Ours(error) => return Err(last.unwrap_or(error)),
                    };
                    tried.push((channel.identity().stack, channel.identity().node));
                    tracing::debug!(node = %channel.identity().node, code = error.code, "asking another node");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| ApiError::bad_gateway("no node answered")))
    }

    async fn send(
        self: &Arc<Self>,
        request: &Request<'_>,
        quote: &Quote,
        mut slot: Slot,
    ) -> Result<Answer, Failure> {
        let channel = Arc::clone(slot.channel());
        let identity = channel.identity();
        let catalog = self.catalog();
        let node = catalog
            .node(identity.node)
            .ok_or_else(|| Failure::Elsewhere(ApiError::bad_gateway("the node left the market")))?;
        let (alternates, grants) = self.alternates(&channel, quote, slot.max_units());
        let forward_price = (!alternates.is_empty()).then_some(quote.max_price);
        let auth = RequestAuth {
            db: self.market.db(),
            stack: identity.stack,
            node: identity.node,
            hops: u8::from(forward_price.is_some()),
            nonce: channel.next_nonce().await?,
            body_hash: request.body_hash,
            max_units: slot.max_units(),
            expires_ms: now_ms().saturating_add(AUTH_LIFE_MS),
        };
        let request_hash = auth.signed_hash();
        let sent = Sent { stack: identity.stack, node: identity.node, request_hash, price: channel.price() };
        let (row, paid) = slot.issue(request_hash, request.bounds, forward_price);
        let voucher = channel.voucher_along();
        // All must be written before the request is sent; they share the wait.
        let (kept, noted) =
            tokio::join!(channel.keep(row, voucher.clone()), request.note.before_send(sent, paid));
        if let Err(error) = kept.map_err(Failure::from).and(noted.map_err(Failure::Ours)) {
            slot.refuse("it was not sent").await;
            return Err(error);
        }
        let vouched = voucher.as_ref().map_or(0, |voucher| voucher.message.count);
        let grants = channel.newer_grant().into_iter().chain(grants).take(GRANTS_MAX).collect();
        let authorization = Authorization { auth: auth.sign(channel.key()), voucher, grants };
        let url = format!("{}{}", node.endpoint.trim_end_matches('/'), request.endpoint.path());
        let mut post = self
            .http
            .post(url)
            .header(AUTH_HEADER, wire::encode(&authorization))
            .header(header::CONTENT_TYPE, "application/json")
            .body(request.body.clone());
        if !alternates.is_empty() {
            post = post.header(ALTERNATES_HEADER, wire::encode_nodes(&alternates));
        }
        let response = match post.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(request, slot, &error).await),
        };
        let (slot, passed_on_by) = self.follow(slot, response.headers()).await?;
        if !response.status().is_success() {
            if passed_on_by.is_some() && !response.headers().contains_key(RECEIPT_HEADER) {
                // Nobody knows here what the other node did.
                self.seek_receipt(Arc::clone(slot.channel()), slot.leave(request.broken_off()));
                return Err(Failure::Elsewhere(ApiError::bad_gateway("the request was passed on and lost")));
            }
            return Err(self.refused(response, slot).await);
        }
        match passed_on_by {
            None => {
                channel.set_acknowledged(vouched);
                channel.grant_arrived();
            }
            Some(_) => {
                channel.voucher_lost();
                slot.channel().grant_arrived();
            }
        }
        let answer = if is_event_stream(response.headers()) {
            self.streamed(response, slot).await?
        } else {
            self.whole(request, response, slot).await?
        };
        Ok(match passed_on_by {
            Some(node) => answer.forwarded_by(node),
            None => answer,
        })
    }

    /// No answer at all: the node may still have served.
    async fn lost(self: &Arc<Self>, request: &Request<'_>, slot: Slot, error: &reqwest::Error) -> Failure {
        let (channel, connected) = (Arc::clone(slot.channel()), !error.is_connect());
        if connected {
            self.seek_receipt(channel, slot.leave(request.broken_off()));
        } else {
            slot.refuse("the node cannot be reached").await;
            // It may have moved.
            let inner = Arc::clone(self);
            self.tasks.spawn(async move { drop(inner.fresh_catalog(super::CATALOG_LIFE_MIN).await) });
        }
        tracing::debug!(%error, "a node did not answer");
        Failure::Elsewhere(ApiError::bad_gateway("the node did not answer"))
    }

    async fn whole(
        self: &Arc<Self>,
        request: &Request<'_>,
        response: reqwest::Response,
        slot: Slot,
    ) -> Result<Answer, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let channel = Arc::clone(slot.channel());
        let body = read(response, ANSWER_MAX).await;
        let seen = body.as_ref().map_or_else(|_| request.broken_off(), |body| whole_answer(body));
        let checked = match receipt_in(&headers) {
            Ok(Some(receipt)) => slot.complete(seen, &receipt),
            Ok(None) if body.is_err() => {
                self.seek_receipt(Arc::clone(&channel), slot.leave(seen));
                Ok(())
            }
            Ok(None) => self.require_receipt(&channel, slot.leave(seen)).await,
            Err(reason) => Err(channel.end(reason)),
        };
        checked.map_err(|reason| Failure::Elsewhere(disagreed(&reason)))?;
        let body = body.map_err(Failure::Elsewhere)?;
        if headers.contains_key(FORWARD_HEADER) {
            self.acknowledge_soon(Arc::clone(&channel));
        }
        Ok(Answer::whole(status, &headers, channel.identity(), body))
    }

    async fn streamed(self: &Arc<Self>, response: reqwest::Response, slot: Slot) -> Result<Answer, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let identity = slot.channel().identity().clone();
        let is_taken_over = headers.contains_key(FORWARD_HEADER);
        // Nothing was passed on before the first bytes: until then another node can be asked.
        let bytes = response.bytes_stream().boxed();
        let stream = AnswerStream::begin(Arc::clone(self), bytes, slot, is_taken_over);
        let stream = stream.await.map_err(Failure::Elsewhere)?;
        Ok(Answer::streamed(status, &headers, &identity, stream))
    }

    /// Sorts a refusal.
    async fn refused(self: &Arc<Self>, response: reqwest::Response, slot: Slot) -> Failure {
        let (status, headers) = (response.status(), response.headers().clone());
        let channel = Arc::clone(slot.channel());
        let body = read(response, REFUSAL_MAX).await.ok();
        if let Err(reason) = account_refusal(slot, &headers, body.as_ref()).await {
            return Failure::Elsewhere(disagreed(&reason));
        }
        let refusal = Refusal::read(body.as_deref().unwrap_or_default());
        let error = refusal.error(status);
        tracing::debug!(%status, code = refusal.code(), "a node refused");
        if let Some(body) = refusal.about_request(status) {
            return Failure::Final(Box::new(Answer::refusal(status, channel.identity(), body)));
        }
        match (status, refusal.code()) {
            (StatusCode::PAYMENT_REQUIRED, "missing_receipt") => {
                for receipt in refusal.receipts.iter().filter_map(|text| wire::decode(text).ok()) {
                    if let Err(reason) = self.take_receipt(&channel, &receipt) {
                        return Failure::Elsewhere(disagreed(&reason));
                    }
                }
                self.catch_up(&channel).await;
                Failure::Again(error)
            }
            (StatusCode::UNAUTHORIZED, "auth_expired" | "auth_replayed") => Failure::Again(error),
            (StatusCode::PAYMENT_REQUIRED, "stack_ended") => {
                self.leave_if_ended(&channel).await;
                Failure::Busy(error, Duration::ZERO)
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => Failure::Busy(error, retry_after(&headers)),
            _ => Failure::Elsewhere(error),
        }
    }
}

impl Inner {
    /// The node says that it takes no more on this channel. If the chain says so, too (revoked, released, the
    /// node disabled), nothing more is asked there, and the stack can be closed: its units would come back
    /// only after the contract's delays.
    async fn leave_if_ended(&self, channel: &Channel) {
        let Identity { stack, node, .. } = *channel.identity();
        let catalog = self.fresh_catalog(super::CATALOG_LIFE_MIN).await;
        let is_disabled = catalog.node(node).is_some_and(|row| row.disabled_ms != 0);
        match self.market.stack(stack).await {
            Ok(found) => {
                let is_closed = found.is_some_and(|found| has_ended(&found, node));
                if is_disabled || is_closed {
                    tracing::info!(%stack, %node, "a channel has ended on chain");
                    channel.set_closing();
                }
            }
            Err(error) => tracing::debug!(%stack, %error, "cannot look whether a channel has ended"),
        }
    }
}

/// Whether the chain lets a node serve no more of a stack.
pub(super) fn has_ended(stack: &Stack, node: NodeId) -> bool {
    stack.close_requested_ms != 0 || stack.channel(node).is_some_and(|row| row.closed_ms != 0)
}

/// A refusal costs nothing. A receipt that comes with it is checked like an answer's, as far as the body
/// could be read.
async fn account_refusal(slot: Slot, headers: &HeaderMap, body: Option<&Bytes>) -> Result<(), Disagreement> {
    let channel = Arc::clone(slot.channel());
    let Some(receipt) = receipt_in(headers).map_err(|reason| channel.end(reason))? else {
        slot.refuse("the node refused it").await;
        return Ok(());
    };
    let Receipt { status, units, .. } = receipt.message;
    if status.is_billable() {
        return Err(channel.end(Disagreement::ChargedForNothing { status, units }));
    }
    let seen = body.map_or(Outcome::Broken { tokens: 0 }, |body| whole_answer(body));
    slot.complete(seen, &receipt)
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

pub(super) fn disagreed(reason: &Disagreement) -> ApiError {
    ApiError::bad_gateway(format!("the node's account of the answer is wrong: {reason}"))
}

fn whole_answer(body: &[u8]) -> Outcome {
    Outcome::Complete { response_hash: Hash32::of(body), tokens: tokens_in_json(body) }
}

fn receipt_in(headers: &HeaderMap) -> Result<Option<Signed<Receipt>>, Disagreement> {
    let Some(value) = headers.get(RECEIPT_HEADER) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Disagreement::Unreadable("not text".into()))?;
    wire::decode(text).map(Some).map_err(|error| Disagreement::Unreadable(error.to_string()))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("text/event-stream"))
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(response: reqwest::Response, limit: usize) -> Result<Bytes, ApiError> {
    let broken = |_| ApiError::bad_gateway("the node's answer broke off");
    let mut stream = response.bytes_stream();
    let Some(first) = stream.next().await.transpose().map_err(broken)? else { return Ok(Bytes::new()) };
    let Some(mut next) = stream.next().await.transpose().map_err(broken)? else { return Ok(first) };
    let mut body = BytesMut::from(first.as_ref());
    loop {
        if body.len().saturating_add(next.len()) > limit {
            return Err(ApiError::bad_gateway("the node's answer is too long"));
        }
        body.extend_from_slice(&next);
        match stream.next().await.transpose().map_err(broken)? {
            Some(chunk) => next = chunk,
            None => return Ok(body.freeze()),
        }
    }
}
