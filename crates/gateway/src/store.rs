//! Keys and usage in SQLite. Usage is written behind, a batch per commit.

use crate::keys::{CreatedKey, KeyId, KeyRow, NewKey, hash_of, last4, new_secret};
use atoma_types::{Amount, Hash32, Receipt, Signed};
use serde::Serialize;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

const QUEUE: usize = 8_192;
const BATCH: usize = 512;
/// Rows in one statement, below SQLite's limit of bound values.
const ROWS: usize = 64;
const NAME_MAX: usize = 128;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, last4 TEXT NOT NULL, name TEXT NOT NULL,
    budget INTEGER, disabled INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS usage (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL REFERENCES keys (id), at_ms INTEGER NOT NULL,
    model TEXT NOT NULL, node INTEGER NOT NULL, stack TEXT NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, units INTEGER NOT NULL, cost INTEGER NOT NULL, receipt BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS usage_of ON usage (key, id);
";

/// The store could not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot access {path}: {reason}")]
    Access { path: String, reason: String },
    #[error("the key database refused: {0}")]
    Database(String),
    #[error("the key database holds something unreadable: {0}")]
    Corrupt(String),
    #[error("a key's name must have at most {NAME_MAX} bytes")]
    LongName,
    #[error("no key has the id {0}")]
    UnknownKey(i64),
    #[error("the system gave no randomness")]
    NoRandomness,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// One paid request of a key.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    pub(crate) key: KeyId,
    /// By this machine's clock, not the node's.
    pub(crate) at_ms: u64,
    pub(crate) model: String,
    pub(crate) cost: Amount,
    pub(crate) receipt: Signed<Receipt>,
}

/// Sums over a key's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub units: u64,
    pub cost: u64,
}

/// One request, as its key's holder sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageEntry {
    pub at_ms: u64,
    pub model: String,
    pub node: u64,
    pub stack: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub units: u64,
    pub cost: u64,
    /// The node's signed receipt, as it travels.
    pub receipt: String,
}

/// Keys and usage. Clones share the file.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    queue: mpsc::Sender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Usage(Box<UsageRow>),
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

impl Store {
    /// Opens or creates the file, readable by its owner only.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path).map_err(|error| StoreError::Access {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let (queue, entries) = mpsc::channel(QUEUE);
        tokio::spawn(write_behind(pool.clone(), entries));
        Ok(Self { pool, queue })
    }

    /// Makes a key. Its secret is returned here and kept nowhere.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, StoreError> {
        if new.name.len() > NAME_MAX {
            return Err(StoreError::LongName);
        }
        let secret = new_secret().map_err(|_| StoreError::NoRandomness)?;
        let last4 = last4(&secret);
        let row = sqlx::query(
            "INSERT INTO keys (hash, last4, name, budget, created_ms) VALUES (?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(hash_of(&secret).as_bytes().to_vec())
        .bind(&last4)
        .bind(&new.name)
        .bind(new.budget.map(|budget| to_sql(budget.0)).transpose()?)
        .bind(to_sql(now_ms())?)
        .fetch_one(&self.pool)
        .await?;
        Ok(CreatedKey { id: KeyId(row.try_get("id")?), secret, last4 })
    }

    pub async fn set_disabled(&self, key: KeyId, disabled: bool) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE keys SET disabled = ? WHERE id = ?").bind(disabled).bind(key.0);
        found(key, query.execute(&self.pool).await?.rows_affected())
    }

    pub async fn set_budget(&self, key: KeyId, budget: Option<Amount>) -> Result<(), StoreError> {
        let budget = budget.map(|budget| to_sql(budget.0)).transpose()?;
        let query = sqlx::query("UPDATE keys SET budget = ? WHERE id = ?").bind(budget).bind(key.0);
        found(key, query.execute(&self.pool).await?.rows_affected())
    }

    /// Every key with what it spent.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, hash, last4, name, budget, disabled,
                    (SELECT COALESCE(SUM(cost), 0) FROM usage WHERE usage.key = keys.id) AS spent
             FROM keys ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(key_row).collect()
    }

    pub async fn totals(&self, key: KeyId) -> Result<Totals, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS requests, COALESCE(SUM(input), 0) AS input, COALESCE(SUM(output), 0) AS output,
                    COALESCE(SUM(units), 0) AS units, COALESCE(SUM(cost), 0) AS cost
             FROM usage WHERE key = ?",
        )
        .bind(key.0)
        .fetch_one(&self.pool)
        .await?;
        Ok(Totals {
            requests: from_sql(row.try_get("requests")?)?,
            input_tokens: from_sql(row.try_get("input")?)?,
            output_tokens: from_sql(row.try_get("output")?)?,
            units: from_sql(row.try_get("units")?)?,
            cost: from_sql(row.try_get("cost")?)?,
        })
    }

    /// A key's requests, newest first.
    pub async fn usage(&self, key: KeyId, limit: u32) -> Result<Vec<UsageEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT at_ms, model, node, stack, input, output, units, cost, receipt
             FROM usage WHERE key = ? ORDER BY id DESC LIMIT ?",
        )
        .bind(key.0)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(usage_entry).collect()
    }

    /// Keeps a paid request, soon. Waits only if the writer is far behind.
    pub(crate) async fn record(&self, row: UsageRow) {
        if self.queue.send(Entry::Usage(Box::new(row))).await.is_err() {
            tracing::error!("the key database's writer is gone; usage is lost");
        }
    }

    /// Returns when everything handed over so far is stored.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Database("its writer is gone".into());
        let (done, written) = oneshot::channel();
        self.queue.send(Entry::Flush(done)).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }
}

async fn write_behind(pool: SqlitePool, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let written = write(&pool, &batch).await;
        if let Err(error) = &written {
            tracing::error!(%error, "usage could not be written");
        }
        for entry in batch.drain(..) {
            if let Entry::Flush(done) = entry {
                let _ = done.send(written.clone());
            }
        }
    }
}

/// Stores a batch. A row that cannot be stored is logged and left out; the others do not suffer for it.
async fn write(pool: &SqlitePool, batch: &[Entry]) -> Result<(), StoreError> {
    let mut values = Vec::with_capacity(batch.len());
    for entry in batch {
        let Entry::Usage(row) = entry else { continue };
        match bound(row) {
            Ok(value) => values.push(value),
            Err(error) => tracing::error!(%error, key = row.key.0, "a request's usage is left out"),
        }
    }
    let mut tx = pool.begin().await?;
    for rows in values.chunks(ROWS) {
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

fn key_row(row: &sqlx::sqlite::SqliteRow) -> Result<KeyRow, StoreError> {
    let hash: &[u8] = row.try_get("hash")?;
    let budget: Option<i64> = row.try_get("budget")?;
    Ok(KeyRow {
        id: KeyId(row.try_get("id")?),
        hash: hash
            .try_into()
            .map(Hash32)
            .map_err(|_| StoreError::Corrupt("a hash of another length".into()))?,
        last4: row.try_get("last4")?,
        name: row.try_get("name")?,
        budget: budget.map(from_sql).transpose()?.map(Amount),
        disabled: row.try_get("disabled")?,
        spent: Amount(from_sql(row.try_get("spent")?)?),
    })
}

fn usage_entry(row: &sqlx::sqlite::SqliteRow) -> Result<UsageEntry, StoreError> {
    let bytes: &[u8] = row.try_get("receipt")?;
    let receipt: Signed<Receipt> =
        bcs::from_bytes(bytes).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(UsageEntry {
        at_ms: from_sql(row.try_get("at_ms")?)?,
        model: row.try_get("model")?,
        node: from_sql(row.try_get("node")?)?,
        stack: row.try_get("stack")?,
        input_tokens: from_sql(row.try_get("input")?)?,
        output_tokens: from_sql(row.try_get("output")?)?,
        units: from_sql(row.try_get("units")?)?,
        cost: from_sql(row.try_get("cost")?)?,
        receipt: atoma_types::wire::encode(&receipt),
    })
}

fn found(key: KeyId, rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::UnknownKey(key.0)) } else { Ok(()) }
}

/// Creates the file with mode 0600 if it is missing; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// At most what a sum over very many rows still holds.
fn clamped(value: u64) -> i64 {
    i64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

fn to_sql(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

fn from_sql(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}
