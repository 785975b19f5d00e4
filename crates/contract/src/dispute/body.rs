//! The node cannot read the request's blob: the opener posts the body on chain, once.

use super::claim::check_of;
use super::{check_badge, check_dispute};
use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::node::NodeBadge;
use atoma_types::Hash32;
use atoma_types::onchain::event::{BodyDemanded, BodyPart, BodyPosted};
use atoma_types::onchain::{Abort, Dispute, DisputeState};

/// The opener must post the body in `body_window_ms`, else the bond is the node's. Once: it restarts the
/// answer's clock.
pub fn demand_body(
    db: &AtomaDb,
    dispute: &mut Dispute,
    badge: &NodeBadge,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    check_of(db, dispute)?;
    check_badge(dispute, badge)?;
    ensure(dispute.state == DisputeState::Open, Abort::WrongState)?;
    ensure(!dispute.body_demanded, Abort::AlreadyDone)?;
    let deadline_ms = clock_ms.checked_add(dispute.params.body_window_ms).ok_or(Abort::Arithmetic)?;

    dispute.state = DisputeState::BodyDemanded;
    dispute.body_demanded = true;
    dispute.deadline_ms = deadline_ms;
    dispute.late_ms = 0;
    ctx.emit(BodyDemanded { dispute: dispute.id, deadline_ms });
    Ok(())
}

/// A part of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many bytes come before it; what was posted from there on is replaced.
    pub offset: u64,
    pub bytes: Vec<u8>,
    pub is_last: bool,
}

/// Posts a part of the demanded body. The last one must complete what the request signed; then the node has
/// the answer's window again.
pub fn post_body(dispute: &mut Dispute, part: Part, clock_ms: u64, ctx: &mut TxContext) -> Result {
    check_dispute(dispute)?;
    ensure(ctx.sender() == dispute.opener, Abort::NotAuthorized)?;
    ensure(dispute.state == DisputeState::BodyDemanded, Abort::WrongState)?;
    ensure(part.bytes.len() <= limits::PART_BYTES_MAX, Abort::BadArgument)?;
    let offset = usize::try_from(part.offset).map_err(|_| Abort::BadArgument)?;
    let mut body = dispute.body_bytes.get(..offset).ok_or(Abort::BadArgument)?.to_vec();
    body.extend_from_slice(&part.bytes);
    ensure(body.len() <= limits::BODY_BYTES_MAX, Abort::BadArgument)?;
    ensure(!part.is_last || Hash32::of(&body) == dispute.body_hash, Abort::BadBody)?;
    let deadline_ms = clock_ms.checked_add(dispute.params.answer_window_ms).ok_or(Abort::Arithmetic)?;

    ctx.emit(BodyPart { dispute: dispute.id, offset: part.offset, part: part.bytes });
    if !part.is_last {
        dispute.body_bytes = body;
        return Ok(());
    }
    // Whoever needs the body reads it from the events.
    dispute.body_bytes = Vec::new();
    dispute.state = DisputeState::Open;
    dispute.deadline_ms = deadline_ms;
    dispute.late_ms = 0;
    ctx.emit(BodyPosted { dispute: dispute.id, deadline_ms });
    Ok(())
}
