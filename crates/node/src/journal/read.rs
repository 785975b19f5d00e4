//! Reading back: everything at boot, a page of old receipts while serving.

use super::{Journal, JournalError};
use crate::ledger::{Journaled, Terms};
use atoma_types::{Address, Hash32, Receipt, Signed, Voucher};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// A transaction that may or may not have been submitted before the crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: Hash32,
    pub(crate) transaction: Vec<u8>,
}

/// A channel as it was journaled.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) terms: Terms,
    /// When its vouchers stop settling at the latest, in chain time; zero if that was not written down.
    pub(crate) settle_until_ms: u64,
    /// Nothing more was expected of it.
    pub(crate) closed: bool,
    pub(crate) history: Journaled,
}

impl Journal {
    /// Every channel that may still be served or settled.
    pub(crate) async fn channels(&self) -> Result<Vec<Kept>, JournalError> {
        let rows = sqlx::query("SELECT terms, settle_until_ms, closed FROM channels WHERE closed = 0")
            .fetch_all(&self.reader)
            .await?;
        let mut channels = Vec::with_capacity(rows.len());
        for row in rows {
            channels.push(self.kept(&row).await?);
        }
        Ok(channels)
    }

    /// The channel of `stack`, if this node ever had one, even if it was closed since.
    pub(crate) async fn channel(&self, stack: Address) -> Result<Option<Kept>, JournalError> {
        let row = sqlx::query("SELECT terms, settle_until_ms, closed FROM channels WHERE stack = ?")
            .bind(stack.as_bytes().to_vec())
            .fetch_optional(&self.reader)
            .await?;
        match row {
            Some(row) => Ok(Some(self.kept(&row).await?)),
            None => Ok(None),
        }
    }

    async fn kept(&self, row: &SqliteRow) -> Result<Kept, JournalError> {
        let terms: Terms = decode(row, 0)?;
        let settle_until_ms = row.try_get::<i64, _>(1)?.cast_unsigned();
        let history = self.history(terms.stack).await?;
        Ok(Kept { terms, settle_until_ms, closed: row.try_get(2)?, history })
    }

    async fn history(&self, stack: Address) -> Result<Journaled, JournalError> {
        let key = stack.as_bytes().to_vec();
        let nonces: Vec<i64> = sqlx::query_scalar("SELECT nonce FROM admitted WHERE stack = ?")
            .bind(key.clone())
            .fetch_all(&self.reader)
            .await?;
        let voucher = sqlx::query("SELECT voucher FROM vouchers WHERE stack = ?")
            .bind(key)
            .fetch_optional(&self.reader)
            .await?;
        Ok(Journaled {
            nonces: nonces.into_iter().map(i64::cast_unsigned).collect(),
            receipts: self.receipts_from(stack, 1, i64::MAX).await?,
            voucher: voucher.map(|row| decode::<Signed<Voucher>>(&row, 0)).transpose()?,
        })
    }

    /// Receipts of one channel from `from` on, in order.
    pub(crate) async fn receipts_from(
        &self,
        stack: Address,
        from: u64,
        limit: i64,
    ) -> Result<Vec<Signed<Receipt>>, JournalError> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let rows =
            sqlx::query("SELECT receipt FROM receipts WHERE stack = ? AND count >= ? ORDER BY count LIMIT ?")
                .bind(stack.as_bytes().to_vec())
                .bind(from)
                .bind(limit)
                .fetch_all(&self.reader)
                .await?;
        rows.iter().map(|row| decode(row, 0)).collect()
    }

    /// Transactions whose outcome is not known.
    pub(crate) async fn pending(&self) -> Result<Vec<Pending>, JournalError> {
        let rows = sqlx::query("SELECT id, signed_transaction FROM settlements WHERE outcome IS NULL")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let id: Vec<u8> = row.try_get(0)?;
                let id = id.try_into().map_err(|_| JournalError::Read("a settlement's id".into()))?;
                Ok(Pending { id: Hash32(id), transaction: row.try_get(1)? })
            })
            .collect()
    }

    /// Where the event stream stood.
    pub(crate) async fn cursor(&self) -> Result<Option<String>, JournalError> {
        let value: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'cursor'")
            .fetch_optional(&self.reader)
            .await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }
}

fn decode<T: DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<T, JournalError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bcs::from_bytes(&bytes).map_err(|error| JournalError::Read(error.to_string().into()))
}

impl From<sqlx::Error> for JournalError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.to_string().into())
    }
}
