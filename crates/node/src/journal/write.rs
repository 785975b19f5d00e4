//! The writer: takes what is queued, commits it together, answers everybody.

use super::{Entry, FullRecord, Job, JournalError, SYNC_WITHIN};
use atoma_types::{Address, Receipt, Signed};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _, Sqlite, Transaction};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Most rows in one commit.
const BATCH: usize = 512;

pub(super) fn spawn(
    connection: SqliteConnection,
    jobs: mpsc::Receiver<Job>,
    wal: PathBuf,
    records_bytes_max: u64,
) -> JoinHandle<()> {
    let dirty = Arc::new(Notify::new());
    let syncer = AbortOnDropHandle::new(tokio::spawn(sync_when_dirty(wal.clone(), dirty.clone())));
    let writer = Writer { connection, dirty, records_bytes_max, records_bytes: None, broken: None };
    tokio::spawn(async move {
        writer.run(jobs).await;
        drop(syncer);
        sync(wal).await;
    })
}

/// Syncs the write-ahead log a moment after it grew, whatever else goes on.
async fn sync_when_dirty(wal: PathBuf, dirty: Arc<Notify>) {
    loop {
        dirty.notified().await;
        tokio::time::sleep(SYNC_WITHIN / 2).await;
        sync(wal.clone()).await;
    }
}

pub(super) async fn sync(wal: PathBuf) {
    let synced =
        tokio::task::spawn_blocking(move || std::fs::File::open(wal).and_then(|file| file.sync_data())).await;
    match synced {
        Ok(Ok(())) => {}
        // The log is gone when the last connection closed: then SQLite has synced the file itself.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        Ok(Err(error)) => tracing::error!(%error, "cannot sync the journal"),
        Err(error) => tracing::error!(%error, "syncing the journal was cut short"),
    }
}

struct Writer {
    connection: SqliteConnection,
    dirty: Arc<Notify>,
    records_bytes_max: u64,
    /// Size of the kept records; counted once, then carried on.
    records_bytes: Option<u64>,
    /// Set by the first failure: rows after a lost one would tell an impossible history.
    broken: Option<JournalError>,
}

impl Writer {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            let result = self.commit(&batch).await;
            for job in batch.drain(..) {
                // A caller that went away needs no answer.
                let _ = job.done.send(result.clone());
            }
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "cannot close the journal");
        }
    }

    async fn commit(&mut self, batch: &[Job]) -> Result<(), JournalError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        match self.try_commit(batch).await {
            Ok(()) => {
                self.dirty.notify_one();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "cannot write the journal");
                let error = JournalError::Write(error.to_string().into());
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn try_commit(&mut self, batch: &[Job]) -> Result<(), sqlx::Error> {
        let mut kept = match self.records_bytes {
            Some(bytes) => bytes,
            None => records_bytes(&mut self.connection).await?,
        };
        let mut transaction = self.connection.begin().await?;
        for job in batch {
            kept = kept.saturating_add(insert(&mut transaction, &job.entry).await?);
        }
        if kept > self.records_bytes_max {
            drop_oldest_records(&mut transaction).await?;
            kept = records_bytes(&mut transaction).await?;
        }
        transaction.commit().await?;
        self.records_bytes = Some(kept);
        Ok(())
    }
}

async fn records_bytes(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let sum: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(length(request) + length(body) + length(response) \
         + length(prompt_ids) + length(output_ids)), 0) FROM records",
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Drops the older half, so that the bound is met rarely and cheaply.
async fn drop_oldest_records(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    transaction
        .execute(
            "DELETE FROM records WHERE sequence <= \
             (SELECT (min(sequence) + max(sequence)) / 2 FROM records)",
        )
        .await?;
    Ok(())
}

/// Returns the bytes that it adds to the kept records.
async fn insert(transaction: &mut Transaction<'_, Sqlite>, entry: &Entry) -> Result<u64, sqlx::Error> {
    let query = match entry {
        // The terms of a channel never change; one that comes back lives again.
        Entry::Channel { terms, settle_until_ms } => sqlx::query(
            "INSERT INTO channels (stack, terms, settle_until_ms) VALUES (?, ?, ?) ON CONFLICT (stack) \
             DO UPDATE SET closed = 0, settle_until_ms = excluded.settle_until_ms",
        )
        .bind(blob(terms.stack))
        .bind(encode(terms)?)
        .bind(settle_until_ms.cast_signed()),
        Entry::Admitted { stack, nonce, request_hash, expires_ms } => {
            sqlx::query("INSERT INTO admitted (stack, nonce, request_hash, expires_ms) VALUES (?, ?, ?, ?)")
                .bind(blob(*stack))
                .bind(nonce.cast_signed())
                .bind(request_hash.0.to_vec())
                .bind(expires_ms.cast_signed())
        }
        Entry::Receipt { receipt, full } => return insert_receipt(transaction, receipt, full.as_deref()).await,
        Entry::Voucher(voucher) => sqlx::query(
            "INSERT INTO vouchers (stack, count, voucher) VALUES (?, ?, ?) ON CONFLICT (stack) \
             DO UPDATE SET count = excluded.count, voucher = excluded.voucher WHERE excluded.count > vouchers.count",
        )
        .bind(blob(voucher.message.stack))
        .bind(voucher.message.count.cast_signed())
        .bind(encode(voucher)?),
        Entry::Prepared { id, transaction } => {
            sqlx::query("INSERT OR IGNORE INTO settlements (id, signed_transaction) VALUES (?, ?)")
                .bind(id.0.to_vec())
                .bind(transaction.clone())
        }
        Entry::Finished { id, outcome } => {
            sqlx::query("UPDATE settlements SET outcome = ? WHERE id = ?").bind(outcome.clone()).bind(id.0.to_vec())
        }
        Entry::Closed { stack } => sqlx::query("UPDATE channels SET closed = 1 WHERE stack = ?").bind(blob(*stack)),
        Entry::Cursor(cursor) => set_meta("cursor", cursor.clone().into_bytes()),
        Entry::CleanStop => set_meta("clean_stop", b"1".to_vec()),
    };
    query.execute(&mut **transaction).await?;
    Ok(0)
}

async fn insert_receipt(
    transaction: &mut Transaction<'_, Sqlite>,
    signed: &Signed<Receipt>,
    full: Option<&FullRecord>,
) -> Result<u64, sqlx::Error> {
    let (stack, count) = (blob(signed.message.stack), signed.message.count.cast_signed());
    sqlx::query("INSERT INTO receipts (stack, count, receipt) VALUES (?, ?, ?)")
        .bind(stack.clone())
        .bind(count)
        .bind(encode(signed)?)
        .execute(&mut **transaction)
        .await?;
    let Some(full) = full else { return Ok(0) };
    let request = encode(&full.authorization)?;
    let (prompt, output) = (encode(&full.prompt_ids)?, encode(&full.output_ids)?);
    let added = request.len() + full.body.len() + full.response.len() + prompt.len() + output.len();
    sqlx::query(
        "INSERT INTO records (stack, count, request, body, response, prompt_ids, output_ids) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(stack)
    .bind(count)
    .bind(request)
    .bind(full.body.to_vec())
    .bind(full.response.clone())
    .bind(prompt)
    .bind(output)
    .execute(&mut **transaction)
    .await?;
    Ok(u64::try_from(added).unwrap_or(u64::MAX))
}

type Query = sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments<'static>>;

fn set_meta(key: &'static str, value: Vec<u8>) -> Query {
    sqlx::query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").bind(key).bind(value)
}

fn blob(address: Address) -> Vec<u8> {
    address.as_bytes().to_vec()
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, sqlx::Error> {
    bcs::to_bytes(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
