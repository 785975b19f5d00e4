//! Every balance of the market, rebuilt from its events.

mod claims;
mod disputes;
mod registry;
mod stack;

pub use claims::ClaimBook;
pub use disputes::DisputeBook;
pub use registry::{BookingBook, NodeBook};
pub use stack::{ChannelBook, StackBook};

use super::{Audit, Violation, hold, same};
use atoma_types::onchain::Event;
use atoma_types::{Address, ModelId, NodeId, TaskId};
use std::collections::BTreeMap;

/// All of it. Deleted stacks and disputes are gone, and empty dues. Events that move no money are not booked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub nodes: BTreeMap<NodeId, NodeBook>,
    pub stacks: BTreeMap<Address, StackBook>,
    pub disputes: BTreeMap<Address, DisputeBook>,
    /// What the database owes.
    pub dues: BTreeMap<Address, u128>,
    pub to_burn: u128,
    pub to_treasury: u128,
    pub treasury: u128,
    pub burned: u128,
    /// Credited to nodes so far.
    pub paid: u128,
    /// Credited to creators so far.
    pub creator_fees: u128,
    /// Credited to whoever a slash or a fee compensated so far.
    pub compensations: u128,
    /// Paid or credited for resolving and verifying so far.
    pub audit_pay: u128,
    /// Paid or credited back to stacks' owners so far.
    pub refunded: u128,
    pub collateral_returned: u128,
    /// Paid out of the treasury so far.
    pub treasury_spent: u128,
    /// Everything that left as coins so far, change apart.
    pub paid_out: u128,
    creators: BTreeMap<ModelId, (Address, u64)>,
    tasks: BTreeMap<TaskId, TaskBook>,
}

/// What stacks take from their task.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TaskBook {
    model: ModelId,
    level: u8,
    surcharge_permille: u64,
}

fn cost(units: u64, price: u64) -> u128 {
    u128::from(units) * u128::from(price) / 1_000_000
}

fn violation(rule: &'static str, detail: impl std::fmt::Debug) -> Violation {
    Violation { rule, detail: format!("{detail:?}") }
}

/// Takes from an account that must hold as much.
fn take(rule: &'static str, account: &mut u128, amount: impl Into<u128>) -> Audit {
    let amount = amount.into();
    *account = account.checked_sub(amount).ok_or_else(|| violation(rule, (*account, amount)))?;
    Ok(())
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
        let disputes: u128 = self.disputes.values().map(|dispute| dispute.balance).sum();
        stacks + disputes + self.pool() + self.treasury + self.burned
    }

    /// What the database holds.
    pub fn pool(&self) -> u128 {
        let nodes: u128 = self.nodes.values().map(NodeBook::held).sum();
        nodes + self.dues.values().sum::<u128>() + self.to_burn + self.to_treasury
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

    fn credit(&mut self, to: Address, amount: u64) {
        if amount > 0 {
            *self.dues.entry(to).or_default() += u128::from(amount);
        }
    }

    /// Books one event; refuses it if it cannot follow from those before.
    pub fn apply(&mut self, event: &Event) -> Audit {
        match event {
            Event::TreasuryPaid(event) => {
                take("the treasury pays from its balance", &mut self.treasury, event.amount.0)?;
                self.treasury_spent += u128::from(event.amount.0);
                self.paid_out += u128::from(event.amount.0);
                Ok(())
            }
            Event::ModelAdded(event) => {
                let is_share = event.creator_fee_permille <= 1_000;
                hold("a creator's fee is a share", is_share, || format!("{event:?}"))?;
                self.creators.insert(event.model, (event.creator, event.creator_fee_permille));
                Ok(())
            }
            Event::TaskCreated(event) => {
                let book = TaskBook {
                    model: event.model,
                    level: event.level,
                    surcharge_permille: event.surcharge_permille,
                };
                self.tasks.insert(event.task, book);
                Ok(())
            }
            _ => {
                let _ = self.apply_registry(event)?
                    || self.apply_stack(event)?
                    || self.apply_claims(event)?
                    || self.apply_disputes(event)?;
                Ok(())
            }
        }
    }
}
