//! API keys.

use super::{Columns as _, PurseKind, Store, StoreError, maybe_to_sql, now_ms, one_key, to_sql};
use crate::keys::{CreatedKey, KeyId, KeyRow, NewKey, hash_of, last4, new_secret};
use crate::store::Limits;
use atoma_types::{Amount, Hash32};
use sqlx::any::AnyRow;

pub(super) const NAME_MAX: usize = 128;
/// Keys of an account that are not deleted.
const KEYS_MAX: i64 = 256;

const COLUMNS: &str = "keys.id, hash, last4, name, cap, disabled, account, scopes, expires_ms, spend_per_day, \
                       requests_per_minute, units_per_minute, created_ms";
/// A key's money for ever is purse 0 of it.
const FROM: &str = "FROM keys JOIN purses ON purses.kind = 0 AND purses.owner = keys.id AND purses.day = 0";

impl Store {
    /// Makes a key. Its secret is returned here and kept nowhere.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, StoreError> {
        if new.name.len() > NAME_MAX {
            return Err(StoreError::LongName);
        }
        let secret = new_secret().map_err(|_| StoreError::NoRandomness)?;
        let last4 = last4(&secret);
        let now = to_sql(now_ms())?;
        let budget = maybe_to_sql(new.budget.map(u64::from))?;
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        if let Some(account) = new.account {
            let count: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM keys WHERE account = $1 AND disabled = 0")
                    .bind(account)
                    .fetch_one(&mut *tx)
                    .await?;
            if count >= KEYS_MAX {
                return Err(StoreError::ManyKeys(KEYS_MAX));
            }
        }
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO keys (hash, last4, name, budget, created_ms, changed_ms, account, scopes, expires_ms,
                 spend_per_day, requests_per_minute, units_per_minute)
             VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11) RETURNING id",
        )
        .bind(hash_of(&secret).as_bytes().to_vec())
        .bind(last4.clone())
        .bind(new.name)
        .bind(budget)
        .bind(now)
        .bind(new.account)
        .bind(new.scopes.bits())
        .bind(maybe_to_sql(new.expires_ms)?)
        .bind(maybe_to_sql(new.limits.spend_per_day.map(u64::from))?)
        .bind(maybe_to_sql(new.limits.requests_per_minute)?)
        .bind(maybe_to_sql(new.limits.units_per_minute)?)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO purses (kind, owner, day, cap) VALUES ($1, $2, 0, $3)")
            .bind(PurseKind::Key.number())
            .bind(id)
            .bind(budget)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(CreatedKey { id: KeyId(id), secret, last4 })
    }

    pub async fn set_disabled(&self, key: KeyId, disabled: bool) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE keys SET disabled = $1, changed_ms = $2 WHERE id = $3")
            .bind(i64::from(disabled))
            .bind(to_sql(now_ms())?)
            .bind(key.0);
        one_key(key.0, query.execute(&self.pool).await?)
    }

    /// Disables a key of an account for good.
    pub(crate) async fn delete_key(&self, account: i64, key: KeyId) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE keys SET disabled = 1, changed_ms = $1 WHERE id = $2 AND account = $3 AND disabled = 0",
        )
        .bind(to_sql(now_ms())?)
        .bind(key.0)
        .bind(account);
        one_key(key.0, query.execute(&self.pool).await?)
    }

    /// What gateways hold already of a budget that shrinks, they may still spend, until it is idle.
    pub async fn set_budget(&self, key: KeyId, budget: Option<Amount>) -> Result<(), StoreError> {
        let budget = maybe_to_sql(budget.map(u64::from))?;
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        let query = sqlx::query("UPDATE keys SET budget = $1, changed_ms = $2 WHERE id = $3")
            .bind(budget)
            .bind(to_sql(now_ms())?)
            .bind(key.0);
        one_key(key.0, query.execute(&mut *tx).await?)?;
        sqlx::query("UPDATE purses SET cap = $1 WHERE kind = $2 AND owner = $3 AND day = 0")
            .bind(budget)
            .bind(PurseKind::Key.number())
            .bind(key.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Every key that was made or changed since a time.
    pub(crate) async fn keys(&self, since_ms: u64) -> Result<Vec<KeyRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} {FROM} WHERE changed_ms >= $1 ORDER BY keys.id");
        let rows = sqlx::query(&query).bind(to_sql(since_ms)?).fetch_all(&self.pool).await?;
        rows.iter().map(key_row).collect()
    }

    pub(crate) async fn key(&self, key: KeyId) -> Result<KeyRow, StoreError> {
        let query = format!("SELECT {COLUMNS} {FROM} WHERE keys.id = $1");
        let row = sqlx::query(&query).bind(key.0).fetch_optional(&self.pool).await?;
        key_row(&row.ok_or(StoreError::UnknownKey(key.0))?)
    }

    /// An account's keys that are not deleted.
    pub(crate) async fn keys_of(&self, account: i64) -> Result<Vec<KeyRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} {FROM} WHERE account = $1 AND disabled = 0 ORDER BY keys.id");
        let rows = sqlx::query(&query).bind(account).fetch_all(&self.pool).await?;
        rows.iter().map(key_row).collect()
    }
}

fn key_row(row: &AnyRow) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        id: KeyId(row.id("id")?),
        hash: Hash32(row.array("hash")?),
        last4: row.text("last4")?,
        name: row.text("name")?,
        budget: row.maybe("cap")?.map(Amount),
        disabled: row.id("disabled")? != 0,
        account: row.maybe_id("account")?,
        scopes: crate::keys::Scopes::from_bits(row.id("scopes")?),
        expires_ms: row.maybe("expires_ms")?,
        limits: Limits::read(row)?,
        created_ms: row.number("created_ms")?,
    })
}
