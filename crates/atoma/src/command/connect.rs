//! `atoma connect`: an OpenAI-compatible endpoint on this machine that pays from one's own wallet.

use crate::cli::Connect as Arguments;
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::Result;
use atoma_client::market::ChainMarket;
use atoma_client::proxy::{self, ConnectConfig};
use atoma_client::{Policy, SessionConfig};
use atoma_types::Units;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: &Arguments) -> Result<()> {
    let wallet = arguments.payer.load(home)?;
    let chain = network::connect(home, &arguments.network).await?;
    let (units, max_price) = (Units(arguments.units), arguments.max_price);
    let policy = arguments.choice.of(Policy { units, max_price, ahead: true, ..Policy::default() });
    let journal = home.folder("client")?.join("journal.sqlite");
    let config = ConnectConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)),
        session: SessionConfig { journal, policy },
        body_time: proxy::BODY_TIME,
    };
    let handle = proxy::spawn(config, Arc::new(ChainMarket::new(chain, wallet.clone()))).await?;
    let (url, models) = (format!("{}/v1", handle.url()), handle.session.models().await);
    if arguments.json {
        say!("{}", json!({"base_url": url, "models": models, "wallet": wallet.address()}));
        super::interrupted_or_input_closed().await;
    } else {
        say!("{} {url}", output::bold("endpoint"));
        say!("models   {}", models.join(", "));
        say!("wallet   {} (whoever reaches this port spends from it)", wallet.address());
        super::interrupted().await;
    }
    if arguments.close {
        for (stack, until_ms) in handle.session.close_all().await? {
            say!("closing  {stack}: `atoma stack refund {stack}` after {until_ms} ms of the chain's clock");
        }
    }
    handle.drain().await;
    Ok(())
}
