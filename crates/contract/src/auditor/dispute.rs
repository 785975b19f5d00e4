//! What must hold of disputes and claims.

use super::books::{ClaimBook, DisputeBook};
use super::{Audit, hold, same};
use atoma_types::onchain::{Claim, Dispute, DisputeState};

/// Compares a stored dispute with its book.
pub(super) fn check(book: &DisputeBook, dispute: &Dispute) -> Audit {
    same("a dispute's stack and node", (book.stack, book.node), (dispute.stack, dispute.node))?;
    same("a dispute's opener", book.opener, dispute.opener)?;
    same("a dispute's balance", book.balance, u128::from(dispute.balance.0))?;
    same("a dispute's bond", book.bond, u128::from(dispute.bond.0))?;
    let dues = dispute.dues.iter().map(|due| (due.to, u128::from(due.amount.0))).collect();
    same("a dispute's dues", &book.dues, &dues)?;
    same("one row per due", book.dues.len(), dispute.dues.len())?;
    check_claim(book.claim.as_ref(), dispute.claim.as_ref())?;
    let is_answered = dispute.state == DisputeState::Answered;
    same("an answer is a claim until it ends", is_answered, dispute.claim.is_some())?;
    let held = book.claim.as_ref().map_or(0, ClaimBook::held);
    same("nothing else is in a dispute", book.escrow(), book.bond + held)?;
    hold("a body is bounded", dispute.body_bytes.len() <= 98_304, || format!("{}", dispute.id))
}

/// Compares a stored claim with its book.
pub(super) fn check_claim(book: Option<&ClaimBook>, claim: Option<&Claim>) -> Audit {
    let found = claim.map(|claim| ClaimBook {
        from_units: claim.from_units.0,
        to_units: claim.to_units.0,
        count: claim.count,
        root: claim.root,
        amount: claim.amount.0.into(),
        surcharge: claim.surcharge.0.into(),
        spent: claim.spent.0.into(),
        bond: claim.bond.0.into(),
    });
    same("a claim", book, found.as_ref())
}
