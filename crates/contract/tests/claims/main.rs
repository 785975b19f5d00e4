//! Claims, audits and disputes from outside: the way they are meant, and every attack that a rule stops.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bench;
mod cheating;
mod claiming;
mod disputes;
mod disputing;
mod duties;
mod earlier;
mod judging;
mod layouts;
mod numbers;
mod sequences;
mod served;
