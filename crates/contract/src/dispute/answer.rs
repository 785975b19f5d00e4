//! What a node can do about a dispute.

use super::walrus::check_blob;
use super::{Bond, Case, answer_fee, check_badge, close};
use crate::Result;
use crate::audit::{self, Proven};
use crate::beacon::Beacon;
use crate::claim::{self, Made, Terms};
use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::ed25519;
use crate::limits::{self, ensure};
use crate::node::{NodeBadge, fault_once};
use crate::slash;
use crate::stack::{channel, channel_mut, with_credit};
use atoma_types::message::Message;
use atoma_types::onchain::event::{DisputeAcknowledged, DisputeAnswered, DisputeRefused};
use atoma_types::onchain::{Abort, Blob, Claim, Dispute, DisputeState};
use atoma_types::{Amount, Hash32, NodeId, Record, Units, Voucher, transcript};

/// An answer: where it is stored, and its record.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub blob: &'a Blob,
    /// BCS of the [`Record`], the first and only one of its transcript.
    pub record: &'a [u8],
}

/// What an answer moved.
#[derive(Default)]
struct Paid {
    amount: Amount,
    to_node: Amount,
    to_creator: Amount,
    fee: Amount,
}

/// What the answered units cost.
struct Price {
    /// Disputed units of the channel, and their cost, with these.
    units: Units,
    total: Amount,
    amount: Amount,
}

/// The node answered on Walrus. Below level 2 it is paid at once; at level 2 the answer is a claim of one
/// record, whose audit the answer fee pays first. The opener's bond pays the fee.
pub fn answer_served(
    db: &mut AtomaDb,
    beacon: &Beacon,
    case: &mut Case,
    badge: &NodeBadge,
    answer: Answer,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_open(db, case, badge)?;
    beacon.check(db)?;
    let record = check_answer(case.dispute, answer)?;
    let price = price(case, record.units)?;
    if case.dispute.level != 2 {
        return pay_answer(db, case, answer, &record, price, ctx);
    }
    ensure(db.node(badge.node)?.convictions == 0, Abort::Convicted)?;
    let made = one_record(case.dispute, &record, price.amount);
    let claim = claim::make(db, beacon, &Terms::of_dispute(case.dispute), made, clock_ms)?;
    claim_answer(db, case, answer, &record, price, claim, ctx)
}

/// The dispute waits for this node.
fn check_open(db: &AtomaDb, case: &Case, badge: &NodeBadge) -> Result {
    case.check(db)?;
    check_badge(case.dispute, badge)?;
    let state = case.dispute.state;
    ensure(matches!(state, DisputeState::Open | DisputeState::BodyDemanded), Abort::WrongState)
}

/// The record answers this request with no more than it may cost, and is stored long enough.
fn check_answer(dispute: &Dispute, answer: Answer) -> Result<Record> {
    let record = audit::decode(answer.record)?;
    ensure(record.request_hash == dispute.request_hash, Abort::BadRecord)?;
    // What cannot be served is refused: an answer earns the fee.
    ensure(record.status.is_billable(), Abort::BadRecord)?;
    // Without units there would be nothing to audit.
    ensure(dispute.level != 2 || !record.units.is_zero(), Abort::BadRecord)?;
    ensure(record.count == 1 && record.total_units == record.units, Abort::BadRecord)?;
    ensure(record.units <= dispute.max_units, Abort::OverClaimed)?;
    check_blob(answer.blob, dispute.walrus_epoch)?;
    Ok(record)
}

/// A difference of the cost of all disputed units of the channel. Paid are at most the units that are still
/// kept: settlements may have taken them, and paid them, meanwhile.
fn price(case: &Case, units: Units) -> Result<Price> {
    let row = channel(case.stack, case.dispute.node)?;
    let units = row.disputed_units.add(units.min(case.reserved()))?;
    let total = row.price.cost(units)?;
    Ok(Price { units, total, amount: total.sub(row.disputed_paid)? })
}

fn pay_answer(
    db: &mut AtomaDb,
    case: &mut Case,
    answer: Answer,
    record: &Record,
    price: Price,
    ctx: &mut TxContext,
) -> Result {
    let to_creator = price.amount.share(case.stack.creator_fee_permille)?;
    let to_node = price.amount.sub(to_creator)?;
    let dues = with_credit(case.stack.dues.clone(), case.dispute.payout, to_node)?;
    let dues = with_credit(dues, case.stack.creator, to_creator)?;
    let fee = answer_fee(case.dispute);
    let bond = Bond { to_opener: case.dispute.bond.sub(fee)?, to_node: fee };

    case.stack.dues = dues;
    book(case, &price)?;
    ctx.emit(answered(case.dispute, answer, record, Paid { amount: price.amount, to_node, to_creator, fee }));
    close(db, case, bond, DisputeState::Ended, ctx)
}

/// The units are the channel's disputed ones.
fn book(case: &mut Case, price: &Price) -> Result {
    let row = channel_mut(case.stack, case.dispute.node)?;
    row.disputed_units = price.units;
    row.disputed_paid = price.total;
    Ok(())
}

/// Moves the price into the dispute, where it is a claim under the root that is its one leaf.
fn claim_answer(
    db: &mut AtomaDb,
    case: &mut Case,
    answer: Answer,
    record: &Record,
    price: Price,
    claim: Claim,
    ctx: &mut TxContext,
) -> Result {
    let dispute = &*case.dispute;
    let fee = claim.surcharge;
    let escrow = case.stack.balance.sub(price.amount)?;
    let balance = dispute.balance.add(price.amount)?;
    let bond = Bond { to_opener: dispute.bond.sub(fee)?, to_node: Amount::ZERO };

    case.stack.balance = escrow;
    case.dispute.balance = balance;
    book(case, &price)?;
    ctx.emit(answered(case.dispute, answer, record, Paid { amount: price.amount, ..Paid::default() }));
    ctx.emit(claim::made_event(case.dispute.id, case.dispute.node, &claim));
    case.dispute.claim = Some(claim);
    close(db, case, bond, DisputeState::Answered, ctx)
}

fn one_record(dispute: &Dispute, record: &Record, amount: Amount) -> Made {
    Made {
        from_units: Units::ZERO,
        to_units: record.units,
        count: 1,
        root: transcript::leaf_hash(record),
        amount,
        surcharge: answer_fee(dispute),
    }
}

fn answered(dispute: &Dispute, answer: Answer, record: &Record, paid: Paid) -> DisputeAnswered {
    DisputeAnswered {
        dispute: dispute.id,
        units: record.units,
        response_hash: record.response_hash,
        blob: Hash32(answer.blob.blob_id),
        amount: paid.amount,
        paid: paid.to_node,
        creator_fee: paid.to_creator,
        fee: paid.fee,
    }
}

/// The node declines: the opener has the whole bond back, the treasury the fee out of the coin, whose rest stays
/// the sender's. Nobody earns from opening what a node must refuse; and of a flood only the first refusal of an
/// epoch without a fault costs the node a point of reputation. One opened when the node's queue was full costs
/// neither fee nor point.
pub fn answer_refused(
    db: &mut AtomaDb,
    case: &mut Case,
    badge: &NodeBadge,
    mut coin: Coin,
    reason: u8,
    ctx: &mut TxContext,
) -> Result {
    check_open(db, case, badge)?;
    let is_free = case.dispute.is_overflow;
    let fee = if is_free { Amount::ZERO } else { case.dispute.params.answer_fee };
    ensure(coin.balance >= fee, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(fee)?;
    let pool = db.pool.add(fee)?;
    let to_treasury = db.to_treasury.add(fee)?;
    let bond = Bond { to_opener: case.dispute.bond, to_node: Amount::ZERO };

    coin.balance = change;
    (db.pool, db.to_treasury) = (pool, to_treasury);
    ctx.emit(DisputeRefused { dispute: case.dispute.id, reason, fee });
    close(db, case, bond, DisputeState::Ended, ctx)?;
    if !is_free {
        fault_once(db.node_mut(badge.node)?, slash::REFUSAL_POINTS, ctx);
    }
    ctx.return_change(coin);
    Ok(())
}

/// A voucher that acknowledges the disputed request, as the user signed it, and the record under its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Whose voucher it is: the disputed node's, or the one's that it passed the request on to.
    pub node: NodeId,
    pub units: Units,
    pub count: u64,
    pub root: Vec<u8>,
    pub signature: Vec<u8>,
    pub shown: Proven,
}

/// The user has signed for this answer already. The bond pays the fee.
pub fn show_acknowledged(
    db: &mut AtomaDb,
    case: &mut Case,
    badge: &NodeBadge,
    acknowledged: &Acknowledged,
    ctx: &mut TxContext,
) -> Result {
    check_open(db, case, badge)?;
    let root = Hash32(limits::check_bytes(&acknowledged.root)?);
    let voucher = Voucher {
        db: case.stack.db,
        stack: case.stack.id,
        node: acknowledged.node,
        units: acknowledged.units,
        count: acknowledged.count,
        root,
    };
    let bytes = voucher.signed_bytes();
    let is_signed = ed25519::verify(&case.stack.request_key, &bytes, &acknowledged.signature);
    ensure(is_signed, Abort::BadSignature)?;
    let record = audit::prove(&acknowledged.shown, acknowledged.count, &root)?;
    ensure(record.request_hash == case.dispute.request_hash, Abort::BadRecord)?;
    let fee = answer_fee(case.dispute);
    let bond = Bond { to_opener: case.dispute.bond.sub(fee)?, to_node: fee };

    ctx.emit(DisputeAcknowledged { dispute: case.dispute.id, fee });
    close(db, case, bond, DisputeState::Ended, ctx)
}
