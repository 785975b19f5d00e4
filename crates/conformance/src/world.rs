//! All objects of a play, and how one step changes them.

use crate::op::{Aged, Op, Step};
use crate::play;
use atoma_contract::upgrade::UpgradeLock;
use atoma_contract::{AdminCap, AtomaDb, Beacon, NodeBadge, Owned, TaskBadge, Treasury, TxContext};
use atoma_types::Address;
use atoma_types::onchain::{Abort, Dispute, Stack};
use std::collections::BTreeMap;
use sui_sdk_types::Digest;

/// What exists. Positions are those that steps name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub caps: Vec<AdminCap>,
    pub dbs: Vec<AtomaDb>,
    pub treasuries: Vec<Treasury>,
    pub beacons: Vec<Beacon>,
    pub locks: Vec<UpgradeLock>,
    pub node_badges: Vec<NodeBadge>,
    pub task_badges: Vec<TaskBadge>,
    pub stacks: BTreeMap<Address, Stack>,
    pub disputes: BTreeMap<Address, Dispute>,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done(Box<TxContext>),
    Aborted(Abort),
    /// The step names an object that does not exist: such a transaction cannot be sent.
    Missing,
}

/// Why a call did not happen.
pub(crate) enum Stop {
    Abort(Abort),
    Missing,
}

impl From<Abort> for Stop {
    fn from(abort: Abort) -> Self {
        Self::Abort(abort)
    }
}

impl From<atoma_types::ArithmeticError> for Stop {
    fn from(error: atoma_types::ArithmeticError) -> Self {
        Self::Abort(error.into())
    }
}

/// The digest of a transaction: ids of what it makes derive from it.
pub fn digest(tx: u64) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&tx.to_le_bytes());
    Digest::new(digest)
}

/// A transaction's context before its call.
pub fn context(step: &Step) -> TxContext {
    TxContext::new(step.sender, step.epoch, digest(step.tx), 0)
}

impl World {
    /// Runs one step. Only [`Outcome::Done`] may have changed anything.
    pub fn play(&mut self, step: &Step) -> Outcome {
        let mut ctx = context(step);
        match play::call(self, step, &mut ctx) {
            Ok(()) => {
                self.keep(&ctx);
                Outcome::Done(Box::new(ctx))
            }
            Err(Stop::Abort(abort)) => Outcome::Aborted(abort),
            Err(Stop::Missing) => Outcome::Missing,
        }
    }

    /// Takes in what a call shared and transferred, and lets go of what it deleted.
    fn keep(&mut self, ctx: &TxContext) {
        for stack in &ctx.shared {
            self.stacks.insert(stack.id, stack.clone());
        }
        for dispute in &ctx.disputes {
            self.disputes.insert(dispute.id, dispute.clone());
        }
        for id in &ctx.deleted {
            self.stacks.remove(id);
            self.disputes.remove(id);
        }
        for transfer in &ctx.transfers {
            match &transfer.object {
                Owned::NodeBadge(badge) => self.node_badges.push(badge.clone()),
                Owned::TaskBadge(badge) => self.task_badges.push(badge.clone()),
                Owned::AdminCap(cap) => self.caps.push(cap.clone()),
                Owned::Coin(_) => {}
            }
        }
    }

    /// Which market a database belongs to.
    pub fn market_of(&self, db: Address) -> Option<usize> {
        self.dbs.iter().position(|other| other.id == db)
    }

    /// The market whose objects a step works on, if it succeeds.
    pub fn market(&self, op: &Op) -> Option<usize> {
        let of_stack = |id: &Address| self.stacks.get(id).and_then(|stack| self.market_of(stack.db));
        let of_dispute = |id: &Address| self.disputes.get(id).and_then(|dispute| self.market_of(dispute.db));
        match op {
            Op::NewCap {} | Op::Create { .. } | Op::SetVersion { .. } => None,
            Op::PayFromTreasury { treasury, .. } => Some(usize::from(*treasury)),
            Op::RevokeChannel { stack, .. }
            | Op::RequestClose { stack }
            | Op::Refund { stack }
            | Op::Withdraw { stack }
            | Op::Sweep { stack, .. } => of_stack(stack),
            Op::PostBody { dispute, .. }
            | Op::MarkDisputeLate { dispute }
            | Op::WithdrawDispute { dispute } => of_dispute(dispute),
            op => match op.target() {
                Some(crate::op::Target::Channel { stack, .. }) => of_stack(&stack),
                Some(crate::op::Target::Dispute(dispute)) => of_dispute(&dispute),
                None => db_of(op).map(usize::from),
            },
        }
    }

    pub(crate) fn set_version(&mut self, object: Aged, version: u64) -> Result<(), Stop> {
        let field = match object {
            Aged::Db(at) => self.dbs.get_mut(usize::from(at)).map(|db| &mut db.version),
            Aged::Treasury(at) => self.treasuries.get_mut(usize::from(at)).map(|row| &mut row.version),
            Aged::Beacon(at) => self.beacons.get_mut(usize::from(at)).map(|row| &mut row.version),
            Aged::Stack(id) => self.stacks.get_mut(&id).map(|stack| &mut stack.version),
            Aged::Dispute(id) => self.disputes.get_mut(&id).map(|dispute| &mut dispute.version),
        };
        *field.ok_or(Stop::Missing)? = version;
        Ok(())
    }
}

/// The database that a call names.
fn db_of(op: &Op) -> Option<u8> {
    // Every variant that is left has its database as first field; its bytes say which.
    let bytes = bcs::to_bytes(op).ok()?;
    bytes.get(1).copied()
}
