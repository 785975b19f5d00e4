//! What must survive a crash: a log that entries are appended to as they come, and the SQLite file that one thread
//! brings up to it, many entries a commit.
//!
//! What was appended is in the operating system's hands, so killing the process loses nothing; the log is synced to
//! the disk at most `SYNC_WITHIN` later, which is what a power failure may lose. The next start commits what is only in
//! the log. Whoever must write without waiting, in order, or from a destructor takes a [`Slot`] beforehand.

mod octets;
mod open;
mod read;
mod write;

pub(crate) use open::{Boot, Identity, Opened};
pub use open::{OpenError, running_process};
pub(crate) use read::Kept;
pub(crate) use write::Writer;

use crate::ledger::Terms;
use atoma_sqlite::rusqlite::Connection;
use atoma_sqlite::{Logged, Place, Queue, Readers, Stopped};
use atoma_types::{Address, Forward, Hash32, Receipt, Signed, Voucher, wire::Authorization};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long after it was written an entry is safe from power failure.
const SYNC_WITHIN: Duration = Duration::from_millis(10);
/// How long an entry waits for company on its way from the log into the database.
const LINGER: Duration = Duration::from_millis(50);
/// Places for entries. Every running request holds one for its record.
const QUEUE: usize = 32_768;
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

impl From<Stopped> for JournalError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Closed => Self::Closed,
            Stopped::Broken(reason) => Self::Write(reason),
        }
    }
}

/// One thing to remember. New kinds go to the end: a log may hold entries of the version before.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Another node's word that it passed a request on to this one.
    TakenOver(Signed<Forward>),
}

impl Logged for Entry {
    fn log(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        bcs::serialize_into(bytes, self).map_err(io::Error::other)
    }
}

/// All that revealing a record needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FullRecord {
    pub(crate) authorization: Authorization,
    #[serde(with = "octets")]
    pub(crate) body: Bytes,
    #[serde(with = "octets")]
    pub(crate) response: Vec<u8>,
    pub(crate) prompt_ids: Vec<u32>,
    /// Per choice.
    pub(crate) output_ids: Vec<Vec<u32>>,
}

/// A place in the writer's queue. Sending through it never waits, so order under a lock is order on disk.
#[derive(Debug)]
pub(crate) struct Slot(Place<Entry>);

impl Slot {
    /// The entry is safe from a crash of this process when this returns.
    pub(crate) fn send(self, entry: Entry) -> Result<(), JournalError> {
        self.0.send(entry)?;
        Ok(())
    }
}

/// The handle to an open journal. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    queue: Queue<Entry>,
    readers: Readers,
    /// Held for as long as any handle lives, so that no second node opens the file.
    _lock: Arc<File>,
}

impl Journal {
    /// Waits, within a bound, for a place in the queue.
    pub(crate) async fn slot(&self) -> Result<Slot, JournalError> {
        match tokio::time::timeout(QUEUE_TIMEOUT, self.queue.place()).await {
            Ok(place) => Ok(Slot(place?)),
            Err(_) => Err(JournalError::Full),
        }
    }

    /// How many entries wait for the writer, and for how long, at most, the oldest has not been committed.
    pub(crate) fn backlog(&self) -> (usize, Duration) {
        (self.queue.waiting(), self.queue.lag())
    }

    /// Writes one entry.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), JournalError> {
        self.slot().await?.send(entry)
    }

    /// Sees everything that was written before.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.queue.flush().await?;
        self.readers.read(read).await
    }

    /// Marks an orderly stop, after which nothing is written.
    pub(crate) async fn close(self, writer: Writer) -> Result<(), JournalError> {
        let marked = self.write(Entry::CleanStop).await;
        let marked = marked.and(self.queue.flush().await.map_err(JournalError::from));
        self.readers.close();
        self.queue.close();
        writer.ended().await;
        marked
    }
}

#[cfg(test)]
mod tests;
