/// Seating verifiers. Everything a draw reads was written before the claim was made, or can since only have made a
/// verifier ineligible: who knows the seed can lose seats by what it does, never gain one.
module atoma::audit_seats;

use atoma::audit_state::Audit;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::draw;
use atoma::slots;
use atoma::terms::Terms;

/// Positions up to which lists are short: 512 pages.
const SHORT_LISTS: u64 = 32_768;
const SHORT_TRIES_MAX: u64 = 2_048;

/// Up to `count` further verifiers of the audit, from the first unused value of its seed on, two values per try: a
/// position in the lists laid end to end, with their sizes when the claim was made, and its weight.
public(package) fun draw<T>(
    db: &AtomaDb<T>,
    terms: &Terms,
    claim: &Claim,
    audit: &mut Audit,
    count: u64,
    clock_ms: u64,
): vector<u64> {
    let lists = db.market(terms.task()).verifiers();
    let (sizes, made_ms) = (claim.sizes(), claim.made_ms());
    let positions = slots::total(sizes);
    let cap = terms.params().weight_cap();
    let owner = db.node(terms.node()).owner();
    let mut seated = vector[];
    let (mut tries, mut rows) = (tries_max(positions), draw::rows_max());
    // Without a verifier when the claim was made there is none to draw.
    while (positions > 0 && seated.length() < count && tries > 0 && rows > 0) {
        tries = tries - 1;
        let position = next_value(audit) % positions;
        let weight = next_value(audit) % cap;
        let (echelon, at, is_there) = slots::locate(lists, terms.echelons(), sizes, position);
        if (is_there) {
            let slot = slots::list(lists, echelon).slot(at);
            let verifier = slot.slot_node();
            // The slot is a verifier's for this claim, and it has or had no seat in this audit.
            let is_free =
                weight < slot.weight()
                && slot.may_verify(made_ms, clock_ms)
                && !seated.contains(&verifier)
                && !audit.sits(verifier);
            if (is_free) {
                rows = rows - 1;
                if (is_fit(db, terms, verifier, owner, made_ms, weight)) seated.push_back(verifier);
            };
        };
    };
    seated
}

/// More slots are tried where lists are short enough that their pages are few: a swarm that joins and leaves must be
/// large to keep an audit from finding its verifiers.
fun tries_max(positions: u64): u64 { if (positions <= SHORT_LISTS) SHORT_TRIES_MAX else draw::tries_max() }

/// A verifier is enabled, was never convicted, has collateral enough that was not raised since the claim was made,
/// weighs no more than that, and does not belong to the owner of the node that it judges (which stops accidents; the
/// collusion share covers the rest).
fun is_fit<T>(db: &AtomaDb<T>, terms: &Terms, verifier: u64, owner: address, made_ms: u64, weight: u64): bool {
    let row = db.node(verifier);
    row.disabled_ms() == 0
        && row.convictions() == 0
        && row.collateral() >= terms.params().min_collateral()
        && weight < row.collateral()
        && row.raised_ms() < made_ms
        && row.owner() != owner
}

/// The first unused value of the audit's seed.
fun next_value(audit: &mut Audit): u64 {
    let index = audit.take_value();
    draw::value(audit.seed(), index)
}
