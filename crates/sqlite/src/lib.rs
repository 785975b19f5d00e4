//! How a journal uses its SQLite file: what many tasks hand over is appended to a log, which makes it safe from a
//! crash, and one thread commits it to the database in batches; a few read-only connections read beside it.
//!
//! It knows no table and no entry. Start with [`queue()`].

mod log;
mod queue;
mod readers;

pub use log::{Log, Record, beside};
pub use queue::{Batches, Logged, Place, Queue, Stopped, Ticket, WeakQueue, queue};
pub use readers::Readers;
pub use rusqlite;

use std::panic::resume_unwind;

/// Runs what blocks where it may.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
