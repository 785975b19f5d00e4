/// The duties of a dispute: the body, which the opener posts on chain once if the node cannot read the request's blob,
/// and what becomes of a duty that is not done. Entry points in `dispute`.
module atoma::dispute_duty;

use atoma::audit_late;
use atoma::db::AtomaDb;
use atoma::dispute_open;
use atoma::dispute_state::DisputeState;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::slash;
use atoma::stack_state::StackState;
use sui::hash;

// `duty` of `DisputeExpired`.

const ANSWER: u8 = 0;
const BODY: u8 = 1;

/// The opener must post the body in `body_window_ms`, else the bond is the node's. Once: it restarts the answer's
/// clock.
public(package) fun demand_body(id: address, dispute: &mut DisputeState, clock_ms: u64) {
    dispute.check_open();
    assert!(!dispute.was_body_demanded(), errors::already_done());
    let deadline_ms = math::add(clock_ms, dispute.params().body_window_ms());

    dispute.await_body(deadline_ms);
    events::body_demanded(id, deadline_ms);
}

/// Posts a part of the demanded body; what was posted from `offset` on is replaced. The last one must complete what
/// the request signed; then the node has the answer's window again.
public(package) fun post_body(
    id: address,
    dispute: &mut DisputeState,
    offset: u64,
    part: vector<u8>,
    is_last: bool,
    clock_ms: u64,
    ctx: &TxContext,
) {
    assert!(ctx.sender() == dispute.opener(), errors::not_authorized());
    dispute.check_body_demanded();
    assert!(part.length() <= limits::part_bytes_max(), errors::bad_argument());
    assert!(offset <= dispute.body_bytes().length(), errors::bad_argument());
    let mut body = *dispute.body_bytes();
    while (body.length() > offset) { body.pop_back(); };
    body.append(part);
    assert!(body.length() <= limits::body_bytes_max(), errors::bad_argument());
    assert!(!is_last || &hash::blake2b256(&body) == dispute.body_hash(), errors::bad_body());
    let deadline_ms = math::add(clock_ms, dispute.params().answer_window_ms());

    events::body_part(id, offset, part);
    if (!is_last) {
        dispute.set_body_bytes(body);
        return
    };
    // Whoever needs the body reads it from the events.
    dispute.await_answer(deadline_ms);
    events::body_posted(id, deadline_ms);
}

/// Notes that the deadline of the answer, or of the body, has passed.
public(package) fun mark_late(id: address, dispute: &mut DisputeState, clock_ms: u64) {
    dispute.check_waiting();
    assert!(dispute.late_ms() == 0, errors::already_done());
    assert!(clock_ms > dispute.deadline_ms(), errors::not_late());

    dispute.set_late_ms(clock_ms);
    events::marked_late(id, dispute.node(), clock_ms);
}

/// The effect: who posts no body loses the bond to the node, who does not answer is slashed and the opener has the
/// bond back and compensation.
public(package) fun expire<T>(
    db: &mut AtomaDb<T>,
    state: &mut StackState,
    id: address,
    dispute: &mut DisputeState,
    clock_ms: u64,
    ctx: &TxContext,
) {
    dispute.check_waiting();
    audit_late::check_expired(dispute.late_ms(), dispute.params().grace_ms(), clock_ms);
    let bond = dispute.bond();
    if (dispute.is_body_demanded()) {
        events::dispute_expired(id, BODY);
        dispute_open::close(db, state, id, dispute, 0, bond);
        return
    };
    let cost = math::cost(dispute.max_units(), dispute.price());

    events::dispute_expired(id, ANSWER);
    dispute_open::close(db, state, id, dispute, bond, 0);
    slash::timeout(db, dispute.node(), dispute.params(), cost, dispute.opener(), clock_ms, ctx);
}
