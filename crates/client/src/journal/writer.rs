//! One thread that writes what many requests hand over, a batch per commit.

use super::{JournalError, RequestRow, to_sql};
use crate::channel::Told;
use crate::ledger::Bounds;
use atoma_sqlite::rusqlite::{Connection, Error, ToSql, TransactionBehavior, params};
use atoma_sqlite::{Batches, Place, Queue, queue};
use atoma_types::{Address, Hash32, NodeId, Price, Receipt, Signed, Voucher};
use std::fmt;
use std::fs::File;
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries that wait for the writer; above it, requests wait and receipts are left to the node's copy (what
/// they settle is then not told, and found out by the next start).
const QUEUE: usize = 4_096;
/// How long an entry that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(5);

/// Something to keep.
#[derive(Debug)]
pub(super) enum Entry {
    Request(RequestRow, Option<Box<Signed<Voucher>>>, Done),
    Refused(Hash32, Done),
    /// Passed on to another node, which is paid at its own price.
    Moved {
        request_hash: Hash32,
        to: NodeId,
        price: Price,
        done: Done,
    },
    Receipt(Box<Signed<Receipt>>, Option<Told>),
    Voucher(Box<Signed<Voucher>>, Done),
    Ended {
        stack: Address,
        node: NodeId,
        reason: String,
        told: Vec<Told>,
    },
    Flush(Done),
    /// Needs a commit of its own.
    Alone(Alone),
}

/// Told when an entry is written, or cannot be.
pub(super) type Done = oneshot::Sender<Result<(), JournalError>>;

/// A transaction, and telling what came of it.
pub(super) struct Alone(Box<dyn FnOnce(&mut Connection) + Send>);

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
    pub(super) fn spawn(connection: Connection, lock: File) -> Result<Self, JournalError> {
        // All statements below.
        connection.set_prepared_statement_cache_capacity(32);
        let (queue, entries) = queue(QUEUE, LINGER);
        let thread = std::thread::Builder::new().name("journal".into());
        let spawned = thread.spawn(move || {
            run(connection, entries);
            drop(lock);
        });
        spawned.map_err(|error| JournalError::Database(error.to_string()))?;
        Ok(Self { queue })
    }

    /// Waits for room for one entry.
    pub(super) async fn place(&self) -> Result<WriterPlace, JournalError> {
        self.queue.place().await.map(WriterPlace).ok_or(JournalError::Closed)
    }

    /// Returns when the entry is written.
    pub(super) async fn written(&self, entry: impl FnOnce(Done) -> Entry) -> Result<(), JournalError> {
        self.place().await?.send(entry).await
    }

    /// Writes in a transaction of its own, after everything handed over before; returns when it is on the disk.
    pub(super) async fn durably<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, JournalError> {
        let place = self.queue.place().await.ok_or(JournalError::Closed)?;
        let (done, written) = oneshot::channel();
        let alone = move |connection: &mut Connection| drop(done.send(synced(connection, write)));
        place.send(Entry::Alone(Alone(Box::new(alone)))).hurry();
        Ok(written.await.map_err(|_| JournalError::Closed)??)
    }

    /// For what nobody waits for: it is in no hurry, and left out if there is no room.
    pub(super) fn later(&self, entry: Entry) {
        match self.queue.try_place() {
            Some(place) => drop(place.send(entry)),
            None => {
                tracing::warn!("the journal is behind; an entry is left to be read again from the node");
            }
        }
    }
}

/// Room for one entry.
#[derive(Debug)]
pub(super) struct WriterPlace(Place<Entry>);

impl WriterPlace {
    /// Hands the entry over at once; what it gives resolves when that is written.
    pub(super) fn send(
        self,
        entry: impl FnOnce(Done) -> Entry,
    ) -> impl Future<Output = Result<(), JournalError>> {
        let (done, written) = oneshot::channel();
        self.0.send(entry(done)).hurry();
        async move { written.await.map_err(|_| JournalError::Closed)? }
    }
}

fn run(mut connection: Connection, mut entries: Batches<Entry>) {
    let mut batch = Vec::new();
    while entries.take(&mut batch) {
        let written = write(&mut connection, &batch);
        if let Err(error) = &written {
            tracing::error!(%error, "the journal could not be written");
        }
        batch.drain(..).for_each(|entry| conclude(entry, &written, &mut connection));
    }
}

/// Tells whoever waits. Who would hear how a request was paid hears nothing if that was not written.
fn conclude(entry: Entry, written: &Result<(), JournalError>, connection: &mut Connection) {
    match entry {
        Entry::Request(_, _, done)
        | Entry::Refused(_, done)
        | Entry::Moved { done, .. }
        | Entry::Voucher(_, done)
        | Entry::Flush(done) => {
            let _ = done.send(written.clone());
        }
        Entry::Receipt(_, told) if written.is_ok() => told.into_iter().for_each(Told::tell),
        Entry::Ended { told, .. } if written.is_ok() => told.into_iter().for_each(Told::tell),
        Entry::Receipt(..) | Entry::Ended { .. } => {}
        Entry::Alone(Alone(write)) => write(connection),
    }
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

fn write(connection: &mut Connection, batch: &[Entry]) -> Result<(), JournalError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for entry in batch {
        match entry {
            Entry::Request(request, voucher, _) => {
                insert_request(&tx, request)?;
                if let Some(voucher) = voucher {
                    upsert_voucher(&tx, voucher)?;
                }
            }
            Entry::Refused(request_hash, _) => {
                run_cached(
                    &tx,
                    "UPDATE requests SET refused = 1 WHERE request_hash = ?",
                    params![request_hash.0],
                )?;
            }
            Entry::Moved { request_hash, to, price, .. } => move_request(&tx, request_hash, *to, *price)?,
            Entry::Receipt(receipt, _) => insert_receipt(&tx, receipt)?,
            Entry::Voucher(voucher, _) => upsert_voucher(&tx, voucher)?,
            Entry::Ended { stack, node, reason, .. } => run_cached(
                &tx,
                "INSERT OR IGNORE INTO endings (stack, node, reason) VALUES (?, ?, ?)",
                params![stack.as_bytes(), to_sql(node.0)?, reason],
            )?,
            Entry::Flush(_) | Entry::Alone(_) => {}
        }
    }
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
    let Receipt { stack, node, count, request_hash, .. } = &signed.message;
    run_cached(
        tx,
        "INSERT OR IGNORE INTO receipts (stack, node, count, receipt) VALUES (?, ?, ?, ?)",
        params![stack.as_bytes(), to_sql(node.0)?, to_sql(*count)?, encode(signed)?],
    )?;
    run_cached(tx, "DELETE FROM requests WHERE request_hash = ?", params![request_hash.0])
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
