#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::ledger::{Ledger, Limits, Now, Usage};
use atoma_sqlite::rusqlite::Connection;
use atoma_sqlite::{Log, beside};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::{NodeId, Price, RequestAuth, SecretKey, Status, TaskId, Units};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const BYTES_MAX: u64 = 1 << 20;

fn identity() -> Identity {
    Identity { db: Address::TWO, node: NodeId(1) }
}

async fn open(path: &Path) -> Opened {
    Journal::open(path, identity(), BYTES_MAX).await.unwrap()
}

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("journal.sqlite")
}

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

fn terms() -> Terms {
    Terms {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        task: TaskId(1),
        request_key: key().public_key(),
        weights: UnitWeights::default(),
        price: Price(1),
    }
}

fn channel() -> Entry {
    Entry::Channel { terms: terms(), settle_until_ms: u64::MAX }
}

fn limits() -> Limits {
    Limits {
        granted: Units(1_000_000),
        grant_nonce: 1,
        ends_ms: u64::MAX,
        settle_until_ms: u64::MAX,
        closed: false,
        settled_units: Units::ZERO,
        settled_count: 0,
    }
}

fn auth(nonce: u64) -> RequestAuth {
    RequestAuth {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        hops: 0,
        nonce,
        body_hash: Hash32::ZERO,
        max_units: Units(10),
        expires_ms: 1_000,
    }
}

/// Serves one request in memory and returns its receipt.
fn serve(ledger: &mut Ledger, nonce: u64) -> Signed<Receipt> {
    let ticket = ledger.admit(&auth(nonce), Now { wall_ms: 0, chain_ms: 0 }).unwrap();
    let usage = Usage {
        input: 1,
        output: 2,
        response_hash: Hash32::ZERO,
        work: Hash32::ZERO,
        status: Status::Complete,
        finished_ms: 1,
    };
    let receipt = ledger.complete(&ticket, usage, &key()).unwrap();
    let voucher = Voucher {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        units: ledger.total_units(),
        count: ledger.count(),
        root: ledger.root(),
    };
    ledger.acknowledge(&voucher.sign(&key())).unwrap();
    receipt
}

fn full(bytes: usize) -> Option<Box<FullRecord>> {
    let authorization = Authorization { auth: auth(0).sign(&key()), voucher: None, grants: Vec::new() };
    Some(Box::new(FullRecord {
        authorization,
        body: Bytes::from(vec![0; bytes]),
        response: vec![1; bytes],
        prompt_ids: vec![1, 2],
        output_ids: vec![vec![3]],
    }))
}

#[tokio::test]
async fn what_was_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(terms(), limits());
    {
        let opened = open(&path(&dir)).await;
        let journal = opened.journal;
        journal.write(channel()).await.unwrap();
        for nonce in [5, u64::MAX, 6] {
            let request_hash = auth(nonce).signed_hash();
            let stack = Address::THREE;
            journal.write(Entry::Admitted { stack, nonce, request_hash, expires_ms: 1 }).await.unwrap();
            let receipt = serve(&mut ledger, nonce);
            journal.write(Entry::Receipt { receipt, full: full(10) }).await.unwrap();
            journal.write(Entry::Voucher(ledger.voucher().unwrap().clone())).await.unwrap();
        }
        journal.write(Entry::Prepared { id: Hash32::ZERO, transaction: vec![1, 2] }).await.unwrap();
        journal.write(Entry::Prepared { id: Hash32::of(b"1"), transaction: vec![3] }).await.unwrap();
        journal.write(Entry::Finished { id: Hash32::ZERO, outcome: "executed".into() }).await.unwrap();
        journal.write(Entry::Cursor("here".into())).await.unwrap();
        // No orderly close: as if killed.
        drop(opened.writer);
    }
    let opened = open(&path(&dir)).await;
    assert_eq!(opened.boot, Boot::Whole);
    let mut channels = opened.journal.channels().await.unwrap();
    let kept = channels.pop().unwrap();
    assert_eq!((kept.terms, kept.settle_until_ms, channels.len()), (terms(), u64::MAX, 0));
    let restored = Ledger::restore(terms(), limits(), kept.history).unwrap();
    assert_eq!((restored.root(), restored.voucher()), (ledger.root(), ledger.voucher()));
    assert!(restored.clone().admit(&auth(u64::MAX), Now { wall_ms: 0, chain_ms: 0 }).is_err());
    assert_eq!(opened.journal.receipts_from(Address::THREE, 3, 64).await.unwrap().len(), 1);
    assert_eq!(opened.journal.cursor().await.unwrap().as_deref(), Some("here"));
    assert_eq!(opened.journal.pending().await.unwrap().len(), 1);
    opened.journal.write(Entry::Closed { stack: Address::THREE }).await.unwrap();
    assert!(opened.journal.channels().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_closed_channel_that_comes_back_has_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&path(&dir)).await;
    let journal = &opened.journal;
    assert!(journal.channel(Address::THREE).await.unwrap().is_none());
    let mut ledger = Ledger::new(terms(), limits());
    journal.write(channel()).await.unwrap();
    let receipt = serve(&mut ledger, 1);
    journal.write(Entry::Receipt { receipt, full: None }).await.unwrap();
    journal.write(Entry::Closed { stack: Address::THREE }).await.unwrap();
    let kept = journal.channel(Address::THREE).await.unwrap().unwrap();
    assert!(kept.closed && kept.history.receipts.len() == 1);

    journal.write(channel()).await.unwrap();
    let [kept] = &journal.channels().await.unwrap()[..] else { panic!("not one channel") };
    assert!(!kept.closed && kept.history.receipts.len() == 1);
}

#[tokio::test]
async fn a_journal_of_the_first_schema_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let Opened { journal, writer, .. } = open(&path).await;
    journal.write(channel()).await.unwrap();
    journal.close(writer).await.unwrap();
    let old = Connection::open(&path).unwrap();
    let back =
        "DROP TABLE forwards; ALTER TABLE channels DROP COLUMN settle_until_ms; PRAGMA user_version = 1;";
    old.execute_batch(back).unwrap();
    drop(old);

    let other = Identity { node: NodeId(2), ..identity() };
    assert!(Journal::open(&path, other, BYTES_MAX).await.is_err());
    for settle_until_ms in [0, u64::MAX] {
        let Opened { journal, writer, .. } = open(&path).await;
        let kept = journal.channel(Address::THREE).await.unwrap().unwrap();
        assert_eq!((kept.terms, kept.settle_until_ms), (terms(), settle_until_ms));
        journal.write(channel()).await.unwrap();
        journal.close(writer).await.unwrap();
    }
}

#[tokio::test]
async fn others_can_read_none_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    // As a process with another umask may have left them.
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let file = dir.path().join(name);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let opened = open(&path).await;
    opened.journal.write(channel()).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn many_writers_share_commits_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&path(&dir)).await;
    let mut ledger = Ledger::new(terms(), limits());
    for nonce in 0..300 {
        let slot = opened.journal.slot().await.unwrap();
        let receipt = serve(&mut ledger, nonce);
        slot.send(Entry::Receipt { receipt, full: None }).unwrap();
    }
    let receipts = opened.journal.receipts_from(Address::THREE, 1, 1_000).await.unwrap();
    assert_eq!(
        receipts.iter().map(|receipt| receipt.message.count).collect::<Vec<_>>(),
        (1..=300).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn kept_records_stay_within_their_bound() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&path(&dir)).await;
    let mut ledger = Ledger::new(terms(), limits());
    for nonce in 0..40 {
        let receipt = serve(&mut ledger, nonce);
        opened.journal.write(Entry::Receipt { receipt, full: full(50_000) }).await.unwrap();
    }
    opened.journal.queue.flush().await.unwrap();
    let sum = "SELECT sum(length(body) + length(response)) FROM records";
    let file = Connection::open(path(&dir)).unwrap();
    let bytes: i64 = file.query_row(sum, [], |row| row.get(0)).unwrap();
    assert!(u64::try_from(bytes).unwrap() <= BYTES_MAX, "{bytes}");
    assert_eq!(opened.journal.receipts_from(Address::THREE, 1, 100).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_failed_write_ends_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&path(&dir)).await;
    let mut ledger = Ledger::new(terms(), limits());
    let receipt = serve(&mut ledger, 1);
    let row = || Entry::Receipt { receipt: receipt.clone(), full: None };
    opened.journal.write(row()).await.unwrap();
    // Nobody waits for the database to take it.
    opened.journal.write(row()).await.unwrap();
    assert!(matches!(opened.journal.receipts_from(Address::THREE, 1, 1).await, Err(JournalError::Write(_))));
    assert!(matches!(opened.journal.write(Entry::Cursor(String::new())).await, Err(JournalError::Write(_))));
}

#[tokio::test]
async fn only_one_node_opens_a_journal_and_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let opened = open(&path).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Journal::open(&path, identity(), BYTES_MAX).await.err().unwrap();
    assert!(matches!(again, OpenError::InUse(_)), "{again}");
    let (journal, writer) = (opened.journal, opened.writer);
    journal.close(writer).await.unwrap();
    for other in [Identity { node: NodeId(2), ..identity() }, Identity { db: Address::THREE, ..identity() }] {
        let error = Journal::open(&path, other, BYTES_MAX).await.err().unwrap();
        assert!(matches!(error, OpenError::OtherOwner { .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[tokio::test]
async fn foreign_and_damaged_files_are_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a database, but long enough to have a header").unwrap();
    let error = Journal::open(&text, identity(), BYTES_MAX).await.err().unwrap();
    assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    let damaged = dir.path().join("damaged.sqlite");
    std::fs::write(&damaged, b"SQLite format 3\0 and then nonsense, nonsense, nonsense").unwrap();
    let error = Journal::open(&damaged, identity(), BYTES_MAX).await.err().unwrap();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    let missing = dir.path().join("no/such/folder/journal.sqlite");
    let error = Journal::open(&missing, identity(), BYTES_MAX).await.err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_power_failure_is_told_from_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let opened = open(&path).await;
    // As if the machine had been another one when the journal was last open.
    let other = "UPDATE meta SET value = x'00' WHERE key = 'machine_boot'";
    Connection::open(&path).unwrap().execute(other, []).unwrap();
    drop(opened);
    let opened = open(&path).await;
    assert_eq!(opened.boot, Boot::PowerLoss);
    let (journal, writer) = (opened.journal, opened.writer);
    journal.close(writer).await.unwrap();
    assert_eq!(open(&path).await.boot, Boot::Whole);
}

#[tokio::test]
async fn a_run_is_marked_on_disk_before_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&path(&dir)).await;
    opened.journal.close(opened.writer).await.unwrap();
    let opened = open(&path(&dir)).await;
    // The file without its log: what a power failure is sure to leave.
    let copy = dir.path().join("copy.sqlite");
    std::fs::copy(path(&dir), &copy).unwrap();
    let clean = read::meta(&Connection::open(copy).unwrap(), "clean_stop").unwrap().unwrap();
    assert_eq!(clean, b"0");
    drop(opened);
}

#[tokio::test]
async fn what_only_the_log_has_comes_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir);
    let opened = open(&path).await;
    opened.journal.write(channel()).await.unwrap();
    let Opened { journal, writer, .. } = opened;
    journal.close(writer).await.unwrap();
    // As a kill leaves it: entries in the log, the last half written, and a database that has none of them.
    let applied = {
        let database = Connection::open(&path).unwrap();
        read::meta(&database, "log_applied").unwrap().unwrap()
    };
    let applied = u64::from_le_bytes(applied.try_into().unwrap());
    let mut ledger = Ledger::new(terms(), limits());
    let mut log = Log::create(&path, applied, None).unwrap();
    for nonce in 1..=3 {
        let (stack, request_hash) = (Address::THREE, auth(nonce).signed_hash());
        let entries = [
            Entry::Admitted { stack, nonce, request_hash, expires_ms: 1 },
            Entry::Receipt { receipt: serve(&mut ledger, nonce), full: full(100) },
            Entry::Voucher(ledger.voucher().unwrap().clone()),
        ];
        for entry in entries {
            log.append(|bytes| entry.log(bytes)).unwrap();
        }
    }
    drop(log);
    let file = std::fs::OpenOptions::new().write(true).open(beside(&path, "-log0")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    for _ in 0..2 {
        let opened = open(&path).await;
        let [kept] = &opened.journal.channels().await.unwrap()[..] else { panic!("not one channel") };
        assert_eq!((kept.history.nonces.len(), kept.history.receipts.len()), (3, 3));
        assert_eq!(kept.history.voucher.as_ref().unwrap().message.count, 2);
        drop(opened);
    }
    let records = "SELECT count(*) FROM records WHERE length(body) = 100";
    let records: i64 = Connection::open(&path).unwrap().query_row(records, [], |row| row.get(0)).unwrap();
    assert_eq!(records, 3);
}
