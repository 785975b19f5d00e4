/// Lives of stacks and nodes on the VM, objects in hand: a few paths end to end and a few refusals. Everything else
/// is compared with the model, call by call.
#[test_only]
module atoma::market_tests;

use atoma::admin::{Self, AdminCap};
use atoma::beacon::Beacon;
use atoma::db::AtomaDb;
use atoma::events;
use atoma::model;
use atoma::node::{Self, NodeBadge};
use atoma::offer;
use atoma::stack::{Self, Stack};
use atoma::task;
use atoma::treasury::Treasury;
use std::bcs;
use std::unit_test::{assert_eq, destroy};
use sui::balance;
use sui::clock::{Self, Clock};
use sui::coin::{Self, Coin};
use sui::event;
use sui::sui::SUI;
use sui::test_scenario;

const ADMIN: address = @0xAD;
const CREATOR: address = @0xC0;
const USER: address = @0xA1;
const STRANGER: address = @0xEE;
const COIN: u64 = 1_000_000;
const START_MS: u64 = 1_000_000;
const SEED: vector<u8> = x"0101010101010101010101010101010101010101010101010101010101010101";
const REQUEST_KEY: vector<u8> = x"c050c5637a44fa8629fff3cccce2300cb362a63d99d95fc54145266f4332445a";
const SMALL_ORDER_KEY: vector<u8> = x"0100000000000000000000000000000000000000000000000000000000000000";
const RECEIPT_KEY: vector<u8> = x"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
const ROOT: vector<u8> = x"0707070707070707070707070707070707070707070707070707070707070707";
/// By the request key, for the first stack bought in transaction 50: 600,000 units for node 1 at 1,000,000, nonce 1.
const GRANT: vector<u8> =
    x"a0260faeacfebc1b2a6858377420e5203fefa7222fd738f0e21bce9b5a68d66ff5c137c83258057ce5afa5049119f9f9e8ea27c798ad29ea029645108f1bbb0b";
/// Likewise: node 1 may settle 500,000 units, 7 leaves.
const VOUCHER: vector<u8> =
    x"370fc02abc44212e681310f43822fbc760e27b52a9b8512c4442d9e3cd7bd06bb21fe330929650ff4526c872b3f210dd72a99d15f9f52e1b4b3a830e59fc4c0f";

public struct World {
    cap: AdminCap,
    db: AtomaDb<SUI>,
    treasury: Treasury<SUI>,
    beacon: Beacon,
    clock: Clock,
    badges: vector<NodeBadge>,
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
fun tx(sender: address, n: u64, epoch: u64): TxContext { tx_context::new(sender, digest(n), epoch, 0, 0) }

/// Made before the transaction that uses it: its id is of another.
fun coin(value: u64): Coin<SUI> {
    coin::from_balance(balance::create_for_testing(value), &mut tx(ADMIN, 999, 0))
}

fun id_of(n: u64, created: u64): address {
    let mut bytes = x"f1";
    bytes.append(digest(n));
    bytes.append(bcs::to_bytes(&created));
    sui::address::from_bytes(sui::hash::blake2b256(&bytes))
}

fun wallet(n: u64): address { sui::address::from_u256((n as u256) + 0x100) }

fun payout(n: u64): address { sui::address::from_u256((n as u256) + 0xfe00) }

fun market(): World {
    let mut clock = clock::create_for_testing(&mut tx(ADMIN, 0, 0));
    clock.set_for_testing(START_MS);
    let mut ctx = tx(ADMIN, 1, 0);
    let mut cap = admin::new_cap(&mut ctx);
    let (db, treasury, beacon) = admin::create_impl<SUI>(&mut cap, params(), &mut ctx);
    assert_eq!(db.addr(), id_of(1, 1));
    // Five tables between.
    assert_eq!(treasury.addr(), id_of(1, 7));
    assert_eq!(beacon.addr(), id_of(1, 8));
    World { cap, db, treasury, beacon, clock, badges: vector[] }
}

/// A market with one model (100 permille to its creator), one task of that level (5 permille surcharge, ceiling 2
/// coins per million units), and one subscribed node per price.
fun with_nodes(level: u8, prices: vector<u64>): World {
    let mut w = market();
    model::add(&mut w.db, b"model".to_string(), 0, SEED, 100, &tx(CREATOR, 2, 0));
    let mut ctx = tx(CREATOR, 3, 0);
    let (none, echelons) = (vector[], vector[0, 3]);
    task::create(
        &mut w.db, 0, 1, level, true, 2 * COIN, 1_000, 1_000, 5, 0, 0, none, echelons, 0, 0, 0, 0, 0, 0, 0, &mut ctx,
    );
    let mut n = 0;
    prices.do!(|price| {
        n = n + 1;
        w.register(n);
        let (badge, clock) = (&w.badges[n - 1], &w.clock);
        offer::subscribe(&mut w.db, badge, 1, price, 1_000_000_000, 0, false, clock, &tx(wallet(n), 30 + n, 0));
    });
    w
}

fun register(w: &mut World, n: u64) {
    let paid = coin(1_001 * COIN);
    let mut ctx = tx(wallet(n), 10 + n, 0);
    node::register(
        &mut w.db,
        &mut w.treasury,
        paid,
        payout(n),
        b"http://127.0.0.1:8080".to_string(),
        RECEIPT_KEY,
        &mut ctx,
    );
    let badge = node::badge_for_testing(&w.db, n, &mut tx(wallet(n), 20 + n, 0));
    w.badges.push_back(badge);
}

/// Buys a million units at up to a coin each million, in transaction 50.
fun buy(w: &World, paid: u64, selection: u8, nodes: u64): (Stack<SUI>, Coin<SUI>) {
    let mut coin = coin(paid);
    let mut ctx = tx(USER, 50, 0);
    let stack = stack::acquire_impl(
        &w.db,
        SEED,
        &mut coin,
        1,
        REQUEST_KEY,
        1_000_000,
        1_000_000,
        selection,
        nodes,
        2,
        vector[],
        &w.clock,
        &mut ctx,
    );
    (stack, coin)
}

fun wait(w: &mut World, ms: u64) { w.clock.increment_for_testing(ms) }

fun end(w: World) {
    let World { cap, db, treasury, beacon, clock, badges } = w;
    destroy(cap);
    destroy(db);
    destroy(treasury);
    destroy(beacon);
    destroy(clock);
    destroy(badges);
}

#[test]
fun a_stack_from_purchase_to_deletion() {
    let mut w = with_nodes(0, vector[500_000]);
    // 1,000,000 for the units, 5,000 of surcharge, two opening fees.
    let (mut stack, change) = w.buy(2 * COIN, 2, 0);
    assert_eq!(stack.addr(), id_of(50, 0));
    assert_eq!(change.value(), 2 * COIN - 1_065_000);
    assert_eq!(stack.balance(), 1_065_000);
    let acquired = event::events_by_type<events::StackAcquired>();
    let mut bytes = bcs::to_bytes(&id_of(50, 0));
    bytes.append(bcs::to_bytes(&stack.state().owner()));
    assert_eq!(bcs::to_bytes(&acquired[0]).length(), 32 + 32 + 8 + 1 + 33 + 8 + 8 + 1 + 1 + 17 + 8 + 8 + 8);
    assert_eq!(vector::tabulate!(64, |i| bcs::to_bytes(&acquired[0])[i]), bytes);

    // The node opens with the user's grant, which earns it a fee.
    let ctx = tx(wallet(1), 51, 0);
    stack::open_channel(&w.db, &mut stack, 1, 600_000, 1_000_000, 1, GRANT, &w.clock, &ctx);
    assert_eq!(stack.state().channel(1).price(), 500_000);
    assert_eq!(stack.state().due_of(payout(1)), 30_000);

    // 500,000 units at half a coin a million: 250,000, of which a tenth is the creator's.
    stack::settle(&w.db, &mut stack, 1, 500_000, 7, ROOT, VOUCHER, &w.clock);
    assert_eq!(stack.state().due_of(payout(1)), 30_000 + 225_000);
    assert_eq!(stack.state().due_of(CREATOR), 25_000);
    assert_eq!(stack.state().treasury_due(), 2_500);
    // Again it changes nothing.
    let before = bcs::to_bytes(&stack);
    stack::settle(&w.db, &mut stack, 1, 500_000, 7, ROOT, VOUCHER, &w.clock);
    assert_eq!(bcs::to_bytes(&stack), before);
    assert_eq!(event::events_by_type<events::Settled>().length(), 1);

    stack::request_close(&mut stack, &w.clock, &tx(USER, 52, 0));
    w.wait(20_001);
    let is_empty = stack.pay_refund(&w.clock, &mut tx(USER, 53, 0));
    assert_eq!(stack.balance(), 30_000 + 250_000 + 2_500);
    assert!(!is_empty);
    let is_empty = stack.pay_due(&w.clock, &mut tx(payout(1), 54, 0));
    assert_eq!(stack.balance(), 25_000 + 2_500);
    assert!(!is_empty);
    stack.pay_due(&w.clock, &mut tx(CREATOR, 55, 0));
    assert_eq!(stack.balance(), 2_500);
    let clock = &w.clock;
    let is_empty = stack.pay_treasury(&mut w.treasury, clock);
    assert!(is_empty);
    assert_eq!(stack.balance(), 0);
    assert_eq!(w.treasury.value(), COIN + 2_500);
    assert_eq!(event::events_by_type<events::StackDeleted>().length(), 1);
    destroy(stack);
    destroy(change);
    w.end();
}

#[test]
fun a_stack_credited_shared_and_deleted() {
    let mut scenario = test_scenario::begin(USER);
    let mut w = with_nodes(0, vector[500_000]);
    let (stack, change) = w.buy(2 * COIN, 2, 0);
    w.wait(3_620_001);
    // Somebody else asks for the refund: it is the owner's to withdraw.
    stack::refund(stack, &w.clock, &mut tx(STRANGER, 51, 0));
    assert_eq!(event::events_by_type<events::Refunded>().length(), 1);
    scenario.next_tx(USER);
    let stack = scenario.take_shared<Stack<SUI>>();
    assert_eq!(stack.state().due_of(USER), 1_065_000);
    stack::withdraw(stack, &w.clock, scenario.ctx());
    assert_eq!(event::events_by_type<events::StackDeleted>().length(), 1);
    scenario.next_tx(USER);
    assert!(!test_scenario::has_most_recent_shared<Stack<SUI>>());
    let paid = scenario.take_from_sender<Coin<SUI>>();
    assert_eq!(paid.value(), 1_065_000);
    destroy(vector[change, paid]);
    w.end();
    scenario.end();
}

#[test]
fun a_drawn_node_and_standbys() {
    let w = with_nodes(0, vector[500_000, 400_000, 1_000_001, 300_000]);
    let (stack, change) = w.buy(2 * COIN, 0, 0);
    let drawn = stack.state().drawn();
    assert_eq!(drawn.length(), 3);
    // Above the buyer's price.
    assert!(!drawn.contains(&3));
    assert_eq!(stack.state().channel(drawn[0]).granted(), 1_000_000);
    destroy(stack);
    destroy(change);
    w.end();
}

#[test]
fun a_grant_raised_revoked_and_reclaimed() {
    let mut w = with_nodes(0, vector[500_000]);
    let (mut stack, change) = w.buy(2 * COIN, 2, 0);
    let more = coin(COIN);
    let ctx = tx(USER, 51, 0);
    stack::open_channel(&w.db, &mut stack, 1, 100, 500_000, 1, vector[], &w.clock, &ctx);
    stack::open_channel(&w.db, &mut stack, 1, 1_000_000, 500_000, 2, vector[], &w.clock, &ctx);
    assert_eq!(stack.state().granted_units(), 1_000_000);
    stack::revoke_channel(&mut stack, 1, &w.clock, &ctx);
    stack::revoke_channel(&mut stack, 77, &w.clock, &ctx);
    w.wait(20_001);
    stack::reclaim(&w.db, &mut stack, 1, &w.clock);
    assert_eq!(stack.state().granted_units(), 0);
    let before = stack.balance();
    stack::top_up(&w.db, &mut stack, more, 500_000, &w.clock, &mut tx(USER, 52, 0));
    assert_eq!(stack.balance(), before + 502_500);
    assert_eq!(stack.state().total_units(), 1_500_000);
    destroy(stack);
    destroy(change);
    w.end();
}

#[test]
fun a_node_slashed_and_gone() {
    let mut w = with_nodes(0, vector[500_000]);
    let terms = *w.db.params_at(0);
    let ctx = tx(STRANGER, 60, 0);
    // A tenth of the collateral: half of it is burned, 10 is compensation, the rest waits in the pot.
    let given = node::timeout(&mut w.db, 1, &terms, COIN, USER, START_MS, &ctx);
    assert_eq!(given, 10 * COIN);
    assert_eq!(w.db.node(1).timeout_pot(), 40 * COIN);
    assert_eq!(w.db.node(1).reputation_at(0), 40);
    let before = w.db.pool();
    node::withdraw_due(&mut w.db, &mut tx(USER, 61, 0));
    assert_eq!(w.db.pool(), before - 10 * COIN);
    let badge = &w.badges[0];
    let clock = &w.clock;
    node::disable(&mut w.db, badge, clock, &tx(wallet(1), 62, 0));
    w.clock.increment_for_testing(640_000);
    let clock = &w.clock;
    let before = w.db.pool();
    node::exit(&mut w.db, badge, clock, &mut tx(wallet(1), 63, 2));
    assert_eq!(w.db.pool(), before - 900 * COIN);
    atoma::treasury::collect(&mut w.db, &mut w.treasury);
    assert_eq!(w.treasury.burned(), 50 * COIN);
    assert_eq!(w.treasury.value(), 41 * COIN);
    assert_eq!(w.db.pool(), 0);
    let clock = &w.clock;
    offer::evict(&mut w.db, 1, 1, clock, &tx(STRANGER, 64, 2));
    assert_eq!(atoma_base::slots::list(w.db.market(1).lists(), 0).size(), 0);
    w.end();
}

#[test]
fun offers_change_with_the_epoch() {
    let mut w = with_nodes(0, vector[500_000]);
    let badge = &w.badges[0];
    let clock = &w.clock;
    offer::reprice(&mut w.db, badge, 1, 600_000, 10, clock, &tx(wallet(1), 70, 0));
    let (price, _, _) = offer::at_epoch(&w.db, 1, 1, 0);
    assert_eq!(price, 500_000);
    let (price, max_units, echelon) = offer::at_epoch(&w.db, 1, 1, 1);
    assert_eq!(price, 600_000);
    assert_eq!(max_units, 10);
    assert_eq!(echelon, 0);
    assert_eq!(atoma::views::offers(&w.db, 1, 1).length(), 1);
    assert_eq!(atoma::views::subscriptions(&w.db, 1).length(), 1);
    let clock = &w.clock;
    offer::unsubscribe(&mut w.db, badge, 1, clock, &tx(wallet(1), 71, 1));
    let clock = &w.clock;
    offer::evict(&mut w.db, 1, 1, clock, &tx(STRANGER, 72, 2));
    assert_eq!(atoma::views::offers(&w.db, 1, 2).length(), 0);
    w.end();
}

#[test]
fun verifiers_join_leave_and_make_room() {
    let mut w = with_nodes(2, vector[500_000, 500_000]);
    let clock = &w.clock;
    2u64.do!(|i| {
        let ctx = tx(wallet(i + 1), 80 + i, 0);
        let badge = &w.badges[i];
        node::rotate_key(&mut w.db, badge, vector[], vector[], SEED, vector[], 1, 0, clock, &ctx);
        offer::set_verifier(&mut w.db, badge, 1, true, clock, &ctx);
    });
    let badge = &w.badges[0];
    node::disable(&mut w.db, badge, clock, &tx(wallet(1), 82, 0));
    offer::evict(&mut w.db, 1, 1, clock, &tx(STRANGER, 83, 0));
    assert_eq!(w.db.market(1).verifiers_owned(wallet(1)), 0);
    let badge = &w.badges[1];
    offer::move_verifier(&mut w.db, badge, 1, clock, &tx(wallet(2), 84, 0));
    let list = atoma_base::slots::list(w.db.market(1).verifiers(), 0);
    assert_eq!(list.size(), 1);
    assert_eq!(list.live(), 1);
    assert_eq!(list.slot(0).slot_node(), 2);
    w.end();
}

#[test]
fun parameters_hold_from_the_next_epoch_on() {
    let mut w = market();
    let mut values = params();
    // The registration fee.
    *&mut values[19] = 7;
    let cap = &w.cap;
    admin::set_params(&mut w.db, cap, values, &tx(ADMIN, 2, 5));
    assert_eq!(w.db.params_at(5).registration_fee(), COIN);
    assert_eq!(w.db.params_at(6).registration_fee(), 7);
    w.end();
}

#[test]
fun true_chance_of_a_conviction() {
    // As the model: (1 − r^k) · P[Bin(7, 1 − r) ≥ 5].
    assert_eq!(atoma_base::params::conviction_ppb(0, 1), 1_000_000_000);
    let third = atoma_base::params::conviction_ppb(333, 1);
    assert!(third > 380_000_000 && third < 382_000_000);
}

#[test]
fun beats_are_spaced() {
    let mut w = market();
    let (db, clock) = (&w.db, &w.clock);
    atoma::beacon::beat_impl(db, &mut w.beacon, SEED, clock, &tx(STRANGER, 2, 0));
    w.wait(1_000);
    let (db, clock) = (&w.db, &w.clock);
    atoma::beacon::beat_impl(db, &mut w.beacon, ROOT, clock, &tx(STRANGER, 3, 0));
    assert_eq!(*w.beacon.seed(1), SEED);
    assert_eq!(*w.beacon.seed(2), ROOT);
    w.end();
}

#[test, expected_failure(abort_code = 40, location = atoma_base::errors)]
fun no_beat_too_early() {
    let mut w = market();
    let (db, clock) = (&w.db, &w.clock);
    atoma::beacon::beat_impl(db, &mut w.beacon, SEED, clock, &tx(STRANGER, 2, 0));
    w.wait(999);
    let (db, clock) = (&w.db, &w.clock);
    atoma::beacon::beat_impl(db, &mut w.beacon, ROOT, clock, &tx(STRANGER, 3, 0));
    abort 0
}

#[test, expected_failure(abort_code = 6, location = atoma_base::errors)]
fun no_purchase_for_less() {
    let w = with_nodes(0, vector[500_000]);
    let (_stack, _coin) = w.buy(1_064_999, 0, 0);
    abort 0
}

#[test, expected_failure(abort_code = 20, location = atoma_base::errors)]
fun no_purchase_without_enough_nodes() {
    let w = with_nodes(0, vector[500_000]);
    let (_stack, _coin) = w.buy(2 * COIN, 1, 2);
    abort 0
}

#[test, expected_failure(abort_code = 26, location = atoma_base::errors)]
fun no_purchase_without_verifiers() {
    let w = with_nodes(2, vector[500_000]);
    let (_stack, _coin) = w.buy(2 * COIN, 0, 0);
    abort 0
}

#[test, expected_failure(abort_code = 30, location = atoma_base::errors)]
fun no_opening_beyond_the_grant() {
    let w = with_nodes(0, vector[500_000]);
    let (mut stack, _coin) = w.buy(2 * COIN, 2, 0);
    let ctx = tx(wallet(1), 51, 0);
    stack::open_channel(&w.db, &mut stack, 1, 600_001, 1_000_000, 1, GRANT, &w.clock, &ctx);
    abort 0
}

#[test, expected_failure(abort_code = 36, location = atoma_base::errors)]
fun no_settling_above_the_grant() {
    let w = with_nodes(0, vector[500_000]);
    let (mut stack, _coin) = w.buy(2 * COIN, 2, 0);
    let ctx = tx(USER, 51, 0);
    stack::open_channel(&w.db, &mut stack, 1, 499_999, 1_000_000, 1, vector[], &w.clock, &ctx);
    stack::settle(&w.db, &mut stack, 1, 500_000, 7, ROOT, VOUCHER, &w.clock);
    abort 0
}

#[test, expected_failure(abort_code = 40, location = atoma_base::errors)]
fun no_refund_while_vouchers_settle() {
    let mut w = with_nodes(0, vector[500_000]);
    let (mut stack, _coin) = w.buy(2 * COIN, 2, 0);
    stack::request_close(&mut stack, &w.clock, &tx(USER, 52, 0));
    w.wait(20_000);
    stack.pay_refund(&w.clock, &mut tx(USER, 53, 0));
    abort 0
}

#[test, expected_failure(abort_code = 5, location = atoma_base::errors)]
fun no_key_of_small_order() {
    let w = with_nodes(0, vector[500_000]);
    let mut coin = coin(2 * COIN);
    let mut ctx = tx(USER, 50, 0);
    let _stack = stack::acquire_impl(
        &w.db, SEED, &mut coin, 1, SMALL_ORDER_KEY, 1, 1, 2, 0, 0, vector[], &w.clock, &mut ctx,
    );
    abort 0
}

#[test, expected_failure(abort_code = 7, location = atoma_base::errors)]
fun no_hold_shorter_than_an_audit() {
    let mut w = market();
    let mut values = params();
    *&mut values[10] = 149_000;
    let cap = &w.cap;
    admin::set_params(&mut w.db, cap, values, &tx(ADMIN, 2, 0));
    abort 0
}

#[test, expected_failure(abort_code = 1, location = atoma_base::errors)]
fun no_cost_out_of_range() { atoma_base::math::cost(1_000_001, 0xffff_ffff_ffff_ffff); }
