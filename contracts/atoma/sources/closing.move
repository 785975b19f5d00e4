/// The ways out: revoking, releasing, reclaiming, closing, refunding, withdrawing. Refunds and withdrawals work at
/// any version of the package, and none of them depends on anybody else's call. Entry points in `stack`.
module atoma::closing;

use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::stack_state::{Self, StackState};

public(package) fun revoke_channel(
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
    ctx: &TxContext,
) {
    state.check_version();
    assert!(ctx.sender() == state.owner(), errors::not_authorized());
    let is_open = state.has_channel(node);
    if (is_open) {
        assert!(state.channel(node).closed_ms() == 0, errors::channel_closed());
    } else {
        assert!(state.channels() < limits::channels_max(), errors::too_many_channels());
    };

    // 0 means open.
    let at_ms = clock_ms.max(1);
    if (!is_open) state.add_channel(stack_state::new_channel(node, 0, 0, 0, 0));
    state.channel_mut(node).set_closed_ms(at_ms);
    events::channel_revoked(stack, node, at_ms);
}

public(package) fun release_channel<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    badge_db: address,
    node: u64,
    clock_ms: u64,
) {
    db.check_version();
    state.check(db);
    db.check_db(badge_db);
    let channel = state.channel_mut(node);
    assert!(!channel.released(), errors::channel_closed());

    let at_ms = clock_ms.max(1);
    channel.set_released(true);
    if (channel.closed_ms() == 0) channel.set_closed_ms(at_ms);
    events::channel_released(stack, node, at_ms);
}

public(package) fun reclaim<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
) {
    db.check_version();
    state.check(db);
    let channel = state.channel(node);
    let closed_ms = channel.closed_ms();
    let disabled_ms = if (db.has_node(node)) db.node(node).disabled_ms() else 0;
    assert!(closed_ms != 0 || disabled_ms != 0, errors::too_early());
    let ended_ms = if (closed_ms == 0) disabled_ms else if (disabled_ms == 0) closed_ms
        else closed_ms.min(disabled_ms);
    let params = state.params();
    let delay_ms = if (channel.released()) params.dispute_window_ms() else params.close_delay_ms();
    assert!(clock_ms > math::saturating_add(ended_ms, delay_ms), errors::too_early());
    assert!(state.reserved(node) == 0, errors::units_reserved());
    let used = channel.used();
    let returned = math::sub(channel.granted(), used);
    assert!(returned > 0, errors::nothing_due());
    let granted_units = math::sub(state.granted_units(), returned);

    state.set_granted_units(granted_units);
    state.channel_mut(node).set_granted(used);
    events::channel_reclaimed(stack, node, returned);
}

public(package) fun request_close(stack: address, state: &mut StackState, clock_ms: u64, ctx: &TxContext) {
    state.check_version();
    assert!(ctx.sender() == state.owner(), errors::not_authorized());
    assert!(state.close_requested_ms() == 0, errors::already_closing());
    assert!(clock_ms < state.expires_ms(), errors::stack_ended());

    // 0 means not requested.
    let at_ms = clock_ms.max(1);
    state.set_close_requested_ms(at_ms);
    events::close_requested(stack, at_ms);
}

/// What the owner gets back of `balance`: returned if the owner calls and must then be paid, else credited and 0.
public(package) fun refund(
    stack: address,
    state: &mut StackState,
    balance: u64,
    clock_ms: u64,
    ctx: &TxContext,
): u64 {
    assert!(clock_ms > state.settle_until_ms(), errors::too_early());
    let owner = state.owner();
    let kept = math::add(state.credited(), state.committed());
    // Reserves are counted with a base unit to spare.
    let amount = math::saturating_sub(balance, kept);
    if (amount == 0) return 0;
    let is_credited = ctx.sender() != owner;
    if (is_credited) state.credit(owner, amount);
    events::refunded(stack, owner, amount, is_credited);
    if (is_credited) 0 else amount
}

/// What the sender is due, which must then be paid.
public(package) fun withdraw(stack: address, state: &mut StackState, ctx: &TxContext): u64 {
    let to = ctx.sender();
    let amount = state.due_of(to);
    assert!(amount > 0, errors::nothing_due());

    state.clear_due(to);
    events::withdrawn(stack, to, amount);
    amount
}

/// What the treasury is due, which must then be moved there.
public(package) fun sweep(stack: address, state: &mut StackState): u64 {
    let amount = state.treasury_due();
    assert!(amount > 0, errors::nothing_due());

    state.set_treasury_due(0);
    events::swept(stack, amount);
    amount
}
