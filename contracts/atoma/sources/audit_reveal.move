/// The node shows what was drawn.
module atoma::audit_reveal;

use atoma::audit_record;
use atoma::audit_state::{Self, Audit};
use atoma::claim_state::Claim;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::terms::Terms;

/// Proves the record that a drawn unit belongs to. An offset in a record shown already is met by that; once all are
/// met, verifiers commit.
public(package) fun reveal(
    terms: &Terms,
    claim: &mut Claim,
    which: u64,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    location: vector<u8>,
    clock_ms: u64,
) {
    let audit = claim.running_in(audit_state::phase_reveal());
    let offset = offset_of(audit, which);
    assert!(location.length() <= limits::location_bytes_max(), errors::bad_argument());
    assert!(!audit.is_met(offset), errors::already_done());
    let shown = audit_record::prove(record, index, proof, claim.count(), claim.root());
    let (units, total_units) = (shown.units(), shown.total_units());
    assert!(audit_state::contains(units, total_units, offset), errors::bad_proof());
    let deadline_ms = math::add(clock_ms, terms.params().commit_ms());

    let audit = claim.running_mut();
    let round = audit.round();
    events::record_revealed(
        terms.target(),
        terms.node(),
        round,
        which,
        record,
        index,
        location,
        units,
        total_units,
    );
    audit.add_record(audit_state::new_record(*shown.leaf(), units, total_units, *shown.work(), location));
    if (audit.offsets().all!(|offset| audit.is_met(*offset))) {
        audit.start_phase(audit_state::phase_commit(), deadline_ms);
        events::commits_opened(terms.target(), terms.node(), round, deadline_ms);
    };
}

/// Publishes a part of a drawn record on chain, for verifiers who cannot read its blob. Stores nothing.
public(package) fun post_part(terms: &Terms, claim: &Claim, which: u64, part: vector<u8>) {
    let audit = claim.running();
    assert!(audit.phase() != audit_state::phase_verdict(), errors::wrong_phase());
    offset_of(audit, which);
    assert!(!part.is_empty() && part.length() <= limits::part_bytes_max(), errors::bad_argument());

    events::record_part(terms.target(), terms.node(), which, part);
}

fun offset_of(audit: &Audit, which: u64): u64 {
    assert!(which < audit.offsets().length(), errors::bad_argument());
    audit.offsets()[which]
}
