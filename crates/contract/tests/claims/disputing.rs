//! Disputes over delivery.

use crate::bench::*;
use crate::disputes::*;
use crate::served::record_of;
use atoma_contract::audit::PASS;
use atoma_contract::dispute::{self, Acknowledged, Case, Part, Request};
use atoma_contract::task::NewTask;
use atoma_types::message::Message;
use atoma_types::onchain::{Abort, Blob, ClaimState, DisputeState};
use atoma_types::{Address, Hash32, NodeId, Record, SecretKey, Status, Units};

/// A market below level 2, where answers are paid at once.
fn plain() -> Bench {
    Bench::with_task(NewTask { level: 0, exact: false, ..new_task() })
}

fn opened() -> (Bench, Address, Address) {
    let mut bench = plain();
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, MILLION);
    (bench, id, dispute)
}

#[test]
fn an_answer_is_paid_and_costs_the_opener_the_fee() {
    let (mut bench, id, dispute) = opened();
    assert_eq!(bench.stack(id).disputed.reserves[0].units.0, MILLION);
    assert_eq!(bench.node(SERVER).open_disputes, 1);
    bench.answer(dispute, 600_000).unwrap();
    assert_eq!((bench.due(id, payout(SERVER)), bench.due(id, CREATOR)), (540_000, 60_000));
    assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 100_000);
    assert_eq!(bench.dispute_due(dispute, USER), 400_000);
    let channel = bench.channel(id);
    assert_eq!(
        (channel.disputed_units.0, channel.disputed_paid.0, channel.settled_units.0),
        (600_000, 600_000, 0)
    );
    assert!(bench.stack(id).disputed.reserves.is_empty());
    assert_eq!((bench.stack(id).disputed.open, bench.node(SERVER).open_disputes), (0, 0));
    assert_eq!(abort(bench.answer(dispute, 1)), Abort::WrongState);
    assert_eq!(abort(bench.withdraw_dispute(STRANGER, dispute)), Abort::NothingDue);
    bench.withdraw_dispute(payout(SERVER), dispute).unwrap();
    let ctx = bench.withdraw_dispute(USER, dispute).unwrap();
    assert_eq!(coins(&ctx), 400_000);
    assert!(!bench.world.disputes.contains_key(&dispute), "an empty dispute is deleted");
}

#[test]
fn silence_costs_the_node_and_compensates_the_user() {
    let (mut bench, id, dispute) = opened();
    assert_eq!(abort(bench.mark_dispute_late(dispute)), Abort::NotLate);
    assert_eq!(abort(bench.expire_dispute(dispute)), Abort::NotLate);
    bench.run_out_dispute(dispute);
    // 100 ‰ of a thousand, half burned; ten times the million units to the user.
    let db = &bench.world.db;
    assert_eq!((bench.node(SERVER).collateral.0, db.to_burn.0), (900 * COIN, 50 * COIN));
    assert_eq!(db.due_of(USER).0, 10 * COIN);
    assert_eq!(bench.node(SERVER).timeout_pot.0, 40 * COIN);
    assert_eq!(bench.node(SERVER).reputation, 40);
    assert_eq!(bench.dispute_due(dispute, USER), 500_000);
    assert_eq!(bench.stack(id).disputed.open, 0);
    assert_eq!(bench.disputed(dispute).state, DisputeState::Ended);
}

/// One slash per answer window: a flood cannot take the collateral, and all share the first's half.
#[test]
fn many_timeouts_in_one_window_share_one_slash() {
    let mut bench = plain();
    let id = bench.buy();
    let disputes: Vec<Address> = (1..=4).map(|nonce| bench.dispute(id, nonce, 2 * MILLION)).collect();
    bench.clock_ms = bench.disputed(disputes[3]).deadline_ms + 1;
    for dispute in &disputes {
        bench.mark_dispute_late(*dispute).unwrap();
    }
    bench.clock_ms += bench.params().grace_ms;
    for dispute in &disputes {
        bench.expire_dispute(*dispute).unwrap();
    }
    assert_eq!(bench.node(SERVER).collateral.0, 900 * COIN);
    assert_eq!(bench.world.db.due_of(USER).0, 50 * COIN);
}

/// The deadline queues at the node's rate, so that it can answer all of a flood that it must answer.
#[test]
fn a_flood_of_disputes_queues_at_the_declared_rate() {
    let mut bench = plain();
    let mut deadlines = Vec::new();
    let mut disputes = Vec::new();
    for _ in 0..6 {
        let id = bench.buy();
        for nonce in 1..=4 {
            let dispute = bench.dispute(id, nonce, 1_000);
            deadlines.push(bench.disputed(dispute).deadline_ms - bench.clock_ms);
            disputes.push(dispute);
        }
    }
    let expected: Vec<u64> = (1..=24).map(|n: u64| n.min(20) * 1_000 + 10_000).collect();
    assert_eq!(deadlines, expected);
    // What came when the queue was full may be refused for nothing: a flood earns no fees.
    bench.refuse(disputes[23], 0).unwrap();
    assert_eq!(bench.dispute_due(disputes[23], USER), 500_000);
    assert_eq!(bench.node(SERVER).reputation, 50);
    assert_eq!(abort(bench.refuse(disputes[19], 0)), Abort::InsufficientPayment);
}

/// A node that disputes itself does not escape: the next user's deadline is bounded.
#[test]
fn a_self_flood_does_not_put_off_others_for_ever() {
    let mut bench = plain();
    for _ in 0..20 {
        let id = bench.buy();
        for nonce in 1..=4 {
            bench.dispute(id, nonce, 1_000);
        }
    }
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, 1_000);
    let params = bench.params();
    let latest_ms = bench.clock_ms + params.queue_max_ms + params.answer_window_ms;
    assert_eq!(bench.disputed(dispute).deadline_ms, latest_ms);
    // Silence costs as always.
    bench.run_out_dispute(dispute);
    assert_eq!(bench.node(SERVER).collateral.0, 900 * COIN);
}

#[test]
fn a_refusal_returns_the_bond_and_costs_the_node_a_fee() {
    let (mut bench, id, dispute) = opened();
    bench.epoch += 1;
    let ctx = bench.refuse(dispute, COIN).unwrap();
    assert_eq!(coins(&ctx), 900_000);
    assert_eq!(bench.dispute_due(dispute, USER), 500_000);
    assert_eq!(bench.world.db.to_treasury.0, 100_000);
    assert_eq!(bench.node(SERVER).reputation, 50, "a point grown, a point lost");
    assert!(bench.stack(id).disputed.reserves.is_empty());
}

/// Anybody can sign a request that an honest node must refuse: it earns nobody anything, and a flood of them costs one
/// point of reputation a day.
#[test]
fn refusals_earn_nobody_anything_and_cost_a_point_a_day() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.epoch += 1;
    for nonce in 1..=16 {
        let before = coins_of(&bench, USER);
        let dispute = bench.dispute(id, nonce, 1_000);
        bench.refuse(dispute, 100_000).unwrap();
        bench.withdraw_dispute(USER, dispute).unwrap();
        assert_eq!(coins_of(&bench, USER), before, "no more than the bond that it paid");
        assert!(!bench.world.disputes.contains_key(&dispute));
    }
    assert_eq!((bench.node(SERVER).reputation, bench.node(SERVER).reputation_epoch), (50, 1));
    assert_eq!(bench.world.db.to_treasury.0, 16 * 100_000);
    bench.epoch += 1;
    let dispute = bench.dispute(id, 17, 1_000);
    bench.refuse(dispute, 100_000).unwrap();
    assert_eq!((bench.node(SERVER).reputation, bench.node(SERVER).reputation_epoch), (50, 2));
}

/// What all calls handed to an address as dues of disputes and the database.
fn coins_of(bench: &Bench, to: Address) -> u64 {
    bench.world.db.due_of(to).0
        + bench.world.disputes.keys().map(|id| bench.dispute_due(*id, to)).sum::<u64>()
}

/// Whatever Walrus is upgraded to, a dispute needs nothing of it but the blob: its epoch is the one in which the
/// opener's was certified, and the answer must stay as long.
#[test]
fn disputes_need_nothing_of_walrus_but_the_blob() {
    let mut bench = plain();
    let id = bench.buy();
    let old = Blob { registered_epoch: 3, certified_epoch: Some(4), end_epoch: 6, ..blob() };
    let short = Blob { end_epoch: 5, ..old.clone() };
    let request = bench.request(id, 1, 1_000);
    assert_eq!(abort(bench.open_with(USER, id, &short, request.clone())), Abort::BadBlob);
    let dispute = bench.open_with(USER, id, &old, request).unwrap().disputes[0].id;
    assert_eq!(bench.disputed(dispute).walrus_epoch, 4);
    let record = record_of(bench.disputed(dispute).request_hash, 10);
    assert_eq!(abort(bench.answer_with(dispute, &short, &record)), Abort::BadBlob);
    bench.answer_with(dispute, &old, &record).unwrap();
}

/// A blob that is not there, or may be gone before the answer is due, is no delivery.
#[test]
fn garbage_blobs_open_and_answer_nothing() {
    let garbage = [
        Blob { certified_epoch: None, ..blob() },
        Blob { deletable: true, ..blob() },
        Blob { end_epoch: 11, ..blob() },
        Blob { size: 0, ..blob() },
        Blob { encoding_type: 0, ..blob() },
    ];
    let (mut bench, id, dispute) = opened();
    for blob in garbage {
        let request = bench.request(id, 2, 1_000);
        assert_eq!(abort(bench.open_with(USER, id, &blob, request)), Abort::BadBlob);
        let record = record_of(bench.disputed(dispute).request_hash, 10);
        assert_eq!(abort(bench.answer_with(dispute, &blob, &record)), Abort::BadBlob);
    }
}

#[test]
fn only_what_the_user_signed_for_this_node_is_disputed() {
    let mut bench = plain();
    let id = bench.buy();
    let good = bench.request(id, 1, 1_000);
    let tries = [
        (Request { nonce: 2, ..good.clone() }, Abort::BadSignature),
        (Request { max_units: Units(2), ..good.clone() }, Abort::BadSignature),
        (Request { expires_ms: good.expires_ms - 1, ..good.clone() }, Abort::BadSignature),
        (Request { body_hash: vec![1; 32], ..good.clone() }, Abort::BadSignature),
        (Request { hops: 1, ..good.clone() }, Abort::BadSignature),
        (Request { hops: 2, ..good.clone() }, Abort::BadArgument),
        (Request { body_hash: vec![1; 31], ..good.clone() }, Abort::BadArgument),
        (Request { node: NodeId(2), ..good.clone() }, Abort::UnknownChannel),
    ];
    for (request, expected) in tries {
        assert_eq!(bench.try_dispute(id, request), Err(expected));
    }
    let other = SecretKey::from_seed([2; 32]);
    let signature = bench.auth(id, &good).sign(&other).signature.0.to_vec();
    assert_eq!(bench.try_dispute(id, Request { signature, ..good.clone() }), Err(Abort::BadSignature));
    assert_eq!(abort(bench.open_with(STRANGER, id, &blob(), good.clone())), Abort::NotAuthorized);
    bench.try_dispute(id, good).unwrap();
}

#[test]
fn a_nonce_is_disputed_once() {
    let (mut bench, id, dispute) = opened();
    let again = bench.request(id, 1, MILLION);
    assert_eq!(bench.try_dispute(id, again.clone()), Err(Abort::AlreadyDisputed));
    bench.answer(dispute, 10).unwrap();
    assert_eq!(bench.try_dispute(id, again), Err(Abort::AlreadyDisputed));
}

#[test]
fn disputes_stay_within_the_free_grant() {
    let mut bench = plain();
    let id = bench.buy();
    let over = bench.request(id, 1, 10 * MILLION + 1);
    assert_eq!(bench.try_dispute(id, over), Err(Abort::NoFreeUnits));
    assert_eq!(bench.try_dispute(id, bench.request(id, 1, 0)), Err(Abort::BadArgument));
    bench.dispute(id, 1, 9 * MILLION);
    assert_eq!(bench.try_dispute(id, bench.request(id, 2, MILLION + 1)), Err(Abort::NoFreeUnits));
    bench.dispute(id, 2, MILLION);
}

#[test]
fn four_at_a_time_and_sixty_four_ever() {
    let mut bench = plain();
    let id = bench.buy();
    for nonce in 1..=64 {
        let dispute = bench.dispute(id, nonce, 1_000);
        if nonce < 4 {
            continue;
        }
        if nonce == 4 {
            assert_eq!(bench.try_dispute(id, bench.request(id, 99, 1_000)), Err(Abort::TooManyDisputes));
        }
        bench.answer(dispute, 1).unwrap();
        bench.clock_ms += 1_000;
    }
    let third =
        *bench.world.disputes.iter().find(|(_, dispute)| dispute.state == DisputeState::Open).unwrap().0;
    bench.answer(third, 1).unwrap();
    assert_eq!(bench.try_dispute(id, bench.request(id, 99, 1_000)), Err(Abort::TooManyDisputes));
}

#[test]
fn the_time_to_dispute_is_bounded_on_both_sides() {
    let mut bench = plain();
    let id = bench.buy();
    let now = bench.clock_ms;
    let at = |bench: &Bench, nonce, expires_ms| {
        let request = bench.request(id, nonce, 1_000);
        bench.sign(id, Request { expires_ms, ..request })
    };
    let far = at(&bench, 1, now + 600_001);
    assert_eq!(bench.try_dispute(id, far), Err(Abort::BadArgument));
    let window_ms = bench.params().dispute_window_ms;
    let old = at(&bench, 1, now - window_ms - 1);
    assert_eq!(bench.try_dispute(id, old), Err(Abort::DisputeOver));
    let late = at(&bench, 1, now - window_ms);
    bench.try_dispute(id, late).unwrap();
    // After the end, the window counts from there.
    bench.request_close(id);
    bench.clock_ms += window_ms;
    let last = at(&bench, 2, now + 60_000);
    bench.try_dispute(id, last).unwrap();
    bench.clock_ms += 1;
    let over = at(&bench, 3, now + 60_000);
    assert_eq!(bench.try_dispute(id, over), Err(Abort::DisputeOver));
}

#[test]
fn leaving_does_not_escape_a_dispute() {
    let mut bench = plain();
    let id = bench.buy();
    let (badge, clock_ms) = (bench.badges[&SERVER].clone(), bench.clock_ms);
    bench
        .call(STRANGER, 0, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            atoma_contract::stack::release_channel(&world.db, stack, &badge, clock_ms, ctx)?;
            atoma_contract::node::disable(&mut world.db, &badge, clock_ms, ctx)
        })
        .unwrap();
    bench.clock_ms += bench.params().dispute_window_ms;
    let dispute = bench.dispute(id, 1, MILLION);
    bench.run_out_dispute(dispute);
    assert_eq!(bench.node(SERVER).collateral.0, 900 * COIN);
}

/// What the user has signed for was delivered; disputing it costs the fee.
#[test]
fn an_acknowledged_request_is_not_answered_twice() {
    let (mut bench, id, dispute) = opened();
    let request_hash = bench.disputed(dispute).request_hash;
    bench.serve(id, &[5, 6]);
    bench.served.append(id, SERVER, record_of(request_hash, 7));
    bench.serve(id, &[8]);
    let show = |bench: &Bench, index: usize| {
        let voucher = bench.voucher(id, 4);
        Acknowledged {
            node: SERVER,
            units: voucher.units,
            count: voucher.count,
            root: voucher.root,
            signature: voucher.signature,
            shown: bench.served.proven(id, SERVER, index, 4),
        }
    };
    let acknowledge = |bench: &mut Bench, shown: Acknowledged| {
        bench.on_case(STRANGER, dispute, 0, |db, _, case, badge, _, ctx| {
            dispute::show_acknowledged(db, case, badge, &shown, ctx)
        })
    };
    let (good, other) = (show(&bench, 2), show(&bench, 1));
    assert_eq!(abort(acknowledge(&mut bench, other)), Abort::BadRecord);
    let unsigned = Acknowledged { units: Units(1), ..good.clone() };
    assert_eq!(abort(acknowledge(&mut bench, unsigned)), Abort::BadSignature);
    let another_s = Acknowledged { node: NodeId(2), ..good.clone() };
    assert_eq!(abort(acknowledge(&mut bench, another_s)), Abort::BadSignature);
    let mut moved = good.clone();
    moved.shown.index = 1;
    assert_eq!(abort(acknowledge(&mut bench, moved)), Abort::BadProof);
    acknowledge(&mut bench, good).unwrap();
    assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 100_000);
    assert_eq!(bench.dispute_due(dispute, USER), 400_000);
    assert_eq!(bench.due(id, payout(SERVER)), 0, "it is paid for by its voucher");
}

/// A request that the node passed on was answered by another: the user signed for it there.
#[test]
fn an_answer_of_the_node_it_was_passed_on_to_counts() {
    let (mut bench, id, dispute) = opened();
    let other = NodeId(2);
    bench.served.append(id, other, record_of(bench.disputed(dispute).request_hash, 7));
    let (units, root) = bench.served.at(id, other, 1);
    let voucher = atoma_types::Voucher {
        db: bench.world.db.id,
        stack: id,
        node: other,
        units: Units(units),
        count: 1,
        root,
    };
    let signature = voucher.sign(&request_key()).signature.0.to_vec();
    let shown = bench.served.proven(id, other, 0, 1);
    let shown =
        Acknowledged { node: other, units: Units(units), count: 1, root: root.0.to_vec(), signature, shown };
    bench
        .on_case(STRANGER, dispute, 0, |db, _, case, badge, _, ctx| {
            dispute::show_acknowledged(db, case, badge, &shown, ctx)
        })
        .unwrap();
    assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 100_000);
}

#[test]
fn only_an_answer_to_this_request_counts() {
    let (mut bench, _, dispute) = opened();
    let good = record_of(bench.disputed(dispute).request_hash, 600_000);
    let spoilt = [
        (Record { request_hash: Hash32::ZERO, ..good.clone() }, Abort::BadRecord),
        (Record { count: 2, ..good.clone() }, Abort::BadRecord),
        (Record { total_units: Units(5), ..good.clone() }, Abort::BadRecord),
        (Record { status: Status::Failed, ..good.clone() }, Abort::BadRecord),
        (record_of(good.request_hash, MILLION + 1), Abort::OverClaimed),
    ];
    for (record, expected) in spoilt {
        assert_eq!(abort(bench.answer_with(dispute, &blob(), &record)), expected);
    }
    bench.badges.get_mut(&SERVER).unwrap().node = NodeId(2);
    assert_eq!(abort(bench.answer_with(dispute, &blob(), &good)), Abort::NotAuthorized);
}

/// A node that answered every request with an error would earn the fee for nothing: it refuses, and pays it.
#[test]
fn an_error_is_no_answer() {
    for level in [0, 2] {
        let mut bench = Bench::with_task(NewTask { level, exact: level == 2, ..new_task() });
        let id = bench.buy();
        let dispute = bench.dispute(id, 1, MILLION);
        let request_hash = bench.disputed(dispute).request_hash;
        for status in [Status::Failed, Status::Refused] {
            for units in [0, 10] {
                let error = Record { status, ..record_of(request_hash, units) };
                assert_eq!(abort(bench.answer_with(dispute, &blob(), &error)), Abort::BadRecord);
            }
        }
        bench.refuse(dispute, COIN).unwrap();
        assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 0);
    }
}

fn demand(bench: &mut Bench, dispute: Address) -> atoma_contract::Result<atoma_contract::TxContext> {
    let (badge, clock_ms) = (bench.badges[&SERVER].clone(), bench.clock_ms);
    bench.call(STRANGER, 0, |world, ctx| {
        dispute::demand_body(&world.db, world.disputes.get_mut(&dispute).unwrap(), &badge, clock_ms, ctx)
    })
}

fn post(
    bench: &mut Bench,
    sender: Address,
    dispute: Address,
    offset: u64,
    bytes: &[u8],
    is_last: bool,
) -> atoma_contract::Result<atoma_contract::TxContext> {
    let (part, clock_ms) = (Part { offset, bytes: bytes.to_vec(), is_last }, bench.clock_ms);
    bench.call(sender, 0, |world, ctx| {
        dispute::post_body(world.disputes.get_mut(&dispute).unwrap(), part, clock_ms, ctx)
    })
}

#[test]
fn a_body_is_demanded_of_a_dispute_of_this_database() {
    let (mut bench, _, dispute) = opened();
    bench.world.db.id = Address::TWO;
    assert_eq!(abort(demand(&mut bench, dispute)), Abort::WrongDb);
}

#[test]
fn an_opener_who_never_posts_the_body_loses_the_bond() {
    let (mut bench, id, dispute) = opened();
    demand(&mut bench, dispute).unwrap();
    bench.run_out_dispute(dispute);
    assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 500_000);
    assert_eq!(bench.node(SERVER).collateral.0, 1_000 * COIN);
    assert!(bench.stack(id).disputed.reserves.is_empty());
}

#[test]
fn a_posted_body_restarts_the_clock_once() {
    let (mut bench, _, dispute) = opened();
    assert_eq!(abort(post(&mut bench, USER, dispute, 0, BODY, true)), Abort::WrongState);
    bench.clock_ms += 5_000;
    demand(&mut bench, dispute).unwrap();
    assert_eq!(abort(demand(&mut bench, dispute)), Abort::WrongState);
    assert_eq!(abort(post(&mut bench, STRANGER, dispute, 0, BODY, true)), Abort::NotAuthorized);
    assert_eq!(abort(post(&mut bench, USER, dispute, 0, b"other", true)), Abort::BadBody);
    assert_eq!(abort(post(&mut bench, USER, dispute, 1, BODY, true)), Abort::BadArgument);
    // A wrong part is posted over.
    post(&mut bench, USER, dispute, 0, b"oops", false).unwrap();
    post(&mut bench, USER, dispute, 0, &BODY[..3], false).unwrap();
    post(&mut bench, USER, dispute, 3, &BODY[3..], true).unwrap();
    let row = bench.disputed(dispute);
    assert_eq!(row.state, DisputeState::Open);
    assert_eq!(row.deadline_ms, bench.clock_ms + bench.params().answer_window_ms);
    assert!(row.body_bytes.is_empty());
    assert_eq!(abort(demand(&mut bench, dispute)), Abort::AlreadyDone, "a body is demanded once");
    bench.run_out_dispute(dispute);
    assert_eq!(bench.node(SERVER).collateral.0, 900 * COIN);
}

#[test]
fn bodies_and_parts_are_bounded() {
    let (mut bench, _, dispute) = opened();
    demand(&mut bench, dispute).unwrap();
    assert_eq!(abort(post(&mut bench, USER, dispute, 0, &[0; 12_289], false)), Abort::BadArgument);
    for part in 0..8 {
        post(&mut bench, USER, dispute, part * 12_288, &[0; 12_288], false).unwrap();
    }
    assert_eq!(abort(post(&mut bench, USER, dispute, 98_304, &[0], false)), Abort::BadArgument);
    // Answering does not wait for the body.
    bench.answer(dispute, 10).unwrap();
    assert!(bench.disputed(dispute).body_bytes.is_empty());
}

/// After a halt the node has its grace.
#[test]
fn a_halted_chain_times_nobody_out() {
    let (mut bench, _, dispute) = opened();
    bench.clock_ms += 365 * 24 * 3_600_000;
    assert_eq!(abort(bench.expire_dispute(dispute)), Abort::NotLate);
    bench.mark_dispute_late(dispute).unwrap();
    assert_eq!(abort(bench.mark_dispute_late(dispute)), Abort::AlreadyDone);
    assert_eq!(abort(bench.expire_dispute(dispute)), Abort::NotLate);
    bench.answer(dispute, 10).unwrap();
    bench.clock_ms += bench.params().grace_ms;
    assert_eq!(abort(bench.expire_dispute(dispute)), Abort::WrongState);
}

/// The user cannot settle its grant away under an open dispute without paying the node for it.
#[test]
fn an_answer_is_paid_from_what_is_still_reserved() {
    let (mut bench, id, dispute) = opened();
    let voucher = bench.signed(id, 10 * MILLION - 400_000, 1, Hash32::of(b"x"));
    let clock_ms = bench.clock_ms;
    bench
        .call(STRANGER, 0, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            atoma_contract::stack::settle(&world.db, stack, voucher, clock_ms, ctx)
        })
        .unwrap();
    assert_eq!(bench.stack(id).disputed.reserves[0].units.0, 400_000);
    bench.answer(dispute, 600_000).unwrap();
    assert_eq!(bench.channel(id).disputed_units.0, 400_000);
}

#[test]
fn a_dispute_of_another_stack_is_refused() {
    let (mut bench, _, dispute) = opened();
    let other = bench.buy();
    let badge = bench.badges[&SERVER].clone();
    let result = bench.call(STRANGER, COIN, |world, ctx| {
        let World { db, stacks, disputes, .. } = world;
        let (stack, dispute) = (stacks.get_mut(&other).unwrap(), disputes.get_mut(&dispute).unwrap());
        dispute::answer_refused(db, &mut Case { stack, dispute }, &badge, coin(COIN), 0, ctx)
    });
    assert_eq!(abort(result), Abort::WrongDispute);
}

/// Level 2: the answer is a claim of one record in the dispute.
fn claimed() -> (Bench, Address, Target) {
    let mut bench = Bench::new();
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, MILLION);
    bench.answer(dispute, 600_000).unwrap();
    (bench, id, Target::Dispute(dispute))
}

#[test]
fn at_level_2_an_answer_pays_after_its_hold() {
    let (mut bench, id, target) = claimed();
    let dispute = target.id();
    assert_eq!(bench.disputed(dispute).state, DisputeState::Answered);
    assert_eq!((bench.due(id, payout(SERVER)), bench.channel(id).disputed_units.0), (0, 600_000));
    assert_eq!(bench.dispute_due(dispute, USER), 400_000);
    assert_eq!(bench.disputed(dispute).balance.0, 600_000 + 500_000);
    assert_eq!(abort(bench.release(target)), Abort::NoClaim);
    bench.hold(target);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    // The fee that would have paid the audit is the node's.
    assert_eq!(bench.dispute_due(dispute, payout(SERVER)), 540_000 + 100_000);
    assert_eq!(bench.dispute_due(dispute, CREATOR), 60_000);
    for to in [USER, CREATOR, payout(SERVER)] {
        bench.withdraw_dispute(to, dispute).unwrap();
    }
    assert!(!bench.world.disputes.contains_key(&dispute));
}

#[test]
fn at_level_2_an_answer_is_audited() {
    let (mut bench, _, target) = claimed();
    bench.open_audit(target);
    let verifier = bench.claim(target).audit.as_ref().unwrap().seats[0].verifier;
    bench.judge(target, |_| PASS);
    assert_eq!(bench.state(target), ClaimState::Held);
    // Twice the cost of its one record, as far as the claim has it.
    assert_eq!(bench.dispute_due(target.id(), payout(verifier)), 0);
    assert_eq!(bench.world.db.due_of(payout(verifier)).0, 700_000 - 30_000);
    bench.pass_hold(target);
    bench.release(target).unwrap();
}

#[test]
fn at_level_2_a_wrong_answer_convicts_and_returns_the_money() {
    let (mut bench, id, target) = claimed();
    bench.open_audit(target);
    bench.run_out(target);
    assert_eq!(bench.node(SERVER).convictions, 1);
    assert_eq!(bench.dispute_due(target.id(), USER), 400_000 + 600_000 + 100_000 - 30_000);
    assert_eq!(bench.disputed(target.id()).state, DisputeState::Ended);
    assert!(bench.channel(id).closed_ms == 0, "the channel's own end comes with its claims");
}

#[test]
fn at_level_2_an_answer_is_void_when_the_node_was_convicted() {
    let (mut bench, _, target) = claimed();
    bench.hold(target);
    bench.convict_server();
    bench.pass_hold(target);
    bench.release(target).unwrap();
    assert_eq!(bench.dispute_due(target.id(), USER), 400_000 + 600_000 + 100_000);
}

#[test]
fn at_level_2_the_opener_may_challenge_the_answer() {
    let (mut bench, _, target) = claimed();
    bench.hold(target);
    let shown = atoma_contract::audit::Proven {
        record: bench.answers[&target.id()].to_bytes(),
        index: 0,
        proof: Vec::new(),
    };
    // Twice the cost of 600 000 units, and the resolving fee.
    let bond = 1_200_000 + 30_000;
    assert_eq!(abort(bench.challenge(STRANGER, target, bond, shown.clone())), Abort::NotAuthorized);
    bench.challenge(USER, target, bond, shown).unwrap();
    bench.clock_ms += 1_000;
    bench.beat([5; 32]).unwrap();
    bench.resolve_audit(target).unwrap();
    bench.judge(target, |_| 1);
    bench.judge(target, |_| 1);
    assert_eq!(bench.node(SERVER).convictions, 1);
    assert_eq!(bench.disputed(target.id()).state, DisputeState::Ended);
}

/// Like a claim: a wrong answer to a larger one would pay.
#[test]
fn at_level_2_disputes_are_covered_by_the_collateral() {
    let mut bench = Bench::new();
    let id = bench.buy_units(1_000 * MILLION);
    let over = bench.request(id, 1, 501 * MILLION);
    assert_eq!(bench.try_dispute(id, over), Err(Abort::ClaimTooLarge));
    bench.dispute(id, 1, 500 * MILLION);
}

#[test]
fn at_level_2_answers_have_units() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, MILLION);
    assert_eq!(abort(bench.answer(dispute, 0)), Abort::BadRecord);
}
