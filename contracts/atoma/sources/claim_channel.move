/// Claims of a stack's channels: what becomes of them and of their money. Entry points in `claim` and `audit`.
///
/// A claim's money stays in the stack's balance until it is credited; only what the caller of `resolve_audit` earns
/// leaves as a coin, which the entry point takes.
module atoma::claim_channel;

use atoma::beacon::Beacon;
use atoma::claim_release;
use atoma::claim_resolve;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::math;
use atoma::stack_state::{Channel, StackState};
use atoma::terms::{Self, Step, Terms};

public(package) fun check<T>(db: &AtomaDb<T>, beacon: &Beacon, state: &StackState) {
    db.check_version();
    state.check(db);
    beacon.check(db);
}

/// The terms of a channel's claim. Aborts `EUnknownChannel`.
public(package) fun terms(stack: address, state: &StackState, node: u64): Terms {
    terms::new(
        stack,
        state.owner(),
        node,
        state.task(),
        state.exact(),
        state.channel(node).price(),
        *state.echelons(),
        *state.params(),
    )
}

/// The channel's claim, else `ENoClaim`.
public(package) fun claim(state: &StackState, node: u64): &Claim {
    let claim = state.channel(node).claim();
    assert!(claim.is_some(), errors::no_claim());
    claim.borrow()
}

public(package) fun claim_mut(state: &mut StackState, node: u64): &mut Claim {
    let claim = state.channel_mut(node).claim_mut();
    assert!(claim.is_some(), errors::no_claim());
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
public(package) fun release_claim<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    stack: address,
    state: &mut StackState,
    node: u64,
    clock_ms: u64,
) {
    check(db, beacon, state);
    let row = state.channel(node);
    assert!(row.claim().is_some() || row.queued().is_some(), errors::no_claim());
    if (row.claim().is_some()) release(db, stack, state, node, clock_ms);
    promote(db, beacon, stack, state, node, clock_ms);
}

/// Ends the running claim if its hold is over, else aborts.
public(package) fun release<T>(db: &AtomaDb<T>, stack: address, state: &mut StackState, node: u64, clock_ms: u64) {
    let terms = terms(stack, state, node);
    if (claim_release::check(db, &terms, claim(state, node), clock_ms)) {
        pay_out(db, stack, state, node)
    } else {
        void(stack, state, node);
        close(stack, state, node, clock_ms)
    }
}

fun pay_out<T>(db: &AtomaDb<T>, stack: address, state: &mut StackState, node: u64) {
    let claim = *claim(state, node);
    let creator_fee = creator_fee(state, state.channel(node), &claim);
    let (to_node, to_creator, surcharge) = claim_release::parts(&claim, creator_fee);
    let creator = state.creator();
    state.credit(db.node(node).payout(), to_node);
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

/// A convicted node's channel: what is queued is void, and it settles nothing more.
fun close(stack: address, state: &mut StackState, node: u64, clock_ms: u64) {
    let row = state.channel_mut(node);
    if (row.queued().is_some()) {
        row.set_queued(option::none());
        events::queue_voided(stack, node);
    };
    if (!row.released()) {
        row.set_released(true);
        if (row.closed_ms() == 0) row.set_closed_ms(clock_ms);
        events::channel_released(stack, node, row.closed_ms());
    };
}

/// The queued voucher becomes the running claim, judged by what holds now. One too small to be audited is dropped
/// while the channel goes on: it can be settled again, and must be before the end.
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
    let amount = cost_ahead(&row, queued.queued_units());
    if (is_too_small(state, &row, amount, clock_ms)) {
        state.channel_mut(node).set_queued(option::none());
        events::queue_voided(stack, node);
        return
    };
    let (from_units, to_units) = (row.channel_settled_units(), queued.queued_units());
    let units = math::sub(to_units, from_units);
    let surcharge = state.surcharge_ahead(units);
    let claimed_units = math::add(state.claimed_units(), units);
    let used = math::add(state.surcharge_used(), surcharge);
    let terms = terms(stack, state, node);
    let (count, root) = (queued.queued_count(), *queued.queued_root());
    let claim = claim_resolve::make(
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
    claim_resolve::announce(&terms, &claim);
    let row = state.channel_mut(node);
    row.set_queued(option::none());
    row.set_claim(option::some(claim));
}

/// What `units` cost beyond what is settled.
public(package) fun cost_ahead(row: &Channel, units: u64): u64 {
    math::sub(math::cost(units, row.price()), math::cost(row.channel_settled_units(), row.price()))
}

/// Below the minimum an audit would cost more than it guards; the last claim may be as small as it is.
public(package) fun is_too_small(state: &StackState, row: &Channel, amount: u64, clock_ms: u64): bool {
    let goes_on = clock_ms < state.ends_ms() && row.closed_ms() == 0;
    amount == 0 || (goes_on && amount < state.params().min_claim())
}
