//! Accounts, their addresses, sessions and challenges.

use super::{Columns as _, PurseKind, Store, StoreError, is_duplicate, maybe_to_sql, now_ms, to_sql};
use atoma_types::{Address, Amount, Hash32};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

/// Sessions of an account; the oldest ends when there are more.
const SESSIONS_MAX: i64 = 64;
/// Challenges of an address that wait for a signature.
const CHALLENGES_MAX: i64 = 16;

/// What a key, or all keys of an account together, may do; everything where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    /// Tokens as the market weighs them.
    pub units_per_minute: Option<u64>,
    /// Base units of the coin, per day of UTC.
    pub spend_per_day: Option<Amount>,
}

impl Limits {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            requests_per_minute: row.maybe("requests_per_minute")?,
            units_per_minute: row.maybe("units_per_minute")?,
            spend_per_day: row.maybe("spend_per_day")?.map(Amount),
        })
    }
}

/// Names an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Login(String),
    Id(i64),
}

/// An account as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct AccountRow {
    pub(crate) id: i64,
    pub(crate) login: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) limits: Limits,
    pub(crate) created_ms: u64,
}

/// An account's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountMoney {
    pub(crate) credited: u64,
    pub(crate) spent: u64,
    pub(crate) reserved: u64,
}

const COLUMNS: &str = "id, login, password, disabled, spend_per_day, requests_per_minute, units_per_minute, \
                       created_ms";

impl Store {
    /// Makes an account with a login or an address, without money.
    pub(crate) async fn create_account(
        &self,
        login: Option<(String, String)>,
        address: Option<Address>,
        limits: Limits,
    ) -> Result<i64, StoreError> {
        let (login, password) = login.unzip();
        let now = to_sql(now_ms())?;
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        let made = sqlx::query_scalar(
            "INSERT INTO accounts (login, password, created_ms, changed_ms, spend_per_day,
                 requests_per_minute, units_per_minute)
             VALUES ($1, $2, $3, $3, $4, $5, $6) RETURNING id",
        )
        .bind(login)
        .bind(password)
        .bind(now)
        .bind(maybe_to_sql(limits.spend_per_day.map(u64::from))?)
        .bind(maybe_to_sql(limits.requests_per_minute)?)
        .bind(maybe_to_sql(limits.units_per_minute)?)
        .fetch_one(&mut *tx)
        .await;
        let id: i64 = match made {
            Err(error) if is_duplicate(&error) => return Err(StoreError::LoginTaken),
            made => made?,
        };
        sqlx::query("INSERT INTO purses (kind, owner, day, cap) VALUES ($1, $2, 0, 0)")
            .bind(PurseKind::Account.number())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if let Some(address) = address {
            let added = sqlx::query("INSERT INTO addresses (address, account, at_ms) VALUES ($1, $2, $3)")
                .bind(address.as_bytes().to_vec())
                .bind(id)
                .bind(now)
                .execute(&mut *tx)
                .await;
            match added {
                Err(error) if is_duplicate(&error) => return Err(StoreError::AddressTaken),
                added => added.map(|_| ())?,
            }
        }
        tx.commit().await?;
        Ok(id)
    }

    /// Gives an account an address that proved itself. What it sent before is credited soon.
    pub(crate) async fn add_address(&self, account: i64, address: Address) -> Result<(), StoreError> {
        match self.account_of(address).await? {
            Some(owner) if owner == account => return Ok(()),
            Some(_) => return Err(StoreError::AddressTaken),
            None => {}
        }
        let added = sqlx::query("INSERT INTO addresses (address, account, at_ms) VALUES ($1, $2, $3)")
            .bind(address.as_bytes().to_vec())
            .bind(account)
            .bind(to_sql(now_ms())?)
            .execute(&self.pool)
            .await;
        match added {
            Err(error) if is_duplicate(&error) => Err(StoreError::AddressTaken),
            added => Ok(added.map(drop)?),
        }
    }

    pub(crate) async fn account_of(&self, address: Address) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar("SELECT account FROM addresses WHERE address = $1")
            .bind(address.as_bytes().to_vec())
            .fetch_optional(&self.pool)
            .await?)
    }

    pub(crate) async fn addresses(&self, account: i64) -> Result<Vec<Address>, StoreError> {
        let rows = sqlx::query("SELECT address FROM addresses WHERE account = $1 ORDER BY at_ms, address")
            .bind(account)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(Address::new(row.array("address")?))).collect()
    }

    pub(crate) async fn account_by_login(&self, login: &str) -> Result<Option<AccountRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM accounts WHERE login = $1");
        let row = sqlx::query(&query).bind(login.to_owned()).fetch_optional(&self.pool).await?;
        row.as_ref().map(account_row).transpose()
    }

    pub(crate) async fn account(&self, id: i64) -> Result<Option<AccountRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM accounts WHERE id = $1");
        let row = sqlx::query(&query).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(account_row).transpose()
    }

    /// Every account that was made or changed since a time.
    pub(crate) async fn accounts(&self, since_ms: u64) -> Result<Vec<AccountRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM accounts WHERE changed_ms >= $1 ORDER BY id");
        let rows = sqlx::query(&query).bind(to_sql(since_ms)?).fetch_all(&self.pool).await?;
        rows.iter().map(account_row).collect()
    }

    /// Changes an account's limits.
    pub async fn set_account_limits(&self, account: i64, limits: Limits) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE accounts SET spend_per_day = $1, requests_per_minute = $2, units_per_minute = $3,
                 changed_ms = $4 WHERE id = $5",
        )
        .bind(maybe_to_sql(limits.spend_per_day.map(u64::from))?)
        .bind(maybe_to_sql(limits.requests_per_minute)?)
        .bind(maybe_to_sql(limits.units_per_minute)?)
        .bind(to_sql(now_ms())?)
        .bind(account)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Changes an account's password and ends its sessions.
    pub(crate) async fn set_password(&self, account: i64, hash: String) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        sqlx::query("UPDATE accounts SET password = $1, changed_ms = $2 WHERE id = $3")
            .bind(hash)
            .bind(to_sql(now_ms())?)
            .bind(account)
            .execute(&mut *tx)
            .await?;
        end_sessions(&mut tx, account).await?;
        Ok(tx.commit().await?)
    }

    /// Disables an account, or enables it again. Its keys and sessions are worth nothing while it is disabled; its
    /// money stays its own. Returns its number.
    pub async fn set_account_disabled(&self, who: &Who, disabled: bool) -> Result<Option<i64>, StoreError> {
        let (login, id) = match who {
            Who::Login(login) => (Some(login.to_ascii_lowercase()), None),
            Who::Id(id) => (None, Some(*id)),
        };
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        let account: Option<i64> = sqlx::query_scalar(
            "UPDATE accounts SET disabled = $1, changed_ms = $2 WHERE login = $3 OR id = $4 RETURNING id",
        )
        .bind(i64::from(disabled))
        .bind(to_sql(now_ms())?)
        .bind(login)
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(account) = account.filter(|_| disabled) {
            end_sessions(&mut tx, account).await?;
        }
        tx.commit().await?;
        Ok(account)
    }

    pub(crate) async fn account_money(&self, account: i64) -> Result<AccountMoney, StoreError> {
        let row = sqlx::query(
            "SELECT cap, spent,
                 (SELECT CAST(COALESCE(SUM(most), 0) AS BIGINT) FROM reservations WHERE account = $1) AS held
             FROM purses WHERE kind = 1 AND owner = $1 AND day = 0",
        )
        .bind(account)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(AccountMoney::default()) };
        Ok(AccountMoney {
            credited: row.maybe("cap")?.unwrap_or(0),
            spent: row.number("spent")?,
            reserved: row.number("held")?,
        })
    }

    /// Keeps a session, by the hash of its token.
    pub(crate) async fn open_session(
        &self,
        account: i64,
        hash: Hash32,
        expires_ms: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        sqlx::query("INSERT INTO sessions (hash, account, expires_ms) VALUES ($1, $2, $3)")
            .bind(hash.as_bytes().to_vec())
            .bind(account)
            .bind(to_sql(expires_ms)?)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM sessions WHERE account = $1 AND (expires_ms < $2 OR hash NOT IN (
                 SELECT hash FROM sessions WHERE account = $1 ORDER BY expires_ms DESC LIMIT $3))",
        )
        .bind(account)
        .bind(to_sql(now_ms())?)
        .bind(SESSIONS_MAX)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The account of a session that has not ended.
    pub(crate) async fn session(&self, hash: Hash32) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT account FROM sessions JOIN accounts ON accounts.id = sessions.account
             WHERE hash = $1 AND expires_ms > $2 AND disabled = 0",
        )
        .bind(hash.as_bytes().to_vec())
        .bind(to_sql(now_ms())?)
        .fetch_optional(&self.pool)
        .await?)
    }

    pub(crate) async fn close_session(&self, hash: Hash32) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE hash = $1")
            .bind(hash.as_bytes().to_vec())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Keeps a challenge for an address; false if too many wait for it.
    pub(crate) async fn open_challenge(
        &self,
        hash: Hash32,
        address: Address,
        expires_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        sqlx::query("DELETE FROM challenges WHERE expires_ms < $1")
            .bind(to_sql(now_ms())?)
            .execute(&mut *tx)
            .await?;
        let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM challenges WHERE address = $1")
            .bind(address.as_bytes().to_vec())
            .fetch_one(&mut *tx)
            .await?;
        if waiting < CHALLENGES_MAX {
            sqlx::query("INSERT INTO challenges (hash, address, expires_ms) VALUES ($1, $2, $3)")
                .bind(hash.as_bytes().to_vec())
                .bind(address.as_bytes().to_vec())
                .bind(to_sql(expires_ms)?)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(waiting < CHALLENGES_MAX)
    }

    /// Uses a challenge up, by the hash of its text. False if there is none for this address any more.
    pub(crate) async fn take_challenge(&self, hash: Hash32, address: Address) -> Result<bool, StoreError> {
        let taken =
            sqlx::query("DELETE FROM challenges WHERE hash = $1 AND address = $2 AND expires_ms > $3")
                .bind(hash.as_bytes().to_vec())
                .bind(address.as_bytes().to_vec())
                .bind(to_sql(now_ms())?)
                .execute(&self.pool)
                .await?;
        Ok(taken.rows_affected() == 1)
    }
}

async fn end_sessions(tx: &mut AnyConnection, account: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE account = $1").bind(account).execute(tx).await?;
    Ok(())
}

fn account_row(row: &AnyRow) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        id: row.id("id")?,
        login: sqlx::Row::try_get(row, "login")?,
        password: sqlx::Row::try_get(row, "password")?,
        disabled: row.id("disabled")? != 0,
        limits: Limits::read(row)?,
        created_ms: row.number("created_ms")?,
    })
}
