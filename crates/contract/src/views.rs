//! Read-only functions, called through simulation. Their results are what the chain would return as BCS.

use crate::Result;
use crate::db::AtomaDb;
use crate::slots::SlotList;
use crate::treasury::Treasury;
use atoma_types::onchain::{Model, Node, Params, Slot, Subscription, Task};
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

/// Every subscription to `task`, ended ones included, by node.
pub fn subscriptions(db: &AtomaDb, task: TaskId) -> Result<Vec<Subscription>> {
    Ok(db.market(task)?.subscriptions.values().cloned().collect())
}

/// The offers that hold at `epoch`, by echelon and position.
pub fn offers(db: &AtomaDb, task: TaskId, epoch: u64) -> Result<Vec<Slot>> {
    let live = |slot: &&Slot| slot.is_live_at(epoch);
    let of_list = |list: &SlotList| list.pages.values().flatten().filter(live).cloned().collect::<Vec<_>>();
    Ok(db.market(task)?.lists.values().flat_map(of_list).collect())
}

pub fn nodes(db: &AtomaDb) -> Vec<Node> {
    db.nodes.values().cloned().collect()
}

pub fn tasks(db: &AtomaDb) -> Vec<Task> {
    db.tasks.values().cloned().collect()
}

pub fn models(db: &AtomaDb) -> Vec<Model> {
    db.models.values().cloned().collect()
}

/// The parameters of an epoch.
pub fn params(db: &AtomaDb, epoch: u64) -> Params {
    db.params_at(epoch).clone()
}

/// What the treasury holds, without what was burned.
pub fn treasury(treasury: &Treasury) -> Amount {
    treasury.balance
}
