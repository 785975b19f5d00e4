//! One task that writes what many requests hand over, a batch per commit.

use super::{JournalError, RequestRow, to_sql};
use crate::channel::Told;
use crate::ledger::Bounds;
use atoma_types::{Address, Hash32, NodeId, Receipt, Signed, Voucher};
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::collections::HashMap;
use std::fs::File;
use tokio::sync::{mpsc, oneshot};

/// Entries that wait for the writer; above it, requests wait and receipts are left to the node's copy (what
/// they settle is then not told, and found out by the next start).
const QUEUE: usize = 4_096;
/// Entries that share a commit.
const BATCH: usize = 512;
/// Rows in one statement, below SQLite's limit of bound values.
const ROWS: usize = 128;

/// Something to keep.
#[derive(Debug)]
pub(super) enum Entry {
    Request(RequestRow, Option<Box<Signed<Voucher>>>, Done),
    Refused(Hash32, Done),
    Receipt(Box<Signed<Receipt>>, Option<Told>),
    Voucher(Box<Signed<Voucher>>, Done),
    Ended { stack: Address, node: NodeId, reason: String, told: Vec<Told> },
    Flush(Done),
}

/// Told when an entry is written, or cannot be.
pub(super) type Done = oneshot::Sender<Result<(), JournalError>>;

impl Entry {
    /// Tells whoever waits. Who would hear how a request was paid hears nothing if that was not written.
    fn conclude(self, written: &Result<(), JournalError>) {
        match self {
            Self::Request(_, _, done)
            | Self::Refused(_, done)
            | Self::Voucher(_, done)
            | Self::Flush(done) => {
                let _ = done.send(written.clone());
            }
            Self::Receipt(_, told) if written.is_ok() => told.into_iter().for_each(Told::tell),
            Self::Ended { told, .. } if written.is_ok() => told.into_iter().for_each(Told::tell),
            Self::Receipt(..) | Self::Ended { .. } => {}
        }
    }
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
                batch.drain(..).for_each(|entry| entry.conclude(&written));
            }
            drop(lock);
        });
        Self { queue }
    }

    /// Returns when the entry is written.
    pub(super) async fn written(&self, entry: impl FnOnce(Done) -> Entry) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        self.queue.send(entry(done)).await.map_err(|_| JournalError::Closed)?;
        written.await.map_err(|_| JournalError::Closed)?
    }

    pub(super) fn later(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            tracing::warn!("the journal is behind; an entry is left to be read again from the node");
        }
    }
}

async fn write(pool: &SqlitePool, batch: &[Entry]) -> Result<(), JournalError> {
    let mut tx = pool.begin().await?;
    let requests: Vec<&RequestRow> = batch
        .iter()
        .filter_map(|entry| if let Entry::Request(request, ..) = entry { Some(request) } else { None })
        .collect();
    for rows in requests.chunks(ROWS) {
        insert_requests(&mut tx, rows).await?;
    }
    for entry in batch {
        if let Entry::Refused(request_hash, _) = entry {
            mark_refused(&mut tx, request_hash).await?;
        }
    }
    let receipts: Vec<&Signed<Receipt>> = batch
        .iter()
        .filter_map(
            |entry| if let Entry::Receipt(receipt, _) = entry { Some(receipt.as_ref()) } else { None },
        )
        .collect();
    for rows in receipts.chunks(ROWS) {
        insert_receipts(&mut tx, rows).await?;
    }
    for voucher in newest_vouchers(batch) {
        upsert_voucher(&mut tx, voucher).await?;
    }
    for entry in batch {
        if let Entry::Ended { stack, node, reason, .. } = entry {
            insert_ending(&mut tx, *stack, *node, reason).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Only the newest voucher of a channel matters.
fn newest_vouchers(batch: &[Entry]) -> Vec<&Signed<Voucher>> {
    let mut newest: HashMap<(Address, NodeId), &Signed<Voucher>> = HashMap::new();
    for entry in batch {
        let (Entry::Voucher(voucher, _) | Entry::Request(_, Some(voucher), _)) = entry else { continue };
        let kept = newest.entry((voucher.message.stack, voucher.message.node)).or_insert(voucher);
        if kept.message.count < voucher.message.count {
            *kept = voucher;
        }
    }
    newest.into_values().collect()
}

async fn insert_requests(tx: &mut SqliteConnection, rows: &[&RequestRow]) -> Result<(), JournalError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO requests
         (request_hash, stack, node, max_units, input_max, output_max, unseen_max) ",
    );
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let Bounds { input, output, unseen } = row.bounds;
        let numbers = [row.node.0, row.max_units.0, input, output, unseen];
        let mut bound = [0; 5];
        for (bound, number) in bound.iter_mut().zip(numbers) {
            *bound = to_sql(number)?;
        }
        values.push((row, bound));
    }
    query.push_values(values, |mut one, (row, numbers)| {
        one.push_bind(row.request_hash.as_bytes().to_vec()).push_bind(row.stack.as_bytes().to_vec());
        for number in numbers {
            one.push_bind(number);
        }
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn mark_refused(tx: &mut SqliteConnection, request_hash: &Hash32) -> Result<(), JournalError> {
    sqlx::query("UPDATE requests SET refused = 1 WHERE request_hash = ?")
        .bind(request_hash.as_bytes().to_vec())
        .execute(tx)
        .await?;
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
