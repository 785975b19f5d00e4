//! Settling vouchers.

use super::{channel, channel_mut, with_credit};
use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::ed25519;
use crate::limits::{self, ensure};
use atoma_types::message::Message;
use atoma_types::onchain::event::Settled;
use atoma_types::onchain::{Abort, Channel, Stack};
use atoma_types::{Amount, Hash32, NodeId, Units, Voucher};

/// Arguments of [`settle`]: a voucher's fields beside its stack, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    pub node: NodeId,
    pub units: Units,
    pub count: u64,
    pub root: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What one settlement moves out of the escrow.
struct Payment {
    /// Cost of all settled units at the channel's price.
    paid_total: Amount,
    to_node: Amount,
    to_creator: Amount,
    surcharge_earned: Amount,
    to_treasury: Amount,
    settled_units: Units,
}

/// Credits what the user's voucher acknowledges beyond what is settled, whoever calls. A voucher with
/// neither more units nor more leaves than the settled one changes nothing, at any time.
///
/// Units pay; the count only orders. A user who signs a voucher with few units and a huge count, and
/// settles it first, must not thereby void the node's genuine one.
pub fn settle(
    db: &AtomaDb,
    stack: &mut Stack,
    settlement: Settlement,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    let root = Hash32(limits::check_bytes(&settlement.root)?);
    let channel = channel(stack, settlement.node)?;
    let Settlement { node, units, count, signature, .. } = settlement;
    if count <= channel.settled_count && units <= channel.settled_units {
        return Ok(());
    }
    ensure(clock_ms <= stack.settle_until_ms(), Abort::WindowClosed)?;
    ensure(units >= channel.settled_units, Abort::VoucherBackwards)?;
    ensure(units <= channel.granted, Abort::OverClaimed)?;
    let voucher = Voucher { db: stack.db, stack: stack.id, node, units, count, root };
    let is_signed = ed25519::verify(&stack.request_key, &voucher.signed_bytes(), &signature);
    ensure(is_signed, Abort::BadSignature)?;
    let payment = payment(stack, channel, units)?;
    let dues = with_credit(stack.dues.clone(), db.node(node)?.payout, payment.to_node)?;
    let dues = with_credit(dues, stack.creator, payment.to_creator)?;
    let treasury_due = stack.treasury_due.add(payment.to_treasury)?;

    let channel = channel_mut(stack, node)?;
    channel.settled_units = units;
    if count > channel.settled_count {
        channel.settled_count = count;
        channel.root = root;
    }
    channel.paid = payment.paid_total;
    let (count, root) = (channel.settled_count, channel.root);
    stack.settled_units = payment.settled_units;
    stack.surcharge_earned = payment.surcharge_earned;
    stack.dues = dues;
    stack.treasury_due = treasury_due;
    ctx.emit(Settled {
        stack: stack.id,
        node,
        units,
        count,
        root,
        paid: payment.to_node,
        creator_fee: payment.to_creator,
        surcharge: payment.to_treasury,
    });
    Ok(())
}

/// Every part is a difference of its cumulative value, so that settling in many small pieces gives each
/// party exactly what settling once would.
fn payment(stack: &Stack, channel: &Channel, units: Units) -> Result<Payment> {
    let paid_total = channel.price.cost(units)?;
    let paid = paid_total.sub(channel.paid)?;
    let permille = stack.creator_fee_permille;
    let to_creator = paid_total.share(permille)?.sub(channel.paid.share(permille)?)?;
    let settled_units = stack.settled_units.add(units.sub(channel.settled_units)?)?;
    let surcharge_earned = stack.surcharge.pro_rata(settled_units, stack.total_units)?;
    Ok(Payment {
        paid_total,
        to_node: paid.sub(to_creator)?,
        to_creator,
        surcharge_earned,
        to_treasury: surcharge_earned.sub(stack.surcharge_earned)?,
        settled_units,
    })
}
