//! Why a user stops paying a node.

use crate::ledger::Bounds;
use atoma_types::{Hash32, Status, Units};

/// The first thing on which the user and the node differ. It ends the channel: nothing more is signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    #[error("the receipt is not signed by the node's key on chain")]
    Signature,
    #[error("the receipt is for another market, stack or node")]
    Foreign,
    #[error("the receipt is for request {0}, which was never made or is already paid for")]
    UnknownRequest(Hash32),
    #[error("request {0} has two receipts")]
    TwoReceipts(Hash32),
    #[error("the node passed request {0} on to another one and charges it, too")]
    Forwarded(Hash32),
    #[error("the node passed a request on against what was signed: {0}")]
    Forward(String),
    #[error("two receipts have the count {0}")]
    TwoCounts(u64),
    #[error("the receipt has the count {count}, but at most {most} answers were asked for")]
    SkippedCount { count: u64, most: u64 },
    #[error("the receipt claims {claimed} units where {computed} follow from the tokens")]
    Units { claimed: Units, computed: Units },
    #[error("the receipt claims {claimed} units, more than the {allowed} that were authorized")]
    OverMax { claimed: Units, allowed: Units },
    #[error(
        "the receipt claims {input} input and {output} output tokens where the request allows {} and {}",
        bounds.input, bounds.output
    )]
    Tokens { input: u64, output: u64, bounds: Bounds },
    #[error("the receipt charges {units} units for an answer with status {status:?}")]
    ChargedForNothing { status: Status, units: Units },
    #[error("the receipt is for other response bytes than those received")]
    ResponseHash,
    #[error("the receipt charges {output} output tokens of an answer that shows at most {most}")]
    UnseenOutput { output: u64, most: u64 },
    #[error("the channel's total should be {expected} units, the receipt says {claimed}")]
    TotalUnits { expected: Units, claimed: Units },
    #[error("the transcript's root does not follow from the answers received")]
    Root,
    #[error("the stream's receipt cannot be read: {0}")]
    Unreadable(String),
    #[error("the answer ended without a receipt")]
    NoReceipt,
    #[error("the stream goes on after its receipt")]
    AfterReceipt,
    #[error("{0}")]
    Recorded(String),
}
