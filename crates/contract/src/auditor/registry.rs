//! What must hold in the database.

use super::{Audit, Books, Violation, hold, same};
use crate::context::{Owned, TxContext};
use crate::db::AtomaDb;
use crate::node::{self, NodeBadge};
use crate::slots::{Market, SlotList};
use atoma_types::onchain::{Node, Slot};
use atoma_types::{Address, NodeId};
use std::collections::BTreeMap;
use sui_sdk_types::Digest;

pub(super) fn check(books: &Books, db: &AtomaDb) -> Audit {
    for node in db.nodes.values() {
        check_node(books, node)?;
    }
    same("no node is missing", books.nodes.len(), db.nodes.values().count())?;
    let dues: BTreeMap<Address, u128> = db.dues.rows().map(|(to, due)| (to, u128::from(due.0))).collect();
    same("the database's dues", &books.dues, &dues)?;
    same("the sum of its dues", dues.values().sum(), u128::from(db.dues_total.0))?;
    same("what is to be burned", books.to_burn, u128::from(db.to_burn.0))?;
    same("what the treasury is to collect", books.to_treasury, u128::from(db.to_treasury.0))?;
    same("the pool is the sum of its parts", books.pool(), u128::from(db.pool.0))?;
    for market in db.markets.values() {
        check_market(db, market)?;
    }
    Ok(())
}

fn check_node(books: &Books, node: &Node) -> Audit {
    let book = books.node(node.id)?;
    same("a node's collateral", book.collateral, u128::from(node.collateral.0))?;
    same("a node's payout", book.payout, node.payout)?;
    same("a node's disabling", book.disabled_ms, node.disabled_ms)?;
    same("a node's way out", book.exit_ms, node.exit_ms)?;
    same("a node's pot", book.pot, u128::from(node.timeout_pot.0))?;
    let booked = book.bookings.iter().map(|booking| (booking.to, booking.amount));
    let found = node.bookings.iter().map(|booking| (booking.to, u128::from(booking.amount.0)));
    same("a node's bookings", booked.collect::<Vec<_>>(), found.collect())?;
    hold("bookings are bounded", node.bookings.len() <= 32, || format!("{}", node.id))?;
    hold("writes are bounded", node.writes <= 8, || format!("{}", node.id))
}

/// Positions belong to who wrote them, few to each node, and counts are what is counted.
fn check_market(db: &AtomaDb, market: &Market) -> Audit {
    let (mut offers, mut verifiers) = (BTreeMap::<u64, u64>::new(), BTreeMap::<u64, u64>::new());
    let mut owned = BTreeMap::<Address, u64>::new();
    for subscription in market.subscriptions.values() {
        let (node, echelon) = (subscription.node, subscription.echelon);
        let list = list(&market.lists, echelon)?;
        hold("at most two offers", subscription.slots.len() <= 2, || format!("{subscription:?}"))?;
        let mut open = 0;
        for position in &subscription.slots {
            let slot = own_slot(list, *position, node)?;
            open += u64::from(slot.until_epoch == u64::MAX);
        }
        hold("at most one offer has no end", open <= 1, || format!("{subscription:?}"))?;
        *offers.entry(echelon).or_default() += open;
        if let Some(position) = subscription.verifier_slot {
            let slot = own_slot(self::list(&market.verifiers, echelon)?, position, node)?;
            same("who is opted in has no end", subscription.verifier, slot.until_ms == u64::MAX)?;
        }
        let opted_in = u64::from(subscription.verifier);
        *verifiers.entry(echelon).or_default() += opted_in;
        let owner = db.node(node).map_err(|abort| violation("a subscriber is known", abort))?.owner;
        *owned.entry(owner).or_default() += opted_in;
    }
    check_lists(&market.lists, &offers)?;
    check_lists(&market.verifiers, &verifiers)?;
    for (owner, count) in market.verifiers_of.rows() {
        same("verifiers of an owner", owned.remove(&owner).unwrap_or_default(), *count)?;
    }
    same("every owner of verifiers is counted", owned.values().sum::<u64>(), 0)
}

fn check_lists(lists: &crate::Table<u64, SlotList>, live: &BTreeMap<u64, u64>) -> Audit {
    for (echelon, list) in lists.rows() {
        same("live slots", live.get(&echelon).copied().unwrap_or_default(), list.live)?;
        let stored: u64 = list.pages.values().map(|page| u64::try_from(page.len()).unwrap_or(0)).sum();
        same("slots in pages", list.size, stored)?;
        for free in &list.free {
            let slot = list.slot(*free).ok_or_else(|| violation("a free position exists", free))?;
            same("a free position is dead", slot.until_ms, 0)?;
        }
        let mut positions = BTreeMap::<NodeId, u64>::new();
        for slot in list.pages.values().flatten().filter(|slot| slot.until_ms != 0) {
            *positions.entry(slot.node).or_default() += 1;
        }
        hold("a node has two positions at most", positions.values().all(|count| *count <= 2), || {
            format!("{positions:?}")
        })?;
    }
    Ok(())
}

fn list(lists: &crate::Table<u64, SlotList>, echelon: u64) -> Audit<&SlotList> {
    lists.get(echelon).ok_or_else(|| violation("an echelon has its lists", echelon))
}

fn own_slot(list: &SlotList, position: u64, node: NodeId) -> Audit<&Slot> {
    let slot = list.slot(position).ok_or_else(|| violation("a position exists", position))?;
    same("a position is its node's", node, slot.node)?;
    Ok(slot)
}

fn violation(rule: &'static str, detail: impl std::fmt::Debug) -> Violation {
    Violation { rule, detail: format!("{detail:?}") }
}

/// Plays a node to its end by time alone, on a copy: it is disabled, its windows pass, and all collateral comes
/// out; so does every due of the database. Not of nodes with open audits or disputes, which end by themselves.
pub fn check_node_exit(db: &AtomaDb, node: NodeId) -> Audit {
    let mut db = db.clone();
    let row = db.node(node).map_err(|abort| violation("the node is known", abort))?.clone();
    let badge = NodeBadge { id: Address::ZERO, db: db.id, node };
    let mut ctx = TxContext::new(row.owner, u64::MAX, Digest::ZERO, 0);
    let abort = |abort| violation("collateral leaves by time alone", abort);
    if row.disabled_ms == 0 {
        node::disable(&mut db, &badge, 1, &mut ctx).map_err(abort)?;
    }
    if row.collateral.0 > 0 && row.open_audits == 0 && row.open_disputes == 0 {
        node::exit(&mut db, &badge, u64::MAX, &mut ctx).map_err(abort)?;
    }
    let mut left = 0;
    for transfer in &ctx.transfers {
        if let Owned::Coin(coin) = &transfer.object {
            left += coin.balance.0;
        }
    }
    let is_all = left == row.collateral.0 || row.open_audits > 0 || row.open_disputes > 0;
    hold("all collateral comes out", is_all, || format!("{left} of {}", row.collateral))
}
