//! A signed transaction before, and its effects after.

use crate::ChainError;
use crate::pool::Lease;
use atoma_types::Address;
use atoma_types::onchain::Event;
use std::sync::Arc;
use sui_crypto::SuiVerifier;
use sui_crypto::simple::SimpleVerifier;
use sui_sdk_types::{Digest, SimpleSignature, Transaction, TransactionExpiration, UserSignature};

/// A transaction that is signed and not yet known to have executed. [`SignedTransaction::to_bytes`] is
/// what to journal before submitting: the same bytes execute at most once, however often they are sent.
/// While it lives, its coins serve no other transaction of the same wallet.
#[derive(Clone)]
pub struct SignedTransaction {
    inner: Arc<Signed>,
    /// None if it was read back from a journal.
    pub(crate) lease: Option<Arc<Lease>>,
}

struct Signed {
    digest: Digest,
    transaction: Transaction,
    signature: UserSignature,
}

impl SignedTransaction {
    pub(crate) fn new(transaction: Transaction, signature: UserSignature, lease: Option<Arc<Lease>>) -> Self {
        let digest = transaction.digest();
        Self { inner: Arc::new(Signed { digest, transaction, signature }), lease }
    }

    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    pub fn sender(&self) -> Address {
        self.inner.transaction.sender
    }

    /// The last epoch in which it can execute.
    pub fn expires_epoch(&self) -> Option<u64> {
        match self.inner.transaction.expiration {
            TransactionExpiration::Epoch(epoch) => Some(epoch),
            _ => None,
        }
    }

    /// BCS of transaction and signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = self.inner.signature.to_bytes();
        #[expect(clippy::expect_used, reason = "BCS of a built transaction into memory cannot fail")]
        bcs::to_bytes(&(&self.inner.transaction, signature)).expect("transaction")
    }

    /// Reads what [`SignedTransaction::to_bytes`] wrote, and checks the signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChainError> {
        let malformed = |reason: String| ChainError::Malformed { what: "the journaled transaction", reason };
        let (transaction, signature): (Transaction, Vec<u8>) =
            bcs::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        let signature =
            UserSignature::from_bytes(&signature).map_err(|error| malformed(error.to_string()))?;
        SimpleVerifier
            .verify_transaction(&transaction, &signature)
            .map_err(|error| malformed(error.to_string()))?;
        let signer = match &signature {
            UserSignature::Simple(SimpleSignature::Ed25519 { public_key, .. }) => {
                Some(public_key.derive_address())
            }
            _ => None,
        };
        if signer != Some(transaction.sender) {
            return Err(malformed("not signed by its sender".to_owned()));
        }
        Ok(Self::new(transaction, signature, None))
    }

    pub(crate) fn transaction(&self) -> &Transaction {
        &self.inner.transaction
    }

    pub(crate) fn signature(&self) -> &UserSignature {
        &self.inner.signature
    }
}

impl std::fmt::Debug for SignedTransaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedTransaction({} of {})", self.digest(), self.sender())
    }
}

/// An object that a transaction created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub id: Address,
    /// Canonical type, `0x…::stack::Stack<…>`, where the full node told it.
    pub object_type: Option<String>,
    /// `None` if it is shared.
    pub owner: Option<Address>,
}

/// A transaction that executed and succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub digest: Digest,
    /// `None` if the full node had not seen its checkpoint in time; it is final all the same.
    pub checkpoint: Option<u64>,
    /// The contract's events in order; those of other packages are left out.
    pub events: Vec<Event>,
    /// Net gas in MIST, storage rebate subtracted; negative if more came back than was paid.
    pub gas_used: i64,
    pub created: Vec<Created>,
}

impl Executed {
    /// The stack that an [`crate::Call::AcquireStack`] created.
    pub fn acquired_stack(&self) -> Option<Address> {
        self.events.iter().find_map(|event| match event {
            Event::StackAcquired(acquired) => Some(acquired.stack),
            _ => None,
        })
    }

    /// The dispute that a [`crate::DisputeCall::Open`] made.
    pub fn opened_dispute(&self) -> Option<Address> {
        self.events.iter().find_map(|event| match event {
            Event::DisputeOpened(opened) => Some(opened.dispute),
            _ => None,
        })
    }
}
