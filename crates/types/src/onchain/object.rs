//! Stored structs, BCS field for field as in Move: `UID`, `ID` and `address` are 32 bytes, `Balance<T>` and
//! every quantity a `u64`, `String` and `vector<u8>` length-prefixed, `Option<T>` a vector of at most one.
//!
//! A Move struct has at most 32 fields. [`Params`] has more: Move nests it in three structs, which changes no
//! byte. Times are ms of the chain's clock; a time of 0 means "not yet", and the contract never stores 0 for
//! a moment that came.

mod claim;
mod dispute;
mod node;
mod params;
mod stack;
mod task;

pub use claim::{Audit, AuditPhase, AuditedRecord, Claim, ClaimState, Queued, Seat, SeatState};
pub use dispute::{Blob, Dispute, DisputeState};
pub use node::{Attestation, Booking, Node, Seal};
pub use params::{Params, PendingParams};
pub use stack::{Channel, Disputed, Due, Reserve, Selection, Stack, Surcharge};
pub use task::{AuditTerms, Model, SLOTS_PER_PAGE, Slot, Subscription, Task};

/// An enum that is one byte in Move.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $byte:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(into = "u8", try_from = "u8")]
        pub enum $name { $($(#[$variant_doc])* $variant = $byte),* }

        impl From<$name> for u8 {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => $byte),* }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = String;
            fn try_from(byte: u8) -> Result<Self, Self::Error> {
                match byte {
                    $($byte => Ok(Self::$variant),)*
                    other => Err(format!("unknown {} {other}", stringify!($name))),
                }
            }
        }
    };
}
use byte_enum;
