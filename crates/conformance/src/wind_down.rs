//! Money leaves every state by time alone, whoever vanishes: on a copy of the world, only calls that anyone may
//! make, and everybody's own withdrawals, until nothing is left but what the treasury holds.

use crate::check::is_current;
use crate::op::{Aged, Op, Step, Target};
use crate::world::{Outcome, World};
use atoma_contract::auditor::Violation;
use atoma_types::Address;

/// No state needs as many rounds of calls.
const ROUNDS_MAX: usize = 64;
const ANYONE: Address = Address::new([0xee; 32]);

struct End {
    world: World,
    clock_ms: u64,
    epoch: u64,
    tx: u64,
}

/// Fails if something stays.
pub(crate) fn check(world: &World, clock_ms: u64, epoch: u64) -> Result<(), Violation> {
    let mut end = End { world: world.clone(), clock_ms, epoch, tx: u64::MAX / 2 };
    end.mend();
    debug_assert!(is_current(&end.world));
    for _ in 0..ROUNDS_MAX {
        end.pass();
        end.round();
        if end.is_over() {
            return Ok(());
        }
    }
    Err(Violation { rule: "money leaves every state by time alone", detail: end.rest() })
}

impl End {
    fn play(&mut self, sender: Address, op: Op) -> bool {
        self.tx += 1;
        let step = Step { tx: self.tx, sender, epoch: self.epoch, clock_ms: self.clock_ms, op };
        matches!(self.world.play(&step), Outcome::Done(_))
    }

    /// Objects of another version are brought back.
    fn mend(&mut self) {
        let mut objects = Vec::new();
        for at in 0..u8::try_from(self.world.dbs.len()).unwrap_or(u8::MAX) {
            objects.extend([Aged::Db(at), Aged::Treasury(at), Aged::Beacon(at)]);
        }
        objects.extend(self.world.stacks.keys().copied().map(Aged::Stack));
        objects.extend(self.world.disputes.keys().copied().map(Aged::Dispute));
        for object in objects {
            self.play(ANYONE, Op::SetVersion { object, version: 1 });
        }
    }

    /// Every window that runs is over.
    fn pass(&mut self) {
        let mut longest = 1_000;
        for db in &self.world.dbs {
            let params = db.params_at(self.epoch);
            longest = longest.max(params.exit_ms).max(params.hold_ms * 2).max(params.beat_min_ms);
        }
        let stacks = self.world.stacks.values();
        let ends = stacks.map(|stack| stack.settle_until_ms()).filter(|end| *end < u64::MAX / 2).max();
        let holds = self.world.stacks.values().map(|stack| stack.params.hold_ms * 2).max();
        self.clock_ms = (self.clock_ms + longest.max(holds.unwrap_or(0))).max(ends.unwrap_or(0)) + 1;
        self.epoch += 3;
    }

    fn round(&mut self) {
        for at in 0..u8::try_from(self.world.dbs.len()).unwrap_or(u8::MAX) {
            self.play(ANYONE, Op::Beat { db: at, beacon: at, seed: [7; 32] });
        }
        self.claims();
        self.disputes();
        self.stacks();
        self.nodes();
    }

    fn index(&self, db: Address) -> u8 {
        u8::try_from(self.world.market_of(db).unwrap_or(0)).unwrap_or(0)
    }

    fn claims(&mut self) {
        let mut targets = Vec::new();
        for stack in self.world.stacks.values() {
            let db = self.index(stack.db);
            let nodes = stack.channels.iter().map(|row| row.node.0);
            targets.extend(nodes.map(|node| (db, Target::Channel { stack: stack.id, node })));
        }
        let disputes = self.world.disputes.values();
        targets.extend(disputes.map(|dispute| (self.index(dispute.db), Target::Dispute(dispute.id))));
        for (db, target) in targets {
            self.play(ANYONE, Op::ResolvePay { db, beacon: db, target });
            self.play(ANYONE, Op::ResolveAudit { db, beacon: db, target });
            self.play(ANYONE, Op::ExpireAudit { db, target });
            self.play(ANYONE, Op::MarkAuditLate { target });
            self.play(ANYONE, Op::ReleaseClaim { db, beacon: db, target });
        }
    }

    fn disputes(&mut self) {
        let disputes = self.world.disputes.values();
        let rows: Vec<_> = disputes.map(|row| (self.index(row.db), row.stack, row.id)).collect();
        for (db, stack, dispute) in rows {
            self.play(ANYONE, Op::ExpireDispute { db, stack, dispute });
            self.play(ANYONE, Op::MarkDisputeLate { dispute });
            let dues = self.world.disputes.get(&dispute).map(|row| row.dues.clone());
            for due in dues.into_iter().flatten() {
                self.play(due.to, Op::WithdrawDispute { dispute });
            }
            self.play(ANYONE, Op::WithdrawDispute { dispute });
        }
    }

    fn stacks(&mut self) {
        let stacks = self.world.stacks.values();
        let rows: Vec<_> = stacks.map(|row| (self.index(row.db), row.id)).collect();
        for (treasury, stack) in rows {
            self.play(ANYONE, Op::Refund { stack });
            let dues = self.world.stacks.get(&stack).map(|row| row.dues.clone());
            for due in dues.into_iter().flatten() {
                self.play(due.to, Op::Withdraw { stack });
            }
            self.play(ANYONE, Op::Sweep { stack, treasury });
        }
    }

    fn nodes(&mut self) {
        for badge in 0..u16::try_from(self.world.node_badges.len()).unwrap_or(u16::MAX) {
            let db = self.index(self.world.node_badges[usize::from(badge)].db);
            self.play(ANYONE, Op::Disable { db, badge });
            self.play(ANYONE, Op::Exit { db, badge });
        }
        for at in 0..self.world.dbs.len() {
            let Ok(db) = u8::try_from(at) else { continue };
            let nodes: Vec<u64> = self.world.dbs[at].nodes.rows().map(|(node, _)| node).collect();
            for node in nodes {
                self.play(ANYONE, Op::SettleBookings { db, node });
            }
            let dues: Vec<Address> = self.world.dbs[at].dues.rows().map(|(to, _)| to).collect();
            for to in dues {
                self.play(to, Op::WithdrawDue { db });
            }
            self.play(ANYONE, Op::Collect { db, treasury: db });
        }
    }

    fn is_over(&self) -> bool {
        let has_pool = self.world.dbs.iter().any(|db| !db.pool.is_zero());
        !has_pool && self.world.stacks.is_empty() && self.world.disputes.is_empty()
    }

    fn rest(&self) -> String {
        let pools: Vec<_> = self.world.dbs.iter().map(|db| db.pool).collect();
        format!("{pools:?} {:?} {:?}", self.world.stacks.values(), self.world.disputes.values())
    }
}
