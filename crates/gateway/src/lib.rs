//! Accounts and API keys in front of the market: whoever just wants a base URL and a key gets answers that the
//! gateway's wallet pays for, within what each key and its account may spend.
//!
//! The gateway never reads or changes a body beyond model and limits, never stores a key or a password that
//! could be used, and never lets requests together exceed what they may spend, in one process or in several.
//! Paying, choosing nodes and checking receipts is the client's work ([`atoma_client::Session`]). Start with
//! [`spawn`], then `ask` for a request's way, `money` and [`store`] for what it costs.

mod account;
mod api;
mod ask;
pub mod config;
mod deposits;
mod identity;
pub mod keys;
mod metrics;
mod money;
mod passwords;
mod rates;
mod serve;
mod signin;
pub mod store;

pub use config::{ConfigError, GatewayConfig};
pub use deposits::{BeginError, ChainTransfers, TransferFrame, Transfers};
pub use identity::OPERATOR_TOKEN;
pub use keys::{CreatedKey, NewKey, Scopes};
pub use serve::{DrainReport, GatewayError, GatewayHandle, spawn, spawn_with};
