//! Nodes: registration, endpoint, and the way out.

use crate::context::{Coin, Owned, TxContext};
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::treasury::Treasury;
use crate::{Result, VERSION};
use atoma_types::onchain::event::{CollateralWithdrawn, NodeDisabled, NodeEndpointChanged, NodeRegistered};
use atoma_types::onchain::{Abort, Node};
use atoma_types::{Address, Amount, NodeId};
use serde::{Deserialize, Serialize};

/// The right to act for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBadge {
    pub id: Address,
    pub db: Address,
    pub node: NodeId,
}

/// Arguments of [`register`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub payout: Address,
    pub endpoint: String,
    pub receipt_key: Vec<u8>,
}

/// Registers a node of the sender: the fee goes to the treasury, the rest of the coin is collateral. The
/// badge goes to the sender.
pub fn register(
    db: &mut AtomaDb,
    treasury: &mut Treasury,
    coin: Coin,
    registration: Registration,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    ensure(treasury.version == VERSION, Abort::Version)?;
    ensure(treasury.db == db.id, Abort::WrongDb)?;
    let Registration { payout, endpoint, receipt_key } = registration;
    limits::check_endpoint(&endpoint)?;
    let receipt_key = limits::check_key(&receipt_key)?;
    let fee = db.params.registration_fee;
    ensure(coin.balance >= fee, Abort::InsufficientPayment)?;
    let collateral = coin.balance.sub(fee)?;
    ensure(collateral >= db.params.min_collateral, Abort::Collateral)?;
    let fees = treasury.balance.add(fee)?;
    let all_collateral = db.collateral.add(collateral)?;

    treasury.balance = fees;
    db.collateral = all_collateral;
    let node = NodeId(db.nodes.size() + 1);
    let owner = ctx.sender();
    let row = Node {
        id: node,
        owner,
        payout,
        endpoint: endpoint.clone(),
        receipt_key,
        collateral,
        reputation: limits::REPUTATION_BASE,
        registered_epoch: ctx.epoch(),
        disabled_ms: 0,
    };
    db.nodes.add(node.0, row);
    let badge = NodeBadge { id: ctx.fresh_id(), db: db.id, node };
    ctx.transfer(Owned::NodeBadge(badge), owner);
    ctx.emit(NodeRegistered { node, owner, payout, endpoint, receipt_key, collateral, fee });
    Ok(())
}

/// Changes where clients reach the node.
pub fn set_endpoint(db: &mut AtomaDb, badge: &NodeBadge, endpoint: String, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    limits::check_endpoint(&endpoint)?;
    let node = db.badge_node_mut(badge)?;
    ensure(node.disabled_ms == 0, Abort::NodeDisabled)?;

    node.endpoint.clone_from(&endpoint);
    ctx.emit(NodeEndpointChanged { node: badge.node, endpoint });
    Ok(())
}

/// Takes the node out of every draw and every new grant, for good. What it holds it may still settle.
pub fn disable(db: &mut AtomaDb, badge: &NodeBadge, clock_ms: u64, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    let node = db.badge_node_mut(badge)?;
    ensure(node.disabled_ms == 0, Abort::NodeDisabled)?;

    // 0 means enabled.
    let at_ms = clock_ms.max(1);
    node.disabled_ms = at_ms;
    ctx.emit(NodeDisabled { node: badge.node, at_ms });
    Ok(())
}

/// Pays the collateral to the sender once `exit_ms` have passed since the node was disabled. Works at any
/// version: it is a way out.
pub fn withdraw_collateral(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let exit_ms = db.params.exit_ms;
    let node = db.badge_node(badge)?;
    ensure(node.disabled_ms != 0, Abort::TooEarly)?;
    let open_ms = node.disabled_ms.checked_add(exit_ms).ok_or(Abort::Arithmetic)?;
    ensure(clock_ms >= open_ms, Abort::TooEarly)?;
    let amount = node.collateral;
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let rest = db.collateral.sub(amount)?;

    db.collateral = rest;
    db.badge_node_mut(badge)?.collateral = Amount::ZERO;
    ctx.pay_sender(amount);
    ctx.emit(CollateralWithdrawn { node: badge.node, to: ctx.sender(), amount });
    Ok(())
}

/// Reputation at `epoch`: it grows by one per epoch, to at most 100.
pub fn reputation(node: &Node, epoch: u64) -> u64 {
    let epochs = epoch.saturating_sub(node.registered_epoch);
    node.reputation.saturating_add(epochs).min(limits::REPUTATION_MAX)
}
