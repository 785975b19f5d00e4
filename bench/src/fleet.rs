//! The services of a market, each in a process of its own, and the fleet of them. Engines are an OpenAI-compatible
//! server of whoever starts the fleet.

use crate::program::{Program, say, told_to_end};
use anyhow::{Context, Result};
use atoma::market::{Market, MarketConfig, PRICE, Ware, funded_wallet, spawn_node};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_gateway::{GatewayConfig, NewKey};
use atoma_inference::mock::{MockConfig, MockEngine};
use atoma_inference::upstream::{UpstreamConfig, UpstreamEngine};
use atoma_node::{NodeConfig, Offering, Registration};
use atoma_types::onchain::Deployment;
use atoma_types::{TaskId, Units};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often, and after which pauses, a program is looked for that was killed.
const RETURN_LOOKS: u32 = 600;
const RETURN_PAUSE: Duration = Duration::from_millis(100);

/// What the engine's model is called.
pub const MODEL: &str = "bench";

/// How large a fleet is, and what it may hold at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Size {
    pub nodes: usize,
    /// Requests at work in one node.
    pub concurrent: usize,
    /// Stacks that the gateway keeps.
    pub stacks: usize,
    pub stack_units: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    Chain,
    Node,
    Gateway,
}

/// Where the market is, and what is sold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChainReady {
    pub deployment: Deployment,
    task: TaskId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewayReady {
    pub url: String,
    pub key: String,
}

/// A process and its resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub process: u32,
    pub kib: u64,
}

/// What the keys were charged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    pub requests: u64,
    pub units: u64,
    pub cost: u64,
    /// Set aside for requests of which it is not known what they cost.
    pub reserved: u64,
}

/// All services of a market.
pub struct Fleet {
    pub folder: PathBuf,
    pub chain: ChainReady,
    engine: String,
    _chain: Program,
    nodes: Vec<Mutex<Option<Program>>>,
    gateway: Mutex<(Option<Program>, GatewayReady)>,
}

impl Fleet {
    pub fn start(folder: &Path, size: &Size, engine: &str) -> Result<Self> {
        std::fs::write(folder.join("size.json"), serde_json::to_vec(size)?)?;
        let (chain_program, chain) = start::<ChainReady>("chain", folder, 0, engine)?;
        std::fs::write(folder.join("chain.json"), serde_json::to_vec(&chain)?)?;
        let nodes = (0..size.nodes)
            .map(|index| Ok(Mutex::new(Some(start::<()>("node", folder, index, engine)?.0))))
            .collect::<Result<_>>()?;
        let (gateway, ready) = start("gateway", folder, 0, engine)?;
        Ok(Self {
            folder: folder.to_owned(),
            chain,
            engine: engine.to_owned(),
            _chain: chain_program,
            nodes,
            gateway: Mutex::new((Some(gateway), ready)),
        })
    }

    pub fn gateway(&self) -> GatewayReady {
        lock(&self.gateway).1.clone()
    }

    pub fn node_folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.nodes.len()).map(|index| node_folder(&self.folder, index))
    }

    /// What the gateway and each node take now, the gateway first; `None` for one that does not run.
    pub fn memory(&self) -> Vec<Option<Memory>> {
        let of = |program: &Option<Program>| program.as_ref().and_then(|program| program.memory().ok());
        let gateway = of(&lock(&self.gateway).0);
        std::iter::once(gateway).chain(self.nodes.iter().map(|node| of(&lock(node)))).collect()
    }

    /// Kills a node, and starts it again after a while.
    pub async fn bounce_node(self: &Arc<Self>, which: usize, down: Duration) {
        let (fleet, which) = (Arc::clone(self), which % self.nodes.len().max(1));
        let bounce = move || -> Result<()> {
            let Some(place) = fleet.nodes.get(which) else { return Ok(()) };
            if let Some(program) = lock(place).take() {
                program.kill()?;
            }
            std::thread::sleep(down);
            *lock(place) = Some(start::<()>("node", &fleet.folder, which, &fleet.engine)?.0);
            Ok(())
        };
        report(tokio::task::spawn_blocking(bounce).await.context("a bounce died").flatten());
    }

    /// Kills the gateway, and starts it again after a while.
    pub async fn bounce_gateway(self: &Arc<Self>, down: Duration) {
        let fleet = Arc::clone(self);
        let bounce = move || -> Result<()> {
            let program = lock(&fleet.gateway).0.take();
            if let Some(program) = program {
                program.kill()?;
            }
            std::thread::sleep(down);
            let (program, ready) = start("gateway", &fleet.folder, 0, &fleet.engine)?;
            *lock(&fleet.gateway) = (Some(program), ready);
            Ok(())
        };
        report(tokio::task::spawn_blocking(bounce).await.context("a bounce died").flatten());
    }

    /// Ends gateway and nodes in order, the gateway first.
    pub fn drain(&self) -> Result<Charged> {
        let gateway = returned(|| lock(&self.gateway).0.take()).context("the gateway does not run")?;
        let charged = gateway.stop_and_hear()?;
        for node in &self.nodes {
            returned(|| lock(node).take()).context("a node does not run")?.stop()?;
        }
        Ok(charged)
    }
}

/// A program, which may just be starting again.
fn returned(take: impl Fn() -> Option<Program>) -> Option<Program> {
    (0..RETURN_LOOKS).find_map(|_| {
        let program = take();
        if program.is_none() {
            std::thread::sleep(RETURN_PAUSE);
        }
        program
    })
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("a service did not come back: {error:#}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start<R: serde::de::DeserializeOwned>(
    role: &str,
    folder: &Path,
    index: usize,
    engine: &str,
) -> Result<(Program, R)> {
    let folder = folder.to_str().context("the folder's name is not text")?;
    let index = index.to_string();
    Program::start(&["--role", role, "--folder", folder, "--index", &index, "--engine", engine])
}

pub async fn run(role: Role, folder: &Path, index: usize, engine: &str) -> Result<()> {
    match role {
        Role::Chain => chain(folder).await,
        Role::Node => node(folder, index, engine).await,
        Role::Gateway => gateway(folder).await,
    }
}

async fn chain(folder: &Path) -> Result<()> {
    let engine = Arc::new(MockEngine::new(MockConfig { model: MODEL.to_owned(), ..MockConfig::default() }));
    let config = MarketConfig {
        nodes: 0,
        wares: vec![Ware::chat(engine)],
        devnet: atoma_devnet::Config { listen: local(0), ..atoma_devnet::Config::default() },
        folder: folder.join("chain"),
        price: PRICE,
        settle: atoma_node::Settle::default(),
        admission: atoma_node::Admission::default(),
    };
    let market = Market::start(config).await?;
    say(&ChainReady { deployment: market.chain.deployment().clone(), task: market.task })?;
    told_to_end().await?;
    market.drain().await
}

fn read_size(folder: &Path) -> Result<Size> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join("size.json"))?)?)
}

fn read_chain(folder: &Path) -> Result<ChainReady> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join("chain.json"))?)?)
}

fn node_folder(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("node-{index}"))
}

async fn node(folder: &Path, index: usize, engine: &str) -> Result<()> {
    let ChainReady { deployment, task } = read_chain(folder)?;
    let size = read_size(folder)?;
    let folder = node_folder(folder, index);
    let chain = ChainClient::connect(deployment.clone()).await?;
    let wallet = funded_wallet(&deployment, &chain, &folder).await?;
    let listen = fixed_address(&folder)?;
    let receipt_key = atoma_node::load_or_create_key(&folder.join("receipt.key"))?;
    let registration = Registration {
        endpoint: format!("http://{listen}"),
        receipt_key: receipt_key.public_key(),
        payout: None,
        collateral: None,
        offerings: vec![Offering { task, price: PRICE, max_units: Units(100_000_000) }],
    };
    let id = atoma_node::register_if_needed(&chain, &wallet, &registration).await?;
    let mut config = NodeConfig { listen, ..NodeConfig::test(id, vec![task], &folder) };
    config.admission.concurrent = size.concurrent;
    let mut upstream = UpstreamConfig::new(MODEL, vec![engine.to_owned()], 8_192);
    upstream.limits.concurrent = upstream.limits.concurrent.max(u64::try_from(size.concurrent)?);
    let engine = Arc::new(UpstreamEngine::connect(upstream).await?);
    let handle = spawn_node(&chain, &wallet, &config, vec![engine]).await?;
    say(&())?;
    told_to_end().await?;
    Ok(handle.drain().await?)
}

async fn gateway(folder: &Path) -> Result<()> {
    let ChainReady { deployment, .. } = read_chain(folder)?;
    let size = read_size(folder)?;
    let folder = folder.join("gateway");
    let chain = ChainClient::connect(deployment.clone()).await?;
    let wallet = funded_wallet(&deployment, &chain, &folder).await?;
    let mut config = GatewayConfig { listen: fixed_address(&folder)?, ..GatewayConfig::local(&folder) };
    config.stacks.per_task = size.stacks;
    config.stacks.open_max = config.stacks.open_max.max(size.stacks.saturating_mul(2));
    config.stacks.units = size.stack_units;
    config.requests.patience_ms = 5_000;
    let gateway = atoma_gateway::spawn(config, Arc::new(ChainMarket::new(chain, wallet))).await?;
    let key_file = folder.join("key");
    let key = match std::fs::read_to_string(&key_file) {
        Ok(key) => key,
        Err(_) => {
            let made = gateway.create_key(NewKey { name: "bench".to_owned(), ..NewKey::default() }).await?;
            std::fs::write(&key_file, &made.secret)?;
            made.secret
        }
    };
    say(&GatewayReady { url: gateway.url(), key: key.clone() })?;
    told_to_end().await?;
    // Whatever is not known yet is asked for until the nodes say.
    let charged = settled(&gateway.url(), &key).await?;
    gateway.drain(false).await?;
    say(&charged)
}

/// How long it may take until it is known what every request cost.
const SETTLED_WITHIN: u32 = 120;

async fn settled(url: &str, key: &str) -> Result<Charged> {
    let http = reqwest::Client::new();
    let mut charged = Charged::default();
    for _ in 0..SETTLED_WITHIN {
        let usage = http.get(format!("{url}/v1/usage")).bearer_auth(key).send().await?;
        let usage: serde_json::Value = usage.json().await?;
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        charged = Charged {
            requests: number(&usage["totals"]["requests"]),
            units: number(&usage["totals"]["units"]),
            cost: number(&usage["totals"]["cost"]),
            reserved: number(&usage["reserved"]),
        };
        if charged.reserved == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(charged)
}

/// The same address at every start: it is on chain, and users know it.
fn fixed_address(folder: &Path) -> Result<SocketAddr> {
    let file = folder.join("address");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return Ok(text.parse()?);
    }
    let address = TcpListener::bind(local(0))?.local_addr()?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(file, address.to_string())?;
    Ok(address)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
