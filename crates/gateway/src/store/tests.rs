//! The same on a file and on PostgreSQL.

use super::*;
use crate::keys::{KeyId, NewKey};
use atoma_client::channel::Sent;
use atoma_sqlite::Log;
use atoma_types::message::Message as _;
use atoma_types::{Address, Amount, Hash32, NodeId, Price, Receipt, SecretKey, Signed, Status, Units};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

#[path = "../../tests/it/postgres.rs"]
mod postgres;

/// What memory would have of the leases.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<PurseId, i128>>);

impl Correct for Memory {
    fn correct(&self, purse: PurseId, delta: i128) {
        *self.0.lock().unwrap().entry(purse).or_default() += delta;
    }
}

/// A file, and a database of PostgreSQL where that is installed.
async fn databases() -> Vec<(Database, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let mut databases = vec![(Database::File(dir.path().join("keys.db")), Some(dir))];
    databases.extend(postgres::fresh_database().await.map(|url| (Database::Postgres(url), None)));
    databases
}

async fn ledger(store: &Store, name: &str) -> (Ledger, Vec<Reservation>, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let (ledger, reservations) = Ledger::open(store, Some(name), None, memory.clone()).await.unwrap();
    (ledger, reservations, memory)
}

fn receipt(units: u64) -> Signed<Receipt> {
    let hash = Hash32::ZERO;
    Receipt {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        request_hash: Hash32::of(&units.to_le_bytes()),
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

fn payers(key: KeyId) -> Payers {
    Payers { key, account: None, purses: PurseKind::Key.bit(), day: 0 }
}

fn purse(key: KeyId) -> PurseId {
    PurseId { kind: PurseKind::Key, owner: key.0, day: 0 }
}

fn reservation(id: ReservationId, key: KeyId, most: u64) -> Reservation {
    let request_hash = Hash32::of(&most.to_le_bytes());
    let sent = Sent { stack: Address::THREE, node: NodeId(1), request_hash, price: Price(7) };
    Reservation { id, payers: payers(key), most: Amount(most), model: "m".into(), sent }
}

fn paid(reservation: ReservationId, key: KeyId, cost: u64) -> UsageRow {
    let (cost, receipt) = (Amount(cost), receipt(cost));
    let (payers, price) = (payers(key), Price(7));
    UsageRow { reservation, payers, at_ms: cost.0, model: "m".into(), price, paid: cost, cost, receipt }
}

async fn lease(ledger: &Ledger, key: KeyId, need: u64) -> Amount {
    let want = Want { purse: purse(key), need: Amount(need), cap: None };
    ledger.lease(vec![want]).await.unwrap()[0].amount
}

/// Cap, spent and leased.
async fn money(store: &Store, key: KeyId) -> (Option<u64>, u64, u64) {
    let row = sqlx::query("SELECT cap, spent, leased FROM purses WHERE kind = 0 AND owner = $1 AND day = 0")
        .bind(key.0)
        .fetch_one(&store.pool)
        .await
        .unwrap();
    (row.maybe("cap").unwrap(), row.number("spent").unwrap(), row.number("leased").unwrap())
}

async fn new_key(store: &Store, budget: Option<u64>) -> KeyId {
    let new = NewKey { budget: budget.map(Amount), ..NewKey::default() };
    store.create_key(new).await.unwrap().id
}

#[tokio::test]
async fn what_is_set_aside_is_there_without_the_process_that_did_it() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let key = new_key(&store, None).await;
        let (first, none, _) = ledger(&store, "one").await;
        assert_eq!(none, []);
        lease(&first, key, 1_000).await;
        let ids = [(); 4].map(|()| first.new_reservation());
        let all = ids.map(|id| first.reserve(reservation(id, key, 100), 0));
        futures::future::try_join_all(all).await.unwrap();
        first.reserve(reservation(ids[0], key, 200), 0).await.unwrap();
        first.record(paid(ids[0], key, 150)).await;
        first.release(ids[1]).await;
        first.flush().await.unwrap();
        // The next process with this name has what was set aside, and leases no more than that.
        let (second, kept, _) = ledger(&store, "one").await;
        assert_eq!(kept, [reservation(ids[2], key, 100), reservation(ids[3], key, 100)]);
        assert_eq!(money(&store, key).await, (None, 150, 200));
        assert!(!ids.contains(&second.new_reservation()));
        // What the first one still writes counts once.
        second.record(paid(ids[2], key, 70)).await;
        second.flush().await.unwrap();
        second.record(paid(ids[2], key, 70)).await;
        second.flush().await.unwrap();
        assert_eq!(money(&store, key).await, (None, 220, 130));
        assert!(matches!(first.flush().await, Err(StoreError::Fenced | StoreError::Superseded)));
    }
}

#[tokio::test]
async fn leases_together_never_exceed_the_cap_and_shrink_towards_it() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let key = new_key(&store, Some(1_000)).await;
        let (one, _, _) = ledger(&store, "one").await;
        let (two, _, _) = ledger(&store, "two").await;
        let first = lease(&one, key, 10).await;
        assert_eq!(first, Amount(125));
        let mut sum = first.0;
        let mut last = 125;
        for turn in 0..1_000 {
            let from = if turn % 2 == 0 { &two } else { &one };
            let amount = lease(from, key, 10).await.0;
            if amount == 0 {
                break;
            }
            assert!((10..=last).contains(&amount));
            (sum, last) = (sum + amount, amount);
        }
        assert!((991..=1_000).contains(&sum), "{sum}");
        assert_eq!(money(&store, key).await, (Some(1_000), 0, sum));
        // The last coin goes to whoever needs no more than that.
        assert_eq!(lease(&one, key, 1_000 - sum).await, Amount(1_000 - sum));
        assert_eq!(lease(&two, key, 1).await, Amount::ZERO);
        one.give_back(vec![(purse(key), Amount(125))]).await;
        one.flush().await.unwrap();
        assert_eq!(lease(&two, key, 125).await, Amount(125));
    }
}

#[tokio::test]
async fn a_silent_process_loses_its_idle_leases_and_spends_nothing_of_them() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let key = new_key(&store, Some(1_000)).await;
        let (silent, _, memory) = ledger(&store, "silent").await;
        let (other, _, _) = ledger(&store, "other").await;
        let held = lease(&silent, key, 800).await.0;
        let id = silent.new_reservation();
        silent.reserve(reservation(id, key, 300), silent.generation()).await.unwrap();
        assert_eq!(lease(&other, key, 400).await, Amount::ZERO);
        // Its time is over.
        sqlx::query("UPDATE processes SET expires_ms = 1 WHERE name = 'silent'")
            .execute(&store.pool)
            .await
            .unwrap();
        other.reap().await.unwrap();
        assert_eq!(money(&store, key).await, (Some(1_000), 0, 300));
        assert_eq!(lease(&other, key, 700).await, Amount(700));
        // It is alive after all: what it wants to set aside of what it lost is refused, what it paid is kept.
        let late = silent.new_reservation();
        silent.record(paid(id, key, 120)).await;
        assert!(silent.reserve(reservation(late, key, 100), 0).await.is_err());
        silent.flush().await.unwrap();
        assert_eq!(memory.0.lock().unwrap()[&purse(key)], 300 - i128::from(held));
        assert_eq!(silent.generation(), 1);
        assert!(matches!(silent.reserve(reservation(late, key, 100), 0).await, Err(StoreError::Fenced)));
        assert_eq!(money(&store, key).await, (Some(1_000), 120, 880));
        silent.reserve(reservation(late, key, 100), 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_was_away_has_everything_when_it_is_back() {
    let Some(url) = postgres::fresh_database().await else { return };
    let store = Store::open(&Database::Postgres(url.clone())).await.unwrap();
    let key = new_key(&store, Some(1_000)).await;
    let (ledger, _, memory) = ledger(&store, "one").await;
    let leased = lease(&ledger, key, 400).await.0;
    let ids = [(); 3].map(|()| ledger.new_reservation());
    ledger.reserve(reservation(ids[0], key, 100), 0).await.unwrap();
    ledger.reserve(reservation(ids[1], key, 100), 0).await.unwrap();
    postgres::set_away(&url, true).await;
    ledger.record(paid(ids[0], key, 60)).await;
    ledger.release(ids[1]).await;
    assert!(ledger.reserve(reservation(ids[2], key, 50), ledger.generation()).await.is_err());
    let want = Want { purse: purse(key), need: Amount(10), cap: None };
    assert!(ledger.lease(vec![want]).await.is_err());
    // What is given back now and not written is in use again.
    ledger.give_back(vec![(purse(key), Amount(5))]).await;
    assert!(ledger.flush().await.is_err());
    postgres::set_away(&url, false).await;
    let mut is_back = false;
    for _ in 0..600 {
        is_back = ledger.flush().await.is_ok();
        if is_back {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_back);
    assert_eq!(money(&store, key).await, (Some(1_000), 60, leased - 60));
    assert_eq!(memory.0.lock().unwrap()[&purse(key)], 5);
    assert_eq!(store.key_usage(key).await.unwrap().reserved, 0);
    ledger.reserve(reservation(ids[2], key, 50), ledger.generation()).await.unwrap();
}

#[tokio::test]
async fn totals_are_the_sums_and_older_files_get_them() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let (one, two) = (new_key(&store, None).await, new_key(&store, Some(100_000)).await);
        let (ledger, _, _) = ledger(&store, "one").await;
        lease(&ledger, one, 50_000).await;
        lease(&ledger, two, 50_000).await;
        for n in 1..=300 {
            let (id, key) = (ledger.new_reservation(), if n % 3 == 0 { two } else { one });
            ledger.reserve(reservation(id, key, 300), 0).await.unwrap();
            ledger.record(paid(id, key, n)).await;
        }
        ledger.flush().await.unwrap();
        let of_one =
            Totals { requests: 200, input_tokens: 200, output_tokens: 400, units: 30_000, cost: 30_000 };
        let usage = store.key_usage(one).await.unwrap();
        assert_eq!((usage.totals, usage.spent, usage.reserved, usage.budget), (of_one, 30_000, 0, None));
        assert_eq!(store.totals(two).await.unwrap().cost, 15_150);
        assert!(store.totals(KeyId(9)).await.is_err());
        let filter = |from, to| UsageFilter {
            key: Some(one.0),
            from_ms: Some(from),
            to_ms: Some(to),
            model: Some("m".into()),
            ..UsageFilter::default()
        };
        let sums = store.sums(&filter(10, 20)).await.unwrap();
        assert_eq!((sums.requests, sums.cost), (7, 10 + 11 + 13 + 14 + 16 + 17 + 19));
        let entries = store.usage(&filter(10, 20), 3).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.cost).collect::<Vec<_>>(), [19, 17, 16]);
        let after = UsageFilter { after: Some(0), ..filter(0, 1_000) };
        assert_eq!(store.usage(&after, 2).await.unwrap().iter().map(|one| one.cost).sum::<u64>(), 3);
        let hash = Hash32::of(&19u64.to_le_bytes());
        assert_eq!(store.usage_of(hash, None, Some(one)).await.unwrap().unwrap().cost, 19);
        assert!(store.usage_of(hash, Some(1), Some(two)).await.unwrap().is_none());
        let books = store.books().await.unwrap();
        assert_eq!((books.charged_to_operator, books.paid_to_nodes, books.requests), (45_150, 45_150, 300));
    }
}

#[tokio::test]
async fn deposits_are_credited_once_whenever_their_sender_is_known() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let limits = Limits::default();
        let account = store.create_account(None, Some(Address::TWO), limits).await.unwrap();
        assert!(matches!(
            store.create_account(None, Some(Address::TWO), limits).await,
            Err(StoreError::AddressTaken)
        ));
        let transfer = |digest: &str, sender, amount| Transfer {
            digest: digest.into(),
            sender,
            amount: Amount(amount),
            checkpoint: 7,
        };
        let seen = [transfer("a", Address::TWO, 100), transfer("b", Address::THREE, 30)];
        store.deposit(&seen, Some("first")).await.unwrap();
        // Once more, as after a crash, and by another process.
        let (again, other) =
            tokio::join!(store.deposit(&seen, Some("second")), store.deposit(&seen, Some("second")));
        again.and(other).unwrap();
        assert_eq!(store.cursor().await.unwrap().unwrap(), "second");
        assert_eq!(store.account_money(account).await.unwrap().credited, 100);
        assert_eq!(store.books().await.unwrap().unclaimed, 30);
        store.add_address(account, Address::THREE).await.unwrap();
        for _ in 0..2 {
            store.credit_deposits().await.unwrap();
            assert_eq!(store.account_money(account).await.unwrap().credited, 130);
        }
        let deposits = store.deposits(account, 10).await.unwrap();
        assert_eq!(deposits.iter().map(|one| one.digest.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let books = store.books().await.unwrap();
        assert_eq!((books.credited, books.unclaimed, books.owed_to_accounts), (130, 0, 130));
    }
}

#[tokio::test]
async fn a_new_password_and_a_disabled_account_end_sessions() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let (login, hash) = ("7".to_owned(), Hash32::of(b"token"));
        let made = async |login: &str| {
            let named = Some((login.to_owned(), "first".to_owned()));
            store.create_account(named, None, Limits::default()).await.unwrap()
        };
        let (one, two) = (made(&login).await, made("other").await);
        let open = async |account| store.open_session(account, hash, now_ms() + 60_000).await.unwrap();
        open(one).await;
        assert_eq!(store.session(hash).await.unwrap(), Some(one));
        store.set_password(one, "second".into()).await.unwrap();
        assert_eq!(store.session(hash).await.unwrap(), None);
        let row = store.account_by_login(&login).await.unwrap().unwrap();
        assert_eq!(row.password.as_deref(), Some("second"));
        open(one).await;
        // A login that looks like a number is no number.
        assert_eq!(store.set_account_disabled(&Who::Id(7), true).await.unwrap(), None);
        assert_eq!(store.set_account_disabled(&Who::Id(two), true).await.unwrap(), Some(two));
        assert_eq!(store.session(hash).await.unwrap(), Some(one));
        assert_eq!(store.set_account_disabled(&Who::Login(login), true).await.unwrap(), Some(one));
        assert!(store.session(hash).await.unwrap().is_none());
        let disabled = store.accounts(0).await.unwrap();
        assert!(disabled.iter().all(|row| row.disabled));
    }
}

#[tokio::test]
async fn sessions_and_challenges_count_once_and_for_a_time() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        let login = Some(("a@b.c".to_owned(), "hash".to_owned()));
        let account = store.create_account(login.clone(), None, Limits::default()).await.unwrap();
        let taken = store.create_account(login, None, Limits::default()).await;
        assert!(matches!(taken, Err(StoreError::LoginTaken)));
        let (hash, soon) = (Hash32::of(b"token"), now_ms() + 60_000);
        store.open_session(account, hash, soon).await.unwrap();
        store.open_session(account, Hash32::of(b"over"), 1).await.unwrap();
        assert_eq!(store.session(hash).await.unwrap(), Some(account));
        assert_eq!(store.session(Hash32::of(b"over")).await.unwrap(), None);
        store.close_session(hash).await.unwrap();
        assert_eq!(store.session(hash).await.unwrap(), None);

        for n in 0..16u8 {
            assert!(store.open_challenge(Hash32::of(&[n]), Address::TWO, soon).await.unwrap());
        }
        assert!(!store.open_challenge(Hash32::of(b"x"), Address::TWO, soon).await.unwrap());
        assert!(!store.take_challenge(Hash32::of(&[1]), Address::THREE).await.unwrap());
        assert!(store.take_challenge(Hash32::of(&[1]), Address::TWO).await.unwrap());
        assert!(!store.take_challenge(Hash32::of(&[1]), Address::TWO).await.unwrap());
    }
}

#[tokio::test]
async fn a_newer_database_is_refused_and_an_older_file_is_brought_up() {
    for (database, _dir) in databases().await {
        let store = Store::open(&database).await.unwrap();
        sqlx::query("INSERT INTO gateway_schema (version) VALUES (99)").execute(&store.pool).await.unwrap();
        let refused = Store::open(&database).await.unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
    }
    // As the first gateways left it, in the middle of a request.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.db");
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .connect(&format!("{}?mode=rwc", file_url(&path)))
        .await
        .unwrap();
    let old = include_str!("tests/first.sql");
    sqlx::raw_sql(old).execute(&pool).await.unwrap();
    pool.close().await;
    let store = Store::open(&Database::File(path)).await.unwrap();
    let (_, reservations) = Ledger::open(&store, None, None, Arc::<Memory>::default()).await.unwrap();
    assert_eq!((reservations.len(), reservations[0].most), (1, Amount(40)));
    assert_eq!(money(&store, KeyId(1)).await, (Some(100), 25, 40));
    let usage = store.key_usage(KeyId(1)).await.unwrap();
    assert_eq!((usage.totals.cost, usage.spent, usage.reserved), (25, 25, 40));
}

#[test]
fn a_url_is_checked_and_not_shown() {
    let database = Database::postgres("postgres://u:secret@h/d").unwrap();
    assert!(!format!("{database:?}").contains("secret"));
    assert!(matches!(Database::postgres("mysql://h/d"), Err(StoreError::Url)));
    assert_eq!(file_url(Path::new("/a b/ü.db")), "sqlite:///a%20b/%C3%BC.db");
}

#[tokio::test]
async fn what_only_the_log_has_is_set_aside_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (Database::File(dir.path().join("keys.db")), dir.path().join("reservations"));
    let store = Store::open(&file).await.unwrap();
    let key = new_key(&store, None).await;
    let open = async || Ledger::open(&store, None, Some(&path), Arc::new(Memory::default())).await.unwrap();
    let (first, none) = open().await;
    assert_eq!(none, []);
    lease(&first, key, 1_000).await;
    let ids = [(); 5].map(|()| first.new_reservation());
    for id in ids {
        first.reserve(reservation(id, key, 100), 0).await.unwrap();
    }
    // In the commit that it begins in, or later.
    first.record(paid(ids[0], key, 70)).await;
    first.flush().await.unwrap();
    first.record(paid(ids[1], key, 80)).await;
    first.release(ids[2]).await;
    first.reserve(reservation(ids[3], key, 200), 0).await.unwrap();
    first.flush().await.unwrap();
    assert_eq!(money(&store, key).await.1, 150);
    // Killed before its writer has it.
    let writer = Log::read(&path, 0).unwrap();
    let late = reservation(first.new_reservation(), key, 300);
    drop(first);
    tokio::task::yield_now().await;
    let last = writer.last().unwrap().sequence;
    let mut log = Log::create(&path, last, None).unwrap();
    log.append(|bytes| bcs::serialize_into(bytes, &late).map_err(std::io::Error::other)).unwrap();
    let expected = [reservation(ids[3], key, 200), reservation(ids[4], key, 100), late.clone()];
    for _ in 0..2 {
        let (again, kept) = open().await;
        assert_eq!(kept, expected);
        assert_eq!(money(&store, key).await, (None, 150, 600));
        drop(again);
    }
}

#[tokio::test]
async fn a_file_that_is_away_serves_nobody_on_the_word_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (Database::File(dir.path().join("keys.db")), dir.path().join("reservations"));
    let store = Store::open(&file).await.unwrap();
    let key = new_key(&store, None).await;
    let (ledger, _) = Ledger::open(&store, None, Some(&path), Arc::new(Memory::default())).await.unwrap();
    lease(&ledger, key, 1_000).await;
    let ids = [(); 3].map(|()| ledger.new_reservation());
    // The table is gone: what is logged cannot be written, nor can anything after it.
    sqlx::query("ALTER TABLE reservations RENAME TO elsewhere").execute(&store.pool).await.unwrap();
    ledger.reserve(reservation(ids[0], key, 100), 0).await.unwrap();
    assert!(ledger.flush().await.is_err());
    assert!(ledger.reserve(reservation(ids[1], key, 100), 0).await.is_err());
    ledger.record(paid(ids[0], key, 70)).await;
    sqlx::query("ALTER TABLE elsewhere RENAME TO reservations").execute(&store.pool).await.unwrap();
    ledger.flush().await.unwrap();
    assert_eq!(money(&store, key).await.1, 70);
    ledger.reserve(reservation(ids[2], key, 100), ledger.generation()).await.unwrap();
    ledger.record(paid(ids[2], key, 30)).await;
    ledger.flush().await.unwrap();
    assert_eq!(money(&store, key).await.1, 100);
}
