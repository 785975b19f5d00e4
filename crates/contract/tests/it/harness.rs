//! A market whose every call is audited, and whose every abort is checked to have changed nothing.

use atoma_contract::auditor::{Auditor, check_exit, check_node_exit};
use atoma_contract::model::NewModel;
use atoma_contract::node::{Registration, Rotation};
use atoma_contract::offer::{self, Offer};
use atoma_contract::stack::{Opening, Purchase, Settlement};
use atoma_contract::task::NewTask;
use atoma_contract::{
    AdminCap, AtomaDb, Beacon, Coin, Genesis, NodeBadge, Owned, Result, TaskBadge, Treasury, TxContext,
    admin, model, node, params, stack, task,
};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message;
use atoma_types::onchain::{Abort, AuditTerms, Dispute, Event, Params, Stack};
use atoma_types::{
    Address, Amount, Grant, Hash32, ModelId, NodeId, Price, SecretKey, TaskId, Units, Voucher,
};
use std::collections::BTreeMap;
use sui_sdk_types::Digest;

pub(crate) const COIN: u64 = 1_000_000;
pub(crate) const CREATOR: Address = Address::new([0xc0; 32]);
pub(crate) const USER: Address = Address::new([0xa1; 32]);
pub(crate) const STRANGER: Address = Address::new([0xee; 32]);
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:8080";

/// The wallet of the `n`-th node.
pub(crate) fn operator(n: u8) -> Address {
    Address::new([n; 32])
}

/// Where the `n`-th node is paid.
pub(crate) fn payout(n: u8) -> Address {
    let mut bytes = [n; 32];
    bytes[0] = 0xfe;
    Address::new(bytes)
}

pub(crate) fn request_key() -> SecretKey {
    SecretKey::from_seed([0x51; 32])
}

pub(crate) fn receipt_key(n: u8) -> Vec<u8> {
    SecretKey::from_seed([n; 32]).public_key().0.to_vec()
}

/// What an entry point may change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) db: AtomaDb,
    pub(crate) treasury: Treasury,
    pub(crate) beacon: Beacon,
    pub(crate) stacks: BTreeMap<Address, Stack>,
    pub(crate) disputes: BTreeMap<Address, Dispute>,
}

pub(crate) struct Market {
    pub(crate) world: World,
    pub(crate) auditor: Auditor,
    pub(crate) events: Vec<Event>,
    pub(crate) cap: AdminCap,
    pub(crate) badges: BTreeMap<NodeId, NodeBadge>,
    pub(crate) task_badges: BTreeMap<TaskId, TaskBadge>,
    /// Whether every call is audited. Large markets are audited at the end.
    pub(crate) is_audited: bool,
    pub(crate) clock_ms: u64,
    pub(crate) epoch: u64,
    transactions: u64,
}

impl Market {
    pub(crate) fn new() -> Self {
        Self::with_params(&params::devnet())
    }

    pub(crate) fn with_params(params: &Params) -> Self {
        let mut ctx = TxContext::new(Address::ZERO, 0, Digest::ZERO, 0);
        let (cap, Genesis { db, treasury, beacon }) = admin::genesis(params, &mut ctx).unwrap();
        Self {
            world: World { db, treasury, beacon, stacks: BTreeMap::new(), disputes: BTreeMap::new() },
            auditor: Auditor::new(),
            events: Vec::new(),
            cap,
            badges: BTreeMap::new(),
            task_badges: BTreeMap::new(),
            is_audited: true,
            clock_ms: 1_000_000,
            epoch: 0,
            transactions: 0,
        }
    }

    /// A market with one model (100 ‰ to its creator), one task (5 ‰ surcharge, ceiling 2 coins per million
    /// units), and one subscribed node per price.
    pub(crate) fn with_nodes(prices: &[u64]) -> Self {
        let mut market = Self::new();
        market.add_model(100).unwrap();
        market.create_task(new_task()).unwrap();
        for (n, price) in (1..).zip(prices) {
            market.register(n, Amount(1_001 * COIN)).unwrap();
            market.subscribe(NodeId(n.into()), *price, 1_000_000_000).unwrap();
        }
        market
    }

    /// Runs one call as one transaction, then audits.
    pub(crate) fn call(
        &mut self,
        sender: Address,
        entered: Amount,
        call: impl FnOnce(&mut World, &mut TxContext) -> Result,
    ) -> Result<TxContext> {
        self.transactions += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.transactions.to_le_bytes());
        let mut ctx = TxContext::new(sender, self.epoch, Digest::new(digest), 0);
        let before = self.is_audited.then(|| self.world.clone());
        if let Err(abort) = call(&mut self.world, &mut ctx) {
            assert!(before.is_none_or(|before| before == self.world), "{abort} changed an object");
            let untouched = TxContext::new(sender, self.epoch, Digest::new(digest), 0);
            assert_eq!(untouched, ctx, "{abort} left effects");
            return Err(abort);
        }
        self.apply(&ctx);
        self.auditor.observe(entered, &ctx).unwrap();
        if self.is_audited {
            self.audit();
        }
        Ok(ctx)
    }

    fn apply(&mut self, ctx: &TxContext) {
        for stack in &ctx.shared {
            self.world.stacks.insert(stack.id, stack.clone());
        }
        for dispute in &ctx.disputes {
            self.world.disputes.insert(dispute.id, dispute.clone());
        }
        for id in &ctx.deleted {
            let is_stack = self.world.stacks.remove(id).is_some();
            let is_dispute = self.world.disputes.remove(id).is_some();
            assert!(is_stack != is_dispute, "{id} was there");
        }
        for transfer in &ctx.transfers {
            match &transfer.object {
                Owned::NodeBadge(badge) => drop(self.badges.insert(badge.node, badge.clone())),
                Owned::TaskBadge(badge) => drop(self.task_badges.insert(badge.task, badge.clone())),
                _ => {}
            }
        }
        self.events.extend(ctx.events.iter().cloned());
    }

    pub(crate) fn audit(&self) {
        let World { db, treasury, stacks, disputes, .. } = &self.world;
        self.auditor.check(db, treasury, stacks.values(), disputes.values()).unwrap();
        for stack in stacks.values() {
            check_exit(stack, treasury).unwrap();
        }
        // One node at a time, by turns.
        if let Some(turn) = self.transactions.checked_rem(db.nodes.size()) {
            check_node_exit(db, NodeId(1 + turn)).unwrap();
        }
    }

    pub(crate) fn coin(&mut self, balance: Amount) -> Coin {
        Coin { id: Address::new([0xcc; 32]), balance }
    }

    pub(crate) fn stack(&self, id: Address) -> &Stack {
        &self.world.stacks[&id]
    }

    pub(crate) fn register(&mut self, n: u8, paid: Amount) -> Result<TxContext> {
        let registration =
            Registration { payout: payout(n), endpoint: ENDPOINT.into(), receipt_key: receipt_key(n) };
        self.register_as(operator(n), paid, registration)
    }

    pub(crate) fn register_as(
        &mut self,
        sender: Address,
        paid: Amount,
        registration: Registration,
    ) -> Result<TxContext> {
        let coin = self.coin(paid);
        self.call(sender, paid, |world, ctx| {
            node::register(&mut world.db, &mut world.treasury, coin, registration, ctx)
        })
    }

    pub(crate) fn add_model(&mut self, creator_fee_permille: u64) -> Result<TxContext> {
        let new = NewModel { creator_fee_permille, ..new_model() };
        self.call(CREATOR, Amount::ZERO, |world, ctx| model::add(&mut world.db, new, ctx))
    }

    pub(crate) fn create_task(&mut self, new: NewTask) -> Result<TxContext> {
        self.call(CREATOR, Amount::ZERO, |world, ctx| task::create(&mut world.db, new, ctx))
    }

    pub(crate) fn subscribe(&mut self, node: NodeId, price: u64, max_units: u64) -> Result<TxContext> {
        let offer = Offer { price: Price(price), max_units: Units(max_units), ..new_offer() };
        self.subscribe_to(node, offer)
    }

    pub(crate) fn subscribe_to(&mut self, node: NodeId, offer: Offer) -> Result<TxContext> {
        self.by_badge(node, |db, badge, clock_ms, ctx| offer::subscribe(db, badge, offer, clock_ms, ctx))
    }

    pub(crate) fn reprice(&mut self, node: NodeId, price: u64) -> Result<TxContext> {
        self.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::reprice(db, badge, TaskId(1), Price(price), Units(1_000_000_000), clock_ms, ctx)
        })
    }

    pub(crate) fn set_verifier(&mut self, node: NodeId, verifier: bool) -> Result<TxContext> {
        self.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::set_verifier(db, badge, TaskId(1), verifier, clock_ms, ctx)
        })
    }

    pub(crate) fn unsubscribe(&mut self, node: NodeId) -> Result<TxContext> {
        self.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::unsubscribe(db, badge, TaskId(1), clock_ms, ctx)
        })
    }

    /// A seal key without attestation.
    pub(crate) fn rotate_key(&mut self, node: NodeId) -> Result<TxContext> {
        let counter = self.node(node).attestation.counter + 1;
        let rotation = Rotation { seal_key: vec![9; 32], counter, ..Rotation::default() };
        self.by_badge(node, |db, badge, clock_ms, ctx| node::rotate_key(db, badge, rotation, clock_ms, ctx))
    }

    /// A call with a node's badge. Whoever holds the badge may make it.
    pub(crate) fn by_badge(
        &mut self,
        node: NodeId,
        call: impl FnOnce(&mut AtomaDb, &NodeBadge, u64, &mut TxContext) -> Result,
    ) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&node].clone(), self.clock_ms);
        self.call(STRANGER, Amount::ZERO, |world, ctx| call(&mut world.db, &badge, clock_ms, ctx))
    }

    pub(crate) fn add_collateral(&mut self, node: NodeId, amount: u64) -> Result<TxContext> {
        let (badge, clock_ms, coin) = (self.badges[&node].clone(), self.clock_ms, self.coin(Amount(amount)));
        self.call(STRANGER, Amount(amount), |world, ctx| {
            node::add_collateral(&mut world.db, &badge, coin, clock_ms, ctx)
        })
    }

    pub(crate) fn set_params(&mut self, params: &Params) -> Result<TxContext> {
        let (cap, values) = (self.cap.clone(), params.values());
        self.call(STRANGER, Amount::ZERO, |world, ctx| admin::set_params(&mut world.db, &cap, &values, ctx))
    }

    pub(crate) fn node(&self, node: NodeId) -> &atoma_types::onchain::Node {
        self.world.db.node(node).unwrap()
    }

    pub(crate) fn disable(&mut self, node: NodeId) -> Result<TxContext> {
        self.by_badge(node, node::disable)
    }

    pub(crate) fn exit(&mut self, sender: Address, node: NodeId) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&node].clone(), self.clock_ms);
        self.call(sender, Amount::ZERO, |world, ctx| node::exit(&mut world.db, &badge, clock_ms, ctx))
    }

    pub(crate) fn acquire(&mut self, seed: u8, paid: u64, purchase: Purchase) -> Result<TxContext> {
        let (coin, clock_ms) = (self.coin(Amount(paid)), self.clock_ms);
        self.call(USER, Amount(paid), |world, ctx| {
            stack::acquire(&world.db, &[seed; 32], coin, purchase, clock_ms, ctx)
        })
    }

    /// Buys with coin enough and returns the stack's id.
    pub(crate) fn buy(&mut self, purchase: Purchase) -> Address {
        let ctx = self.acquire(1, 1_000_000 * COIN, purchase).unwrap();
        ctx.shared[0].id
    }

    pub(crate) fn open(&mut self, sender: Address, id: Address, opening: Opening) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, Amount::ZERO, |world, ctx| {
            stack::open_channel(&world.db, world.stacks.get_mut(&id).unwrap(), opening, clock_ms, ctx)
        })
    }

    pub(crate) fn settle(&mut self, id: Address, settlement: Settlement) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, Amount::ZERO, |world, ctx| {
            stack::settle(&world.db, world.stacks.get_mut(&id).unwrap(), settlement, clock_ms, ctx)
        })
    }

    pub(crate) fn release(&mut self, id: Address, badge: &NodeBadge) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, Amount::ZERO, |world, ctx| {
            stack::release_channel(&world.db, world.stacks.get_mut(&id).unwrap(), badge, clock_ms, ctx)
        })
    }

    pub(crate) fn revoke(&mut self, sender: Address, id: Address, node: u64) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, Amount::ZERO, |world, ctx| {
            stack::revoke_channel(world.stacks.get_mut(&id).unwrap(), NodeId(node), clock_ms, ctx)
        })
    }

    pub(crate) fn reclaim(&mut self, id: Address, node: u64) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, Amount::ZERO, |world, ctx| {
            stack::reclaim(&world.db, world.stacks.get_mut(&id).unwrap(), NodeId(node), clock_ms, ctx)
        })
    }

    pub(crate) fn top_up(
        &mut self,
        sender: Address,
        id: Address,
        paid: u64,
        units: u64,
    ) -> Result<TxContext> {
        let (coin, clock_ms) = (self.coin(Amount(paid)), self.clock_ms);
        self.call(sender, Amount(paid), |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            stack::top_up(&world.db, stack, coin, Units(units), clock_ms, ctx)
        })
    }

    pub(crate) fn request_close(&mut self, sender: Address, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, Amount::ZERO, |world, ctx| {
            stack::request_close(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
        })
    }

    pub(crate) fn refund(&mut self, sender: Address, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, Amount::ZERO, |world, ctx| {
            stack::refund(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
        })
    }

    pub(crate) fn withdraw(&mut self, sender: Address, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, Amount::ZERO, |world, ctx| {
            stack::withdraw(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
        })
    }

    pub(crate) fn sweep(&mut self, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, Amount::ZERO, |world, ctx| {
            stack::sweep(world.stacks.get_mut(&id).unwrap(), &mut world.treasury, clock_ms, ctx)
        })
    }

    /// A grant signed by the stack's request key, ready to open with.
    pub(crate) fn grant(&self, id: Address, node: u64, units: u64, nonce: u64) -> Opening {
        let grant = Grant {
            db: self.world.db.id,
            stack: id,
            node: NodeId(node),
            units: Units(units),
            max_price: Price(2 * COIN),
            nonce,
        };
        let signature = grant.clone().sign(&request_key()).signature.0.to_vec();
        Opening { node: grant.node, units: grant.units, max_price: grant.max_price, nonce, signature }
    }

    /// A voucher signed by the stack's request key, ready to settle.
    pub(crate) fn voucher(&self, id: Address, node: u64, units: u64, count: u64) -> Settlement {
        let root = Hash32::of(&count.to_le_bytes());
        let node = NodeId(node);
        let voucher = Voucher { db: self.world.db.id, stack: id, node, units: Units(units), count, root };
        let signature = voucher.sign(&request_key()).signature.0.to_vec();
        Settlement { node, units: Units(units), count, root: root.0.to_vec(), signature }
    }

    /// Moves the clock just past the last moment at which anything of the stack can settle.
    pub(crate) fn pass_window(&mut self, id: Address) {
        self.clock_ms = self.stack(id).settle_until_ms() + 1;
    }
}

pub(crate) fn new_model() -> NewModel {
    NewModel { label: "smol".into(), modality: 0, weights_root: vec![7; 32], creator_fee_permille: 100 }
}

pub(crate) fn new_task() -> NewTask {
    NewTask {
        role: 0,
        model: ModelId(1),
        level: 0,
        exact: false,
        price_ceiling: Price(2 * COIN),
        weights: UnitWeights::default(),
        surcharge_permille: 5,
        min_collateral: Amount(1_000 * COIN),
        min_reputation: 0,
        whitelist: Vec::new(),
        echelons: vec![0, 15],
        audit: AuditTerms::default(),
    }
}

/// Of a coin per million units, for the first task.
pub(crate) fn new_offer() -> Offer {
    Offer {
        task: TaskId(1),
        price: Price(COIN),
        max_units: Units(1_000_000_000),
        echelon: 0,
        verifier: false,
    }
}

/// A million units at up to 2 coins per million, one prepaid opening.
pub(crate) fn purchase(selection: u8) -> Purchase {
    Purchase {
        task: TaskId(1),
        request_key: request_key().public_key().0.to_vec(),
        units: Units(1_000_000),
        max_price: Price(2 * COIN),
        selection,
        nodes: 1,
        max_opens: 1,
        echelons: Vec::new(),
    }
}

/// What the call paid its sender in coins.
pub(crate) fn coins(ctx: &TxContext) -> u64 {
    let coin = |owned: &Owned| match owned {
        Owned::Coin(coin) => coin.balance.0,
        _ => 0,
    };
    ctx.transfers.iter().map(|transfer| coin(&transfer.object)).sum()
}

pub(crate) const SINGLE: u8 = 0;
pub(crate) const LIMITED: u8 = 1;
pub(crate) const ANY: u8 = 2;

pub(crate) fn abort(result: Result<TxContext>) -> Abort {
    result.expect_err("an abort")
}
