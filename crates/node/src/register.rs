//! Putting a node on chain: once, and again only what has changed.

use atoma_chain::{Call, ChainClient, ChainError, RegisterNode, Subscribe, Wallet};
use atoma_types::onchain::{Abort, Event, Node, Slot, Task};
use atoma_types::{Address, Amount, ArithmeticError, NodeId, Price, PublicKey, TaskId, Units};

/// What a node wants to be known for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where clients reach it, at most 256 bytes.
    pub endpoint: String,
    pub receipt_key: PublicKey,
    /// Who is paid; the wallet itself if absent.
    pub payout: Option<Address>,
    /// Collateral to lock; what market and tasks ask for if absent.
    pub collateral: Option<Amount>,
    pub offerings: Vec<Offering>,
}

/// One task at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offering {
    pub task: TaskId,
    pub price: Price,
    /// Most units of one stack.
    pub max_units: Units,
}

/// A node could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("task {0} does not exist in this market")]
    UnknownTask(TaskId),
    #[error("collateral and fee together leave the range of amounts")]
    Amount(#[from] ArithmeticError),
    #[error("the registration executed, but no node came of it")]
    NoNode,
}

/// Registers the wallet's node under this receipt key if there is none yet, corrects its endpoint, and
/// subscribes to what is missing. Safe to repeat.
pub async fn register_if_needed(
    chain: &ChainClient,
    wallet: &Wallet,
    registration: &Registration,
) -> Result<NodeId, RegisterError> {
    let node = match find(chain, wallet, registration).await? {
        Some(node) => {
            if node.endpoint != registration.endpoint {
                let endpoint = registration.endpoint.clone();
                wallet.execute(chain, Call::SetEndpoint { node: node.id, endpoint }).await?;
            }
            node.id
        }
        None => register(chain, wallet, registration).await?,
    };
    for offering in &registration.offerings {
        subscribe(chain, wallet, node, offering).await?;
    }
    Ok(node)
}

async fn find(
    chain: &ChainClient,
    wallet: &Wallet,
    registration: &Registration,
) -> Result<Option<Node>, RegisterError> {
    for id in chain.owned_nodes(wallet.address()).await? {
        let node = chain.node(id).await?;
        let own = |node: &Node| node.receipt_key == registration.receipt_key && node.disabled_ms == 0;
        if let Some(node) = node.filter(own) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

async fn register(
    chain: &ChainClient,
    wallet: &Wallet,
    registration: &Registration,
) -> Result<NodeId, RegisterError> {
    let params = chain.params().await?;
    let mut collateral = registration.collateral.unwrap_or_default().max(params.min_collateral);
    for offering in &registration.offerings {
        collateral = collateral.max(task(chain, offering.task).await?.min_collateral);
    }
    let executed = wallet
        .execute(
            chain,
            Call::RegisterNode(RegisterNode {
                payout: registration.payout.unwrap_or(wallet.address()),
                endpoint: registration.endpoint.clone(),
                receipt_key: registration.receipt_key,
                payment: params.registration_fee.add(collateral)?,
            }),
        )
        .await?;
    let registered = executed.events.iter().find_map(|event| match event {
        Event::NodeRegistered(event) => Some(event.node),
        _ => None,
    });
    registered.ok_or(RegisterError::NoNode)
}

async fn subscribe(
    chain: &ChainClient,
    wallet: &Wallet,
    node: NodeId,
    offering: &Offering,
) -> Result<(), RegisterError> {
    let echelons = task(chain, offering.task).await?.echelons;
    let standing = |slot: &Slot| slot.node == node && slot.is_standing();
    if chain.all_offers(offering.task).await?.iter().any(standing) {
        return Ok(());
    }
    let Offering { task, price, max_units } = *offering;
    // A task has at least one kind of hardware; this node takes itself for the first.
    let echelon = echelons.first().copied().unwrap_or_default();
    let subscribe = Subscribe { node, task, price, max_units, echelon, verifier: false };
    match wallet.execute(chain, Call::Subscribe(subscribe)).await {
        Err(error) if error.abort() == Some(Abort::AlreadySubscribed) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn task(chain: &ChainClient, id: TaskId) -> Result<Task, RegisterError> {
    chain.task(id).await?.ok_or(RegisterError::UnknownTask(id))
}
