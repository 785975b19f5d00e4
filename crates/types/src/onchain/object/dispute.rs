//! Disputes over delivery, and the Walrus objects they read.

use super::claim::Claim;
use super::params::Params;
use super::stack::Due;
use crate::{Address, Amount, Hash32, NodeId, Price, TaskId, Units};
use serde::{Deserialize, Serialize};

super::byte_enum! {
    /// What a dispute waits for.
    DisputeState {
        /// The node's answer.
        Open = 0,
        /// The opener's body.
        BodyDemanded = 1,
        /// Answered; at level 2 the answer is a claim.
        Answered = 2,
        /// Nothing more but withdrawals.
        Ended = 3,
    }
}

/// A request that the user made available and asks the chain to see answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub id: Address,
    pub version: u64,
    pub db: Address,
    pub stack: Address,
    pub node: NodeId,
    /// As the channel's.
    pub payout: Address,
    pub opener: Address,
    pub request_hash: Hash32,
    pub nonce: u64,
    pub body_hash: Hash32,
    pub max_units: Units,
    /// Walrus id of the blob that holds the request, and the object that certifies it.
    pub blob: Hash32,
    pub blob_object: Address,
    /// Walrus epoch in which the request's blob was certified: blobs must stay for two from there on.
    pub walrus_epoch: u32,
    pub opened_ms: u64,
    pub deadline_ms: u64,
    /// The node's queue was full when it was opened: refusing costs nothing.
    pub is_overflow: bool,
    /// When the duty was marked late; 0 if it was not.
    pub late_ms: u64,
    pub state: DisputeState,
    /// Parts of the body as far as posted; dropped when complete.
    pub body_bytes: Vec<u8>,
    /// Bodies are demanded once.
    pub body_demanded: bool,
    pub task: TaskId,
    pub level: u8,
    pub exact: bool,
    pub echelons: Vec<u64>,
    pub price: Price,
    pub creator: Address,
    pub creator_fee_permille: u64,
    /// As the stack's.
    pub params: Params,
    /// The answer as a claim of one record (level 2).
    pub claim: Option<Claim>,
    pub dues: Vec<Due>,
    pub bond: Amount,
    /// `Balance<T>`: bond, the claim's money and dues.
    pub balance: Amount,
}

/// A Walrus `Blob` object as the contract reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub id: Address,
    /// The `u256` in little-endian bytes.
    pub blob_id: [u8; 32],
    pub size: u64,
    pub encoding_type: u8,
    pub registered_epoch: u32,
    /// Certified in this Walrus epoch.
    pub certified_epoch: Option<u32>,
    pub end_epoch: u32,
    pub deletable: bool,
}
