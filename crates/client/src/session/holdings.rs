//! What is in stacks, and what was paid into them: the wallet's books, as journal and chain have them.

use super::life::LifeError;
use super::{Inner, Session};
use crate::journal::{Spent, StackRow, StackState};
use crate::market::MarketError;
use atoma_chain::Balances;
use atoma_types::onchain::Stack;
use atoma_types::{Address, Amount, ArithmeticError, TaskId, Units};
use serde::Serialize;
use std::sync::Arc;

/// A wallet's money in the market. All that was paid into stacks came back, is in one of them, or is what nodes,
/// creators and the treasury got: [`Holdings::consumed`].
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    pub wallet: Balances,
    pub spent: Spent,
    pub stacks: Vec<StackHolding>,
}

/// A stack that was not given back whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackHolding {
    pub stack: Address,
    pub task: TaskId,
    /// Whether it was asked to close, or its time is over.
    pub closing: bool,
    pub units: Units,
    pub units_used: Units,
    /// What answers cost that nodes have not settled yet and still can, with the surcharge on it.
    pub owed: Amount,
    /// What comes back if nothing more is asked.
    pub unused: Amount,
    /// Chain time after which it does.
    pub refundable_ms: u64,
    pub is_refundable: bool,
}

/// How a task is supplied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stocked {
    pub task: TaskId,
    /// Units used in a thousand seconds, at the present rate.
    pub rate: u64,
    /// Units at hand.
    pub units: Units,
    pub stacks: usize,
    /// Why the last purchase failed, unless a later one succeeded.
    pub failure: Option<String>,
    /// Whether that was for lack of coins.
    pub lacks_funds: bool,
}

impl Holdings {
    /// What comes back if nothing more is asked.
    pub fn unused(&self) -> Result<Amount, ArithmeticError> {
        Amount::total(self.stacks.iter().map(|stack| stack.unused))
    }

    /// What nodes, creators and the treasury got, or are owed.
    pub fn consumed(&self) -> Result<Amount, ArithmeticError> {
        self.spent.paid.sub(self.spent.returned)?.sub(self.unused()?)
    }
}

impl Session {
    /// Read from the chain; a transaction whose outcome is not known yet is left out.
    pub async fn holdings(&self) -> Result<Holdings, LifeError> {
        let inner = &self.inner;
        inner.journal.flush().await?;
        let now_ms = inner.market.now_ms().await?;
        let mut stacks = Vec::new();
        for row in inner.journal.stacks().await? {
            if row.state != StackState::Closed {
                stacks.extend(inner.stack_holding(&row, now_ms).await?);
            }
        }
        let (wallet, spent) = (inner.market.balances().await?, inner.journal.spent().await?);
        Ok(Holdings { wallet, spent, stacks })
    }

    /// How each task in use is supplied, as far as is known here; nothing is read for it.
    pub fn supply(&self) -> Vec<Stocked> {
        let stocked = |pool: Arc<super::pool::Pool>| {
            let (stacks, failure) = (pool.stacks(), pool.failure());
            Stocked {
                task: pool.task,
                rate: pool.rate(),
                units: Units(stacks.iter().fold(0, |sum: u64, one| sum.saturating_add(pool.left(one).0))),
                stacks: stacks.iter().filter(|stack| !pool.left(stack).is_zero()).count(),
                lacks_funds: failure.as_ref().is_some_and(|one| matches!(one.error, MarketError::Funds(_))),
                failure: failure.map(|failure| failure.error.to_string()),
            }
        };
        let mut all: Vec<_> = self.inner.pools().into_iter().map(stocked).collect();
        all.sort_by_key(|one| one.task);
        all
    }
}

impl Inner {
    async fn stack_holding(&self, row: &StackRow, now_ms: u64) -> Result<Option<StackHolding>, LifeError> {
        let Some(stack) = self.market.stack(row.stack).await? else { return Ok(None) };
        let used = self.journal.units_used(row.stack).await?;
        let refundable_ms = stack.settle_until_ms();
        let is_refundable = now_ms > refundable_ms;
        let owned = owned(&stack);
        let owed = match is_refundable {
            true => Ok(Amount::ZERO),
            false => owed(&stack, &used),
        };
        let wrong = |error: ArithmeticError| MarketError::Refused(format!("the stack's sums: {error}"));
        let (owned, owed) = (owned.map_err(wrong)?, owed.map_err(wrong)?);
        Ok(Some(StackHolding {
            stack: row.stack,
            task: row.task,
            closing: now_ms >= stack.ends_ms(),
            units: stack.total_units,
            units_used: Units(used.iter().fold(0, |sum: u64, (_, units)| sum.saturating_add(units.0))),
            owed,
            unused: owned.saturating_sub(owed),
            refundable_ms,
            is_refundable,
        }))
    }
}

/// What is in a stack and not credited to anybody else.
fn owned(stack: &Stack) -> Result<Amount, ArithmeticError> {
    let others = stack.dues.iter().filter(|due| due.to != stack.owner).map(|due| due.amount);
    stack.balance.sub(Amount::total(others)?.add(stack.treasury_due)?)
}

/// What receipts say beyond what is settled.
fn owed(stack: &Stack, used: &[(atoma_types::NodeId, Units)]) -> Result<Amount, ArithmeticError> {
    let (mut sum, mut more) = (Amount::ZERO, Units::ZERO);
    for channel in stack.channels.iter().filter(|channel| !channel.released) {
        let used = used.iter().find(|(node, _)| *node == channel.node).map_or(Units::ZERO, |one| one.1);
        let used = used.max(channel.settled_units);
        sum = sum.add(channel.price.cost(used)?.sub(channel.paid)?)?;
        more = more.add(used.sub(channel.settled_units)?)?;
    }
    sum.add(stack.surcharge_ahead(more)?)
}
