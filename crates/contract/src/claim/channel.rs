//! Claims of a stack's channels: resolving, releasing, and what becomes of the money.

use super::chance::is_covered;
use super::release::{ensure_released, parts};
use super::terms::money;
use super::{Ending, Made, Step, Terms, made_event, make, resolve};
use crate::Result;
use crate::beacon::Beacon;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::stack::{channel, channel_end_ms, channel_mut, with_credit};
use atoma_types::onchain::event::{ChannelReleased, ClaimPaid, ClaimVoided, QueueVoided};
use atoma_types::onchain::{Abort, Channel, Claim, Node, Queued, Stack};
use atoma_types::{Amount, NodeId};

/// Holds the channel's claim: the seed did not draw it. Anyone may.
pub fn resolve_pay(
    db: &AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, stack)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    resolve::pay(beacon, &terms, &mut claim, clock_ms, ctx)?;
    put_claim(stack, node, claim)
}

/// Opens the audit that the seed drew, or that a challenge asked for. Anyone may; the caller earns the fee.
pub fn resolve_audit(
    db: &mut AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, stack)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    let step = resolve::audit(db, beacon, &terms, &mut claim, clock_ms, ctx)?;
    finish(db, stack, node, claim, step, clock_ms, ctx)
}

/// Pays the channel's claim after its hold, or returns it to escrow if the node was convicted since. Then the
/// queued voucher becomes the next claim. Anyone may; the next settlement does it, too.
pub fn release_claim(
    db: &AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, stack)?;
    let row = channel(stack, node)?;
    ensure(row.claim.is_some() || row.queued.is_some(), Abort::NoClaim)?;
    // An abort changes nothing: both steps work on copies.
    let (mut draft, mut draft_ctx) = (stack.clone(), ctx.clone());
    if row.claim.is_some() {
        release(db, &mut draft, node, clock_ms, &mut draft_ctx)?;
    }
    promote(db, beacon, &mut draft, node, clock_ms, &mut draft_ctx)?;
    (*stack, *ctx) = (draft, draft_ctx);
    Ok(())
}

pub(super) fn check(db: &AtomaDb, beacon: &Beacon, stack: &Stack) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    beacon.check(db)
}

/// The channel's claim, with its terms.
pub(crate) fn claim_of(stack: &Stack, node: NodeId) -> Result<(Terms, Claim)> {
    let row = channel(stack, node)?;
    let claim = row.claim.clone().ok_or(Abort::NoClaim)?;
    Ok((Terms::of_channel(stack, row), claim))
}

pub(crate) fn put_claim(stack: &mut Stack, node: NodeId, claim: Claim) -> Result {
    channel_mut(stack, node)?.claim = Some(claim);
    Ok(())
}

/// Applies a step to the stack: credits, the caller's coin, what becomes the database's to pay, and the claim's end if
/// it ended.
pub(crate) fn finish(
    db: &mut AtomaDb,
    stack: &mut Stack,
    node: NodeId,
    claim: Claim,
    step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let balance = stack.balance.sub(step.to_caller)?.sub(step.to_pool)?;
    let pool = db.pool.add(step.to_pool)?;
    let mut dues = stack.dues.clone();
    for credit in step.credits {
        dues = with_credit(dues, credit.to, credit.amount)?;
    }

    db.pool = pool;
    stack.balance = balance;
    stack.dues = dues;
    ctx.pay_sender(step.to_caller);
    match step.ending {
        Ending::None => put_claim(stack, node, claim),
        Ending::Void => void(stack, node, &claim, ctx),
        Ending::Convicted => {
            void(stack, node, &claim, ctx)?;
            close(stack, node, clock_ms, ctx)
        }
    }
}

/// Ends the running claim if its hold is over.
pub(super) fn release(
    db: &AtomaDb,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let (terms, claim) = claim_of(stack, node)?;
    if ensure_released(db, &terms, &claim, clock_ms)? {
        return pay_out(stack, node, &claim, ctx);
    }
    void(stack, node, &claim, ctx)?;
    close(stack, node, clock_ms, ctx)
}

fn pay_out(stack: &mut Stack, node: NodeId, claim: &Claim, ctx: &mut TxContext) -> Result {
    let creator_fee = creator_fee(stack, channel(stack, node)?, claim)?;
    let parts = parts(claim, creator_fee)?;
    let dues = with_credit(stack.dues.clone(), channel(stack, node)?.payout, parts.to_node)?;
    let dues = with_credit(dues, stack.creator, parts.to_creator)?;
    let treasury_due = stack.treasury_due.add(parts.surcharge)?;
    let paid = channel(stack, node)?.paid.add(claim.amount)?;

    stack.dues = dues;
    stack.treasury_due = treasury_due;
    settle_claim(stack, node, claim)?;
    channel_mut(stack, node)?.paid = paid;
    ctx.emit(ClaimPaid {
        target: stack.id,
        node,
        paid: parts.to_node,
        creator_fee: parts.to_creator,
        treasury: parts.surcharge,
    });
    Ok(())
}

/// A difference of its cumulative value, like every payment.
fn creator_fee(stack: &Stack, row: &Channel, claim: &Claim) -> Result<Amount> {
    let permille = stack.creator_fee_permille;
    let before = row.price.cost(claim.from_units)?.share(permille)?;
    Ok(row.price.cost(claim.to_units)?.share(permille)?.sub(before)?)
}

/// The claim's units count as settled, and what is left of its money is escrow again.
fn void(stack: &mut Stack, node: NodeId, claim: &Claim, ctx: &mut TxContext) -> Result {
    let amount = money(claim)?;
    let voided = channel(stack, node)?.voided.add(claim.amount)?;
    settle_claim(stack, node, claim)?;
    channel_mut(stack, node)?.voided = voided;
    ctx.emit(ClaimVoided { target: stack.id, node, amount });
    Ok(())
}

/// The channel has settled what the claim claimed, and has no claim.
fn settle_claim(stack: &mut Stack, node: NodeId, claim: &Claim) -> Result {
    let units = claim.to_units.sub(claim.from_units)?;
    stack.settled_units = stack.settled_units.add(units)?;
    let row = channel_mut(stack, node)?;
    row.settled_units = claim.to_units;
    row.settled_count = claim.count;
    row.root = claim.root;
    row.claim = None;
    Ok(())
}

/// A convicted node's channel: what is queued is void, and it settles nothing more.
fn close(stack: &mut Stack, node: NodeId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    drop_queue(stack, node, ctx)?;
    let target = stack.id;
    let row = channel_mut(stack, node)?;
    if !row.released {
        row.released = true;
        if row.closed_ms == 0 {
            row.closed_ms = clock_ms;
        }
        ctx.emit(ChannelReleased { stack: target, node, at_ms: row.closed_ms });
    }
    Ok(())
}

/// What is queued becomes nothing.
fn drop_queue(stack: &mut Stack, node: NodeId, ctx: &mut TxContext) -> Result {
    let target = stack.id;
    if channel_mut(stack, node)?.queued.take().is_some() {
        ctx.emit(QueueVoided { target, node });
    }
    Ok(())
}

/// The queued voucher becomes the running claim, judged by what holds now; of a convicted node it is void, and the
/// channel closed. One too small to be audited while the channel goes on, or too large for what the node has at
/// stake by now, is dropped: it can be settled again, the latter in parts, and must be before the end.
pub(super) fn promote(
    db: &AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let row = channel(stack, node)?;
    let Some(queued) = row.queued.clone() else { return Ok(()) };
    let owner = db.node(node)?;
    if owner.convictions != 0 {
        return close(stack, node, clock_ms, ctx);
    }
    let amount = row.price.cost(queued.units)?.sub(row.price.cost(row.settled_units)?)?;
    let is_covered = is_covered(&stack.params, stack.exact, amount, owner.collateral)?;
    if !is_covered || is_too_small(stack, row, owner, amount, clock_ms) {
        return drop_queue(stack, node, ctx);
    }
    let units = queued.units.sub(row.settled_units)?;
    let surcharge = stack.surcharge_ahead(units)?;
    let claimed_units = stack.claimed_units.add(units)?;
    let used = stack.surcharge.used.add(surcharge)?;
    let made = made(row, queued, amount, surcharge);
    let claim = make(db, beacon, &Terms::of_channel(stack, row), made, clock_ms)?;

    stack.claimed_units = claimed_units;
    stack.surcharge.used = used;
    ctx.emit(made_event(stack.id, node, &claim));
    let row = channel_mut(stack, node)?;
    row.queued = None;
    row.claim = Some(claim);
    Ok(())
}

/// Below the minimum an audit would cost more than it guards; the last claim may be as small as it is.
pub(super) fn is_too_small(stack: &Stack, row: &Channel, node: &Node, amount: Amount, clock_ms: u64) -> bool {
    let goes_on = clock_ms < channel_end_ms(stack, row, node);
    amount.is_zero() || (goes_on && amount < stack.params.min_claim)
}

fn made(row: &Channel, queued: Queued, amount: Amount, surcharge: Amount) -> Made {
    Made {
        from_units: row.settled_units,
        to_units: queued.units,
        count: queued.count,
        root: queued.root,
        amount,
        surcharge,
    }
}
