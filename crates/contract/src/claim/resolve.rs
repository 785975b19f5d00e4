//! What the beacon decided.

use super::{Step, Terms, chance, take};
use crate::Result;
use crate::audit::{ending, seats};
use crate::beacon::Beacon;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::slash;
use atoma_types::Hash32;
use atoma_types::onchain::event::{AuditOpened, ClaimHeld};
use atoma_types::onchain::{Abort, Audit, AuditPhase, Claim, ClaimState};

/// A claim that was not drawn is held.
pub(crate) fn pay(
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    ensure(claim.state == ClaimState::Waiting, Abort::NoClaim)?;
    let seed = seed(beacon, terms, claim)?;
    ensure(!chance::is_drawn(&seed, claim.p_ppb), Abort::Drawn)?;

    claim.state = ClaimState::Held;
    claim.resolved_ms = clock_ms;
    ctx.emit(ClaimHeld { target: terms.target, node: terms.node, resolved_ms: clock_ms });
    Ok(())
}

/// Seats the verifiers of a drawn or challenged claim. The caller earns the resolving fee, as far as the
/// claim has it. A challenged claim of a node convicted since ends instead.
pub(crate) fn audit(
    db: &mut AtomaDb,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result<Step> {
    // A claim of a node convicted since is void already, and not to be spent on.
    if db.node(terms.node)?.convictions != claim.convictions {
        ensure(claim.state != ClaimState::Waiting, Abort::Convicted)?;
        if claim.state == ClaimState::Challenged {
            return ending::forgone(db, terms, claim, ctx);
        }
    }
    let seed = seed(beacon, terms, claim)?;
    let offsets = audited_offsets(terms, claim, &seed)?;
    let mut audit = new_audit(seed, offsets);
    let seated = seats::draw(db, terms, claim, &mut audit, terms.params.verifiers, clock_ms)?;
    let deadline_ms = clock_ms.checked_add(terms.params.reveal_ms).ok_or(Abort::Arithmetic)?;

    if claim.state == ClaimState::Waiting {
        slash::open_audit(db, terms.node)?;
    }
    let step = Step { to_caller: take(claim, terms.params.resolve_fee)?, ..Step::default() };
    ctx.emit(AuditOpened {
        target: terms.target,
        node: terms.node,
        offsets: audit.offsets.clone(),
        seats: seated.clone(),
        deadline_ms,
        resolver: ctx.sender(),
        fee: step.to_caller,
    });
    audit.seats = seats::seats(&seated);
    audit.deadline_ms = deadline_ms;
    claim.state = ClaimState::Audited;
    claim.audit = Some(audit);
    if seats::len(&seated) < terms.params.verifiers {
        return ending::void(db, terms, claim, step, clock_ms, ctx);
    }
    Ok(step)
}

fn seed(beacon: &Beacon, terms: &Terms, claim: &Claim) -> Result<Hash32> {
    let round_seed = beacon.seed(claim.round)?;
    Ok(chance::claim_seed(&round_seed, terms.target, terms.node, claim.count))
}

/// The drawn units of a drawn claim, or the challenged one; other claims are not audited.
fn audited_offsets(terms: &Terms, claim: &Claim, seed: &Hash32) -> Result<Vec<u64>> {
    if claim.state == ClaimState::Challenged {
        return Ok(claim.audit.as_ref().ok_or(Abort::NoClaim)?.offsets.clone());
    }
    ensure(claim.state == ClaimState::Waiting, Abort::NoClaim)?;
    ensure(chance::is_drawn(seed, claim.p_ppb), Abort::NotDrawn)?;
    chance::offsets(seed, claim.from_units, claim.to_units, terms.params.records)
}

/// An audit in which nobody sits yet. The first values of the seed went to the offsets.
pub(crate) fn new_audit(seed: Hash32, offsets: Vec<u64>) -> Audit {
    let next_value = u64::try_from(offsets.len()).unwrap_or(u64::MAX);
    Audit {
        seed,
        offsets,
        records: Vec::new(),
        seats: Vec::new(),
        jury: Vec::new(),
        round: 0,
        phase: AuditPhase::Reveal,
        deadline_ms: 0,
        late_ms: 0,
        next_value,
        replaced: false,
    }
}
