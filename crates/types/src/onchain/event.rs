//! Typed events: one per state change, enough to rebuild every balance. Move names them
//! `<package>::events::<Name>`; BCS as written here.
//!
//! In the events of claims and audits `target` is the object that holds the claim: a stack, `node` naming the
//! channel, or a dispute.

use super::object::Selection;
use crate::{Address, Amount, Hash32, ModelId, NodeId, Price, PublicKey, TaskId, Units};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])* #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)] pub struct $name { $(pub $field: $type),* })*

        /// Any event of the package.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "event")]
        pub enum Event { $($name($name)),* }

        impl Event {
            /// Every struct with its fields and their types, in the order of their declaration.
            pub const LAYOUTS: &'static [Layout] = &[$(Layout {
                name: stringify!($name),
                fields: &[$((stringify!($field), stringify!($type))),*],
            }),*];

            /// Move struct name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),* }
            }

            /// BCS of the Move struct.
            pub fn contents(&self) -> Result<Vec<u8>, bcs::Error> {
                match self { $(Self::$name(event) => bcs::to_bytes(event)),* }
            }

            /// Decodes the struct called `name`; `None` if this version knows no such event.
            pub fn decode(name: &str, contents: &[u8]) -> Option<Result<Self, bcs::Error>> {
                match name { $(stringify!($name) => Some(bcs::from_bytes(contents).map(Self::$name)),)* _ => None }
            }
        }

        $(impl From<$name> for Event { fn from(event: $name) -> Self { Self::$name(event) } })*
    };
}

/// A struct as it is declared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub name: &'static str,
    /// Names and Rust types.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Module that declares the events.
pub const EVENT_MODULE: &str = "events";

events! {
    // Administration.
    /// `params` in the order of [`Params::NAMES`](super::Params::NAMES).
    MarketCreated { db: Address, treasury: Address, beacon: Address, params: Vec<u64> }
    ParamsSet { params: Vec<u64>, epoch: u64 }
    PauseSet { paused: bool }
    Migrated { object: Address, version: u64 }
    ModelDisabled { model: ModelId }
    TreasuryPaid { to: Address, amount: Amount }
    UpgradeLocked { lock: Address, cap: Address }
    UpgradeProposed { lock: Address, digest: Hash32, ready_ms: u64 }
    UpgradeAuthorized { lock: Address, digest: Hash32 }
    UpgradeCommitted { lock: Address, package: Address }
    UpgradeCancelled { lock: Address, digest: Hash32 }

    // Nodes.
    NodeRegistered { node: NodeId, owner: Address, payout: Address, endpoint: String, receipt_key: PublicKey, collateral: Amount, fee: Amount }
    NodeEndpointChanged { node: NodeId, endpoint: String }
    NodePayoutChanged { node: NodeId, payout: Address }
    AnswerIntervalChanged { node: NodeId, interval_ms: u64 }
    CollateralAdded { node: NodeId, amount: Amount }
    ReceiptKeyRotated { node: NodeId, receipt_key: PublicKey }
    KeyRotated {
        node: NodeId, seal_key: Vec<u8>, epoch: u64, old_until_ms: u64,
        evidence: Vec<u8>, blob: Vec<u8>, device_types: Vec<u8>, counter: u64, expires_ms: u64,
    }
    /// By its badge or by a conviction.
    NodeDisabled { node: NodeId, at_ms: u64, exit_ms: u64, exit_epoch: u64 }
    /// The collateral left. Bookings and pot were settled just before, in their own event.
    CollateralWithdrawn { node: NodeId, to: Address, amount: Amount }
    /// Reputation from `epoch` on, before it grows again.
    Fault { node: NodeId, reputation: u64, epoch: u64 }
    /// `amount` left the collateral (0 if only the pot paid): `burned` + `treasury` + `compensation` + what the
    /// pot grew by; `pot` is the pot afterwards. The compensation is due to `to`, or `booked` for it.
    Slashed {
        node: NodeId, amount: Amount, burned: Amount, treasury: Amount, compensation: Amount, booked: bool,
        pot: Amount, to: Address,
    }
    /// Bookings `to` were credited `amounts`; `treasury` is what the pot and forfeited bookings gave to it.
    BookingsSettled { node: NodeId, to: Vec<Address>, amounts: Vec<Amount>, treasury: Amount }
    /// Out of the database.
    DuesWithdrawn { to: Address, amount: Amount }
    /// Out of the database into the treasury.
    Collected { burned: Amount, treasury: Amount }

    // Models, tasks, offers.
    ModelAdded { model: ModelId, label: String, creator: Address, creator_fee_permille: u64 }
    TaskCreated {
        task: TaskId, owner: Address, role: u8, model: ModelId, level: u8, exact: bool, price_ceiling: Price,
        weight_input: u64, weight_output: u64, surcharge_permille: u64, min_collateral: Amount, min_reputation: u64,
        echelons: Vec<u64>, p_min_ppb: u64, p_stat_ppb: u64, verifiers: u64, records: u64, min_claim: Amount,
        challenge_ms: u64, hold_ms: u64,
    }
    TaskDeprecated { task: TaskId }
    WhitelistSet { task: TaskId, nodes: Vec<NodeId> }
    /// In force from `from_epoch` on, as its `slot`.
    Subscribed { task: TaskId, node: NodeId, price: Price, max_units: Units, echelon: u64, slot: u64, from_epoch: u64 }
    Repriced { task: TaskId, node: NodeId, price: Price, max_units: Units, slot: u64, from_epoch: u64 }
    Unsubscribed { task: TaskId, node: NodeId, until_epoch: u64 }
    VerifierJoined { task: TaskId, node: NodeId, echelon: u64, slot: u64, weight: Amount, since_ms: u64 }
    VerifierLeft { task: TaskId, node: NodeId, until_ms: u64 }
    /// What was dead of a node is out of the task's lists.
    Evicted { task: TaskId, node: NodeId, offers: bool, verifier: bool }
    /// An offer moved into the gap that an evicted one left.
    SlotMoved { task: TaskId, echelon: u64, node: NodeId, from: u64, to: u64 }

    // Stacks.
    StackAcquired {
        stack: Address, owner: Address, task: TaskId, level: u8, request_key: PublicKey, units: Units, max_price: Price,
        selection: Selection, drawn: Vec<NodeId>, echelons: Vec<u64>, surcharge: Amount, balance: Amount,
        expires_ms: u64,
    }
    /// `units` and `surcharge` more in all; `amount` is what was paid.
    StackToppedUp { stack: Address, units: Units, surcharge: Amount, amount: Amount }
    ChannelOpened {
        stack: Address, node: NodeId, price: Price, echelon: u64, granted: Units, nonce: u64, by: Address, open_fee: Amount,
    }
    /// By the owner. `price` 0 and nothing granted: the channel was not open and cannot be opened any more.
    ChannelRevoked { stack: Address, node: NodeId, at_ms: u64 }
    /// By the node, or because it was convicted.
    ChannelReleased { stack: Address, node: NodeId, at_ms: u64 }
    /// What an ended channel did not use is free again.
    ChannelReclaimed { stack: Address, node: NodeId, returned: Units }
    /// `paid` went to the node, `creator_fee` to the model's creator, `surcharge` to the treasury. Levels 0, 1.
    Settled {
        stack: Address, node: NodeId, units: Units, count: u64, root: Hash32,
        paid: Amount, creator_fee: Amount, surcharge: Amount,
    }
    /// A dispute keeps `units` from now on.
    ReserveChanged { stack: Address, dispute: Address, node: NodeId, units: Units }
    CloseRequested { stack: Address, at_ms: u64 }
    /// `credited` if somebody else than the owner called and the owner must withdraw.
    Refunded { stack: Address, owner: Address, amount: Amount, credited: bool }
    Withdrawn { stack: Address, to: Address, amount: Amount }
    Swept { stack: Address, amount: Amount }
    StackDeleted { stack: Address }

    // Claims and audits.
    BeaconRound { round: u64, seed: Hash32, at_ms: u64 }
    ClaimMade {
        target: Address, node: NodeId, from_units: Units, to_units: Units, count: u64, root: Hash32,
        amount: Amount, surcharge: Amount, p_ppb: u64, round: u64,
    }
    ClaimQueued { target: Address, node: NodeId, units: Units, count: u64, root: Hash32 }
    /// `fee` of the claim's money went to `resolver`, as a coin. `seats` are round 0's.
    AuditOpened {
        target: Address, node: NodeId, offsets: Vec<u64>, seats: Vec<NodeId>, deadline_ms: u64,
        resolver: Address, fee: Amount,
    }
    ClaimHeld { target: Address, node: NodeId, resolved_ms: u64 }
    /// The claim's money left the escrow: `paid` to the node's payout, `creator_fee` to the creator,
    /// `treasury` (the rest of its surcharge) to the treasury.
    ClaimPaid { target: Address, node: NodeId, paid: Amount, creator_fee: Amount, treasury: Amount }
    /// Units count as settled; `amount` is escrow again: what was left of amount and surcharge.
    ClaimVoided { target: Address, node: NodeId, amount: Amount }
    /// The queued voucher became nothing.
    QueueVoided { target: Address, node: NodeId }
    ClaimChallenged { target: Address, node: NodeId, leaf: Hash32, bond: Amount, round: u64 }
    /// Bond of a challenge: `returned` to the owner's dues, the rest to the node's.
    BondReleased { target: Address, node: NodeId, returned: Amount, to_node: Amount }
    RecordRevealed {
        target: Address, node: NodeId, round: u8, record: u64, bytes: Vec<u8>, index: u64, location: Vec<u8>,
        units: Units, total_units: Units,
    }
    RecordPart { target: Address, node: NodeId, record: u64, part: Vec<u8> }
    /// Every record of this round is revealed: verifiers commit until `deadline_ms`.
    CommitsOpened { target: Address, node: NodeId, round: u8, deadline_ms: u64 }
    VerdictCommitted { target: Address, node: NodeId, round: u8, verifier: NodeId, commit: Hash32 }
    /// Every seat committed: verdicts are revealed until `deadline_ms`.
    VerdictsOpened { target: Address, node: NodeId, round: u8, deadline_ms: u64 }
    VerdictRevealed {
        target: Address, node: NodeId, round: u8, verifier: NodeId, verdicts: Vec<u8>, digests: Vec<u8>, salt: Vec<u8>,
    }
    SeatsReplaced {
        target: Address, node: NodeId, round: u8, silent: Vec<NodeId>, seated: Vec<NodeId>, deadline_ms: u64,
    }
    JurySeated { target: Address, node: NodeId, jury: Vec<NodeId>, deadline_ms: u64 }
    /// The duty can still be done until `at_ms` + grace.
    MarkedLate { target: Address, node: NodeId, at_ms: u64 }
    /// Credited to a verifier's payout from the claim's surcharge, amount or bond.
    VerifierPaid { target: Address, node: NodeId, verifier: NodeId, to: Address, amount: Amount }
    /// `outcome`: 0 passed, 1 convicted, 2 undecided, 3 void for want of verifiers, 4 not revealed, 5 failed in a
    /// statistical task.
    AuditConcluded { target: Address, node: NodeId, round: u8, outcome: u8 }
    Convicted { target: Address, node: NodeId, convictions: u64 }

    // Disputes.
    DisputeOpened {
        dispute: Address, stack: Address, node: NodeId, opener: Address, request_hash: Hash32, nonce: u64,
        body_hash: Hash32, max_units: Units, blob: Hash32, blob_object: Address, bond: Amount, deadline_ms: u64,
    }
    /// `amount` left the stack's escrow: below level 2 paid at once, at level 2 moved into the dispute.
    DisputeAnswered {
        dispute: Address, units: Units, response_hash: Hash32, blob: Hash32, amount: Amount, paid: Amount,
        creator_fee: Amount, fee: Amount,
    }
    /// `fee` went from the node's coin to the treasury's part of the database.
    DisputeRefused { dispute: Address, reason: u8, fee: Amount }
    DisputeAcknowledged { dispute: Address, fee: Amount }
    BodyDemanded { dispute: Address, deadline_ms: u64 }
    BodyPart { dispute: Address, offset: u64, part: Vec<u8> }
    BodyPosted { dispute: Address, deadline_ms: u64 }
    /// `duty`: 0 the answer, 1 the body.
    DisputeExpired { dispute: Address, duty: u8 }
    /// What became of the bond.
    DisputeEnded { dispute: Address, to_opener: Amount, to_node: Amount }
    DisputeWithdrawn { dispute: Address, to: Address, amount: Amount }
    DisputeDeleted { dispute: Address }
}
