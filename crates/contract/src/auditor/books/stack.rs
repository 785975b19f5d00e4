//! Stacks and their channels.

use super::super::Audit;
use super::{Books, ClaimBook, cost, hold, same, take, violation};
use atoma_types::onchain::Event;
use atoma_types::onchain::event::{
    ChannelOpened, ChannelReclaimed, Refunded, ReserveChanged, Settled, StackAcquired, StackToppedUp,
    Withdrawn,
};
use atoma_types::{Address, Hash32, NodeId};
use std::collections::BTreeMap;

/// A channel as its events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBook {
    pub payout: Address,
    pub price: u64,
    pub echelon: u64,
    pub granted: u64,
    pub nonce: u64,
    pub units: u64,
    pub count: u64,
    pub root: Hash32,
    /// Units up to which a claim or a queued voucher goes.
    pub claimed: u64,
    pub disputed: u64,
    pub closed_ms: u64,
    pub released: bool,
}

impl ChannelBook {
    /// What the settled units cost.
    pub fn cost(&self) -> u128 {
        cost(self.units, self.price)
    }

    pub fn used(&self) -> u64 {
        self.units.max(self.claimed) + self.disputed
    }

    fn new(payout: Address, price: u64, echelon: u64) -> Self {
        Self {
            payout,
            price,
            echelon,
            granted: 0,
            nonce: 0,
            units: 0,
            count: 0,
            root: Hash32::of(&[]),
            claimed: 0,
            disputed: 0,
            closed_ms: 0,
            released: false,
        }
    }
}

/// A stack as its events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackBook {
    pub owner: Address,
    pub creator: Address,
    pub creator_fee_permille: u64,
    pub level: u8,
    pub units: u64,
    pub max_price: u64,
    pub surcharge: u128,
    pub surcharge_used: u128,
    pub balance: u128,
    pub dues: BTreeMap<Address, u128>,
    pub treasury_due: u128,
    pub channels: BTreeMap<NodeId, ChannelBook>,
    /// Units kept for disputes.
    pub reserves: BTreeMap<Address, (NodeId, u64)>,
    /// By the channel's node.
    pub claims: BTreeMap<NodeId, ClaimBook>,
    /// Units of queued vouchers.
    pub queued: BTreeMap<NodeId, u64>,
    /// Units that became claims.
    pub claimed_units: u64,
    pub refunded: bool,
}

impl StackBook {
    pub fn granted(&self) -> u128 {
        self.channels.values().map(|channel| u128::from(channel.granted)).sum()
    }

    pub fn settled(&self) -> u128 {
        self.channels.values().map(|channel| u128::from(channel.units)).sum()
    }

    /// What is nobody's yet but the owner's, claims included.
    pub fn escrow(&self) -> u128 {
        self.balance - self.credited()
    }

    pub fn credited(&self) -> u128 {
        self.dues.values().sum::<u128>() + self.treasury_due
    }

    /// What refunds leave: claims, queued vouchers, and units reserved, each reserve with one to spare.
    pub fn committed(&self) -> u128 {
        let reserve = |(node, units): &(NodeId, u64)| {
            cost(*units, self.channels.get(node).map_or(0, |channel| channel.price)) + 1
        };
        let claims: u128 = self.claims.values().map(ClaimBook::held).sum();
        claims + self.queued_money() + self.reserves.values().map(reserve).sum::<u128>()
    }

    pub fn reserved(&self, node: NodeId) -> u64 {
        self.reserves.values().filter(|reserve| reserve.0 == node).map(|reserve| reserve.1).sum()
    }

    pub(super) fn credit(&mut self, to: Address, amount: u64) {
        if amount > 0 {
            *self.dues.entry(to).or_default() += u128::from(amount);
        }
    }

    pub(super) fn pay_out(&mut self, amount: u64) -> Audit {
        take("a stack pays from its own balance", &mut self.balance, amount)
    }

    pub(super) fn channel_mut(&mut self, node: NodeId) -> Audit<&mut ChannelBook> {
        self.channels.get_mut(&node).ok_or_else(|| violation("the channel is known", node))
    }

    /// What is credited is there.
    pub(super) fn covered(&self) -> Audit {
        hold("the balance covers what is credited", self.balance >= self.credited(), || format!("{self:?}"))
    }
}

impl Books {
    /// Returns whether the event was one of these.
    pub(super) fn apply_stack(&mut self, event: &Event) -> Audit<bool> {
        match event {
            Event::StackAcquired(event) => self.acquired(event)?,
            Event::StackToppedUp(event) => self.topped_up(event)?,
            Event::ChannelOpened(event) => self.opened(event)?,
            Event::ChannelRevoked(event) => {
                let stack = self.stack_mut(event.stack)?;
                let channel =
                    stack.channels.entry(event.node).or_insert_with(|| ChannelBook::new(Address::ZERO, 0, 0));
                same("a channel is closed once", channel.closed_ms, 0)?;
                channel.closed_ms = event.at_ms;
            }
            Event::ChannelReleased(event) => {
                let channel = self.stack_mut(event.stack)?.channel_mut(event.node)?;
                hold("a channel is released once", !channel.released, || format!("{event:?}"))?;
                channel.released = true;
                channel.closed_ms = if channel.closed_ms == 0 { event.at_ms } else { channel.closed_ms };
            }
            Event::ChannelReclaimed(event) => self.reclaimed(event)?,
            Event::Settled(event) => self.settled(event)?,
            Event::ReserveChanged(event) => self.reserve_changed(event)?,
            Event::Refunded(event) => self.refunded(event)?,
            Event::Withdrawn(event) => self.withdrawn(event)?,
            Event::Swept(event) => {
                let stack = self.stack_mut(event.stack)?;
                same("a sweep takes what is due", stack.treasury_due, event.amount.0.into())?;
                stack.treasury_due = 0;
                stack.pay_out(event.amount.0)?;
                self.treasury += u128::from(event.amount.0);
            }
            Event::StackDeleted(event) => {
                let stack = self.stack(event.stack)?;
                same("only an empty stack is deleted", (0, 0), (stack.balance, stack.credited()))?;
                same("nothing refers to a deleted stack", (0, 0), (stack.committed(), stack.reserves.len()))?;
                self.stacks.remove(&event.stack);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn acquired(&mut self, event: &StackAcquired) -> Audit {
        let task = self.tasks.get(&event.task).ok_or_else(|| violation("the task is known", event.task))?;
        let (creator, creator_fee_permille) =
            *self.creators.get(&task.model).ok_or_else(|| violation("the model is known", task.model))?;
        let balance = u128::from(event.balance.0);
        let escrowed = cost(event.units.0, event.max_price.0);
        let surcharge = escrowed * u128::from(task.surcharge_permille) / 1_000;
        same("the surcharge escrowed", surcharge, event.surcharge.0.into())?;
        let covers = balance >= escrowed + surcharge;
        hold("the escrow covers every unit at the highest price", covers, || format!("{event:?}"))?;
        same("a stack's level is its task's", task.level, event.level)?;
        let book = StackBook {
            owner: event.owner,
            creator,
            creator_fee_permille,
            level: event.level,
            units: event.units.0,
            max_price: event.max_price.0,
            surcharge,
            surcharge_used: 0,
            balance,
            dues: BTreeMap::new(),
            treasury_due: 0,
            channels: BTreeMap::new(),
            reserves: BTreeMap::new(),
            claims: BTreeMap::new(),
            queued: BTreeMap::new(),
            claimed_units: 0,
            refunded: false,
        };
        let is_new = self.stacks.insert(event.stack, book).is_none();
        hold("a stack is bought once", is_new, || format!("{event:?}"))
    }

    fn topped_up(&mut self, event: &StackToppedUp) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        hold("no top-up after a refund", !stack.refunded, || format!("{event:?}"))?;
        let before = cost(stack.units, stack.max_price);
        stack.units += event.units.0;
        let more = cost(stack.units, stack.max_price) - before;
        same("a top-up pays what it adds", more + u128::from(event.surcharge.0), event.amount.0.into())?;
        stack.surcharge += u128::from(event.surcharge.0);
        stack.balance += u128::from(event.amount.0);
        Ok(())
    }

    fn opened(&mut self, event: &ChannelOpened) -> Audit {
        let payout = self.node(event.node)?.payout;
        let stack = self.stack_mut(event.stack)?;
        hold("no price above the highest", event.price.0 <= stack.max_price, || format!("{event:?}"))?;
        let is_new = !stack.channels.contains_key(&event.node);
        let channel = stack.channels.entry(event.node).or_insert_with(|| {
            let mut channel = ChannelBook::new(payout, event.price.0, event.echelon);
            channel.nonce = event.nonce;
            channel
        });
        same("a channel's price never changes", channel.price, event.price.0)?;
        same("a channel's echelon never changes", channel.echelon, event.echelon)?;
        same("a closed channel stays so", channel.closed_ms, 0)?;
        hold("grants only grow", event.granted.0 >= channel.granted, || format!("{event:?}"))?;
        hold("nonces rise", is_new || event.nonce > channel.nonce, || format!("{event:?}"))?;
        channel.granted = event.granted.0;
        channel.nonce = event.nonce;
        let payout = channel.payout;
        stack.credit(payout, event.open_fee.0);
        hold("grants stay within the units", stack.granted() <= stack.units.into(), || format!("{event:?}"))?;
        stack.covered()?;
        self.paid += u128::from(event.open_fee.0);
        Ok(())
    }

    fn reclaimed(&mut self, event: &ChannelReclaimed) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        same("nothing reserved is reclaimed", stack.reserved(event.node), 0)?;
        let channel = stack.channel_mut(event.node)?;
        let free = channel.granted.checked_sub(channel.used());
        same("what is not used is reclaimed", free, Some(event.returned.0))?;
        channel.granted = channel.used();
        Ok(())
    }

    fn settled(&mut self, event: &Settled) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        let creator = stack.creator;
        let permille = u128::from(stack.creator_fee_permille);
        let channel = stack.channel_mut(event.node)?;
        hold("a released channel settles nothing", !channel.released, || format!("{event:?}"))?;
        let never_back = event.count >= channel.count && event.units.0 >= channel.units;
        let is_newer = never_back && (event.count > channel.count || event.units.0 > channel.units);
        hold("a settlement goes forward", is_newer, || format!("{event:?}"))?;
        let is_granted = event.units.0 + channel.disputed <= channel.granted;
        hold("a settlement stays within the grant", is_granted, || format!("{event:?}"))?;
        let payout = channel.payout;
        let before = channel.cost();
        let has_more = event.units.0 > channel.units;
        channel.units = event.units.0;
        channel.count = event.count;
        channel.root = event.root;
        let after = channel.cost();
        let fee = after * permille / 1_000 - before * permille / 1_000;
        same("the creator's fee", fee, event.creator_fee.0.into())?;
        same("the node's pay", after - before - fee, event.paid.0.into())?;
        let surcharge = if has_more { stack.surcharge_ahead() } else { 0 };
        same("the surcharge earned", surcharge, event.surcharge.0.into())?;
        stack.surcharge_used += surcharge;
        stack.credit(payout, event.paid.0);
        stack.credit(creator, event.creator_fee.0);
        stack.treasury_due += surcharge;
        stack.covered()?;
        self.paid += u128::from(event.paid.0);
        self.creator_fees += u128::from(event.creator_fee.0);
        Ok(())
    }

    fn reserve_changed(&mut self, event: &ReserveChanged) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        let reserve = stack.reserves.get_mut(&event.dispute);
        let reserve = reserve.ok_or_else(|| violation("the reserve is known", event))?;
        hold("a reserve only shrinks", event.units.0 < reserve.1, || format!("{event:?}"))?;
        same("a reserve's node", reserve.0, event.node)?;
        reserve.1 = event.units.0;
        Ok(())
    }

    fn refunded(&mut self, event: &Refunded) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        same("a refund is the owner's", stack.owner, event.owner)?;
        let free = stack.escrow().saturating_sub(stack.committed());
        same("a refund is all that is not credited or kept", free, event.amount.0.into())?;
        stack.refunded = true;
        if event.credited {
            stack.credit(event.owner, event.amount.0);
            stack.covered()?;
        } else {
            stack.pay_out(event.amount.0)?;
            self.paid_out += u128::from(event.amount.0);
        }
        self.refunded += u128::from(event.amount.0);
        Ok(())
    }

    fn withdrawn(&mut self, event: &Withdrawn) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        let due = stack.dues.remove(&event.to).unwrap_or_default();
        same("a withdrawal is what is due", due, event.amount.0.into())?;
        stack.pay_out(event.amount.0)?;
        self.paid_out += u128::from(event.amount.0);
        Ok(())
    }
}

impl StackBook {
    /// What the settled units earned of the surcharge beyond what was used. Below level 2.
    fn surcharge_ahead(&self) -> u128 {
        self.surcharge_at(self.settled())
    }

    /// What `units` counted in all earn of the surcharge beyond what was used.
    pub(super) fn surcharge_at(&self, units: u128) -> u128 {
        let earned = self.surcharge * units / u128::from(self.units);
        earned.saturating_sub(self.surcharge_used)
    }
}
