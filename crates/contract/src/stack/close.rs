//! The ways out: revoking, releasing, reclaiming, closing, refunding, withdrawing, sweeping. Refunds and
//! withdrawals work at any version of the package, and none of them depends on anybody else's call.

use super::acquire::new_channel;
use super::{
    channel, channel_mut, committed, credited, delete_if_empty, due_of, reserved, used, with_credit,
};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::node::NodeBadge;
use crate::treasury::Treasury;
use crate::{Result, VERSION, admin};
use atoma_types::onchain::event::{
    ChannelReclaimed, ChannelReleased, ChannelRevoked, CloseRequested, Migrated, Refunded, Swept, Withdrawn,
};
use atoma_types::onchain::{Abort, Stack};
use atoma_types::{Address, Amount, NodeId, Price, Units};

/// The owner ends a node's grant; the node may settle what it holds for `close_delay_ms`. A node without a
/// channel gets a closed one, so that a grant it holds can never open.
pub fn revoke_channel(stack: &mut Stack, node: NodeId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(stack.version == VERSION, Abort::Version)?;
    ensure(ctx.sender() == stack.owner, Abort::NotAuthorized)?;
    let is_open = match stack.channel(node) {
        Some(channel) => {
            ensure(channel.closed_ms == 0, Abort::ChannelClosed)?;
            true
        }
        None => {
            ensure(stack.channels.len() < limits::CHANNELS_MAX, Abort::TooManyChannels)?;
            false
        }
    };

    // 0 means open.
    let at_ms = clock_ms.max(1);
    if !is_open {
        stack.channels.push(new_channel(node, Address::ZERO, Price::ZERO, 0, Units::ZERO, 0));
    }
    channel_mut(stack, node)?.closed_ms = at_ms;
    ctx.emit(ChannelRevoked { stack: stack.id, node, at_ms });
    Ok(())
}

/// The node gives up what it was granted and has not settled: it can settle nothing more. The units stay granted
/// while they can be disputed, lest a node escape a dispute by leaving.
pub fn release_channel(
    db: &AtomaDb,
    stack: &mut Stack,
    badge: &NodeBadge,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    ensure(badge.db == db.id, Abort::WrongDb)?;
    ensure(!channel(stack, badge.node)?.released, Abort::ChannelClosed)?;

    let at_ms = clock_ms.max(1);
    let channel = channel_mut(stack, badge.node)?;
    channel.released = true;
    if channel.closed_ms == 0 {
        channel.closed_ms = at_ms;
    }
    ctx.emit(ChannelReleased { stack: stack.id, node: badge.node, at_ms });
    Ok(())
}

/// Frees what an ended channel did not use, once nothing of it can be settled or disputed any more. By anyone.
pub fn reclaim(db: &AtomaDb, stack: &mut Stack, node: NodeId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    let channel = channel(stack, node)?;
    let ended_ms = match (channel.closed_ms, db.node(node).map_or(0, |row| row.disabled_ms)) {
        (0, 0) => return Err(Abort::TooEarly),
        (0, disabled_ms) => disabled_ms,
        (closed_ms, 0) => closed_ms,
        (closed_ms, disabled_ms) => closed_ms.min(disabled_ms),
    };
    let delay_ms = match channel.released {
        true => stack.params.dispute_window_ms,
        false => stack.params.close_delay_ms,
    };
    ensure(clock_ms > ended_ms.saturating_add(delay_ms), Abort::TooEarly)?;
    ensure(reserved(stack, node)?.is_zero(), Abort::UnitsReserved)?;
    let used = used(channel)?;
    let returned = channel.granted.sub(used)?;
    ensure(!returned.is_zero(), Abort::NothingDue)?;
    let granted_units = stack.granted_units.sub(returned)?;

    stack.granted_units = granted_units;
    channel_mut(stack, node)?.granted = used;
    ctx.emit(ChannelReclaimed { stack: stack.id, node, returned });
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

/// Returns what nobody earned or may still earn, once no voucher can be settled any more: as a coin if the owner
/// calls, else credited to the owner. Called again, it returns what was freed since.
pub fn refund(stack: &mut Stack, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(clock_ms > stack.settle_until_ms(), Abort::TooEarly)?;
    let owner = stack.owner;
    let kept = credited(stack)?.add(committed(stack)?)?;
    // Reserves are counted with a base unit to spare.
    let amount = stack.balance.saturating_sub(kept);
    if amount.is_zero() {
        delete_if_empty(stack, clock_ms, ctx);
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
    delete_if_empty(stack, clock_ms, ctx);
    Ok(())
}

/// Pays what the sender is due.
pub fn withdraw(stack: &mut Stack, clock_ms: u64, ctx: &mut TxContext) -> Result {
    let to = ctx.sender();
    let amount = due_of(stack, to);
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let balance = stack.balance.sub(amount)?;

    stack.balance = balance;
    stack.dues.retain(|due| due.to != to);
    ctx.pay_sender(amount);
    ctx.emit(Withdrawn { stack: stack.id, to, amount });
    delete_if_empty(stack, clock_ms, ctx);
    Ok(())
}

/// Moves what the treasury is due into it, whoever calls.
pub fn sweep(stack: &mut Stack, treasury: &mut Treasury, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(treasury.db == stack.db, Abort::WrongDb)?;
    let amount = stack.treasury_due;
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let balance = stack.balance.sub(amount)?;
    let total = treasury.balance.add(amount)?;

    stack.balance = balance;
    stack.treasury_due = Amount::ZERO;
    treasury.balance = total;
    ctx.emit(Swept { stack: stack.id, amount });
    delete_if_empty(stack, clock_ms, ctx);
    Ok(())
}

/// Moves a stack to the database's version. By anyone: at an older version nobody could settle it.
pub fn migrate(db: &AtomaDb, stack: &mut Stack, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    ensure(stack.db == db.id, Abort::WrongDb)?;
    stack.version = admin::newer(stack.version)?;
    ctx.emit(Migrated { object: stack.id, version: stack.version });
    Ok(())
}
