//! Transactions about stacks, so that none is paid twice: each is journaled before it is sent, and sent again
//! until its outcome is known, also by the next start.

use super::{Inner, now_ms};
use crate::journal::{Intent, JournalError, Kind};
use crate::market::{Done, MarketError, Prepared};
use atoma_chain::Call;
use atoma_types::{Address, TaskId};
use std::time::Duration;

/// Submissions of one transaction before its outcome is left to the next attempt.
const SUBMITS: u32 = 5;
const SUBMIT_PAUSE: Duration = Duration::from_millis(200);
/// Preparations of one that is provably dead.
const PREPARES: u32 = 4;

/// What a transaction is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) kind: Kind,
    pub(super) task: TaskId,
    pub(super) stack: Option<Address>,
}

impl Inner {
    /// Prepares, journals and submits. After [`MarketError::Unknown`] it may still happen, and is
    /// [finished](Self::finish) before anything like it is prepared.
    pub(super) async fn transact(&self, about: About, label: &str, call: Call) -> Result<Done, MarketError> {
        let About { kind, task, stack } = about;
        let mut prepares = 0;
        loop {
            prepares += 1;
            let prepared = self.market.prepare(call.clone()).await?;
            let bytes = prepared.bytes.clone();
            let intent = Intent { label: label.to_owned(), kind, task, stack, prepared: bytes };
            self.journal.add_intent(&intent, now_ms()).await?;
            match self.carry_out(&intent, prepared).await {
                Err(MarketError::Dead(reason)) if prepares < PREPARES => {
                    tracing::debug!(reason, label, "preparing anew");
                }
                result => return result,
            }
        }
    }

    /// Carries out what the journal still has of this kind. An error leaves it open; that one came to nothing is
    /// none.
    pub(super) async fn finish(&self, is_meant: impl Fn(&Intent) -> bool) -> Result<(), MarketError> {
        for intent in self.journal.intents().await?.iter().filter(|intent| is_meant(intent)) {
            match self.carry_out(intent, Prepared::from_bytes(intent.prepared.clone())).await {
                Err(error @ MarketError::Unknown(_)) => return Err(error),
                Err(error) => tracing::info!(%error, label = intent.label, "a transaction came to nothing"),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Submits a kept transaction until its outcome is known, and writes that down. After
    /// [`MarketError::Unknown`] it is still in the journal, after any other error it never happens.
    async fn carry_out(&self, intent: &Intent, prepared: Prepared) -> Result<Done, MarketError> {
        let not_written = |error: JournalError| MarketError::Unknown(error.to_string());
        let mut submits = 0;
        loop {
            submits += 1;
            match self.market.submit(prepared.clone()).await {
                Ok(done) => {
                    self.journal.fulfil_intent(intent, &done, now_ms()).await.map_err(not_written)?;
                    return Ok(done);
                }
                Err(MarketError::Unknown(reason)) if submits >= SUBMITS => {
                    return Err(MarketError::Unknown(reason));
                }
                Err(MarketError::Unknown(reason)) => {
                    tracing::debug!(reason, label = intent.label, "submitting again");
                    tokio::time::sleep(SUBMIT_PAUSE.saturating_mul(submits)).await;
                }
                Err(error) => {
                    self.journal.drop_intent(&intent.label).await.map_err(not_written)?;
                    return Err(error);
                }
            }
        }
    }
}

/// A name that no other transaction of this wallet has.
pub(super) fn new_label(what: &str) -> Result<String, MarketError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| MarketError::Refused("the system gave no randomness".into()))?;
    Ok(format!("{what}/{}", hex::encode(bytes)))
}
