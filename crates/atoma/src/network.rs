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
    pub(crate) model: String,
    pub(crate) rpc_url: String,
    pub(crate) nodes: Vec<String>,
}

impl Announcement {
    pub(crate) fn read(home: &Home) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(home.announcement()).ok()?).ok()
    }
}

pub(crate) async fn connect(home: &Home, network: &Network) -> Result<ChainClient> {
    let deployment = deployment(home, network).await?;
    let url = deployment.rpc_url.clone();
    ChainClient::connect(deployment).await.with_context(|| format!("no chain answers at {url}"))
}

async fn deployment(home: &Home, network: &Network) -> Result<Deployment> {
    if let Some(file) = &network.deployment {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut deployment: Deployment =
            serde_json::from_str(&text).with_context(|| format!("{} is not a deployment", file.display()))?;
        if let Some(url) = &network.rpc {
            deployment.rpc_url.clone_from(url);
        }
        return Ok(deployment);
    }
    if let Some(name) = &network.network {
        let mut profile = Profile::load(&home.networks()?, name)?;
        if let Some(url) = &network.rpc {
            profile.rpc_url.clone_from(url);
        }
        // A devnet has its market from the first moment on, and says where.
        if profile.deployed.is_some() || profile.chain_id.is_some() {
            return Ok(profile.deployment()?);
        }
        return Ok(atoma_chain::fetch_deployment(&profile.rpc_url).await?);
    }
    let url = network.rpc.clone().or_else(|| Announcement::read(home).map(|dev| dev.rpc_url));
    let Some(url) = url else {
        bail!("no market named: start one with `atoma dev`, or give --rpc or --deployment");
    };
    atoma_chain::fetch_deployment(&url).await.with_context(|| {
        format!("no devnet answers at {url}; start one with `atoma dev`, or give --rpc or --deployment")
    })
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
