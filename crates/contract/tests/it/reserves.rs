//! What disputes and claims keep of a stack. The objects are made by hand: who makes them on chain is another matter.

use crate::harness::*;
use atoma_contract::stack::{self, Settlement};
use atoma_contract::{Result, TxContext};
use atoma_types::onchain::{Abort, Claim, ClaimState, Event, Queued, Reserve, Stack};
use atoma_types::{Address, Amount, Hash32, NodeId, Units};
use sui_sdk_types::Digest;

/// A stack of a million units at one coin per million, all granted, with reserves of these units for the node.
fn reserved(units: &[u64]) -> (Market, Stack) {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let mut stack = market.stack(id).clone();
    for (n, units) in (1..).zip(units) {
        let dispute = Address::new([n; 32]);
        stack.disputed.reserves.push(Reserve { dispute, node: NodeId(1), units: Units(*units) });
        stack.disputed.open += 1;
    }
    (market, stack)
}

fn settle(market: &Market, stack: &mut Stack, settlement: Settlement) -> Result<TxContext> {
    let mut ctx = TxContext::new(STRANGER, 0, Digest::ZERO, 0);
    stack::settle(&market.world.db, stack, settlement, market.clock_ms, &mut ctx)?;
    Ok(ctx)
}

fn left(stack: &Stack) -> Vec<u64> {
    stack.disputed.reserves.iter().map(|reserve| reserve.units.0).collect()
}

/// A user must not dispute a node out of what it signed for.
#[test]
fn a_voucher_pushes_the_newest_reserves_aside() {
    let (market, mut stack) = reserved(&[100_000, 200_000, 300_000]);
    let id = stack.id;
    settle(&market, &mut stack, market.voucher(id, 1, 400_000, 1)).unwrap();
    assert_eq!(left(&stack), [100_000, 200_000, 300_000]);
    let ctx = settle(&market, &mut stack, market.voucher(id, 1, 400_001, 2)).unwrap();
    assert_eq!(left(&stack), [100_000, 200_000, 299_999]);
    assert!(matches!(&ctx.events[1], Event::ReserveChanged(event) if event.units == Units(299_999)));
    let ctx = settle(&market, &mut stack, market.voucher(id, 1, 850_000, 3)).unwrap();
    assert_eq!((left(&stack), ctx.events.len()), (vec![100_000, 50_000, 0], 3));
    settle(&market, &mut stack, market.voucher(id, 1, 1_000_000, 4)).unwrap();
    assert_eq!(left(&stack), [0, 0, 0]);
}

#[test]
fn answered_disputes_are_not_pushed_aside() {
    let (market, mut stack) = reserved(&[100_000]);
    let id = stack.id;
    stack.channels[0].disputed_units = Units(200_000);
    let before = stack.clone();
    assert_eq!(abort(settle(&market, &mut stack, market.voucher(id, 1, 800_001, 1))), Abort::OverClaimed);
    assert_eq!(abort(settle(&market, &mut stack, market.voucher(id, 1, u64::MAX, 1))), Abort::Arithmetic);
    assert_eq!(before, stack);
    settle(&market, &mut stack, market.voucher(id, 1, 800_000, 1)).unwrap();
    assert_eq!(left(&stack), [0]);
}

#[test]
fn what_is_used_or_reserved_is_not_free() {
    let (_, mut stack) = reserved(&[100_000, 5]);
    let free = |stack: &Stack| stack::free(stack, &stack.channels[0]).unwrap().0;
    assert_eq!(free(&stack), 899_995);
    stack.channels[0].disputed_units = Units(10);
    stack.channels[0].settled_units = Units(1_000);
    assert_eq!(free(&stack), 898_985);
    stack.channels[0].claim = Some(claim(1_000, 3_000));
    assert_eq!(free(&stack), 896_985);
    stack.channels[0].queued = Some(Queued { units: Units(4_000), count: 3, root: Hash32::ZERO });
    assert_eq!(free(&stack), 895_985);
    stack.channels[0].granted = Units(0);
    assert_eq!(free(&stack), 0);
}

fn claim(from: u64, to: u64) -> Claim {
    Claim {
        from_units: Units(from),
        to_units: Units(to),
        count: 2,
        root: Hash32::ZERO,
        amount: Amount(to - from),
        surcharge: Amount(7),
        spent: Amount(3),
        p_ppb: 0,
        round: 1,
        convictions: 0,
        made_ms: 0,
        sizes: Vec::new(),
        state: ClaimState::Waiting,
        resolved_ms: 0,
        challenged: false,
        bond: Amount(500),
        audit: None,
    }
}

/// After the window the owner gets back what claims and disputes do not keep, and the rest as they end.
#[test]
fn refunds_leave_what_may_still_become_due() {
    let (mut market, mut stack) = reserved(&[100_000]);
    stack.level = 2;
    stack.claimed_units = Units(500_000);
    stack.surcharge.used = Amount(5_000);
    stack.channels[0].claim = Some(claim(0, 500_000));
    stack.channels[0].queued = Some(Queued { units: Units(700_000), count: 3, root: Hash32::ZERO });
    // The claim, its bond and surcharge less what was spent; the queue and its share of 10,000; the reserve and one.
    let kept = (500_000 + 7 + 500 - 3) + (200_000 + 2_000) + (100_000 + 1);
    assert_eq!(stack::committed(&stack), Ok(Amount(kept)));
    market.clock_ms = stack.settle_until_ms() + 1;
    let refund = |stack: &mut Stack| {
        let mut ctx = TxContext::new(USER, 0, Digest::ZERO, 0);
        stack::refund(stack, market.clock_ms, &mut ctx).unwrap();
        coins(&ctx)
    };
    assert_eq!(refund(&mut stack), 2_040_000 - kept);
    assert_eq!(refund(&mut stack), 0);
    // The dispute ends: its units are free again.
    stack.disputed.reserves.clear();
    assert_eq!(refund(&mut stack), 100_001);
    stack.channels[0].queued = None;
    assert_eq!(refund(&mut stack), 202_000);
    assert_eq!(stack.balance, Amount(500_504));
}

/// Reserves are counted with one base unit to spare each, which may be more than there is.
#[test]
fn a_refund_never_fails_for_a_rounding() {
    let (mut market, mut stack) = reserved(&[500_000, 300_000, 200_000]);
    stack.balance = Amount(1_000_000);
    market.clock_ms = stack.settle_until_ms() + 1;
    let mut ctx = TxContext::new(USER, 0, Digest::ZERO, 0);
    stack::refund(&mut stack, market.clock_ms, &mut ctx).unwrap();
    assert!(ctx.transfers.is_empty());
}

#[test]
fn a_stack_with_open_disputes_or_claims_is_not_deleted() {
    let (mut market, stack) = reserved(&[0]);
    market.clock_ms = stack.settle_until_ms() + 1;
    let refund = |stack: &Stack| {
        let (mut stack, mut ctx) = (stack.clone(), TxContext::new(USER, 0, Digest::ZERO, 0));
        stack.balance = Amount::ZERO;
        stack::refund(&mut stack, market.clock_ms, &mut ctx).unwrap();
        ctx.deleted.len()
    };
    assert_eq!(refund(&stack), 0);
    let mut ended = stack.clone();
    ended.disputed.reserves.clear();
    assert_eq!(refund(&ended), 0, "it is still open");
    ended.disputed.open = 0;
    assert_eq!(refund(&ended), 1);
    ended.channels[0].claim =
        Some(Claim { amount: Amount::ZERO, bond: Amount(0), surcharge: Amount(3), ..claim(0, 0) });
    assert_eq!(refund(&ended), 0);
}

#[test]
fn a_channel_with_reserves_is_not_reclaimed() {
    let (mut market, mut stack) = reserved(&[5]);
    stack.channels[0].closed_ms = 1;
    market.clock_ms += 1_000_000;
    let reclaim = |stack: &mut Stack| {
        let mut ctx = TxContext::new(STRANGER, 0, Digest::ZERO, 0);
        stack::reclaim(&market.world.db, stack, NodeId(1), market.clock_ms, &mut ctx)
    };
    assert_eq!(reclaim(&mut stack), Err(Abort::UnitsReserved));
    stack.disputed.reserves.clear();
    stack.channels[0].disputed_units = Units(5);
    stack.channels[0].claim = Some(claim(0, 10));
    reclaim(&mut stack).unwrap();
    assert_eq!(stack.channels[0].granted, Units(15));
}
