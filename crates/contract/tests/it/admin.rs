//! Parameters and their bounds, pause, retirement, the treasury, versions, upgrades.

use crate::harness::*;
use atoma_contract::stack::Purchase;
use atoma_contract::task::NewTask;
use atoma_contract::upgrade::{self, UpgradeCap, UpgradeReceipt};
use atoma_contract::{AdminCap, Beacon, Owned, TxContext, admin, beacon, params, stack, treasury};
use atoma_types::onchain::{Abort, AuditTerms, Event, Params};
use atoma_types::{Address, Amount, Hash32, ModelId, NodeId, Price, Units};
use sui_sdk_types::Digest;

fn ctx() -> TxContext {
    TxContext::new(STRANGER, 0, Digest::ZERO, 0)
}

#[test]
fn presets_are_the_published_ones_and_within_the_bounds() {
    let (public, devnet) = (params::public(), params::devnet());
    assert_eq!((public.unit_ms, devnet.unit_ms), (3_600_000, 1_000));
    assert_eq!((public.close_delay_ms, devnet.close_delay_ms), (86_400_000, 20_000));
    assert_eq!((public.exit_ms, devnet.exit_ms), (1_209_600_000, 640_000));
    assert_eq!((public.stack_life_ms, devnet.stack_life_ms), (2_592_000_000, 3_600_000));
    assert_eq!((public.hold_ms, devnet.hold_ms), (259_200_000, 150_000));
    for params in [public, devnet] {
        Market::with_params(&params);
        assert_eq!(params.weight_cap.0, 4 * params.min_collateral.0);
    }
}

#[test]
fn one_cap_makes_one_market() {
    let mut ctx = ctx();
    admin::init(&mut ctx);
    let Owned::AdminCap(mut cap) = ctx.transfers[0].object.clone() else { panic!("no cap") };
    assert_eq!((ctx.transfers[0].to, cap.db), (STRANGER, Address::ZERO));
    let short = &params::devnet().values()[1..];
    assert_eq!(admin::create(&mut cap, short, &mut ctx).unwrap_err(), Abort::BadParams);
    let genesis = admin::create(&mut cap, &params::devnet().values(), &mut ctx).unwrap();
    assert_eq!([genesis.db.id, genesis.treasury.db, genesis.beacon.db], [cap.db; 3]);
    let again = admin::create(&mut cap, &params::devnet().values(), &mut ctx);
    assert_eq!(again.unwrap_err(), Abort::AlreadyDone);
}

/// The parameters with one of them changed.
fn changed(change: impl Fn(&mut Params)) -> Params {
    let mut params = params::devnet();
    change(&mut params);
    params
}

fn is_refused(change: impl Fn(&mut Params)) -> bool {
    let mut market = Market::new();
    match market.set_params(&changed(change)) {
        Ok(_) => false,
        Err(abort) => {
            assert_eq!(abort, Abort::BadParams);
            true
        }
    }
}

#[test]
fn windows_are_positive_multiples_within_bounds() {
    type Field = fn(&mut Params) -> &mut u64;
    let windows: [Field; 14] = [
        |params| &mut params.stack_life_ms,
        |params| &mut params.close_delay_ms,
        |params| &mut params.exit_ms,
        |params| &mut params.reveal_ms,
        |params| &mut params.commit_ms,
        |params| &mut params.verdict_ms,
        |params| &mut params.grace_ms,
        |params| &mut params.challenge_ms,
        |params| &mut params.hold_ms,
        |params| &mut params.dispute_window_ms,
        |params| &mut params.answer_window_ms,
        |params| &mut params.body_window_ms,
        |params| &mut params.queue_max_ms,
        |params| &mut params.timelock_ms,
    ];
    for field in windows {
        for bad in [0, 10_000_001_000, u64::MAX] {
            assert!(is_refused(|params| *field(params) = bad));
        }
        assert!(is_refused(|params| *field(params) += 1), "not a multiple of the unit");
    }
    assert!(is_refused(|params| params.unit_ms = 500), "the unit never changes");
    for bad in [0, 10_000_000_001, u64::MAX] {
        assert!(is_refused(|params| params.answer_interval_max_ms = bad));
    }
    assert!(!is_refused(|params| params.timelock_ms = 10_000_000_000));
}

/// Both are live parameters of what is open already: an administrator could keep claims and collateral for years.
#[test]
fn neither_beats_nor_exits_can_be_put_off_for_years() {
    for bad in [0, 3_600_001, u64::MAX] {
        assert!(is_refused(|params| params.beat_min_ms = bad));
    }
    assert!(!is_refused(|params| params.beat_min_ms = 1));
    assert!(!is_refused(|params| params.beat_min_ms = 3_600_000));
    let longest =
        |exit_ms| move |params: &mut Params| (params.exit_ms, params.timelock_ms) = (exit_ms, 10_000_000_000);
    assert!(!is_refused(longest(10_000_000_000 - 3_600_000)));
    assert!(is_refused(|params| params.exit_ms = 10_000_001_000));
}

#[test]
fn windows_that_contain_others_are_long_enough() {
    // 640 ≥ 20 + 10 + 20 + 10 + 5 + 2·150 + 4·2 leaves 267 s.
    assert!(!is_refused(|params| params.close_delay_ms += 267_000));
    assert!(is_refused(|params| params.close_delay_ms += 268_000), "exit");
    assert!(is_refused(|params| params.challenge_ms += 1_000), "hold");
    assert!(is_refused(|params| params.hold_ms -= 1_000), "hold");
    assert!(is_refused(|params| params.commit_ms += 1_000), "hold");
    assert!(is_refused(|params| params.stack_life_ms += 761_000), "timelock");
    assert!(!is_refused(|params| params.stack_life_ms += 760_000));
    assert!(is_refused(|params| params.dispute_window_ms = 21_000), "close_delay");
    assert!(is_refused(|params| params.answer_interval_max_ms = 20_001), "queue_max");
    assert!(!is_refused(|params| params.answer_interval_max_ms = 20_000));
}

#[test]
fn amounts_and_rates_are_bounded_on_both_sides() {
    let over = 1_000_000_000_000_001;
    assert!(is_refused(|params| params.min_collateral = Amount(0)));
    assert!(is_refused(|params| params.min_collateral = Amount(over)));
    assert!(is_refused(|params| params.weight_cap = Amount(params.min_collateral.0 - 1)));
    assert!(!is_refused(|params| params.weight_cap = params.min_collateral));
    assert!(is_refused(|params| params.weight_cap = Amount(1_000 * params.min_collateral.0 + 1)));
    assert!(!is_refused(|params| params.weight_cap = Amount(1_000 * params.min_collateral.0)));
    assert!(is_refused(|params| params.registration_fee = Amount(over)));
    assert!(is_refused(|params| params.open_fee = Amount(u64::MAX)));
    assert!(is_refused(|params| params.bond = Amount(over)));
    assert!(is_refused(|params| params.answer_fee = Amount(over)));
    assert!(is_refused(|params| params.resolve_fee = Amount(over)));
    assert!(is_refused(|params| params.min_claim = Amount(over)));
    assert!(is_refused(|params| params.verifier_pay_min = Amount(over)));
    assert!(is_refused(|params| params.compensation_max = Amount(params.min_collateral.0 + 1)));
    assert!(!is_refused(|params| params.compensation_max = params.min_collateral));
    assert!(is_refused(|params| params.fraud_permille = 499));
    assert!(is_refused(|params| params.fraud_permille = 1_001));
    assert!(is_refused(|params| params.timeout_permille = 1_001));
    assert!(is_refused(|params| params.verdict_permille = u64::MAX));
    assert!(is_refused(|params| params.no_commit_permille = 1_001));
    assert!(is_refused(|params| params.burn_permille = 499));
    assert!(is_refused(|params| params.burn_permille = 1_001));
    assert!(is_refused(|params| params.compensation_times = 11));
    assert!(is_refused(|params| params.p_min_ppb = 999_999));
    assert!(is_refused(|params| params.p_min_ppb = 1_000_000_001));
    assert!(is_refused(|params| params.p_stat_ppb = 999_999));
    assert!(is_refused(|params| params.cost_permille = 0));
    assert!(is_refused(|params| params.cost_permille = 100_001));
    assert!(is_refused(|params| params.collusion_permille = 501));
    assert!(is_refused(|params| params.safety_permille = 100_001));
    assert!(is_refused(|params| params.verifiers = 0));
    assert!(is_refused(|params| params.verifiers = 5));
    assert!(is_refused(|params| params.verifiers = 2), "min_verifiers");
    assert!(!is_refused(|params| (params.verifiers, params.min_verifiers) = (2, 11)));
    assert!(is_refused(|params| params.records = 0));
    assert!(is_refused(|params| params.records = 9));
    assert!(is_refused(|params| params.min_verifiers = u64::MAX));
}

/// (1 − r)/q = 1.75 at r = ⅓, k = 1.
#[test]
fn the_safety_factor_makes_up_for_colluding_verifiers() {
    let q = params::conviction_ppb(333, 1);
    assert!((380_000_000..382_000_000).contains(&q), "{q}");
    assert!(is_refused(|params| params.safety_permille = 1_740));
    assert!(!is_refused(|params| params.safety_permille = 1_760));
    assert_eq!(params::conviction_ppb(0, 1), 1_000_000_000);
    assert!(params::conviction_ppb(333, 4) > q);
    // Half of them: 0.5 · 29/128 of cheats convicted, so 4.41 times.
    assert_eq!(params::conviction_ppb(500, 1), 113_281_250);
    assert!(is_refused(|params| (params.collusion_permille, params.safety_permille) = (500, 4_413)));
    assert!(!is_refused(|params| (params.collusion_permille, params.safety_permille) = (500, 4_414)));
}

#[test]
fn parameters_hold_from_the_next_epoch() {
    let mut market = Market::with_nodes(&[COIN]);
    let dearer = changed(|params| params.open_fee = Amount(40_000));
    market.set_params(&dearer).unwrap();
    let fee = |market: &mut Market| {
        let id = market.buy(purchase(ANY));
        market.stack(id).params.open_fee.0
    };
    assert_eq!(fee(&mut market), 30_000);
    // A second call in the epoch replaces what was to come.
    market.set_params(&changed(|params| params.open_fee = Amount(50_000))).unwrap();
    assert_eq!(fee(&mut market), 30_000);
    market.epoch = 1;
    assert_eq!(fee(&mut market), 50_000);
    market.set_params(&params::devnet()).unwrap();
    assert_eq!(fee(&mut market), 50_000);
    market.epoch = 2;
    assert_eq!(fee(&mut market), 30_000);
}

/// Stacks bought under longer windows may still run: what outlasts them must not get shorter.
#[test]
fn exit_and_timelock_never_get_shorter() {
    let mut market = Market::new();
    let longer = changed(|params| (params.exit_ms, params.timelock_ms) = (700_000, 6_000_000));
    market.set_params(&longer).unwrap();
    // Not in force yet, so it can be taken back.
    market.set_params(&params::devnet()).unwrap();
    market.set_params(&longer).unwrap();
    market.epoch = 1;
    assert_eq!(abort(market.set_params(&params::devnet())), Abort::BadParams);
    let shorter = Params { timelock_ms: 5_999_000, ..longer.clone() };
    assert_eq!(abort(market.set_params(&shorter)), Abort::BadParams);
    market.set_params(&longer).unwrap();
}

/// Parameters changed under a running stack: it is judged by its own copy.
#[test]
fn new_parameters_do_not_touch_what_runs() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let before = market.stack(id).clone();
    let other = changed(|params| {
        params.close_delay_ms = 10_000;
        params.open_fee = Amount(1_000_000_000);
        params.hold_ms = 155_000;
        params.min_collateral = Amount(2_000 * COIN);
    });
    market.set_params(&other).unwrap();
    market.epoch = 1;
    // The node now has too little for new purchases, but what is bought goes on.
    assert_eq!(abort(market.acquire(1, 10_000 * COIN, purchase(SINGLE))), Abort::NoEligible);
    market.open(USER, id, market.grant(id, 1, 1_000_000, 1)).unwrap();
    market.settle(id, market.voucher(id, 1, 1_000, 1)).unwrap();
    market.request_close(USER, id).unwrap();
    market.clock_ms += 20_000;
    market.settle(id, market.voucher(id, 1, 2_000, 2)).unwrap();
    assert_eq!(abort(market.refund(USER, id)), Abort::TooEarly);
    market.clock_ms += 1;
    market.refund(USER, id).unwrap();
    assert_eq!(market.stack(id).params, before.params);
}

#[test]
fn a_task_tightens_terms_and_never_loosens_them() {
    let mut market = Market::with_nodes(&[COIN]);
    let tight = AuditTerms {
        p_min_ppb: 20_000_000,
        p_stat_ppb: 1,
        verifiers: 3,
        records: 2,
        min_claim: Amount(5 * COIN),
        challenge_ms: 30_000,
        hold_ms: 0,
    };
    let new = NewTask { audit: tight, min_collateral: Amount(1_500 * COIN), ..new_task() };
    market.create_task(new).unwrap();
    let id = market.buy(Purchase { task: atoma_types::TaskId(2), ..purchase(ANY) });
    let terms = &market.stack(id).params;
    assert_eq!((terms.p_min_ppb, terms.p_stat_ppb), (20_000_000, 50_000_000));
    assert_eq!((terms.verifiers, terms.min_verifiers, terms.records), (3, 12, 2));
    assert_eq!((terms.min_claim, terms.challenge_ms), (Amount(5 * COIN), 30_000));
    // 30 + 2 · (10 + 2·20 + 5 + 4·2): the hold follows the longer challenge window.
    assert_eq!(terms.hold_ms, 156_000);
    assert_eq!((terms.min_collateral, terms.weight_cap), (Amount(1_500 * COIN), Amount(6_000 * COIN)));
}

/// A hold longer than collateral stays would let a node leave before it can be convicted.
#[test]
fn a_hold_that_outlasts_collateral_is_refused_at_level_2() {
    let mut market = Market::with_nodes(&[]);
    let held =
        |hold_ms| NewTask { level: 2, audit: AuditTerms { hold_ms, ..AuditTerms::default() }, ..new_task() };
    market.create_task(held(283_000)).unwrap();
    assert_eq!(abort(market.create_task(held(284_000))), Abort::BadParams);
    market.create_task(NewTask { level: 0, ..held(284_000) }).unwrap();
    // And again when buying, if the other windows have grown since.
    market.set_params(&changed(|params| params.close_delay_ms += 2_000)).unwrap();
    let bought = || Purchase { task: atoma_types::TaskId(2), ..purchase(ANY) };
    assert_eq!(abort(market.acquire(1, 100 * COIN, bought())), Abort::NotEnoughVerifiers);
    market.epoch = 1;
    assert_eq!(abort(market.acquire(1, 100 * COIN, bought())), Abort::BadParams);
}

#[test]
fn only_the_cap_of_this_market_administers_it() {
    let mut market = Market::with_nodes(&[COIN]);
    market.cap = AdminCap { db: Address::TWO, ..market.cap };
    let cap = market.cap.clone();
    assert_eq!(abort(market.set_params(&params::devnet())), Abort::NotAuthorized);
    let mut refused = |call: &mut dyn FnMut(&mut World, &mut TxContext) -> atoma_contract::Result| {
        assert_eq!(abort(market.call(STRANGER, Amount::ZERO, call)), Abort::NotAuthorized);
    };
    refused(&mut |world, ctx| admin::set_paused(&mut world.db, &cap, true, ctx));
    refused(&mut |world, ctx| admin::disable_model(&mut world.db, &cap, ModelId(1), ctx));
    refused(&mut |world, ctx| admin::migrate(&mut world.db, &cap, ctx));
    refused(&mut |world, ctx| admin::pay_from_treasury(&mut world.treasury, &cap, STRANGER, Amount(1), ctx));
}

#[test]
fn pause_stops_purchases_and_top_ups_only() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let cap = market.cap.clone();
    let pause = |market: &mut Market, paused| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| admin::set_paused(&mut world.db, &cap, paused, ctx))
    };
    pause(&mut market, true).unwrap();
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::Paused);
    assert_eq!(abort(market.top_up(USER, id, 10 * COIN, 1)), Abort::Paused);
    market.register(2, Amount(1_001 * COIN)).unwrap();
    market.subscribe(NodeId(2), COIN, 1).unwrap();
    market.open(USER, id, market.grant(id, 1, 1_000_000, 1)).unwrap();
    market.settle(id, market.voucher(id, 1, 10, 1)).unwrap();
    market.request_close(USER, id).unwrap();
    market.pass_window(id);
    market.refund(USER, id).unwrap();
    market.withdraw(payout(1), id).unwrap();
    pause(&mut market, false).unwrap();
    market.buy(purchase(SINGLE));
}

#[test]
fn a_retired_model_is_not_sold_and_runs_on() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let cap = market.cap.clone();
    let disable = |market: &mut Market, model| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| {
            admin::disable_model(&mut world.db, &cap, ModelId(model), ctx)
        })
    };
    assert_eq!(abort(disable(&mut market, 2)), Abort::UnknownModel);
    disable(&mut market, 1).unwrap();
    assert_eq!(abort(disable(&mut market, 1)), Abort::ModelDisabled);
    assert_eq!(abort(market.acquire(1, 10 * COIN, purchase(SINGLE))), Abort::ModelDisabled);
    assert_eq!(abort(market.top_up(USER, id, 10 * COIN, 1)), Abort::ModelDisabled);
    assert_eq!(abort(market.create_task(new_task())), Abort::ModelDisabled);
    market.open(USER, id, market.grant(id, 1, 1_000_000, 1)).unwrap();
    market.settle(id, market.voucher(id, 1, 1_000_000, 1)).unwrap();
}

#[test]
fn the_treasury_pays_what_it_has() {
    let mut market = Market::with_nodes(&[COIN]);
    let cap = market.cap.clone();
    let pay = |market: &mut Market, amount| {
        market.call(USER, Amount::ZERO, |world, ctx| {
            admin::pay_from_treasury(&mut world.treasury, &cap, CREATOR, Amount(amount), ctx)
        })
    };
    assert_eq!(abort(pay(&mut market, 0)), Abort::BadArgument);
    assert_eq!(abort(pay(&mut market, COIN + 1)), Abort::InsufficientPayment);
    assert_eq!(abort(pay(&mut market, u64::MAX)), Abort::InsufficientPayment);
    let ctx = pay(&mut market, COIN).unwrap();
    assert_eq!((ctx.transfers[0].to, coins(&ctx)), (CREATOR, COIN));
    assert_eq!(market.world.treasury.balance, Amount::ZERO);
}

#[test]
fn objects_follow_the_database_to_a_newer_version_only() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let cap = market.cap.clone();
    let mut migrate = |expected: Option<Abort>| {
        let World { db, treasury, beacon, stacks, .. } = &mut market.world;
        let stack = stacks.get_mut(&id).unwrap();
        let results = [
            admin::migrate_treasury(db, treasury, &mut ctx()),
            admin::migrate_beacon(db, beacon, &mut ctx()),
            stack::migrate(db, stack, &mut ctx()),
        ];
        for result in results {
            assert_eq!(result.err(), expected);
        }
        assert_eq!(admin::migrate(db, &cap, &mut ctx()).err(), expected);
        (treasury.version, beacon.version, stack.version) = (0, 0, 0);
    };
    migrate(Some(Abort::Version));
    market.world.db.version = 0;
    let World { db, treasury, .. } = &mut market.world;
    assert_eq!(admin::migrate_treasury(db, treasury, &mut ctx()), Err(Abort::Version));
    admin::migrate(db, &market.cap, &mut ctx()).unwrap();
    let stack = market.world.stacks.get_mut(&id).unwrap();
    stack::migrate(&market.world.db, stack, &mut ctx()).unwrap();
    assert_eq!((market.world.db.version, stack.version), (1, 1));
}

#[test]
fn an_upgrade_waits_longer_than_any_stack_and_exit() {
    let mut market = Market::new();
    let (cap, now) = (market.cap.clone(), market.clock_ms);
    let db = &mut market.world.db;
    let upgrade_cap = UpgradeCap { id: Address::TWO, package: Address::THREE, version: 1, policy: 0 };
    let stranger = AdminCap { db: Address::TWO, ..cap.clone() };
    let refused = upgrade::lock(db, &stranger, upgrade_cap.clone(), &[Address::THREE], &mut ctx());
    assert_eq!(refused.unwrap_err(), Abort::NotAuthorized);
    let mut lock = upgrade::lock(db, &cap, upgrade_cap, &[Address::TWO, Address::THREE], &mut ctx()).unwrap();
    let digest = [7; 32];
    assert_eq!(upgrade::authorize(db, &mut lock, &cap, now, &mut ctx()), Err(Abort::NoProposal));
    assert_eq!(upgrade::propose(db, &mut lock, &cap, &[7; 31], now, &mut ctx()), Err(Abort::BadArgument));
    let never = upgrade::propose(db, &mut lock, &cap, &digest, u64::MAX, &mut ctx());
    assert_eq!(never, Err(Abort::Arithmetic));
    upgrade::propose(db, &mut lock, &cap, &digest, now, &mut ctx()).unwrap();
    let again = upgrade::propose(db, &mut lock, &cap, &digest, now, &mut ctx());
    assert_eq!(again, Err(Abort::AlreadyDone));
    let ready_ms = now + 5_000_000;
    let early = upgrade::authorize(db, &mut lock, &cap, ready_ms - 1, &mut ctx());
    assert_eq!(early, Err(Abort::TooEarly));
    assert_eq!(upgrade::cancel(db, &mut lock, &stranger, &mut ctx()), Err(Abort::NotAuthorized));
    upgrade::cancel(db, &mut lock, &cap, &mut ctx()).unwrap();
    assert_eq!(upgrade::cancel(db, &mut lock, &cap, &mut ctx()), Err(Abort::NoProposal));
    upgrade::propose(db, &mut lock, &cap, &digest, now, &mut ctx()).unwrap();
    let ticket = upgrade::authorize(db, &mut lock, &cap, ready_ms, &mut ctx()).unwrap();
    assert_eq!((ticket.package, ticket.digest), (Address::THREE, Hash32(digest)));
    let foreign = UpgradeReceipt { cap: Address::THREE, package: Address::TWO };
    assert_eq!(upgrade::commit(&mut lock, foreign, &mut ctx()), Err(Abort::NotAuthorized));
    let receipt = UpgradeReceipt { cap: ticket.cap, package: Address::TWO };
    upgrade::commit(&mut lock, receipt, &mut ctx()).unwrap();
    assert_eq!((lock.cap.package, lock.cap.version, lock.proposal), (Address::TWO, 2, None));
}

/// The timelock would stand around a worthless package, and the market's own change at once.
#[test]
fn the_cap_of_another_package_is_not_locked() {
    let market = Market::new();
    let other = UpgradeCap { id: Address::TWO, package: Address::TWO, version: 1, policy: 0 };
    let refused = upgrade::lock(&market.world.db, &market.cap, other, &[Address::THREE], &mut ctx());
    assert_eq!(refused.unwrap_err(), Abort::BadArgument);
}

/// The time to leave counts as it is now, if it has grown since the proposal; and no proposal is kept ready.
#[test]
fn a_proposal_waits_for_the_longer_timelock_and_lapses() {
    let mut market = Market::new();
    let (cap, now) = (market.cap.clone(), market.clock_ms);
    let held = UpgradeCap { id: Address::TWO, package: Address::THREE, version: 1, policy: 0 };
    let mut lock = upgrade::lock(&market.world.db, &cap, held, &[Address::THREE], &mut ctx()).unwrap();
    upgrade::propose(&market.world.db, &mut lock, &cap, &[7; 32], now, &mut ctx()).unwrap();
    market.set_params(&changed(|params| params.timelock_ms = 6_000_000)).unwrap();
    market.epoch = 1;
    let authorize = |at_ms| {
        let mut ctx = TxContext::new(STRANGER, 1, Digest::ZERO, 0);
        upgrade::authorize(&market.world.db, &mut lock.clone(), &cap, at_ms, &mut ctx).err()
    };
    assert_eq!(authorize(now + 5_000_000), Some(Abort::TooEarly));
    let ready_ms = now + 6_000_000;
    assert_eq!(authorize(ready_ms - 1), Some(Abort::TooEarly));
    assert_eq!(authorize(ready_ms), None);
    assert_eq!(authorize(ready_ms + 14 * 86_400_000), None);
    assert_eq!(authorize(ready_ms + 14 * 86_400_000 + 1), Some(Abort::WindowClosed));
    upgrade::cancel(&market.world.db, &mut lock, &cap, &mut ctx()).unwrap();
    upgrade::propose(&market.world.db, &mut lock, &cap, &[7; 32], ready_ms, &mut ctx()).unwrap();
}

#[test]
fn the_beacon_draws_each_round_once() {
    let mut market = Market::new();
    let beat = |market: &mut Market, seed: u8| {
        let clock_ms = market.clock_ms;
        market.call(STRANGER, Amount::ZERO, |world, ctx| {
            beacon::beat(&world.db, &mut world.beacon, &[seed; 32], clock_ms, ctx)
        })
    };
    assert_eq!(market.world.beacon.seed(0), Err(Abort::NoSeed));
    assert_eq!(market.world.beacon.seed(1), Err(Abort::NoSeed));
    beat(&mut market, 1).unwrap();
    assert_eq!(abort(beat(&mut market, 2)), Abort::TooEarly);
    market.clock_ms += 999;
    assert_eq!(abort(beat(&mut market, 2)), Abort::TooEarly);
    market.clock_ms += 1;
    let ctx = beat(&mut market, 2).unwrap();
    assert!(matches!(ctx.events.as_slice(), [Event::BeaconRound(round)] if round.round == 2));
    // A clock that went back is no reason to draw again.
    market.clock_ms -= 5_000;
    assert_eq!(abort(beat(&mut market, 3)), Abort::TooEarly);
    let seeds = [1, 2].map(|round| market.world.beacon.seed(round).unwrap());
    assert_eq!(seeds, [Hash32([1; 32]), Hash32([2; 32])]);
    assert_eq!(market.world.beacon.seed(3), Err(Abort::NoSeed));
    let stale = Beacon { version: 2, ..market.world.beacon.clone() };
    market.world.beacon = stale;
    assert_eq!(abort(beat(&mut market, 3)), Abort::Version);
}

#[test]
fn nothing_to_collect_is_nothing_due() {
    let mut market = Market::with_nodes(&[COIN]);
    let collect = |market: &mut Market| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| {
            treasury::collect(&mut world.db, &mut world.treasury, ctx)
        })
    };
    assert_eq!(abort(collect(&mut market)), Abort::NothingDue);
    market.world.treasury.db = Address::TWO;
    assert_eq!(abort(collect(&mut market)), Abort::WrongDb);
}

/// Arguments at the end of their range meet an abort, never a panic.
#[test]
fn the_largest_arguments_abort() {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    let most = || Units(u64::MAX);
    assert_eq!(abort(market.top_up(USER, id, u64::MAX, u64::MAX)), Abort::Arithmetic);
    assert_eq!(abort(market.top_up(USER, id, 1, 1_000_000_000_000)), Abort::BadArgument);
    let all = Purchase { units: most(), max_price: Price(u64::MAX), max_opens: u64::MAX, ..purchase(ANY) };
    assert_eq!(abort(market.acquire(1, u64::MAX, all)), Abort::BadArgument);
    assert_eq!(abort(market.settle(id, market.voucher(id, 1, u64::MAX, u64::MAX))), Abort::OverClaimed);
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, u64::MAX, u64::MAX))), Abort::NotEligible);
    assert_eq!(abort(market.add_collateral(NodeId(1), u64::MAX)), Abort::Arithmetic);
    market.is_audited = false;
    market.clock_ms = u64::MAX;
    market.epoch = u64::MAX;
    assert_eq!(abort(market.set_params(&params::devnet())), Abort::Arithmetic);
    assert_eq!(abort(market.reprice(NodeId(1), 1)), Abort::Arithmetic);
    market.disable(NodeId(1)).unwrap();
    assert_eq!(market.node(NodeId(1)).exit_ms, u64::MAX);
    market.refund(USER, id).unwrap();
}
