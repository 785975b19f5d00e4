//! `atoma node`: run a node and earn.

mod operate;
mod reload;

use super::model::Engines;
use crate::cli::{Network, Node as Arguments};
use crate::home::{self, Home};
use crate::network;
use crate::output::{self, Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::Wallet;
use atoma_node::{NodeConfig, NodeHandle, Offering, Parts, Registration, SuiMarket};
use atoma_types::NodeId;
use atoma_types::onchain::Deployment;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Init { folder } => init(&folder),
        Arguments::Register { folder, endpoint, listen, task, price, max_units, network } => {
            let offering = Offering { task, price, max_units };
            register(home, &folder, endpoint, listen, offering, &network).await
        }
        Arguments::Reload { folder } => reload::run(&folder).await,
        Arguments::Run { config, network } => serve(home, &config, &network).await,
        Arguments::Subscribe { folder, task, price, max_units, network, json } => {
            operate::subscribe(home, &folder, Offering { task, price, max_units }, &network, json).await
        }
        Arguments::Unsubscribe { folder, task, network, json } => {
            operate::unsubscribe(home, &folder, task, &network, json).await
        }
        Arguments::Status { folder, network, json } => operate::status(home, &folder, &network, json).await,
        Arguments::Drain { folder, network, json } => operate::drain(home, &folder, &network, json).await,
        Arguments::Withdraw { folder, yes, network, json } => {
            operate::withdraw(home, &folder, yes, &network, json).await
        }
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
    // From here on a hang-up is no reason to die.
    let mut reloads = signal(SignalKind::hangup())?;
    // A disabled node only settles, for which it needs no weights.
    let is_disabled = chain.node(config.node).await?.is_some_and(|node| node.disabled_ms != 0);
    let mut engines = Engines::none();
    if !is_disabled {
        engines = engines.configured(home, &config.engines).await?;
    }
    let market = Arc::new(SuiMarket::new(chain, wallet));
    let parts = Parts { market, receipt_key, engines: engines.all() };
    let handle = atoma_node::spawn(config, parts).await?;
    say!("{} {} at {}", output::bold("node"), handle.node(), handle.url());
    if is_disabled {
        eprintln!("disabled on chain: settling what it holds, serving nothing");
    }
    let mut stopped = std::pin::pin!(super::interrupted());
    loop {
        tokio::select! {
            () = &mut stopped => {
                eprintln!("draining: finishing what runs and settling");
                break;
            }
            () = handle.done() => {
                eprintln!("disabled on chain, and nothing is left to settle");
                break;
            }
            _ = reloads.recv() => match reread(home, path, &engines, &handle).await {
                Ok(changed) => {
                    engines = changed;
                    eprintln!("reloaded the engines of {}", path.display());
                }
                Err(error) => {
                    handle.count_refused_reload();
                    eprintln!("not reloaded, the engines stay as they are: {}", output::one_line(&error));
                }
            },
        }
    }
    Ok(handle.drain().await?)
}

/// Serves with the engines that the file names now. Its other settings hold from the next start on.
async fn reread(home: &Home, path: &Path, engines: &Engines, handle: &NodeHandle) -> Result<Engines> {
    let config = NodeConfig::load(path)?;
    let changed = engines.configured(home, &config.engines).await?;
    handle.replace_engines(&changed.all())?;
    Ok(changed)
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
