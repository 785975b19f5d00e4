//! What an earlier market of this kind got wrong, a test for each. `docs/contract.md` section 6 lists them.

use crate::bench::*;
use crate::disputes::*;
use crate::served::record_of;
use atoma_contract::node;
use atoma_contract::node::Registration;
use atoma_types::onchain::{Abort, Blob, ClaimState, DisputeState, SeatState};
use atoma_types::{Address, Amount, Hash32, NodeId, Price, SecretKey, Units};

/// The node declared its own units, and the user signed nothing.
#[test]
fn a_node_cannot_declare_its_own_units() {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[MILLION]);
    let signed = bench.voucher(id, 1);
    for units in [MILLION + 1, 2 * MILLION, 10 * MILLION] {
        let declared = atoma_contract::stack::Settlement { units: Units(units), ..signed.clone() };
        assert_eq!(abort(bench.settle_as(operator(SERVER), id, declared)), Abort::BadSignature);
    }
}

/// The user could not get anything back, ever.
#[test]
fn the_user_takes_back_what_was_not_used_by_time_alone() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let bought = bench.stack(id).balance.0;
    bench.clock_ms = bench.stack(id).expires_ms + bench.params().stack_life_ms;
    let refunded = bench.refund(USER, id).unwrap();
    assert_eq!(coins(&refunded), bought);
}

/// A dispute froze the stack for good, any badge could open one, and nothing resolved it.
#[test]
fn a_dispute_neither_freezes_the_stack_nor_stays_open() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { level: 0, exact: false, ..new_task() });
    let id = bench.buy();
    let foreign = bench.request(id, 1, MILLION);
    assert_eq!(abort(bench.open_with(operator(NodeId(2)), id, &blob(), foreign)), Abort::NotAuthorized);
    let dispute = bench.dispute(id, 1, MILLION);
    let before = bench.stack(id).balance.0;
    bench.request_close(id);
    bench.clock_ms += bench.params().close_delay_ms + 1;
    // All but what the dispute may still cost comes back while it is open.
    let refunded = coins(&bench.refund(USER, id).unwrap());
    assert!(refunded > 0 && refunded < before, "{refunded} of {before}");
    // Nobody has to cooperate for the end.
    bench.run_out_dispute(dispute);
    assert_eq!(bench.disputed(dispute).state, DisputeState::Ended);
    assert_eq!(bench.world.stacks.get(&id).map_or(0, |stack| stack.disputed.open), 0);
    let rest = coins(&bench.refund(USER, id).unwrap());
    assert_eq!(refunded + rest, before);
}

/// Collateral was off, so that every slash was of zero, and reputation never changed.
#[test]
fn every_node_has_collateral_and_faults_cost_it() {
    let mut bench = Bench::new();
    let minimum = bench.params().min_collateral.0 + bench.params().registration_fee.0;
    let registration = Registration {
        payout: USER,
        endpoint: "http://127.0.0.1:1".into(),
        receipt_key: SecretKey::from_seed([1; 32]).public_key().0.to_vec(),
    };
    let cheap = bench.call(USER, minimum - 1, |world, ctx| {
        node::register(&mut world.db, &mut world.treasury, coin(minimum - 1), registration, ctx)
    });
    assert_eq!(abort(cheap), Abort::Collateral);
    let before = bench.node(SERVER).clone();
    bench.convict_server();
    let after = bench.node(SERVER);
    assert!(before.collateral.0 > 0 && before.reputation > 0);
    assert_eq!((after.collateral.0, after.reputation), (0, 0));
    let slashed = bench.world.db.to_burn.0 + bench.world.db.to_treasury.0 + bench.world.db.due_of(USER).0;
    assert_eq!(slashed, before.collateral.0);
}

/// The user paid the cap on the price and not the node's price.
#[test]
fn the_user_pays_the_nodes_price() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { level: 0, exact: false, ..new_task() });
    let id = bench.buy();
    let bought = bench.stack(id).balance.0;
    assert_eq!((bench.stack(id).max_price, bench.channel(id).price), (Price(2 * COIN), Price(COIN)));
    bench.serve(id, &[MILLION]);
    let (voucher, clock_ms) = (bench.voucher(id, 1), bench.clock_ms);
    bench
        .call(operator(SERVER), 0, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            atoma_contract::stack::settle(&world.db, stack, voucher, clock_ms, ctx)
        })
        .unwrap();
    assert_eq!(bench.channel(id).paid.0, COIN);
    bench.request_close(id);
    bench.clock_ms += bench.params().close_delay_ms + 1;
    let surcharge = bench.stack(id).treasury_due.0;
    assert_eq!(coins(&bench.refund(USER, id).unwrap()), bought - COIN - surcharge);
}

/// Verifiers were drawn with replacement, the executing node among them, and could attest twice.
#[test]
fn verifiers_are_distinct_others_and_judge_once() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    bench.judge(target, |_| atoma_contract::audit::FAIL);
    let jury = bench.seats(target, SeatState::Seated);
    let mut distinct = jury.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((jury.len(), distinct.len()), (7, 7));
    assert!(!jury.contains(&SERVER));
    bench.reveal_all(target);
    let opened = bench.verdict(target, jury[0], atoma_contract::audit::PASS);
    let hash = bench.commitment(target, jury[0], &opened);
    bench.commit(target, jury[0], hash.clone()).unwrap();
    assert_eq!(abort(bench.commit(target, jury[0], hash)), Abort::AlreadyCommitted);
}

/// One node that had unsubscribed could make every settlement abort.
#[test]
fn nodes_that_left_stop_no_settlement() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    for node in 2..=8 {
        crate::claiming::leave(&mut bench, NodeId(node));
        let (badge, clock_ms) = (bench.badges[&NodeId(node)].clone(), bench.clock_ms);
        bench
            .call(operator(NodeId(node)), 0, |world, ctx| node::disable(&mut world.db, &badge, clock_ms, ctx))
            .unwrap();
    }
    bench.open_audit(target);
    bench.judge(target, |_| atoma_contract::audit::PASS);
    assert_eq!(bench.state(target), ClaimState::Held);
}

/// The branch that was audited cost more gas: with a tight budget one retried until it was not.
#[test]
fn retrying_until_one_is_not_audited_is_impossible() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    // Who settles cannot know: the round that decides comes later, and is drawn by whoever beats.
    assert_eq!(bench.claim(target).round, bench.world.beacon.round + 1);
    assert_eq!(abort(bench.resolve_pay(target)), Abort::NoSeed);
    bench.draw(target, true);
    let claim = bench.claim(target).clone();
    // What the seed says stands: neither another beat nor another attempt draws again.
    bench.clock_ms += 1_000;
    bench.beat([7; 32]).unwrap();
    for _ in 0..3 {
        assert_eq!(abort(bench.resolve_pay(target)), Abort::Drawn);
    }
    assert_eq!(bench.claim(target), &claim);
    bench.clock_ms += bench.params().stack_life_ms;
    assert_eq!(abort(bench.release(target)), Abort::NoClaim);
    bench.resolve_audit(target).unwrap();
}

/// Audits were paid from a common treasury that nothing filled.
#[test]
fn every_stack_pays_its_own_audits() {
    let mut bench = Bench::new();
    let id = bench.buy();
    let before = (bench.stack(id).balance.0, bench.world.treasury.balance.0);
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    bench.judge(target, |_| atoma_contract::audit::PASS);
    assert_eq!(bench.world.treasury.balance.0, before.1);
    let spent = bench.claim(target).spent.0;
    assert!(spent > 0 && spent <= bench.claim(target).amount.0 + bench.claim(target).surcharge.0);
    assert!(bench.stack(id).surcharge.escrowed.0 > 0);
}

/// Units times price times a share left 64 bits.
#[test]
fn products_leave_no_64_bits_unnoticed() {
    assert_eq!(Price(1_000_000).cost(Units(u64::MAX)).unwrap(), Amount(u64::MAX));
    assert!(Price(1_000_001).cost(Units(u64::MAX)).is_err());
    assert_eq!(Amount(u64::MAX).share(1_000).unwrap(), Amount(u64::MAX));
    assert!(Amount(u64::MAX).share(1_001).is_err());
}

/// A request's signature covered the body only: it could be sent again, elsewhere, later.
#[test]
fn a_signed_request_is_for_one_node_stack_and_time() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { level: 0, exact: false, ..new_task() });
    let (id, other) = (bench.buy(), bench.buy());
    let signed = bench.request(id, 1, 1_000);
    assert_eq!(bench.try_dispute(other, signed.clone()), Err(Abort::BadSignature));
    let late = atoma_contract::dispute::Request { expires_ms: signed.expires_ms + 1, ..signed.clone() };
    assert_eq!(bench.try_dispute(id, late), Err(Abort::BadSignature));
    let next = atoma_contract::dispute::Request { nonce: 2, ..signed.clone() };
    assert_eq!(bench.try_dispute(id, next), Err(Abort::BadSignature));
    let of_another = atoma_contract::dispute::Request { node: NodeId(2), ..signed.clone() };
    let elsewhere = atoma_contract::dispute::Request { node: SERVER, ..bench.sign(id, of_another) };
    assert_eq!(bench.try_dispute(id, elsewhere), Err(Abort::BadSignature));
    bench.try_dispute(id, signed.clone()).unwrap();
    assert_eq!(bench.try_dispute(id, signed), Err(Abort::AlreadyDisputed));
}

/// An answer was checked against a key that the answer itself carried.
#[test]
fn an_answer_is_for_its_request_and_from_the_node_on_chain() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { level: 0, exact: false, ..new_task() });
    let id = bench.buy();
    let dispute = bench.dispute(id, 1, MILLION);
    let foreign = record_of(Hash32::of(b"another request"), 10);
    assert_eq!(abort(bench.answer_with(dispute, &blob(), &foreign)), Abort::BadRecord);
    let honest = record_of(bench.disputed(dispute).request_hash, 10);
    bench.badges.get_mut(&SERVER).unwrap().node = NodeId(2);
    assert_eq!(abort(bench.answer_with(dispute, &blob(), &honest)), Abort::NotAuthorized);
}

/// What was asked and answered was nowhere to be fetched.
#[test]
fn requests_and_answers_are_certified_on_walrus() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { level: 0, exact: false, ..new_task() });
    let id = bench.buy();
    let uncertified = Blob { certified_epoch: None, ..blob() };
    let request = bench.request(id, 1, MILLION);
    assert_eq!(abort(bench.open_with(USER, id, &uncertified, request.clone())), Abort::BadBlob);
    let dispute = bench.try_dispute(id, request).unwrap();
    assert_eq!(bench.disputed(dispute).blob_object, Address::new([0xb0; 32]));
    let record = record_of(bench.disputed(dispute).request_hash, 10);
    assert_eq!(abort(bench.answer_with(dispute, &uncertified, &record)), Abort::BadBlob);
}
