//! Tasks: a model at a security level under terms that never change. Offers for them are in
//! [`offer`](crate::offer).

use crate::context::{Owned, TxContext};
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::slots::Market;
use crate::{Result, params};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::event::{TaskCreated, TaskDeprecated, WhitelistSet};
use atoma_types::onchain::{Abort, AuditTerms, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, Price, TaskId};
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
    pub exact: bool,
    pub price_ceiling: Price,
    /// `weight_input` and `weight_output`.
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    pub whitelist: Vec<NodeId>,
    pub echelons: Vec<u64>,
    /// What is smaller than the parameter counts as the parameter.
    pub audit: AuditTerms,
}

/// Creates a task with its empty lists. The badge goes to the sender.
pub fn create(db: &mut AtomaDb, new: NewTask, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_new(&new)?;
    let params = db.params_at(ctx.epoch());
    check_audit(&new.audit, params.unit_ms)?;
    ensure(!db.model(new.model)?.disabled, Abort::ModelDisabled)?;
    let row = new_row(TaskId(db.tasks.size() + 1), ctx.sender(), new);
    let terms = params::of_task(params, &row)?;
    if row.level == 2 {
        params::check_terms(&terms)?;
    }

    let (task, owner) = (row.id, row.owner);
    let market = Market::new(&row.echelons, ctx);
    db.markets.set(task.0, market);
    let badge = TaskBadge { id: ctx.fresh_id(), db: db.id, task };
    ctx.transfer(Owned::TaskBadge(badge), owner);
    ctx.emit(created(&row));
    if !row.whitelist.is_empty() {
        ctx.emit(WhitelistSet { task, nodes: row.whitelist.clone() });
    }
    db.tasks.set(task.0, row);
    Ok(())
}

fn check_new(new: &NewTask) -> Result {
    ensure(new.role <= limits::ROLE_MAX, Abort::BadArgument)?;
    ensure(new.level <= limits::LEVEL_MAX, Abort::BadArgument)?;
    limits::check_quantity(new.price_ceiling.0)?;
    limits::check_quantity(new.weights.input)?;
    limits::check_quantity(new.weights.output)?;
    ensure(new.weights.input != 0 || new.weights.output != 0, Abort::BadArgument)?;
    ensure(new.surcharge_permille <= limits::SURCHARGE_PERMILLE_MAX, Abort::BadArgument)?;
    ensure(new.min_collateral.0 <= limits::COLLATERAL_MINIMUM_MAX, Abort::BadArgument)?;
    ensure(new.min_reputation <= limits::REPUTATION_MAX, Abort::BadArgument)?;
    ensure(new.whitelist.len() <= limits::WHITELIST_MAX, Abort::BadArgument)?;
    ensure(!new.echelons.is_empty(), Abort::BadArgument)?;
    limits::check_echelons(&new.echelons)
}

fn check_audit(audit: &AuditTerms, unit_ms: u64) -> Result {
    ensure(audit.p_min_ppb <= params::PPB && audit.p_stat_ppb <= params::PPB, Abort::BadArgument)?;
    ensure(audit.verifiers <= params::VERIFIERS_MAX, Abort::BadArgument)?;
    ensure(audit.records <= params::RECORDS_MAX, Abort::BadArgument)?;
    ensure(audit.min_claim.0 <= params::AMOUNT_MAX, Abort::BadArgument)?;
    check_window(audit.challenge_ms, unit_ms)?;
    check_window(audit.hold_ms, unit_ms)
}

fn check_window(window_ms: u64, unit_ms: u64) -> Result {
    ensure(window_ms <= params::WINDOW_MS_MAX && window_ms.is_multiple_of(unit_ms), Abort::BadArgument)
}

fn new_row(id: TaskId, owner: Address, new: NewTask) -> Task {
    Task {
        id,
        owner,
        role: new.role,
        model: new.model,
        level: new.level,
        exact: new.exact,
        price_ceiling: new.price_ceiling,
        weights: new.weights,
        surcharge_permille: new.surcharge_permille,
        min_collateral: new.min_collateral,
        min_reputation: new.min_reputation,
        whitelist: new.whitelist,
        echelons: new.echelons,
        deprecated: false,
        audit: new.audit,
    }
}

fn created(row: &Task) -> TaskCreated {
    let audit = row.audit;
    TaskCreated {
        task: row.id,
        owner: row.owner,
        role: row.role,
        model: row.model,
        level: row.level,
        exact: row.exact,
        price_ceiling: row.price_ceiling,
        weight_input: row.weights.input,
        weight_output: row.weights.output,
        surcharge_permille: row.surcharge_permille,
        min_collateral: row.min_collateral,
        min_reputation: row.min_reputation,
        echelons: row.echelons.clone(),
        p_min_ppb: audit.p_min_ppb,
        p_stat_ppb: audit.p_stat_ppb,
        verifiers: audit.verifiers,
        records: audit.records,
        min_claim: audit.min_claim,
        challenge_ms: audit.challenge_ms,
        hold_ms: audit.hold_ms,
    }
}

/// Ends sales and new offers for good. What was bought runs on.
pub fn deprecate(db: &mut AtomaDb, badge: &TaskBadge, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    ensure(!db.badge_task(badge)?.deprecated, Abort::TaskDeprecated)?;

    db.task_mut(badge.task)?.deprecated = true;
    ctx.emit(TaskDeprecated { task: badge.task });
    Ok(())
}

/// Names the nodes that may offer and be given channels; everyone if empty. Verifiers stay who they are:
/// whoever owns a task must not choose who judges a claim.
pub fn set_whitelist(db: &mut AtomaDb, badge: &TaskBadge, nodes: Vec<NodeId>, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    db.badge_task(badge)?;
    ensure(nodes.len() <= limits::WHITELIST_MAX, Abort::BadArgument)?;

    db.task_mut(badge.task)?.whitelist.clone_from(&nodes);
    ctx.emit(WhitelistSet { task: badge.task, nodes });
    Ok(())
}
