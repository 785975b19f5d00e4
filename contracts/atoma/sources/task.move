/// Tasks: a model at a security level under terms that never change. Offers for them are in `offer`.
module atoma::task;

use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::params;
use atoma_base::rows::{Self, Task};
use atoma_base::slots;

/// The right to act for a task.
public struct TaskBadge has key, store {
    id: UID,
    db: address,
    task: u64,
}

/// Creates a task with its empty lists. By anyone; the badge goes to the sender. An audit term that is smaller than
/// the parameter counts as the parameter. Aborts `EModelDisabled`, at level 2 `EBadParams` if what is bought under
/// these terms could outlive collateral.
public fun create<T>(
    db: &mut AtomaDb<T>,
    role: u8,
    model: u64,
    level: u8,
    exact: bool,
    price_ceiling: u64,
    weight_input: u64,
    weight_output: u64,
    surcharge_permille: u64,
    min_collateral: u64,
    min_reputation: u64,
    whitelist: vector<u64>,
    echelons: vector<u64>,
    p_min_ppb: u64,
    p_stat_ppb: u64,
    verifiers: u64,
    records: u64,
    min_claim: u64,
    challenge_ms: u64,
    hold_ms: u64,
    ctx: &mut TxContext,
) {
    db.check_version();
    let params = db.params_at(ctx.epoch());
    let (task, owner) = (db.tasks() + 1, ctx.sender());
    let row = rows::new_task(
        task,
        owner,
        role,
        model,
        level,
        exact,
        price_ceiling,
        weight_input,
        weight_output,
        surcharge_permille,
        min_collateral,
        min_reputation,
        whitelist,
        echelons,
        p_min_ppb,
        p_stat_ppb,
        verifiers,
        records,
        min_claim,
        challenge_ms,
        hold_ms,
        params.unit_ms(),
    );
    require(!db.model(model).disabled(), errors::model_disabled!());
    if (level == 2) params::check_terms(&params::of_task(params, &row));

    db.add_task(row, slots::new_market(&echelons, ctx));
    let badge = TaskBadge { id: object::new(ctx), db: db.addr(), task };
    events::task_created(
        task,
        owner,
        role,
        model,
        level,
        exact,
        price_ceiling,
        weight_input,
        weight_output,
        surcharge_permille,
        min_collateral,
        min_reputation,
        echelons,
        p_min_ppb,
        p_stat_ppb,
        verifiers,
        records,
        min_claim,
        challenge_ms,
        hold_ms,
    );
    if (!whitelist.is_empty()) events::whitelist_set(task, whitelist);
    transfer::transfer(badge, owner)
}

/// Ends sales and new offers for good. By the badge. What was bought runs on. Aborts `ETaskDeprecated` the second
/// time.
public fun deprecate<T>(db: &mut AtomaDb<T>, badge: &TaskBadge) {
    db.check_version();
    let task = badge_task(db, badge);
    require(!task.deprecated(), errors::task_deprecated!());

    task.deprecate();
    events::task_deprecated(badge.task);
}

/// Names the nodes that may offer and be given channels; everyone if empty. By the badge. Verifiers stay who they
/// are: whoever owns a task must not choose who judges a claim.
public fun set_whitelist<T>(db: &mut AtomaDb<T>, badge: &TaskBadge, nodes: vector<u64>) {
    db.check_version();
    let task = badge_task(db, badge);
    require(nodes.length() <= limits::whitelist_max!(), errors::bad_argument!());

    task.set_whitelist(nodes);
    events::whitelist_set(badge.task, nodes);
}

fun badge_task<T>(db: &mut AtomaDb<T>, badge: &TaskBadge): &mut Task {
    db.check_db(badge.db);
    db.task_mut(badge.task)
}
