//! Settling vouchers at levels 0 and 1. At level 2 a voucher becomes a claim.

use super::{channel, channel_end_ms, channel_mut, emit_reserves, reserved, shrunk, with_credit};
use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::ed25519;
use crate::limits::{self, ensure};
use atoma_types::message::Message;
use atoma_types::onchain::event::Settled;
use atoma_types::onchain::{Abort, Channel, Node, Reserve, Stack};
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
    /// Cost of all units paid so far.
    paid_total: Amount,
    to_node: Amount,
    to_creator: Amount,
    to_treasury: Amount,
    surcharge_used: Amount,
    settled_units: Units,
}

/// Credits what the user's voucher acknowledges beyond what is settled, whoever calls. A voucher with
/// neither more units nor more leaves than the settled one changes nothing, at any time.
///
/// Units pay; the count only orders. A user who signs a voucher with few units and a huge count, and
/// settles it first, must not thereby void the node's genuine one. Where units reserved for disputes are in the
/// way, the newest give way: a user must not dispute a node out of what it signed for.
pub fn settle(
    db: &AtomaDb,
    stack: &mut Stack,
    settlement: Settlement,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    ensure(stack.level < 2, Abort::WrongLevel)?;
    let root = Hash32(limits::check_bytes(&settlement.root)?);
    let channel = channel(stack, settlement.node)?;
    let Settlement { node, units, count, .. } = settlement;
    if count <= channel.settled_count && units <= channel.settled_units {
        return Ok(());
    }
    let row = db.node(node)?;
    check_voucher(stack, channel, row, channel.settled_units, &settlement, root, clock_ms)?;
    let payment = payment(stack, channel, units)?;
    let dues = with_credit(stack.dues.clone(), channel.payout, payment.to_node)?;
    let dues = with_credit(dues, stack.creator, payment.to_creator)?;
    let treasury_due = stack.treasury_due.add(payment.to_treasury)?;
    let (reserves, changed) = make_room(stack, channel, units)?;

    let channel = channel_mut(stack, node)?;
    channel.settled_units = units;
    if count > channel.settled_count {
        channel.settled_count = count;
        channel.root = root;
    }
    channel.paid = payment.paid_total;
    let (count, root) = (channel.settled_count, channel.root);
    stack.settled_units = payment.settled_units;
    stack.surcharge.used = payment.surcharge_used;
    stack.dues = dues;
    stack.treasury_due = treasury_due;
    stack.disputed.reserves = reserves;
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
    emit_reserves(stack.id, &changed, ctx);
    Ok(())
}

/// Aborts unless this voucher may be presented now: the channel was not released and its window is not over, it has
/// no fewer units than `before` and no more than granted, and the stack's key signed it.
pub(crate) fn check_voucher(
    stack: &Stack,
    channel: &Channel,
    node: &Node,
    before: Units,
    settlement: &Settlement,
    root: Hash32,
    clock_ms: u64,
) -> Result {
    ensure(!channel.released, Abort::ChannelClosed)?;
    let until_ms = channel_end_ms(stack, channel, node).saturating_add(stack.params.close_delay_ms);
    ensure(clock_ms <= until_ms, Abort::WindowClosed)?;
    let Settlement { units, count, .. } = *settlement;
    ensure(units >= before, Abort::VoucherBackwards)?;
    ensure(units.add(channel.disputed_units)? <= channel.granted, Abort::OverClaimed)?;
    let voucher = Voucher { db: stack.db, stack: stack.id, node: channel.node, units, count, root };
    let is_signed = ed25519::verify(&stack.request_key, &voucher.signed_bytes(), &settlement.signature);
    ensure(is_signed, Abort::BadSignature)
}

/// The reserves when the channel uses `units` of its transcript, and those of them that had to shrink.
pub(crate) fn make_room(
    stack: &Stack,
    channel: &Channel,
    units: Units,
) -> Result<(Vec<Reserve>, Vec<Reserve>)> {
    let taken = units.add(channel.disputed_units)?.add(reserved(stack, channel.node)?)?;
    shrunk(stack, channel.node, taken.saturating_sub(channel.granted))
}

/// Every part is a difference of its cumulative value, so that settling in many small pieces gives each
/// party exactly what settling once would.
fn payment(stack: &Stack, channel: &Channel, units: Units) -> Result<Payment> {
    let paid_total = channel.price.cost(units)?;
    let paid = paid_total.sub(channel.paid)?;
    let permille = stack.creator_fee_permille;
    let to_creator = paid_total.share(permille)?.sub(channel.paid.share(permille)?)?;
    let more = units.sub(channel.settled_units)?;
    let to_treasury = stack.surcharge_ahead(more)?;
    Ok(Payment {
        paid_total,
        to_node: paid.sub(to_creator)?,
        to_creator,
        to_treasury,
        surcharge_used: stack.surcharge.used.add(to_treasury)?,
        settled_units: stack.settled_units.add(more)?,
    })
}
