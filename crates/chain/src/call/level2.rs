//! What can be done about claims and disputes.

use atoma_types::{Address, Amount, Hash32, NodeId, Record, RequestAuth, Signed, Voucher};

/// The claim of a node: where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Channel {
        stack: Address,
        node: NodeId,
    },
    /// The answer to a dispute.
    Dispute {
        dispute: Address,
        node: NodeId,
    },
}

/// What moves a claim on. Where nobody is named, anyone may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimStep {
    ResolvePay,
    /// Pays the sender the fee.
    ResolveAudit,
    Release,
    /// The buyer; what `payment` has over the bond comes back.
    Challenge {
        payment: Amount,
        shown: Shown,
    },
    /// The claim's node, here and below.
    RevealRecord {
        which: u64,
        shown: Shown,
        location: Vec<u8>,
    },
    PostRecordPart {
        which: u64,
        part: Vec<u8>,
    },
    /// A seated verifier, whose badge the wallet holds, here and below.
    CommitVerdict {
        verifier: NodeId,
        commit: Hash32,
    },
    RevealVerdict {
        verifier: NodeId,
        verdicts: Vec<u8>,
        digests: Vec<u8>,
        salt: Hash32,
    },
    MarkLate,
    Expire,
}

/// A leaf of a transcript with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub record: Record,
    pub index: u64,
    pub proof: Vec<Hash32>,
}

/// A dispute, the stack it is about and the node that must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub stack: Address,
    pub dispute: Address,
    pub node: NodeId,
}

/// What can be done about delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisputeCall {
    /// The stack's owner, who owns `blob`, Walrus's object of the stored request; what `payment` has over the
    /// bond comes back.
    Open {
        request: Signed<RequestAuth>,
        blob: Address,
        payment: Amount,
    },
    /// The node, here and below. `blob` holds the answer.
    AnswerServed {
        case: Case,
        blob: Address,
        record: Record,
    },
    /// What `payment` has over the fee comes back.
    AnswerRefused {
        case: Case,
        reason: u8,
        payment: Amount,
    },
    /// `voucher` is for the disputed node, or for the one that it passed the request on to.
    ShowAcknowledged {
        case: Case,
        voucher: Signed<Voucher>,
        shown: Shown,
    },
    DemandBody {
        case: Case,
    },
    /// The opener.
    PostBody {
        dispute: Address,
        offset: u64,
        part: Vec<u8>,
        is_last: bool,
    },
    /// Anyone, here and below.
    MarkLate {
        dispute: Address,
    },
    Expire {
        case: Case,
    },
    /// What the dispute owes the sender.
    Withdraw {
        dispute: Address,
    },
}

impl ClaimStep {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ResolvePay => "resolve pay",
            Self::ResolveAudit => "resolve audit",
            Self::Release => "release claim",
            Self::Challenge { .. } => "challenge record",
            Self::RevealRecord { .. } => "reveal record",
            Self::PostRecordPart { .. } => "post record part",
            Self::CommitVerdict { .. } => "commit verdict",
            Self::RevealVerdict { .. } => "reveal verdict",
            Self::MarkLate => "mark audit late",
            Self::Expire => "expire audit",
        }
    }
}

impl DisputeCall {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open dispute",
            Self::AnswerServed { .. } => "answer dispute",
            Self::AnswerRefused { .. } => "refuse dispute",
            Self::ShowAcknowledged { .. } => "show acknowledged",
            Self::DemandBody { .. } => "demand body",
            Self::PostBody { .. } => "post body",
            Self::MarkLate { .. } => "mark dispute late",
            Self::Expire { .. } => "expire dispute",
            Self::Withdraw { .. } => "withdraw from dispute",
        }
    }
}
