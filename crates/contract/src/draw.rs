//! Drawing nodes from a seed. Value `i` of a seed is the first 8 bytes, little-endian, of
//! `H(seed ‖ u64_le(i))`; every try at a slot uses two values, one for the position in the lists laid end to
//! end and one for the slot's weight.

use crate::Result;
use crate::db::AtomaDb;
use crate::node::reputation;
use crate::slots::{self, Market, Verifiers};
use atoma_types::onchain::{Node, Params, Slot, Task};
use atoma_types::{Address, Hash32, NodeId, Price, Units};

/// Most slots that one draw tries.
pub const TRIES_MAX: u64 = 512;
/// Most of those tries that go to standbys once the first node is found.
pub const STANDBY_TRIES_MAX: u64 = 32;
/// Most node rows that one draw reads.
pub const ROWS_MAX: u64 = 64;
/// Standbys of a Single purchase.
pub const STANDBYS_MAX: u64 = 2;

/// What a node must offer to be drawn for a purchase.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) task: &'a Task,
    pub(crate) terms: &'a Params,
    pub(crate) echelons: &'a [u64],
    /// Those of these echelons.
    pub(crate) verifiers: Verifiers,
    pub(crate) max_price: Price,
    /// Units that one node may have to serve.
    pub(crate) units: Units,
    pub(crate) epoch: u64,
    pub(crate) clock_ms: u64,
}

/// The values of one seed, and how much of the budget is used.
pub(crate) struct Drawing<'a> {
    db: &'a AtomaDb,
    wanted: Wanted<'a>,
    seed: &'a [u8; 32],
    sizes: Vec<u64>,
    next_value: u64,
    rows_read: u64,
    pub(crate) drawn: Vec<NodeId>,
}

impl<'a> Drawing<'a> {
    pub(crate) fn new(db: &'a AtomaDb, wanted: Wanted<'a>, seed: &'a [u8; 32]) -> Result<Self> {
        let sizes = slots::sizes(&db.market(wanted.task.id)?.lists, wanted.echelons)?;
        Ok(Self { db, wanted, seed, sizes, next_value: 0, rows_read: 0, drawn: Vec::new() })
    }

    /// Draws until `count` distinct nodes are drawn in all, or `tries` more slots were tried, or the rows
    /// are used up. Returns the tries left.
    pub(crate) fn draw(&mut self, count: u64, tries: u64) -> Result<u64> {
        let lists = &self.db.market(self.wanted.task.id)?.lists;
        let positions = slots::total(&self.sizes)?;
        let cap = self.wanted.terms.weight_cap.0;
        let mut left = tries;
        // No more distinct nodes than positions.
        let goal = count.min(positions);
        while self.count() < goal && left > 0 && self.rows_read < ROWS_MAX {
            left -= 1;
            let position = self.value() % positions;
            let weight = self.value() % cap;
            if let Some(slot) = slots::slot_at(lists, self.wanted.echelons, &self.sizes, position)?
                && weight < slot.weight.0
                && self.accepts(slot, weight)?
            {
                self.drawn.push(slot.node);
            }
        }
        Ok(left)
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.drawn.len()).unwrap_or(u64::MAX)
    }

    /// Whether the slot's node may be drawn; looks at the slot first and reads the node's row last.
    fn accepts(&mut self, slot: &Slot, weight: u64) -> Result<bool> {
        let wanted = &self.wanted;
        if !slot.is_live_at(wanted.epoch)
            || slot.price > wanted.max_price
            || slot.max_units < wanted.units
            || self.drawn.contains(&slot.node)
        {
            return Ok(false);
        }
        self.rows_read += 1;
        let (node, market) = (self.db.node(slot.node)?, self.db.market(wanted.task.id)?);
        // It may have been slashed since the slot was written.
        Ok(weight < node.collateral.0
            && may_serve(wanted.task, wanted.terms, node, wanted.epoch, wanted.clock_ms)
            && has_verifiers(market, wanted.terms, wanted.task.level, wanted.verifiers, node.owner))
    }

    fn value(&mut self) -> u64 {
        let value = value(self.seed, self.next_value);
        self.next_value += 1;
        value
    }
}

/// Value `index` of `seed`.
pub fn value(seed: &[u8; 32], index: u64) -> u64 {
    first_u64(&Hash32::of_parts(&[seed, &index.to_le_bytes()]))
}

/// The first 8 bytes of a hash, little-endian.
pub fn first_u64(hash: &Hash32) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(first)
}

/// Whether a subscriber of the task may take a new channel: it meets the minima, is still on the whitelist,
/// and at level 1 its attestation runs.
pub(crate) fn may_serve(task: &Task, terms: &Params, node: &Node, epoch: u64, clock_ms: u64) -> bool {
    node.disabled_ms == 0
        && node.collateral >= terms.min_collateral
        && reputation(node, epoch) >= task.min_reputation
        && (task.whitelist.is_empty() || task.whitelist.contains(&node.id))
        && (task.level != 1 || node.attestation.expires_ms > clock_ms)
}

/// Whether an audit of a node of this owner can be filled; always below level 2.
pub(crate) fn has_verifiers(
    market: &Market,
    terms: &Params,
    level: u8,
    verifiers: Verifiers,
    owner: Address,
) -> bool {
    level != 2 || verifiers.suffice(market.verifiers_owned(owner), terms.min_verifiers)
}
