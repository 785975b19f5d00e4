//! Transactions about stacks: each is kept before it is sent, and what it moved is kept for good.

use super::{Journal, JournalError, StackState, address, from_sql, receipt, to_sql};
use crate::market::Done;
use atoma_sqlite::rusqlite::{Connection, Row, params};
use atoma_types::{Address, Amount, NodeId, TaskId, Units};

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Purchase,
    /// More units, or more of them granted.
    Growth,
    Close,
    Refund,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Growth => "growth",
            Self::Close => "close",
            Self::Refund => "refund",
        }
    }

    fn parse(text: &str) -> Result<Self, JournalError> {
        let all = [Self::Purchase, Self::Growth, Self::Close, Self::Refund];
        let found = all.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| JournalError::Corrupt(format!("transaction for a {text}")))
    }
}

/// A transaction that was prepared and is not known to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Of a purchase, it names the request key.
    pub label: String,
    pub kind: Kind,
    pub task: TaskId,
    /// What it is about; a purchase makes its own.
    pub stack: Option<Address>,
    pub prepared: Vec<u8>,
}

/// What all transactions together moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Into stacks and out of them.
    pub paid: Amount,
    pub returned: Amount,
    /// Of those that succeeded.
    pub gas_mist: i64,
    pub purchases: u64,
    pub growths: u64,
}

impl Journal {
    /// Keeps a transaction before it is sent.
    pub async fn add_intent(&self, intent: &Intent, now_ms: u64) -> Result<(), JournalError> {
        let Intent { label, kind, task, stack, prepared } = intent.clone();
        let (task, now_ms) = (to_sql(task.0)?, to_sql(now_ms)?);
        let stack = stack.map(|stack| stack.as_bytes().to_vec());
        let sql =
            "INSERT INTO intents (label, kind, task, stack, prepared, created_ms) VALUES (?, ?, ?, ?, ?, ?)";
        let write = move |tx: &Connection| {
            tx.execute(sql, params![label, kind.as_str(), task, stack, prepared, now_ms])
        };
        self.writer.durably(write).await.map(drop)
    }

    /// The transaction will never happen.
    pub async fn drop_intent(&self, label: &str) -> Result<(), JournalError> {
        let label = label.to_owned();
        let sql = "DELETE FROM intents WHERE label = ?";
        self.writer.durably(move |tx| tx.execute(sql, [label])).await.map(drop)
    }

    /// The transaction happened, and this is what it did.
    pub async fn fulfil_intent(&self, intent: &Intent, done: &Done, now_ms: u64) -> Result<(), JournalError> {
        let Intent { label, kind, task, stack, .. } = intent.clone();
        let (task, now_ms, gas) = (to_sql(task.0)?, to_sql(now_ms)?, done.gas_mist);
        let (paid, returned) = (to_sql(done.paid.0)?, to_sql(done.returned.0)?);
        let stack = done.bought.or(stack).map(|stack| stack.as_bytes().to_vec());
        let write = move |tx: &Connection| {
            tx.execute("DELETE FROM intents WHERE label = ?", [&label])?;
            tx.execute(
                "INSERT INTO payments (label, kind, stack, paid, returned, gas, at_ms)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![label, kind.as_str(), stack, paid, returned, gas, now_ms],
            )?;
            match kind {
                Kind::Purchase => tx.execute(
                    "INSERT INTO stacks (stack, label, task, state, next_nonce, created_ms)
                     VALUES (?, ?, ?, 'open', 1, ?) ON CONFLICT DO NOTHING",
                    params![stack, label, task, now_ms],
                ),
                Kind::Close => tx.execute(
                    "UPDATE stacks SET state = ? WHERE stack = ?",
                    params![StackState::Closing.as_str(), stack],
                ),
                Kind::Growth | Kind::Refund => Ok(0),
            }
        };
        self.writer.durably(write).await.map(drop)
    }

    /// In the order in which they were prepared.
    pub async fn intents(&self) -> Result<Vec<Intent>, JournalError> {
        let intent = |row: &Row<'_>| {
            Ok(Intent {
                label: row.get("label")?,
                kind: Kind::parse(&row.get::<_, String>("kind")?)?,
                task: TaskId(from_sql(row.get("task")?)?),
                stack: row.get::<_, Option<Vec<u8>>>("stack")?.map(|bytes| address(&bytes)).transpose()?,
                prepared: row.get("prepared")?,
            })
        };
        let sql = "SELECT label, kind, task, stack, prepared FROM intents ORDER BY created_ms, rowid";
        self.read(move |connection| connection.prepare(sql)?.query_and_then([], intent)?.collect()).await
    }

    pub async fn spent(&self) -> Result<Spent, JournalError> {
        let sql = "SELECT COALESCE(SUM(paid), 0), COALESCE(SUM(returned), 0), COALESCE(SUM(gas), 0),
                   COALESCE(SUM(kind = 'purchase'), 0), COALESCE(SUM(kind = 'growth'), 0) FROM payments";
        let read = move |connection: &Connection| {
            let row = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]);
            Ok(connection.query_row(sql, [], row)?)
        };
        let [paid, returned, gas_mist, purchases, growths]: [i64; 5] = self.read(read).await?;
        Ok(Spent {
            paid: Amount(from_sql(paid)?),
            returned: Amount(from_sql(returned)?),
            gas_mist,
            purchases: from_sql(purchases)?,
            growths: from_sql(growths)?,
        })
    }

    /// Units of a stack that each node answered for, as its receipts say.
    pub async fn units_used(&self, stack: Address) -> Result<Vec<(NodeId, Units)>, JournalError> {
        let sql = "SELECT receipt FROM receipts AS one WHERE stack = ? AND count =
                   (SELECT MAX(count) FROM receipts WHERE stack = one.stack AND node = one.node)";
        let read = move |connection: &Connection| {
            connection.prepare(sql)?.query_and_then(params![stack.as_bytes()], receipt)?.collect()
        };
        let newest: Vec<atoma_types::Signed<atoma_types::Receipt>> = self.read(read).await?;
        Ok(newest.into_iter().map(|signed| (signed.message.node, signed.message.total_units)).collect())
    }
}
