//! `atoma dev`: a whole market on this machine.

use super::model::Engines;
use crate::cli::Dev as Arguments;
use crate::home::{self, Home};
use crate::market::{self, Market, MarketConfig, Ware};
use crate::network::Announcement;
use crate::output::{self, Step, say};
use anyhow::{Context, Result};
use atoma_client::market::ChainMarket;
use atoma_gateway::config::Accounts;
use atoma_gateway::{ChainTransfers, GatewayConfig, GatewayHandle, NewKey};
use atoma_node::EngineConfig;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: &Arguments) -> Result<()> {
    check_ports(arguments)?;
    let wares = wares(home, arguments.engines.as_deref()).await?;
    let models: Vec<String> = wares.iter().map(|ware| ware.engine.model().to_owned()).collect();
    let folder = Folder::new(home, arguments)?;
    let step = Step::start("starting the chain and the nodes");
    let market = Market::start(market_config(arguments, &folder.path, wares)).await?;
    drop(step);
    let step = Step::start("starting the gateway and buying its first stacks");
    let gateway = start_gateway(arguments, &folder.path, &market, &models).await?;
    let announcement = announce(&folder, &market, &gateway, models).await?;
    drop(step);
    if !arguments.ephemeral {
        home::write_private(&home.announcement(), &serde_json::to_vec_pretty(&announcement)?)?;
    }
    if arguments.json {
        say!("{}", serde_json::to_string(&announcement)?);
        super::interrupted_or_input_closed().await;
    } else {
        banner(&announcement);
        super::interrupted().await;
    }
    drain(home, arguments, market, gateway).await
}

/// What the engines of a file answer; without one, the small model.
async fn wares(home: &Home, engines: Option<&Path>) -> Result<Vec<Ware>> {
    let Some(path) = engines else {
        return Ok(vec![Ware::chat(super::model::reference_engine(home, super::model::DEFAULT).await?)]);
    };
    let configured = EngineConfig::load_all(path)?;
    let engines = Engines::none().configured(home, &configured).await?.all();
    configured.iter().zip(engines).map(|(engine, ware)| Ware::answering(engine.endpoints(), ware)).collect()
}

/// Says that a port is taken before the weights are loaded.
fn check_ports(arguments: &Arguments) -> Result<()> {
    for (address, option) in [(gateway(arguments), "--port"), (chain(arguments), "--rpc-port")] {
        TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}; {option} chooses another port"))?;
    }
    Ok(())
}

/// Where this run keeps its state; an ephemeral one removes it again.
struct Folder {
    path: PathBuf,
    ephemeral: bool,
}

impl Folder {
    fn new(home: &Home, arguments: &Arguments) -> Result<Self> {
        let path = match arguments.ephemeral {
            true => home.folder(&format!("dev-{}", std::process::id()))?,
            false => home.dev(),
        };
        if arguments.reset && path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        home::create_private(&path)?;
        Ok(Self { path, ephemeral: arguments.ephemeral })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.ephemeral {
            // Left behind, it is only litter.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn market_config(arguments: &Arguments, folder: &Path, wares: Vec<Ware>) -> MarketConfig {
    let devnet = atoma_devnet::Config {
        listen: chain(arguments),
        store: (!arguments.ephemeral).then(|| folder.join("devnet.redb")),
        ..atoma_devnet::Config::default()
    };
    let settle = atoma_node::Settle { age_ms: 60_000, min_amount: 0, ..atoma_node::Settle::default() };
    let admission = atoma_node::Admission::default();
    MarketConfig {
        nodes: arguments.nodes,
        wares,
        devnet,
        folder: folder.to_owned(),
        price: market::PRICE,
        settle,
        admission,
    }
}

async fn start_gateway(
    arguments: &Arguments,
    folder: &Path,
    market: &Market,
    models: &[String],
) -> Result<GatewayHandle> {
    let folder = folder.join("gateway");
    let wallet = market::funded_wallet(market.chain.deployment(), &market.chain, &folder).await?;
    // Only this machine reaches it: whoever does may try what accounts are like.
    let accounts = Accounts { open: true, ..Accounts::default() };
    let config = GatewayConfig { listen: gateway(arguments), accounts, ..GatewayConfig::local(&folder) };
    let deposits = Arc::new(ChainTransfers::new(market.chain.clone(), wallet.address()));
    let paying = Arc::new(ChainMarket::new(market.chain.clone(), wallet));
    let gateway = atoma_gateway::spawn_with(config, paying, Some(deposits))
        .await
        .context("the gateway cannot start (--port chooses another)")?;
    for model in models {
        let prepared = gateway.session.prepare(model).await;
        prepared.map_err(|error| anyhow::anyhow!("cannot buy units: {}", error.message))?;
    }
    Ok(gateway)
}

async fn announce(
    folder: &Folder,
    market: &Market,
    gateway: &GatewayHandle,
    models: Vec<String>,
) -> Result<Announcement> {
    Ok(Announcement {
        base_url: format!("{}/v1", gateway.url()),
        api_key: api_key(&folder.path.join("gateway"), gateway).await?,
        model: models.first().cloned().unwrap_or_default(),
        models,
        rpc_url: market.devnet.url(),
        nodes: market.nodes.iter().map(|node| node.handle.url()).collect(),
    })
}

/// The key that an earlier run printed, or a new one. Only a development gateway keeps its key readable.
async fn api_key(folder: &Path, gateway: &GatewayHandle) -> Result<String> {
    let file = folder.join("dev-api-key");
    if let Ok(key) = std::fs::read_to_string(&file) {
        return Ok(key);
    }
    let created = gateway.create_key(NewKey { name: "dev".to_owned(), ..NewKey::default() }).await?;
    home::write_private(&file, created.secret.as_bytes())?;
    Ok(created.secret)
}

fn banner(announcement: &Announcement) {
    let Announcement { base_url, api_key, model, models, rpc_url, nodes } = announcement;
    say!("{}", output::bold("The market is open."));
    say!("  endpoint  {base_url}");
    say!("  key       {api_key}");
    say!("  models    {}", models.join(", "));
    say!("  chain     {rpc_url}");
    say!("  nodes     {}", nodes.join(" "));
    say!("\nPaste this:\n");
    say!(
        "  curl {base_url}/chat/completions -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' \\"
    );
    say!(
        "    -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"What is the capital of France? Answer in one sentence.\"}}]}}'"
    );
    say!("\nOr, in another terminal: `atoma chat` (`cargo run --release -- chat`). Ctrl-C drains and stops.");
}

async fn drain(home: &Home, arguments: &Arguments, market: Market, gateway: GatewayHandle) -> Result<()> {
    eprintln!("draining: finishing what runs, acknowledging, settling");
    if !arguments.ephemeral {
        // The next `chat` should say that nothing runs rather than fail to connect.
        let _ = std::fs::remove_file(home.announcement());
    }
    gateway.drain(false).await?;
    market.drain().await
}

fn gateway(arguments: &Arguments) -> SocketAddr {
    local(arguments, arguments.port, 8080)
}

fn chain(arguments: &Arguments) -> SocketAddr {
    local(arguments, arguments.rpc_port, 9000)
}

/// The port that was asked for; else the usual one, or of an ephemeral run a free one.
fn local(arguments: &Arguments, port: Option<u16>, usual: u16) -> SocketAddr {
    let port = port.unwrap_or(if arguments.ephemeral { 0 } else { usual });
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ephemeral_run_takes_free_ports_unless_told_otherwise() {
        let usual = Arguments {
            port: None,
            rpc_port: None,
            nodes: 1,
            engines: None,
            ephemeral: false,
            reset: false,
            json: false,
        };
        assert_eq!((gateway(&usual).port(), chain(&usual).port()), (8080, 9000));
        let ephemeral = Arguments { ephemeral: true, ..usual };
        assert_eq!((gateway(&ephemeral).port(), chain(&ephemeral).port()), (0, 0));
        let told = Arguments { port: Some(1), rpc_port: Some(2), ..ephemeral };
        assert_eq!((gateway(&told).port(), chain(&told).port()), (1, 2));
    }
}
