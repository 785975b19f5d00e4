//! `atoma gateway`: API keys in front of nodes.

use crate::cli::{Gateway as Arguments, GatewayDatabase, Network, Payer};
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::Result;
use atoma_client::market::ChainMarket;
use atoma_gateway::config::Secret;
use atoma_gateway::store::{Books, Limits, Store};
use atoma_gateway::{ChainTransfers, GatewayConfig, NewKey};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Run { config, listen, database, network, payer } => {
            let mut config = configuration(home, config.as_deref(), database)?;
            config.listen = listen.unwrap_or(config.listen);
            serve(home, config, &network, &payer).await
        }
        Arguments::Key {
            config,
            database,
            budget,
            name,
            spend_per_day,
            requests_per_minute,
            units_per_minute,
        } => {
            let store = open(home, config.as_deref(), database).await?;
            let limits = Limits { requests_per_minute, units_per_minute, spend_per_day };
            let created = store.create_key(NewKey { name, budget, limits, ..NewKey::default() }).await?;
            say!("{}", created.secret);
            Ok(())
        }
        Arguments::Books { config, database, json } => {
            let books = open(home, config.as_deref(), database).await?.books().await?;
            show(&books, json)
        }
    }
}

async fn open(home: &Home, file: Option<&Path>, database: GatewayDatabase) -> Result<Store> {
    Ok(Store::open(&configuration(home, file, database)?.database()?).await?)
}

fn show(books: &Books, json: bool) -> Result<()> {
    let value = serde_json::to_value(books)?;
    if json {
        say!("{value:#}");
        return Ok(());
    }
    for (name, amount) in value.as_object().into_iter().flatten() {
        say!("{:<20} {amount:>16}", name.replace('_', " "));
    }
    Ok(())
}

/// The file's settings, or those of a gateway in the home folder.
fn configuration(home: &Home, file: Option<&Path>, database: GatewayDatabase) -> Result<GatewayConfig> {
    let mut config = match file {
        Some(file) => GatewayConfig::load(file)?,
        None => {
            let default_listen = SocketAddr::from(([127, 0, 0, 1], 8080));
            GatewayConfig { listen: default_listen, ..GatewayConfig::local(&home.folder("gateway")?) }
        }
    };
    config.database = database.url.map(Secret).or(config.database);
    Ok(config)
}

async fn serve(home: &Home, config: GatewayConfig, network: &Network, payer: &Payer) -> Result<()> {
    let wallet = payer.load(home)?;
    let chain = network::connect(home, network).await?;
    let deposits = ChainTransfers::new(chain.clone(), wallet.address());
    let market = Arc::new(ChainMarket::new(chain, wallet.clone()));
    let gateway = atoma_gateway::spawn_with(config, market, Some(Arc::new(deposits))).await?;
    say!("{} {}/v1", output::bold("gateway"), gateway.url());
    say!("models  {}", gateway.session.models().await.join(", "));
    say!("keys    `atoma gateway key` makes one");
    say!("deposits {}", wallet.address());
    super::interrupted().await;
    eprintln!("draining: finishing what runs and acknowledging");
    gateway.drain(false).await?;
    Ok(())
}
