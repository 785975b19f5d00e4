/// Stacks: prepaid units of one task, from purchase to the last refund.
///
/// A stack's balance holds the escrow for units not yet settled, the surcharge and opening fees not yet earned, what
/// addresses may withdraw (`dues`) and what the treasury may sweep. Only an owner's or beneficiary's own call pays a
/// coin out; everybody else is credited.
module atoma::stack;

use atoma::closing;
use atoma::db::{Self, AtomaDb};
use atoma::errors;
use atoma::events;
use atoma::math;
use atoma::node::NodeBadge;
use atoma::opening;
use atoma::purchase;
use atoma::settlement;
use atoma::stack_state::StackState;
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
    top_up_impl(db, stack, &mut coin, units, clock, ctx);
    return_change(coin, ctx);
}

/// `top_up` that takes its price out of the coin.
public(package) fun top_up_impl<T>(
    db: &AtomaDb<T>,
    stack: &mut Stack<T>,
    coin: &mut Coin<T>,
    units: u64,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, clock_ms) = (stack.addr(), clock.timestamp_ms());
    let amount = purchase::top_up(db, id, &mut stack.state, coin.value(), units, clock_ms, ctx);
    math::add(stack.balance.value(), amount);
    stack.balance.join(coin.balance_mut().split(amount));
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
    let opening = opening::new(node, units, max_price, nonce);
    opening::open_channel(db, id, &mut stack.state, &opening, &signature, clock.timestamp_ms(), ctx)
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
    let settlement = settlement::new(node, units, count, root);
    settlement::settle(db, id, &mut stack.state, &settlement, &signature, clock.timestamp_ms())
}

/// The owner ends a node's grant; the node may settle what it holds for `close_delay_ms`. A node without a channel
/// gets a closed one, so that a grant it holds can never open. Aborts `EChannelClosed` if it is closed.
public fun revoke_channel<T>(stack: &mut Stack<T>, node: u64, clock: &Clock, ctx: &TxContext) {
    let id = stack.addr();
    closing::revoke_channel(id, &mut stack.state, node, clock.timestamp_ms(), ctx)
}

/// The node gives up what it was granted and has not settled: it can settle nothing more. By its badge. The units
/// stay granted while they can be disputed, lest a node escape a dispute by leaving.
public fun release_channel<T>(db: &AtomaDb<T>, stack: &mut Stack<T>, badge: &NodeBadge, clock: &Clock) {
    let id = stack.addr();
    let (badge_db, node) = (badge.badge_db(), badge.badge_id());
    closing::release_channel(db, id, &mut stack.state, badge_db, node, clock.timestamp_ms())
}

/// Frees what an ended channel did not use, once nothing of it can be settled or disputed any more. By anyone. Aborts
/// `ETooEarly`, `EUnitsReserved`, `ENothingDue`.
public fun reclaim<T>(db: &AtomaDb<T>, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let id = stack.addr();
    closing::reclaim(db, id, &mut stack.state, node, clock.timestamp_ms())
}

/// The owner ends grants now; what is signed can be settled for `close_delay_ms` more. Aborts `EAlreadyClosing`.
public fun request_close<T>(stack: &mut Stack<T>, clock: &Clock, ctx: &TxContext) {
    let id = stack.addr();
    closing::request_close(id, &mut stack.state, clock.timestamp_ms(), ctx)
}

/// Returns what nobody earned or may still earn, once no voucher can be settled any more (else `ETooEarly`): as a
/// coin if the owner calls, else credited to the owner. By anyone, at any version. Called again, it returns what was
/// freed since. Deletes the stack when nothing is left.
#[allow(lint(share_owned))]
public fun refund<T>(mut stack: Stack<T>, clock: &Clock, ctx: &mut TxContext) {
    let (coin, is_empty) = refund_impl(&mut stack, clock, ctx);
    coin.do!(|coin| transfer::public_transfer(coin, ctx.sender()));
    stack.put_back(is_empty)
}

/// `refund` with the coin returned, if there is one, and whether the stack can be deleted.
public(package) fun refund_impl<T>(
    stack: &mut Stack<T>,
    clock: &Clock,
    ctx: &mut TxContext,
): (Option<Coin<T>>, bool) {
    let (id, clock_ms) = (stack.addr(), clock.timestamp_ms());
    let amount = closing::refund(id, &mut stack.state, stack.balance.value(), clock_ms, ctx);
    let coin = if (amount > 0) option::some(stack.pay(amount, ctx)) else option::none();
    (coin, stack.empty(clock_ms))
}

/// Pays what the sender is due, at any version, else `ENothingDue`. Deletes the stack when nothing is left.
#[allow(lint(share_owned))]
public fun withdraw<T>(mut stack: Stack<T>, clock: &Clock, ctx: &mut TxContext) {
    let (coin, is_empty) = withdraw_impl(&mut stack, clock, ctx);
    transfer::public_transfer(coin, ctx.sender());
    stack.put_back(is_empty)
}

/// `withdraw` with the coin returned, and whether the stack can be deleted.
public(package) fun withdraw_impl<T>(stack: &mut Stack<T>, clock: &Clock, ctx: &mut TxContext): (Coin<T>, bool) {
    let id = stack.addr();
    let amount = closing::withdraw(id, &mut stack.state, ctx);
    let coin = stack.pay(amount, ctx);
    (coin, stack.empty(clock.timestamp_ms()))
}

/// Moves what the treasury is due into it, whoever calls, at any version, else `ENothingDue`. Deletes the stack when
/// nothing is left.
#[allow(lint(share_owned))]
public fun sweep<T>(mut stack: Stack<T>, treasury: &mut Treasury<T>, clock: &Clock) {
    let is_empty = sweep_impl(&mut stack, treasury, clock);
    stack.put_back(is_empty)
}

/// `sweep` that returns whether the stack can be deleted.
public(package) fun sweep_impl<T>(stack: &mut Stack<T>, treasury: &mut Treasury<T>, clock: &Clock): bool {
    assert!(treasury.db() == stack.state.db(), errors::wrong_db());
    let id = stack.addr();
    let amount = closing::sweep(id, &mut stack.state);
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

public(package) fun balance<T>(self: &Stack<T>): u64 { self.balance.value() }

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

fun pay<T>(self: &mut Stack<T>, amount: u64, ctx: &mut TxContext): Coin<T> { self.take(amount).into_coin(ctx) }

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
