//! The auditor must notice: each test spoils one thing and names the rule that it breaks.

use crate::harness::*;
use atoma_contract::auditor::{Auditor, Books, Violation, check_exit};
use atoma_contract::{Coin, Owned, Transfer, TxContext, params, slash};
use atoma_types::onchain::event::{BookingsSettled, DuesWithdrawn, Slashed};
use atoma_types::onchain::{Event, Stack};
use atoma_types::{Address, Amount, NodeId, Units};

/// A market with one settled stack.
fn settled() -> (Market, Address) {
    let mut market = Market::with_nodes(&[COIN]);
    let id = market.buy(purchase(SINGLE));
    market.settle(id, market.voucher(id, 1, 500_000, 1)).unwrap();
    (market, id)
}

fn rule_broken(market: &Market) -> &'static str {
    let World { db, treasury, stacks, disputes, .. } = &market.world;
    market.auditor.check(db, treasury, stacks.values(), disputes.values()).unwrap_err().rule
}

fn after_spoiling(spoil: impl FnOnce(&mut Stack)) -> &'static str {
    let (mut market, id) = settled();
    spoil(market.world.stacks.get_mut(&id).unwrap());
    rule_broken(&market)
}

#[test]
fn one_base_unit_too_many_or_few_is_noticed() {
    assert_eq!(after_spoiling(|stack| stack.balance.0 += 1), "a stack's balance");
    assert_eq!(after_spoiling(|stack| stack.balance.0 -= 1), "a stack's balance");
    assert_eq!(after_spoiling(|stack| stack.dues[0].amount.0 += 1), "a stack's dues");
    assert_eq!(after_spoiling(|stack| stack.treasury_due.0 += 1), "the treasury's due");
    assert_eq!(after_spoiling(|stack| stack.surcharge.used.0 += 1), "the surcharge earned");
    assert_eq!(after_spoiling(|stack| stack.surcharge.escrowed.0 += 1), "the surcharge escrowed");
    assert_eq!(
        after_spoiling(|stack| stack.channels[0].paid.0 += 1),
        "paid or voided is the cost of what is settled"
    );
    let (mut market, _) = settled();
    market.world.treasury.balance.0 += 1;
    assert_eq!(rule_broken(&market), "entered = left + stored");
    let (mut market, _) = settled();
    market.world.db.pool.0 -= 1;
    assert_eq!(rule_broken(&market), "entered = left + stored");
}

#[test]
fn moved_rows_and_units_are_noticed() {
    assert_eq!(after_spoiling(|stack| stack.owner = STRANGER), "a stack's owner");
    assert_eq!(after_spoiling(|stack| stack.dues[0].to = STRANGER), "a stack's dues");
}

#[test]
fn units_and_prices_are_noticed() {
    assert_eq!(after_spoiling(|stack| stack.granted_units.0 += 1), "granted units");
    assert_eq!(after_spoiling(|stack| stack.settled_units.0 += 1), "settled units");
    assert_eq!(after_spoiling(|stack| stack.channels[0].price.0 += 1), "a channel");
    assert_eq!(after_spoiling(|stack| stack.channels.clear()), "no channel is missing");
    let (mut market, _) = settled();
    market.world.stacks.clear();
    assert_eq!(rule_broken(&market), "no stack is missing");
}

/// Replays the market's events with one of them spoilt.
fn replay_spoilt(spoil: impl Fn(&mut Event)) -> Violation {
    let (mut market, id) = settled();
    market.pass_window(id);
    market.refund(USER, id).unwrap();
    market.withdraw(payout(1), id).unwrap();
    let mut events = market.events.clone();
    events.iter_mut().for_each(spoil);
    Books::replay(&events).unwrap_err()
}

#[test]
fn events_that_do_not_follow_are_noticed() {
    let rule = |spoil: fn(&mut Event)| replay_spoilt(spoil).rule;
    let paid = rule(|event| {
        if let Event::Settled(settled) = event {
            settled.paid.0 += 1;
        }
    });
    assert_eq!(paid, "the node's pay");
    let fee = rule(|event| {
        if let Event::Settled(settled) = event {
            settled.creator_fee.0 -= 1;
        }
    });
    assert_eq!(fee, "the creator's fee");
    let over = rule(|event| {
        if let Event::Settled(settled) = event {
            settled.units = Units(1_000_001);
        }
    });
    assert_eq!(over, "a settlement stays within the grant");
    let refund = rule(|event| {
        if let Event::Refunded(refunded) = event {
            refunded.amount.0 += 1;
        }
    });
    assert_eq!(refund, "a refund is all that is not credited or kept");
    let withdrawal = rule(|event| {
        if let Event::Withdrawn(withdrawn) = event {
            withdrawn.to = STRANGER;
        }
    });
    assert_eq!(withdrawal, "a withdrawal is what is due");
}

#[test]
fn coins_out_of_nowhere_or_to_others_are_noticed() {
    let mut ctx = TxContext::new(USER, 0, sui_sdk_types::Digest::ZERO, 0);
    let coin = Coin { id: ctx.fresh_id(), balance: Amount(5) };
    ctx.transfers.push(Transfer { to: USER, object: Owned::Coin(coin) });
    assert_eq!(
        Auditor::new().observe(Amount(4), &ctx).unwrap_err().rule,
        "what went in and did not come out is inside"
    );
    assert_eq!(
        Auditor::new().observe(Amount(6), &ctx).unwrap_err().rule,
        "what went in and did not come out is inside"
    );
    Auditor::new().observe(Amount(5), &ctx).unwrap();
    ctx.transfers[0].to = STRANGER;
    assert_eq!(
        Auditor::new().observe(Amount(5), &ctx).unwrap_err().rule,
        "coins go to nobody but the caller"
    );
}

#[test]
fn a_stack_that_cannot_be_emptied_is_noticed() {
    let (market, id) = settled();
    let mut stack = market.stack(id).clone();
    stack.balance = Amount(1);
    let violation = check_exit(&stack, &market.world.treasury).unwrap_err();
    assert_eq!(violation.rule, "money leaves by time alone");
}

/// A market in which a node was slashed while audited, and one offer was repriced.
fn slashed() -> Market {
    let mut market = Market::with_nodes(&[COIN, COIN]);
    market
        .call(STRANGER, Amount::ZERO, |world, ctx| {
            slash::open_audit(&mut world.db, NodeId(1))?;
            slash::timeout(&mut world.db, NodeId(1), &params::devnet(), Amount(COIN), USER, 1, ctx)?;
            slash::timeout(&mut world.db, NodeId(2), &params::devnet(), Amount(COIN), USER, 1, ctx)?;
            Ok(())
        })
        .unwrap();
    market.add_collateral(NodeId(2), 100 * COIN).unwrap();
    market.reprice(NodeId(2), 5).unwrap();
    market
}

/// Changes a stored value that no entry point changes like this.
fn after_editing(pointer: &str, value: serde_json::Value) -> &'static str {
    let mut market = slashed();
    let mut db = serde_json::to_value(&market.world.db).unwrap();
    *db.pointer_mut(pointer).expect(pointer) = value;
    market.world.db = serde_json::from_value(db).unwrap();
    rule_broken(&market)
}

#[test]
fn spoilt_pools_bookings_and_slots_are_noticed() {
    assert_eq!(after_editing("/nodes/rows/1/collateral", 1.into()), "a node's collateral");
    assert_eq!(after_editing("/nodes/rows/1/timeout_pot", 0.into()), "a node's pot");
    assert_eq!(after_editing("/nodes/rows/1/bookings/0/amount", 1.into()), "a node's bookings");
    assert_eq!(after_editing("/nodes/rows/1/exit_ms", 1.into()), "a node's way out");
    assert_eq!(after_editing("/to_burn", 1.into()), "what is to be burned");
    assert_eq!(after_editing("/to_treasury", 1.into()), "what the treasury is to collect");
    assert_eq!(after_editing("/dues_total", 1.into()), "the sum of its dues");
    let slot = "/markets/rows/1/lists/rows/0/pages/rows/0/1";
    assert_eq!(after_editing(&format!("{slot}/node"), 1.into()), "a position is its node's");
    assert_eq!(after_editing("/markets/rows/1/lists/rows/0/live", 1.into()), "live slots");
    let until = format!("{slot}/until_epoch");
    assert_eq!(after_editing(&until, u64::MAX.into()), "at most one offer has no end");
}

#[test]
fn slashes_that_do_not_add_up_are_noticed() {
    let spoilt = |spoil: fn(&mut Slashed)| {
        let mut events = slashed().events;
        for event in &mut events {
            if let Event::Slashed(slashed) = event {
                spoil(slashed);
            }
        }
        Books::replay(&events).unwrap_err().rule
    };
    assert_eq!(spoilt(|slashed| slashed.amount.0 = 1_001 * COIN), "no slash above the collateral");
    assert_eq!(spoilt(|slashed| slashed.burned.0 -= 1), "half of a slash is burned");
    assert_eq!(spoilt(|slashed| slashed.compensation.0 += 1), "a slash is all in its places");
    assert_eq!(spoilt(|slashed| slashed.pot.0 -= 1), "a slash is all in its places");
    let (paid, mut events) = (Amount(5), slashed().events);
    events.push(Event::BookingsSettled(BookingsSettled {
        node: NodeId(1),
        to: vec![USER],
        amounts: vec![paid],
        treasury: Amount::ZERO,
    }));
    assert_eq!(Books::replay(&events).unwrap_err().rule, "what is settled was booked");
    events.pop();
    events.push(Event::DuesWithdrawn(DuesWithdrawn { to: USER, amount: paid }));
    assert_eq!(Books::replay(&events).unwrap_err().rule, "a withdrawal is what is due");
}
