//! Settling at level 2: claims, the queue, the hold.

use crate::bench::*;
use atoma_contract::{admin, offer};
use atoma_types::onchain::{Abort, ClaimState, Event};
use atoma_types::{Address, Amount, Hash32, NodeId, TaskId, Units};

#[test]
fn a_claim_that_is_not_drawn_pays_after_its_hold() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    let claim = bench.claim(target).clone();
    assert_eq!((claim.from_units.0, claim.to_units.0), (0, 2 * MILLION));
    // The surcharge is 5 ‰ of the highest price of ten million units; a fifth of it is this claim's.
    assert_eq!((claim.amount.0, claim.surcharge.0), (2 * COIN, 20_000));
    assert_eq!(claim.round, bench.world.beacon.round + 1);
    assert_eq!(abort(bench.resolve_pay(target)), Abort::NoSeed);
    assert_eq!(abort(bench.resolve_audit(target)), Abort::NoSeed);
    bench.draw(target, false);
    assert_eq!(abort(bench.resolve_audit(target)), Abort::NotDrawn);
    bench.resolve_pay(target).unwrap();
    assert_eq!(abort(bench.resolve_pay(target)), Abort::NoClaim);
    bench.pass_hold(target);
    bench.clock_ms -= 1;
    assert_eq!(abort(bench.release(target)), Abort::TooEarly);
    bench.clock_ms += 1;
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 1_800_000);
    assert_eq!(bench.due(id, CREATOR), 200_000);
    assert_eq!(bench.stack(id).treasury_due.0, 20_000);
    let channel = bench.channel(id);
    assert_eq!(
        (channel.settled_units.0, channel.paid.0, channel.claim.is_none()),
        (2 * MILLION, 2 * COIN, true)
    );
    assert_eq!(abort(bench.release(target)), Abort::NoClaim);
}

/// What audits leave of the surcharge is the treasury's; the verifier is paid a flat sum.
#[test]
fn a_claim_that_passes_its_audit_pays_as_if_it_had_none() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.draw(target, true);
    assert_eq!(abort(bench.resolve_pay(target)), Abort::Drawn);
    let ctx = bench.resolve_audit(target).unwrap();
    assert_eq!(coins(&ctx), 30_000);
    assert_eq!(bench.node(SERVER).open_audits, 1);
    let verifier = bench.claim(target).audit.as_ref().unwrap().seats[0].verifier;
    bench.judge(target, |_| 0);
    assert_eq!(bench.state(target), ClaimState::Held);
    assert_eq!(bench.node(SERVER).open_audits, 0);
    // One record of two million units: twice its cost, of which the claim has less.
    let left = 2_020_000 - 30_000;
    // By the database, with whose dues the money is now.
    assert_eq!(bench.due(id, payout(verifier)), 0);
    assert_eq!(bench.world.db.due_of(payout(verifier)).0, left);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 0);
}

#[test]
fn small_records_cost_the_claim_little() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.open_audit(target);
    bench.judge(target, |_| 0);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    // 0.03 for resolving, 0.06 for verifying; 0.02 of it the surcharge.
    assert_eq!(bench.due(id, CREATOR), 200_000);
    assert_eq!(bench.due(id, payout(SERVER)), 2_000_000 - 70_000 - 200_000);
    assert_eq!(bench.stack(id).treasury_due.0, 0);
}

/// A voucher under a root that no record is under would convict an honest node for not revealing.
#[test]
fn a_user_cannot_settle_a_root_that_the_node_never_had() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let forged = bench.signed(id, MILLION, 1, Hash32::of(b"nothing"));
    for sender in [USER, STRANGER, operator(NodeId(2))] {
        assert_eq!(abort(bench.settle_as(sender, id, forged.clone())), Abort::NotAuthorized);
    }
}

#[test]
fn only_what_the_user_signed_within_the_grant_settles() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[MILLION]);
    let good = bench.voucher(id, 1);
    let more = atoma_contract::stack::Settlement { units: Units(MILLION + 1), ..good.clone() };
    assert_eq!(abort(bench.settle_as(operator(SERVER), id, more)), Abort::BadSignature);
    let over = bench.signed(id, 10 * MILLION + 1, 1, Hash32::of(b"x"));
    assert_eq!(abort(bench.settle_as(operator(SERVER), id, over)), Abort::OverClaimed);
    let clock_ms = bench.clock_ms;
    let level_0 = bench.call(operator(SERVER), 0, |world, ctx| {
        atoma_contract::stack::settle(
            &world.db,
            world.stacks.get_mut(&id).unwrap(),
            good.clone(),
            clock_ms,
            ctx,
        )
    });
    assert_eq!(abort(level_0), Abort::WrongLevel);
    bench.settle_as(operator(SERVER), id, good.clone()).unwrap();
    // Again, by whomever, whenever: nothing.
    bench.clock_ms += 100_000_000;
    assert!(bench.settle_as(STRANGER, id, good).unwrap().events.is_empty());
}

#[test]
fn a_claim_below_the_minimum_waits_for_more_or_for_the_end() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[MILLION - 1]);
    assert_eq!(abort(bench.settle(id)), Abort::ClaimTooSmall);
    bench.request_close(id);
    bench.settle(id).unwrap();
    assert_eq!(bench.claim(Target::Channel(id, SERVER)).amount.0, COIN - 1);
}

/// What was signed before it left is its pay, however little.
#[test]
fn a_disabled_node_settles_its_last_units_however_few() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[MILLION - 1]);
    assert_eq!(abort(bench.settle(id)), Abort::ClaimTooSmall);
    let (badge, clock_ms) = (bench.badges[&SERVER].clone(), bench.clock_ms);
    bench
        .call(STRANGER, 0, |world, ctx| atoma_contract::node::disable(&mut world.db, &badge, clock_ms, ctx))
        .unwrap();
    bench.settle(id).unwrap();
    assert_eq!(bench.claim(Target::Channel(id, SERVER)).amount.0, COIN - 1);
}

/// Sums of time end at the end of time: neither releasing nor settling fails there.
#[test]
fn a_claim_is_released_at_the_end_of_time() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.clock_ms = u64::MAX - 2_000;
    bench.hold(target);
    assert_eq!(abort(bench.release(target)), Abort::TooEarly);
    bench.clock_ms = u64::MAX;
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 1_800_000);
}

#[test]
fn a_newer_voucher_waits_for_the_running_claim() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    assert_eq!(bench.channel(id).queued.as_ref().unwrap().units.0, 4 * MILLION);
    assert_eq!(bench.claim(target).to_units.0, 2 * MILLION);
    bench.hold(target);
    bench.pass_hold(target);
    let round = bench.world.beacon.round;
    bench.release(target).unwrap();
    let claim = bench.claim(target);
    assert_eq!((claim.from_units.0, claim.to_units.0), (2 * MILLION, 4 * MILLION));
    assert_eq!((claim.round, claim.made_ms), (round + 1, bench.clock_ms));
    assert!(bench.channel(id).queued.is_none());
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 3_600_000);
}

#[test]
fn the_next_settlement_pays_a_claim_whose_hold_is_over() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.hold(target);
    bench.pass_hold(target);
    bench.claim_units(id, MILLION);
    assert_eq!(bench.due(id, payout(SERVER)), 1_800_000);
    let claim = bench.claim(target);
    assert_eq!((claim.from_units.0, claim.to_units.0), (2 * MILLION, 3 * MILLION));
}

/// Dropped, not stuck: the node has the voucher and settles it when it is large enough, or at the end.
#[test]
fn a_queued_voucher_too_small_to_audit_is_dropped() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[10]);
    bench.settle(id).unwrap();
    bench.hold(target);
    bench.pass_hold(target);
    let ctx = bench.release(target).unwrap();
    assert!(ctx.events.iter().any(|event| matches!(event, Event::QueueVoided(_))));
    assert!(bench.channel(id).queued.is_none() && bench.channel(id).claim.is_none());
    assert_eq!(abort(bench.settle(id)), Abort::ClaimTooSmall);
    bench.request_close(id);
    bench.settle(id).unwrap();
    assert_eq!(bench.claim(target).amount.0, 10);
}

/// Once the claim is made, neither a larger voucher nor closing, nor releasing the channel replaces it.
#[test]
fn a_node_cannot_retry_until_it_is_not_audited() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.draw(target, true);
    let before = bench.claim(target).clone();
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.request_close(id);
    let (badge, clock_ms) = (bench.badges[&SERVER].clone(), bench.clock_ms);
    bench
        .call(STRANGER, 0, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            atoma_contract::stack::release_channel(&world.db, stack, &badge, clock_ms, ctx)
        })
        .unwrap();
    bench.beat([1; 32]).unwrap_err();
    bench.clock_ms += 1_000;
    bench.beat([1; 32]).unwrap();
    assert_eq!(bench.claim(target), &before);
    assert_eq!(abort(bench.resolve_pay(target)), Abort::Drawn);
    bench.resolve_audit(target).unwrap();
}

/// Whatever a node does once it knows the seed, the same verifiers judge the same records.
#[test]
fn grinding_after_the_seed_is_known_changes_nothing() {
    let base = || {
        let mut bench = Bench::new();
        let id = bench.buy();
        let target = bench.claim_units(id, 2 * MILLION);
        bench.draw(target, true);
        (bench, target)
    };
    let outcome = |mut bench: Bench, target: Target| {
        bench.resolve_audit(target).unwrap();
        let audit = bench.claim(target).audit.clone().unwrap();
        (audit.offsets, audit.seats)
    };
    let (bench, target) = base();
    let expected = outcome(bench, target);

    let (mut bench, target) = base();
    for id in 16..32 {
        bench.join(NodeId(id), operator(NodeId(id)), 4_000 * COIN, true);
    }
    assert_eq!(outcome(bench, target), expected, "registering and opting in");

    let (mut bench, target) = base();
    for id in 2..=LAST {
        let (badge, clock_ms) = (bench.badges[&NodeId(id)].clone(), bench.clock_ms);
        bench
            .call(STRANGER, 0, |world, ctx| {
                let (price, units) = (atoma_types::Price(5), Units(7));
                offer::reprice(&mut world.db, &badge, TaskId(1), price, units, clock_ms, ctx)
            })
            .unwrap();
    }
    assert_eq!(outcome(bench, target), expected, "repricing");

    let (mut bench, target) = base();
    for id in 2..=LAST {
        if id != expected.1[0].verifier.0 {
            add_collateral(&mut bench, NodeId(id), 9_000 * COIN);
        }
    }
    assert_eq!(outcome(bench, target), expected, "more collateral");

    let (mut bench, target) = base();
    let Target::Channel(id, _) = target else { unreachable!() };
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    add_collateral(&mut bench, SERVER, 9_000 * COIN);
    assert_eq!(outcome(bench, target), expected, "settling again");

    let (mut bench, target) = base();
    for id in 2..=LAST {
        leave(&mut bench, NodeId(id));
    }
    assert_eq!(outcome(bench, target), expected, "opting out takes effect when the claim is long over");
}

pub(crate) fn add_collateral(bench: &mut Bench, node: NodeId, amount: u64) {
    let (badge, clock_ms) = (bench.badges[&node].clone(), bench.clock_ms);
    bench
        .call(STRANGER, amount, |world, ctx| {
            atoma_contract::node::add_collateral(&mut world.db, &badge, coin(amount), clock_ms, ctx)
        })
        .unwrap();
}

pub(crate) fn leave(bench: &mut Bench, node: NodeId) {
    set_verifier(bench, node, false).unwrap();
}

pub(crate) fn set_verifier(
    bench: &mut Bench,
    node: NodeId,
    verifier: bool,
) -> atoma_contract::Result<atoma_contract::TxContext> {
    let (badge, clock_ms) = (bench.badges[&node].clone(), bench.clock_ms);
    bench.call(STRANGER, 0, |world, ctx| {
        offer::set_verifier(&mut world.db, &badge, TaskId(1), verifier, clock_ms, ctx)
    })
}

/// In one ms a contract could read the seed and opt in: slots as young as the claim do not count.
#[test]
fn opting_in_again_in_the_ms_of_the_claim_is_too_late() {
    let mut bench = Bench::new();
    let revived = NodeId(2);
    leave(&mut bench, revived);
    bench.clock_ms += 10_000_000;
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    set_verifier(&mut bench, revived, true).unwrap();
    let position = bench.world.db.subscription(TaskId(1), revived).unwrap().verifier_slot.unwrap();
    let sizes: u64 = bench.claim(target).sizes.iter().sum();
    assert!(position < sizes, "its old position is drawn");
    let p_ppb = bench.claim(target).p_ppb;
    let seed = bench.find_seed(target, |seed| {
        let value = |i| atoma_contract::draw::value(&seed.0, i);
        let is_its = value(1) % sizes == position && value(2) % (4_000 * COIN) < 1_000 * COIN;
        is_its && atoma_contract::claim::chance::is_drawn(&seed, p_ppb)
    });
    bench.beat(seed).unwrap();
    bench.resolve_audit(target).unwrap();
    assert_ne!(bench.claim(target).audit.as_ref().unwrap().seats[0].verifier, revived);
}

/// A draw over the lists of a purchase made when nobody verified meets nobody, and does not fail.
#[test]
fn an_empty_echelon_returns_the_claim() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.draw(target, true);
    for node in 2..=LAST {
        leave(&mut bench, NodeId(node));
    }
    bench.clock_ms += 10_000_000;
    let ctx = bench.resolve_audit(target).unwrap();
    assert_eq!(coins(&ctx), 30_000, "who resolves is paid all the same");
    let channel = bench.channel(id);
    assert!(channel.claim.is_none());
    assert_eq!((channel.settled_units.0, channel.paid.0, channel.voided.0), (2 * MILLION, 0, 2 * COIN));
    assert_eq!(bench.node(SERVER).open_audits, 0);
    assert_eq!(bench.node(SERVER).convictions, 0);
}

#[test]
fn nothing_settles_without_verifiers_enough_to_judge_it() {
    let mut bench = Bench::new();
    let id = bench.buy();
    for node in 2..=6 {
        leave(&mut bench, NodeId(node));
    }
    bench.serve(id, &[2 * MILLION]);
    assert_eq!(abort(bench.settle(id)), Abort::NotEnoughVerifiers);
    // The last claim of a channel that ended is made all the same: those who left need not keep it from its pay.
    bench.request_close(id);
    bench.settle(id).unwrap();
}

/// Joining and leaving in numbers keeps nobody from settling, nor the audit from finding its verifiers.
#[test]
fn a_swarm_of_verifiers_that_leave_stops_neither_settling_nor_judging() {
    let mut bench = Bench::new();
    let id = bench.buy();
    for node in 16..=216 {
        bench.join(NodeId(node), operator(NodeId(node)), 1_000 * COIN, true);
        leave(&mut bench, NodeId(node));
    }
    bench.clock_ms += 200_000;
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    bench.judge(target, |_| 1);
    assert_eq!(bench.claim(target).audit.as_ref().unwrap().jury.len(), 7);
}

/// The claim is judged by the parameters of its purchase, whatever is set later.
#[test]
fn parameters_changed_under_an_open_claim_do_not_reach_it() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let cap = bench.cap.clone();
    let changed = atoma_types::onchain::Params {
        p_min_ppb: 500_000_000,
        resolve_fee: Amount(COIN),
        weight_cap: Amount(1_000 * COIN),
        min_collateral: Amount(1_000 * COIN),
        verifiers: 4,
        min_verifiers: 13,
        records: 8,
        min_claim: Amount(5 * COIN),
        reveal_ms: 1_000,
        ..bench.params().clone()
    };
    bench
        .call(STRANGER, 0, |world, ctx| admin::set_params(&mut world.db, &cap, &changed.values(), ctx))
        .unwrap();
    bench.epoch += 1;
    let target = bench.claim_units(id, 2 * MILLION);
    assert_eq!(bench.claim(target).p_ppb, 10_000_000);
    bench.draw(target, true);
    let ctx = bench.resolve_audit(target).unwrap();
    assert_eq!(coins(&ctx), 30_000);
    let audit = bench.claim(target).audit.as_ref().unwrap();
    assert_eq!((audit.offsets.len(), audit.seats.len()), (1, 1));
    assert_eq!(audit.deadline_ms, bench.clock_ms + 10_000);
}

/// Time alone ends everything: the claim and the queue survive the refund, and what they do not need goes.
#[test]
fn a_refund_leaves_claim_and_queue_their_money() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.request_close(id);
    bench.clock_ms += bench.params().close_delay_ms + 1;
    let before = bench.stack(id).balance.0;
    let ctx = bench.refund(USER, id).unwrap();
    assert_eq!(coins(&ctx), before - 3 * COIN - 30_000);
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 2_700_000);
    let left = bench.refund(USER, id).unwrap();
    assert_eq!(coins(&left), 0);
    for to in [payout(SERVER), CREATOR] {
        let clock_ms = bench.clock_ms;
        bench
            .call(to, 0, |world, ctx| {
                atoma_contract::stack::withdraw(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
            })
            .unwrap();
    }
    let clock_ms = bench.clock_ms;
    bench
        .call(STRANGER, 0, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            atoma_contract::stack::sweep(stack, &mut world.treasury, clock_ms, ctx)
        })
        .unwrap();
    assert!(!bench.world.stacks.contains_key(&id));
}

/// The same, when the running claim is void and only a queue is left.
#[test]
fn a_queue_behind_a_void_claim_keeps_its_money() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.serve(id, &[MILLION]);
    bench.settle(id).unwrap();
    bench.draw(target, true);
    for node in 2..=LAST {
        leave(&mut bench, NodeId(node));
    }
    bench.clock_ms += 10_000_000;
    bench.resolve_audit(target).unwrap();
    assert!(bench.channel(id).claim.is_none() && bench.channel(id).queued.is_some());
    let before = bench.stack(id).balance.0;
    let ctx = bench.refund(USER, id).unwrap();
    assert_eq!(coins(&ctx), before - COIN - 10_000);
    bench.release(target).unwrap();
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    assert_eq!(bench.due(id, payout(SERVER)), 900_000);
}

#[test]
fn beats_come_in_order_and_not_too_often() {
    let mut bench = Bench::new();
    assert_eq!(bench.world.beacon.round, 0);
    bench.beat([1; 32]).unwrap();
    bench.clock_ms += 999;
    assert_eq!(abort(bench.beat([2; 32])), Abort::TooEarly);
    bench.clock_ms += 1;
    bench.beat([2; 32]).unwrap();
    let beacon = &bench.world.beacon;
    assert_eq!(beacon.round, 2);
    assert_eq!(beacon.seed(1).unwrap(), Hash32([1; 32]));
    assert_eq!(beacon.seed(3), Err(Abort::NoSeed));
    bench.world.beacon.db = Address::TWO;
    bench.clock_ms += 1_000;
    assert_eq!(abort(bench.beat([3; 32])), Abort::WrongDb);
}
