//! Tasks, and nodes' subscriptions to them.

use crate::Result;
use crate::context::{Owned, TxContext};
use crate::db::{AtomaDb, Market, Slot, Table};
use crate::limits::{self, ensure};
use crate::node::{self, NodeBadge};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::event::{Subscribed, TaskCreated};
use atoma_types::onchain::{Abort, Subscription, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, Price, TaskId, Units};
use serde::{Deserialize, Serialize};

/// The right to act for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBadge {
    pub id: Address,
    pub db: Address,
    pub task: TaskId,
}

/// Arguments of [`create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    pub role: u8,
    pub model: ModelId,
    pub level: u8,
    pub price_ceiling: Price,
    /// `weight_input` and `weight_output`.
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    pub whitelist: Vec<NodeId>,
}

/// Creates a task; its terms never change. The badge goes to the sender.
pub fn create(db: &mut AtomaDb, new: NewTask, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_terms(&new)?;
    ensure(!db.model(new.model)?.disabled, Abort::ModelDisabled)?;

    let task = TaskId(db.tasks.size() + 1);
    let owner = ctx.sender();
    let row = Task {
        id: task,
        owner,
        role: new.role,
        model: new.model,
        level: new.level,
        price_ceiling: new.price_ceiling,
        weights: new.weights,
        surcharge_permille: new.surcharge_permille,
        min_collateral: new.min_collateral,
        min_reputation: new.min_reputation,
        whitelist: new.whitelist,
        deprecated: false,
    };
    ctx.emit(TaskCreated {
        task,
        owner,
        role: row.role,
        model: row.model,
        level: row.level,
        price_ceiling: row.price_ceiling,
    });
    db.tasks.add(task.0, row);
    let market = Market { slots: Table::new(ctx), slot_of: Table::new(ctx) };
    db.markets.add(task.0, market);
    let badge = TaskBadge { id: ctx.fresh_id(), db: db.id, task };
    ctx.transfer(Owned::TaskBadge(badge), owner);
    Ok(())
}

fn check_terms(new: &NewTask) -> Result {
    ensure(new.role <= limits::ROLE_MAX, Abort::BadArgument)?;
    ensure(limits::LEVELS.contains(&new.level), Abort::BadArgument)?;
    limits::check_quantity(new.price_ceiling.0)?;
    limits::check_quantity(new.weights.input)?;
    limits::check_quantity(new.weights.output)?;
    ensure(new.weights.input != 0 || new.weights.output != 0, Abort::BadArgument)?;
    ensure(new.surcharge_permille <= limits::SURCHARGE_PERMILLE_MAX, Abort::BadArgument)?;
    ensure(new.min_collateral.0 <= limits::COLLATERAL_MINIMUM_MAX, Abort::BadArgument)?;
    ensure(new.min_reputation <= limits::REPUTATION_MAX, Abort::BadArgument)?;
    ensure(new.whitelist.len() <= limits::WHITELIST_MAX, Abort::BadArgument)
}

/// Arguments of [`subscribe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub task: TaskId,
    pub price: Price,
    pub max_units: Units,
    pub echelon: u64,
}

/// Offers the badge's node for a task, once.
pub fn subscribe(db: &mut AtomaDb, badge: &NodeBadge, offer: Offer, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    let node = db.badge_node(badge)?;
    ensure(node.disabled_ms == 0, Abort::NodeDisabled)?;
    let task = db.task(offer.task)?;
    check_offer(&offer, task)?;
    ensure(task.whitelist.is_empty() || task.whitelist.contains(&badge.node), Abort::NotWhitelisted)?;
    ensure(node.collateral >= db.collateral_minimum(task), Abort::Collateral)?;
    ensure(node::reputation(node, ctx.epoch()) >= task.min_reputation, Abort::NotEligible)?;
    ensure(!db.market(offer.task)?.slot_of.contains(badge.node.0), Abort::AlreadySubscribed)?;
    let weight = node.collateral.min(db.weight_cap(task)?);

    let Offer { task, price, max_units, echelon } = offer;
    let market = db.markets.get_mut(task.0).ok_or(Abort::UnknownTask)?;
    let index = market.slots.size();
    let subscription = Subscription { task, node: badge.node, price, max_units, echelon };
    market.slots.add(index, Slot { subscription, weight });
    market.slot_of.add(badge.node.0, index);
    ctx.emit(Subscribed { task, node: badge.node, price, max_units, echelon });
    Ok(())
}

fn check_offer(offer: &Offer, task: &Task) -> Result {
    ensure(!task.deprecated, Abort::TaskDeprecated)?;
    ensure(offer.price <= task.price_ceiling, Abort::PriceTooHigh)?;
    ensure(!offer.max_units.is_zero(), Abort::BadArgument)?;
    limits::check_quantity(offer.max_units.0)?;
    ensure(offer.echelon < limits::ECHELONS_MAX, Abort::BadArgument)
}
