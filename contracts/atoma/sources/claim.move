/// Level 2: a settlement becomes a claim, chance decides whether it is audited, and it pays after a hold.
///
/// The entry points here are for a stack's channels, `dispute` has those for disputes. What both share works on the
/// claim with its terms, in the modules beside this one.
module atoma::claim;

use atoma::beacon::Beacon;
use atoma::claim_challenge;
use atoma::claim_channel;
use atoma::claim_resolve;
use atoma::claim_settle;
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::stack::{Self, Stack};
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
    claim_settle::settle(db, beacon, id, state, node, units, count, root, &signature, now, ctx)
}

/// Holds the channel's claim: the seed did not draw it. By anyone. Aborts `ENoClaim`, `ENoSeed`, `EDrawn`.
public fun resolve_pay<T>(db: &AtomaDb<T>, beacon: &Beacon, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let (id, state) = (stack.addr(), stack.state_mut());
    claim_channel::check(db, beacon, state);
    let terms = claim_channel::terms(id, state, node);
    claim_resolve::pay(beacon, &terms, claim_channel::claim_mut(state, node), clock.timestamp_ms())
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
    let fee = resolve_audit_impl(db, beacon, stack, node, clock, ctx);
    fee.do!(|coin| transfer::public_transfer(coin, ctx.sender()))
}

/// `resolve_audit` with the fee returned, if there is one.
public(package) fun resolve_audit_impl<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    node: u64,
    clock: &Clock,
    ctx: &mut TxContext,
): Option<Coin<T>> {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    claim_channel::check(db, beacon, state);
    let terms = claim_channel::terms(id, state, node);
    let step = claim_resolve::audit(db, beacon, &terms, claim_channel::claim_mut(state, node), now, ctx);
    claim_channel::finish(id, state, node, &step, now);
    let fee = step.to_caller();
    if (fee == 0) option::none() else option::some(stack.take(fee).into_coin(ctx))
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
    challenge_record_impl(db, beacon, stack, node, &mut coin, record, index, proof, clock, ctx);
    stack::return_change(coin, ctx)
}

/// `challenge_record` that takes the bond out of the coin.
public(package) fun challenge_record_impl<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    stack: &mut Stack<T>,
    node: u64,
    coin: &mut Coin<T>,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    claim_channel::check(db, beacon, state);
    assert!(ctx.sender() == state.owner(), errors::not_authorized());
    let terms = claim_channel::terms(id, state, node);
    let claim = claim_channel::claim_mut(state, node);
    let checked = claim_challenge::check(db, &terms, claim, record, index, &proof, now);
    let bond = checked.bond();
    assert!(coin.value() >= bond, errors::insufficient_payment());

    claim_challenge::start(db, beacon, &terms, claim, checked, now);
    stack.put(coin.balance_mut().split(bond))
}

/// Pays the channel's claim after its hold, or returns it to escrow if the node was convicted since. Then the queued
/// voucher becomes the next claim. By anyone; the next settlement does it, too. Credits node, creator and treasury;
/// moves no coin. Aborts `ENoClaim`, `ETooEarly`.
public fun release_claim<T>(db: &AtomaDb<T>, beacon: &Beacon, stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let (id, state) = (stack.addr(), stack.state_mut());
    claim_channel::release_claim(db, beacon, id, state, node, clock.timestamp_ms())
}
