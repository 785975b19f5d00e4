//! `AtomaDb`: nodes, models, tasks with their lists of offers, the parameters, and all collateral.

use crate::context::TxContext;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::slots::Market;
use crate::table::Table;
use crate::task::TaskBadge;
use crate::{Result, VERSION};
use atoma_types::onchain::{Abort, Model, Node, Params, PendingParams, Stack, Subscription, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, TaskId};
use serde::{Deserialize, Serialize};

/// The shared database. Rows count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtomaDb {
    pub id: Address,
    pub version: u64,
    /// Stops purchases, nothing else.
    pub paused: bool,
    /// Read them with [`AtomaDb::params_at`].
    pub(crate) params: Params,
    pub(crate) pending: Option<PendingParams>,
    pub nodes: Table<u64, Node>,
    pub models: Table<u64, Model>,
    pub tasks: Table<u64, Task>,
    /// Offers by task.
    pub markets: Table<u64, Market>,
    /// What addresses may withdraw.
    pub dues: Table<Address, Amount>,
    /// `Balance<T>`: collateral, bookings and pots of all nodes, the dues, and what is to be burned or
    /// collected by the treasury.
    pub pool: Amount,
    pub to_burn: Amount,
    pub to_treasury: Amount,
    pub dues_total: Amount,
}

impl AtomaDb {
    pub(crate) fn new(params: Params, ctx: &mut TxContext) -> Self {
        Self {
            id: ctx.fresh_id(),
            version: VERSION,
            paused: false,
            params,
            pending: None,
            nodes: Table::new(ctx),
            models: Table::new(ctx),
            tasks: Table::new(ctx),
            markets: Table::new(ctx),
            dues: Table::new(ctx),
            pool: Amount::ZERO,
            to_burn: Amount::ZERO,
            to_treasury: Amount::ZERO,
            dues_total: Amount::ZERO,
        }
    }

    /// BCS of the object as it is on chain: tables are their ids and sizes.
    pub fn header_bytes(&self) -> std::result::Result<Vec<u8>, bcs::Error> {
        bcs::to_bytes(&(
            (self.id, self.version, self.paused, &self.params, &self.pending),
            (self.nodes.header(), self.models.header(), self.tasks.header(), self.markets.header()),
            (self.dues.header(), self.pool, self.to_burn, self.to_treasury, self.dues_total),
        ))
    }

    /// The parameters of an epoch: new ones hold from the epoch after the one in which they were set.
    pub fn params_at(&self, epoch: u64) -> &Params {
        match &self.pending {
            Some(pending) if pending.epoch <= epoch => &pending.params,
            _ => &self.params,
        }
    }

    pub fn node(&self, node: NodeId) -> Result<&Node> {
        self.nodes.get(node.0).ok_or(Abort::UnknownNode)
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(node.0).ok_or(Abort::UnknownNode)
    }

    pub fn model(&self, model: ModelId) -> Result<&Model> {
        self.models.get(model.0).ok_or(Abort::UnknownModel)
    }

    pub fn task(&self, task: TaskId) -> Result<&Task> {
        self.tasks.get(task.0).ok_or(Abort::UnknownTask)
    }

    pub(crate) fn task_mut(&mut self, task: TaskId) -> Result<&mut Task> {
        self.tasks.get_mut(task.0).ok_or(Abort::UnknownTask)
    }

    pub fn market(&self, task: TaskId) -> Result<&Market> {
        self.markets.get(task.0).ok_or(Abort::UnknownTask)
    }

    pub(crate) fn market_mut(&mut self, task: TaskId) -> Result<&mut Market> {
        self.markets.get_mut(task.0).ok_or(Abort::UnknownTask)
    }

    /// A node's subscription, whether it still runs or not.
    pub fn subscription(&self, task: TaskId, node: NodeId) -> Result<&Subscription> {
        self.market(task)?.subscriptions.get(node.0).ok_or(Abort::NotSubscribed)
    }

    /// What `to` may withdraw.
    pub fn due_of(&self, to: Address) -> Amount {
        self.dues.get(to).copied().unwrap_or(Amount::ZERO)
    }

    pub(crate) fn check_version(&self) -> Result {
        ensure(self.version == VERSION, Abort::Version)
    }

    pub(crate) fn check_stack(&self, stack: &Stack) -> Result {
        ensure(stack.version == VERSION, Abort::Version)?;
        ensure(stack.db == self.id, Abort::WrongDb)
    }

    /// The node whose badge this is.
    pub(crate) fn badge_node(&self, badge: &NodeBadge) -> Result<&Node> {
        ensure(badge.db == self.id, Abort::WrongDb)?;
        self.node(badge.node)
    }

    /// The task whose badge this is.
    pub(crate) fn badge_task(&self, badge: &TaskBadge) -> Result<&Task> {
        ensure(badge.db == self.id, Abort::WrongDb)?;
        self.task(badge.task)
    }

    /// Credits part of the pool to an address. That the pool holds it is the caller's business; the sums
    /// cannot overflow, being parts of the pool.
    pub(crate) fn credit(&mut self, to: Address, amount: Amount) -> Result {
        if amount.is_zero() {
            return Ok(());
        }
        let due = self.due_of(to).add(amount)?;
        let dues_total = self.dues_total.add(amount)?;
        self.dues.set(to, due);
        self.dues_total = dues_total;
        Ok(())
    }
}
