/// Nodes' offers for tasks, as slots in the lists from which purchases and audits draw.
///
/// An offer is one slot of the echelon's list. A new price is another slot that holds from the next epoch on, when
/// the old one ends: a node alternates between two positions. As a verifier it has one position in the echelon's
/// list of verifiers, which it takes again only when what it stood for is over.
module atoma::offer;

use atoma::db::AtomaDb;
use atoma::errors::{Self, require};
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::node::{Self, NodeBadge};
use atoma::params::{Self, Params};
use atoma::rows::{Node, Task};
use atoma::slots::{Self, Slot, SlotList, Subscription};
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
    let before = first_or_present(db, id, task, price, max_units, echelon);
    let list = slots::list(db.market(task).lists(), echelon);
    require(running(list, &before).is_none(), errors::already_subscribed!());
    let from_epoch = free_epoch(list, &before, epoch);
    let position = list.free_position(before.positions(), epoch);
    if (verifier) check_verifier(db, row, node, &before, &terms, clock_ms);
    let slot = slots::new_slot(id, weight(node, &terms), price, max_units, clock_ms, from_epoch);
    db.node_mut(id).count_write(epoch);

    let position = write_offer(db, task, before, slot, position);
    events::subscribed(task, id, price, max_units, echelon, position, from_epoch);
    slots::list_mut(db.market_mut(task).lists_mut(), echelon).enter();
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
    let mut subscription = *db.market(task).subscription(id);
    let list = slots::list(db.market(task).lists(), subscription.echelon());
    let current = must_run(list, &subscription);
    let from_epoch = math::add(epoch, 1);
    let position = list.free_position(subscription.positions(), epoch);
    let slot = slots::new_slot(id, weight(node, &terms), price, max_units, clock_ms, from_epoch);
    db.node_mut(id).count_write(epoch);

    let list = slots::list_mut(db.market_mut(task).lists_mut(), subscription.echelon());
    list.slot_mut(current).set_until_epoch(from_epoch);
    subscription.set_offer(price, max_units);
    let position = write_offer(db, task, subscription, slot, position);
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
    let before = db.market(task).subscription(id);
    must_run(slots::list(db.market(task).lists(), before.echelon()), before);
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
    let before = market.subscription(id);
    require(before.is_verifier(), errors::not_subscribed!());
    let (echelon, position) = (before.echelon(), before.verifier_slot());
    require(position.is_some(), errors::not_subscribed!());
    let next_free = slots::list(market.verifiers(), echelon).next_free();
    let is_lower = next_free.is_some() && *next_free.borrow() < *position.borrow();
    require(is_lower, errors::already_done!());
    db.node_mut(id).count_write(epoch);

    leave(db, id, task, clock_ms);
    db.market_mut(task).subscription_mut(id).take_verifier_slot();
    join(db, id, task, &terms, clock_ms);
    free_verifier(db, task, echelon, position.destroy_some());
}

/// Ends the offer with this epoch, and opts out as a verifier. By the badge of an enabled node; counts as a write.
public fun unsubscribe<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, task: u64, clock: &Clock, ctx: &TxContext) {
    let (id, epoch) = (badge.badge_id(), ctx.epoch());
    node::check_enabled(db, badge);
    let terms = params::of_task(db.params_at(epoch), db.task(task));
    let before = db.market(task).subscription(id);
    let is_verifier = before.is_verifier();
    let current = must_run(slots::list(db.market(task).lists(), before.echelon()), before);
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
    let before = market.subscription(node);
    let (echelon, is_verifier) = (before.echelon(), before.is_verifier());
    let list = slots::list(market.lists(), echelon);
    let current = running(list, before);
    let has_offers = !before.positions().is_empty();
    let offers_over = has_offers && (is_disabled || free_epoch(list, before, epoch) == epoch);
    let position = before.verifier_slot();
    let verifier_over = position.is_some()
        && (is_disabled || is_over(slots::list(market.verifiers(), echelon), *position.borrow(), clock_ms));
    require(offers_over || verifier_over, errors::too_early!());

    if (offers_over) {
        if (current.is_some()) end_offer(db, node, task, current.destroy_some(), epoch);
        take_out_offers(db, node, task, echelon);
    };
    if (verifier_over) {
        if (is_verifier) leave(db, node, task, clock_ms);
        take_out_verifier(db, node, task, echelon);
    };
    events::evicted(task, node, offers_over, verifier_over);
}

/// The offer that holds at `epoch`: its price, its most units and its echelon. Aborts `ENotSubscribed` if none does.
public(package) fun at_epoch<T>(db: &AtomaDb<T>, task: u64, node: u64, epoch: u64): (u64, u64, u64) {
    let market = db.market(task);
    let subscription = market.subscription(node);
    let list = slots::list(market.lists(), subscription.echelon());
    let position = subscription.positions().find_index!(|position| list.slot(*position).is_live_at(epoch));
    require(position.is_some(), errors::not_subscribed!());
    let slot = list.slot(subscription.positions()[position.destroy_some()]);
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
    let position = subscription.verifier_slot();
    if (position.is_none()) return;
    let list = slots::list(db.market(task.task_id()).verifiers(), subscription.echelon());
    require(is_over(list, position.destroy_some(), clock_ms), errors::too_early!());
}

/// Whether a verifier's slot can be drawn for no claim any more.
fun is_over(list: &SlotList, position: u64, clock_ms: u64): bool { list.slot(position).until_ms() <= clock_ms }

/// Gives a node's position in the list of verifiers free.
fun take_out_verifier<T>(db: &mut AtomaDb<T>, node: u64, task: u64, echelon: u64) {
    let position = db.market_mut(task).subscription_mut(node).take_verifier_slot();
    require(position.is_some(), errors::not_subscribed!());
    free_verifier(db, task, echelon, position.destroy_some());
}

fun free_verifier<T>(db: &mut AtomaDb<T>, task: u64, echelon: u64, position: u64) {
    let list = slots::list_mut(db.market_mut(task).verifiers_mut(), echelon);
    list.slot_mut(position).set_until_ms(0);
    list.release(position);
}

/// Removes all offers of a node from their list. Whose last offer moves into the gap is told its new position.
fun take_out_offers<T>(db: &mut AtomaDb<T>, node: u64, task: u64, echelon: u64) {
    let market = db.market_mut(task);
    loop {
        let position = market.subscription_mut(node).pop_position();
        if (position.is_none()) break;
        let position = position.destroy_some();
        let list = slots::list_mut(market.lists_mut(), echelon);
        let moved = list.swap_remove(position);
        let from = list.size();
        moved.do!(|other| {
            market.subscription_mut(other).move_position(from, position);
            events::slot_moved(task, echelon, other, from, position);
        });
    }
}

/// The node's subscription with these terms: the one it has, or a first one.
fun first_or_present<T>(
    db: &AtomaDb<T>,
    node: u64,
    task: u64,
    price: u64,
    max_units: u64,
    echelon: u64,
): Subscription {
    let market = db.market(task);
    if (!market.has_subscription(node)) {
        return slots::new_subscription(task, node, price, max_units, echelon)
    };
    let mut subscription = *market.subscription(node);
    require(subscription.echelon() == echelon, errors::bad_argument!());
    subscription.set_offer(price, max_units);
    subscription
}

/// Position of the offer that has no end yet.
fun running(list: &SlotList, subscription: &Subscription): Option<u64> {
    let positions = subscription.positions();
    let mut i = 0;
    while (i < positions.length()) {
        if (list.slot(positions[i]).until_epoch() == math::max!()) return option::some(positions[i]);
        i = i + 1;
    };
    option::none()
}

fun must_run(list: &SlotList, subscription: &Subscription): u64 {
    let current = running(list, subscription);
    require(current.is_some(), errors::not_subscribed!());
    current.destroy_some()
}

/// The first epoch from `epoch` on in which none of the node's offers holds, all of them having an end.
fun free_epoch(list: &SlotList, subscription: &Subscription, epoch: u64): u64 {
    let mut free = epoch;
    subscription.positions().do_ref!(|position| free = free.max(list.slot(*position).until_epoch()));
    free
}

fun weight(node: &Node, terms: &Params): u64 { node.collateral().min(terms.weight_cap()) }

/// Writes the slot at its position, or at a new one, and the subscription. Returns the position.
fun write_offer<T>(
    db: &mut AtomaDb<T>,
    task: u64,
    mut subscription: Subscription,
    slot: Slot,
    position: Option<u64>,
): u64 {
    let market = db.market_mut(task);
    let position = slots::list_mut(market.lists_mut(), subscription.echelon()).put(position, slot);
    subscription.add_position(position);
    market.set_subscription(subscription);
    position
}

fun end_offer<T>(db: &mut AtomaDb<T>, node: u64, task: u64, position: u64, until_epoch: u64) {
    let market = db.market_mut(task);
    let echelon = market.subscription(node).echelon();
    let list = slots::list_mut(market.lists_mut(), echelon);
    list.slot_mut(position).set_until_epoch(until_epoch);
    list.leave();
    events::unsubscribed(task, node, until_epoch);
}

/// Until when a verifier that leaves may be drawn: every claim that can be made of what is signed now has ended.
fun left_ms(terms: &Params, clock_ms: u64): u64 {
    math::saturating_add(math::saturating_add(clock_ms, terms.close_delay_ms()), terms.hold_ms())
}

fun join<T>(db: &mut AtomaDb<T>, node: u64, task: u64, terms: &Params, clock_ms: u64) {
    let row = db.node(node);
    let (owner, weight) = (row.owner(), weight(row, terms));
    let market = db.market_mut(task);
    let subscription = market.subscription(node);
    let (echelon, position) = (subscription.echelon(), subscription.verifier_slot());
    let slot = slots::new_slot(node, weight, subscription.price(), subscription.max_units(), clock_ms, 0);
    let list = slots::list_mut(market.verifiers_mut(), echelon);
    let position = if (position.is_some()) list.put(position, slot) else list.place(slot);
    list.enter();
    market.subscription_mut(node).join_at(position);
    let owned = market.verifiers_owned(owner);
    market.set_verifiers_owned(owner, owned + 1);
    events::verifier_joined(task, node, echelon, position, weight, clock_ms);
}

fun leave<T>(db: &mut AtomaDb<T>, node: u64, task: u64, until_ms: u64) {
    let owner = db.node(node).owner();
    let market = db.market_mut(task);
    let subscription = market.subscription_mut(node);
    let (echelon, position) = (subscription.echelon(), subscription.verifier_slot());
    require(position.is_some(), errors::not_subscribed!());
    subscription.unjoin();
    let list = slots::list_mut(market.verifiers_mut(), echelon);
    list.slot_mut(position.destroy_some()).set_until_ms(until_ms);
    list.leave();
    let owned = market.verifiers_owned(owner);
    market.set_verifiers_owned(owner, math::saturating_sub(owned, 1));
    events::verifier_left(task, node, until_ms);
}
