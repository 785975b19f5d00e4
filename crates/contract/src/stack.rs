//! Stacks: prepaid units of one task, from purchase to the last refund.
//!
//! A stack's balance holds the escrow for units not yet settled, the surcharge and opening fees not yet
//! earned, what addresses may withdraw (`dues`) and what the treasury may sweep. Only an owner's or
//! beneficiary's own call pays a coin out; everybody else is credited.

mod acquire;
mod close;
mod open;
mod settle;

pub use acquire::{Purchase, acquire};
pub use close::{refund, release_channel, request_close, sweep, withdraw};
pub use open::{Opening, open_channel};
pub use settle::{Settlement, settle};

use crate::Result;
use crate::context::TxContext;
use atoma_types::onchain::event::StackDeleted;
use atoma_types::onchain::{Abort, Channel, Due, Stack};
use atoma_types::{Address, Amount, NodeId};

/// What is credited to addresses and to the treasury, and therefore not the owner's any more.
pub fn credited(stack: &Stack) -> Result<Amount> {
    let dues = Amount::total(stack.dues.iter().map(|due| due.amount))?;
    Ok(dues.add(stack.treasury_due)?)
}

/// What `to` may withdraw.
pub fn due_of(stack: &Stack, to: Address) -> Amount {
    stack.dues.iter().find(|due| due.to == to).map_or(Amount::ZERO, |due| due.amount)
}

/// `dues` with `amount` more for `to`.
fn with_credit(mut dues: Vec<Due>, to: Address, amount: Amount) -> Result<Vec<Due>> {
    if amount.is_zero() {
        return Ok(dues);
    }
    match dues.iter_mut().find(|due| due.to == to) {
        Some(due) => due.amount = due.amount.add(amount)?,
        None => dues.push(Due { to, amount }),
    }
    Ok(dues)
}

fn channel(stack: &Stack, node: NodeId) -> Result<&Channel> {
    stack.channel(node).ok_or(Abort::UnknownChannel)
}

fn channel_mut(stack: &mut Stack, node: NodeId) -> Result<&mut Channel> {
    stack.channels.iter_mut().find(|channel| channel.node == node).ok_or(Abort::UnknownChannel)
}

/// Deletes the stack once its last coin has left.
fn delete_if_empty(stack: &Stack, ctx: &mut TxContext) {
    if stack.balance.is_zero() {
        ctx.deleted.push(stack.id);
        ctx.emit(StackDeleted { stack: stack.id });
    }
}
