//! Opening channels and settling vouchers.

use crate::harness::*;
use atoma_contract::offer::Offer;
use atoma_contract::stack::{Opening, Purchase, Settlement, due_of};
use atoma_contract::task::NewTask;
use atoma_contract::{NodeBadge, Result, TxContext, params, slash};
use atoma_types::message::Message;
use atoma_types::onchain::Abort;
use atoma_types::{Address, Amount, Grant, NodeId, Price, SecretKey, TaskId, Units, Voucher};

fn due(market: &Market, id: Address, to: Address) -> u64 {
    due_of(market.stack(id), to).0
}

#[test]
fn the_owner_opens_without_signature_or_fee() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    let opening = Opening { signature: Vec::new(), ..market.grant(id, 2, 400_000, 1) };
    market.open(USER, id, opening).unwrap();
    assert_eq!(market.stack(id).opens_left, 1);
    assert_eq!(market.stack(id).granted_units, Units(400_000));
    assert!(market.stack(id).dues.is_empty());
}

#[test]
fn a_node_opens_with_the_grant_and_earns_prepaid_fees() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    market.open(operator(1), id, market.grant(id, 1, 100, 1)).unwrap();
    assert_eq!(due(&market, id, payout(1)), 30_000);
    market.open(operator(1), id, market.grant(id, 1, 200, 2)).unwrap();
    assert_eq!(due(&market, id, payout(1)), 30_000, "one opening was prepaid");
    assert_eq!(market.stack(id).opens_left, 0);
}

#[test]
fn a_grant_is_for_one_node_one_stack_and_its_terms() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let (id, other) = (market.buy(purchase(ANY)), market.buy(purchase(ANY)));
    let good = market.grant(id, 1, 100, 1);
    let mut flipped = good.signature.clone();
    flipped[40] ^= 1;
    let forged = [
        Opening { units: Units(101), ..good.clone() },
        Opening { max_price: Price(COIN), ..good.clone() },
        Opening { nonce: 2, ..good.clone() },
        Opening { signature: flipped, ..good.clone() },
        Opening { signature: Vec::new(), ..good.clone() },
        Opening { signature: vec![0; 65], ..good.clone() },
        market.grant(other, 1, 100, 1),
        Opening { signature: market.grant(id, 2, 100, 1).signature, ..good.clone() },
    ];
    for opening in forged {
        assert_eq!(abort(market.open(operator(1), id, opening)), Abort::BadSignature);
    }
    assert_eq!(abort(market.open(operator(2), id, good.clone())), Abort::NotAuthorized);
    assert_eq!(abort(market.open(STRANGER, id, good.clone())), Abort::NotAuthorized);
    let unknown = Opening { node: NodeId(3), ..good.clone() };
    assert_eq!(abort(market.open(USER, id, unknown)), Abort::UnknownNode);
    market.open(operator(1), id, good).unwrap();
}

#[test]
fn a_grant_of_another_database_does_not_open() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    let grant = Grant {
        db: Address::TWO,
        stack: id,
        node: NodeId(1),
        units: Units(100),
        max_price: Price(2 * COIN),
        nonce: 1,
    };
    let signature = grant.sign(&request_key()).signature.0.to_vec();
    let opening = Opening { signature, ..market.grant(id, 1, 100, 1) };
    assert_eq!(abort(market.open(operator(1), id, opening)), Abort::BadSignature);
}

#[test]
fn nonces_rise_and_grants_grow() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    market.open(USER, id, market.grant(id, 1, 100, 5)).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 200, 5))), Abort::StaleGrant);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 200, 4))), Abort::StaleGrant);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 99, 6))), Abort::BadArgument);
    market.open(USER, id, market.grant(id, 1, 100, 6)).unwrap();
    market.open(USER, id, market.grant(id, 1, 200, 7)).unwrap();
    assert_eq!(market.stack(id).granted_units, Units(200));
}

#[test]
fn grants_stay_within_the_stack() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    market.open(USER, id, market.grant(id, 1, 600_000, 1)).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 2, 400_001, 1))), Abort::OverGranted);
    market.open(USER, id, market.grant(id, 2, 400_000, 1)).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 600_001, 2))), Abort::OverGranted);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, u64::MAX, 2))), Abort::NotEligible);
    let empty = market.buy(purchase(ANY));
    assert_eq!(abort(market.open(USER, empty, market.grant(empty, 1, 0, 1))), Abort::BadArgument);
}

#[test]
fn only_eligible_nodes_are_opened() {
    let mut market = Market::with_nodes(&[COIN, COIN, COIN, 2 * COIN]);
    market.register(9, Amount(1_001 * COIN)).unwrap();
    let any = market.buy(Purchase { max_price: Price(COIN), ..purchase(ANY) });
    assert_eq!(abort(market.open(USER, any, market.grant(any, 5, 1, 1))), Abort::NotSubscribed);
    assert_eq!(abort(market.open(USER, any, market.grant(any, 4, 1, 1))), Abort::PriceTooHigh);
    let capped = Opening { max_price: Price(COIN - 1), ..market.grant(any, 1, 1, 1) };
    assert_eq!(abort(market.open(USER, any, capped)), Abort::PriceTooHigh);
    market.disable(NodeId(1)).unwrap();
    assert_eq!(abort(market.open(USER, any, market.grant(any, 1, 1, 1))), Abort::NodeDisabled);
    let drawn = market.buy(Purchase { nodes: 1, max_price: Price(COIN), ..purchase(LIMITED) });
    let other = (1..=4).find(|n| *n > 1 && !market.stack(drawn).drawn.contains(&NodeId(*n))).unwrap();
    assert_eq!(abort(market.open(USER, drawn, market.grant(drawn, other, 1, 1))), Abort::NotEligible);
    let chosen = market.stack(drawn).drawn[0].0;
    market.open(USER, drawn, market.grant(drawn, chosen, 1_000_000, 1)).unwrap();
}

#[test]
fn a_node_takes_no_more_than_it_offered() {
    let mut market = Market::with_nodes(&[COIN]);
    market.register(2, Amount(1_001 * COIN)).unwrap();
    market.subscribe(NodeId(2), COIN, 500).unwrap();
    let id = market.buy(purchase(ANY));
    assert_eq!(abort(market.open(USER, id, market.grant(id, 2, 501, 1))), Abort::NotEligible);
    market.open(USER, id, market.grant(id, 2, 500, 1)).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 2, 501, 2))), Abort::NotEligible);
}

#[test]
fn minima_are_checked_again_when_opening() {
    let mut market = Market::with_nodes(&[COIN]);
    market.create_task(NewTask { min_reputation: 51, ..new_task() }).unwrap();
    market.epoch = 1;
    let offer = Offer { task: TaskId(2), ..new_offer() };
    market.subscribe_to(NodeId(1), offer).unwrap();
    let id = market.buy(Purchase { task: TaskId(2), ..purchase(ANY) });
    let fault = |world: &mut World, ctx: &mut TxContext| {
        slash::timeout(&mut world.db, NodeId(1), &params::devnet(), Amount(1), USER, 1, ctx).map(drop)
    };
    market.call(STRANGER, Amount::ZERO, fault).unwrap();
    market.add_collateral(NodeId(1), 100 * COIN).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEligible);
    market.epoch = 11;
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
}

#[test]
fn a_disabled_nodes_grant_ends_but_its_vouchers_settle() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    market.open(USER, id, market.grant(id, 1, 100, 1)).unwrap();
    market.disable(NodeId(1)).unwrap();
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 200, 2))), Abort::NodeDisabled);
    market.settle(id, market.voucher(id, 1, 100, 1)).unwrap();
}

#[test]
fn a_stack_has_at_most_64_channels() {
    let mut market = Market::with_nodes(&[COIN; 65]);
    let id = market.buy(purchase(ANY));
    for node in 1..=64 {
        market.open(USER, id, market.grant(id, node, 1, 1)).unwrap();
    }
    assert_eq!(abort(market.open(USER, id, market.grant(id, 65, 1, 1))), Abort::TooManyChannels);
    market.open(USER, id, market.grant(id, 64, 2, 2)).unwrap();
}

#[test]
fn openings_stop_at_close_and_at_expiry() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    market.clock_ms = market.stack(id).expires_ms - 1;
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
    market.clock_ms += 1;
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 2, 2))), Abort::StackEnded);
    let closing = market.buy(purchase(ANY));
    market.request_close(USER, closing).unwrap();
    assert_eq!(abort(market.open(USER, closing, market.grant(closing, 1, 2, 2))), Abort::StackEnded);
}

#[test]
fn settling_pays_the_nodes_price_and_shares() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 500_001, 3)).unwrap();
    // 500,001 units at one coin per million; 100 ‰ of it to the creator; half of 10,000 to the treasury.
    assert_eq!(due(&market, id, CREATOR), 50_000);
    assert_eq!(due(&market, id, payout(1)), 450_001);
    assert_eq!(market.stack(id).treasury_due, Amount(5_000));
    assert_eq!(market.stack(id).channels[0].paid, Amount(500_001));
}

#[test]
fn a_stale_voucher_changes_nothing_at_any_time() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 100, 3)).unwrap();
    let before = market.world.clone();
    let forged = Settlement { signature: Vec::new(), ..market.voucher(id, 1, 100, 3) };
    for stale in [market.voucher(id, 1, 100, 3), market.voucher(id, 1, 90, 2), forged] {
        assert!(market.settle(id, stale).unwrap().events.is_empty());
    }
    market.pass_window(id);
    assert!(market.settle(id, market.voucher(id, 1, 100, 3)).unwrap().events.is_empty());
    assert_eq!(before, market.world);
}

#[test]
fn vouchers_go_forward_within_the_grant() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 100, 3)).unwrap();
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 99, 4))), Abort::VoucherBackwards);
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 1_000_001, 4))), Abort::OverClaimed);
    market.settle(id, market.voucher(id, 1, 100, 4)).unwrap();
    market.settle(id, market.voucher(id, 1, 1_000_000, u64::MAX)).unwrap();
    assert_eq!(market.stack(id).settled_units, Units(1_000_000));
    assert_eq!(market.stack(id).surcharge.used, market.stack(id).surcharge.escrowed);
}

/// The user settles a voucher with a huge count and few units before the node settles its own.
#[test]
fn a_huge_count_does_not_void_the_nodes_voucher() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 10, u64::MAX)).unwrap();
    market.settle(id, market.voucher(id, 1, 900, 7)).unwrap();
    assert_eq!(market.stack(id).settled_units, Units(900));
    assert_eq!(market.stack(id).channels[0].settled_count, u64::MAX);
    let forged = Settlement { signature: Vec::new(), ..market.voucher(id, 1, 901, 7) };
    assert_eq!(abort(market.settle(id, forged)), Abort::BadSignature);
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 1_000_001, 7))), Abort::OverClaimed);
}

#[test]
fn a_voucher_is_for_one_channel_of_one_stack() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let (id, other) = (market.buy(purchase(ANY)), market.buy(purchase(ANY)));
    for stack in [id, other] {
        market.open(USER, stack, market.grant(stack, 1, 1_000, 1)).unwrap();
    }
    market.open(USER, id, market.grant(id, 2, 1_000, 1)).unwrap();
    let good = market.voucher(id, 1, 100, 1);
    let foreign = Voucher {
        db: Address::TWO,
        stack: id,
        node: NodeId(1),
        units: Units(100),
        count: 1,
        root: atoma_types::Hash32(good.root.clone().try_into().unwrap()),
    };
    let by_another_key = Voucher { db: market.world.db.id, ..foreign.clone() };
    let by_another_key = by_another_key.sign(&SecretKey::from_seed([1; 32])).signature.0.to_vec();
    let forged = [
        market.voucher(other, 1, 100, 1),
        Settlement { node: NodeId(2), ..good.clone() },
        Settlement { units: Units(101), ..good.clone() },
        Settlement { count: 2, ..good.clone() },
        Settlement { root: vec![0; 32], ..good.clone() },
        Settlement { signature: vec![0; 64], ..good.clone() },
        Settlement { signature: by_another_key, ..good.clone() },
        Settlement { signature: foreign.sign(&request_key()).signature.0.to_vec(), ..good.clone() },
    ];
    for settlement in forged {
        assert_eq!(abort(market.settle(id, settlement)), Abort::BadSignature);
    }
    let short_root = Settlement { root: vec![0; 31], ..good.clone() };
    assert_eq!(abort(market.settle(id, short_root)), Abort::BadArgument);
    let unopened = Settlement { node: NodeId(3), ..good.clone() };
    assert_eq!(abort(market.settle(id, unopened)), Abort::UnknownChannel);
    market.settle(id, good).unwrap();
}

#[test]
fn the_window_closes_after_the_delay() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.request_close(USER, id).unwrap();
    market.clock_ms += 20_000;
    market.settle(id, market.voucher(id, 1, 100, 1)).unwrap();
    market.clock_ms += 1;
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 101, 2))), Abort::WindowClosed);
}

#[test]
fn many_small_settlements_pay_exactly_what_one_would() {
    let mut many = Market::with_nodes(&[1_234_567]);
    let mut once = Market::with_nodes(&[1_234_567]);
    let (a, b) = (many.buy(purchase(SINGLE)), once.buy(purchase(SINGLE)));
    for count in 1..=300 {
        many.settle(a, many.voucher(a, 1, count * 7, count)).unwrap();
    }
    once.settle(b, once.voucher(b, 1, 300 * 7, 1)).unwrap();
    for to in [CREATOR, payout(1)] {
        assert_eq!(due(&many, a, to), due(&once, b, to));
    }
    assert_eq!(many.stack(a).treasury_due, once.stack(b).treasury_due);
}

#[test]
fn one_address_has_one_row() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    for node in [1, 2] {
        market.open(USER, id, market.grant(id, node, 1_000, 1)).unwrap();
        market.settle(id, market.voucher(id, node, 1_000, 1)).unwrap();
    }
    // One row per node and one for the creator of both.
    assert_eq!(market.stack(id).dues.len(), 3);
    assert_eq!(due(&market, id, CREATOR), 200);
}

/// Runs `call` on a stack of another database, and on one of another version.
fn refuses_foreign(call: impl Fn(&mut Market, Address) -> Result<TxContext>) {
    for (version, db, expected) in [(2, None, Abort::Version), (1, Some(Address::TWO), Abort::WrongDb)] {
        let mut market = Market::with_nodes(&[COIN]);
        let id = market.buy(purchase(SINGLE));
        let stack = market.world.stacks.get_mut(&id).unwrap();
        stack.version = version;
        stack.db = db.unwrap_or(stack.db);
        assert_eq!(abort(call(&mut market, id)), expected);
    }
}

#[test]
fn stacks_of_another_database_or_version_are_refused() {
    refuses_foreign(|market, id| market.open(USER, id, market.grant(id, 1, 1, 1)));
    refuses_foreign(|market, id| market.settle(id, market.voucher(id, 1, 1, 1)));
    refuses_foreign(|market, id| {
        let badge = market.badges[&NodeId(1)].clone();
        market.release(id, &badge)
    });
}

#[test]
fn a_release_ends_the_grant_and_later_frees_the_units() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(SINGLE));
    let node = market.stack(id).drawn[0];
    let standby = market.stack(id).drawn[1];
    let badge = market.badges[&node].clone();
    let foreign = NodeBadge { db: Address::TWO, ..badge.clone() };
    assert_eq!(abort(market.release(id, &foreign)), Abort::WrongDb);
    let other = market.badges[&standby].clone();
    assert_eq!(abort(market.release(id, &other)), Abort::UnknownChannel);
    market.settle(id, market.voucher(id, node.0, 300_000, 1)).unwrap();
    market.release(id, &badge).unwrap();
    assert_eq!(abort(market.release(id, &badge)), Abort::ChannelClosed);
    assert_eq!(abort(market.settle(id, market.voucher(id, node.0, 300_001, 2))), Abort::ChannelClosed);
    let again = market.grant(id, node.0, 1_000_000, 1);
    assert_eq!(abort(market.open(USER, id, again)), Abort::ChannelClosed);
    // The units stay while they can be disputed.
    let over = market.grant(id, standby.0, 700_000, 1);
    assert_eq!(abort(market.open(USER, id, over.clone())), Abort::OverGranted);
    market.clock_ms += 10_000;
    assert_eq!(abort(market.reclaim(id, node.0)), Abort::TooEarly);
    market.clock_ms += 1;
    market.reclaim(id, node.0).unwrap();
    assert_eq!(market.stack(id).granted_units, Units(300_000));
    assert_eq!(abort(market.reclaim(id, node.0)), Abort::NothingDue);
    market.open(USER, id, over).unwrap();
    market.settle(id, market.voucher(id, standby.0, 700_000, 1)).unwrap();
}

#[test]
fn a_revoked_node_settles_for_the_close_delay() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    market.open(USER, id, market.grant(id, 1, 600_000, 1)).unwrap();
    assert_eq!(abort(market.revoke(STRANGER, id, 1)), Abort::NotAuthorized);
    assert_eq!(abort(market.reclaim(id, 1)), Abort::TooEarly);
    market.revoke(USER, id, 1).unwrap();
    assert_eq!(abort(market.revoke(USER, id, 1)), Abort::ChannelClosed);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 700_000, 2))), Abort::ChannelClosed);
    market.clock_ms += 20_000;
    market.settle(id, market.voucher(id, 1, 100_000, 1)).unwrap();
    assert_eq!(abort(market.reclaim(id, 1)), Abort::TooEarly);
    market.clock_ms += 1;
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 100_001, 2))), Abort::WindowClosed);
    market.reclaim(id, 1).unwrap();
    market.open(USER, id, market.grant(id, 2, 900_000, 1)).unwrap();
    market.settle(id, market.voucher(id, 2, 900_000, 1)).unwrap();
}

/// The owner signed a grant and thinks better of it before the node opens.
#[test]
fn a_grant_that_is_not_open_can_be_revoked_for_good() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(ANY));
    let grant = market.grant(id, 1, 100, 1);
    market.revoke(USER, id, 1).unwrap();
    assert_eq!(abort(market.open(operator(1), id, grant)), Abort::ChannelClosed);
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 1, 1))), Abort::OverClaimed);
    market.clock_ms += 20_001;
    assert_eq!(abort(market.reclaim(id, 1)), Abort::NothingDue);
    // Of any number, and in all no more rows than channels.
    for node in 2..=64 {
        market.revoke(USER, id, node).unwrap();
    }
    assert_eq!(abort(market.revoke(USER, id, u64::MAX)), Abort::TooManyChannels);
    market.pass_window(id);
    market.refund(USER, id).unwrap();
    assert!(market.world.stacks.is_empty());
}

#[test]
fn a_release_after_a_revocation_counts_from_the_revocation() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let badge = market.badges[&NodeId(1)].clone();
    market.revoke(USER, id, 1).unwrap();
    market.clock_ms += 9_000;
    market.release(id, &badge).unwrap();
    assert_eq!(abort(market.revoke(USER, id, 1)), Abort::ChannelClosed);
    market.clock_ms += 1_000;
    assert_eq!(abort(market.reclaim(id, 1)), Abort::TooEarly);
    market.clock_ms += 1;
    market.reclaim(id, 1).unwrap();
    assert_eq!(market.stack(id).granted_units, Units(0));
}

/// A stack lives longer than a node's way out: what it signed must not outlive its collateral.
#[test]
fn a_disabled_node_settles_for_the_close_delay() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.disable(NodeId(1)).unwrap();
    market.clock_ms += 20_000;
    market.settle(id, market.voucher(id, 1, 100, 1)).unwrap();
    market.clock_ms += 1;
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 101, 2))), Abort::WindowClosed);
    market.reclaim(id, 1).unwrap();
    assert_eq!(market.stack(id).granted_units, Units(100));
}

#[test]
fn a_top_up_adds_units_at_the_same_terms() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    assert_eq!(abort(market.top_up(STRANGER, id, 10 * COIN, 1)), Abort::NotAuthorized);
    assert_eq!(abort(market.top_up(USER, id, 10 * COIN, 0)), Abort::BadArgument);
    // 500,000 units at 2 coins per million and 5 ‰.
    assert_eq!(abort(market.top_up(USER, id, 1_004_999, 500_000)), Abort::InsufficientPayment);
    let ctx = market.top_up(USER, id, 1_005_007, 500_000).unwrap();
    assert_eq!(coins(&ctx), 7);
    market.open(USER, id, market.grant(id, 1, 1_500_000, 1)).unwrap();
    market.settle(id, market.voucher(id, 1, 1_500_000, 1)).unwrap();
    assert_eq!(market.stack(id).treasury_due, Amount(15_000));
    market.request_close(USER, id).unwrap();
    assert_eq!(abort(market.top_up(USER, id, 10 * COIN, 1)), Abort::StackEnded);
}

/// A top-up shifts the surcharge's ratio by a rounding, up or down; what was earned stays earned.
#[test]
fn top_ups_between_settlements_lose_nothing() {
    let mut market = Market::with_nodes(&[1_234_567]);
    let bought = Purchase { units: Units(999), max_price: Price(1_333_333), ..purchase(SINGLE) };
    let id = market.buy(bought);
    let mut granted = 999;
    for step in 1..=60u64 {
        market.settle(id, market.voucher(id, 1, step * 16, step)).unwrap();
        market.top_up(USER, id, COIN, step * 7).unwrap();
        granted += step * 7;
        market.open(USER, id, market.grant(id, 1, granted, step)).unwrap();
    }
    market.settle(id, market.voucher(id, 1, granted, 100)).unwrap();
    assert_eq!(market.stack(id).surcharge.used, market.stack(id).surcharge.escrowed);
}

/// A model's creator cannot raise the fee of what is sold: it is fixed with the model, and copied.
#[test]
fn a_dearer_model_changes_nothing_that_was_bought() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.add_model(200).unwrap();
    market.create_task(NewTask { model: atoma_types::ModelId(2), ..new_task() }).unwrap();
    market.settle(id, market.voucher(id, 1, 1_000_000, 1)).unwrap();
    assert_eq!(due(&market, id, CREATOR), 100_000);
}

/// Else colluding nodes could fill a stack with dues until nothing more is settled.
#[test]
fn payout_changes_count_from_the_next_channel() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let rows = market.stack(id).dues.len();
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    market
        .by_badge(NodeId(1), |db, badge, _, ctx| atoma_contract::node::set_payout(db, badge, payout(9), ctx))
        .unwrap();
    market.disable(NodeId(1)).unwrap();
    market.settle(id, market.voucher(id, 1, 20, 2)).unwrap();
    assert_eq!((due(&market, id, payout(1)), due(&market, id, payout(9))), (18, 0));
    assert_eq!(market.stack(id).dues.len(), rows + 2, "the node's and the creator's");
}

#[test]
fn level_2_vouchers_are_claims() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.world.stacks.get_mut(&id).unwrap().level = 2;
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, 10, 1))), Abort::WrongLevel);
}
