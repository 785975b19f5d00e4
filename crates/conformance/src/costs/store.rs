//! Everything that a world keeps on chain, as objects and dynamic fields with their bytes.

use super::Cost;
use crate::world::World;
use atoma_contract::{AtomaDb, Owned, SlotList, Table, TxContext};
use atoma_types::Address;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a field besides key and value: its id.
const FIELD_BYTES: usize = Address::LENGTH;

/// Hashes would do to compare, but sizes are wanted, too.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Address, Vec<u8>>,
    /// By table and key.
    fields: BTreeMap<(Address, Vec<u8>), Vec<u8>>,
}

impl Store {
    /// What `world` keeps, and the coins that a call made.
    pub(super) fn of(world: &World, made: Option<&TxContext>) -> Self {
        let mut store = Self::default();
        world.dbs.iter().for_each(|db| store.db(db));
        for beacon in &world.beacons {
            store.object(beacon.id, beacon.header_bytes().unwrap_or_default());
            store.rows(&beacon.seeds, bytes);
        }
        world.treasuries.iter().for_each(|row| store.object(row.id, bytes(row)));
        world.locks.iter().for_each(|row| store.object(row.id, bytes(row)));
        world.caps.iter().for_each(|row| store.object(row.id, bytes(row)));
        world.node_badges.iter().for_each(|row| store.object(row.id, bytes(row)));
        world.task_badges.iter().for_each(|row| store.object(row.id, bytes(row)));
        world.stacks.values().for_each(|row| store.object(row.id, bytes(row)));
        world.disputes.values().for_each(|row| store.object(row.id, bytes(row)));
        for transfer in made.into_iter().flat_map(|ctx| &ctx.transfers) {
            if let Owned::Coin(coin) = &transfer.object {
                store.object(coin.id, bytes(coin));
            }
        }
        store
    }

    fn db(&mut self, db: &AtomaDb) {
        self.object(db.id, db.header_bytes().unwrap_or_default());
        self.rows(&db.nodes, bytes);
        self.rows(&db.models, bytes);
        self.rows(&db.tasks, bytes);
        self.rows(&db.dues, bytes);
        self.rows(&db.markets, |market| {
            let lists = (market.lists.header(), market.verifiers.header());
            bytes(&(lists, market.subscriptions.header(), market.verifiers_of.header()))
        });
        for market in db.markets.values() {
            self.rows(&market.subscriptions, bytes);
            self.rows(&market.verifiers_of, bytes);
            for lists in [&market.lists, &market.verifiers] {
                self.rows(lists, |list: &SlotList| {
                    bytes(&(list.pages.header(), list.size, list.live, &list.free))
                });
                lists.values().for_each(|list| self.rows(&list.pages, bytes));
            }
        }
    }

    fn object(&mut self, id: Address, bytes: Vec<u8>) {
        self.objects.insert(id, bytes);
    }

    fn rows<K: Copy + Ord + Serialize, V>(&mut self, table: &Table<K, V>, value: impl Fn(&V) -> Vec<u8>) {
        self.fields.extend(table.rows().map(|(key, row)| ((table.id, bytes(&key)), value(row))));
    }

    /// What changed from `before` to this. Nothing that was only looked at.
    pub(super) fn since(&self, before: &Self) -> Cost {
        let mut cost = Cost::default();
        for (id, now) in &self.objects {
            let was = before.objects.get(id);
            if was != Some(now) {
                cost.grow(now.len(), was.map_or(0, Vec::len));
            }
        }
        let gone = before.objects.iter().filter(|(id, _)| !self.objects.contains_key(*id));
        gone.for_each(|(_, was)| cost.grow(0, was.len()));
        for (place, now) in &self.fields {
            let size = |value: &Vec<u8>| FIELD_BYTES + place.1.len() + value.len();
            match before.fields.get(place) {
                Some(was) if was == now => {}
                Some(was) => {
                    cost.changed += 1;
                    cost.grow(size(now), size(was));
                }
                None => {
                    cost.created += 1;
                    cost.grow(size(now), 0);
                }
            }
        }
        for (place, was) in before.fields.iter().filter(|(place, _)| !self.fields.contains_key(*place)) {
            cost.deleted += 1;
            cost.grow(0, FIELD_BYTES + place.1.len() + was.len());
        }
        cost
    }
}

impl Cost {
    fn grow(&mut self, now: usize, was: usize) {
        let count = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.written_bytes += u64::try_from(now).unwrap_or(u64::MAX);
        self.grown_bytes += count(now) - count(was);
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    bcs::to_bytes(value).unwrap_or_default()
}
