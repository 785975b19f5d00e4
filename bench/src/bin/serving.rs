//! What node and gateway cost: the same mock engine called directly over HTTP, and behind gateway, node, chain,
//! ledger and journal, in one run. Added latency is the difference of percentiles in that run.

use anyhow::{Context, Result, ensure};
use atoma::market::{Market, MarketConfig, PRICE, funded_wallet};
use atoma_bench::{Measured, Target, measure};
use atoma_client::market::ChainMarket;
use atoma_gateway::{GatewayConfig, GatewayHandle, NewKey};
use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_inference::{Endpoint, Engine};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use clap::Parser;
use serde::Serialize;
use std::sync::Arc;

const MODEL: &str = "mock";

#[derive(Debug, Parser)]
#[command(about = "Requests per second and added latency of gateway and node over a mock engine")]
struct Arguments {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Requests per measurement.
    #[arg(long, default_value_t = 2_000)]
    requests: usize,
    /// Concurrencies to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    concurrency: Vec<usize>,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 16)]
    tokens: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    tokens: u64,
    rows: Vec<Measured>,
    added: Vec<Added>,
}

/// Gateway minus direct, at one concurrency.
#[derive(Debug, Serialize)]
struct Added {
    stream: bool,
    concurrency: usize,
    p50_us: i128,
    p99_us: i128,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let engine: Arc<dyn Engine> = Arc::new(MockEngine::new(MockConfig {
        model: MODEL.to_owned(),
        tokens: arguments.tokens,
        ..MockConfig::default()
    }));
    let folder = tempfile::tempdir()?;
    let market = start_market(Arc::clone(&engine), folder.path()).await?;
    let gateway = start_gateway(&market, folder.path()).await?;
    let key = gateway.create_key(NewKey { name: "bench".to_owned(), ..NewKey::default() }).await?.secret;
    let direct = serve_directly(engine).await?;

    let mut rows = Vec::new();
    for stream in [false, true] {
        let body = Bytes::from(serde_json::to_vec(&serde_json::json!({
            "model": MODEL, "stream": stream, "max_tokens": arguments.tokens,
            "messages": [{ "role": "user", "content": "hello there" }],
        }))?);
        let at = |name, url: String, key: Option<String>| Target {
            name,
            url: format!("{url}/v1/chat/completions"),
            key,
            body: body.clone(),
            stream,
        };
        let targets = [at("direct", direct.clone(), None), at("gateway", gateway.url(), Some(key.clone()))];
        for target in &targets {
            measure(target, 8, 200).await.context("warming up")?;
        }
        for concurrency in &arguments.concurrency {
            for target in &targets {
                rows.push(measure(target, *concurrency, arguments.requests).await?);
            }
        }
    }
    let report = Report {
        cores: std::thread::available_parallelism()?.get(),
        tokens: arguments.tokens,
        added: added(&rows),
        rows,
    };
    print(&report, arguments.json)?;
    let lost: usize = report.rows.iter().map(|row| row.not_served).sum();
    gateway.drain(false).await?;
    market.drain().await?;
    ensure!(lost == 0, "{lost} requests were not served");
    Ok(())
}

async fn start_market(engine: Arc<dyn Engine>, folder: &std::path::Path) -> Result<Market> {
    let devnet =
        atoma_devnet::Config { listen: ([127, 0, 0, 1], 0).into(), ..atoma_devnet::Config::default() };
    let admission =
        atoma_node::Admission { concurrent: 64, waiting: 256, ..atoma_node::Admission::default() };
    let settle = atoma_node::Settle::default();
    Market::start(MarketConfig {
        nodes: 1,
        engine,
        devnet,
        folder: folder.to_owned(),
        price: PRICE,
        settle,
        admission,
    })
    .await
}

async fn start_gateway(market: &Market, folder: &std::path::Path) -> Result<GatewayHandle> {
    let folder = folder.join("gateway");
    let wallet = funded_wallet(market.chain.deployment(), &market.chain, &folder).await?;
    let paying = Arc::new(ChainMarket::new(market.chain.clone(), wallet));
    let gateway = atoma_gateway::spawn(GatewayConfig::local(&folder), paying).await?;
    gateway.session.prepare(MODEL).await.map_err(|error| anyhow::anyhow!(error.message))?;
    Ok(gateway)
}

/// The engine behind the thinnest possible server.
async fn serve_directly(engine: Arc<dyn Engine>) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Delayed acknowledgements would cost 40 ms a request.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = axum::Router::new()
        .route("/v1/chat/completions", axum::routing::post(run_directly))
        .with_state(engine);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn run_directly(State(engine): State<Arc<dyn Engine>>, body: Bytes) -> Response {
    let prepared = match engine.prepare(Endpoint::ChatCompletions, &body) {
        Ok(prepared) => prepared,
        Err(error) => return (http::StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let stream = prepared.stream;
    let generation = match engine.run(prepared, u64::MAX) {
        Ok(generation) => generation,
        Err(error) => return (http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    };
    let frames = futures::stream::unfold(Some(generation), move |state| async move {
        let mut generation = state?;
        match generation.next().await {
            Some(frame) => Some((Ok::<_, std::convert::Infallible>(frame.bytes), Some(generation))),
            None if stream => Some((Ok(Bytes::from_static(b"data: [DONE]\n\n")), None)),
            None => None,
        }
    });
    let kind = if stream { "text/event-stream" } else { "application/json" };
    ([("content-type", kind)], Body::from_stream(frames)).into_response()
}

fn added(rows: &[Measured]) -> Vec<Added> {
    let direct = rows.iter().filter(|row| row.target == "direct");
    direct
        .filter_map(|direct| {
            let same = |row: &&Measured| {
                row.target == "gateway"
                    && row.stream == direct.stream
                    && row.concurrency == direct.concurrency
            };
            let gateway = rows.iter().find(same)?;
            Some(Added {
                stream: direct.stream,
                concurrency: direct.concurrency,
                p50_us: i128::from(gateway.p50_us) - i128::from(direct.p50_us),
                p99_us: i128::from(gateway.p99_us) - i128::from(direct.p99_us),
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
        "{:<9}{:<8}{:>5}{:>9}{:>10}{:>10}{:>10}{:>8}",
        "target", "stream", "conc", "req/s", "p50 µs", "p90 µs", "p99 µs", "lost"
    );
    for row in &report.rows {
        println!(
            "{:<9}{:<8}{:>5}{:>9}{:>10}{:>10}{:>10}{:>8}",
            row.target,
            row.stream,
            row.concurrency,
            row.requests_per_second,
            row.p50_us,
            row.p90_us,
            row.p99_us,
            row.not_served
        );
    }
    for added in &report.added {
        println!(
            "added    {:<8}{:>5}{:>19}{:>20}",
            added.stream, added.concurrency, added.p50_us, added.p99_us
        );
    }
    Ok(())
}
