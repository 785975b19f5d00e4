//! Buying stacks so that none is paid twice, and taking up those bought before.

use super::pool::Pool;
use super::send::has_ended;
use super::{Inner, now_ms};
use crate::catalog::Catalog;
use crate::channel::{Channel, Identity};
use crate::journal::{Intent, JournalError, StackRow, StackState};
use crate::ledger::{Ledger, Terms};
use crate::market::{MarketError, PreparedPurchase};
use atoma_chain::AcquireStack;
use atoma_types::onchain::{self, Selection};
use atoma_types::{Address, NodeId, SecretKey, TaskId};
use std::sync::Arc;
use std::time::Duration;

/// Submissions of one purchase before its outcome is left to the next attempt.
const SUBMITS: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(200);

impl Inner {
    /// Finishes what a crash interrupted, and takes up the stacks in the journal.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), MarketError> {
        for intent in self.journal.intents().await? {
            if let Err(error) = self.finish_purchase(&intent).await {
                tracing::warn!(%error, label = intent.label, "a purchase from before is still open");
            }
        }
        for row in self.journal.stacks().await? {
            self.take_up_open(&row).await?;
        }
        for pool in self.pools() {
            for channel in pool.channels().iter() {
                let (inner, channel) = (Arc::clone(self), Arc::clone(channel));
                self.tasks.spawn(async move { inner.catch_up(&channel).await });
            }
        }
        Ok(())
    }

    /// Makes the channels of an open stack usable, unless there is something wrong with it.
    async fn take_up_open(self: &Arc<Self>, row: &StackRow) -> Result<(), MarketError> {
        if row.state != StackState::Open {
            return Ok(());
        }
        match self.take_up(row).await {
            Err(MarketError::Refused(reason)) => {
                tracing::warn!(reason, stack = %row.stack, "a stack cannot be used");
                Ok(())
            }
            taken => taken,
        }
    }

    /// Makes the channels of a stack usable.
    async fn take_up(self: &Arc<Self>, row: &StackRow) -> Result<(), MarketError> {
        let Some(stack) = self.market.stack(row.stack).await? else {
            tracing::info!(stack = %row.stack, "a stack is gone from the chain");
            return Ok(self.journal.set_stack_state(row.stack, StackState::Closed).await?);
        };
        let catalog = self.catalog();
        for channel in &stack.channels {
            let key = self.market.request_key(&row.label);
            let terms = channel_terms(&catalog, &stack, channel, &key)?;
            let history = self.journal.history(stack.id, channel.node).await?;
            let receipts = history.receipts.iter().map(|signed| &signed.message);
            let ledger = Ledger::restore(terms, receipts, history.open, history.ended)
                .map_err(|error| MarketError::Refused(format!("the journal is damaged: {error}")))?;
            let pool = self.pool(row.task);
            let identity =
                Identity { stack: stack.id, node: channel.node, task: row.task, ends_ms: stack.ends_ms() };
            let freed = Arc::clone(&pool.freed);
            let (journal, patience) = (self.journal.clone(), self.policy.patience);
            let standing = self.standing(identity.node);
            let channel = Channel::new(identity, key, journal, ledger, freed, patience, standing);
            if has_ended(&stack, channel.identity().node) {
                channel.set_closing();
            }
            pool.add(Arc::new(channel));
        }
        Ok(())
    }

    /// Buys until the policy is met.
    pub(super) async fn stock(self: &Arc<Self>, pool: &Arc<Pool>) -> Result<(), MarketError> {
        let permit = Arc::clone(&pool.buying).acquire_owned().await;
        let _permit = permit.map_err(|_| MarketError::Refused("shutting down".into()))?;
        while self.lacks_stock(pool) {
            self.buy(pool.task).await?;
        }
        Ok(())
    }

    pub(super) fn lacks_stock(&self, pool: &Pool) -> bool {
        pool.well_stocked(self.policy.low_water_permille) < self.policy.stacks_per_task
    }

    /// Buys ahead if the policy asks for it.
    pub(super) fn restock(self: &Arc<Self>, pool: &Arc<Pool>) {
        if self.policy.ahead && self.lacks_stock(pool) {
            self.buy_in_background(pool);
        }
    }

    /// Buys a stack unless one is being bought. The task goes on if the request that wanted it goes away.
    pub(super) fn buy_in_background(self: &Arc<Self>, pool: &Arc<Pool>) {
        if self.stopping.is_cancelled() {
            return;
        }
        let Ok(permit) = Arc::clone(&pool.buying).try_acquire_owned() else { return };
        let (inner, pool) = (Arc::clone(self), Arc::clone(pool));
        self.tasks.spawn(async move {
            let bought = inner.buy(pool.task).await;
            if let Err(error) = &bought {
                tracing::warn!(%error, task = %pool.task, "cannot buy a stack");
            }
            drop(permit);
            pool.set_failure(bought.err());
        });
    }

    /// Buys one Single stack of the task and makes it usable. A purchase whose outcome is not known comes
    /// first: while there is one, no other is made.
    pub(super) async fn buy(self: &Arc<Self>, task: TaskId) -> Result<Address, MarketError> {
        if let Some(stack) = self.finish_purchases(task).await? {
            return Ok(stack);
        }
        let held = self.journal.stacks().await?;
        let held = held.iter().filter(|row| row.task == task && row.state != StackState::Closed).count();
        if held >= self.policy.stacks_open_max {
            let message = format!("{held} stacks wait for their refund: buying no more for now");
            return Err(MarketError::Refused(message));
        }
        let catalog = self.fresh_catalog(super::CATALOG_LIFE).await;
        let row = catalog.task(task).ok_or_else(|| MarketError::Refused(format!("no task {task}")))?;
        let terms = catalog
            .terms(row, self.policy.units, self.policy.max_price)
            .map_err(|error| MarketError::Refused(error.to_string()))?
            .ok_or_else(|| MarketError::Refused("no node sells this model at an accepted price".into()))?;
        let label = new_label()?;
        let purchase = AcquireStack {
            task,
            request_key: self.market.request_key(&label).public_key(),
            units: terms.units,
            max_price: terms.max_price,
            selection: Selection::Single,
            nodes: 1,
            max_opens: 0,
            echelons: Vec::new(),
            payment: terms.payment,
        };
        let prepared = self.market.prepare_purchase(purchase).await?;
        let intent = Intent { label, task, prepared: prepared.bytes.clone() };
        self.journal.add_intent(&intent, now_ms()).await?;
        let stack = self.carry_out(&intent, prepared).await?;
        let row = StackRow { stack, label: intent.label, task, state: StackState::Open };
        self.take_up(&row).await?;
        tracing::info!(%stack, %task, units = %terms.units, "bought a stack");
        Ok(stack)
    }

    /// Carries out what is still open of the task's purchases, and takes up a stack that was bought but could
    /// not be read then. Returns it once it is usable.
    async fn finish_purchases(self: &Arc<Self>, task: TaskId) -> Result<Option<Address>, MarketError> {
        for intent in self.journal.intents().await?.iter().filter(|intent| intent.task == task) {
            self.finish_purchase(intent).await?;
        }
        for row in self.journal.stacks().await?.iter().filter(|row| row.task == task) {
            if self.channels_of(row.stack).is_empty() {
                self.take_up_open(row).await?;
                if !self.channels_of(row.stack).is_empty() {
                    return Ok(Some(row.stack));
                }
            }
        }
        Ok(None)
    }

    /// Carries out a purchase in the journal. An error leaves it open; that it came to nothing is none.
    async fn finish_purchase(&self, intent: &Intent) -> Result<(), MarketError> {
        match self.carry_out(intent, PreparedPurchase::from_bytes(intent.prepared.clone())).await {
            Err(error @ MarketError::Unknown(_)) => Err(error),
            Err(error) => {
                tracing::info!(%error, label = intent.label, "a purchase came to nothing");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Submits a kept purchase until its outcome is known, and writes that down. After
    /// [`MarketError::Unknown`] it is still in the journal, after any other error it never happens.
    async fn carry_out(&self, intent: &Intent, prepared: PreparedPurchase) -> Result<Address, MarketError> {
        let not_written = |error: JournalError| MarketError::Unknown(error.to_string());
        let mut submits = 0;
        loop {
            submits += 1;
            match self.market.submit_purchase(prepared.clone()).await {
                Ok(stack) => {
                    self.journal.fulfil_intent(intent, stack, now_ms()).await.map_err(not_written)?;
                    return Ok(stack);
                }
                Err(MarketError::Unknown(reason)) if submits >= SUBMITS => {
                    return Err(MarketError::Unknown(reason));
                }
                Err(MarketError::Unknown(reason)) => {
                    tracing::debug!(reason, "submitting a purchase again");
                    tokio::time::sleep(SUBMIT_PAUSE.saturating_mul(submits)).await;
                }
                Err(error) => {
                    self.journal.drop_intent(&intent.label).await.map_err(not_written)?;
                    return Err(error);
                }
            }
        }
    }
}

/// A name that no other purchase of this wallet has.
fn new_label() -> Result<String, MarketError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| MarketError::Refused("the system gave no randomness".into()))?;
    Ok(format!("stack/{}", hex::encode(bytes)))
}

/// What the chain says about a channel.
fn channel_terms(
    catalog: &Catalog,
    stack: &onchain::Stack,
    channel: &onchain::Channel,
    key: &SecretKey,
) -> Result<Terms, MarketError> {
    if stack.request_key != key.public_key() {
        return Err(MarketError::Refused(format!("stack {} has another request key", stack.id)));
    }
    let node: NodeId = channel.node;
    let row =
        catalog.node(node).ok_or_else(|| MarketError::Refused(format!("node {node} is not on chain")))?;
    Ok(Terms {
        db: stack.db,
        stack: stack.id,
        node,
        receipt_key: row.receipt_key,
        weights: stack.weights,
        price: channel.price,
        granted: channel.granted,
    })
}
