//! The programs under load, each in a process of its own, so that each one's CPU time can be told apart. A role says in
//! one line of JSON where it is, and ends when its standard input does.

use anyhow::{Context, Result, ensure};
use atoma::market::{Market, MarketConfig, PRICE, funded_wallet};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_gateway::{GatewayConfig, NewKey};
use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_inference::{Endpoint, Engine};
use atoma_types::onchain::Deployment;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

pub(crate) const MODEL: &str = "mock";

/// Linux counts CPU time in ticks of a hundredth of a second.
const TICK_US: u64 = 10_000;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// The mock engine behind the thinnest possible server.
    Engine,
    /// Chain and one node with a mock engine.
    Node,
    Gateway,
}

/// Where a role is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<Deployment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// A role's process.
pub(crate) struct Program {
    pub(crate) ready: Ready,
    child: Child,
}

impl Program {
    /// Starts this program again in a role.
    pub(crate) fn start(role: &str, tokens: u64, folder: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", role, "--tokens", &tokens.to_string(), "--folder"]).arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = serde_json::from_str(&line).with_context(|| format!("the {role} did not start"))?;
        Ok(Self { ready, child })
    }

    /// CPU time used so far, in microseconds: fields 14 and 15 of `proc_pid_stat(5)`.
    pub(crate) fn cpu_us(&self) -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let field =
            |at: usize| fields.get(at).context("stat is short")?.parse::<u64>().context("not a number");
        Ok((field(11)? + field(12)?) * TICK_US)
    }

    /// Resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().nth(1).context("no number")?.parse().context("not a number")
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a program under load ended with {status}");
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(crate) async fn run(role: Role, tokens: u64, folder: &Path) -> Result<()> {
    let config = MockConfig { model: MODEL.to_owned(), tokens, ..MockConfig::default() };
    let engine: Arc<dyn Engine> = Arc::new(MockEngine::new(config));
    match role {
        Role::Engine => {
            announce(&Ready { url: serve_directly(engine).await?, deployment: None, key: None })?;
            ended().await
        }
        Role::Node => node(engine, folder).await,
        Role::Gateway => gateway(folder).await,
    }
}

fn announce(ready: &Ready) -> Result<()> {
    println!("{}", serde_json::to_string(ready)?);
    Ok(())
}

/// Waits for the end of standard input.
async fn ended() -> Result<()> {
    let rest = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(rest).await??;
    Ok(())
}

async fn node(engine: Arc<dyn Engine>, folder: &Path) -> Result<()> {
    let devnet =
        atoma_devnet::Config { listen: ([127, 0, 0, 1], 0).into(), ..atoma_devnet::Config::default() };
    let admission =
        atoma_node::Admission { concurrent: 64, waiting: 256, ..atoma_node::Admission::default() };
    let settle = atoma_node::Settle::default();
    let folder = folder.to_owned();
    let config =
        MarketConfig { nodes: 1, engine, devnet, folder: folder.clone(), price: PRICE, settle, admission };
    let market = Market::start(config).await?;
    let deployment = market.chain.deployment().clone();
    // What the gateway and the load generator read.
    std::fs::write(folder.join("deployment.json"), serde_json::to_vec(&deployment)?)?;
    let url = market.nodes.first().context("no node")?.handle.url();
    announce(&Ready { url, deployment: Some(deployment), key: None })?;
    ended().await?;
    market.drain().await
}

async fn gateway(folder: &Path) -> Result<()> {
    let deployment: Deployment = serde_json::from_slice(&std::fs::read(folder.join("deployment.json"))?)?;
    let folder = folder.join("gateway");
    let chain = ChainClient::connect(deployment.clone()).await?;
    let wallet = funded_wallet(&deployment, &chain, &folder).await?;
    let mut config = GatewayConfig::local(&folder);
    config.stacks.units = 50_000_000;
    let gateway = atoma_gateway::spawn(config, Arc::new(ChainMarket::new(chain, wallet))).await?;
    gateway.session.prepare(MODEL).await.map_err(|error| anyhow::anyhow!(error.message))?;
    let key = gateway.create_key(NewKey { name: "bench".to_owned(), budget: None }).await?.secret;
    announce(&Ready { url: gateway.url(), deployment: None, key: Some(key) })?;
    ended().await?;
    gateway.drain(false).await?;
    Ok(())
}

async fn serve_directly(engine: Arc<dyn Engine>) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Delayed acknowledgements would cost 40 ms a request.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let router = axum::Router::new()
        .route(Endpoint::ChatCompletions.path(), axum::routing::post(run_directly))
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
