//! The money of a running gateway: what it leased, set aside and paid, through one writer.
//!
//! A purse belongs to a key or an account, for ever or for a day. The database knows of each purse its cap,
//! what is spent, and what is leased to which process; a process spends from its leases without asking. So
//! several gateways together never exceed a cap, and no request waits for the database but for the commit of its
//! own reservation. A process that does not answer for [`LEASE_LIFE`] loses its leases down to what its
//! reservations hold; should it be alive after all, it is told by its next commit.

use super::reservations::{new_log, reservation, take_up_log};
use super::writer::{Entry, Held, Writer};
use super::{Columns as _, Store, StoreError, now_ms, to_sql};
use crate::keys::KeyId;
use atoma_client::channel::Sent;
use atoma_sqlite::Log;
use atoma_types::{Amount, Price, Receipt, Signed};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};
use tokio::sync::{Notify, mpsc, oneshot};

const QUEUE: usize = 8_192;
/// How long a process may be silent before others take its leases back.
pub(super) const LEASE_LIFE: Duration = Duration::from_secs(30);

/// Whose money, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PurseKind {
    Key,
    Account,
    KeyDay,
    AccountDay,
}

impl PurseKind {
    const ALL: [Self; 4] = [Self::Key, Self::Account, Self::KeyDay, Self::AccountDay];

    pub(super) fn number(self) -> i64 {
        match self {
            Self::Key => 0,
            Self::Account => 1,
            Self::KeyDay => 2,
            Self::AccountDay => 3,
        }
    }

    fn from_number(number: i64) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|kind| kind.number() == number);
        found.ok_or_else(|| StoreError::Corrupt(format!("a purse of kind {number}")))
    }

    pub(crate) fn is_of_account(self) -> bool {
        matches!(self, Self::Account | Self::AccountDay)
    }

    pub(crate) fn is_of_day(self) -> bool {
        matches!(self, Self::KeyDay | Self::AccountDay)
    }

    /// Its place in a set of kinds.
    pub(crate) fn bit(self) -> i64 {
        1 << self.number()
    }
}

/// A limited amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PurseId {
    pub(crate) kind: PurseKind,
    /// A key or an account.
    pub(crate) owner: i64,
    /// Days since 1970 in UTC; 0 for ever.
    pub(crate) day: i64,
}

impl PurseId {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            kind: PurseKind::from_number(row.id("kind")?)?,
            owner: row.id("owner")?,
            day: row.id("day")?,
        })
    }
}

/// Money that a process needs of a purse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) purse: PurseId,
    /// The least that is of use.
    pub(crate) need: Amount,
    /// What a purse of a day may spend.
    pub(crate) cap: Option<Amount>,
}

/// What was leased of a purse: nothing if less than what was needed is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) purse: PurseId,
    pub(crate) amount: Amount,
    /// What nobody has leased or spent; `None` if there is no cap.
    pub(crate) left: Option<Amount>,
}

/// Number of what is set aside for a request, in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ReservationId(pub(super) i64);

/// What is set aside for a request about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    pub(crate) payers: Payers,
    pub(crate) most: Amount,
    pub(crate) model: String,
    pub(crate) sent: Sent,
}

/// Who pays for a request, and from which purses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payers {
    pub(crate) key: KeyId,
    pub(crate) account: Option<i64>,
    /// Bits of the kinds of purses.
    pub(crate) purses: i64,
    pub(crate) day: i64,
}

impl Payers {
    pub(crate) fn purses(self) -> impl Iterator<Item = PurseId> + use<> {
        let Self { key, account, purses, day } = self;
        PurseKind::ALL.into_iter().filter(move |kind| purses & kind.bit() != 0).filter_map(move |kind| {
            let owner = if kind.is_of_account() { account? } else { key.0 };
            Some(PurseId { kind, owner, day: if kind.is_of_day() { day } else { 0 } })
        })
    }
}

/// One paid request.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    /// What was set aside for it and no longer is.
    pub(crate) reservation: ReservationId,
    pub(crate) payers: Payers,
    /// By this machine's clock, not the node's.
    pub(crate) at_ms: u64,
    pub(crate) model: String,
    /// Of the stack.
    pub(crate) price: Price,
    /// What the node gets.
    pub(crate) paid: Amount,
    /// What the key is charged.
    pub(crate) cost: Amount,
    pub(crate) receipt: Signed<Receipt>,
}

/// Whoever holds leases in memory.
pub(crate) trait Correct: Send + Sync {
    /// Adds to what is leased of a purse, or takes away, because the database has it otherwise.
    fn correct(&self, purse: PurseId, delta: i128);
}

/// A process's access to the money. Clones share its writer.
#[derive(Clone)]
pub(crate) struct Ledger {
    store: Store,
    process: i64,
    queue: mpsc::Sender<Entry>,
    reservations: Arc<AtomicI64>,
    shared: Arc<Shared>,
}

/// What requests and the writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Changes when leases were corrected.
    pub(super) generation: AtomicU64,
    /// In front of a database that no other process uses.
    pub(super) log: Option<Mutex<Log>>,
    /// Whether the database could not be written of late.
    pub(super) is_away: AtomicBool,
    /// Somebody waits for a commit.
    pub(super) hurry: Notify,
}

impl Shared {
    pub(super) fn log(&self) -> Option<MutexGuard<'_, Log>> {
        self.log.as_ref().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger(process {})", self.process)
    }
}

impl Ledger {
    /// Takes up the leases of the process with this name, and what it had set aside when it ended last. With a `log`,
    /// which one process at a time may have, nobody waits for the database to set something aside.
    pub(crate) async fn open(
        store: &Store,
        name: Option<&str>,
        log: Option<&Path>,
        purses: Arc<dyn Correct>,
    ) -> Result<(Self, Vec<Reservation>), StoreError> {
        let name = name.unwrap_or(super::LOCAL);
        let mut tx = store.pool.begin_with(store.dialect.begin()).await?;
        sqlx::query(
            "INSERT INTO processes (name, epoch, expires_ms) VALUES ($1, 0, 0) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name.to_owned())
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query(
            "UPDATE processes SET epoch = epoch + 1, expires_ms = $1 WHERE name = $2
             RETURNING id, epoch, log_applied",
        )
        .bind(to_sql(expires_ms())?)
        .bind(name.to_owned())
        .fetch_one(&mut *tx)
        .await?;
        let (process, epoch) = (row.id("id")?, row.id("epoch")?);
        let applied = row.number("log_applied")?;
        let logged = match log {
            Some(log) => take_up_log(&mut tx, process, log, applied).await?,
            None => applied,
        };
        let leases = keep_what_is_reserved(&mut tx, process).await?;
        let rows = sqlx::query("SELECT * FROM reservations WHERE process = $1 ORDER BY id")
            .bind(process)
            .fetch_all(&mut *tx)
            .await?;
        let reservations: Vec<_> = rows.iter().map(reservation).collect::<Result<_, _>>()?;
        tx.commit().await?;
        let log = log.map(|path| new_log(store, path, logged)).transpose()?;
        let shared = Arc::new(Shared { log: log.map(Mutex::new), ..Shared::default() });
        let last = reservations.last().map_or(0, |one: &Reservation| one.id.0);
        let (queue, entries) = mpsc::channel(QUEUE);
        let open = reservations.iter().map(|one| one.id).collect();
        let held = Held { process, epoch, leases, open, applied: logged };
        tokio::spawn(Writer::new(store, held, Arc::clone(&shared), purses).run(entries));
        let ledger = Self {
            store: store.clone(),
            process,
            queue,
            reservations: Arc::new(AtomicI64::new(last)),
            shared,
        };
        Ok((ledger, reservations))
    }

    /// Changes when leases were corrected: what was set aside in memory before is not set aside any more.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub(crate) fn new_reservation(&self) -> ReservationId {
        ReservationId(self.reservations.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }

    /// Sets aside what a request may cost, in place of what was set aside under the same number. Returns when
    /// a kill cannot undo it.
    pub(crate) async fn reserve(
        &self,
        mut reservation: Reservation,
        generation: u64,
    ) -> Result<(), StoreError> {
        // PostgreSQL has no text with it.
        reservation.model.retain(|character| character != '\0');
        let reservation = Box::new(reservation);
        // While the database is away nobody is served on the log's word alone.
        if self.shared.log.is_none() || self.shared.is_away.load(Ordering::Acquire) {
            return self.written(|done| Entry::Reserve(reservation, generation, done)).await;
        }
        let place = self.queue.reserve().await.map_err(|_| closed())?;
        // Under the lock, so that the queue has the log's order.
        let Some(mut log) = self.shared.log() else { return Err(closed()) };
        let sequence = log.append(|bytes| bcs::serialize_into(bytes, &reservation).map_err(io::Error::other));
        let sequence = sequence.map_err(|error| StoreError::Database(format!("its log: {error}")))?;
        place.send(Entry::Logged(reservation, sequence));
        Ok(())
    }

    /// Sets nothing aside any more, soon: the request costs nothing.
    pub(crate) async fn release(&self, reservation: ReservationId) {
        self.later(Entry::Release(reservation)).await;
    }

    /// Keeps a paid request in place of what was set aside for it, soon.
    pub(crate) async fn record(&self, mut row: UsageRow) {
        row.model.retain(|character| character != '\0');
        self.later(Entry::Usage(Box::new(row))).await;
    }

    /// Leases money, of each purse what is needed or nothing.
    pub(crate) async fn lease(&self, wants: Vec<Want>) -> Result<Vec<Grant>, StoreError> {
        self.written(|done| Entry::Lease(wants, done)).await
    }

    /// Gives idle leases back, soon. They must be out of use already.
    pub(crate) async fn give_back(&self, leases: Vec<(PurseId, Amount)>) {
        self.later(Entry::GiveBack(leases)).await;
    }

    /// Returns when everything handed over so far is stored. Says, too, that the process lives.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        self.written(Entry::Flush).await
    }

    /// Takes back what silent processes leased and do not need for their reservations.
    pub(crate) async fn reap(&self) -> Result<(), StoreError> {
        let now = now_ms();
        let silent: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM processes WHERE expires_ms < $1 AND expires_ms > 0 AND id <> $2 ORDER BY id",
        )
        .bind(to_sql(now)?)
        .bind(self.process)
        .fetch_all(&self.store.pool)
        .await?;
        for process in silent {
            let mut tx = self.store.pool.begin_with(self.store.dialect.begin()).await?;
            let taken = sqlx::query(
                "UPDATE processes SET epoch = epoch + 1, expires_ms = 0
                 WHERE id = $1 AND expires_ms < $2 AND expires_ms > 0",
            )
            .bind(process)
            .bind(to_sql(now)?)
            .execute(&mut *tx)
            .await?;
            if taken.rows_affected() == 1 {
                keep_what_is_reserved(&mut tx, process).await?;
                tx.commit().await?;
                tracing::warn!(process, "took back the leases of a gateway that does not answer");
            }
        }
        Ok(())
    }

    /// Waits only if the writer is far behind. What is lost here is found again by the next start.
    async fn later(&self, entry: Entry) {
        if self.queue.send(entry).await.is_err() {
            tracing::error!("the database's writer is gone");
        }
    }

    async fn written<T>(
        &self,
        entry: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Entry,
    ) -> Result<T, StoreError> {
        let (done, written) = oneshot::channel();
        self.queue.send(entry(done)).await.map_err(|_| closed())?;
        self.shared.hurry.notify_one();
        written.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Database("its writer is gone".into())
}

pub(super) fn expires_ms() -> u64 {
    now_ms().saturating_add(u64::try_from(LEASE_LIFE.as_millis()).unwrap_or(u64::MAX))
}

/// Shrinks a process's leases to what its reservations hold, and returns them.
async fn keep_what_is_reserved(
    tx: &mut AnyConnection,
    process: i64,
) -> Result<BTreeMap<PurseId, u64>, StoreError> {
    let rows = sqlx::query("SELECT key, account, most, purses, day FROM reservations WHERE process = $1")
        .bind(process)
        .fetch_all(&mut *tx)
        .await?;
    let mut reserved = BTreeMap::<PurseId, u64>::new();
    for row in &rows {
        let most = row.number("most")?;
        for purse in payers(row)?.purses() {
            let sum = reserved.entry(purse).or_default();
            *sum = sum.saturating_add(most);
        }
    }
    let mut changes: BTreeMap<PurseId, i128> =
        reserved.iter().map(|(purse, amount)| (*purse, i128::from(*amount))).collect();
    for (purse, amount) in leases_of(tx, process).await? {
        *changes.entry(purse).or_default() -= i128::from(amount);
    }
    sqlx::query("DELETE FROM leases WHERE process = $1").bind(process).execute(&mut *tx).await?;
    // In the order of the purses, as everybody locks them.
    for (purse, change) in changes {
        change_leased(tx, purse, change).await?;
        if let Some(amount) = reserved.get(&purse) {
            change_lease(tx, process, purse, i128::from(*amount)).await?;
        }
    }
    Ok(reserved)
}

pub(super) async fn leases_of(
    tx: &mut AnyConnection,
    process: i64,
) -> Result<BTreeMap<PurseId, u64>, StoreError> {
    let rows = sqlx::query("SELECT kind, owner, day, amount FROM leases WHERE process = $1")
        .bind(process)
        .fetch_all(&mut *tx)
        .await?;
    rows.iter().map(|row| Ok((PurseId::read(row)?, row.number("amount")?))).collect()
}

pub(super) async fn change_leased(
    tx: &mut AnyConnection,
    purse: PurseId,
    change: i128,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE purses SET leased = leased + $1 WHERE kind = $2 AND owner = $3 AND day = $4")
        .bind(signed(change)?)
        .bind(purse.kind.number())
        .bind(purse.owner)
        .bind(purse.day)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

pub(super) async fn change_lease(
    tx: &mut AnyConnection,
    process: i64,
    purse: PurseId,
    change: i128,
) -> Result<(), StoreError> {
    // One that shrinks is there, unless its day is long over.
    let text = if change > 0 {
        "INSERT INTO leases (process, kind, owner, day, amount) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (process, kind, owner, day) DO UPDATE SET amount = leases.amount + excluded.amount"
    } else {
        "UPDATE leases SET amount = CASE WHEN amount + $5 < 0 THEN 0 ELSE amount + $5 END
         WHERE process = $1 AND kind = $2 AND owner = $3 AND day = $4"
    };
    sqlx::query(text)
        .bind(process)
        .bind(purse.kind.number())
        .bind(purse.owner)
        .bind(purse.day)
        .bind(signed(change)?)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

pub(super) fn signed(value: i128) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

pub(super) fn payers(row: &AnyRow) -> Result<Payers, StoreError> {
    Ok(Payers {
        key: KeyId(row.id("key")?),
        account: row.maybe_id("account")?,
        purses: row.id("purses")?,
        day: row.id("day")?,
    })
}
