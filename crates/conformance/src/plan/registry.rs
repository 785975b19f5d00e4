//! Administration, nodes, tasks and offers between the stories; and calls that are out of order.

use super::terms::{self, COIN};
use super::{ADMIN, Burst, Director, Planned, STRANGER, creator, operator, payout};
use crate::op::{Aged, Op, Target};
use atoma_contract::upgrade::USE_MS;
use atoma_types::onchain::DisputeState;
use atoma_types::{Address, NodeId, SecretKey, TaskId};

/// Nodes that register beyond the overture's.
const NODES_MORE: u64 = 6;

impl Director {
    pub(super) fn registry(&mut self) -> Option<Planned> {
        match self.dice.below(16) {
            0..=3 => self.node_call(),
            4..=10 => self.offer_call(),
            11 | 12 => self.task_call(),
            13 => self.upgrade_call(),
            _ => self.admin_call(),
        }
    }

    fn node_call(&mut self) -> Option<Planned> {
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        let (badge, node) = self.any_badge(market)?;
        let row = self.db(market).node(NodeId(node)).ok()?.clone();
        let params = self.params(market).clone();
        let sender = self.anybody();
        let op = match self.dice.below(12) {
            0 | 1 => return self.register(market),
            2 => Op::SetEndpoint { db, badge, endpoint: self.endpoint() },
            3 => Op::SetPayout { db, badge, payout: self.anybody() },
            4 => {
                let interval_ms = self.dice.edgy(params.answer_interval_max_ms + 1);
                Op::SetAnswerInterval { db, badge, interval_ms }
            }
            5 | 6 => {
                let huge = self.dice.of([0, u64::MAX, u64::MAX - row.collateral.0]);
                let coin = if self.dice.one_in(6) { huge } else { self.dice.edgy(1_000 * COIN) };
                Op::AddCollateral { db, badge, coin }
            }
            7 => Op::RotateReceiptKey { db, badge, receipt_key: self.public_key() },
            8 | 9 => self.rotation(db, badge, row.attestation.counter),
            10 if self.dice.one_in(3) => Op::Disable { db, badge },
            _ => return self.leaving_story(badge),
        };
        Planned::new(sender, op)
    }

    fn public_key(&mut self) -> Vec<u8> {
        match self.dice.below(8) {
            0 => vec![0; 32],
            1 => [vec![1], vec![0; 31]].concat(),
            2 => vec![3; 31],
            _ => {
                let n = self.dice.next().to_le_bytes()[0];
                SecretKey::from_seed([n; 32]).public_key().0.to_vec()
            }
        }
    }

    fn endpoint(&mut self) -> String {
        let long = "http://".to_owned() + &"a".repeat(self.dice.of([249, 250]));
        let texts = ["http://a", "https://b:1/x", "http://", "https:///x", "gopher://x", "", "http://a b"];
        if self.dice.one_in(6) { long } else { self.dice.of(texts).to_owned() }
    }

    fn register(&mut self, market: usize) -> Option<Planned> {
        let nodes = self.db(market).nodes.size();
        if nodes > 20 + NODES_MORE || (nodes > 4 + NODES_MORE && self.level != 2) {
            return None;
        }
        let params = self.params(market);
        let least = params.registration_fee.0.saturating_add(params.min_collateral.0);
        let fee = params.registration_fee.0;
        let coin = match self.dice.below(8) {
            0 => least.saturating_sub(1),
            1 => fee.saturating_sub(1),
            2 => self.dice.of([u64::MAX, 1_000_000_000_000_000, least.saturating_mul(9)]),
            _ => least.saturating_add(self.dice.edgy(5_000 * COIN)),
        };
        let n = u8::try_from(nodes + 1).ok()?;
        let db = u8::try_from(market).ok()?;
        let op = Op::Register {
            db,
            treasury: db,
            coin,
            payout: payout(n),
            endpoint: self.endpoint(),
            receipt_key: self.public_key(),
        };
        let owner = if self.dice.one_in(4) { operator(1) } else { operator(n) };
        Planned::new(owner, op)
    }

    fn rotation(&mut self, db: u8, badge: u16, counter: u64) -> Op {
        let attests = self.dice.one_in(2);
        let evidence = if attests { vec![1; self.dice.of([32, 32, 32, 31])] } else { Vec::new() };
        Op::RotateKey {
            db,
            badge,
            evidence,
            blob: if attests { vec![2; 32] } else { vec![0; self.dice.of([0, 0, 0, 32])] },
            seal_key: vec![8; self.dice.of([32, 32, 1_216, 2_048, 2_049, 0])],
            device_types: vec![1; if attests { self.dice.of([0, 1, 16, 17]) } else { 0 }],
            counter: counter.wrapping_add(self.dice.of([0, 1, 1, 1, 5, u64::MAX])),
            expires_ms: if attests { self.clock_ms + self.dice.edgy(10_000_000) } else { 0 },
        }
    }

    /// A node on its way out: disabled, evicted, paid.
    pub(super) fn leaving_story(&mut self, badge: u16) -> Option<Planned> {
        let holder = self.world.node_badges.get(usize::from(badge))?.clone();
        let row = self.node(holder.db, holder.node.0)?.clone();
        let db = self.index(holder.db);
        let sender = self.anybody();
        if row.disabled_ms == 0 {
            let enabled = self.db(usize::from(db)).nodes.values().filter(|node| node.disabled_ms == 0);
            // Markets do not die of it.
            let is_spared =
                enabled.count() < 5 || (self.level == 2 && !self.is_restless && !self.dice.one_in(6));
            return if is_spared { None } else { Planned::new(sender, Op::Disable { db, badge }) };
        }
        if self.dice.one_in(2) {
            let task = self.any_task(usize::from(db));
            return Planned::new(sender, Op::Evict { db, node: row.id.0, task });
        }
        if self.dice.one_in(3) && row.open_audits == 0 && row.open_disputes == 0 {
            self.epoch = self.epoch.max(row.exit_epoch.saturating_sub(u64::from(self.dice.one_in(8))));
            let at_ms = row.exit_ms.saturating_sub(u64::from(self.dice.one_in(8)));
            return Planned::at(sender, at_ms, Op::Exit { db, badge });
        }
        Planned::new(sender, Op::Exit { db, badge })
    }

    fn offer_call(&mut self) -> Option<Planned> {
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        let (badge, node) = self.any_badge(market)?;
        let task = if self.dice.one_in(3) { self.any_task(market) } else { 1 };
        let row = self.db(market).task(TaskId(task)).ok()?.clone();
        let above = u64::from(self.dice.one_in(8));
        let price = self.dice.edgy(row.price_ceiling.0.saturating_add(above));
        let max_units = match self.dice.below(8) {
            0 => self.dice.of([0, 1_000_000_000_001, u64::MAX]),
            _ => self.dice.of([1, 1_000_000_000, 1_000_000_000_000]),
        };
        let subscription = self.db(market).subscription(TaskId(task), NodeId(node)).ok().cloned();
        let sender = self.anybody();
        let op = match self.dice.below(12) {
            0..=2 => {
                let fixed = subscription.map(|subscription| subscription.echelon);
                let echelon = fixed.or_else(|| self.dice.pick(&row.echelons)).unwrap_or(0);
                let verifier = row.level == 2 && self.dice.one_in(2);
                Op::Subscribe { db, badge, task, price, max_units, echelon, verifier }
            }
            3..=5 => Op::Reprice { db, badge, task, price, max_units },
            6 if self.dice.one_in(2) => Op::Unsubscribe { db, badge, task },
            7 | 8 => {
                let is_in = subscription.is_some_and(|subscription| subscription.verifier);
                // Few leave: without verifiers nothing is sold.
                let verifier = if is_in { !self.is_restless && !self.dice.one_in(3) } else { true };
                Op::SetVerifier { db, badge, task, verifier }
            }
            9 => Op::MoveVerifier { db, badge, task },
            _ => Op::Evict { db, node, task },
        };
        Planned::new(sender, op)
    }

    fn task_call(&mut self) -> Option<Planned> {
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        let tasks = self.db(market).tasks.size();
        match self.dice.below(6) {
            0 => {
                let modality = self.dice.of([0, 7, 8]);
                let label = "m".repeat(self.dice.of([0, 1, 64, 65]));
                let weights_root = vec![1; self.dice.of([32, 32, 32, 31])];
                let creator_fee_permille = self.dice.edgy(201);
                let op = Op::AddModel { db, label, modality, weights_root, creator_fee_permille };
                Planned::new(creator(0), op)
            }
            1 | 2 if tasks < 5 => self.new_task(market),
            3 if self.dice.one_in(4) => {
                let badge = self.task_badge()?;
                Planned::new(creator(0), Op::DeprecateTask { db, badge })
            }
            _ => {
                let badge = self.task_badge()?;
                let all: Vec<u64> = self.db(market).nodes.values().map(|row| row.id.0).collect();
                let nodes = match self.dice.below(6) {
                    0 => vec![1; self.dice.of([64, 65])],
                    1 => vec![1, 2],
                    2 => all,
                    _ => Vec::new(),
                };
                Planned::new(creator(1), Op::SetWhitelist { db, badge, nodes })
            }
        }
    }

    fn task_badge(&mut self) -> Option<u16> {
        u16::try_from(self.dice.index(self.world.task_badges.len())).ok()
    }

    fn new_task(&mut self, market: usize) -> Option<Planned> {
        let params = self.params(market).clone();
        let models = self.db(market).models.size();
        let level = self.dice.of([0, 1, 2, 2, 3]);
        let op = Op::CreateTask {
            db: u8::try_from(market).ok()?,
            role: self.dice.of([0, 7, 7, 8]),
            model: self.dice.upto(models),
            level,
            exact: self.dice.one_in(2),
            price_ceiling: self.dice.of([0, 1, 2 * COIN, 1_000_000_000_000, 1_000_000_000_001]),
            weight_input: self.dice.of([0, 1_000]),
            weight_output: self.dice.of([0, 1_000, 1_000]),
            surcharge_permille: self.dice.edgy(201),
            min_collateral: self.dice.of([0, 0, 0, params.min_collateral.0 + 1, 1_000_000_000_000_001]),
            min_reputation: self.dice.of([0, 0, 50, 100, 101]),
            whitelist: vec![1; self.dice.of([0, 0, 1, 64, 65])],
            echelons: self.echelons(),
            p_min_ppb: self.dice.of([0, 1_000_000_000, 1_000_000_001]),
            p_stat_ppb: self.dice.of([0, 1_000_000_000, 1_000_000_001]),
            verifiers: self.dice.of([0, 1, 2, 4, 5]),
            records: self.dice.of([0, 1, 8, 9]),
            min_claim: self.dice.of([0, 1, COIN, 1_000_000_000_000_001]),
            challenge_ms: self.dice.of([0, params.challenge_ms, params.challenge_ms + params.unit_ms, 1]),
            hold_ms: self.dice.of([0, params.hold_ms, params.hold_ms + params.unit_ms, 100_000_001_000]),
        };
        Planned::new(creator(0), op)
    }

    fn echelons(&mut self) -> Vec<u64> {
        match self.dice.below(10) {
            0 => (0..self.dice.of([16, 17])).collect(),
            1 => vec![65_536],
            2 => vec![1, 1],
            3 => Vec::new(),
            4 => vec![65_535],
            5 | 6 => vec![1, 2],
            _ => vec![0],
        }
    }

    fn upgrade_call(&mut self) -> Option<Planned> {
        let locks = self.world.locks.len();
        if locks == 0 || (locks < 3 && self.dice.one_in(8)) {
            let package = if self.dice.one_in(6) { Address::new([0x78; 32]) } else { Address::ZERO };
            let op = Op::Lock { db: 0, cap: 0, package };
            return Planned::new(ADMIN, op);
        }
        let lock = u8::try_from(self.dice.index(locks)).ok()?;
        let proposal = self.world.locks[usize::from(lock)].proposal;
        let (db, cap) = (0, 0);
        match (proposal, self.dice.below(3)) {
            (None, _) => {
                let digest = vec![4; self.dice.of([32, 32, 31])];
                Planned::new(ADMIN, Op::Propose { db, lock, cap, digest })
            }
            (Some(_), 0) => Planned::new(ADMIN, Op::Cancel { db, lock, cap }),
            (Some(proposal), _) => {
                let commit = if self.dice.one_in(6) { 0 } else { lock };
                let op = Op::Authorize { db, lock, cap, commit };
                let ready_ms = proposal.ready_ms(self.params(0).timelock_ms).ok()?;
                // Rarely waits so long: everything else is over then.
                match self.dice.below(24) {
                    0..=3 => Planned::at(ADMIN, ready_ms, op),
                    4 => Planned::at(ADMIN, ready_ms + USE_MS + self.dice.below(2), op),
                    _ => Planned::new(ADMIN, op),
                }
            }
        }
    }

    fn admin_call(&mut self) -> Option<Planned> {
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        let cap = if self.dice.one_in(12) { 1 - db.min(1) } else { db };
        let op = match self.dice.below(16) {
            0 | 1 => Op::SetPaused { db, cap, paused: !self.db(market).paused },
            2 | 3 if self.db(market).paused => return self.unpause(market),
            4..=6 => {
                let params = self.params(market).clone();
                Op::SetParams { db, cap, params: terms::change(&mut self.dice, &params) }
            }
            7 if self.dice.one_in(8) => {
                let model = 1 + self.dice.below(self.db(market).models.size() + 1);
                Op::DisableModel { db, cap, model }
            }
            8 | 9 => {
                let balance = self.world.treasuries[market].balance.0;
                let amount = self.dice.edgy(balance.saturating_add(1));
                Op::PayFromTreasury { treasury: db, cap, to: STRANGER, amount }
            }
            10 => Op::Migrate { db, cap },
            11 => Op::MigrateTreasury { db, treasury: db },
            12 => Op::MigrateBeacon { db, beacon: db },
            13 => return self.age(market),
            14 => {
                let params = self.params(market).values();
                Op::Create { cap, params }
            }
            _ => return self.beat(db),
        };
        Planned::new(ADMIN, op)
    }

    pub(super) fn unpause(&self, market: usize) -> Option<Planned> {
        let db = u8::try_from(market).ok()?;
        Planned::new(ADMIN, Op::SetPaused { db, cap: db, paused: false })
    }

    /// A node that writes and writes; a stack whose rows fill up; disputes without end.
    pub(super) fn burst(&mut self, burst: Burst) -> Option<Planned> {
        match burst {
            Burst::Writes(badge) => {
                let db = self.index(self.world.node_badges.get(usize::from(badge))?.db);
                Planned::new(STRANGER, Op::SetEndpoint { db, badge, endpoint: "http://a".into() })
            }
            Burst::Rows(id) => {
                let stack = self.stack(id)?;
                let node = 1_000 + u64::try_from(stack.channels.len()).ok()?;
                Planned::new(stack.owner, Op::RevokeChannel { stack: id, node })
            }
            Burst::Disputes(id) => {
                let stack = self.stack(id)?.clone();
                let open = self
                    .world
                    .disputes
                    .values()
                    .find(|row| row.stack == id && row.state == DisputeState::Open);
                match open.cloned() {
                    Some(open) if stack.disputed.open > 3 && !self.dice.one_in(20) => self.refuse(&open),
                    _ => self.dispute(&stack),
                }
            }
        }
    }

    /// Another version for an object, which most often somebody migrates back.
    fn age(&mut self, market: usize) -> Option<Planned> {
        let at = u8::try_from(market).ok()?;
        let stack = self.any_stack().map(Aged::Stack);
        let dispute = self.any_dispute().map(Aged::Dispute);
        let object = match self.dice.below(6) {
            0 => Aged::Db(at),
            1 => Aged::Treasury(at),
            2 => Aged::Beacon(at),
            3 => dispute?,
            _ => stack?,
        };
        let version = self.dice.of([0, 0, 0, 2]);
        Planned::new(ADMIN, Op::SetVersion { object, version })
    }

    /// A call that nothing led up to.
    pub(super) fn stray(&mut self) -> Option<Planned> {
        if let Some(planned) = self.mend() {
            return Some(planned);
        }
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        let (badge, node) = self.any_badge(market)?;
        let stack = self.any_stack()?;
        let held = self.claims();
        let target = match self.any_dispute() {
            _ if !held.is_empty() && self.dice.one_in(2) => self.dice.pick(&held)?,
            Some(dispute) if self.dice.one_in(3) => Target::Dispute(dispute),
            _ => Target::Channel { stack, node },
        };
        let dispute = self.any_dispute();
        let sender = self.anybody();
        let op = match self.dice.below(14) {
            0 => Op::ResolvePay { db, beacon: db, target },
            1 => Op::ResolveAudit { db, beacon: db, target },
            2 => Op::ReleaseClaim { db, beacon: db, target },
            3 => Op::CommitVerdict { target, badge, hash: vec![1; self.dice.of([32, 32, 31])] },
            4 => {
                let (verdicts, digests, salt) = (vec![0], vec![0; 64], vec![0; 32]);
                Op::RevealVerdict { db, target, badge, verdicts, digests, salt }
            }
            5 => Op::MarkAuditLate { target },
            6 => Op::ExpireAudit { db, target },
            7 => Op::PostRecordPart { target, badge, which: self.dice.below(3), part: vec![1] },
            8 => Op::MarkDisputeLate { dispute: dispute? },
            9 => {
                let dispute = dispute?;
                let of = self.world.disputes.get(&dispute)?.stack;
                Op::ExpireDispute { db, stack: if self.dice.one_in(4) { stack } else { of }, dispute }
            }
            10 => Op::DemandBody { db, dispute: dispute?, badge },
            11 => Op::PostBody { dispute: dispute?, offset: 0, part: vec![1], is_last: self.dice.one_in(2) },
            12 if self.dice.one_in(2) => Op::MigrateDispute { db, dispute: dispute? },
            12 => Op::MigrateStack { db, stack },
            _ => Op::Reclaim { db, stack, node },
        };
        Planned::new(sender, op)
    }

    /// Brings an object of another version back.
    pub(super) fn mend(&mut self) -> Option<Planned> {
        let markets = self.world.dbs.len();
        for market in 0..markets {
            let db = u8::try_from(market).ok()?;
            let (versions, sender) = (self.versions(market), self.anybody());
            let op = match versions {
                [1, 1, 1] => continue,
                [0, ..] => Op::Migrate { db, cap: db },
                [1, 0, _] => Op::MigrateTreasury { db, treasury: db },
                [1, 1, 0] => Op::MigrateBeacon { db, beacon: db },
                [version, ..] if version != 1 => Op::SetVersion { object: Aged::Db(db), version: 1 },
                [_, version, _] if version != 1 => Op::SetVersion { object: Aged::Treasury(db), version: 1 },
                _ => Op::SetVersion { object: Aged::Beacon(db), version: 1 },
            };
            return Planned::new(sender, op);
        }
        if let Some(stack) = self.world.stacks.values().find(|stack| stack.version != 1) {
            let (db, id, version) = (self.index(stack.db), stack.id, stack.version);
            let op = match version {
                0 => Op::MigrateStack { db, stack: id },
                _ => Op::SetVersion { object: Aged::Stack(id), version: 1 },
            };
            return Planned::new(STRANGER, op);
        }
        let dispute = self.world.disputes.values().find(|dispute| dispute.version != 1)?;
        let (db, id) = (self.index(dispute.db), dispute.id);
        let op = match dispute.version {
            0 => Op::MigrateDispute { db, dispute: id },
            _ => Op::SetVersion { object: Aged::Dispute(id), version: 1 },
        };
        Planned::new(STRANGER, op)
    }

    fn versions(&self, market: usize) -> [u64; 3] {
        let (db, world) = (self.db(market), &self.world);
        [db.version, world.treasuries[market].version, world.beacons[market].version]
    }
}
