//! Audits of claims: drawn records are revealed, re-executed by drawn verifiers, and judged.
//!
//! The entry points here are for a stack's channels, [`crate::dispute`] has those for disputes. Phases follow
//! each other: the node reveals, every verifier commits, then every verifier reveals; the last of each opens
//! the next. If the first verifiers are not unanimous, a jury of seven does the same once more.

pub(crate) mod conclude;
pub mod ending;
mod late;
mod record;
mod reveal;
pub(crate) mod seats;
mod verdict;

pub use conclude::{JURY, JURY_MAJORITY};
pub use record::{Proven, RECORD_BYTES};
pub use reveal::Reveal;
pub use verdict::{FAIL, INCONCLUSIVE, Opened, PASS, UNREADABLE, commitment};

pub(crate) use conclude::record_pay;
pub(crate) use late::{ensure_expired, expire as pass_deadline, mark};
pub(crate) use record::{decode, fits, prove};
pub(crate) use reveal::{is_met, post_part, reveal};
pub(crate) use verdict::{commit, reveal as open_verdict};

use crate::claim::{claim_of, finish, put_claim};
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::{Result, VERSION};
use atoma_types::NodeId;
use atoma_types::onchain::{Abort, Audit, AuditPhase, Claim, ClaimState, Stack};

/// The node proves the record that a drawn unit belongs to. Not revealing is fraud.
pub fn reveal_record(
    stack: &mut Stack,
    badge: &NodeBadge,
    shown: Reveal,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(stack, badge)?;
    let (terms, mut claim) = claim_of(stack, badge.node)?;
    reveal(&terms, &mut claim, shown, clock_ms, ctx)?;
    put_claim(stack, badge.node, claim)
}

/// The node publishes a part of a drawn record in an event.
pub fn post_record_part(
    stack: &Stack,
    badge: &NodeBadge,
    which: u64,
    part: Vec<u8>,
    ctx: &mut TxContext,
) -> Result {
    check(stack, badge)?;
    let (terms, claim) = claim_of(stack, badge.node)?;
    post_part(&terms, &claim, which, part, ctx)
}

/// A verifier seals its verdict on the claim of `node`.
pub fn commit_verdict(
    stack: &mut Stack,
    node: NodeId,
    badge: &NodeBadge,
    hash: Vec<u8>,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(stack, badge)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    commit(&terms, &mut claim, badge.node, hash, clock_ms, ctx)?;
    put_claim(stack, node, claim)
}

/// A verifier opens its verdict; the last one concludes the round.
pub fn reveal_verdict(
    db: &mut AtomaDb,
    stack: &mut Stack,
    node: NodeId,
    badge: &NodeBadge,
    opened: Opened,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    check(stack, badge)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    let step = open_verdict(db, &terms, &mut claim, badge.node, opened, clock_ms, ctx)?;
    finish(db, stack, node, claim, step, clock_ms, ctx)
}

/// Notes that the running phase's deadline has passed. Anyone may; the duty can still be done for the grace.
pub fn mark_late(stack: &mut Stack, node: NodeId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    ensure(stack.version == VERSION, Abort::Version)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    mark(&terms, &mut claim, clock_ms, ctx)?;
    put_claim(stack, node, claim)
}

/// The effect of a duty marked late, `grace_ms` later. Anyone may.
pub fn expire(
    db: &mut AtomaDb,
    stack: &mut Stack,
    node: NodeId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    let (terms, mut claim) = claim_of(stack, node)?;
    let step = pass_deadline(db, &terms, &mut claim, clock_ms, ctx)?;
    finish(db, stack, node, claim, step, clock_ms, ctx)
}

fn check(stack: &Stack, badge: &NodeBadge) -> Result {
    ensure(stack.version == VERSION, Abort::Version)?;
    ensure(badge.db == stack.db, Abort::WrongDb)
}

/// The audit that runs.
pub(crate) fn audit_of(claim: &Claim) -> Result<&Audit> {
    ensure(claim.state == ClaimState::Audited, Abort::WrongPhase)?;
    claim.audit.as_ref().ok_or(Abort::WrongPhase)
}

/// The audit, if it is in this phase.
pub(crate) fn running(claim: &Claim, phase: AuditPhase) -> Result<&Audit> {
    let audit = audit_of(claim)?;
    ensure(audit.phase == phase, Abort::WrongPhase)?;
    Ok(audit)
}
