//! `atoma gateway`: API keys in front of nodes.

use crate::cli::{Gateway as Arguments, GatewayDatabase, Network, Payer};
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::{Context as _, Result};
use atoma_client::market::ChainMarket;
use atoma_gateway::config::Secret;
use atoma_gateway::store::{Limits, Store, Who};
use atoma_gateway::{ChainTransfers, GatewayConfig, NewKey};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a running gateway may take to answer, which reads the chain for it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(60);

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
        Arguments::Account { login, id, enable, config, database } => {
            let store = open(home, config.as_deref(), database).await?;
            let who = id.map_or_else(|| Who::Login(login.unwrap_or_default()), Who::Id);
            let account = store.set_account_disabled(&who, !enable).await?;
            let account = account.context("there is no such account")?;
            say!("account {account} is {}", if enable { "enabled" } else { "disabled" });
            Ok(())
        }
        Arguments::Status { config, url, json } => {
            let config = configuration(home, config.as_deref(), GatewayDatabase { url: None })?;
            let url = url.unwrap_or_else(|| format!("http://{}", config.listen));
            show(&ask_for_books(&config, &url).await?, json)
        }
        Arguments::Books { config, database, json } => {
            let books = open(home, config.as_deref(), database).await?.books().await?;
            show(&serde_json::to_value(books)?, json)
        }
    }
}

/// The books of a gateway that runs, by its operator's token.
async fn ask_for_books(config: &GatewayConfig, url: &str) -> Result<Value> {
    let token = config.data.join(atoma_gateway::OPERATOR_TOKEN);
    let token = std::fs::read_to_string(&token)
        .with_context(|| format!("{} cannot be read: has the gateway ever run here?", token.display()))?;
    let asked = reqwest::Client::new()
        .get(format!("{}/v1/operator/books", url.trim_end_matches('/')))
        .bearer_auth(token.trim())
        .timeout(STATUS_TIMEOUT)
        .send()
        .await;
    let answer = asked.with_context(|| format!("no gateway answers at {url}"))?;
    Ok(answer.error_for_status()?.json().await?)
}

async fn open(home: &Home, file: Option<&Path>, database: GatewayDatabase) -> Result<Store> {
    Ok(Store::open(&configuration(home, file, database)?.database()?).await?)
}

fn show(books: &Value, json: bool) -> Result<()> {
    if json {
        say!("{books:#}");
        return Ok(());
    }
    show_fields(books, "");
    Ok(())
}

/// A line for each number, sections and rows under their names.
fn show_fields(value: &Value, indent: &str) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let (name, deeper) = (name.replace('_', " "), format!("{indent}  "));
        match field {
            Value::Object(_) => {
                say!("{indent}{name}");
                show_fields(field, &deeper);
            }
            Value::Array(rows) => {
                say!("{indent}{name}{}", if rows.is_empty() { " none" } else { "" });
                for row in rows {
                    say!("{deeper}-");
                    show_fields(row, &deeper);
                }
            }
            Value::Null => say!("{:<24} {:>16}", format!("{indent}{name}"), "unknown"),
            plain => say!("{:<24} {plain:>16}", format!("{indent}{name}")),
        }
    }
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
