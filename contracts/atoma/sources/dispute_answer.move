/// What a node can do about a dispute. Entry points in `dispute`.
module atoma::dispute_answer;

use atoma::audit_record::{Self, Record};
use atoma::beacon::Beacon;
use atoma::claim_resolve;
use atoma::db::AtomaDb;
use atoma::dispute_claim;
use atoma::dispute_open;
use atoma::dispute_state::DisputeState;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::message;
use atoma::slash;
use atoma::stack_state::StackState;
use atoma::stored_blob::StoredBlob;

/// What the answered units cost.
public struct Price has drop {
    /// Disputed units of the channel, and their cost, with these.
    units: u64,
    total: u64,
    amount: u64,
}

/// Both are of this version, and the dispute is the stack's, else `EWrongDispute`.
public(package) fun check_case<T>(db: &AtomaDb<T>, stack: address, state: &StackState, dispute: &DisputeState) {
    db.check_version();
    state.check(db);
    dispute.check_version();
    assert!(dispute.stack() == stack, errors::wrong_dispute());
}

/// The dispute waits for this node.
public(package) fun check_open<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &StackState,
    dispute: &DisputeState,
    badge_db: address,
    node: u64,
) {
    check_case(db, stack, state, dispute);
    dispute.check_badge(badge_db, node);
    dispute.check_waiting();
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
    let record = check_answer(dispute, blob, record);
    let price = price(state, id, dispute, record.units());
    if (dispute.level() == 2) {
        assert!(db.node(dispute.node()).convictions() == 0, errors::convicted());
        claim_answer(db, beacon, state, id, dispute, blob, &record, price, clock_ms)
    } else {
        pay_answer(db, state, id, dispute, blob, &record, price);
        0
    }
}

/// The record answers this request with no more than it may cost, and is stored long enough.
fun check_answer(dispute: &DisputeState, blob: &StoredBlob, bytes: vector<u8>): Record {
    let record = audit_record::decode(bytes);
    let units = record.units();
    assert!(record.request_hash() == dispute.request_hash(), errors::bad_record());
    assert!(record.is_billable() || units == 0, errors::bad_record());
    // Without units there would be nothing to audit.
    assert!(dispute.level() != 2 || units > 0, errors::bad_record());
    assert!(record.count() == 1 && record.total_units() == units, errors::bad_record());
    assert!(units <= dispute.max_units(), errors::over_claimed());
    blob.check(dispute.walrus_epoch());
    record
}

/// A difference of the cost of all disputed units of the channel. Paid are at most the units that are still kept:
/// settlements may have taken them, and paid them, meanwhile.
fun price(state: &StackState, id: address, dispute: &DisputeState, units: u64): Price {
    let row = state.channel(dispute.node());
    let units = math::add(row.disputed_units(), units.min(dispute_open::reserved(state, id)));
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
    state.credit(db.node(dispute.node()).payout(), to_node);
    state.credit(creator, to_creator);
    let fee = dispute.answer_fee();
    let to_opener = dispute.bond() - fee;

    book(state, dispute, &price);
    announce(id, blob, record, amount, to_node, to_creator, fee);
    dispute_open::close(db, state, id, dispute, to_opener, fee);
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
    let terms = dispute_claim::terms(id, dispute);
    let (amount, fee, units) = (price.amount, dispute.answer_fee(), record.units());
    let claim = claim_resolve::make(db, beacon, &terms, 0, units, 1, *record.leaf(), amount, fee, clock_ms);
    let to_opener = dispute.bond() - fee;

    book(state, dispute, &price);
    announce(id, blob, record, amount, 0, 0, 0);
    claim_resolve::announce(&terms, &claim);
    dispute.set_claim(claim);
    dispute_open::close(db, state, id, dispute, to_opener, 0);
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
        blob.blob_id(),
        amount,
        to_node,
        to_creator,
        fee,
    )
}

/// The node declines: the opener has the whole bond back and the fee out of the node's coin, worth `paid`; the node
/// loses a point of reputation. One opened when the node's queue was full costs neither. The fee is not taken from the
/// collateral, which a node that fears conviction would pay to itself so. Returns the fee.
public(package) fun refused<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    paid: u64,
    reason: u8,
    ctx: &TxContext,
): u64 {
    let is_free = dispute.is_overflow();
    let fee = if (is_free) 0 else dispute.params().answer_fee();
    assert!(paid >= fee, errors::insufficient_payment());
    let to_opener = math::add(dispute.bond(), fee);

    events::dispute_refused(id, reason, fee);
    dispute_open::close(db, state, id, dispute, to_opener, 0);
    if (!is_free) db.node_mut(dispute.node()).fault(slash::refusal_points(), ctx.epoch());
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
    assert!(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature());
    let record = audit_record::prove(record, index, proof, count, &root);
    assert!(record.request_hash() == dispute.request_hash(), errors::bad_record());
    let fee = dispute.answer_fee();
    let to_opener = dispute.bond() - fee;

    events::dispute_acknowledged(id, fee);
    dispute_open::close(db, state, id, dispute, to_opener, fee);
}
