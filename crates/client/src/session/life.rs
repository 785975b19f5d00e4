//! A stack from purchase to refund, for people: buy, show, close, refund.

use super::pay::{About, new_label};
use super::pool::Pool;
use super::{Inner, Session};
use crate::ApiError;
use crate::channel::{Channel, Identity, Summary, lock};
use crate::journal::{Intent, JournalError, Kind, StackState};
use crate::market::MarketError;
use atoma_chain::Call;
use atoma_types::onchain::Stack;
use atoma_types::{Address, NodeId, TaskId, Units};
use serde::Serialize;
use std::sync::Arc;

/// A channel with fewer units left answers nothing any more.
const SPENT_BELOW_UNITS: u64 = 512;

/// Why a stack was not bought, shown, closed or refunded.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("{0}")]
    Model(ApiError),
    #[error(transparent)]
    Market(#[from] MarketError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("stack {0} is not on chain: it was refunded, or never existed")]
    Unknown(Address),
    #[error("stack {stack} can be refunded in {seconds} s")]
    TooEarly { stack: Address, seconds: u64 },
    #[error("stack {0} is closing: buy another one")]
    Closing(Address),
    #[error("stack {0} was not asked to close and has not expired: close it first")]
    NotClosing(Address),
}

/// A stack as chain and journal know it.
#[derive(Clone, Debug, Serialize)]
pub struct StackView {
    pub stack: Address,
    pub task: TaskId,
    /// `None` once it was refunded and deleted.
    pub chain: Option<Stack>,
    pub closing: bool,
    pub channels: Vec<ChannelView>,
}

/// A channel as this session's ledger has it.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelView {
    pub node: NodeId,
    pub count: u64,
    pub units: Units,
    pub granted: Units,
    /// Count of the newest voucher that the node is known to hold.
    pub acknowledged: u64,
    pub ended: Option<String>,
}

impl Session {
    /// Buys one stack for a model, whatever is there already.
    pub async fn buy(&self, model: &str) -> Result<Address, LifeError> {
        let task = self.inner.task_for(model, None).await.map_err(LifeError::Model)?;
        let pool = self.inner.pool(task.id);
        let _one = pool.buying.acquire().await.map_err(|_| MarketError::Refused("shutting down".into()))?;
        if let Some(stack) = self.inner.finish_purchases(task.id).await? {
            return Ok(stack);
        }
        Ok(self.inner.buy(&pool, None).await?)
    }

    /// Buys more units for an open stack, at its own terms, and grants them.
    pub async fn top_up(&self, stack: Address, units: Units) -> Result<(), LifeError> {
        let rows = self.inner.journal.stacks().await?;
        let row = rows.iter().find(|row| row.stack == stack).ok_or(LifeError::Unknown(stack))?;
        if row.state != StackState::Open {
            return Err(LifeError::Closing(stack));
        }
        let pool = self.inner.pool(row.task);
        let _one = pool.buying.acquire().await.map_err(|_| MarketError::Refused("shutting down".into()))?;
        self.inner.finish_purchases(row.task).await?;
        Ok(self.inner.top_up(row, units).await?)
    }

    /// Every stack in the journal that was not refunded, in the order of purchase.
    pub async fn stacks(&self) -> Result<Vec<StackView>, LifeError> {
        let mut views = Vec::new();
        for row in self.inner.journal.stacks().await? {
            if row.state == StackState::Closed {
                continue;
            }
            let chain = self.inner.market.stack(row.stack).await?;
            let channels = self.inner.channels_of(row.stack).iter().map(|channel| view(channel)).collect();
            let closing = row.state == StackState::Closing;
            views.push(StackView { stack: row.stack, task: row.task, chain, closing, channels });
        }
        Ok(views)
    }

    pub async fn show(&self, stack: Address) -> Result<StackView, LifeError> {
        let chain = self.inner.market.stack(stack).await?.ok_or(LifeError::Unknown(stack))?;
        let channels = self.inner.channels_of(stack).iter().map(|channel| view(channel)).collect();
        let (task, closing) = (chain.task, chain.close_requested_ms != 0);
        Ok(StackView { stack, task, chain: Some(chain), closing, channels })
    }

    /// Acknowledges what was received and asks the contract to close; nodes then have the close delay to
    /// settle. Returns the chain time from which [`refund`](Self::refund) gives back the rest. Closing
    /// twice is harmless.
    pub async fn close(&self, stack: Address) -> Result<u64, LifeError> {
        self.inner.close(stack).await
    }

    /// Gives back what the nodes did not earn, once the delay is over.
    pub async fn refund(&self, stack: Address) -> Result<(), LifeError> {
        self.inner.refund(stack).await
    }

    /// Closes every open stack. Returns each with the chain time from which it can be refunded.
    pub async fn close_all(&self) -> Result<Vec<(Address, u64)>, LifeError> {
        let mut closing = Vec::new();
        for row in self.inner.journal.stacks().await? {
            if row.state == StackState::Open {
                closing.push((row.stack, self.close(row.stack).await?));
            }
        }
        Ok(closing)
    }

    /// Hands every node the newest voucher, if it lacks it.
    pub async fn acknowledge(&self) {
        self.inner.acknowledge_all().await;
    }

    /// What is known of every channel in use.
    pub fn channels(&self) -> Vec<(Address, NodeId, Summary)> {
        let pools: Vec<Arc<Pool>> = lock(&self.inner.pools).values().cloned().collect();
        let channels = pools.iter().flat_map(|pool| pool.channels().as_ref().clone());
        channels.map(|one| (one.identity().stack, one.identity().node, one.summary())).collect()
    }
}

impl Inner {
    async fn close(&self, stack: Address) -> Result<u64, LifeError> {
        for channel in self.channels_of(stack) {
            channel.set_closing();
            channel.idle().await;
            if channel.lacks_receipts() {
                self.catch_up(&channel).await;
            }
            if channel.summary().owes_voucher {
                self.acknowledge(&channel).await;
            }
        }
        self.journal.flush().await?;
        let on_chain = self.market.stack(stack).await?.ok_or(LifeError::Unknown(stack))?;
        let now = self.market.now_ms().await?;
        if on_chain.close_requested_ms == 0 && now < on_chain.expires_ms {
            let requested = self.end(Kind::Close, stack, Call::RequestClose { stack }).await;
            let on_chain = self.market.stack(stack).await?.ok_or(LifeError::Unknown(stack))?;
            if on_chain.close_requested_ms == 0 {
                requested?;
            }
        }
        self.journal.set_stack_state(stack, StackState::Closing).await?;
        self.pools().iter().for_each(|pool| pool.leave(stack));
        let on_chain = self.market.stack(stack).await?.ok_or(LifeError::Unknown(stack))?;
        Ok(on_chain.settle_until_ms())
    }

    async fn refund(&self, stack: Address) -> Result<(), LifeError> {
        if let Some(on_chain) = self.market.stack(stack).await? {
            let (now, from) = (self.market.now_ms().await?, on_chain.settle_until_ms());
            if on_chain.close_requested_ms == 0 && now < on_chain.expires_ms {
                return Err(LifeError::NotClosing(stack));
            }
            // The contract counts the last moment to the window.
            if now <= from {
                let seconds = from.saturating_sub(now).saturating_add(1).div_ceil(1_000);
                return Err(LifeError::TooEarly { stack, seconds });
            }
            self.end(Kind::Refund, stack, Call::Refund { stack }).await?;
        }
        Ok(self.forget(stack).await?)
    }

    /// Closes or refunds, unless a transaction of before that does so is still on its way.
    async fn end(&self, kind: Kind, stack: Address, call: Call) -> Result<(), LifeError> {
        let before = |intent: &Intent| intent.kind == kind && intent.stack == Some(stack);
        if self.journal.intents().await?.iter().any(before) {
            return Ok(self.finish(before).await?);
        }
        let rows = self.journal.stacks().await?;
        let task = rows.iter().find(|row| row.stack == stack).map_or(TaskId(0), |row| row.task);
        let about = About { kind, task, stack: Some(stack) };
        self.transact(about, &new_label(kind.as_str())?, call).await?;
        Ok(())
    }

    /// The stack is gone from the chain.
    async fn forget(&self, stack: Address) -> Result<(), JournalError> {
        self.journal.set_stack_state(stack, StackState::Closed).await?;
        for channel in self.channels_of(stack) {
            channel.over();
        }
        for pool in self.pools() {
            pool.remove(stack);
        }
        Ok(())
    }

    /// Closes stacks that no request can use any more, and gets back what is left of closed ones. What
    /// fails is tried again by the next call.
    pub(super) async fn tidy(&self) -> Result<(), LifeError> {
        for row in self.journal.stacks().await? {
            let done = match row.state {
                StackState::Open if self.is_spent(row.stack) => self.close(row.stack).await.map(drop),
                StackState::Closing => self.refund(row.stack).await,
                StackState::Open | StackState::Closed => Ok(()),
            };
            match done {
                Ok(()) | Err(LifeError::TooEarly { .. }) => {}
                Err(LifeError::Unknown(stack)) => self.forget(stack).await?,
                Err(error) => tracing::warn!(%error, stack = %row.stack, "cannot tidy up a stack"),
            }
        }
        Ok(())
    }

    /// Whether every channel of a stack is over: ended here or on chain, at the end of its time, or out of units.
    fn is_spent(&self, stack: Address) -> bool {
        let over = |channel: &Arc<Channel>| {
            let summary = channel.summary();
            let left = summary.granted.saturating_sub(summary.total_units);
            let idle = summary.in_flight == 0;
            summary.ended.is_some()
                || (idle && summary.closing)
                || (idle && left < Units(SPENT_BELOW_UNITS) && !self.may_grow(channel))
                || (idle && self.clock.now_ms() >= channel.identity().ends_ms)
        };
        let channels = self.channels_of(stack);
        let ends_ms = self.pools().iter().find_map(|pool| pool.stack(stack)).map(|stack| stack.ends_ms());
        let is_over = ends_ms.is_some_and(|ends_ms| self.clock.now_ms() >= ends_ms);
        is_over && channels.iter().all(|one| one.in_flight() == 0)
            || !channels.is_empty() && channels.iter().all(over)
    }

    /// Whether a channel without units may still be given some.
    fn may_grow(&self, channel: &Channel) -> bool {
        let Identity { stack, task, .. } = *channel.identity();
        let pool = self.pool(task);
        self.policy.ahead
            && pool.is_wanted(self.policy.supply.idle)
            && pool.stack(stack).is_some_and(|stack| {
                let room = self.holding(&stack, None);
                room.may_top_up && room.channels.iter().any(|part| part.granted < part.most)
            })
    }

    pub(super) fn channels_of(&self, stack: Address) -> Vec<Arc<Channel>> {
        let all = self.pools().into_iter().flat_map(|pool| pool.channels().as_ref().clone());
        all.filter(|channel| channel.identity().stack == stack).collect()
    }
}

fn view(channel: &Channel) -> ChannelView {
    let summary = channel.summary();
    ChannelView {
        node: channel.identity().node,
        count: summary.count,
        units: summary.total_units,
        granted: summary.granted,
        acknowledged: summary.acknowledged,
        ended: summary.ended.map(|reason| reason.to_string()),
    }
}
