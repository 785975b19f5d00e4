//! The tables, and how older ones become them. Each migration is one transaction; a database that a newer
//! gateway made is refused.

use super::{Dialect, StoreError};
use sqlx::AnyPool;

/// In order; never changed once released.
const MIGRATIONS: [&str; 3] = [FIRST, ACCOUNTS, LOG];

/// `{id}`, `{int}`, `{blob}` and `{strict}` stand for what SQLite and PostgreSQL call differently. SQLite files
/// of the first gateways have these tables and no version.
const FIRST: &str = "
CREATE TABLE IF NOT EXISTS keys (
    id {id}, hash {blob} NOT NULL UNIQUE, last4 TEXT NOT NULL, name TEXT NOT NULL,
    budget {int}, disabled {int} NOT NULL DEFAULT 0, created_ms {int} NOT NULL
){strict};
CREATE TABLE IF NOT EXISTS usage (
    id {id}, key {int} NOT NULL REFERENCES keys (id), at_ms {int} NOT NULL,
    model TEXT NOT NULL, node {int} NOT NULL, stack TEXT NOT NULL, input {int} NOT NULL,
    output {int} NOT NULL, units {int} NOT NULL, cost {int} NOT NULL, receipt {blob} NOT NULL
){strict};
CREATE INDEX IF NOT EXISTS usage_of ON usage (key, id);
CREATE TABLE IF NOT EXISTS totals (
    key {int} PRIMARY KEY, requests {int} NOT NULL, input {int} NOT NULL, output {int} NOT NULL,
    units {int} NOT NULL, cost {int} NOT NULL
){strict};
CREATE TABLE IF NOT EXISTS reservations (
    id {int} PRIMARY KEY, key {int} NOT NULL, most {int} NOT NULL, model TEXT NOT NULL,
    stack {blob} NOT NULL, node {int} NOT NULL, request_hash {blob} NOT NULL, price {int} NOT NULL
){strict};
INSERT INTO totals SELECT key, COUNT(*), CAST(SUM(input) AS {int}), CAST(SUM(output) AS {int}),
    CAST(SUM(units) AS {int}), CAST(SUM(cost) AS {int})
    FROM usage WHERE NOT EXISTS (SELECT 1 FROM totals) GROUP BY key;
";

/// A purse is money with an owner (`kind` says which) and a day, 0 for ever: at most `cap` is spent of it, and
/// `leased` is the sum of its leases, what processes may still spend without asking. Process 1 is the one of a
/// file.
const ACCOUNTS: &str = "
CREATE TABLE accounts (
    id {id}, login TEXT UNIQUE, password TEXT, created_ms {int} NOT NULL, changed_ms {int} NOT NULL,
    disabled {int} NOT NULL DEFAULT 0, spend_per_day {int}, requests_per_minute {int}, units_per_minute {int}
){strict};
CREATE TABLE addresses (
    address {blob} PRIMARY KEY, account {int} NOT NULL REFERENCES accounts (id), at_ms {int} NOT NULL
){strict};
CREATE INDEX addresses_of ON addresses (account);
CREATE TABLE sessions (
    hash {blob} PRIMARY KEY, account {int} NOT NULL REFERENCES accounts (id), expires_ms {int} NOT NULL
){strict};
CREATE INDEX sessions_of ON sessions (account, expires_ms);
CREATE TABLE challenges (
    hash {blob} PRIMARY KEY, address {blob} NOT NULL, expires_ms {int} NOT NULL
){strict};
CREATE INDEX challenges_of ON challenges (address);
ALTER TABLE keys ADD COLUMN account {int};
ALTER TABLE keys ADD COLUMN scopes {int} NOT NULL DEFAULT 7;
ALTER TABLE keys ADD COLUMN expires_ms {int};
ALTER TABLE keys ADD COLUMN spend_per_day {int};
ALTER TABLE keys ADD COLUMN requests_per_minute {int};
ALTER TABLE keys ADD COLUMN units_per_minute {int};
ALTER TABLE keys ADD COLUMN changed_ms {int} NOT NULL DEFAULT 0;
CREATE INDEX keys_of ON keys (account, id);
CREATE INDEX keys_changed ON keys (changed_ms);
CREATE INDEX accounts_changed ON accounts (changed_ms);
ALTER TABLE usage ADD COLUMN account {int};
ALTER TABLE usage ADD COLUMN price {int} NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN paid {int} NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN request_hash {blob};
CREATE INDEX usage_account ON usage (account, id);
CREATE INDEX usage_request ON usage (request_hash);
UPDATE usage SET paid = cost;
ALTER TABLE totals ADD COLUMN paid {int} NOT NULL DEFAULT 0;
UPDATE totals SET paid = cost;
CREATE TABLE processes (
    id {id}, name TEXT NOT NULL UNIQUE, epoch {int} NOT NULL, expires_ms {int} NOT NULL
){strict};
INSERT INTO processes (name, epoch, expires_ms) VALUES ('local', 0, 0);
CREATE TABLE purses (
    kind {int} NOT NULL, owner {int} NOT NULL, day {int} NOT NULL, cap {int},
    spent {int} NOT NULL DEFAULT 0, leased {int} NOT NULL DEFAULT 0, PRIMARY KEY (kind, owner, day)
){strict};
CREATE TABLE leases (
    process {int} NOT NULL, kind {int} NOT NULL, owner {int} NOT NULL, day {int} NOT NULL,
    amount {int} NOT NULL, PRIMARY KEY (process, kind, owner, day)
){strict};
INSERT INTO purses (kind, owner, day, cap, spent)
    SELECT 0, id, 0, budget, COALESCE(cost, 0) FROM keys LEFT JOIN totals ON totals.key = keys.id;
ALTER TABLE reservations RENAME TO reservations_before;
CREATE TABLE reservations (
    process {int} NOT NULL, id {int} NOT NULL, key {int} NOT NULL, account {int}, most {int} NOT NULL,
    purses {int} NOT NULL, day {int} NOT NULL, model TEXT NOT NULL, stack {blob} NOT NULL, node {int} NOT NULL,
    request_hash {blob} NOT NULL, price {int} NOT NULL, PRIMARY KEY (process, id)
){strict};
CREATE INDEX reservations_of ON reservations (key);
INSERT INTO reservations SELECT 1, id, key, NULL, most, 1, 0, model, stack, node, request_hash, price
    FROM reservations_before;
DROP TABLE reservations_before;
CREATE TABLE deposits (
    digest TEXT PRIMARY KEY, sender {blob} NOT NULL, amount {int} NOT NULL, checkpoint {int} NOT NULL,
    at_ms {int} NOT NULL, account {int} REFERENCES accounts (id)
){strict};
CREATE INDEX deposits_of ON deposits (account);
CREATE TABLE cursors (name TEXT PRIMARY KEY, position TEXT NOT NULL){strict};
";

/// `log_applied` is how much the database has of the log in front of it.
const LOG: &str = "ALTER TABLE processes ADD COLUMN log_applied {int} NOT NULL DEFAULT 0;";

/// Only SQLite's first files have it.
const TRIGGER: &str = "DROP TRIGGER IF EXISTS usage_totals;";
/// So that two processes that start at once do not migrate at once.
const LOCK: &str = "SELECT CAST(pg_advisory_xact_lock(7094273) AS TEXT)";

pub(super) async fn migrate(pool: &AnyPool, dialect: Dialect) -> Result<(), StoreError> {
    let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut next = 0;
    while next < newest {
        let mut tx = pool.begin_with(dialect.begin()).await?;
        if dialect == Dialect::Postgres {
            sqlx::query(LOCK).execute(&mut *tx).await?;
        }
        let versions = format!("CREATE TABLE IF NOT EXISTS gateway_schema (version {})", dialect.int());
        sqlx::query(&versions).execute(&mut *tx).await?;
        let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM gateway_schema")
            .fetch_one(&mut *tx)
            .await?;
        if found > newest {
            return Err(StoreError::Newer { found, known: newest });
        }
        if let Some(migration) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found)) {
            if dialect == Dialect::Sqlite {
                sqlx::raw_sql(TRIGGER).execute(&mut *tx).await?;
            }
            sqlx::raw_sql(&dialect.render(migration)).execute(&mut *tx).await?;
            sqlx::query("INSERT INTO gateway_schema (version) VALUES ($1)")
                .bind(found.saturating_add(1))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        next = found.saturating_add(1);
    }
    Ok(())
}

impl Dialect {
    fn int(self) -> &'static str {
        if self == Self::Sqlite { "INTEGER" } else { "BIGINT" }
    }

    fn render(self, text: &str) -> String {
        let (id, blob, strict) = match self {
            Self::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB", " STRICT"),
            Self::Postgres => ("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "BYTEA", ""),
        };
        text.replace("{id}", id)
            .replace("{int}", self.int())
            .replace("{blob}", blob)
            .replace("{strict}", strict)
    }
}
