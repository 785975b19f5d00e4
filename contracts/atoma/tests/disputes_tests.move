/// Disputes on the VM, answered or not, and a few refusals. Everything else is compared with the model, call by call.
#[test_only]
module atoma::disputes_tests;

use atoma::court::{Self, Court};
use atoma::dispute::{Self, Dispute};
use atoma::events;
use atoma::dispute_state;
use std::bcs;
use std::unit_test::{assert_eq, destroy};
use sui::clock;
use sui::coin::Coin;
use sui::event;
use sui::sui::SUI;
use sui::test_scenario;
use walrus::blob::{Self, Blob};
use walrus::storage_resource;

const COIN: u64 = 1_000_000;
/// The Walrus epoch in which disputes open, and the first in which a good blob may end.
const EPOCH: u32 = 7;
const END_EPOCH: u32 = 9;
/// What the user signed: node 1, no hop, nonce 1, the body's hash, a million units, until 1,060,000 ms.
const AUTH: vector<u8> =
    x"eb51b11f087c3c316e21e45df7290d4c8fe66c0f98f843778b8551bce96969e508577bd609f11c68e6ce0d05a8b71219c7b559dd7666344ab3e4078e5142a00f";
const BODY: vector<u8> = x"7b226d6f64656c223a226d227d";
const BODY_HASH: vector<u8> = x"05d03dc068360f1ae3fe79985eeaac6327a3b9768292783ee4013c6f7fb88c9d";
const EXPIRES_MS: u64 = 1_060_000;
/// An answer of 400,000 units to that request, as the first leaf of a transcript, and that leaf.
const ANSWER: vector<u8> =
    x"20eabc8103e912a43fc183ea7f39123fa4c6133e29af6fd8467b676bc67869acbd20333333333333333333333333333333333333333333333333333333333333333364000000000000008403000000000000801a060000000000801a06000000000001000000000000000020b41f077ca124f5ef535370daf41c74a2bc48ba7eb868e7337cc1f7f4abff1cae";
const ANSWER_ROOT: vector<u8> = x"2187b51565036e55e5c1cc210ab6292354470f519cea665d3c55f2b578b1b6e9";
/// Node 1 may settle 400,000 units, 1 leaf, under that root.
const ANSWER_VOUCHER: vector<u8> =
    x"1ccb4d8a67820926017d67e519166c8006926fcc452ccf8f69e014b5c772fe6423118e6861cca22eb3f1c33895008d58bded32edb1aa0f19b5cb0779f3009004";
/// A seed that leaves the dispute's claim alone.
const NOT_DRAWN: vector<u8> = x"0000000000000000000000000000000000000000000000000000000000000000";

use fun open as Court.open_dispute;
use fun answer as Court.answer;
use fun expire as Court.expire;

fun blob(size: u64, encoding_type: u8, is_certified: bool, end_epoch: u32, deletable: bool): Blob {
    let mut ctx = court::tx(court::user(), 900);
    let certified = if (is_certified) option::some(EPOCH) else option::none();
    let storage = storage_resource::create_for_test(3, end_epoch, 1_000_000, &mut ctx);
    blob::create_for_test(2, 5, size, encoding_type, certified, storage, deletable, &mut ctx)
}

fun good_blob(): Blob { blob(100, 1, true, END_EPOCH, false) }

/// In transaction 70. The bond is half a coin.
fun open(court: &mut Court): Dispute<SUI> {
    let blob = good_blob();
    let mut coin = court::coin(COIN);
    let dispute = open_with(court, &blob, &mut coin);
    assert_eq!(coin.value(), 500_000);
    destroy(coin);
    destroy(blob);
    dispute
}

fun open_with(court: &mut Court, blob: &Blob, coin: &mut Coin<SUI>): Dispute<SUI> {
    let mut ctx = court::tx(court::user(), 70);
    let (db, _, stack, _, clock) = court.parts();
    dispute::open_impl(
        db,
        stack,
        dispute_state::read(blob),
        coin,
        1,
        0,
        1,
        BODY_HASH,
        COIN,
        EXPIRES_MS,
        AUTH,
        clock,
        &mut ctx,
    )
}

fun answer(court: &mut Court, dispute: &mut Dispute<SUI>) {
    let blob = good_blob();
    let (db, beacon, stack, badge, clock) = court.parts();
    dispute::answer_served(db, beacon, stack, dispute, badge, &blob, ANSWER, clock);
    destroy(blob)
}

fun expire(court: &mut Court, dispute: &mut Dispute<SUI>) {
    let ctx = court::tx(court::user(), 71);
    let (db, _, stack, _, clock) = court.parts();
    dispute::expire(db, stack, dispute, clock, &ctx)
}

/// What the sender gets, 0 for nothing, and whether the dispute can be deleted.
fun withdraw(dispute: &mut Dispute<SUI>, sender: address): (u64, bool) {
    let before = dispute.balance();
    let is_over = dispute.pay_due(&mut court::tx(sender, 72));
    (before - dispute.balance(), is_over)
}

#[test]
fun an_unanswered_dispute_costs_the_node() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    assert_eq!(court.stack().state().reserved(1), COIN);
    assert_eq!(court.db().node(1).open_disputes(), 1);
    assert_eq!(court.db().node(1).queue_tail_ms(), 1_001_001);
    // As long as the model's: 33 fields, 41 parameters among them.
    assert_eq!(bcs::to_bytes(&dispute).length(), 768);
    // The interval, then the answer's window.
    court.wait(11_001);
    dispute::mark_late(&mut dispute, court.clock());
    court.wait(2_000);
    court.expire(&mut dispute);

    // A tenth, half of it burned; ten times the cost of what was asked for.
    assert_eq!(court.db().node(1).collateral(), 900 * COIN);
    assert_eq!(court.db().to_burn(), 50 * COIN);
    assert_eq!(court.db().due_of(court::user()), 10 * COIN);
    assert_eq!(court.db().node(1).timeout_pot(), 40 * COIN);
    assert_eq!(court.db().node(1).reputation_at(0), 40);
    assert_eq!(court.db().node(1).open_disputes(), 0);
    assert_eq!(court.stack().state().reserved(1), 0);
    let (bond, is_over) = withdraw(&mut dispute, court::user());
    assert_eq!(bond, 500_000);
    assert!(is_over);
    assert_eq!(event::events_by_type<events::DisputeDeleted>().length(), 1);
    destroy(dispute);
    court.close();
}

#[test]
fun an_answered_dispute_is_paid() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    court.answer(&mut dispute);
    let channel = court.stack().state().channel(1);
    assert_eq!(channel.disputed_units(), 400_000);
    assert_eq!(channel.disputed_paid(), 400_000);
    assert_eq!(court.stack().state().due_of(court::payout(1)), 360_000);
    assert_eq!(court.stack().state().due_of(court::creator()), 40_000);
    assert_eq!(court.stack().state().free(channel), 600_000);
    // The answer's fee is the node's, the rest of the bond the opener's.
    let (fee, is_over) = withdraw(&mut dispute, court::payout(1));
    assert!(fee == 100_000 && !is_over);
    let (rest, is_over) = withdraw(&mut dispute, court::user());
    assert!(rest == 400_000 && is_over);
    destroy(dispute);
    court.close();
}

#[test]
fun an_answer_at_level_2_is_a_claim() {
    let mut court = court::open(2);
    let mut dispute = court.open_dispute();
    court.answer(&mut dispute);
    assert_eq!(court.stack().balance(), 605_000);
    let mut made = bcs::to_bytes(&dispute.addr());
    made.append(bcs::to_bytes(&1u64));
    made.append(bcs::to_bytes(&0u64));
    made.append(bcs::to_bytes(&400_000u64));
    made.append(bcs::to_bytes(&1u64));
    made.append(bcs::to_bytes(&ANSWER_ROOT));
    made.append(bcs::to_bytes(&400_000u64));
    made.append(bcs::to_bytes(&100_000u64));
    made.append(bcs::to_bytes(&10_000_000u64));
    made.append(bcs::to_bytes(&1u64));
    assert_eq!(bcs::to_bytes(&event::events_by_type<events::ClaimMade>()[0]), made);
    court.beat(NOT_DRAWN);
    let (db, beacon, _, _, clock) = court.parts();
    dispute::resolve_pay(db, beacon, &mut dispute, clock);
    court.wait(150_000);
    let (db, _, _, _, clock) = court.parts();
    dispute::release_claim(db, &mut dispute, clock);

    // Nine tenths of the price, and the fee that no audit used.
    let (paid, _) = withdraw(&mut dispute, court::payout(1));
    assert_eq!(paid, 460_000);
    let (creator_fee, _) = withdraw(&mut dispute, court::creator());
    assert_eq!(creator_fee, 40_000);
    let (rest, is_over) = withdraw(&mut dispute, court::user());
    assert!(rest == 400_000 && is_over);
    destroy(dispute);
    court.close();
}

#[test]
fun a_refusal_has_its_price() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    let coin = court::coin(COIN);
    let before = dispute.balance();
    let ctx = court::tx(court::wallet(1), 73);
    let (db, _, stack, badge, _) = court.parts();
    dispute::answer_refused(db, stack, &mut dispute, badge, coin, 2, &ctx);
    assert_eq!(dispute.balance(), before);
    assert_eq!(court.db().to_treasury(), 100_000);
    // It registered in this epoch: no point is lost.
    assert_eq!(court.db().node(1).reputation_at(0), 50);
    let (back, is_over) = withdraw(&mut dispute, court::user());
    assert!(back == 500_000 && is_over);
    destroy(dispute);
    court.close();
}

#[test]
fun an_acknowledged_request_is_answered() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    let (db, _, stack, badge, _) = court.parts();
    let (root, signature, record) = (ANSWER_ROOT, ANSWER_VOUCHER, ANSWER);
    dispute::show_acknowledged(db, stack, &mut dispute, badge, 1, 400_000, 1, root, signature, record, 0, vector[]);
    let (fee, _) = withdraw(&mut dispute, court::payout(1));
    assert_eq!(fee, 100_000);
    destroy(dispute);
    court.close();
}

#[test]
fun a_body_is_posted_in_parts() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    let ctx = court::tx(court::user(), 74);
    let (db, _, _, badge, clock) = court.parts();
    dispute::demand_body(db, &mut dispute, badge, clock);
    let length = BODY.length();
    let first = vector::tabulate!(5, |i| BODY[i]);
    let rest = vector::tabulate!(length - 4, |i| BODY[i + 4]);
    dispute::post_body(&mut dispute, 0, first, false, court.clock(), &ctx);
    dispute::post_body(&mut dispute, 4, rest, true, court.clock(), &ctx);
    assert_eq!(event::events_by_type<events::BodyPosted>().length(), 1);
    court.answer(&mut dispute);
    destroy(dispute);
    court.close();
}

#[test]
fun a_missing_body_costs_the_bond() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    let (db, _, _, badge, clock) = court.parts();
    dispute::demand_body(db, &mut dispute, badge, clock);
    court.wait(5_001);
    dispute::mark_late(&mut dispute, court.clock());
    court.wait(2_000);
    court.expire(&mut dispute);
    assert_eq!(court.db().node(1).collateral(), 1_000 * COIN);
    let (bond, is_over) = withdraw(&mut dispute, court::payout(1));
    assert!(bond == 500_000 && is_over);
    destroy(dispute);
    court.close();
}

#[test, expected_failure(abort_code = 77, location = atoma_base::errors)]
fun the_body_is_what_was_signed() {
    let mut court = court::open(0);
    let mut dispute = court.open_dispute();
    let ctx = court::tx(court::user(), 74);
    let (db, _, _, badge, clock) = court.parts();
    dispute::demand_body(db, &mut dispute, badge, clock);
    dispute::post_body(&mut dispute, 0, b"another", true, court.clock(), &ctx);
    abort
}

#[test, expected_failure(abort_code = 72, location = atoma_base::errors)]
fun once_per_request() {
    let mut court = court::open(0);
    destroy(court.open_dispute());
    destroy(court.open_dispute());
    abort
}

#[test, expected_failure(abort_code = 74, location = atoma_base::errors)]
fun not_on_a_deletable_blob() {
    let mut court = court::open(0);
    destroy(open_with(&mut court, &blob(100, 1, true, END_EPOCH, true), &mut court::coin(COIN)));
    abort
}

#[test, expected_failure(abort_code = 74, location = atoma_base::errors)]
fun not_on_an_uncertified_blob() {
    let mut court = court::open(0);
    destroy(open_with(&mut court, &blob(100, 1, false, END_EPOCH, false), &mut court::coin(COIN)));
    abort
}

#[test, expected_failure(abort_code = 74, location = atoma_base::errors)]
fun not_on_a_blob_that_ends_too_soon() {
    let mut court = court::open(0);
    destroy(open_with(&mut court, &blob(100, 1, true, END_EPOCH - 1, false), &mut court::coin(COIN)));
    abort
}

/// The entry point shares the dispute and returns what the bond left of the coin.
#[test]
fun a_dispute_is_shared() {
    let mut court = court::open(0);
    let (blob, coin) = (good_blob(), court::coin(COIN));
    // The VM knows one transaction at a time: from here on the scenario's.
    let mut scenario = test_scenario::begin(court::user());
    let (db, _, stack, _, clock) = court.parts();
    dispute::open(
        db,
        stack,
        &blob,
        coin,
        1,
        0,
        1,
        BODY_HASH,
        COIN,
        EXPIRES_MS,
        AUTH,
        clock,
        scenario.ctx(),
    );
    scenario.next_tx(court::user());
    let mut dispute = scenario.take_shared<Dispute<SUI>>();
    let change = scenario.take_from_sender<Coin<SUI>>();
    assert_eq!(change.value(), 500_000);
    let mut end = clock::create_for_testing(scenario.ctx());
    end.set_for_testing(court.clock().timestamp_ms() + 11_001);
    dispute::mark_late(&mut dispute, &end);
    end.increment_for_testing(2_000);
    let (db, _, stack, _, _) = court.parts();
    dispute::expire(db, stack, &mut dispute, &end, scenario.ctx());
    dispute::withdraw(dispute, scenario.ctx());
    scenario.next_tx(court::user());
    assert!(!test_scenario::has_most_recent_shared<Dispute<SUI>>());
    let bond = scenario.take_from_sender<Coin<SUI>>();
    assert_eq!(bond.value(), 500_000);
    destroy(bond);
    destroy(change);
    destroy(blob);
    end.destroy_for_testing();
    scenario.end();
    court.close();
}
