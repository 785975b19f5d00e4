/// Plays steps that the model played, on the package's entry points, and compares what they do: every event, every
/// coin that leaves and to whom, every object that changed. Where an entry point is private or shares what it makes, the
/// package's function behind it is called, and what it returns is the sender's.
///
/// A play is a list of pairs: a step, and what the model says of it. An abort's code names the kind of difference, the
/// step, and which of its events or objects differs: `kind · 10^9 + step · 1000 + which`, or, where whole bytes were
/// given, `9 · 10^9 + the first that differs`.
#[test_only]
module atoma::driver;

use atoma::admin::AdminCap;
use atoma::audit;
use atoma::beacon::{Self, Beacon};
use atoma::claim;
use atoma::db::AtomaDb;
use atoma::dispute::{Self, Dispute};
use atoma::driver_args::{Self as args, Tx};
use atoma::driver_events;
use atoma::driver_objects as objects;
use atoma::driver_registry as registry;
use atoma::node::NodeBadge;
use atoma::stack::{Self, Stack};
use atoma::dispute_state;
use atoma::task::TaskBadge;
use atoma::treasury::Treasury;
use atoma::upgrade::UpgradeLock;
use std::unit_test::destroy;
use sui::bcs::{Self, BCS};
use sui::clock::{Self, Clock};
use sui::coin::Coin;
use sui::event;
use sui::hash;
use sui::sui::SUI;
use sui::test_scenario::{Self, Scenario};

const BILLION: u64 = 1_000_000_000;
const EVENT_COUNT: u64 = 1;
const EVENTS: u64 = 2;
const COINS: u64 = 3;
const OBJECTS: u64 = 4;
/// The model aborts here, the package does not.
const NO_ABORT: u64 = 5;
const UNKNOWN: u64 = 6;
const BYTES: u64 = 9;

/// Everything that exists, in the order of creation.
public struct World {
    clock: Clock,
    caps: vector<AdminCap>,
    dbs: vector<AtomaDb<SUI>>,
    treasuries: vector<Treasury<SUI>>,
    beacons: vector<Beacon>,
    locks: vector<UpgradeLock>,
    node_badges: vector<NodeBadge>,
    task_badges: vector<TaskBadge>,
    stacks: vector<Stack<SUI>>,
    disputes: vector<Dispute<SUI>>,
}

/// Plays all steps that succeed, and compares.
public fun play(parts: vector<vector<vector<u8>>>) {
    let steps = parts.flatten();
    let mut scenario = test_scenario::begin(@0x0);
    let mut world = new();
    let mut i = 0;
    while (i < steps.length()) {
        if (succeeds(&steps[i + 1])) {
            let mut done = world.step(steps[i]);
            let mut want = world.compare_events(steps[i + 1], i / 2);
            world.receive(&mut scenario, &mut done);
            world.compare(&mut want, &done, i / 2);
        };
        i = i + 2;
    };
    destroy(world);
    scenario.end();
}

/// Plays the steps that succeed before step `last`, and then that, which must abort.
public fun fail(parts: vector<vector<vector<u8>>>, last: u64) {
    let steps = parts.flatten();
    let mut scenario = test_scenario::begin(@0x0);
    let mut world = new();
    last.do!(|i| {
        if (succeeds(&steps[2 * i + 1])) {
            let mut done = world.step(steps[2 * i]);
            world.receive(&mut scenario, &mut done);
        }
    });
    world.step(steps[2 * last]);
    abort NO_ABORT * BILLION + last * 1000
}

/// The abort code comes first; none has a lowest byte of zero.
fun succeeds(want: &vector<u8>): bool { want[0] == 0 }

fun new(): World {
    let mut ctx = tx_context::dummy();
    World {
        clock: clock::create_for_testing(&mut ctx),
        caps: vector[],
        dbs: vector[],
        treasuries: vector[],
        beacons: vector[],
        locks: vector[],
        node_badges: vector[],
        task_badges: vector[],
        stacks: vector[],
        disputes: vector[],
    }
}

/// What a step handed out.
public struct Done has copy, drop {
    sender: address,
    tag: u32,
    /// What coins are worth, and whose they are.
    values: vector<u64>,
    owners: vector<address>,
}

/// Ends the transaction and takes what it transferred.
fun receive(self: &mut World, scenario: &mut Scenario, done: &mut Done) {
    done.values.length().do!(|_| done.owners.push_back(done.sender));
    let effects = scenario.next_tx(@0x0);
    let (ids, owners) = effects.transferred_to_account().into_keys_values();
    ids.length().do!(|i| {
        let (id, owner) = (ids[i], owners[i]);
        if (done.tag == 13) {
            assert!(owner == done.sender, COINS * BILLION);
            self.node_badges.push_back(scenario.take_from_address_by_id(owner, id));
        } else if (done.tag == 26) {
            assert!(owner == done.sender, COINS * BILLION);
            self.task_badges.push_back(scenario.take_from_address_by_id(owner, id));
        } else {
            let coin: Coin<SUI> = scenario.take_from_address_by_id(owner, id);
            done.values.push_back(coin.burn_for_testing());
            done.owners.push_back(owner);
        };
    });
}

// What is compared.

fun compare_events(_self: &World, want: vector<u8>, step: u64): BCS {
    let mut want = bcs::new(want);
    let b = &mut want;
    let at = step * 1000;
    b.peel_u64();
    assert!(event::num_events() == b.peel_u32(), EVENT_COUNT * BILLION + at);
    b.peel_vec_length().do!(|i| {
        let tag = b.peel_u8();
        check(driver_events::of_type(tag), b.peel_vec_u8(), EVENTS * BILLION + at + i);
    });
    want
}

fun compare(self: &World, b: &mut BCS, done: &Done, step: u64) {
    let at = step * 1000;
    assert!(b.peel_vec_address() == done.owners && b.peel_vec_u64() == done.values, COINS * BILLION + at);
    b.peel_vec_length().do!(|i| {
        let bytes = self.bytes_of(b);
        check(bytes, b.peel_vec_u8(), OBJECTS * BILLION + at + i);
    });
}

/// 32 bytes are a hash.
fun check(found: vector<u8>, want: vector<u8>, code: u64) {
    if (want.length() == 32) {
        assert!(hash::blake2b256(&found) == want, code);
    } else if (found != want) {
        let mut i = 0;
        while (i < found.length() && i < want.length() && found[i] == want[i]) i = i + 1;
        abort BYTES * BILLION + i
    }
}

/// The object that comes next.
fun bytes_of(self: &World, b: &mut BCS): vector<u8> {
    let kind = b.peel_enum_tag();
    if (kind >= 10) return self.bytes_of_named(b, kind);
    let at = args::peel_index(b);
    match (kind) {
        0 => bcs::to_bytes(&self.dbs[at]),
        1 => bcs::to_bytes(&self.treasuries[at]),
        2 => objects::beacon(&self.beacons[at]),
        3 => objects::node(&self.dbs[at], b.peel_u64()),
        4 => objects::model(&self.dbs[at], b.peel_u64()),
        5 => objects::task(&self.dbs[at], b.peel_u64()),
        6 => objects::market(&self.dbs[at], b.peel_u64()),
        7 => objects::subscription(&self.dbs[at], b.peel_u64(), b.peel_u64()),
        8 => objects::owned(&self.dbs[at], b.peel_u64(), b.peel_address()),
        9 => objects::due(&self.dbs[at], b.peel_address()),
        _ => abort UNKNOWN * BILLION,
    }
}

fun bytes_of_named(self: &World, b: &mut BCS, kind: u32): vector<u8> {
    if (kind == 10) {
        let id = b.peel_address();
        let at = self.stacks.find_index!(|stack| stack.addr() == id);
        return if (at.is_some()) bcs::to_bytes(&self.stacks[*at.borrow()]) else vector[]
    };
    if (kind == 11) {
        let id = b.peel_address();
        let at = self.disputes.find_index!(|dispute| dispute.addr() == id);
        return if (at.is_some()) bcs::to_bytes(&self.disputes[*at.borrow()]) else vector[]
    };
    if (kind == 14) return bcs::to_bytes(&self.node_badges[args::peel_badge(b)]);
    if (kind == 15) return bcs::to_bytes(&self.task_badges[args::peel_badge(b)]);
    let at = args::peel_index(b);
    match (kind) {
        12 => bcs::to_bytes(&self.locks[at]),
        13 => bcs::to_bytes(&self.caps[at]),
        _ => abort UNKNOWN * BILLION,
    }
}

// Calls. Each returns what the coins are worth that came back in hand.

fun step(self: &mut World, bytes: vector<u8>): Done {
    let mut b = bcs::new(bytes);
    let tx = args::peel_tx(&mut b);
    self.clock.set_for_testing(tx.clock_ms());
    let tag = b.peel_enum_tag();
    let b = &mut b;
    let values =
        if (tag < 35) self.registry_call(&tx, tag, b)
        else if (tag < 48) self.stack_call(&tx, tag, b)
        else if (tag < 59) self.claim_call(&tx, tag, b)
        else self.dispute_call(&tx, tag, b);
    Done { sender: tx.sender(), tag, values, owners: vector[] }
}

fun stack_at(self: &World, id: address): u64 { self.stacks.find_index!(|stack| stack.addr() == id).destroy_some() }

fun dispute_at(self: &World, id: address): u64 {
    self.disputes.find_index!(|dispute| dispute.addr() == id).destroy_some()
}

/// What is left of a coin that was handed in.
fun change(coin: Coin<SUI>): vector<u64> {
    let value = coin.burn_for_testing();
    if (value == 0) vector[] else vector[value]
}

/// Gives back no coin.
fun registry_call(self: &mut World, tx: &Tx, tag: u32, b: &mut BCS): vector<u64> {
    let World { clock, caps, dbs, treasuries, beacons, locks, node_badges, task_badges, .. } = self;
    if (tag < 13) registry::admin_call(clock, caps, dbs, treasuries, beacons, locks, tx, tag, b)
    else if (tag < 25) registry::node_call(clock, dbs, treasuries, node_badges, tx, tag, b)
    else registry::offer_call(clock, dbs, node_badges, task_badges, tx, tag, b);
    vector[]
}

fun stack_call(self: &mut World, tx: &Tx, tag: u32, b: &mut BCS): vector<u64> {
    if (tag == 35) return self.acquire(tx, b);
    if (tag == 47) {
        let (db, beacon) = (args::peel_index(b), args::peel_index(b));
        let seed = args::peel_32(b);
        beacon::beat_impl(&self.dbs[db], &mut self.beacons[beacon], seed, &self.clock, &tx.begin());
        return vector[]
    };
    // Of these the stack comes first.
    let has_no_db = tag == 39 || (tag >= 42 && tag <= 45);
    let db = if (has_no_db) 0 else args::peel_index(b);
    let at = self.stack_at(b.peel_address());
    if (tag >= 43 && tag <= 45) return self.pay_out(tx, tag, at, b);
    let (db, stack) = (&self.dbs[db], &mut self.stacks[at]);
    match (tag) {
        36 => {
            let coin = args::coin(b.peel_u64());
            stack::top_up(db, stack, coin, b.peel_u64(), &self.clock, &mut tx.begin())
        },
        37 => {
            let (node, units, max_price, nonce) = (b.peel_u64(), b.peel_u64(), b.peel_u64(), b.peel_u64());
            let signature = b.peel_vec_u8();
            stack::open_channel(db, stack, node, units, max_price, nonce, signature, &self.clock, &tx.begin())
        },
        38 => {
            let (node, units, count, root) = (b.peel_u64(), b.peel_u64(), b.peel_u64(), b.peel_vec_u8());
            let signature = b.peel_vec_u8();
            stack::settle(db, stack, node, units, count, root, signature, &self.clock)
        },
        39 => stack::revoke_channel(stack, b.peel_u64(), &self.clock, &tx.begin()),
        40 => stack::release_channel(db, stack, &self.node_badges[args::peel_badge(b)], &self.clock),
        41 => stack::reclaim(db, stack, b.peel_u64(), &self.clock),
        42 => stack::request_close(stack, &self.clock, &tx.begin()),
        _ => stack::migrate(db, stack),
    };
    vector[]
}

fun acquire(self: &mut World, tx: &Tx, b: &mut BCS): vector<u64> {
    let db = &self.dbs[args::peel_index(b)];
    let seed = args::peel_32(b);
    let mut coin = args::coin(b.peel_u64());
    let (task, key, units, max_price) = (b.peel_u64(), b.peel_vec_u8(), b.peel_u64(), b.peel_u64());
    let (selection, nodes, max_opens, echelons) = (b.peel_u8(), b.peel_u64(), b.peel_u64(), b.peel_vec_u64());
    let mut ctx = tx.begin();
    let stack = stack::acquire_impl(
        db,
        seed,
        &mut coin,
        task,
        key,
        units,
        max_price,
        selection,
        nodes,
        max_opens,
        echelons,
        &self.clock,
        &mut ctx,
    );
    self.stacks.push_back(stack);
    change(coin)
}

/// Calls that may empty a stack.
fun pay_out(self: &mut World, tx: &Tx, tag: u32, at: u64, b: &mut BCS): vector<u64> {
    let stack = &mut self.stacks[at];
    let mut ctx = tx.begin();
    let is_empty = if (tag == 43) {
        stack.pay_refund(&self.clock, &mut ctx)
    } else if (tag == 44) {
        stack.pay_due(&self.clock, &mut ctx)
    } else {
        stack.pay_treasury(&mut self.treasuries[args::peel_index(b)], &self.clock)
    };
    if (is_empty) destroy(self.stacks.remove(at));
    vector[]
}

fun claim_call(self: &mut World, tx: &Tx, tag: u32, b: &mut BCS): vector<u64> {
    if (tag == 48) {
        let (db, beacon) = (args::peel_index(b), args::peel_index(b));
        let at = self.stack_at(b.peel_address());
        let (node, units, count, root) = (b.peel_u64(), b.peel_u64(), b.peel_u64(), b.peel_vec_u8());
        let (db, beacon, stack) = (&self.dbs[db], &self.beacons[beacon], &mut self.stacks[at]);
        let signature = b.peel_vec_u8();
        claim::settle(db, beacon, stack, node, units, count, root, signature, &self.clock, &tx.begin());
        return vector[]
    };
    if (tag < 53) return self.resolve_call(tx, tag, b);
    if (tag == 53) return self.reveal_record(b);
    if (tag == 56) return self.reveal_verdict(tx, b);
    let db = if (tag == 58) args::peel_index(b) else 0;
    let target = args::peel_target(b);
    if (tag == 54) {
        let badge = &self.node_badges[args::peel_badge(b)];
        let (which, part) = (b.peel_u64(), b.peel_vec_u8());
        if (target.is_channel()) {
            audit::post_record_part(&self.stacks[self.stack_at(target.id())], badge, which, part)
        } else {
            dispute::post_record_part(&self.disputes[self.dispute_at(target.id())], badge, which, part)
        };
        return vector[]
    };
    if (target.is_channel()) {
        let (at, node) = (self.stack_at(target.id()), target.node());
        let stack = &mut self.stacks[at];
        match (tag) {
            55 => {
                let badge = &self.node_badges[args::peel_badge(b)];
                audit::commit_verdict(stack, node, badge, b.peel_vec_u8(), &self.clock)
            },
            57 => audit::mark_late(stack, node, &self.clock),
            _ => audit::expire(&mut self.dbs[db], stack, node, &self.clock, &tx.begin()),
        }
    } else {
        let at = self.dispute_at(target.id());
        let dispute = &mut self.disputes[at];
        match (tag) {
            55 => {
                let badge = &self.node_badges[args::peel_badge(b)];
                dispute::commit_verdict(dispute, badge, b.peel_vec_u8(), &self.clock)
            },
            57 => dispute::mark_audit_late(dispute, &self.clock),
            _ => dispute::expire_audit(&mut self.dbs[db], dispute, &self.clock, &tx.begin()),
        }
    };
    vector[]
}

fun resolve_call(self: &mut World, tx: &Tx, tag: u32, b: &mut BCS): vector<u64> {
    let (db, beacon, target) = (args::peel_index(b), args::peel_index(b), args::peel_target(b));
    if (!target.is_channel()) return self.resolve_dispute(tx, tag, db, beacon, target.id(), b);
    let (at, node) = (self.stack_at(target.id()), target.node());
    let (db, beacon, stack) = (&mut self.dbs[db], &self.beacons[beacon], &mut self.stacks[at]);
    match (tag) {
        49 => claim::resolve_pay(db, beacon, stack, node, &self.clock),
        50 => claim::resolve_audit(db, beacon, stack, node, &self.clock, &mut tx.begin()),
        51 => {
            let coin = args::coin(b.peel_u64());
            let (record, index, proof) = (b.peel_vec_u8(), b.peel_u64(), b.peel_vec_vec_u8());
            let ctx = tx.begin();
            claim::challenge_record(db, beacon, stack, node, coin, record, index, proof, &self.clock, &ctx)
        },
        _ => claim::release_claim(db, beacon, stack, node, &self.clock),
    };
    vector[]
}

fun resolve_dispute(
    self: &mut World,
    tx: &Tx,
    tag: u32,
    db: u64,
    beacon: u64,
    id: address,
    b: &mut BCS,
): vector<u64> {
    let at = self.dispute_at(id);
    if (tag == 52) {
        // Asks for no beacon: the one named need not be there.
        dispute::release_claim(&self.dbs[db], &mut self.disputes[at], &self.clock);
        return vector[]
    };
    let (db, beacon, dispute) = (&mut self.dbs[db], &self.beacons[beacon], &mut self.disputes[at]);
    match (tag) {
        49 => dispute::resolve_pay(db, beacon, dispute, &self.clock),
        50 => dispute::resolve_audit(db, beacon, dispute, &self.clock, &mut tx.begin()),
        _ => {
            let coin = args::coin(b.peel_u64());
            let (record, index, proof) = (b.peel_vec_u8(), b.peel_u64(), b.peel_vec_vec_u8());
            let ctx = tx.begin();
            dispute::challenge_record(db, beacon, dispute, coin, record, index, proof, &self.clock, &ctx)
        },
    };
    vector[]
}

fun reveal_record(self: &mut World, b: &mut BCS): vector<u64> {
    let target = args::peel_target(b);
    let badge = args::peel_badge(b);
    let (which, record, index, proof) = (b.peel_u64(), b.peel_vec_u8(), b.peel_u64(), b.peel_vec_vec_u8());
    let location = b.peel_vec_u8();
    if (target.is_channel()) {
        let at = self.stack_at(target.id());
        let (stack, badge) = (&mut self.stacks[at], &self.node_badges[badge]);
        audit::reveal_record(stack, badge, which, record, index, proof, location, &self.clock)
    } else {
        let at = self.dispute_at(target.id());
        let (dispute, badge) = (&mut self.disputes[at], &self.node_badges[badge]);
        dispute::reveal_record(dispute, badge, which, record, index, proof, location, &self.clock)
    };
    vector[]
}

fun reveal_verdict(self: &mut World, tx: &Tx, b: &mut BCS): vector<u64> {
    let (db, target, badge) = (args::peel_index(b), args::peel_target(b), args::peel_badge(b));
    let (verdicts, digests, salt) = (b.peel_vec_u8(), b.peel_vec_u8(), b.peel_vec_u8());
    let ctx = tx.begin();
    if (target.is_channel()) {
        let (at, node) = (self.stack_at(target.id()), target.node());
        let (db, stack, badge) = (&mut self.dbs[db], &mut self.stacks[at], &self.node_badges[badge]);
        audit::reveal_verdict(db, stack, node, badge, verdicts, digests, salt, &self.clock, &ctx)
    } else {
        let at = self.dispute_at(target.id());
        let (db, dispute, badge) = (&mut self.dbs[db], &mut self.disputes[at], &self.node_badges[badge]);
        dispute::reveal_verdict(db, dispute, badge, verdicts, digests, salt, &self.clock, &ctx)
    };
    vector[]
}

fun dispute_call(self: &mut World, tx: &Tx, tag: u32, b: &mut BCS): vector<u64> {
    match (tag) {
        59 => return self.open_dispute(tx, b),
        60 => return self.answer(tx, b),
        61 => return self.refuse(tx, b),
        62 => return self.acknowledge(b),
        63 => {
            let (db, id, badge) = (args::peel_index(b), b.peel_address(), args::peel_badge(b));
            let at = self.dispute_at(id);
            dispute::demand_body(&self.dbs[db], &mut self.disputes[at], &self.node_badges[badge], &self.clock)
        },
        64 => {
            let at = self.dispute_at(b.peel_address());
            let (offset, part, is_last) = (b.peel_u64(), b.peel_vec_u8(), b.peel_bool());
            dispute::post_body(&mut self.disputes[at], offset, part, is_last, &self.clock, &tx.begin())
        },
        65 => {
            let at = self.dispute_at(b.peel_address());
            dispute::mark_late(&mut self.disputes[at], &self.clock)
        },
        66 => {
            let (db, stack, id) = (args::peel_index(b), b.peel_address(), b.peel_address());
            let (stack, at) = (self.stack_at(stack), self.dispute_at(id));
            let ctx = tx.begin();
            dispute::expire(
                &mut self.dbs[db],
                &mut self.stacks[stack],
                &mut self.disputes[at],
                &self.clock,
                &ctx,
            )
        },
        67 => {
            let at = self.dispute_at(b.peel_address());
            let is_over = self.disputes[at].pay_due(&mut tx.begin());
            if (is_over) destroy(self.disputes.remove(at))
        },
        68 => {
            let (db, id) = (args::peel_index(b), b.peel_address());
            let at = self.dispute_at(id);
            dispute::migrate(&self.dbs[db], &mut self.disputes[at])
        },
        _ => self.set_version(b),
    };
    vector[]
}

fun open_dispute(self: &mut World, tx: &Tx, b: &mut BCS): vector<u64> {
    let db = args::peel_index(b);
    let at = self.stack_at(b.peel_address());
    let blob = tx.peel_blob(b);
    let mut coin = args::coin(b.peel_u64());
    let (node, hops, nonce, body_hash) = (b.peel_u64(), b.peel_u8(), b.peel_u64(), b.peel_vec_u8());
    let (max_units, expires_ms, signature) = (b.peel_u64(), b.peel_u64(), b.peel_vec_u8());
    let mut ctx = tx.begin();
    let dispute = dispute::open_impl(
        &mut self.dbs[db],
        &mut self.stacks[at],
        dispute_state::read(&blob),
        &mut coin,
        node,
        hops,
        nonce,
        body_hash,
        max_units,
        expires_ms,
        signature,
        &self.clock,
        &mut ctx,
    );
    self.disputes.push_back(dispute);
    blob.burn();
    change(coin)
}

fun answer(self: &mut World, tx: &Tx, b: &mut BCS): vector<u64> {
    let (db, beacon) = (args::peel_index(b), args::peel_index(b));
    let (stack, id, badge) = (b.peel_address(), b.peel_address(), args::peel_badge(b));
    let (stack, at) = (self.stack_at(stack), self.dispute_at(id));
    let blob = tx.peel_blob(b);
    let record = b.peel_vec_u8();
    dispute::answer_served(
        &mut self.dbs[db],
        &self.beacons[beacon],
        &mut self.stacks[stack],
        &mut self.disputes[at],
        &self.node_badges[badge],
        &blob,
        record,
        &self.clock,
    );
    blob.burn();
    vector[]
}

fun refuse(self: &mut World, tx: &Tx, b: &mut BCS): vector<u64> {
    let (db, stack, id) = (args::peel_index(b), b.peel_address(), b.peel_address());
    let (stack, at, badge) = (self.stack_at(stack), self.dispute_at(id), args::peel_badge(b));
    let coin = args::coin(b.peel_u64());
    let (db, stack, dispute) = (&mut self.dbs[db], &mut self.stacks[stack], &mut self.disputes[at]);
    dispute::answer_refused(db, stack, dispute, &self.node_badges[badge], coin, b.peel_u8(), &tx.begin());
    vector[]
}

fun acknowledge(self: &mut World, b: &mut BCS): vector<u64> {
    let (db, stack, id) = (args::peel_index(b), b.peel_address(), b.peel_address());
    let (stack, at, badge) = (self.stack_at(stack), self.dispute_at(id), args::peel_badge(b));
    let node = b.peel_u64();
    let (units, count, root, signature) = (b.peel_u64(), b.peel_u64(), b.peel_vec_u8(), b.peel_vec_u8());
    let (record, index, proof) = (b.peel_vec_u8(), b.peel_u64(), b.peel_vec_vec_u8());
    dispute::show_acknowledged(
        &mut self.dbs[db],
        &mut self.stacks[stack],
        &mut self.disputes[at],
        &self.node_badges[badge],
        node,
        units,
        count,
        root,
        signature,
        record,
        index,
        proof,
    );
    vector[]
}

/// Not a call: another version for an object.
fun set_version(self: &mut World, b: &mut BCS) {
    let kind = b.peel_enum_tag();
    if (kind < 3) {
        let (at, version) = (args::peel_index(b), b.peel_u64());
        match (kind) {
            0 => self.dbs[at].set_version_for_testing(version),
            1 => self.treasuries[at].set_version_for_testing(version),
            _ => self.beacons[at].set_version_for_testing(version),
        };
        return
    };
    let (id, version) = (b.peel_address(), b.peel_u64());
    if (kind == 3) {
        let at = self.stack_at(id);
        self.stacks[at].set_version_for_testing(version)
    } else {
        let at = self.dispute_at(id);
        self.disputes[at].set_version_for_testing(version)
    }
}
