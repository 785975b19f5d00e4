//! Disputes: opened over a request, and everything that can become of them.

use super::known::{self, Asked, Plan, record_of};
use super::terms::COIN;
use super::{Director, Planned};
use crate::op::{BlobSpec, Op, Target};
use atoma_types::onchain::{Channel, Dispute, DisputeState, Stack};
use atoma_types::{Address, Hash32, NodeId, Record, RequestAuth, Status, Units};

/// The Walrus epoch of every play.
const WALRUS_EPOCH: u32 = 10;

impl Director {
    /// Opens a dispute over a request of the stack.
    pub(super) fn dispute(&mut self, stack: &Stack) -> Option<Planned> {
        let open: Vec<Channel> =
            stack.channels.iter().filter(|row| !row.granted.is_zero()).cloned().collect();
        let row = self.dice.pick(&open).or_else(|| self.dice.pick(&stack.channels))?;
        let node = row.node.0;
        let free = atoma_contract::stack::free(stack, &row).map_or(0, |units| units.0);
        if free == 0 && !self.dice.one_in(4) {
            return None;
        }
        let max_units = match self.dice.below(6) {
            0 => self.dice.edgy(free.saturating_add(1)),
            1 => self.dice.edgy(1_000),
            _ => 1 + self.dice.below(free.min(5_000_000)),
        };
        let nonce = match self.dice.pick(&stack.disputed.nonces) {
            Some(nonce) if self.dice.one_in(12) => nonce,
            _ => self.known.next_nonce(),
        };
        let expires_ms = match self.dice.below(24) {
            0 => self.clock_ms + 600_000,
            1 => self.clock_ms + 600_001,
            2 => self.clock_ms.saturating_sub(stack.params.dispute_window_ms),
            3 => self.clock_ms.saturating_sub(stack.params.dispute_window_ms + 1),
            4 => stack.expires_ms,
            5 => stack.expires_ms.saturating_add(1),
            _ => stack.expires_ms.min(self.clock_ms + 60_000),
        };
        let body = self.body();
        let auth = RequestAuth {
            db: stack.db,
            stack: stack.id,
            node: row.node,
            hops: u8::try_from(self.dice.below(2)).ok()?,
            nonce,
            body_hash: Hash32::of(&body),
            max_units: Units(max_units),
            expires_ms,
        };
        let (signature, request_hash) = known::request(self.known.secret(&stack.request_key), &auth);
        let bond = stack.params.bond.0;
        let coin = match self.dice.below(8) {
            0 => bond.saturating_sub(1),
            1 => bond + self.dice.edgy(COIN),
            _ => bond,
        };
        let op = Op::OpenDispute {
            db: self.index(stack.db),
            stack: stack.id,
            blob: self.blob(),
            coin,
            node,
            hops: auth.hops,
            nonce,
            body_hash: auth.body_hash.0.to_vec(),
            max_units,
            expires_ms,
            signature,
        };
        self.foresee(stack, node, request_hash, max_units, body);
        Planned::new(stack.owner, op)
    }

    /// Remembers, under the id that the dispute will have, what its node is going to do.
    fn foresee(&mut self, stack: &Stack, node: u64, request: Hash32, max_units: u64, body: Vec<u8>) {
        let plan = self.dice.of([
            Plan::Answer,
            Plan::Answer,
            Plan::Answer,
            Plan::Refuse,
            Plan::Acknowledge,
            Plan::Demand,
            Plan::Nothing,
        ]);
        let has_audits = self.node(stack.db, node).is_some_and(|row| row.open_audits > 0);
        // What a silent node loses is booked while it is under audit.
        let plan = if has_audits && self.dice.one_in(2) { Plan::Nothing } else { plan };
        if plan == Plan::Acknowledge {
            // Some pass the request on to another node of the stack.
            let others = stack.channels.iter().map(|row| row.node.0).collect::<Vec<_>>();
            let server = if self.dice.one_in(3) { self.dice.pick(&others).unwrap_or(node) } else { node };
            let room = stack.channel(NodeId(server)).map_or(0, |row| row.granted.0);
            let served = self.known.served_mut(stack.id, server);
            let units = room.saturating_sub(served.total()).min(max_units) / 2;
            served.append(record_of(request, units));
        }
        let id =
            atoma_contract::TxContext::new(Address::ZERO, 0, crate::world::digest(self.tx + 1), 0).fresh_id();
        self.known.asked.insert(id, Asked { body, plan, record: None });
    }

    fn body(&mut self) -> Vec<u8> {
        let bytes = match self.dice.below(60) {
            0 => self.dice.of([0, 12_288, 20_000]),
            1 if self.dice.one_in(4) => self.dice.of([98_304, 98_305]),
            _ => 1 + self.dice.index(40),
        };
        vec![b'{'; bytes]
    }

    pub(super) fn blob(&mut self) -> BlobSpec {
        let certified_epoch = WALRUS_EPOCH - self.dice.of([0, 0, 0, 1]);
        let mut blob = BlobSpec {
            blob_id: self.dice.bytes(),
            size: 500,
            encoding_type: 1,
            registered_epoch: certified_epoch,
            certified_epoch: Some(certified_epoch),
            end_epoch: WALRUS_EPOCH + 2,
            deletable: false,
        };
        match self.dice.below(24) {
            0 => blob.size = 0,
            1 => blob.encoding_type = 0,
            2 => blob.certified_epoch = None,
            3 => blob.end_epoch = WALRUS_EPOCH + 1,
            4 => blob.deletable = true,
            5 => blob.end_epoch = u32::MAX,
            _ => {}
        }
        blob
    }

    /// What could come next of a dispute.
    pub(super) fn dispute_story(&mut self, id: Address) -> Option<Planned> {
        let dispute = self.world.disputes.get(&id)?.clone();
        match dispute.state {
            DisputeState::Open => self.open_dispute(&dispute),
            DisputeState::BodyDemanded => self.demanded(&dispute),
            DisputeState::Answered => self.claim_story(Target::Dispute(id)),
            DisputeState::Ended => self.withdraw_dispute(id),
        }
    }

    fn open_dispute(&mut self, dispute: &Dispute) -> Option<Planned> {
        let plan = self.known.asked.get(&dispute.id).map_or(Plan::Nothing, |asked| asked.plan);
        let plan = if self.dice.one_in(8) { self.dice.of([Plan::Answer, Plan::Refuse]) } else { plan };
        match plan {
            Plan::Answer => self.answer(dispute),
            Plan::Refuse => self.refuse(dispute),
            Plan::Acknowledge => self.acknowledge(dispute).or_else(|| self.run_out_dispute(dispute)),
            Plan::Demand if !dispute.body_demanded || self.dice.one_in(8) => self.demand(dispute),
            Plan::Demand => self.answer(dispute),
            Plan::Nothing => self.run_out_dispute(dispute),
        }
    }

    fn answer(&mut self, dispute: &Dispute) -> Option<Planned> {
        let most = dispute.max_units.0;
        let units = match self.dice.below(8) {
            0 => self.dice.edgy(most.saturating_add(1)),
            1 => most,
            _ => 1 + self.dice.below(most),
        };
        let mut record = record_of(dispute.request_hash, units);
        match self.dice.below(32) {
            0 => record.status = Status::Refused,
            1 => record.count = 2,
            2 => record.total_units = Units(units.saturating_add(1)),
            3 => record.request_hash = Hash32::ZERO,
            4 => record.units = Units::ZERO,
            5 | 6 => record.work = Hash32::of(b"never executed"),
            _ => {}
        }
        let db = self.index(dispute.db);
        let op = Op::AnswerServed {
            db,
            beacon: db,
            stack: dispute.stack,
            dispute: dispute.id,
            badge: self.badge_of(dispute.db, dispute.node.0)?,
            blob: self.blob(),
            record: record.to_bytes(),
        };
        self.remember(dispute.id, record);
        let sender = self.anybody();
        Planned::new(sender, op)
    }

    /// The answer last tried; once one succeeded, no other does.
    fn remember(&mut self, dispute: Address, record: Record) {
        if let Some(asked) = self.known.asked.get_mut(&dispute) {
            asked.record = Some(record);
        }
    }

    pub(super) fn refuse(&mut self, dispute: &Dispute) -> Option<Planned> {
        let fee = if dispute.is_overflow { 0 } else { dispute.params.answer_fee.0 };
        let coin = match self.dice.below(6) {
            0 => fee.saturating_sub(1),
            1 => fee + self.dice.edgy(COIN),
            _ => fee,
        };
        let op = Op::AnswerRefused {
            db: self.index(dispute.db),
            stack: dispute.stack,
            dispute: dispute.id,
            badge: self.badge_of(dispute.db, dispute.node.0)?,
            coin,
            reason: 7,
        };
        let sender = self.anybody();
        Planned::new(sender, op)
    }

    fn acknowledge(&mut self, dispute: &Dispute) -> Option<Planned> {
        let stack = self.stack(dispute.stack)?.clone();
        let has_it = |node: &u64| {
            let served = self.known.served(stack.id, *node);
            served.is_some_and(|served| served.index_of(dispute.request_hash).is_some())
        };
        let node = stack.channels.iter().map(|row| row.node.0).find(has_it)?;
        let served = self.known.served(stack.id, node)?;
        let index = served.index_of(dispute.request_hash)?;
        let count = served.count();
        let (units, root) = served.at(count)?;
        let shown = served.proven(index, count)?;
        let names = (stack.db, stack.id, node);
        let secret = self.known.secret(&stack.request_key);
        let voucher = known::voucher(secret, names, (units, count, root.0.to_vec()));
        let op = Op::ShowAcknowledged {
            db: self.index(stack.db),
            stack: stack.id,
            dispute: dispute.id,
            badge: self.badge_of(dispute.db, dispute.node.0)?,
            node,
            voucher,
            shown,
        };
        let sender = self.anybody();
        Planned::new(sender, op)
    }

    fn demand(&mut self, dispute: &Dispute) -> Option<Planned> {
        let badge = self.badge_of(dispute.db, dispute.node.0)?;
        let sender = self.anybody();
        Planned::new(sender, Op::DemandBody { db: self.index(dispute.db), dispute: dispute.id, badge })
    }

    /// The opener posts the body, in one part or several, or does not.
    fn demanded(&mut self, dispute: &Dispute) -> Option<Planned> {
        let body = self.known.asked.get(&dispute.id)?.body.clone();
        if dispute.nonce.is_multiple_of(5) {
            return self.run_out_dispute(dispute);
        }
        if self.dice.one_in(12) {
            return self.answer(dispute);
        }
        let posted = dispute.body_bytes.len();
        let left = body.get(posted..).unwrap_or(&[]);
        let size = if self.dice.one_in(3) { self.dice.index(left.len() + 1) } else { left.len() };
        let size = size.min(12_288);
        let mut part = left[..size].to_vec();
        let mut offset = u64::try_from(posted).ok()?;
        match self.dice.below(16) {
            0 => part.push(1),
            1 => offset = self.dice.edgy(offset.saturating_add(1)),
            2 if posted == 0 => part = vec![0; 12_289],
            _ => {}
        }
        let is_last = posted + size >= body.len() || self.dice.one_in(12);
        let op = Op::PostBody { dispute: dispute.id, offset, part, is_last };
        Planned::new(dispute.opener, op)
    }

    fn run_out_dispute(&mut self, dispute: &Dispute) -> Option<Planned> {
        let sender = self.anybody();
        let early = u64::from(self.dice.one_in(8));
        if dispute.late_ms == 0 {
            let at_ms = dispute.deadline_ms.saturating_add(1).saturating_sub(early);
            return Planned::at(sender, at_ms, Op::MarkDisputeLate { dispute: dispute.id });
        }
        let at_ms = dispute.late_ms.saturating_add(dispute.params.grace_ms).saturating_sub(early);
        let db = self.index(dispute.db);
        Planned::at(sender, at_ms, Op::ExpireDispute { db, stack: dispute.stack, dispute: dispute.id })
    }

    pub(super) fn withdraw_dispute(&mut self, id: Address) -> Option<Planned> {
        let dues = self.world.disputes.get(&id)?.dues.clone();
        let to = self.dice.pick(&dues).map(|due| due.to);
        let sender = to.unwrap_or_else(|| self.anybody());
        Planned::new(sender, Op::WithdrawDispute { dispute: id })
    }
}
