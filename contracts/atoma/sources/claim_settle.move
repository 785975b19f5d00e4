/// Settling a voucher at level 2. Entry point in `claim`.
module atoma::claim_settle;

use atoma::beacon::Beacon;
use atoma::claim_channel;
use atoma::claim_release;
use atoma::claim_state::{Self, Queued};
use atoma::chance;
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::settlement;
use atoma::stack_state::{Self, Channel, StackState};

public(package) fun settle<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: address,
    state: &mut StackState,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
    signature: &vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
) {
    claim_channel::check(db, beacon, state);
    assert!(state.level() == 2, errors::wrong_level());
    limits::check_hash(&root);
    let row = state.channel(node);
    let before = acknowledged(row);
    if (units <= before) return;
    let owner = db.node(node);
    assert!(ctx.sender() == owner.owner(), errors::not_authorized());
    assert!(owner.convictions() == 0, errors::convicted());
    let voucher = settlement::new(node, units, count, root);
    settlement::check_voucher(stack, state, row, owner, before, &voucher, signature, clock_ms);
    let is_last = clock_ms >= state.channel_end_ms(row, owner);
    assert!(is_last || has_verifiers(db, state, owner.owner()), errors::not_enough_verifiers());
    let price = row.price();
    let amount = math::sub(math::cost(units, price), math::cost(claimed(row), price));
    let is_covered = chance::is_covered(state.params(), state.exact(), amount, owner.collateral());
    assert!(is_covered, errors::claim_too_large());

    enqueue(db, beacon, stack, state, node, claim_state::new_queued(units, count, root), clock_ms);
}

/// Whether enough others are opted in to judge this owner's node. That their lists are not diluted was asked when the
/// stack was bought; asked here, a swarm that joins and leaves could keep nodes from settling what they served. For the
/// same reason nothing is asked once the channel has ended: verifiers that left meanwhile could.
fun has_verifiers<T>(db: &AtomaDb<T>, state: &StackState, owner: address): bool {
    let market = db.market(state.task());
    let live = market.verifiers_in(state.echelons()).opted_in();
    math::saturating_sub(live, market.verifiers_owned(owner)) >= state.params().min_verifiers()
}

/// The voucher is queued, in place of an older one, and becomes a claim at once if none is running or the running
/// one's hold is over.
fun enqueue<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: address,
    state: &mut StackState,
    node: u64,
    queued: Queued,
    clock_ms: u64,
) {
    if (is_over(db, stack, state, node, clock_ms)) claim_channel::release(db, stack, state, node, clock_ms);
    let units = queued.queued_units();
    let row = *state.channel(node);
    let changed = settlement::make_room(state, &row, units);
    state.channel_mut(node).set_queued(option::some(queued));
    events::claim_queued(stack, node, units, queued.queued_count(), *queued.queued_root());
    stack_state::emit_reserves(stack, &changed);
    if (row.claim().is_some()) return;
    let amount = claim_channel::cost_ahead(&row, units);
    assert!(!claim_channel::is_too_small(state, &row, amount, clock_ms), errors::claim_too_small());
    claim_channel::promote(db, beacon, stack, state, node, clock_ms);
}

/// Units that the channel's newest voucher acknowledges.
fun acknowledged(row: &Channel): u64 {
    if (row.queued().is_some()) row.queued().borrow().queued_units() else claimed(row)
}

/// Units up to which the channel has claimed: where the next claim begins.
fun claimed(row: &Channel): u64 {
    if (row.claim().is_some()) row.claim().borrow().to_units() else row.channel_settled_units()
}

/// Whether the channel has a claim whose hold is over.
fun is_over<T>(db: &AtomaDb<T>, stack: address, state: &StackState, node: u64, clock_ms: u64): bool {
    if (state.channel(node).claim().is_none()) return false;
    let terms = claim_channel::terms(stack, state, node);
    claim_release::is_over(db, &terms, claim_channel::claim(state, node), clock_ms)
}
