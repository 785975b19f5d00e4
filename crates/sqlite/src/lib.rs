//! How a journal uses its SQLite file: one thread owns the connection that writes and commits what many tasks
//! hand over together, and a few read-only connections read beside it.
//!
//! It knows no table and no entry. Start with [`queue()`].

mod queue;
mod readers;

pub use queue::{Batches, Place, Queue, Ticket, WeakQueue, queue};
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
