//! Level 2: a settlement becomes a claim, chance decides whether it is audited, and it pays after a hold.
//!
//! Claims stand in a stack's channels and in disputes. What they share works on the [`Claim`] with its
//! [`Terms`] and leaves a [`Step`] to the object that holds it, which moves the money.

mod challenge;
pub mod chance;
mod channel;
mod release;
mod resolve;
mod settle;
mod terms;

pub use challenge::{Challenge, challenge_record};
pub use channel::{release_claim, resolve_audit, resolve_pay};
pub use settle::settle;
pub use terms::held;

pub(crate) use challenge::{check as check_challenge, start as start_challenge};
pub(crate) use channel::{claim_of, finish, put_claim};
pub(crate) use release::{ensure_released, parts};
pub(crate) use resolve::{audit, pay};
pub(crate) use terms::{Ending, Step, Terms, money, overspent, take};

use crate::Result;
use crate::beacon::Beacon;
use crate::db::AtomaDb;
use crate::slots;
use atoma_types::onchain::event::ClaimMade;
use atoma_types::onchain::{Abort, Claim, ClaimState};
use atoma_types::{Address, Amount, Hash32, NodeId, Units};

/// What a claim is made of, besides what the database says at that moment.
pub(crate) struct Made {
    pub(crate) from_units: Units,
    pub(crate) to_units: Units,
    pub(crate) count: u64,
    pub(crate) root: Hash32,
    pub(crate) amount: Amount,
    pub(crate) surcharge: Amount,
}

/// A claim with everything that decides it, and the next beacon round: nothing that its maker or anybody
/// does later changes how it is judged.
pub(crate) fn make(db: &AtomaDb, beacon: &Beacon, terms: &Terms, made: Made, clock_ms: u64) -> Result<Claim> {
    let node = db.node(terms.node)?;
    Ok(Claim {
        from_units: made.from_units,
        to_units: made.to_units,
        count: made.count,
        root: made.root,
        amount: made.amount,
        surcharge: made.surcharge,
        spent: Amount::ZERO,
        p_ppb: chance::p_ppb(&terms.params, terms.exact, made.amount, node.collateral)?,
        round: next_round(beacon)?,
        convictions: node.convictions,
        made_ms: clock_ms,
        sizes: slots::sizes(&db.market(terms.task)?.verifiers, &terms.echelons)?,
        state: ClaimState::Waiting,
        resolved_ms: 0,
        challenged: false,
        bond: Amount::ZERO,
        audit: None,
    })
}

/// The round that whatever is made now waits for: nobody has seen its seed.
pub(crate) fn next_round(beacon: &Beacon) -> Result<u64> {
    beacon.round.checked_add(1).ok_or(Abort::Arithmetic)
}

pub(crate) fn made_event(target: Address, node: NodeId, claim: &Claim) -> ClaimMade {
    ClaimMade {
        target,
        node,
        from_units: claim.from_units,
        to_units: claim.to_units,
        count: claim.count,
        root: claim.root,
        amount: claim.amount,
        surcharge: claim.surcharge,
        p_ppb: claim.p_ppb,
        round: claim.round,
    }
}
