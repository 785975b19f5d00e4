//! Lateness takes two calls, a grace apart: the chain may have stood still. Until the second, the duty can
//! still be done.

use super::verdict::{open_verdicts, verdict_deadline};
use super::{audit_of, conclude, ending, seats};
use crate::Result;
use crate::claim::{Step, Terms};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::slash;
use atoma_types::onchain::event::{MarkedLate, SeatsReplaced};
use atoma_types::onchain::{Abort, Audit, AuditPhase, Claim, SeatState};
use atoma_types::{Amount, NodeId};

/// Notes that the running phase's deadline has passed.
pub(crate) fn mark(terms: &Terms, claim: &mut Claim, clock_ms: u64, ctx: &mut TxContext) -> Result {
    let audit = audit_of(claim)?;
    ensure(audit.late_ms == 0, Abort::AlreadyDone)?;
    ensure(clock_ms > audit.deadline_ms, Abort::NotLate)?;

    let audit = claim.audit.as_mut().ok_or(Abort::WrongPhase)?;
    audit.late_ms = clock_ms;
    ctx.emit(MarkedLate { target: terms.target, node: terms.node, at_ms: clock_ms });
    Ok(())
}

/// A duty marked late is over `grace_ms` later: `late_ms` 0 is not marked.
pub(crate) fn ensure_expired(late_ms: u64, grace_ms: u64, clock_ms: u64) -> Result {
    ensure(late_ms != 0, Abort::NotLate)?;
    let over_ms = late_ms.checked_add(grace_ms).ok_or(Abort::Arithmetic)?;
    ensure(clock_ms >= over_ms, Abort::NotLate)
}

/// The effect of lateness: a node that did not reveal is convicted, silent verifiers are replaced once, and
/// verdicts not revealed are done without.
pub(crate) fn expire(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let audit = audit_of(claim)?;
    ensure_expired(audit.late_ms, terms.params.grace_ms, clock_ms)?;
    match audit.phase {
        AuditPhase::Reveal => {
            ending::convicted(db, terms, claim, Step::default(), ending::NOT_REVEALED, clock_ms, ctx)
        }
        AuditPhase::Commit => replace_silent(db, terms, claim, clock_ms, ctx),
        AuditPhase::Verdict => conclude::conclude(db, terms, claim, clock_ms, ctx),
    }
}

/// Seats that did not commit lose a little, if there was something to earn, and their say. The first time others take their place.
fn replace_silent(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let mut audit = audit_of(claim)?.clone();
    let silent = seats::in_state(&audit, SeatState::Seated);
    let fresh = replacements(db, terms, claim, &mut audit, seats::len(&silent), clock_ms)?;
    let commit_ms = clock_ms.checked_add(terms.params.commit_ms).ok_or(Abort::Arithmetic)?;
    let verdict_ms = verdict_deadline(terms, clock_ms)?;

    silence(&mut audit);
    let serving = seats::count(&audit, SeatState::Committed) + seats::len(&fresh);
    let needed = if audit.round == 0 { terms.params.verifiers } else { conclude::JURY_MAJORITY };
    seats::current_mut(&mut audit).extend(seats::seats(&fresh));
    audit.replaced = true;
    audit.deadline_ms = commit_ms;
    audit.late_ms = 0;
    emit_replaced(terms, &audit, &silent, &fresh, ctx);
    if serving >= needed && fresh.is_empty() {
        open_verdicts(terms, &mut audit, verdict_ms, ctx);
    }
    claim.audit = Some(audit);
    if pays(terms, claim)? {
        for verifier in silent {
            slash::slash(db, verifier, &terms.params, terms.params.no_commit_permille, ctx)?;
        }
    }
    if serving < needed {
        return ending::void(db, terms, claim, Step::default(), clock_ms, ctx);
    }
    Ok(Step::default())
}

/// Whether the claim's money, with what is left of a challenge's bond, is enough to resolve it and pay a first round of
/// verifiers. Nobody owes work that cannot be paid.
fn pays(terms: &Terms, claim: &Claim) -> Result<bool> {
    let least =
        terms.params.verifier_pay_min.0.checked_mul(terms.params.verifiers).ok_or(Abort::Arithmetic)?;
    let least = Amount(least).add(terms.params.resolve_fee)?;
    Ok(claim.amount.add(claim.surcharge)?.add(claim.bond)? >= least)
}

/// Up to `count` others, if this round had none yet.
fn replacements(
    db: &AtomaDb,
    terms: &Terms,
    claim: &Claim,
    audit: &mut Audit,
    count: u64,
    clock_ms: u64,
) -> Result<Vec<NodeId>> {
    if audit.replaced {
        return Ok(Vec::new());
    }
    seats::draw(db, terms, claim, audit, count, clock_ms)
}

fn silence(audit: &mut Audit) {
    for seat in seats::current_mut(audit) {
        if seat.state == SeatState::Seated {
            seat.state = SeatState::Silent;
        }
    }
}

fn emit_replaced(terms: &Terms, audit: &Audit, silent: &[NodeId], seated: &[NodeId], ctx: &mut TxContext) {
    ctx.emit(SeatsReplaced {
        target: terms.target,
        node: terms.node,
        round: audit.round,
        silent: silent.to_vec(),
        seated: seated.to_vec(),
        deadline_ms: audit.deadline_ms,
    });
}
