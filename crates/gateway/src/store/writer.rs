//! The one task that writes what requests hand over, everything queued in one commit.
//!
//! With SQLite a commit survives a kill, and the log is synced within `SYNC_WITHIN` of it, which is what a power
//! failure may take. While the database is away whoever waits is refused, and what was paid, released or given
//! back is kept until it is there again. Nobody knows then whether the commit that failed was made, so the leases
//! are read anew and whoever holds them in memory is corrected.

use super::ledger::{
    Correct, Grant, PurseId, Reservation, ReservationId, Shared, UsageRow, Want, change_lease, change_leased,
    expires_ms, leases_of, signed,
};
use super::reservations::{SYNC_WITHIN, insert_reservations, pieces, sync};
use super::{Columns as _, Dialect, Store, StoreError, from_sql, maybe_to_sql, placeholders, to_sql};
use atoma_types::Amount;
use sqlx::{AnyConnection, AnyPool};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

const BATCH: usize = 512;
/// How long what is safe already waits for company.
const LINGER: Duration = Duration::from_millis(50);
/// Longest time for one commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for a database that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(200);
/// A lease is this many times what is needed, or this part of what is left: the nearer the end, the smaller.
const LEASE_TIMES: u64 = 64;
const LEASE_PART: u64 = 8;
/// Most to lease ahead of what is needed.
const LEASE_MAX: u64 = 1 << 50;

type Done<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Entry {
    Reserve(Box<Reservation>, u64, Done<()>),
    /// Safe already, under this sequence of the log.
    Logged(Box<Reservation>, u64),
    Lease(Vec<Want>, Done<Vec<Grant>>),
    Flush(Done<()>),
    Release(ReservationId),
    Usage(Box<UsageRow>),
    GiveBack(Vec<(PurseId, Amount)>),
}

pub(super) struct Writer {
    pool: AnyPool,
    dialect: Dialect,
    wal: Option<PathBuf>,
    held: Held,
    /// What must be written as soon as it can.
    kept: Vec<Entry>,
    /// Whether `held` is certain.
    certain: bool,
    superseded: bool,
    shared: Arc<Shared>,
    purses: Arc<dyn Correct>,
}

/// What the database has of a process.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) process: i64,
    /// Changes when others take the leases back.
    pub(super) epoch: i64,
    pub(super) leases: BTreeMap<PurseId, u64>,
    pub(super) open: HashSet<ReservationId>,
    /// Sequence of the log's newest record.
    pub(super) applied: u64,
}

impl Writer {
    pub(super) fn new(store: &Store, held: Held, shared: Arc<Shared>, purses: Arc<dyn Correct>) -> Self {
        Self {
            pool: store.batches.clone(),
            dialect: store.dialect,
            wal: store.wal.clone(),
            held,
            kept: Vec::new(),
            certain: true,
            superseded: false,
            shared,
            purses,
        }
    }

    pub(super) async fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        let dirty = Arc::new(Notify::new());
        let syncer = self.wal.clone().map(|wal| tokio::spawn(sync_when_dirty(wal, Arc::clone(&dirty))));
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let more = if self.kept.is_empty() {
                entries.recv_many(&mut batch, BATCH).await > 0
            } else {
                // Even if nobody asks, what is kept is written when the database is back.
                match tokio::time::timeout(AWAY_PAUSE, entries.recv_many(&mut batch, BATCH)).await {
                    Ok(received) => received > 0,
                    Err(_) => true,
                }
            };
            if self.shared.log.is_some() && !batch.iter().any(Entry::waits) {
                // Nobody waits: what comes within a moment shares the commit.
                let _ = tokio::time::timeout(LINGER, self.shared.hurry.notified()).await;
                while batch.len() < BATCH
                    && let Ok(entry) = entries.try_recv()
                {
                    batch.push(entry);
                }
            }
            if self.write(std::mem::take(&mut batch)).await {
                dirty.notify_one();
            }
            if !more {
                break;
            }
        }
        if !self.kept.is_empty() {
            tracing::error!(
                entries = self.kept.len(),
                "what was paid is not written: the next start finds it"
            );
        }
        if let Some(syncer) = syncer {
            syncer.abort();
        }
    }

    /// Writes a batch and what was kept, and answers whoever waits. Returns whether it was written.
    async fn write(&mut self, batch: Vec<Entry>) -> bool {
        if !self.certain
            && let Err(error) = within(self.look_again()).await
        {
            self.refuse(batch, &error);
            return false;
        }
        let (waiting, kept): (Vec<_>, Vec<_>) = batch.into_iter().partition(Entry::waits);
        self.kept.extend(kept);
        let written = within(self.commit(&waiting)).await;
        match written {
            Ok(outcome) => {
                self.kept.clear();
                let generation = self.shared.generation.load(Ordering::Acquire);
                let Outcome { held, grants } = outcome;
                self.held = held;
                answer(waiting, grants, generation);
                self.shared.is_away.store(false, Ordering::Release);
                self.shorten_log();
                true
            }
            Err(error) => {
                if !matches!(error, StoreError::Fenced) {
                    tracing::error!(%error, "the database could not be written");
                }
                self.certain = false;
                self.shared.is_away.store(true, Ordering::Release);
                self.refuse(waiting, &error);
                false
            }
        }
    }

    fn refuse(&mut self, batch: Vec<Entry>, error: &StoreError) {
        for entry in batch {
            match entry {
                Entry::Reserve(_, _, done) | Entry::Flush(done) => drop(done.send(Err(error.clone()))),
                Entry::Lease(_, done) => drop(done.send(Err(error.clone()))),
                kept => self.kept.push(kept),
            }
        }
    }

    /// One transaction. It fences: a process whose leases were taken back commits nothing.
    async fn commit(&self, waiting: &[Entry]) -> Result<Outcome, StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        if !self.is_alive(&mut tx, Some(self.applied())).await? {
            return Err(StoreError::Fenced);
        }
        let mut outcome = Outcome { held: self.held.clone(), grants: Vec::new() };
        let held = &mut outcome.held;
        held.applied = self.applied();
        let ended = self.ended();
        let reserved = self.reserved(waiting);
        // What ends in the commit that it would begin in leaves no row.
        let lasting = reserved.iter().filter(|(id, _)| !ended.contains(id));
        held.open.extend(lasting.clone().map(|(id, _)| *id));
        insert_reservations(&mut tx, self.held.process, lasting.map(|(_, one)| *one)).await?;
        let mut found = self.end_reservations(&mut tx, &ended).await?;
        found.extend(reserved.keys().filter(|id| ended.contains(id)));
        held.open.retain(|id| !ended.contains(id));
        let paid = self.paid(found);
        let mut charges = BTreeMap::new();
        self.insert_usage(&mut tx, &paid, &mut charges).await?;
        for entry in &self.kept {
            let Entry::GiveBack(given) = entry else { continue };
            for (purse, amount) in given {
                let charge: &mut Charge = charges.entry(*purse).or_default();
                charge.returned += i128::from(amount.0);
            }
        }
        for (purse, charge) in &charges {
            self.charge(&mut tx, *purse, charge).await?;
            let held = outcome.held.leases.entry(*purse).or_default();
            let left = i128::from(*held) - charge.spent - charge.returned;
            *held = u64::try_from(left).unwrap_or(0);
        }
        for entry in waiting {
            if let Entry::Lease(wants, _) = entry {
                let grants = self.lease(&mut tx, wants, &mut outcome.held.leases).await?;
                outcome.grants.push(grants);
            }
        }
        tx.commit().await?;
        outcome.held.leases.retain(|_, amount| *amount > 0);
        Ok(outcome)
    }

    /// Says that the process lives, unless others think otherwise, and how much of the log this commit writes.
    async fn is_alive(&self, tx: &mut AnyConnection, applied: Option<u64>) -> Result<bool, StoreError> {
        let text = "UPDATE processes SET expires_ms = $1, log_applied = COALESCE($2, log_applied)
                    WHERE id = $3 AND epoch = $4";
        let alive = sqlx::query(text)
            .bind(to_sql(expires_ms())?)
            .bind(maybe_to_sql(applied)?)
            .bind(self.held.process)
            .bind(self.held.epoch)
            .execute(tx)
            .await?;
        Ok(alive.rows_affected() == 1)
    }

    /// Sequence of the log's newest record once what is kept is written.
    fn applied(&self) -> u64 {
        let sequences = self.kept.iter().filter_map(|entry| match entry {
            Entry::Logged(_, sequence) => Some(*sequence),
            _ => None,
        });
        sequences.max().unwrap_or_default().max(self.held.applied)
    }

    /// What is to be set aside: of several under one number the last.
    fn reserved<'a>(&'a self, waiting: &'a [Entry]) -> BTreeMap<ReservationId, &'a Reservation> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let reserved = self.kept.iter().chain(waiting).filter_map(|entry| match entry {
            Entry::Reserve(reservation, of, _) if *of == generation => Some(reservation.as_ref()),
            // Of the only process that has these leases: nobody took them back.
            Entry::Logged(reservation, _) => Some(reservation.as_ref()),
            _ => None,
        });
        reserved.map(|one| (one.id, one)).collect()
    }

    /// Numbers of what is paid or released.
    fn ended(&self) -> BTreeSet<ReservationId> {
        let ended = self.kept.iter().filter_map(|entry| match entry {
            Entry::Release(id) => Some(*id),
            Entry::Usage(row) => Some(row.reservation),
            _ => None,
        });
        ended.collect()
    }

    /// What was paid of what was set aside until now; each counts once.
    fn paid(&self, mut found: HashSet<ReservationId>) -> Vec<&UsageRow> {
        let paid = self.kept.iter().filter_map(|entry| match entry {
            Entry::Usage(row) if found.remove(&row.reservation) => Some(row.as_ref()),
            _ => None,
        });
        paid.collect()
    }

    /// Removes the reservations of what ended, and returns which there were.
    async fn end_reservations(
        &self,
        tx: &mut AnyConnection,
        ended: &BTreeSet<ReservationId>,
    ) -> Result<HashSet<ReservationId>, StoreError> {
        let ended: Vec<_> = ended.iter().filter(|id| self.held.open.contains(id)).collect();
        let mut found = HashSet::new();
        for ids in pieces(&ended) {
            let list: Vec<String> = (2..ids.len().saturating_add(2)).map(|n| format!("${n}")).collect();
            let text = format!(
                "DELETE FROM reservations WHERE process = $1 AND id IN ({}) RETURNING id",
                list.join(", ")
            );
            let mut query = sqlx::query(&text).bind(self.held.process);
            for id in ids {
                query = query.bind(id.0);
            }
            for row in query.fetch_all(&mut *tx).await? {
                found.insert(ReservationId(row.id("id")?));
            }
        }
        Ok(found)
    }

    /// Begins the log's other file when this one is long, once the database is on the disk.
    fn shorten_log(&self) {
        let is_long = self.shared.log().is_some_and(|log| log.is_long(self.held.applied));
        let Some(wal) = self.wal.as_deref().filter(|_| is_long) else { return };
        match sync(wal) {
            Ok(()) => drop(self.shared.log().map(|mut log| log.turn())),
            Err(error) => tracing::error!(%error, "cannot sync the database: its log grows"),
        }
    }

    async fn insert_usage(
        &self,
        tx: &mut AnyConnection,
        paid: &[&UsageRow],
        charges: &mut BTreeMap<PurseId, Charge>,
    ) -> Result<(), StoreError> {
        let mut totals = BTreeMap::<i64, [i64; 6]>::new();
        for rows in pieces(paid) {
            let text = format!(
                "INSERT INTO usage (key, account, at_ms, model, stack, node, input, output, units, price, paid,
                     cost, request_hash, receipt) VALUES {}",
                placeholders(rows.len(), 14)
            );
            let mut query = sqlx::query(&text);
            for row in rows {
                let receipt = &row.receipt.message;
                // What a node claims must not keep a row from being stored; the receipt itself is kept as it is.
                let (input, output) = (clamped(receipt.input), clamped(receipt.output));
                let units = i64::try_from(receipt.units.0).unwrap_or(i64::MAX);
                let (paid, cost) = (to_sql(row.paid.0)?, to_sql(row.cost.0)?);
                let bytes =
                    bcs::to_bytes(&row.receipt).map_err(|error| StoreError::Corrupt(error.to_string()))?;
                query = query
                    .bind(row.payers.key.0)
                    .bind(row.payers.account)
                    .bind(to_sql(row.at_ms)?)
                    .bind(row.model.as_str())
                    .bind(receipt.stack.to_string())
                    .bind(to_sql(receipt.node.0)?)
                    .bind(input)
                    .bind(output)
                    .bind(units)
                    .bind(to_sql(row.price.0)?)
                    .bind(paid)
                    .bind(cost)
                    .bind(receipt.request_hash.as_bytes().to_vec())
                    .bind(bytes);
                let sums = totals.entry(row.payers.key.0).or_default();
                for (sum, value) in sums.iter_mut().zip([1, input, output, units, cost, paid]) {
                    *sum = sum.saturating_add(value);
                }
                for purse in row.payers.purses() {
                    charges.entry(purse).or_default().spent += i128::from(row.cost.0);
                }
            }
            query.execute(&mut *tx).await?;
        }
        for (key, sums) in totals {
            let mut query = sqlx::query(
                "INSERT INTO totals (key, requests, input, output, units, cost, paid)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (key) DO UPDATE SET requests = totals.requests + excluded.requests,
                     input = totals.input + excluded.input, output = totals.output + excluded.output,
                     units = totals.units + excluded.units, cost = totals.cost + excluded.cost,
                     paid = totals.paid + excluded.paid",
            )
            .bind(key);
            for sum in sums {
                query = query.bind(sum);
            }
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }

    async fn charge(
        &self,
        tx: &mut AnyConnection,
        purse: PurseId,
        charge: &Charge,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE purses SET spent = spent + $1, leased = leased - $2
             WHERE kind = $3 AND owner = $4 AND day = $5",
        )
        .bind(signed(charge.spent)?)
        .bind(signed(charge.spent + charge.returned)?)
        .bind(purse.kind.number())
        .bind(purse.owner)
        .bind(purse.day)
        .execute(&mut *tx)
        .await?;
        change_lease(tx, self.held.process, purse, -(charge.spent + charge.returned)).await
    }

    async fn lease(
        &self,
        tx: &mut AnyConnection,
        wants: &[Want],
        leases: &mut BTreeMap<PurseId, u64>,
    ) -> Result<Vec<Grant>, StoreError> {
        let mut wants = wants.to_vec();
        wants.sort_by_key(|want| want.purse);
        let mut grants = Vec::with_capacity(wants.len());
        for Want { purse, need, cap } in wants {
            if let Some(cap) = cap {
                sqlx::query(
                    "INSERT INTO purses (kind, owner, day, cap) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (kind, owner, day) DO UPDATE SET cap = excluded.cap",
                )
                .bind(purse.kind.number())
                .bind(purse.owner)
                .bind(purse.day)
                .bind(to_sql(cap.0)?)
                .execute(&mut *tx)
                .await?;
            }
            let text = format!(
                "SELECT cap, spent, leased FROM purses WHERE kind = $1 AND owner = $2 AND day = $3{}",
                self.dialect.for_update()
            );
            let row = sqlx::query(&text)
                .bind(purse.kind.number())
                .bind(purse.owner)
                .bind(purse.day)
                .fetch_one(&mut *tx)
                .await?;
            let used = row.id("spent")?.saturating_add(row.id("leased")?);
            let left = row.maybe_id("cap")?.map(|cap| from_sql(cap.saturating_sub(used)).unwrap_or(0));
            let amount = amount_of_lease(need.0, left);
            if amount > 0 {
                change_leased(tx, purse, i128::from(amount)).await?;
                change_lease(tx, self.held.process, purse, i128::from(amount)).await?;
                let held = leases.entry(purse).or_default();
                *held = held.saturating_add(amount);
            }
            grants.push(Grant { purse, amount: Amount(amount), left: left.map(Amount) });
        }
        Ok(grants)
    }

    /// After a commit of unknown outcome, or when others took the leases back: what the database has.
    async fn look_again(&mut self) -> Result<(), StoreError> {
        if self.superseded {
            return Err(StoreError::Superseded);
        }
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        if !self.is_alive(&mut tx, None).await? {
            let row = sqlx::query(
                "UPDATE processes SET epoch = epoch + 1, expires_ms = $1 WHERE id = $2 AND expires_ms = 0
                 RETURNING epoch",
            )
            .bind(to_sql(expires_ms())?)
            .bind(self.held.process)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else {
                tracing::error!(
                    "another gateway runs with this data folder: this one serves nothing any more"
                );
                self.superseded = true;
                return Err(StoreError::Superseded);
            };
            self.held.epoch = row.id("epoch")?;
        }
        let leases = leases_of(&mut tx, self.held.process).await?;
        let rows = sqlx::query("SELECT id FROM reservations WHERE process = $1")
            .bind(self.held.process)
            .fetch_all(&mut *tx)
            .await?;
        let open =
            rows.iter().map(|row| Ok(ReservationId(row.id("id")?))).collect::<Result<_, StoreError>>()?;
        let row = sqlx::query("SELECT log_applied FROM processes WHERE id = $1")
            .bind(self.held.process)
            .fetch_one(&mut *tx)
            .await?;
        let applied = row.number("log_applied")?;
        tx.commit().await?;
        self.correct(Held { leases, open, applied, ..self.held });
        self.certain = true;
        Ok(())
    }

    /// Memory knows of what is kept. What of it the database knows, too, is written; what was to be given back is
    /// in use again if it was not.
    fn correct(&mut self, held: Held) {
        let mut deltas = BTreeMap::<PurseId, i128>::new();
        for (purse, amount) in &held.leases {
            *deltas.entry(*purse).or_default() += i128::from(*amount);
        }
        for (purse, amount) in &self.held.leases {
            *deltas.entry(*purse).or_default() -= i128::from(*amount);
        }
        let mut open = held.open.clone();
        self.kept.retain(|entry| match entry {
            Entry::Logged(reservation, sequence) => {
                let is_written = *sequence <= held.applied;
                if !is_written {
                    open.insert(reservation.id);
                }
                !is_written
            }
            Entry::Usage(row) => {
                let is_open = open.contains(&row.reservation);
                if !is_open {
                    for purse in row.payers.purses() {
                        *deltas.entry(purse).or_default() += i128::from(row.cost.0);
                    }
                }
                is_open
            }
            Entry::GiveBack(given) => {
                for (purse, amount) in given {
                    *deltas.entry(*purse).or_default() += i128::from(amount.0);
                }
                false
            }
            _ => true,
        });
        for (purse, delta) in deltas {
            if delta != 0 {
                self.purses.correct(purse, delta);
            }
        }
        self.held = held;
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a purse gives and gets in one commit.
#[derive(Clone, Copy, Debug, Default)]
struct Charge {
    spent: i128,
    returned: i128,
}

struct Outcome {
    held: Held,
    /// Of each entry that leases, in order.
    grants: Vec<Vec<Grant>>,
}

impl Entry {
    fn waits(&self) -> bool {
        matches!(self, Self::Reserve(..) | Self::Lease(..) | Self::Flush(_))
    }
}

fn answer(waiting: Vec<Entry>, grants: Vec<Vec<Grant>>, generation: u64) {
    let mut grants = grants.into_iter();
    for entry in waiting {
        match entry {
            // Its money was lost to others before it came here.
            Entry::Reserve(_, of, done) if of != generation => {
                drop(done.send(Err(StoreError::Fenced)));
            }
            Entry::Reserve(_, _, done) | Entry::Flush(done) => drop(done.send(Ok(()))),
            Entry::Lease(_, done) => drop(done.send(Ok(grants.next().unwrap_or_default()))),
            _ => {}
        }
    }
}

/// What to lease where `need` is needed and `left` is left; nothing if that is less.
fn amount_of_lease(need: u64, left: Option<u64>) -> u64 {
    let wished = need.saturating_mul(LEASE_TIMES).min(LEASE_MAX).max(need);
    match left {
        None => wished,
        Some(left) if left < need => 0,
        Some(left) => wished.min(left / LEASE_PART).max(need),
    }
}

async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Database("it does not answer".into());
    tokio::time::timeout(COMMIT_TIMEOUT, work).await.map_err(late)?
}

/// Syncs the write-ahead log a moment after it grew, whatever else goes on.
async fn sync_when_dirty(wal: PathBuf, dirty: Arc<Notify>) {
    loop {
        dirty.notified().await;
        tokio::time::sleep(SYNC_WITHIN / 2).await;
        let wal = wal.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || sync(&wal)).await {
            tracing::error!(%error, "cannot sync the database");
        }
    }
}

/// At most what a sum over very many rows still holds.
fn clamped(value: u64) -> i64 {
    i64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
