//! The contract from outside: directed tests of every rule, and seeded operation sequences under audit.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod admin;
mod attacks;
mod auditing;
mod channels;
mod exits;
mod harness;
mod layouts;
mod offers;
mod parameters;
mod purchases;
mod registry;
mod reserves;
mod sequences;
mod slashing;
