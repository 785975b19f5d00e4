//! Read-only functions, called through simulation. Their results are what the chain would return as BCS.

use crate::Result;
use crate::db::AtomaDb;
use crate::table::Table;
use crate::treasury::Treasury;
use atoma_types::onchain::{Abort, Model, Node, Params, Slot, Subscription, Task};
use atoma_types::{Amount, ModelId, NodeId, TaskId};

pub fn node(db: &AtomaDb, id: NodeId) -> Result<Node> {
    db.node(id).cloned()
}

pub fn model(db: &AtomaDb, id: ModelId) -> Result<Model> {
    db.model(id).cloned()
}

pub fn task(db: &AtomaDb, id: TaskId) -> Result<Task> {
    db.task(id).cloned()
}

/// A node's newest subscription to `task`, also if it ended.
pub fn subscription(db: &AtomaDb, task: TaskId, node: NodeId) -> Result<Subscription> {
    db.subscription(task, node).cloned()
}

/// The offers at `count` positions of an echelon's list, from position `from` on, dead ones included; fewer at the
/// end of the list.
pub fn offers(db: &AtomaDb, task: TaskId, echelon: u64, from: u64, count: u64) -> Result<Vec<Slot>> {
    let list = db.market(task)?.lists.get(echelon).ok_or(Abort::BadArgument)?;
    let positions = from..from.saturating_add(count).min(list.size);
    Ok(positions.filter_map(|position| list.slot(position)).cloned().collect())
}

/// `count` nodes from id `from` on; fewer when there are no more. A transaction reads about a thousand rows.
pub fn nodes(db: &AtomaDb, from: u64, count: u64) -> Vec<Node> {
    page(&db.nodes, from, count)
}

pub fn tasks(db: &AtomaDb, from: u64, count: u64) -> Vec<Task> {
    page(&db.tasks, from, count)
}

pub fn models(db: &AtomaDb, from: u64, count: u64) -> Vec<Model> {
    page(&db.models, from, count)
}

/// Ids count from 1 without a gap.
fn page<V: Clone>(rows: &Table<u64, V>, from: u64, count: u64) -> Vec<V> {
    let ids = from.max(1)..from.max(1).saturating_add(count);
    ids.map_while(|id| rows.get(id).cloned()).collect()
}

/// The parameters of an epoch.
pub fn params(db: &AtomaDb, epoch: u64) -> Params {
    db.params_at(epoch).clone()
}

/// What the treasury holds, without what was burned.
pub fn treasury(treasury: &Treasury) -> Amount {
    treasury.balance
}
