//! The Move package and the Rust model have the same lists; and a few plays hold every invariant.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod costs;
mod lists;
mod plays;
