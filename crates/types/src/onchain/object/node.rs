//! A node's row.

use crate::{Address, Amount, NodeId, PublicKey};
use serde::{Deserialize, Serialize};

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub owner: Address,
    pub payout: Address,
    pub endpoint: String,
    pub receipt_key: PublicKey,
    pub seal: Seal,
    pub attestation: Attestation,
    pub collateral: Amount,
    /// When collateral was last added. Draws for claims made before skip the node: else it could choose,
    /// knowing the seed, whether to have the minimum.
    pub raised_ms: u64,
    /// Compensations held back while an audit is open.
    pub bookings: Vec<Booking>,
    /// What further timeouts share until `timeout_until_ms`; after that the treasury's.
    pub timeout_pot: Amount,
    /// Until then no further timeout is slashed.
    pub timeout_until_ms: u64,
    /// How often it was convicted of fraud. A claim pays only if this did not change since it was made.
    pub convictions: u64,
    /// Reputation at `reputation_epoch`; it grows by one per epoch to at most 100.
    pub reputation: u64,
    pub reputation_epoch: u64,
    /// Time that the node declares to need per disputed request.
    pub answer_interval_ms: u64,
    /// When it will have answered every dispute opened so far, at that rate.
    pub queue_tail_ms: u64,
    /// 0 while enabled.
    pub disabled_ms: u64,
    /// When collateral can leave; fixed by disabling.
    pub exit_ms: u64,
    pub exit_epoch: u64,
    pub open_audits: u64,
    pub open_disputes: u64,
    /// Registry writes in `writes_epoch`.
    pub writes: u64,
    pub writes_epoch: u64,
    pub registered_epoch: u64,
}

/// To what key the node's secrets are encrypted: `key` from epoch `epoch` on, `old_key` before. What was
/// encrypted to `old_key` can be opened until `old_until_ms`. Empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub key: Vec<u8>,
    pub epoch: u64,
    pub old_key: Vec<u8>,
    pub old_until_ms: u64,
}

impl Seal {
    /// The key in force; empty if none.
    pub fn key_at(&self, epoch: u64) -> &[u8] {
        if epoch >= self.epoch { &self.key } else { &self.old_key }
    }
}

/// What a confidential node last attested. The chain stores, the client verifies. All empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// H of the evidence.
    pub evidence: Vec<u8>,
    /// Id of the blob that holds it.
    pub blob: Vec<u8>,
    pub device_types: Vec<u8>,
    pub counter: u64,
    /// 0 without evidence.
    pub expires_ms: u64,
}

/// A compensation that is paid once no audit is open any more, at latest at `until_ms`; a conviction before
/// gives it to the treasury.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub amount: Amount,
    pub to: Address,
    pub until_ms: u64,
}
