//! The gateway over HTTP: against simulated nodes here, against the real ones in `market`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod accounts;
mod api;
mod crash;
mod forwarding;
mod keys;
mod limits;
mod market;
mod postgres;
mod retries;
mod serving;
#[path = "../../../client/tests/it/sim.rs"]
mod sim;
mod supply;
