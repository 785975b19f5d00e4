//! `atoma devnet`: the chain alone, and its clock.

use crate::cli::Devnet as Arguments;
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::{Context, Result, bail};
use atoma_types::Address;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Run { port, ephemeral, reset, admin } => serve(home, port, ephemeral, reset, admin).await,
        Arguments::Advance { seconds, epochs, network } => {
            let (chain, _) = network::reach(home, &network).await?;
            let url = &chain.deployment().rpc_url;
            if let Some(seconds) = seconds {
                advance(url, seconds.saturating_mul(1_000)).await?;
                say!("the chain's clock is at {} ms", chain.now_ms().await?);
            }
            if let Some(epochs) = epochs {
                control(url, "epoch", &serde_json::json!({ "advance": epochs })).await?;
                say!("the chain is in epoch {}", chain.present_epoch().await?.number);
            }
            Ok(())
        }
    }
}

async fn serve(home: &Home, port: u16, ephemeral: bool, reset: bool, admin: Option<Address>) -> Result<()> {
    let store = home.folder("devnet")?.join("devnet.redb");
    if reset {
        remove(&store)?;
    }
    let config = atoma_devnet::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        store: (!ephemeral).then_some(store),
        admin,
        ..atoma_devnet::Config::default()
    };
    let devnet = atoma_devnet::spawn(config).await?;
    say!("{} {}", output::bold("chain"), devnet.url());
    say!("{}", serde_json::to_string(devnet.deployment())?);
    super::interrupted().await;
    devnet.shutdown().await;
    Ok(())
}

pub(crate) fn remove(store: &Path) -> Result<()> {
    match std::fs::remove_file(store) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", store.display()))
        }
        _ => Ok(()),
    }
}

/// Moves a devnet's clock forward.
pub(crate) async fn advance(rpc_url: &str, milliseconds: u64) -> Result<()> {
    control(rpc_url, "clock", &serde_json::json!({ "advance_ms": milliseconds })).await
}

/// Asks a devnet what a full node would not do.
async fn control(rpc_url: &str, what: &str, request: &serde_json::Value) -> Result<()> {
    let url = format!("{}/devnet/v1/{what}", rpc_url.trim_end_matches('/'));
    let sent = reqwest::Client::new().post(url).json(request).send().await;
    let response = sent.map_err(reqwest::Error::without_url).context("the devnet does not answer")?;
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status();
    let answer: Option<serde_json::Value> = response.json().await.ok();
    match answer.as_ref().and_then(|answer| answer["error"].as_str()) {
        Some(error) => bail!("the devnet refuses: {error}"),
        None => bail!("only a devnet's {what} can be moved, and this answers {status}"),
    }
}
