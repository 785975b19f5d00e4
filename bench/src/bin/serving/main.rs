//! What node and gateway cost: the same mock engine called directly over HTTP, through the SDK straight to a node, and
//! through the gateway; keys, budgets, signatures, receipts, ledgers and journals are all on. One run, every program in a
//! process of its own. Added latency is the difference of percentiles in that run.

mod peers;
mod roles;

use anyhow::{Context, Result, ensure};
use atoma::market::funded_wallet;
use atoma_bench::program::{Cores, Program, stay_on};
use atoma_bench::{Ask, Measured, Target, measure, over_http, read};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_client::session::AnswerBody;
use atoma_client::{Policy, Session, SessionConfig};
use atoma_types::Units;
use atoma_types::wire::Endpoint;
use bytes::Bytes;
use clap::Parser;
use futures::StreamExt;
use roles::{MODEL, Ready, Role};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// As the product has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Requests per second, CPU time and added latency of gateway and node over a mock engine")]
struct Arguments {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Requests per measurement.
    #[arg(long, default_value_t = 2_000)]
    requests: usize,
    /// Concurrencies to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    concurrency: Vec<usize>,
    /// Keep node and gateways on one processor and engine and load on another, as the recorded runs do.
    #[arg(long)]
    pin: bool,
    /// A PostgreSQL database (postgres://…), empty or of such a run, for a second gateway.
    #[arg(long)]
    postgres: Option<String>,
    /// Where the programs of other gateways are (smg, litellm) that are measured, too; also those on the path.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 64)]
    tokens: u64,
    /// What this process is for another one.
    #[arg(long, hide = true, requires = "folder")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    #[arg(long, hide = true)]
    database: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    tokens: u64,
    rows: Vec<Measured>,
    added: Vec<Added>,
    /// Requests per second of our gateway in multiples of another target's.
    ratios: Vec<Ratio>,
    /// Resident memory of each program at the end.
    memory_kib: Vec<(&'static str, u64)>,
}

/// A target minus direct, at one concurrency.
#[derive(Debug, Serialize)]
struct Added {
    target: &'static str,
    stream: bool,
    concurrency: usize,
    p50_us: i128,
    p99_us: i128,
}

/// Our gateway over another target, at one concurrency.
#[derive(Debug, Serialize)]
struct Ratio {
    target: &'static str,
    stream: bool,
    concurrency: usize,
    requests_per_second: f64,
}

/// CPU time of a program so far.
type Used<'a> = Box<dyn Fn() -> Result<u64> + 'a>;

/// A way to ask, and the programs that work for it.
struct Way<'a> {
    name: &'static str,
    ask: Ask,
    programs: Vec<(&'static str, Used<'a>)>,
}

fn used(program: &Program) -> Used<'_> {
    Box::new(|| program.cpu_us())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (arguments.role, &arguments.folder) {
        (Some(role), Some(folder)) => {
            roles::run(role, arguments.tokens, folder, arguments.database.as_deref()).await
        }
        _ => bench(&arguments).await,
    }
}

async fn bench(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = arguments.tokens.to_string();
    let place = folder.path().to_str().context("the temporary folder has no name")?;
    let (ours, others): (Cores, Cores) = if arguments.pin { (Some("0"), Some("1")) } else { (None, None) };
    stay_on(others)?;
    let role = |cores: Cores, role, more: &[&str]| {
        let all = [&["--role", role, "--tokens", &tokens, "--folder", place], more].concat();
        Program::start_on::<Ready>(cores, &all)
    };
    let ((engine, engine_at), (node, node_at)) = (role(others, "engine", &[])?, role(ours, "node", &[])?);
    let (gateway, gateway_at) = role(ours, "gateway", &[])?;
    let database = arguments.postgres.as_deref();
    let postgres = database.map(|url| role(ours, "gateway", &["--database", url])).transpose()?;
    let peers = peers::start(&engine_at.url, ours, arguments.peers.as_deref(), folder.path()).await?;
    let session = session(&node_at, folder.path()).await?;
    let mut rows = Vec::new();
    for stream in [false, true] {
        let body = body(arguments.tokens, stream)?;
        let http = |ready: &Ready| {
            let url = format!("{}{}", ready.url, Endpoint::ChatCompletions.path());
            over_http(Target { url, key: ready.key.clone(), body: body.clone(), stream })
        };
        let mut ways = vec![
            Way { name: "direct", ask: http(&engine_at)?, programs: vec![("engine", used(&engine))] },
            Way { name: "node", ask: by_sdk(&session, &body, stream), programs: vec![("node", used(&node))] },
            Way {
                name: "gateway",
                ask: http(&gateway_at)?,
                programs: vec![("gateway", used(&gateway)), ("node", used(&node))],
            },
        ];
        if let Some((program, at)) = &postgres {
            let programs = vec![("gateway", used(program)), ("node", used(&node))];
            ways.push(Way { name: "postgres", ask: http(at)?, programs });
        }
        for peer in &peers {
            let at = Ready { url: peer.url.clone(), deployment: None, key: peer.key.clone() };
            let cpu: Used<'_> = Box::new(|| peer.cpu_us());
            ways.push(Way { name: peer.name, ask: http(&at)?, programs: vec![("gateway", cpu)] });
        }
        for way in &ways {
            measure(way.name, stream, 8, 200, &way.ask).await.context("warming up")?;
        }
        for concurrency in &arguments.concurrency {
            for way in &ways {
                rows.push(run(way, stream, *concurrency, arguments.requests).await?);
            }
        }
    }
    let programs = [("engine", engine), ("node", node), ("gateway", gateway)];
    let memory = programs.iter().map(|(name, program)| Ok((*name, program.memory_kib()?)));
    let report = Report {
        cores: std::thread::available_parallelism()?.get(),
        tokens: arguments.tokens,
        added: added(&rows),
        ratios: ratios(&rows),
        memory_kib: memory.collect::<Result<_>>()?,
        rows,
    };
    print(&report, arguments.json)?;
    session.drain().await?;
    // The gateway first: it still talks to the node.
    let gateways = postgres.into_iter().map(|(program, _)| program);
    gateways.chain(programs.into_iter().rev().map(|(_, program)| program)).try_for_each(Program::stop)?;
    let lost: usize = report.rows.iter().map(|row| row.not_served).sum();
    ensure!(lost == 0, "{lost} requests were not served");
    Ok(())
}

async fn run(way: &Way<'_>, stream: bool, concurrency: usize, requests: usize) -> Result<Measured> {
    let used = || way.programs.iter().map(|(name, used)| Ok((*name, used()?)));
    let before = used().collect::<Result<Vec<_>>>()?;
    let mut row = measure(way.name, stream, concurrency, requests, &way.ask).await?;
    let served = u64::try_from(row.served.max(1))?;
    for ((name, before), after) in before.into_iter().zip(used().collect::<Result<Vec<_>>>()?) {
        row.cpu_us.insert(name, (after.1 - before) / served);
    }
    Ok(row)
}

fn body(tokens: u64, stream: bool) -> Result<Bytes> {
    let messages = serde_json::json!([{ "role": "user", "content": "hello there" }]);
    let body =
        serde_json::json!({ "model": MODEL, "stream": stream, "max_tokens": tokens, "messages": messages });
    Ok(serde_json::to_vec(&body)?.into())
}

async fn session(node: &Ready, folder: &Path) -> Result<Session> {
    let deployment = node.deployment.clone().context("the node did not say where the market is")?;
    let folder = folder.join("sdk");
    let chain = ChainClient::connect(deployment.clone()).await?;
    let wallet = funded_wallet(&deployment, &chain, &folder).await?;
    let policy = Policy { units: Units(50_000_000), ..Policy::default() };
    let config = SessionConfig { journal: folder.join("journal.db"), policy };
    let session = Session::open(config, Arc::new(ChainMarket::new(chain, wallet))).await?;
    session.prepare(MODEL).await.map_err(|error| anyhow::anyhow!(error.message))?;
    Ok(session)
}

/// Asks a node as its user does.
fn by_sdk(session: &Session, body: &Bytes, stream: bool) -> Ask {
    let (session, body) = (session.clone(), body.clone());
    Arc::new(move || {
        let (session, body) = (session.clone(), body.clone());
        Box::pin(async move {
            let started = Instant::now();
            let quote = session.quote(Endpoint::ChatCompletions, &body).await.ok()?;
            let answer = session.ask(&quote, body).await.ok().filter(|answer| answer.status.is_success())?;
            match answer.body {
                AnswerBody::Whole(_) => Some((started.elapsed(), started.elapsed())),
                AnswerBody::Stream(chunks) => {
                    let chunks = chunks.map(|chunk| match chunk {
                        Ok(chunk) => Ok(chunk),
                        Err(never) => match never {},
                    });
                    read(started, stream, chunks).await.ok().flatten()
                }
            }
        })
    })
}

fn ratios(rows: &[Measured]) -> Vec<Ratio> {
    let others = rows.iter().filter(|row| !["gateway", "node"].contains(&row.target));
    others
        .filter_map(|row| {
            let same = |ours: &&Measured| {
                (ours.target, ours.stream, ours.concurrency) == ("gateway", row.stream, row.concurrency)
            };
            let ours = rows.iter().find(same)?.requests_per_second;
            Some(Ratio {
                target: row.target,
                stream: row.stream,
                concurrency: row.concurrency,
                requests_per_second: (ours / row.requests_per_second.max(1.0) * 100.0).round() / 100.0,
            })
        })
        .collect()
}

fn added(rows: &[Measured]) -> Vec<Added> {
    let others = rows.iter().filter(|row| row.target != "direct");
    others
        .filter_map(|row| {
            let same = |other: &&Measured| {
                other.target == "direct" && other.stream == row.stream && other.concurrency == row.concurrency
            };
            let direct = rows.iter().find(same)?;
            Some(Added {
                target: row.target,
                stream: row.stream,
                concurrency: row.concurrency,
                p50_us: i128::from(row.p50_us) - i128::from(direct.p50_us),
                p99_us: i128::from(row.p99_us) - i128::from(direct.p99_us),
            })
        })
        .collect()
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!(
        "{:<9}{:<8}{:>5}{:>9}{:>10}{:>10}{:>10}{:>10}{:>7}  CPU µs per request",
        "target", "stream", "conc", "req/s", "p50 µs", "p90 µs", "p99 µs", "first µs", "lost"
    );
    for row in &report.rows {
        let cpu: Vec<String> = row.cpu_us.iter().map(|(name, used)| format!("{name} {used}")).collect();
        println!(
            "{:<9}{:<8}{:>5}{:>9}{:>10}{:>10}{:>10}{:>10}{:>7}  {}",
            row.target,
            row.stream,
            row.concurrency,
            row.requests_per_second,
            row.p50_us,
            row.p90_us,
            row.p99_us,
            row.first_byte_p50_us,
            row.not_served,
            cpu.join(", ")
        );
    }
    for added in &report.added {
        println!(
            "added by {:<9}{:<8}{:>5} p50 {:>8} p99 {:>8}",
            added.target, added.stream, added.concurrency, added.p50_us, added.p99_us
        );
    }
    for ratio in &report.ratios {
        println!(
            "requests per second, gateway over {:<9}{:<8}{:>5}{:>8}",
            ratio.target, ratio.stream, ratio.concurrency, ratio.requests_per_second
        );
    }
    for (name, kib) in &report.memory_kib {
        println!("memory of {name}: {} MiB", kib / 1_024);
    }
    Ok(())
}
