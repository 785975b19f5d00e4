//! What the functions on a claim need from the object that holds it, and what they leave for it to do.

use crate::Result;
use atoma_types::onchain::{Channel, Claim, Dispute, Due, Params, Stack};
use atoma_types::{Address, Amount, NodeId, Price, TaskId};

/// The terms of a stack's or dispute's claim. Copies: what runs is judged by what it was made under.
pub(crate) struct Terms {
    /// The stack or dispute; seeds and commitments are bound to it.
    pub(crate) target: Address,
    /// Buyer of the units: gets bonds and compensation.
    pub(crate) owner: Address,
    pub(crate) node: NodeId,
    /// Where the node is credited.
    pub(crate) payout: Address,
    pub(crate) task: TaskId,
    pub(crate) exact: bool,
    pub(crate) price: Price,
    /// Whose verifiers are drawn, their lists laid end to end.
    pub(crate) echelons: Vec<u64>,
    pub(crate) params: Params,
}

impl Terms {
    pub(crate) fn of_channel(stack: &Stack, channel: &Channel) -> Self {
        Self {
            target: stack.id,
            owner: stack.owner,
            node: channel.node,
            payout: channel.payout,
            task: stack.task,
            exact: stack.exact,
            price: channel.price,
            echelons: stack.echelons.clone(),
            params: stack.params.clone(),
        }
    }

    pub(crate) fn of_dispute(dispute: &Dispute) -> Self {
        Self {
            target: dispute.id,
            owner: dispute.opener,
            node: dispute.node,
            payout: dispute.payout,
            task: dispute.task,
            exact: dispute.exact,
            price: dispute.price,
            echelons: dispute.echelons.clone(),
            params: dispute.params.clone(),
        }
    }
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes on.
    #[default]
    None,
    /// Its money is escrow again.
    Void,
    /// The same, and the node served its last.
    Convicted,
}

/// What a step leaves to the object that holds the claim: its balance and dues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) credits: Vec<Due>,
    /// What the database owes others because of it.
    pub(crate) to_pool: Amount,
    /// Leaves as the caller's coin.
    pub(crate) to_caller: Amount,
    pub(crate) ending: Ending,
}

impl Step {
    pub(crate) fn credit(&mut self, to: Address, amount: Amount) {
        self.credits.push(Due { to, amount });
    }
}

/// What is left of a claim's amount and surcharge.
pub(crate) fn money(claim: &Claim) -> Result<Amount> {
    Ok(claim.amount.add(claim.surcharge)?.sub(claim.spent)?)
}

/// What a claim keeps from being refunded: its money and a challenge's bond.
pub fn held(claim: &Claim) -> Result<Amount> {
    Ok(money(claim)?.add(claim.bond)?)
}

/// What audits took of the amount, the surcharge being used up first.
pub(crate) fn overspent(claim: &Claim) -> Amount {
    claim.spent.saturating_sub(claim.surcharge)
}

/// Takes up to `wanted` out of the claim's money, then out of the bond; returns what there was.
pub(crate) fn take(claim: &mut Claim, wanted: Amount) -> Result<Amount> {
    let from_money = wanted.min(money(claim)?);
    let from_bond = wanted.sub(from_money)?.min(claim.bond);
    claim.spent = claim.spent.add(from_money)?;
    claim.bond = claim.bond.sub(from_bond)?;
    Ok(from_money.add(from_bond)?)
}
