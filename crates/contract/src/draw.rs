//! Drawing nodes from a seed. Value `i` of a seed is the first 8 bytes, little-endian, of
//! `H(seed ‖ u64_le(i))`; every try at a slot uses two values, one for the slot and one for its weight.

use crate::Result;
use crate::db::{AtomaDb, Slot};
use crate::node::reputation;
use atoma_types::onchain::Task;
use atoma_types::{Hash32, NodeId, Price, Units};

/// Most slots that one purchase tries.
pub const TRIES_MAX: u64 = 512;
/// Most of those tries that go to standbys once the first node is found.
pub const STANDBY_TRIES_MAX: u64 = 32;
/// Most node rows that one purchase reads.
pub const ROWS_MAX: u64 = 64;
/// Standbys of a Single purchase.
pub const STANDBYS_MAX: u64 = 2;

/// What a node must offer to be drawn.
pub(crate) struct Wanted {
    pub(crate) max_price: Price,
    /// Units that one node may have to serve.
    pub(crate) units: Units,
    pub(crate) epoch: u64,
}

/// The values of one seed, and how much of the budget is used.
pub(crate) struct Drawing<'a> {
    db: &'a AtomaDb,
    task: &'a Task,
    seed: &'a [u8; 32],
    next_value: u64,
    rows_read: u64,
    pub(crate) drawn: Vec<NodeId>,
}

impl<'a> Drawing<'a> {
    pub(crate) fn new(db: &'a AtomaDb, task: &'a Task, seed: &'a [u8; 32]) -> Self {
        Self { db, task, seed, next_value: 0, rows_read: 0, drawn: Vec::new() }
    }

    /// Draws until `count` distinct nodes are drawn in all, or `tries` more slots were tried, or the rows
    /// are used up. Returns the tries left.
    pub(crate) fn draw(&mut self, count: u64, tries: u64, wanted: &Wanted) -> Result<u64> {
        let slots = &self.db.market(self.task.id)?.slots;
        let cap = self.db.weight_cap(self.task)?.0;
        let mut left = tries;
        // A node has one slot, so no more than `slots.size()` distinct nodes can be drawn.
        let goal = count.min(slots.size());
        while self.count() < goal && left > 0 && self.rows_read < ROWS_MAX {
            left -= 1;
            let index = self.value() % slots.size();
            let weight = self.value() % cap;
            if let Some(slot) = slots.get(index)
                && weight < slot.weight.0
                && self.accepts(slot, wanted)?
            {
                self.drawn.push(slot.subscription.node);
            }
        }
        Ok(left)
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.drawn.len()).unwrap_or(u64::MAX)
    }

    /// Whether the slot's node may be drawn; looks at the slot first and reads the node's row last.
    fn accepts(&mut self, slot: &Slot, wanted: &Wanted) -> Result<bool> {
        let offer = &slot.subscription;
        if offer.price > wanted.max_price
            || offer.max_units < wanted.units
            || self.drawn.contains(&offer.node)
        {
            return Ok(false);
        }
        self.rows_read += 1;
        is_eligible(self.db, self.task, offer.node, wanted.epoch)
    }

    fn value(&mut self) -> u64 {
        let value = value(self.seed, self.next_value);
        self.next_value += 1;
        value
    }
}

/// Value `index` of `seed`.
pub fn value(seed: &[u8; 32], index: u64) -> u64 {
    let hash = Hash32::of_parts(&[seed, &index.to_le_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(first)
}

/// Whether a subscriber of the task still meets its minima.
pub(crate) fn is_eligible(db: &AtomaDb, task: &Task, node: NodeId, epoch: u64) -> Result<bool> {
    let node = db.node(node)?;
    Ok(node.disabled_ms == 0
        && node.collateral >= db.collateral_minimum(task)
        && reputation(node, epoch) >= task.min_reputation)
}
