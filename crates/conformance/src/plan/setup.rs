//! The overture: administrator, models, tasks, nodes and their offers.

use super::terms::{self, COIN};
use super::{ADMIN, Director, creator, operator, payout};
use crate::op::{Op, Step};
use atoma_types::onchain::Params;
use atoma_types::{Address, SecretKey};

/// Nodes that serve, besides the verifiers.
const SERVERS: u64 = 3;

impl Director {
    /// Writes the steps that make the market. They are valid, whatever the dice say.
    pub(super) fn compose(&mut self) {
        let params = terms::roll(&mut self.dice, self.level);
        let mut steps = Vec::new();
        self.market(0, &params, self.level, &mut steps);
        if self.dice.one_in(3) {
            let other = terms::roll(&mut self.dice, 0);
            self.market(1, &other, 0, &mut steps);
        }
        if self.dice.one_in(3) {
            let op = Op::Lock { db: 0, cap: 0, package: Address::new([0x77; 32]) };
            self.write(&mut steps, ADMIN, op);
        }
        steps.reverse();
        self.overture = steps;
    }

    fn write(&mut self, steps: &mut Vec<Step>, sender: Address, op: Op) {
        self.tx += 1;
        self.clock_ms += 1;
        steps.push(Step { tx: self.tx, sender, epoch: self.epoch, clock_ms: self.clock_ms, op });
    }

    fn market(&mut self, db: u8, params: &Params, level: u8, steps: &mut Vec<Step>) {
        self.write(steps, ADMIN, Op::NewCap {});
        self.write(steps, ADMIN, Op::Create { cap: db, params: params.values() });
        for n in 0..if db == 0 { 2 } else { 1 } {
            let op = Op::AddModel {
                db,
                label: format!("model-{n}"),
                modality: n,
                weights_root: vec![7; 32],
                creator_fee_permille: self.dice.edgy(200),
            };
            self.write(steps, creator(n), op);
        }
        let echelons = if level == 2 && !self.dice.one_in(3) { vec![0] } else { vec![7, 65_535, 0] };
        let exact = echelons.len() == 1 || self.dice.one_in(2);
        let task = self.task(db, level, exact, echelons.clone(), params);
        self.write(steps, creator(0), task);
        let second = self.task(db, self.level.min(1), false, vec![3], params);
        self.write(steps, creator(1), second);
        self.nodes(db, params, level, &echelons, steps);
    }

    fn task(&mut self, db: u8, level: u8, exact: bool, echelons: Vec<u64>, params: &Params) -> Op {
        Op::CreateTask {
            db,
            role: u8::try_from(self.dice.below(8)).unwrap_or(0),
            model: if db == 0 { 1 + self.dice.below(2) } else { 1 },
            level,
            exact,
            price_ceiling: 2 * COIN,
            weight_input: self.dice.of([0, 1_000, 1_000_000_000_000]),
            weight_output: self.dice.of([1, 1_000]),
            surcharge_permille: self.dice.edgy(200),
            min_collateral: 0,
            min_reputation: self.dice.of([0, 0, 40, 50]),
            whitelist: Vec::new(),
            echelons,
            p_min_ppb: self.dice.of([0, 0, 500_000_000]),
            p_stat_ppb: self.dice.of([0, 0, 500_000_000]),
            verifiers: 0,
            records: self.dice.of([0, 0, 2]),
            min_claim: 0,
            challenge_ms: 0,
            hold_ms: params.hold_ms,
        }
    }

    fn nodes(&mut self, db: u8, params: &Params, level: u8, echelons: &[u64], steps: &mut Vec<Step>) {
        let verifiers = if level == 2 {
            params.min_verifiers + 1 + self.dice.below(2) + if self.is_restless { 4 } else { 0 }
        } else {
            0
        };
        // Now and then more than a page of slots holds.
        let crowd = if self.dice.one_in(40) { 66 } else { 0 };
        let count = if db == 0 { (SERVERS + verifiers).max(crowd) } else { 2 };
        let first = if db == 0 { 0 } else { 100 };
        for n in 0..count {
            let badge = self.badge_ahead(steps);
            let id = u8::try_from(first + n + 1).unwrap_or(u8::MAX);
            // Some own two nodes.
            let owner = if self.dice.one_in(8) { operator(1) } else { operator(id) };
            let collateral = params.min_collateral.0 * self.dice.of([1, 1, 2, 5]) + self.dice.below(100);
            let op = Op::Register {
                db,
                treasury: db,
                coin: params.registration_fee.0 + collateral,
                payout: payout(id),
                endpoint: "http://127.0.0.1:8080".into(),
                receipt_key: SecretKey::from_seed([id; 32]).public_key().0.to_vec(),
            };
            self.write(steps, owner, op);
            self.join(db, badge, owner, n >= SERVERS && level == 2, echelons, steps);
        }
        // Slots written now verify claims from the next ms on.
        self.clock_ms += 1;
    }

    /// Positions of badges follow from the registrations written so far.
    fn badge_ahead(&self, steps: &[Step]) -> u16 {
        let registered = steps.iter().filter(|step| matches!(step.op, Op::Register { .. })).count();
        u16::try_from(registered).unwrap_or(u16::MAX)
    }

    fn attested_until(&mut self) -> u64 {
        let (soon, late) = (self.clock_ms + 100_000 + self.dice.below(1_000_000), u64::MAX);
        self.dice.of([soon, late, late])
    }

    fn join(
        &mut self,
        db: u8,
        badge: u16,
        owner: Address,
        verifier: bool,
        echelons: &[u64],
        steps: &mut Vec<Step>,
    ) {
        let attests = self.level == 1;
        if verifier || attests || self.dice.one_in(4) {
            let op = Op::RotateKey {
                db,
                badge,
                evidence: if attests { vec![1; 32] } else { Vec::new() },
                blob: if attests { vec![2; 32] } else { Vec::new() },
                seal_key: vec![9; 32],
                device_types: if attests { vec![1, 2] } else { Vec::new() },
                counter: 1,
                expires_ms: if attests { self.attested_until() } else { 0 },
            };
            self.write(steps, owner, op);
        }
        let price = self.dice.of([0, 1, COIN / 3, COIN, COIN, COIN, 2 * COIN]);
        let op = Op::Subscribe {
            db,
            badge,
            task: 1,
            price,
            max_units: self.dice.of([1_000_000, 1_000_000_000, 1_000_000_000_000]),
            echelon: self.dice.pick(echelons).unwrap_or(0),
            verifier,
        };
        self.write(steps, owner, op);
        if !verifier {
            let op = Op::Subscribe {
                db,
                badge,
                task: 2,
                price: COIN,
                max_units: 1_000_000_000_000,
                echelon: 3,
                verifier: false,
            };
            self.write(steps, owner, op);
        }
    }
}
