/// What a held claim comes to.
module atoma::claim_release;

use atoma::claim_state::{Self, Claim};
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::math;
use atoma::terms::Terms;

const NOT_HELD: u8 = 0;
const TOO_EARLY: u8 = 1;
const PAYS: u8 = 2;
/// The node was convicted since: one lost collateral must not pay for many cashed claims, nor need they wait.
const VOID: u8 = 3;

/// Whether the claim can end now.
public(package) fun is_over<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): bool {
    status(db, terms, claim, clock_ms) >= PAYS
}

/// Aborts `ENoClaim` or `ETooEarly` unless the claim can end now; says whether it pays.
public(package) fun check<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): bool {
    let status = status(db, terms, claim, clock_ms);
    assert!(status != NOT_HELD, errors::no_claim());
    assert!(status != TOO_EARLY, errors::too_early());
    status == PAYS
}

/// While an audit of the node is open the hold is doubled, so that the others wait for the drawn one, and no longer.
fun status<T>(db: &AtomaDb<T>, terms: &Terms, claim: &Claim, clock_ms: u64): u8 {
    let node = db.node(terms.node());
    let (is_held, is_waiting) =
        (claim.state() == claim_state::held_state(), claim.state() == claim_state::waiting());
    if ((is_held || is_waiting) && node.convictions() != claim.convictions()) return VOID;
    if (!is_held) return NOT_HELD;
    let hold_ms = terms.params().hold_ms();
    let open_ms = math::saturating_add(claim.resolved_ms(), hold_ms);
    if (clock_ms < open_ms) return TOO_EARLY;
    let is_open = node.open_audits() > 0 && clock_ms < math::saturating_add(open_ms, hold_ms);
    if (is_open) TOO_EARLY else PAYS
}

/// Divides what is left of a claim: the creator's fee as if nothing had been spent, as far as it is there, then the
/// node. Returns the node's part, the creator's, and what audits left of the surcharge.
public(package) fun parts(claim: &Claim, creator_fee: u64): (u64, u64, u64) {
    let left = math::sub(claim.amount(), claim.overspent());
    let to_creator = creator_fee.min(left);
    let surcharge = math::sub(claim.money(), left);
    (left - to_creator, to_creator, surcharge)
}
