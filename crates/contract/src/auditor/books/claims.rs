//! Claims as their events describe them, in channels and in disputes.

use super::super::Audit;
use super::{Books, DisputeBook, StackBook, cost, hold, same, take, violation};
use atoma_types::onchain::Event;
use atoma_types::onchain::event::{
    AuditOpened, BondReleased, ClaimMade, ClaimPaid, ClaimQueued, VerifierPaid,
};
use atoma_types::{Address, Hash32, NodeId};

/// A claim that is neither paid nor void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimBook {
    pub from_units: u64,
    pub to_units: u64,
    pub count: u64,
    pub root: Hash32,
    pub amount: u128,
    pub surcharge: u128,
    /// What audits took of both.
    pub spent: u128,
    /// Of a challenge that runs.
    pub bond: u128,
}

impl ClaimBook {
    /// What is left of amount and surcharge.
    pub fn money(&self) -> u128 {
        self.amount + self.surcharge - self.spent
    }

    pub fn held(&self) -> u128 {
        self.money() + self.bond
    }

    fn made(event: &ClaimMade) -> Self {
        Self {
            from_units: event.from_units.0,
            to_units: event.to_units.0,
            count: event.count,
            root: event.root,
            amount: event.amount.0.into(),
            surcharge: event.surcharge.0.into(),
            spent: 0,
            bond: 0,
        }
    }

    /// An audit takes money first, then the bond.
    fn spend(&mut self, amount: u64) -> Audit {
        let amount = u128::from(amount);
        let from_money = amount.min(self.money());
        self.spent += from_money;
        take("a claim has what its audit costs", &mut self.bond, amount - from_money)
    }
}

/// Who holds a claim.
enum Holder<'a> {
    Stack(&'a mut StackBook),
    Dispute(&'a mut DisputeBook),
}

impl Holder<'_> {
    fn claim(&mut self, node: NodeId) -> Audit<&mut ClaimBook> {
        let claim = match self {
            Self::Stack(stack) => stack.claims.get_mut(&node),
            Self::Dispute(dispute) => dispute.claim.as_mut(),
        };
        claim.ok_or_else(|| violation("the claim is known", node))
    }

    /// The claim has ended: in a channel its units are settled.
    fn end_claim(&mut self, node: NodeId) -> Audit<ClaimBook> {
        let claim = self.claim(node)?.clone();
        match self {
            Self::Stack(stack) => {
                stack.claims.remove(&node);
                let queued = stack.queued.get(&node).copied().unwrap_or(0);
                let channel = stack.channel_mut(node)?;
                same("claims follow on", channel.units, claim.from_units)?;
                (channel.units, channel.count, channel.root) = (claim.to_units, claim.count, claim.root);
                channel.claimed = queued;
            }
            Self::Dispute(dispute) => dispute.claim = None,
        }
        same("a claim's bond is released before it ends", claim.bond, 0)?;
        Ok(claim)
    }

    fn balance(&mut self) -> &mut u128 {
        match self {
            Self::Stack(stack) => &mut stack.balance,
            Self::Dispute(dispute) => &mut dispute.balance,
        }
    }

    fn credit(&mut self, to: Address, amount: u64) -> Audit {
        match self {
            Self::Stack(stack) => {
                stack.credit(to, amount);
                stack.covered()
            }
            Self::Dispute(dispute) => dispute.credit(to, amount),
        }
    }

    /// Where the node is credited.
    fn payout(&self, node: NodeId) -> Address {
        match self {
            Self::Stack(stack) => stack.channels.get(&node).map_or(Address::ZERO, |channel| channel.payout),
            Self::Dispute(dispute) => dispute.payout,
        }
    }

    fn owner(&self) -> Address {
        match self {
            Self::Stack(stack) => stack.owner,
            Self::Dispute(dispute) => dispute.opener,
        }
    }

    fn creator(&self) -> (Address, u128) {
        match self {
            Self::Stack(stack) => (stack.creator, stack.creator_fee_permille.into()),
            Self::Dispute(dispute) => (dispute.creator, dispute.creator_fee_permille.into()),
        }
    }
}

impl StackBook {
    /// What queued vouchers keep: their cost, and the surcharge on all of them.
    pub(super) fn queued_money(&self) -> u128 {
        let (mut money, mut units) = (0, u128::from(self.claimed_units));
        for (node, queued) in &self.queued {
            let Some(channel) = self.channels.get(node) else { continue };
            let from = self.claims.get(node).map_or(channel.units, |claim| claim.to_units);
            money += cost(*queued, channel.price) - cost(from, channel.price);
            units += u128::from(queued - from);
        }
        if self.queued.is_empty() { money } else { money + self.surcharge_at(units) }
    }
}

impl Books {
    fn holder(&mut self, target: Address) -> Audit<Holder<'_>> {
        if let Some(stack) = self.stacks.get_mut(&target) {
            return Ok(Holder::Stack(stack));
        }
        let dispute =
            self.disputes.get_mut(&target).ok_or_else(|| violation("the target is known", target))?;
        Ok(Holder::Dispute(dispute))
    }

    /// Returns whether the event was one of these.
    pub(super) fn apply_claims(&mut self, event: &Event) -> Audit<bool> {
        match event {
            Event::ClaimQueued(event) => self.claim_queued(event)?,
            Event::ClaimMade(event) => self.claim_made(event)?,
            Event::QueueVoided(event) => {
                let stack = self.stack_mut(event.target)?;
                let was_queued = stack.queued.remove(&event.node).is_some();
                hold("what is void was queued", was_queued, || format!("{event:?}"))?;
                let claimed = stack.claims.get(&event.node).map_or(0, |claim| claim.to_units);
                stack.channel_mut(event.node)?.claimed = claimed;
            }
            Event::AuditOpened(event) => self.audit_opened(event)?,
            Event::VerifierPaid(event) => self.verifier_paid(event)?,
            Event::ClaimChallenged(event) => {
                let mut holder = self.holder(event.target)?;
                *holder.balance() += u128::from(event.bond.0);
                let claim = holder.claim(event.node)?;
                same("one challenge at a time", claim.bond, 0)?;
                claim.bond = event.bond.0.into();
            }
            Event::BondReleased(event) => self.bond_released(event)?,
            Event::ClaimPaid(event) => self.claim_paid(event)?,
            Event::ClaimVoided(event) => {
                let mut holder = self.holder(event.target)?;
                let claim = holder.end_claim(event.node)?;
                same("what is left of a claim is void", claim.money(), event.amount.0.into())?;
                if let Holder::Dispute(dispute) = &mut holder {
                    dispute.credit(dispute.opener, event.amount.0)?;
                    self.refunded += u128::from(event.amount.0);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn claim_queued(&mut self, event: &ClaimQueued) -> Audit {
        let stack = self.stack_mut(event.target)?;
        let channel = stack.channel_mut(event.node)?;
        hold("a released channel settles nothing", !channel.released, || format!("{event:?}"))?;
        let is_more = event.units.0 > channel.units.max(channel.claimed);
        hold("a queue goes forward", is_more, || format!("{event:?}"))?;
        let is_granted = event.units.0 + channel.disputed <= channel.granted;
        hold("a settlement stays within the grant", is_granted, || format!("{event:?}"))?;
        channel.claimed = event.units.0;
        stack.queued.insert(event.node, event.units.0);
        Ok(())
    }

    fn claim_made(&mut self, event: &ClaimMade) -> Audit {
        let claim = ClaimBook::made(event);
        match self.holder(event.target)? {
            Holder::Stack(stack) => {
                same("what is claimed was queued", stack.queued.remove(&event.node), Some(claim.to_units))?;
                let channel = stack.channel_mut(event.node)?;
                same("claims follow on", channel.units, claim.from_units)?;
                let amount = cost(claim.to_units, channel.price) - cost(claim.from_units, channel.price);
                same("a claim's amount", amount, claim.amount)?;
                stack.claimed_units += claim.to_units - claim.from_units;
                let surcharge = stack.surcharge_at(stack.claimed_units.into());
                same("a claim's surcharge", surcharge, claim.surcharge)?;
                stack.surcharge_used += surcharge;
                let is_only = stack.claims.insert(event.node, claim).is_none();
                hold("one claim at a time", is_only, || format!("{event:?}"))
            }
            Holder::Dispute(dispute) => {
                take("an answer's fee comes from the bond", &mut dispute.bond, claim.surcharge)?;
                same("a claim's amount", dispute.moved, claim.amount)?;
                dispute.claim = Some(claim);
                dispute.covered()
            }
        }
    }

    fn audit_opened(&mut self, event: &AuditOpened) -> Audit {
        let fee = event.fee.0;
        let mut holder = self.holder(event.target)?;
        holder.claim(event.node)?.spend(fee)?;
        take("the fee is in the balance", holder.balance(), fee)?;
        self.audit_pay += u128::from(fee);
        self.paid_out += u128::from(fee);
        Ok(())
    }

    fn verifier_paid(&mut self, event: &VerifierPaid) -> Audit {
        same("a verifier is paid at its payout", self.node(event.verifier)?.payout, event.to)?;
        let mut holder = self.holder(event.target)?;
        holder.claim(event.node)?.spend(event.amount.0)?;
        take("a verifier's pay is in the balance", holder.balance(), event.amount.0)?;
        self.credit(event.to, event.amount.0);
        self.audit_pay += u128::from(event.amount.0);
        Ok(())
    }

    fn bond_released(&mut self, event: &BondReleased) -> Audit {
        let (returned, to_node) = (event.returned.0, event.to_node.0);
        let mut holder = self.holder(event.target)?;
        let (owner, payout) = (holder.owner(), holder.payout(event.node));
        let claim = holder.claim(event.node)?;
        same("a bond is released whole", claim.bond, u128::from(returned) + u128::from(to_node))?;
        claim.bond = 0;
        holder.credit(owner, returned)?;
        holder.credit(payout, to_node)?;
        self.refunded += u128::from(returned);
        self.paid += u128::from(to_node);
        Ok(())
    }

    fn claim_paid(&mut self, event: &ClaimPaid) -> Audit {
        let mut holder = self.holder(event.target)?;
        let payout = holder.payout(event.node);
        let claim = holder.end_claim(event.node)?;
        let (creator, permille) = holder.creator();
        let fee = match &holder {
            Holder::Stack(stack) => {
                let price = stack.channels.get(&event.node).map_or(0, |channel| channel.price);
                let share = |units| cost(units, price) * permille / 1_000;
                share(claim.to_units) - share(claim.from_units)
            }
            Holder::Dispute(_) => claim.amount * permille / 1_000,
        };
        let left = claim.amount - claim.spent.saturating_sub(claim.surcharge);
        same("the creator's fee", fee.min(left), event.creator_fee.0.into())?;
        let to_node = u128::from(event.paid.0);
        let surcharge = claim.surcharge.saturating_sub(claim.spent);
        match &mut holder {
            Holder::Stack(stack) => {
                same("the node's pay", left - fee.min(left), to_node)?;
                same("what is left of the surcharge", surcharge, event.treasury.0.into())?;
                stack.treasury_due += surcharge;
            }
            Holder::Dispute(_) => same("the node's pay", left - fee.min(left) + surcharge, to_node)?,
        }
        holder.credit(payout, event.paid.0)?;
        holder.credit(creator, event.creator_fee.0)?;
        self.paid += to_node;
        self.creator_fees += u128::from(event.creator_fee.0);
        Ok(())
    }
}
