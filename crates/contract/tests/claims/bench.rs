//! A market at level 2: one node that serves, verifiers that judge, and a chain that moves when told to.
//! Every abort is checked to have changed nothing, every success to have lost no coin.

use crate::served::{self, Served};
use atoma_contract::audit::{self, Opened, PASS, Proven, Reveal};
use atoma_contract::auditor::{Auditor, check_exit};
use atoma_contract::claim::{self, chance};
use atoma_contract::dispute;
use atoma_contract::model::NewModel;
use atoma_contract::node::{Registration, Rotation};
use atoma_contract::offer::{self, Offer};
use atoma_contract::stack::{self, Opening, Purchase, Settlement};
use atoma_contract::task::{self, NewTask};
use atoma_contract::{
    AdminCap, AtomaDb, Beacon, Coin, Genesis, NodeBadge, Owned, Result, Treasury, TxContext, admin, beacon,
    model, node, params,
};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message;
use atoma_types::onchain::{
    Abort, AuditTerms, Claim, ClaimState, Dispute, Event, Node, Params, SeatState, Stack,
};
use atoma_types::{Address, Amount, Hash32, ModelId, NodeId, Price, SecretKey, TaskId, Units, Voucher};
use std::collections::BTreeMap;
use sui_sdk_types::Digest;

pub(crate) const COIN: u64 = 1_000_000;
pub(crate) const CREATOR: Address = Address::new([0xc0; 32]);
pub(crate) const USER: Address = Address::new([0xa1; 32]);
pub(crate) const STRANGER: Address = Address::new([0xee; 32]);
/// The node that serves.
pub(crate) const SERVER: NodeId = NodeId(1);
/// Verifiers are nodes 2 to this.
pub(crate) const LAST: u64 = 15;
/// Units of one coin at the price of every node.
pub(crate) const MILLION: u64 = 1_000_000;

pub(crate) fn operator(node: NodeId) -> Address {
    Address::new([u8::try_from(node.0).unwrap(); 32])
}

/// Where a node is paid.
pub(crate) fn payout(node: NodeId) -> Address {
    let mut bytes = [u8::try_from(node.0).unwrap(); 32];
    bytes[0] = 0xfe;
    Address::new(bytes)
}

pub(crate) fn request_key() -> SecretKey {
    SecretKey::from_seed([0x51; 32])
}

/// What holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Channel(Address, NodeId),
    Dispute(Address),
}

impl Target {
    pub(crate) fn id(self) -> Address {
        match self {
            Self::Channel(id, _) | Self::Dispute(id) => id,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) db: AtomaDb,
    pub(crate) treasury: Treasury,
    pub(crate) beacon: Beacon,
    pub(crate) stacks: BTreeMap<Address, Stack>,
    pub(crate) disputes: BTreeMap<Address, Dispute>,
}

impl World {
    fn stored(&self) -> u128 {
        let stacks = self.stacks.values().map(|stack| u128::from(stack.balance.0));
        let disputes = self.disputes.values().map(|dispute| u128::from(dispute.balance.0));
        let shared = [self.db.pool, self.treasury.balance, self.treasury.burned];
        stacks.chain(disputes).chain(shared.map(|amount| amount.0.into())).sum()
    }

    fn stack(&mut self, id: Address) -> &mut Stack {
        self.stacks.get_mut(&id).unwrap()
    }

    pub(crate) fn dispute(&mut self, id: Address) -> &mut Dispute {
        self.disputes.get_mut(&id).unwrap()
    }
}

pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) auditor: Auditor,
    pub(crate) cap: AdminCap,
    pub(crate) badges: BTreeMap<NodeId, NodeBadge>,
    pub(crate) served: Served,
    /// Requests of disputes whose answer is a record, by dispute.
    pub(crate) answers: BTreeMap<Address, atoma_types::Record>,
    pub(crate) events: Vec<Event>,
    pub(crate) clock_ms: u64,
    pub(crate) epoch: u64,
    transactions: u64,
}

/// Most of a task that tests change.
pub(crate) fn new_task() -> NewTask {
    NewTask {
        role: 0,
        model: ModelId(1),
        level: 2,
        exact: true,
        price_ceiling: Price(2 * COIN),
        weights: UnitWeights::default(),
        surcharge_permille: 5,
        min_collateral: Amount(0),
        min_reputation: 0,
        whitelist: Vec::new(),
        echelons: vec![0],
        audit: AuditTerms::default(),
    }
}

impl Bench {
    /// A market with one exact task at level 2.
    pub(crate) fn new() -> Self {
        Self::with_task(new_task())
    }

    pub(crate) fn with_task(new: NewTask) -> Self {
        let (mut bench, has_verifiers) = (Self::empty(), new.level == 2);
        let model = NewModel {
            label: "smol".into(),
            modality: 0,
            weights_root: vec![7; 32],
            creator_fee_permille: 100,
        };
        bench.call(CREATOR, 0, |world, ctx| model::add(&mut world.db, model, ctx)).unwrap();
        bench.call(CREATOR, 0, |world, ctx| task::create(&mut world.db, new, ctx)).unwrap();
        for id in 1..=LAST {
            bench.join(NodeId(id), operator(NodeId(id)), 1_000 * COIN, has_verifiers && id > 1);
        }
        bench.clock_ms += 1;
        bench
    }

    fn empty() -> Self {
        let mut ctx = TxContext::new(Address::ZERO, 0, Digest::ZERO, 0);
        let mut cap = AdminCap { id: ctx.fresh_id(), db: Address::ZERO };
        let Genesis { db, treasury, beacon } =
            admin::create(&mut cap, &params::devnet().values(), &mut ctx).unwrap();
        let world = World { db, treasury, beacon, stacks: BTreeMap::new(), disputes: BTreeMap::new() };
        Self {
            world,
            auditor: Auditor::new(),
            cap,
            badges: BTreeMap::new(),
            served: Served::default(),
            answers: BTreeMap::new(),
            events: Vec::new(),
            clock_ms: 1_000_000,
            epoch: 0,
            transactions: 0,
        }
    }

    /// Registers a node and offers it for task 1 at one coin per million units.
    pub(crate) fn join(&mut self, id: NodeId, owner: Address, collateral: u64, verifier: bool) {
        let paid = collateral + COIN;
        let (coin, clock_ms) = (coin(paid), self.clock_ms);
        let receipt_key = SecretKey::from_seed([1; 32]).public_key().0.to_vec();
        let registration =
            Registration { payout: payout(id), endpoint: "http://127.0.0.1:1".into(), receipt_key };
        self.call(owner, paid, |world, ctx| {
            node::register(&mut world.db, &mut world.treasury, coin, registration, ctx)
        })
        .unwrap();
        let badge = self.badges[&id].clone();
        let rotation = Rotation {
            evidence: Vec::new(),
            blob: Vec::new(),
            seal_key: vec![9; 32],
            device_types: Vec::new(),
            counter: 1,
            expires_ms: 0,
        };
        self.call(owner, 0, |world, ctx| node::rotate_key(&mut world.db, &badge, rotation, clock_ms, ctx))
            .unwrap();
        self.offer(id, verifier).unwrap();
    }

    pub(crate) fn offer(&mut self, id: NodeId, verifier: bool) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&id].clone(), self.clock_ms);
        let echelon = self.world.db.task(TaskId(1)).unwrap().echelons[0];
        let offer = Offer {
            task: TaskId(1),
            price: Price(COIN),
            max_units: Units(1_000 * MILLION),
            echelon,
            verifier,
        };
        self.call(STRANGER, 0, |world, ctx| offer::subscribe(&mut world.db, &badge, offer, clock_ms, ctx))
    }

    /// Runs one call as one transaction.
    pub(crate) fn call(
        &mut self,
        sender: Address,
        entered: u64,
        call: impl FnOnce(&mut World, &mut TxContext) -> Result,
    ) -> Result<TxContext> {
        self.transactions += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.transactions.to_le_bytes());
        let mut ctx = TxContext::new(sender, self.epoch, Digest::new(digest), 0);
        let before = self.world.clone();
        if let Err(abort) = call(&mut self.world, &mut ctx) {
            assert!(before == self.world, "{abort} changed an object");
            let untouched = TxContext::new(sender, self.epoch, Digest::new(digest), 0);
            assert!(untouched == ctx, "{abort} left effects");
            return Err(abort);
        }
        self.apply(&ctx);
        let (before, after) = (before.stored() + u128::from(entered), self.world.stored());
        assert_eq!(before, after + u128::from(coins(&ctx)), "coins were made or lost");
        self.audit(entered, &ctx);
        Ok(ctx)
    }

    fn audit(&mut self, entered: u64, ctx: &TxContext) {
        self.auditor.observe(Amount(entered), ctx).unwrap();
        let World { db, treasury, stacks, disputes, .. } = &self.world;
        self.auditor.check(db, treasury, stacks.values(), disputes.values()).unwrap();
        for stack in stacks.values() {
            check_exit(stack, treasury).unwrap();
        }
    }

    fn apply(&mut self, ctx: &TxContext) {
        for stack in &ctx.shared {
            self.world.stacks.insert(stack.id, stack.clone());
        }
        for dispute in &ctx.disputes {
            self.world.disputes.insert(dispute.id, dispute.clone());
        }
        for id in &ctx.deleted {
            let is_known = self.world.stacks.remove(id).is_some() || self.world.disputes.remove(id).is_some();
            assert!(is_known);
        }
        for transfer in &ctx.transfers {
            if let Owned::NodeBadge(badge) = &transfer.object {
                self.badges.insert(badge.node, badge.clone());
            }
        }
        self.events.extend(ctx.events.iter().cloned());
    }

    pub(crate) fn params(&self) -> &Params {
        self.world.db.params_at(self.epoch)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.world.db.node(id).unwrap()
    }

    /// Buys ten million units for the server's channel.
    pub(crate) fn buy(&mut self) -> Address {
        self.buy_units(10 * MILLION)
    }

    pub(crate) fn buy_units(&mut self, units: u64) -> Address {
        let (paid, clock_ms) = (1_000_000 * COIN, self.clock_ms);
        let purchase = Purchase {
            task: TaskId(1),
            request_key: request_key().public_key().0.to_vec(),
            units: Units(units),
            max_price: Price(2 * COIN),
            selection: 2,
            nodes: 1,
            max_opens: 0,
            echelons: Vec::new(),
        };
        let ctx = self.call(USER, paid, |world, ctx| {
            stack::acquire(&world.db, &[1; 32], coin(paid), purchase, clock_ms, ctx)
        });
        let id = ctx.unwrap().shared[0].id;
        self.open_channel(id, SERVER, units, 1).unwrap();
        id
    }

    pub(crate) fn open_channel(
        &mut self,
        id: Address,
        node: NodeId,
        units: u64,
        nonce: u64,
    ) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        let opening =
            Opening { node, units: Units(units), max_price: Price(2 * COIN), nonce, signature: Vec::new() };
        self.call(USER, 0, |world, ctx| {
            stack::open_channel(&world.db, world.stacks.get_mut(&id).unwrap(), opening, clock_ms, ctx)
        })
    }

    pub(crate) fn stack(&self, id: Address) -> &Stack {
        &self.world.stacks[&id]
    }

    pub(crate) fn channel(&self, id: Address) -> &atoma_types::onchain::Channel {
        self.stack(id).channel(SERVER).unwrap()
    }

    pub(crate) fn due(&self, id: Address, to: Address) -> u64 {
        stack::due_of(self.stack(id), to).0
    }

    /// Serves records of these units on the server's channel.
    pub(crate) fn serve(&mut self, id: Address, units: &[u64]) {
        for units in units {
            self.served.serve(id, SERVER, *units);
        }
    }

    /// The user's voucher for the first `count` records of the server's channel.
    pub(crate) fn voucher(&self, id: Address, count: u64) -> Settlement {
        let (units, root) = self.served.at(id, SERVER, count);
        self.signed(id, units, count, root)
    }

    pub(crate) fn signed(&self, id: Address, units: u64, count: u64, root: Hash32) -> Settlement {
        let voucher =
            Voucher { db: self.world.db.id, stack: id, node: SERVER, units: Units(units), count, root };
        let signature = voucher.sign(&request_key()).signature.0.to_vec();
        Settlement { node: SERVER, units: Units(units), count, root: root.0.to_vec(), signature }
    }

    pub(crate) fn settle_as(
        &mut self,
        sender: Address,
        id: Address,
        settlement: Settlement,
    ) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, 0, |world, ctx| {
            let World { db, beacon, stacks, .. } = world;
            claim::settle(db, beacon, stacks.get_mut(&id).unwrap(), settlement, clock_ms, ctx)
        })
    }

    /// The server settles all that it served.
    pub(crate) fn settle(&mut self, id: Address) -> Result<TxContext> {
        let voucher = self.voucher(id, self.served.count(id, SERVER));
        self.settle_as(operator(SERVER), id, voucher)
    }

    /// Serves and settles `units` in one record; the claim waits.
    pub(crate) fn claim_units(&mut self, id: Address, units: u64) -> Target {
        self.serve(id, &[units]);
        self.settle(id).unwrap();
        Target::Channel(id, SERVER)
    }

    pub(crate) fn claim(&self, target: Target) -> &Claim {
        let claim = match target {
            Target::Channel(id, node) => &self.stack(id).channel(node).unwrap().claim,
            Target::Dispute(id) => &self.world.disputes[&id].claim,
        };
        claim.as_ref().unwrap()
    }

    pub(crate) fn state(&self, target: Target) -> ClaimState {
        self.claim(target).state
    }

    pub(crate) fn beat(&mut self, seed: [u8; 32]) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| beacon::beat(&world.db, &mut world.beacon, &seed, clock_ms, ctx))
    }

    /// A seed for the next round under which the target's claim fits.
    pub(crate) fn find_seed(&self, target: Target, fits: impl Fn(Hash32) -> bool) -> [u8; 32] {
        let claim = self.claim(target);
        let seeds = (0u64..).map(|n| Hash32::of(&n.to_le_bytes()));
        let mut fitting =
            seeds.filter(|seed| fits(chance::claim_seed(seed, target.id(), SERVER, claim.count)));
        fitting.next().unwrap().0
    }

    /// Draws the next round so that the claim is audited, or not.
    pub(crate) fn draw(&mut self, target: Target, is_drawn: bool) {
        let p_ppb = self.claim(target).p_ppb;
        let seed = self.find_seed(target, |seed| chance::is_drawn(&seed, p_ppb) == is_drawn);
        self.clock_ms += 1_000;
        self.beat(seed).unwrap();
    }

    /// Draws the claim and seats its verifiers.
    pub(crate) fn open_audit(&mut self, target: Target) {
        self.draw(target, true);
        self.resolve_audit(target).unwrap();
    }

    /// Resolves the claim without an audit.
    pub(crate) fn hold(&mut self, target: Target) {
        self.draw(target, false);
        self.resolve_pay(target).unwrap();
    }

    pub(crate) fn resolve_pay(&mut self, target: Target) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| {
            let World { db, beacon, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    claim::resolve_pay(db, beacon, stacks.get_mut(&id).unwrap(), node, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    dispute::resolve_pay(db, beacon, disputes.get_mut(&id).unwrap(), clock_ms, ctx)
                }
            }
        })
    }

    pub(crate) fn resolve_audit(&mut self, target: Target) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| {
            let World { db, beacon, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    claim::resolve_audit(db, beacon, stacks.get_mut(&id).unwrap(), node, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    dispute::resolve_audit(db, beacon, disputes.get_mut(&id).unwrap(), clock_ms, ctx)
                }
            }
        })
    }

    pub(crate) fn release(&mut self, target: Target) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| {
            let World { db, beacon, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    claim::release_claim(db, beacon, stacks.get_mut(&id).unwrap(), node, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    dispute::release_claim(db, disputes.get_mut(&id).unwrap(), clock_ms, ctx)
                }
            }
        })
    }

    /// Moves the clock to the end of the claim's hold.
    pub(crate) fn pass_hold(&mut self, target: Target) {
        let claim = self.claim(target);
        self.clock_ms = self.clock_ms.max(claim.resolved_ms + self.params().hold_ms);
    }

    pub(crate) fn challenge(
        &mut self,
        sender: Address,
        target: Target,
        paid: u64,
        shown: Proven,
    ) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, paid, |world, ctx| {
            let World { db, beacon, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    let stack = stacks.get_mut(&id).unwrap();
                    let challenge = claim::Challenge { node, shown };
                    claim::challenge_record(db, beacon, stack, coin(paid), &challenge, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    let dispute = disputes.get_mut(&id).unwrap();
                    dispute::challenge_record(db, beacon, dispute, coin(paid), &shown, clock_ms, ctx)
                }
            }
        })
    }

    /// The reveal that meets the `which`-th offset.
    pub(crate) fn proof_of(&self, target: Target, which: u64) -> Reveal {
        let claim = self.claim(target);
        let offset = claim.audit.as_ref().unwrap().offsets[usize::try_from(which).unwrap()];
        let shown = match target {
            Target::Channel(id, node) => {
                let index = self.served.holder(id, node, offset);
                self.served.proven(id, node, index, claim.count)
            }
            Target::Dispute(id) => {
                Proven { record: self.answers[&id].to_bytes(), index: 0, proof: Vec::new() }
            }
        };
        Reveal { which, shown, location: b"blob".to_vec() }
    }

    pub(crate) fn reveal(&mut self, target: Target, shown: Reveal) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&SERVER].clone(), self.clock_ms);
        self.call(STRANGER, 0, |world, ctx| match target {
            Target::Channel(id, _) => audit::reveal_record(world.stack(id), &badge, shown, clock_ms, ctx),
            Target::Dispute(id) => dispute::reveal_record(world.dispute(id), &badge, shown, clock_ms, ctx),
        })
    }

    /// The node proves every drawn record.
    pub(crate) fn reveal_all(&mut self, target: Target) {
        let count = self.claim(target).audit.as_ref().unwrap().offsets.len();
        for which in 0..u64::try_from(count).unwrap() {
            let shown = self.proof_of(target, which);
            match self.reveal(target, shown) {
                Ok(_) | Err(Abort::AlreadyDone | Abort::WrongPhase) => {}
                Err(abort) => panic!("{abort}"),
            }
        }
    }

    /// Verifiers of the running round in this state.
    pub(crate) fn seats(&self, target: Target, state: SeatState) -> Vec<NodeId> {
        let audit = self.claim(target).audit.as_ref().unwrap();
        let seats = if audit.round == 0 { &audit.seats } else { &audit.jury };
        seats.iter().filter(|seat| seat.state == state).map(|seat| seat.verifier).collect()
    }

    /// A verifier's verdict on every record alike, with the digests of who executed them.
    pub(crate) fn verdict(&self, target: Target, verifier: NodeId, verdict: u8) -> Opened {
        let audit = self.claim(target).audit.as_ref().unwrap();
        let mut digests = Vec::new();
        for shown in &audit.records {
            let request = match target {
                Target::Channel(id, node) => self.served.request_at(id, node, shown.total_units),
                Target::Dispute(id) => self.answers[&id].request_hash,
            };
            let (own, other) = (audit.round + 1, 2 - audit.round);
            digests.extend(served::digest(request, own).0);
            digests.extend(Hash32::of(served::digest(request, other).as_bytes()).0);
        }
        if verdict != PASS || !self.world.db.task(TaskId(1)).unwrap().exact {
            digests.clear();
        }
        let salt = vec![u8::try_from(verifier.0).unwrap(); 32];
        Opened { verdicts: vec![verdict; audit.records.len()], digests, salt }
    }

    pub(crate) fn commitment(&self, target: Target, verifier: NodeId, opened: &Opened) -> Vec<u8> {
        let claim = self.claim(target);
        let round = claim.audit.as_ref().unwrap().round;
        audit::commitment(target.id(), claim.count, round, verifier, opened).0.to_vec()
    }

    pub(crate) fn commit(&mut self, target: Target, verifier: NodeId, hash: Vec<u8>) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&verifier].clone(), self.clock_ms);
        self.call(STRANGER, 0, |world, ctx| match target {
            Target::Channel(id, node) => {
                audit::commit_verdict(world.stack(id), node, &badge, hash, clock_ms, ctx)
            }
            Target::Dispute(id) => dispute::commit_verdict(world.dispute(id), &badge, hash, clock_ms, ctx),
        })
    }

    pub(crate) fn open_verdict(
        &mut self,
        target: Target,
        verifier: NodeId,
        opened: Opened,
    ) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&verifier].clone(), self.clock_ms);
        self.call(STRANGER, 0, |world, ctx| {
            let World { db, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    let stack = stacks.get_mut(&id).unwrap();
                    audit::reveal_verdict(db, stack, node, &badge, opened, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    let dispute = disputes.get_mut(&id).unwrap();
                    dispute::reveal_verdict(db, dispute, &badge, opened, clock_ms, ctx)
                }
            }
        })
    }

    /// Every seat commits to the verdict that `of` gives it.
    pub(crate) fn commit_all(&mut self, target: Target, of: impl Fn(usize) -> u8) {
        for (i, verifier) in self.seats(target, SeatState::Seated).into_iter().enumerate() {
            let opened = self.verdict(target, verifier, of(i));
            let hash = self.commitment(target, verifier, &opened);
            self.commit(target, verifier, hash).unwrap();
        }
    }

    /// A whole round: the node reveals, every seat commits to and reveals the verdict that `of` gives it.
    pub(crate) fn judge(&mut self, target: Target, of: impl Fn(usize) -> u8) {
        self.reveal_all(target);
        self.commit_all(target, &of);
        let committed = self.seats(target, SeatState::Committed);
        for (i, verifier) in committed.into_iter().enumerate() {
            let opened = self.verdict(target, verifier, of(i));
            self.open_verdict(target, verifier, opened).unwrap();
        }
    }

    pub(crate) fn mark_late(&mut self, target: Target) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| match target {
            Target::Channel(id, node) => audit::mark_late(world.stack(id), node, clock_ms, ctx),
            Target::Dispute(id) => dispute::mark_audit_late(world.dispute(id), clock_ms, ctx),
        })
    }

    pub(crate) fn expire(&mut self, target: Target) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| {
            let World { db, stacks, disputes, .. } = world;
            match target {
                Target::Channel(id, node) => {
                    audit::expire(db, stacks.get_mut(&id).unwrap(), node, clock_ms, ctx)
                }
                Target::Dispute(id) => {
                    dispute::expire_audit(db, disputes.get_mut(&id).unwrap(), clock_ms, ctx)
                }
            }
        })
    }

    /// Passes the running deadline, marks it late, passes the grace, and lets it have its effect.
    pub(crate) fn run_out(&mut self, target: Target) {
        let deadline_ms = self.claim(target).audit.as_ref().unwrap().deadline_ms;
        self.clock_ms = self.clock_ms.max(deadline_ms + 1);
        self.mark_late(target).unwrap();
        self.clock_ms += self.params().grace_ms;
        self.expire(target).unwrap();
    }

    /// A market with an open audit of a claim of two million units.
    pub(crate) fn audited() -> (Self, Target) {
        let mut bench = Self::new();
        let id = bench.buy();
        bench.serve(id, &[10_000; 200]);
        bench.settle(id).unwrap();
        let target = Target::Channel(id, SERVER);
        bench.open_audit(target);
        (bench, target)
    }

    pub(crate) fn collateral(&self, node: NodeId) -> u64 {
        self.node(node).collateral.0
    }

    /// The server is convicted for a claim of its own on a fresh stack.
    pub(crate) fn convict_server(&mut self) {
        let id = self.buy();
        let target = self.claim_units(id, MILLION);
        self.open_audit(target);
        self.run_out(target);
        assert_eq!(self.node(SERVER).convictions, 1);
    }

    pub(crate) fn refund(&mut self, sender: Address, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(sender, 0, |world, ctx| stack::refund(world.stack(id), clock_ms, ctx))
    }

    pub(crate) fn request_close(&mut self, id: Address) {
        let clock_ms = self.clock_ms;
        self.call(USER, 0, |world, ctx| stack::request_close(world.stack(id), clock_ms, ctx)).unwrap();
    }
}

pub(crate) fn coin(balance: u64) -> Coin {
    Coin { id: Address::new([0xcc; 32]), balance: Amount(balance) }
}

/// What the call handed out in coins.
pub(crate) fn coins(ctx: &TxContext) -> u64 {
    let amounts = ctx.transfers.iter().map(|transfer| match &transfer.object {
        Owned::Coin(coin) => coin.balance.0,
        _ => 0,
    });
    amounts.sum()
}

pub(crate) fn abort(result: Result<TxContext>) -> Abort {
    result.expect_err("an abort")
}
