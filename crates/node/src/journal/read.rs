//! Reading back: everything at boot, a page of old receipts while serving.

use super::{Journal, JournalError};
use crate::ledger::{Journaled, Terms};
use atoma_sqlite::rusqlite::{Connection, Error, OptionalExtension as _, Row, params};
use atoma_types::{Address, Forward, Hash32, Receipt, Signed, Voucher};
use serde::de::DeserializeOwned;

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
        self.read(|connection| {
            let sql = "SELECT terms, settle_until_ms, closed FROM channels WHERE closed = 0";
            let mut rows = connection.prepare_cached(sql)?;
            rows.query_and_then([], |row| kept(connection, row))?.collect()
        })
        .await
    }

    /// The channel of `stack`, if this node ever had one, even if it was closed since.
    pub(crate) async fn channel(&self, stack: Address) -> Result<Option<Kept>, JournalError> {
        self.read(move |connection| {
            let sql = "SELECT terms, settle_until_ms, closed FROM channels WHERE stack = ?";
            let mut rows = connection.prepare_cached(sql)?;
            let mut found = rows.query([stack.as_bytes()])?;
            found.next()?.map(|row| kept(connection, row)).transpose()
        })
        .await
    }

    /// Receipts of one channel from `from` on, in order.
    pub(crate) async fn receipts_from(
        &self,
        stack: Address,
        from: u64,
        limit: i64,
    ) -> Result<Vec<Signed<Receipt>>, JournalError> {
        self.read(move |connection| receipts_from(connection, stack, from, limit)).await
    }

    /// Those of a stack's requests that other nodes passed on, with what these signed.
    pub(crate) async fn forwards_of(
        &self,
        stack: Address,
        requests: Vec<Hash32>,
    ) -> Result<Vec<Signed<Forward>>, JournalError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.read(move |connection| {
            let sql = "SELECT forward FROM forwards WHERE stack = ? AND request_hash = ?";
            let mut rows = connection.prepare_cached(sql)?;
            let mut forwards = Vec::new();
            for request_hash in requests {
                let mut found = rows.query(params![stack.as_bytes(), request_hash.0])?;
                forwards.extend(found.next()?.map(|row| decode(row, 0)).transpose()?);
            }
            Ok(forwards)
        })
        .await
    }

    /// Transactions whose outcome is not known.
    pub(crate) async fn pending(&self) -> Result<Vec<Pending>, JournalError> {
        self.read(|connection| {
            let sql = "SELECT id, signed_transaction FROM settlements WHERE outcome IS NULL";
            let mut rows = connection.prepare_cached(sql)?;
            let pending = |row: &Row<'_>| Ok(Pending { id: Hash32(row.get(0)?), transaction: row.get(1)? });
            rows.query_map([], pending)?.collect::<Result<_, _>>().map_err(JournalError::from)
        })
        .await
    }

    /// Where the event stream stood.
    pub(crate) async fn cursor(&self) -> Result<Option<String>, JournalError> {
        let value = self.read(|connection| meta(connection, "cursor").map_err(JournalError::from)).await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>, Error> {
    connection.query_row("SELECT value FROM meta WHERE key = ?", [key], |row| row.get(0)).optional()
}

fn kept(connection: &Connection, row: &Row<'_>) -> Result<Kept, JournalError> {
    let terms: Terms = decode(row, 0)?;
    let settle_until_ms = row.get::<_, i64>(1)?.cast_unsigned();
    let history = history(connection, terms.stack)?;
    Ok(Kept { terms, settle_until_ms, closed: row.get(2)?, history })
}

fn history(connection: &Connection, stack: Address) -> Result<Journaled, JournalError> {
    let mut admitted = connection.prepare_cached("SELECT nonce FROM admitted WHERE stack = ?")?;
    let nonces = admitted.query_map([stack.as_bytes()], |row| row.get(0).map(i64::cast_unsigned))?;
    let mut vouchers = connection.prepare_cached("SELECT voucher FROM vouchers WHERE stack = ?")?;
    let mut newest = vouchers.query([stack.as_bytes()])?;
    Ok(Journaled {
        nonces: nonces.collect::<Result<_, _>>()?,
        receipts: receipts_from(connection, stack, 1, i64::MAX)?,
        voucher: newest.next()?.map(|row| decode::<Signed<Voucher>>(row, 0)).transpose()?,
    })
}

fn receipts_from(
    connection: &Connection,
    stack: Address,
    from: u64,
    limit: i64,
) -> Result<Vec<Signed<Receipt>>, JournalError> {
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let sql = "SELECT receipt FROM receipts WHERE stack = ? AND count >= ? ORDER BY count LIMIT ?";
    let mut rows = connection.prepare_cached(sql)?;
    rows.query_and_then(params![stack.as_bytes(), from, limit], |row| decode(row, 0))?.collect()
}

fn decode<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, JournalError> {
    let bytes =
        row.get_ref(column)?.as_blob().map_err(|error| JournalError::Read(error.to_string().into()))?;
    bcs::from_bytes(bytes).map_err(|error| JournalError::Read(error.to_string().into()))
}

impl From<Error> for JournalError {
    fn from(error: Error) -> Self {
        Self::Read(error.to_string().into())
    }
}
