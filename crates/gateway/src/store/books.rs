//! The operator's books: what came in, what was charged, and what was paid for it.

use super::{Columns as _, Store, StoreError};
use serde::Serialize;

/// Sums in base units of the coin. What came in is charged or still owed to accounts; what was charged is paid
/// to nodes or earned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Deposits that accounts were credited with.
    pub credited: u64,
    /// Deposits of senders whom no account claims.
    pub unclaimed: u64,
    /// Charged to keys of accounts.
    pub charged_to_accounts: u64,
    /// Charged to keys of the operator's own, which pay from no deposit.
    pub charged_to_operator: u64,
    /// What accounts may still spend, or have set aside.
    pub owed_to_accounts: u64,
    /// Set aside for requests that are not settled, of all keys.
    pub reserved: u64,
    /// Owed to nodes by receipts, at the prices of their stacks.
    pub paid_to_nodes: u64,
    /// Charged beyond that.
    pub earned: u64,
    pub requests: u64,
    pub accounts: u64,
    pub keys: u64,
}

impl Store {
    /// All of it at one moment.
    pub async fn books(&self) -> Result<Books, StoreError> {
        let row = sqlx::query(
            "SELECT
             (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM deposits WHERE account IS NOT NULL) AS credited,
             (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM deposits WHERE account IS NULL) AS unclaimed,
             (SELECT CAST(COALESCE(SUM(totals.cost), 0) AS BIGINT) FROM totals JOIN keys ON keys.id = totals.key
                 WHERE account IS NOT NULL) AS of_accounts,
             (SELECT CAST(COALESCE(SUM(totals.cost), 0) AS BIGINT) FROM totals JOIN keys ON keys.id = totals.key
                 WHERE account IS NULL) AS of_operator,
             (SELECT CAST(COALESCE(SUM(cap - spent), 0) AS BIGINT) FROM purses WHERE kind = 1 AND day = 0) AS owed,
             (SELECT CAST(COALESCE(SUM(most), 0) AS BIGINT) FROM reservations) AS reserved,
             (SELECT CAST(COALESCE(SUM(paid), 0) AS BIGINT) FROM totals) AS paid,
             (SELECT CAST(COALESCE(SUM(cost - paid), 0) AS BIGINT) FROM totals) AS earned,
             (SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT) FROM totals) AS requests,
             (SELECT COUNT(*) FROM accounts) AS accounts,
             (SELECT COUNT(*) FROM keys WHERE disabled = 0) AS keys",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Books {
            credited: row.number("credited")?,
            unclaimed: row.number("unclaimed")?,
            charged_to_accounts: row.number("of_accounts")?,
            charged_to_operator: row.number("of_operator")?,
            owed_to_accounts: row.number("owed")?,
            reserved: row.number("reserved")?,
            paid_to_nodes: row.number("paid")?,
            earned: row.number("earned")?,
            requests: row.number("requests")?,
            accounts: row.number("accounts")?,
            keys: row.number("keys")?,
        })
    }
}
