//! Prepaid units, and each node's part of them.

use super::claim::{Claim, Queued};
use super::params::Params;
use crate::amount::UnitWeights;
use crate::{Address, Amount, ArithmeticError, Hash32, NodeId, Price, PublicKey, TaskId, Units};
use serde::{Deserialize, Serialize};

super::byte_enum! {
    /// How a stack's nodes were chosen.
    Selection { Single = 0, Limited = 1, Any = 2 }
}

/// Prepaid units of one task. Carries copies of every term it will be judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    pub id: Address,
    pub version: u64,
    pub db: Address,
    pub owner: Address,
    /// Signs grants, requests and vouchers.
    pub request_key: PublicKey,
    pub task: TaskId,
    pub level: u8,
    pub exact: bool,
    pub weights: UnitWeights,
    pub max_price: Price,
    pub total_units: Units,
    pub granted_units: Units,
    /// Units that vouchers were settled for: paid, or at level 2 resolved.
    pub settled_units: Units,
    /// Units that became claims so far (level 2), surcharge being counted by them.
    pub claimed_units: Units,
    pub selection: Selection,
    pub drawn: Vec<NodeId>,
    /// Echelons the buyer accepts, in the order in which their lists are laid end to end.
    pub echelons: Vec<u64>,
    pub creator: Address,
    pub creator_fee_permille: u64,
    pub surcharge: Surcharge,
    pub opens_left: u64,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// 0 until the owner asks to close.
    pub close_requested_ms: u64,
    /// The parameters when bought, with the task's tighter terms written in.
    pub params: Params,
    pub channels: Vec<Channel>,
    pub disputed: Disputed,
    /// Credited and not yet withdrawn.
    pub dues: Vec<Due>,
    pub treasury_due: Amount,
    /// `Balance<T>`: every coin of this stack, dues included.
    pub balance: Amount,
}

/// What was escrowed on top of the price, and what of it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surcharge {
    pub permille: u64,
    pub escrowed: Amount,
    pub used: Amount,
}

/// What disputes do to a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disputed {
    /// Units kept for disputes, oldest first.
    pub reserves: Vec<Reserve>,
    /// Request nonces ever disputed.
    pub nonces: Vec<u64>,
    pub open: u64,
}

/// Units of a channel that a dispute keeps until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    pub dispute: Address,
    pub node: NodeId,
    pub units: Units,
}

/// What one address may withdraw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    pub to: Address,
    pub amount: Amount,
}

/// One node's part of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub node: NodeId,
    /// Where the node is credited: its payout when the channel was opened.
    pub payout: Address,
    pub price: Price,
    pub echelon: u64,
    pub granted: Units,
    pub grant_nonce: u64,
    pub settled_units: Units,
    pub settled_count: u64,
    pub root: Hash32,
    /// Cost of what was paid, the creator's fee included.
    pub paid: Amount,
    /// Cost of what was settled and not paid: voided claims.
    pub voided: Amount,
    /// Units answered in disputes, apart from the transcript, and what they cost.
    pub disputed_units: Units,
    pub disputed_paid: Amount,
    /// 0 while open.
    pub closed_ms: u64,
    /// The node gave up what it had not settled.
    pub released: bool,
    pub claim: Option<Claim>,
    pub queued: Option<Queued>,
}

impl Stack {
    pub fn channel(&self, node: NodeId) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.node == node)
    }

    /// The surcharge of `units` that are settled, or at level 2 claimed, after all that were so far.
    pub fn surcharge_ahead(&self, units: Units) -> Result<Amount, ArithmeticError> {
        if units.is_zero() {
            return Ok(Amount::ZERO);
        }
        let counted = if self.level == 2 { self.claimed_units } else { self.settled_units };
        let earned = self.surcharge.escrowed.pro_rata(counted.add(units)?, self.total_units)?;
        // A top-up changes the ratio by a rounding: what was used stays used.
        Ok(earned.saturating_sub(self.surcharge.used))
    }

    /// When grants stop: expiry, or the owner's earlier request to close.
    pub fn ends_ms(&self) -> u64 {
        match self.close_requested_ms {
            0 => self.expires_ms,
            requested => requested.min(self.expires_ms),
        }
    }

    /// Last moment at which any voucher settles; afterwards the rest can be refunded.
    pub fn settle_until_ms(&self) -> u64 {
        self.ends_ms().saturating_add(self.params.close_delay_ms)
    }
}
