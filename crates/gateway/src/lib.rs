//! API keys in front of the market: whoever just wants a base URL and a key gets answers that the gateway's
//! wallet pays for, within each key's budget.
//!
//! The gateway never reads or changes a body beyond model and limits, never stores a key that could be
//! used, and never lets a key's concurrent requests together exceed its budget. Paying, choosing nodes and
//! checking receipts is the client's work ([`atoma_client::Session`]). Start with [`spawn`], then
//! `serve` for a request's way and [`keys`] for budgets.

mod account;
pub mod config;
pub mod keys;
mod metrics;
mod serve;
pub mod store;

pub use config::{ConfigError, GatewayConfig};
pub use keys::{CreatedKey, NewKey};
pub use serve::{DrainReport, GatewayError, GatewayHandle, spawn};
