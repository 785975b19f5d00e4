//! What the revealed verdicts come to.

use super::verdict::{FAIL, PASS, vote};
use super::{ending, seats};
use crate::Result;
use crate::claim::{Step, Terms, chance, held, take};
use crate::context::TxContext;
use crate::db::AtomaDb;
use atoma_types::onchain::event::{JurySeated, VerifierPaid};
use atoma_types::onchain::{Abort, Audit, AuditPhase, Claim, Seat, SeatState};
use atoma_types::{Amount, NodeId, Units};

/// Further verifiers that judge when the first are not unanimous, and how many of them decide.
pub const JURY: u64 = 7;
pub const JURY_MAJORITY: u64 = 5;
/// Verifiers are paid this often what the record's units cost.
const PAY_TIMES: u64 = 2;

/// Ends a round whose verdicts are in, or overdue. Seats that committed and did not reveal count for
/// nothing now, and as losers once the jury decided.
pub(crate) fn conclude(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let mut step = Step::default();
    pay_verifiers(db, terms, claim, &mut step, ctx)?;
    let audit = claim.audit.as_ref().ok_or(Abort::WrongPhase)?;
    if audit.round == 1 {
        return conclude_jury(db, terms, claim, step, clock_ms, ctx);
    }
    if seats::current(audit).iter().all(passes_or_was_replaced) {
        return ending::passed(db, terms, claim, step, clock_ms, ctx);
    }
    seat_jury(db, terms, claim, step, clock_ms, ctx)
}

/// Silent seats lost their say; what counts is that enough others are there, which the commits saw to.
fn passes_or_was_replaced(seat: &Seat) -> bool {
    seat.state == SeatState::Silent || (seat.state == SeatState::Revealed && vote(seat) == PASS)
}

/// The pay of one verifier of these records.
pub(crate) fn pay_of(terms: &Terms, audit: &Audit) -> Result<Amount> {
    let pays = audit.records.iter().map(|shown| record_pay(terms, shown.units));
    Ok(Amount::total(pays.collect::<Result<Vec<_>>>()?)?)
}

/// The pay for re-executing one record: a flat multiple of its cost, never a share of a slash.
pub(crate) fn record_pay(terms: &Terms, units: Units) -> Result<Amount> {
    let cost = terms.price.cost(units)?;
    let multiple = cost.0.checked_mul(PAY_TIMES).ok_or(Abort::Arithmetic)?;
    Ok(terms.params.verifier_pay_min.max(Amount(multiple)))
}

/// Credits every verifier who revealed, all the same; less if the claim has less.
fn pay_verifiers(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    step: &mut Step,
    ctx: &mut TxContext,
) -> Result {
    let audit = claim.audit.as_ref().ok_or(Abort::WrongPhase)?;
    let revealed: Vec<NodeId> = seats::in_state(audit, SeatState::Revealed);
    let wanted = pay_of(terms, audit)?;
    let mut left = u64::try_from(revealed.len()).unwrap_or(u64::MAX);
    for verifier in revealed {
        let share = Amount(held(claim)?.0 / left);
        let amount = take(claim, wanted.min(share))?;
        left -= 1;
        let to = db.node(verifier)?.payout;
        db.credit(to, amount)?;
        step.to_pool = step.to_pool.add(amount)?;
        ctx.emit(VerifierPaid { target: terms.target, node: terms.node, verifier, to, amount });
    }
    Ok(())
}

/// The first verifiers do not agree that all is well: a jury, by its own seed, none of the first on it.
fn seat_jury(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let mut audit = claim.audit.clone().ok_or(Abort::WrongPhase)?;
    audit.seed = chance::jury_seed(&audit.seed);
    audit.next_value = 0;
    let jury = seats::draw(db, terms, claim, &mut audit, JURY, clock_ms)?;
    let deadline_ms = clock_ms.checked_add(terms.params.reveal_ms).ok_or(Abort::Arithmetic)?;
    if seats::len(&jury) < JURY_MAJORITY {
        return ending::void(db, terms, claim, step, clock_ms, ctx);
    }

    audit.jury = seats::seats(&jury);
    audit.round = 1;
    audit.phase = AuditPhase::Reveal;
    audit.deadline_ms = deadline_ms;
    audit.late_ms = 0;
    audit.replaced = false;
    // Revealed anew, the keys wrapped to the jury.
    audit.records = Vec::new();
    claim.audit = Some(audit);
    ctx.emit(JurySeated { target: terms.target, node: terms.node, jury, deadline_ms });
    Ok(step)
}

/// 5 of 7 decide, and whoever voted against them loses; anything else pays the claim and slashes nobody.
fn conclude_jury(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let audit = claim.audit.as_ref().ok_or(Abort::WrongPhase)?;
    if votes(&audit.jury, FAIL) >= JURY_MAJORITY {
        let losers = losers(audit, FAIL);
        ending::slash_verdicts(db, terms, &losers, ctx)?;
        return ending::failed(db, terms, claim, step, clock_ms, ctx);
    }
    if votes(&audit.jury, PASS) >= JURY_MAJORITY {
        let losers = losers(audit, PASS);
        ending::slash_verdicts(db, terms, &losers, ctx)?;
        return ending::passed(db, terms, claim, step, clock_ms, ctx);
    }
    ending::undecided(db, terms, claim, step, clock_ms, ctx)
}

fn votes(seats: &[Seat], verdict: u8) -> u64 {
    let same = seats.iter().filter(|seat| seat.state == SeatState::Revealed && vote(seat) == verdict);
    u64::try_from(same.count()).unwrap_or(u64::MAX)
}

/// Verifiers of both rounds who voted otherwise than `verdict`, or committed and did not reveal. Who finds
/// inconclusive what five could judge did not look: it would be the pay without the work.
fn losers(audit: &Audit, verdict: u8) -> Vec<NodeId> {
    let lost = |seat: &&Seat| match seat.state {
        SeatState::Committed => true,
        SeatState::Revealed => vote(seat) != verdict,
        SeatState::Seated | SeatState::Silent => false,
    };
    audit.seats.iter().chain(&audit.jury).filter(lost).map(|seat| seat.verifier).collect()
}
