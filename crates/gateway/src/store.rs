//! Keys, what they spent, and what they may still owe, in SQLite. One task writes, everything queued in one
//! commit. What a request may cost is committed before it is sent, what it did cost replaces that in one
//! transaction: a kill at any moment forgets neither.

mod writer;

use crate::keys::{CreatedKey, KeyId, KeyRow, NewKey, hash_of, last4, new_secret};
use atoma_client::channel::Sent;
use atoma_types::{Address, Amount, Hash32, NodeId, Price, Receipt, Signed};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use writer::Entry;

const QUEUE: usize = 8_192;
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
CREATE TABLE IF NOT EXISTS totals (
    key INTEGER PRIMARY KEY, requests INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
    units INTEGER NOT NULL, cost INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS usage_totals AFTER INSERT ON usage BEGIN
    INSERT INTO totals VALUES (NEW.key, 1, NEW.input, NEW.output, NEW.units, NEW.cost)
    ON CONFLICT (key) DO UPDATE SET
        requests = requests + 1, input = input + excluded.input, output = output + excluded.output,
        units = units + excluded.units, cost = cost + excluded.cost;
END;
INSERT INTO totals SELECT key, COUNT(*), SUM(input), SUM(output), SUM(units), SUM(cost)
    FROM usage WHERE NOT EXISTS (SELECT 1 FROM totals) GROUP BY key;
CREATE TABLE IF NOT EXISTS reservations (
    id INTEGER PRIMARY KEY, key INTEGER NOT NULL, most INTEGER NOT NULL, model TEXT NOT NULL,
    stack BLOB NOT NULL, node INTEGER NOT NULL, request_hash BLOB NOT NULL, price INTEGER NOT NULL
) STRICT;
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

/// Number of what is set aside for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReservationId(i64);

/// What is set aside for a request about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    pub(crate) key: KeyId,
    pub(crate) most: Amount,
    pub(crate) model: String,
    pub(crate) sent: Sent,
}

/// One paid request of a key.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    /// What was set aside for it and no longer is.
    pub(crate) reservation: ReservationId,
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
    reservations: Arc<AtomicI64>,
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
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options.clone()).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let last: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM reservations").fetch_one(&pool).await?;
        // Of its own, so that no reader makes a request wait.
        let batches = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let (queue, entries) = mpsc::channel(QUEUE);
        tokio::spawn(writer::write_behind(batches, entries, writer::wal_of(path)));
        Ok(Self { pool, queue, reservations: Arc::new(AtomicI64::new(last)) })
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
            "SELECT id, hash, last4, name, budget, disabled, COALESCE(cost, 0) AS spent
             FROM keys LEFT JOIN totals ON totals.key = keys.id ORDER BY id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(key_row).collect()
    }

    pub async fn totals(&self, key: KeyId) -> Result<Totals, StoreError> {
        let row = sqlx::query("SELECT requests, input, output, units, cost FROM totals WHERE key = ?")
            .bind(key.0)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(Totals::default()) };
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

    /// What was set aside when the last process ended and is not known to be spent or free.
    pub(crate) async fn reservations(&self) -> Result<Vec<Reservation>, StoreError> {
        let rows = sqlx::query("SELECT * FROM reservations ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(reservation).collect()
    }

    pub(crate) fn new_reservation(&self) -> ReservationId {
        ReservationId(self.reservations.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }

    /// Sets aside what a request may cost, in place of what was set aside under the same number. Returns when
    /// a kill cannot undo it.
    pub(crate) async fn reserve(&self, reservation: Reservation) -> Result<(), StoreError> {
        self.written(|done| Entry::Reserve(Box::new(reservation), done)).await
    }

    /// Sets nothing aside any more, soon: the request costs nothing.
    pub(crate) async fn release(&self, reservation: ReservationId) {
        self.later(Entry::Release(reservation)).await;
    }

    /// Keeps a paid request in place of what was set aside for it, soon.
    pub(crate) async fn record(&self, row: UsageRow) {
        self.later(Entry::Usage(Box::new(row))).await;
    }

    /// Returns when everything handed over so far is stored.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.written(Entry::Flush).await
    }

    /// Waits only if the writer is far behind. What is lost here is found again by the next start.
    async fn later(&self, entry: Entry) {
        if self.queue.send(entry).await.is_err() {
            tracing::error!("the key database's writer is gone");
        }
    }

    async fn written(
        &self,
        entry: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Entry,
    ) -> Result<(), StoreError> {
        let closed = || StoreError::Database("its writer is gone".into());
        let (done, written) = oneshot::channel();
        self.queue.send(entry(done)).await.map_err(|_| closed())?;
        written.await.map_err(|_| closed())?
    }
}

fn reservation(row: &SqliteRow) -> Result<Reservation, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a reservation's {what}"));
    let (stack, request_hash): (&[u8], &[u8]) = (row.try_get("stack")?, row.try_get("request_hash")?);
    let sent = Sent {
        stack: Address::from_bytes(stack).map_err(|_| corrupt("stack"))?,
        node: NodeId(from_sql(row.try_get("node")?)?),
        request_hash: request_hash.try_into().map(Hash32).map_err(|_| corrupt("request"))?,
        price: Price(from_sql(row.try_get("price")?)?),
    };
    Ok(Reservation {
        id: ReservationId(row.try_get("id")?),
        key: KeyId(row.try_get("key")?),
        most: Amount(from_sql(row.try_get("most")?)?),
        model: row.try_get("model")?,
        sent,
    })
}

fn key_row(row: &SqliteRow) -> Result<KeyRow, StoreError> {
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

fn usage_entry(row: &SqliteRow) -> Result<UsageEntry, StoreError> {
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

fn to_sql(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

fn from_sql(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use atoma_types::message::Message as _;
    use atoma_types::{SecretKey, Status, Units};

    fn receipt(units: u64) -> Signed<Receipt> {
        let hash = Hash32::ZERO;
        Receipt {
            db: Address::TWO,
            stack: Address::THREE,
            node: NodeId(1),
            request_hash: hash,
            response_hash: hash,
            input: 1,
            output: 2,
            units: Units(units),
            total_units: Units(units),
            count: 1,
            root: hash,
            work: hash,
            replica_hash: hash,
            status: Status::Complete,
            finished_ms: 5,
        }
        .sign(&SecretKey::from_seed([1; 32]))
    }

    fn reservation(id: ReservationId, key: KeyId, most: u64) -> Reservation {
        let request_hash = Hash32::of(&most.to_le_bytes());
        let sent = Sent { stack: Address::THREE, node: NodeId(1), request_hash, price: Price(7) };
        Reservation { id, key, most: Amount(most), model: "m".into(), sent }
    }

    fn paid(reservation: ReservationId, key: KeyId, cost: u64) -> UsageRow {
        let (model, cost, receipt) = ("m".into(), Amount(cost), receipt(cost));
        UsageRow { reservation, key, at_ms: 1, model, cost, receipt }
    }

    #[tokio::test]
    async fn what_is_set_aside_is_there_without_the_process_that_did_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.db");
        let store = Store::open(&path).await.unwrap();
        let key = store.create_key(NewKey::default()).await.unwrap().id;
        let ids = [(); 4].map(|()| store.new_reservation());
        let all = ids.map(|id| store.reserve(reservation(id, key, 100)));
        futures::future::try_join_all(all).await.unwrap();
        store.reserve(reservation(ids[0], key, 200)).await.unwrap();
        // Another process sees it, whatever becomes of this one.
        let other = Store::open(&path).await.unwrap();
        let expected = ids.map(|id| reservation(id, key, if id == ids[0] { 200 } else { 100 }));
        assert_eq!(other.reservations().await.unwrap(), expected);
        assert!(!ids.contains(&other.new_reservation()));

        store.record(paid(ids[0], key, 150)).await;
        store.release(ids[1]).await;
        store.flush().await.unwrap();
        assert_eq!(other.reservations().await.unwrap(), expected[2..]);
        assert_eq!(other.keys().await.unwrap()[0].spent, Amount(150));
    }

    #[tokio::test]
    async fn totals_are_the_sums_and_older_files_get_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.db");
        let store = Store::open(&path).await.unwrap();
        let (one, two) = (store.create_key(NewKey::default()), store.create_key(NewKey::default()));
        let (one, two) = (one.await.unwrap().id, two.await.unwrap().id);
        for n in 1..=300 {
            store.record(paid(store.new_reservation(), if n % 3 == 0 { two } else { one }, n)).await;
        }
        store.flush().await.unwrap();
        let of_one =
            Totals { requests: 200, input_tokens: 200, output_tokens: 400, units: 30_000, cost: 30_000 };
        assert_eq!(store.totals(one).await.unwrap(), of_one);
        assert_eq!(store.totals(two).await.unwrap().cost, 15_150);
        assert_eq!(store.totals(KeyId(9)).await.unwrap(), Totals::default());
        sqlx::raw_sql("DROP TABLE totals; DROP TRIGGER usage_totals;").execute(&store.pool).await.unwrap();
        let store = Store::open(&path).await.unwrap();
        assert_eq!(store.totals(one).await.unwrap(), of_one);
        let spent: Vec<_> = store.keys().await.unwrap().iter().map(|key| key.spent.0).collect();
        assert_eq!(spent, [30_000, 15_150]);
    }
}
