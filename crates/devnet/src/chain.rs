//! The running chain: one writer at a time, any number of readers, and a signal for each new checkpoint.
//! A step is prepared, written to the journal, and only then visible.

use crate::ledger::checks::Rejection;
use crate::ledger::genesis::GenesisError;
use crate::ledger::{Checkpoint, Executed, Ledger, Prepared, Step};
use crate::store::{Entry, Store, StoreError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use sui_crypto::SuiVerifier;
use sui_crypto::simple::SimpleVerifier;
use sui_sdk_types::{SignedTransaction, SimpleSignature, Transaction, UserSignature};
use tokio::sync::watch;

/// Why nothing happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("Invalid user signature: {0}")]
    Signature(String),
    #[error("Error checking transaction input objects: {0}")]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Feature is not supported: {0}")]
    Unsupported(&'static str),
    #[error("the devnet is stopping")]
    Stopped,
}

/// Why the chain cannot start from what is stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Genesis(#[from] GenesisError),
}

pub(crate) struct Chain {
    ledger: RwLock<Ledger>,
    /// Held from preparing a step until it is applied.
    journal: Mutex<Journal>,
    tip: watch::Sender<u64>,
}

/// Where steps are written before they are visible.
enum Journal {
    Memory,
    Store(Store),
    /// The devnet has stopped.
    Closed,
}

impl Chain {
    /// Builds the state from its first moment, then replays what `store` holds.
    pub(crate) fn start(mut ledger: Ledger, store: Option<Store>) -> Result<Self, ReplayError> {
        if let Some(store) = &store {
            store.replay(|entry| replay(&mut ledger, entry))?;
        }
        let (tip, _) = watch::channel(ledger.tip());
        let journal = Mutex::new(store.map_or(Journal::Memory, Journal::Store));
        Ok(Self { ledger: RwLock::new(ledger), journal, tip })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the sequence number of the newest checkpoint.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.tip.subscribe()
    }

    /// Chain time now, in ms.
    pub(crate) fn now_ms(&self) -> u64 {
        self.read().time(wall_ms())
    }

    /// Executes a signed transaction, or finds that it was executed before.
    pub(crate) fn submit(&self, signed: SignedTransaction) -> Result<Arc<Executed>, SubmitError> {
        check_signatures(&signed)?;
        let digest = signed.transaction.digest();
        let journal = self.lock();
        if let Some(executed) = self.read().transaction(&digest) {
            return Ok(executed.clone());
        }
        let checkpoint = self.step(&journal, Step::Transaction(Box::new(signed)))?;
        checkpoint.transactions.first().cloned().ok_or(SubmitError::Unsupported("this transaction"))
    }

    /// Executes a transaction of the chain's own, built from the state it will run on.
    pub(crate) fn submit_own(
        &self,
        build: impl FnOnce(&Ledger) -> Result<SignedTransaction, SubmitError>,
    ) -> Result<Arc<Executed>, SubmitError> {
        let journal = self.lock();
        let signed = build(&self.read())?;
        let checkpoint = self.step(&journal, Step::Transaction(Box::new(signed)))?;
        checkpoint.transactions.first().cloned().ok_or(SubmitError::Unsupported("this transaction"))
    }

    /// Moves the clock ahead; returns the chain time afterwards.
    pub(crate) fn advance_clock(&self, by_ms: u64) -> Result<u64, SubmitError> {
        let checkpoint = self.step(&self.lock(), Step::AdvanceClock { by_ms })?;
        Ok(checkpoint.summary.timestamp_ms)
    }

    /// Ends the epoch; returns the number of the new one.
    pub(crate) fn advance_epoch(&self) -> Result<u64, SubmitError> {
        self.step(&self.lock(), Step::NextEpoch)?;
        Ok(self.read().epoch())
    }

    fn step(&self, journal: &Journal, step: Step) -> Result<Arc<Checkpoint>, SubmitError> {
        let at_ms = self.now_ms();
        let prepared = self.read().prepare(step.clone(), at_ms)?;
        let checkpoint = prepared.checkpoint.clone();
        let sequence = checkpoint.summary.sequence_number;
        match journal {
            Journal::Memory => {}
            Journal::Store(store) => {
                store.append(sequence, &Entry { at_ms, step, checkpoint: checkpoint.digest })?
            }
            Journal::Closed => return Err(SubmitError::Stopped),
        }
        self.apply(prepared);
        self.tip.send_replace(sequence);
        Ok(checkpoint)
    }

    /// Ends every stream, now and later.
    pub(crate) fn end_streams(&self) {
        self.tip.send_replace(u64::MAX);
    }

    /// Takes no further step and lets go of the journal's file, whoever still holds the chain.
    pub(crate) fn close(&self) {
        self.end_streams();
        *self.lock() = Journal::Closed;
    }

    fn apply(&self, prepared: Prepared) {
        self.ledger.write().unwrap_or_else(PoisonError::into_inner).apply(prepared);
    }

    fn lock(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replay(ledger: &mut Ledger, entry: Entry) -> Result<(), String> {
    let Entry { at_ms, step, checkpoint } = entry;
    let prepared = ledger.prepare(step, at_ms).map_err(|error| error.to_string())?;
    if prepared.checkpoint.digest != checkpoint {
        return Err("it now gives another result than when it was made".to_owned());
    }
    ledger.apply(prepared);
    Ok(())
}

/// Every required address must have signed, and nobody else.
fn check_signatures(signed: &SignedTransaction) -> Result<(), SubmitError> {
    let Transaction { sender, gas_payment, .. } = &signed.transaction;
    let mut missing = vec![*sender];
    if gas_payment.owner != *sender {
        missing.push(gas_payment.owner);
    }
    if signed.signatures.len() != missing.len() {
        let (expected, actual) = (missing.len(), signed.signatures.len());
        return Err(SubmitError::Signature(format!("Expect {expected} signer signatures but got {actual}")));
    }
    for signature in &signed.signatures {
        let UserSignature::Simple(SimpleSignature::Ed25519 { public_key, .. }) = signature else {
            return Err(SubmitError::Unsupported("signature schemes other than ed25519"));
        };
        SimpleVerifier
            .verify_transaction(&signed.transaction, signature)
            .map_err(|error| SubmitError::Signature(format!("Signature is not valid: {error}")))?;
        let signer = public_key.derive_address();
        if !missing.contains(&signer) {
            return Err(SubmitError::Signature(format!(
                "signer {signer} is neither the sender nor pays for the gas"
            )));
        }
        missing.retain(|address| *address != signer);
    }
    match missing.first() {
        Some(address) => Err(SubmitError::Signature(format!("Missing signature of {address}"))),
        None => Ok(()),
    }
}

pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
