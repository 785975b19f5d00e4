//! Taking collateral, and what becomes of it. For the modules of the package: no function here is an entry.
//!
//! Of every slash at least half is burned. A compensation is capped; what is left is the treasury's. While an
//! audit of the node is open, the compensation is only booked: a node that expects to be convicted could
//! otherwise pay itself its own collateral first. A conviction forfeits bookings to the treasury.
//!
//! For every [`Slashed`]: `amount + pot before = burned + treasury + compensation + pot after`.

use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::BOOKINGS_MAX;
use crate::node::{fault, fix_exit};
use atoma_types::onchain::event::{BookingsSettled, Slashed};
use atoma_types::onchain::{Abort, Booking, Node, Params};
use atoma_types::{Address, Amount, NodeId};

/// Points of reputation that a timeout costs.
pub const TIMEOUT_POINTS: u64 = 10;
/// Points of reputation that a refusal costs.
pub const REFUSAL_POINTS: u64 = 1;

/// What one slash does with the collateral and the pot.
struct Split {
    amount: Amount,
    burned: Amount,
    treasury: Amount,
    compensation: Amount,
    booked: bool,
    pot: Amount,
}

/// Slashes a share of a node's collateral, without compensation: a verifier that voted against the jury or
/// did not do its duty.
pub fn slash(db: &mut AtomaDb, node: NodeId, terms: &Params, permille: u64, ctx: &mut TxContext) -> Result {
    let row = db.node(node)?;
    let (amount, burned, rest) = parts(row, terms, permille)?;
    let pot = row.timeout_pot;
    let split = Split { amount, burned, treasury: rest, compensation: Amount::ZERO, booked: false, pot };
    apply(db, node, &split, Address::ZERO, 0, ctx)
}

/// Slashes a node that left a dispute unanswered. At most once per answer window: further timeouts within it
/// share what the first left of its half. The compensation is at most `compensation_times · cost` and the
/// parameters' maximum. Costs reputation every time. Returns the compensation.
pub fn timeout(
    db: &mut AtomaDb,
    node: NodeId,
    terms: &Params,
    cost: Amount,
    to: Address,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Amount> {
    let row = db.node(node)?;
    let wanted = compensation_max(terms, cost);
    let is_further = clock_ms < row.timeout_until_ms;
    let split = match is_further {
        true => from_pot(row, wanted)?,
        false => from_collateral(row, terms, wanted)?,
    };
    let compensation = split.compensation;
    apply(db, node, &split, to, booked_until_ms(terms, clock_ms), ctx)?;
    if !is_further {
        db.node_mut(node)?.timeout_until_ms = clock_ms.saturating_add(terms.answer_window_ms);
    }
    fault(db.node_mut(node)?, TIMEOUT_POINTS, ctx);
    Ok(compensation)
}

/// Convicts a node of fraud: its bookings are forfeited, the fraud share of its collateral is slashed, its
/// reputation is gone and it is disabled for good. The compensation is at most `wanted`, what is not burned,
/// and the parameters' maximum. Returns the compensation.
pub fn convict(
    db: &mut AtomaDb,
    node: NodeId,
    terms: &Params,
    wanted: Amount,
    to: Address,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Amount> {
    forfeit(db, node, ctx)?;
    let row = db.node(node)?;
    let (amount, burned, rest) = parts(row, terms, terms.fraud_permille)?;
    let compensation = wanted.min(rest).min(terms.compensation_max);
    let treasury = rest.sub(compensation)?;
    let split = Split { amount, burned, treasury, compensation, booked: false, pot: Amount::ZERO };
    apply(db, node, &split, to, 0, ctx)?;
    let exit_after_ms = db.params_at(ctx.epoch()).exit_ms;
    let row = db.node_mut(node)?;
    row.convictions = row.convictions.saturating_add(1);
    fault(row, u64::MAX, ctx);
    if row.disabled_ms == 0 {
        fix_exit(row, exit_after_ms, clock_ms, ctx);
    }
    Ok(compensation)
}

/// An audit of the node begins: until it ends, compensations are booked and the collateral stays.
pub fn open_audit(db: &mut AtomaDb, node: NodeId) -> Result {
    let row = db.node_mut(node)?;
    row.open_audits = row.open_audits.checked_add(1).ok_or(Abort::Arithmetic)?;
    Ok(())
}

/// An audit of the node ended.
pub fn close_audit(db: &mut AtomaDb, node: NodeId) -> Result {
    let row = db.node_mut(node)?;
    row.open_audits = row.open_audits.checked_sub(1).ok_or(Abort::Arithmetic)?;
    Ok(())
}

/// Pays what bookings are ripe, all of them if no audit is open, and gives a pot that nobody can share any more
/// to the treasury. Returns whether there was anything.
pub(crate) fn settle_bookings(
    db: &mut AtomaDb,
    node: NodeId,
    is_leaving: bool,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<bool> {
    let row = db.node(node)?;
    let is_ripe = |booking: &Booking| row.open_audits == 0 || clock_ms >= booking.until_ms;
    let (ripe, kept): (Vec<Booking>, Vec<Booking>) = row.bookings.iter().cloned().partition(is_ripe);
    let is_pot_over = is_leaving || clock_ms >= row.timeout_until_ms;
    let treasury = if is_pot_over { row.timeout_pot } else { Amount::ZERO };
    if ripe.is_empty() && treasury.is_zero() {
        return Ok(false);
    }
    let to_treasury = db.to_treasury.add(treasury)?;

    for booking in &ripe {
        db.credit(booking.to, booking.amount)?;
    }
    db.to_treasury = to_treasury;
    let row = db.node_mut(node)?;
    row.bookings = kept;
    row.timeout_pot = row.timeout_pot.saturating_sub(treasury);
    let to = ripe.iter().map(|booking| booking.to).collect();
    let amounts = ripe.iter().map(|booking| booking.amount).collect();
    ctx.emit(BookingsSettled { node, to, amounts, treasury });
    Ok(true)
}

/// Gives all bookings and the pot to the treasury.
fn forfeit(db: &mut AtomaDb, node: NodeId, ctx: &mut TxContext) -> Result {
    let row = db.node(node)?;
    let booked = Amount::total(row.bookings.iter().map(|booking| booking.amount))?;
    let treasury = booked.add(row.timeout_pot)?;
    if treasury.is_zero() {
        return Ok(());
    }
    let to_treasury = db.to_treasury.add(treasury)?;

    db.to_treasury = to_treasury;
    let row = db.node_mut(node)?;
    row.bookings = Vec::new();
    row.timeout_pot = Amount::ZERO;
    ctx.emit(BookingsSettled { node, to: Vec::new(), amounts: Vec::new(), treasury });
    Ok(())
}

/// A share of the collateral, the part of it that is burned (rounded up), and the rest.
fn parts(row: &Node, terms: &Params, permille: u64) -> Result<(Amount, Amount, Amount)> {
    let amount = row.collateral.share(permille)?.min(row.collateral);
    let rest = amount.share(1_000 - terms.burn_permille)?;
    Ok((amount, amount.sub(rest)?, rest))
}

fn compensation_max(terms: &Params, cost: Amount) -> Amount {
    let times = u128::from(cost.0) * u128::from(terms.compensation_times);
    let most = u64::try_from(times).map_or(Amount::MAX, Amount);
    most.min(terms.compensation_max)
}

fn booked_until_ms(terms: &Params, clock_ms: u64) -> u64 {
    clock_ms.saturating_add(terms.hold_ms).saturating_add(terms.hold_ms)
}

/// A compensation while an audit is open is booked, or lost if there are too many bookings already.
fn payable(row: &Node, wanted: Amount) -> (Amount, bool) {
    let booked = row.open_audits > 0;
    let is_full = row.bookings.len() >= BOOKINGS_MAX;
    if booked && is_full { (Amount::ZERO, false) } else { (wanted, booked && !wanted.is_zero()) }
}

/// The first timeout of a window. What an older pot still holds is the treasury's.
fn from_collateral(row: &Node, terms: &Params, wanted: Amount) -> Result<Split> {
    let (amount, burned, rest) = parts(row, terms, terms.timeout_permille)?;
    let (compensation, booked) = payable(row, wanted.min(rest));
    let pot = rest.sub(compensation)?;
    Ok(Split { amount, burned, treasury: row.timeout_pot, compensation, booked, pot })
}

/// A further timeout of a window.
fn from_pot(row: &Node, wanted: Amount) -> Result<Split> {
    let (compensation, booked) = payable(row, wanted.min(row.timeout_pot));
    let pot = row.timeout_pot.sub(compensation)?;
    let (amount, burned, treasury) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
    Ok(Split { amount, burned, treasury, compensation, booked, pot })
}

/// Moves the money. All sums are parts of the pool, which is in range.
fn apply(
    db: &mut AtomaDb,
    node: NodeId,
    split: &Split,
    to: Address,
    until_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let collateral = db.node(node)?.collateral.sub(split.amount)?;
    let to_burn = db.to_burn.add(split.burned)?;
    let to_treasury = db.to_treasury.add(split.treasury)?;
    if !split.booked {
        db.credit(to, split.compensation)?;
    }
    db.to_burn = to_burn;
    db.to_treasury = to_treasury;
    let row = db.node_mut(node)?;
    row.collateral = collateral;
    row.timeout_pot = split.pot;
    if split.booked {
        row.bookings.push(Booking { amount: split.compensation, to, until_ms });
    }
    ctx.emit(Slashed {
        node,
        amount: split.amount,
        burned: split.burned,
        treasury: split.treasury,
        compensation: split.compensation,
        booked: split.booked,
        pot: split.pot,
        to,
    });
    Ok(())
}
