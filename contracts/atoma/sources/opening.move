/// Opening channels, and giving them more units. The entry point is in `stack`.
module atoma::opening;

use atoma::db::AtomaDb;
use atoma::draw;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::message;
use atoma::node_row::Node;
use atoma::offer;
use atoma::purchase;
use atoma::stack_state::{Self, Channel, StackState};

/// A grant.
public struct Opening has copy, drop {
    node: u64,
    /// All units of this channel, those granted before included.
    units: u64,
    max_price: u64,
    nonce: u64,
}

public(package) fun new(node: u64, units: u64, max_price: u64, nonce: u64): Opening {
    Opening { node, units, max_price, nonce }
}

public(package) fun open_channel<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    opening: &Opening,
    signature: &vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
) {
    db.check_version();
    state.check(db);
    let node = db.node(opening.node);
    assert!(clock_ms < state.ends_ms(), errors::stack_ended());
    let open_fee = authorize(stack, state, node, opening, signature, ctx);
    assert!(node.disabled_ms() == 0, errors::node_disabled());
    let is_open = state.has_channel(opening.node);
    let channel = if (is_open) {
        raised(db, state, opening, ctx.epoch())
    } else {
        opened(db, state, node, opening, clock_ms, ctx.epoch())
    };
    check_verifiers(db, state, node.owner());
    let before = if (is_open) state.channel(opening.node).granted() else 0;
    let granted_units = math::add(state.granted_units(), math::sub(opening.units, before));
    assert!(granted_units <= state.total_units(), errors::over_granted());

    let fee = if (open_fee.is_some()) {
        let opens_left = state.opens_left() - 1;
        state.set_opens_left(opens_left);
        open_fee.destroy_some()
    } else {
        0
    };
    state.credit(node.payout(), fee);
    state.set_granted_units(granted_units);
    events::channel_opened(
        stack,
        opening.node,
        channel.price(),
        channel.echelon(),
        opening.units,
        opening.nonce,
        ctx.sender(),
        fee,
    );
    if (is_open) {
        *state.channel_mut(opening.node) = channel;
    } else {
        state.add_channel(channel);
    }
}

/// Who may open, and whether that earns a prepaid opening fee.
fun authorize(
    stack: address,
    state: &StackState,
    node: &Node,
    opening: &Opening,
    signature: &vector<u8>,
    ctx: &TxContext,
): Option<u64> {
    if (ctx.sender() == state.owner()) return option::none();
    assert!(ctx.sender() == node.owner(), errors::not_authorized());
    let Opening { node, units, max_price, nonce } = *opening;
    let bytes = message::grant_bytes(&message::grant(state.db(), stack, node, units, max_price, nonce));
    assert!(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature());
    if (state.opens_left() > 0) option::some(state.params().open_fee()) else option::none()
}

/// At level 2 enough verifiers must be opted in besides those of the node's owner.
fun check_verifiers<T>(db: &AtomaDb<T>, state: &StackState, owner: address) {
    let market = db.market(state.task());
    let verifiers = market.verifiers_in(state.echelons());
    let has_verifiers = draw::has_verifiers(market, state.params(), state.level(), verifiers, owner);
    assert!(has_verifiers, errors::not_enough_verifiers());
}

/// The channel with its grant raised.
fun raised<T>(db: &AtomaDb<T>, state: &StackState, opening: &Opening, epoch: u64): Channel {
    let mut channel = *state.channel(opening.node);
    assert!(channel.closed_ms() == 0, errors::channel_closed());
    assert!(opening.nonce > channel.grant_nonce(), errors::stale_grant());
    assert!(opening.units >= channel.granted(), errors::bad_argument());
    assert!(channel.price() <= opening.max_price, errors::price_too_high());
    let (_, max_units, _) = offer::at_epoch(db, state.task(), opening.node, epoch);
    assert!(opening.units <= max_units, errors::not_eligible());
    channel.grant(opening.units, opening.nonce);
    channel
}

/// A new channel with a node that may serve this stack.
fun opened<T>(
    db: &AtomaDb<T>,
    state: &StackState,
    node: &Node,
    opening: &Opening,
    clock_ms: u64,
    epoch: u64,
): Channel {
    assert!(state.channels() < limits::channels_max(), errors::too_many_channels());
    assert!(opening.units > 0, errors::bad_argument());
    let is_drawn = state.drawn().contains(&opening.node);
    assert!(purchase::is_any(state.selection()) || is_drawn, errors::not_eligible());
    let (price, max_units, echelon) = offer::at_epoch(db, state.task(), opening.node, epoch);
    assert!(state.echelons().contains(&echelon), errors::not_eligible());
    assert!(price <= state.max_price(), errors::price_too_high());
    assert!(price <= opening.max_price, errors::price_too_high());
    assert!(opening.units <= max_units, errors::not_eligible());
    let task = db.task(state.task());
    let may_serve = draw::may_serve(task, state.params(), node, epoch, clock_ms);
    assert!(may_serve, errors::not_eligible());
    stack_state::new_channel(opening.node, price, echelon, opening.units, opening.nonce)
}
