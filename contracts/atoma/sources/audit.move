/// Audits of claims: drawn records are revealed, re-executed by drawn verifiers, and judged.
///
/// The entry points here are for a stack's channels, `dispute` has those for disputes. Phases follow each other: the
/// node reveals, every verifier commits, then every verifier reveals; the last of each opens the next. If the first
/// verifiers are not unanimous, a jury of seven does the same once more. No entry here moves a coin.
module atoma::audit;

use atoma::claim;
use atoma::claim_audit;
use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::node::NodeBadge;
use atoma::stack::Stack;
use atoma::stack_state::StackState;
use sui::clock::Clock;

/// The node proves the record that drawn unit `which` belongs to, by its badge. `location` is where the seated
/// verifiers read the full record, its key wrapped to their seal keys; empty if it is posted in parts. Not revealing
/// is fraud. Aborts `EWrongPhase`, `EAlreadyDone`, `EBadRecord`, `EBadProof`.
public fun reveal_record<T>(
    stack: &mut Stack<T>,
    badge: &NodeBadge,
    which: u64,
    record: vector<u8>,
    index: u64,
    proof: vector<vector<u8>>,
    location: vector<u8>,
    clock: &Clock,
) {
    let (id, state, node) = (stack.addr(), stack.state_mut(), badge.badge_id());
    check(state, badge);
    let terms = claim::terms(id, state, node);
    let claim = claim::claim_mut(state, node);
    claim.reveal_record(&terms, which, record, index, &proof, location, clock.timestamp_ms())
}

/// The node publishes a part of a drawn record in an event, by its badge, until verdicts are revealed. Aborts
/// `EWrongPhase`, `EBadArgument`.
public fun post_record_part<T>(stack: &Stack<T>, badge: &NodeBadge, which: u64, part: vector<u8>) {
    let (id, state, node) = (stack.addr(), stack.state(), badge.badge_id());
    check(state, badge);
    let terms = claim::terms(id, state, node);
    claim::claim(state, node).running().post_part(&terms, which, part)
}

/// A verifier seals its verdict on the claim of `node`, by its badge. Aborts `EWrongPhase`, `ENotSeated`,
/// `EAlreadyCommitted`.
public fun commit_verdict<T>(
    stack: &mut Stack<T>,
    node: u64,
    badge: &NodeBadge,
    hash: vector<u8>,
    clock: &Clock,
) {
    let (id, state) = (stack.addr(), stack.state_mut());
    check(state, badge);
    let terms = claim::terms(id, state, node);
    let claim = claim::claim_mut(state, node);
    claim.running_mut().commit_verdict(&terms, badge.badge_id(), hash, clock.timestamp_ms())
}

/// A verifier opens its verdict, by its badge; the last one concludes the round, which credits who revealed. Aborts
/// `EWrongPhase`, `ENotSeated`, `EAlreadyDone`, `EBadArgument`, `EBadCommitment`, `EBadDigest`.
public fun reveal_verdict<T>(
    db: &mut AtomaDb<T>,
    stack: &mut Stack<T>,
    node: u64,
    badge: &NodeBadge,
    verdicts: vector<u8>,
    digests: vector<u8>,
    salt: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    db.check_version();
    state.check(db);
    check(state, badge);
    let terms = claim::terms(id, state, node);
    let (claim, verifier) = (claim::claim_mut(state, node), badge.badge_id());
    let step = claim_audit::reveal_verdict(db, &terms, claim, verifier, verdicts, digests, salt, now, ctx);
    claim::finish(id, state, node, &step, now);
    db.join_pool(stack.take(step.to_pool()))
}

/// Notes that the running phase's deadline has passed. By anyone; the duty can still be done for the grace. Aborts
/// `EWrongPhase`, `EAlreadyDone`, `ENotLate`.
public fun mark_late<T>(stack: &mut Stack<T>, node: u64, clock: &Clock) {
    let (id, state) = (stack.addr(), stack.state_mut());
    state.check_version();
    let terms = claim::terms(id, state, node);
    claim::claim_mut(state, node).running_mut().mark_late(&terms, clock.timestamp_ms())
}

/// The effect of a duty marked late, `grace_ms` later: a silent node is convicted, silent verifiers are replaced, and
/// verdicts not revealed are done without. By anyone. Aborts `EWrongPhase`, `ENotLate`.
public fun expire<T>(db: &mut AtomaDb<T>, stack: &mut Stack<T>, node: u64, clock: &Clock, ctx: &TxContext) {
    let (id, state, now) = (stack.addr(), stack.state_mut(), clock.timestamp_ms());
    db.check_version();
    state.check(db);
    let terms = claim::terms(id, state, node);
    let step = claim_audit::expire(db, &terms, claim::claim_mut(state, node), now, ctx);
    claim::finish(id, state, node, &step, now);
    db.join_pool(stack.take(step.to_pool()))
}

fun check(state: &StackState, badge: &NodeBadge) {
    state.check_version();
    require(badge.badge_db() == state.db(), errors::wrong_db!())
}
