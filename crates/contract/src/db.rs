//! `AtomaDb`: nodes, models, tasks with their subscribers, and the parameters.

use crate::context::TxContext;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::treasury::Treasury;
use crate::{Result, VERSION};
use atoma_types::onchain::{Abort, Model, Node, Params, Stack, Subscription, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `sui::table::Table<u64, V>`: on chain an id and a size, the rows being dynamic fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table<V> {
    pub id: Address,
    rows: BTreeMap<u64, V>,
}

impl<V> Table<V> {
    pub(crate) fn new(ctx: &mut TxContext) -> Self {
        Self { id: ctx.fresh_id(), rows: BTreeMap::new() }
    }

    pub fn get(&self, key: u64) -> Option<&V> {
        self.rows.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.rows.get_mut(&key)
    }

    pub fn contains(&self, key: u64) -> bool {
        self.rows.contains_key(&key)
    }

    pub(crate) fn add(&mut self, key: u64, value: V) {
        self.rows.insert(key, value);
    }

    pub fn size(&self) -> u64 {
        // A map in memory cannot hold more than u64::MAX rows.
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values()
    }

    fn header(&self) -> TableHeader {
        TableHeader { id: self.id, size: self.size() }
    }
}

#[derive(Serialize)]
struct TableHeader {
    id: Address,
    size: u64,
}

/// One subscriber in a task's list of slots, with what a draw needs beside the node's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub subscription: Subscription,
    /// min(collateral when subscribing, the task's weight cap).
    pub weight: Amount,
}

/// The subscribers of one task. Slots count from 0 and are never removed; a node has at most one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    pub slots: Table<Slot>,
    /// Slot by node.
    pub slot_of: Table<u64>,
}

/// The shared database. Rows count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtomaDb {
    pub id: Address,
    pub version: u64,
    /// Stops purchases, nothing else.
    pub paused: bool,
    pub params: Params,
    pub nodes: Table<Node>,
    pub models: Table<Model>,
    pub tasks: Table<Task>,
    /// Subscribers by task.
    pub markets: Table<Market>,
    /// `Balance<T>`: the collateral of all nodes.
    pub collateral: Amount,
}

/// Makes the two shared objects of a new market.
pub fn genesis(params: Params, ctx: &mut TxContext) -> (AtomaDb, Treasury) {
    let db = AtomaDb {
        id: ctx.fresh_id(),
        version: VERSION,
        paused: false,
        params,
        nodes: Table::new(ctx),
        models: Table::new(ctx),
        tasks: Table::new(ctx),
        markets: Table::new(ctx),
        collateral: Amount::ZERO,
    };
    let treasury = Treasury::new(db.id, ctx);
    (db, treasury)
}

impl AtomaDb {
    /// BCS of the object as it is on chain: tables are their ids and sizes.
    pub fn header_bytes(&self) -> std::result::Result<Vec<u8>, bcs::Error> {
        bcs::to_bytes(&(
            self.id,
            self.version,
            self.paused,
            &self.params,
            self.nodes.header(),
            self.models.header(),
            self.tasks.header(),
            self.markets.header(),
            self.collateral,
        ))
    }

    pub fn node(&self, node: NodeId) -> Result<&Node> {
        self.nodes.get(node.0).ok_or(Abort::UnknownNode)
    }

    pub fn model(&self, model: ModelId) -> Result<&Model> {
        self.models.get(model.0).ok_or(Abort::UnknownModel)
    }

    pub fn task(&self, task: TaskId) -> Result<&Task> {
        self.tasks.get(task.0).ok_or(Abort::UnknownTask)
    }

    pub fn market(&self, task: TaskId) -> Result<&Market> {
        self.markets.get(task.0).ok_or(Abort::UnknownTask)
    }

    pub fn slot(&self, task: TaskId, node: NodeId) -> Result<&Slot> {
        let market = self.market(task)?;
        let index = market.slot_of.get(node.0).ok_or(Abort::NotSubscribed)?;
        market.slots.get(*index).ok_or(Abort::NotSubscribed)
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

    pub(crate) fn badge_node_mut(&mut self, badge: &NodeBadge) -> Result<&mut Node> {
        ensure(badge.db == self.id, Abort::WrongDb)?;
        self.nodes.get_mut(badge.node.0).ok_or(Abort::UnknownNode)
    }

    /// Collateral a node needs for a task: the task's minimum, at least the network's.
    pub fn collateral_minimum(&self, task: &Task) -> Amount {
        task.min_collateral.max(self.params.min_collateral)
    }

    /// Most that a subscriber weighs in a draw: as many minima of the task as the parameters' cap is of
    /// the network's minimum.
    pub fn weight_cap(&self, task: &Task) -> Result<Amount> {
        let product = u128::from(self.collateral_minimum(task).0) * u128::from(self.params.weight_cap.0);
        let cap = product / u128::from(self.params.min_collateral.0.max(1));
        u64::try_from(cap.max(1)).map(Amount).map_err(|_| Abort::Arithmetic)
    }
}
