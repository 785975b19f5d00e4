//! What must survive a crash, in one SQLite file that one thread writes.
//!
//! Everything queued is committed together (group commit), as soon as somebody waits for some of it and at most
//! `LINGER` later. A commit is in the operating system's hands when it is acknowledged, so killing the process
//! loses nothing; the write-ahead log is synced to the disk at most `SYNC_WITHIN` later, which is what a power
//! failure may lose. Whoever must write without waiting, in order, or from a destructor takes a [`Slot`]
//! beforehand.

mod open;
mod read;
mod sync;
mod write;

pub use open::OpenError;
pub(crate) use open::{Boot, Identity, Opened};
pub(crate) use read::Kept;
pub(crate) use write::Writer;

use crate::ledger::Terms;
use atoma_sqlite::{Place, Queue, Readers, Ticket};
use atoma_types::{Address, Forward, Hash32, Receipt, Signed, Voucher, wire::Authorization};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long after its commit a row is safe from power failure.
pub(crate) const SYNC_WITHIN: Duration = Duration::from_millis(10);
/// How long a row that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(5);
/// Rows that may wait for the writer.
const QUEUE: usize = 4_096;
/// How long a caller waits for room in the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// The journal no longer takes rows; the node must stop serving.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("the journal cannot be written: {0}; free space or repair the file, then restart")]
    Write(Arc<str>),
    #[error("the journal cannot be read: {0}")]
    Read(Arc<str>),
    #[error("the journal is closed")]
    Closed,
    #[error("the journal's queue stayed full for {} s", QUEUE_TIMEOUT.as_secs())]
    Full,
}

/// One thing to remember.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A channel this node serves, from now on or again.
    Channel {
        terms: Terms,
        /// When its vouchers stop settling at the latest, in chain time.
        settle_until_ms: u64,
    },
    /// A nonce that is used from now on.
    Admitted {
        stack: Address,
        nonce: u64,
        request_hash: Hash32,
        expires_ms: u64,
        /// Of the node that passed the request on.
        forward: Option<Signed<Forward>>,
    },
    /// A record of the transcript, with what it takes to reveal it.
    Receipt {
        receipt: Signed<Receipt>,
        full: Option<Box<FullRecord>>,
    },
    Voucher(Signed<Voucher>),
    /// A transaction that is about to be submitted.
    Prepared {
        id: Hash32,
        transaction: Vec<u8>,
    },
    /// Its outcome is known.
    Finished {
        id: Hash32,
        outcome: String,
    },
    /// Nothing more will come of this channel.
    Closed {
        stack: Address,
    },
    /// Events up to here were processed; JSON of the chain client's cursor.
    Cursor(String),
    /// The node stopped in order.
    CleanStop,
}

/// All that revealing a record needs.
#[derive(Clone, Debug)]
pub(crate) struct FullRecord {
    pub(crate) authorization: Authorization,
    pub(crate) body: Bytes,
    pub(crate) response: Vec<u8>,
    pub(crate) prompt_ids: Vec<u32>,
    /// Per choice.
    pub(crate) output_ids: Vec<Vec<u32>>,
}

#[derive(Debug)]
struct Job {
    entry: Entry,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// A place in the writer's queue. Sending through it never waits, so order under a lock is order on disk.
#[derive(Debug)]
pub(crate) struct Slot(Place<Job>);

/// Resolves when the row is committed. Dropping it does not undo the write, which then is in no hurry.
#[must_use = "await it before telling anybody"]
#[derive(Debug)]
pub(crate) struct Written {
    ticket: Ticket<Job>,
    done: oneshot::Receiver<Result<(), JournalError>>,
}

impl Slot {
    pub(crate) fn send(self, entry: Entry) -> Written {
        let (told, done) = oneshot::channel();
        Written { ticket: self.0.send(Job { entry, done: told }), done }
    }
}

impl IntoFuture for Written {
    type Output = Result<(), JournalError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { ticket, done } = self;
        ticket.hurry();
        Box::pin(async move { done.await.unwrap_or(Err(JournalError::Closed)) })
    }
}

/// The handle to an open journal. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    queue: Queue<Job>,
    readers: Readers,
    /// Held for as long as any handle lives, so that no second node opens the file.
    _lock: Arc<File>,
}

impl Journal {
    /// Waits, within a bound, for a place in the queue.
    pub(crate) async fn slot(&self) -> Result<Slot, JournalError> {
        match tokio::time::timeout(QUEUE_TIMEOUT, self.queue.place()).await {
            Ok(Some(place)) => Ok(Slot(place)),
            Ok(None) => Err(JournalError::Closed),
            Err(_) => Err(JournalError::Full),
        }
    }

    /// Writes one entry and waits for its commit.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), JournalError> {
        self.slot().await?.send(entry).await
    }

    /// Marks an orderly stop, after which nothing is written.
    pub(crate) async fn close(self, writer: Writer) -> Result<(), JournalError> {
        let marked = self.write(Entry::CleanStop).await;
        self.readers.close();
        self.queue.close();
        writer.ended().await;
        marked
    }
}

#[cfg(test)]
mod tests;
