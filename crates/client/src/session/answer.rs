//! A node's answer on its way to the user: the bytes as they came, checked as they pass.

use super::Inner;
use super::send::disagreed;
use crate::ApiError;
use crate::channel::{Completion, Identity, Slot};
use crate::ledger::{Disagreement, Outcome};
use crate::stream::Scanner;
use atoma_types::wire::RECEIPT_HEADER;
use atoma_types::{Address, NodeId};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Response header that names the node which answered.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("x-atoma-node");
/// Response header that names the stack which paid.
pub const STACK_HEADER: HeaderName = HeaderName::from_static("x-atoma-stack");
/// Response header that names the node which passed the request on to the one that answered.
pub const FORWARDED_BY_HEADER: HeaderName = HeaderName::from_static("x-atoma-forwarded-by");
/// How long what was on the way when the user hung up is read: at least, then until nothing comes for a
/// moment, and at most.
const HANG_UP_MIN: Duration = Duration::from_millis(200);
const HANG_UP_QUIET: Duration = Duration::from_millis(5);
const HANG_UP_MAX: Duration = Duration::from_secs(2);

/// What a node answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Who answered.
    pub node: NodeId,
    /// Who was asked, if that is another one.
    pub forwarded_by: Option<NodeId>,
    pub stack: Address,
    pub body: AnswerBody,
    /// Tells how it was paid; `None` if nothing is to be paid, or if it was asked for with a note.
    pub completion: Option<oneshot::Receiver<Completion>>,
}

/// The answer's bytes.
#[expect(clippy::large_enum_variant, reason = "one per answer, moved once")]
pub enum AnswerBody {
    Whole(Bytes),
    Stream(AnswerStream),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({}, node {}, stack {})", self.status, self.node, self.stack)
    }
}

impl Answer {
    pub(super) fn whole(status: StatusCode, upstream: &HeaderMap, identity: &Identity, body: Bytes) -> Self {
        let headers = passed_on(upstream, identity);
        let Identity { node, stack, .. } = *identity;
        let body = AnswerBody::Whole(body);
        Self { status, headers, node, forwarded_by: None, stack, body, completion: None }
    }

    /// It was asked of another node, which passed it on.
    pub(super) fn forwarded_by(mut self, node: NodeId) -> Self {
        self.headers.insert(FORWARDED_BY_HEADER, HeaderValue::from(node.0));
        Self { forwarded_by: Some(node), ..self }
    }

    /// A refusal in our own words.
    pub(super) fn refusal(status: StatusCode, identity: &Identity, body: Bytes) -> Self {
        let json = HeaderValue::from_static("application/json");
        let upstream = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        Self::whole(status, &upstream, identity, body)
    }

    pub(super) fn streamed(
        status: StatusCode,
        upstream: &HeaderMap,
        identity: &Identity,
        stream: AnswerStream,
    ) -> Self {
        let headers = passed_on(upstream, identity);
        let Identity { node, stack, .. } = *identity;
        let body = AnswerBody::Stream(stream);
        Self { status, headers, node, forwarded_by: None, stack, body, completion: None }
    }

    /// As an HTTP response.
    pub fn into_response(self) -> axum::response::Response {
        let body = match self.body {
            AnswerBody::Whole(bytes) => axum::body::Body::from(bytes),
            AnswerBody::Stream(stream) => axum::body::Body::from_stream(stream),
        };
        let mut response = axum::response::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The headers that mean something to the user, and who answered.
fn passed_on(upstream: &HeaderMap, identity: &Identity) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::RETRY_AFTER] {
        if let Some(value) = upstream.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = upstream.get(RECEIPT_HEADER) {
        headers.insert(HeaderName::from_static(RECEIPT_HEADER), value.clone());
    }
    headers.insert(NODE_HEADER, HeaderValue::from(identity.node.0));
    if let Ok(value) = HeaderValue::from_str(&identity.stack.to_string()) {
        headers.insert(STACK_HEADER, value);
    }
    headers
}

/// A stream that passes bytes through unchanged. If the node breaks off, or its receipt is wrong, the
/// stream ends with an error event instead of `[DONE]`. Dropped early, it stops the node and accounts for
/// what had arrived.
pub struct AnswerStream {
    /// `None` once nothing more is passed on.
    reading: Option<Reading>,
    ready: Option<Bytes>,
}

/// A node's stream and what was seen of it.
struct Reading {
    inner: Arc<Inner>,
    began: Instant,
    bytes: u64,
    upstream: BoxStream<'static, reqwest::Result<Bytes>>,
    scanner: Scanner,
    /// Whether another node was asked.
    is_taken_over: bool,
    /// Taken when the answer is accounted for.
    slot: Option<Slot>,
}

impl Reading {
    /// Looks at a chunk and returns what of it is passed on: the error is the last of it, with an error
    /// event in place of what is wrong.
    fn check(&mut self, chunk: Bytes) -> Result<Bytes, Bytes> {
        self.bytes = self.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        let checked = match self.scanner.feed(&chunk) {
            Ok(None) => return Ok(chunk),
            Ok(Some(found)) => match self.slot.take() {
                Some(slot) => {
                    let tokens = self.scanner.tokens();
                    let seen = Outcome::Complete { response_hash: found.response_hash, tokens };
                    let (time, now) = (self.began.elapsed(), Instant::now());
                    slot.channel().standing().streamed(self.bytes, time, now);
                    let channel = Arc::clone(slot.channel());
                    let completed = slot.complete(seen, &found.receipt);
                    if self.is_taken_over && completed.is_ok() {
                        self.inner.acknowledge_soon(channel);
                    }
                    completed.map_err(|reason| (found.at, reason))
                }
                None => Err((found.at, Disagreement::AfterReceipt)),
            },
            Err(reason) => {
                let reason = match self.slot.take() {
                    Some(slot) => slot.channel().end(reason),
                    None => reason,
                };
                Err((0, reason))
            }
        };
        match checked {
            Ok(()) => Ok(chunk),
            Err((good, reason)) => {
                Err([chunk.get(..good).unwrap_or_default(), &disagreed(&reason).event()].concat().into())
            }
        }
    }

    /// The user hung up: reads what was on the way, which may hold the receipt, then stops the node. What
    /// arrives counts as received, so it is little more than was on the way.
    async fn hang_up(mut self) {
        let began = Instant::now();
        while self.slot.is_some() && began.elapsed() < HANG_UP_MAX {
            let patience = HANG_UP_MIN.saturating_sub(began.elapsed()).max(HANG_UP_QUIET);
            let Ok(Some(Ok(chunk))) = tokio::time::timeout(patience, self.upstream.next()).await else {
                break;
            };
            if self.check(chunk).is_err() {
                break;
            }
        }
        self.leave();
    }

    /// Accounts for an answer that did not come whole; its receipt is looked for in the background.
    fn leave(self) {
        let Self { inner, upstream, scanner, slot, .. } = self;
        // Stops the node: only then is there a receipt.
        drop(upstream);
        if let Some(slot) = slot {
            let channel = Arc::clone(slot.channel());
            let request = slot.leave(Outcome::Broken { tokens: scanner.tokens() });
            inner.seek_receipt(channel, request);
        }
    }
}

impl AnswerStream {
    /// Waits for the first bytes.
    pub(super) async fn begin(
        inner: Arc<Inner>,
        upstream: BoxStream<'static, reqwest::Result<Bytes>>,
        slot: Slot,
        is_taken_over: bool,
    ) -> Result<Self, ApiError> {
        let reading = Reading {
            inner,
            began: Instant::now(),
            bytes: 0,
            upstream,
            scanner: Scanner::default(),
            is_taken_over,
            slot: Some(slot),
        };
        // Whoever stops waiting here hangs up.
        let mut stream = Self { reading: Some(reading), ready: None };
        if let Some(reading) = &mut stream.reading
            && let Some(Ok(chunk)) = reading.upstream.next().await
        {
            let checked = reading.check(chunk);
            if checked.is_err() {
                stream.reading = None;
            }
            stream.ready = Some(checked.unwrap_or_else(|last| last));
            return Ok(stream);
        }
        if let Some(reading) = stream.reading.take() {
            reading.leave();
        }
        Err(ApiError::bad_gateway("the node's answer broke off before it began"))
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = self.ready.take() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let last = match ready!(reading.upstream.poll_next_unpin(cx)) {
            Some(Ok(chunk)) => match reading.check(chunk) {
                Ok(good) => return Poll::Ready(Some(Ok(good))),
                Err(last) => Some(last),
            },
            None if reading.scanner.has_receipt() => None,
            Some(Err(_)) | None => Some(ApiError::bad_gateway("the node's answer broke off").event()),
        };
        if let Some(reading) = self.reading.take() {
            reading.leave();
        }
        Poll::Ready(last.map(Ok))
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        let Some(reading) = self.reading.take().filter(|reading| reading.slot.is_some()) else { return };
        let tasks = reading.inner.tasks.clone();
        match Handle::try_current() {
            Ok(runtime) => drop(tasks.spawn_on(reading.hang_up(), &runtime)),
            Err(_) => reading.leave(),
        }
    }
}
