//! Accounts, keys, money and what was paid, in a SQLite file of one gateway or in a PostgreSQL database of several.
//!
//! [`Store`] reads, and writes what is not on a request's way. What is goes through a [`Ledger`], one task that
//! writes everything queued in one commit: what a request may cost is safe before it is sent (committed, or in a log
//! in front of a file), what it did cost replaces that in one transaction, so that a kill at any moment forgets neither.

mod accounts;
mod books;
mod deposits;
mod keys;
mod ledger;
mod reservations;
mod schema;
mod usage;
mod writer;

pub use books::Books;
pub use deposits::Deposit;
pub use usage::{KeyUsage, Totals, UsageEntry, UsageFilter};

pub(crate) use accounts::AccountRow;
pub use accounts::{Limits, Who};
pub(crate) use deposits::Transfer;
pub(crate) use ledger::{
    Correct, Grant, Ledger, Payers, PurseId, PurseKind, Reservation, ReservationId, UsageRow, Want,
};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyQueryResult, AnyRow};
use sqlx::{AnyPool, Row as _};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const READERS: u32 = 4;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DAY_MS: u64 = 86_400_000;
/// Days for which purses of one day are kept.
const DAYS_KEPT: i64 = 2;
/// The process of a file: there is one.
const LOCAL: &str = "local";

/// The store could not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot access {path}: {reason}")]
    Access { path: String, reason: String },
    #[error("the database URL must begin with postgres://")]
    Url,
    #[error("the database refused: {0}")]
    Database(String),
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    #[error(
        "the database has version {found} of the tables and this gateway knows {known}: use a newer gateway"
    )]
    Newer { found: i64, known: i64 },
    #[error("another gateway runs with this data folder")]
    Superseded,
    #[error("what was leased to this gateway was taken back, because it did not answer")]
    Fenced,
    #[error("a name must have at most {} bytes", keys::NAME_MAX)]
    LongName,
    #[error("no key has the id {0}")]
    UnknownKey(i64),
    #[error("an account has at most {0} keys")]
    ManyKeys(i64),
    #[error("the login is taken")]
    LoginTaken,
    #[error("the address belongs to another account")]
    AddressTaken,
    #[error("the system gave no randomness")]
    NoRandomness,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    File(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

impl Database {
    pub fn postgres(url: &str) -> Result<Self, StoreError> {
        let known = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
        if known { Ok(Self::Postgres(url.to_owned())) } else { Err(StoreError::Url) }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // The URL may hold a password.
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// How a transaction begins that writes: no reader of SQLite may become a writer halfway.
    fn begin(self) -> &'static str {
        if self == Self::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }
    }

    /// Locks the rows that are read, where not the whole file is locked.
    fn for_update(self) -> &'static str {
        if self == Self::Sqlite { "" } else { " FOR UPDATE" }
    }
}

/// The database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    /// Connections of the writer's own, so that no reader makes a request wait.
    batches: AnyPool,
    dialect: Dialect,
    /// SQLite's log, which is synced by hand.
    wal: Option<PathBuf>,
}

impl Store {
    /// Opens or creates the database. A file is readable by its owner only.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (url, dialect, wal) = match database {
            Database::File(path) => {
                create_private(path).map_err(|error| StoreError::Access {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                })?;
                (file_url(path), Dialect::Sqlite, Some(atoma_sqlite::beside(path, "-wal")))
            }
            Database::Postgres(url) => (url.clone(), Dialect::Postgres, None),
        };
        let url = url.parse().map_err(|_| StoreError::Url)?;
        let options = <AnyConnectOptions as sqlx::ConnectOptions>::from_url(&url)?;
        let pool = pool(READERS, dialect).connect_with(options.clone()).await?;
        schema::migrate(&pool, dialect).await?;
        let batches = pool_of_writer(dialect).connect_lazy_with(options);
        Ok(Self { pool, batches, dialect, wal })
    }

    /// Forgets sessions that are over, and purses of days long gone.
    pub(crate) async fn tidy(&self) -> Result<(), StoreError> {
        let now = now_ms();
        sqlx::query("DELETE FROM sessions WHERE expires_ms < $1")
            .bind(to_sql(now)?)
            .execute(&self.pool)
            .await?;
        let first_day = to_sql(now / DAY_MS)?.saturating_sub(DAYS_KEPT);
        for table in ["leases", "purses"] {
            let query = format!("DELETE FROM {table} WHERE day > 0 AND day < $1");
            sqlx::query(&query).bind(first_day).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Whether several gateways may use it at once.
    pub(crate) fn is_shared(&self) -> bool {
        self.dialect == Dialect::Postgres
    }
}

fn pool(connections: u32, dialect: Dialect) -> AnyPoolOptions {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(CONNECT_TIMEOUT);
    options.after_connect(move |connection, _| {
        Box::pin(async move {
            let setting = match dialect {
                Dialect::Sqlite => {
                    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                     PRAGMA foreign_keys = ON;"
                }
                Dialect::Postgres => "SET statement_timeout = 10000; SET client_min_messages = warning;",
            };
            sqlx::Executor::execute(connection, sqlx::raw_sql(setting)).await.map(drop)
        })
    })
}

fn pool_of_writer(dialect: Dialect) -> AnyPoolOptions {
    // It finds out with the next batch whether its connection still lives.
    pool(1, dialect).test_before_acquire(false)
}

/// The file's name as SQLx takes it.
fn file_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte))
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

/// `($1, $2), ($3, $4)`: placeholders of so many rows.
fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let first = row.saturating_mul(columns).saturating_add(1);
        let row: Vec<String> =
            (first..first.saturating_add(columns)).map(|number| format!("${number}")).collect();
        format!("({})", row.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
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

fn maybe_to_sql(value: Option<u64>) -> Result<Option<i64>, StoreError> {
    value.map(to_sql).transpose()
}

fn from_sql(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

/// Columns as the types of the product.
trait Columns {
    fn number(&self, column: &str) -> Result<u64, StoreError>;
    fn maybe(&self, column: &str) -> Result<Option<u64>, StoreError>;
    fn id(&self, column: &str) -> Result<i64, StoreError>;
    fn maybe_id(&self, column: &str) -> Result<Option<i64>, StoreError>;
    fn text(&self, column: &str) -> Result<String, StoreError>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError>;
    fn array(&self, column: &str) -> Result<[u8; 32], StoreError>;
}

impl Columns for AnyRow {
    fn number(&self, column: &str) -> Result<u64, StoreError> {
        from_sql(self.id(column)?)
    }

    fn maybe(&self, column: &str) -> Result<Option<u64>, StoreError> {
        self.maybe_id(column)?.map(from_sql).transpose()
    }

    fn id(&self, column: &str) -> Result<i64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_id(&self, column: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: &str) -> Result<String, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn array(&self, column: &str) -> Result<[u8; 32], StoreError> {
        let bytes: Vec<u8> = self.try_get(column)?;
        bytes.try_into().map_err(|_| StoreError::Corrupt(format!("{column} is not 32 bytes")))
    }
}

fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

fn one_key(key: i64, result: AnyQueryResult) -> Result<(), StoreError> {
    if result.rows_affected() == 0 { Err(StoreError::UnknownKey(key)) } else { Ok(()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
