//! The user's side of the market: a wallet's stacks, signed requests straight to nodes, receipts that are
//! checked before anything is acknowledged, and an OpenAI-compatible endpoint on localhost over it.
//!
//! This crate never trusts a node: keys, prices and weights come from the chain, and nothing is signed
//! beyond what was checked. It never changes a request's or an answer's bytes, and never waits for the
//! chain while a request runs unless there is no stack to pay from. Start with [`ledger`] for the rules,
//! [`Session`] for asking, [`proxy`] for the endpoint.

pub mod catalog;
pub mod channel;
pub mod error;
pub mod journal;
pub mod ledger;
pub mod market;
pub mod proxy;
pub mod receipt;
pub mod request;
pub mod route;
pub mod session;
pub mod stream;

pub use error::ApiError;
pub use session::{Policy, Session, SessionConfig};
