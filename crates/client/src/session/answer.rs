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
use futures::{FutureExt as _, Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// Response header that names the node which answered.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("x-atoma-node");
/// Response header that names the stack which paid.
pub const STACK_HEADER: HeaderName = HeaderName::from_static("x-atoma-stack");
/// Chunks that are still looked at after the user hung up.
const LEFTOVER_CHUNKS: usize = 1_024;

/// What a node answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub node: NodeId,
    pub stack: Address,
    pub body: AnswerBody,
    /// Tells how it was paid; `None` if nothing is to be paid.
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
    pub(super) fn whole(
        status: StatusCode,
        upstream: &HeaderMap,
        identity: &Identity,
        body: Bytes,
        completion: Option<oneshot::Receiver<Completion>>,
    ) -> Self {
        let headers = passed_on(upstream, identity);
        let Identity { node, stack, .. } = *identity;
        Self { status, headers, node, stack, body: AnswerBody::Whole(body), completion }
    }

    pub(super) fn streamed(
        status: StatusCode,
        upstream: &HeaderMap,
        identity: &Identity,
        stream: AnswerStream,
        completion: Option<oneshot::Receiver<Completion>>,
    ) -> Self {
        let headers = passed_on(upstream, identity);
        let Identity { node, stack, .. } = *identity;
        Self { status, headers, node, stack, body: AnswerBody::Stream(stream), completion }
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
    inner: Arc<Inner>,
    upstream: BoxStream<'static, reqwest::Result<Bytes>>,
    scanner: Scanner,
    /// Taken when the answer is accounted for.
    slot: Option<Slot>,
    ready: Option<Bytes>,
    over: bool,
}

impl AnswerStream {
    pub(super) fn new(
        inner: Arc<Inner>,
        upstream: BoxStream<'static, reqwest::Result<Bytes>>,
        slot: Slot,
    ) -> Self {
        Self { inner, upstream, scanner: Scanner::default(), slot: Some(slot), ready: None, over: false }
    }

    /// Waits for the first bytes.
    pub(super) async fn prime(&mut self) -> Result<(), ApiError> {
        match self.upstream.next().await {
            Some(Ok(chunk)) => {
                self.ready = Some(self.check(chunk));
                Ok(())
            }
            Some(Err(_)) | None => {
                self.leave();
                self.over = true;
                Err(ApiError::bad_gateway("the node's answer broke off before it began"))
            }
        }
    }

    /// Looks at a chunk and returns what of it is passed on, with an error event in place of what is wrong.
    fn check(&mut self, chunk: Bytes) -> Bytes {
        let checked = match self.scanner.feed(&chunk) {
            Ok(None) => return chunk,
            Ok(Some(found)) => match self.slot.take() {
                Some(slot) => {
                    let tokens = self.scanner.tokens();
                    let seen = Outcome::Complete { response_hash: found.response_hash, tokens };
                    slot.complete(seen, &found.receipt).map_err(|reason| (found.at, reason))
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
            Ok(()) => chunk,
            Err((good, reason)) => {
                self.over = true;
                [chunk.get(..good).unwrap_or_default(), &disagreed(&reason).event()].concat().into()
            }
        }
    }

    /// Accounts for an answer that did not come whole; its receipt is looked for in the background.
    fn leave(&mut self) {
        if let Some(slot) = self.slot.take() {
            let channel = Arc::clone(slot.channel());
            let request = slot.leave(Outcome::Broken { tokens: self.scanner.tokens() });
            self.inner.seek_receipt(channel, request);
        }
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = self.ready.take() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        match ready!(self.upstream.poll_next_unpin(cx)) {
            Some(Ok(chunk)) => Poll::Ready(Some(Ok(self.check(chunk)))),
            None if self.scanner.has_receipt() => {
                self.over = true;
                Poll::Ready(None)
            }
            Some(Err(_)) | None => {
                self.over = true;
                self.leave();
                let error = ApiError::bad_gateway("the node's answer broke off");
                Poll::Ready(Some(Ok(error.event())))
            }
        }
    }
}

impl Drop for AnswerStream {
    fn drop(&mut self) {
        // The user hung up. What has already arrived was received, and the receipt may be among it.
        for _ in 0..LEFTOVER_CHUNKS {
            if self.slot.is_none() || self.over {
                break;
            }
            match self.upstream.next().now_or_never() {
                Some(Some(Ok(chunk))) => drop(self.check(chunk)),
                Some(Some(Err(_)) | None) | None => break,
            }
        }
        self.leave();
    }
}
