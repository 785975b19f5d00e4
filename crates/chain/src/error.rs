//! What can go wrong on the chain, in words that say what to do.

use atoma_types::onchain::Abort;
use atoma_types::{Address, Amount};
use sui_sdk_types::Digest;

/// Why a read or a transaction failed. [`ChainError::is_transient`] says whether trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The contract refused; nothing but gas moved.
    #[error("the contract refused: {} ({module}::{function})", describe_abort(*abort, *code))]
    Abort { abort: Option<Abort>, code: u64, module: String, function: String },
    /// Executed and failed for another reason than an abort of the contract.
    #[error("transaction {digest} failed: {reason}")]
    Failed { digest: Digest, reason: String },
    /// The node refused the transaction before executing it.
    #[error("the full node refused the transaction: {reason}")]
    Rejected { reason: String },
    /// Will never execute: another transaction spent its coins, or it expired. Prepare a new one.
    #[error("transaction {digest} is dead ({reason}): prepare it again")]
    Dead { digest: Digest, reason: String },
    /// The outcome is not known yet. Submit the same transaction again; do not prepare another.
    #[error("no answer about transaction {digest} in time: submit the same transaction again")]
    Timeout { digest: Digest },
    #[error(
        "not enough gas: need {needed} MIST in one payment, {address} has {available}: send SUI to it, then run this again"
    )]
    InsufficientGas { address: Address, needed: u64, available: u64 },
    #[error("not enough coins: need {}, {address} has {}: send the market's coin to it, or on a devnet `atoma wallet faucet`", .needed.display_coins(), .available.display_coins())]
    InsufficientCoin { address: Address, needed: Amount, available: Amount },
    /// Every coin or badge of the wallet stayed in use.
    #[error("the wallet's {what} stayed in use by other transactions: try again")]
    Busy { what: &'static str },
    #[error("cannot reach {url}: {reason}: check the address and that a full node runs there")]
    Unreachable { url: String, reason: String },
    #[error("the full node answered {code}: {reason}")]
    Rpc { code: String, reason: String },
    #[error("{id} does not exist on this network")]
    NotFound { id: Address },
    /// Another package's object, another market's, or another coin's.
    #[error("{id} is {found}, not {expected}: it does not belong to this market")]
    WrongObject { id: Address, expected: String, found: String },
    #[error("{what} from the full node cannot be read: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// An event this version cannot read; the stream goes on behind it.
    #[error("event {event_type} of transaction {tx} cannot be read: {reason}")]
    MalformedEvent { event_type: String, tx: String, reason: String },
    #[error("the cursor was written on chain {found}, this is {expected}: start without it")]
    WrongChain { expected: String, found: String },
    #[error("the deployment is not valid: {reason}")]
    Deployment { reason: String },
    /// The call itself cannot be made into a transaction.
    #[error("{call}: {reason}")]
    InvalidCall { call: &'static str, reason: String },
}

impl ChainError {
    /// The contract's abort, if that is what happened.
    pub fn abort(&self) -> Option<Abort> {
        match self {
            Self::Abort { abort, .. } => *abort,
            _ => None,
        }
    }

    /// Whether the same operation may succeed later without anything being changed. After
    /// [`ChainError::Timeout`] that means submitting the same transaction.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::Busy { .. } | Self::Dead { .. }
        )
    }
}

fn describe_abort(abort: Option<Abort>, code: u64) -> String {
    match abort {
        Some(abort) => abort.to_string(),
        None => format!("unknown abort code {code}"),
    }
}
