/// What the revealed verdicts come to.
module atoma::audit_conclude;

use atoma::audit_ending;
use atoma::audit_state::{Self, Audit, Seat};
use atoma::audit_seats;
use atoma::chance;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::events;
use atoma::math;
use atoma::terms::{Self, Step, Terms};

/// Further verifiers that judge when the first are not unanimous, and how many of them decide.
const JURY: u64 = 7;
const JURY_MAJORITY: u64 = 5;
/// Verifiers are paid this often what the record's units cost.
const PAY_TIMES: u64 = 2;

// A verdict on one record.

const PASS: u8 = 0;
const FAIL: u8 = 1;
const UNREADABLE: u8 = 2;
/// The input is not self-contained.
const INCONCLUSIVE: u8 = 3;

public(package) fun jury_majority(): u64 { JURY_MAJORITY }

public(package) fun is_verdict(verdict: u8): bool { verdict <= INCONCLUSIVE }

public(package) fun is_pass(verdict: u8): bool { verdict == PASS }

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
    let mut step = terms::step();
    pay_verifiers(db, terms, claim, &mut step);
    let audit = claim.running();
    if (audit.round() == 1) return conclude_jury(db, terms, claim, step, clock_ms, ctx);
    // Silent seats lost their say; what counts is that enough others are there, which the commits saw to.
    let is_unanimous = audit.current().all!(|seat| {
        seat.state() == audit_state::silent() || has_voted(seat, PASS)
    });
    if (is_unanimous) audit_ending::passed(db, terms, claim, step, clock_ms)
    else seat_jury(db, terms, claim, step, clock_ms)
}

/// The pay for re-executing one record: a flat multiple of its cost, never a share of a slash.
public(package) fun record_pay(terms: &Terms, units: u64): u64 {
    math::mul(math::cost(units, terms.price()), PAY_TIMES).max(terms.params().verifier_pay_min())
}

/// Credits every verifier who revealed, all the same; less if the claim has less.
fun pay_verifiers<T>(db: &AtomaDb<T>, terms: &Terms, claim: &mut Claim, step: &mut Step) {
    let audit = claim.running();
    let revealed = audit.in_state(audit_state::revealed());
    let mut wanted = 0;
    audit.records().do_ref!(|shown| wanted = math::add(wanted, record_pay(terms, shown.record_units())));
    let mut left = revealed.length();
    revealed.do!(|verifier| {
        let share = claim.held() / left;
        let amount = claim.take(wanted.min(share));
        left = left - 1;
        let to = db.node(verifier).payout();
        step.credit(to, amount);
        events::verifier_paid(terms.target(), terms.node(), verifier, to, amount);
    });
}

/// The first verifiers do not agree that all is well: a jury, by its own seed, none of the first on it.
fun seat_jury<T>(db: &mut AtomaDb<T>, terms: &Terms, claim: &mut Claim, step: Step, clock_ms: u64): Step {
    let mut audit = *claim.running();
    let jury_seed = chance::jury_seed(audit.seed());
    audit.reseed(jury_seed);
    let jury = audit_seats::draw(db, terms, claim, &mut audit, JURY, clock_ms);
    let deadline_ms = math::add(clock_ms, terms.params().reveal_ms());
    if (jury.length() < JURY_MAJORITY) return audit_ending::void(db, terms, claim, step, clock_ms);

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
    let audit = claim.running();
    if (votes(audit, FAIL) >= JURY_MAJORITY) {
        let losers = losers(audit, FAIL);
        audit_ending::slash_verdicts(db, terms, &losers);
        audit_ending::failed(db, terms, claim, step, clock_ms, ctx)
    } else if (votes(audit, PASS) >= JURY_MAJORITY) {
        let losers = losers(audit, PASS);
        audit_ending::slash_verdicts(db, terms, &losers);
        audit_ending::passed(db, terms, claim, step, clock_ms)
    } else {
        audit_ending::undecided(db, terms, claim, step, clock_ms)
    }
}

/// How many of the jury revealed this vote.
fun votes(audit: &Audit, verdict: u8): u64 { audit.jury().count!(|seat| has_voted(seat, verdict)) }

/// Verifiers of both rounds who voted otherwise than `verdict`, or committed and did not reveal. Who finds
/// inconclusive what five could judge did not look: it would be the pay without the work.
fun losers(audit: &Audit, verdict: u8): vector<u64> {
    let mut losers = vector[];
    audit.seats().do_ref!(|seat| if (has_lost(seat, verdict)) losers.push_back(seat.verifier()));
    audit.jury().do_ref!(|seat| if (has_lost(seat, verdict)) losers.push_back(seat.verifier()));
    losers
}

fun has_lost(seat: &Seat, verdict: u8): bool {
    seat.state() == audit_state::committed()
        || (seat.state() == audit_state::revealed() && vote(seat) != verdict)
}

fun has_voted(seat: &Seat, verdict: u8): bool { seat.state() == audit_state::revealed() && vote(seat) == verdict }

/// How a revealed seat voted over all its records: one failed or unreadable record fails the claim.
fun vote(seat: &Seat): u8 {
    let verdicts = seat.verdicts();
    if (verdicts.any!(|verdict| *verdict == FAIL || *verdict == UNREADABLE)) FAIL
    else if (verdicts.any!(|verdict| *verdict == INCONCLUSIVE)) INCONCLUSIVE
    else PASS
}
