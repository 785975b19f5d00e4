/// Settling vouchers at levels 0 and 1; at level 2 a voucher becomes a claim. The entry point is in `stack`.
module atoma::settlement;

use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::message;
use atoma::node_row::Node;
use atoma::stack_state::{Self, Channel, Reserve, StackState};

/// A voucher's fields beside its stack.
public struct Settlement has copy, drop {
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
}

public(package) fun new(node: u64, units: u64, count: u64, root: vector<u8>): Settlement {
    Settlement { node, units, count, root }
}

public(package) fun settle<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    settlement: &Settlement,
    signature: &vector<u8>,
    clock_ms: u64,
) {
    db.check_version();
    state.check(db);
    assert!(state.level() < 2, errors::wrong_level());
    limits::check_hash(&settlement.root);
    let Settlement { node, units, count, root } = *settlement;
    let channel = *state.channel(node);
    if (count <= channel.settled_count() && units <= channel.channel_settled_units()) return;
    let row = db.node(node);
    let before = channel.channel_settled_units();
    check_voucher(stack, state, &channel, row, before, settlement, signature, clock_ms);
    // Every part is a difference of its cumulative value, so that settling in many small pieces gives each party
    // exactly what settling once would.
    let paid_total = math::cost(units, channel.price());
    let paid = math::sub(paid_total, channel.paid());
    let permille = state.creator_fee_permille();
    let to_creator = math::sub(math::share(paid_total, permille), math::share(channel.paid(), permille));
    let more = math::sub(units, channel.channel_settled_units());
    let to_treasury = state.surcharge_ahead(more);
    let to_node = math::sub(paid, to_creator);
    let surcharge_used = math::add(state.surcharge_used(), to_treasury);
    let settled_units = math::add(state.settled_units(), more);
    let creator = state.creator();

    state.set_surcharge_used(surcharge_used);
    state.set_settled_units(settled_units);
    state.credit(row.payout(), to_node);
    state.credit(creator, to_creator);
    state.credit_treasury(to_treasury);
    let changed = make_room(state, &channel, units);
    let channel = state.channel_mut(node);
    channel.settle(units, count, root);
    channel.set_paid(paid_total);
    let (count, root) = (channel.settled_count(), *channel.root());
    events::settled(stack, node, units, count, root, to_node, to_creator, to_treasury);
    stack_state::emit_reserves(stack, &changed);
}

/// Aborts unless this voucher may be presented now: the channel was not released and its window is not over, it has
/// no fewer units than `before` and no more than granted, and the stack's key signed it.
public(package) fun check_voucher(
    stack: address,
    state: &StackState,
    channel: &Channel,
    node: &Node,
    before: u64,
    settlement: &Settlement,
    signature: &vector<u8>,
    clock_ms: u64,
) {
    assert!(!channel.released(), errors::channel_closed());
    let end_ms = state.channel_end_ms(channel, node);
    let until_ms = math::saturating_add(end_ms, state.params().close_delay_ms());
    assert!(clock_ms <= until_ms, errors::window_closed());
    let Settlement { node, units, count, root } = *settlement;
    assert!(units >= before, errors::voucher_backwards());
    assert!(math::add(units, channel.disputed_units()) <= channel.granted(), errors::over_claimed());
    let bytes = message::voucher_bytes(&message::voucher(state.db(), stack, node, units, count, root));
    assert!(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature());
}

/// Shrinks reserves as far as needed when the channel uses `units` of its transcript. Returns those that changed.
public(package) fun make_room(state: &mut StackState, channel: &Channel, units: u64): vector<Reserve> {
    let used = math::add(units, channel.disputed_units());
    let taken = math::add(used, state.reserved(channel.node()));
    state.shrink(channel.node(), math::saturating_sub(taken, channel.granted()))
}
