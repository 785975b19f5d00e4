//! Abort codes: one list for the Move package and its Rust model.

use serde::{Deserialize, Serialize};

macro_rules! aborts {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal),* $(,)?) => {
        /// Why an entry point refused. The number is the Move abort code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u64)]
        pub enum Abort { $($(#[doc = $doc])+ $name = $code),* }

        impl Abort {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn code(self) -> u64 {
                match self { $(Self::$name => $code),* }
            }

            pub fn from_code(code: u64) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Name of the Move constant.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("E", stringify!($name))),* }
            }

            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),* }
            }
        }
    };
}

aborts! {
    /// an amount, unit count or price left its range
    Arithmetic = 1,
    /// the object was made by another version of the package
    Version = 2,
    /// purchases are paused
    Paused = 3,
    /// the caller may not do this
    NotAuthorized = 4,
    /// an argument is out of its bounds
    BadArgument = 5,
    /// the coin is worth less than what must be paid
    InsufficientPayment = 6,
    /// a parameter is out of its bounds
    BadParams = 7,
    /// already done
    AlreadyDone = 8,
    /// no such node
    UnknownNode = 10,
    /// no such model
    UnknownModel = 11,
    /// no such task
    UnknownTask = 12,
    /// the node is disabled
    NodeDisabled = 13,
    /// collateral below the minimum
    Collateral = 14,
    /// the model is disabled
    ModelDisabled = 15,
    /// the task is deprecated
    TaskDeprecated = 16,
    /// the node is already subscribed to this task
    AlreadySubscribed = 17,
    /// the price is above the task's ceiling
    PriceTooHigh = 18,
    /// the node is not on the task's whitelist
    NotWhitelisted = 19,
    /// no eligible node was drawn
    NoEligible = 20,
    /// the node is not subscribed to this task
    NotSubscribed = 21,
    /// the node is not eligible for this stack
    NotEligible = 22,
    /// the object belongs to another database
    WrongDb = 23,
    /// not at this security level
    WrongLevel = 24,
    /// too many registry writes in this epoch
    TooManyWrites = 25,
    /// too few verifiers are opted in
    NotEnoughVerifiers = 26,
    /// the counter does not rise
    StaleCounter = 27,
    /// the node has no seal key
    NoSealKey = 28,
    /// the node has open audits or disputes
    OpenDuties = 29,
    /// the signature does not verify
    BadSignature = 30,
    /// the grant's nonce is not newer
    StaleGrant = 31,
    /// grants would exceed the stack's units
    OverGranted = 32,
    /// no open channel with this node
    UnknownChannel = 33,
    /// the channel was released or revoked
    ChannelClosed = 34,
    /// too many channels
    TooManyChannels = 35,
    /// the voucher claims more units than granted
    OverClaimed = 36,
    /// the voucher has fewer units than one already settled
    VoucherBackwards = 37,
    /// the stack is closing or has expired
    StackEnded = 38,
    /// too late: the window is over
    WindowClosed = 39,
    /// too early: a window is still running
    TooEarly = 40,
    /// nothing to withdraw
    NothingDue = 41,
    /// already requested
    AlreadyClosing = 42,
    /// a dispute keeps units of this channel
    UnitsReserved = 43,
    /// no claim, or none in this state
    NoClaim = 50,
    /// the claim is too small
    ClaimTooSmall = 51,
    /// the beacon has not drawn this round yet
    NoSeed = 52,
    /// the claim was drawn for an audit
    Drawn = 53,
    /// the claim was not drawn for an audit
    NotDrawn = 54,
    /// the node was convicted
    Convicted = 55,
    /// already challenged
    AlreadyChallenged = 56,
    /// the record was audited already
    AlreadyAudited = 57,
    /// the record is not in the transcript, or not in the claim
    BadProof = 58,
    /// the bytes are not a record
    BadRecord = 59,
    /// no audit runs, or not in this phase
    WrongPhase = 60,
    /// not a verifier of this round
    NotSeated = 61,
    /// the verifier committed already
    AlreadyCommitted = 62,
    /// the verdict is not the one committed to
    BadCommitment = 63,
    /// the digest is not the record's
    BadDigest = 64,
    /// the deadline is not over
    NotLate = 65,
    /// the challenge window is over
    ChallengeOver = 66,
    /// the claim is too large for the collateral behind it
    ClaimTooLarge = 67,
    /// no such dispute, or of another stack
    WrongDispute = 70,
    /// too many disputes
    TooManyDisputes = 71,
    /// this request was disputed already
    AlreadyDisputed = 72,
    /// the channel has too few free units
    NoFreeUnits = 73,
    /// the blob does not hold or prove what it must
    BadBlob = 74,
    /// the dispute is in another state
    WrongState = 76,
    /// the body does not hash to what was signed
    BadBody = 77,
    /// the request cannot be disputed any more
    DisputeOver = 78,
    /// no upgrade, or another one, is proposed
    NoProposal = 80,
}

impl std::fmt::Display for Abort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.reason().trim())
    }
}

impl std::error::Error for Abort {}

impl From<crate::ArithmeticError> for Abort {
    fn from(_: crate::ArithmeticError) -> Self {
        Self::Arithmetic
    }
}
