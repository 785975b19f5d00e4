//! The ways out: releasing, closing, refunding, withdrawing, sweeping. Refunds and withdrawals work at any
//! version of the package, and none of them depends on anybody else's call.

use super::{channel, channel_mut, credited, delete_if_empty, due_of, with_credit};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::treasury::Treasury;
use crate::{Result, VERSION};
use atoma_types::Amount;
use atoma_types::onchain::event::{ChannelReleased, CloseRequested, Refunded, Swept, Withdrawn};
use atoma_types::onchain::{Abort, Stack};

/// The node gives back what it was granted and has not settled. It can settle nothing more of it.
pub fn release_channel(db: &AtomaDb, stack: &mut Stack, badge: &NodeBadge, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    ensure(badge.db == db.id, Abort::WrongDb)?;
    let channel = channel(stack, badge.node)?;
    ensure(!channel.closed, Abort::ChannelClosed)?;
    let returned = channel.granted.sub(channel.settled_units)?;
    let granted_units = stack.granted_units.sub(returned)?;

    stack.granted_units = granted_units;
    let channel = channel_mut(stack, badge.node)?;
    channel.granted = channel.settled_units;
    channel.closed = true;
    ctx.emit(ChannelReleased { stack: stack.id, node: badge.node, returned });
    Ok(())
}

/// The owner ends grants now; what is signed can be settled for `close_delay_ms` more.
pub fn request_close(stack: &mut Stack, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(stack.version == VERSION, Abort::Version)?;
    ensure(ctx.sender() == stack.owner, Abort::NotAuthorized)?;
    ensure(stack.close_requested_ms == 0, Abort::AlreadyClosing)?;
    ensure(clock_ms < stack.expires_ms, Abort::StackEnded)?;

    // 0 means not requested.
    let at_ms = clock_ms.max(1);
    stack.close_requested_ms = at_ms;
    ctx.emit(CloseRequested { stack: stack.id, at_ms });
    Ok(())
}

/// Returns what nobody earned, once nothing can be settled any more: as a coin if the owner calls, else
/// credited to the owner. Called again, it finds nothing more and changes nothing.
pub fn refund(stack: &mut Stack, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(clock_ms > stack.settle_until_ms(), Abort::TooEarly)?;
    let owner = stack.owner;
    let amount = stack.balance.sub(credited(stack)?)?;
    if amount.is_zero() {
        delete_if_empty(stack, ctx);
        return Ok(());
    }
    let is_credited = ctx.sender() != owner;
    let refunded = Refunded { stack: stack.id, owner, amount, credited: is_credited };
    if is_credited {
        let dues = with_credit(stack.dues.clone(), owner, amount)?;
        stack.dues = dues;
        ctx.emit(refunded);
        return Ok(());
    }

    stack.balance = stack.balance.sub(amount)?;
    ctx.pay_sender(amount);
    ctx.emit(refunded);
    delete_if_empty(stack, ctx);
    Ok(())
}

/// Pays what the sender is due.
pub fn withdraw(stack: &mut Stack, ctx: &mut TxContext) -> Result {
    let to = ctx.sender();
    let amount = due_of(stack, to);
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let balance = stack.balance.sub(amount)?;

    stack.balance = balance;
    stack.dues.retain(|due| due.to != to);
    ctx.pay_sender(amount);
    ctx.emit(Withdrawn { stack: stack.id, to, amount });
    delete_if_empty(stack, ctx);
    Ok(())
}

/// Moves what the treasury is due into it, whoever calls.
pub fn sweep(stack: &mut Stack, treasury: &mut Treasury, ctx: &mut TxContext) -> Result {
    ensure(treasury.db == stack.db, Abort::WrongDb)?;
    let amount = stack.treasury_due;
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let balance = stack.balance.sub(amount)?;
    let total = treasury.balance.add(amount)?;

    stack.balance = balance;
    stack.treasury_due = Amount::ZERO;
    treasury.balance = total;
    ctx.emit(Swept { stack: stack.id, amount });
    delete_if_empty(stack, ctx);
    Ok(())
}
