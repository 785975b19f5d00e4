//! The users: they ask, read or hang up, and count what they saw.

use crate::faults::Dice;
use anyhow::Result;
use atoma_bench::fleet::{Fleet, GatewayReady, MODEL, Memory};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) struct Plan {
    pub(crate) requests: u64,
    pub(crate) concurrency: usize,
    pub(crate) seed: u64,
    pub(crate) hang_up: bool,
}

/// What became of the requests.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) answered: AtomicU64,
    pub(crate) hung_up: AtomicU64,
    /// Refused, or answered with an error.
    pub(crate) failed: AtomicU64,
    /// Streams that ended with an error event.
    pub(crate) broken: AtomicU64,
    /// Streams that ended without an error, an end or a hang-up of ours: only a kill of the gateway may do that.
    pub(crate) cut: AtomicU64,
    /// What gateway and nodes took at every tenth of the run.
    pub(crate) memory: Mutex<Vec<Vec<Option<Memory>>>>,
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Self { answered, hung_up, failed, broken, cut, .. } = self;
        let [answered, hung_up, failed, broken, cut] = [answered, hung_up, failed, broken, cut].map(of);
        write!(
            out,
            "{answered} answered, {hung_up} hung up, {failed} failed, {broken} broken off, {cut} cut off"
        )
    }
}

/// Tenths in the last third of a run, over which memory must not grow.
const LAST_THIRD: usize = 3;
/// By how much it may: what caches and the books of channels take.
const GROWTH_KIB: u64 = 16 * 1_024;
const GROWTH_BYTES_PER_REQUEST: u64 = 512;

impl Seen {
    /// Processes that took more and more over the last third, by how many KiB; one that was killed meanwhile began
    /// anew and is left out.
    pub(crate) fn growing(&self, requests: u64) -> Vec<String> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = memory.last() else { return Vec::new() };
        let Some(before) = memory.len().checked_sub(1 + LAST_THIRD).and_then(|at| memory.get(at)) else {
            return Vec::new();
        };
        let most = GROWTH_KIB.saturating_add(requests.saturating_mul(GROWTH_BYTES_PER_REQUEST) / 3 / 1_024);
        let pairs = before.iter().zip(last).enumerate();
        let growing = pairs.filter_map(|(at, (before, last))| {
            let (before, last) = (before.as_ref()?, last.as_ref()?);
            let grown = last.kib.saturating_sub(before.kib);
            let name = if at == 0 { "the gateway".to_owned() } else { format!("node {at}") };
            (before.process == last.process && grown > most)
                .then(|| format!("{name} grew by {grown} KiB, more than {most}"))
        });
        growing.collect()
    }

    /// A row for each tenth.
    pub(crate) fn print_memory(&self) {
        for (tenth, row) in self.memory.lock().unwrap_or_else(PoisonError::into_inner).iter().enumerate() {
            let row = row.iter().map(|one| one.map_or("-".to_owned(), |one| (one.kib / 1_024).to_string()));
            let row: Vec<String> = row.map(|mib| format!("{mib:>6}")).collect();
            println!("memory at {:>3} %, gateway and nodes, MiB: {}", (tenth + 1) * 10, row.concat());
        }
    }
}

/// How a request ended.
enum End {
    Answered,
    HungUp,
    Failed,
    Broken,
    Cut,
}

pub(crate) async fn run(fleet: &Arc<Fleet>, plan: &Plan, bar: &ProgressBar) -> Result<Seen> {
    let http = reqwest::Client::builder()
        .tcp_nodelay(true)
        .timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(plan.concurrency)
        .build()?;
    let (seen, next, ended) = (Seen::default(), AtomicU64::new(0), AtomicU64::new(0));
    let workers: FuturesUnordered<_> = (0..plan.concurrency)
        .map(|_| async {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.requests {
                    return;
                }
                let mut dice = Dice::new(plan.seed, number.wrapping_add(16));
                let counter = match ask(&http, &fleet.gateway(), plan.hang_up, &mut dice).await {
                    End::Answered => &seen.answered,
                    End::HungUp => &seen.hung_up,
                    End::Failed => {
                        // It may be down; whoever asks again at once learns nothing new.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        &seen.failed
                    }
                    End::Broken => &seen.broken,
                    End::Cut => &seen.cut,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                bar.inc(1);
                let done = ended.fetch_add(1, Ordering::Relaxed) + 1;
                if done * 10 / plan.requests > (done - 1) * 10 / plan.requests {
                    seen.memory.lock().unwrap_or_else(PoisonError::into_inner).push(fleet.memory());
                }
            }
        })
        .collect();
    workers.collect::<Vec<()>>().await;
    Ok(seen)
}

async fn ask(http: &reqwest::Client, gateway: &GatewayReady, may_hang_up: bool, dice: &mut Dice) -> End {
    let stream = dice.below(2) == 0;
    let hangs_up = may_hang_up && dice.below(10) == 0;
    let patience = Duration::from_millis(dice.below(20));
    let body = json!({
        "model": MODEL, "stream": stream, "max_tokens": 1 + dice.below(32),
        "messages": [{"role": "user", "content": format!("number {}", dice.below(1_000))}],
    });
    let url = format!("{}/v1/chat/completions", gateway.url);
    let reading = async {
        let sent = http.post(url).bearer_auth(&gateway.key).json(&body).send().await;
        let Ok(response) = sent else { return End::Failed };
        if !response.status().is_success() {
            return End::Failed;
        }
        let (mut tail, mut chunks) = (Vec::new(), response.bytes_stream());
        while let Some(chunk) = chunks.next().await {
            let Ok(chunk) = chunk else { return End::Cut };
            tail.extend_from_slice(&chunk);
        }
        let has = |part: &[u8]| tail.windows(part.len()).any(|window| window == part);
        match stream {
            false if serde_json::from_slice::<serde_json::Value>(&tail).is_ok() => End::Answered,
            true if tail.ends_with(b"data: [DONE]\n\n") && !has(b"\"error\"") => End::Answered,
            true if has(b"\"error\"") => End::Broken,
            _ => End::Cut,
        }
    };
    if !hangs_up {
        return reading.await;
    }
    // Dropping the answer hangs up.
    tokio::time::timeout(patience, reading).await.unwrap_or(End::HungUp)
}
