//! A whole market in one process: a devnet, a task, and nodes that sell it. `atoma dev`, `atoma demo` and the
//! benchmarks differ only in what they put on top.

use anyhow::{Context, Result};
use atoma_chain::{AddModel, Call, ChainClient, CreateTask, Wallet};
use atoma_devnet::Devnet;
use atoma_inference::{Endpoint, Engine};
use atoma_node::{NodeConfig, NodeHandle, Offering, Parts, Registration, SuiMarket};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::{AuditTerms, Deployment, Event};
use atoma_types::{Address, Amount, Hash32, ModelId, Price, TaskId, Units};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Roles of tasks, by what their nodes answer.
pub(crate) const ROLE_CHAT: u8 = 0;
const ROLE_EMBEDDING: u8 = 1;
const ROLE_IMAGE: u8 = 3;
/// What nodes ask in development, in base units per million units.
pub const PRICE: Price = Price(200_000);
/// How far apart nodes ask: each of four a quarter of the lowest price more.
const PRICE_STEPS: u64 = 4;
/// Share of a payment that the model's creator receives.
const CREATOR_FEE_PERMILLE: u64 = 20;
const SURCHARGE_PERMILLE: u64 = 5;
/// The one kind of hardware: the engine's answers are the same on all.
const ECHELON: u64 = 0;
/// What a new participant is given to start with.
const GRANT_GAS_MIST: u64 = 100_000_000_000;
const GRANT_COINS: Amount = Amount(5_000_000_000);

/// What to start.
#[derive(Clone)]
pub struct MarketConfig {
    pub nodes: u8,
    /// What all nodes sell; at least one.
    pub wares: Vec<Ware>,
    pub devnet: atoma_devnet::Config,
    /// Keys and journals, one folder per participant.
    pub folder: PathBuf,
    /// The lowest price; others ask up to twice as much, which is the ceiling.
    pub price: Price,
    /// How eagerly nodes settle.
    pub settle: atoma_node::Settle,
    pub admission: atoma_node::Admission,
}

/// A model for sale: a task of this role, and the engine that all nodes share.
#[derive(Clone)]
pub struct Ware {
    pub role: u8,
    pub engine: Arc<dyn Engine>,
}

impl Ware {
    pub fn chat(engine: Arc<dyn Engine>) -> Self {
        Self { role: ROLE_CHAT, engine }
    }

    /// One that answers at these endpoints, which must be of one role.
    pub fn answering(endpoints: &[Endpoint], engine: Arc<dyn Engine>) -> Result<Self> {
        let fits = |role: &u8| endpoints.iter().all(|endpoint| endpoint.is_of_role(*role));
        let role = [ROLE_CHAT, ROLE_EMBEDDING, ROLE_IMAGE].into_iter().find(fits).with_context(|| {
            let model = engine.model();
            format!(
                "engine `{model}`: text, embeddings and images are sold apart: give each a label of its own"
            )
        })?;
        Ok(Self { role, engine })
    }
}

/// A running market.
pub struct Market {
    pub devnet: Devnet,
    pub chain: ChainClient,
    pub creator: Wallet,
    /// What sells the first of the wares.
    pub task: TaskId,
    pub nodes: Vec<RunningNode>,
}

/// A node and the wallet it earns into.
pub struct RunningNode {
    pub handle: NodeHandle,
    pub wallet: Wallet,
    pub config: NodeConfig,
}

impl Market {
    /// Starts everything; what exists already in the folder and on the chain is taken up again.
    pub async fn start(config: MarketConfig) -> Result<Self> {
        // Its transactions make a large future, which need not be part of every caller's.
        Box::pin(Self::open(config)).await
    }

    async fn open(config: MarketConfig) -> Result<Self> {
        let folder = config.folder.join("creator");
        // Whoever made the task administers this market, too.
        let admin = Some(load_wallet(&folder)?.address());
        let devnet = atoma_devnet::spawn(atoma_devnet::Config { admin, ..config.devnet.clone() }).await?;
        let chain = ChainClient::connect(devnet.deployment().clone()).await?;
        let creator = funded_wallet(chain.deployment(), &chain, &folder).await?;
        let mut tasks = Vec::with_capacity(config.wares.len());
        for ware in &config.wares {
            tasks.push(
                offer(&chain, &creator, (ware.engine.model(), ware.role), ceiling(config.price)).await?,
            );
        }
        let task = *tasks.first().context("there is nothing to sell")?;
        let mut nodes = Vec::with_capacity(usize::from(config.nodes));
        for index in 0..config.nodes {
            nodes.push(start_node(&chain, &config, &tasks, index).await?);
        }
        Ok(Self { devnet, chain, creator, task, nodes })
    }

    /// Stops in order: nodes settle what they hold, then the chain goes.
    pub async fn drain(self) -> Result<()> {
        let drained = futures::future::join_all(self.nodes.into_iter().map(|node| node.handle.drain())).await;
        self.devnet.shutdown().await;
        drained.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(())
    }
}

fn load_wallet(folder: &Path) -> Result<Wallet> {
    crate::home::create_private(folder)?;
    Ok(Wallet::load_or_create(folder.join("wallet.key"))?)
}

/// The folder's wallet, with coins to start with if it has none.
pub async fn funded_wallet(deployment: &Deployment, chain: &ChainClient, folder: &Path) -> Result<Wallet> {
    let wallet = load_wallet(folder)?;
    let balances = chain.balances(wallet.address()).await?;
    if balances.gas == 0 || balances.coin.is_zero() {
        fund(deployment, wallet.address()).await?;
    }
    Ok(wallet)
}

/// Coins from the devnet's faucet: enough to run a node or to buy stacks for a long time.
async fn fund(deployment: &Deployment, recipient: Address) -> Result<()> {
    let body = serde_json::json!({ "recipient": recipient, "sui": GRANT_GAS_MIST, "usd": GRANT_COINS });
    let response = reqwest::Client::new()
        .post(format!("{}/devnet/v1/faucet", deployment.rpc_url))
        .json(&body)
        .send()
        .await
        .context("the faucet does not answer")?;
    response.error_for_status().context("the faucet refused")?;
    Ok(())
}

/// The task that sells a model, created with its model if it is not there.
pub(crate) async fn offer(
    chain: &ChainClient,
    creator: &Wallet,
    (label, role): (&str, u8),
    ceiling: Price,
) -> Result<TaskId> {
    let models = chain.models().await?;
    let model = match models.iter().find(|row| row.label == label && !row.disabled) {
        Some(row) => row.id,
        None => add_model(chain, creator, label, role).await?,
    };
    let tasks = chain.tasks().await?;
    match tasks.iter().find(|task| task.model == model && task.role == role && !task.deprecated) {
        Some(task) => Ok(task.id),
        None => create_task(chain, creator, (model, role), ceiling).await,
    }
}

async fn add_model(chain: &ChainClient, creator: &Wallet, label: &str, role: u8) -> Result<ModelId> {
    let call = Call::AddModel(AddModel {
        label: label.to_owned(),
        modality: role,
        weights_root: Hash32::ZERO,
        creator_fee_permille: CREATOR_FEE_PERMILLE,
    });
    let executed = creator.execute(chain, call).await?;
    let added = executed.events.iter().find_map(|event| match event {
        Event::ModelAdded(added) => Some(added.model),
        _ => None,
    });
    added.context("adding the model executed without its event")
}

fn ceiling(price: Price) -> Price {
    Price(price.0.saturating_mul(2))
}

async fn create_task(
    chain: &ChainClient,
    creator: &Wallet,
    (model, role): (ModelId, u8),
    ceiling: Price,
) -> Result<TaskId> {
    let call = Call::CreateTask(CreateTask {
        role,
        model,
        level: 0,
        exact: false,
        price_ceiling: ceiling,
        weights: UnitWeights::default(),
        surcharge_permille: SURCHARGE_PERMILLE,
        min_collateral: chain.params().await?.min_collateral,
        min_reputation: 0,
        whitelist: Vec::new(),
        echelons: vec![ECHELON],
        audit: AuditTerms::default(),
    });
    let executed = creator.execute(chain, call).await?;
    let created = executed.events.iter().find_map(|event| match event {
        Event::TaskCreated(created) => Some(created.task),
        _ => None,
    });
    created.context("creating the task executed without its event")
}

async fn start_node(
    chain: &ChainClient,
    config: &MarketConfig,
    tasks: &[TaskId],
    index: u8,
) -> Result<RunningNode> {
    let folder = config.folder.join(format!("node-{}", u16::from(index) + 1));
    let wallet = funded_wallet(chain.deployment(), chain, &folder).await?;
    let receipt_key_file = folder.join("receipt.key");
    let receipt_key = atoma_node::load_or_create_key(&receipt_key_file)?;
    let listen = free_address()?;
    let price = price(config.price, index);
    let offering = |task: &TaskId| Offering { task: *task, price, max_units: Units(100_000_000) };
    let registration = Registration {
        endpoint: format!("http://{listen}"),
        receipt_key: receipt_key.public_key(),
        payout: None,
        collateral: None,
        offerings: tasks.iter().map(offering).collect(),
    };
    let node = atoma_node::register_if_needed(chain, &wallet, &registration).await?;
    let node_config = NodeConfig {
        listen,
        settle: config.settle,
        admission: config.admission,
        receipt_key: receipt_key_file,
        wallet: folder.join("wallet.key"),
        ..NodeConfig::test(node, tasks.to_vec(), &folder)
    };
    let engines = config.wares.iter().map(|ware| Arc::clone(&ware.engine)).collect();
    let handle = spawn_node(chain, &wallet, &node_config, engines).await?;
    Ok(RunningNode { handle, wallet, config: node_config })
}

/// Starts a registered node.
pub async fn spawn_node(
    chain: &ChainClient,
    wallet: &Wallet,
    config: &NodeConfig,
    engines: Vec<Arc<dyn Engine>>,
) -> Result<NodeHandle> {
    let market = Arc::new(SuiMarket::new(chain.clone(), wallet.clone()));
    let receipt_key = atoma_node::load_or_create_key(&config.receipt_key)?;
    Ok(atoma_node::spawn(config.clone(), Parts { market, receipt_key, engines }).await?)
}

/// What the node with this index asks.
fn price(lowest: Price, index: u8) -> Price {
    let steps = u64::from(index) % PRICE_STEPS;
    Price(lowest.0.saturating_add(lowest.0 / PRICE_STEPS * steps))
}

/// An address that nobody listens on right now: a node's endpoint is on chain before it starts.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
