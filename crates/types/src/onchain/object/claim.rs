//! Level 2: what a node asks to be paid for, and how that is checked.

use crate::{Amount, Hash32, NodeId, Units};
use serde::{Deserialize, Serialize};

super::byte_enum! {
    /// Where a claim stands.
    ClaimState {
        /// Its beacon round is not resolved yet.
        Waiting = 0,
        /// Not audited, or passed: pays after the hold.
        Held = 1,
        Audited = 2,
        /// The owner challenged a record; the next round seats its verifiers.
        Challenged = 3,
    }
}

super::byte_enum! {
    /// What an audit waits for.
    AuditPhase { Reveal = 0, Commit = 1, Verdict = 2 }
}

super::byte_enum! {
    /// What a seated verifier did.
    SeatState { Seated = 0, Committed = 1, Revealed = 2, Silent = 3 }
}

/// Units `(from_units, to_units]` of a channel, with everything that decides what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub from_units: Units,
    pub to_units: Units,
    pub count: u64,
    pub root: Hash32,
    /// Cost of the units, the creator's fee included.
    pub amount: Amount,
    /// Its share of the stack's surcharge, from which audits are paid first.
    pub surcharge: Amount,
    /// What audits took of surcharge and amount.
    pub spent: Amount,
    pub p_ppb: u64,
    /// Beacon round that decides, later than the newest when the claim was made.
    pub round: u64,
    /// The node's convictions when made.
    pub convictions: u64,
    pub made_ms: u64,
    /// Sizes of the verifiers' lists when made, one per echelon of the stack.
    pub sizes: Vec<u64>,
    pub state: ClaimState,
    /// When it became held; the hold counts from here.
    pub resolved_ms: u64,
    pub challenged: bool,
    /// The owner's bond while a challenge runs.
    pub bond: Amount,
    pub audit: Option<Audit>,
}

/// A newer voucher than the running claim's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    pub units: Units,
    pub count: u64,
    pub root: Hash32,
}

/// Re-execution of drawn records by drawn verifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The claim's seed `s`.
    pub seed: Hash32,
    /// Drawn units, each of which names the record that contains it.
    pub offsets: Vec<u64>,
    pub records: Vec<AuditedRecord>,
    /// Verifiers of round 0.
    pub seats: Vec<Seat>,
    /// Verifiers of round 1; empty before.
    pub jury: Vec<Seat>,
    pub round: u8,
    pub phase: AuditPhase,
    pub deadline_ms: u64,
    /// When the duty was marked late; 0 if it was not.
    pub late_ms: u64,
    /// First unused value of the seed, for replacements.
    pub next_value: u64,
    /// Whether silent seats of this round were replaced.
    pub replaced: bool,
}

/// A record that was revealed for an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedRecord {
    pub units: Units,
    /// The channel's units including this record: it holds `(total_units − units, total_units]`.
    pub total_units: Units,
    pub work: Hash32,
}

/// A verifier in an audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub verifier: NodeId,
    /// The verdict's commitment; empty before.
    pub commit: Vec<u8>,
    /// One byte per record; empty before.
    pub verdicts: Vec<u8>,
    pub state: SeatState,
}
