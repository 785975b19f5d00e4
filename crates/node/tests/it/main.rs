//! The node over real HTTP, with a mock engine, against a devnet.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod aborts;
mod batches;
mod bodies;
mod concurrency;
mod crash;
mod forwarding;
mod grants;
mod hostile;
mod interposed;
mod mutations;
mod operating;
mod refusals;
mod returning;
mod serving;
mod settling;
mod support;
mod upstream;
