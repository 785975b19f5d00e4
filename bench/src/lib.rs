//! A load generator for OpenAI-compatible endpoints: closed loop, bounded in count, latencies kept exactly.
//! The programs in `bin/` compose it with what they measure and print a table or JSON.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where to send what.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: &'static str,
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
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    /// Time to the first byte of the body.
    pub first_byte_p50_us: u64,
}

/// Sends `count` requests, `concurrency` at a time.
pub async fn measure(target: &Target, concurrency: usize, count: usize) -> Result<Measured> {
    let http = reqwest::Client::builder().pool_max_idle_per_host(concurrency).tcp_nodelay(true).build()?;
    let left = Arc::new(AtomicUsize::new(count));
    let started = Instant::now();
    let workers = (0..concurrency).map(|_| {
        let (http, left, target) = (http.clone(), left.clone(), target.clone());
        tokio::spawn(async move { work(&http, &left, &target).await })
    });
    let mut samples = Vec::with_capacity(count);
    for worker in workers.collect::<Vec<_>>() {
        samples.extend(worker.await.context("a worker died")?);
    }
    Ok(summarise(target, concurrency, started.elapsed(), &samples))
}

/// Total and first-byte time of a served request; `None` if it was not served.
type Sample = Option<(Duration, Duration)>;

async fn work(http: &reqwest::Client, left: &AtomicUsize, target: &Target) -> Vec<Sample> {
    let mut samples = Vec::new();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        samples.push(once(http, target).await.ok().flatten());
    }
    samples
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
    let (mut first, mut tail, mut body) = (None, Vec::new(), response.bytes_stream());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        first.get_or_insert_with(|| started.elapsed());
        tail.extend_from_slice(&chunk);
    }
    if target.stream && !tail.ends_with(b"data: [DONE]\n\n") {
        return Ok(None);
    }
    Ok(first.map(|first| (started.elapsed(), first)))
}

fn summarise(target: &Target, concurrency: usize, elapsed: Duration, samples: &[Sample]) -> Measured {
    let mut totals: Vec<Duration> = samples.iter().flatten().map(|(total, _)| *total).collect();
    let mut firsts: Vec<Duration> = samples.iter().flatten().map(|(_, first)| *first).collect();
    totals.sort_unstable();
    firsts.sort_unstable();
    let served = totals.len();
    Measured {
        target: target.name,
        stream: target.stream,
        concurrency,
        served,
        not_served: samples.len() - served,
        requests_per_second: (served as f64 / elapsed.as_secs_f64()).round(),
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
