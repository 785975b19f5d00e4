//! Closing, refunding, withdrawing, sweeping.

use crate::harness::*;
use atoma_contract::stack::Purchase;
use atoma_contract::views;
use atoma_types::onchain::{Abort, Event};
use atoma_types::{Address, Amount, Price, Units};

/// A million units at 2 coins per million, 5 ‰ surcharge, one opening fee.
const ESCROW: u64 = 2_040_000;

#[test]
fn only_the_owner_closes_and_once() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    assert_eq!(abort(market.request_close(STRANGER, id)), Abort::NotAuthorized);
    market.request_close(USER, id).unwrap();
    assert_eq!(abort(market.request_close(USER, id)), Abort::AlreadyClosing);
    let expired = market.buy(purchase(SINGLE));
    market.clock_ms = market.stack(expired).expires_ms;
    assert_eq!(abort(market.request_close(USER, expired)), Abort::StackEnded);
    market.world.stacks.get_mut(&expired).unwrap().version = 2;
    assert_eq!(abort(market.request_close(USER, expired)), Abort::Version);
}

#[test]
fn a_close_at_time_zero_counts() {
    let mut market = Market::with_nodes(&[COIN]);
    market.clock_ms = 0;
    let id = market.buy(purchase(SINGLE));
    market.request_close(USER, id).unwrap();
    assert_eq!(abort(market.request_close(USER, id)), Abort::AlreadyClosing);
}

#[test]
fn an_untouched_stack_is_refunded_whole_after_expiry() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.clock_ms = market.stack(id).expires_ms + 20_000;
    assert_eq!(abort(market.refund(USER, id)), Abort::TooEarly);
    market.clock_ms += 1;
    let ctx = market.refund(USER, id).unwrap();
    assert_eq!(coins(&ctx), ESCROW);
    assert_eq!(ctx.deleted, [id]);
    assert!(market.world.stacks.is_empty());
}

#[test]
fn a_used_stack_pays_everybody_and_is_deleted_by_the_last() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 500_000, 1)).unwrap();
    market.request_close(USER, id).unwrap();
    market.pass_window(id);
    // Half the units at the node's price, which is half the highest; half the surcharge.
    let refunded = market.refund(USER, id).unwrap();
    assert_eq!(coins(&refunded), ESCROW - 500_000 - 5_000);
    assert!(refunded.deleted.is_empty());
    assert_eq!(coins(&market.withdraw(payout(1), id).unwrap()), 450_000);
    assert_eq!(abort(market.withdraw(payout(1), id)), Abort::NothingDue);
    assert_eq!(coins(&market.withdraw(CREATOR, id).unwrap()), 50_000);
    let last = market.sweep(id).unwrap();
    assert_eq!(last.deleted, [id]);
    assert_eq!(views::treasury(&market.world.treasury), Amount(COIN + 5_000));
}

#[test]
fn a_strangers_refund_is_credited_to_the_owner() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.pass_window(id);
    let ctx = market.refund(STRANGER, id).unwrap();
    assert_eq!(coins(&ctx), 0);
    assert_eq!(abort(market.withdraw(STRANGER, id)), Abort::NothingDue);
    assert_eq!(coins(&market.withdraw(USER, id).unwrap()), ESCROW);
    assert!(market.world.stacks.is_empty());
}

#[test]
fn refunding_again_changes_nothing() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    market.pass_window(id);
    market.refund(STRANGER, id).unwrap();
    let before = market.world.clone();
    for sender in [STRANGER, USER, payout(1)] {
        assert!(market.refund(sender, id).unwrap().events.is_empty());
    }
    assert_eq!(before, market.world);
}

#[test]
fn nothing_is_withdrawn_or_swept_twice_or_early() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    assert_eq!(abort(market.withdraw(USER, id)), Abort::NothingDue);
    assert_eq!(abort(market.sweep(id)), Abort::NothingDue);
    market.settle(id, market.voucher(id, 1, 500_000, 1)).unwrap();
    market.sweep(id).unwrap();
    assert_eq!(abort(market.sweep(id)), Abort::NothingDue);
    market.withdraw(payout(1), id).unwrap();
    market.settle(id, market.voucher(id, 1, 1_000_000, 2)).unwrap();
    assert_eq!(coins(&market.withdraw(payout(1), id).unwrap()), 450_000);
    market.world.treasury.db = Address::TWO;
    assert_eq!(abort(market.sweep(id)), Abort::WrongDb);
}

#[test]
fn the_ways_out_work_at_any_version() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    market.pass_window(id);
    market.world.db.version = 2;
    market.world.stacks.get_mut(&id).unwrap().version = 2;
    market.refund(USER, id).unwrap();
    market.withdraw(payout(1), id).unwrap();
    market.withdraw(CREATOR, id).unwrap();
    assert!(market.world.stacks.is_empty());
}

#[test]
fn a_stack_that_cost_nothing_is_deleted_by_refund() {
    let mut market = Market::with_nodes(&[0]);
    let free = Purchase { units: Units(10), max_price: Price(0), max_opens: 0, ..purchase(SINGLE) };
    let id = market.buy(free);
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    assert_eq!(abort(market.withdraw(USER, id)), Abort::NothingDue);
    market.pass_window(id);
    let ctx = market.refund(STRANGER, id).unwrap();
    assert!(matches!(ctx.events.as_slice(), [Event::StackDeleted(_)]));
}

/// At the node's price, not at the cap: what the cap escrowed beyond it comes back.
#[test]
fn the_difference_to_the_highest_price_comes_back() {
    let mut market = Market::with_nodes(&[COIN / 2]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 1_000_000, 1)).unwrap();
    market.pass_window(id);
    assert_eq!(coins(&market.refund(USER, id).unwrap()), 1_500_000 + 30_000);
}

/// A node that withdraws its opening fee from a free stack must not delete it under the user.
#[test]
fn an_empty_stack_lives_until_its_window_is_over() {
    let mut market = Market::with_nodes(&[0]);
    let free = Purchase { units: Units(10), max_price: Price(0), ..purchase(ANY) };
    let id = market.buy(free);
    market.open(operator(1), id, market.grant(id, 1, 10, 1)).unwrap();
    market.withdraw(payout(1), id).unwrap();
    assert_eq!(market.stack(id).balance, Amount::ZERO);
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    market.pass_window(id);
    market.refund(STRANGER, id).unwrap();
    assert!(market.world.stacks.is_empty());
}
