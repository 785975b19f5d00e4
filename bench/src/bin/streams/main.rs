//! Many streams open at once that say a word now and then: what each takes of node and gateway, and whether each comes
//! to its end. Services run as in production, each in a process of its own; the engine and the users are in this one.

mod engine;

use anyhow::{Context, Result, bail, ensure};
use atoma_bench::books::{self, Report as Books};
use atoma_bench::fleet::{self, Fleet, GatewayReady, MODEL, Role, Size};
use bytes::Bytes;
use clap::Parser;
use futures::{StreamExt as _, stream};
use reqwest::Response;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// As the product has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests that one channel carries at once, when its user has acknowledged as many.
const WINDOW: usize = 64;
/// Enough for a window of streams and for earning it.
const STACK_UNITS: u64 = 1_000_000;
/// Channels beyond the least number, in percent, and short requests for each place of a window: load does not spread
/// evenly.
const SPARE_PERCENT: usize = 20;
const EARNING_PERCENT: usize = 150;
/// Users that ask at once while windows grow, and while streams are opened.
const ASKING: usize = 256;
const OPENING: usize = 32;
/// How often one user asks until somebody has room.
const TRIES: usize = 100;
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// How a stream ends.
const END: &[u8] = b"data: [DONE]\n\n";

#[derive(Debug, Parser)]
#[command(about = "Memory of node and gateway for each of many streams that are open at once")]
struct Arguments {
    /// Streams.
    #[arg(long, default_value_t = 8_000)]
    open: usize,
    /// Seconds for which all are open, and between two words of one.
    #[arg(long, default_value_t = 20)]
    hold: u64,
    #[arg(long, default_value_t = 10)]
    pause: u64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// What this process is for another one.
    #[arg(long, hide = true, requires = "folder")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    /// Which node; where its engine is.
    #[arg(long, hide = true, default_value_t = 0)]
    index: usize,
    #[arg(long, hide = true, default_value = "")]
    engine: String,
}

#[derive(Debug, Serialize)]
struct Report {
    streams: usize,
    channels: usize,
    opened_in_ms: u128,
    /// Streams that came to their end, and those that did not.
    ended: usize,
    broken: usize,
    gateway: Hop,
    node: Hop,
    books: Books,
}

/// Resident memory of one program, in KiB.
#[derive(Debug, Serialize)]
struct Hop {
    before: u64,
    open: u64,
    after: u64,
    per_stream_bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    atoma_http::raise_file_limit();
    let arguments = Arguments::parse();
    match (arguments.role, &arguments.folder) {
        (Some(role), Some(folder)) => fleet::run(role, folder, arguments.index, &arguments.engine).await,
        _ => bench(&arguments).await,
    }
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = engine::serve(Duration::from_secs(arguments.pause.max(1))).await?;
    let channels = arguments.open.div_ceil(WINDOW) * (100 + SPARE_PERCENT) / 100 + 1;
    let size = Size {
        nodes: 1,
        concurrent: arguments.open.max(ASKING) + OPENING,
        stacks: channels,
        stack_units: STACK_UNITS,
    };
    let fleet = Arc::new(Fleet::start(folder.path(), &size, &engine.url)?);
    let users =
        Users { http: reqwest::Client::builder().tcp_nodelay(true).build()?, gateway: fleet.gateway() };
    let earning = channels * WINDOW * EARNING_PERCENT / 100;
    progress("acknowledging", earning);
    let asked = stream::iter(0..earning).map(|_| async { Ok(users.ask(false).await?.bytes().await?) });
    let answers: Vec<Result<Bytes>> = asked.buffer_unordered(ASKING).collect().await;
    answers.into_iter().collect::<Result<Vec<_>>>()?;

    let before = memory(&fleet)?;
    progress("opening", arguments.open);
    let began = Instant::now();
    let (ended, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let opening = stream::iter(0..arguments.open).map(|_| async {
        let mut answer = users.ask(true).await?;
        let first = answer.chunk().await?.context("a stream ended before it began")?;
        let (ended, broken) = (ended.clone(), broken.clone());
        anyhow::Ok(tokio::spawn(async move {
            let whole = read(answer, first).await;
            (if whole { &ended } else { &broken }).fetch_add(1, Ordering::Relaxed);
        }))
    });
    let open: Vec<_> = opening.buffer_unordered(OPENING).collect().await;
    let open = open.into_iter().collect::<Result<Vec<_>>>()?;
    let opened_in_ms = began.elapsed().as_millis();
    progress("holding", open.len());
    tokio::time::sleep(Duration::from_secs(arguments.hold)).await;
    let early = ended.load(Ordering::Relaxed) + broken.load(Ordering::Relaxed);
    ensure!(early == 0, "{early} streams ended before all were open");
    let held = memory(&fleet)?;
    engine.end.cancel();
    for reader in open {
        reader.await?;
    }
    let after = memory(&fleet)?;
    let hop = |at: usize| {
        let [before, open, after] =
            [&before, &held, &after].map(|memory| memory.get(at).copied().unwrap_or(0));
        let streams = u64::try_from(arguments.open.max(1)).unwrap_or(u64::MAX);
        Hop { before, open, after, per_stream_bytes: open.saturating_sub(before) * 1_024 / streams }
    };
    let report = Report {
        streams: arguments.open,
        channels,
        opened_in_ms,
        ended: ended.load(Ordering::Relaxed),
        broken: broken.load(Ordering::Relaxed),
        gateway: hop(0),
        node: hop(1),
        books: books::close(&fleet).await?,
    };
    report.print(arguments.json)?;
    let asked = u64::try_from(earning + arguments.open)?;
    ensure!(report.broken == 0, "{} streams did not come to their end", report.broken);
    ensure!(report.books.requests() == asked, "{} of {asked} were charged", report.books.requests());
    if !report.books.agree() {
        bail!("the books do not agree");
    }
    Ok(())
}

/// What gateway and node take, in KiB.
fn memory(fleet: &Fleet) -> Result<Vec<u64>> {
    let memory = fleet.memory().into_iter().map(|one| Ok(one.context("a service does not run")?.kib));
    memory.collect()
}

fn progress(what: &str, count: usize) {
    eprintln!("{what}: {count}");
}

struct Users {
    http: reqwest::Client,
    gateway: GatewayReady,
}

impl Users {
    /// Asks until there is room.
    async fn ask(&self, stream: bool) -> Result<Response> {
        let url = format!("{}/v1/chat/completions", self.gateway.url);
        let body = json!({
            "model": MODEL, "stream": stream, "max_tokens": if stream { 1_000 } else { 1 },
            "messages": [{"role": "user", "content": "hello"}],
        });
        for _ in 0..TRIES {
            let sent = self.http.post(&url).bearer_auth(&self.gateway.key).json(&body).send().await?;
            match sent.status().as_u16() {
                200 => return Ok(sent),
                429 | 502 | 503 => tokio::time::sleep(TRY_AGAIN).await,
                status => bail!("{status}: {}", sent.text().await?),
            }
        }
        bail!("there was no room for a request after {TRIES} tries")
    }
}

/// Whether a stream came to its end without an error.
async fn read(mut answer: Response, first: Bytes) -> bool {
    let mut tail = first.to_vec();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                // No event of these streams is longer than what is kept.
                tail.drain(..tail.len().saturating_sub(4 * 1_024));
                tail.extend_from_slice(&chunk);
            }
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    tail.ends_with(END) && !tail.windows(7).any(|window| window == b"\"error\"")
}

impl Report {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!(
            "{} streams over {} channels, opened in {} ms; {} came to their end, {} did not",
            self.streams, self.channels, self.opened_in_ms, self.ended, self.broken
        );
        println!("{:<9}{:>11}{:>11}{:>11}{:>17}", "", "before", "open", "after", "bytes a stream");
        for (name, hop) in [("gateway", &self.gateway), ("node", &self.node)] {
            let [before, open, after] =
                [hop.before, hop.open, hop.after].map(|kib| format!("{} MiB", kib / 1_024));
            println!("{name:<9}{before:>11}{open:>11}{after:>11}{:>17}", hop.per_stream_bytes);
        }
        self.books.print();
        Ok(())
    }
}
