//! Settling a voucher at level 2.

use super::chance::is_covered;
use super::channel::{check, is_too_small, promote, release};
use super::{Terms, ensure_released};
use crate::Result;
use crate::beacon::Beacon;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::stack::{
    Settlement, channel, channel_end_ms, channel_mut, check_voucher, emit_reserves, make_room,
};
use atoma_types::onchain::event::ClaimQueued;
use atoma_types::onchain::{Abort, Channel, Node, Queued, Stack};
use atoma_types::{Hash32, NodeId, Units};

/// Claims what the user's voucher acknowledges beyond what is settled, claimed and queued. Only the node's
/// owner may: a claim is its word that it can prove every record under the root, and a user could sign a
/// root that no record is under. A voucher with no more units changes nothing, at any time.
pub fn settle(
    db: &AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    settlement: Settlement,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, stack)?;
    ensure(stack.level == 2, Abort::WrongLevel)?;
    let root = Hash32(limits::check_bytes(&settlement.root)?);
    let row = channel(stack, settlement.node)?;
    let before = acknowledged(row);
    if settlement.units <= before {
        return Ok(());
    }
    let node = db.node(settlement.node)?;
    ensure(ctx.sender() == node.owner, Abort::NotAuthorized)?;
    ensure(node.convictions == 0, Abort::Convicted)?;
    check_voucher(stack, row, node, before, &settlement, root, clock_ms)?;
    let is_last = clock_ms >= channel_end_ms(stack, row, node);
    ensure(is_last || has_verifiers(db, stack, node)?, Abort::NotEnoughVerifiers)?;
    let amount = row.price.cost(settlement.units)?.sub(row.price.cost(claimed(row))?)?;
    let is_covered = is_covered(&stack.params, stack.exact, amount, node.collateral)?;
    ensure(is_covered, Abort::ClaimTooLarge)?;

    // An abort changes nothing: the rest works on copies.
    let (mut draft, mut draft_ctx) = (stack.clone(), ctx.clone());
    let queued = Queued { units: settlement.units, count: settlement.count, root };
    enqueue(db, beacon, &mut draft, settlement.node, queued, clock_ms, &mut draft_ctx)?;
    (*stack, *ctx) = (draft, draft_ctx);
    Ok(())
}

/// Whether enough others are opted in to judge this node. That their lists are not diluted was asked when the
/// stack was bought; asked here, a swarm that joins and leaves could keep nodes from settling what they served.
/// For the same reason nothing is asked once the channel has ended: verifiers that left meanwhile could.
fn has_verifiers(db: &AtomaDb, stack: &Stack, node: &Node) -> Result<bool> {
    let market = db.market(stack.task)?;
    let live = market.verifiers_in(&stack.echelons)?.live;
    Ok(live.saturating_sub(market.verifiers_owned(node.owner)) >= stack.params.min_verifiers)
}

/// The voucher is queued, in place of an older one, and becomes a claim at once if none is running or the
/// running one's hold is over.
fn enqueue(
    db: &AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    node: NodeId,
    queued: Queued,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    if is_over(db, stack, node, clock_ms)? {
        release(db, stack, node, clock_ms, ctx)?;
    }
    let Queued { units, count, root } = queued;
    let (reserves, changed) = make_room(stack, channel(stack, node)?, units)?;
    stack.disputed.reserves = reserves;
    let row = channel_mut(stack, node)?;
    row.queued = Some(queued);
    let is_running = row.claim.is_some();
    ctx.emit(ClaimQueued { target: stack.id, node, units, count, root });
    emit_reserves(stack.id, &changed, ctx);
    if is_running {
        return Ok(());
    }
    let row = channel(stack, node)?;
    let amount = row.price.cost(units)?.sub(row.price.cost(row.settled_units)?)?;
    ensure(!is_too_small(stack, row, db.node(node)?, amount, clock_ms), Abort::ClaimTooSmall)?;
    promote(db, beacon, stack, node, clock_ms, ctx)
}

/// Units that the channel's newest voucher acknowledges.
fn acknowledged(row: &Channel) -> Units {
    row.queued.as_ref().map_or(claimed(row), |queued| queued.units)
}

/// Units up to which the channel has claimed: where the next claim begins.
fn claimed(row: &Channel) -> Units {
    row.claim.as_ref().map_or(row.settled_units, |claim| claim.to_units)
}

/// Whether the channel has a claim whose hold is over.
fn is_over(db: &AtomaDb, stack: &Stack, node: NodeId, clock_ms: u64) -> Result<bool> {
    let row = channel(stack, node)?;
    let Some(claim) = &row.claim else { return Ok(false) };
    Ok(ensure_released(db, &Terms::of_channel(stack, row), claim, clock_ms).is_ok())
}
