//! Silence and lateness.

use crate::bench::*;
use atoma_contract::audit::PASS;
use atoma_types::NodeId;
use atoma_types::onchain::{Abort, AuditPhase, ClaimState, SeatState};

fn slashed(bench: &Bench, to: u64) -> usize {
    (2..=LAST).filter(|node| bench.collateral(NodeId(*node)) == to).count()
}

/// Silence must not be cheaper than guilt.
#[test]
fn not_revealing_is_fraud() {
    let (mut bench, target) = Bench::audited();
    bench.run_out(target);
    let node = bench.node(SERVER);
    assert_eq!((node.convictions, node.collateral.0, node.open_audits), (1, 0, 0));
    // The owner has back what resolving took of the amount.
    assert_eq!(bench.world.db.due_of(USER).0, 10_000);
    bench.request_close(target.id());
    bench.clock_ms += bench.params().close_delay_ms + 1;
    let balance = bench.stack(target.id()).balance.0;
    let ctx = bench.refund(USER, target.id()).unwrap();
    assert_eq!(coins(&ctx), balance);
    assert!(!bench.world.stacks.contains_key(&target.id()));
}

/// Nobody is late by the clock alone: after a halt there is a grace in which the duty can be done.
#[test]
fn a_halted_chain_convicts_nobody() {
    let (mut bench, target) = Bench::audited();
    assert_eq!(abort(bench.mark_late(target)), Abort::NotLate);
    assert_eq!(abort(bench.expire(target)), Abort::NotLate);
    bench.clock_ms += 365 * 24 * 3_600_000;
    assert_eq!(abort(bench.expire(target)), Abort::NotLate);
    bench.mark_late(target).unwrap();
    assert_eq!(abort(bench.mark_late(target)), Abort::AlreadyDone);
    bench.clock_ms += bench.params().grace_ms - 1;
    assert_eq!(abort(bench.expire(target)), Abort::NotLate);
    bench.reveal_all(target);
    assert_eq!(bench.claim(target).audit.as_ref().unwrap().phase, AuditPhase::Commit);
    bench.clock_ms += 1;
    assert_eq!(abort(bench.expire(target)), Abort::NotLate, "the next duty has its own time");
}

/// Until somebody lets it have its effect, what is late can still be done.
#[test]
fn a_duty_done_before_it_expires_counts() {
    let (mut bench, target) = Bench::audited();
    bench.clock_ms += 1_000_000;
    bench.mark_late(target).unwrap();
    bench.clock_ms += 1_000_000;
    bench.judge(target, |_| PASS);
    assert_eq!(bench.state(target), ClaimState::Held);
}

#[test]
fn a_deadline_is_met_in_its_last_ms() {
    let (mut bench, target) = Bench::audited();
    bench.clock_ms = bench.claim(target).audit.as_ref().unwrap().deadline_ms;
    assert_eq!(abort(bench.mark_late(target)), Abort::NotLate);
    bench.clock_ms += 1;
    bench.mark_late(target).unwrap();
    bench.clock_ms += bench.params().grace_ms;
    bench.expire(target).unwrap();
}

#[test]
fn a_verifier_that_never_commits_loses_a_little_and_its_seat() {
    let (mut bench, target) = Bench::audited();
    bench.reveal_all(target);
    let silent = bench.seats(target, SeatState::Seated)[0];
    bench.run_out(target);
    assert_eq!(bench.collateral(silent), 995 * COIN);
    let fresh = bench.seats(target, SeatState::Seated);
    assert_eq!(fresh.len(), 1);
    assert_ne!(fresh[0], silent);
    assert_eq!(abort(bench.commit(target, silent, vec![1; 32])), Abort::NotSeated);
    bench.commit_all(target, |_| PASS);
    let opened = bench.verdict(target, fresh[0], PASS);
    bench.open_verdict(target, fresh[0], opened).unwrap();
    assert_eq!(bench.state(target), ClaimState::Held);
}

#[test]
fn when_the_replacement_is_silent_too_the_claim_returns_to_escrow() {
    let (mut bench, target) = Bench::audited();
    bench.reveal_all(target);
    bench.run_out(target);
    bench.run_out(target);
    assert_eq!(slashed(&bench, 995 * COIN), 2);
    let channel = bench.channel(target.id());
    assert!(channel.claim.is_none() && channel.closed_ms == 0);
    assert_eq!((channel.voided.0, bench.node(SERVER).convictions), (2 * COIN, 0));
    assert_eq!(bench.node(SERVER).open_audits, 0);
}

/// A committed verdict that stays sealed brings the jury, and loses to whatever it finds.
#[test]
fn silence_after_the_commitment_counts_as_the_losing_side() {
    for verdict in [PASS, 1] {
        let (mut bench, target) = Bench::audited();
        bench.reveal_all(target);
        bench.commit_all(target, |_| PASS);
        let silent = bench.seats(target, SeatState::Committed)[0];
        bench.run_out(target);
        assert_eq!(bench.world.db.due_of(payout(silent)).0, 0, "no reveal, no pay");
        bench.reveal_all(target);
        bench.commit_all(target, |_| verdict);
        let jury = bench.seats(target, SeatState::Committed);
        for juror in &jury[..6] {
            let opened = bench.verdict(target, *juror, verdict);
            bench.open_verdict(target, *juror, opened).unwrap();
        }
        bench.run_out(target);
        assert_eq!(bench.collateral(silent), 950 * COIN);
        assert_eq!(bench.collateral(jury[6]), 950 * COIN);
        assert_eq!(slashed(&bench, 950 * COIN), 2);
        assert_eq!(bench.node(SERVER).convictions, u64::from(verdict));
    }
}

/// A jury short of two still judges, of three it does not.
#[test]
fn a_jury_of_five_is_enough() {
    for committed in [5, 4] {
        let (mut bench, target) = Bench::audited();
        bench.judge(target, |_| 1);
        bench.reveal_all(target);
        let jury = bench.seats(target, SeatState::Seated);
        for juror in &jury[..committed] {
            let opened = bench.verdict(target, *juror, 1);
            let hash = bench.commitment(target, *juror, &opened);
            bench.commit(target, *juror, hash).unwrap();
        }
        bench.run_out(target);
        let replaced = bench.seats(target, SeatState::Seated);
        assert!(!replaced.is_empty());
        bench.run_out(target);
        if committed == 4 {
            assert!(bench.channel(target.id()).claim.is_none());
            assert_eq!(bench.node(SERVER).convictions, 0);
            continue;
        }
        for juror in &jury[..5] {
            let opened = bench.verdict(target, *juror, 1);
            bench.open_verdict(target, *juror, opened).unwrap();
        }
        assert_eq!(bench.node(SERVER).convictions, 1);
    }
}

/// With nobody left to replace the silent, those who committed go on at once.
#[test]
fn a_jury_without_replacements_goes_on() {
    let (mut bench, target) = Bench::audited();
    bench.judge(target, |_| 1);
    bench.reveal_all(target);
    let jury = bench.seats(target, SeatState::Seated);
    for juror in &jury[..5] {
        let opened = bench.verdict(target, *juror, 1);
        let hash = bench.commitment(target, *juror, &opened);
        bench.commit(target, *juror, hash).unwrap();
    }
    for node in (2..=LAST).map(NodeId).filter(|node| !jury.contains(node)) {
        let (badge, clock_ms) = (bench.badges[&node].clone(), bench.clock_ms);
        bench
            .call(STRANGER, 0, |world, ctx| {
                atoma_contract::node::disable(&mut world.db, &badge, clock_ms, ctx)
            })
            .unwrap();
    }
    bench.run_out(target);
    assert_eq!(bench.claim(target).audit.as_ref().unwrap().phase, AuditPhase::Verdict);
    assert_eq!(slashed(&bench, 995 * COIN), 2);
}

/// Nobody owes work that the claim has no money for.
#[test]
fn verifiers_that_nobody_can_pay_lose_nothing() {
    // One verifier's least pay and the resolving fee, with the surcharge of half a percent.
    for (units, loses) in [(80_000, 0), (90_000, 2)] {
        let mut bench = Bench::new();
        let id = bench.buy();
        bench.request_close(id);
        let target = bench.claim_units(id, units);
        bench.open_audit(target);
        bench.reveal_all(target);
        bench.run_out(target);
        bench.run_out(target);
        assert_eq!(slashed(&bench, 995 * COIN), loses);
        let channel = bench.channel(id);
        assert!(channel.claim.is_none());
        assert_eq!((channel.voided.0, bench.node(SERVER).open_audits), (units, 0));
    }
}
