/// Claims and audits on the VM, from settlement to payment or conviction, and a few refusals. Everything else is
/// compared with the model, call by call.
#[test_only]
module atoma::claims_tests;

use atoma::audit;
use atoma::claim;
use atoma::claim_state;
use atoma::court::{Self, Court};
use atoma::events;
use atoma::node;
use std::bcs;
use std::unit_test::assert_eq;
use sui::event;

use fun release as Court.release;
use fun resolve_pay as Court.resolve_pay;
use fun mark_late as Court.mark_late;
use fun expire as Court.expire;

const COIN: u64 = 1_000_000;
const PASS: u8 = 0;
const FAIL: u8 = 1;
/// Seeds of a round: one leaves the claim alone, the other sends it to the audit.
const NOT_DRAWN: vector<u8> = x"0000000000000000000000000000000000000000000000000000000000000000";
const DRAWN: vector<u8> = x"0100000000000000000000000000000000000000000000000000000000000000";

/// A claim was settled, drawn and audited; the resolver's fee is gone.
fun audited(): Court {
    let mut court = court::open(2);
    court.audit(DRAWN);
    assert_eq!(court.stack().balance(), COIN + 5_000 - 30_000);
    court
}

fun release(court: &mut Court) {
    let (db, beacon, stack, _, clock) = court.parts();
    claim::release_claim(db, beacon, stack, 1, clock)
}

fun resolve_pay(court: &mut Court) {
    let (db, beacon, stack, _, clock) = court.parts();
    claim::resolve_pay(db, beacon, stack, 1, clock)
}

fun mark_late(court: &mut Court) {
    let (_, _, stack, _, clock) = court.parts();
    audit::mark_late(stack, 1, clock)
}

fun expire(court: &mut Court) {
    let ctx = court::tx(court::user(), 70);
    let (db, _, stack, _, clock) = court.parts();
    audit::expire(db, stack, 1, clock, &ctx)
}

#[test]
fun a_claim_is_paid_after_its_hold() {
    let mut court = court::open(2);
    court.settle();
    let claim = court.claim();
    assert_eq!(claim.amount(), COIN);
    assert_eq!(claim.surcharge(), 5_000);
    assert_eq!(claim.p_ppb(), 10_000_000);
    assert_eq!(claim.round(), 1);
    assert_eq!(*claim.sizes(), vector[11]);
    // The claim's 17 fields: ten numbers, a root, sizes of one list, a state, a flag, no audit.
    assert_eq!(bcs::to_bytes(claim).length(), 12 * 8 + 33 + 9 + 1 + 1 + 1);
    court.beat(NOT_DRAWN);
    court.resolve_pay();
    court.wait(150_000);
    court.release();

    let state = court.stack().state();
    assert!(!court.has_claim());
    assert_eq!(state.due_of(court::payout(1)), 900_000);
    assert_eq!(state.due_of(court::creator()), 100_000);
    assert_eq!(state.treasury_due(), 5_000);
    assert_eq!(state.settled_units(), COIN);
    assert_eq!(state.channel(1).paid(), COIN);
    court.close();
}

#[test, expected_failure(abort_code = 40, location = atoma_base::errors)]
fun a_claim_is_held() {
    let mut court = court::open(2);
    court.settle();
    court.beat(NOT_DRAWN);
    court.resolve_pay();
    court.wait(149_999);
    court.release();
    abort
}

#[test, expected_failure(abort_code = 52, location = atoma_base::errors)]
fun nothing_is_decided_before_the_round() {
    let mut court = court::open(2);
    court.beat(NOT_DRAWN);
    court.settle();
    court.resolve_pay();
    abort
}

#[test, expected_failure(abort_code = 53, location = atoma_base::errors)]
fun a_drawn_claim_is_audited() {
    let mut court = court::open(2);
    court.settle();
    court.beat(DRAWN);
    court.resolve_pay();
    abort
}

#[test]
fun an_audit_passes() {
    let mut court = audited();
    let verifier = court.seats()[0];
    assert!(verifier != 1);
    assert_eq!(court.db().node(1).open_audits(), 1);
    court.reveal_record();
    assert!(court.is_committing());
    court.commit_all(PASS);
    court.open_all(PASS);

    // Twice the record's cost is more than the claim has.
    let state = court.stack().state();
    assert_eq!(state.due_of(court::payout(verifier)), 0);
    assert_eq!(court.db().due_of(court::payout(verifier)), 975_000);
    assert_eq!(court.claim().spent(), 1_005_000);
    assert_eq!(court.db().node(1).open_audits(), 0);
    let mut passed = bcs::to_bytes(&court.stack().addr());
    passed.append(bcs::to_bytes(&1u64));
    passed.append(x"0000");
    assert_eq!(bcs::to_bytes(&event::events_by_type<events::AuditConcluded>()[0]), passed);
    court.wait(150_000);
    court.release();
    assert_eq!(court.stack().state().due_of(court::payout(1)), 0);
    assert_eq!(court.stack().balance(), 0);
    court.close();
}

#[test, expected_failure(abort_code = 64, location = atoma_base::errors)]
fun a_pass_needs_the_digest() {
    let mut court = audited();
    court.reveal_record();
    let verifier = court.seats()[0];
    let salt = vector::tabulate!(32, |_| 0x55);
    let (pass, none) = (vector[PASS], vector[]);
    let hash = atoma::audit_state::commitment(court.stack().addr(), 1, 0, verifier, &pass, &none, &salt);
    let ctx = court::tx(court::wallet(verifier), 70);
    let (db, _, stack, badge, clock) = court.parts_of(verifier);
    audit::commit_verdict(stack, 1, badge, hash, clock);
    audit::reveal_verdict(db, stack, 1, badge, pass, none, salt, clock, &ctx);
    abort
}

#[test]
fun a_jury_convicts() {
    let mut court = audited();
    let first = court.seats()[0];
    court.reveal_record();
    court.commit_all(FAIL);
    court.open_all(FAIL);
    let jury = court.seats();
    assert_eq!(jury.length(), 7);
    assert!(!jury.contains(&first) && !jury.contains(&1));
    court.reveal_record();
    // One of the jury votes for the node, and loses.
    let loser = jury[0];
    jury.do!(|verifier| court.commit(verifier, if (verifier == loser) PASS else FAIL));
    jury.do!(|verifier| court.open_verdict(verifier, if (verifier == loser) PASS else FAIL));

    let node = court.db().node(1);
    assert_eq!(node.convictions(), 1);
    assert_eq!(node.collateral(), 0);
    assert_eq!(node.open_audits(), 0);
    assert!(node.disabled_ms() > 0);
    // What audits took of the amount comes back to the owner.
    assert_eq!(court.db().due_of(court::user()), COIN);
    assert_eq!(court.db().node(loser).collateral(), 950 * COIN);
    assert_eq!(court.db().node(first).collateral(), 1_000 * COIN);
    let channel = court.stack().state().channel(1);
    assert!(channel.released() && channel.claim().is_none());
    assert_eq!(channel.voided(), COIN);
    assert_eq!(event::events_by_type<events::ClaimVoided>().length(), 1);
    court.close();
}

#[test]
fun a_jury_acquits() {
    let mut court = audited();
    let first = court.seats()[0];
    court.reveal_record();
    court.commit_all(FAIL);
    court.open_all(FAIL);
    court.reveal_record();
    court.commit_all(PASS);
    court.open_all(PASS);
    assert_eq!(court.db().node(first).collateral(), 950 * COIN);
    assert_eq!(court.db().node(1).convictions(), 0);
    court.wait(150_000);
    court.release();
    assert_eq!(court.stack().state().channel(1).paid(), COIN);
    court.close();
}

#[test]
fun silence_is_fraud() {
    let mut court = audited();
    court.wait(10_001);
    court.mark_late();
    court.wait(2_000);
    court.expire();
    assert_eq!(court.db().node(1).convictions(), 1);
    assert_eq!(court.db().node(1).collateral(), 0);
    // The fee of 30,000, of which the surcharge bore 5,000.
    assert_eq!(court.db().due_of(court::user()), 25_000);
    assert_eq!(court.stack().balance(), 975_000);
    assert_eq!(court.stack().state().committed(), 0);
    court.close();
}

#[test]
fun late_is_not_too_late() {
    let mut court = audited();
    court.wait(10_001);
    court.mark_late();
    court.wait(1_999);
    court.reveal_record();
    assert!(court.is_committing());
    court.close();
}

#[test]
fun a_silent_verifier_is_replaced() {
    let mut court = audited();
    let silent = court.seats()[0];
    court.reveal_record();
    court.wait(20_001);
    court.mark_late();
    court.wait(2_000);
    court.expire();
    let seats = court.seats();
    assert_eq!(seats.length(), 2);
    assert!(seats[0] == silent && seats[1] != silent);
    assert_eq!(court.db().node(silent).collateral(), 995 * COIN);
    court.commit(seats[1], PASS);
    court.open_verdict(seats[1], PASS);
    assert_eq!(court.claim().state(), 1);
    court.close();
}

#[test]
fun a_challenge_sends_a_held_claim_to_an_audit() {
    let mut court = court::open(2);
    court.settle();
    court.beat(NOT_DRAWN);
    court.resolve_pay();
    court.wait(1_000);
    let before = court.stack().balance();
    let coin = court::coin(3 * COIN);
    let record = court::record();
    let ctx = court::tx(court::user(), 71);
    let (db, beacon, stack, _, clock) = court.parts();
    claim::challenge_record(db, beacon, stack, 1, coin, record, 0, vector[], clock, &ctx);
    // One verifier's pay, and the resolving fee.
    assert_eq!(court.stack().balance(), before + 2_030_000);
    assert_eq!(court.db().node(1).open_audits(), 1);
    court.beat(DRAWN);
    let (db, beacon, stack, _, clock) = court.parts();
    claim::resolve_audit(db, beacon, stack, 1, clock, &mut court::tx(court::user(), 72));
    court.reveal_record();
    court.commit_all(PASS);
    court.open_all(PASS);
    // The verifier's two coins came from the claim and then from the bond, whose rest is the node's.
    assert_eq!(court.stack().state().due_of(court::payout(1)), 1_005_000);
    assert_eq!(court.claim().bond(), 0);
    court.close();
}

#[test, expected_failure(abort_code = 4, location = atoma_base::errors)]
fun only_the_node_claims() {
    let mut court = court::open(2);
    court.settle_as(court::user());
    abort
}

/// Node 1 is convicted for what it did elsewhere.
fun convict(court: &mut Court) {
    let ctx = court::tx(court::user(), 73);
    let (db, _, stack, _, clock) = court.parts();
    node::convict(db, 1, stack.state().params(), 0, court::user(), clock.timestamp_ms(), &ctx);
}

/// A voucher is queued, and no claim runs.
fun queue(court: &mut Court) {
    let (_, _, stack, _, _) = court.parts();
    let queued = claim_state::new_queued(COIN, 1, vector::tabulate!(32, |_| 0x77));
    stack.state_mut().channel_mut(1).set_queued(option::some(queued));
}

#[test]
fun a_challenge_of_a_void_claim_returns_the_bond() {
    let mut court = court::open(2);
    court.settle();
    court.beat(NOT_DRAWN);
    court.resolve_pay();
    let (coin, record) = (court::coin(3 * COIN), court::record());
    let ctx = court::tx(court::user(), 71);
    let (db, beacon, stack, _, clock) = court.parts();
    claim::challenge_record(db, beacon, stack, 1, coin, record, 0, vector[], clock, &ctx);
    convict(&mut court);
    let (db, beacon, stack, _, clock) = court.parts();
    claim::resolve_audit(db, beacon, stack, 1, clock, &mut court::tx(court::user(), 72));
    assert_eq!(court.stack().state().due_of(court::user()), 2_030_000);
    assert_eq!(court.db().node(1).open_audits(), 0);
    assert!(!court.has_claim() && court.stack().state().channel(1).released());
    court.close();
}

#[test]
fun a_convicted_nodes_queue_becomes_no_claim() {
    let mut court = court::open(2);
    queue(&mut court);
    convict(&mut court);
    court.release();
    let channel = court.stack().state().channel(1);
    assert!(channel.queued().is_none() && channel.claim().is_none() && channel.released());
    court.close();
}

#[test]
fun a_queue_with_nothing_at_stake_is_void() {
    let mut court = court::open(2);
    queue(&mut court);
    let (db, _, stack, _, _) = court.parts();
    node::slash(db, 1, stack.state().params(), 1_000);
    court.release();
    let channel = court.stack().state().channel(1);
    assert!(channel.queued().is_none() && channel.claim().is_none() && !channel.released());
    court.close();
}
