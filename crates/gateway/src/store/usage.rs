//! What was paid, as its payers see it.

use super::{Columns as _, Store, StoreError, maybe_to_sql};
use crate::keys::KeyId;
use atoma_types::{Hash32, Receipt, Signed};
use serde::Serialize;
use sqlx::any::AnyRow;

/// Sums over requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub units: u64,
    pub cost: u64,
}

/// One request, as its key's holder sees it. Amounts are base units of the coin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageEntry {
    pub id: i64,
    pub at_ms: u64,
    pub key: i64,
    pub model: String,
    pub node: u64,
    pub stack: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub units: u64,
    /// The node's, per million units.
    pub price: u64,
    pub cost: u64,
    /// Hash of the signed request, by which the receipt is found.
    pub request: Option<String>,
    /// The node's signed receipt, as it travels.
    pub receipt: String,
}

/// Which requests to list.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    pub account: Option<i64>,
    pub key: Option<i64>,
    pub model: Option<String>,
    /// At this time or later, in ms.
    pub from_ms: Option<u64>,
    /// Before this time.
    pub to_ms: Option<u64>,
    /// Older than this entry.
    pub before: Option<i64>,
    /// Newer than this one; then the oldest come first.
    pub after: Option<i64>,
}

/// A key's money and sums at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    pub budget: Option<u64>,
    pub spent: u64,
    pub reserved: u64,
    pub totals: Totals,
}

const COLUMNS: &str =
    "id, at_ms, key, model, node, stack, input, output, units, price, cost, request_hash, receipt";
const TOTALS: &str = "COUNT(*) AS requests, CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input, \
     CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output, CAST(COALESCE(SUM(units), 0) AS BIGINT) AS units, \
     CAST(COALESCE(SUM(cost), 0) AS BIGINT) AS cost";

impl Store {
    pub async fn key_usage(&self, key: KeyId) -> Result<KeyUsage, StoreError> {
        let row = sqlx::query(
            "SELECT cap, spent,
                 (SELECT CAST(COALESCE(SUM(most), 0) AS BIGINT) FROM reservations WHERE key = $1) AS held,
                 COALESCE(requests, 0) AS requests, COALESCE(input, 0) AS input, COALESCE(output, 0) AS output,
                 COALESCE(units, 0) AS units, COALESCE(cost, 0) AS cost
             FROM purses LEFT JOIN totals ON totals.key = purses.owner
             WHERE purses.kind = 0 AND purses.owner = $1 AND purses.day = 0",
        )
        .bind(key.0)
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::UnknownKey(key.0))?;
        Ok(KeyUsage {
            budget: row.maybe("cap")?,
            spent: row.number("spent")?,
            reserved: row.number("held")?,
            totals: totals(&row)?,
        })
    }

    pub async fn totals(&self, key: KeyId) -> Result<Totals, StoreError> {
        Ok(self.key_usage(key).await?.totals)
    }

    /// Sums over everything that the filter admits.
    pub async fn sums(&self, filter: &UsageFilter) -> Result<Totals, StoreError> {
        let (condition, _) = conditions(filter);
        let text = format!("SELECT {TOTALS} FROM usage WHERE {condition}");
        totals(&bound(sqlx::query(&text), filter)?.fetch_one(&self.pool).await?)
    }

    /// Requests, newest first unless the filter says `after`.
    pub async fn usage(&self, filter: &UsageFilter, limit: u32) -> Result<Vec<UsageEntry>, StoreError> {
        let (condition, order) = conditions(filter);
        let text = format!("SELECT {COLUMNS} FROM usage WHERE {condition} ORDER BY id {order} LIMIT $8");
        let query = bound(sqlx::query(&text), filter)?.bind(i64::from(limit));
        query.fetch_all(&self.pool).await?.iter().map(usage_entry).collect()
    }

    /// The paid request with this hash, if this account, or else this key, paid for it.
    pub(crate) async fn usage_of(
        &self,
        request: Hash32,
        account: Option<i64>,
        key: Option<KeyId>,
    ) -> Result<Option<UsageEntry>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM usage
             WHERE request_hash = $1 AND (account = $2 OR key = $3) ORDER BY id LIMIT 1"
        );
        let row = sqlx::query(&text)
            .bind(request.as_bytes().to_vec())
            .bind(account)
            .bind(key.map(|key| key.0))
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(usage_entry).transpose()
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments<'q>>;

/// Every value is in the text, so that all are bound alike.
fn conditions(filter: &UsageFilter) -> (String, &'static str) {
    let mut parts = Vec::new();
    let set = [
        (filter.account.is_some(), "account = $1", "$1"),
        (filter.key.is_some(), "key = $2", "$2"),
        (filter.model.is_some(), "model = $3", "$3"),
        (filter.from_ms.is_some(), "at_ms >= $4", "$4"),
        (filter.to_ms.is_some(), "at_ms < $5", "$5"),
        (filter.before.is_some(), "id < $6", "$6"),
        (filter.after.is_some(), "id > $7", "$7"),
    ];
    for (is_set, condition, value) in set {
        match (is_set, value) {
            (true, _) => parts.push(condition.to_owned()),
            // PostgreSQL wants to know the type of every value.
            (false, "$3") => parts.push("CAST($3 AS TEXT) IS NULL".to_owned()),
            (false, value) => parts.push(format!("CAST({value} AS BIGINT) IS NULL")),
        }
    }
    (parts.join(" AND "), if filter.after.is_some() { "ASC" } else { "DESC" })
}

fn bound<'q>(query: Query<'q>, filter: &'q UsageFilter) -> Result<Query<'q>, StoreError> {
    Ok(query
        .bind(filter.account)
        .bind(filter.key)
        .bind(filter.model.as_deref())
        .bind(maybe_to_sql(filter.from_ms)?)
        .bind(maybe_to_sql(filter.to_ms)?)
        .bind(filter.before)
        .bind(filter.after))
}

fn totals(row: &AnyRow) -> Result<Totals, StoreError> {
    Ok(Totals {
        requests: row.number("requests")?,
        input_tokens: row.number("input")?,
        output_tokens: row.number("output")?,
        units: row.number("units")?,
        cost: row.number("cost")?,
    })
}

fn usage_entry(row: &AnyRow) -> Result<UsageEntry, StoreError> {
    let receipt: Signed<Receipt> =
        bcs::from_bytes(&row.bytes("receipt")?).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let request: Option<Vec<u8>> = sqlx::Row::try_get(row, "request_hash")?;
    Ok(UsageEntry {
        id: row.id("id")?,
        at_ms: row.number("at_ms")?,
        key: row.id("key")?,
        model: row.text("model")?,
        node: row.number("node")?,
        stack: row.text("stack")?,
        input_tokens: row.number("input")?,
        output_tokens: row.number("output")?,
        units: row.number("units")?,
        price: row.number("price")?,
        cost: row.number("cost")?,
        request: request.map(hex::encode),
        receipt: atoma_types::wire::encode(&receipt),
    })
}
