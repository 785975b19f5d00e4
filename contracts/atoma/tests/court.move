/// A market in hand for the tests of claims, audits and disputes: one serving node, eleven verifiers, one stack of a
/// million units at a coin each million, all of them granted to the node.
///
/// Ids follow from the numbers of the transactions, so that what the user signed and which seeds draw the claim could
/// be computed beforehand.
#[test_only]
module atoma::court;

use atoma::admin::{Self, AdminCap};
use atoma::audit;
use atoma::audit_state::{Self, Seat};
use atoma::beacon::{Self, Beacon};
use atoma::claim;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::model;
use atoma::node::{Self, NodeBadge};
use atoma::offer;
use atoma::stack::{Self, Stack};
use atoma::task;
use atoma::treasury::Treasury;
use std::bcs;
use std::unit_test::destroy;
use sui::balance;
use sui::clock::{Self, Clock};
use sui::coin::{Self, Coin};
use sui::sui::SUI;

const ADMIN: address = @0xAD;
const CREATOR: address = @0xC0;
const USER: address = @0xA1;
const COIN: u64 = 1_000_000;
const START_MS: u64 = 1_000_000;
const NODES: u64 = 12;
const RECEIPT_KEY: vector<u8> = x"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
/// Of the secret key 0707….
const REQUEST_KEY: vector<u8> = x"ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";
/// A million units of one request: the only leaf of its transcript.
const RECORD: vector<u8> =
    x"2011111111111111111111111111111111111111111111111111111111111111112022222222222222222222222222222222222222222222222222222222222222226400000000000000840300000000000040420f000000000040420f000000000001000000000000000020b41f077ca124f5ef535370daf41c74a2bc48ba7eb868e7337cc1f7f4abff1cae";
const ROOT: vector<u8> = x"a1707f7203a3d29fddda03fa12c7d95723aca8b5ed57caa73f861f818132f22a";
/// Node 1 may settle a million units, 1 leaf.
const VOUCHER: vector<u8> =
    x"deab73ec96767c85fc6cc88fa6fec9ffe50c40a5c17a401a43149f8d636784a9a491d31393674fe0cf66b0e11505cc97dcdc4a0834a27aa1ed38126fdd0fd30e";
const SALT: vector<u8> = x"5555555555555555555555555555555555555555555555555555555555555555";

public struct Court {
    cap: AdminCap,
    db: AtomaDb<SUI>,
    treasury: Treasury<SUI>,
    beacon: Beacon,
    clock: Clock,
    badges: vector<NodeBadge>,
    stack: Stack<SUI>,
}

/// The local network's parameters.
fun params(): vector<u64> {
    vector[
        1_000, 3_600_000, 20_000, 640_000, 1_000, 10_000, 20_000, 5_000, 2_000, 24_000, 150_000, 10_000, 10_000, 5_000,
        20_000, 1_000, 5_000_000,
        1_000 * COIN, 4_000 * COIN, COIN, 30_000, 500_000, 100_000, 30_000, COIN, 50 * COIN, 60_000,
        1_000, 100, 50, 5, 500, 10, 10_000_000, 50_000_000, 1_000, 333, 2_000, 1, 1, 10,
    ]
}

fun digest(n: u64): vector<u8> {
    let mut bytes = bcs::to_bytes(&n);
    while (bytes.length() < 32) bytes.push_back(0);
    bytes
}

/// Transaction `n` of a sender.
public fun tx(sender: address, n: u64): TxContext { tx_context::new(sender, digest(n), 0, 0, 0) }

/// Made before the transaction that uses it.
public fun coin(value: u64): Coin<SUI> {
    coin::from_balance(balance::create_for_testing(value), &mut tx(ADMIN, 999))
}

public fun user(): address { USER }

public fun creator(): address { CREATOR }

public fun wallet(n: u64): address { sui::address::from_u256((n as u256) + 0x100) }

public fun payout(n: u64): address { sui::address::from_u256((n as u256) + 0xfe00) }

/// A market with a stack of an exact task of that level. Time moved on since the verifiers joined.
public fun open(level: u8): Court {
    let mut clock = clock::create_for_testing(&mut tx(ADMIN, 0));
    clock.set_for_testing(START_MS);
    let mut ctx = tx(ADMIN, 1);
    let mut cap = admin::new_cap(&mut ctx);
    let (mut db, mut treasury, beacon) = admin::create_impl<SUI>(&mut cap, params(), &mut ctx);
    model::add(&mut db, b"model".to_string(), 0, digest(1), 100, &tx(CREATOR, 2));
    add_task(&mut db, level);
    let badges = vector::tabulate!(NODES, |i| add_node(&mut db, &mut treasury, i + 1, level, &clock));
    clock.increment_for_testing(1);
    let mut stack = buy(&db, &clock);
    let nothing = vector[];
    stack::open_channel(&db, &mut stack, 1, COIN, COIN, 1, nothing, &clock, &tx(USER, 51));
    Court { cap, db, treasury, beacon, clock, badges, stack }
}

fun add_task(db: &mut AtomaDb<SUI>, level: u8) {
    let (none, echelons) = (vector[], vector[0]);
    let ctx = &mut tx(CREATOR, 3);
    task::create(
        db, 0, 1, level, true, 2 * COIN, 1_000, 1_000, 5, 0, 0, none, echelons, 0, 0, 0, 0, 0, 0, 0, ctx,
    )
}

fun add_node(
    db: &mut AtomaDb<SUI>,
    treasury: &mut Treasury<SUI>,
    n: u64,
    level: u8,
    clock: &Clock,
): NodeBadge {
    node::register(
        db,
        treasury,
        coin(1_001 * COIN),
        payout(n),
        b"http://127.0.0.1:8080".to_string(),
        RECEIPT_KEY,
        &mut tx(wallet(n), 10 + n),
    );
    let badge = node::badge_for_testing(db, n, &mut tx(wallet(n), 20 + n));
    let none = vector[];
    node::rotate_key(db, &badge, none, none, b"seal key", none, 1, 0, clock, &tx(wallet(n), 30 + n));
    let is_verifier = level == 2 && n > 1;
    offer::subscribe(db, &badge, 1, COIN, 100 * COIN, 0, is_verifier, clock, &tx(wallet(n), 100 + n));
    badge
}

/// In transaction 50.
fun buy(db: &AtomaDb<SUI>, clock: &Clock): Stack<SUI> {
    let mut coin = coin(1_005_000);
    let (seed, any) = (digest(5), 2);
    let mut ctx = tx(USER, 50);
    let stack = stack::acquire_impl(
        db,
        seed,
        &mut coin,
        1,
        REQUEST_KEY,
        COIN,
        COIN,
        any,
        0,
        0,
        vector[],
        clock,
        &mut ctx,
    );
    coin.destroy_zero();
    stack
}

public fun close(self: Court) {
    let Court { cap, db, treasury, beacon, clock, badges, stack } = self;
    destroy(cap);
    destroy(db);
    destroy(treasury);
    destroy(beacon);
    destroy(clock);
    destroy(badges);
    destroy(stack);
}

public fun wait(self: &mut Court, ms: u64) { self.clock.increment_for_testing(ms) }

public fun db(self: &Court): &AtomaDb<SUI> { &self.db }

public fun stack(self: &Court): &Stack<SUI> { &self.stack }

public fun clock(self: &Court): &Clock { &self.clock }

/// What a call takes: database, beacon, stack, the serving node's badge, and the clock.
public fun parts(self: &mut Court): (&mut AtomaDb<SUI>, &Beacon, &mut Stack<SUI>, &NodeBadge, &Clock) {
    (&mut self.db, &self.beacon, &mut self.stack, &self.badges[0], &self.clock)
}

/// The same with a verifier's badge.
public fun parts_of(
    self: &mut Court,
    verifier: u64,
): (&mut AtomaDb<SUI>, &Beacon, &mut Stack<SUI>, &NodeBadge, &Clock) {
    (&mut self.db, &self.beacon, &mut self.stack, &self.badges[verifier - 1], &self.clock)
}

/// Draws the next round.
public fun beat(self: &mut Court, seed: vector<u8>) {
    beacon::beat_impl(&self.db, &mut self.beacon, seed, &self.clock, &tx(USER, 60))
}

// The channel's claim.

public fun claim(self: &Court): &Claim { self.stack.state().channel(1).claim().borrow() }

public fun has_claim(self: &Court): bool { self.stack.state().channel(1).claim().is_some() }

/// Settles the voucher of a million units in the name of the node.
public fun settle(self: &mut Court) { self.settle_as(wallet(1)) }

public fun settle_as(self: &mut Court, sender: address) {
    let ctx = tx(sender, 61);
    let stack = &mut self.stack;
    claim::settle(&self.db, &self.beacon, stack, 1, COIN, 1, ROOT, VOUCHER, &self.clock, &ctx)
}

/// A claim that the seed of its round, which is drawn, sends to the audit.
public fun audit(self: &mut Court, seed: vector<u8>) {
    self.settle();
    self.beat(seed);
    let (db, beacon, stack, _, clock) = self.parts();
    claim::resolve_audit(db, beacon, stack, 1, clock, &mut tx(USER, 62))
}

/// The node shows its one record.
public fun reveal_record(self: &mut Court) {
    let (_, _, stack, badge, clock) = self.parts();
    audit::reveal_record(stack, badge, 0, RECORD, 0, vector[], b"https://walrus", clock)
}

public fun record(): vector<u8> { RECORD }

/// Verifiers of the round that runs.
public fun seats(self: &Court): vector<u64> {
    self.claim().running().current().map_ref!(|seat: &Seat| seat.verifier())
}

/// Every seat of the round commits to this verdict.
public fun commit_all(self: &mut Court, verdict: u8) {
    self.seats().do!(|verifier| self.commit(verifier, verdict))
}

/// Every seat of the round opens this verdict.
public fun open_all(self: &mut Court, verdict: u8) {
    self.seats().do!(|verifier| self.open_verdict(verifier, verdict))
}

public fun commit(self: &mut Court, verifier: u64, verdict: u8) {
    let round = self.claim().running().round();
    let hash = audit_state::commitment(
        self.stack.addr(),
        1,
        round,
        verifier,
        &vector[verdict],
        &digests(round, verdict),
        &SALT,
    );
    let (_, _, stack, badge, clock) = self.parts_of(verifier);
    audit::commit_verdict(stack, 1, badge, hash, clock)
}

public fun open_verdict(self: &mut Court, verifier: u64, verdict: u8) {
    let digests = digests(self.claim().running().round(), verdict);
    let ctx = tx(wallet(verifier), 63);
    let (db, _, stack, badge, clock) = self.parts_of(verifier);
    audit::reveal_verdict(db, stack, 1, badge, vector[verdict], digests, SALT, clock, &ctx)
}

/// Who re-executes gets D_1 = 0101… in round 0 and D_2 = 0202… in round 1, and the hash of the other.
fun digests(round: u8, verdict: u8): vector<u8> {
    if (verdict != 0) return vector[];
    let other: vector<u8> = vector::tabulate!(32, |_| if (round == 0) 2 else 1);
    let mut bytes = vector::tabulate!(32, |_| if (round == 0) 1 else 2);
    bytes.append(sui::hash::blake2b256(&other));
    bytes
}

/// The phase of the audit that runs.
public fun phase(self: &Court): u8 { self.claim().running().phase() }

public fun is_committing(self: &Court): bool { self.phase() == audit_state::phase_commit!() }
