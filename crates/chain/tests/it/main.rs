//! The chain client against a devnet: real transactions, signatures, gas, versions and streams.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod coins;
mod disputes;
mod follow;
mod keystore;
mod level2;
mod objects;
mod once;
mod registry;
mod support;
