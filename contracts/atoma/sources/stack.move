/// Stacks: prepaid units of one task, from purchase to the last refund.
///
/// A stack's balance holds the escrow for units not yet settled, the surcharge and opening fees not yet earned, what
/// addresses may withdraw (`dues`) and what the treasury may sweep. Only an owner's or beneficiary's own call pays a
/// coin out; everybody else is credited.
module atoma::stack;

use atoma::db::{Self, AtomaDb};
use atoma::draw;
use atoma_base::disputed::Reserve;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::message;
use atoma::node::NodeBadge;
use atoma::offer;
use atoma::purchase;
use atoma_base::rows::Node;
use atoma::stack_state::{Self, Channel, StackState};
use atoma::treasury::Treasury;
use sui::balance::Balance;
use sui::clock::Clock;
use sui::coin::Coin;
use sui::random::Random;

/// One purchase, shared.
public struct Stack<phantom T> has key {
    id: UID,
    state: StackState,
    /// Every coin of this stack, dues included.
    balance: Balance<T>,
}

/// Buys units of a task and shares the stack that holds them. By anyone, while purchases are not paused. The coin
/// pays `cost(units, max_price)`, the surcharge on it and `open_fee · max_opens`; the rest goes back to the sender.
/// `selection` is 0 Single, 1 Limited (draws `nodes` of them), 2 Any; `echelons` empty is all of the task's. Aborts
/// `ENoEligible` if too few nodes can be drawn.
entry fun acquire<T>(
    db: &AtomaDb<T>,
    random: &Random,
    mut coin: Coin<T>,
    task: u64,
    request_key: vector<u8>,
    units: u64,
    max_price: u64,
    selection: u8,
    nodes: u64,
    max_opens: u64,
    echelons: vector<u64>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let seed = random.new_generator(ctx).generate_bytes(32);
    let stack = acquire_impl(
        db,
        seed,
        &mut coin,
        task,
        request_key,
        units,
        max_price,
        selection,
        nodes,
        max_opens,
        echelons,
        clock,
        ctx,
    );
    transfer::share_object(stack);
    return_change(coin, ctx);
}

/// `acquire` with the one draw from `Random` in hand. Takes its price out of the coin; nothing is shared.
public(package) fun acquire_impl<T>(
    db: &AtomaDb<T>,
    seed: vector<u8>,
    coin: &mut Coin<T>,
    task: u64,
    request_key: vector<u8>,
    units: u64,
    max_price: u64,
    selection: u8,
    nodes: u64,
    max_opens: u64,
    echelons: vector<u64>,
    clock: &Clock,
    ctx: &mut TxContext,
): Stack<T> {
    let wanted = purchase::new(task, request_key, units, max_price, selection, nodes, max_opens, echelons);
    let clock_ms = clock.timestamp_ms();
    let (state, total, first) = purchase::acquire(db, seed, coin.value(), &wanted, clock_ms, ctx);
    let mut stack = Stack { id: object::new(ctx), state, balance: coin.balance_mut().split(total) };
    let id = stack.addr();
    purchase::announce(&mut stack.state, id, total, first);
    stack
}

/// Adds units at the stack's own highest price and surcharge, not time. By the owner. The coin pays what they add to
/// the escrow; the rest goes back to the sender. Like a purchase, it waits while purchases are paused, and for good
/// once the task or its model is retired.
public fun top_up<T>(
    db: &AtomaDb<T>,
    stack: &mut Stack<T>,
    mut coin: Coin<T>,
    units: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (id, clock_ms) = (stack.addr(), clock.timestamp_ms());
    let amount = purchase::top_up(db, id, &mut stack.state, coin.value(), units, clock_ms, ctx);
    math::add(stack.balance.value(), amount);
    stack.balance.join(coin.balance_mut().split(amount));
    return_change(coin, ctx)
}

/// Opens a node's channel or raises its grant. The owner's own call needs no signature; the node's owner brings the
/// grant signed with the stack's request key, and the node is credited the opening fee while prepaid ones are left.
/// A channel's price is the node's when it was opened. Aborts `EOverGranted` above the stack's units.
public fun open_channel<T>(
    db: &AtomaDb<T>,
    stack: &mut Stack<T>,
    node: u64,
    units: u64,
    max_price: u64,
    nonce: u64,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let id = stack.addr();
    let opening = new_opening(node, units, max_price, nonce);
    do_open_channel(db, id, &mut stack.state, &opening, &signature, clock.timestamp_ms(), ctx)
}

/// Credits what the user's voucher acknowledges beyond what is settled, whoever calls. A voucher with neither more
/// units nor more leaves than the settled one changes nothing, at any time.
///
/// Units pay; the count only orders. A user who signs a voucher with few units and a huge count, and settles it
/// first, must not thereby void the node's genuine one. Where units reserved for disputes are in the way, the newest
/// give way: a user must not dispute a node out of what it signed for. Aborts `EWrongLevel` at level 2.
public fun settle<T>(
    db: &AtomaDb<T>,
    stack: &mut Stack<T>,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
) {
    let id = stack.addr();
    let settlement = new_settlement(node, units, count, root);
    do_settle(db, id, &mut stack.state, &settlement, &signature, clock.timestamp_ms())
}

/// The owner ends a node's grant; the node may settle what it holds for `close_delay_ms`. A node without a channel
/// gets a closed one, so that a grant it holds can never open. Aborts `EChannelClosed` if it is closed.
public fun revoke_channel<T>(stack: &mut Stack<T>, node: u64, clock: &Clock, ctx: &TxContext) {
    let id = stack.addr();
    stack_state::revoke_channel(id, &mut stack.state, node, clock.timestamp_ms(), ctx)
}

/// The node gives up what it was granted and has not settled: it can settle nothing more. By its badge. The units
/// stay granted while they can be disputed, lest a node escape a dispute by leaving.
public fun release_channel<T>(db: &AtomaDb<T>, stack: &mut Stack<T>, badge: &NodeBadge, clock: &Clock) {
    let id = stack.addr();
    let (badge_db, node) = (badge.badge_db(), badge.badge_id());
    stack_state::release_channel(db, id, &mut stack.state, badge_db, node, clock.timestamp_ms())
}

/// Frees what an ended channel did not use, once nothing of it can be settled or disputed any more. By anyone. Aborts
/// `ETooEarly`, `EUnitsReserved`, `ENothingDue`.
public fun reclaim<T>(db: &AtomaDb<T>, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let id = stack.addr();
    stack_state::reclaim(db, id, &mut stack.state, node, clock.timestamp_ms())
}

/// The owner ends grants now; what is signed can be settled for `close_delay_ms` more. Aborts `EAlreadyClosing`.
public fun request_close<T>(stack: &mut Stack<T>, clock: &Clock, ctx: &TxContext) {
    let id = stack.addr();
    stack_state::request_close(id, &mut stack.state, clock.timestamp_ms(), ctx)
}

/// Returns what nobody earned or may still earn, once no voucher can be settled any more (else `ETooEarly`): as a
/// coin if the owner calls, else credited to the owner. By anyone, at any version. Called again, it returns what was
/// freed since. Deletes the stack when nothing is left.
public fun refund<T>(mut stack: Stack<T>, clock: &Clock, ctx: &mut TxContext) {
    let is_empty = stack.pay_refund(clock, ctx);
    stack.put_back(is_empty)
}

/// `refund` on a stack in hand, which the tests keep. Says whether it can be deleted.
public(package) fun pay_refund<T>(stack: &mut Stack<T>, clock: &Clock, ctx: &mut TxContext): bool {
    let (id, clock_ms) = (stack.addr(), clock.timestamp_ms());
    let amount = stack_state::refund(id, &mut stack.state, stack.balance.value(), clock_ms, ctx);
    if (amount > 0) stack.pay(amount, ctx);
    stack.empty(clock_ms)
}

/// Pays what the sender is due, at any version, else `ENothingDue`. Deletes the stack when nothing is left.
public fun withdraw<T>(mut stack: Stack<T>, clock: &Clock, ctx: &mut TxContext) {
    let is_empty = stack.pay_due(clock, ctx);
    stack.put_back(is_empty)
}

/// `withdraw` on a stack in hand, likewise.
public(package) fun pay_due<T>(stack: &mut Stack<T>, clock: &Clock, ctx: &mut TxContext): bool {
    let id = stack.addr();
    let amount = stack_state::withdraw(id, &mut stack.state, ctx);
    stack.pay(amount, ctx);
    stack.empty(clock.timestamp_ms())
}

/// Moves what the treasury is due into it, whoever calls, at any version, else `ENothingDue`. Deletes the stack when
/// nothing is left.
public fun sweep<T>(mut stack: Stack<T>, treasury: &mut Treasury<T>, clock: &Clock) {
    let is_empty = stack.pay_treasury(treasury, clock);
    stack.put_back(is_empty)
}

/// `sweep` on a stack in hand, likewise.
public(package) fun pay_treasury<T>(stack: &mut Stack<T>, treasury: &mut Treasury<T>, clock: &Clock): bool {
    require(treasury.db() == stack.state.db(), errors::wrong_db!());
    let id = stack.addr();
    let amount = stack_state::sweep(id, &mut stack.state);
    treasury.join(stack.take(amount));
    stack.empty(clock.timestamp_ms())
}

/// Moves a stack to the database's version. By anyone: at an older version nobody could settle it.
public fun migrate<T>(db: &AtomaDb<T>, stack: &mut Stack<T>) {
    db.check_version();
    db.check_db(stack.state.db());
    let version = db::newer(stack.state.version());
    stack.state.set_version(version);
    events::migrated(stack.addr(), version);
}

public(package) fun addr<T>(self: &Stack<T>): address { self.id.to_address() }

public(package) fun state<T>(self: &Stack<T>): &StackState { &self.state }

public(package) fun state_mut<T>(self: &mut Stack<T>): &mut StackState { &mut self.state }

/// Takes coins out.
public(package) fun take<T>(self: &mut Stack<T>, amount: u64): Balance<T> {
    math::sub(self.balance.value(), amount);
    self.balance.split(amount)
}

/// Puts coins in.
public(package) fun put<T>(self: &mut Stack<T>, balance: Balance<T>) {
    math::add(self.balance.value(), balance.value());
    self.balance.join(balance);
}

/// Pays the sender.
fun pay<T>(self: &mut Stack<T>, amount: u64, ctx: &mut TxContext) {
    transfer::public_transfer(self.take(amount).into_coin(ctx), ctx.sender())
}

/// Whether the stack can be deleted: its last coin has left and everything is over. Says so.
fun empty<T>(self: &Stack<T>, clock_ms: u64): bool {
    let is_empty = self.balance.value() == 0 && self.state.is_over(clock_ms);
    if (is_empty) events::stack_deleted(self.addr());
    is_empty
}

#[allow(lint(share_owned))]
fun put_back<T>(self: Stack<T>, is_empty: bool) {
    if (is_empty) {
        let Stack { id, state: _, balance } = self;
        balance.destroy_zero();
        id.delete();
    } else {
        transfer::share_object(self);
    }
}

/// Gives what is left of a coin back to the sender; an empty coin is destroyed.
public(package) fun return_change<T>(coin: Coin<T>, ctx: &TxContext) {
    if (coin.value() == 0) coin.destroy_zero() else transfer::public_transfer(coin, ctx.sender())
}

#[test_only]
public fun set_version_for_testing<T>(self: &mut Stack<T>, version: u64) { self.state.set_version(version) }

// Opening channels, and giving them more units.

/// A grant.
public struct Opening has copy, drop {
    node: u64,
    /// All units of this channel, those granted before included.
    units: u64,
    max_price: u64,
    nonce: u64,
}

public(package) fun new_opening(node: u64, units: u64, max_price: u64, nonce: u64): Opening {
    Opening { node, units, max_price, nonce }
}

public(package) fun do_open_channel<T>(
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
    require(clock_ms < state.ends_ms(), errors::stack_ended!());
    let open_fee = authorize(stack, state, node, opening, signature, ctx);
    require(node.disabled_ms() == 0, errors::node_disabled!());
    let is_open = state.has_channel(opening.node);
    let channel = if (is_open) {
        raised(db, state, opening, ctx.epoch())
    } else {
        opened(db, state, node, opening, clock_ms, ctx.epoch())
    };
    check_verifiers(db, state, node.owner());
    let before = if (is_open) state.channel(opening.node).granted() else 0;
    let granted_units = math::add(state.granted_units(), math::sub(opening.units, before));
    require(granted_units <= state.total_units(), errors::over_granted!());

    let fee = if (open_fee.is_some()) {
        let opens_left = state.opens_left() - 1;
        state.set_opens_left(opens_left);
        open_fee.destroy_some()
    } else {
        0
    };
    state.credit(channel.payout(), fee);
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
    require(ctx.sender() == node.owner(), errors::not_authorized!());
    let Opening { node, units, max_price, nonce } = *opening;
    let bytes = message::grant_bytes(&message::grant(state.db(), stack, node, units, max_price, nonce));
    require(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature!());
    if (state.opens_left() > 0) option::some(state.params().open_fee()) else option::none()
}

/// At level 2 enough verifiers must be opted in besides those of the node's owner.
fun check_verifiers<T>(db: &AtomaDb<T>, state: &StackState, owner: address) {
    let market = db.market(state.task());
    let verifiers = market.verifiers_in(state.echelons());
    let has_verifiers = draw::has_verifiers(market, state.params(), state.level(), verifiers, owner);
    require(has_verifiers, errors::not_enough_verifiers!());
}

/// The channel with its grant raised.
fun raised<T>(db: &AtomaDb<T>, state: &StackState, opening: &Opening, epoch: u64): Channel {
    let mut channel = *state.channel(opening.node);
    require(channel.closed_ms() == 0, errors::channel_closed!());
    require(opening.nonce > channel.grant_nonce(), errors::stale_grant!());
    require(opening.units >= channel.granted(), errors::bad_argument!());
    require(channel.price() <= opening.max_price, errors::price_too_high!());
    let (_, max_units, _) = offer::at_epoch(db, state.task(), opening.node, epoch);
    require(opening.units <= max_units, errors::not_eligible!());
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
    require(state.channels() < limits::channels_max!(), errors::too_many_channels!());
    require(opening.units > 0, errors::bad_argument!());
    let is_drawn = state.drawn().contains(&opening.node);
    require(purchase::is_any(state.selection()) || is_drawn, errors::not_eligible!());
    let (price, max_units, echelon) = offer::at_epoch(db, state.task(), opening.node, epoch);
    require(state.echelons().contains(&echelon), errors::not_eligible!());
    require(price <= state.max_price(), errors::price_too_high!());
    require(price <= opening.max_price, errors::price_too_high!());
    require(opening.units <= max_units, errors::not_eligible!());
    let task = db.task(state.task());
    let may_serve = draw::may_serve(task, state.params(), node, epoch, clock_ms);
    require(may_serve, errors::not_eligible!());
    stack_state::new_channel(opening.node, node.payout(), price, echelon, opening.units, opening.nonce)
}

// Settling vouchers at levels 0 and 1; at level 2 a voucher becomes a claim.

/// A voucher's fields beside its stack.
public struct Settlement has copy, drop {
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
}

public(package) fun new_settlement(node: u64, units: u64, count: u64, root: vector<u8>): Settlement {
    Settlement { node, units, count, root }
}

public(package) fun do_settle<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    settlement: &Settlement,
    signature: &vector<u8>,
    clock_ms: u64,
) {
    db.check_version();
    state.check(db);
    require(state.level() < 2, errors::wrong_level!());
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
    state.credit(channel.payout(), to_node);
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
    require(!channel.released(), errors::channel_closed!());
    let end_ms = state.channel_end_ms(channel, node);
    let until_ms = math::saturating_add(end_ms, state.params().close_delay_ms());
    require(clock_ms <= until_ms, errors::window_closed!());
    let Settlement { node, units, count, root } = *settlement;
    require(units >= before, errors::voucher_backwards!());
    require(math::add(units, channel.disputed_units()) <= channel.granted(), errors::over_claimed!());
    let bytes = message::voucher_bytes(&message::voucher(state.db(), stack, node, units, count, root));
    require(message::verifies(&bytes, signature, state.request_key()), errors::bad_signature!());
}

/// Shrinks reserves as far as needed when the channel uses `units` of its transcript. Returns those that changed.
public(package) fun make_room(state: &mut StackState, channel: &Channel, units: u64): vector<Reserve> {
    let used = math::add(units, channel.disputed_units());
    let taken = math::add(used, state.reserved(channel.node()));
    state.disputed_mut().shrink(channel.node(), math::saturating_sub(taken, channel.granted()))
}

#[test_only]
public fun balance<T>(self: &Stack<T>): u64 { self.balance.value() }
