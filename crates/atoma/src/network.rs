//! Which chain to talk to, and with whose key.

use crate::cli::{Network, Payer};
use crate::home::Home;
use anyhow::{Context, Result, bail};
use atoma_chain::{ChainClient, Profile, Wallet};
use atoma_types::onchain::Deployment;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What `atoma dev` tells the other commands, and prints with `--json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) base_url: String,
    pub(crate) api_key: String,
    /// The first of the models.
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) models: Vec<String>,
    pub(crate) rpc_url: String,
    pub(crate) nodes: Vec<String>,
}

impl Announcement {
    pub(crate) fn read(home: &Home) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.announcement()).ok()?).ok()
    }
}

/// The market that the command line names.
pub(crate) async fn connect(home: &Home, network: &Network) -> Result<ChainClient> {
    let (deployment, profile) = find(home, network).await?;
    if let Some(profile) = &profile {
        profile.deployment()?;
    }
    let chain = open(deployment, profile.as_ref()).await?;
    chain.check_market().await?;
    Ok(chain)
}

/// The chain of a node: that of the market which its configuration names, unless another one is asked for.
pub(crate) async fn connect_node(
    home: &Home,
    config: &atoma_node::NodeConfig,
    network: &Network,
) -> Result<ChainClient> {
    let is_named = network.rpc.is_some() || network.deployment.is_some();
    match config.deployment.clone().filter(|_| !is_named) {
        Some(deployment) => Ok(ChainClient::connect(deployment).await?),
        None => connect(home, network).await,
    }
}

/// The chain, whether its market is there or not. With the profile, if it is one that says where the market is.
pub(crate) async fn reach(home: &Home, network: &Network) -> Result<(ChainClient, Option<Profile>)> {
    let (deployment, profile) = find(home, network).await?;
    Ok((open(deployment, profile.as_ref()).await?, profile))
}

async fn open(deployment: Deployment, profile: Option<&Profile>) -> Result<ChainClient> {
    let chain = ChainClient::open(deployment).await?;
    profile.map_or(Ok(()), |profile| profile.check_chain(&chain))?;
    Ok(chain)
}

/// Where the faucet is.
pub(crate) fn faucet<'a>(chain: &'a ChainClient, profile: Option<&'a Profile>) -> Result<&'a str> {
    match profile {
        Some(Profile { faucet_url: Some(url), .. }) => Ok(url),
        Some(profile) if !profile.is_of_devnet() => bail!("{} has no faucet", profile.name),
        _ => Ok(&chain.deployment().rpc_url),
    }
}

async fn find(home: &Home, network: &Network) -> Result<(Deployment, Option<Profile>)> {
    if let Some(file) = &network.deployment {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut deployment: Deployment =
            serde_json::from_str(&text).with_context(|| format!("{} is not a deployment", file.display()))?;
        if let Some(url) = &network.rpc {
            deployment.rpc_url.clone_from(url);
        }
        return Ok((deployment, None));
    }
    if let Some(name) = &network.network {
        let mut profile = Profile::load(&home.networks()?, name)?;
        if let Some(url) = &network.rpc {
            profile.rpc_url.clone_from(url);
        }
        // A devnet has its market from the first moment on, and says where.
        if profile.deployed.is_some() || profile.chain_id.is_some() {
            return Ok((profile.addresses(), Some(profile)));
        }
        return Ok((atoma_chain::fetch_deployment(&profile.rpc_url).await?, None));
    }
    let url = network.rpc.clone().or_else(|| Announcement::read(home).map(|dev| dev.rpc_url));
    let Some(url) = url else {
        bail!("no market named: start one with `atoma dev`, or give --network, --rpc or --deployment");
    };
    let deployment = atoma_chain::fetch_deployment(&url).await.with_context(|| {
        let url = atoma_chain::shown_url(&url);
        format!(
            "no devnet answers at {url}; start one with `atoma dev`, or give --network, --rpc or --deployment"
        )
    });
    Ok((deployment?, None))
}

impl Payer {
    pub(crate) fn path(&self, home: &Home) -> PathBuf {
        self.wallet.clone().unwrap_or_else(|| home.wallet())
    }

    pub(crate) fn load(&self, home: &Home) -> Result<Wallet> {
        let path = self.path(home);
        if !path.exists() {
            bail!("no key at {}; make one with `atoma wallet new`", path.display());
        }
        Ok(Wallet::load(&path)?)
    }
}
