//! Calls of the model's entry points.

mod claims;
mod registry;
mod stacks;

use crate::op::{BlobSpec, Op, Shown, Signed, Step};
use crate::world::{Stop, World};
use atoma_contract::audit::Proven;
use atoma_contract::stack::Settlement;
use atoma_contract::{Coin, NodeBadge, TaskBadge, TxContext};
use atoma_types::onchain::{Blob, Dispute, Stack};
use atoma_types::{Address, Amount, NodeId, Units};
use std::collections::BTreeMap;

pub(crate) type Played = Result<(), Stop>;

/// Calls what the step names.
pub(crate) fn call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Played {
    match &step.op {
        Op::SetVersion { object, version } => world.set_version(*object, *version),
        _ if registry::call(world, step, ctx)? || stacks::call(world, step, ctx)? => Ok(()),
        _ if claims::call(world, step, ctx)? => Ok(()),
        _ => claims::dispute(world, step, ctx),
    }
}

fn at<T>(rows: &[T], index: impl Into<usize>) -> Result<&T, Stop> {
    rows.get(index.into()).ok_or(Stop::Missing)
}

fn at_mut<T>(rows: &mut [T], index: impl Into<usize>) -> Result<&mut T, Stop> {
    rows.get_mut(index.into()).ok_or(Stop::Missing)
}

fn stack(stacks: &mut BTreeMap<Address, Stack>, id: Address) -> Result<&mut Stack, Stop> {
    stacks.get_mut(&id).ok_or(Stop::Missing)
}

fn dispute(disputes: &mut BTreeMap<Address, Dispute>, id: Address) -> Result<&mut Dispute, Stop> {
    disputes.get_mut(&id).ok_or(Stop::Missing)
}

fn node_badge(badges: &[NodeBadge], index: u16) -> Result<&NodeBadge, Stop> {
    at(badges, index)
}

fn task_badge(badges: &[TaskBadge], index: u16) -> Result<&TaskBadge, Stop> {
    at(badges, index)
}

/// The coin handed in. Its id is the transaction's own: nobody compares it.
fn coin(balance: u64) -> Coin {
    Coin { id: Address::ZERO, balance: Amount(balance) }
}

fn settlement(node: u64, voucher: &Signed) -> Settlement {
    Settlement {
        node: NodeId(node),
        units: Units(voucher.units),
        count: voucher.count,
        root: voucher.root.clone(),
        signature: voucher.signature.clone(),
    }
}

fn proven(shown: &Shown) -> Proven {
    Proven { record: shown.record.clone(), index: shown.index, proof: shown.proof.clone() }
}

/// The blob's object id derives from the transaction, as the Move driver makes it.
fn blob(spec: &BlobSpec, tx: u64) -> Blob {
    Blob {
        id: blob_object(tx),
        blob_id: spec.blob_id,
        size: spec.size,
        encoding_type: spec.encoding_type,
        registered_epoch: spec.registered_epoch,
        certified_epoch: spec.certified_epoch,
        end_epoch: spec.end_epoch,
        deletable: spec.deletable,
    }
}

/// Id of the blob object that a transaction brings.
pub(crate) fn blob_object(tx: u64) -> Address {
    let mut digest = [0xb1; 32];
    digest[..8].copy_from_slice(&tx.to_le_bytes());
    Address::derive_id(sui_sdk_types::Digest::new(digest), 0)
}
