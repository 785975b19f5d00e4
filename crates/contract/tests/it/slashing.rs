//! Slashes, bookings, pots, dues, reputation.

use crate::harness::*;
use atoma_contract::{Result, TxContext, node, params, slash, treasury};
use atoma_types::onchain::{Abort, Event, Params};
use atoma_types::{Address, Amount, NodeId};

const NODE: NodeId = NodeId(1);

fn terms() -> Params {
    params::devnet()
}

/// A registered node with a thousand coins.
fn market() -> Market {
    Market::with_nodes(&[COIN])
}

fn timeout(market: &mut Market, cost: u64, to: Address) -> Result<TxContext> {
    let clock_ms = market.clock_ms;
    market.call(STRANGER, Amount::ZERO, |world, ctx| {
        slash::timeout(&mut world.db, NODE, &terms(), Amount(cost), to, clock_ms, ctx).map(drop)
    })
}

fn convict(market: &mut Market, wanted: u64, to: Address) -> Result<TxContext> {
    let clock_ms = market.clock_ms;
    market.call(STRANGER, Amount::ZERO, |world, ctx| {
        slash::convict(&mut world.db, NODE, &terms(), Amount(wanted), to, clock_ms, ctx).map(drop)
    })
}

fn slashed(market: &mut Market, permille: u64, terms: &Params) -> Result<TxContext> {
    market.call(STRANGER, Amount::ZERO, |world, ctx| slash::slash(&mut world.db, NODE, terms, permille, ctx))
}

fn open_audit(market: &mut Market) {
    market.call(STRANGER, Amount::ZERO, |world, _| slash::open_audit(&mut world.db, NODE)).unwrap();
}

fn close_audit(market: &mut Market) {
    market.call(STRANGER, Amount::ZERO, |world, _| slash::close_audit(&mut world.db, NODE)).unwrap();
}

fn settle(market: &mut Market) -> Result<TxContext> {
    let clock_ms = market.clock_ms;
    market
        .call(STRANGER, Amount::ZERO, |world, ctx| node::settle_bookings(&mut world.db, NODE, clock_ms, ctx))
}

fn withdraw(market: &mut Market, to: Address) -> Result<TxContext> {
    market.call(to, Amount::ZERO, |world, ctx| node::withdraw_due(&mut world.db, ctx))
}

fn due(market: &Market, to: Address) -> u64 {
    market.world.db.due_of(to).0
}

#[test]
fn half_of_every_slash_is_burned_rounded_up() {
    let mut market = market();
    market.add_collateral(NODE, 1).unwrap();
    // 5 ‰ of 1,000,000,001 are 5,000,000.
    slashed(&mut market, 5, &terms()).unwrap();
    assert_eq!(
        (market.world.db.to_burn, market.world.db.to_treasury),
        (Amount(2_500_000), Amount(2_500_000))
    );
    let odd = Params { burn_permille: 501, ..terms() };
    slashed(&mut market, 1, &odd).unwrap();
    // 1 ‰ of 995,000,001 are 995,000, of which 499 ‰ are 496,505.
    assert_eq!(market.world.db.to_burn, Amount(2_500_000 + 498_495));
    slashed(&mut market, 1_000, &terms()).unwrap();
    assert_eq!(market.node(NODE).collateral, Amount::ZERO);
    slashed(&mut market, 1_000, &terms()).unwrap();
    assert_eq!(market.world.db.pool, market.world.db.to_burn.add(market.world.db.to_treasury).unwrap());
}

#[test]
fn what_slashes_leave_is_collected_once() {
    let mut market = market();
    slashed(&mut market, 100, &terms()).unwrap();
    let collect = |market: &mut Market| {
        market.call(STRANGER, Amount::ZERO, |world, ctx| {
            treasury::collect(&mut world.db, &mut world.treasury, ctx)
        })
    };
    collect(&mut market).unwrap();
    assert_eq!(market.world.treasury.burned, Amount(50 * COIN));
    assert_eq!(market.world.treasury.balance, Amount(51 * COIN));
    assert_eq!(abort(collect(&mut market)), Abort::NothingDue);
}

#[test]
fn a_timeout_compensates_within_its_caps() {
    let mut first = market();
    timeout(&mut first, COIN, USER).unwrap();
    assert_eq!(due(&first, USER), 10 * COIN, "ten times the cost");
    assert_eq!(first.node(NODE).collateral, Amount(900 * COIN));
    assert_eq!(first.node(NODE).timeout_pot, Amount(40 * COIN));
    let mut dear = market();
    timeout(&mut dear, u64::MAX, USER).unwrap();
    assert_eq!(due(&dear, USER), 50 * COIN, "at most what is not burned, and the maximum");
    assert_eq!(coins(&withdraw(&mut dear, USER).unwrap()), 50 * COIN);
    assert_eq!(abort(withdraw(&mut dear, USER)), Abort::NothingDue);
    let mut free = market();
    timeout(&mut free, 0, USER).unwrap();
    assert_eq!(due(&free, USER), 0);
}

/// Many at once are slashed once, and share.
#[test]
fn timeouts_of_one_window_share_one_slash() {
    let mut market = market();
    for _ in 0..6 {
        timeout(&mut market, COIN, USER).unwrap();
    }
    assert_eq!(due(&market, USER), 50 * COIN);
    assert_eq!(market.node(NODE).collateral, Amount(900 * COIN));
    assert_eq!(market.node(NODE).reputation, 0, "each costs ten points");
    market.clock_ms += 9_999;
    timeout(&mut market, COIN, USER).unwrap();
    assert_eq!(market.node(NODE).collateral, Amount(900 * COIN));
    market.clock_ms += 1;
    timeout(&mut market, COIN, USER).unwrap();
    assert_eq!(market.node(NODE).collateral, Amount(810 * COIN));
    assert_eq!(due(&market, USER), 60 * COIN);
}

#[test]
fn a_pot_that_nobody_can_share_is_the_treasurys() {
    let mut market = market();
    timeout(&mut market, COIN, USER).unwrap();
    assert_eq!(abort(settle(&mut market)), Abort::NothingDue);
    market.clock_ms += 10_000;
    settle(&mut market).unwrap();
    assert_eq!(
        (market.node(NODE).timeout_pot, market.world.db.to_treasury),
        (Amount::ZERO, Amount(40 * COIN))
    );
    assert_eq!(abort(settle(&mut market)), Abort::NothingDue);
    timeout(&mut market, COIN, USER).unwrap();
    market.clock_ms += 10_000;
    // Or with the next slash.
    timeout(&mut market, COIN, USER).unwrap();
    assert_eq!(market.world.db.to_treasury, Amount(75 * COIN));
}

/// A node that is about to be convicted disputes itself, to save half of its collateral as compensation.
#[test]
fn collateral_cannot_be_drained_before_a_conviction() {
    let mut market = market();
    open_audit(&mut market);
    for _ in 0..3 {
        timeout(&mut market, u64::MAX, operator(1)).unwrap();
        market.clock_ms += 10_000;
    }
    assert_eq!(due(&market, operator(1)), 0);
    assert_eq!(market.node(NODE).bookings.len(), 3);
    assert_eq!(abort(withdraw(&mut market, operator(1))), Abort::NothingDue);
    assert_eq!(abort(settle(&mut market)), Abort::NothingDue);
    convict(&mut market, COIN, USER).unwrap();
    close_audit(&mut market);
    assert_eq!(abort(settle(&mut market)), Abort::NothingDue);
    assert_eq!((due(&market, operator(1)), due(&market, USER)), (0, COIN));
    assert_eq!(market.node(NODE).collateral, Amount::ZERO);
    assert_eq!(market.world.db.to_burn, Amount(500 * COIN));
    assert_eq!(market.world.db.to_treasury, Amount(499 * COIN));
}

#[test]
fn bookings_are_paid_when_the_audits_end_or_two_holds_later() {
    let mut market = market();
    open_audit(&mut market);
    open_audit(&mut market);
    timeout(&mut market, COIN, USER).unwrap();
    close_audit(&mut market);
    assert_eq!(abort(settle(&mut market)), Abort::NothingDue);
    market.clock_ms += 299_999;
    settle(&mut market).unwrap();
    assert_eq!(due(&market, USER), 0, "only the pot");
    market.clock_ms += 1;
    settle(&mut market).unwrap();
    assert_eq!(due(&market, USER), 10 * COIN);
    timeout(&mut market, COIN, CREATOR).unwrap();
    close_audit(&mut market);
    settle(&mut market).unwrap();
    assert_eq!(due(&market, CREATOR), 10 * COIN);
}

/// A node's row has a bound, however many dispute it while it is audited.
#[test]
fn no_more_than_32_compensations_are_booked() {
    let mut market = market();
    open_audit(&mut market);
    for n in 0..40 {
        timeout(&mut market, 1, operator(n)).unwrap();
    }
    assert_eq!(market.node(NODE).bookings.len(), 32);
    close_audit(&mut market);
    settle(&mut market).unwrap();
    assert_eq!((due(&market, operator(31)), due(&market, operator(32))), (10, 0));
}

#[test]
fn a_conviction_disables_and_takes_everything() {
    let mut market = market();
    market.epoch = 7;
    let ctx = convict(&mut market, u64::MAX, USER).unwrap();
    let node = market.node(NODE);
    assert_eq!((node.convictions, node.reputation, node.collateral), (1, 0, Amount::ZERO));
    assert_eq!((node.exit_ms, node.exit_epoch), (market.clock_ms + 640_000, 9));
    assert_eq!(due(&market, USER), 50 * COIN, "at most the maximum");
    assert!(ctx.events.iter().any(|event| matches!(event, Event::NodeDisabled(_))));
    assert_eq!(abort(market.disable(NODE)), Abort::NodeDisabled);
    // Again, for another claim: nothing more to take, and the way out stays where it was.
    market.clock_ms += 5;
    convict(&mut market, COIN, USER).unwrap();
    assert_eq!(market.node(NODE).convictions, 2);
    assert_eq!(market.node(NODE).exit_ms, market.clock_ms - 5 + 640_000);
    assert_eq!(abort(market.exit(operator(1), NODE)), Abort::TooEarly);
}

#[test]
fn collateral_stays_while_audits_or_bookings_are_open() {
    let mut market = market();
    open_audit(&mut market);
    timeout(&mut market, COIN, USER).unwrap();
    market.disable(NODE).unwrap();
    market.clock_ms += 640_000;
    market.epoch = 2;
    assert_eq!(abort(market.exit(operator(1), NODE)), Abort::OpenDuties);
    close_audit(&mut market);
    let ctx = market.exit(operator(1), NODE).unwrap();
    assert_eq!(coins(&ctx), 900 * COIN);
    // Leaving settles what others are owed.
    assert_eq!((due(&market, USER), market.world.db.to_treasury), (10 * COIN, Amount(40 * COIN)));
}

/// A coin that refuses an address must not stop what others are paid: they are credited, and only the one who
/// withdraws is handed a coin.
#[test]
fn nobody_but_the_caller_is_handed_a_coin() {
    let mut market = market();
    for ctx in [timeout(&mut market, COIN, USER).unwrap(), convict(&mut market, COIN, CREATOR).unwrap()] {
        assert!(ctx.transfers.is_empty());
    }
    let ctx = withdraw(&mut market, USER).unwrap();
    assert_eq!(ctx.transfers[0].to, USER);
    assert_eq!(abort(withdraw(&mut market, STRANGER)), Abort::NothingDue);
}

#[test]
fn reputation_grows_again_from_a_fault() {
    let mut market = market();
    market.epoch = 20;
    assert_eq!(node::reputation(market.node(NODE), 20), 70);
    timeout(&mut market, COIN, USER).unwrap();
    assert_eq!(node::reputation(market.node(NODE), 20), 60);
    assert_eq!(node::reputation(market.node(NODE), 25), 65);
    assert_eq!(node::reputation(market.node(NODE), u64::MAX), 100);
    convict(&mut market, 0, USER).unwrap();
    assert_eq!(node::reputation(market.node(NODE), 20), 0);
    assert_eq!(node::reputation(market.node(NODE), 19), 0);
}

/// A node below the minimum is not drawn and opens nothing, also if its slot weighs more than it has left.
#[test]
fn a_slashed_node_weighs_and_serves_less() {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    let id = market.buy(purchase(ANY));
    slashed(&mut market, 1, &terms()).unwrap();
    for seed in 0..20 {
        let stack = market.acquire(seed, 10 * COIN, purchase(SINGLE)).unwrap().shared.remove(0);
        assert_eq!(stack.drawn, [NodeId(2)]);
    }
    assert_eq!(abort(market.open(USER, id, market.grant(id, 1, 1, 1))), Abort::NotEligible);
    assert_eq!(abort(market.reprice(NODE, 1)), Abort::Collateral);
    market.add_collateral(NODE, COIN).unwrap();
    market.open(USER, id, market.grant(id, 1, 1, 1)).unwrap();
}
