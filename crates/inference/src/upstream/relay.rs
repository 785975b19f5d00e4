//! One request on its way: sent to a replica, to another if that one did not begin to answer, and its answer passed on
//! and counted as it comes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::Upstream;
use super::answer::{Kind, Tally, name_of};
use super::refusal::openai_error;
use super::replicas::Lease;
use super::request::Request;
use super::sse::{self, Splitter};
use crate::engine::{Frame, GenerationSink, Outcome, Summary};

/// Replicas that one request is sent to.
const ATTEMPTS: usize = 3;
/// Longest refusal that is read.
const REFUSAL_MAX: usize = 64 * 1024;
/// How long to wait for the end of a body whose last event came.
const END: Duration = Duration::from_secs(1);
const DONE: &str = "[DONE]";

/// A request and what came of it so far.
pub(super) struct Relay {
    upstream: Arc<Upstream>,
    request: Request,
    body: Bytes,
    limit: u64,
    tally: Tally,
    /// Whether the client has something of the answer.
    begun: bool,
    /// A body of which only the end is missing.
    rest: Option<Response>,
}

/// Why an answer did not come to its end.
enum Stop {
    /// Another replica may do better: nothing was passed on.
    Elsewhere(String),
    Outcome(Outcome),
}

fn failed(reason: impl Into<String>) -> Stop {
    Stop::Outcome(Outcome::Failed(reason.into()))
}

impl Relay {
    pub(super) fn new(upstream: Arc<Upstream>, request: Request, body: Bytes, limit: u64) -> Self {
        Self { upstream, request, body, limit, tally: Tally::default(), begun: false, rest: None }
    }

    /// Runs to the end, or until the reader goes: then the connection is dropped, which stops the server.
    pub(super) async fn run(mut self, lease: Lease, sink: GenerationSink) {
        let outcome = tokio::select! {
            biased;
            () = sink.closed() => Outcome::Aborted,
            outcome = self.serve(lease, &sink) => outcome,
        };
        let summary = self.summary(outcome);
        sink.finish(summary);
        if let Some(mut rest) = self.rest {
            // Once its end was read, the connection can be used again.
            let _ = timeout(END, rest.chunk()).await;
        }
    }

    async fn serve(&mut self, mut lease: Lease, sink: &GenerationSink) -> Outcome {
        let mut tried = BTreeSet::new();
        loop {
            tried.insert(lease.index());
            let reason = match self.attempt(&lease, sink).await {
                Ok(()) => return Outcome::Complete,
                Err(Stop::Outcome(outcome)) => return outcome,
                Err(Stop::Elsewhere(reason)) => reason,
            };
            tracing::warn!(replica = lease.url(), reason, "an engine did not begin to answer");
            match self.upstream.pool.lease(&tried, Instant::now()) {
                Ok(next) if tried.len() < ATTEMPTS => lease = next,
                _ => return Outcome::Failed(reason),
            }
        }
    }

    async fn attempt(&mut self, lease: &Lease, sink: &GenerationSink) -> Result<(), Stop> {
        let limits = self.upstream.limits;
        if self.request.stream {
            let response = self.send(lease, limits.begin()).await?;
            self.stream(lease, response, sink).await?;
        } else {
            let whole = async {
                let response = self.send(lease, limits.answer()).await?;
                self.collect(lease, response).await
            };
            let Ok(body) = timeout(limits.answer(), whole).await else {
                lease.failed(Instant::now());
                return Err(failed("the answer took too long"));
            };
            self.whole(body?, sink).await?;
        }
        lease.succeeded();
        Ok(())
    }

    /// Sends the request and waits for the head of a good answer.
    async fn send(&self, lease: &Lease, patience: Duration) -> Result<Response, Stop> {
        let url = format!("{}{}", lease.url(), self.request.endpoint.path());
        let sent = self.upstream.http.post(url).body(self.body.clone()).send();
        let Ok(sent) = timeout(patience, sent).await else {
            lease.failed(Instant::now());
            return Err(failed("no answer began in time"));
        };
        let response = sent.map_err(|error| {
            if error.is_connect() {
                lease.eject(Instant::now());
            } else {
                lease.failed(Instant::now());
            }
            Stop::Elsewhere(format!("cannot be reached: {}", error.without_url()))
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(self.refused(lease, status, response).await),
        }
    }

    async fn refused(&self, lease: &Lease, status: StatusCode, mut response: Response) -> Stop {
        let reason = format!("answered {status}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                tracing::error!(replica = lease.url(), %status, "the engine does not take our API key");
                lease.eject(Instant::now());
                failed(reason)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                lease.busy(retry_after(&response), Instant::now());
                Stop::Elsewhere(reason)
            }
            status if status.is_server_error() => {
                lease.failed(Instant::now());
                Stop::Elsewhere(reason)
            }
            status if status.is_client_error() => {
                let body = read(&mut response, REFUSAL_MAX);
                let body = timeout(self.upstream.limits.stall(), body).await;
                let body = body.ok().and_then(Result::ok).unwrap_or_default();
                let body = openai_error(status.as_u16(), &body);
                Stop::Outcome(Outcome::Refused { status: status.as_u16(), body })
            }
            _ => {
                lease.failed(Instant::now());
                failed(reason)
            }
        }
    }

    async fn collect(&self, lease: &Lease, mut response: Response) -> Result<Bytes, Stop> {
        read(&mut response, self.upstream.limits.answer_bytes).await.map_err(|error| match error {
            ReadError::TooLong => failed("the answer is too long"),
            ReadError::Broken(reason) => {
                lease.failed(Instant::now());
                Stop::Elsewhere(reason)
            }
        })
    }

    async fn whole(&mut self, body: Bytes, sink: &GenerationSink) -> Result<(), Stop> {
        let read = self.tally.whole(&body, self.request.endpoint, &self.upstream.model.counter);
        match read.map_err(|_| failed("the answer is not a JSON object"))? {
            Kind::Error(error) => return Err(failed(format!("the engine says: {}", name_of(&error)))),
            Kind::Part | Kind::Usage | Kind::Last => {}
        }
        let charge = self.tally.charge(&self.request, self.limit, self.may_count());
        let output_tokens = charge.ok_or_else(no_usage)?.output;
        self.pass(Frame { bytes: body, output_tokens }, sink).await
    }

    async fn stream(
        &mut self,
        lease: &Lease,
        mut response: Response,
        sink: &GenerationSink,
    ) -> Result<(), Stop> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(failed("the answer is not a stream of events"));
        }
        let limits = self.upstream.limits;
        let mut splitter = Splitter::new(limits.event_bytes);
        let mut patience = limits.begin();
        loop {
            let Ok(chunk) = timeout(patience, response.chunk()).await else {
                lease.failed(Instant::now());
                return Err(failed("the stream stalled"));
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) if is_done(splitter.rest()) => return self.check_usage(),
                Ok(None) => return Err(self.broken_off(lease, "the stream ended early".to_owned())),
                Err(error) => return Err(self.broken_off(lease, error.without_url().to_string())),
            };
            patience = limits.stall();
            splitter.push(&chunk);
            while let Some(event) = splitter.next().map_err(|error| failed(error.to_string()))? {
                if self.event(event, sink).await? {
                    self.rest = Some(response);
                    return self.check_usage();
                }
            }
        }
    }

    fn broken_off(&self, lease: &Lease, reason: String) -> Stop {
        lease.failed(Instant::now());
        if self.begun { failed(reason) } else { Stop::Elsewhere(reason) }
    }

    /// Passes an event on; true if it was the last one.
    async fn event(&mut self, event: Bytes, sink: &GenerationSink) -> Result<bool, Stop> {
        let data = sse::data(&event).map_err(|error| failed(error.to_string()))?;
        let kind = match data.as_deref() {
            None => Kind::Part,
            Some(data) if data.trim_ascii() == DONE => return Ok(true),
            Some(data) => {
                let read = self.tally.event(data, &self.upstream.model.counter);
                read.map_err(|_| failed("an event is not a JSON object"))?
            }
        };
        match kind {
            Kind::Error(error) => return Err(failed(format!("the engine says: {}", name_of(&error)))),
            Kind::Usage if self.request.hide_usage => return Ok(false),
            Kind::Part | Kind::Usage | Kind::Last => {}
        }
        let output_tokens = self.tally.output_so_far(self.limit);
        self.pass(Frame { bytes: event, output_tokens }, sink).await?;
        Ok(kind == Kind::Last)
    }

    async fn pass(&mut self, frame: Frame, sink: &GenerationSink) -> Result<(), Stop> {
        self.begun = true;
        if sink.send(frame).await { Ok(()) } else { Err(Stop::Outcome(Outcome::Aborted)) }
    }

    /// Whether tokens may be counted where the engine does not tell.
    fn may_count(&self) -> bool {
        self.upstream.model.counter.has_tokenizer() || self.upstream.count.is_some()
    }

    fn check_usage(&self) -> Result<(), Stop> {
        let charge = self.tally.charge(&self.request, self.limit, self.may_count());
        charge.map(drop).ok_or_else(no_usage)
    }

    fn summary(&self, outcome: Outcome) -> Summary {
        let nothing = Summary { outcome: outcome.clone(), ..Summary::failed("") };
        if matches!(outcome, Outcome::Failed(_) | Outcome::Refused { .. }) {
            return nothing;
        }
        if outcome == Outcome::Aborted {
            let output_tokens = self.tally.output_so_far(self.limit);
            return Summary { input_tokens: self.request.input.counted, output_tokens, ..nothing };
        }
        let Some(charge) = self.tally.charge(&self.request, self.limit, self.may_count()) else {
            return nothing;
        };
        if charge.is_overstated {
            let model = self.upstream.model.label.as_str();
            tracing::warn!(model, ?charge, "the engine's usage is more than the client would accept");
            self.upstream.pool.count_overstated();
        }
        Summary { input_tokens: charge.input, output_tokens: charge.output, ..nothing }
    }
}

fn no_usage() -> Stop {
    failed("the engine tells no usage, and there is no tokenizer to count with")
}

/// Whether a stream that ended within an event ended with its last one.
fn is_done(rest: &[u8]) -> bool {
    sse::data(rest).ok().flatten().is_some_and(|data| data.trim_ascii() == DONE)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

enum ReadError {
    TooLong,
    Broken(String),
}

async fn read(response: &mut Response, max: usize) -> Result<Bytes, ReadError> {
    let mut body = Vec::new();
    loop {
        let chunk =
            response.chunk().await.map_err(|error| ReadError::Broken(error.without_url().to_string()))?;
        let Some(chunk) = chunk else { return Ok(body.into()) };
        if body.len().saturating_add(chunk.len()) > max {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
}
