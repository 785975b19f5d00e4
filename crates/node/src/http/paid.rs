//! A paid request, from its header to its answer. Checks come before work, cheap ones first, and the body
//! is read only for whoever can pay; until the engine starts, dropping everything leaves no trace.

use super::body::Place;
use super::running::{Reservation, Running, Slots, Work};
use super::{ApiError, App, forward, stream, vouchers};
use crate::channels::Channel;
use crate::clock::wall_ms;
use crate::journal::Entry;
use crate::ledger::Refusal;
use atoma_inference::{Endpoint, Engine as _, EngineError, Generation, Load, Prepared};
use atoma_types::message::{AUTH_LIFE_MAX_MS, Message as _};
use atoma_types::wire::{AUTH_HEADER, Authorization, FORWARD_HEADER};
use atoma_types::{Forward, Hash32, RequestAuth, Signed};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bodies from this size on are prepared on a thread that may block.
const PREPARE_INLINE_MAX: usize = 4 * 1024;
/// When to come back to an engine that cannot take a request now.
const ENGINE_RETRY: Duration = Duration::from_secs(1);

pub(super) async fn serve(app: Arc<App>, endpoint: Endpoint, request: Request) -> Result<Response, ApiError> {
    app.metrics.requests.increment();
    let (parts, body) = request.into_parts();
    let (running, generation, streams) = match admit(&app, endpoint, &parts.headers, body).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            let answer = Box::pin(forward::instead(&app, endpoint, &parts.headers, refused)).await;
            return answer.inspect_err(|error| {
                app.metrics.refused.increment();
                app.metrics.refusals.increment(error.code());
            });
        }
    };
    let forward = parts.headers.get(FORWARD_HEADER).cloned();
    drop(parts);
    let answer = if streams {
        stream::streamed(running, generation).await
    } else {
        stream::whole(running, generation).await
    };
    let mut response = answer?;
    if let Some(forward) = forward {
        app.metrics.taken_over.increment();
        response.headers_mut().insert(FORWARD_HEADER, forward);
    }
    Ok(response)
}

/// Why a request is not served here, and its body, as far as it was read.
pub(super) struct Refused {
    pub(super) error: ApiError,
    pub(super) body: Received,
}

/// A body of a request that was refused.
pub(super) enum Received {
    Unread(Body),
    Whole(Bytes),
    /// Thrown away.
    Gone,
}

async fn admit(
    app: &Arc<App>,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Running, Generation, bool), Refused> {
    let began = Instant::now();
    let claim = match claim(app, headers).await {
        Ok(claim) => claim,
        Err(error) => return Err(Refused { error, body: Received::Unread(body) }),
    };
    let (body, place) = match app.bodies.read(&claim.channel, headers, body).await {
        Ok(read) => read,
        Err(error) => return Err(Refused { error, body: Received::Gone }),
    };
    let whole = Received::Whole(body.clone());
    begin(app, endpoint, claim, body, place, began).await.map_err(|error| Refused { error, body: whole })
}

async fn begin(
    app: &Arc<App>,
    endpoint: Endpoint,
    claim: Claim,
    body: Bytes,
    place: Place,
    began: Instant,
) -> Result<(Running, Generation, bool), ApiError> {
    let Claim { authorization, forward, channel, reservation } = claim;
    check_body(&authorization.auth.message, &body)?;
    let (prepared, place) = prepare(&channel, endpoint, body.clone(), place).await?;
    let limit = output_limit(&channel, &authorization.auth.message, &prepared)?;
    // From here on the gate bounds how many bodies there are.
    drop(place);
    let pass = app.gate.enter().await?;
    app.check_accepting()?;
    let slots = Slots::take(&app.journal).await?;
    let (streams, input) = (prepared.stream, prepared.input_tokens_broken_off);
    if let Some(forward) = forward {
        // Before any record of it.
        app.journal.write(Entry::TakenOver(forward)).await?;
    }
    let generation = channel.offer()?.engine.run(prepared, limit)?;
    let running = reservation.start(slots, Work { pass, authorization, body, input, began })?;
    Ok((running, generation, streams))
}

/// A request whose header alone proves who pays for it, with the units and the place in the window that it
/// needs. Nothing of its body was read.
struct Claim {
    authorization: Authorization,
    /// Of the node that passed it on.
    forward: Option<Signed<Forward>>,
    channel: Arc<Channel>,
    reservation: Reservation,
}

async fn claim(app: &Arc<App>, headers: &HeaderMap) -> Result<Claim, ApiError> {
    app.check_not_draining()?;
    let (authorization, forward) = (authorization(headers)?, forward::taken_over(headers)?);
    let auth = &authorization.auth.message;
    match &forward {
        None => check_for_us(app, auth)?,
        Some(forward) => check_taken_over(app, &authorization.auth, forward).await?,
    }
    let channel = authorize(app, &authorization, forward.is_some()).await?;
    app.check_enabled()?;
    check_load(&channel.offer()?.engine.load())?;
    let reservation = Reservation::new(app, &channel, auth)?;
    // Reserved first, then looked up: who passes on does it the other way round.
    if auth.hops == 1 && forward.is_none() && app.peers.has_passed_on(&auth.signed_hash()) {
        return Err(Refusal::Replayed(auth.nonce).into());
    }
    Ok(Claim { authorization, forward, channel, reservation })
}

/// An engine that is full, or gone, says so before anybody sends it a body.
fn check_load(load: &Load) -> Result<(), EngineError> {
    let retry_after = ENGINE_RETRY;
    match (load.healthy, load.is_full()) {
        (false, _) => Err(EngineError::Unavailable { retry_after }),
        (true, true) => Err(EngineError::Overloaded { retry_after }),
        (true, false) => Ok(()),
    }
}

fn authorization(headers: &HeaderMap) -> Result<Authorization, ApiError> {
    let header = headers.get(AUTH_HEADER).ok_or_else(|| {
        ApiError::unauthorized("missing_authorization", "send the signed authorization in x-atoma-auth")
    })?;
    let text = header
        .to_str()
        .map_err(|_| ApiError::bad_request("malformed_authorization", "x-atoma-auth is not ascii"))?;
    Ok(Authorization::decode(text)?)
}

/// Signed for this node, in this market, and not for ever.
pub(super) fn check_for_us(app: &App, auth: &RequestAuth) -> Result<(), ApiError> {
    let shelf = app.channels.shelf();
    check_market(app, auth)?;
    if auth.node != shelf.node {
        let message = format!("the request is signed for node {}, this is node {}", auth.node, shelf.node);
        return Err(ApiError::unauthorized("wrong_node", message));
    }
    check_expiry(app, auth.expires_ms)
}

/// Signed for another node, which says that it passes just this request on to this one. The user's signature comes
/// first: nobody else makes this node look up another.
async fn check_taken_over(
    app: &App,
    auth: &Signed<RequestAuth>,
    forward: &Signed<Forward>,
) -> Result<(), ApiError> {
    check_market(app, &auth.message)?;
    check_expiry(app, auth.message.expires_ms)?;
    let invalid = |message: &str| ApiError::unauthorized("invalid_forward", message);
    if !forward.message.is_of(&auth.message) || forward.message.to != app.channels.shelf().node {
        return Err(invalid("it does not pass this request, which must allow it, on to this node"));
    }
    app.channels.check_signature(auth).await?;
    match app.peers.has_signed(forward).await {
        true => Ok(()),
        false => Err(invalid("it is not signed by the node that it names")),
    }
}

fn check_market(app: &App, auth: &RequestAuth) -> Result<(), ApiError> {
    if auth.db != app.channels.shelf().market.db() {
        return Err(ApiError::unauthorized("wrong_db", "the request is signed for another market"));
    }
    if auth.hops > 1 {
        return Err(ApiError::bad_request("malformed_authorization", "hops must be 0 or 1"));
    }
    Ok(())
}

fn check_expiry(app: &App, expires_ms: u64) -> Result<(), ApiError> {
    let now_ms = wall_ms();
    if expires_ms <= now_ms {
        let late = now_ms.saturating_sub(expires_ms);
        let message = format!(
            "the authorization expired {late} ms ago by this node's clock; sign a new one, and if it was new, set your clock"
        );
        return Err(ApiError::unauthorized("auth_expired", message));
    }
    if expires_ms > now_ms.saturating_add(AUTH_LIFE_MAX_MS) {
        let left = expires_ms.saturating_sub(now_ms);
        let message = format!(
            "the authorization may live at most {AUTH_LIFE_MAX_MS} ms, and has {left} left by this node's clock; \
             sign a shorter one, and if it was short, set your clock"
        );
        return Err(ApiError::unauthorized("auth_too_long", message));
    }
    if expires_ms < app.refuse_expiring_before_ms {
        let message = "the machine lost power; this authorization may have been served before";
        return Err(ApiError::unauthorized("auth_replayed", message).retry_after(60));
    }
    Ok(())
}

/// Whoever signed with the stack's key gets its channel; then the voucher that came along is taken, also by a
/// node or for a task that is not served any more. What was passed on brings one for the node before.
async fn authorize(
    app: &Arc<App>,
    authorization: &Authorization,
    is_taken_over: bool,
) -> Result<Arc<Channel>, ApiError> {
    let channel = app.channels.find_for(&authorization.auth, &authorization.grants).await;
    // A disabled node says so also of stacks that it does not know.
    let channel = channel.or_else(|error| app.check_enabled().and(Err(error.into())))?;
    if let Some(voucher) = authorization.voucher.as_ref().filter(|_| !is_taken_over) {
        vouchers::take(app, &channel, voucher).await?;
    }
    Ok(channel)
}

pub(super) fn check_body(auth: &RequestAuth, body: &[u8]) -> Result<(), ApiError> {
    if Hash32::of(body) == auth.body_hash {
        return Ok(());
    }
    Err(ApiError::unauthorized("body_mismatch", "the body is not the one that was signed"))
}

async fn prepare(
    channel: &Channel,
    endpoint: Endpoint,
    body: Bytes,
    place: Place,
) -> Result<(Prepared, Place), ApiError> {
    let engine = channel.offer()?.engine.clone();
    if body.len() < PREPARE_INLINE_MAX {
        return Ok((engine.prepare(endpoint, &body)?, place));
    }
    // The place goes along: whoever hangs up does not free it while the work goes on.
    let preparing = tokio::task::spawn_blocking(move || (engine.prepare(endpoint, &body), place));
    let (prepared, place) = preparing.await.map_err(|_| ApiError::internal())?;
    Ok((prepared?, place))
}

/// How many output tokens the authorized units leave room for.
fn output_limit(channel: &Channel, auth: &RequestAuth, prepared: &Prepared) -> Result<u64, ApiError> {
    let weights = channel.terms.weights;
    let least_output = prepared.max_output_tokens.unwrap_or(1);
    let room = weights.output_within(auth.max_units, prepared.input_tokens);
    match room {
        Some(limit) if limit >= least_output => Ok(limit),
        _ => {
            let needed = weights.units(prepared.input_tokens, least_output).map_or(u64::MAX, |units| units.0);
            let message = format!(
                "{} input and {least_output} output tokens need {needed} units; max_units is {}",
                prepared.input_tokens, auth.max_units
            );
            Err(ApiError::bad_request("max_units_too_small", message).with("needed_units", json!(needed)))
        }
    }
}
