//! Nodes: registration, what they may change, and the way out.

use crate::Result;
use crate::context::{Coin, Owned, TxContext};
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::slash;
use crate::treasury::Treasury;
use atoma_types::onchain::event::{
    AnswerIntervalChanged, CollateralAdded, CollateralWithdrawn, DuesWithdrawn, Fault, KeyRotated,
    NodeDisabled, NodeEndpointChanged, NodePayoutChanged, NodeRegistered, ReceiptKeyRotated,
};
use atoma_types::onchain::{Abort, Attestation, Node, Seal};
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
    treasury.check(db)?;
    let Registration { payout, endpoint, receipt_key } = registration;
    limits::check_endpoint(&endpoint)?;
    let receipt_key = limits::check_key(&receipt_key)?;
    let params = db.params_at(ctx.epoch());
    let (fee, minimum, answer_interval_ms) =
        (params.registration_fee, params.min_collateral, params.answer_interval_max_ms);
    ensure(coin.balance >= fee, Abort::InsufficientPayment)?;
    let collateral = coin.balance.sub(fee)?;
    ensure(collateral >= minimum, Abort::Collateral)?;
    let fees = treasury.balance.add(fee)?;
    let pool = db.pool.add(collateral)?;

    treasury.balance = fees;
    db.pool = pool;
    let node = NodeId(db.nodes.size() + 1);
    let owner = ctx.sender();
    let row = Node {
        id: node,
        owner,
        payout,
        endpoint: endpoint.clone(),
        receipt_key,
        seal: Seal::default(),
        attestation: Attestation::default(),
        collateral,
        raised_ms: 0,
        bookings: Vec::new(),
        timeout_pot: Amount::ZERO,
        timeout_until_ms: 0,
        convictions: 0,
        reputation: limits::REPUTATION_BASE,
        reputation_epoch: ctx.epoch(),
        answer_interval_ms,
        queue_tail_ms: 0,
        disabled_ms: 0,
        exit_ms: 0,
        exit_epoch: 0,
        open_audits: 0,
        open_disputes: 0,
        writes: 0,
        writes_epoch: 0,
        registered_epoch: ctx.epoch(),
    };
    db.nodes.set(node.0, row);
    let badge = NodeBadge { id: ctx.fresh_id(), db: db.id, node };
    ctx.transfer(Owned::NodeBadge(badge), owner);
    ctx.emit(NodeRegistered { node, owner, payout, endpoint, receipt_key, collateral, fee });
    Ok(())
}

/// Changes where clients reach the node.
pub fn set_endpoint(db: &mut AtomaDb, badge: &NodeBadge, endpoint: String, ctx: &mut TxContext) -> Result {
    check_enabled(db, badge)?;
    limits::check_endpoint(&endpoint)?;
    let node = db.node_mut(badge.node)?;
    count_write(node, ctx.epoch())?;

    node.endpoint.clone_from(&endpoint);
    ctx.emit(NodeEndpointChanged { node: badge.node, endpoint });
    Ok(())
}

/// Changes who is credited for channels opened, and verdicts revealed, from now on. A disabled node may, for the
/// verdicts it still owes.
pub fn set_payout(db: &mut AtomaDb, badge: &NodeBadge, payout: Address, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    db.badge_node(badge)?;
    let node = db.node_mut(badge.node)?;
    count_write(node, ctx.epoch())?;

    node.payout = payout;
    ctx.emit(NodePayoutChanged { node: badge.node, payout });
    Ok(())
}

/// Declares how long the node needs per disputed request.
pub fn set_answer_interval(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    interval_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    let most_ms = db.params_at(ctx.epoch()).answer_interval_max_ms;
    ensure(interval_ms >= 1 && interval_ms <= most_ms, Abort::BadArgument)?;
    let node = db.node_mut(badge.node)?;
    count_write(node, ctx.epoch())?;

    node.answer_interval_ms = interval_ms;
    ctx.emit(AnswerIntervalChanged { node: badge.node, interval_ms });
    Ok(())
}

/// Adds the whole coin to the collateral. Slots weigh as before until they are written anew.
pub fn add_collateral(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    coin: Coin,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    ensure(!coin.balance.is_zero(), Abort::BadArgument)?;
    let pool = db.pool.add(coin.balance)?;
    let node = db.node_mut(badge.node)?;
    let collateral = node.collateral.add(coin.balance)?;
    count_write(node, ctx.epoch())?;

    node.collateral = collateral;
    node.raised_ms = clock_ms;
    db.pool = pool;
    ctx.emit(CollateralAdded { node: badge.node, amount: coin.balance });
    Ok(())
}

/// Changes the key that signs receipts, at once.
pub fn rotate_receipt_key(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    receipt_key: Vec<u8>,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    let receipt_key = limits::check_key(&receipt_key)?;
    let node = db.node_mut(badge.node)?;
    count_write(node, ctx.epoch())?;

    node.receipt_key = receipt_key;
    ctx.emit(ReceiptKeyRotated { node: badge.node, receipt_key });
    Ok(())
}

/// Arguments of [`rotate_key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    pub evidence: Vec<u8>,
    pub blob: Vec<u8>,
    pub seal_key: Vec<u8>,
    pub device_types: Vec<u8>,
    pub counter: u64,
    pub expires_ms: u64,
}

/// Publishes a seal key, valid from the next epoch on, and what attests it: H of the evidence, the blob that
/// holds it, until when it counts. A node that is not confidential leaves all of those empty and 0. The
/// counter rises, so that an old statement cannot be put back.
pub fn rotate_key(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    rotation: Rotation,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    check_rotation(&rotation, clock_ms)?;
    let hold_ms = db.params_at(ctx.epoch()).hold_ms;
    let node = db.node_mut(badge.node)?;
    ensure(rotation.counter > node.attestation.counter, Abort::StaleCounter)?;
    count_write(node, ctx.epoch())?;

    let Rotation { evidence, blob, seal_key, device_types, counter, expires_ms } = rotation;
    node.seal = rotated(&node.seal, seal_key, hold_ms, clock_ms, ctx.epoch());
    node.attestation = Attestation { evidence, blob, device_types, counter, expires_ms };
    let Attestation { evidence, blob, device_types, .. } = node.attestation.clone();
    ctx.emit(KeyRotated {
        node: badge.node,
        seal_key: node.seal.key.clone(),
        epoch: node.seal.epoch,
        old_until_ms: node.seal.old_until_ms,
        evidence,
        blob,
        device_types,
        counter,
        expires_ms,
    });
    Ok(())
}

fn check_rotation(rotation: &Rotation, clock_ms: u64) -> Result {
    let Rotation { evidence, blob, seal_key, device_types, expires_ms, .. } = rotation;
    ensure(!seal_key.is_empty() && seal_key.len() <= limits::SEAL_KEY_BYTES_MAX, Abort::BadArgument)?;
    if evidence.is_empty() {
        let is_bare = blob.is_empty() && device_types.is_empty() && *expires_ms == 0;
        return ensure(is_bare, Abort::BadArgument);
    }
    ensure(evidence.len() == 32 && blob.len() == 32, Abort::BadArgument)?;
    ensure(device_types.len() <= limits::DEVICE_TYPES_MAX, Abort::BadArgument)?;
    ensure(*expires_ms > clock_ms, Abort::BadArgument)
}

/// The key in force stays so until the next epoch and can be used to open for two holds more, an epoch being
/// shorter than a hold. A key that was to come into force is replaced.
fn rotated(seal: &Seal, key: Vec<u8>, hold_ms: u64, clock_ms: u64, epoch: u64) -> Seal {
    let old_until_ms = clock_ms.saturating_add(hold_ms).saturating_add(hold_ms);
    Seal { key, epoch: epoch.saturating_add(1), old_key: seal.key_at(epoch).to_vec(), old_until_ms }
}

/// Takes the node out of every draw and every new grant, for good. What it holds it may still settle, for
/// the close delay. Works at any version: it is the first step of the way out.
pub fn disable(db: &mut AtomaDb, badge: &NodeBadge, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(db.badge_node(badge)?.disabled_ms == 0, Abort::NodeDisabled)?;
    let exit_after_ms = db.params_at(ctx.epoch()).exit_ms;
    let node = db.node_mut(badge.node)?;

    fix_exit(node, exit_after_ms, clock_ms, ctx);
    Ok(())
}

/// Disables a node and fixes when its collateral can leave.
pub(crate) fn fix_exit(node: &mut Node, exit_after_ms: u64, clock_ms: u64, ctx: &mut TxContext) {
    // 0 means enabled.
    let at_ms = clock_ms.max(1);
    node.disabled_ms = at_ms;
    node.exit_ms = at_ms.saturating_add(exit_after_ms);
    node.exit_epoch = ctx.epoch().saturating_add(2);
    ctx.emit(NodeDisabled { node: node.id, at_ms, exit_ms: node.exit_ms, exit_epoch: node.exit_epoch });
}

/// Pays the collateral to the sender, once nothing can end against the node any more. Works at any version:
/// it is a way out.
pub fn exit(db: &mut AtomaDb, badge: &NodeBadge, clock_ms: u64, ctx: &mut TxContext) -> Result {
    let node = db.badge_node(badge)?;
    ensure(node.disabled_ms != 0, Abort::TooEarly)?;
    ensure(clock_ms >= node.exit_ms && ctx.epoch() >= node.exit_epoch, Abort::TooEarly)?;
    ensure(node.open_audits == 0 && node.open_disputes == 0, Abort::OpenDuties)?;
    let amount = node.collateral;
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let pool = db.pool.sub(amount)?;

    slash::settle_bookings(db, badge.node, true, clock_ms, ctx)?;
    db.pool = pool;
    db.node_mut(badge.node)?.collateral = Amount::ZERO;
    ctx.pay_sender(amount);
    ctx.emit(CollateralWithdrawn { node: badge.node, to: ctx.sender(), amount });
    Ok(())
}

/// Credits what was booked against a node and can be paid by now. By anyone, at any version.
pub fn settle_bookings(db: &mut AtomaDb, node: NodeId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    let is_settled = slash::settle_bookings(db, node, false, clock_ms, ctx)?;
    ensure(is_settled, Abort::NothingDue)
}

/// Pays what the database owes the sender, at any version.
pub fn withdraw_due(db: &mut AtomaDb, ctx: &mut TxContext) -> Result {
    let to = ctx.sender();
    let amount = db.due_of(to);
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let pool = db.pool.sub(amount)?;
    let dues_total = db.dues_total.sub(amount)?;

    db.pool = pool;
    db.dues_total = dues_total;
    db.dues.remove(to);
    ctx.pay_sender(amount);
    ctx.emit(DuesWithdrawn { to, amount });
    Ok(())
}

/// Reputation at `epoch`: it grows by one per epoch, to at most 100.
pub fn reputation(node: &Node, epoch: u64) -> u64 {
    let epochs = epoch.saturating_sub(node.reputation_epoch);
    node.reputation.saturating_add(epochs).min(limits::REPUTATION_MAX)
}

/// Takes points of reputation, which then grows from the present epoch on.
pub(crate) fn fault(node: &mut Node, points: u64, ctx: &mut TxContext) {
    let epoch = ctx.epoch();
    node.reputation = reputation(node, epoch).saturating_sub(points);
    node.reputation_epoch = epoch;
    ctx.emit(Fault { node: node.id, reputation: node.reputation, epoch });
}

/// The same, unless a fault was noted in this epoch already.
pub(crate) fn fault_once(node: &mut Node, points: u64, ctx: &mut TxContext) {
    if node.reputation_epoch < ctx.epoch() {
        fault(node, points, ctx);
    }
}

/// The badge's node at this version, enabled.
pub(crate) fn check_enabled<'a>(db: &'a AtomaDb, badge: &NodeBadge) -> Result<&'a Node> {
    db.check_version()?;
    let node = db.badge_node(badge)?;
    ensure(node.disabled_ms == 0, Abort::NodeDisabled)?;
    Ok(node)
}

/// Counts a write of the node's in this epoch. The last check of the entry that makes it.
pub(crate) fn count_write(node: &mut Node, epoch: u64) -> Result {
    let writes = if node.writes_epoch == epoch { node.writes } else { 0 };
    ensure(writes < limits::WRITES_MAX, Abort::TooManyWrites)?;

    node.writes = writes + 1;
    node.writes_epoch = epoch;
    Ok(())
}
