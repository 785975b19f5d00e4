//! Every balance of the market, rebuilt from its events.

use super::{Audit, Violation, hold, same};
use atoma_types::onchain::Event;
use atoma_types::onchain::event::{
    ChannelOpened, CollateralWithdrawn, NodeRegistered, Refunded, Settled, StackAcquired, Withdrawn,
};
use atoma_types::{Address, Hash32, ModelId, NodeId, TaskId};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBook {
    pub payout: Address,
    pub collateral: u128,
    pub disabled_ms: u64,
}

/// A channel as its events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBook {
    pub price: u64,
    pub granted: u64,
    pub nonce: u64,
    pub units: u64,
    pub count: u64,
    pub root: Hash32,
    pub released: bool,
}

impl ChannelBook {
    /// What the settled units cost.
    pub fn cost(&self) -> u128 {
        cost(self.units, self.price)
    }
}

/// A stack as its events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackBook {
    pub owner: Address,
    pub creator: Address,
    pub creator_fee_permille: u64,
    pub units: u64,
    pub max_price: u64,
    pub balance: u128,
    pub dues: BTreeMap<Address, u128>,
    pub treasury_due: u128,
    pub channels: BTreeMap<NodeId, ChannelBook>,
}

impl StackBook {
    pub fn granted(&self) -> u128 {
        self.channels.values().map(|channel| u128::from(channel.granted)).sum()
    }

    pub fn settled(&self) -> u128 {
        self.channels.values().map(|channel| u128::from(channel.units)).sum()
    }

    /// What is nobody's yet but the owner's.
    pub fn escrow(&self) -> u128 {
        self.balance - self.credited()
    }

    fn credited(&self) -> u128 {
        self.dues.values().sum::<u128>() + self.treasury_due
    }

    fn credit(&mut self, to: Address, amount: u64) {
        if amount > 0 {
            *self.dues.entry(to).or_default() += u128::from(amount);
        }
    }

    fn pay_out(&mut self, amount: u64) -> Audit {
        let rest = self.balance.checked_sub(amount.into());
        self.balance = rest.ok_or_else(|| violation("a stack pays from its own balance", amount))?;
        Ok(())
    }
}

/// All of it. Deleted stacks are gone from `stacks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub nodes: BTreeMap<NodeId, NodeBook>,
    pub stacks: BTreeMap<Address, StackBook>,
    pub treasury: u128,
    /// Credited to nodes so far.
    pub paid: u128,
    /// Credited to creators so far.
    pub creator_fees: u128,
    /// Paid or credited back to stacks' owners so far.
    pub refunded: u128,
    pub collateral_returned: u128,
    /// Everything that left as coins so far, change apart.
    pub paid_out: u128,
    creators: BTreeMap<ModelId, (Address, u64)>,
    models: BTreeMap<TaskId, ModelId>,
}

fn cost(units: u64, price: u64) -> u128 {
    u128::from(units) * u128::from(price) / 1_000_000
}

fn violation(rule: &'static str, detail: impl std::fmt::Debug) -> Violation {
    Violation { rule, detail: format!("{detail:?}") }
}

impl Books {
    /// Rebuilds everything from all events, in order.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Audit<Self> {
        let mut books = Self::default();
        for event in events {
            books.apply(event)?;
        }
        Ok(books)
    }

    /// Every coin that is neither in a wallet nor on its way there.
    pub fn inside(&self) -> u128 {
        let stacks: u128 = self.stacks.values().map(|stack| stack.balance).sum();
        let collateral: u128 = self.nodes.values().map(|node| node.collateral).sum();
        stacks + collateral + self.treasury
    }

    pub fn node(&self, node: NodeId) -> Audit<&NodeBook> {
        self.nodes.get(&node).ok_or_else(|| violation("the node is known", node))
    }

    pub fn stack(&self, stack: Address) -> Audit<&StackBook> {
        self.stacks.get(&stack).ok_or_else(|| violation("the stack is known", stack))
    }

    fn stack_mut(&mut self, stack: Address) -> Audit<&mut StackBook> {
        self.stacks.get_mut(&stack).ok_or_else(|| violation("the stack is known", stack))
    }

    fn node_mut(&mut self, node: NodeId) -> Audit<&mut NodeBook> {
        self.nodes.get_mut(&node).ok_or_else(|| violation("the node is known", node))
    }

    /// Books one event; refuses it if it cannot follow from those before.
    pub fn apply(&mut self, event: &Event) -> Audit {
        match event {
            Event::NodeRegistered(event) => self.registered(event),
            Event::NodeDisabled(event) => {
                let node = self.node_mut(event.node)?;
                same("a node is disabled once", node.disabled_ms, 0)?;
                node.disabled_ms = event.at_ms;
                Ok(())
            }
            Event::CollateralWithdrawn(event) => self.collateral_withdrawn(event),
            Event::ModelAdded(event) => {
                let is_share = event.creator_fee_permille <= 1_000;
                hold("a creator's fee is a share", is_share, || format!("{event:?}"))?;
                self.creators.insert(event.model, (event.creator, event.creator_fee_permille));
                Ok(())
            }
            Event::TaskCreated(event) => {
                self.models.insert(event.task, event.model);
                Ok(())
            }
            Event::NodeEndpointChanged(_) | Event::Subscribed(_) | Event::CloseRequested(_) => Ok(()),
            Event::StackAcquired(event) => self.acquired(event),
            Event::ChannelOpened(event) => self.opened(event),
            Event::Settled(event) => self.settled(event),
            Event::ChannelReleased(event) => {
                let stack = self.stack_mut(event.stack)?;
                let channel = channel_mut(stack, event.node)?;
                let free = channel.granted - channel.units;
                same("a release returns what is not settled", free, event.returned.0)?;
                hold("a channel is released once", !channel.released, || format!("{event:?}"))?;
                channel.granted = channel.units;
                channel.released = true;
                Ok(())
            }
            Event::Refunded(event) => self.refunded(event),
            Event::Withdrawn(event) => self.withdrawn(event),
            Event::Swept(event) => {
                let stack = self.stack_mut(event.stack)?;
                same("a sweep takes what is due", stack.treasury_due, event.amount.0.into())?;
                stack.treasury_due = 0;
                stack.pay_out(event.amount.0)?;
                self.treasury += u128::from(event.amount.0);
                Ok(())
            }
            Event::StackDeleted(event) => {
                let stack = self.stack(event.stack)?;
                same("only an empty stack is deleted", (0, 0), (stack.balance, stack.credited()))?;
                self.stacks.remove(&event.stack);
                Ok(())
            }
        }
    }

    fn registered(&mut self, event: &NodeRegistered) -> Audit {
        let collateral = u128::from(event.collateral.0);
        let book = NodeBook { payout: event.payout, collateral, disabled_ms: 0 };
        let is_new = self.nodes.insert(event.node, book).is_none();
        hold("a node registers once", is_new, || format!("{event:?}"))?;
        self.treasury += u128::from(event.fee.0);
        Ok(())
    }

    fn collateral_withdrawn(&mut self, event: &CollateralWithdrawn) -> Audit {
        let node = self.node_mut(event.node)?;
        hold("collateral leaves disabled nodes only", node.disabled_ms > 0, || format!("{event:?}"))?;
        same("collateral leaves whole", node.collateral, event.amount.0.into())?;
        node.collateral = 0;
        self.collateral_returned += u128::from(event.amount.0);
        self.paid_out += u128::from(event.amount.0);
        Ok(())
    }

    fn acquired(&mut self, event: &StackAcquired) -> Audit {
        let model = self.models.get(&event.task).ok_or_else(|| violation("the task is known", event.task))?;
        let (creator, creator_fee_permille) =
            *self.creators.get(model).ok_or_else(|| violation("the model is known", model))?;
        let balance = u128::from(event.balance.0);
        let covers = balance >= cost(event.units.0, event.max_price.0);
        hold("the escrow covers every unit at the highest price", covers, || format!("{event:?}"))?;
        let book = StackBook {
            owner: event.owner,
            creator,
            creator_fee_permille,
            units: event.units.0,
            max_price: event.max_price.0,
            balance,
            dues: BTreeMap::new(),
            treasury_due: 0,
            channels: BTreeMap::new(),
        };
        let is_new = self.stacks.insert(event.stack, book).is_none();
        hold("a stack is bought once", is_new, || format!("{event:?}"))
    }

    fn opened(&mut self, event: &ChannelOpened) -> Audit {
        let payout = self.node(event.node)?.payout;
        let stack = self.stack_mut(event.stack)?;
        hold("no price above the highest", event.price.0 <= stack.max_price, || format!("{event:?}"))?;
        let channel = stack.channels.entry(event.node).or_insert_with(|| ChannelBook {
            price: event.price.0,
            granted: 0,
            nonce: 0,
            units: 0,
            count: 0,
            root: Hash32::of(&[]),
            released: false,
        });
        let is_new = channel.granted == 0 && !channel.released;
        same("a channel's price never changes", channel.price, event.price.0)?;
        hold("a released channel stays so", !channel.released, || format!("{event:?}"))?;
        hold("grants only grow", event.granted.0 >= channel.granted, || format!("{event:?}"))?;
        hold("nonces rise", is_new || event.nonce > channel.nonce, || format!("{event:?}"))?;
        channel.granted = event.granted.0;
        channel.nonce = event.nonce;
        stack.credit(payout, event.open_fee.0);
        hold("grants stay within the units", stack.granted() <= stack.units.into(), || format!("{event:?}"))?;
        covered(stack)?;
        self.paid += u128::from(event.open_fee.0);
        Ok(())
    }

    fn settled(&mut self, event: &Settled) -> Audit {
        let payout = self.node(event.node)?.payout;
        let stack = self.stack_mut(event.stack)?;
        let creator = stack.creator;
        let permille = u128::from(stack.creator_fee_permille);
        let channel = channel_mut(stack, event.node)?;
        let never_back = event.count >= channel.count && event.units.0 >= channel.units;
        let is_newer = never_back && (event.count > channel.count || event.units.0 > channel.units);
        hold("a settlement goes forward", is_newer, || format!("{event:?}"))?;
        hold("a settlement stays within the grant", event.units.0 <= channel.granted, || {
            format!("{event:?}")
        })?;
        let before = channel.cost();
        channel.units = event.units.0;
        channel.count = event.count;
        channel.root = event.root;
        let after = channel.cost();
        let fee = after * permille / 1_000 - before * permille / 1_000;
        same("the creator's fee", fee, event.creator_fee.0.into())?;
        same("the node's pay", after - before - fee, event.paid.0.into())?;
        stack.credit(payout, event.paid.0);
        stack.credit(creator, event.creator_fee.0);
        stack.treasury_due += u128::from(event.surcharge.0);
        covered(stack)?;
        self.paid += u128::from(event.paid.0);
        self.creator_fees += u128::from(event.creator_fee.0);
        Ok(())
    }

    fn refunded(&mut self, event: &Refunded) -> Audit {
        let stack = self.stack_mut(event.stack)?;
        same("a refund is the owner's", stack.owner, event.owner)?;
        let free = stack.escrow();
        same("a refund is all that is not credited", free, event.amount.0.into())?;
        if event.credited {
            stack.credit(event.owner, event.amount.0);
            covered(stack)?;
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

fn channel_mut(stack: &mut StackBook, node: NodeId) -> Audit<&mut ChannelBook> {
    stack.channels.get_mut(&node).ok_or_else(|| violation("the channel is known", node))
}

/// What is credited is there.
fn covered(stack: &StackBook) -> Audit {
    hold("the balance covers what is credited", stack.balance >= stack.credited(), || format!("{stack:?}"))
}
