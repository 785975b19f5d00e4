//! Stacks: prepaid units of one task, from purchase to the last refund.
//!
//! A stack's balance holds the escrow for units not yet settled, the surcharge and opening fees not yet
//! earned, what addresses may withdraw (`dues`) and what the treasury may sweep. Only an owner's or
//! beneficiary's own call pays a coin out; everybody else is credited.

mod acquire;
mod close;
mod open;
mod settle;
mod top_up;

pub use acquire::{Purchase, acquire};
pub use close::{migrate, reclaim, refund, release_channel, request_close, revoke_channel, sweep, withdraw};
pub use open::{Opening, open_channel};
pub use settle::{Settlement, settle};
pub(crate) use settle::{check_voucher, make_room};
pub use top_up::top_up;

use crate::Result;
use crate::claim::held;
use crate::context::TxContext;
use atoma_types::onchain::event::{ReserveChanged, StackDeleted};
use atoma_types::onchain::{Abort, Channel, Due, Node, Reserve, Stack};
use atoma_types::{Address, Amount, NodeId, Units};

/// What is credited to addresses and to the treasury, and therefore not the owner's any more.
pub fn credited(stack: &Stack) -> Result<Amount> {
    let dues = Amount::total(stack.dues.iter().map(|due| due.amount))?;
    Ok(dues.add(stack.treasury_due)?)
}

/// What `to` may withdraw.
pub fn due_of(stack: &Stack, to: Address) -> Amount {
    stack.dues.iter().find(|due| due.to == to).map_or(Amount::ZERO, |due| due.amount)
}

/// Units of a channel that vouchers, claims or disputes have used up.
pub fn used(channel: &Channel) -> Result<Units> {
    let claimed = channel.claim.as_ref().map_or(Units::ZERO, |claim| claim.to_units);
    let queued = channel.queued.as_ref().map_or(Units::ZERO, |queued| queued.units);
    Ok(channel.settled_units.max(claimed).max(queued).add(channel.disputed_units)?)
}

/// Units that open disputes keep of a node's channel.
pub fn reserved(stack: &Stack, node: NodeId) -> Result<Units> {
    let of_node = stack.disputed.reserves.iter().filter(|reserve| reserve.node == node);
    Ok(of_node.map(|reserve| reserve.units).try_fold(Units::ZERO, Units::add)?)
}

/// Units of a channel that are granted and neither used nor reserved.
pub fn free(stack: &Stack, channel: &Channel) -> Result<Units> {
    let taken = used(channel)?.add(reserved(stack, channel.node)?)?;
    Ok(channel.granted.saturating_sub(taken))
}

/// When a channel's grant ended or will end: with the stack, when it was revoked or released, when the node was
/// disabled, whichever comes first.
pub fn channel_end_ms(stack: &Stack, channel: &Channel, node: &Node) -> u64 {
    let mut end_ms = stack.ends_ms();
    if channel.closed_ms != 0 {
        end_ms = end_ms.min(channel.closed_ms);
    }
    if node.disabled_ms != 0 {
        end_ms = end_ms.min(node.disabled_ms);
    }
    end_ms
}

/// What is not credited yet but may still become due to others: claims, queued vouchers, units reserved for
/// disputes.
pub fn committed(stack: &Stack) -> Result<Amount> {
    let mut sum = Amount::ZERO;
    let (mut queued_units, mut reserved) = (Units::ZERO, Amount::ZERO);
    for channel in &stack.channels {
        let mut from_units = channel.settled_units;
        if let Some(claim) = &channel.claim {
            from_units = claim.to_units;
            sum = sum.add(held(claim)?)?;
        }
        // A voucher can be queued behind no claim: the one before it was void.
        if let Some(queued) = &channel.queued {
            let cost = channel.price.cost(queued.units)?.sub(channel.price.cost(from_units)?)?;
            sum = sum.add(cost)?;
            queued_units = queued_units.add(queued.units.sub(from_units)?)?;
        }
    }
    for reserve in &stack.disputed.reserves {
        let price = channel(stack, reserve.node)?.price;
        // The cost of units above others is at most one more than their own.
        reserved = reserved.add(price.cost(reserve.units)?)?.add(Amount(1))?;
    }
    Ok(sum.add(stack.surcharge_ahead(queued_units)?)?.add(reserved)?)
}

/// `dues` with `amount` more for `to`.
pub(crate) fn with_credit(mut dues: Vec<Due>, to: Address, amount: Amount) -> Result<Vec<Due>> {
    if amount.is_zero() {
        return Ok(dues);
    }
    match dues.iter_mut().find(|due| due.to == to) {
        Some(due) => due.amount = due.amount.add(amount)?,
        None => dues.push(Due { to, amount }),
    }
    Ok(dues)
}

/// The reserves after the newest of this node's gave up `over` units, and those that changed. Aborts if they do
/// not hold as many.
pub(crate) fn shrunk(stack: &Stack, node: NodeId, over: Units) -> Result<(Vec<Reserve>, Vec<Reserve>)> {
    let mut reserves = stack.disputed.reserves.clone();
    let (mut changed, mut left) = (Vec::new(), over);
    let held = |reserve: &&mut Reserve| reserve.node == node && !reserve.units.is_zero();
    for reserve in reserves.iter_mut().rev().filter(held) {
        if left.is_zero() {
            break;
        }
        let taken = reserve.units.min(left);
        reserve.units = reserve.units.sub(taken)?;
        left = left.sub(taken)?;
        changed.push(reserve.clone());
    }
    if left.is_zero() { Ok((reserves, changed)) } else { Err(Abort::OverClaimed) }
}

/// One event for each reserve that changed.
pub(crate) fn emit_reserves(stack: Address, changed: &[Reserve], ctx: &mut TxContext) {
    for reserve in changed {
        let Reserve { dispute, node, units } = *reserve;
        ctx.emit(ReserveChanged { stack, dispute, node, units });
    }
}

pub(crate) fn channel(stack: &Stack, node: NodeId) -> Result<&Channel> {
    stack.channel(node).ok_or(Abort::UnknownChannel)
}

pub(crate) fn channel_mut(stack: &mut Stack, node: NodeId) -> Result<&mut Channel> {
    stack.channels.iter_mut().find(|channel| channel.node == node).ok_or(Abort::UnknownChannel)
}

/// Deletes the stack once its last coin has left, nothing can be settled any more, and no claim or dispute
/// refers to it.
fn delete_if_empty(stack: &Stack, clock_ms: u64, ctx: &mut TxContext) {
    let is_over = clock_ms > stack.settle_until_ms();
    let has_claims = stack.channels.iter().any(|row| row.claim.is_some() || row.queued.is_some());
    let has_disputes = stack.disputed.open > 0 || !stack.disputed.reserves.is_empty();
    if stack.balance.is_zero() && is_over && !has_claims && !has_disputes {
        ctx.deleted.push(stack.id);
        ctx.emit(StackDeleted { stack: stack.id });
    }
}
