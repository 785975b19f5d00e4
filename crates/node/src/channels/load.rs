//! From a stack on chain to a channel in memory.

use super::{Channel, Channels, Found, LookupError, Offer, Shelf};
use crate::journal::{Entry, JournalError, Kept};
use crate::ledger::{Ledger, Limits, RestoreError, Terms};
use atoma_chain::{Call, ChainError, OpenChannel};
use atoma_types::onchain::{self, Selection, Stack};
use atoma_types::{Address, Grant, Signed, TaskId, Units};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The journal's channels could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreChannelsError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot read stack {stack}: {source}")]
    Chain { stack: Address, source: ChainError },
    #[error("the journal contradicts itself about stack {stack}: {source}; restore it from a copy")]
    History { stack: Address, source: RestoreError },
}

impl Channels {
    /// Brings back what the journal holds, under what the chain says now.
    pub(crate) async fn restore(&self) -> Result<(), RestoreChannelsError> {
        let shelf = self.shelf();
        for kept in shelf.journal.channels().await? {
            let stack = kept.terms.stack;
            let on_chain = shelf
                .market
                .stack(stack)
                .await
                .map_err(|source| RestoreChannelsError::Chain { stack, source })?;
            let Some(limits) = on_chain.as_ref().and_then(|found| shelf.limits(found)) else {
                shelf.leave_out(&kept).await?;
                continue;
            };
            let offer = shelf.offer_for(kept.terms.task);
            let ledger = Ledger::restore(kept.terms, limits, kept.history)
                .map_err(|source| RestoreChannelsError::History { stack, source })?;
            self.state().open.insert(stack, Arc::new(Channel::new(ledger, offer, &shelf.channel_bodies)));
        }
        Ok(())
    }

    /// Reads a known channel's stack again. One that cannot be read stays marked as stale.
    pub(crate) async fn refresh(&self, stack: Address) -> Result<(), ChainError> {
        let Some(channel) = self.get(stack) else { return Ok(()) };
        // Unmarked before the read: an event that comes meanwhile marks it again.
        self.unmark_stale(stack);
        let on_chain = self.shelf().market.stack(stack).await.inspect_err(|_| {
            self.mark_stale(stack);
        })?;
        let fresh = on_chain.as_ref().and_then(|found| self.shelf().limits(found));
        let mut books = channel.books();
        // Deleted, or the full node lags: nothing new is served, and what is acknowledged keeps its window.
        let gone = Limits { closed: true, ..*books.limits() };
        books.update_limits(fresh.unwrap_or(gone));
        Ok(())
    }

    /// Looks `stack` up, opening or extending the channel first if the grant is newer than what is there.
    pub(super) async fn look_up(&self, stack: Address, grant: Option<Signed<Grant>>) -> Found {
        let shelf = self.shelf();
        let mut found = shelf.read(stack).await?;
        let offer = shelf.check(&found)?;
        self.state().keys.insert(stack, found.request_key, Instant::now());
        if let (Some(grant), Some(offer)) = (grant, &offer) {
            let nonce = grant.message.nonce;
            let holds = |found: &Stack| found.channel(shelf.node).is_some_and(|c| c.grant_nonce >= nonce);
            if !holds(&found) {
                if shelf.open(&found, offer, grant).await? == Opened::BySomebody {
                    self.state().count_failed_open(stack, Instant::now());
                }
                found = shelf.read(stack).await?;
                // A full node that lags must not make us pay again.
                if !holds(&found) {
                    return Err(LookupError::OpenUnknown);
                }
            }
        }
        let limits = shelf.limits(&found).ok_or(LookupError::NoChannel)?;
        match self.get(stack) {
            Some(channel) => {
                channel.books().update_limits(limits);
                Ok(channel)
            }
            None => shelf.begin(&found, limits, offer).await,
        }
    }
}

impl Shelf {
    fn offer_for(&self, task: TaskId) -> Option<Arc<Offer>> {
        self.offers.iter().find(|offer| offer.task == task).cloned()
    }

    /// What the chain says of this node's channel.
    fn limits(&self, stack: &Stack) -> Option<Limits> {
        let channel = stack.channel(self.node)?;
        let disabled_ms = self.disabled_ms.load(Ordering::Relaxed);
        let ended_early = [channel.closed_ms, disabled_ms].into_iter().filter(|at_ms| *at_ms != 0).min();
        let ends_ms = ended_early.map_or(stack.ends_ms(), |at_ms| at_ms.min(stack.ends_ms()));
        // What this node released it gave up at once; everything else still settles for the delay.
        let delay_ms = if channel.released { 0 } else { stack.params.close_delay_ms };
        Some(Limits {
            // Units answered in disputes are paid apart, and no voucher may claim them.
            granted: channel.granted.saturating_sub(channel.disputed_units),
            grant_nonce: channel.grant_nonce,
            ends_ms,
            settle_until_ms: ends_ms.saturating_add(delay_ms),
            closed: ended_early.is_some(),
            settled_units: channel.settled_units,
            settled_count: channel.settled_count,
        })
    }

    async fn read(&self, stack: Address) -> Result<Stack, LookupError> {
        match self.market.stack(stack).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(LookupError::UnknownStack),
            Err(ChainError::WrongObject { .. } | ChainError::NotFound { .. }) => {
                Err(LookupError::UnknownStack)
            }
            Err(error) => {
                tracing::warn!(%stack, %error, "cannot look up a stack");
                Err(LookupError::Chain)
            }
        }
    }

    /// What is served on this stack; nothing if it only has a channel from when its task was served.
    fn check(&self, stack: &Stack) -> Result<Option<Arc<Offer>>, LookupError> {
        if stack.db != self.market.db() {
            return Err(LookupError::OtherMarket);
        }
        match self.offer_for(stack.task) {
            Some(offer) if offer.level == stack.level => Ok(Some(offer)),
            _ if stack.channel(self.node).is_some() => Ok(None),
            _ => Err(LookupError::NotServed(stack.task)),
        }
    }

    async fn open(&self, stack: &Stack, offer: &Offer, grant: Signed<Grant>) -> Result<Opened, LookupError> {
        let terms = grant.verify(&stack.request_key).map_err(|_| LookupError::ForgedGrant)?;
        self.check_grant(stack, offer, terms).map_err(LookupError::Grant)?;
        let call = Call::OpenChannel(OpenChannel {
            stack: terms.stack,
            node: terms.node,
            units: terms.units,
            max_price: terms.max_price,
            nonce: terms.nonce,
            signature: Some(grant.signature),
        });
        match self.market.execute(call).await {
            Ok(_) => Ok(Opened::ByUs),
            Err(error) if error.abort() == Some(onchain::Abort::StaleGrant) => Ok(Opened::BySomebody),
            Err(error) => {
                tracing::warn!(stack = %stack.id, %error, "cannot open a channel");
                Err(not_opened(&error))
            }
        }
    }

    /// Everything for which the contract would refuse the grant, at the price of gas, or pay nothing for it.
    fn check_grant(&self, stack: &Stack, offer: &Offer, grant: &Grant) -> Result<(), String> {
        let channel = stack.channel(self.node);
        let refuse = |reason: &str| Err(reason.to_owned());
        if grant.db != stack.db {
            return refuse("it is for another market");
        }
        if self.is_disabled() {
            return refuse("this node is disabled on chain");
        }
        if self.clock.now().chain_ms >= stack.ends_ms()
            || channel.is_some_and(|channel| channel.closed_ms != 0)
        {
            return refuse("the stack or its channel has ended");
        }
        let price = channel.map_or(offer.price, |channel| channel.price);
        if grant.max_price < price || stack.max_price < price {
            return Err(format!("its price is below this node's {price}"));
        }
        let granted = channel.map_or(Units::ZERO, |channel| channel.granted);
        if grant.units <= granted {
            return refuse("it adds no units");
        }
        if grant.units > offer.max_units {
            return Err(format!("this node serves at most {} units of one stack", offer.max_units));
        }
        let others = stack.granted_units.saturating_sub(granted);
        if grant.units > stack.total_units.saturating_sub(others) {
            return refuse("grants would exceed the stack's units");
        }
        if channel.is_none() && stack.selection != Selection::Any && !stack.drawn.contains(&self.node) {
            return refuse("this node was not drawn for the stack");
        }
        if !self.open_unpaid_grants && (stack.opens_left == 0 || stack.params.open_fee.is_zero()) {
            return refuse("the stack prepaid no opening; open the channel yourself");
        }
        Ok(())
    }

    /// The channel's books: as the journal has them if it ever had any, whatever was thought of the channel
    /// since; else new ones.
    async fn begin(
        &self,
        stack: &Stack,
        limits: Limits,
        offer: Option<Arc<Offer>>,
    ) -> Result<Arc<Channel>, LookupError> {
        let kept = self.journal.channel(stack.id).await?;
        let over = limits.closed || self.clock.now().chain_ms >= limits.settle_until_ms;
        if over && kept.as_ref().is_none_or(|kept| kept.closed) {
            return Err(LookupError::NoChannel);
        }
        let ledger = match (kept, &offer) {
            (Some(kept), _) => Ledger::restore(kept.terms, limits, kept.history).map_err(|error| {
                tracing::error!(stack = %stack.id, %error, "the journal contradicts itself");
                LookupError::LostRecords
            })?,
            (None, None) => return Err(LookupError::NotServed(stack.task)),
            // Records were settled that this journal does not hold: its transcript cannot go on.
            (None, Some(_)) if limits.settled_count > 0 => return Err(LookupError::LostRecords),
            (None, Some(offer)) => Ledger::new(self.terms(stack, offer), limits),
        };
        let (terms, settle_until_ms) = (ledger.terms().clone(), limits.settle_until_ms);
        self.journal.write(Entry::Channel { terms, settle_until_ms }).await?;
        if let Ok(now_ms) = self.market.now_ms().await {
            self.clock.observe_chain(now_ms);
        }
        Ok(Arc::new(Channel::new(ledger, offer, &self.channel_bodies)))
    }

    fn terms(&self, stack: &Stack, offer: &Offer) -> Terms {
        Terms {
            db: stack.db,
            stack: stack.id,
            node: self.node,
            task: stack.task,
            request_key: stack.request_key,
            weights: stack.weights,
            price: stack.channel(self.node).map_or(offer.price, |channel| channel.price),
        }
    }

    /// The chain does not show the stack. Once its window is over that is how it ends; before, the full node
    /// may lag: the books stay as they are for the next start, or for whoever asks for the stack.
    async fn leave_out(&self, kept: &Kept) -> Result<(), JournalError> {
        let stack = kept.terms.stack;
        if self.clock.now().chain_ms >= kept.settle_until_ms {
            return self.journal.write(Entry::Closed { stack }).await;
        }
        tracing::warn!(%stack, "the chain does not show a stack whose vouchers could still be settled");
        Ok(())
    }
}

/// Whose transaction opened a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    ByUs,
    /// With the same or a newer grant, while ours was on its way: the gas for ours was in vain.
    BySomebody,
}

/// What a failed opening means to the user. Whatever may have been executed is not tried again at once.
fn not_opened(error: &ChainError) -> LookupError {
    match error {
        ChainError::Abort { abort: Some(abort), .. } => {
            LookupError::OpenFailed(abort.reason().trim().to_owned())
        }
        ChainError::Timeout { .. } | ChainError::Malformed { .. } => LookupError::OpenUnknown,
        ChainError::InsufficientGas { .. } => LookupError::NoGas,
        ChainError::Unreachable { .. }
        | ChainError::Rpc { .. }
        | ChainError::Busy { .. }
        | ChainError::Dead { .. } => LookupError::Chain,
        _ => LookupError::OpenFailed("the transaction failed".to_owned()),
    }
}
