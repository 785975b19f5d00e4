//! Disputes as their events describe them.

use super::super::Audit;
use super::{Books, ClaimBook, cost, hold, same, take, violation};
use atoma_types::onchain::Event;
use atoma_types::onchain::event::{
    DisputeAnswered, DisputeEnded, DisputeOpened, DisputeRefused, DisputeWithdrawn,
};
use atoma_types::{Address, NodeId};
use std::collections::BTreeMap;

/// A dispute that was not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeBook {
    pub stack: Address,
    pub node: NodeId,
    pub payout: Address,
    pub opener: Address,
    pub creator: Address,
    pub creator_fee_permille: u64,
    pub max_units: u64,
    /// The opener's.
    pub bond: u128,
    /// What an answer at level 2 moved here from the stack.
    pub moved: u128,
    pub claim: Option<ClaimBook>,
    pub balance: u128,
    pub dues: BTreeMap<Address, u128>,
}

impl DisputeBook {
    /// What is not anybody's due yet.
    pub fn escrow(&self) -> u128 {
        self.balance - self.dues.values().sum::<u128>()
    }

    pub(super) fn credit(&mut self, to: Address, amount: u64) -> Audit {
        if amount > 0 {
            *self.dues.entry(to).or_default() += u128::from(amount);
        }
        self.covered()
    }

    /// What is credited is there.
    pub(super) fn covered(&self) -> Audit {
        let credited: u128 = self.dues.values().sum();
        hold("the balance covers what is credited", self.balance >= credited, || format!("{self:?}"))
    }
}

impl Books {
    pub fn dispute(&self, dispute: Address) -> Audit<&DisputeBook> {
        self.disputes.get(&dispute).ok_or_else(|| violation("the dispute is known", dispute))
    }

    fn dispute_mut(&mut self, dispute: Address) -> Audit<&mut DisputeBook> {
        self.disputes.get_mut(&dispute).ok_or_else(|| violation("the dispute is known", dispute))
    }

    /// Returns whether the event was one of these.
    pub(super) fn apply_disputes(&mut self, event: &Event) -> Audit<bool> {
        match event {
            Event::DisputeOpened(event) => self.dispute_opened(event)?,
            Event::DisputeAnswered(event) => self.dispute_answered(event)?,
            Event::DisputeRefused(DisputeRefused { fee, .. }) => self.to_treasury += u128::from(fee.0),
            Event::DisputeEnded(event) => self.dispute_ended(event)?,
            Event::DisputeWithdrawn(event) => self.dispute_withdrawn(event)?,
            Event::DisputeDeleted(event) => {
                let dispute = self.dispute(event.dispute)?;
                same("only an empty dispute is deleted", (0, 0), (dispute.balance, dispute.bond))?;
                same("a deleted dispute has no claim", &dispute.claim, &None)?;
                self.disputes.remove(&event.dispute);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn dispute_opened(&mut self, event: &DisputeOpened) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        same("a dispute is the owner's", stack.owner, event.opener)?;
        stack.reserves.insert(event.dispute, (event.node, event.max_units.0));
        let reserved = stack.reserved(event.node);
        let channel = stack.channel_mut(event.node)?;
        let fits = channel.used() + reserved <= channel.granted;
        hold("a dispute keeps what is free", fits, || format!("{event:?}"))?;
        let payout = channel.payout;
        let bond = u128::from(event.bond.0);
        let book = DisputeBook {
            stack: event.stack,
            node: event.node,
            payout,
            opener: event.opener,
            creator: stack.creator,
            creator_fee_permille: stack.creator_fee_permille,
            max_units: event.max_units.0,
            bond,
            moved: 0,
            claim: None,
            balance: bond,
            dues: BTreeMap::new(),
        };
        let is_new = self.disputes.insert(event.dispute, book).is_none();
        hold("a dispute is opened once", is_new, || format!("{event:?}"))
    }

    fn dispute_answered(&mut self, event: &DisputeAnswered) -> Audit {
        let dispute = self.dispute(event.dispute)?.clone();
        hold("an answer stays within the request", event.units.0 <= dispute.max_units, || {
            format!("{event:?}")
        })?;
        let payout = dispute.payout;
        let stack = self.stack_mut(dispute.stack)?;
        let reserved = stack.reserves.get(&event.dispute).map_or(0, |reserve| reserve.1);
        let channel = stack.channel_mut(dispute.node)?;
        let before = cost(channel.disputed, channel.price);
        channel.disputed += event.units.0.min(reserved);
        let amount = u128::from(event.amount.0);
        same("an answer's price", cost(channel.disputed, channel.price) - before, amount)?;
        if stack.level == 2 {
            take("the stack pays for the answer", &mut stack.balance, amount)?;
            stack.covered()?;
            let dispute = self.dispute_mut(event.dispute)?;
            dispute.moved = amount;
            dispute.balance += amount;
            return Ok(());
        }
        let fee = amount * u128::from(dispute.creator_fee_permille) / 1_000;
        same("the creator's fee", fee, event.creator_fee.0.into())?;
        same("the node's pay", amount - fee, event.paid.0.into())?;
        stack.credit(payout, event.paid.0);
        stack.credit(dispute.creator, event.creator_fee.0);
        stack.covered()?;
        self.paid += amount - fee;
        self.creator_fees += fee;
        Ok(())
    }

    /// The bond goes where the event says, whole.
    fn dispute_ended(&mut self, event: &DisputeEnded) -> Audit {
        let dispute = self.dispute_mut(event.dispute)?;
        let payout = dispute.payout;
        let (to_opener, to_node) = (event.to_opener.0, event.to_node.0);
        same("a bond ends whole", dispute.bond, u128::from(to_opener) + u128::from(to_node))?;
        dispute.bond = 0;
        dispute.credit(dispute.opener, to_opener)?;
        dispute.credit(payout, to_node)?;
        let stack = dispute.stack;
        let was_kept = self.stack_mut(stack)?.reserves.remove(&event.dispute).is_some();
        hold("a dispute ends once", was_kept, || format!("{event:?}"))?;
        self.refunded += u128::from(to_opener);
        self.paid += u128::from(to_node);
        Ok(())
    }

    fn dispute_withdrawn(&mut self, event: &DisputeWithdrawn) -> Audit {
        let dispute = self.dispute_mut(event.dispute)?;
        let due = dispute.dues.remove(&event.to).unwrap_or_default();
        same("a withdrawal is what is due", due, event.amount.0.into())?;
        take("a dispute pays from its own balance", &mut dispute.balance, due)?;
        self.paid_out += due;
        Ok(())
    }
}
