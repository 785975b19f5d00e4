/// Level 2: what a node asks to be paid for, with everything that decides what becomes of it, and the steps from its
/// making through the beacon, challenges and audits to its end. `claim`, `audit` and `dispute` have the entry points; the
/// object that holds the claim has the money.
module atoma::claim_state;

use atoma::audit_state::{Self, Audit};
use atoma::beacon::Beacon;
use atoma::db::AtomaDb;
use atoma::draw;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use atoma_base::message;
use atoma::node;
use atoma_base::params::{Self, Params, Step, Terms};
use atoma_base::slots;

/// Units `(from_units, to_units]` of a channel.
public struct Claim has copy, drop, store {
    from_units: u64,
    to_units: u64,
    count: u64,
    root: vector<u8>,
    /// Cost of the units, the creator's fee included.
    amount: u64,
    /// Its share of the stack's surcharge, from which audits are paid first.
    surcharge: u64,
    /// What audits took of surcharge and amount.
    spent: u64,
    p_ppb: u64,
    /// Beacon round that decides, later than the newest when the claim was made.
    round: u64,
    /// The node's convictions when made.
    convictions: u64,
    made_ms: u64,
    /// Sizes of the verifiers' lists when made, one per echelon of the stack.
    sizes: vector<u64>,
    state: u8,
    /// When it became held; the hold counts from here.
    resolved_ms: u64,
    challenged: bool,
    /// The owner's bond while a challenge runs.
    bond: u64,
    audit: Option<Audit>,
}

/// A newer voucher than the running claim's.
public struct Queued has copy, drop, store {
    units: u64,
    count: u64,
    root: vector<u8>,
}

// Where a claim stands.

/// Its beacon round is not resolved yet.
public(package) macro fun waiting(): u8 { 0 }

/// Not audited, or passed: pays after the hold.
public(package) macro fun held_state(): u8 { 1 }

public(package) macro fun audited(): u8 { 2 }

/// The owner challenged a record; the next round seats its verifiers.
public(package) macro fun challenged_state(): u8 { 3 }

// Claims.

/// A claim that waits for its round.
public(package) fun new_claim(
    from_units: u64,
    to_units: u64,
    count: u64,
    root: vector<u8>,
    amount: u64,
    surcharge: u64,
    p_ppb: u64,
    round: u64,
    convictions: u64,
    made_ms: u64,
    sizes: vector<u64>,
): Claim {
    Claim {
        from_units,
        to_units,
        count,
        root,
        amount,
        surcharge,
        spent: 0,
        p_ppb,
        round,
        convictions,
        made_ms,
        sizes,
        state: waiting!(),
        resolved_ms: 0,
        challenged: false,
        bond: 0,
        audit: option::none(),
    }
}

public(package) fun from_units(self: &Claim): u64 { self.from_units }

public(package) fun to_units(self: &Claim): u64 { self.to_units }

public(package) fun count(self: &Claim): u64 { self.count }

public(package) fun root(self: &Claim): &vector<u8> { &self.root }

public(package) fun amount(self: &Claim): u64 { self.amount }

public(package) fun convictions(self: &Claim): u64 { self.convictions }

/// The audit that runs, else `EWrongPhase`.
public(package) fun running(self: &Claim): &Audit {
    require(self.state == audited!() && self.audit.is_some(), errors::wrong_phase!());
    self.audit.borrow()
}

public(package) fun running_mut(self: &mut Claim): &mut Audit {
    require(self.state == audited!() && self.audit.is_some(), errors::wrong_phase!());
    self.audit.borrow_mut()
}

/// What is left of a claim's amount and surcharge.
public(package) fun money(self: &Claim): u64 { math::sub(math::add(self.amount, self.surcharge), self.spent) }

/// What a claim keeps from being refunded: its money and a challenge's bond.
public(package) fun held(self: &Claim): u64 { math::add(self.money(), self.bond) }

/// What audits took of the amount, the surcharge being used up first.
public(package) fun overspent(self: &Claim): u64 { math::saturating_sub(self.spent, self.surcharge) }

/// Takes up to `wanted` out of the claim's money, then out of the bond; returns what there was.
public(package) fun take(self: &mut Claim, wanted: u64): u64 {
    let from_money = wanted.min(self.money());
    let from_bond = (wanted - from_money).min(self.bond);
    self.spent = math::add(self.spent, from_money);
    self.bond = self.bond - from_bond;
    from_money + from_bond
}

/// The claim is held. A challenge does not start its hold anew. Of an audit only the records stay.
public(package) fun hold(self: &mut Claim, clock_ms: u64) {
    self.state = held_state!();
    if (!self.challenged) self.resolved_ms = clock_ms;
    if (self.audit.is_some()) self.audit.borrow_mut().end();
}

/// Its audit runs.
public(package) fun set_audited(self: &mut Claim, audit: Audit) {
    self.state = audited!();
    self.audit = option::some(audit);
}

/// The bond leaves the claim; returns what there was.
public(package) fun take_bond(self: &mut Claim): u64 {
    let bond = self.bond;
    self.bond = 0;
    bond
}

// Queued vouchers.

public(package) fun new_queued(units: u64, count: u64, root: vector<u8>): Queued { Queued { units, count, root } }

public(package) fun queued_units(self: &Queued): u64 { self.units }

public(package) fun queued_count(self: &Queued): u64 { self.count }

public(package) fun queued_root(self: &Queued): &vector<u8> { &self.root }

// Making a claim, and what the beacon decides about it.

/// A claim with everything that decides it, and the next beacon round: nothing that its maker or anybody does later
/// changes how it is judged.
public(package) fun make<T>(
    db: &AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    from_units: u64,
    to_units: u64,
    count: u64,
    root: vector<u8>,
    amount: u64,
    surcharge: u64,
    clock_ms: u64,
): Claim {
    let node = db.node(terms.node());
    new_claim(
        from_units,
        to_units,
        count,
        root,
        amount,
        surcharge,
        draw::p_ppb(terms.params(), terms.exact(), amount, node.collateral()),
        next_round(beacon),
        node.convictions(),
        clock_ms,
        slots::sizes(db.market(terms.task()).verifiers(), terms.echelons()),
    )
}

/// The round that whatever is made now waits for: nobody has seen its seed.
public(package) fun next_round(beacon: &Beacon): u64 { math::add(beacon.round(), 1) }

/// Says that the claim was made.
public(package) fun announce(terms: &Terms, claim: &Claim) {
    events::claim_made(
        terms.target(),
        terms.node(),
        claim.from_units,
        claim.to_units,
        claim.count,
        claim.root,
        claim.amount,
        claim.surcharge,
        claim.p_ppb,
        claim.round,
    )
}

/// A claim that was not drawn is held, else `EDrawn`.
public(package) fun resolve_pay(beacon: &Beacon, terms: &Terms, claim: &mut Claim, clock_ms: u64) {
    require(claim.state == waiting!(), errors::no_claim!());
    let seed = seed(beacon, terms, claim);
    require(!draw::is_drawn(&seed, claim.p_ppb), errors::drawn!());

    claim.hold(clock_ms);
    events::claim_held(terms.target(), terms.node(), clock_ms);
}

/// Seats the verifiers of a drawn (else `ENotDrawn`) or challenged claim. The caller earns the resolving fee, as far
/// as the claim has it. A challenged claim of a node convicted since ends instead.
public(package) fun open_audit<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let params = terms.params();
    // A claim of a node convicted since is void already, and not to be spent on.
    let is_waiting = claim.state == waiting!();
    if (db.node(terms.node()).convictions() != claim.convictions) {
        require(!is_waiting, errors::convicted!());
        if (claim.state == challenged_state!()) return forgone(db, terms, claim)
    };
    let seed = seed(beacon, terms, claim);
    let offsets = audited_offsets(terms, claim, &seed);
    let mut audit = audit_state::new(seed, offsets);
    let seated = draw::draw_verifiers(db, terms, &claim.sizes, claim.made_ms, &mut audit, params.verifiers(), clock_ms);
    let deadline_ms = math::add(clock_ms, params.reveal_ms());

    // A challenge counted already.
    if (is_waiting) node::open_audit(db, terms.node());
    let mut step = params::step();
    let fee = claim.take(params.resolve_fee());
    step.pay_caller(fee);
    events::audit_opened(terms.target(), terms.node(), offsets, seated, deadline_ms, ctx.sender(), fee);
    audit.seat_first(&seated, deadline_ms);
    claim.set_audited(audit);
    if (seated.length() < params.verifiers()) void(db, terms, claim, step, clock_ms) else step
}

fun seed(beacon: &Beacon, terms: &Terms, claim: &Claim): vector<u8> {
    draw::claim_seed(beacon.seed(claim.round), terms.target(), terms.node(), claim.count)
}

/// The drawn units of a drawn claim, or the challenged one; other claims are not audited.
fun audited_offsets(terms: &Terms, claim: &Claim, seed: &vector<u8>): vector<u64> {
    if (claim.state == challenged_state!()) return *claim.audit.borrow().offsets();
    require(claim.state == waiting!(), errors::no_claim!());
    require(draw::is_drawn(seed, claim.p_ppb), errors::not_drawn!());
    draw::offsets(seed, claim.from_units, claim.to_units, terms.params().records())
}

// The owner has a record re-executed that chance did not draw.

/// Challenges the shown leaf for a bond, the first verifiers' pay and the resolving fee, of at most `paid`; returns it.
/// The claim waits for the next round, which seats verifiers of now. The node counts as under audit at once, so that its
/// other claims wait for the outcome. Aborts `ENoClaim` unless the claim is held, `EAlreadyChallenged`,
/// `EChallengeOver`, `EConvicted`, `EBadProof`, `EAlreadyAudited`, `EInsufficientPayment`.
public(package) fun challenge<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    paid: u64,
    clock_ms: u64,
): u64 {
    let params = terms.params();
    require(claim.state == held_state!(), errors::no_claim!());
    require(!claim.challenged, errors::already_challenged!());
    let until_ms = math::add(claim.resolved_ms, params.challenge_ms());
    require(clock_ms <= until_ms, errors::challenge_over!());
    // The claim is void already.
    require(db.node(terms.node()).convictions() == claim.convictions, errors::convicted!());
    let shown = message::prove(record, index, proof, claim.count, &claim.root);
    let offset = shown.total_units();
    // It has units, and they are the claim's.
    let is_inside = shown.units() > 0 && offset > claim.from_units && shown.fits(claim.to_units);
    require(is_inside, errors::bad_proof!());
    let was_audited = claim.audit.is_some() && claim.audit.borrow().is_met(offset);
    require(!was_audited, errors::already_audited!());
    let pays = math::mul(record_pay(terms, shown.units()), params.verifiers());
    let bond = math::add(pays, params.resolve_fee());
    let sizes = slots::sizes(db.market(terms.task()).verifiers(), terms.echelons());
    require(paid >= bond, errors::insufficient_payment!());
    let round = next_round(beacon);

    node::open_audit(db, terms.node());
    claim.state = challenged_state!();
    claim.challenged = true;
    claim.round = round;
    claim.made_ms = clock_ms;
    claim.sizes = sizes;
    claim.bond = bond;
    claim.audit = option::some(audit_state::new(zero_hash(), vector[offset]));
    events::claim_challenged(terms.target(), terms.node(), *shown.leaf(), bond, round);
    bond
}

/// The seed before the round is drawn.
fun zero_hash(): vector<u8> { vector::tabulate!(32, |_| 0) }

// What a held claim comes to.

const NOT_HELD: u8 = 0;
const TOO_EARLY: u8 = 1;
const PAYS: u8 = 2;
/// The node was convicted since: one lost collateral must not pay for many cashed claims, nor need they wait.
const VOIDS: u8 = 3;

/// Whether the claim can end now.
public(package) fun is_hold_over<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): bool {
    status(db, terms, claim, clock_ms) >= PAYS
}

/// Aborts `ENoClaim` or `ETooEarly` unless the claim can end now; says whether it pays.
public(package) fun check_release<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): bool {
    let status = status(db, terms, claim, clock_ms);
    require(status != NOT_HELD, errors::no_claim!());
    require(status != TOO_EARLY, errors::too_early!());
    status == PAYS
}

/// While an audit of the node is open the hold is doubled, so that the others wait for the drawn one, and no longer.
fun status<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): u8 {
    let node = db.node(terms.node());
    let (is_held, is_waiting) =
        (claim.state == held_state!(), claim.state == waiting!());
    if ((is_held || is_waiting) && node.convictions() != claim.convictions()) return VOIDS;
    if (!is_held) return NOT_HELD;
    let hold_ms = terms.params().hold_ms();
    let open_ms = math::saturating_add(claim.resolved_ms, hold_ms);
    if (clock_ms < open_ms) return TOO_EARLY;
    let is_open = node.open_audits() > 0 && clock_ms < math::saturating_add(open_ms, hold_ms);
    if (is_open) TOO_EARLY else PAYS
}

/// Divides what is left of a claim: the creator's fee as if nothing had been spent, as far as it is there, then the
/// node. Returns the node's part, the creator's, and what audits left of the surcharge.
public(package) fun parts(claim: &Claim, creator_fee: u64): (u64, u64, u64) {
    let left = math::sub(claim.amount, claim.overspent());
    let to_creator = creator_fee.min(left);
    let surcharge = math::sub(claim.money(), left);
    (left - to_creator, to_creator, surcharge)
}

// What the revealed verdicts come to.

/// Further verifiers that judge when the first are not unanimous, and how many of them decide.
const JURY: u64 = 7;
const JURY_MAJORITY: u64 = 5;
/// Verifiers are paid this often what the record's units cost.
const PAY_TIMES: u64 = 2;

/// Ends a round whose verdicts are in, or overdue: pays who revealed, then passes the claim, seats a jury, or does
/// what the jury decided. Seats that committed and did not reveal count for nothing now, and as losers once the jury
/// decided.
public(package) fun conclude<T>(
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

/// The pay for re-executing one record: a flat multiple of its cost, never a share of a slash.
public(package) fun record_pay(terms: &Terms, units: u64): u64 {
    math::mul(math::cost(units, terms.price()), PAY_TIMES).max(terms.params().verifier_pay_min())
}

/// Credits every verifier who revealed, all the same; less if the claim has less.
fun pay_verifiers<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, step: &mut Step) {
    let audit = claim.running();
    let revealed = audit.in_state(audit_state::revealed!());
    let mut wanted = 0;
    audit.records().do_ref!(|shown| wanted = math::add(wanted, record_pay(terms, shown.record_units())));
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
    let jury = draw::draw_verifiers(db, terms, &claim.sizes, claim.made_ms, &mut audit, JURY, clock_ms);
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
public(package) fun passed<T>(
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
    keep(terms, claim, clock_ms);
    node::close_audit(db, terms.node());
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
    announce_outcome(terms, claim, UNDECIDED);
    return_bond(terms, claim, &mut step);
    keep(terms, claim, clock_ms);
    node::close_audit(db, terms.node());
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
    announce_outcome(terms, claim, VOID);
    return_bond(terms, claim, &mut step);
    node::close_audit(db, terms.node());
    if (claim.challenged && is_first) keep(terms, claim, clock_ms) else end_void(db, terms, &mut step);
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
public(package) fun failed<T>(
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

/// The claim is held; a challenge does not start its hold anew.
fun keep(terms: &Terms, claim: &mut Claim, clock_ms: u64) {
    claim.hold(clock_ms);
    events::claim_held(terms.target(), terms.node(), claim.resolved_ms);
}

// Lateness takes two calls, a grace apart: the chain may have stood still. Until the second, the duty can still be
// done.

/// A duty marked late is over `grace_ms` later: `late_ms` 0 is not marked.
public(package) fun check_expired(late_ms: u64, grace_ms: u64, clock_ms: u64) {
    require(late_ms != 0, errors::not_late!());
    require(clock_ms >= math::add(late_ms, grace_ms), errors::not_late!());
}

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
    check_expired(audit.late_ms(), terms.params().grace_ms(), clock_ms);
    let phase = audit.phase();
    if (phase == audit_state::phase_reveal!()) {
        not_revealed(db, terms, claim, params::step(), clock_ms, ctx)
    } else if (phase == audit_state::phase_commit!()) {
        replace_silent(db, terms, claim, clock_ms)
    } else {
        conclude(db, terms, claim, clock_ms, ctx)
    }
}

/// The node proves the record that a drawn unit belongs to.
public(package) fun reveal_record(
    claim: &mut Claim,
    terms: &Terms,
    which: u64,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    location: vector<u8>,
    clock_ms: u64,
) {
    let (count, root, to_units) = (claim.count, claim.root, claim.to_units);
    claim.running_mut().reveal_record(terms, count, &root, to_units, which, record, index, proof, location, clock_ms)
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
    let count = claim.count;
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
    else draw::draw_verifiers(db, terms, &claim.sizes, claim.made_ms, &mut audit, silent.length(), clock_ms);
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
    if (pays(params, claim)) silent.do!(|verifier| node::slash(db, verifier, params, params.no_commit_permille()));
    if (serving < needed) void(db, terms, claim, params::step(), clock_ms) else params::step()
}

/// Whether the claim's money, with what is left of a challenge's bond, is enough to resolve it and pay a first round of
/// verifiers. Nobody owes work that cannot be paid.
fun pays(params: &Params, claim: &Claim): bool {
    let least = math::add(math::mul(params.verifier_pay_min(), params.verifiers()), params.resolve_fee());
    math::add(math::add(claim.amount, claim.surcharge), claim.bond) >= least
}

#[test_only]
public fun p_ppb(self: &Claim): u64 { self.p_ppb }

#[test_only]
public fun spent(self: &Claim): u64 { self.spent }

#[test_only]
public fun state(self: &Claim): u8 { self.state }

#[test_only]
public fun bond(self: &Claim): u64 { self.bond }

#[test_only]
public fun round(self: &Claim): u64 { self.round }

#[test_only]
public fun sizes(self: &Claim): &vector<u64> { &self.sizes }

#[test_only]
public fun surcharge(self: &Claim): u64 { self.surcharge }
