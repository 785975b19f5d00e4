//! `atoma gateway`: API keys in front of nodes.

use crate::cli::{Gateway as Arguments, Network, Payer};
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::Result;
use atoma_client::market::ChainMarket;
use atoma_gateway::store::Store;
use atoma_gateway::{GatewayConfig, NewKey};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Run { config, listen, network, payer } => {
            let config = configuration(home, config.as_deref(), listen)?;
            serve(home, config, &network, &payer).await
        }
        Arguments::Key { config, budget, name } => {
            let config = configuration(home, config.as_deref(), None)?;
            let store = Store::open(&config.data.join("keys.db")).await?;
            let created = store.create_key(NewKey { name, budget }).await?;
            store.flush().await?;
            say!("{}", created.secret);
            Ok(())
        }
    }
}

/// The file's settings, or those of a gateway in the home folder.
fn configuration(home: &Home, file: Option<&Path>, listen: Option<SocketAddr>) -> Result<GatewayConfig> {
    let mut config = match file {
        Some(file) => GatewayConfig::load(file)?,
        None => {
            let default_listen = SocketAddr::from(([127, 0, 0, 1], 8080));
            GatewayConfig { listen: default_listen, ..GatewayConfig::local(&home.folder("gateway")?) }
        }
    };
    config.listen = listen.unwrap_or(config.listen);
    Ok(config)
}

async fn serve(home: &Home, config: GatewayConfig, network: &Network, payer: &Payer) -> Result<()> {
    let wallet = payer.load(home)?;
    let chain = network::connect(home, network).await?;
    let gateway = atoma_gateway::spawn(config, Arc::new(ChainMarket::new(chain, wallet))).await?;
    say!("{} {}/v1", output::bold("gateway"), gateway.url());
    say!("models  {}", gateway.session.models().await.join(", "));
    say!("keys    `atoma gateway key` makes one");
    super::interrupted().await;
    eprintln!("draining: finishing what runs and acknowledging");
    gateway.drain(false).await?;
    Ok(())
}
