/// What a stack stores beside its id and its coins, what follows from that alone, and the ways out. `stack` has the
/// object and the entry points.
module atoma::stack_state;

use atoma::claim_state::{Claim, Queued};
use atoma::db::{Self, AtomaDb};
use atoma_base::disputed::{Self, Disputed, Reserve};
use atoma_base::dues::{Self, Due};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::params::Params;
use atoma_base::rows::{Model, Node, Task, UnitWeights};
use sui::hash;

/// Prepaid units of one task. Carries copies of every term it will be judged by.
public struct StackState has copy, drop, store {
    version: u64,
    db: address,
    owner: address,
    /// Signs grants, requests and vouchers.
    request_key: vector<u8>,
    task: u64,
    level: u8,
    exact: bool,
    weights: UnitWeights,
    max_price: u64,
    total_units: u64,
    granted_units: u64,
    /// Units that vouchers were settled for: paid, or at level 2 resolved.
    settled_units: u64,
    /// Units that became claims so far (level 2), surcharge being counted by them.
    claimed_units: u64,
    /// 0 Single, 1 Limited, 2 Any.
    selection: u8,
    drawn: vector<u64>,
    /// Echelons the buyer accepts, in the order in which their lists are laid end to end.
    echelons: vector<u64>,
    creator: address,
    creator_fee_permille: u64,
    surcharge: Surcharge,
    opens_left: u64,
    created_ms: u64,
    expires_ms: u64,
    /// 0 until the owner asks to close.
    close_requested_ms: u64,
    /// The parameters when bought, with the task's tighter terms written in.
    params: Params,
    channels: vector<Channel>,
    disputed: Disputed,
    /// Credited and not yet withdrawn.
    dues: vector<Due>,
    treasury_due: u64,
}

/// What was escrowed on top of the price, and what of it was used.
public struct Surcharge has copy, drop, store {
    permille: u64,
    escrowed: u64,
    used: u64,
}

/// One node's part of a stack.
public struct Channel has copy, drop, store {
    node: u64,
    /// Where the node is credited: its payout when the channel was opened.
    payout: address,
    price: u64,
    echelon: u64,
    granted: u64,
    grant_nonce: u64,
    settled_units: u64,
    settled_count: u64,
    root: vector<u8>,
    /// Cost of what was paid, the creator's fee included.
    paid: u64,
    /// Cost of what was settled and not paid: voided claims.
    voided: u64,
    /// Units answered in disputes, apart from the transcript, and what they cost.
    disputed_units: u64,
    disputed_paid: u64,
    /// 0 while open.
    closed_ms: u64,
    /// The node gave up what it had not settled.
    released: bool,
    claim: Option<Claim>,
    queued: Option<Queued>,
}

/// A new stack's state, nothing granted.
public(package) fun new(
    db: address,
    owner: address,
    request_key: vector<u8>,
    task: &Task,
    model: &Model,
    max_price: u64,
    total_units: u64,
    selection: u8,
    drawn: vector<u64>,
    echelons: vector<u64>,
    surcharge: u64,
    opens_left: u64,
    created_ms: u64,
    expires_ms: u64,
    params: Params,
): StackState {
    StackState {
        version: db::package_version!(),
        db,
        owner,
        request_key,
        task: task.task_id(),
        level: task.level(),
        exact: task.exact(),
        weights: task.weights(),
        max_price,
        total_units,
        granted_units: 0,
        settled_units: 0,
        claimed_units: 0,
        selection,
        drawn,
        echelons,
        creator: model.creator(),
        creator_fee_permille: model.creator_fee_permille(),
        surcharge: Surcharge { permille: task.surcharge_permille(), escrowed: surcharge, used: 0 },
        opens_left,
        created_ms,
        expires_ms,
        close_requested_ms: 0,
        params,
        channels: vector[],
        disputed: disputed::none(),
        dues: vector[],
        treasury_due: 0,
    }
}

/// A channel in which nothing is settled.
public(package) fun new_channel(
    node: u64,
    payout: address,
    price: u64,
    echelon: u64,
    granted: u64,
    grant_nonce: u64,
): Channel {
    Channel {
        node,
        payout,
        price,
        echelon,
        granted,
        grant_nonce,
        settled_units: 0,
        settled_count: 0,
        root: hash::blake2b256(&vector[]),
        paid: 0,
        voided: 0,
        disputed_units: 0,
        disputed_paid: 0,
        closed_ms: 0,
        released: false,
        claim: option::none(),
        queued: option::none(),
    }
}

/// Aborts unless the stack is of this version and of this database.
public(package) fun check<T>(self: &StackState, db: &AtomaDb<T>) { db.check_object(self.version, self.db) }

public(package) fun check_version(self: &StackState) { db::check_package_version(self.version) }

// Time.

/// When grants stop: expiry, or the owner's earlier request to close.
public(package) fun ends_ms(self: &StackState): u64 {
    if (self.close_requested_ms == 0) self.expires_ms else self.close_requested_ms.min(self.expires_ms)
}

/// Last moment at which any voucher settles; afterwards the rest can be refunded.
public(package) fun settle_until_ms(self: &StackState): u64 {
    math::saturating_add(self.ends_ms(), self.params.close_delay_ms())
}

/// When a channel's grant ended or will end: with the stack, when it was revoked or released, when the node was
/// disabled, whichever comes first.
public(package) fun channel_end_ms(self: &StackState, channel: &Channel, node: &Node): u64 {
    let mut end_ms = self.ends_ms();
    if (channel.closed_ms != 0) end_ms = end_ms.min(channel.closed_ms);
    if (node.disabled_ms() != 0) end_ms = end_ms.min(node.disabled_ms());
    end_ms
}

// Units.

/// Units of a channel that vouchers, claims or disputes have used up.
public(package) fun used(self: &Channel): u64 {
    let claimed = if (self.claim.is_some()) self.claim.borrow().to_units() else 0;
    let queued = if (self.queued.is_some()) self.queued.borrow().queued_units() else 0;
    math::add(self.settled_units.max(claimed).max(queued), self.disputed_units)
}

/// Units that open disputes keep of a node's channel.
public(package) fun reserved(self: &StackState, node: u64): u64 { self.disputed.units_of(node) }

/// Units of a channel that are granted and neither used nor reserved.
public(package) fun free(self: &StackState, channel: &Channel): u64 {
    math::saturating_sub(channel.granted, math::add(channel.used(), self.reserved(channel.node)))
}

/// One event for each reserve that changed.
public(package) fun emit_reserves(stack: address, changed: &vector<Reserve>) {
    changed.do_ref!(|reserve| events::reserve_changed(stack, reserve.dispute(), reserve.node(), reserve.units()));
}

// Money.

/// What is credited to addresses and to the treasury, and therefore not the owner's any more.
public(package) fun credited(self: &StackState): u64 {
    math::add(dues::sum(&self.dues), self.treasury_due)
}

/// What is not credited yet but may still become due to others: claims, queued vouchers, units reserved for
/// disputes.
public(package) fun committed(self: &StackState): u64 {
    let (mut sum, mut queued_units, mut reserved) = (0, 0, 0);
    self.channels.do_ref!(|channel| {
        let mut from = channel.settled_units;
        if (channel.claim.is_some()) {
            let claim = channel.claim.borrow();
            from = claim.to_units();
            sum = math::add(sum, claim.held());
        };
        // A voucher can be queued behind no claim: the one before it was void.
        if (channel.queued.is_some()) {
            let to = channel.queued.borrow().queued_units();
            let cost = math::sub(math::cost(to, channel.price), math::cost(from, channel.price));
            sum = math::add(sum, cost);
            queued_units = math::add(queued_units, math::sub(to, from));
        };
    });
    self.disputed.reserves().do_ref!(|reserve| {
        let price = self.channel(reserve.node()).price;
        // The cost of units above others is at most one more than their own.
        reserved = math::add(math::add(reserved, math::cost(reserve.units(), price)), 1);
    });
    math::add(math::add(sum, self.surcharge_ahead(queued_units)), reserved)
}

/// The surcharge of `units` counted after all that were counted so far.
public(package) fun surcharge_ahead(self: &StackState, units: u64): u64 {
    if (units == 0) return 0;
    let before = if (self.level == 2) self.claimed_units else self.settled_units;
    let earned = math::pro_rata(self.surcharge.escrowed, math::add(before, units), self.total_units);
    // A top-up changes the ratio by a rounding: what was used stays used.
    math::saturating_sub(earned, self.surcharge.used)
}

/// Whether everything is over but for the coins: nothing can be settled any more, and no claim or dispute refers to
/// the stack.
public(package) fun is_over(self: &StackState, clock_ms: u64): bool {
    let has_claims = self.channels.any!(|channel| channel.claim.is_some() || channel.queued.is_some());
    clock_ms > self.settle_until_ms() && !has_claims && self.disputed.is_over()
}

/// What `to` may withdraw.
public(package) fun due_of(self: &StackState, to: address): u64 { dues::of(&self.dues, to) }

/// Credits an address.
public(package) fun credit(self: &mut StackState, to: address, amount: u64) {
    dues::credit(&mut self.dues, to, amount)
}

public(package) fun credit_treasury(self: &mut StackState, amount: u64) {
    self.treasury_due = math::add(self.treasury_due, amount);
}

/// Forgets what `to` is due: it is paid.
public(package) fun clear_due(self: &mut StackState, to: address) { dues::clear(&mut self.dues, to) }

// Channels.

public(package) fun has_channel(self: &StackState, node: u64): bool { self.index(node).is_some() }

/// The node's channel, else `EUnknownChannel`.
public(package) fun channel(self: &StackState, node: u64): &Channel {
    let at = self.index(node);
    require(at.is_some(), errors::unknown_channel!());
    &self.channels[at.destroy_some()]
}

public(package) fun channel_mut(self: &mut StackState, node: u64): &mut Channel {
    let at = self.index(node);
    require(at.is_some(), errors::unknown_channel!());
    &mut self.channels[at.destroy_some()]
}

fun index(self: &StackState, node: u64): Option<u64> { self.channels.find_index!(|channel| channel.node == node) }

public(package) fun channels(self: &StackState): u64 { self.channels.length() }

public(package) fun add_channel(self: &mut StackState, channel: Channel) { self.channels.push_back(channel) }

/// Gives a channel these units, under this grant.
public(package) fun grant(self: &mut Channel, granted: u64, nonce: u64) {
    self.granted = granted;
    self.grant_nonce = nonce;
}

/// The newest voucher that counts: more units, and root and count where it has more leaves.
public(package) fun settle(self: &mut Channel, units: u64, count: u64, root: vector<u8>) {
    self.settled_units = units;
    if (count > self.settled_count) {
        self.settled_count = count;
        self.root = root;
    }
}

// Disputes.

public(package) fun disputed(self: &StackState): &Disputed { &self.disputed }

public(package) fun disputed_mut(self: &mut StackState): &mut Disputed { &mut self.disputed }

// Fields of the stack.

public(package) fun version(self: &StackState): u64 { self.version }

public(package) fun db(self: &StackState): address { self.db }

public(package) fun owner(self: &StackState): address { self.owner }

public(package) fun request_key(self: &StackState): &vector<u8> { &self.request_key }

public(package) fun task(self: &StackState): u64 { self.task }

public(package) fun level(self: &StackState): u8 { self.level }

public(package) fun exact(self: &StackState): bool { self.exact }

public(package) fun max_price(self: &StackState): u64 { self.max_price }

public(package) fun total_units(self: &StackState): u64 { self.total_units }

public(package) fun granted_units(self: &StackState): u64 { self.granted_units }

public(package) fun settled_units(self: &StackState): u64 { self.settled_units }

public(package) fun claimed_units(self: &StackState): u64 { self.claimed_units }

public(package) fun selection(self: &StackState): u8 { self.selection }

public(package) fun drawn(self: &StackState): &vector<u64> { &self.drawn }

public(package) fun echelons(self: &StackState): &vector<u64> { &self.echelons }

public(package) fun creator(self: &StackState): address { self.creator }

public(package) fun creator_fee_permille(self: &StackState): u64 { self.creator_fee_permille }

public(package) fun opens_left(self: &StackState): u64 { self.opens_left }

public(package) fun expires_ms(self: &StackState): u64 { self.expires_ms }

public(package) fun params(self: &StackState): &Params { &self.params }

public(package) fun treasury_due(self: &StackState): u64 { self.treasury_due }

public(package) fun surcharge_permille(self: &StackState): u64 { self.surcharge.permille }

public(package) fun surcharge_escrowed(self: &StackState): u64 { self.surcharge.escrowed }

public(package) fun surcharge_used(self: &StackState): u64 { self.surcharge.used }

public(package) fun set_version(self: &mut StackState, version: u64) { self.version = version }

public(package) fun set_total_units(self: &mut StackState, total_units: u64) { self.total_units = total_units }

public(package) fun set_granted_units(self: &mut StackState, granted_units: u64) {
    self.granted_units = granted_units;
}

public(package) fun set_settled_units(self: &mut StackState, settled_units: u64) {
    self.settled_units = settled_units;
}

public(package) fun set_claimed_units(self: &mut StackState, claimed_units: u64) {
    self.claimed_units = claimed_units;
}

public(package) fun set_opens_left(self: &mut StackState, opens_left: u64) { self.opens_left = opens_left }

public(package) fun set_treasury_due(self: &mut StackState, treasury_due: u64) { self.treasury_due = treasury_due }

public(package) fun set_surcharge_escrowed(self: &mut StackState, surcharge_escrowed: u64) {
    self.surcharge.escrowed = surcharge_escrowed;
}

public(package) fun set_surcharge_used(self: &mut StackState, surcharge_used: u64) {
    self.surcharge.used = surcharge_used;
}

// Fields of a channel.

public(package) fun node(self: &Channel): u64 { self.node }

public(package) fun payout(self: &Channel): address { self.payout }

public(package) fun price(self: &Channel): u64 { self.price }

public(package) fun echelon(self: &Channel): u64 { self.echelon }

public(package) fun granted(self: &Channel): u64 { self.granted }

public(package) fun grant_nonce(self: &Channel): u64 { self.grant_nonce }

public(package) fun channel_settled_units(self: &Channel): u64 { self.settled_units }

public(package) fun settled_count(self: &Channel): u64 { self.settled_count }

public(package) fun root(self: &Channel): &vector<u8> { &self.root }

public(package) fun paid(self: &Channel): u64 { self.paid }

public(package) fun voided(self: &Channel): u64 { self.voided }

public(package) fun disputed_units(self: &Channel): u64 { self.disputed_units }

public(package) fun disputed_paid(self: &Channel): u64 { self.disputed_paid }

public(package) fun closed_ms(self: &Channel): u64 { self.closed_ms }

public(package) fun released(self: &Channel): bool { self.released }

public(package) fun claim(self: &Channel): &Option<Claim> { &self.claim }

public(package) fun claim_mut(self: &mut Channel): &mut Option<Claim> { &mut self.claim }

public(package) fun queued(self: &Channel): &Option<Queued> { &self.queued }

public(package) fun set_channel_settled_units(self: &mut Channel, settled_units: u64) {
    self.settled_units = settled_units;
}

public(package) fun set_settled_count(self: &mut Channel, settled_count: u64) {
    self.settled_count = settled_count;
}

public(package) fun set_root(self: &mut Channel, root: vector<u8>) { self.root = root }

public(package) fun set_paid(self: &mut Channel, paid: u64) { self.paid = paid }

public(package) fun set_voided(self: &mut Channel, voided: u64) { self.voided = voided }

public(package) fun set_disputed_units(self: &mut Channel, disputed_units: u64) {
    self.disputed_units = disputed_units;
}

public(package) fun set_disputed_paid(self: &mut Channel, disputed_paid: u64) {
    self.disputed_paid = disputed_paid;
}

public(package) fun set_closed_ms(self: &mut Channel, closed_ms: u64) { self.closed_ms = closed_ms }

public(package) fun set_released(self: &mut Channel, released: bool) { self.released = released }

public(package) fun set_claim(self: &mut Channel, claim: Option<Claim>) { self.claim = claim }

public(package) fun set_queued(self: &mut Channel, queued: Option<Queued>) { self.queued = queued }

// The ways out: revoking, releasing, reclaiming, closing, refunding, withdrawing. Refunds and withdrawals work at
// any version of the package, and none of them depends on anybody else's call.

public(package) fun revoke_channel(
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
    ctx: &TxContext,
) {
    state.check_version();
    require(ctx.sender() == state.owner, errors::not_authorized!());
    let is_open = state.has_channel(node);
    if (is_open) {
        require(state.channel(node).closed_ms == 0, errors::channel_closed!());
    } else {
        require(state.channels() < limits::channels_max!(), errors::too_many_channels!());
    };

    // 0 means open.
    let at_ms = clock_ms.max(1);
    if (!is_open) state.add_channel(new_channel(node, @0x0, 0, 0, 0, 0));
    state.channel_mut(node).closed_ms = at_ms;
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
    require(!channel.released, errors::channel_closed!());

    let at_ms = clock_ms.max(1);
    channel.released = true;
    if (channel.closed_ms == 0) channel.closed_ms = at_ms;
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
    let closed_ms = channel.closed_ms;
    let disabled_ms = if (db.has_node(node)) db.node(node).disabled_ms() else 0;
    require(closed_ms != 0 || disabled_ms != 0, errors::too_early!());
    let ended_ms = if (closed_ms == 0) disabled_ms else if (disabled_ms == 0) closed_ms
        else closed_ms.min(disabled_ms);
    let params = &state.params;
    let delay_ms = if (channel.released) params.dispute_window_ms() else params.close_delay_ms();
    require(clock_ms > math::saturating_add(ended_ms, delay_ms), errors::too_early!());
    require(state.reserved(node) == 0, errors::units_reserved!());
    let used = channel.used();
    let returned = math::sub(channel.granted, used);
    require(returned > 0, errors::nothing_due!());
    let granted_units = math::sub(state.granted_units, returned);

    state.granted_units = granted_units;
    state.channel_mut(node).granted = used;
    events::channel_reclaimed(stack, node, returned);
}

public(package) fun request_close(stack: address, state: &mut StackState, clock_ms: u64, ctx: &TxContext) {
    state.check_version();
    require(ctx.sender() == state.owner, errors::not_authorized!());
    require(state.close_requested_ms == 0, errors::already_closing!());
    require(clock_ms < state.expires_ms, errors::stack_ended!());

    // 0 means not requested.
    let at_ms = clock_ms.max(1);
    state.close_requested_ms = at_ms;
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
    require(clock_ms > state.settle_until_ms(), errors::too_early!());
    let owner = state.owner;
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
    require(amount > 0, errors::nothing_due!());

    state.clear_due(to);
    events::withdrawn(stack, to, amount);
    amount
}

/// What the treasury is due, which must then be moved there.
public(package) fun sweep(stack: address, state: &mut StackState): u64 {
    let amount = state.treasury_due;
    require(amount > 0, errors::nothing_due!());

    state.treasury_due = 0;
    events::swept(stack, amount);
    amount
}
