//! Buying stacks, taking up those bought before, and having them grow.

use super::pay::{About, new_label};
use super::plan::{Candidate, Growth, Holding, Part, Wish};
use super::pool::{END_MARGIN_MS, Pool};
use super::send::has_ended;
use super::{Inner, Quote};
use crate::catalog::Catalog;
use crate::channel::{Channel, Identity};
use crate::journal::{Intent, Kind, StackRow, StackState};
use crate::ledger::{Ledger, Terms};
use crate::market::MarketError;
use crate::route::{Health, Route};
use atoma_chain::{AcquireStack, Call, Grow, OpenChannel};
use atoma_types::message::Message as _;
use atoma_types::onchain::{self, Selection};
use atoma_types::{Address, Amount, ArithmeticError, Grant, NodeId, Price, SecretKey, TaskId, Units};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When what could not be bought ahead is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A request that found no place.
#[derive(Clone, Debug)]
pub(super) struct Need {
    units: Units,
    /// No channel above it is used for the request.
    max_price: Price,
    route: Route,
}

impl Need {
    pub(super) fn of(quote: &Quote) -> Self {
        Self { units: quote.max_units, max_price: quote.max_price, route: quote.route.clone() }
    }

    /// Whether the route asks for certain nodes, which a draw may miss.
    fn is_particular(&self) -> bool {
        !self.route.only.is_empty() || !self.route.ignore.is_empty()
    }
}

impl Inner {
    /// Finishes what a crash interrupted, and takes up the stacks in the journal.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), MarketError> {
        if let Err(error) = self.finish(|_| true).await {
            tracing::warn!(%error, "a transaction from before is still open");
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
    async fn take_up_open(&self, row: &StackRow) -> Result<(), MarketError> {
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

    /// Makes the channels of a stack usable, with all that they are granted now.
    pub(super) async fn take_up(&self, row: &StackRow) -> Result<(), MarketError> {
        let Some(stack) = self.market.stack(row.stack).await? else {
            tracing::info!(stack = %row.stack, "a stack is gone from the chain");
            return Ok(self.journal.set_stack_state(row.stack, StackState::Closed).await?);
        };
        let (catalog, pool) = (self.catalog(), self.pool(row.task));
        pool.want();
        let known = self.channels_of(row.stack);
        for channel in &stack.channels {
            let key = self.market.request_key(&row.label);
            if let Some(known) = known.iter().find(|known| known.identity().node == channel.node) {
                known.raise(grant_of(&stack, channel).sign(&key));
                if channel.closed_ms != 0 {
                    known.set_closing();
                }
                continue;
            }
            let terms = channel_terms(&catalog, &stack, channel, &key)?;
            let history = self.journal.history(stack.id, channel.node).await?;
            let receipts = history.receipts.iter().map(|signed| &signed.message);
            let ledger = Ledger::restore(terms, receipts, history.open, history.ended)
                .map_err(|error| MarketError::Refused(format!("the journal is damaged: {error}")))?;
            let identity =
                Identity { stack: stack.id, node: channel.node, task: row.task, ends_ms: stack.ends_ms() };
            let freed = Arc::clone(&pool.freed);
            let (journal, patience) = (self.journal.clone(), self.policy.patience);
            let standing = self.standing(identity.node);
            let channel = Channel::new(identity, key, journal, ledger, freed, patience, standing);
            if has_ended(&stack, channel.identity().node) {
                channel.set_closing();
            }
            if stack.channels.len() > 1 {
                channel.take_over();
            }
            pool.add(Arc::new(channel));
        }
        pool.set_stack(stack);
        pool.freed.notify_waiters();
        Ok(())
    }

    /// Buys until the policy is met.
    pub(super) async fn stock(self: &Arc<Self>, pool: &Arc<Pool>) -> Result<(), MarketError> {
        let permit = Arc::clone(&pool.buying).acquire_owned().await;
        let _permit = permit.map_err(|_| MarketError::Refused("shutting down".into()))?;
        pool.want();
        self.finish_purchases(pool.task).await?;
        while self.lacks_stock(pool) {
            self.buy(pool, None).await?;
        }
        Ok(())
    }

    pub(super) fn lacks_stock(&self, pool: &Pool) -> bool {
        pool.well_stocked(self.share(pool), self.policy.low_water_permille) < self.policy.stacks_per_task
    }

    /// Finds room for a request unless somebody is at it. The task goes on if the request goes away.
    pub(super) fn make_room(self: &Arc<Self>, pool: &Arc<Pool>, need: Need) {
        pool.want();
        self.buy_in_background(pool, Some(need));
    }

    /// Has stacks grow, and buys, as far as that is due ahead of demand.
    pub(super) fn restock(self: &Arc<Self>, pool: &Arc<Pool>) {
        let grows = |stack: &Arc<onchain::Stack>| self.plan(pool, stack, None).is_some();
        if self.lacks_stock(pool) || pool.stacks().iter().any(grows) {
            self.buy_in_background(pool, None);
        }
    }

    /// Measures what is used of each task, has what is wanted grow, and leaves what nobody asks for.
    pub(super) fn supply(self: &Arc<Self>) {
        let (supply, now) = (&self.policy.supply, Instant::now());
        for pool in self.pools() {
            pool.observe(supply.average, now);
            let failed = pool.failure().is_some_and(|failure| failure.at.elapsed() < RETRY_AFTER);
            if !pool.is_wanted(supply.idle) {
                if self.policy.tidy {
                    let channels = pool.channels();
                    channels
                        .iter()
                        .filter(|channel| channel.in_flight() == 0)
                        .for_each(|one| one.set_closing());
                }
            } else if self.policy.ahead && !failed {
                self.restock(&pool);
            }
        }
    }

    fn buy_in_background(self: &Arc<Self>, pool: &Arc<Pool>, need: Option<Need>) {
        if self.stopping.is_cancelled() {
            return;
        }
        let Ok(permit) = Arc::clone(&pool.buying).try_acquire_owned() else { return };
        let (inner, pool) = (Arc::clone(self), Arc::clone(pool));
        self.tasks.spawn(async move {
            let bought = inner.provide(&pool, need.as_ref()).await;
            if let Err(error) = &bought {
                tracing::warn!(%error, task = %pool.task, "cannot buy");
            }
            drop(permit);
            pool.set_failure(bought.err());
        });
    }

    /// Has a stack grow, or buys one. Only one runs per task.
    async fn provide(self: &Arc<Self>, pool: &Arc<Pool>, need: Option<&Need>) -> Result<(), MarketError> {
        if self.finish_purchases(pool.task).await?.is_some() {
            return Ok(());
        }
        for row in self.open_rows(pool.task).await? {
            match self.grow(pool, &row, need).await {
                Ok(true) if need.is_some() => return Ok(()),
                Err(MarketError::Refused(reason)) => {
                    tracing::warn!(reason, stack = %row.stack, "a stack does not grow");
                }
                grown => {
                    grown?;
                }
            }
        }
        if need.is_some() || self.lacks_stock(pool) {
            self.buy(pool, need).await?;
        }
        Ok(())
    }

    async fn open_rows(&self, task: TaskId) -> Result<Vec<StackRow>, MarketError> {
        let rows = self.journal.stacks().await?.into_iter();
        Ok(rows.filter(|row| row.task == task && row.state == StackState::Open).collect())
    }

    /// Carries out what is still open of the task's purchases, and takes up a stack that was bought but could
    /// not be read then. Returns it once it is usable.
    pub(super) async fn finish_purchases(&self, task: TaskId) -> Result<Option<Address>, MarketError> {
        let buys = |kind| matches!(kind, Kind::Purchase | Kind::Growth);
        let is_meant = |intent: &Intent| intent.task == task && buys(intent.kind);
        let open = self.journal.intents().await?;
        let grown: Vec<_> = open.iter().filter(|one| is_meant(one)).filter_map(|one| one.stack).collect();
        self.finish(is_meant).await?;
        let mut found = None;
        for row in self.open_rows(task).await? {
            let is_new = self.channels_of(row.stack).is_empty();
            if is_new || grown.contains(&row.stack) {
                self.take_up_open(&row).await?;
            }
            if is_new && !self.channels_of(row.stack).is_empty() {
                found = found.or(Some(row.stack));
            }
        }
        Ok(found)
    }

    /// Buys one stack of the task and makes it usable.
    pub(super) async fn buy(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        need: Option<&Need>,
    ) -> Result<Address, MarketError> {
        let task = pool.task;
        let held = self.journal.stacks().await?;
        let held = held.iter().filter(|row| row.task == task && row.state != StackState::Closed).count();
        if held >= self.policy.stacks_open_max {
            let message = format!("{held} stacks wait for their refund: buying no more for now");
            return Err(MarketError::Refused(message));
        }
        let catalog = self.fresh_catalog(super::CATALOG_LIFE).await;
        let row = catalog.task(task).ok_or_else(|| MarketError::Refused(format!("no task {task}")))?;
        let none = || MarketError::Refused("no node sells this model at an accepted price".into());
        let cap =
            [self.policy.max_price, need.and_then(|need| need.route.max_price)].into_iter().flatten().min();
        let fits = |need: &Need| {
            let mut offers = catalog.live_offers(task);
            offers.any(|one| {
                let price = cap.is_none_or(|cap| one.price <= cap);
                need.route.allows(one.node) && price && one.max_units >= need.units
            })
        };
        if !need.is_none_or(fits) {
            return Err(none());
        }
        let units = need.map_or(Units::ZERO, |need| need.units).max(self.share(pool));
        let terms = catalog.terms(row, units, cap);
        let terms = terms.map_err(|error| MarketError::Refused(error.to_string()))?.ok_or_else(none)?;
        let label = new_label("stack")?;
        let particular = need.is_some_and(Need::is_particular);
        let selection = if particular { Selection::Any } else { self.policy.selection };
        let sellers = catalog.live_offers(task).filter(|one| one.price <= terms.max_price).count();
        let nodes = match selection {
            Selection::Single => 1,
            Selection::Limited => self.policy.nodes.clamp(1, sellers.max(1)),
            Selection::Any => 0,
        };
        let purchase = AcquireStack {
            task,
            request_key: self.market.request_key(&label).public_key(),
            units: terms.units,
            max_price: terms.max_price,
            selection,
            nodes: u64::try_from(nodes).unwrap_or(u64::MAX),
            max_opens: 0,
            echelons: Vec::new(),
            payment: terms.payment,
        };
        let about = About { kind: Kind::Purchase, task, stack: None };
        let done = self.transact(about, &label, Call::AcquireStack(purchase)).await?;
        let stack = done.bought.ok_or_else(|| MarketError::Unknown("no stack is named".into()))?;
        tracing::info!(%stack, %task, units = %terms.units, ?selection, "bought a stack");
        let row = StackRow { stack, label, task, state: StackState::Open };
        self.take_up(&row).await?;
        if selection != Selection::Single {
            self.grow(pool, &row, need).await?;
            if self.channels_of(stack).is_empty() {
                return Err(MarketError::Refused("no node takes units of the new stack".into()));
            }
        }
        Ok(stack)
    }

    /// Has a stack grow as far as that is due, for a request or ahead of demand. Returns whether it did.
    async fn grow(&self, pool: &Pool, row: &StackRow, need: Option<&Need>) -> Result<bool, MarketError> {
        let is_due = |stack: Arc<onchain::Stack>| self.plan(pool, &stack, need).is_some();
        if !pool.stack(row.stack).is_some_and(is_due) {
            return Ok(false);
        }
        // Nodes may have opened channels with grants since.
        let Some(stack) = self.market.stack(row.stack).await? else { return Ok(false) };
        let Some(growth) = self.plan(pool, &stack, need) else {
            self.take_up(row).await?;
            return Ok(false);
        };
        self.carry_growth(row, &stack, growth).await?;
        Ok(true)
    }

    fn plan(&self, pool: &Pool, stack: &onchain::Stack, need: Option<&Need>) -> Option<Growth> {
        if self.clock.now_ms().saturating_add(END_MARGIN_MS) >= stack.ends_ms() {
            return None;
        }
        let (wish, holding) = (self.wish(pool, stack), self.holding(stack, need));
        match need {
            Some(need) => holding.grow_for(need.units, wish),
            None => holding.grow_ahead(wish),
        }
    }

    /// What a stack should have by the use of its task.
    fn wish(&self, pool: &Pool, stack: &onchain::Stack) -> Wish {
        let nodes = if stack.selection == Selection::Single { 1 } else { self.policy.nodes };
        // Without buying ahead, only what was bought already is granted where it is used.
        let low_permille = if self.policy.ahead { self.policy.low_water_permille } else { 0 };
        Wish { share: self.share(pool), low_permille, nodes }
    }

    /// Units that each stack of a task should have left.
    fn share(&self, pool: &Pool) -> Units {
        let stacks = u64::try_from(self.policy.stacks_per_task.max(1)).unwrap_or(u64::MAX);
        let wanted = pool.units_for(self.policy.supply.horizon).min(self.policy.supply.units_max);
        Units(wanted.0.div_ceil(stacks)).max(self.policy.units)
    }

    pub(super) fn holding(&self, stack: &onchain::Stack, need: Option<&Need>) -> Holding {
        let (catalog, now) = (self.catalog(), Instant::now());
        let most = self.policy.max_price.unwrap_or(Price::MAX);
        let cap = need.and_then(|need| need.route.max_price).map_or(most, |price| price.min(most));
        let usable_at = need.map_or(cap, |need| need.max_price.min(cap));
        let is_meant = |node| need.is_none_or(|need| need.route.allows(node));
        let is_well = |node| self.standing(node).health(now) != Health::Resting;
        let offer = |node| catalog.live_offers(stack.task).find(|offer| offer.node == node);
        let part = |channel: &Arc<Channel>| {
            let (summary, node) = (channel.summary(), channel.identity().node);
            Part {
                node,
                price: channel.price(),
                granted: summary.granted,
                left: summary.granted.saturating_sub(summary.total_units),
                most: offer(node).map_or(Units::ZERO, |offer| offer.max_units),
                is_well: is_well(node),
            }
        };
        let channels = self.channels_of(stack.id);
        let usable = |channel: &&Arc<Channel>| {
            let summary = channel.summary();
            summary.ended.is_none() && !summary.closing && channel.price() <= usable_at
        };
        let mut others: Vec<Candidate> = Vec::new();
        if let Some(task) = catalog.task(stack.task) {
            let may = |node: NodeId| match stack.selection {
                // Standbys of a draw only take what the drawn node passes on.
                Selection::Single => false,
                Selection::Limited => stack.drawn.contains(&node),
                Selection::Any => task.whitelist.is_empty() || task.whitelist.contains(&node),
            };
            let open = catalog.live_offers(stack.task).filter(|offer| {
                let price = offer.price <= stack.max_price && offer.price <= cap;
                price && may(offer.node) && stack.channel(offer.node).is_none()
            });
            others.extend(open.map(|offer| {
                let (node, price, most) = (offer.node, offer.price, offer.max_units);
                Candidate { node, price, most }
            }));
        }
        // By what was seen of them; who is not known is tried before who is slow.
        others.retain(|other| is_meant(other.node));
        // One that rests is better than none at all.
        if others.iter().any(|other| is_well(other.node)) || !channels.is_empty() {
            others.retain(|other| is_well(other.node));
        }
        others.sort_by_key(|other| (self.standing(other.node).latency_us(now), other.price, other.node));
        Holding {
            ungranted: stack.total_units.saturating_sub(stack.granted_units),
            may_top_up: !self.ends_soon(stack) && stack.max_price <= most,
            channels: channels
                .iter()
                .filter(usable)
                .filter(|channel| is_meant(channel.identity().node))
                .map(part)
                .collect(),
            others,
        }
    }

    /// Whether a stack's time is over before what would be bought for it is used.
    fn ends_soon(&self, stack: &onchain::Stack) -> bool {
        let horizon = u64::try_from(self.policy.supply.horizon.as_millis()).unwrap_or(u64::MAX);
        let life = stack.expires_ms.saturating_sub(stack.created_ms);
        self.clock.now_ms().saturating_add(horizon.min(life / 2)) >= stack.ends_ms()
    }

    /// Tops up and grants, in one transaction.
    async fn carry_growth(
        &self,
        row: &StackRow,
        stack: &onchain::Stack,
        growth: Growth,
    ) -> Result<(), MarketError> {
        let payment =
            top_up_cost(stack, growth.buy).map_err(|error| MarketError::Refused(error.to_string()))?;
        let opens = growth.grants.iter().map(|(node, units, max_price)| OpenChannel {
            stack: stack.id,
            node: *node,
            units: *units,
            max_price: *max_price,
            nonce: stack.channel(*node).map_or(1, |channel| channel.grant_nonce.saturating_add(1)),
            signature: None,
        });
        let grow = Grow { stack: stack.id, units: growth.buy, payment, opens: opens.collect() };
        let about = About { kind: Kind::Growth, task: row.task, stack: Some(stack.id) };
        let grown = self.transact(about, &new_label("growth")?, Call::Grow(grow)).await;
        if let Err(MarketError::Refused(_)) = &grown {
            // Somebody of them does not take it: others are looked for next time.
            let new = growth.grants.iter().filter(|(node, ..)| stack.channel(*node).is_none());
            new.for_each(|(node, ..)| self.standing(*node).distrust(Instant::now()));
        }
        grown?;
        tracing::info!(stack = %stack.id, bought = %growth.buy, grants = growth.grants.len(), "a stack grew");
        self.take_up(row).await
    }

    /// Buys more units for a stack and grants them.
    pub(super) async fn top_up(&self, row: &StackRow, units: Units) -> Result<(), MarketError> {
        let gone = || MarketError::Refused(format!("stack {} is not on chain", row.stack));
        let stack = self.market.stack(row.stack).await?.ok_or_else(gone)?;
        let ungranted = stack.total_units.saturating_sub(stack.granted_units);
        let nodes = if stack.selection == Selection::Single { 1 } else { self.policy.nodes };
        let share = Units(ungranted.0.saturating_add(units.0));
        let holding = Holding { ungranted: share, may_top_up: false, ..self.holding(&stack, None) };
        let planned = holding.grow_ahead(Wish { share, low_permille: 1_000, nodes });
        let grants = planned.map(|growth| growth.grants).unwrap_or_default();
        if grants.is_empty() {
            let message = "no node of the stack takes on more units: buy another stack";
            return Err(MarketError::Refused(message.into()));
        }
        self.carry_growth(row, &stack, Growth { buy: units, grants }).await
    }
}

/// What more units of a stack cost, with their surcharge.
fn top_up_cost(stack: &onchain::Stack, units: Units) -> Result<Amount, ArithmeticError> {
    let before = stack.max_price.cost(stack.total_units)?;
    let after = stack.max_price.cost(stack.total_units.add(units)?)?;
    let surcharge = after.share(stack.surcharge.permille)?.sub(stack.surcharge.escrowed)?;
    after.sub(before)?.add(surcharge)
}

/// What the chain grants, as the user would sign it.
fn grant_of(stack: &onchain::Stack, channel: &onchain::Channel) -> Grant {
    Grant {
        db: stack.db,
        stack: stack.id,
        node: channel.node,
        units: channel.granted,
        max_price: channel.price,
        nonce: channel.grant_nonce,
    }
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
