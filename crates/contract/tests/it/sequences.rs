//! Seeded sequences of operations, weighted to the edges. Each is planned with what must happen: one that
//! is spoilt must abort. Everything is audited after every call; at the end every balance is rebuilt from
//! the events alone. A failure names its seed, which reproduces it.

mod registry;

use crate::harness::*;
use atoma_contract::auditor::Books;
use atoma_contract::node;
use atoma_contract::offer::Offer;
use atoma_contract::stack::{Opening, Purchase, Settlement};
use atoma_contract::task::NewTask;
use atoma_contract::{NodeBadge, Result, TxContext, draw, views};
use atoma_types::message::Message;
use atoma_types::onchain::{Abort, Event, Node};
use atoma_types::{Address, Amount, NodeId, Price, SecretKey, TaskId, Units, Voucher};
use std::collections::{BTreeMap, BTreeSet};

const SEQUENCES: u64 = 200;
const OPERATIONS: u64 = 150;

/// Random numbers from a seed.
struct Dice {
    seed: [u8; 32],
    next: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self { seed: bytes, next: 0 }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next += 1;
        draw::value(&self.seed, self.next) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let len = u64::try_from(items.len()).unwrap();
        (len > 0).then(|| items[usize::try_from(self.below(len)).unwrap()].clone())
    }

    /// A number up to `max`, more often than not at one of its ends.
    fn edgy(&mut self, max: u64) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 1.min(max),
            2 => max,
            3 => max.saturating_sub(1),
            _ => self.below(max.saturating_add(1).max(1)),
        }
    }
}

/// What must happen to a planned call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    /// Spoilt: must abort.
    Abort,
    /// May succeed or not; the auditor judges.
    Either,
}

struct Sequence {
    market: Market,
    dice: Dice,
    /// Most units ever signed for, by voucher and by grant.
    vouched: BTreeMap<(Address, NodeId), u64>,
    nonce: u64,
    succeeded: BTreeSet<&'static str>,
    aborted: BTreeSet<&'static str>,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut market = Market::with_nodes(&[COIN, COIN / 3, 2 * COIN]);
        let new = NewTask { surcharge_permille: dice.edgy(200), min_collateral: Amount(0), ..new_task() };
        market.add_model(dice.edgy(200)).unwrap();
        market.create_task(NewTask { model: atoma_types::ModelId(2), ..new }).unwrap();
        for node in 1..=3 {
            let price = Price(dice.edgy(2 * COIN));
            let offer = Offer { task: TaskId(2), price, max_units: Units(1_000_000_000_000), ..new_offer() };
            market.subscribe_to(NodeId(node), offer).unwrap();
        }
        market.create_task(NewTask { level: 2, ..new_task() }).unwrap();
        for node in (1..=3).map(NodeId) {
            market.add_collateral(node, dice.edgy(100_000) * COIN + 1).unwrap();
            market.rotate_key(node).unwrap();
            let offer = Offer { task: TaskId(3), verifier: true, ..new_offer() };
            market.subscribe_to(node, offer).unwrap();
        }
        Self {
            market,
            dice,
            vouched: BTreeMap::new(),
            nonce: 0,
            succeeded: BTreeSet::new(),
            aborted: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        let (name, plan, result) = match self.dice.below(48) {
            0..=3 => self.acquire(),
            4..=8 => self.open(),
            9..=16 => self.settle(),
            17 => self.release(),
            18 => self.request_close(),
            19..=21 => self.refund(),
            22..=24 => self.withdraw(),
            25 => self.sweep(),
            26..=28 => self.node(),
            29 => self.offer(),
            30 => self.offer_to_verify(),
            31..=33 => self.stack_terms(),
            34..=45 => self.registry(),
            _ => return self.time(),
        };
        match result {
            Some(Ok(_)) => {
                assert_eq!(plan, Plan::Either, "{name} was planned to abort");
                self.succeeded.insert(name);
            }
            Some(Err(abort)) => {
                self.aborted.insert(abort.name());
            }
            None => {}
        }
        self.check_signed();
    }

    /// Nobody is paid for units that the user did not sign for.
    fn check_signed(&self) {
        for stack in self.market.world.stacks.values() {
            for channel in &stack.channels {
                let signed = self.vouched.get(&(stack.id, channel.node)).copied().unwrap_or(0);
                assert!(channel.settled_units.0 <= signed, "{channel:?} of {}", stack.id);
            }
        }
    }

    fn any_stack(&mut self) -> Option<Address> {
        let ids: Vec<Address> = self.market.world.stacks.keys().copied().collect();
        self.dice.pick(&ids)
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.dice.below(self.market.world.db.nodes.size()))
    }

    fn anybody(&mut self) -> Address {
        let node = self.any_node();
        let n = u8::try_from(node.0).unwrap();
        self.dice.pick(&[USER, STRANGER, CREATOR, operator(n), payout(n)]).unwrap()
    }

    fn acquire(&mut self) -> Planned {
        let limits = [1, 999, 1_000_000, 1_000_000_000_000];
        let limit = self.dice.pick(&limits).unwrap();
        let bought = Purchase {
            task: TaskId(1 + self.dice.below(2)),
            units: Units(self.dice.edgy(limit)),
            max_price: Price(self.dice.edgy(2 * COIN)),
            nodes: self.dice.edgy(4),
            max_opens: self.dice.edgy(3),
            ..purchase(u8::try_from(self.dice.below(4)).unwrap())
        };
        let cost = u128::from(bought.units.0) * u128::from(bought.max_price.0) / 1_000_000;
        let permille = self.market.world.db.tasks.get(bought.task.0).unwrap().surcharge_permille;
        let open_fee = views::params(&self.market.world.db, self.market.epoch).open_fee.0;
        let opens = u128::from(open_fee) * u128::from(bought.max_opens);
        let escrow = cost + cost * u128::from(permille) / 1_000 + opens;
        let escrow = u64::try_from(escrow).unwrap();
        let (paid, plan) = match self.dice.below(5) {
            0 if escrow > 0 => (escrow - 1, Plan::Abort),
            1 => (escrow + self.dice.edgy(COIN), Plan::Either),
            _ => (escrow, Plan::Either),
        };
        let seed = u8::try_from(self.dice.below(256)).unwrap();
        ("acquire", plan, Some(self.market.acquire(seed, paid, bought)))
    }

    fn open(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let node = self.any_node();
        let stack = self.market.stack(id);
        let granted = stack.channel(node).map_or(0, |channel| channel.granted.0);
        let free = stack.total_units.0 - stack.granted_units.0;
        let units = granted + self.dice.edgy(free);
        self.nonce += 1;
        let good = self.market.grant(id, node.0, units, self.nonce);
        let operator = operator(u8::try_from(node.0).unwrap());
        let (sender, opening, plan) = match self.dice.below(10) {
            0 => (operator, Opening { units: Units(good.units.0 + 1), ..good }, Plan::Abort),
            1 => (operator, Opening { nonce: good.nonce + 1, ..good }, Plan::Abort),
            2 => {
                let signature = self.market.grant(id, node.0 + 1, units, self.nonce).signature;
                (operator, Opening { signature, ..good }, Plan::Abort)
            }
            3 => (operator, self.market.grant(Address::TWO, node.0, units, self.nonce), Plan::Abort),
            4 => (STRANGER, good, Plan::Abort),
            5 => (operator, self.market.grant(id, node.0, granted + free + 1, self.nonce), Plan::Abort),
            6 => (USER, good, Plan::Either),
            _ => (operator, good, Plan::Either),
        };
        ("open_channel", plan, Some(self.market.open(sender, id, opening)))
    }

    fn settle(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let channels = self.market.stack(id).channels.clone();
        let Some(channel) = self.dice.pick(&channels) else { return NOTHING };
        let (node, settled, count) = (channel.node, channel.settled_units.0, channel.settled_count);
        let more = self.dice.edgy(channel.granted.0 - settled);
        let next = count + 1 + self.dice.edgy(3);
        let good = self.market.voucher(id, node.0, settled + more, next);
        let (settlement, plan) = match self.dice.below(12) {
            0 => (Settlement { units: Units(good.units.0 + 1), ..good }, Plan::Abort),
            1 => (Settlement { count: good.count + 1, ..good }, Plan::Abort),
            2 => (self.market.voucher(Address::TWO, node.0, settled + more, next), Plan::Abort),
            3 => (Settlement { signature: self.signed_by_another(id, &good), ..good }, Plan::Abort),
            4 => (self.market.voucher(id, node.0, channel.granted.0 + 1, next), Plan::Abort),
            5 if settled > 0 => (self.market.voucher(id, node.0, settled - 1, next), Plan::Abort),
            6 => return self.settle_stale(id, node, settled, count),
            _ => {
                let most = self.vouched.entry((id, node)).or_default();
                *most = (*most).max(good.units.0);
                (good, Plan::Either)
            }
        };
        ("settle", plan, Some(self.market.settle(id, settlement)))
    }

    /// A voucher already settled, or older, succeeds at any time and does nothing.
    fn settle_stale(&mut self, id: Address, node: NodeId, units: u64, count: u64) -> Planned {
        let stale = self.market.voucher(id, node.0, self.dice.edgy(units), self.dice.edgy(count));
        let before = self.market.world.clone();
        let result = self.market.settle(id, stale);
        assert!(result.as_ref().is_ok_and(|ctx| ctx.events.is_empty()));
        assert_eq!(before, self.market.world);
        ("settle_stale", Plan::Either, Some(result))
    }

    fn signed_by_another(&self, id: Address, good: &Settlement) -> Vec<u8> {
        let voucher = Voucher {
            db: self.market.world.db.id,
            stack: id,
            node: good.node,
            units: good.units,
            count: good.count,
            root: atoma_types::Hash32(good.root.clone().try_into().unwrap()),
        };
        voucher.sign(&SecretKey::from_seed([1; 32])).signature.0.to_vec()
    }

    fn release(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let node = self.any_node();
        let badge = self.market.badges[&node].clone();
        if self.dice.one_in(3) {
            let foreign = NodeBadge { db: Address::TWO, ..badge };
            return ("release_channel", Plan::Abort, Some(self.market.release(id, &foreign)));
        }
        ("release_channel", Plan::Either, Some(self.market.release(id, &badge)))
    }

    fn request_close(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let sender = self.anybody();
        let plan = if sender == USER { Plan::Either } else { Plan::Abort };
        ("request_close", plan, Some(self.market.request_close(sender, id)))
    }

    fn refund(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let is_early = self.market.clock_ms <= self.market.stack(id).settle_until_ms();
        let sender = self.anybody();
        let result = self.market.refund(sender, id);
        assert_eq!(result.is_err(), is_early, "a refund depends on time alone");
        ("refund", Plan::Either, Some(result))
    }

    fn withdraw(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let dues = self.market.stack(id).dues.clone();
        let sender = match self.dice.pick(&dues) {
            Some(due) if !self.dice.one_in(4) => due.to,
            _ => self.anybody(),
        };
        let due = dues.iter().find(|due| due.to == sender).map_or(0, |due| due.amount.0);
        let result = self.market.withdraw(sender, id);
        match &result {
            Ok(ctx) => assert_eq!(coins(ctx), due),
            Err(abort) => assert_eq!((*abort, due), (Abort::NothingDue, 0)),
        }
        ("withdraw", Plan::Either, Some(result))
    }

    fn sweep(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let plan = if self.market.stack(id).treasury_due.is_zero() { Plan::Abort } else { Plan::Either };
        ("sweep", plan, Some(self.market.sweep(id)))
    }

    fn node(&mut self) -> Planned {
        let count = self.market.world.db.nodes.size();
        match self.dice.below(6) {
            0..=2 if count < 12 => self.register(u8::try_from(count + 1).unwrap()),
            3 if count > 4 => {
                let node = self.any_node();
                ("disable", Plan::Either, Some(self.market.disable(node)))
            }
            4 => {
                let leaving = |node: &&Node| node.disabled_ms > 0;
                let left: Vec<Node> = self.market.world.db.nodes.values().filter(leaving).cloned().collect();
                let node = self.dice.pick(&left).map_or_else(|| self.any_node(), |node| node.id);
                let sender = self.anybody();
                ("exit", Plan::Either, Some(self.market.exit(sender, node)))
            }
            _ => self.set_endpoint(),
        }
    }

    fn register(&mut self, n: u8) -> Planned {
        let minimum = 1_001 * COIN;
        let (paid, plan) = match self.dice.below(4) {
            0 => (minimum - 1 - self.dice.edgy(minimum - 1), Plan::Abort),
            1 => (minimum, Plan::Either),
            _ => (minimum + self.dice.edgy(10_000 * COIN), Plan::Either),
        };
        ("register", plan, Some(self.market.register(n, Amount(paid))))
    }

    fn set_endpoint(&mut self) -> Planned {
        let node = self.any_node();
        let badge = self.market.badges[&node].clone();
        let (endpoint, plan) = match self.dice.one_in(2) {
            true => ("gopher://x", Plan::Abort),
            false => (ENDPOINT, Plan::Either),
        };
        let result = self.market.call(operator(1), Amount::ZERO, |world, ctx| {
            node::set_endpoint(&mut world.db, &badge, endpoint.into(), ctx)
        });
        ("set_endpoint", plan, Some(result))
    }

    fn offer(&mut self) -> Planned {
        let node = self.any_node();
        let price = self.dice.edgy(2 * COIN + 1);
        let plan = if price > 2 * COIN { Plan::Abort } else { Plan::Either };
        let task = TaskId(1 + self.dice.below(2));
        let offer = Offer { task, price: Price(price), max_units: Units(1_000_000_000_000), ..new_offer() };
        ("subscribe", plan, Some(self.market.subscribe_to(node, offer)))
    }

    /// Moves on a little, or to just before, at or just after the end of a window.
    fn time(&mut self) {
        self.market.epoch += self.dice.below(2);
        let now = self.market.clock_ms;
        let to = match (self.any_stack(), self.dice.below(4)) {
            (Some(id), 0) => self.market.stack(id).ends_ms() - 1 + self.dice.below(3),
            (Some(id), 1) => self.market.stack(id).settle_until_ms() - 1 + self.dice.below(3),
            (_, 2) => now + 640_000,
            _ => now + self.dice.edgy(30_000),
        };
        self.market.clock_ms = now.max(to);
    }

    /// Everything ends: all stacks are refunded and emptied by time alone, and the books close.
    fn end(mut self) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
        let ids: Vec<Address> = self.market.world.stacks.keys().copied().collect();
        for id in ids {
            self.market.clock_ms = self.market.clock_ms.max(self.market.stack(id).settle_until_ms() + 1);
            self.market.refund(STRANGER, id).unwrap();
            let dues = self.market.world.stacks.get(&id).map(|stack| stack.dues.clone());
            for due in dues.unwrap_or_default() {
                self.market.withdraw(due.to, id).unwrap();
            }
            if self.market.world.stacks.contains_key(&id) {
                self.market.sweep(id).unwrap();
            }
        }
        assert!(self.market.world.stacks.is_empty());
        self.everybody_leaves();
        let rebuilt = Books::replay(&self.market.events).unwrap();
        assert_eq!(&rebuilt, self.market.auditor.books());
        self.check_decoded_replay();
        let totals = self.market.auditor.totals();
        assert_eq!((totals.escrow, totals.collateral), (0, 0));
        assert_eq!(totals.entered, totals.accounted());
        (self.succeeded, self.aborted)
    }

    /// An indexer that decodes the events' bytes arrives at the same books.
    fn check_decoded_replay(&self) {
        let decode =
            |event: &Event| Event::decode(event.name(), &event.contents().unwrap()).unwrap().unwrap();
        let events: Vec<Event> = self.market.events.iter().map(decode).collect();
        assert_eq!(&Books::replay(&events).unwrap(), self.market.auditor.books());
    }
}

type Planned = (&'static str, Plan, Option<Result<TxContext>>);
const NOTHING: Planned = ("nothing", Plan::Either, None);

#[test]
fn every_coin_is_in_one_place_after_every_call() {
    let mut succeeded = BTreeSet::new();
    let mut aborted = BTreeSet::new();
    for seed in 0..SEQUENCES {
        let played = std::panic::catch_unwind(|| {
            let mut sequence = Sequence::new(seed);
            for _ in 0..OPERATIONS {
                sequence.step();
            }
            sequence.end()
        });
        let (more_succeeded, more_aborted) = played.unwrap_or_else(|_| panic!("sequence of seed {seed}"));
        succeeded.extend(more_succeeded);
        aborted.extend(more_aborted);
    }
    let every = [
        "acquire",
        "add_collateral",
        "beat",
        "close_audit",
        "collect",
        "convict",
        "disable",
        "evict",
        "exit",
        "move_verifier",
        "open_audit",
        "open_channel",
        "pay_from_treasury",
        "reclaim",
        "refund",
        "register",
        "release_channel",
        "reprice",
        "request_close",
        "revoke_channel",
        "rotate_key",
        "rotate_receipt_key",
        "set_answer_interval",
        "set_endpoint",
        "set_params",
        "set_payout",
        "set_verifier",
        "set_whitelist",
        "settle",
        "settle_bookings",
        "settle_stale",
        "slash",
        "subscribe",
        "subscribe_sampled",
        "sweep",
        "timeout",
        "top_up",
        "unsubscribe",
        "withdraw",
        "withdraw_due",
    ];
    assert_eq!(succeeded, every.into(), "every entry point succeeded somewhere");
    assert!(aborted.len() >= 25, "{aborted:?}");
}
