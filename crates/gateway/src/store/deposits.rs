//! Transfers of the coin to the gateway, each credited once.

use super::{Columns as _, PurseKind, Store, StoreError, now_ms, to_sql};
use atoma_types::{Address, Amount};
use serde::Serialize;
use sqlx::AnyConnection;

const CURSOR: &str = "deposits";

/// A transfer to the gateway's address, as the chain has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) digest: String,
    pub(crate) sender: Address,
    pub(crate) amount: Amount,
    pub(crate) checkpoint: u64,
}

/// A transfer that was seen, as its sender's account sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deposit {
    /// Of the transaction.
    pub digest: String,
    pub sender: Address,
    /// Base units of the coin.
    pub amount: u64,
    pub checkpoint: u64,
    pub at_ms: u64,
}

impl Store {
    /// Where the reader of transfers stands.
    pub(crate) async fn cursor(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT position FROM cursors WHERE name = $1")
            .bind(CURSOR)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Keeps transfers and moves the cursor behind them, in one transaction. What was seen before changes
    /// nothing, whoever saw it.
    pub(crate) async fn deposit(
        &self,
        transfers: &[Transfer],
        position: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        for transfer in transfers {
            sqlx::query(
                "INSERT INTO deposits (digest, sender, amount, checkpoint, at_ms) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (digest) DO NOTHING",
            )
            .bind(transfer.digest.clone())
            .bind(transfer.sender.as_bytes().to_vec())
            .bind(to_sql(transfer.amount.0)?)
            .bind(to_sql(transfer.checkpoint)?)
            .bind(to_sql(now_ms())?)
            .execute(&mut *tx)
            .await?;
        }
        if !transfers.is_empty() {
            credit(&mut tx).await?;
        }
        if let Some(position) = position {
            sqlx::query(
                "INSERT INTO cursors (name, position) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET position = excluded.position",
            )
            .bind(CURSOR)
            .bind(position.to_owned())
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Credits what was sent by addresses that are known by now.
    pub(crate) async fn credit_deposits(&self) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with(self.dialect.begin()).await?;
        credit(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// An account's deposits, newest first.
    pub(crate) async fn deposits(&self, account: i64, limit: u32) -> Result<Vec<Deposit>, StoreError> {
        let rows = sqlx::query(
            "SELECT digest, sender, amount, checkpoint, at_ms FROM deposits WHERE account = $1
             ORDER BY checkpoint DESC, digest LIMIT $2",
        )
        .bind(account)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let deposit = |row: &sqlx::any::AnyRow| {
            Ok(Deposit {
                digest: row.text("digest")?,
                sender: Address::new(row.array("sender")?),
                amount: row.number("amount")?,
                checkpoint: row.number("checkpoint")?,
                at_ms: row.number("at_ms")?,
            })
        };
        rows.iter().map(deposit).collect()
    }
}

/// Gives unclaimed deposits to the accounts of their senders. A row that gets its account is credited by who gave
/// it, once.
async fn credit(tx: &mut AnyConnection) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE deposits
         SET account = (SELECT account FROM addresses WHERE addresses.address = deposits.sender)
         WHERE account IS NULL AND sender IN (SELECT address FROM addresses) RETURNING account, amount",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut credits = std::collections::BTreeMap::<i64, u64>::new();
    for row in &rows {
        let sum = credits.entry(row.id("account")?).or_default();
        *sum = sum.saturating_add(row.number("amount")?);
    }
    for (account, amount) in credits {
        sqlx::query("UPDATE purses SET cap = cap + $1 WHERE kind = $2 AND owner = $3 AND day = 0")
            .bind(to_sql(amount)?)
            .bind(PurseKind::Account.number())
            .bind(account)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
