//! Plays of the market: seeded sequences of calls of every entry point, played on the Rust model with every
//! invariant checked, and on the Move package with every event, object and coin compared.
//!
//! [`op`] says what a step is, [`world`] plays it on the model, [`plan`] directs whole stories from a seed,
//! [`check`] holds the invariants, [`audit`] runs many plays. Nothing here is part of the product.

pub mod audit;
pub mod check;
pub mod conform;
pub mod costs;
pub mod coverage;
pub mod dice;
pub mod emit;
pub mod expect;
pub mod op;
pub mod plan;
mod play;
pub mod shrink;
pub mod vm;
mod wind_down;
pub mod world;

pub use op::{Op, Step, Target};
pub use world::{Outcome, World};
