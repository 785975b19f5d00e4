//! `atoma node`: run a node and earn.

mod operate;

use crate::cli::{Network, Node as Arguments};
use crate::home::{self, Home};
use crate::network;
use crate::output::{self, Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::Wallet;
use atoma_node::{NodeConfig, Offering, Parts, Registration, SuiMarket};
use atoma_types::NodeId;
use atoma_types::onchain::Deployment;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Init { folder } => init(&folder),
        Arguments::Register { folder, endpoint, listen, task, price, max_units, network } => {
            let offering = Offering { task, price, max_units };
            register(home, &folder, endpoint, listen, offering, &network).await
        }
        Arguments::Run { config, network } => serve(home, &config, &network).await,
        Arguments::Subscribe { folder, task, price, max_units, network } => {
            operate::subscribe(home, &folder, Offering { task, price, max_units }, &network).await
        }
        Arguments::Unsubscribe { folder, task, network } => {
            operate::unsubscribe(home, &folder, task, &network).await
        }
        Arguments::Status { folder, network, json } => operate::status(home, &folder, &network, json).await,
        Arguments::Drain { folder, network } => operate::drain(home, &folder, &network).await,
        Arguments::Withdraw { folder, yes, network } => operate::withdraw(home, &folder, yes, &network).await,
        Arguments::List { network, json } => list(home, &network, json).await,
    }
}

fn wallet_file(folder: &Path) -> PathBuf {
    folder.join("wallet.key")
}

fn receipt_key_file(folder: &Path) -> PathBuf {
    folder.join("receipt.key")
}

fn init(folder: &Path) -> Result<()> {
    home::create_private(folder)?;
    let wallet = Wallet::load_or_create(wallet_file(folder))?;
    atoma_node::load_or_create_key(&receipt_key_file(folder))?;
    let shown = folder.display();
    say!("keys    {shown}");
    say!("wallet  {}", wallet.address());
    say!("next    send the wallet coins for collateral and gas; on a devnet:");
    say!("        atoma wallet faucet --wallet {}", wallet_file(folder).display());
    say!("then    atoma node register {shown} --endpoint http://127.0.0.1:8090 --task 1 --price 200000");
    Ok(())
}

async fn register(
    home: &Home,
    folder: &Path,
    endpoint: String,
    listen: SocketAddr,
    offering: Offering,
    network: &Network,
) -> Result<()> {
    let wallet = load_wallet(folder)?;
    let receipt_key = atoma_node::load_key(&receipt_key_file(folder))?.public_key();
    let chain = network::connect(home, network).await?;
    let registration =
        Registration { endpoint, receipt_key, payout: None, collateral: None, offerings: vec![offering] };
    let step = Step::start("registering");
    let node = atoma_node::register_if_needed(&chain, &wallet, &registration).await?;
    drop(step);
    let config = folder.join("node.toml");
    let text = configuration(folder, listen, node, offering, chain.deployment())?;
    std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    say!("node    {node}, offering task {} at {}", offering.task, offering.price);
    say!("wrote   {}", config.display());
    say!("next    atoma node run {}", config.display());
    Ok(())
}

fn configuration(
    folder: &Path,
    listen: SocketAddr,
    node: NodeId,
    offering: Offering,
    deployment: &Deployment,
) -> Result<String> {
    let folder = folder.canonicalize().context("the node's folder is gone")?;
    let quoted = |path: PathBuf| serde_json::to_string(&path);
    // Its fields are all text, which JSON and TOML write alike.
    let deployment = serde_json::to_value(deployment)?;
    let deployment = deployment.as_object().into_iter().flatten();
    let deployment: String = deployment.map(|(name, value)| format!("{name} = {value}\n")).collect();
    Ok(format!(
        "# Written by `atoma node register`.\nnode = {node}\ntasks = [{}]\nlisten = \"{listen}\"\njournal = {}\n\
         receipt_key = {}\nwallet = {}\n\n[deployment]\n{deployment}",
        offering.task,
        quoted(folder.join("journal.sqlite"))?,
        quoted(receipt_key_file(&folder))?,
        quoted(wallet_file(&folder))?,
    ))
}

fn load_wallet(folder: &Path) -> Result<Wallet> {
    let file = wallet_file(folder);
    if !file.exists() {
        bail!("no key at {}; make the folder with `atoma node init {}`", file.display(), folder.display());
    }
    Ok(Wallet::load(&file)?)
}

async fn serve(home: &Home, path: &Path, network: &Network) -> Result<()> {
    let config = NodeConfig::load(path)?;
    let wallet = Wallet::load(&config.wallet)?;
    let receipt_key = atoma_node::load_key(&config.receipt_key)?;
    let chain = network::connect_node(home, &config, network).await?;
    // A disabled node only settles, for which it needs no weights.
    let is_disabled = chain.node(config.node).await?.is_some_and(|node| node.disabled_ms != 0);
    let engines = match is_disabled {
        true => Vec::new(),
        false => super::model::engines(home, config.engines.clone()).await?,
    };
    let market = Arc::new(SuiMarket::new(chain, wallet));
    let handle = atoma_node::spawn(config, Parts { market, receipt_key, engines }).await?;
    say!("{} {} at {}", output::bold("node"), handle.node(), handle.url());
    if is_disabled {
        eprintln!("disabled on chain: settling what it holds, serving nothing");
    }
    tokio::select! {
        () = super::interrupted() => eprintln!("draining: finishing what runs and settling"),
        () = handle.done() => eprintln!("disabled on chain, and nothing is left to settle"),
    }
    Ok(handle.drain().await?)
}

async fn list(home: &Home, network: &Network, json: bool) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let nodes = chain.nodes().await?;
    if json {
        say!("{}", serde_json::to_string(&nodes)?);
        return Ok(());
    }
    say!("{:<6}{:<12}{:<14}endpoint", "node", "reputation", "collateral");
    for node in nodes {
        let disabled = if node.disabled_ms == 0 { "" } else { " (disabled)" };
        let collateral = node.collateral.display_coins();
        say!("{:<6}{:<12}{collateral:<14}{}{disabled}", node.id, node.reputation, node.endpoint);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use atoma_types::{Address, Price, TaskId, Units};

    #[test]
    fn a_written_configuration_names_the_whole_deployment() {
        let id = |byte| Address::new([byte; 32]);
        let deployment = Deployment {
            network: "testnet".to_owned(),
            rpc_url: "https://node.example:443".to_owned(),
            package: id(1),
            upgraded: Some(id(2)),
            db: id(3),
            treasury: id(4),
            beacon: id(5),
            walrus_package: id(6),
            walrus_system: id(7),
            coin_type: "0x2::sui::SUI".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let offering = Offering { task: TaskId(1), price: Price(2), max_units: Units(3) };
        let listen = "127.0.0.1:8090".parse().unwrap();
        let text = configuration(folder.path(), listen, NodeId(9), offering, &deployment).unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        assert_eq!(NodeConfig::load(&file).unwrap().deployment, Some(deployment));
    }
}
