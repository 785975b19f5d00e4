/// Level 2: a settlement becomes a claim, chance decides whether it is audited, and it pays after a hold.
///
/// The entry points here are for a stack's channels, `dispute` has those for disputes. What both share works on the
/// claim with its terms, in the modules beside this one.
module atoma::claim;

use atoma::beacon::Beacon;
use atoma::claim_audit;
use atoma::claim_state::{Self, Claim, Queued};
use atoma::db::AtomaDb;
use atoma::draw;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::params::{Self, Step, Terms};
use atoma_base::rows::Node;
use atoma::stack::{Self, Stack};
use atoma::stack_state::{Self, Channel, StackState};
use sui::clock::Clock;
use sui::coin::Coin;

/// Claims what the user's voucher acknowledges beyond what is settled, claimed and queued. Only the node's owner may:
/// a claim is its word that it can prove every record under the root, and a user could sign a root that no record is
/// under. Moves no coin. A voucher with no more units changes nothing, at any time. Aborts `EWrongLevel` below level
/// 2, `EConvicted`, what `stack::settle` aborts for the voucher, `ENotEnoughVerifiers`, `EClaimTooSmall`.
public fun settle<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    node: u64,
    units: u64,
    count: u64,
    root: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    do_settle(db, beacon, id, state, node, units, count, root, &signature, now, ctx)
}

/// Holds the channel's claim: the seed did not draw it. By anyone. Aborts `ENoClaim`, `ENoSeed`, `EDrawn`.
public fun resolve_pay<T>(db: &AtomaDb<T>, beacon: &Beacon, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let (id, state) = (stack.addr(), stack.state_mut());
    check(db, beacon, state);
    let terms = terms(id, state, node);
    claim_state::resolve_pay(beacon, &terms, claim_mut(state, node), clock.timestamp_ms())
}

/// Opens the audit that the seed drew, or that a challenge asked for. By anyone; the sender earns the resolving fee,
/// as far as the claim has it. Aborts `ENoClaim`, `ENoSeed`, `ENotDrawn`.
public fun resolve_audit<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    node: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    check(db, beacon, state);
    let terms = terms(id, state, node);
    let step = claim_audit::open(db, beacon, &terms, claim_mut(state, node), now, ctx);
    finish(id, state, node, &step, now);
    let fee = step.to_caller();
    if (fee > 0) transfer::public_transfer(stack.take(fee).into_coin(ctx), ctx.sender())
}

/// Challenges a leaf of the channel's held claim, once, in the first `challenge_ms` after it was resolved. By the
/// stack's owner. The coin pays the bond (the first verifiers' pay and the resolving fee), which goes to the node if
/// the record passes; the rest goes back to the sender. Aborts `ENoClaim`, `EAlreadyChallenged`, `EChallengeOver`,
/// `EConvicted`, `EBadRecord`, `EBadProof`, `EAlreadyAudited`, `EInsufficientPayment`.
public fun challenge_record<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    node: u64,
    mut coin: Coin<T>,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    check(db, beacon, state);
    require(ctx.sender() == state.owner(), errors::not_authorized!());
    let terms = terms(id, state, node);
    let claim = claim_mut(state, node);
    let bond = claim_state::challenge(db, beacon, &terms, claim, record, index, &proof, coin.value(), now);
    stack.put(coin.balance_mut().split(bond));
    stack::return_change(coin, ctx)
}

/// Pays the channel's claim after its hold, or returns it to escrow if the node was convicted since. Then the queued
/// voucher becomes the next claim. By anyone; the next settlement does it, too. Credits node, creator and treasury;
/// moves no coin. Aborts `ENoClaim`, `ETooEarly`.
public fun release_claim<T>(db: &AtomaDb<T>, beacon: &Beacon, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let (id, state) = (stack.addr(), stack.state_mut());
    do_release_claim(db, beacon, id, state, node, clock.timestamp_ms())
}

// Claims of a stack's channels: what becomes of them and of their money.
//
// A claim's money stays in the stack's balance until it is credited; only what the caller of `resolve_audit` earns
// leaves as a coin, which the entry point takes.

public(package) fun check<T>(db: &AtomaDb<T>, beacon: &Beacon, state: &StackState) {
    db.check_version();
    state.check(db);
    beacon.check(db);
}

/// The terms of a channel's claim. Aborts `EUnknownChannel`.
public(package) fun terms(stack: address, state: &StackState, node: u64): Terms {
    let row = state.channel(node);
    params::new_terms(
        stack,
        state.owner(),
        node,
        row.payout(),
        state.task(),
        state.exact(),
        row.price(),
        *state.echelons(),
        *state.params(),
    )
}

/// The channel's claim, else `ENoClaim`.
public(package) fun claim(state: &StackState, node: u64): &Claim {
    let claim = state.channel(node).claim();
    require(claim.is_some(), errors::no_claim!());
    claim.borrow()
}

public(package) fun claim_mut(state: &mut StackState, node: u64): &mut Claim {
    let claim = state.channel_mut(node).claim_mut();
    require(claim.is_some(), errors::no_claim!());
    claim.borrow_mut()
}

/// Applies a step to the stack: credits, and the claim's end if it ended. The caller's coin is the entry point's.
public(package) fun finish(stack: address, state: &mut StackState, node: u64, step: &Step, clock_ms: u64) {
    let (to, amounts) = step.credits();
    to.length().do!(|i| state.credit(to[i], amounts[i]));
    if (step.is_over()) void(stack, state, node);
    if (step.is_convicted()) close(stack, state, node, clock_ms);
}

/// Pays or voids the running claim, then makes the queued voucher the next one.
public(package) fun do_release_claim<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
) {
    check(db, beacon, state);
    let row = state.channel(node);
    require(row.claim().is_some() || row.queued().is_some(), errors::no_claim!());
    if (row.claim().is_some()) release(db, stack, state, node, clock_ms);
    promote(db, beacon, stack, state, node, clock_ms);
}

/// Ends the running claim if its hold is over, else aborts.
public(package) fun release<T>(db: &AtomaDb<T>, stack: address, state: &mut StackState, node: u64, clock_ms: u64) {
    let terms = terms(stack, state, node);
    if (claim_state::check_release(db, &terms, claim(state, node), clock_ms)) {
        pay_out(stack, state, node)
    } else {
        void(stack, state, node);
        close(stack, state, node, clock_ms)
    }
}

fun pay_out(stack: address, state: &mut StackState, node: u64) {
    let claim = *claim(state, node);
    let creator_fee = creator_fee(state, state.channel(node), &claim);
    let (to_node, to_creator, surcharge) = claim_state::parts(&claim, creator_fee);
    let creator = state.creator();
    let payout = state.channel(node).payout();
    state.credit(payout, to_node);
    state.credit(creator, to_creator);
    let treasury_due = math::add(state.treasury_due(), surcharge);
    state.set_treasury_due(treasury_due);
    let paid = math::add(state.channel(node).paid(), claim.amount());
    settle_claim(state, node, &claim);
    state.channel_mut(node).set_paid(paid);
    events::claim_paid(stack, node, to_node, to_creator, surcharge);
}

/// A difference of its cumulative value, like every payment.
fun creator_fee(state: &StackState, row: &Channel, claim: &Claim): u64 {
    let permille = state.creator_fee_permille();
    let before = math::share(math::cost(claim.from_units(), row.price()), permille);
    math::sub(math::share(math::cost(claim.to_units(), row.price()), permille), before)
}

/// The claim's units count as settled, and what is left of its money is escrow again.
fun void(stack: address, state: &mut StackState, node: u64) {
    let claim = *claim(state, node);
    let amount = claim.money();
    let voided = math::add(state.channel(node).voided(), claim.amount());
    settle_claim(state, node, &claim);
    state.channel_mut(node).set_voided(voided);
    events::claim_voided(stack, node, amount);
}

/// The channel has settled what the claim claimed, and has no claim.
fun settle_claim(state: &mut StackState, node: u64, claim: &Claim) {
    let units = math::sub(claim.to_units(), claim.from_units());
    let settled_units = math::add(state.settled_units(), units);
    state.set_settled_units(settled_units);
    let row = state.channel_mut(node);
    row.set_channel_settled_units(claim.to_units());
    row.set_settled_count(claim.count());
    row.set_root(*claim.root());
    row.set_claim(option::none());
}

/// What is queued becomes nothing.
fun drop_queue(stack: address, row: &mut Channel) {
    if (row.queued().is_none()) return;
    row.set_queued(option::none());
    events::queue_voided(stack, row.node());
}

/// A convicted node's channel: what is queued is void, and it settles nothing more.
fun close(stack: address, state: &mut StackState, node: u64, clock_ms: u64) {
    let row = state.channel_mut(node);
    drop_queue(stack, row);
    if (!row.released()) {
        row.set_released(true);
        if (row.closed_ms() == 0) row.set_closed_ms(clock_ms);
        events::channel_released(stack, node, row.closed_ms());
    };
}

/// The queued voucher becomes the running claim, judged by what holds now; of a convicted node it is void, and the
/// channel closed. One too small to be audited while the channel goes on, or too large for what the node has at stake
/// by now, is dropped: it can be settled again, the latter in parts, and must be before the end.
public(package) fun promote<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
) {
    let row = *state.channel(node);
    if (row.queued().is_none()) return;
    let queued = *row.queued().borrow();
    let owner = db.node(node);
    if (owner.convictions() != 0) return close(stack, state, node, clock_ms);
    let amount = cost_ahead(&row, queued.queued_units());
    let is_covered = draw::is_covered(state.params(), state.exact(), amount, owner.collateral());
    if (!is_covered || is_too_small(state, &row, owner, amount, clock_ms)) {
        return drop_queue(stack, state.channel_mut(node))
    };
    let (from_units, to_units) = (row.channel_settled_units(), queued.queued_units());
    let units = math::sub(to_units, from_units);
    let surcharge = state.surcharge_ahead(units);
    let claimed_units = math::add(state.claimed_units(), units);
    let used = math::add(state.surcharge_used(), surcharge);
    let terms = terms(stack, state, node);
    let (count, root) = (queued.queued_count(), *queued.queued_root());
    let claim = claim_state::make(
        db,
        beacon,
        &terms,
        from_units,
        to_units,
        count,
        root,
        amount,
        surcharge,
        clock_ms,
    );

    state.set_claimed_units(claimed_units);
    state.set_surcharge_used(used);
    claim_state::announce(&terms, &claim);
    let row = state.channel_mut(node);
    row.set_queued(option::none());
    row.set_claim(option::some(claim));
}

/// What `units` cost beyond what is settled.
public(package) fun cost_ahead(row: &Channel, units: u64): u64 {
    math::sub(math::cost(units, row.price()), math::cost(row.channel_settled_units(), row.price()))
}

/// Below the minimum an audit would cost more than it guards; the last claim may be as small as it is.
fun is_too_small(state: &StackState, row: &Channel, node: &Node, amount: u64, clock_ms: u64): bool {
    let goes_on = clock_ms < state.channel_end_ms(row, node);
    amount == 0 || (goes_on && amount < state.params().min_claim())
}

// Settling a voucher at level 2.

public(package) fun do_settle<T>(
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
    check(db, beacon, state);
    require(state.level() == 2, errors::wrong_level!());
    limits::check_hash(&root);
    let row = state.channel(node);
    let before = acknowledged(row);
    if (units <= before) return;
    let owner = db.node(node);
    require(ctx.sender() == owner.owner(), errors::not_authorized!());
    require(owner.convictions() == 0, errors::convicted!());
    let voucher = stack::new_settlement(node, units, count, root);
    stack::check_voucher(stack, state, row, owner, before, &voucher, signature, clock_ms);
    let is_last = clock_ms >= state.channel_end_ms(row, owner);
    require(is_last || has_verifiers(db, state, owner.owner()), errors::not_enough_verifiers!());
    let price = row.price();
    let amount = math::sub(math::cost(units, price), math::cost(claimed(row), price));
    let is_covered = draw::is_covered(state.params(), state.exact(), amount, owner.collateral());
    require(is_covered, errors::claim_too_large!());

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
    if (is_claim_over(db, stack, state, node, clock_ms)) release(db, stack, state, node, clock_ms);
    let units = queued.queued_units();
    let row = *state.channel(node);
    let changed = stack::make_room(state, &row, units);
    state.channel_mut(node).set_queued(option::some(queued));
    events::claim_queued(stack, node, units, queued.queued_count(), *queued.queued_root());
    stack_state::emit_reserves(stack, &changed);
    if (row.claim().is_some()) return;
    let amount = cost_ahead(&row, units);
    require(!is_too_small(state, &row, db.node(node), amount, clock_ms), errors::claim_too_small!());
    promote(db, beacon, stack, state, node, clock_ms);
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
fun is_claim_over<T>(db: &AtomaDb<T>, stack: address, state: &StackState, node: u64, clock_ms: u64): bool {
    if (state.channel(node).claim().is_none()) return false;
    let terms = terms(stack, state, node);
    claim_state::is_hold_over(db, &terms, claim(state, node), clock_ms)
}
