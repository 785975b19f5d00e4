//! What a user must not forget, in one SQLite file: transactions before they are sent, nonces before they are
//! used, requests and vouchers before they are sent, refusals, receipts and endings before anybody is told how
//! a request was paid. Losing receipts is harmless (nodes keep theirs); losing the rest is not.
//!
//! What requests hand over is appended to a log, which makes it safe from a crash, and one thread brings the file up to
//! it, many entries a commit. Transactions and nonces have a commit of their own, which is on the disk when it is
//! acknowledged.

mod payments;
#[cfg(test)]
mod tests;
mod writer;

pub use payments::{Intent, Kind, Spent};

use crate::channel::Told;
use crate::ledger::{Bounds, OpenRequest};
use crate::market::MarketError;
use atoma_sqlite::rusqlite::{Connection, Error, OptionalExtension as _, Row, params};
use atoma_sqlite::{Log, Readers, Stopped, blocking};
use atoma_types::{Address, Hash32, NodeId, Price, Receipt, Signed, TaskId, Units, Voucher};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use writer::{Kept, Writer, WriterPlace};

/// Nonces that are set aside at once; a crash skips what is left of them.
const NONCE_BLOCK: u64 = 4_096;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that just ended may take to let go of the file.
const LOCK_LOOKS: u32 = 30;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS intents (
    label TEXT PRIMARY KEY, task INTEGER NOT NULL, prepared BLOB NOT NULL, created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS payments (
    label TEXT PRIMARY KEY, kind TEXT NOT NULL, stack BLOB, paid INTEGER NOT NULL, returned INTEGER NOT NULL,
    gas INTEGER NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS stacks (
    stack BLOB PRIMARY KEY, label TEXT NOT NULL UNIQUE, task INTEGER NOT NULL,
    state TEXT NOT NULL, next_nonce INTEGER NOT NULL, created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
    request_hash BLOB PRIMARY KEY, stack BLOB NOT NULL, node INTEGER NOT NULL, max_units INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_of ON requests (stack, node);
CREATE TABLE IF NOT EXISTS moves (
    request_hash BLOB PRIMARY KEY, price INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
    stack BLOB NOT NULL, node INTEGER NOT NULL, count INTEGER NOT NULL, receipt BLOB NOT NULL,
    PRIMARY KEY (stack, node, count)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouchers (
    stack BLOB NOT NULL, node INTEGER NOT NULL, count INTEGER NOT NULL, voucher BLOB NOT NULL,
    PRIMARY KEY (stack, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endings (
    stack BLOB NOT NULL, node INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (stack, node)
) STRICT, WITHOUT ROWID;
";

/// Columns that files of earlier versions lack.
const ADDED: [(&str, &str, &str); 7] = [
    ("intents", "kind", "ALTER TABLE intents ADD COLUMN kind TEXT NOT NULL DEFAULT 'purchase'"),
    ("intents", "stack", "ALTER TABLE intents ADD COLUMN stack BLOB"),
    (
        "requests",
        "input_max",
        "ALTER TABLE requests ADD COLUMN input_max INTEGER NOT NULL DEFAULT 4294967295",
    ),
    (
        "requests",
        "output_max",
        "ALTER TABLE requests ADD COLUMN output_max INTEGER NOT NULL DEFAULT 4294967295",
    ),
    (
        "requests",
        "unseen_max",
        "ALTER TABLE requests ADD COLUMN unseen_max INTEGER NOT NULL DEFAULT 4294967295",
    ),
    ("requests", "refused", "ALTER TABLE requests ADD COLUMN refused INTEGER NOT NULL DEFAULT 0"),
    ("requests", "forward_price", "ALTER TABLE requests ADD COLUMN forward_price INTEGER"),
];

/// The file could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot access {path}: {reason}")]
    Access { path: String, reason: String },
    #[error("{path} is in use by another atoma process; stop it, or use another folder")]
    InUse { path: String },
    #[error("the journal refused: {0}")]
    Database(String),
    #[error("the journal holds something unreadable: {0}")]
    Corrupt(String),
    #[error("the journal is closed")]
    Closed,
}

impl From<Error> for JournalError {
    fn from(error: Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<Stopped> for JournalError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Closed => Self::Closed,
            Stopped::Broken(reason) => Self::Database(reason.to_string()),
        }
    }
}

impl From<JournalError> for MarketError {
    fn from(error: JournalError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Where a stack is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackState {
    Open,
    /// The owner asked to close it; the rest comes back after the delay.
    Closing,
    Closed,
}

impl StackState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }

    fn parse(text: &str) -> Result<Self, JournalError> {
        match text {
            "open" => Ok(Self::Open),
            "closing" => Ok(Self::Closing),
            "closed" => Ok(Self::Closed),
            other => Err(JournalError::Corrupt(format!("stack state {other}"))),
        }
    }
}

/// A stack that was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackRow {
    pub stack: Address,
    /// Names its request key.
    pub label: String,
    pub task: TaskId,
    pub state: StackState,
}

/// A request about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    pub stack: Address,
    pub node: NodeId,
    pub request_hash: Hash32,
    pub max_units: Units,
    pub bounds: Bounds,
    /// Highest price at which another node of the stack may answer it; `None` if none may.
    pub forward_price: Option<Price>,
}

/// What is known of a channel.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order from count 1, without a gap.
    pub receipts: Vec<Signed<Receipt>>,
    /// Requests whose receipt is not among them.
    pub open: Vec<OpenRequest>,
    pub ended: Option<String>,
}

/// Room for what is decided under a lock, so that the order of decisions is the order on disk.
#[derive(Debug)]
pub(crate) struct MovePlace(WriterPlace);

impl MovePlace {
    /// Keeps that a request is another node's from now on, at that node's price: that is safe from a crash of this
    /// process when this returns.
    pub(crate) fn write(self, request_hash: Hash32, to: NodeId, price: Price) -> Result<(), JournalError> {
        self.0.keep(Kept::Moved { request_hash, to, price })
    }
}

/// The journal. Clones share the file.
#[derive(Clone, Debug)]
pub struct Journal {
    readers: Readers,
    writer: Writer,
}

impl Journal {
    /// Opens or creates the file, readable by its owner only. One process at a time has it: two would sign
    /// contradictory vouchers.
    pub async fn open(path: &Path) -> Result<Self, JournalError> {
        create_private(path).map_err(|error| access(path, &error))?;
        let lock = lock_file(path).await?;
        let file = path.to_owned();
        let (connection, log) = blocking(move || open(&file)).await?;
        Ok(Self { readers: Readers::new(path), writer: Writer::spawn(connection, log, path, lock)? })
    }

    /// Sees everything that was handed over before.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.flush().await?;
        self.readers.read(read).await
    }

    /// Stacks in the order of purchase.
    pub async fn stacks(&self) -> Result<Vec<StackRow>, JournalError> {
        let stack = |row: &Row<'_>| {
            Ok(StackRow {
                stack: address(&row.get::<_, Vec<u8>>("stack")?)?,
                label: row.get("label")?,
                task: TaskId(from_sql(row.get("task")?)?),
                state: StackState::parse(&row.get::<_, String>("state")?)?,
            })
        };
        let sql = "SELECT stack, label, task, state FROM stacks ORDER BY created_ms, rowid";
        self.read(move |connection| connection.prepare(sql)?.query_and_then([], stack)?.collect()).await
    }

    pub async fn set_stack_state(&self, stack: Address, state: StackState) -> Result<(), JournalError> {
        let sql = "UPDATE stacks SET state = ? WHERE stack = ?";
        let write = move |tx: &Connection| tx.execute(sql, params![state.as_str(), stack.as_bytes()]);
        self.writer.durably(write).await.map(drop)
    }

    /// Sets nonces aside for this process; none is ever given twice.
    pub async fn reserve_nonces(&self, stack: Address) -> Result<Range<u64>, JournalError> {
        let block = to_sql(NONCE_BLOCK)?;
        let sql = "UPDATE stacks SET next_nonce = next_nonce + ? WHERE stack = ? RETURNING next_nonce";
        let write = move |tx: &Connection| {
            tx.query_row(sql, params![block, stack.as_bytes()], |row| row.get(0)).optional()
        };
        let end = self.writer.durably(write).await?;
        let end = end.ok_or_else(|| JournalError::Corrupt(format!("stack {stack} is not in it")))?;
        let end = from_sql(end)?;
        Ok(end.saturating_sub(NONCE_BLOCK)..end)
    }

    pub async fn history(&self, stack: Address, node: NodeId) -> Result<History, JournalError> {
        let node = to_sql(node.0)?;
        self.read(move |connection| history(connection, stack, node)).await
    }

    /// The receipt of a request, if it was settled, and the price of who answered, if that is not whom it was sent
    /// to.
    pub async fn receipt_of(
        &self,
        stack: Address,
        request_hash: Hash32,
    ) -> Result<Option<(Signed<Receipt>, Option<Price>)>, JournalError> {
        let sql =
            "SELECT receipt FROM receipts WHERE stack = ? AND instr(receipt, ?) > 0 ORDER BY count DESC";
        let moved = "SELECT price FROM moves WHERE request_hash = ?";
        let read = move |connection: &Connection| {
            let mut rows = connection.prepare(sql)?;
            let holding = params![stack.as_bytes(), request_hash.as_bytes()];
            let receipts = rows.query_and_then(holding, receipt)?.collect::<Result<Vec<_>, _>>()?;
            let price: Option<i64> =
                connection.query_row(moved, [request_hash.as_bytes()], |row| row.get(0)).optional()?;
            Ok((receipts, price.map(from_sql).transpose()?.map(Price)))
        };
        let (receipts, price) = self.read(read).await?;
        let found = receipts.into_iter().find(|receipt| receipt.message.request_hash == request_hash);
        Ok(found.map(|receipt| (receipt, price)))
    }

    /// A stack's receipts, newest first.
    pub async fn newest_receipts(
        &self,
        stack: Address,
        limit: u32,
    ) -> Result<Vec<Signed<Receipt>>, JournalError> {
        let sql = "SELECT receipt FROM receipts WHERE stack = ? ORDER BY count DESC LIMIT ?";
        let read = move |connection: &Connection| {
            connection.prepare(sql)?.query_and_then(params![stack.as_bytes(), limit], receipt)?.collect()
        };
        self.read(read).await
    }

    /// Keeps a request and the voucher that travels with it; returns when they are safe from a crash of this
    /// process.
    pub async fn issued(
        &self,
        request: RequestRow,
        voucher: Option<Signed<Voucher>>,
    ) -> Result<(), JournalError> {
        self.writer.keep(Kept::Request(request, voucher.map(Box::new))).await
    }

    /// Keeps that a request must cost nothing; returns when that is safe from a crash of this process.
    pub async fn refused(&self, request_hash: Hash32) -> Result<(), JournalError> {
        self.writer.keep(Kept::Refused(request_hash)).await
    }

    /// Waits for room for [what is decided later](MovePlace).
    pub(crate) async fn move_place(&self) -> Result<MovePlace, JournalError> {
        Ok(MovePlace(self.writer.place().await?))
    }

    /// Keeps a voucher; returns when it is safe from a crash of this process.
    pub async fn vouched(&self, voucher: Signed<Voucher>) -> Result<(), JournalError> {
        self.writer.keep(Kept::Voucher(Box::new(voucher))).await
    }

    /// Keeps a settled receipt, and then tells who waits for it.
    pub(crate) fn settled(&self, receipt: Signed<Receipt>, told: Option<Told>) {
        self.writer.keep_now(Kept::Receipt(Box::new(receipt)), told);
    }

    /// Keeps why a channel ended, and then tells who waits for it.
    pub(crate) fn ended(&self, stack: Address, node: NodeId, reason: String, told: Vec<Told>) {
        self.writer.keep_now(Kept::Ended { stack, node, reason }, told);
    }

    /// Returns when everything handed over so far is in the file.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.writer.flush().await
    }
}

/// Creates the file with mode 0600 if it is missing; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn access(path: &Path, error: &std::io::Error) -> JournalError {
    JournalError::Access { path: path.display().to_string(), reason: error.to_string() }
}

/// Takes the lock file beside the journal.
async fn lock_file(path: &Path) -> Result<File, JournalError> {
    let access = |error: std::io::Error| access(path, &error);
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options.open(name).map_err(access)?;
    for _ in 0..LOCK_LOOKS {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(access(error)),
        }
    }
    Err(JournalError::InUse { path: path.display().to_string() })
}

/// The connection that writes, with all of the log that an earlier run left, and a new log.
fn open(path: &Path) -> Result<(Connection, Log), JournalError> {
    let io = |error: std::io::Error| access(path, &error);
    let mut connection = connect(path)?;
    let applied = writer::applied(&connection)?;
    let records = Log::read(path, applied).map_err(io)?;
    writer::recover(&mut connection, &records)?;
    let last = records.last().map_or(applied, |record| record.sequence);
    let log = Log::create(path, last, None).map_err(io)?;
    Ok((connection, log))
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    for (table, column, statement) in ADDED {
        let known = "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = ?";
        if connection.query_row(known, [table, column], |row| row.get::<_, i64>(0))? == 0 {
            connection.execute_batch(statement)?;
        }
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

fn history(connection: &Connection, stack: Address, node: i64) -> Result<History, JournalError> {
    let channel = params![stack.as_bytes(), node];
    let mut open = connection.prepare("SELECT * FROM requests WHERE stack = ? AND node = ?")?;
    let ended = "SELECT reason FROM endings WHERE stack = ? AND node = ?";
    let mut history = History {
        receipts: Vec::new(),
        open: open.query_and_then(channel, open_request)?.collect::<Result<_, _>>()?,
        ended: connection.query_row(ended, channel, |row| row.get(0)).optional()?,
    };
    let in_order = "SELECT receipt FROM receipts WHERE stack = ? AND node = ? ORDER BY count";
    let mut receipts = connection.prepare(in_order)?;
    for (receipt, next) in receipts.query_and_then(channel, receipt)?.zip(1u64..) {
        let receipt = receipt?;
        if receipt.message.count == next {
            history.receipts.push(receipt);
        } else {
            // One before it was lost. The node gives both again.
            history.open.push(checked_before(&receipt.message));
        }
    }
    Ok(history)
}

fn receipt(row: &Row<'_>) -> Result<Signed<Receipt>, JournalError> {
    let corrupt = |error: &dyn std::fmt::Display| JournalError::Corrupt(error.to_string());
    let bytes = row.get_ref("receipt")?.as_blob().map_err(|error| corrupt(&error))?;
    bcs::from_bytes(bytes).map_err(|error| corrupt(&error))
}

fn open_request(row: &Row<'_>) -> Result<OpenRequest, JournalError> {
    let number = |column| from_sql(row.get(column)?);
    Ok(OpenRequest {
        request_hash: Hash32(row.get("request_hash")?),
        max_units: Units(number("max_units")?),
        bounds: Bounds {
            input: number("input_max")?,
            output: number("output_max")?,
            unseen: number("unseen_max")?,
        },
        refused: row.get("refused")?,
        forward_price: row.get::<_, Option<i64>>("forward_price")?.map(from_sql).transpose()?.map(Price),
    })
}

/// The request of a receipt that was settled: it may cost what it did.
fn checked_before(receipt: &Receipt) -> OpenRequest {
    let Receipt { request_hash, units, input, output, .. } = *receipt;
    let bounds = Bounds { input, output, unseen: output };
    OpenRequest { request_hash, max_units: units, bounds, refused: false, forward_price: None }
}

fn to_sql(value: u64) -> Result<i64, JournalError> {
    i64::try_from(value).map_err(|_| JournalError::Corrupt(format!("{value} is out of range")))
}

fn from_sql(value: i64) -> Result<u64, JournalError> {
    u64::try_from(value).map_err(|_| JournalError::Corrupt(format!("{value} is out of range")))
}

fn address(bytes: &[u8]) -> Result<Address, JournalError> {
    Address::from_bytes(bytes).map_err(|error| JournalError::Corrupt(error.to_string()))
}
