/// Making a claim, and what the beacon decides about it.
module atoma::claim_resolve;

use atoma::audit_ending;
use atoma::audit_seats;
use atoma::audit_state;
use atoma::beacon::Beacon;
use atoma::chance;
use atoma::claim_state::{Self, Claim};
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::math;
use atoma::slash;
use atoma::slots;
use atoma::terms::{Self, Step, Terms};

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
    claim_state::new_claim(
        from_units,
        to_units,
        count,
        root,
        amount,
        surcharge,
        chance::p_ppb(terms.params(), terms.exact(), amount, node.collateral()),
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
        claim.from_units(),
        claim.to_units(),
        claim.count(),
        *claim.root(),
        claim.amount(),
        claim.surcharge(),
        claim.p_ppb(),
        claim.round(),
    )
}

/// A claim that was not drawn is held, else `EDrawn`.
public(package) fun pay(beacon: &Beacon, terms: &Terms, claim: &mut Claim, clock_ms: u64) {
    assert!(claim.state() == claim_state::waiting(), errors::no_claim());
    let seed = seed(beacon, terms, claim);
    assert!(!chance::is_drawn(&seed, claim.p_ppb()), errors::drawn());

    claim.hold(clock_ms);
    events::claim_held(terms.target(), terms.node(), clock_ms);
}

/// Seats the verifiers of a drawn (else `ENotDrawn`) or challenged claim. The caller earns the resolving fee, as far
/// as the claim has it.
public(package) fun audit<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let params = terms.params();
    // A claim of a node convicted since is void already, and not to be spent on.
    let is_waiting = claim.state() == claim_state::waiting();
    let is_void = is_waiting && db.node(terms.node()).convictions() != claim.convictions();
    assert!(!is_void, errors::convicted());
    let seed = seed(beacon, terms, claim);
    let offsets = audited_offsets(terms, claim, &seed);
    let mut audit = audit_state::new(seed, offsets);
    let seated = audit_seats::draw(db, terms, claim, &mut audit, params.verifiers(), clock_ms);
    let deadline_ms = math::add(clock_ms, params.reveal_ms());

    // A challenge counted already.
    if (is_waiting) slash::open_audit(db, terms.node());
    let mut step = terms::step();
    let fee = claim.take(params.resolve_fee());
    step.pay_caller(fee);
    events::audit_opened(terms.target(), terms.node(), offsets, seated, deadline_ms, ctx.sender(), fee);
    audit.seat_first(&seated, deadline_ms);
    claim.set_audited(audit);
    if (seated.length() < params.verifiers()) audit_ending::void(db, terms, claim, step, clock_ms) else step
}

fun seed(beacon: &Beacon, terms: &Terms, claim: &Claim): vector<u8> {
    chance::claim_seed(beacon.seed(claim.round()), terms.target(), terms.node(), claim.count())
}

/// The drawn units of a drawn claim, or the challenged one; other claims are not audited.
fun audited_offsets(terms: &Terms, claim: &Claim, seed: &vector<u8>): vector<u64> {
    if (claim.state() == claim_state::challenged_state()) return *claim.audit().borrow().offsets();
    assert!(claim.state() == claim_state::waiting(), errors::no_claim());
    assert!(chance::is_drawn(seed, claim.p_ppb()), errors::not_drawn());
    chance::offsets(seed, claim.from_units(), claim.to_units(), terms.params().records())
}
