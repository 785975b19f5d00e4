//! The chain client against a devnet: real transactions, signatures, gas, versions and streams.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod coins;
mod follow;
mod keystore;
mod objects;
mod once;
mod support;
