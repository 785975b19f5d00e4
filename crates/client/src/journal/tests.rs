#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::channel::Completion;
use crate::ledger::TOKENS_MAX;
use crate::market::Done;
use atoma_types::message::Message as _;
use atoma_types::{Amount, Price, SecretKey, Status};

fn intent() -> Intent {
    let (kind, task, stack) = (Kind::Purchase, TaskId(1), None);
    Intent { label: "stack/1".into(), kind, task, stack, prepared: vec![1, 2, 3] }
}

#[tokio::test]
async fn nonces_never_repeat_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    journal.add_intent(&intent(), 5).await.unwrap();
    assert_eq!(journal.intents().await.unwrap(), vec![intent()]);
    let done = Done { bought: Some(Address::TWO), paid: Amount(9), gas_mist: -3, ..Done::default() };
    for _ in 0..2 {
        journal.fulfil_intent(&intent(), &done, 5).await.unwrap();
    }
    let spent = Spent { paid: Amount(9), gas_mist: -3, purchases: 1, ..Spent::default() };
    assert_eq!(journal.spent().await.unwrap(), spent);
    assert!(journal.intents().await.unwrap().is_empty());
    let first = journal.reserve_nonces(Address::TWO).await.unwrap();
    drop(journal);
    let again = Journal::open(&path).await.unwrap();
    let second = again.reserve_nonces(Address::TWO).await.unwrap();
    assert!(first.start == 1 && first.end <= second.start);
    assert!(again.reserve_nonces(Address::THREE).await.is_err());
}

const STACK: Address = Address::TWO;
const NODE: NodeId = NodeId(7);

fn row(n: u8) -> RequestRow {
    let units: u64 = n.into();
    let bounds = Bounds { input: units, output: units + 1, unseen: units + 2 };
    RequestRow {
        stack: STACK,
        node: NODE,
        request_hash: Hash32([n; 32]),
        max_units: Units(units),
        bounds,
        forward_price: None,
    }
}

fn receipt(n: u8) -> Signed<Receipt> {
    let zero = Hash32::ZERO;
    Receipt {
        db: Address::TWO,
        stack: STACK,
        node: NODE,
        request_hash: Hash32([n; 32]),
        response_hash: zero,
        input: 1,
        output: 2,
        units: Units(3),
        total_units: Units(u64::from(n) * 3),
        count: n.into(),
        root: zero,
        work: zero,
        replica_hash: zero,
        status: Status::Complete,
        finished_ms: 1,
    }
    .sign(&SecretKey::from_seed([1; 32]))
}

#[tokio::test]
async fn requests_survive_with_what_they_allow_and_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/journal.db");
    let journal = Journal::open(&path).await.unwrap();
    let all: Vec<_> = (1..=100).map(|n| journal.issued(row(n), None)).collect();
    futures::future::try_join_all(all).await.unwrap();
    journal.refused(row(9).request_hash).await.unwrap();
    journal.ended(STACK, NODE, "because".into(), Vec::new());
    journal.flush().await.unwrap();
    drop(journal);
    let history = Journal::open(&path).await.unwrap().history(STACK, NODE).await.unwrap();
    let expected = (1..=100).map(|n| {
        let RequestRow { request_hash, max_units, bounds, .. } = row(n);
        OpenRequest { request_hash, max_units, bounds, refused: n == 9, forward_price: None }
    });
    assert_eq!(history.open, expected.collect::<Vec<_>>());
    assert_eq!(history.ended.as_deref(), Some("because"));
}

#[tokio::test]
async fn settled_requests_are_forgotten_and_those_after_a_lost_receipt_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).await.unwrap();
    for n in 1..=4 {
        journal.issued(row(n), None).await.unwrap();
    }
    for n in [1, 2, 4] {
        journal.settled(receipt(n), None);
    }
    journal.flush().await.unwrap();
    let history = journal.history(STACK, NODE).await.unwrap();
    assert_eq!(history.receipts, [receipt(1), receipt(2)]);
    let RequestRow { request_hash, max_units, bounds, .. } = row(3);
    let third = OpenRequest { request_hash, max_units, bounds, refused: false, forward_price: None };
    let bounds = Bounds { input: 1, output: 2, unseen: 2 };
    let fourth = OpenRequest {
        request_hash: Hash32([4; 32]),
        max_units: Units(3),
        bounds,
        refused: false,
        forward_price: None,
    };
    assert_eq!(history.open, [third, fourth]);
}

#[tokio::test]
async fn a_voucher_is_written_with_the_request_that_carries_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).await.unwrap();
    let voucher = |count| {
        let (units, root) = (Units(count), Hash32::ZERO);
        Voucher { db: Address::TWO, stack: STACK, node: NODE, units, count, root }
            .sign(&SecretKey::from_seed([1; 32]))
    };
    let (one, two) = (journal.issued(row(1), Some(voucher(2))), journal.issued(row(2), Some(voucher(1))));
    futures::future::try_join(one, two).await.unwrap();
    journal.flush().await.unwrap();
    let kept = "SELECT group_concat(count) FROM vouchers";
    let file = Connection::open(dir.path().join("journal.db")).unwrap();
    assert_eq!(file.query_row(kept, [], |row| row.get::<_, String>(0)).unwrap(), "2");
}

#[tokio::test]
async fn whoever_waits_is_told_once_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    journal.issued(row(1), None).await.unwrap();
    let (told, paid) = Told::new(Completion::settled(receipt(1), Price(1)));
    journal.settled(receipt(1), Some(told));
    assert!(matches!(paid.await, Ok(Completion::Settled { .. })));
    assert!(journal.receipt_of(STACK, row(1).request_hash).await.unwrap().is_some());
    let (told, paid) = Told::new(Completion::Unpaid { reason: "because".into() });
    journal.ended(STACK, NODE, "because".into(), vec![told]);
    assert!(matches!(paid.await, Ok(Completion::Unpaid { .. })));
    assert_eq!(journal.history(STACK, NODE).await.unwrap().ended.as_deref(), Some("because"));
}

#[tokio::test]
async fn what_only_the_log_has_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    drop(Journal::open(&path).await.unwrap());
    // As a kill leaves it, before any of it is in the file; the last is half written.
    let _lock = lock_file(&path).await.unwrap();
    let mut log = Log::create(&path, 0, None).unwrap();
    let entries = [
        Kept::Request(row(1), None),
        Kept::Request(row(2), None),
        Kept::Receipt(Box::new(receipt(1))),
        Kept::Refused(row(2).request_hash),
        Kept::Ended { stack: STACK, node: NODE, reason: "because".into() },
    ];
    for entry in &entries {
        log.append(|bytes| bcs::serialize_into(bytes, entry).map_err(std::io::Error::other)).unwrap();
    }
    let file = OpenOptions::new().write(true).open(atoma_sqlite::beside(&path, "-log0")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    drop((log, _lock));
    for _ in 0..2 {
        let journal = Journal::open(&path).await.unwrap();
        let history = journal.history(STACK, NODE).await.unwrap();
        assert_eq!((history.receipts, history.ended), (vec![receipt(1)], None));
        let RequestRow { request_hash, max_units, bounds, .. } = row(2);
        assert_eq!(
            history.open,
            [OpenRequest { request_hash, max_units, bounds, refused: true, forward_price: None }]
        );
    }
}

#[tokio::test]
async fn older_files_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    let file = Connection::open(&path).unwrap();
    for (table, column, _) in ADDED {
        file.execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}")).unwrap();
    }
    let row = params![[1u8; 32], STACK.as_bytes()];
    file.execute("INSERT INTO requests VALUES (?, ?, 7, 5)", row).unwrap();
    drop((file, journal));
    let history = Journal::open(&path).await.unwrap().history(STACK, NODE).await.unwrap();
    let bounds = Bounds { input: TOKENS_MAX, output: TOKENS_MAX, unseen: TOKENS_MAX };
    let open = OpenRequest {
        request_hash: Hash32([1; 32]),
        max_units: Units(5),
        bounds,
        refused: false,
        forward_price: None,
    };
    assert_eq!(history.open, [open]);
}

#[tokio::test]
async fn only_one_may_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let _held = lock_file(&path).await.unwrap();
    let error = lock_file(&path).await.unwrap_err();
    assert!(error.to_string().contains("is in use by another atoma process"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let journal = Journal::open(&path).await.unwrap();
    journal.flush().await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
