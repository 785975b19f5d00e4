//! More units for a running stack.

use super::acquire::sold;
use crate::Result;
use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use atoma_types::Units;
use atoma_types::onchain::event::StackToppedUp;
use atoma_types::onchain::{Abort, Stack};

/// Adds units at the stack's own highest price and surcharge, not time. The coin pays what they add to the
/// escrow; the rest stays the sender's. Like a purchase, it waits while purchases are paused, and for good once the
/// task or its model is retired.
pub fn top_up(
    db: &AtomaDb,
    stack: &mut Stack,
    mut coin: Coin,
    units: Units,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    ensure(!db.paused, Abort::Paused)?;
    ensure(ctx.sender() == stack.owner, Abort::NotAuthorized)?;
    ensure(clock_ms < stack.ends_ms(), Abort::StackEnded)?;
    sold(db, stack.task)?;
    ensure(!units.is_zero(), Abort::BadArgument)?;
    let total_units = stack.total_units.add(units)?;
    limits::check_quantity(total_units.0)?;
    let before = stack.max_price.cost(stack.total_units)?;
    let cost = stack.max_price.cost(total_units)?;
    let escrowed = cost.share(stack.surcharge.permille)?;
    let surcharge = escrowed.sub(stack.surcharge.escrowed)?;
    let amount = cost.sub(before)?.add(surcharge)?;
    ensure(coin.balance >= amount, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(amount)?;
    let balance = stack.balance.add(amount)?;

    coin.balance = change;
    stack.total_units = total_units;
    stack.surcharge.escrowed = escrowed;
    stack.balance = balance;
    ctx.emit(StackToppedUp { stack: stack.id, units, surcharge, amount });
    ctx.return_change(coin);
    Ok(())
}
