/// How an audit ends: passed, undecided, void, failed, or convicted. The functions take the step so far and return it
/// with what the ending credits; the claim that is over is removed by the object that holds it.
module atoma::audit_ending;

use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::events;
use atoma::slash;
use atoma::terms::{Step, Terms};

// `outcome` of `AuditConcluded`.

const PASSED: u8 = 0;
const CONVICTED: u8 = 1;
const UNDECIDED: u8 = 2;
const VOID: u8 = 3;
const NOT_REVEALED: u8 = 4;
/// Failed in a statistical task: the claim is void, the node not slashed.
const FAILED: u8 = 5;

/// Points of reputation that a failed claim costs in a statistical task.
const FAILED_POINTS: u64 = 10;

/// Every verdict, or 5 of 7, passed: as if it had not been audited. A challenge's bond is the node's, who bore the
/// verifiers' pay.
public(package) fun passed<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    let payout = db.node(terms.node()).payout();
    conclude(terms, claim, PASSED);
    let bond = claim.take_bond();
    if (bond > 0) events::bond_released(terms.target(), terms.node(), 0, bond);
    step.credit(payout, bond);
    hold(terms, claim, clock_ms);
    slash::close_audit(db, terms.node());
    step
}

/// Neither side has 5 of 7: the claim is paid, the bond returned, nobody slashed.
public(package) fun undecided<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    conclude(terms, claim, UNDECIDED);
    return_bond(terms, claim, &mut step);
    hold(terms, claim, clock_ms);
    slash::close_audit(db, terms.node());
    step
}

/// Too few verifiers took part. The claim returns to escrow; but a challenge that found no verifiers leaves the claim
/// as it was, else its owner could challenge to be refunded.
public(package) fun void<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    let is_first = claim.running().round() == 0;
    conclude(terms, claim, VOID);
    return_bond(terms, claim, &mut step);
    slash::close_audit(db, terms.node());
    if (claim.challenged() && is_first) hold(terms, claim, clock_ms) else step.end_void();
    step
}

/// 5 of 7 found it wrong or unreadable. An exact task convicts; a statistical one voids the claim and marks the node,
/// because one response proves nothing.
public(package) fun failed<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    if (terms.exact()) return convict(db, terms, claim, step, CONVICTED, clock_ms, ctx);
    conclude(terms, claim, FAILED);
    return_bond(terms, claim, &mut step);
    slash::close_audit(db, terms.node());
    db.node_mut(terms.node()).fault(FAILED_POINTS, ctx.epoch());
    step.end_void();
    step
}

/// The node did not reveal in time: silence must not be cheaper than guilt.
public(package) fun not_revealed<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    step: Step,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    convict(db, terms, claim, step, NOT_REVEALED, clock_ms, ctx)
}

/// Slashes verifiers who lost: voted against 5 of 7, or committed and kept silent.
public(package) fun slash_verdicts<T>(db: &mut AtomaDb<T>, terms: &Terms, losers: &vector<u64>) {
    let params = terms.params();
    losers.do_ref!(|loser| slash::slash(db, *loser, params, params.verdict_permille()));
}

/// The owner is compensated for what audits took of the amount.
fun convict<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    outcome: u8,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let compensation = claim.overspent();
    conclude(terms, claim, outcome);
    return_bond(terms, claim, &mut step);
    slash::close_audit(db, terms.node());
    slash::convict(db, terms.node(), terms.params(), compensation, terms.owner(), clock_ms, ctx);
    events::convicted(terms.target(), terms.node(), db.node(terms.node()).convictions());
    step.end_convicted();
    step
}

fun conclude(terms: &Terms, claim: &Claim, outcome: u8) {
    events::audit_concluded(terms.target(), terms.node(), claim.running().round(), outcome);
}

fun return_bond(terms: &Terms, claim: &mut Claim, step: &mut Step) {
    let bond = claim.take_bond();
    if (bond > 0) events::bond_released(terms.target(), terms.node(), bond, 0);
    step.credit(terms.owner(), bond);
}

/// The claim is held; a challenge does not start its hold anew.
fun hold(terms: &Terms, claim: &mut Claim, clock_ms: u64) {
    claim.hold(clock_ms);
    events::claim_held(terms.target(), terms.node(), claim.resolved_ms());
}
