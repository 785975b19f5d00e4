//! A request that this node has no room for, passed on to another node of its stack, and a request that another node
//! passes on to this one. One hop: what came from another node goes no further.
//!
//! Whoever passes a request on books nothing of it. It hands the answer's bytes on as they come, with its signed word
//! of where they come from; the other node serves, books and is paid on its own channel with the same stack.

use super::paid::{Received, Refused, check_body, check_for_us};
use super::{ApiError, App};
use crate::channels::Channel;
use crate::clock::wall_ms;
use crate::gate::Pass;
use crate::ledger::Refusal;
use crate::peers::{Peer, Row};
use atoma_inference::Endpoint;
use atoma_types::message::Message as _;
use atoma_types::wire::{
    self, ALTERNATES_HEADER, AUTH_HEADER, Authorization, FORWARD_HEADER, RECEIPT_HEADER,
};
use atoma_types::{Forward, Hash32, NodeId, RequestAuth, Signed};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

/// How long a peer rests that cannot be reached, or does not say when to come back.
const REST: Duration = Duration::from_secs(1);
/// Headers of another node's answer that are handed on.
const HANDED_ON: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static(RECEIPT_HEADER),
    HeaderName::from_static(FORWARD_HEADER),
];

/// The signed word of the node that passed this request on, if one did.
pub(super) fn taken_over(headers: &HeaderMap) -> Result<Option<Signed<Forward>>, ApiError> {
    let Some(value) = headers.get(FORWARD_HEADER) else { return Ok(None) };
    let decoded = value.to_str().ok().and_then(|text| wire::decode(text).ok());
    decoded
        .map(Some)
        .ok_or_else(|| ApiError::bad_request("malformed_forward", "x-atoma-forward cannot be read"))
}

/// Asks another node in place of this one, which has no room, where the request allows that. If nobody takes it, the
/// refusal stands as it was, and nothing was done.
pub(super) async fn instead(
    app: &Arc<App>,
    endpoint: Endpoint,
    headers: &HeaderMap,
    refused: Refused,
) -> Result<Response, ApiError> {
    let Refused { error, body } = refused;
    let errand = match error.is_no_room() {
        true => Errand::of(app, headers).await,
        false => None,
    };
    match (errand, body) {
        (Some(errand), body) => match errand.run(app, endpoint, headers, body).await {
            Some(answer) => answer,
            None => Err(error),
        },
        (None, Received::Unread(body)) => {
            app.bodies.discard(body);
            Err(error)
        }
        (None, _) => Err(error),
    }
}

/// A request that may be passed on: signed by the user for this node, with others named.
struct Errand {
    auth: RequestAuth,
    channel: Arc<Channel>,
    alternates: Vec<NodeId>,
    place: Pass,
}

/// What came of asking another node.
enum Asked {
    /// Its answer, which it booked.
    Answered(Response),
    /// It certainly did nothing.
    Refused,
    /// It was asked, and nothing came back.
    Lost,
}

impl Errand {
    /// Only for channels that are in memory, which makes it cheap to tell who signed.
    async fn of(app: &App, headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(AUTH_HEADER)?.to_str().ok()?;
        let Authorization { auth, grants, .. } = Authorization::decode(text).ok()?;
        if auth.message.hops != 1 || headers.contains_key(FORWARD_HEADER) {
            return None;
        }
        check_for_us(app, &auth.message).ok()?;
        let named = headers.get(ALTERNATES_HEADER).and_then(|value| wire::decode_nodes(value.to_str().ok()?));
        let granted = grants.iter().map(|grant| grant.message.node);
        let mut alternates: Vec<NodeId> = named.unwrap_or_default().into_iter().chain(granted).collect();
        alternates.retain(|node| *node != auth.message.node);
        alternates.sort_unstable();
        alternates.dedup();
        if alternates.is_empty() {
            return None;
        }
        let channel = app.channels.get(auth.message.stack)?;
        auth.verify(&channel.terms.request_key).ok()?;
        Some(Self { auth: auth.message, channel, alternates, place: app.peers.relay().await? })
    }

    /// The other node's answer, or `None` if nobody took the request.
    async fn run(
        self,
        app: &Arc<App>,
        endpoint: Endpoint,
        headers: &HeaderMap,
        body: Received,
    ) -> Option<Result<Response, ApiError>> {
        let (body, _in_memory) = match body {
            Received::Unread(body) => {
                let (body, place) = app.bodies.read(&self.channel, headers, body).await.ok()?;
                (body, Some(place))
            }
            Received::Whole(body) => (body, None),
            Received::Gone => return None,
        };
        if let Err(error) = check_body(&self.auth, &body) {
            return Some(Err(error));
        }
        let request_hash = self.auth.signed_hash();
        // Noted first, then looked up: who serves does it the other way round, so that one of the two sees the other.
        let is_first = app.peers.pass_on(request_hash, self.auth.expires_ms, wall_ms());
        if !is_first || self.channel.books().has_seen(self.auth.nonce) {
            return Some(Err(Refusal::Replayed(self.auth.nonce).into()));
        }
        for (node, peer, row) in app.peers.choose(&self.alternates).await {
            let forward = self.forward(app, request_hash, node);
            let ask = Ask { endpoint, headers, body: &body, forward: &forward, row: &row };
            match ask.of(app, &peer).await {
                Asked::Answered(response) => {
                    app.metrics.forwarded.increment();
                    return Some(Ok(held(app, response, self.place)));
                }
                Asked::Lost => return Some(Ok(lost(&forward))),
                Asked::Refused => tracing::debug!(%node, "a peer did not take a request"),
            }
        }
        app.peers.take_back(&request_hash);
        None
    }

    fn forward(&self, app: &App, request_hash: Hash32, to: NodeId) -> HeaderValue {
        let RequestAuth { db, stack, node: from, .. } = self.auth;
        let forward = Forward { db, stack, request_hash, from, to }.sign(&app.key);
        HeaderValue::from_str(&wire::encode(&forward)).unwrap_or(HeaderValue::from_static(""))
    }
}

/// One request to one peer.
struct Ask<'a> {
    endpoint: Endpoint,
    headers: &'a HeaderMap,
    body: &'a Bytes,
    forward: &'a HeaderValue,
    row: &'a Row,
}

impl Ask<'_> {
    async fn of(&self, app: &App, peer: &Arc<Peer>) -> Asked {
        let busy = peer.busy();
        let url = format!("{}{}", self.row.endpoint, self.endpoint.path());
        let mut request =
            app.peers.http.post(url).header(FORWARD_HEADER, self.forward).body(self.body.clone());
        for name in [HeaderName::from_static(AUTH_HEADER), header::CONTENT_TYPE] {
            if let Some(value) = self.headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "a peer did not answer");
                peer.rest(REST);
                return if error.is_connect() { Asked::Refused } else { Asked::Lost };
            }
        };
        // Who has booked the request says for whom it took it over. Anything else is no answer, and may be no node.
        if response.headers().get(FORWARD_HEADER) != Some(self.forward) {
            if !response.status().is_client_error() || response.status() == StatusCode::TOO_MANY_REQUESTS {
                peer.rest(retry_after(response.headers()).unwrap_or(REST));
            }
            return Asked::Refused;
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes_stream().map(move |chunk| {
            let _busy = &busy;
            chunk
        });
        let mut answer = Response::new(Body::from_stream(bytes));
        *answer.status_mut() = status;
        for name in HANDED_ON {
            if let Some(value) = headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        Asked::Answered(answer)
    }
}

/// The answer with its place among those that are handed on; it is cut off with the others.
fn held(app: &App, response: Response, place: Pass) -> Response {
    let cut = app.streams.cut.clone();
    response.map(|body| {
        let bytes = body.into_data_stream().take_until(cut.cancelled_owned());
        Body::from_stream(bytes.map(move |chunk| {
            let _place = &place;
            chunk
        }))
    })
}

/// The other node may have served all the same: the client looks there for its receipt.
fn lost(forward: &HeaderValue) -> Response {
    let message = "the request was passed on, and the other node's answer was lost";
    let mut response = ApiError::new(StatusCode::BAD_GATEWAY, "forward_lost", message).into_response();
    response.headers_mut().insert(FORWARD_HEADER, forward.clone());
    response
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
