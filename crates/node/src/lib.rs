//! The service that a GPU operator runs: OpenAI's HTTP in front of an engine, paid from stacks on Sui.
//!
//! Every request is checked against the stack's own key before any work, booked in the channel's
//! transcript, journaled, and only then acknowledged with a receipt; vouchers that users sign for those
//! receipts are settled on chain. The node never holds a user's money or keys, never serves on a channel
//! that it has not seen executed, never charges for what was not sent, and makes no round trip to chain or
//! database on a request's way except its two journal rows.
//!
//! Start with [`ledger`], the rules without input or output; then `http/paid.rs` for a request's way through
//! them, `journal.rs` for what survives a crash, `settle.rs` for how it becomes money, [`spawn`] for how the
//! parts are put together.

mod channels;
mod clock;
mod config;
mod gate;
mod http;
mod journal;
mod keys;
pub mod ledger;
mod market;
mod metrics;
mod peers;
mod register;
mod service;
mod settle;
mod standing;

pub use channels::RestoreChannelsError;
pub use config::{
    Admission, BODY_BYTES_MAX, ConfigError, EngineConfig, Limits, NodeConfig, Settle, StoredModel,
};
pub use http::{ChannelInfo, NodeInfo, TaskInfo};
pub use journal::{JournalError, OpenError, running_process};
pub use keys::{KeyError, load_key, load_or_create_key};
pub use market::{ChainResult, Market, Prepared, SuiMarket};
pub use register::{Offering, RegisterError, Registration, register_if_needed};
pub use service::{DrainError, NoEngine, NodeHandle, Parts, SpawnError, spawn};
pub use settle::SettleError;
