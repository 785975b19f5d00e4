//! Opening the file: whose it is, whether it is ours, and what the last run left behind.

use super::read::meta;
use super::write::{Database, Writer, set_meta, sync};
use super::{Journal, JournalError, LINGER, QUEUE, SYNC_WITHIN};
use atoma_sqlite::rusqlite::{Connection, Error, types::FromSql};
use atoma_sqlite::{Log, Readers, beside, blocking, queue};
use atoma_types::{Address, NodeId};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `ATOM`, in the file's header.
const APPLICATION_ID: i64 = 0x4154_4f4d;
const SCHEMA_VERSION: i64 = 3;
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
const SCHEMA: &str = include_str!("schema.sql");
/// From schema 1, which did not say how long a channel's vouchers settle.
const FROM_1: &str = "ALTER TABLE channels ADD COLUMN settle_until_ms INTEGER NOT NULL DEFAULT 0;";
/// From schema 2, whose requests all came from users.
const FROM_2: &str = "CREATE TABLE forwards (
    stack BLOB NOT NULL, request_hash BLOB NOT NULL, forward BLOB NOT NULL, PRIMARY KEY (stack, request_hash)
) WITHOUT ROWID;";

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
    pub(crate) writer: Writer,
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
        let path = path.to_owned();
        blocking(move || open(&path, identity, records_bytes_max)).await
    }
}

fn open(path: &Path, identity: Identity, records_bytes_max: u64) -> Result<Opened, OpenError> {
    let lock = lock_file(path)?;
    let fresh = create_private(path)?;
    let connection = connect(path).map_err(|error| corrupt(path, &error))?;
    let boot = Found { connection: &connection, path }.prepare(identity, fresh)?;
    let mut database = Database::new(connection, wal_path(path), records_bytes_max);
    let log = take_up_log(path, &mut database)?;
    let (queue, entries) = queue(QUEUE, LINGER, log);
    let writer = Writer::spawn(database, queue.downgrade(), entries)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let journal = Journal { queue, readers: Readers::new(path), _lock: Arc::new(lock) };
    Ok(Opened { journal, writer, boot })
}

/// The database has all of the log when this returns, and a new one begins.
fn take_up_log(path: &Path, database: &mut Database) -> Result<Log, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let damaged =
        |error: JournalError| OpenError::Corrupt { path: path.to_owned(), reason: error.to_string() };
    let applied = database.applied().map_err(damaged)?;
    let records = Log::read(path, applied).map_err(io)?;
    database.recover(&records).map_err(damaged)?;
    let last = records.last().map_or(applied, |record| record.sequence);
    Log::create(path, last, Some(SYNC_WITHIN)).map_err(io)
}

/// Locks the file beside the journal, and writes into it which process has it.
fn lock_file(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => return Err(io(source)),
    }
    lock.set_len(0).map_err(io)?;
    write!(lock, "{}", std::process::id()).map_err(io)?;
    Ok(lock)
}

/// The process of the node that has this journal open; `None` if there is none.
pub fn running_process(journal: &Path) -> io::Result<Option<u32>> {
    let mut lock = match File::open(beside(journal, ".lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match lock.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    text.parse().map(Some).map_err(io::Error::other)
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

fn connect(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// The file while it is being looked at.
struct Found<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl Found<'_> {
    fn prepare(&self, identity: Identity, fresh: bool) -> Result<Boot, OpenError> {
        if fresh || self.is_blank()? {
            self.create_schema(identity)?;
        } else {
            let found = self.check_schema()?;
            self.check_owner(identity)?;
            match found {
                1 => self.apply(&[FROM_1, FROM_2].concat())?,
                2 => self.apply(FROM_2)?,
                _ => {}
            }
        }
        let boot = self.last_boot()?;
        if boot == Boot::PowerLoss {
            self.check_pages()?;
        }
        self.set_meta("clean_stop", b"0")?;
        self.set_meta("machine_boot", machine_boot().as_bytes())?;
        // On disk before anything is served: else a power failure would look like a clean stop.
        self.get::<i64>("PRAGMA wal_checkpoint(PASSIVE)")?;
        sync(&wal_path(self.path)).map_err(|source| OpenError::Io { path: self.path.to_owned(), source })?;
        Ok(boot)
    }

    /// A crash between making the file and filling it leaves a database without tables.
    fn is_blank(&self) -> Result<bool, OpenError> {
        Ok(self.get::<i64>("SELECT count(*) FROM sqlite_master")? == 0)
    }

    fn create_schema(&self, identity: Identity) -> Result<(), OpenError> {
        self.apply(SCHEMA)?;
        self.set_owner(identity)
    }

    /// Changes the tables and writes down the version that they have then, together.
    fn apply(&self, statements: &str) -> Result<(), OpenError> {
        let apply = || {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute_batch(statements)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()
        };
        apply().map_err(|error| corrupt(self.path, &error))
    }

    /// The file's schema, one that this version can read or bring up to date.
    fn check_schema(&self) -> Result<i64, OpenError> {
        if self.get::<i64>("PRAGMA application_id")? != APPLICATION_ID {
            return Err(OpenError::Foreign(self.path.to_owned()));
        }
        match self.get("PRAGMA user_version")? {
            found @ 1..=SCHEMA_VERSION => Ok(found),
            found => Err(OpenError::Schema { path: self.path.to_owned(), found }),
        }
    }

    fn check_owner(&self, identity: Identity) -> Result<(), OpenError> {
        let other = |what: String| OpenError::OtherOwner { path: self.path.to_owned(), what };
        // Written right after the tables; missing only if that was interrupted.
        let (Some(db), Some(node)) = (self.meta("db")?, self.meta("node")?) else {
            return self.set_owner(identity);
        };
        if db != identity.db.as_bytes() {
            return Err(other("another market".to_owned()));
        }
        let own = <[u8; 8]>::try_from(node.as_slice()).map(u64::from_le_bytes);
        match own {
            Ok(node) if node == identity.node.0 => Ok(()),
            Ok(node) => Err(other(format!("node {node}"))),
            Err(_) => Err(self.damaged("unreadable node id".to_owned())),
        }
    }

    fn set_owner(&self, identity: Identity) -> Result<(), OpenError> {
        self.set_meta("db", identity.db.as_bytes())?;
        self.set_meta("node", &identity.node.0.to_le_bytes())
    }

    /// A process that dies takes nothing with it; a machine may. The kernel's boot id tells them apart.
    fn last_boot(&self) -> Result<Boot, OpenError> {
        Ok(match (self.meta("clean_stop")?, self.meta("machine_boot")?) {
            (None, _) | (_, None) => Boot::Whole,
            (Some(clean), _) if clean == b"1" => Boot::Whole,
            (_, Some(boot)) if !boot.is_empty() && boot == machine_boot().as_bytes() => Boot::Whole,
            _ => Boot::PowerLoss,
        })
    }

    fn check_pages(&self) -> Result<(), OpenError> {
        match self.get::<String>("PRAGMA quick_check(1)")? {
            answer if answer == "ok" => Ok(()),
            reason => Err(self.damaged(reason)),
        }
    }

    fn get<T: FromSql>(&self, sql: &str) -> Result<T, OpenError> {
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|error| corrupt(self.path, &error))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, OpenError> {
        meta(self.connection, key).map_err(|error| corrupt(self.path, &error))
    }

    fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), OpenError> {
        set_meta(self.connection, key, value).map_err(|error| corrupt(self.path, &error))
    }

    fn damaged(&self, reason: String) -> OpenError {
        OpenError::Corrupt { path: self.path.to_owned(), reason }
    }
}

fn machine_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn corrupt(path: &Path, error: &Error) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), reason: error.to_string() }
}

fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}
