/// The owner has a record re-executed that chance did not draw.
module atoma::claim_challenge;

use atoma::audit_conclude;
use atoma::audit_record;
use atoma::audit_state;
use atoma::beacon::Beacon;
use atoma::claim_resolve;
use atoma::claim_state::{Self, Claim};
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::math;
use atoma::slash;
use atoma::slots;
use atoma::terms::Terms;

/// A challenge that may be made.
public struct Checked has drop {
    leaf: vector<u8>,
    /// Last unit of the record, which names it.
    offset: u64,
    bond: u64,
    sizes: vector<u64>,
}

/// The first verifiers' pay and the resolving fee.
public(package) fun bond(self: &Checked): u64 { self.bond }

/// Whether the shown leaf may be challenged, and for what bond. Aborts `ENoClaim` unless the claim is held,
/// `EAlreadyChallenged`, `EChallengeOver`, `EConvicted`, `EBadProof`, `EAlreadyAudited`.
public(package) fun check<T>(
    db: &AtomaDb<T>,
    terms: &Terms,
    claim: &Claim,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    clock_ms: u64,
): Checked {
    let params = terms.params();
    assert!(claim.state() == claim_state::held_state(), errors::no_claim());
    assert!(!claim.challenged(), errors::already_challenged());
    let until_ms = math::add(claim.resolved_ms(), params.challenge_ms());
    assert!(clock_ms <= until_ms, errors::challenge_over());
    // The claim is void already.
    assert!(db.node(terms.node()).convictions() == claim.convictions(), errors::convicted());
    let shown = audit_record::prove(record, index, proof, claim.count(), claim.root());
    let offset = shown.total_units();
    // It has units, and they are the claim's.
    let is_inside = shown.units() > 0 && offset > claim.from_units() && offset <= claim.to_units();
    assert!(is_inside, errors::bad_proof());
    let was_audited = claim.audit().is_some() && claim.audit().borrow().is_met(offset);
    assert!(!was_audited, errors::already_audited());
    let pays = math::mul(audit_conclude::record_pay(terms, shown.units()), params.verifiers());
    let bond = math::add(pays, params.resolve_fee());
    let sizes = slots::sizes(db.market(terms.task()).verifiers(), terms.echelons());
    Checked { leaf: *shown.leaf(), offset, bond, sizes }
}

/// The claim waits for the next round, which seats verifiers of now. The node counts as under audit at once, so that
/// its other claims wait for the outcome.
public(package) fun start<T>(
    db: &mut AtomaDb<T>,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    checked: Checked,
    clock_ms: u64,
) {
    let round = claim_resolve::next_round(beacon);
    slash::open_audit(db, terms.node());
    let Checked { leaf, offset, bond, sizes } = checked;
    let audit = audit_state::new(zero_hash(), vector[offset]);
    claim.challenge(round, clock_ms, sizes, bond, audit);
    events::claim_challenged(terms.target(), terms.node(), leaf, bond, round);
}

/// The seed before the round is drawn.
fun zero_hash(): vector<u8> { vector::tabulate!(32, |_| 0) }
