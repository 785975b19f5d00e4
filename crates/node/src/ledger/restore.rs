//! Rebuilds a channel's books from what was journaled, and refuses a journal that contradicts itself.

use super::{Ledger, Limits, Terms, VoucherRefusal};
use atoma_types::{Receipt, Signed, Voucher};

/// What the journal knows of one channel, receipts in order.
#[derive(Clone, Debug, Default)]
pub struct Journaled {
    pub nonces: Vec<u64>,
    pub receipts: Vec<Signed<Receipt>>,
    pub voucher: Option<Signed<Voucher>>,
}

/// The journal does not describe a possible history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("record {found} stands where {expected} belongs")]
    Gap { expected: u64, found: u64 },
    #[error("record {0} does not extend the transcript before it")]
    Broken(u64),
    #[error("record {0} belongs to another channel")]
    Foreign(u64),
    #[error("the voucher does not fit the transcript: {0}")]
    Voucher(#[from] VoucherRefusal),
}

impl Ledger {
    /// The books as they were when everything in `journaled` had been written. Requests that were in flight
    /// have no record: they cost nothing, and their nonces stay used.
    pub fn restore(terms: Terms, limits: Limits, journaled: Journaled) -> Result<Self, RestoreError> {
        let mut ledger = Self::new(terms, limits);
        ledger.nonces.extend(journaled.nonces);
        for signed in journaled.receipts {
            ledger.replay(signed)?;
        }
        if let Some(voucher) = journaled.voucher {
            ledger.acknowledge(&voucher)?;
        }
        ledger.close_if_forked();
        Ok(ledger)
    }

    fn replay(&mut self, signed: Signed<Receipt>) -> Result<(), RestoreError> {
        let receipt = &signed.message;
        let (expected, found) = (self.count() + 1, receipt.count);
        if found != expected {
            return Err(RestoreError::Gap { expected, found });
        }
        if (receipt.stack, receipt.node) != (self.terms.stack, self.terms.node) {
            return Err(RestoreError::Foreign(found));
        }
        let total = self.total_units().add(receipt.units);
        if total != Ok(receipt.total_units) || self.transcript.root_with(&receipt.record()) != receipt.root {
            return Err(RestoreError::Broken(found));
        }
        self.append(signed);
        Ok(())
    }
}
