//! Turns acknowledgements into money: settles vouchers when enough of them waits or time runs out, and
//! withdraws what the chain credited. What would cost more gas than it brings is left; if a channel ends with no
//! more than that, it is given up.
//!
//! A settlement is journaled before it is submitted and submitted again after a crash; the contract takes
//! each voucher once, whoever sends it and however often.

use crate::channels::{Channel, Channels};
use crate::config::Settle;
use crate::journal::{Entry, JournalError};
use crate::ledger::Limits;
use crate::market::Prepared;
use crate::metrics::Metrics;
use atoma_chain::{Call, ChainError};
use atoma_types::onchain::{Event, Stack};
use atoma_types::{Address, Amount, Hash32, Signed, Voucher};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often one transaction is submitted before it is left to the next round.
const SUBMITS: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(500);
/// A channel whose settlement was refused is tried again after this long, or sooner if its window ends.
const REFUSED_PAUSE_MS: u64 = 60_000;

/// A settlement could not be made now.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// How eager a round is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// What the thresholds say.
    Routine,
    /// Everything there is.
    All,
}

pub(crate) struct Settler {
    channels: Channels,
    config: Settle,
    /// Since when a channel has something to settle, in chain time.
    since_ms: HashMap<Address, u64>,
    refused_until_ms: HashMap<Address, u64>,
    metrics: Arc<Metrics>,
}

impl Settler {
    pub(crate) fn new(channels: Channels, config: Settle, metrics: Arc<Metrics>) -> Self {
        Self { channels, config, since_ms: HashMap::new(), refused_until_ms: HashMap::new(), metrics }
    }

    /// Settles until told to stop, then hands itself back for the last round.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Self {
        if let Err(error) = self.resume().await {
            tracing::warn!(%error, "cannot resume settlements yet");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return self,
                () = tokio::time::sleep(Duration::from_millis(self.config.every_ms)) => {}
            }
            if let Err(error) = self.round(Round::Routine).await {
                tracing::warn!(%error, "settling failed; trying again");
            }
        }
    }

    /// Settles and withdraws everything, for a node that stops.
    pub(crate) async fn settle_all(&mut self) -> Result<(), SettleError> {
        self.refused_until_ms.clear();
        self.round(Round::All).await
    }

    /// Learns what became of transactions that were journaled and perhaps submitted before a crash.
    async fn resume(&mut self) -> Result<(), SettleError> {
        for pending in self.channels.shelf().journal.pending().await? {
            let prepared = Prepared { bytes: pending.transaction, held: None };
            let result = self.submit(&prepared).await;
            self.record(pending.id, &result).await?;
            if let Err(error) = result {
                // The vouchers are still in the books; the next round makes another transaction.
                tracing::warn!(%error, "a settlement from before the restart did not execute");
            }
        }
        for channel in self.channels.all() {
            self.channels.mark_stale(channel.terms.stack);
        }
        Ok(())
    }

    async fn round(&mut self, round: Round) -> Result<(), SettleError> {
        let shelf = self.channels.shelf();
        shelf.clock.observe_chain(shelf.market.now_ms().await?);
        self.channels.refresh_stale().await;
        let now_ms = shelf.clock.now().chain_ms;
        let channels = self.channels.all();
        let mut due: Vec<_> =
            channels.iter().filter_map(|channel| self.due(channel, round, now_ms)).collect();
        due.sort_by_key(|(deadline_ms, _)| *deadline_ms);
        let due: Vec<_> = due.into_iter().map(|(_, voucher)| voucher).collect();
        let mut failed = None;
        for batch in due.chunks(Call::SETTLE_MAX) {
            if let Err(error) = self.settle(batch, now_ms).await {
                self.metrics.settlement_failures.increment();
                tracing::warn!(%error, vouchers = batch.len(), "cannot settle yet");
                failed = Some(error);
            }
        }
        for channel in channels {
            if let Err(error) = self.collect(&channel, round, now_ms).await {
                tracing::warn!(stack = %channel.terms.stack, %error, "cannot withdraw yet");
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The channel's voucher, if it should go on chain now, and until when it can.
    fn due(&mut self, channel: &Channel, round: Round, now_ms: u64) -> Option<(u64, Signed<Voucher>)> {
        let stack = channel.terms.stack;
        let (units, voucher, is_worth, limits) = {
            let books = channel.books();
            let (units, voucher) = books.unsettled()?;
            (units, voucher.clone(), books.unsettled_worth(self.least()).is_some(), *books.limits())
        };
        // A channel that this node released pays no more than was settled then: gas would be for nothing.
        if now_ms >= limits.settle_until_ms || voucher.message.units > limits.granted {
            return None;
        }
        if self.refused_until_ms.get(&stack).is_some_and(|until| now_ms < *until) {
            return None;
        }
        let since = *self.since_ms.entry(stack).or_insert(now_ms);
        let old = now_ms.saturating_sub(since) >= self.config.age_ms;
        let ending = now_ms.saturating_add(self.config.before_end_ms) >= limits.ends_ms;
        let wanted = round == Round::All || units.0 >= self.config.units || old || ending || limits.closed;
        (wanted && is_worth).then_some((limits.settle_until_ms, voucher))
    }

    /// The least for which gas is paid.
    fn least(&self) -> Amount {
        Amount(self.config.min_amount)
    }

    /// One transaction for all. If it cannot be, halves, the more urgent one first: whatever spoils it ends up
    /// alone, and a wallet that is short of gas pays for what it can.
    async fn settle(&mut self, vouchers: &[Signed<Voucher>], now_ms: u64) -> Result<(), SettleError> {
        let mut batches = vec![vouchers];
        while let Some(batch) = batches.pop() {
            match self.settle_once(batch.to_vec()).await {
                Err(SettleError::Chain(error)) if is_divisible(&error) && batch.len() > 1 => {
                    let (urgent, rest) = batch.split_at(batch.len() / 2);
                    batches.extend([rest, urgent]);
                }
                Err(SettleError::Chain(error)) if is_refusal(&error) => self.refuse(batch, &error, now_ms),
                other => other?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, vouchers: &[Signed<Voucher>], error: &ChainError, now_ms: u64) {
        self.metrics.settlement_failures.increment();
        for voucher in vouchers {
            let stack = voucher.message.stack;
            tracing::error!(%stack, %error, "a settlement was refused");
            self.channels.mark_stale(stack);
            self.refused_until_ms.insert(stack, now_ms.saturating_add(self.refused_pause_ms(stack, now_ms)));
        }
    }

    /// At most half of what is left of the window, so that it is tried some more times.
    fn refused_pause_ms(&self, stack: Address, now_ms: u64) -> u64 {
        let until_ms = self.channels.get(stack).map(|channel| channel.books().limits().settle_until_ms);
        let left_ms = until_ms.map_or(u64::MAX, |until_ms| until_ms.saturating_sub(now_ms));
        REFUSED_PAUSE_MS.min(left_ms / 2)
    }

    async fn settle_once(&mut self, vouchers: Vec<Signed<Voucher>>) -> Result<(), SettleError> {
        let shelf = self.channels.shelf();
        let prepared = shelf.market.prepare(Call::Settle(vouchers.clone())).await?;
        let id = Hash32::of(&prepared.bytes);
        shelf.journal.write(Entry::Prepared { id, transaction: prepared.bytes.clone() }).await?;
        let result = self.submit(&prepared).await;
        self.record(id, &result).await?;
        result?;
        for voucher in &vouchers {
            self.settled(&voucher.message);
        }
        self.metrics.settlements.increment();
        Ok(())
    }

    /// Submits, and again while the outcome is unknown.
    async fn submit(&self, prepared: &Prepared) -> Result<Vec<Event>, ChainError> {
        let market = &self.channels.shelf().market;
        for _ in 1..SUBMITS {
            match market.submit(prepared).await {
                Err(ChainError::Timeout { .. } | ChainError::Unreachable { .. }) => {
                    tokio::time::sleep(SUBMIT_PAUSE).await;
                }
                other => return other,
            }
        }
        market.submit(prepared).await
    }

    /// An unknown outcome stays open and is asked about at the next start.
    async fn record(&self, id: Hash32, result: &Result<Vec<Event>, ChainError>) -> Result<(), JournalError> {
        let outcome = match result {
            Ok(_) => "executed".to_owned(),
            Err(ChainError::Timeout { .. } | ChainError::Unreachable { .. }) => return Ok(()),
            Err(error) => error.to_string(),
        };
        self.channels.shelf().journal.write(Entry::Finished { id, outcome }).await
    }

    fn settled(&mut self, voucher: &Voucher) {
        self.since_ms.remove(&voucher.stack);
        if let Some(channel) = self.channels.get(voucher.stack) {
            let mut books = channel.books();
            let limits = *books.limits();
            self.metrics.settled_units.add(voucher.units.saturating_sub(limits.settled_units).0);
            books.update_limits(Limits {
                settled_units: voucher.units,
                settled_count: voucher.count,
                ..limits
            });
        }
    }

    /// Withdraws earnings, and lets go of a channel that is over.
    async fn collect(&mut self, channel: &Channel, round: Round, now_ms: u64) -> Result<(), SettleError> {
        let stack = channel.terms.stack;
        let (limits, unsettled, idle, over) = {
            let books = channel.books();
            let unsettled = books.unsettled_worth(self.least()).is_some();
            (*books.limits(), unsettled, books.in_flight() == 0, books.is_over(now_ms, self.least()))
        };
        let ended = limits.closed || now_ms >= limits.ends_ms;
        let ending = over || (ended && !unsettled);
        let earned = self.earned_since_withdrawal(channel, limits);
        let worth = earned.0 >= self.config.withdraw_min || ending || round == Round::All;
        if !worth || (!over && earned.is_zero()) {
            return Ok(());
        }
        let on_chain = self.channels.shelf().market.stack(stack).await?;
        self.withdraw(on_chain.as_ref()).await?;
        channel.mark_withdrawn(limits.settled_units);
        if over && idle {
            self.channels.shelf().journal.write(Entry::Closed { stack }).await?;
            self.channels.forget(stack);
            self.since_ms.remove(&stack);
            self.refused_until_ms.remove(&stack);
        }
        Ok(())
    }

    /// About what the chain credited since the last withdrawal; the creator's share is not subtracted.
    fn earned_since_withdrawal(&self, channel: &Channel, limits: Limits) -> Amount {
        let cost = |units| channel.terms.price.cost(units).unwrap_or_default();
        cost(limits.settled_units).sub(cost(channel.withdrawn_at())).unwrap_or_default()
    }

    async fn withdraw(&self, on_chain: Option<&Stack>) -> Result<(), SettleError> {
        let Some(stack) = on_chain else { return Ok(()) };
        let market = &self.channels.shelf().market;
        let own = stack.dues.iter().filter(|due| due.to == market.address());
        let due = own.fold(0, |sum: u64, due| sum.saturating_add(due.amount.0));
        if due < self.config.min_amount.max(1) {
            return Ok(());
        }
        match market.execute(Call::Withdraw { stack: stack.id }).await {
            Ok(_) => Ok(()),
            // Somebody else with this wallet was faster.
            Err(error) if error.abort().is_some() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether fewer vouchers might do.
fn is_divisible(error: &ChainError) -> bool {
    is_refusal(error) || matches!(error, ChainError::InsufficientGas { .. })
}

/// Whether sending the same vouchers again at once would fail again.
fn is_refusal(error: &ChainError) -> bool {
    matches!(
        error,
        ChainError::Abort { .. }
            | ChainError::Failed { .. }
            | ChainError::Rejected { .. }
            | ChainError::NotFound { .. }
            | ChainError::WrongObject { .. }
    )
}
