//! Sending the answer: frames as the engine makes them, then the receipt, once its record is on disk.

use super::ApiError;
use super::running::Running;
use atoma_inference::{Frame, Generation, Outcome, Summary};
use atoma_types::wire::{RECEIPT_HEADER, SSE_DONE, encode, receipt_comment};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a client may leave its answer unread before it counts as gone.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// The answers being sent, so that they can be ended from outside.
#[derive(Default)]
pub(crate) struct Streams {
    parked: Mutex<Vec<Weak<Parked>>>,
    /// Ends every answer at its next frame.
    pub(crate) cut: CancellationToken,
}

/// An answer between two frames. A client that does not read leaves it here.
struct Parked {
    answer: Mutex<Option<(Answer, Instant)>>,
}

impl Parked {
    fn lock(&self) -> MutexGuard<'_, Option<(Answer, Instant)>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Parked>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn park(&self, answer: Answer) -> Arc<Parked> {
        let parked = Arc::new(Parked { answer: Mutex::new(Some((answer, Instant::now()))) });
        self.lock().push(Arc::downgrade(&parked));
        parked
    }

    /// Drops answers that nobody reads, which books what was sent of them.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(STALLED_AFTER / 4).await;
            self.drop_unread_for(STALLED_AFTER);
        }
    }

    pub(crate) fn drop_unread_for(&self, time: Duration) {
        let mut stalled = Vec::new();
        self.lock().retain(|parked| {
            let Some(parked) = parked.upgrade() else { return false };
            let mut answer = parked.lock();
            if answer.as_ref().is_some_and(|(_, since)| since.elapsed() >= time) {
                stalled.extend(answer.take());
            }
            true
        });
        drop(stalled);
    }
}

/// The answer as server-sent events, begun when its first event is there: until then an engine may say that the request
/// is wrong. The stream owns the request: when the client goes away it is dropped, which stops the engine and books what
/// was sent.
pub(super) async fn streamed(running: Running, generation: Generation) -> Result<Response, ApiError> {
    let app = running.app();
    let mut answer = Answer { running, generation, first: None, cut: app.streams.cut.clone() };
    answer.first = answer.next_frame().await;
    if answer.first.is_none() {
        return whole(answer.running, answer.generation).await;
    }
    answer.running.begun();
    let parked = app.streams.park(answer);
    let frames = stream::unfold(Some(parked), |parked| async move {
        let parked = parked?;
        let Some((answer, _)) = parked.lock().take() else {
            let gone = io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
            return Some((Err(gone), None));
        };
        let (bytes, rest) = answer.next().await;
        let more = rest.map(|answer| {
            *parked.lock() = Some((answer, Instant::now()));
            parked.clone()
        });
        Some((Ok::<Bytes, io::Error>(bytes), more))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Answer {
    running: Running,
    generation: Generation,
    /// Waited for before the answer began, and not sent yet.
    first: Option<Frame>,
    cut: CancellationToken,
}

impl Answer {
    async fn next_frame(&mut self) -> Option<Frame> {
        tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            frame = self.generation.next() => frame,
        }
    }

    /// The next bytes, and itself if more may follow.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let frame = match self.first.take() {
            Some(first) => Some(first),
            None => self.next_frame().await,
        };
        if let Some(frame) = frame {
            self.running.wrote(&frame.bytes, frame.output_tokens);
            return (frame.bytes, Some(self));
        }
        (self.last().await, None)
    }

    /// Closes the books, then tells: an error event if the engine failed, the receipt, the end.
    async fn last(mut self) -> Bytes {
        let summary = self.generation.finish().await;
        let mut tail = String::new();
        if summary.outcome != Outcome::Complete {
            tail = event(&broken_off(&summary));
            self.running.wrote(tail.as_bytes(), 0);
        }
        match self.running.finish(&summary) {
            Ok(receipt) => {
                tail.push_str(&receipt_comment(&receipt));
                tail.push_str(SSE_DONE);
            }
            Err(error) => tail.push_str(&event(&error)),
        }
        Bytes::from(tail)
    }
}

/// The answer as one body, with the receipt in a header.
pub(super) async fn whole(mut running: Running, mut generation: Generation) -> Result<Response, ApiError> {
    let cut = running.app().streams.cut.clone();
    let mut body = Vec::new();
    let mut output_tokens = 0;
    while let Some(frame) = tokio::select! {
        biased;
        () = cut.cancelled() => None,
        frame = generation.next() => frame,
    } {
        body.extend_from_slice(&frame.bytes);
        output_tokens = frame.output_tokens;
    }
    let mut summary = generation.finish().await;
    let status = match &summary.outcome {
        Outcome::Complete => StatusCode::OK,
        Outcome::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST),
        Outcome::Failed(_) | Outcome::Aborted => StatusCode::INTERNAL_SERVER_ERROR,
    };
    match &summary.outcome {
        Outcome::Complete => {}
        Outcome::Refused { body: reason, .. } => {
            body = reason.to_vec();
            output_tokens = 0;
        }
        Outcome::Failed(_) | Outcome::Aborted => {
            body = broken_off(&summary).to_json().to_string().into_bytes();
            output_tokens = 0;
            // Half an answer was never sent: it costs nothing.
            summary.outcome = Outcome::Failed("not sent".to_owned());
        }
    }
    running.wrote(&body, output_tokens);
    let receipt = running.finish(&summary)?;
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(&encode(&receipt)) {
        headers.insert(RECEIPT_HEADER, value);
    }
    Ok(response)
}

fn event(error: &ApiError) -> String {
    format!("data: {}\n\n", error.to_json())
}

/// What the client learns when an answer ends early; the reason is for the log.
fn broken_off(summary: &Summary) -> ApiError {
    match &summary.outcome {
        Outcome::Failed(reason) => {
            tracing::error!(reason, "the engine failed");
            let message = "the engine failed before the answer was complete; nothing was charged";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "engine_failed", message)
        }
        Outcome::Aborted | Outcome::Complete | Outcome::Refused { .. } => ApiError::draining(),
    }
}
