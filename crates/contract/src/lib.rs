//! The contract's rules as a pure state machine: one function per entry point of the Move package, with
//! the same objects, events and abort codes.
//!
//! It never does input or output, never reads a clock and never draws randomness: time, seed and sender
//! are arguments, and what a call does besides changing its objects it leaves in a [`TxContext`]. An entry
//! that aborts has changed nothing. Objects taken by `&` here are taken immutably on chain, so the borrow
//! checker proves that buying, opening and settling never write the shared database.
//!
//! Start with [`stack`] for the life of a purchase, [`db`] for what is stored, [`auditor`] for what must hold
//! after every call.

pub mod admin;
pub mod audit;
pub mod auditor;
pub mod beacon;
pub mod claim;
pub mod context;
pub mod db;
pub mod dispute;
pub mod draw;
pub mod ed25519;
pub mod limits;
pub mod meter;
pub mod model;
pub mod node;
pub mod offer;
pub mod params;
pub mod slash;
pub mod slots;
pub mod stack;
pub mod table;
pub mod task;
pub mod treasury;
pub mod upgrade;
pub mod views;

pub use admin::{AdminCap, Genesis};
pub use beacon::Beacon;
pub use context::{Coin, Owned, Transfer, TxContext};
pub use db::AtomaDb;
pub use node::NodeBadge;
pub use slots::{Market, SlotList};
pub use table::Table;
pub use task::TaskBadge;
pub use treasury::Treasury;

/// Version of the package; shared objects of another version are refused, except where money leaves.
pub const VERSION: u64 = 1;

/// What an entry point returns.
pub type Result<T = ()> = std::result::Result<T, atoma_types::onchain::Abort>;
