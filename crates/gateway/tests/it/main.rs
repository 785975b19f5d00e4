//! The gateway over HTTP: against simulated nodes here, against the real ones in `market`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod keys;
mod market;
mod retries;
mod serving;
#[path = "../../../client/tests/it/sim.rs"]
mod sim;
