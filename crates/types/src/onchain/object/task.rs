//! Models, tasks, and the lists of nodes that offer them.

use crate::amount::UnitWeights;
use crate::{Address, Amount, Hash32, ModelId, NodeId, Price, TaskId, Units};
use serde::{Deserialize, Serialize};

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
    /// 0 none, 1 confidential compute, 2 sampling consensus.
    pub level: u8,
    /// Whether answers are bit-reproducible and receipts carry a work digest.
    pub exact: bool,
    pub price_ceiling: Price,
    pub weights: UnitWeights,
    pub surcharge_permille: u64,
    pub min_collateral: Amount,
    pub min_reputation: u64,
    /// Nodes that may offer; everyone if empty.
    pub whitelist: Vec<NodeId>,
    /// Labels of the kinds of hardware whose answers agree with each other.
    pub echelons: Vec<u64>,
    pub deprecated: bool,
    pub audit: AuditTerms,
}

/// How a task tightens the parameters: of each term the larger value holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditTerms {
    pub p_min_ppb: u64,
    pub p_stat_ppb: u64,
    pub verifiers: u64,
    pub records: u64,
    pub min_claim: Amount,
    pub challenge_ms: u64,
    pub hold_ms: u64,
}

/// Slots in one page of a list.
pub const SLOTS_PER_PAGE: u64 = 64;

/// One position of a list. As an offer it is live at epoch e if `from_epoch ≤ e < until_epoch`; as a
/// verifier's, for a claim, if `since_ms < made_ms` and `now < until_ms`. `u64::MAX` is no end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub node: NodeId,
    /// min(collateral when written, the task's weight cap).
    pub weight: Amount,
    pub price: Price,
    pub max_units: Units,
    /// When it was written.
    pub since_ms: u64,
    pub from_epoch: u64,
    pub until_epoch: u64,
    pub until_ms: u64,
}

impl Slot {
    pub fn is_live_at(&self, epoch: u64) -> bool {
        self.from_epoch <= epoch && epoch < self.until_epoch
    }

    /// Whether it is an offer without an end, from now or the next epoch on: a node has at most one for a task.
    pub fn is_standing(&self) -> bool {
        self.until_epoch == u64::MAX
    }

    pub fn may_verify(&self, made_ms: u64, clock_ms: u64) -> bool {
        self.since_ms < made_ms && clock_ms < self.until_ms
    }
}

/// A node's newest offer for a task. Kept when it ends: its positions are found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub task: TaskId,
    pub node: NodeId,
    pub price: Price,
    pub max_units: Units,
    /// Fixed by the first subscription.
    pub echelon: u64,
    /// Whether it is opted in as a verifier.
    pub verifier: bool,
    /// Its one or two positions in the echelon's list of offers.
    pub slots: Vec<u64>,
    /// Its position in the echelon's list of verifiers, if it ever had one.
    pub verifier_slot: Option<u64>,
}
