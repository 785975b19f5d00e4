//! `atoma devnet`: the chain alone, and its clock.

use crate::cli::Devnet as Arguments;
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::{Context, Result};
use atoma_types::Address;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Run { port, ephemeral, reset, admin } => serve(home, port, ephemeral, reset, admin).await,
        Arguments::Advance { seconds, network } => {
            let chain = network::connect(home, &network).await?;
            advance(&chain.deployment().rpc_url, seconds.saturating_mul(1_000)).await?;
            say!("the chain's clock is at {} ms", chain.now_ms().await?);
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
    let response = reqwest::Client::new()
        .post(format!("{rpc_url}/devnet/v1/clock"))
        .json(&serde_json::json!({ "advance_ms": milliseconds }))
        .send()
        .await
        .context("the devnet does not answer")?;
    response.error_for_status().context("only a devnet's clock can be moved")?;
    Ok(())
}
