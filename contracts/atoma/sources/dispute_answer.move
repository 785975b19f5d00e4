/// What a node can do about a dispute: answer, refuse, or show that the user has acknowledged the answer. Entry points in
/// `dispute`.
module atoma::dispute_answer;

use atoma::beacon::Beacon;
use atoma::claim_state;
use atoma::db::AtomaDb;
use atoma::dispute_state::{Self, DisputeState};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::message::{Self, Record};
use atoma::node;
use atoma::stack_state::StackState;
use atoma_base::stored_blob::StoredBlob;

/// Points of reputation that a refusal costs.
const REFUSAL_POINTS: u64 = 1;

/// What the answered units cost.
public struct Price has drop {
    /// Disputed units of the channel, and their cost, with these.
    units: u64,
    total: u64,
    amount: u64,
}

/// The node answered on Walrus. Below level 2 it is credited at once; at level 2 the answer is a claim of one record,
/// whose audit the answer fee pays first. The opener's bond pays the fee. Returns what moves from the stack's balance
/// into the dispute's.
public(package) fun served<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    blob: &StoredBlob,
    record: vector<u8>,
    clock_ms: u64,
): u64 {
    beacon.check(db);
    let record = dispute_state::check_answer(dispute, blob, record);
    let price = priced(state, id, dispute, record.units());
    if (dispute.level() == 2) {
        require(db.node(dispute.node()).convictions() == 0, errors::convicted!());
        claim_answer(db, beacon, state, id, dispute, blob, &record, price, clock_ms)
    } else {
        pay_answer(db, state, id, dispute, blob, &record, price);
        0
    }
}

/// A difference of the cost of all disputed units of the channel. Paid are at most the units that are still kept:
/// settlements may have taken them, and paid them, meanwhile.
fun priced(state: &StackState, id: address, dispute: &DisputeState, units: u64): Price {
    let row = state.channel(dispute.node());
    let units = math::add(row.disputed_units(), units.min(state.disputed().units_for(id)));
    let total = math::cost(units, row.price());
    Price { units, total, amount: math::sub(total, row.disputed_paid()) }
}

fun pay_answer<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    blob: &StoredBlob,
    record: &Record,
    price: Price,
) {
    let amount = price.amount;
    let to_creator = math::share(amount, state.creator_fee_permille());
    let to_node = math::sub(amount, to_creator);
    let creator = state.creator();
    state.credit(dispute.payout(), to_node);
    state.credit(creator, to_creator);
    let fee = dispute.answer_fee();
    let to_opener = dispute.bond() - fee;

    book(state, dispute, &price);
    announce(id, blob, record, amount, to_node, to_creator, fee);
    dispute_state::end_duty(db, state, id, dispute, to_opener, fee);
}

/// Moves the price into the dispute, where it is a claim under the root that is its one leaf.
fun claim_answer<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    blob: &StoredBlob,
    record: &Record,
    price: Price,
    clock_ms: u64,
): u64 {
    let terms = dispute_state::terms(id, dispute);
    let (amount, fee, units) = (price.amount, dispute.answer_fee(), record.units());
    let claim = claim_state::make(db, beacon, &terms, 0, units, 1, *record.leaf(), amount, fee, clock_ms);
    let to_opener = dispute.bond() - fee;

    book(state, dispute, &price);
    announce(id, blob, record, amount, 0, 0, 0);
    claim_state::announce(&terms, &claim);
    dispute.set_claim(claim);
    dispute_state::end_duty(db, state, id, dispute, to_opener, 0);
    amount
}

/// The units are the channel's disputed ones.
fun book(state: &mut StackState, dispute: &DisputeState, price: &Price) {
    let row = state.channel_mut(dispute.node());
    row.set_disputed_units(price.units);
    row.set_disputed_paid(price.total);
}

fun announce(
    id: address,
    blob: &StoredBlob,
    record: &Record,
    amount: u64,
    to_node: u64,
    to_creator: u64,
    fee: u64,
) {
    events::dispute_answered(
        id,
        record.units(),
        *record.response_hash(),
        *blob.blob_id(),
        amount,
        to_node,
        to_creator,
        fee,
    )
}

/// The node declines: the opener has the whole bond back, the treasury the fee out of the node's coin, worth `paid`.
/// Nobody earns from opening what a node must refuse; and of a flood only the first refusal of an epoch without a fault
/// costs the node a point of reputation. One opened when the node's queue was full costs neither. Returns the fee.
public(package) fun refused<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    paid: u64,
    reason: u8,
    ctx: &TxContext,
): u64 {
    let fee = dispute.refusal_fee();
    require(paid >= fee, errors::insufficient_payment!());
    let to_opener = dispute.bond();

    db.add_to_treasury(fee);
    events::dispute_refused(id, reason, fee);
    dispute_state::end_duty(db, state, id, dispute, to_opener, 0);
    if (!dispute.is_overflow()) node::fault_once(db.node_mut(dispute.node()), REFUSAL_POINTS, ctx.epoch());
    fee
}

/// The user has signed for this answer already: a voucher for the node, and the record under its root. The bond pays
/// the fee.
public(package) fun acknowledged<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
    signature: &vector<u8>,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
) {
    limits::check_hash(&root);
    let voucher = message::voucher(state.db(), dispute.stack(), node, units, count, root);
    let bytes = message::voucher_bytes(&voucher);
    require(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature!());
    let record = message::prove(record, index, proof, count, &root);
    require(record.request_hash() == dispute.request_hash(), errors::bad_record!());
    let fee = dispute.answer_fee();
    let to_opener = dispute.bond() - fee;

    events::dispute_acknowledged(id, fee);
    dispute_state::end_duty(db, state, id, dispute, to_opener, fee);
}
