//! The programs under load, each in a process of its own, so that each one's CPU time can be told apart.

use anyhow::{Context, Result};
use atoma::market::{Market, MarketConfig, PRICE, Ware, funded_wallet};
use atoma_bench::program::{say, told_to_end};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_gateway::config::Secret;
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
use std::path::Path;
use std::sync::Arc;

pub(crate) const MODEL: &str = "mock";

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

pub(crate) async fn run(role: Role, tokens: u64, folder: &Path, database: Option<&str>) -> Result<()> {
    let config = MockConfig { model: MODEL.to_owned(), tokens, ..MockConfig::default() };
    let engine: Arc<dyn Engine> = Arc::new(MockEngine::new(config));
    match role {
        Role::Engine => {
            say(&Ready { url: serve_directly(engine).await?, deployment: None, key: None })?;
            told_to_end().await
        }
        Role::Node => node(engine, folder).await,
        Role::Gateway => gateway(folder, database).await,
    }
}

async fn node(engine: Arc<dyn Engine>, folder: &Path) -> Result<()> {
    let devnet =
        atoma_devnet::Config { listen: ([127, 0, 0, 1], 0).into(), ..atoma_devnet::Config::default() };
    let admission =
        atoma_node::Admission { concurrent: 64, waiting: 256, ..atoma_node::Admission::default() };
    let settle = atoma_node::Settle::default();
    let folder = folder.to_owned();
    let config = MarketConfig {
        nodes: 1,
        wares: vec![Ware::chat(engine)],
        devnet,
        folder: folder.clone(),
        price: PRICE,
        settle,
        admission,
    };
    let market = Market::start(config).await?;
    let deployment = market.chain.deployment().clone();
    // What the gateway and the load generator read.
    std::fs::write(folder.join("deployment.json"), serde_json::to_vec(&deployment)?)?;
    let url = market.nodes.first().context("no node")?.handle.url();
    say(&Ready { url, deployment: Some(deployment), key: None })?;
    told_to_end().await?;
    market.drain().await
}

async fn gateway(folder: &Path, database: Option<&str>) -> Result<()> {
    let deployment: Deployment = serde_json::from_slice(&std::fs::read(folder.join("deployment.json"))?)?;
    let folder = folder.join(if database.is_some() { "gateway-postgres" } else { "gateway" });
    let chain = ChainClient::connect(deployment.clone()).await?;
    let wallet = funded_wallet(&deployment, &chain, &folder).await?;
    let mut config = GatewayConfig::local(&folder);
    config.stacks.units = 50_000_000;
    config.database = database.map(|url| Secret(url.to_owned()));
    let gateway = atoma_gateway::spawn(config, Arc::new(ChainMarket::new(chain, wallet))).await?;
    gateway.session.prepare(MODEL).await.map_err(|error| anyhow::anyhow!(error.message))?;
    let key = gateway.create_key(NewKey { name: "bench".to_owned(), ..NewKey::default() }).await?.secret;
    say(&Ready { url: gateway.url(), deployment: None, key: Some(key) })?;
    told_to_end().await?;
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
        // What other gateways look at.
        .route("/health", axum::routing::get(|| async {}))
        .route("/v1/models", axum::routing::get(models))
        .with_state(engine);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn models() -> Response {
    let models = serde_json::json!({ "object": "list", "data": [{ "id": MODEL, "object": "model", "created": 0, "owned_by": "us" }] });
    ([("content-type", "application/json")], models.to_string()).into_response()
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
