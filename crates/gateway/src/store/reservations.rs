//! The rows of what is set aside, and the log in front of them.

use super::ledger::{Reservation, ReservationId, payers};
use super::{Columns as _, Store, StoreError, from_sql, placeholders, to_sql};
use atoma_client::channel::Sent;
use atoma_sqlite::Log;
use atoma_types::{Address, Amount, Hash32, NodeId, Price};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Most rows in one statement.
const ROWS: usize = 64;
/// How long after it was written something is safe from power failure.
pub(super) const SYNC_WITHIN: Duration = Duration::from_millis(10);

/// Rows for one statement each. Their number is a power of two, so that there are few statements to prepare.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().min(ROWS).checked_ilog2()?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// Sets aside: of several under one number the last, because a statement cannot change a row twice.
pub(super) async fn insert_reservations(
    tx: &mut AnyConnection,
    process: i64,
    reservations: impl Iterator<Item = &Reservation>,
) -> Result<(), StoreError> {
    let last: BTreeMap<_, _> = reservations.map(|one| (one.id, one)).collect();
    let rows: Vec<_> = last.into_values().collect();
    for rows in pieces(&rows) {
        let text = format!(
            "INSERT INTO reservations (process, id, key, account, most, purses, day, model, stack, node,
                 request_hash, price) VALUES {}
             ON CONFLICT (process, id) DO UPDATE SET most = excluded.most, purses = excluded.purses,
                 day = excluded.day, model = excluded.model, stack = excluded.stack, node = excluded.node,
                 request_hash = excluded.request_hash, price = excluded.price",
            placeholders(rows.len(), 12)
        );
        let mut query = sqlx::query(&text);
        for row in rows {
            query = query
                .bind(process)
                .bind(row.id.0)
                .bind(row.payers.key.0)
                .bind(row.payers.account)
                .bind(to_sql(row.most.0)?)
                .bind(row.payers.purses)
                .bind(row.payers.day)
                .bind(row.model.as_str())
                .bind(row.sent.stack.as_bytes().to_vec())
                .bind(to_sql(row.sent.node.0)?)
                .bind(row.sent.request_hash.as_bytes().to_vec())
                .bind(to_sql(row.sent.price.0)?);
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

/// Sets aside what only the log of an earlier run knows, and returns the log's last sequence.
pub(super) async fn take_up_log(
    tx: &mut AnyConnection,
    process: i64,
    path: &Path,
    applied: u64,
) -> Result<u64, StoreError> {
    let records = Log::read(path, applied).map_err(|error| access(path, &error))?;
    let corrupt = |error: bcs::Error| StoreError::Corrupt(format!("an entry of the log: {error}"));
    let reservations = records.iter().map(|record| bcs::from_bytes(&record.bytes));
    let reservations = reservations.collect::<Result<Vec<Reservation>, _>>().map_err(corrupt)?;
    insert_reservations(tx, process, reservations.iter()).await?;
    let last = records.last().map_or(applied, |record| record.sequence);
    sqlx::query("UPDATE processes SET log_applied = $1 WHERE id = $2")
        .bind(to_sql(last)?)
        .bind(process)
        .execute(tx)
        .await?;
    Ok(last)
}

/// An empty log, once the database has all of the last one on the disk.
pub(super) fn new_log(store: &Store, path: &Path, sequence: u64) -> Result<Log, StoreError> {
    let log = store
        .wal
        .as_deref()
        .map_or(Ok(()), sync)
        .and_then(|()| Log::create(path, sequence, Some(SYNC_WITHIN)));
    log.map_err(|error| access(path, &error))
}

fn access(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Access { path: path.display().to_string(), reason: error.to_string() }
}

pub(super) fn reservation(row: &AnyRow) -> Result<Reservation, StoreError> {
    let sent = Sent {
        stack: Address::new(row.array("stack")?),
        node: NodeId(row.number("node")?),
        request_hash: Hash32(row.array("request_hash")?),
        price: Price(from_sql(row.id("price")?)?),
    };
    Ok(Reservation {
        id: ReservationId(row.id("id")?),
        payers: payers(row)?,
        most: Amount(row.number("most")?),
        model: row.text("model")?,
        sent,
    })
}

/// Brings SQLite's log onto the disk.
pub(super) fn sync(wal: &Path) -> std::io::Result<()> {
    match std::fs::File::open(wal).and_then(|file| file.sync_data()) {
        // Nothing was written to it yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}
