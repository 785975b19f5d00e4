//! How purchases, audits and settlements grow with the number of nodes that subscribe to a task.

use super::{Cost, play};
use crate::dice::Dice;
use crate::op::{Op, Signed, Step, Target};
use crate::world::{Outcome, World};
use atoma_contract::params;
use atoma_types::message::Message as _;
use atoma_types::onchain::Params;
use atoma_types::{Address, Amount, Hash32, NodeId, SecretKey, Units, Voucher};

/// How many nodes subscribe.
pub const SUBSCRIBERS: [u64; 4] = [10, 100, 1_000, 10_000];

const CALLS: u64 = 25;
const PRICE: u64 = 1_000_000;
const UNITS: u64 = 1_000_000;
const ADMIN: Address = Address::new([0xad; 32]);
const USER: Address = Address::new([0xa0; 32]);

/// One call at one number of subscribers, several times.
#[derive(Clone, Debug)]
pub struct Growth {
    pub call: &'static str,
    pub subscribers: u64,
    pub costs: Vec<Cost>,
}

/// Who is drawn: `selection` and `nodes` of a purchase.
#[derive(Clone, Copy)]
struct Draw {
    call: &'static str,
    selection: u8,
    nodes: u64,
}

const DRAWS: [Draw; 3] = [
    Draw { call: "`acquire`, single", selection: 0, nodes: 0 },
    Draw { call: "`acquire`, limited to 8", selection: 1, nodes: 8 },
    Draw { call: "`acquire`, any", selection: 2, nodes: 0 },
];

/// Every call that may depend on the number of subscribers, at every such number.
pub fn grow() -> Vec<Growth> {
    let mut all = Vec::new();
    let sold: Vec<Market> = SUBSCRIBERS.iter().map(|count| Market::new(*count, 0, 1)).collect();
    for draw in DRAWS {
        all.extend(sold.iter().map(|market| market.clone().acquire(draw)));
    }
    let dear = Draw { call: "`acquire`, single, too dear", ..DRAWS[0] };
    all.extend(SUBSCRIBERS.iter().map(|count| Market::new(*count, 0, 10).acquire(dear)));
    all.extend(sold.iter().map(|market| market.clone().settle()));
    let audited: Vec<Market> = SUBSCRIBERS.iter().map(|count| Market::new(*count, 2, 1)).collect();
    all.extend(audited.iter().map(|market| market.clone().claim("`claim::settle`", 0)));
    all.extend(audited.iter().map(|market| market.clone().claim("`resolve_audit`", 2)));
    all
}

/// A task with so many subscribers.
#[derive(Clone)]
struct Market {
    subscribers: u64,
    world: World,
    dice: Dice,
    tx: u64,
    clock_ms: u64,
    params: Params,
}

impl Market {
    /// At level 2 every subscriber verifies, and every claim is audited. Of `dear` offers all but one are above what
    /// buyers pay.
    fn new(subscribers: u64, level: u8, dear: u64) -> Self {
        let params = Params { p_stat_ppb: params::PPB, ..params::public() };
        let (world, dice) = (World::default(), Dice::new(subscribers));
        let mut market = Self { subscribers, world, dice, tx: 0, clock_ms: 1_000_000, params };
        market.send(ADMIN, Op::NewCap {});
        market.send(ADMIN, Op::Create { cap: 0, params: market.params.values() });
        let weights_root = vec![7; 32];
        let label = "model".to_owned();
        market
            .send(ADMIN, Op::AddModel { db: 0, label, modality: 0, weights_root, creator_fee_permille: 20 });
        market.send(ADMIN, task(level));
        // One more, so that the node served by has `subscribers` verifiers besides itself.
        for n in 0..subscribers + u64::from(level == 2) {
            market.join(n, level, if n % dear == 0 { PRICE } else { 2 * PRICE });
        }
        market.clock_ms += 1;
        market
    }

    fn step(&mut self, sender: Address, op: Op) -> Step {
        self.tx += 1;
        self.clock_ms += 1;
        Step { tx: self.tx, sender, epoch: 5, clock_ms: self.clock_ms, op }
    }

    /// Plays what is not counted. What cannot happen shows as calls that are missing from the count.
    fn send(&mut self, sender: Address, op: Op) -> bool {
        let step = self.step(sender, op);
        matches!(self.world.play(&step), Outcome::Done(_))
    }

    fn count(&mut self, sender: Address, op: Op) -> Option<Cost> {
        let step = self.step(sender, op);
        play(&mut self.world, &step)
    }

    fn join(&mut self, n: u64, level: u8, price: u64) {
        let owner = owner(n);
        let badge = u16::try_from(n).unwrap_or(u16::MAX);
        self.send(
            owner,
            Op::Register {
                db: 0,
                treasury: 0,
                coin: self.params.registration_fee.0 + self.params.min_collateral.0,
                payout: owner,
                endpoint: "https://node.example:8090".to_owned(),
                receipt_key: key().public_key().0.to_vec(),
            },
        );
        if level == 2 {
            let (evidence, blob, device_types) = (Vec::new(), Vec::new(), Vec::new());
            let seal_key = vec![9; 32];
            let (counter, expires_ms) = (1, 0);
            let op =
                Op::RotateKey { db: 0, badge, evidence, blob, seal_key, device_types, counter, expires_ms };
            self.send(owner, op);
        }
        let (max_units, verifier) = (1_000_000_000, level == 2);
        self.send(owner, Op::Subscribe { db: 0, badge, task: 1, price, max_units, echelon: 0, verifier });
    }

    fn purchase(&mut self, draw: Draw) -> Op {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.dice.next().to_le_bytes());
        Op::Acquire {
            db: 0,
            seed,
            coin: 10 * PRICE,
            task: 1,
            request_key: key().public_key().0.to_vec(),
            units: UNITS,
            max_price: PRICE,
            selection: draw.selection,
            nodes: draw.nodes,
            max_opens: 4,
            echelons: Vec::new(),
        }
    }

    fn acquire(mut self, draw: Draw) -> Growth {
        let costs = (0..CALLS).filter_map(|_| {
            let op = self.purchase(draw);
            self.count(USER, op)
        });
        let costs = costs.collect();
        Growth { call: draw.call, subscribers: self.subscribers, costs }
    }

    /// A new stack, and its node.
    fn bought(&mut self) -> Option<(Address, u64)> {
        let op = self.purchase(DRAWS[0]);
        let step = self.step(USER, op);
        let Outcome::Done(ctx) = self.world.play(&step) else { return None };
        let stack = ctx.shared.first()?;
        Some((stack.id, stack.drawn.first()?.0))
    }

    fn voucher(&self, stack: Address, node: u64) -> Option<Signed> {
        let (db, root) = (self.world.dbs.first()?.id, Hash32([3; 32]));
        let (units, count) = (Units(UNITS), 9);
        let voucher = Voucher { db, stack, node: NodeId(node), units, count, root };
        let signature = voucher.sign(&key()).signature.0.to_vec();
        Some(Signed { units: UNITS, count, root: root.0.to_vec(), signature })
    }

    fn settle(mut self) -> Growth {
        let costs = (0..CALLS).filter_map(|_| {
            let (stack, node) = self.bought()?;
            let voucher = self.voucher(stack, node)?;
            self.count(USER, Op::Settle { db: 0, stack, node, voucher })
        });
        let costs = costs.collect();
        Growth { call: "`stack::settle`", subscribers: self.subscribers, costs }
    }

    /// A claim, and two steps later its audit: counted is the step `counted`.
    fn claim(mut self, call: &'static str, counted: usize) -> Growth {
        let costs = (0..CALLS).filter_map(|_| {
            let (stack, node) = self.bought()?;
            let voucher = self.voucher(stack, node)?;
            let claim = Op::SettleClaim { db: 0, beacon: 0, stack, node, voucher };
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&self.dice.next().to_le_bytes());
            let target = Target::Channel { stack, node };
            let steps = [
                (owner(node - 1), claim),
                (ADMIN, Op::Beat { db: 0, beacon: 0, seed }),
                (ADMIN, Op::ResolveAudit { db: 0, beacon: 0, target }),
            ];
            self.clock_ms += self.params.beat_min_ms;
            let mut cost = None;
            for (at, (sender, op)) in steps.into_iter().enumerate() {
                match at == counted {
                    true => cost = self.count(sender, op),
                    false => drop(self.send(sender, op)),
                }
            }
            cost
        });
        let costs = costs.collect();
        Growth { call, subscribers: self.subscribers, costs }
    }
}

fn task(level: u8) -> Op {
    Op::CreateTask {
        db: 0,
        role: 0,
        model: 1,
        level,
        exact: false,
        price_ceiling: 2 * PRICE,
        weight_input: 1_000,
        weight_output: 1_000,
        surcharge_permille: 5,
        min_collateral: Amount::ZERO.0,
        min_reputation: 0,
        whitelist: Vec::new(),
        echelons: vec![0],
        p_min_ppb: 0,
        p_stat_ppb: 0,
        verifiers: 0,
        records: 0,
        min_claim: 0,
        challenge_ms: 0,
        hold_ms: 0,
    }
}

fn owner(n: u64) -> Address {
    let mut bytes = [0x0e; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Address::new(bytes)
}

fn key() -> SecretKey {
    SecretKey::from_seed([5; 32])
}
