/// Nodes' offers for tasks, as slots in the lists from which purchases and audits draw.
///
/// An offer is one slot of the echelon's list. A new price is another slot that holds from the next epoch on, when
/// the old one ends: a node alternates between two positions. As a verifier it has one position in the echelon's
/// list of verifiers, which it takes again only when what it stood for is over.
module atoma::offer;

use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma::node::{Self, NodeBadge};
use atoma_base::params::{Self, Params};
use atoma_base::rows::{Node, Task};
use atoma_base::slots::{Self, Subscription};
use sui::clock::Clock;

/// Offers the badge's node for a task: at once, or from the next epoch on if an earlier offer still holds in this
/// one. By the badge of an enabled node; counts as a write. The echelon is that of its first offer for this task for
/// ever; other hardware is another node. Aborts if the node does not meet the task's terms.
public fun subscribe<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    task: u64,
    price: u64,
    max_units: u64,
    echelon: u64,
    verifier: bool,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, epoch, clock_ms) = (badge.badge_id(), ctx.epoch(), clock.timestamp_ms());
    let node = node::check_enabled(db, badge);
    let row = db.task(task);
    require(!row.deprecated(), errors::task_deprecated!());
    check_price(row, price, max_units);
    require(row.echelons().contains(&echelon), errors::bad_argument!());
    require(row.allows(id), errors::not_whitelisted!());
    let terms = params::of_task(db.params_at(epoch), row);
    require(node.collateral() >= terms.min_collateral(), errors::collateral!());
    require(node.reputation_at(epoch) >= row.min_reputation(), errors::not_eligible!());
    let market = db.market(task);
    let before = market.offered(task, id, price, max_units, echelon);
    require(market.running(&before).is_none(), errors::already_subscribed!());
    let from_epoch = market.free_epoch(&before, epoch);
    let position = market.free_position(&before, epoch);
    if (verifier) check_verifier(db, row, node, &before, &terms, clock_ms);
    let slot = slots::new_slot(id, weight(node, &terms), price, max_units, clock_ms, from_epoch);
    db.node_mut(id).count_write(epoch);

    let market = db.market_mut(task);
    let position = market.write_offer(before, slot, position);
    events::subscribed(task, id, price, max_units, echelon, position, from_epoch);
    market.enter(echelon);
    if (verifier) join(db, id, task, &terms, clock_ms);
}

/// Offers other terms from the next epoch on; until then the present ones hold. Terms that were to come are replaced.
/// The new slot weighs what the node's collateral is now. By the badge of an enabled node; counts as a write. Aborts
/// `ENotSubscribed` without a running offer.
public fun reprice<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    task: u64,
    price: u64,
    max_units: u64,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, epoch, clock_ms) = (badge.badge_id(), ctx.epoch(), clock.timestamp_ms());
    let node = node::check_enabled(db, badge);
    let row = db.task(task);
    check_price(row, price, max_units);
    let terms = params::of_task(db.params_at(epoch), row);
    require(node.collateral() >= terms.min_collateral(), errors::collateral!());
    let market = db.market(task);
    let mut subscription = *market.subscription(id);
    let current = market.must_run(&subscription);
    let from_epoch = math::add(epoch, 1);
    let position = market.free_position(&subscription, epoch);
    let slot = slots::new_slot(id, weight(node, &terms), price, max_units, clock_ms, from_epoch);
    db.node_mut(id).count_write(epoch);

    subscription.set_offer(price, max_units);
    let market = db.market_mut(task);
    market.end_slot(&subscription, current, from_epoch);
    let position = market.write_offer(subscription, slot, position);
    events::repriced(task, id, price, max_units, position, from_epoch);
}

/// Opts in or out as a verifier. In: at once, for claims made from now on. Out: not counted any more at once, but
/// drawn until every claim made so far must have ended. By the badge of an enabled node; counts as a write. Aborts
/// `EAlreadyDone` if it is what it asks to be.
public fun set_verifier<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    task: u64,
    verifier: bool,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (id, epoch, clock_ms) = (badge.badge_id(), ctx.epoch(), clock.timestamp_ms());
    let node = node::check_enabled(db, badge);
    let row = db.task(task);
    let terms = params::of_task(db.params_at(epoch), row);
    let market = db.market(task);
    let before = market.subscription(id);
    market.must_run(before);
    require(before.is_verifier() != verifier, errors::already_done!());
    if (verifier) check_verifier(db, row, node, before, &terms, clock_ms);
    db.node_mut(id).count_write(epoch);

    if (verifier) {
        join(db, id, task, &terms, clock_ms)
    } else {
        leave(db, id, task, left_ms(&terms, clock_ms))
    }
}

/// Moves a verifier to a position that an evicted one left, so that the list gets shorter: with too many dead positions
/// a task is not sold. Claims made before skip it from then on. By the badge of an enabled node; counts as a write.
/// Aborts `EAlreadyDone` unless the next free position is lower than its own.
public fun move_verifier<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, task: u64, clock: &Clock, ctx: &TxContext) {
    let (id, epoch, clock_ms) = (badge.badge_id(), ctx.epoch(), clock.timestamp_ms());
    node::check_enabled(db, badge);
    let terms = params::of_task(db.params_at(epoch), db.task(task));
    let market = db.market(task);
    let before = *market.subscription(id);
    require(before.is_verifier(), errors::not_subscribed!());
    require(market.can_move_down(&before), errors::already_done!());
    db.node_mut(id).count_write(epoch);

    leave(db, id, task, clock_ms);
    db.market_mut(task).forget_verifier(id);
    join(db, id, task, &terms, clock_ms);
    db.market_mut(task).free_verifier(&before);
}

/// Ends the offer with this epoch, and opts out as a verifier. By the badge of an enabled node; counts as a write.
public fun unsubscribe<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, task: u64, clock: &Clock, ctx: &TxContext) {
    let (id, epoch) = (badge.badge_id(), ctx.epoch());
    node::check_enabled(db, badge);
    let terms = params::of_task(db.params_at(epoch), db.task(task));
    let market = db.market(task);
    let before = market.subscription(id);
    let is_verifier = before.is_verifier();
    let current = market.must_run(before);
    let until_epoch = math::add(epoch, 1);
    db.node_mut(id).count_write(epoch);

    end_offer(db, id, task, current, until_epoch);
    if (is_verifier) leave(db, id, task, left_ms(&terms, clock.timestamp_ms()));
}

/// Takes what is dead of a node's out of a task's lists: all of it if the node is disabled, else offers that ended and
/// the position of a verifier that left. By anyone: nothing of it can be drawn, so nothing changes for anybody, and
/// dead slots are in nobody's way. Aborts `ETooEarly` if nothing is dead.
public fun evict<T>(db: &mut AtomaDb<T>, node: u64, task: u64, clock: &Clock, ctx: &TxContext) {
    db.check_version();
    let (epoch, clock_ms) = (ctx.epoch(), clock.timestamp_ms());
    let is_disabled = db.node(node).disabled_ms() != 0;
    let market = db.market(task);
    let before = *market.subscription(node);
    let (echelon, is_verifier) = (before.echelon(), before.is_verifier());
    let current = market.running(&before);
    let offers_over = market.has_offers(node) && (is_disabled || market.free_epoch(&before, epoch) == epoch);
    let verifier_over = before.has_position() && (is_disabled || market.is_verifier_over(&before, clock_ms));
    require(offers_over || verifier_over, errors::too_early!());

    if (offers_over) {
        if (current.is_some()) end_offer(db, node, task, current.destroy_some(), epoch);
        take_out_offers(db, node, task, echelon);
    };
    if (verifier_over) {
        if (is_verifier) leave(db, node, task, clock_ms);
        let market = db.market_mut(task);
        market.forget_verifier(node);
        market.free_verifier(&before);
    };
    events::evicted(task, node, offers_over, verifier_over);
}

/// The offer that holds at `epoch`: its price, its most units and its echelon. Aborts `ENotSubscribed` if none does.
public(package) fun at_epoch<T>(db: &AtomaDb<T>, task: u64, node: u64, epoch: u64): (u64, u64, u64) {
    let market = db.market(task);
    let subscription = market.subscription(node);
    let slot = market.live_offer(subscription, epoch);
    require(slot.is_some(), errors::not_subscribed!());
    let slot = slot.destroy_some();
    (slot.slot_price(), slot.slot_max_units(), subscription.echelon())
}

fun check_price(task: &Task, price: u64, max_units: u64) {
    require(price <= task.price_ceiling(), errors::price_too_high!());
    require(max_units > 0, errors::bad_argument!());
    limits::check_quantity(max_units);
}

/// A verifier re-executes at level 2, is worth slashing, can be written to, and has left its last duty behind.
fun check_verifier<T>(
    db: &AtomaDb<T>,
    task: &Task,
    node: &Node,
    subscription: &Subscription,
    terms: &Params,
    clock_ms: u64,
) {
    require(task.level() == 2, errors::wrong_level!());
    require(node.collateral() >= terms.min_collateral(), errors::collateral!());
    require(!node.seal_key().is_empty(), errors::no_seal_key!());
    let market = db.market(task.task_id());
    require(!subscription.has_position() || market.is_verifier_over(subscription, clock_ms), errors::too_early!());
}

/// Removes all offers of a node from their list. Whose last offer moves into the gap is told its new position.
fun take_out_offers<T>(db: &mut AtomaDb<T>, node: u64, task: u64, echelon: u64) {
    let market = db.market_mut(task);
    while (market.has_offers(node)) {
        let (moved, from, to) = market.take_out_offer(node);
        moved.do!(|other| events::slot_moved(task, echelon, other, from, to));
    }
}

fun weight(node: &Node, terms: &Params): u64 { node.collateral().min(terms.weight_cap()) }

fun end_offer<T>(db: &mut AtomaDb<T>, node: u64, task: u64, position: u64, until_epoch: u64) {
    db.market_mut(task).end_offer(node, position, until_epoch);
    events::unsubscribed(task, node, until_epoch);
}

/// Until when a verifier that leaves may be drawn: every claim that can be made of what is signed now has ended.
fun left_ms(terms: &Params, clock_ms: u64): u64 {
    math::saturating_add(math::saturating_add(clock_ms, terms.close_delay_ms()), terms.hold_ms())
}

fun join<T>(db: &mut AtomaDb<T>, node: u64, task: u64, terms: &Params, clock_ms: u64) {
    let row = db.node(node);
    let (owner, weight) = (row.owner(), weight(row, terms));
    let (echelon, position) = db.market_mut(task).join(node, owner, weight, clock_ms);
    events::verifier_joined(task, node, echelon, position, weight, clock_ms);
}

fun leave<T>(db: &mut AtomaDb<T>, node: u64, task: u64, until_ms: u64) {
    let owner = db.node(node).owner();
    db.market_mut(task).leave(node, owner, until_ms);
    events::verifier_left(task, node, until_ms);
}
