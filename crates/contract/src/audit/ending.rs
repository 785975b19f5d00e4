//! How an audit ends: passed, undecided, void, failed, or convicted.

use crate::Result;
use crate::claim::{Ending, Step, Terms, overspent};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::node::fault;
use crate::slash;
use atoma_types::onchain::event::{AuditConcluded, BondReleased, ClaimHeld, Convicted};
use atoma_types::onchain::{Abort, AuditPhase, Claim, ClaimState};
use atoma_types::{Amount, NodeId};

/// `outcome` of [`AuditConcluded`].
pub const PASSED: u8 = 0;
pub const CONVICTED: u8 = 1;
pub const UNDECIDED: u8 = 2;
pub const VOID: u8 = 3;
pub const NOT_REVEALED: u8 = 4;
/// Failed in a statistical task: the claim is void, the node not slashed.
pub const FAILED: u8 = 5;

/// Points of reputation that a failed claim costs in a statistical task.
const FAILED_POINTS: u64 = 10;

/// Every verdict, or 5 of 7, passed: as if it had not been audited. A challenge's bond is the node's, who
/// bore the verifiers' pay.
pub(crate) fn passed(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let bond = claim.bond;
    conclude(terms, claim, PASSED, ctx)?;
    release_bond(terms, claim, Amount::ZERO, bond, ctx);
    step.credit(terms.payout, bond);
    hold(terms, claim, clock_ms, ctx);
    slash::close_audit(db, terms.node)?;
    Ok(step)
}

/// Neither side has 5 of 7: the claim is paid, the bond returned, nobody slashed.
pub(crate) fn undecided(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    conclude(terms, claim, UNDECIDED, ctx)?;
    return_bond(terms, claim, &mut step, ctx);
    hold(terms, claim, clock_ms, ctx);
    slash::close_audit(db, terms.node)?;
    Ok(step)
}

/// Too few verifiers took part. The claim returns to escrow; but a challenge that found no verifiers leaves
/// the claim as it was, else its owner could challenge to be refunded.
pub(crate) fn void(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let is_first = claim.audit.as_ref().is_some_and(|audit| audit.round == 0);
    conclude(terms, claim, VOID, ctx)?;
    return_bond(terms, claim, &mut step, ctx);
    slash::close_audit(db, terms.node)?;
    if claim.challenged && is_first {
        hold(terms, claim, clock_ms, ctx);
    } else {
        step.ending = voided(db, terms)?;
    }
    Ok(step)
}

/// A node that was convicted elsewhere meanwhile served its last here, too.
fn voided(db: &AtomaDb, terms: &Terms) -> Result<Ending> {
    let is_convicted = db.node(terms.node)?.convictions != 0;
    Ok(if is_convicted { Ending::Convicted } else { Ending::Void })
}

/// A challenge of a claim that became void before its verifiers were seated: there is nothing left to judge, and the
/// owner has the bond back.
pub(crate) fn forgone(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    ctx: &mut TxContext,
) -> Result<Step> {
    let mut step = Step { ending: Ending::Convicted, ..Step::default() };
    return_bond(terms, claim, &mut step, ctx);
    slash::close_audit(db, terms.node)?;
    Ok(step)
}

/// 5 of 7 found it wrong or unreadable. An exact task convicts; a statistical one voids the claim and marks
/// the node, because one response proves nothing.
pub(crate) fn failed(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    if terms.exact {
        return convicted(db, terms, claim, step, CONVICTED, clock_ms, ctx);
    }
    conclude(terms, claim, FAILED, ctx)?;
    return_bond(terms, claim, &mut step, ctx);
    slash::close_audit(db, terms.node)?;
    fault(db.node_mut(terms.node)?, FAILED_POINTS, ctx);
    step.ending = voided(db, terms)?;
    Ok(step)
}

/// Fraud, or silence instead of proof, which must not be cheaper. The owner is compensated for what audits
/// took of the amount.
pub(crate) fn convicted(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    mut step: Step,
    outcome: u8,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let compensation = overspent(claim);
    conclude(terms, claim, outcome, ctx)?;
    return_bond(terms, claim, &mut step, ctx);
    slash::close_audit(db, terms.node)?;
    slash::convict(db, terms.node, &terms.params, compensation, terms.owner, clock_ms, ctx)?;
    let convictions = db.node(terms.node)?.convictions;
    ctx.emit(Convicted { target: terms.target, node: terms.node, convictions });
    step.ending = Ending::Convicted;
    Ok(step)
}

/// Verifiers who lost: voted against 5 of 7, or committed and kept silent.
pub(crate) fn slash_verdicts(
    db: &mut AtomaDb,
    terms: &Terms,
    losers: &[NodeId],
    ctx: &mut TxContext,
) -> Result {
    for loser in losers {
        slash::slash(db, *loser, &terms.params, terms.params.verdict_permille, ctx)?;
    }
    Ok(())
}

fn conclude(terms: &Terms, claim: &Claim, outcome: u8, ctx: &mut TxContext) -> Result {
    let round = claim.audit.as_ref().ok_or(Abort::WrongPhase)?.round;
    ctx.emit(AuditConcluded { target: terms.target, node: terms.node, round, outcome });
    Ok(())
}

fn return_bond(terms: &Terms, claim: &mut Claim, step: &mut Step, ctx: &mut TxContext) {
    let bond = claim.bond;
    release_bond(terms, claim, bond, Amount::ZERO, ctx);
    step.credit(terms.owner, bond);
}

fn release_bond(terms: &Terms, claim: &mut Claim, returned: Amount, to_node: Amount, ctx: &mut TxContext) {
    if claim.bond.is_zero() {
        return;
    }
    claim.bond = Amount::ZERO;
    ctx.emit(BondReleased { target: terms.target, node: terms.node, returned, to_node });
}

/// The claim is held; a challenge does not start its hold anew. Of the audit only the records stay, which
/// cannot be challenged again.
fn hold(terms: &Terms, claim: &mut Claim, clock_ms: u64, ctx: &mut TxContext) {
    claim.state = ClaimState::Held;
    if !claim.challenged {
        claim.resolved_ms = clock_ms;
    }
    if let Some(audit) = &mut claim.audit {
        audit.phase = AuditPhase::Verdict;
        audit.seats = Vec::new();
        audit.jury = Vec::new();
    }
    ctx.emit(ClaimHeld { target: terms.target, node: terms.node, resolved_ms: claim.resolved_ms });
}
