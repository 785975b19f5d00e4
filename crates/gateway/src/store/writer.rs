//! The one task that writes what requests hand over, everything queued in one commit. A commit survives a
//! kill; the log is synced within `SYNC_WITHIN` of it, which is what a power failure may take.

use super::{Reservation, ReservationId, StoreError, UsageRow, to_sql};
use crate::keys::KeyId;
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

const BATCH: usize = 512;
/// Rows in one statement, below SQLite's limit of bound values.
const ROWS: usize = 64;
/// How long after its commit something is safe from power failure.
const SYNC_WITHIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) enum Entry {
    Reserve(Box<Reservation>, oneshot::Sender<Result<(), StoreError>>),
    Release(ReservationId),
    Usage(Box<UsageRow>),
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

pub(super) async fn write_behind(pool: SqlitePool, mut entries: mpsc::Receiver<Entry>, wal: PathBuf) {
    let dirty = Arc::new(Notify::new());
    let syncer = tokio::spawn(sync_when_dirty(wal, Arc::clone(&dirty)));
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let written = write(&pool, &batch).await;
        match &written {
            Ok(()) => dirty.notify_one(),
            Err(error) => tracing::error!(%error, "the key database could not be written"),
        }
        for entry in batch.drain(..) {
            if let Entry::Reserve(_, done) | Entry::Flush(done) = entry {
                let _ = done.send(written.clone());
            }
        }
    }
    syncer.abort();
}

/// Syncs the write-ahead log a moment after it grew, whatever else goes on.
async fn sync_when_dirty(wal: PathBuf, dirty: Arc<Notify>) {
    loop {
        dirty.notified().await;
        tokio::time::sleep(SYNC_WITHIN / 2).await;
        let wal = wal.clone();
        let sync = move || std::fs::File::open(wal).and_then(|file| file.sync_data());
        match tokio::task::spawn_blocking(sync).await {
            // Nothing was written to it yet.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot sync the key database"),
            _ => {}
        }
    }
}

/// Stores a batch. A paid request that cannot be stored is logged and left out; the others do not suffer for
/// it.
async fn write(pool: &SqlitePool, batch: &[Entry]) -> Result<(), StoreError> {
    let (mut reserved, mut ended, mut paid) = (Vec::new(), Vec::new(), Vec::new());
    for entry in batch {
        match entry {
            Entry::Reserve(reservation, _) => reserved.push(reservation.as_ref()),
            Entry::Release(id) => ended.push(*id),
            Entry::Usage(row) => match bound(row) {
                Ok(value) => {
                    ended.push(row.reservation);
                    paid.push(value);
                }
                Err(error) => tracing::error!(%error, key = row.key.0, "a request's usage is left out"),
            },
            Entry::Flush(_) => {}
        }
    }
    let mut tx = pool.begin().await?;
    for rows in reserved.chunks(ROWS) {
        insert_reservations(&mut tx, rows).await?;
    }
    for rows in paid.chunks(ROWS) {
        match insert(&mut tx, rows).await {
            Err(error) if is_about_a_row(&error) => {
                for row in rows {
                    match insert(&mut tx, std::slice::from_ref(row)).await {
                        Err(error) if is_about_a_row(&error) => {
                            tracing::error!(%error, key = row.0.0, "a request's usage is left out");
                        }
                        inserted => inserted?,
                    }
                }
            }
            inserted => inserted?,
        }
    }
    for ids in ended.chunks(ROWS) {
        delete_reservations(&mut tx, ids).await?;
    }
    Ok(tx.commit().await?)
}

/// Whether the database works and only this row does not fit.
fn is_about_a_row(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| !matches!(error.kind(), sqlx::error::ErrorKind::Other))
}

async fn insert(tx: &mut SqliteConnection, rows: &[Bound<'_>]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO usage (key, at_ms, model, stack, node, input, output, units, cost, receipt) ",
    );
    query.push_values(rows, |mut one, (key, model, stack, numbers, receipt)| {
        let [at_ms, node, input, output, units, cost] = *numbers;
        one.push_bind(key.0).push_bind(at_ms).push_bind(*model).push_bind(stack.clone());
        one.push_bind(node).push_bind(input).push_bind(output).push_bind(units).push_bind(cost);
        one.push_bind(receipt.clone());
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn insert_reservations(tx: &mut SqliteConnection, rows: &[&Reservation]) -> Result<(), StoreError> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let most = i64::try_from(row.most.0).unwrap_or(i64::MAX);
        values.push((row, most, to_sql(row.sent.node.0)?, to_sql(row.sent.price.0)?));
    }
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT OR REPLACE INTO reservations (id, key, most, model, stack, node, request_hash, price) ",
    );
    query.push_values(values, |mut one, (row, most, node, price)| {
        one.push_bind(row.id.0).push_bind(row.key.0).push_bind(most).push_bind(&row.model);
        one.push_bind(row.sent.stack.as_bytes().to_vec()).push_bind(node);
        one.push_bind(row.sent.request_hash.as_bytes().to_vec()).push_bind(price);
    });
    query.build().execute(tx).await?;
    Ok(())
}

async fn delete_reservations(tx: &mut SqliteConnection, ids: &[ReservationId]) -> Result<(), StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM reservations WHERE id IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.0);
    }
    query.push(")");
    query.build().execute(tx).await?;
    Ok(())
}

type Bound<'a> = (KeyId, &'a str, String, [i64; 6], Vec<u8>);

fn bound(row: &UsageRow) -> Result<Bound<'_>, StoreError> {
    let receipt = &row.receipt.message;
    // What a node claims must not keep a row from being stored; the receipt itself is kept as it is.
    let numbers = [
        to_sql(row.at_ms)?,
        to_sql(receipt.node.0)?,
        clamped(receipt.input),
        clamped(receipt.output),
        i64::try_from(receipt.units.0).unwrap_or(i64::MAX),
        to_sql(row.cost.0)?,
    ];
    let bytes = bcs::to_bytes(&row.receipt).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok((row.key, row.model.as_str(), receipt.stack.to_string(), numbers, bytes))
}

pub(super) fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// At most what a sum over very many rows still holds.
fn clamped(value: u64) -> i64 {
    i64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
