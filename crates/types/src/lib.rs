//! What two parties of the protocol must agree on, to the byte: ids, amounts and units, the signed
//! messages, the transcript a channel grows, and the layouts the contract publishes.
//!
//! This crate never reads a clock, a file, a socket or the environment; time and randomness are
//! arguments. Decoding never panics, whatever the bytes. Start with [`message`] for what is signed,
//! [`transcript`] for how answers are ordered, [`onchain`] for what the contract stores and emits.

pub mod amount;
pub mod hash;
pub mod ids;
pub mod key;
pub mod message;
pub mod onchain;
pub mod transcript;
pub mod wire;

pub use amount::{Amount, ArithmeticError, Price, Units};
pub use hash::Hash32;
pub use ids::{ModelId, NodeId, TaskId};
pub use key::{PublicKey, SecretKey, Signature};
pub use message::{Forward, Grant, Receipt, Record, RequestAuth, Signed, Status, Voucher};
pub use sui_sdk_types::Address;
pub use transcript::Transcript;
