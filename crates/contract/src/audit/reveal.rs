//! The node shows what was drawn.

use super::record::{self, Proven};
use super::{audit_of, running};
use crate::Result;
use crate::claim::Terms;
use crate::context::TxContext;
use crate::limits::{self, ensure};
use atoma_types::onchain::event::{CommitsOpened, RecordPart, RecordRevealed};
use atoma_types::onchain::{Abort, Audit, AuditPhase, AuditedRecord, Claim};

/// Arguments of a reveal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reveal {
    /// Which of the audit's offsets is met.
    pub which: u64,
    pub shown: Proven,
    /// Where the seated verifiers read the full record, its key wrapped to their seal keys; empty if it is
    /// posted in parts.
    pub location: Vec<u8>,
}

/// Proves the record that a drawn unit belongs to. An offset in a record shown already is met by that; once
/// all are met, verifiers commit.
pub(crate) fn reveal(
    terms: &Terms,
    claim: &mut Claim,
    reveal: Reveal,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let audit = running(claim, AuditPhase::Reveal)?;
    let offset = offset_of(audit, reveal.which)?;
    ensure(reveal.location.len() <= limits::LOCATION_BYTES_MAX, Abort::BadArgument)?;
    ensure(!is_met(audit, offset), Abort::AlreadyDone)?;
    let shown = record::prove(&reveal.shown, claim.count, &claim.root)?;
    ensure(record::fits(shown.units, shown.total_units, claim.to_units), Abort::BadProof)?;
    ensure(record::contains(shown.units, shown.total_units, offset), Abort::BadProof)?;
    let deadline_ms = clock_ms.checked_add(terms.params.commit_ms).ok_or(Abort::Arithmetic)?;

    let audit = claim.audit.as_mut().ok_or(Abort::WrongPhase)?;
    ctx.emit(RecordRevealed {
        target: terms.target,
        node: terms.node,
        round: audit.round,
        record: reveal.which,
        bytes: reveal.shown.record,
        index: reveal.shown.index,
        location: reveal.location,
        units: shown.units,
        total_units: shown.total_units,
    });
    audit.records.push(AuditedRecord {
        units: shown.units,
        total_units: shown.total_units,
        work: shown.work,
    });
    if audit.offsets.iter().all(|offset| is_met(audit, *offset)) {
        audit.phase = AuditPhase::Commit;
        audit.deadline_ms = deadline_ms;
        audit.late_ms = 0;
        let round = audit.round;
        ctx.emit(CommitsOpened { target: terms.target, node: terms.node, round, deadline_ms });
    }
    Ok(())
}

/// Publishes a part of a drawn record on chain, for verifiers who cannot read its blob. Stores nothing.
pub(crate) fn post_part(
    terms: &Terms,
    claim: &Claim,
    which: u64,
    part: Vec<u8>,
    ctx: &mut TxContext,
) -> Result {
    let audit = audit_of(claim)?;
    ensure(audit.phase != AuditPhase::Verdict, Abort::WrongPhase)?;
    offset_of(audit, which)?;
    ensure(!part.is_empty() && part.len() <= limits::PART_BYTES_MAX, Abort::BadArgument)?;

    ctx.emit(RecordPart { target: terms.target, node: terms.node, record: which, part });
    Ok(())
}

fn offset_of(audit: &Audit, which: u64) -> Result<u64> {
    let index = usize::try_from(which).map_err(|_| Abort::BadArgument)?;
    audit.offsets.get(index).copied().ok_or(Abort::BadArgument)
}

/// Whether a revealed record contains the unit.
pub(crate) fn is_met(audit: &Audit, offset: u64) -> bool {
    audit.records.iter().any(|shown| record::contains(shown.units, shown.total_units, offset))
}
