//! The devnet through real clients: `sui-rpc` and `sui-transaction-builder`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod control;
mod execute;
mod market;
mod money;
mod publish;
mod refuse;
mod restart;
mod simulate;
mod streams;
mod support;
