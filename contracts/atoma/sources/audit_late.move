/// Lateness takes two calls, a grace apart: the chain may have stood still. Until the second, the duty can still be
/// done.
module atoma::audit_late;

use atoma::audit_conclude;
use atoma::audit_ending;
use atoma::audit_state;
use atoma::audit_seats;
use atoma::audit_verdict;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::math;
use atoma::slash;
use atoma::terms::{Self, Step, Terms};

/// Notes that the running phase's deadline has passed, else `ENotLate`; once, else `EAlreadyDone`.
public(package) fun mark(terms: &Terms, claim: &mut Claim, clock_ms: u64) {
    let audit = claim.running_mut();
    assert!(audit.late_ms() == 0, errors::already_done());
    assert!(clock_ms > audit.deadline_ms(), errors::not_late());

    audit.set_late(clock_ms);
    events::marked_late(terms.target(), terms.node(), clock_ms);
}

/// A duty marked late is over `grace_ms` later: `late_ms` 0 is not marked.
public(package) fun check_expired(late_ms: u64, grace_ms: u64, clock_ms: u64) {
    assert!(late_ms != 0, errors::not_late());
    assert!(clock_ms >= math::add(late_ms, grace_ms), errors::not_late());
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
    if (phase == audit_state::phase_reveal()) {
        audit_ending::not_revealed(db, terms, claim, terms::step(), clock_ms, ctx)
    } else if (phase == audit_state::phase_commit()) {
        replace_silent(db, terms, claim, clock_ms)
    } else {
        audit_conclude::conclude(db, terms, claim, clock_ms, ctx)
    }
}

/// Seats that did not commit lose a little and their say. The first time others take their place.
fun replace_silent<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, clock_ms: u64): Step {
    let params = terms.params();
    let mut audit = *claim.running();
    let silent = audit.in_state(audit_state::seated());
    let fresh = if (audit.replaced()) vector[]
    else audit_seats::draw(db, terms, claim, &mut audit, silent.length(), clock_ms);
    let deadline_ms = math::add(clock_ms, params.commit_ms());
    let verdict_ms = audit_verdict::deadline_ms(terms, clock_ms);

    audit.silence();
    let serving = audit.in_state(audit_state::committed()).length() + fresh.length();
    let needed = if (audit.round() == 0) params.verifiers() else audit_conclude::jury_majority();
    audit.add_seats(&fresh);
    audit.set_replaced(deadline_ms);
    events::seats_replaced(terms.target(), terms.node(), audit.round(), silent, fresh, deadline_ms);
    if (serving >= needed && fresh.is_empty()) audit_verdict::open_verdicts(terms, &mut audit, verdict_ms);
    claim.set_audited(audit);
    silent.do!(|verifier| slash::slash(db, verifier, params, params.no_commit_permille()));
    if (serving < needed) audit_ending::void(db, terms, claim, terms::step(), clock_ms) else terms::step()
}
