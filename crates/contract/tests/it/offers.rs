//! Offers, their slots, and verifiers.

use crate::harness::*;
use atoma_contract::node::{self, Rotation};
use atoma_contract::offer::{self, Offer};
use atoma_contract::stack::Purchase;
use atoma_contract::task::{self, NewTask};
use atoma_contract::{Result, TxContext, views};
use atoma_types::onchain::{Abort, Slot};
use atoma_types::{Amount, NodeId, Price, TaskId, Units};

/// Offers in force.
fn offers(market: &Market) -> Vec<Slot> {
    let mut slots = views::offers(&market.world.db, TaskId(1), 0, 0, 1_000).unwrap();
    slots.retain(|slot| slot.is_live_at(market.epoch));
    slots
}

fn prices(market: &Market) -> Vec<u64> {
    offers(market).iter().map(|slot| slot.price.0).collect()
}

fn evict(market: &mut Market, node: u64) -> Result<TxContext> {
    let clock_ms = market.clock_ms;
    market.call(STRANGER, Amount::ZERO, |world, ctx| {
        offer::evict(&mut world.db, NodeId(node), TaskId(1), clock_ms, ctx)
    })
}

fn positions(market: &Market, node: u64) -> Vec<u64> {
    market.world.db.subscription(TaskId(1), NodeId(node)).unwrap().slots.clone()
}

#[test]
fn a_new_price_holds_from_the_next_epoch() {
    let mut market = Market::with_nodes(&[COIN]);
    market.reprice(NodeId(1), COIN / 2).unwrap();
    assert_eq!(prices(&market), [COIN]);
    market.epoch = 1;
    assert_eq!(prices(&market), [COIN / 2]);
    // Twice in an epoch: the one to come is replaced.
    market.reprice(NodeId(1), 3).unwrap();
    market.reprice(NodeId(1), 4).unwrap();
    assert_eq!(prices(&market), [COIN / 2]);
    market.epoch = 2;
    assert_eq!(prices(&market), [4]);
    assert_eq!(positions(&market, 1), [0, 1], "two positions alternate");
}

#[test]
fn offers_are_bounded_whenever_they_change() {
    let mut market = Market::with_nodes(&[COIN]);
    assert_eq!(abort(market.reprice(NodeId(1), 2 * COIN + 1)), Abort::PriceTooHigh);
    for (units, expected) in [(0, Abort::BadArgument), (1_000_000_000_001, Abort::BadArgument)] {
        let result = market.by_badge(NodeId(1), |db, badge, clock_ms, ctx| {
            offer::reprice(db, badge, TaskId(1), Price(1), Units(units), clock_ms, ctx)
        });
        assert_eq!(abort(result), expected);
    }
    market.register(2, Amount(1_001 * COIN)).unwrap();
    assert_eq!(abort(market.reprice(NodeId(2), 1)), Abort::NotSubscribed);
    assert_eq!(abort(market.unsubscribe(NodeId(2))), Abort::NotSubscribed);
    market.disable(NodeId(1)).unwrap();
    assert_eq!(abort(market.reprice(NodeId(1), 1)), Abort::NodeDisabled);
    assert_eq!(abort(market.unsubscribe(NodeId(1))), Abort::NodeDisabled);
}

#[test]
fn an_offer_that_ends_holds_for_its_epoch() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    market.unsubscribe(NodeId(1)).unwrap();
    assert_eq!(abort(market.unsubscribe(NodeId(1))), Abort::NotSubscribed);
    assert_eq!(abort(market.reprice(NodeId(1), 1)), Abort::NotSubscribed);
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
    // Back in the same epoch: from the next one, at the new price. No way around repricing.
    market.subscribe(NodeId(1), 5, 1_000).unwrap();
    assert_eq!(prices(&market), [COIN, COIN]);
    market.unsubscribe(NodeId(1)).unwrap();
    market.epoch = 1;
    assert_eq!(prices(&market), [COIN]);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 2, 2))), Abort::NotSubscribed);
    market.subscribe(NodeId(1), 6, 1_000).unwrap();
    assert_eq!(prices(&market), [6, COIN], "at once, nothing being in the way");
}

/// However often a node changes its mind, it holds two positions.
#[test]
fn churning_does_not_fill_the_lists() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    for epoch in 0..40 {
        market.epoch = epoch;
        market.reprice(NodeId(1), epoch + 1).unwrap();
        market.unsubscribe(NodeId(1)).unwrap();
        market.subscribe(NodeId(1), epoch + 2, 1_000).unwrap();
        market.reprice(NodeId(1), epoch + 3).unwrap();
    }
    let list = market.world.db.market(TaskId(1)).unwrap().lists.get(0).unwrap();
    assert_eq!((list.size, list.live), (3, 2));
    market.epoch = 40;
    assert_eq!(prices(&market).iter().sum::<u64>(), 42 + COIN);
}

#[test]
fn a_nodes_echelon_is_its_first() {
    let mut market = Market::with_nodes(&[COIN]);
    market.unsubscribe(NodeId(1)).unwrap();
    let other = Offer { echelon: 15, ..new_offer() };
    assert_eq!(abort(market.subscribe_to(NodeId(1), other)), Abort::BadArgument);
    market.subscribe_to(NodeId(1), new_offer()).unwrap();
}

#[test]
fn a_node_writes_eight_times_an_epoch() {
    let mut market = Market::with_nodes(&[COIN]);
    market.rotate_key(NodeId(1)).unwrap();
    market.add_collateral(NodeId(1), 1).unwrap();
    market.unsubscribe(NodeId(1)).unwrap();
    market.subscribe(NodeId(1), 1, 1).unwrap();
    for price in [2, 3] {
        market.reprice(NodeId(1), price).unwrap();
    }
    let set_payout = |market: &mut Market| {
        market.by_badge(NodeId(1), |db, badge, _, ctx| node::set_payout(db, badge, payout(1), ctx))
    };
    set_payout(&mut market).unwrap();
    assert_eq!(abort(market.reprice(NodeId(1), 4)), Abort::TooManyWrites);
    assert_eq!(abort(set_payout(&mut market)), Abort::TooManyWrites);
    assert_eq!(abort(market.rotate_key(NodeId(1))), Abort::TooManyWrites);
    assert_eq!(abort(market.unsubscribe(NodeId(1))), Abort::TooManyWrites);
    market.epoch = 1;
    market.reprice(NodeId(1), 4).unwrap();
    market.disable(NodeId(1)).unwrap();
}

#[test]
fn added_collateral_weighs_from_the_next_slot_on() {
    let mut market = Market::with_nodes(&[COIN]);
    market.add_collateral(NodeId(1), 10_000 * COIN).unwrap();
    let weight = |market: &Market| offers(market)[0].weight.0 / COIN;
    assert_eq!(weight(&market), 1_000);
    market.reprice(NodeId(1), COIN).unwrap();
    market.epoch = 1;
    assert_eq!(weight(&market), 4_000);
    assert_eq!(market.node(NodeId(1)).raised_ms, market.clock_ms);
}

#[test]
fn the_whitelist_binds_offers_not_verifiers() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    let badge = market.task_badges[&TaskId(1)].clone();
    let set = |market: &mut Market, nodes: Vec<NodeId>| {
        market
            .call(STRANGER, Amount::ZERO, |world, ctx| task::set_whitelist(&mut world.db, &badge, nodes, ctx))
    };
    assert_eq!(abort(set(&mut market, vec![NodeId(1); 65])), Abort::BadArgument);
    set(&mut market, vec![NodeId(2)]).unwrap();
    for seed in 0..20 {
        let stack = market.acquire(seed, 10 * COIN, purchase(SINGLE)).unwrap().shared.remove(0);
        assert_eq!(stack.drawn, [NodeId(2)]);
    }
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEligible);
    set(&mut market, Vec::new()).unwrap();
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
    let foreign = atoma_contract::TaskBadge { db: atoma_types::Address::TWO, ..badge };
    let result = market.call(STRANGER, Amount::ZERO, |world, ctx| {
        task::set_whitelist(&mut world.db, &foreign, Vec::new(), ctx)
    });
    assert_eq!(abort(result), Abort::WrongDb);
}

#[test]
fn a_deprecated_task_is_not_sold_and_runs_on() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let badge = market.task_badges[&TaskId(1)].clone();
    let deprecate = |market: &mut Market| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| task::deprecate(&mut world.db, &badge, ctx))
    };
    deprecate(&mut market).unwrap();
    assert_eq!(abort(deprecate(&mut market)), Abort::TaskDeprecated);
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::TaskDeprecated);
    assert_eq!(abort(market.top_up(USER, id, 10 * COIN, 1)), Abort::TaskDeprecated);
    market.register(2, Amount(1_001 * COIN)).unwrap();
    assert_eq!(abort(market.subscribe(NodeId(2), 0, 1)), Abort::TaskDeprecated);
    market.reprice(NodeId(1), 1).unwrap();
    market.open(USER, id, market.grant(id, 1, 1_000_000, 1)).unwrap();
}

#[test]
fn level_1_needs_an_attestation_that_runs() {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    market.create_task(NewTask { level: 1, ..new_task() }).unwrap();
    market.register(1, Amount(1_001 * COIN)).unwrap();
    market.subscribe(NodeId(1), COIN, 1_000_000_000).unwrap();
    let id = market.buy(purchase(ANY));
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::NoEligible);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEligible);
    let attest = |market: &mut Market, rotation: Rotation| {
        market.by_badge(NodeId(1), |db, badge, clock_ms, ctx| {
            node::rotate_key(db, badge, rotation, clock_ms, ctx)
        })
    };
    let good = Rotation {
        evidence: vec![1; 32],
        blob: vec![2; 32],
        seal_key: vec![3; 2_048],
        device_types: vec![0; 16],
        counter: 1,
        expires_ms: market.clock_ms + 1,
    };
    let bad = [
        Rotation { evidence: vec![1; 31], ..good.clone() },
        Rotation { evidence: Vec::new(), ..good.clone() },
        Rotation { blob: vec![2; 33], ..good.clone() },
        Rotation { seal_key: Vec::new(), ..good.clone() },
        Rotation { seal_key: vec![3; 2_049], ..good.clone() },
        Rotation { device_types: vec![0; 17], ..good.clone() },
        Rotation { expires_ms: market.clock_ms, ..good.clone() },
    ];
    for rotation in bad {
        assert_eq!(abort(attest(&mut market, rotation)), Abort::BadArgument);
    }
    let stale = Rotation { counter: 0, ..good.clone() };
    assert_eq!(abort(attest(&mut market, stale)), Abort::StaleCounter);
    attest(&mut market, good.clone()).unwrap();
    assert_eq!(abort(attest(&mut market, good)), Abort::StaleCounter);
    market.buy(purchase(SINGLE));
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
    market.clock_ms += 1;
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::NoEligible);
}

#[test]
fn a_seal_key_holds_from_the_next_epoch() {
    let mut market = Market::with_nodes(&[COIN]);
    let rotate = |market: &mut Market, key: u8, counter: u64| {
        let rotation = Rotation { seal_key: vec![key], counter, ..Rotation::default() };
        market.by_badge(NodeId(1), |db, badge, clock_ms, ctx| {
            node::rotate_key(db, badge, rotation, clock_ms, ctx)
        })
    };
    let key = |market: &Market, epoch| market.node(NodeId(1)).seal.key_at(epoch).to_vec();
    rotate(&mut market, 1, 1).unwrap();
    assert_eq!((key(&market, 0), key(&market, 1)), (vec![], vec![1]));
    // Replaced before it came into force.
    rotate(&mut market, 2, 2).unwrap();
    assert_eq!((key(&market, 0), key(&market, 1)), (vec![], vec![2]));
    market.epoch = 1;
    rotate(&mut market, 3, 3).unwrap();
    assert_eq!((key(&market, 1), key(&market, 2)), (vec![2], vec![3]));
    assert_eq!(market.node(NodeId(1)).seal.old_until_ms, market.clock_ms + 300_000);
}

/// A market at level 2 with this many verifiers, each of another owner.
fn sampled(verifiers: u8) -> Market {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    market.create_task(NewTask { level: 2, exact: true, ..new_task() }).unwrap();
    for n in 1..=verifiers {
        join(&mut market, n);
    }
    market
}

fn join(market: &mut Market, n: u8) {
    let node = NodeId(market.world.db.nodes.size() + 1);
    market.register(n, Amount(1_001 * COIN)).unwrap();
    market.rotate_key(node).unwrap();
    market.subscribe_to(node, Offer { verifier: true, ..new_offer() }).unwrap();
}

fn verifier_slot(market: &Market, node: u64) -> (u64, Slot) {
    let position = market.world.db.subscription(TaskId(1), NodeId(node)).unwrap().verifier_slot.unwrap();
    let list = market.world.db.market(TaskId(1)).unwrap().verifiers.get(0).unwrap();
    (position, list.slot(position).unwrap().clone())
}

#[test]
fn verifiers_need_level_2_and_a_seal_key() {
    let mut market = Market::with_nodes(&[COIN]);
    market.rotate_key(NodeId(1)).unwrap();
    assert_eq!(abort(market.set_verifier(NodeId(1), true)), Abort::WrongLevel);
    let mut market = sampled(0);
    market.register(1, Amount(1_001 * COIN)).unwrap();
    let both = Offer { verifier: true, ..new_offer() };
    assert_eq!(abort(market.subscribe_to(NodeId(1), both)), Abort::NoSealKey);
    market.subscribe_to(NodeId(1), new_offer()).unwrap();
    assert_eq!(abort(market.set_verifier(NodeId(1), true)), Abort::NoSealKey);
    market.rotate_key(NodeId(1)).unwrap();
    assert_eq!(abort(market.set_verifier(NodeId(1), false)), Abort::AlreadyDone);
    market.set_verifier(NodeId(1), true).unwrap();
    assert_eq!(abort(market.set_verifier(NodeId(1), true)), Abort::AlreadyDone);
}

/// Otherwise a verifier could leave once it knows that it is drawn, or come back for a better draw.
#[test]
fn a_verifier_that_leaves_is_drawn_until_every_claim_has_ended() {
    let mut market = sampled(2);
    let made_ms = market.clock_ms + 1;
    market.clock_ms += 1;
    market.set_verifier(NodeId(1), false).unwrap();
    let (_, slot) = verifier_slot(&market, 1);
    assert!(slot.may_verify(made_ms, market.clock_ms + 169_999));
    assert!(!slot.may_verify(made_ms, market.clock_ms + 170_000));
    assert_eq!(abort(market.set_verifier(NodeId(1), true)), Abort::TooEarly);
    market.clock_ms += 170_000;
    market.set_verifier(NodeId(1), true).unwrap();
    let (position, slot) = verifier_slot(&market, 1);
    assert_eq!(position, 0);
    assert!(!slot.may_verify(market.clock_ms - 1, market.clock_ms), "not for claims made before");
    assert!(slot.may_verify(market.clock_ms + 1, market.clock_ms + 1));
}

#[test]
fn level_2_is_sold_while_enough_others_verify() {
    let mut market = sampled(10);
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::NoEligible);
    let id = market.buy(purchase(ANY));
    let one = |market: &Market, nonce| market.grant(id, 1, 1, nonce);
    // Nine besides the node itself.
    assert_eq!(abort(market.open(USER, id, one(&market, 1))), Abort::NotEnoughVerifiers);
    join(&mut market, 11);
    market.open(USER, id, one(&market, 1)).unwrap();
    market.buy(purchase(SINGLE));
    market.set_verifier(NodeId(5), false).unwrap();
    assert_eq!(abort(market.open(USER, id, one(&market, 2))), Abort::NotEnoughVerifiers);
    market.unsubscribe(NodeId(6)).unwrap();
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(ANY))), Abort::NotEnoughVerifiers);
}

#[test]
fn verifiers_of_the_same_owner_do_not_count() {
    let mut market = sampled(10);
    join(&mut market, 1);
    let id = market.buy(purchase(ANY));
    // Eleven, of which two are of the first operator.
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEnoughVerifiers);
    market.open(USER, id, market.grant(id, 2, 1, 1)).unwrap();
}

#[test]
fn statistical_stacks_count_the_echelons_they_accept() {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    market.create_task(NewTask { level: 2, ..new_task() }).unwrap();
    for n in 1..=10 {
        join(&mut market, n);
    }
    let bought = |echelons: Vec<u64>| Purchase { echelons, ..purchase(ANY) };
    let id = market.buy(bought(vec![0]));
    assert_eq!(market.stack(id).echelons, [0]);
    let all = market.buy(bought(Vec::new()));
    assert_eq!(market.stack(all).echelons, [0, 15]);
    assert_eq!(abort(market.acquire(1, 10 * COIN, bought(vec![15]))), Abort::NotEnoughVerifiers);
    assert_eq!(abort(market.acquire(1, 10 * COIN, bought(vec![1]))), Abort::BadArgument);
    assert_eq!(abort(market.acquire(1, 10 * COIN, bought(vec![0, 0]))), Abort::BadArgument);
    let mut exact = sampled(10);
    assert_eq!(abort(exact.acquire(1, 10 * COIN, bought(vec![0]))), Abort::BadArgument);
}

#[test]
fn a_stack_opens_with_its_echelons_only() {
    let mut market = Market::with_nodes(&[COIN]);
    market.register(2, Amount(1_001 * COIN)).unwrap();
    market.subscribe_to(NodeId(2), Offer { echelon: 15, ..new_offer() }).unwrap();
    let bought = |echelons: Vec<u64>, selection| Purchase { echelons, ..purchase(selection) };
    let id = market.buy(bought(vec![15], ANY));
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEligible);
    market.open(USER, id, market.grant(id, 2, 1, 1)).unwrap();
    assert_eq!(market.stack(id).channels[0].echelon, 15);
    for seed in 0..10 {
        let stack = market.acquire(seed, 10 * COIN, bought(vec![0], SINGLE)).unwrap().shared.remove(0);
        assert_eq!(stack.drawn, [NodeId(1)]);
        let both = market.acquire(seed, 10 * COIN, purchase(SINGLE)).unwrap().shared.remove(0);
        assert_eq!(both.drawn.len(), 2);
    }
}

#[test]
fn only_what_is_dead_is_evicted() {
    let mut market = Market::with_nodes(&[COIN, COIN, COIN]);
    assert_eq!(abort(evict(&mut market, 1)), Abort::TooEarly);
    market.unsubscribe(NodeId(1)).unwrap();
    assert_eq!(abort(evict(&mut market, 1)), Abort::TooEarly, "it holds until the epoch ends");
    market.epoch = 1;
    evict(&mut market, 1).unwrap();
    assert_eq!(abort(evict(&mut market, 1)), Abort::TooEarly);
    // The last one moved into the gap.
    assert_eq!((positions(&market, 3), positions(&market, 2)), (vec![0], vec![1]));
    market.subscribe(NodeId(1), 5, 10).unwrap();
    assert_eq!(positions(&market, 1), [2]);
    market.reprice(NodeId(3), 7).unwrap();
    market.disable(NodeId(3)).unwrap();
    evict(&mut market, 3).unwrap();
    assert_eq!(prices(&market).len(), 2);
    assert_eq!(market.world.db.market(TaskId(1)).unwrap().lists.get(0).unwrap().size, 2);
    market.register(4, Amount(1_001 * COIN)).unwrap();
    assert_eq!(abort(evict(&mut market, 4)), Abort::NotSubscribed);
}

/// A draw for an old claim must meet at every position who was there, or somebody it skips, or nobody.
#[test]
fn positions_of_verifiers_stay_or_die() {
    let mut market = sampled(6);
    let before: Vec<Slot> = (1..=6).map(|node| verifier_slot(&market, node).1).collect();
    let made_ms = market.clock_ms;
    market.clock_ms += 1;
    for node in [2, 3, 6] {
        market.disable(NodeId(node)).unwrap();
        evict(&mut market, node).unwrap();
    }
    let list = |market: &Market| market.world.db.market(TaskId(1)).unwrap().verifiers.get(0).unwrap().clone();
    assert_eq!((list(&market).size, list(&market).live, list(&market).free), (5, 3, vec![1, 2]));
    join(&mut market, 7);
    assert_eq!(verifier_slot(&market, 7).0, 1);
    // The last verifier takes a free position, and the list gets shorter.
    let moved = |market: &mut Market, node| {
        market.by_badge(NodeId(node), |db, badge, clock_ms, ctx| {
            offer::move_verifier(db, badge, TaskId(1), clock_ms, ctx)
        })
    };
    assert_eq!(abort(moved(&mut market, 1)), Abort::AlreadyDone);
    moved(&mut market, 5).unwrap();
    assert_eq!(abort(moved(&mut market, 4)), Abort::AlreadyDone);
    assert_eq!((list(&market).size, list(&market).live, list(&market).free.len()), (4, 4, 0));
    for (position, old) in (0..6).zip(before) {
        let same_or_skipped = match list(&market).slot(position) {
            Some(slot) => *slot == old || !slot.may_verify(made_ms, market.clock_ms),
            None => true,
        };
        assert!(same_or_skipped, "position {position}");
    }
}

/// A swarm joins, lets honest verifiers follow, is disabled and takes its collateral back. Were its slots in the way,
/// audits would find too few verifiers and void what they should convict.
#[test]
fn a_dead_swarm_of_verifiers_stops_sales_until_it_is_cleared() {
    let mut market = sampled(40);
    for n in 41..=52 {
        join(&mut market, n);
    }
    market.is_audited = false;
    for node in 1..=40 {
        market.disable(NodeId(node)).unwrap();
        evict(&mut market, node).unwrap();
    }
    market.audit();
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(ANY))), Abort::NotEnoughVerifiers);
    for node in (45..=52).rev() {
        market
            .by_badge(NodeId(node), |db, badge, clock_ms, ctx| {
                offer::move_verifier(db, badge, TaskId(1), clock_ms, ctx)
            })
            .unwrap();
    }
    market.audit();
    market.buy(purchase(ANY));
}

/// More than a list remembers, evicted from the first to the last: none of its positions stays in the way.
#[test]
fn a_swarm_evicted_in_order_leaves_no_positions_behind() {
    let mut market = sampled(12);
    market.is_audited = false;
    for n in 0..600 {
        join(&mut market, u8::try_from(20 + n % 200).unwrap());
    }
    let sizes = |market: &Market| {
        let list = market.world.db.market(TaskId(1)).unwrap().verifiers.get(0).unwrap();
        (list.size, list.live, list.free.len())
    };
    assert_eq!(sizes(&market), (612, 612, 0));
    for node in 13..=612 {
        market.disable(NodeId(node)).unwrap();
        evict(&mut market, node).unwrap();
    }
    // One call cuts off a bounded number; whoever joins goes on.
    assert_eq!(sizes(&market), (356, 12, 256));
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(ANY))), Abort::NotEnoughVerifiers);
    join(&mut market, 250);
    assert_eq!(verifier_slot(&market, 613).0, 12);
    assert_eq!(sizes(&market), (100, 13, 87));
    join(&mut market, 251);
    assert_eq!(sizes(&market), (14, 14, 0));
    market.audit();
    market.buy(purchase(ANY));
}

/// Registering is cheap once the collateral comes back: dead offers must not use up the rows that a purchase reads.
#[test]
fn a_dead_swarm_of_offers_is_evicted() {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    market.create_task(new_task()).unwrap();
    market.is_audited = false;
    for n in 0..400u64 {
        market.register(u8::try_from(n % 250).unwrap(), Amount(1_001 * COIN)).unwrap();
        market.subscribe(NodeId(n + 1), 1, 1_000_000_000).unwrap();
    }
    for node in 2..=400 {
        market.disable(NodeId(node)).unwrap();
    }
    let found = (0..30).filter(|seed| market.acquire(*seed, 10 * COIN, purchase(SINGLE)).is_ok()).count();
    assert!(found < 15, "{found}");
    for node in 2..=400 {
        evict(&mut market, node).unwrap();
    }
    market.audit();
    for seed in 0..30 {
        let stack = market.acquire(seed, 10 * COIN, purchase(SINGLE)).unwrap().shared.remove(0);
        assert_eq!(stack.drawn, [NodeId(1)]);
    }
}

/// A thousand nodes above the buyer's price: they cost tries but no rows.
#[test]
fn a_thousand_sybils_above_the_price_do_not_brick_purchases() {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    market.create_task(new_task()).unwrap();
    market.is_audited = false;
    for n in 0..1_010u64 {
        let is_honest = n % 101 == 50;
        let paid = if is_honest { 4_001 * COIN } else { 1_001 * COIN };
        market.register(u8::try_from(n % 250).unwrap(), Amount(paid)).unwrap();
        let price = if is_honest { COIN } else { 2 * COIN };
        market.subscribe(NodeId(n + 1), price, 1_000_000_000).unwrap();
    }
    market.audit();
    let bounded = || Purchase { max_price: Price(COIN), ..purchase(SINGLE) };
    // Ten in a thousand, 512 tries: one purchase in 170 fails, and can be tried again.
    let failed = (0..100).filter(|seed| market.acquire(*seed, 10 * COIN, bounded()).is_err()).count();
    assert!(failed <= 4, "{failed}");
    let any = market.buy(Purchase { max_price: Price(COIN), ..purchase(ANY) });
    market.open(USER, any, market.grant(any, 51, 1_000_000, 1)).unwrap();
}
