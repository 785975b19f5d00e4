//! Read-only functions, called through simulation. Their results are what the chain would return as BCS.

use crate::Result;
use crate::db::AtomaDb;
use crate::treasury::Treasury;
use atoma_types::onchain::{Model, Node, Params, Subscription, Task};
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

/// Every subscription to `task`, in the order of their slots.
pub fn subscriptions(db: &AtomaDb, task: TaskId) -> Result<Vec<Subscription>> {
    Ok(db.market(task)?.slots.values().map(|slot| slot.subscription.clone()).collect())
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

pub fn params(db: &AtomaDb) -> Params {
    db.params.clone()
}

/// What the treasury holds, without what was burned.
pub fn treasury(treasury: &Treasury) -> Amount {
    treasury.balance
}
