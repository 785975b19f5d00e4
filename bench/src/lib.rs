//! A load generator for OpenAI-compatible endpoints: closed loop, bounded in count, latencies kept exactly.
//! The programs in `bin/` compose it with what they measure and print a table or JSON.

pub mod books;
pub mod fleet;
pub mod program;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where to send what over HTTP.
#[derive(Clone, Debug)]
pub struct Target {
    /// Full URL of the chat completions endpoint.
    pub url: String,
    pub key: Option<String>,
    pub body: Bytes,
    pub stream: bool,
}

/// One target at one concurrency.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub target: &'static str,
    pub stream: bool,
    pub concurrency: usize,
    pub served: usize,
    /// Requests that got another status than 200 or a broken answer; recorded, never dropped.
    pub not_served: usize,
    pub requests_per_second: f64,
    /// CPU time per request, of the programs that serve it, by program.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_us: BTreeMap<&'static str, u64>,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    /// Time to the first byte of the body.
    pub first_byte_p50_us: u64,
}

/// How a stream ends.
const END: &[u8] = b"data: [DONE]\n\n";

/// Total and first-byte time of a served request; `None` if it was not served.
pub type Sample = Option<(Duration, Duration)>;

/// Asks once.
pub type Ask = Arc<dyn Fn() -> BoxFuture<'static, Sample> + Send + Sync>;

/// Asks `count` times, `concurrency` at a time.
pub async fn measure(
    target: &'static str,
    stream: bool,
    concurrency: usize,
    count: usize,
    ask: &Ask,
) -> Result<Measured> {
    let left = Arc::new(AtomicUsize::new(count));
    let started = Instant::now();
    let workers = (0..concurrency).map(|_| tokio::spawn(work(Arc::clone(ask), Arc::clone(&left))));
    let mut samples = Vec::with_capacity(count);
    for worker in workers.collect::<Vec<_>>() {
        samples.extend(worker.await.context("a worker died")?);
    }
    Ok(summarise(Run { target, stream, concurrency, elapsed: started.elapsed() }, &samples))
}

async fn work(ask: Ask, left: Arc<AtomicUsize>) -> Vec<Sample> {
    let mut samples = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        samples.push(ask().await);
    }
    samples
}

/// Asks over HTTP.
pub fn over_http(target: Target) -> Result<Ask> {
    let http = reqwest::Client::builder().pool_max_idle_per_host(1_024).tcp_nodelay(true).build()?;
    Ok(Arc::new(move || {
        let (http, target) = (http.clone(), target.clone());
        Box::pin(async move { once(&http, &target).await.ok().flatten() })
    }))
}

async fn once(http: &reqwest::Client, target: &Target) -> Result<Sample> {
    let started = Instant::now();
    let mut request =
        http.post(&target.url).header("content-type", "application/json").body(target.body.clone());
    if let Some(key) = &target.key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await?;
    if response.status() != reqwest::StatusCode::OK {
        return Ok(None);
    }
    let body = response.bytes_stream().map(|chunk| chunk.map_err(anyhow::Error::from));
    read(started, target.stream, body).await
}

/// Reads an answer to its end; a stream has to end in order.
pub async fn read(
    started: Instant,
    stream: bool,
    mut body: impl Stream<Item = Result<Bytes>> + Unpin,
) -> Result<Sample> {
    let (mut first, mut tail) = (None, Vec::new());
    while let Some(chunk) = body.next().await {
        first.get_or_insert_with(|| started.elapsed());
        tail.drain(..tail.len().saturating_sub(END.len()));
        tail.extend_from_slice(&chunk?);
    }
    if stream && !tail.ends_with(END) {
        return Ok(None);
    }
    Ok(first.map(|first| (started.elapsed(), first)))
}

/// What was measured.
struct Run {
    target: &'static str,
    stream: bool,
    concurrency: usize,
    elapsed: Duration,
}

fn summarise(run: Run, samples: &[Sample]) -> Measured {
    let mut totals: Vec<Duration> = samples.iter().flatten().map(|(total, _)| *total).collect();
    let mut firsts: Vec<Duration> = samples.iter().flatten().map(|(_, first)| *first).collect();
    totals.sort_unstable();
    firsts.sort_unstable();
    let served = totals.len();
    Measured {
        target: run.target,
        stream: run.stream,
        concurrency: run.concurrency,
        served,
        not_served: samples.len() - served,
        cpu_us: BTreeMap::new(),
        requests_per_second: (served as f64 / run.elapsed.as_secs_f64()).round(),
        p50_us: percentile(&totals, 50),
        p90_us: percentile(&totals, 90),
        p99_us: percentile(&totals, 99),
        first_byte_p50_us: percentile(&firsts, 50),
    }
}

/// Nearest-rank percentile in microseconds; zero of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0, |value| u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 50), 100);
        assert_eq!(percentile(&values, 99), 198);
        assert_eq!(percentile(&[], 99), 0);
    }
}
