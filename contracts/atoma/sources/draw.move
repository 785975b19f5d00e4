/// Drawing nodes from a seed. Value `i` of a seed is the first 8 bytes, little-endian, of `H(seed ‖ u64_le(i))`;
/// every try at a slot uses two values, one for the position in the lists laid end to end and one for the slot's
/// weight.
module atoma::draw;

use atoma::db::AtomaDb;
use atoma::node_row::Node;
use atoma::params::Params;
use atoma::slots::{Self, Market, Slot, Verifiers};
use atoma::task_row::Task;
use std::bcs;
use sui::hash;

/// Most node rows that one draw reads.
const ROWS_MAX: u64 = 64;

/// The values of one seed, what is wanted, and how much of the budget is used.
public struct Drawing has drop {
    seed: vector<u8>,
    /// Those of the wanted echelons.
    verifiers: Verifiers,
    max_price: u64,
    /// Units that one node may have to serve.
    units: u64,
    epoch: u64,
    clock_ms: u64,
    next_value: u64,
    rows_read: u64,
    drawn: vector<u64>,
}

/// Most slots that one draw tries.
public(package) fun tries_max(): u64 { 512 }

/// Most of those tries that go to standbys once the first node is found.
public(package) fun standby_tries_max(): u64 { 32 }

/// Standbys of a Single purchase.
public(package) fun standbys_max(): u64 { 2 }

public(package) fun rows_max(): u64 { ROWS_MAX }

public(package) fun new(
    seed: vector<u8>,
    verifiers: Verifiers,
    max_price: u64,
    units: u64,
    epoch: u64,
    clock_ms: u64,
): Drawing {
    Drawing {
        seed,
        verifiers,
        max_price,
        units,
        epoch,
        clock_ms,
        next_value: 0,
        rows_read: 0,
        drawn: vector[],
    }
}

/// Draws until `count` distinct nodes are drawn in all, or `tries` more slots were tried, or the rows are used up.
/// Returns the tries left.
public(package) fun draw<T>(
    self: &mut Drawing,
    db: &AtomaDb<T>,
    task: &Task,
    terms: &Params,
    echelons: &vector<u64>,
    count: u64,
    tries: u64,
): u64 {
    let market = db.market(task.id());
    let sizes = slots::sizes(market.lists(), echelons);
    let positions = slots::total(&sizes);
    let cap = terms.weight_cap();
    let mut left = tries;
    // No more distinct nodes than positions.
    let goal = count.min(positions);
    while (self.drawn.length() < goal && left > 0 && self.rows_read < ROWS_MAX) {
        left = left - 1;
        let position = self.next() % positions;
        let weight = self.next() % cap;
        let (echelon, at, is_there) = slots::locate(market.lists(), echelons, &sizes, position);
        if (is_there) {
            let slot = slots::list(market.lists(), echelon).slot(at);
            if (weight < slot.weight() && self.accepts(db, market, task, terms, slot, weight)) {
                self.drawn.push_back(slot.slot_node());
            };
        };
    };
    left
}

public(package) fun count(self: &Drawing): u64 { self.drawn.length() }

public(package) fun drawn(self: &Drawing): vector<u64> { self.drawn }

/// Whether the slot's node may be drawn; looks at the slot first and reads the node's row last.
fun accepts<T>(
    self: &mut Drawing,
    db: &AtomaDb<T>,
    market: &Market,
    task: &Task,
    terms: &Params,
    slot: &Slot,
    weight: u64,
): bool {
    if (!slot.is_live_at(self.epoch)) return false;
    if (slot.slot_price() > self.max_price || slot.slot_max_units() < self.units) return false;
    if (self.drawn.contains(&slot.slot_node())) return false;
    self.rows_read = self.rows_read + 1;
    let node = db.node(slot.slot_node());
    // It may have been slashed since the slot was written.
    weight < node.collateral()
        && may_serve(task, terms, node, self.epoch, self.clock_ms)
        && has_verifiers(market, terms, task.level(), self.verifiers, node.owner())
}

fun next(self: &mut Drawing): u64 {
    let value = value(&self.seed, self.next_value);
    self.next_value = self.next_value + 1;
    value
}

/// Value `index` of `seed`.
public(package) fun value(seed: &vector<u8>, index: u64): u64 {
    let mut bytes = *seed;
    bytes.append(bcs::to_bytes(&index));
    first_u64(&hash::blake2b256(&bytes))
}

/// The first 8 bytes of a hash, little-endian.
public(package) fun first_u64(hash: &vector<u8>): u64 {
    let mut value = 0;
    let mut i = 8;
    while (i > 0) {
        i = i - 1;
        value = (value << 8) | (hash[i] as u64);
    };
    value
}

/// Whether a subscriber of the task may take a new channel: it meets the minima, is still on the whitelist, and at
/// level 1 its attestation runs.
public(package) fun may_serve(task: &Task, terms: &Params, node: &Node, epoch: u64, clock_ms: u64): bool {
    node.disabled_ms() == 0
        && node.collateral() >= terms.min_collateral()
        && node.reputation_at(epoch) >= task.min_reputation()
        && task.allows(node.id())
        && (task.level() != 1 || node.attestation_expires_ms() > clock_ms)
}

/// Whether an audit of a node of this owner can be filled; always below level 2.
public(package) fun has_verifiers(
    market: &Market,
    terms: &Params,
    level: u8,
    verifiers: Verifiers,
    owner: address,
): bool {
    level != 2 || verifiers.suffice(market.verifiers_owned(owner), terms.min_verifiers())
}
