//! Opening the file: whose it is, whether it is ours, and what the last run left behind.

use super::{Journal, QUEUE, write};
use atoma_types::{Address, NodeId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// `ATOM`, in the file's header.
const APPLICATION_ID: i64 = 0x4154_4f4d;
const SCHEMA_VERSION: i64 = 2;
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
const SCHEMA: &str = include_str!("schema.sql");
/// From schema 1, which did not say how long a channel's vouchers settle.
const FROM_1: &str = "ALTER TABLE channels ADD COLUMN settle_until_ms INTEGER NOT NULL DEFAULT 0;";

/// Whose journal it is. One file serves one node of one market for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) db: Address,
    pub(crate) node: NodeId,
}

/// How the last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    /// There was none, or it stopped in order, or only the process died: nothing is missing.
    Whole,
    /// The machine itself went down: the last moments may be missing.
    PowerLoss,
}

/// Why the journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot access the journal {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the journal {0} is in use by another node; stop it first")]
    InUse(PathBuf),
    #[error("{0} is not a node's journal; choose another path")]
    Foreign(PathBuf),
    #[error("the journal {path} belongs to {what}; choose another path")]
    OtherOwner { path: PathBuf, what: String },
    #[error("the journal {path} has schema {found}, this version reads {SCHEMA_VERSION}")]
    Schema { path: PathBuf, found: i64 },
    #[error(
        "the journal {path} is damaged: {reason}; restore it from a copy, or move it away and close its stacks"
    )]
    Corrupt { path: PathBuf, reason: String },
}

/// An open journal and its writer.
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) writer: JoinHandle<()>,
    pub(crate) boot: Boot,
}

impl Journal {
    /// Opens or creates the journal and starts its writer. `records_bytes_max` bounds what is kept of
    /// bodies and responses.
    pub(crate) async fn open(
        path: &Path,
        identity: Identity,
        records_bytes_max: u64,
    ) -> Result<Opened, OpenError> {
        let lock = lock_file(path)?;
        let fresh = create_private(path)?;
        let mut connection = connect(path).await?;
        let boot = prepare(&mut connection, path, identity, fresh).await?;
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let reader = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options);
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = write::spawn(connection, jobs, wal_path(path), records_bytes_max);
        Ok(Opened { journal: Journal { queue, reader, _lock: Arc::new(lock) }, writer, boot })
    }
}

fn lock_file(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Makes the file with mode 0600 before SQLite would make it with another; true if it is empty.
fn create_private(path: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let private = || std::fs::Permissions::from_mode(0o600);
    file.set_permissions(private()).map_err(io)?;
    // SQLite gives new ones the mode of the file itself; these may be left over from a crash.
    for suffix in ["-wal", "-shm"] {
        match std::fs::set_permissions(beside(path, suffix), private()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    if file.metadata().map_err(io)?.len() == 0 {
        return Ok(true);
    }
    let mut magic = [0; SQLITE_MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == SQLITE_MAGIC => Ok(false),
        Ok(()) => Err(OpenError::Foreign(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(OpenError::Foreign(path.to_owned()))
        }
        Err(source) => Err(io(source)),
    }
}

async fn connect(path: &Path) -> Result<SqliteConnection, OpenError> {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(false)
        .connect()
        .await
        .map_err(|error| corrupt(path, &error))
}

async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    identity: Identity,
    fresh: bool,
) -> Result<Boot, OpenError> {
    if fresh || is_blank(connection, path).await? {
        create_schema(connection, path, identity).await?;
    } else {
        let found = check_schema(connection, path).await?;
        check_owner(connection, path, identity).await?;
        if found == 1 {
            apply(connection, path, FROM_1).await?;
        }
    }
    let boot = last_boot(connection, path).await?;
    if boot == Boot::PowerLoss {
        check_pages(connection, path).await?;
    }
    set_meta(connection, path, "clean_stop", b"0").await?;
    set_meta(connection, path, "machine_boot", machine_boot().as_bytes()).await?;
    // On disk before anything is served: else a power failure would look like a clean stop.
    integer(connection, path, "PRAGMA wal_checkpoint(PASSIVE)").await?;
    write::sync(wal_path(path)).await;
    Ok(boot)
}

/// A crash between making the file and filling it leaves a database without tables.
async fn is_blank(connection: &mut SqliteConnection, path: &Path) -> Result<bool, OpenError> {
    Ok(integer(connection, path, "SELECT count(*) FROM sqlite_master").await? == 0)
}

async fn create_schema(
    connection: &mut SqliteConnection,
    path: &Path,
    identity: Identity,
) -> Result<(), OpenError> {
    apply(connection, path, SCHEMA).await?;
    set_meta(connection, path, "db", identity.db.as_bytes()).await?;
    set_meta(connection, path, "node", &identity.node.0.to_le_bytes()).await
}

/// Changes the tables and writes down the version that they have then, together.
async fn apply(
    connection: &mut SqliteConnection,
    path: &Path,
    statements: &'static str,
) -> Result<(), OpenError> {
    let bad = |error: sqlx::Error| corrupt(path, &error);
    let mut transaction = connection.begin().await.map_err(bad)?;
    sqlx::raw_sql(statements).execute(&mut *transaction).await.map_err(bad)?;
    let pragmas =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
    sqlx::raw_sql(&pragmas).execute(&mut *transaction).await.map_err(bad)?;
    transaction.commit().await.map_err(bad)
}

/// The file's schema, one that this version can read or bring up to date.
async fn check_schema(connection: &mut SqliteConnection, path: &Path) -> Result<i64, OpenError> {
    if integer(connection, path, "PRAGMA application_id").await? != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    match integer(connection, path, "PRAGMA user_version").await? {
        found @ 1..=SCHEMA_VERSION => Ok(found),
        found => Err(OpenError::Schema { path: path.to_owned(), found }),
    }
}

async fn check_owner(
    connection: &mut SqliteConnection,
    path: &Path,
    identity: Identity,
) -> Result<(), OpenError> {
    let other = |what: String| OpenError::OtherOwner { path: path.to_owned(), what };
    // Written right after the tables; missing only if that was interrupted.
    let (Some(db), Some(node)) = (meta(connection, path, "db").await?, meta(connection, path, "node").await?)
    else {
        set_meta(connection, path, "db", identity.db.as_bytes()).await?;
        return set_meta(connection, path, "node", &identity.node.0.to_le_bytes()).await;
    };
    if db != identity.db.as_bytes() {
        return Err(other("another market".to_owned()));
    }
    let own = <[u8; 8]>::try_from(node.as_slice()).map(u64::from_le_bytes);
    match own {
        Ok(node) if node == identity.node.0 => Ok(()),
        Ok(node) => Err(other(format!("node {node}"))),
        Err(_) => Err(OpenError::Corrupt { path: path.to_owned(), reason: "unreadable node id".to_owned() }),
    }
}

/// A process that dies takes nothing with it; a machine may. The kernel's boot id tells them apart.
async fn last_boot(connection: &mut SqliteConnection, path: &Path) -> Result<Boot, OpenError> {
    let clean = meta(connection, path, "clean_stop").await?;
    let machine = meta(connection, path, "machine_boot").await?;
    Ok(match (clean, machine) {
        (None, _) | (_, None) => Boot::Whole,
        (Some(clean), _) if clean == b"1" => Boot::Whole,
        (_, Some(boot)) if !boot.is_empty() && boot == machine_boot().as_bytes() => Boot::Whole,
        _ => Boot::PowerLoss,
    })
}

fn machine_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

async fn check_pages(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let row = sqlx::query("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| corrupt(path, &error))?;
    match row.try_get::<String, _>(0) {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(reason) => Err(OpenError::Corrupt { path: path.to_owned(), reason }),
        Err(error) => Err(corrupt(path, &error)),
    }
}

async fn integer(
    connection: &mut SqliteConnection,
    path: &Path,
    sql: &'static str,
) -> Result<i64, OpenError> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(|error| corrupt(path, &error))?;
    row.try_get(0).map_err(|error| corrupt(path, &error))
}

async fn meta(
    connection: &mut SqliteConnection,
    path: &Path,
    key: &str,
) -> Result<Option<Vec<u8>>, OpenError> {
    let query = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?").bind(key);
    query.fetch_optional(connection).await.map_err(|error| corrupt(path, &error))
}

async fn set_meta(
    connection: &mut SqliteConnection,
    path: &Path,
    key: &str,
    value: &[u8],
) -> Result<(), OpenError> {
    let query = sqlx::query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)").bind(key).bind(value);
    query.execute(connection).await.map_err(|error| corrupt(path, &error))?;
    Ok(())
}

fn corrupt(path: &Path, error: &sqlx::Error) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), reason: error.to_string() }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}
