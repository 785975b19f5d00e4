//! A duty of a dispute that was not done.

use super::{Bond, Case, check_dispute, close};
use crate::Result;
use crate::audit::ensure_expired;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::slash;
use atoma_types::Amount;
use atoma_types::onchain::event::{DisputeExpired, MarkedLate};
use atoma_types::onchain::{Abort, Dispute, DisputeState};

/// `duty` of [`DisputeExpired`].
const ANSWER: u8 = 0;
const BODY: u8 = 1;

/// Notes that the deadline of the answer, or of the body, has passed. Anyone may; the duty can still be done
/// for the grace.
pub fn mark_late(dispute: &mut Dispute, clock_ms: u64, ctx: &mut TxContext) -> Result {
    check_dispute(dispute)?;
    ensure_waiting(dispute)?;
    ensure(dispute.late_ms == 0, Abort::AlreadyDone)?;
    ensure(clock_ms > dispute.deadline_ms, Abort::NotLate)?;

    dispute.late_ms = clock_ms;
    ctx.emit(MarkedLate { target: dispute.id, node: dispute.node, at_ms: clock_ms });
    Ok(())
}

/// The effect: who posts no body loses the bond to the node, who does not answer is slashed and the opener
/// has the bond back and compensation. Anyone may.
pub fn expire(db: &mut AtomaDb, case: &mut Case, clock_ms: u64, ctx: &mut TxContext) -> Result {
    case.check(db)?;
    ensure_waiting(case.dispute)?;
    ensure_expired(case.dispute.late_ms, case.dispute.params.grace_ms, clock_ms)?;
    if case.dispute.state == DisputeState::BodyDemanded {
        ctx.emit(DisputeExpired { dispute: case.dispute.id, duty: BODY });
        let bond = Bond { to_opener: Amount::ZERO, to_node: case.dispute.bond };
        return close(db, case, bond, DisputeState::Ended, ctx);
    }
    let cost = case.dispute.price.cost(case.dispute.max_units)?;

    ctx.emit(DisputeExpired { dispute: case.dispute.id, duty: ANSWER });
    let bond = Bond { to_opener: case.dispute.bond, to_node: Amount::ZERO };
    close(db, case, bond, DisputeState::Ended, ctx)?;
    let Dispute { node, params, opener, .. } = &*case.dispute;
    slash::timeout(db, *node, params, cost, *opener, clock_ms, ctx)?;
    Ok(())
}

fn ensure_waiting(dispute: &Dispute) -> Result {
    let is_waiting = matches!(dispute.state, DisputeState::Open | DisputeState::BodyDemanded);
    ensure(is_waiting, Abort::WrongState)
}
