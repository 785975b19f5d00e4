//! Verifiers commit to a verdict, and reveal it when all have committed.

use super::conclude::conclude;
use super::{running, seats};
use crate::Result;
use crate::claim::{Step, Terms};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use atoma_types::onchain::event::{VerdictCommitted, VerdictRevealed, VerdictsOpened};
use atoma_types::onchain::{Abort, Audit, AuditPhase, Claim, Seat, SeatState};
use atoma_types::{Hash32, NodeId};

pub const PASS: u8 = 0;
pub const FAIL: u8 = 1;
pub const UNREADABLE: u8 = 2;
/// The input is not self-contained.
pub const INCONCLUSIVE: u8 = 3;

/// Bytes of a salt; fixed, so that a commitment opens in one way only.
const SALT_BYTES: usize = 32;
/// A pass of an exact task brings its round's digest and the hash of the other's.
const DIGEST_BYTES: usize = 64;

/// A verdict as it is revealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// One byte per record.
    pub verdicts: Vec<u8>,
    /// For each pass of an exact task, in order, `D_j ‖ H(D_other)`.
    pub digests: Vec<u8>,
    pub salt: Vec<u8>,
}

/// What a verifier commits to.
pub fn commitment(
    target: atoma_types::Address,
    count: u64,
    round: u8,
    verifier: NodeId,
    opened: &Opened,
) -> Hash32 {
    Hash32::of_parts(&[
        target.as_bytes(),
        &count.to_le_bytes(),
        &[round],
        &verifier.0.to_le_bytes(),
        &opened.verdicts,
        &opened.digests,
        &opened.salt,
    ])
}

/// Seals a seat's verdict; the last of the round opens the revealing.
pub(crate) fn commit(
    terms: &Terms,
    claim: &mut Claim,
    verifier: NodeId,
    commit: Vec<u8>,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let audit = running(claim, AuditPhase::Commit)?;
    let index = seat_of(audit, verifier)?;
    ensure(seats::current(audit)[index].state == SeatState::Seated, Abort::AlreadyCommitted)?;
    let hash = Hash32(limits::check_bytes(&commit)?);
    let deadline_ms = verdict_deadline(terms, clock_ms)?;

    let audit = claim.audit.as_mut().ok_or(Abort::WrongPhase)?;
    let (target, node, round) = (terms.target, terms.node, audit.round);
    let seat = &mut seats::current_mut(audit)[index];
    seat.state = SeatState::Committed;
    seat.commit = commit;
    ctx.emit(VerdictCommitted { target, node, round, verifier, commit: hash });
    if seats::count(audit, SeatState::Seated) == 0 {
        open_verdicts(terms, audit, deadline_ms, ctx);
    }
    Ok(())
}

pub(crate) fn verdict_deadline(terms: &Terms, clock_ms: u64) -> Result<u64> {
    clock_ms.checked_add(terms.params.verdict_ms).ok_or(Abort::Arithmetic)
}

/// Every seat committed, or is dropped.
pub(crate) fn open_verdicts(terms: &Terms, audit: &mut Audit, deadline_ms: u64, ctx: &mut TxContext) {
    audit.phase = AuditPhase::Verdict;
    audit.deadline_ms = deadline_ms;
    audit.late_ms = 0;
    let (target, node, round) = (terms.target, terms.node, audit.round);
    ctx.emit(VerdictsOpened { target, node, round, deadline_ms });
}

/// Opens a seat's verdict; the last of the round concludes it.
pub(crate) fn reveal(
    db: &mut AtomaDb,
    terms: &Terms,
    claim: &mut Claim,
    verifier: NodeId,
    opened: Opened,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    let audit = running(claim, AuditPhase::Verdict)?;
    let index = seat_of(audit, verifier)?;
    check_opened(terms, claim, audit, &seats::current(audit)[index], &opened)?;

    let audit = claim.audit.as_mut().ok_or(Abort::WrongPhase)?;
    let round = audit.round;
    let seat = &mut seats::current_mut(audit)[index];
    seat.state = SeatState::Revealed;
    seat.verdicts.clone_from(&opened.verdicts);
    let is_last = seats::count(audit, SeatState::Committed) == 0;
    ctx.emit(VerdictRevealed {
        target: terms.target,
        node: terms.node,
        round,
        verifier,
        verdicts: opened.verdicts,
        digests: opened.digests,
        salt: opened.salt,
    });
    if is_last {
        return conclude(db, terms, claim, clock_ms, ctx);
    }
    Ok(Step::default())
}

fn seat_of(audit: &Audit, verifier: NodeId) -> Result<usize> {
    let is_seat = |seat: &Seat| seat.verifier == verifier && seat.state != SeatState::Silent;
    seats::current(audit).iter().position(is_seat).ok_or(Abort::NotSeated)
}

fn check_opened(terms: &Terms, claim: &Claim, audit: &Audit, seat: &Seat, opened: &Opened) -> Result {
    ensure(seat.state == SeatState::Committed, Abort::AlreadyDone)?;
    ensure(opened.salt.len() == SALT_BYTES, Abort::BadArgument)?;
    ensure(opened.verdicts.len() == audit.records.len(), Abort::BadArgument)?;
    ensure(opened.verdicts.iter().all(|verdict| *verdict <= INCONCLUSIVE), Abort::BadArgument)?;
    let hash = commitment(terms.target, claim.count, audit.round, seat.verifier, opened);
    ensure(seat.commit == hash.0, Abort::BadCommitment)?;
    check_digests(terms.exact, audit, opened)
}

/// Every pass of an exact task brings the digest that only re-execution gives.
fn check_digests(exact: bool, audit: &Audit, opened: &Opened) -> Result {
    let mut rest = opened.digests.as_slice();
    for (verdict, shown) in opened.verdicts.iter().zip(&audit.records) {
        if !exact || *verdict != PASS {
            continue;
        }
        let (digest, left) = rest.split_at_checked(DIGEST_BYTES).ok_or(Abort::BadDigest)?;
        rest = left;
        let (own, other) = digest.split_at(DIGEST_BYTES / 2);
        ensure(work(audit.round, own, other) == shown.work, Abort::BadDigest)?;
    }
    ensure(rest.is_empty(), Abort::BadDigest)
}

/// `work = H(H(D_1) ‖ H(D_2))` of this round's digest and the other's hash.
fn work(round: u8, own: &[u8], other: &[u8]) -> Hash32 {
    let own = Hash32::of(own);
    if round == 0 { Hash32::of_parts(&[&own.0, other]) } else { Hash32::of_parts(&[other, &own.0]) }
}

/// How a revealed seat voted over all its records: one failed or unreadable record fails the claim.
pub(crate) fn vote(seat: &Seat) -> u8 {
    let has = |verdict: u8| seat.verdicts.contains(&verdict);
    if has(FAIL) || has(UNREADABLE) {
        FAIL
    } else if has(INCONCLUSIVE) {
        INCONCLUSIVE
    } else {
        PASS
    }
}
