/// Level 2: what a node asks to be paid for, with everything that decides what becomes of it, and the steps from its
/// making through the beacon and challenges to what a held claim comes to. Its audit is `claim_audit`'s; `claim`, `audit`
/// and `dispute` have the entry points; the object that holds the claim has the money.
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
use atoma_base::params::{Params, Terms};
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

public(package) fun made_ms(self: &Claim): u64 { self.made_ms }

public(package) fun sizes(self: &Claim): &vector<u64> { &self.sizes }

public(package) fun state(self: &Claim): u8 { self.state }

public(package) fun challenged(self: &Claim): bool { self.challenged }

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

/// Whether the claim's money, with what is left of a challenge's bond, is enough to resolve it and pay a first round of
/// verifiers. Nobody owes work that cannot be paid.
public(package) fun pays(claim: &Claim, params: &Params): bool {
    let least = math::add(math::mul(params.verifier_pay_min(), params.verifiers()), params.resolve_fee());
    math::add(math::add(claim.amount, claim.surcharge), claim.bond) >= least
}

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

/// The claim is held, which is said; a challenge does not start its hold anew.
public(package) fun keep(claim: &mut Claim, terms: &Terms, clock_ms: u64) {
    claim.hold(clock_ms);
    events::claim_held(terms.target(), terms.node(), claim.resolved_ms);
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

/// What decides about the claim: its round's seed, made its own.
public(package) fun seed(beacon: &Beacon, terms: &Terms, claim: &Claim): vector<u8> {
    draw::claim_seed(beacon.seed(claim.round), terms.target(), terms.node(), claim.count)
}

/// The drawn units of a drawn claim, or the challenged one; other claims are not audited.
public(package) fun audited_offsets(terms: &Terms, claim: &Claim, seed: &vector<u8>): vector<u64> {
    if (claim.state == challenged_state!()) return *claim.audit.borrow().offsets();
    require(claim.state == waiting!(), errors::no_claim!());
    require(draw::is_drawn(seed, claim.p_ppb), errors::not_drawn!());
    draw::offsets(seed, claim.from_units, claim.to_units, terms.params().records())
}

// The owner has a record re-executed that chance did not draw.

/// Verifiers are paid this often what the record's units cost.
const PAY_TIMES: u64 = 2;

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

/// The pay for re-executing one record: a flat multiple of its cost, never a share of a slash.
public(package) fun record_pay(terms: &Terms, units: u64): u64 {
    math::mul(math::cost(units, terms.price()), PAY_TIMES).max(terms.params().verifier_pay_min())
}

/// The seed before the round is drawn.
fun zero_hash(): vector<u8> { vector::tabulate!(32, |_| 0) }

// The node shows what is audited.

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

#[test_only]
public fun p_ppb(self: &Claim): u64 { self.p_ppb }

#[test_only]
public fun spent(self: &Claim): u64 { self.spent }

#[test_only]
public fun bond(self: &Claim): u64 { self.bond }

#[test_only]
public fun round(self: &Claim): u64 { self.round }

#[test_only]
public fun surcharge(self: &Claim): u64 { self.surcharge }
