//! Stored structs, BCS field for field as in Move: `UID`, `ID` and `address` are 32 bytes, `Balance<T>` and
//! every quantity a `u64`, `String` and `vector<u8>` length-prefixed, `Option<T>` a vector of at most one.

use crate::amount::UnitWeights;
use crate::{Address, Amount, Hash32, ModelId, NodeId, Price, PublicKey, TaskId, Units};
use serde::{Deserialize, Serialize};

/// Parameters of the protocol. Windows in ms are multiples of `unit_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub unit_ms: u64,
    pub stack_life_ms: u64,
    pub close_delay_ms: u64,
    pub exit_ms: u64,
    pub min_collateral: Amount,
    /// Most a single draw weighs: a multiple of the minimum collateral.
    pub weight_cap: Amount,
    pub registration_fee: Amount,
    pub open_fee: Amount,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub owner: Address,
    pub payout: Address,
    pub endpoint: String,
    pub receipt_key: PublicKey,
    pub collateral: Amount,
    pub reputation: u64,
    pub registered_epoch: u64,
    /// 0 while enabled.
    pub disabled_ms: u64,
}

/// What a task may offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub id: ModelId,
    pub label: String,
    pub creator: Address,
    pub modality: u8,
    pub weights_root: Hash32,
    pub creator_fee_permille: u64,
    pub disabled: bool,
}

/// A model at a security level under fixed terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub owner: Address,
    pub role: u8,
    pub model: ModelId,
    pub level: u8,
    pub price_ceiling: Price,
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    /// Nodes that may subscribe; everyone if empty.
    pub whitelist: Vec<NodeId>,
    pub deprecated: bool,
}

/// A node's offer for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub task: TaskId,
    pub node: NodeId,
    pub price: Price,
    pub max_units: Units,
    pub echelon: u64,
}

/// How a stack's nodes were chosen. One byte in Move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Selection {
    Single = 0,
    Limited = 1,
    Any = 2,
}

impl From<Selection> for u8 {
    fn from(selection: Selection) -> Self {
        match selection {
            Selection::Single => 0,
            Selection::Limited => 1,
            Selection::Any => 2,
        }
    }
}

impl TryFrom<u8> for Selection {
    type Error = String;
    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        match byte {
            0 => Ok(Self::Single),
            1 => Ok(Self::Limited),
            2 => Ok(Self::Any),
            other => Err(format!("unknown selection {other}")),
        }
    }
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
    pub weights: UnitWeights,
    pub max_price: Price,
    pub total_units: Units,
    pub granted_units: Units,
    pub settled_units: Units,
    pub selection: Selection,
    pub drawn: Vec<NodeId>,
    pub creator: Address,
    pub creator_fee_permille: u64,
    /// Surcharge escrowed for all units, and what of it was earned.
    pub surcharge: Amount,
    pub surcharge_earned: Amount,
    pub open_fee: Amount,
    pub opens_left: u64,
    pub created_ms: u64,
    pub expires_ms: u64,
    /// 0 until the owner asks to close.
    pub close_requested_ms: u64,
    pub close_delay_ms: u64,
    pub channels: Vec<Channel>,
    /// Credited and not yet withdrawn.
    pub dues: Vec<Due>,
    pub treasury_due: Amount,
    /// `Balance<T>`: every coin of this stack, dues included.
    pub balance: Amount,
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
    pub price: Price,
    pub granted: Units,
    pub grant_nonce: u64,
    pub settled_units: Units,
    pub settled_count: u64,
    pub root: Hash32,
    pub paid: Amount,
    pub closed: bool,
}

impl Stack {
    pub fn channel(&self, node: NodeId) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.node == node)
    }

    /// When grants stop: expiry, or the owner's earlier request to close.
    pub fn ends_ms(&self) -> u64 {
        match self.close_requested_ms {
            0 => self.expires_ms,
            requested => requested.min(self.expires_ms),
        }
    }

    /// Last moment at which a voucher settles; afterwards the rest can be refunded.
    pub fn settle_until_ms(&self) -> u64 {
        self.ends_ms().saturating_add(self.close_delay_ms)
    }
}
