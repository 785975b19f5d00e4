//! The log's entries, and the thread that commits them to the file.

use super::{JournalError, RequestRow, to_sql};
use crate::channel::Told;
use crate::ledger::Bounds;
use atoma_sqlite::rusqlite::{Connection, Error, OptionalExtension as _, ToSql, TransactionBehavior, params};
use atoma_sqlite::{Batches, Log, Logged, Place, Queue, Record, Ticket, beside, queue};
use atoma_types::{Address, Hash32, NodeId, Price, Receipt, Signed, Voucher};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries that wait for the writer; above it, requests wait and receipts are left to the node's copy (what
/// they settle is then not told, and found out by the next start).
const QUEUE: usize = 4_096;
/// How long an entry waits for company on its way from the log into the file.
const LINGER: Duration = Duration::from_millis(50);
/// How often a commit is tried, for example while somebody else has the file locked, and the pause between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// Sequence of the log's newest record that is in the file.
const APPLIED: &str = "log_applied";

/// Something to keep. New kinds go to the end: a log may hold entries of the version before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Kept {
    Request(RequestRow, Option<Box<Signed<Voucher>>>),
    Refused(Hash32),
    Receipt(Box<Signed<Receipt>>),
    Voucher(Box<Signed<Voucher>>),
    Ended {
        stack: Address,
        node: NodeId,
        reason: String,
    },
    /// Passed on to another node, which is paid at its own price.
    Moved {
        request_hash: Hash32,
        to: NodeId,
        price: Price,
    },
}

#[derive(Debug)]
enum Entry {
    Kept(Kept),
    /// Needs a commit of its own.
    Alone(Alone),
}

impl Logged for Entry {
    fn log(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Kept(kept) => bcs::serialize_into(bytes, kept).map_err(io::Error::other),
            // Somebody waits until it is on the disk.
            Self::Alone(_) => Ok(()),
        }
    }
}

/// A transaction, and telling what came of it.
struct Alone(Box<dyn FnOnce(&mut Connection) + Send>);

impl fmt::Debug for Alone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Alone")
    }
}

/// Handle of the thread, which ends with the last handle.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: Queue<Entry>,
}

impl Writer {
    /// Keeps the journal locked until everything handed over is written.
    pub(super) fn spawn(
        connection: Connection,
        log: Log,
        path: &Path,
        lock: File,
    ) -> Result<Self, JournalError> {
        // All statements below.
        connection.set_prepared_statement_cache_capacity(32);
        let (queue, entries) = queue(QUEUE, LINGER, log);
        let wal = beside(path, "-wal");
        let spawned = thread::Builder::new().name("journal".into()).spawn(move || {
            follow(connection, &wal, entries);
            drop(lock);
        });
        spawned.map_err(|error| JournalError::Database(error.to_string()))?;
        Ok(Self { queue })
    }

    /// Waits for room for one entry.
    pub(super) async fn place(&self) -> Result<WriterPlace, JournalError> {
        Ok(WriterPlace(self.queue.place().await?))
    }

    /// The entry is safe from a crash of this process when this returns.
    pub(super) async fn keep(&self, kept: Kept) -> Result<(), JournalError> {
        self.send(Entry::Kept(kept)).await.map(drop)
    }

    /// The same without waiting; left out if the queue is full. Then tells whoever waits for it.
    pub(super) fn keep_now(&self, kept: Kept, told: impl IntoIterator<Item = Told>) {
        match self.queue.try_place().map(|place| place.send(Entry::Kept(kept))) {
            Some(Ok(_)) => told.into_iter().for_each(Told::tell),
            Some(Err(error)) => tracing::error!(%error, "the journal could not be written"),
            None => {
                tracing::warn!("the journal is behind; an entry is left to be read again from the node");
            }
        }
    }

    /// Writes in a transaction of its own, after everything handed over before; returns when it is on the disk.
    pub(super) async fn durably<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, written) = oneshot::channel();
        let alone = move |connection: &mut Connection| drop(done.send(synced(connection, write)));
        self.send(Entry::Alone(Alone(Box::new(alone)))).await?.hurry();
        Ok(written.await.map_err(|_| JournalError::Closed)??)
    }

    pub(super) async fn flush(&self) -> Result<(), JournalError> {
        Ok(self.queue.flush().await?)
    }

    async fn send(&self, entry: Entry) -> Result<Ticket<Entry>, JournalError> {
        let place = self.queue.place().await?;
        Ok(place.send(entry)?)
    }
}

/// Room for one entry.
#[derive(Debug)]
pub(super) struct WriterPlace(Place<Entry>);

impl WriterPlace {
    /// The entry is safe from a crash of this process when this returns.
    pub(super) fn keep(self, kept: Kept) -> Result<(), JournalError> {
        self.0.send(Entry::Kept(kept))?;
        Ok(())
    }
}

/// Sequence of the log's newest record that is in the file.
pub(super) fn applied(connection: &Connection) -> Result<u64, JournalError> {
    let sql = "SELECT value FROM meta WHERE name = ?";
    let applied: Option<i64> = connection.query_row(sql, [APPLIED], |row| row.get(0)).optional()?;
    applied.map_or(Ok(0), super::from_sql)
}

/// Commits what an earlier run left in the log, and brings it onto the disk.
pub(super) fn recover(connection: &mut Connection, records: &[Record]) -> Result<(), JournalError> {
    let Some(last) = records.last() else { return Ok(()) };
    let corrupt = |error: bcs::Error| JournalError::Corrupt(format!("an entry of the log: {error}"));
    // What needs a commit of its own has nothing to bring back.
    let kept = records.iter().filter(|record| !record.bytes.is_empty());
    let kept = kept.map(|record| bcs::from_bytes(&record.bytes)).collect::<Result<Vec<Kept>, _>>();
    let kept = kept.map_err(corrupt)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    write(connection, &kept.iter().collect::<Vec<_>>(), last.sequence)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    tracing::info!(entries = kept.len(), "took up what the last run left in the log");
    Ok(())
}

fn follow(mut connection: Connection, wal: &Path, mut entries: Batches<Entry>) {
    let mut batch = Vec::new();
    while entries.take(&mut batch) {
        let applied = entries.applied();
        let written = write_again(&mut connection, &batch, applied).map_err(|error| error.to_string());
        let synced = written.and_then(|()| {
            let sync = || File::open(wal).and_then(|file| file.sync_data());
            entries.committed(sync).map_err(|error| error.to_string())
        });
        if let Err(error) = synced {
            // It is in the log: the next start takes it up.
            tracing::error!(error, "the journal could not be written");
            entries.broken(error.into());
            return;
        }
        for entry in batch.drain(..) {
            if let Entry::Alone(Alone(write)) = entry {
                write(&mut connection);
            }
        }
    }
}

fn write_again(connection: &mut Connection, batch: &[Entry], applied: u64) -> Result<(), JournalError> {
    let kept = batch.iter().filter_map(|entry| match entry {
        Entry::Kept(kept) => Some(kept),
        Entry::Alone(_) => None,
    });
    let kept: Vec<_> = kept.collect();
    for _ in 1..TRIES {
        match write(connection, &kept, applied) {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, "the journal could not be written: trying again"),
        }
        thread::sleep(PAUSE);
    }
    write(connection, &kept, applied)
}

/// One transaction that is on the disk when this returns.
fn synced<T>(
    connection: &mut Connection,
    write: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let written = transaction.and_then(|tx| {
        let result = write(&tx)?;
        tx.commit()?;
        Ok(result)
    });
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    written
}

fn write(connection: &mut Connection, batch: &[&Kept], applied: u64) -> Result<(), JournalError> {
    // A request that is settled in the same commit leaves its receipt only.
    let (mut issued, mut settled) = (HashSet::new(), HashSet::new());
    for kept in batch {
        match kept {
            Kept::Request(request, _) => issued.insert(request.request_hash),
            Kept::Receipt(receipt) => settled.insert(receipt.message.request_hash),
            Kept::Refused(_) | Kept::Voucher(_) | Kept::Ended { .. } | Kept::Moved { .. } => false,
        };
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for kept in batch {
        match kept {
            Kept::Request(request, voucher) => {
                if !settled.contains(&request.request_hash) {
                    insert_request(&tx, request)?;
                }
                if let Some(voucher) = voucher {
                    upsert_voucher(&tx, voucher)?;
                }
            }
            Kept::Refused(request_hash) => {
                run_cached(
                    &tx,
                    "UPDATE requests SET refused = 1 WHERE request_hash = ?",
                    params![request_hash.0],
                )?;
            }
            Kept::Receipt(receipt) => {
                insert_receipt(&tx, receipt)?;
                let request_hash = receipt.message.request_hash;
                if !issued.contains(&request_hash) {
                    run_cached(&tx, "DELETE FROM requests WHERE request_hash = ?", params![request_hash.0])?;
                }
            }
            Kept::Voucher(voucher) => upsert_voucher(&tx, voucher)?,
            Kept::Ended { stack, node, reason } => run_cached(
                &tx,
                "INSERT OR IGNORE INTO endings (stack, node, reason) VALUES (?, ?, ?)",
                params![stack.as_bytes(), to_sql(node.0)?, reason],
            )?,
            Kept::Moved { request_hash, to, price } => move_request(&tx, request_hash, *to, *price)?,
        }
    }
    run_cached(
        &tx,
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![APPLIED, to_sql(applied)?],
    )?;
    Ok(tx.commit()?)
}

fn insert_request(tx: &Connection, request: &RequestRow) -> Result<(), JournalError> {
    let Bounds { input, output, unseen } = request.bounds;
    run_cached(
        tx,
        "INSERT INTO requests
         (request_hash, stack, node, max_units, input_max, output_max, unseen_max, forward_price)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            request.request_hash.0,
            request.stack.as_bytes(),
            to_sql(request.node.0)?,
            to_sql(request.max_units.0)?,
            to_sql(input)?,
            to_sql(output)?,
            to_sql(unseen)?,
            request.forward_price.map(|price| to_sql(price.0)).transpose()?
        ],
    )
}

/// The request is the other node's from now on, and goes no further.
fn move_request(
    tx: &Connection,
    request_hash: &Hash32,
    to: NodeId,
    price: Price,
) -> Result<(), JournalError> {
    run_cached(
        tx,
        "UPDATE requests SET node = ?, forward_price = NULL WHERE request_hash = ?",
        params![to_sql(to.0)?, request_hash.0],
    )?;
    run_cached(
        tx,
        "INSERT OR IGNORE INTO moves (request_hash, price) VALUES (?, ?)",
        params![request_hash.0, to_sql(price.0)?],
    )
}

fn insert_receipt(tx: &Connection, signed: &Signed<Receipt>) -> Result<(), JournalError> {
    let Receipt { stack, node, count, .. } = &signed.message;
    run_cached(
        tx,
        "INSERT OR IGNORE INTO receipts (stack, node, count, receipt) VALUES (?, ?, ?, ?)",
        params![stack.as_bytes(), to_sql(node.0)?, to_sql(*count)?, encode(signed)?],
    )
}

fn upsert_voucher(tx: &Connection, signed: &Signed<Voucher>) -> Result<(), JournalError> {
    let Voucher { stack, node, count, .. } = &signed.message;
    run_cached(
        tx,
        "INSERT INTO vouchers (stack, node, count, voucher) VALUES (?, ?, ?, ?)
         ON CONFLICT (stack, node) DO UPDATE SET count = excluded.count, voucher = excluded.voucher
         WHERE excluded.count > count",
        params![stack.as_bytes(), to_sql(node.0)?, to_sql(*count)?, encode(signed)?],
    )
}

fn run_cached(tx: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<(), JournalError> {
    tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, JournalError> {
    bcs::to_bytes(value).map_err(|error| JournalError::Corrupt(error.to_string()))
}
