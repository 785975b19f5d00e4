//! One task that writes what many requests hand over, a batch per commit.

use super::{JournalError, RequestRow, to_sql};
use atoma_types::{Address, NodeId, Receipt, Signed, Voucher};
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::collections::HashMap;
use std::fs::File;
use tokio::sync::{mpsc, oneshot};

/// Entries that wait for the writer; above it, requests wait and receipts are left to the node's copy.
const QUEUE: usize = 4_096;
/// Entries that share a commit.
const BATCH: usize = 512;
/// Rows in one statement, below SQLite's limit of bound values.
const ROWS: usize = 128;

/// Something to keep.
#[derive(Debug)]
pub(super) enum Entry {
    Request(RequestRow, oneshot::Sender<Result<(), JournalError>>),
    Receipt(Box<Signed<Receipt>>),
    Voucher(Box<Signed<Voucher>>),
    Ended { stack: Address, node: NodeId, reason: String },
    Flush(oneshot::Sender<Result<(), JournalError>>),
}

/// Handle of the task, which ends with the last handle.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Entry>,
}

impl Writer {
    /// Keeps the journal locked until everything handed over is written.
    pub(super) fn spawn(pool: SqlitePool, lock: File) -> Self {
        let (queue, mut entries) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while entries.recv_many(&mut batch, BATCH).await > 0 {
                let written = write(&pool, &batch).await;
                if let Err(error) = &written {
                    tracing::error!(%error, "the journal could not be written");
                }
                for entry in batch.drain(..) {
                    if let Entry::Request(_, done) | Entry::Flush(done) = entry {
                        let _ = done.send(written.clone());
                    }
                }
            }
            drop(lock);
        });
        Self { queue }
    }

    pub(super) async fn request(&self, request: RequestRow) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        self.queue.send(Entry::Request(request, done)).await.map_err(|_| JournalError::Closed)?;
        written.await.map_err(|_| JournalError::Closed)?
    }

    pub(super) fn later(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            tracing::warn!("the journal is behind; an entry is left to be read again from the node");
        }
    }

    pub(super) async fn flush(&self) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        self.queue.send(Entry::Flush(done)).await.map_err(|_| JournalError::Closed)?;
        written.await.map_err(|_| JournalError::Closed)?
    }
}

async fn write(pool: &SqlitePool, batch: &[Entry]) -> Result<(), JournalError> {
    let mut tx = pool.begin().await?;
    let requests: Vec<&RequestRow> = batch
        .iter()
        .filter_map(|entry| if let Entry::Request(request, _) = entry { Some(request) } else { None })
        .collect();
    for rows in requests.chunks(ROWS) {
        insert_requests(&mut tx, rows).await?;
    }
    let receipts: Vec<&Signed<Receipt>> = batch
        .iter()
        .filter_map(|entry| if let Entry::Receipt(receipt) = entry { Some(receipt.as_ref()) } else { None })
        .collect();
    for rows in receipts.chunks(ROWS) {
        insert_receipts(&mut tx, rows).await?;
    }
    for voucher in newest_vouchers(batch) {
        upsert_voucher(&mut tx, voucher).await?;
    }
    for entry in batch {
        if let Entry::Ended { stack, node, reason } = entry {
            insert_ending(&mut tx, *stack, *node, reason).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Only the newest voucher of a channel matters.
fn newest_vouchers(batch: &[Entry]) -> Vec<&Signed<Voucher>> {
    let mut newest: HashMap<(Address, NodeId), &Signed<Voucher>> = HashMap::new();
    for entry in batch {
        let Entry::Voucher(voucher) = entry else { continue };
        let kept = newest.entry((voucher.message.stack, voucher.message.node)).or_insert(voucher);
        if kept.message.count < voucher.message.count {
            *kept = voucher;
        }
    }
    newest.into_values().collect()
}

async fn insert_requests(tx: &mut SqliteConnection, rows: &[&RequestRow]) -> Result<(), JournalError> {
    let mut query =
        QueryBuilder::<Sqlite>::new("INSERT INTO requests (request_hash, stack, node, max_units) ");
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        values.push((row, to_sql(row.node.0)?, to_sql(row.max_units.0)?));
    }
    query.push_values(values, |mut one, (row, node, max_units)| {
        one.push_bind(row.request_hash.as_bytes().to_vec())
            .push_bind(row.stack.as_bytes().to_vec())
            .push_bind(node)
            .push_bind(max_units);
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn insert_receipts(tx: &mut SqliteConnection, rows: &[&Signed<Receipt>]) -> Result<(), JournalError> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let bytes = bcs::to_bytes(row).map_err(|error| JournalError::Corrupt(error.to_string()))?;
        values.push((&row.message, to_sql(row.message.node.0)?, to_sql(row.message.count)?, bytes));
    }
    let mut query =
        QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO receipts (stack, node, count, receipt) ");
    query.push_values(values, |mut one, (receipt, node, count, bytes)| {
        one.push_bind(receipt.stack.as_bytes().to_vec()).push_bind(node).push_bind(count).push_bind(bytes);
    });
    query.build().execute(&mut *tx).await?;
    let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM requests WHERE request_hash IN (");
    let mut list = query.separated(", ");
    for row in rows {
        list.push_bind(row.message.request_hash.as_bytes().to_vec());
    }
    query.push(")");
    query.build().execute(tx).await?;
    Ok(())
}

async fn upsert_voucher(tx: &mut SqliteConnection, voucher: &Signed<Voucher>) -> Result<(), JournalError> {
    let bytes = bcs::to_bytes(voucher).map_err(|error| JournalError::Corrupt(error.to_string()))?;
    sqlx::query(
        "INSERT INTO vouchers (stack, node, count, voucher) VALUES (?, ?, ?, ?)
         ON CONFLICT (stack, node) DO UPDATE SET count = excluded.count, voucher = excluded.voucher
         WHERE excluded.count > count",
    )
    .bind(voucher.message.stack.as_bytes().to_vec())
    .bind(to_sql(voucher.message.node.0)?)
    .bind(to_sql(voucher.message.count)?)
    .bind(bytes)
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_ending(
    tx: &mut SqliteConnection,
    stack: Address,
    node: NodeId,
    reason: &str,
) -> Result<(), JournalError> {
    sqlx::query("INSERT OR IGNORE INTO endings (stack, node, reason) VALUES (?, ?, ?)")
        .bind(stack.as_bytes().to_vec())
        .bind(to_sql(node.0)?)
        .bind(reason)
        .execute(tx)
        .await?;
    Ok(())
}
