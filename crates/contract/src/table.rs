//! `sui::table::Table<K, V>`.

use crate::context::TxContext;
use crate::meter;
use atoma_types::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows by key. On chain an id and a size, each row being a dynamic field of its own: entry points read and
/// write single rows, never all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub struct Table<K, V> {
    pub id: Address,
    rows: BTreeMap<K, V>,
}

/// A table as it is in the bytes of what holds it.
#[derive(Serialize)]
pub struct TableHeader {
    id: Address,
    size: u64,
}

impl<K: Copy + Ord + Serialize, V> Table<K, V> {
    pub(crate) fn new(ctx: &mut TxContext) -> Self {
        Self { id: ctx.fresh_id(), rows: BTreeMap::new() }
    }

    pub fn get(&self, key: K) -> Option<&V> {
        meter::touch(self.id, &key);
        self.rows.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        meter::touch(self.id, &key);
        self.rows.get_mut(&key)
    }

    pub fn contains(&self, key: K) -> bool {
        meter::touch(self.id, &key);
        self.rows.contains_key(&key)
    }

    /// Adds a row, or replaces it.
    pub(crate) fn set(&mut self, key: K, value: V) {
        meter::touch(self.id, &key);
        self.rows.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        meter::touch(self.id, &key);
        self.rows.remove(&key)
    }

    pub fn size(&self) -> u64 {
        // A map in memory cannot hold more than u64::MAX rows.
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    /// All rows. For views and audits: no entry point may.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values()
    }

    /// All rows with their keys, likewise.
    pub fn rows(&self) -> impl Iterator<Item = (K, &V)> {
        self.rows.iter().map(|(key, value)| (*key, value))
    }

    pub fn header(&self) -> TableHeader {
        TableHeader { id: self.id, size: self.size() }
    }
}
