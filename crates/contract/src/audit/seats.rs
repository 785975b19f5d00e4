//! Seating verifiers. Everything a draw reads was written before the claim was made, or can since only
//! have made a verifier ineligible: who knows the seed can lose seats by what it does, never gain one.

use crate::Result;
use crate::claim::Terms;
use crate::db::AtomaDb;
use crate::draw::{ROWS_MAX, TRIES_MAX, value};
use crate::slots;
use atoma_types::NodeId;
use atoma_types::onchain::{Audit, Claim, Seat, SeatState, Slot};

/// Positions up to which lists are short: 512 pages.
const SHORT_LISTS: u64 = 32_768;
const SHORT_TRIES_MAX: u64 = 2_048;

/// Up to `count` further verifiers of the audit, from the first unused value of its seed on, two values per
/// try: a position in the lists laid end to end, with their sizes when the claim was made, and its weight.
pub(crate) fn draw(
    db: &AtomaDb,
    terms: &Terms,
    claim: &Claim,
    audit: &mut Audit,
    count: u64,
    clock_ms: u64,
) -> Result<Vec<NodeId>> {
    let lists = &db.market(terms.task)?.verifiers;
    let positions = slots::total(&claim.sizes)?;
    let cap = terms.params.weight_cap.0;
    let mut seated = Vec::new();
    let (mut tries, mut rows) = (tries_max(positions), ROWS_MAX);
    // Without a verifier when the claim was made there is none to draw.
    while positions > 0 && len(&seated) < count && tries > 0 && rows > 0 {
        tries -= 1;
        let position = value(&audit.seed.0, audit.next_value) % positions;
        let weight = value(&audit.seed.0, audit.next_value + 1) % cap;
        audit.next_value += 2;
        if let Some(slot) = slots::slot_at(lists, &terms.echelons, &claim.sizes, position)?
            && weight < slot.weight.0
            && is_free(claim, audit, &seated, slot, clock_ms)
        {
            rows -= 1;
            if is_fit(db, terms, claim, slot.node, weight)? {
                seated.push(slot.node);
            }
        }
    }
    Ok(seated)
}

/// More slots are tried where lists are short enough that their pages are few: a swarm that joins and leaves
/// must be large to keep an audit from finding its verifiers.
fn tries_max(positions: u64) -> u64 {
    if positions <= SHORT_LISTS { SHORT_TRIES_MAX } else { TRIES_MAX }
}

/// Whether the slot is a verifier's for this claim, and has or had no seat in this audit.
fn is_free(claim: &Claim, audit: &Audit, seated: &[NodeId], slot: &Slot, clock_ms: u64) -> bool {
    slot.may_verify(claim.made_ms, clock_ms)
        && !seated.contains(&slot.node)
        && !sits(&audit.seats, slot.node)
        && !sits(&audit.jury, slot.node)
}

fn sits(seats: &[Seat], node: NodeId) -> bool {
    seats.iter().any(|seat| seat.verifier == node)
}

/// A verifier is enabled, was never convicted, has collateral enough that was not raised since the claim was
/// made, weighs no more than that, and does not belong to the owner of the node that it judges (which stops
/// accidents; the collusion share covers the rest).
fn is_fit(db: &AtomaDb, terms: &Terms, claim: &Claim, verifier: NodeId, weight: u64) -> Result<bool> {
    let row = db.node(verifier)?;
    Ok(row.disabled_ms == 0
        && row.convictions == 0
        && row.collateral >= terms.params.min_collateral
        && weight < row.collateral.0
        && row.raised_ms < claim.made_ms
        && row.owner != db.node(terms.node)?.owner)
}

/// Seats for newly drawn verifiers.
pub(crate) fn seats(verifiers: &[NodeId]) -> Vec<Seat> {
    let seat = |verifier: &NodeId| Seat {
        verifier: *verifier,
        commit: Vec::new(),
        verdicts: Vec::new(),
        state: SeatState::Seated,
    };
    verifiers.iter().map(seat).collect()
}

/// The seats of the round that runs.
pub(crate) fn current(audit: &Audit) -> &[Seat] {
    if audit.round == 0 { &audit.seats } else { &audit.jury }
}

pub(crate) fn current_mut(audit: &mut Audit) -> &mut Vec<Seat> {
    if audit.round == 0 { &mut audit.seats } else { &mut audit.jury }
}

/// Verifiers of the running round in `state`.
pub(crate) fn in_state(audit: &Audit, state: SeatState) -> Vec<NodeId> {
    let seats = current(audit).iter().filter(|seat| seat.state == state);
    seats.map(|seat| seat.verifier).collect()
}

pub(crate) fn count(audit: &Audit, state: SeatState) -> u64 {
    len(&in_state(audit, state))
}

/// Verifiers are few.
pub(crate) fn len(verifiers: &[NodeId]) -> u64 {
    u64::try_from(verifiers.len()).unwrap_or(u64::MAX)
}
