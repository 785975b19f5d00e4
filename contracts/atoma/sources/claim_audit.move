/// Level 2: the audit of a claim, from the seating of its verifiers to what their verdicts, or silence, make of the claim.
/// `audit_state` has what is stored of an audit and its phases; entry points in `claim`, `audit` and `dispute`.
module atoma::claim_audit;

use atoma::audit_state;
use atoma::beacon::Beacon;
use atoma::claim_state::{Self, Claim};
use atoma::db::AtomaDb;
use atoma::draw;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use atoma::node;
use atoma_base::params::{Self, Step, Terms};

// The verifiers are seated.

/// Seats the verifiers of a drawn (else `ENotDrawn`) or challenged claim. The caller earns the resolving fee, as far
/// as the claim has it. A challenged claim of a node convicted since ends instead.
public(package) fun open<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let params = terms.params();
    // A claim of a node convicted since is void already, and not to be spent on.
    let is_waiting = claim.state() == claim_state::waiting!();
    if (db.node(terms.node()).convictions() != claim.convictions()) {
        require(!is_waiting, errors::convicted!());
        if (claim.state() == claim_state::challenged_state!()) return forgone(db, terms, claim)
    };
    let seed = claim_state::seed(beacon, terms, claim);
    let offsets = claim_state::audited_offsets(terms, claim, &seed);
    let mut audit = audit_state::new(seed, offsets);
    let wanted = params.verifiers();
    let seated = draw::draw_verifiers(db, terms, claim.sizes(), claim.made_ms(), &mut audit, wanted, clock_ms);
    let deadline_ms = math::add(clock_ms, params.reveal_ms());

    // A challenge counted already.
    if (is_waiting) node::open_audit(db, terms.node());
    let mut step = params::step();
    let fee = claim.take(params.resolve_fee());
    step.pay_caller(fee);
    events::audit_opened(terms.target(), terms.node(), offsets, seated, deadline_ms, ctx.sender(), fee);
    audit.seat_first(&seated, deadline_ms);
    claim.set_audited(audit);
    if (seated.length() < wanted) void(db, terms, claim, step, clock_ms) else step
}

// What the revealed verdicts come to.

/// Further verifiers that judge when the first are not unanimous, and how many of them decide.
const JURY: u64 = 7;
const JURY_MAJORITY: u64 = 5;

/// Ends a round whose verdicts are in, or overdue: pays who revealed, then passes the claim, seats a jury, or does
/// what the jury decided. Seats that committed and did not reveal count for nothing now, and as losers once the jury
/// decided.
fun conclude<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let mut step = params::step();
    pay_verifiers(db, terms, claim, &mut step);
    let audit = claim.running();
    if (audit.round() == 1) return conclude_jury(db, terms, claim, step, clock_ms, ctx);
    if (audit.has_passed()) passed(db, terms, claim, step, clock_ms)
    else seat_jury(db, terms, claim, step, clock_ms)
}

/// Credits every verifier who revealed, all the same; less if the claim has less.
fun pay_verifiers<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, step: &mut Step) {
    let audit = claim.running();
    let revealed = audit.in_state(audit_state::revealed!());
    let mut wanted = 0;
    audit.records().do_ref!(|shown| wanted = math::add(wanted, claim_state::record_pay(terms, shown.record_units())));
    let mut left = revealed.length();
    revealed.do!(|verifier| {
        let share = claim.held() / left;
        let amount = claim.take(wanted.min(share));
        left = left - 1;
        let to = db.node(verifier).payout();
        db.credit(to, amount);
        step.pay_pool(amount);
        events::verifier_paid(terms.target(), terms.node(), verifier, to, amount);
    });
}

/// The first verifiers do not agree that all is well: a jury, by its own seed, none of the first on it.
fun seat_jury<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, step: Step, clock_ms: u64): Step {
    let mut audit = *claim.running();
    let jury_seed = draw::jury_seed(audit.seed());
    audit.reseed(jury_seed);
    let jury = draw::draw_verifiers(db, terms, claim.sizes(), claim.made_ms(), &mut audit, JURY, clock_ms);
    let deadline_ms = math::add(clock_ms, terms.params().reveal_ms());
    if (jury.length() < JURY_MAJORITY) return void(db, terms, claim, step, clock_ms);

    audit.seat_jury(&jury, deadline_ms);
    claim.set_audited(audit);
    events::jury_seated(terms.target(), terms.node(), jury, deadline_ms);
    step
}

/// 5 of 7 decide, and whoever voted against them loses; anything else pays the claim and slashes nobody.
fun conclude_jury<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    step: Step,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let (passes, fails) = claim.running().jury_votes();
    let is_pass = passes >= JURY_MAJORITY;
    if (!is_pass && fails < JURY_MAJORITY) return undecided(db, terms, claim, step, clock_ms);
    let losers = claim.running().overruled(is_pass);
    slash_verdicts(db, terms, &losers);
    if (is_pass) passed(db, terms, claim, step, clock_ms)
    else failed(db, terms, claim, step, clock_ms, ctx)
}

// How an audit ends: passed, undecided, void, failed, or convicted. The functions take the step so far and return it
// with what the ending credits; the claim that is over is removed by the object that holds it.

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
fun passed<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    announce_outcome(terms, claim, PASSED);
    let bond = claim.take_bond();
    if (bond > 0) events::bond_released(terms.target(), terms.node(), 0, bond);
    step.credit(terms.payout(), bond);
    claim.keep(terms, clock_ms);
    node::close_audit(db, terms.node());
    step
}

/// Neither side has 5 of 7: the claim is paid, the bond returned, nobody slashed.
fun undecided<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    announce_outcome(terms, claim, UNDECIDED);
    return_bond(terms, claim, &mut step);
    claim.keep(terms, clock_ms);
    node::close_audit(db, terms.node());
    step
}

/// Too few verifiers took part. The claim returns to escrow; but a challenge that found no verifiers leaves the claim
/// as it was, else its owner could challenge to be refunded.
fun void<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
): Step {
    let is_first = claim.running().round() == 0;
    announce_outcome(terms, claim, VOID);
    return_bond(terms, claim, &mut step);
    node::close_audit(db, terms.node());
    if (claim.challenged() && is_first) claim.keep(terms, clock_ms) else end_void(db, terms, &mut step);
    step
}

/// The claim is void. A node that was convicted elsewhere meanwhile served its last here, too.
fun end_void<T>(db: &AtomaDb<T>, terms: &Terms, step: &mut Step) {
    if (db.node(terms.node()).convictions() == 0) step.end_void() else step.end_convicted()
}

/// A challenge of a claim that became void before its verifiers were seated: there is nothing left to judge, and the
/// owner has the bond back.
fun forgone<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim): Step {
    let mut step = params::step();
    return_bond(terms, claim, &mut step);
    node::close_audit(db, terms.node());
    step.end_convicted();
    step
}

/// 5 of 7 found it wrong or unreadable. An exact task convicts; a statistical one voids the claim and marks the node,
/// because one response proves nothing.
fun failed<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    if (terms.exact()) return convict(db, terms, claim, step, CONVICTED, clock_ms, ctx);
    announce_outcome(terms, claim, FAILED);
    return_bond(terms, claim, &mut step);
    node::close_audit(db, terms.node());
    node::fault(db.node_mut(terms.node()), FAILED_POINTS, ctx.epoch());
    end_void(db, terms, &mut step);
    step
}

/// The node did not reveal in time: silence must not be cheaper than guilt.
fun not_revealed<T>(
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
fun slash_verdicts<T>(db: &mut AtomaDb<T>, terms: &Terms, losers: &vector<u64>) {
    let params = terms.params();
    losers.do_ref!(|loser| node::slash(db, *loser, params, params.verdict_permille()));
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
    announce_outcome(terms, claim, outcome);
    return_bond(terms, claim, &mut step);
    node::close_audit(db, terms.node());
    node::convict(db, terms.node(), terms.params(), compensation, terms.owner(), clock_ms, ctx);
    events::convicted(terms.target(), terms.node(), db.node(terms.node()).convictions());
    step.end_convicted();
    step
}

fun announce_outcome(terms: &Terms, claim: &Claim, outcome: u8) {
    events::audit_concluded(terms.target(), terms.node(), claim.running().round(), outcome);
}

fun return_bond(terms: &Terms, claim: &mut Claim, step: &mut Step) {
    let bond = claim.take_bond();
    if (bond > 0) events::bond_released(terms.target(), terms.node(), bond, 0);
    step.credit(terms.owner(), bond);
}

// Lateness takes two calls, a grace apart: the chain may have stood still. Until the second, the duty can still be
// done.

/// The effect of lateness: a node that did not reveal is convicted, silent verifiers are replaced once, and verdicts
/// not revealed are done without.
public(package) fun expire<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let audit = claim.running();
    terms.params().check_expired(audit.late_ms(), clock_ms);
    let phase = audit.phase();
    if (phase == audit_state::phase_reveal!()) {
        not_revealed(db, terms, claim, params::step(), clock_ms, ctx)
    } else if (phase == audit_state::phase_commit!()) {
        replace_silent(db, terms, claim, clock_ms)
    } else {
        conclude(db, terms, claim, clock_ms, ctx)
    }
}

/// A verifier opens its verdict; the last of the round concludes it.
public(package) fun reveal_verdict<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    verifier: u64,
    verdicts: vector<u8>,
    digests: vector<u8>,
    salt: vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let count = claim.count();
    let is_last = claim.running_mut().reveal_verdict(terms, count, verifier, verdicts, digests, salt);
    if (is_last) conclude(db, terms, claim, clock_ms, ctx) else params::step()
}

/// Seats that did not commit lose a little, if there was something to earn, and their say. The first time others take
/// their place.
fun replace_silent<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, clock_ms: u64): Step {
    let params = terms.params();
    let mut audit = *claim.running();
    let silent = audit.in_state(audit_state::seated!());
    let fresh = if (audit.replaced()) vector[]
    else draw::draw_verifiers(db, terms, claim.sizes(), claim.made_ms(), &mut audit, silent.length(), clock_ms);
    let deadline_ms = math::add(clock_ms, params.commit_ms());
    let verdict_ms = audit_state::verdict_deadline_ms(terms, clock_ms);

    audit.silence();
    let serving = audit.in_state(audit_state::committed!()).length() + fresh.length();
    let needed = if (audit.round() == 0) params.verifiers() else JURY_MAJORITY;
    audit.add_seats(&fresh);
    audit.set_replaced(deadline_ms);
    events::seats_replaced(terms.target(), terms.node(), audit.round(), silent, fresh, deadline_ms);
    if (serving >= needed && fresh.is_empty()) audit.open_verdicts(terms, verdict_ms);
    claim.set_audited(audit);
    if (claim.pays(params)) silent.do!(|verifier| node::slash(db, verifier, params, params.no_commit_permille()));
    if (serving < needed) void(db, terms, claim, params::step(), clock_ms) else params::step()
}
