//! Nodes, models, tasks, subscriptions.

use crate::harness::*;
use atoma_contract::model::NewModel;
use atoma_contract::node::{self, Registration};
use atoma_contract::offer::Offer;
use atoma_contract::task::NewTask;
use atoma_contract::{NodeBadge, model, views};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::{Abort, AuditTerms, Event};
use atoma_types::{Address, Amount, ModelId, NodeId, Price, TaskId, Units};

fn registration() -> Registration {
    Registration { payout: payout(1), endpoint: ENDPOINT.into(), receipt_key: receipt_key(1) }
}

#[test]
fn registering_splits_the_coin_into_fee_and_collateral() {
    let mut market = Market::new();
    let ctx = market.register(1, Amount(1_500 * COIN)).unwrap();
    let node = views::node(&market.world.db, NodeId(1)).unwrap();
    assert_eq!((node.collateral, node.owner), (Amount(1_499 * COIN), operator(1)));
    assert_eq!(views::treasury(&market.world.treasury), Amount(COIN));
    assert_eq!(ctx.transfers[0].to, operator(1));
    assert_eq!(node::reputation(&node, 3), 53);
    assert_eq!(node::reputation(&node, 1_000), 100);
}

#[test]
fn registering_needs_fee_and_minimum() {
    let mut market = Market::new();
    assert_eq!(abort(market.register(1, Amount(COIN - 1))), Abort::InsufficientPayment);
    assert_eq!(abort(market.register(1, Amount(1_001 * COIN - 1))), Abort::Collateral);
    market.register(1, Amount(1_001 * COIN)).unwrap();
    let too_much = abort(market.register(2, Amount(u64::MAX)));
    assert_eq!(too_much, Abort::Arithmetic);
}

#[test]
fn registering_checks_endpoint_and_key() {
    let mut market = Market::new();
    let long = format!("https://{}", "a".repeat(249));
    let spaced = "http://a b".to_owned();
    for endpoint in ["", "ftp://a", "http://", "https:///x", "http://ä", &long, &spaced] {
        let bad = Registration { endpoint: endpoint.into(), ..registration() };
        let result = market.register_as(operator(1), Amount(1_001 * COIN), bad);
        assert_eq!(abort(result), Abort::BadArgument, "{endpoint}");
    }
    let mut small_order = vec![0; 32];
    small_order[0] = 1;
    for receipt_key in [vec![], vec![9; 31], vec![9; 33], small_order] {
        let bad = Registration { receipt_key, ..registration() };
        let result = market.register_as(operator(1), Amount(1_001 * COIN), bad);
        assert_eq!(abort(result), Abort::BadArgument);
    }
    let longest = format!("https://{}", "a".repeat(248));
    let good = Registration { endpoint: longest, ..registration() };
    market.register_as(operator(1), Amount(1_001 * COIN), good).unwrap();
    // The chain cannot tell bytes that are no point; they verify nothing.
    let mut no_point = vec![0; 32];
    no_point[0] = 2;
    let useless = Registration { receipt_key: no_point, ..registration() };
    market.register_as(operator(2), Amount(1_001 * COIN), useless).unwrap();
}

#[test]
fn a_node_changes_its_endpoint_until_it_is_disabled() {
    let mut market = Market::with_nodes(&[COIN]);
    let badge = market.badges[&NodeId(1)].clone();
    let set = |market: &mut Market, badge: &NodeBadge, endpoint: &str| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| {
            node::set_endpoint(&mut world.db, badge, endpoint.into(), ctx)
        })
    };
    set(&mut market, &badge, "https://new.example").unwrap();
    assert_eq!(views::nodes(&market.world.db, 1, 1)[0].endpoint, "https://new.example");
    assert_eq!(abort(set(&mut market, &badge, "new.example")), Abort::BadArgument);
    let foreign = NodeBadge { db: Address::TWO, ..badge.clone() };
    assert_eq!(abort(set(&mut market, &foreign, ENDPOINT)), Abort::WrongDb);
    let unknown = NodeBadge { node: NodeId(9), ..badge.clone() };
    assert_eq!(abort(set(&mut market, &unknown, ENDPOINT)), Abort::UnknownNode);
    market.disable(NodeId(1)).unwrap();
    assert_eq!(abort(set(&mut market, &badge, ENDPOINT)), Abort::NodeDisabled);
    assert_eq!(abort(market.disable(NodeId(1))), Abort::NodeDisabled);
}

#[test]
fn collateral_leaves_after_the_exit_window_and_two_epochs_once() {
    let mut market = Market::with_nodes(&[COIN]);
    let node = NodeId(1);
    assert_eq!(abort(market.exit(operator(1), node)), Abort::TooEarly);
    market.disable(node).unwrap();
    market.epoch = 1;
    market.clock_ms += 640_000;
    assert_eq!(abort(market.exit(operator(1), node)), Abort::TooEarly);
    market.epoch = 2;
    market.clock_ms -= 1;
    assert_eq!(abort(market.exit(operator(1), node)), Abort::TooEarly);
    market.clock_ms += 1;
    market.world.db.version = 2;
    market.is_audited = false;
    let ctx = market.exit(operator(1), node).unwrap();
    assert_eq!(coins(&ctx), 1_000 * COIN, "and at any version");
    assert_eq!(abort(market.exit(operator(1), node)), Abort::NothingDue);
}

#[test]
fn models_are_bounded() {
    let mut market = Market::new();
    let good = NewModel { label: "x".repeat(64), modality: 7, creator_fee_permille: 200, ..new_model() };
    let bad = [
        NewModel { label: String::new(), ..new_model() },
        NewModel { label: "x".repeat(65), ..new_model() },
        NewModel { modality: 8, ..new_model() },
        NewModel { weights_root: vec![0; 31], ..new_model() },
        NewModel { creator_fee_permille: 201, ..new_model() },
    ];
    for new in bad {
        let result = market.call(CREATOR, Amount::ZERO, |world, ctx| model::add(&mut world.db, new, ctx));
        assert_eq!(abort(result), Abort::BadArgument);
    }
    market.call(CREATOR, Amount::ZERO, |world, ctx| model::add(&mut world.db, good, ctx)).unwrap();
    let stored = views::model(&market.world.db, ModelId(1)).unwrap();
    assert_eq!((stored.creator, stored.creator_fee_permille), (CREATOR, 200));
    assert_eq!(views::models(&market.world.db, 0, 9), [stored]);
    assert_eq!(views::model(&market.world.db, ModelId(2)), Err(Abort::UnknownModel));
}

#[test]
fn tasks_are_bounded() {
    let mut market = Market::new();
    assert_eq!(abort(market.create_task(new_task())), Abort::UnknownModel);
    market.add_model(0).unwrap();
    let over = 1_000_000_000_001;
    let terms = AuditTerms::default();
    let bad = [
        NewTask { role: 8, ..new_task() },
        NewTask { level: 3, ..new_task() },
        NewTask { echelons: Vec::new(), ..new_task() },
        NewTask { echelons: (0..17).collect(), ..new_task() },
        NewTask { echelons: vec![65_536], ..new_task() },
        NewTask { echelons: vec![1, 2, 1], ..new_task() },
        NewTask { audit: AuditTerms { p_min_ppb: 1_000_000_001, ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { p_stat_ppb: u64::MAX, ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { verifiers: 5, ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { records: 9, ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { min_claim: Amount(1_000_000_000_000_001), ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { challenge_ms: 1_001, ..terms }, ..new_task() },
        NewTask { audit: AuditTerms { hold_ms: 10_000_001_000, ..terms }, ..new_task() },
        NewTask { price_ceiling: Price(over), ..new_task() },
        NewTask { weights: UnitWeights { input: over, output: 1 }, ..new_task() },
        NewTask { weights: UnitWeights { input: 1, output: over }, ..new_task() },
        NewTask { weights: UnitWeights { input: 0, output: 0 }, ..new_task() },
        NewTask { surcharge_permille: 201, ..new_task() },
        NewTask { min_collateral: Amount(1_000_000_000_000_001), ..new_task() },
        NewTask { min_reputation: 101, ..new_task() },
        NewTask { whitelist: vec![NodeId(1); 65], ..new_task() },
    ];
    for new in bad {
        assert_eq!(abort(market.create_task(new)), Abort::BadArgument);
    }
    let widest = NewTask {
        role: 7,
        price_ceiling: Price(over - 1),
        weights: UnitWeights { input: over - 1, output: 0 },
        surcharge_permille: 200,
        min_collateral: Amount(1_000_000_000_000_000),
        min_reputation: 100,
        whitelist: vec![NodeId(1); 64],
        echelons: (0..15).chain([65_535]).collect(),
        ..new_task()
    };
    market.create_task(widest).unwrap();
    assert_eq!(views::tasks(&market.world.db, 1, 9).len(), 1);
    assert_eq!(views::task(&market.world.db, TaskId(0)), Err(Abort::UnknownTask));
}

/// Who reads events only knows what is sold, to whom, and how it is judged.
#[test]
fn the_events_of_a_task_say_all_its_terms() {
    let mut market = Market::new();
    market.add_model(0).unwrap();
    let audit = AuditTerms {
        p_min_ppb: 20_000_000,
        p_stat_ppb: 60_000_000,
        verifiers: 3,
        records: 2,
        min_claim: Amount(5),
        challenge_ms: 30_000,
        hold_ms: 200_000,
    };
    let weights = UnitWeights { input: 250, output: 4_000 };
    let listed = NewTask { audit, weights, whitelist: vec![NodeId(3), NodeId(1)], ..new_task() };
    let ctx = market.create_task(listed).unwrap();
    let [Event::TaskCreated(created), Event::WhitelistSet(whitelist)] = &ctx.events[..] else {
        panic!("{:?}", ctx.events)
    };
    assert_eq!((created.weight_input, created.weight_output), (250, 4_000));
    let said = AuditTerms {
        p_min_ppb: created.p_min_ppb,
        p_stat_ppb: created.p_stat_ppb,
        verifiers: created.verifiers,
        records: created.records,
        min_claim: created.min_claim,
        challenge_ms: created.challenge_ms,
        hold_ms: created.hold_ms,
    };
    assert_eq!(said, audit);
    assert_eq!((whitelist.task, &whitelist.nodes), (created.task, &vec![NodeId(3), NodeId(1)]));
    assert_eq!(market.create_task(new_task()).unwrap().events.len(), 1);
}

#[test]
fn subscribing_is_bounded_and_happens_once() {
    let mut market = Market::with_nodes(&[]);
    market.register(1, Amount(1_001 * COIN)).unwrap();
    let node = NodeId(1);
    let offer = Offer { max_units: Units(1), echelon: 15, ..new_offer() };
    let mut refuse = |offer: Offer, expected| {
        assert_eq!(abort(market.subscribe_to(node, offer)), expected);
    };
    refuse(Offer { task: TaskId(2), ..offer.clone() }, Abort::UnknownTask);
    refuse(Offer { price: Price(2 * COIN + 1), ..offer.clone() }, Abort::PriceTooHigh);
    refuse(Offer { max_units: Units(0), ..offer.clone() }, Abort::BadArgument);
    refuse(Offer { max_units: Units(1_000_000_000_001), ..offer.clone() }, Abort::BadArgument);
    refuse(Offer { echelon: 16, ..offer.clone() }, Abort::BadArgument);
    market.subscribe_to(node, offer.clone()).unwrap();
    assert_eq!(abort(market.subscribe_to(node, offer)), Abort::AlreadySubscribed);
    assert_eq!(views::subscription(&market.world.db, TaskId(1), node).unwrap().node, node);
}

#[test]
fn subscribing_needs_what_the_task_asks() {
    let mut market = Market::with_nodes(&[]);
    market.register(1, Amount(1_001 * COIN)).unwrap();
    market.create_task(NewTask { whitelist: vec![NodeId(2)], ..new_task() }).unwrap();
    market.create_task(NewTask { min_collateral: Amount(1_000 * COIN + 1), ..new_task() }).unwrap();
    market.create_task(NewTask { min_reputation: 51, ..new_task() }).unwrap();
    market.create_task(NewTask { min_collateral: Amount::ZERO, ..new_task() }).unwrap();
    let offer = |task| Offer { task: TaskId(task), price: Price(0), ..new_offer() };
    assert_eq!(abort(market.subscribe_to(NodeId(1), offer(2))), Abort::NotWhitelisted);
    assert_eq!(abort(market.subscribe_to(NodeId(1), offer(3))), Abort::Collateral);
    assert_eq!(abort(market.subscribe_to(NodeId(1), offer(4))), Abort::NotEligible);
    market.epoch = 1;
    market.subscribe_to(NodeId(1), offer(4)).unwrap();
    market.disable(NodeId(1)).unwrap();
    assert_eq!(abort(market.subscribe_to(NodeId(1), offer(5))), Abort::NodeDisabled);
}

#[test]
fn another_version_is_refused() {
    let mut market = Market::with_nodes(&[COIN]);
    market.world.db.version = 2;
    assert_eq!(abort(market.register(2, Amount(1_001 * COIN))), Abort::Version);
    assert_eq!(abort(market.add_model(0)), Abort::Version);
    assert_eq!(abort(market.create_task(new_task())), Abort::Version);
    assert_eq!(abort(market.subscribe(NodeId(1), 0, 1)), Abort::Version);
    assert_eq!(abort(market.reprice(NodeId(1), 0)), Abort::Version);
    assert_eq!(abort(market.rotate_key(NodeId(1))), Abort::Version);
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::Version);
    market.world.db.version = 1;
    market.world.treasury.version = 2;
    assert_eq!(abort(market.register(2, Amount(1_001 * COIN))), Abort::Version);
    market.world.treasury.version = 1;
    market.world.treasury.db = Address::TWO;
    assert_eq!(abort(market.register(2, Amount(1_001 * COIN))), Abort::WrongDb);
}
