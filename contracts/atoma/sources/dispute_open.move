/// Opening a dispute, and closing the duty to answer. Entry points in `dispute`.
module atoma::dispute_open;

use atoma::chance;
use atoma::db::AtomaDb;
use atoma::dispute_state::{Self, DisputeState};
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::message;
use atoma::node_row::Node;
use atoma::params::Params;
use atoma::stack_state::{Self, Channel, StackState};
use atoma::stored_blob::StoredBlob;
use sui::hash;

/// Disputes open at a time, and ever, in one stack.
const OPEN_MAX: u64 = 4;
const DISPUTES_MAX: u64 = 64;
/// The longest life of a `RequestAuth`.
const AUTH_LIFE_MAX_MS: u64 = 600_000;

/// The fields of the `RequestAuth` beside its stack.
public struct Request has copy, drop {
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
}

public(package) fun new(
    node: u64,
    hops: u8,
    nonce: u64,
    body_hash: vector<u8>,
    max_units: u64,
    expires_ms: u64,
): Request {
    Request { node, hops, nonce, body_hash, max_units, expires_ms }
}

/// The dispute that may be opened, and when the node will have answered every dispute. `paid` is what the opener's
/// coin is worth.
public(package) fun check<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &StackState,
    blob: &StoredBlob,
    walrus_epoch: u32,
    paid: u64,
    request: &Request,
    signature: &vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
): (DisputeState, u64) {
    db.check_version();
    state.check(db);
    assert!(ctx.sender() == state.owner(), errors::not_authorized());
    limits::check_hash(&request.body_hash);
    let channel = state.channel(request.node);
    let node = db.node(request.node);
    check_window(state, channel, node, request, clock_ms);
    let request_hash = check_request(stack, state, request, signature);
    check_room(state, channel, request);
    let cost = math::cost(request.max_units, channel.price());
    let is_covered = chance::is_covered(state.params(), state.exact(), cost, node.collateral());
    assert!(state.level() != 2 || is_covered, errors::claim_too_large());
    blob.check(walrus_epoch);
    let params = state.params();
    assert!(paid >= params.bond(), errors::insufficient_payment());
    let (tail_ms, is_full) = queue(params, node, clock_ms);
    let deadline_ms = math::add(tail_ms, params.answer_window_ms());
    let dispute = dispute_state::new(
        stack,
        state,
        channel,
        request_hash,
        request.nonce,
        request.body_hash,
        request.max_units,
        blob,
        walrus_epoch,
        clock_ms,
        deadline_ms,
        is_full,
    );
    (dispute, tail_ms)
}

/// Keeps the units, and counts the dispute with its node and stack.
public(package) fun register<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &DisputeState,
    tail_ms: u64,
) {
    let reserve = stack_state::new_reserve(id, dispute.node(), dispute.max_units());
    state.reserves_mut().push_back(reserve);
    state.nonces_mut().push_back(dispute.nonce());
    let open = state.open_disputes() + 1;
    state.set_open_disputes(open);
    let node = db.node_mut(dispute.node());
    let open_disputes = math::add(node.open_disputes(), 1);
    node.set_open_disputes(open_disputes);
    node.set_queue_tail_ms(tail_ms);
    events::dispute_opened(
        id,
        dispute.stack(),
        dispute.node(),
        dispute.opener(),
        *dispute.request_hash(),
        dispute.nonce(),
        *dispute.body_hash(),
        dispute.max_units(),
        *dispute.blob(),
        dispute.blob_object(),
        dispute.bond(),
        dispute.deadline_ms(),
    );
}

/// Credits the bond and ends the duty to answer: the stack gets its reserve back, the node one dispute less. With a
/// claim the dispute goes on.
public(package) fun close<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    to_opener: u64,
    to_node: u64,
) {
    let payout = db.node(dispute.node()).payout();
    let opener = dispute.opener();
    dispute.credit(opener, to_opener);
    dispute.credit(payout, to_node);
    let open = math::sub(state.open_disputes(), 1);
    state.set_open_disputes(open);
    let node = db.node_mut(dispute.node());
    let open_disputes = math::sub(node.open_disputes(), 1);
    node.set_open_disputes(open_disputes);
    let at = reserve_index(state, id);
    at.do!(|at| state.reserves_mut().remove(at));
    dispute.close();
    events::dispute_ended(id, to_opener, to_node);
}

/// What the dispute still keeps; settlements may have taken some of it.
public(package) fun reserved(state: &StackState, id: address): u64 {
    let at = reserve_index(state, id);
    if (at.is_some()) state.reserves()[at.destroy_some()].reserve_units() else 0
}

fun reserve_index(state: &StackState, id: address): Option<u64> {
    state.reserves().find_index!(|reserve| reserve.reserve_dispute() == id)
}

/// A request can be disputed until `dispute_window_ms` after it expired, and after the channel, the node or the stack
/// ended.
fun check_window(state: &StackState, channel: &Channel, node: &Node, request: &Request, clock_ms: u64) {
    let latest_ms = math::add(clock_ms, AUTH_LIFE_MAX_MS);
    let is_bounded = request.expires_ms <= latest_ms && request.expires_ms <= state.expires_ms();
    assert!(is_bounded, errors::bad_argument());
    let until_ms = request.expires_ms.min(state.channel_end_ms(channel, node));
    let until_ms = math::add(until_ms, state.params().dispute_window_ms());
    assert!(clock_ms <= until_ms, errors::dispute_over());
}

/// The user signed it for this node, and it was not disputed before. Returns its hash.
fun check_request(stack: address, state: &StackState, request: &Request, signature: &vector<u8>): vector<u8> {
    assert!(request.hops <= 1, errors::bad_argument());
    assert!(!state.nonces().contains(&request.nonce), errors::already_disputed());
    let Request { node, hops, nonce, body_hash, max_units, expires_ms } = *request;
    let auth = message::request_auth(state.db(), stack, node, hops, nonce, body_hash, max_units, expires_ms);
    let bytes = message::request_auth_bytes(&auth);
    assert!(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature());
    hash::blake2b256(&bytes)
}

/// There is room for one more, in disputes and in units.
fun check_room(state: &StackState, channel: &Channel, request: &Request) {
    assert!(state.open_disputes() < OPEN_MAX, errors::too_many_disputes());
    assert!(state.nonces().length() < DISPUTES_MAX, errors::too_many_disputes());
    assert!(request.max_units > 0, errors::bad_argument());
    assert!(request.max_units <= state.free(channel), errors::no_free_units());
}

/// When the node will have answered this dispute, too, and whether its queue is full. The dispute queues behind the
/// node's others, at the node's declared rate, by at most `queue_max_ms`: a node cannot put off everybody by disputing
/// itself. One that is opened when the queue is full the node may refuse for nothing: nobody earns from refusals, or
/// slashes, by flooding it.
fun queue(params: &Params, node: &Node, clock_ms: u64): (u64, bool) {
    let interval_ms = node.answer_interval_ms().min(params.answer_interval_max_ms());
    let wanted_ms = math::add(node.queue_tail_ms().max(clock_ms), interval_ms);
    let latest_ms = math::add(clock_ms, params.queue_max_ms());
    (wanted_ms.min(latest_ms), wanted_ms > latest_ms)
}
