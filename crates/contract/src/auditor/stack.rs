//! What must hold of a stack.

use super::books::{ChannelBook, StackBook};
use super::dispute::check_claim;
use super::{Audit, Violation, hold, same};
use crate::context::{Owned, TxContext};
use crate::stack::{committed, refund, sweep, withdraw};
use crate::treasury::Treasury;
use atoma_types::Address;
use atoma_types::onchain::{Channel, Stack};
use sui_sdk_types::Digest;

/// Compares a stored stack with its book.
pub(super) fn check(book: &StackBook, stack: &Stack) -> Audit {
    same("a stack's owner", book.owner, stack.owner)?;
    same("a stack's balance", book.balance, u128::from(stack.balance.0))?;
    let dues = stack.dues.iter().map(|due| (due.to, u128::from(due.amount.0))).collect();
    same("a stack's dues", &book.dues, &dues)?;
    same("one row per due", book.dues.len(), stack.dues.len())?;
    same("the treasury's due", book.treasury_due, u128::from(stack.treasury_due.0))?;
    same("units bought", book.units, stack.total_units.0)?;
    same("granted units", book.granted(), u128::from(stack.granted_units.0))?;
    same("settled units", book.settled(), u128::from(stack.settled_units.0))?;
    hold("granted ≤ total", stack.granted_units <= stack.total_units, || format!("{}", stack.id))?;
    same("the surcharge escrowed", book.surcharge, u128::from(stack.surcharge.escrowed.0))?;
    same("the surcharge earned", book.surcharge_used, u128::from(stack.surcharge.used.0))?;
    hold("no more surcharge than escrowed", stack.surcharge.used <= stack.surcharge.escrowed, || {
        format!("{}", stack.id)
    })?;
    same("no reserve is missing", book.reserves.len(), stack.disputed.reserves.len())?;
    for reserve in &stack.disputed.reserves {
        let found = (reserve.node, reserve.units.0);
        same("a reserve", book.reserves.get(&reserve.dispute), Some(&found))?;
    }
    same("no channel is missing", book.channels.len(), stack.channels.len())?;
    for channel in &stack.channels {
        check_channel(book, channel)?;
        check_claim(book.claims.get(&channel.node), channel.claim.as_ref())?;
        let queued = channel.queued.as_ref().map(|queued| queued.units.0);
        same("a queue", book.queued.get(&channel.node).copied(), queued)?;
    }
    same("units claimed", book.claimed_units, stack.claimed_units.0)?;
    check_solvent(book, stack)
}

fn check_channel(book: &StackBook, channel: &Channel) -> Audit {
    let claimed = channel.claim.as_ref().map_or(0, |claim| claim.to_units.0);
    let queued = channel.queued.as_ref().map_or(0, |queued| queued.units.0);
    let found = ChannelBook {
        payout: channel.payout,
        price: channel.price.0,
        echelon: channel.echelon,
        granted: channel.granted.0,
        nonce: channel.grant_nonce,
        units: channel.settled_units.0,
        count: channel.settled_count,
        root: channel.root,
        claimed: claimed.max(queued),
        disputed: channel.disputed_units.0,
        closed_ms: channel.closed_ms,
        released: channel.released,
    };
    same("a channel", book.channels.get(&channel.node), Some(&found))?;
    let taken = u128::from(found.used()) + u128::from(book.reserved(channel.node));
    hold("used + reserved ≤ granted", taken <= channel.granted.0.into(), || format!("{channel:?}"))?;
    let paid = u128::from(channel.paid.0) + u128::from(channel.voided.0);
    same("paid or voided is the cost of what is settled", found.cost(), paid)
}

/// The balance covers what others own or may still claim; and, until a refund, whatever the grants allow.
fn check_solvent(book: &StackBook, stack: &Stack) -> Audit {
    let kept = committed(stack).map_err(|abort| violation("what is kept has a sum", abort))?;
    let spare = u128::from(kept.0).saturating_sub(stack.disputed.reserves.len().try_into().unwrap_or(0));
    let needed = book.credited() + spare;
    hold("the balance covers what is kept", book.balance >= needed, || format!("{stack:?}"))?;
    if book.refunded || stack.level == 2 {
        return Ok(());
    }
    let mut needed = book.credited();
    for channel in &stack.channels {
        let granted = u128::from(channel.granted.0) * u128::from(channel.price.0) / 1_000_000;
        let spent = u128::from(channel.paid.0) + u128::from(channel.disputed_paid.0);
        needed += granted.saturating_sub(spent);
    }
    needed += u128::from(stack.surcharge.escrowed.0) - u128::from(stack.surcharge.used.0);
    needed += u128::from(stack.opens_left) * u128::from(stack.params.open_fee.0);
    hold("the balance covers every grant", book.balance >= needed, || format!("{stack:?}"))
}

fn violation(rule: &'static str, detail: impl std::fmt::Debug) -> Violation {
    Violation { rule, detail: format!("{detail:?}") }
}

/// Plays a stack to its end by time alone, on a copy: a stranger refunds it, everybody withdraws, the treasury is
/// swept, and nothing is left but what claims and disputes keep. Whoever vanished before cannot stop any of
/// these.
pub fn check_exit(stack: &Stack, treasury: &Treasury) -> Audit {
    let (mut stack, mut treasury) = (stack.clone(), treasury.clone());
    let inside = u128::from(stack.balance.0) + u128::from(treasury.balance.0);
    let late_ms = stack.settle_until_ms().saturating_add(1);
    let mut left = 0;
    let mut step = |sender: Address, call: &mut dyn FnMut(&mut TxContext) -> crate::Result| -> Audit<bool> {
        let mut ctx = TxContext::new(sender, u64::MAX, Digest::ZERO, 0);
        call(&mut ctx).map_err(|abort| violation("money leaves by time alone", abort))?;
        for transfer in &ctx.transfers {
            if let Owned::Coin(coin) = &transfer.object {
                left += u128::from(coin.balance.0);
            }
        }
        Ok(!ctx.deleted.is_empty())
    };
    let mut is_deleted = step(Address::ZERO, &mut |ctx| refund(&mut stack, late_ms, ctx))?;
    for due in stack.dues.clone() {
        is_deleted = step(due.to, &mut |ctx| withdraw(&mut stack, late_ms, ctx))?;
    }
    if stack.treasury_due.0 > 0 {
        is_deleted = step(Address::ZERO, &mut |ctx| sweep(&mut stack, &mut treasury, late_ms, ctx))?;
    }
    let kept = committed(&stack).map_err(|abort| violation("what is kept has a sum", abort))?;
    let has_claims = stack.channels.iter().any(|row| row.claim.is_some() || row.queued.is_some());
    let is_referred_to = has_claims || stack.disputed.open > 0 || !stack.disputed.reserves.is_empty();
    hold("an emptied stack is deleted", is_deleted || is_referred_to, || format!("{}", stack.id))?;
    hold("nothing stays but what is kept", stack.balance <= kept, || format!("{}", stack.id))?;
    same("all of it came out", inside, left + u128::from(treasury.balance.0) + u128::from(stack.balance.0))
}
