/// What chance decides, from a seed: which nodes a purchase draws, whether a claim is audited, of which records, and by
/// whom. Value `i` of a seed is the first 8 bytes, little-endian, of `H(seed ‖ u64_le(i))`; every try at a slot uses two
/// values, one for the position in the lists laid end to end and one for the slot's weight.
module atoma::draw;

use atoma::audit_state::Audit;
use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma_base::limits;
use atoma_base::math;
use atoma_base::params::{Params, Terms};
use atoma_base::rows::{Node, Task};
use atoma_base::slots::{Self, Market, Slot, Verifiers};
use std::bcs;
use sui::hash;

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
public(package) macro fun tries_max(): u64 { 512 }

/// Most of those tries that go to standbys once the first node is found.
public(package) macro fun standby_tries_max(): u64 { 32 }

/// Standbys of a Single purchase.
public(package) macro fun standbys_max(): u64 { 2 }

/// Most node rows that one draw reads.
public(package) macro fun rows_max(): u64 { 64 }

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
    let market = db.market(task.task_id());
    let sizes = slots::sizes(market.lists(), echelons);
    let positions = slots::total(&sizes);
    let cap = terms.weight_cap();
    let mut left = tries;
    // No more distinct nodes than positions.
    let goal = count.min(positions);
    while (self.drawn.length() < goal && left > 0 && self.rows_read < rows_max!()) {
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

// What chance decides about a claim: whether it is audited, and of which records.

/// Chance, in parts of 10^9, that a claim of `amount` is audited: so high that cheating costs more than it gains.
/// At least `p_min`, at most certain; statistical tasks have a fixed chance.
public(package) fun p_ppb(params: &Params, exact: bool, amount: u64, collateral: u64): u64 {
    if (!exact) return params.p_stat_ppb().min(limits::ppb!());
    let chance = needed(params, amount, collateral).max(params.p_min_ppb() as u128);
    chance.min(limits::ppb!() as u128) as u64
}

/// Whether an audit with a chance of at most one deters from cheating on a claim of `amount`. A larger one gains more
/// than `collateral` and claim can lose, even if it is surely audited: some audits fail.
public(package) fun is_covered(params: &Params, exact: bool, amount: u64, collateral: u64): bool {
    !exact || needed(params, amount, collateral) <= (limits::ppb!() as u128)
}

/// With cost ratio c, collusion share r and safety in permille, R the amount and S what a conviction takes of the
/// node's collateral: `ceil(safety·c·R·10^9 / (1000·(1000−r)·(R+S)))`. Bookings do not count: they are no longer the
/// node's.
fun needed(params: &Params, amount: u64, collateral: u64): u128 {
    let at_stake = (math::share(collateral, params.fraud_permille()) as u128) + (amount as u128);
    if (at_stake == 0) return limits::ppb!() as u128;
    let honest = math::sub(1_000, params.collusion_permille());
    // The bounds of the parameters keep this within 128 bits.
    let gain = (params.safety_permille() as u128) * (params.cost_permille() as u128);
    let numerator = gain * (amount as u128) * (limits::ppb!() as u128);
    let denominator = (1_000 * (honest as u128) * at_stake).max(1);
    numerator.divide_and_round_up(denominator)
}

/// The seed of one claim in its beacon round. `target` is the stack or dispute that holds it.
public(package) fun claim_seed(round_seed: &vector<u8>, target: address, node: u64, count: u64): vector<u8> {
    let mut bytes = *round_seed;
    bytes.append(bcs::to_bytes(&target));
    bytes.append(bcs::to_bytes(&node));
    bytes.append(bcs::to_bytes(&count));
    hash::blake2b256(&bytes)
}

/// Whether the claim with this seed is audited.
public(package) fun is_drawn(seed: &vector<u8>, p_ppb: u64): bool {
    first_u64(&hash::blake2b256(seed)) % limits::ppb!() < p_ppb
}

/// `count` units of `(from, to]`, one per value from 0 on, duplicates kept. Units, not leaves: one fat faked record
/// must be found in proportion to what it charges.
public(package) fun offsets(seed: &vector<u8>, from: u64, to: u64, count: u64): vector<u64> {
    let size = math::sub(to, from);
    require(size > 0, errors::arithmetic!());
    vector::tabulate!(count, |i| from + 1 + value(seed, i) % size)
}

/// The seed that the jury is drawn from.
public(package) fun jury_seed(seed: &vector<u8>): vector<u8> {
    let mut bytes = *seed;
    bytes.append(b"jury");
    hash::blake2b256(&bytes)
}

// Seating verifiers. Everything a draw reads was written before the claim was made, or can since only have made a
// verifier ineligible: who knows the seed can lose seats by what it does, never gain one.

/// Positions up to which lists are short: 512 pages.
const SHORT_LISTS: u64 = 32_768;
const SHORT_TRIES_MAX: u64 = 2_048;

/// Up to `count` further verifiers of the audit, from the first unused value of its seed on, two values per try: a
/// position in the lists laid end to end, with their sizes when the claim was made, and its weight.
public(package) fun draw_verifiers<T>(
    db: &AtomaDb<T>,
    terms: &Terms,
    sizes: &vector<u64>,
    made_ms: u64,
    audit: &mut Audit,
    count: u64,
    clock_ms: u64,
): vector<u64> {
    let lists = db.market(terms.task()).verifiers();
    let positions = slots::total(sizes);
    let cap = terms.params().weight_cap();
    let owner = db.node(terms.node()).owner();
    let mut seated = vector[];
    let (mut tries, mut rows) = (verifier_tries_max(positions), rows_max!());
    // Without a verifier when the claim was made there is none to draw.
    while (positions > 0 && seated.length() < count && tries > 0 && rows > 0) {
        tries = tries - 1;
        let position = next_value(audit) % positions;
        let weight = next_value(audit) % cap;
        let (echelon, at, is_there) = slots::locate(lists, terms.echelons(), sizes, position);
        if (is_there) {
            let slot = slots::list(lists, echelon).slot(at);
            let verifier = slot.slot_node();
            // The slot is a verifier's for this claim, and it has or had no seat in this audit.
            let is_free =
                weight < slot.weight()
                && slot.may_verify(made_ms, clock_ms)
                && !seated.contains(&verifier)
                && !audit.sits(verifier);
            if (is_free) {
                rows = rows - 1;
                if (is_fit(db, terms, verifier, owner, made_ms, weight)) seated.push_back(verifier);
            };
        };
    };
    seated
}

/// More slots are tried where lists are short enough that their pages are few: a swarm that joins and leaves must be
/// large to keep an audit from finding its verifiers.
fun verifier_tries_max(positions: u64): u64 { if (positions <= SHORT_LISTS) SHORT_TRIES_MAX else tries_max!() }

/// A verifier is enabled, was never convicted, has collateral enough that was not raised since the claim was made,
/// weighs no more than that, and does not belong to the owner of the node that it judges (which stops accidents; the
/// collusion share covers the rest).
fun is_fit<T>(db: &AtomaDb<T>, terms: &Terms, verifier: u64, owner: address, made_ms: u64, weight: u64): bool {
    let row = db.node(verifier);
    row.disabled_ms() == 0
        && row.convictions() == 0
        && row.collateral() >= terms.params().min_collateral()
        && weight < row.collateral()
        && row.raised_ms() < made_ms
        && row.owner() != owner
}

/// The first unused value of the audit's seed.
fun next_value(audit: &mut Audit): u64 {
    let index = audit.take_value();
    value(audit.seed(), index)
}
