//! The writer: commits to the database what is in the log.

use super::{Entry, FullRecord, JournalError};
use atoma_sqlite::rusqlite::{Connection, Error, ToSql, Transaction, TransactionBehavior, params};
use atoma_sqlite::{Batches, Record, WeakQueue};
use atoma_types::{Receipt, Signed};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long closing waits for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Sequence of the log's newest record that is in the database.
const APPLIED: &str = "log_applied";

/// The writing thread. Dropped, it ends with the commit at hand and leaves what is queued to the log, as if the process
/// had died.
pub(crate) struct Writer {
    queue: WeakQueue<Entry>,
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<()>,
}

impl Writer {
    pub(super) fn spawn(
        database: Database,
        queue: WeakQueue<Entry>,
        entries: Batches<Entry>,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("journal".into()).spawn(move || {
            database.follow(entries);
            drop(end);
        })?;
        Ok(Self { queue, thread: Some(thread), ended })
    }

    /// Waits, within a bound, until it has written what a closed queue held.
    pub(super) async fn ended(mut self) {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut self.ended).await;
        self.thread = None;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.queue.abandon();
            // Bounded by one commit.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
pub(super) struct Database {
    connection: Connection,
    wal: PathBuf,
    /// Bounds what is kept of bodies and responses.
    records_bytes_max: u64,
    /// Size of the kept records; counted once, then carried on.
    records_bytes: Option<u64>,
}

impl Database {
    pub(super) fn new(connection: Connection, wal: PathBuf, records_bytes_max: u64) -> Self {
        // All statements below.
        connection.set_prepared_statement_cache_capacity(32);
        Self { connection, wal, records_bytes_max, records_bytes: None }
    }

    /// Sequence of the log's newest record that is in it.
    pub(super) fn applied(&self) -> Result<u64, JournalError> {
        let applied = super::read::meta(&self.connection, APPLIED)?;
        let bytes = applied.map(<[u8; 8]>::try_from).transpose();
        let bytes = bytes.map_err(|_| JournalError::Read("the log's place is unreadable".into()))?;
        Ok(bytes.map_or(0, u64::from_le_bytes))
    }

    /// Commits what an earlier run left in the log, and brings it onto the disk.
    pub(super) fn recover(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let Some(last) = records.last() else { return Ok(()) };
        let unreadable =
            |error: bcs::Error| JournalError::Read(format!("an entry of the log: {error}").into());
        let entries =
            records.iter().map(|record| bcs::from_bytes(&record.bytes)).collect::<Result<Vec<_>, _>>();
        self.commit(&entries.map_err(unreadable)?, last.sequence)?;
        tracing::info!(entries = records.len(), "took up what the last run left in the log");
        sync(&self.wal).map_err(|error| JournalError::Write(error.to_string().into()))
    }

    /// Until the queue ends. After the first failure nothing more is written: what follows a lost row would tell an
    /// impossible history.
    fn follow(mut self, mut entries: Batches<Entry>) {
        let mut batch = Vec::new();
        while entries.take(&mut batch) {
            let committed = self.commit(&batch, entries.applied()).map_err(|error| error.to_string());
            let kept = committed
                .and_then(|()| entries.committed(|| sync(&self.wal)).map_err(|error| error.to_string()));
            if let Err(error) = kept {
                tracing::error!(error, "cannot write the journal");
                entries.broken(error.into());
                break;
            }
            batch.clear();
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "cannot close the journal");
        }
        if let Err(error) = sync(&self.wal) {
            tracing::error!(%error, "cannot sync the journal");
        }
    }

    fn commit(&mut self, batch: &[Entry], applied: u64) -> Result<(), Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut kept = match self.records_bytes {
            Some(bytes) => bytes,
            None => records_bytes(&transaction)?,
        };
        for entry in batch {
            kept = kept.saturating_add(insert(&transaction, entry)?);
        }
        while kept > self.records_bytes_max {
            drop_oldest_records(&transaction)?;
            kept = records_bytes(&transaction)?;
        }
        set_meta(&transaction, APPLIED, &applied.to_le_bytes())?;
        transaction.commit()?;
        self.records_bytes = Some(kept);
        Ok(())
    }
}

/// Brings the database's own log onto the disk.
pub(super) fn sync(wal: &Path) -> io::Result<()> {
    match File::open(wal).and_then(|file| file.sync_data()) {
        // It is gone when the last connection closed: then SQLite has synced the file itself.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

fn records_bytes(connection: &Connection) -> Result<u64, Error> {
    let sum: i64 = connection.query_row(
        "SELECT coalesce(sum(length(request) + length(body) + length(response) \
         + length(prompt_ids) + length(output_ids)), 0) FROM records",
        [],
        |row| row.get(0),
    )?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Drops the older half, at least one, so that the bound is met rarely and cheaply.
fn drop_oldest_records(connection: &Connection) -> Result<(), Error> {
    connection.execute(
        "DELETE FROM records WHERE sequence <= (SELECT (min(sequence) + max(sequence)) / 2 FROM records)",
        [],
    )?;
    Ok(())
}

/// Returns the bytes that it adds to the kept records.
fn insert(transaction: &Transaction<'_>, entry: &Entry) -> Result<u64, Error> {
    let run = |sql, values: &[&dyn ToSql]| transaction.prepare_cached(sql)?.execute(values);
    match entry {
        // The terms of a channel never change; one that comes back lives again.
        Entry::Channel { terms, settle_until_ms } => run(
            "INSERT INTO channels (stack, terms, settle_until_ms) VALUES (?, ?, ?) ON CONFLICT (stack) \
             DO UPDATE SET closed = 0, settle_until_ms = excluded.settle_until_ms",
            params![terms.stack.as_bytes(), encode(terms)?, settle_until_ms.cast_signed()],
        ),
        Entry::Admitted { stack, nonce, request_hash, expires_ms } => run(
            "INSERT INTO admitted (stack, nonce, request_hash, expires_ms) VALUES (?, ?, ?, ?)",
            params![stack.as_bytes(), nonce.cast_signed(), request_hash.0, expires_ms.cast_signed()],
        ),
        Entry::Receipt { receipt, full } => return insert_receipt(transaction, receipt, full.as_deref()),
        Entry::Voucher(voucher) => run(
            "INSERT INTO vouchers (stack, count, voucher) VALUES (?, ?, ?) ON CONFLICT (stack) \
             DO UPDATE SET count = excluded.count, voucher = excluded.voucher WHERE excluded.count > vouchers.count",
            params![voucher.message.stack.as_bytes(), voucher.message.count.cast_signed(), encode(voucher)?],
        ),
        Entry::Prepared { id, transaction } => run(
            "INSERT OR IGNORE INTO settlements (id, signed_transaction) VALUES (?, ?)",
            params![id.0, transaction],
        ),
        Entry::Finished { id, outcome } => {
            run("UPDATE settlements SET outcome = ? WHERE id = ?", params![outcome, id.0])
        }
        Entry::Closed { stack } => {
            run("UPDATE channels SET closed = 1 WHERE stack = ?", params![stack.as_bytes()])
        }
        Entry::Cursor(cursor) => return set_meta(transaction, "cursor", cursor.as_bytes()).map(|()| 0),
        Entry::TakenOver(forward) => run(
            "INSERT OR IGNORE INTO forwards (stack, request_hash, forward) VALUES (?, ?, ?)",
            params![forward.message.stack.as_bytes(), forward.message.request_hash.0, encode(forward)?],
        ),
        Entry::CleanStop => return set_meta(transaction, "clean_stop", b"1").map(|()| 0),
    }?;
    Ok(0)
}

fn insert_receipt(
    transaction: &Transaction<'_>,
    signed: &Signed<Receipt>,
    full: Option<&FullRecord>,
) -> Result<u64, Error> {
    let (stack, count) = (signed.message.stack.as_bytes(), signed.message.count.cast_signed());
    transaction
        .prepare_cached("INSERT INTO receipts (stack, count, receipt) VALUES (?, ?, ?)")?
        .execute(params![stack, count, encode(signed)?])?;
    let Some(full) = full else { return Ok(0) };
    let request = encode(&full.authorization)?;
    let (prompt, output) = (encode(&full.prompt_ids)?, encode(&full.output_ids)?);
    let added = request.len() + full.body.len() + full.response.len() + prompt.len() + output.len();
    transaction
        .prepare_cached(
            "INSERT INTO records (stack, count, request, body, response, prompt_ids, output_ids) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![stack, count, request, &full.body[..], full.response, prompt, output])?;
    Ok(u64::try_from(added).unwrap_or(u64::MAX))
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &[u8]) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)")?
        .execute(params![key, value])?;
    Ok(())
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    bcs::to_bytes(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}
