//! What a held claim comes to.

use super::terms::{money, overspent};
use crate::Result;
use crate::claim::Terms;
use crate::db::AtomaDb;
use crate::limits::ensure;
use atoma_types::Amount;
use atoma_types::onchain::{Abort, Claim, ClaimState};

/// A claim's money, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) to_node: Amount,
    pub(crate) to_creator: Amount,
    /// What audits left of the surcharge.
    pub(crate) surcharge: Amount,
}

/// Aborts unless the claim can end now; says whether it pays. If the node was convicted since, it does not, and
/// need not wait for its round or hold: one lost collateral must not pay for many cashed claims. While an audit
/// of the node is open the hold is doubled, so that the others wait for the drawn one, and no longer.
pub(crate) fn ensure_released(db: &AtomaDb, terms: &Terms, claim: &Claim, clock_ms: u64) -> Result<bool> {
    let node = db.node(terms.node)?;
    let is_idle = matches!(claim.state, ClaimState::Waiting | ClaimState::Held);
    if is_idle && node.convictions != claim.convictions {
        return Ok(false);
    }
    ensure(claim.state == ClaimState::Held, Abort::NoClaim)?;
    let hold_ms = terms.params.hold_ms;
    let open_ms = claim.resolved_ms.saturating_add(hold_ms);
    ensure(clock_ms >= open_ms, Abort::TooEarly)?;
    let last_ms = open_ms.saturating_add(hold_ms);
    ensure(node.open_audits == 0 || clock_ms >= last_ms, Abort::TooEarly)?;
    Ok(true)
}

/// Divides what is left of a claim: the creator's fee as if nothing had been spent, as far as it is there,
/// then the node.
pub(crate) fn parts(claim: &Claim, creator_fee: Amount) -> Result<Parts> {
    let left = claim.amount.sub(overspent(claim))?;
    let to_creator = creator_fee.min(left);
    let surcharge = money(claim)?.sub(left)?;
    Ok(Parts { to_node: left.sub(to_creator)?, to_creator, surcharge })
}
