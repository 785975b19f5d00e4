//! Opening a dispute.

use super::walrus::epoch_of;
use crate::claim::chance::is_covered;
use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::ed25519;
use crate::limits::{self, ensure};
use crate::stack::{channel, channel_end_ms, free};
use crate::{Result, VERSION};
use atoma_types::message::{AUTH_LIFE_MAX_MS, Message};
use atoma_types::onchain::event::DisputeOpened;
use atoma_types::onchain::{Abort, Blob, Channel, Dispute, DisputeState, Node, Reserve, Stack};
use atoma_types::{Amount, Hash32, NodeId, RequestAuth, Units};

/// Disputes open at a time, and ever, in one stack.
pub(super) const OPEN_MAX: u64 = 4;
pub(super) const DISPUTES_MAX: usize = 64;

/// Arguments of [`open`]: the fields of the `RequestAuth` beside its stack, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub node: NodeId,
    pub hops: u8,
    pub nonce: u64,
    pub body_hash: Vec<u8>,
    pub max_units: Units,
    pub expires_ms: u64,
    pub signature: Vec<u8>,
}

/// When the node must have answered.
struct Queue {
    tail_ms: u64,
    deadline_ms: u64,
    is_full: bool,
}

/// Asks the node on chain for the answer to a request that was made available on Walrus. Keeps `max_units`
/// of the channel's free grant. The coin pays the bond; the rest stays the owner's.
pub fn open(
    db: &mut AtomaDb,
    stack: &mut Stack,
    blob: &Blob,
    mut coin: Coin,
    request: Request,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    ensure(ctx.sender() == stack.owner, Abort::NotAuthorized)?;
    let body_hash = Hash32(limits::check_bytes(&request.body_hash)?);
    let row = channel(stack, request.node)?;
    let node = db.node(request.node)?;
    check_window(stack, row, node, &request, clock_ms)?;
    let request_hash = check_request(stack, &request, body_hash)?;
    check_room(stack, row, &request)?;
    let cost = row.price.cost(request.max_units)?;
    let is_covered = is_covered(&stack.params, stack.exact, cost, node.collateral)?;
    ensure(stack.level != 2 || is_covered, Abort::ClaimTooLarge)?;
    let walrus_epoch = epoch_of(blob)?;
    let bond = stack.params.bond;
    ensure(coin.balance >= bond, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(bond)?;
    let queue = queue(stack, node, clock_ms)?;
    let open_disputes = node.open_disputes.checked_add(1).ok_or(Abort::Arithmetic)?;

    coin.balance = change;
    let dispute = Dispute {
        id: ctx.fresh_id(),
        request_hash,
        nonce: request.nonce,
        body_hash,
        max_units: request.max_units,
        blob: Hash32(blob.blob_id),
        blob_object: blob.id,
        walrus_epoch,
        opened_ms: clock_ms,
        deadline_ms: queue.deadline_ms,
        is_overflow: queue.is_full,
        bond,
        balance: bond,
        ..blank(stack, row)
    };
    let (id, units) = (dispute.id, request.max_units);
    stack.disputed.reserves.push(Reserve { dispute: id, node: request.node, units });
    stack.disputed.nonces.push(request.nonce);
    stack.disputed.open += 1;
    let node = db.node_mut(request.node)?;
    node.open_disputes = open_disputes;
    node.queue_tail_ms = queue.tail_ms;
    ctx.emit(opened(&dispute));
    ctx.disputes.push(dispute);
    ctx.return_change(coin);
    Ok(())
}

/// A request can be disputed until `dispute_window_ms` after it expired, and after the channel, the node or
/// the stack ended.
fn check_window(stack: &Stack, row: &Channel, node: &Node, request: &Request, clock_ms: u64) -> Result {
    let latest_ms = clock_ms.checked_add(AUTH_LIFE_MAX_MS).ok_or(Abort::Arithmetic)?;
    let is_bounded = request.expires_ms <= latest_ms && request.expires_ms <= stack.expires_ms;
    ensure(is_bounded, Abort::BadArgument)?;
    let until_ms = request.expires_ms.min(channel_end_ms(stack, row, node));
    let until_ms = until_ms.checked_add(stack.params.dispute_window_ms).ok_or(Abort::Arithmetic)?;
    ensure(clock_ms <= until_ms, Abort::DisputeOver)
}

/// The user signed it for this node, and it was not disputed before.
fn check_request(stack: &Stack, request: &Request, body_hash: Hash32) -> Result<Hash32> {
    ensure(request.hops <= 1, Abort::BadArgument)?;
    ensure(!stack.disputed.nonces.contains(&request.nonce), Abort::AlreadyDisputed)?;
    let auth = RequestAuth {
        db: stack.db,
        stack: stack.id,
        node: request.node,
        hops: request.hops,
        nonce: request.nonce,
        body_hash,
        max_units: request.max_units,
        expires_ms: request.expires_ms,
    };
    let bytes = auth.signed_bytes();
    ensure(ed25519::verify(&stack.request_key, &bytes, &request.signature), Abort::BadSignature)?;
    Ok(Hash32::of(&bytes))
}

/// There is room for one more, in disputes and in units.
fn check_room(stack: &Stack, row: &Channel, request: &Request) -> Result {
    ensure(stack.disputed.open < OPEN_MAX, Abort::TooManyDisputes)?;
    ensure(stack.disputed.nonces.len() < DISPUTES_MAX, Abort::TooManyDisputes)?;
    ensure(!request.max_units.is_zero(), Abort::BadArgument)?;
    ensure(request.max_units <= free(stack, row)?, Abort::NoFreeUnits)
}

/// The deadline queues behind the node's other disputes, at the node's declared rate, by at most
/// `queue_max_ms`: a node cannot put off everybody by disputing itself. One that is opened when the queue is
/// full the node may refuse for nothing: nobody earns from refusals, or slashes, by flooding it.
fn queue(stack: &Stack, node: &Node, clock_ms: u64) -> Result<Queue> {
    let params = &stack.params;
    let interval_ms = node.answer_interval_ms.min(params.answer_interval_max_ms);
    let wanted_ms = node.queue_tail_ms.max(clock_ms).checked_add(interval_ms).ok_or(Abort::Arithmetic)?;
    let latest_ms = clock_ms.checked_add(params.queue_max_ms).ok_or(Abort::Arithmetic)?;
    let tail_ms = wanted_ms.min(latest_ms);
    let deadline_ms = tail_ms.checked_add(params.answer_window_ms).ok_or(Abort::Arithmetic)?;
    Ok(Queue { tail_ms, deadline_ms, is_full: wanted_ms > latest_ms })
}

/// A dispute with the stack's terms, and nothing of its own yet.
fn blank(stack: &Stack, row: &Channel) -> Dispute {
    Dispute {
        id: stack.id,
        version: VERSION,
        db: stack.db,
        stack: stack.id,
        node: row.node,
        payout: row.payout,
        opener: stack.owner,
        request_hash: Hash32::ZERO,
        nonce: 0,
        body_hash: Hash32::ZERO,
        max_units: Units::ZERO,
        blob: Hash32::ZERO,
        blob_object: stack.id,
        walrus_epoch: 0,
        opened_ms: 0,
        deadline_ms: 0,
        late_ms: 0,
        is_overflow: false,
        state: DisputeState::Open,
        body_bytes: Vec::new(),
        body_demanded: false,
        task: stack.task,
        level: stack.level,
        exact: stack.exact,
        echelons: stack.echelons.clone(),
        price: row.price,
        creator: stack.creator,
        creator_fee_permille: stack.creator_fee_permille,
        params: stack.params.clone(),
        claim: None,
        dues: Vec::new(),
        bond: Amount::ZERO,
        balance: Amount::ZERO,
    }
}

fn opened(dispute: &Dispute) -> DisputeOpened {
    DisputeOpened {
        dispute: dispute.id,
        stack: dispute.stack,
        node: dispute.node,
        opener: dispute.opener,
        request_hash: dispute.request_hash,
        nonce: dispute.nonce,
        body_hash: dispute.body_hash,
        max_units: dispute.max_units,
        blob: dispute.blob,
        blob_object: dispute.blob_object,
        bond: dispute.bond,
        deadline_ms: dispute.deadline_ms,
    }
}
