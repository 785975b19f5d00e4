//! Nodes' offers for tasks, as slots in the lists from which purchases and audits draw.
//!
//! An offer is one slot of the echelon's list. A new price is another slot that holds from the next epoch on,
//! when the old one ends: a node alternates between two positions. As a verifier it has one position in the
//! echelon's list of verifiers, which it takes again only when what it stood for is over.

use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use crate::node::{NodeBadge, check_enabled, count_write, reputation};
use crate::slots::{self, SlotList};
use crate::{Result, params};
use atoma_types::onchain::event::{
    Evicted, Repriced, SlotMoved, Subscribed, Unsubscribed, VerifierJoined, VerifierLeft,
};
use atoma_types::onchain::{Abort, Node, Params, Slot, Subscription, Task};
use atoma_types::{Amount, NodeId, Price, TaskId, Units};

/// Arguments of [`subscribe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub task: TaskId,
    pub price: Price,
    pub max_units: Units,
    pub echelon: u64,
    pub verifier: bool,
}

/// Offers the badge's node for a task: at once, or from the next epoch on if an earlier offer still holds in
/// this one. The echelon is that of its first offer for this task for ever; other hardware is another node.
pub fn subscribe(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    offer: Offer,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let node = check_enabled(db, badge)?;
    let task = db.task(offer.task)?;
    ensure(!task.deprecated, Abort::TaskDeprecated)?;
    check_price(task, offer.price, offer.max_units)?;
    ensure(task.echelons.contains(&offer.echelon), Abort::BadArgument)?;
    ensure(task.whitelist.is_empty() || task.whitelist.contains(&badge.node), Abort::NotWhitelisted)?;
    let terms = params::of_task(db.params_at(ctx.epoch()), task)?;
    ensure(node.collateral >= terms.min_collateral, Abort::Collateral)?;
    ensure(reputation(node, ctx.epoch()) >= task.min_reputation, Abort::NotEligible)?;
    let before = subscription(db, &offer, badge.node)?;
    let market = db.market(offer.task)?;
    let list = slots::list(&market.lists, offer.echelon)?;
    ensure(running(list, &before)?.is_none(), Abort::AlreadySubscribed)?;
    let from_epoch = free_epoch(list, &before, ctx.epoch())?;
    let position = slots::free_position(list, &before.slots, ctx.epoch())?;
    if offer.verifier {
        check_verifier(db, task, node, &before, &terms, clock_ms)?;
    }
    let slot = offered(badge.node, weight(node, &terms), offer.price, offer.max_units, clock_ms, from_epoch);
    count_write(db.node_mut(badge.node)?, ctx.epoch())?;

    let position = write_offer(db, before, slot, position)?;
    let Offer { task, price, max_units, echelon, verifier } = offer;
    ctx.emit(Subscribed { task, node: badge.node, price, max_units, echelon, slot: position, from_epoch });
    let market = db.market_mut(task)?;
    slots::list_mut(&mut market.lists, echelon)?.live += 1;
    if verifier {
        join(db, badge.node, task, &terms, clock_ms, ctx)?;
    }
    Ok(())
}

/// Offers other terms from the next epoch on; until then the present ones hold. Terms that were to come are
/// replaced. The new slot weighs what the node's collateral is now.
pub fn reprice(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    task: TaskId,
    price: Price,
    max_units: Units,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let node = check_enabled(db, badge)?;
    let row = db.task(task)?;
    check_price(row, price, max_units)?;
    let terms = params::of_task(db.params_at(ctx.epoch()), row)?;
    ensure(node.collateral >= terms.min_collateral, Abort::Collateral)?;
    let before = db.subscription(task, badge.node)?.clone();
    let list = slots::list(&db.market(task)?.lists, before.echelon)?;
    let current = running(list, &before)?.ok_or(Abort::NotSubscribed)?;
    let from_epoch = next_epoch(ctx.epoch())?;
    let position = slots::free_position(list, &before.slots, ctx.epoch())?;
    let slot = offered(badge.node, weight(node, &terms), price, max_units, clock_ms, from_epoch);
    count_write(db.node_mut(badge.node)?, ctx.epoch())?;

    let market = db.market_mut(task)?;
    slots::list_mut(&mut market.lists, before.echelon)?.slot_mut(current)?.until_epoch = from_epoch;
    let after = Subscription { price, max_units, ..before };
    let position = write_offer(db, after, slot, position)?;
    ctx.emit(Repriced { task, node: badge.node, price, max_units, slot: position, from_epoch });
    Ok(())
}

/// Opts in or out as a verifier. In: at once, for claims made from now on. Out: not counted any more at once, but
/// drawn until every claim made so far must have ended.
pub fn set_verifier(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    task: TaskId,
    verifier: bool,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let node = check_enabled(db, badge)?;
    let row = db.task(task)?;
    let terms = params::of_task(db.params_at(ctx.epoch()), row)?;
    let before = db.subscription(task, badge.node)?;
    let list = slots::list(&db.market(task)?.lists, before.echelon)?;
    ensure(running(list, before)?.is_some(), Abort::NotSubscribed)?;
    ensure(before.verifier != verifier, Abort::AlreadyDone)?;
    if verifier {
        check_verifier(db, row, node, before, &terms, clock_ms)?;
    }
    count_write(db.node_mut(badge.node)?, ctx.epoch())?;

    if verifier {
        return join(db, badge.node, task, &terms, clock_ms, ctx);
    }
    leave(db, badge.node, task, left_ms(&terms, clock_ms), ctx)
}

/// Moves a verifier to a position that an evicted one left, so that the list gets shorter: with too many dead
/// positions a task is not sold. Claims made before skip it from then on.
pub fn move_verifier(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    task: TaskId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    let terms = params::of_task(db.params_at(ctx.epoch()), db.task(task)?)?;
    let before = db.subscription(task, badge.node)?;
    ensure(before.verifier, Abort::NotSubscribed)?;
    let echelon = before.echelon;
    let position = before.verifier_slot.ok_or(Abort::NotSubscribed)?;
    let list = slots::list(&db.market(task)?.verifiers, echelon)?;
    ensure(list.has_free_below(position), Abort::AlreadyDone)?;
    count_write(db.node_mut(badge.node)?, ctx.epoch())?;

    leave(db, badge.node, task, clock_ms, ctx)?;
    let market = db.market_mut(task)?;
    let subscription = market.subscriptions.get_mut(badge.node.0).ok_or(Abort::NotSubscribed)?;
    subscription.verifier_slot = None;
    join(db, badge.node, task, &terms, clock_ms, ctx)?;
    let list = slots::list_mut(&mut db.market_mut(task)?.verifiers, echelon)?;
    list.release(position)
}

/// Ends the offer with this epoch, and opts out as a verifier.
pub fn unsubscribe(
    db: &mut AtomaDb,
    badge: &NodeBadge,
    task: TaskId,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_enabled(db, badge)?;
    let terms = params::of_task(db.params_at(ctx.epoch()), db.task(task)?)?;
    let before = db.subscription(task, badge.node)?;
    let (echelon, is_verifier) = (before.echelon, before.verifier);
    let list = slots::list(&db.market(task)?.lists, echelon)?;
    let current = running(list, before)?.ok_or(Abort::NotSubscribed)?;
    let until_epoch = next_epoch(ctx.epoch())?;
    count_write(db.node_mut(badge.node)?, ctx.epoch())?;

    end_offer(db, badge.node, task, current, until_epoch, ctx)?;
    if is_verifier {
        leave(db, badge.node, task, left_ms(&terms, clock_ms), ctx)?;
    }
    Ok(())
}

/// Takes what is dead of a node's out of a task's lists: all of it if the node is disabled, else offers that ended
/// and the position of a verifier that left. By anyone: nothing of it can be drawn, so nothing changes for
/// anybody, and dead slots are in nobody's way.
pub fn evict(db: &mut AtomaDb, node: NodeId, task: TaskId, clock_ms: u64, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    let is_disabled = db.node(node)?.disabled_ms != 0;
    let before = db.subscription(task, node)?;
    let (echelon, is_verifier) = (before.echelon, before.verifier);
    let market = db.market(task)?;
    let list = slots::list(&market.lists, echelon)?;
    let current = running(list, before)?;
    let has_offers = !before.slots.is_empty();
    let offers_over = has_offers && (is_disabled || free_epoch(list, before, ctx.epoch())? == ctx.epoch());
    let verifier_over = match before.verifier_slot {
        Some(position) => {
            is_disabled || is_over(slots::list(&market.verifiers, echelon)?, position, clock_ms)?
        }
        None => false,
    };
    ensure(offers_over || verifier_over, Abort::TooEarly)?;

    if let Some(current) = current
        && offers_over
    {
        end_offer(db, node, task, current, ctx.epoch(), ctx)?;
    }
    if offers_over {
        take_out_offers(db, node, task, echelon, ctx)?;
    }
    if is_verifier && verifier_over {
        leave(db, node, task, clock_ms, ctx)?;
    }
    if verifier_over {
        take_out_verifier(db, node, task, echelon)?;
    }
    ctx.emit(Evicted { task, node, offers: offers_over, verifier: verifier_over });
    Ok(())
}

/// Whether a verifier's slot can be drawn for no claim any more.
fn is_over(list: &SlotList, position: u64, clock_ms: u64) -> Result<bool> {
    Ok(list.slot(position).ok_or(Abort::NotSubscribed)?.until_ms <= clock_ms)
}

/// Gives a node's position in the list of verifiers free.
fn take_out_verifier(db: &mut AtomaDb, node: NodeId, task: TaskId, echelon: u64) -> Result {
    let market = db.market_mut(task)?;
    let subscription = market.subscriptions.get_mut(node.0).ok_or(Abort::NotSubscribed)?;
    let position = subscription.verifier_slot.take().ok_or(Abort::NotSubscribed)?;
    let list = slots::list_mut(&mut market.verifiers, echelon)?;
    list.release(position)
}

/// Removes all offers of a node from their list. Whose last offer moves into the gap is told its new position.
fn take_out_offers(
    db: &mut AtomaDb,
    node: NodeId,
    task: TaskId,
    echelon: u64,
    ctx: &mut TxContext,
) -> Result {
    let market = db.market_mut(task)?;
    loop {
        let subscription = market.subscriptions.get_mut(node.0).ok_or(Abort::NotSubscribed)?;
        let Some(position) = subscription.slots.pop() else { return Ok(()) };
        let list = slots::list_mut(&mut market.lists, echelon)?;
        let from = list.size - 1;
        let Some(moved) = list.swap_remove(position)? else { continue };
        let other = market.subscriptions.get_mut(moved.node.0).ok_or(Abort::NotSubscribed)?;
        for slot in &mut other.slots {
            if *slot == from {
                *slot = position;
            }
        }
        ctx.emit(SlotMoved { task, echelon, node: moved.node, from, to: position });
    }
}

/// The offer that holds at `epoch`: its slot and its echelon.
pub(crate) fn at_epoch(db: &AtomaDb, task: TaskId, node: NodeId, epoch: u64) -> Result<(&Slot, u64)> {
    let subscription = db.subscription(task, node)?;
    let list = slots::list(&db.market(task)?.lists, subscription.echelon)?;
    for position in &subscription.slots {
        let slot = list.slot(*position).ok_or(Abort::NotSubscribed)?;
        if slot.is_live_at(epoch) {
            return Ok((slot, subscription.echelon));
        }
    }
    Err(Abort::NotSubscribed)
}

fn check_price(task: &Task, price: Price, max_units: Units) -> Result {
    ensure(price <= task.price_ceiling, Abort::PriceTooHigh)?;
    ensure(!max_units.is_zero(), Abort::BadArgument)?;
    limits::check_quantity(max_units.0)
}

/// A verifier re-executes at level 2, is worth slashing, can be written to, and has left its last duty behind.
fn check_verifier(
    db: &AtomaDb,
    task: &Task,
    node: &Node,
    subscription: &Subscription,
    terms: &Params,
    clock_ms: u64,
) -> Result {
    ensure(task.level == 2, Abort::WrongLevel)?;
    ensure(node.collateral >= terms.min_collateral, Abort::Collateral)?;
    ensure(!node.seal.key.is_empty(), Abort::NoSealKey)?;
    let Some(position) = subscription.verifier_slot else { return Ok(()) };
    let list = slots::list(&db.market(task.id)?.verifiers, subscription.echelon)?;
    ensure(is_over(list, position, clock_ms)?, Abort::TooEarly)
}

/// The node's row in the market: the one it has, or a first one.
fn subscription(db: &AtomaDb, offer: &Offer, node: NodeId) -> Result<Subscription> {
    let Some(before) = db.market(offer.task)?.subscriptions.get(node.0) else {
        return Ok(Subscription {
            task: offer.task,
            node,
            price: offer.price,
            max_units: offer.max_units,
            echelon: offer.echelon,
            verifier: false,
            slots: Vec::new(),
            verifier_slot: None,
        });
    };
    ensure(before.echelon == offer.echelon, Abort::BadArgument)?;
    Ok(Subscription { price: offer.price, max_units: offer.max_units, ..before.clone() })
}

/// Position of the offer that has no end yet.
fn running(list: &SlotList, subscription: &Subscription) -> Result<Option<u64>> {
    for position in &subscription.slots {
        let slot = list.slot(*position).ok_or(Abort::NotSubscribed)?;
        if slot.until_epoch == u64::MAX {
            return Ok(Some(*position));
        }
    }
    Ok(None)
}

/// The first epoch from `epoch` on in which none of the node's offers holds, all of them having an end.
fn free_epoch(list: &SlotList, subscription: &Subscription, epoch: u64) -> Result<u64> {
    let mut free = epoch;
    for position in &subscription.slots {
        let slot = list.slot(*position).ok_or(Abort::NotSubscribed)?;
        free = free.max(slot.until_epoch);
    }
    Ok(free)
}

fn next_epoch(epoch: u64) -> Result<u64> {
    epoch.checked_add(1).ok_or(Abort::Arithmetic)
}

fn weight(node: &Node, terms: &Params) -> Amount {
    node.collateral.min(terms.weight_cap)
}

fn offered(
    node: NodeId,
    weight: Amount,
    price: Price,
    max_units: Units,
    since_ms: u64,
    from_epoch: u64,
) -> Slot {
    Slot { node, weight, price, max_units, since_ms, from_epoch, until_epoch: u64::MAX, until_ms: u64::MAX }
}

/// Writes the slot at its position, or at a new one, and the subscription. Returns the position.
fn write_offer(
    db: &mut AtomaDb,
    mut subscription: Subscription,
    slot: Slot,
    position: Option<u64>,
) -> Result<u64> {
    let market = db.market_mut(subscription.task)?;
    let list = slots::list_mut(&mut market.lists, subscription.echelon)?;
    let position = match position {
        Some(position) => {
            *list.slot_mut(position)? = slot;
            position
        }
        None => {
            let position = list.push(slot);
            subscription.slots.push(position);
            position
        }
    };
    market.subscriptions.set(subscription.node.0, subscription);
    Ok(position)
}

fn end_offer(
    db: &mut AtomaDb,
    node: NodeId,
    task: TaskId,
    position: u64,
    until_epoch: u64,
    ctx: &mut TxContext,
) -> Result {
    let echelon = db.subscription(task, node)?.echelon;
    let list = slots::list_mut(&mut db.market_mut(task)?.lists, echelon)?;
    list.slot_mut(position)?.until_epoch = until_epoch;
    list.live -= 1;
    ctx.emit(Unsubscribed { task, node, until_epoch });
    Ok(())
}

/// Until when a verifier that leaves may be drawn: every claim that can be made of what is signed now has ended.
fn left_ms(terms: &Params, clock_ms: u64) -> u64 {
    clock_ms.saturating_add(terms.close_delay_ms).saturating_add(terms.hold_ms)
}

fn join(
    db: &mut AtomaDb,
    node: NodeId,
    task: TaskId,
    terms: &Params,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let row = db.node(node)?;
    let (owner, weight) = (row.owner, weight(row, terms));
    let market = db.market_mut(task)?;
    let subscription = market.subscriptions.get_mut(node.0).ok_or(Abort::NotSubscribed)?;
    let list = slots::list_mut(&mut market.verifiers, subscription.echelon)?;
    let slot = offered(node, weight, subscription.price, subscription.max_units, clock_ms, 0);
    let position = match subscription.verifier_slot {
        Some(position) => {
            *list.slot_mut(position)? = slot;
            position
        }
        None => list.place(slot)?,
    };
    subscription.verifier = true;
    subscription.verifier_slot = Some(position);
    list.live += 1;
    let echelon = subscription.echelon;
    let owned = market.verifiers_owned(owner);
    market.verifiers_of.set(owner, owned + 1);
    ctx.emit(VerifierJoined { task, node, echelon, slot: position, weight, since_ms: clock_ms });
    Ok(())
}

fn leave(db: &mut AtomaDb, node: NodeId, task: TaskId, until_ms: u64, ctx: &mut TxContext) -> Result {
    let owner = db.node(node)?.owner;
    let market = db.market_mut(task)?;
    let subscription = market.subscriptions.get_mut(node.0).ok_or(Abort::NotSubscribed)?;
    let position = subscription.verifier_slot.ok_or(Abort::NotSubscribed)?;
    let list = slots::list_mut(&mut market.verifiers, subscription.echelon)?;
    list.slot_mut(position)?.until_ms = until_ms;
    list.live -= 1;
    subscription.verifier = false;
    let owned = market.verifiers_owned(owner);
    market.verifiers_of.set(owner, owned.saturating_sub(1));
    ctx.emit(VerifierLeft { task, node, until_ms });
    Ok(())
}
