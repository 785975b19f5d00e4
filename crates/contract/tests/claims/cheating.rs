//! What a cheat would do with its collateral and its claims.

use crate::bench::*;
use atoma_contract::audit::{Proven, Reveal};
use atoma_contract::node;
use atoma_types::onchain::{Abort, ClaimState, Event};
use atoma_types::{Hash32, NodeId, Units};

/// One lost collateral must not pay for many claims: the first conviction voids all that are not paid.
#[test]
fn cashing_many_claims_before_the_first_conviction_gains_nothing() {
    let mut bench = Bench::new();
    let mut targets = Vec::new();
    for _ in 0..4 {
        let id = bench.buy();
        targets.push(bench.claim_units(id, 5 * MILLION));
        bench.serve(id, &[2 * MILLION]);
        bench.settle(id).unwrap();
    }
    let drawn = targets[0];
    bench.draw(drawn, true);
    bench.resolve_audit(drawn).unwrap();
    // One waits still, the others are held or drawn themselves.
    for target in &targets[2..] {
        let result = bench.resolve_pay(*target);
        assert!(result.is_ok() || result == Err(Abort::Drawn));
    }
    assert_eq!(bench.state(targets[1]), ClaimState::Waiting);
    bench.run_out(drawn);
    for target in &targets[1..] {
        // At once: neither round nor hold is waited for, and nobody earns by auditing what is void.
        assert!(matches!(abort(bench.resolve_audit(*target)), Abort::Convicted | Abort::NoClaim));
        bench.release(*target).unwrap();
        let channel = bench.channel(target.id());
        assert_eq!((channel.paid.0, channel.voided.0), (0, 5 * COIN));
        assert!(channel.claim.is_none() && channel.queued.is_none() && channel.released);
        assert_eq!(bench.due(target.id(), payout(SERVER)), 0);
        assert_eq!(abort(bench.settle(target.id())), Abort::Convicted);
    }
}

/// All but the drawn one wait while an audit is open, at latest until two holds are over.
#[test]
fn claims_wait_for_the_open_audit_but_not_for_ever() {
    let mut bench = Bench::new();
    let (first, second) = (bench.buy(), bench.buy());
    let held = bench.claim_units(first, 2 * MILLION);
    bench.hold(held);
    let drawn = bench.claim_units(second, 2 * MILLION);
    bench.open_audit(drawn);
    bench.pass_hold(held);
    assert_eq!(abort(bench.release(held)), Abort::TooEarly);
    // Nor does settling again pay it.
    bench.serve(first, &[MILLION]);
    bench.settle(first).unwrap();
    assert_eq!(bench.state(held), ClaimState::Held);
    bench.clock_ms = bench.claim(held).resolved_ms + 2 * bench.params().hold_ms - 1;
    assert_eq!(abort(bench.release(held)), Abort::TooEarly);
    bench.clock_ms += 1;
    bench.release(held).unwrap();
    assert_eq!(bench.due(first, payout(SERVER)), 1_800_000);
}

/// A compensation that a cheat would pay to itself while it waits for its verdict is only booked, and lost
/// to the treasury with the conviction.
#[test]
fn draining_the_collateral_before_the_conviction_gains_nothing() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    let dispute = bench.dispute(id, 1, 4 * MILLION);
    bench.clock_ms = bench.disputed(dispute).deadline_ms + 1;
    bench.mark_dispute_late(dispute).unwrap();
    bench.clock_ms += bench.params().grace_ms;
    bench.expire_dispute(dispute).unwrap();
    let node = bench.node(SERVER);
    assert_eq!((node.collateral.0, node.bookings.len()), (900 * COIN, 1));
    assert_eq!(node.bookings[0].amount.0, 40 * COIN);
    assert_eq!(bench.world.db.due_of(USER).0, 0);
    bench.run_out(target);
    let node = bench.node(SERVER);
    assert!(node.bookings.is_empty() && node.collateral.0 == 0);
    assert_eq!(bench.world.db.due_of(USER).0, 10_000, "only what resolving took");
    let db = &bench.world.db;
    assert_eq!(db.to_burn.0, 50 * COIN + 450 * COIN);
    assert_eq!(db.to_treasury.0, 50 * COIN + 450 * COIN - 10_000);
}

/// The same compensation is paid when the audit ends well.
#[test]
fn a_booking_is_paid_when_the_audit_passes() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.open_audit(target);
    let dispute = bench.dispute(id, 1, 4 * MILLION);
    bench.run_out_dispute(dispute);
    bench.judge(target, |_| 0);
    let clock_ms = bench.clock_ms;
    bench
        .call(STRANGER, 0, |world, ctx| node::settle_bookings(&mut world.db, SERVER, clock_ms, ctx))
        .unwrap();
    assert_eq!(bench.world.db.due_of(USER).0, 40 * COIN);
}

/// Refusing a friend's disputes must not move collateral, of which nothing would be burned.
#[test]
fn refusals_do_not_drain_the_collateral() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, MILLION);
    assert_eq!(abort(bench.refuse(dispute, 99_999)), Abort::InsufficientPayment);
    bench.refuse(dispute, 100_000).unwrap();
    assert_eq!(bench.node(SERVER).collateral.0, 1_000 * COIN);
}

#[test]
fn a_convicted_node_settles_nothing_new() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[2 * MILLION]);
    let dispute = bench.dispute(id, 1, MILLION);
    bench.convict_server();
    assert_eq!(abort(bench.settle(id)), Abort::Convicted);
    assert_eq!(abort(bench.answer(dispute, 10)), Abort::Convicted);
    bench.refuse(dispute, COIN).unwrap();
}

/// A node leaves with its collateral only when nothing can end against it any more.
#[test]
fn an_open_audit_keeps_the_collateral() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    let badge = bench.badges[&SERVER].clone();
    let clock_ms = bench.clock_ms;
    bench.call(STRANGER, 0, |world, ctx| node::disable(&mut world.db, &badge, clock_ms, ctx)).unwrap();
    bench.open_audit(target);
    bench.clock_ms += 10_000_000;
    bench.epoch += 2;
    let clock_ms = bench.clock_ms;
    let result = bench.call(STRANGER, 0, |world, ctx| node::exit(&mut world.db, &badge, clock_ms, ctx));
    assert_eq!(abort(result), Abort::OpenDuties);
    bench.judge(target, |_| 0);
    let ctx = bench.call(STRANGER, 0, |world, ctx| node::exit(&mut world.db, &badge, clock_ms, ctx)).unwrap();
    assert_eq!(coins(&ctx), 1_000 * COIN);
}

/// One so large that it pays to cheat on it though it is surely audited is not taken.
#[test]
fn a_claim_larger_than_its_collateral_covers_is_refused() {
    let mut bench = Bench::new();
    let id = bench.buy_units(1_000 * MILLION);
    bench.serve(id, &[499 * MILLION, 2 * MILLION, 499 * MILLION]);
    let over = bench.voucher(id, 2);
    assert_eq!(abort(bench.settle_as(operator(SERVER), id, over)), Abort::ClaimTooLarge);
    let most = bench.voucher(id, 1);
    bench.settle_as(operator(SERVER), id, most).unwrap();
    assert!(bench.claim(Target::Channel(id, SERVER)).p_ppb > 990_000_000);
    // What waits behind it is bounded likewise.
    assert_eq!(abort(bench.settle(id)), Abort::ClaimTooLarge);
    let next = bench.voucher(id, 2);
    bench.settle_as(operator(SERVER), id, next).unwrap();
}

/// A claim that was made with more collateral behind it is audited with the chance of that moment, and a
/// collateral that shrank makes the next claim's higher.
#[test]
fn a_smaller_collateral_is_audited_more() {
    let mut bench = Bench::new();
    let id = bench.buy_units(100 * MILLION);
    bench.serve(id, &[20 * MILLION]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    let before = bench.claim(target).p_ppb;
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    let dispute = bench.dispute(id, 1, MILLION);
    bench.run_out_dispute(dispute);
    bench.serve(id, &[20 * MILLION]);
    bench.settle(id).unwrap();
    assert!(bench.claim(target).p_ppb > before);
}

/// A queue behind a claim that was void for want of verifiers: what is signed of a node convicted since is not paid.
#[test]
fn a_convicted_node_s_queue_becomes_no_claim() {
    let (mut bench, target) = queued_alone();
    join_again(&mut bench);
    bench.convict_server();
    let ctx = bench.release(target).unwrap();
    assert!(ctx.events.iter().any(|event| matches!(event, Event::QueueVoided(_))));
    let channel = bench.channel(target.id());
    assert!(channel.claim.is_none() && channel.queued.is_none() && channel.released);
    bench.request_close(target.id());
    bench.clock_ms += 10_000_000;
    let left = bench.stack(target.id()).balance.0;
    assert_eq!(coins(&bench.refund(USER, target.id()).unwrap()), left);
}

/// One left until its node took its collateral would be a claim with nothing at stake.
#[test]
fn a_queue_with_nothing_at_stake_is_void() {
    let (mut bench, target) = queued_alone();
    let badge = bench.badges[&SERVER].clone();
    let clock_ms = bench.clock_ms;
    bench.call(STRANGER, 0, |world, ctx| node::disable(&mut world.db, &badge, clock_ms, ctx)).unwrap();
    bench.clock_ms += bench.params().exit_ms;
    bench.epoch += 2;
    let clock_ms = bench.clock_ms;
    bench.call(STRANGER, 0, |world, ctx| node::exit(&mut world.db, &badge, clock_ms, ctx)).unwrap();
    bench.release(target).unwrap();
    let channel = bench.channel(target.id());
    assert!(channel.claim.is_none() && channel.queued.is_none());
    let left = bench.stack(target.id()).balance.0;
    bench.request_close(target.id());
    bench.clock_ms += 10_000_000;
    assert_eq!(coins(&bench.refund(USER, target.id()).unwrap()), left);
}

/// A channel whose claim ended void, so that a queue is left alone. No verifier is opted in.
fn queued_alone() -> (Bench, Target) {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[2 * MILLION]);
    bench.settle(id).unwrap();
    bench.draw(target, true);
    for verifier in 2..=LAST {
        crate::claiming::leave(&mut bench, NodeId(verifier));
    }
    bench.clock_ms += 200_000;
    bench.resolve_audit(target).unwrap();
    assert!(bench.channel(id).claim.is_none() && bench.channel(id).queued.is_some());
    (bench, target)
}

fn join_again(bench: &mut Bench) {
    bench.epoch += 1;
    for verifier in 2..=LAST {
        crate::claiming::set_verifier(bench, NodeId(verifier), true).unwrap();
    }
    bench.clock_ms += 1;
}

/// More units than came with the record in all: no sum of money for it is in range, so that no audit of it would end.
#[test]
fn a_leaf_with_absurd_units_freezes_no_audit() {
    for (units, total_units) in
        [(u64::MAX, 2 * MILLION), (2 * MILLION + 1, 2 * MILLION), (u64::MAX, u64::MAX)]
    {
        let mut bench = Bench::new();
        let id = bench.buy();
        let absurd = atoma_types::Record {
            total_units: Units(total_units),
            ..crate::served::record_of(Hash32::of(b"absurd"), units)
        };
        let mut tree = atoma_types::Transcript::default();
        tree.append(&absurd);
        let voucher = bench.signed(id, 2 * MILLION, 1, tree.root_at(1).unwrap());
        bench.settle_as(operator(SERVER), id, voucher).unwrap();
        let target = Target::Channel(id, SERVER);
        let shown = Proven { record: absurd.to_bytes(), index: 0, proof: Vec::new() };
        let held = bench.world.clone();
        bench.hold(target);
        assert_eq!(abort(bench.challenge(USER, target, COIN, shown.clone())), Abort::BadProof);
        bench.world = held;
        bench.open_audit(target);
        let reveal = Reveal { which: 0, shown, location: Vec::new() };
        assert_eq!(abort(bench.reveal(target, reveal)), Abort::BadProof);
        bench.run_out(target);
        assert_eq!(bench.node(SERVER).convictions, 1);
    }
}

/// The claim is void already: there is nothing to judge, and the owner has the bond back.
#[test]
fn a_challenge_of_a_void_claim_returns_the_bond() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.hold(target);
    let (bond, shown) = (90_000, bench.served.proven(id, SERVER, 7, 200));
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.challenge(USER, target, bond, shown).unwrap();
    bench.convict_server();
    assert_eq!(bench.node(SERVER).open_audits, 1);
    // At once: no round is waited for, and nobody earns.
    let ctx = bench.resolve_audit(target).unwrap();
    assert_eq!((coins(&ctx), bench.due(id, USER)), (0, bond));
    assert_eq!(bench.node(SERVER).open_audits, 0);
    let channel = bench.channel(id);
    assert!(channel.claim.is_none() && channel.queued.is_none() && channel.released);
    assert_eq!((channel.paid.0, channel.voided.0), (0, 2 * COIN));
}
