//! Sending a signed transaction until its fate is known. The same bytes are sent again and again, never
//! others; before giving up or calling it dead, the ledger is asked by digest.

use crate::client::{decode, is_transient};
use crate::events::contract_event;
use crate::{ChainClient, ChainError, Created, Deployment, Executed, SignedTransaction};
use atoma_types::Address;
use atoma_types::onchain::Abort;
use std::time::Duration;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Digest, ExecutionError, ExecutionStatus, Input, ObjectChange, ObjectReference, Owner, Transaction,
    TransactionEffects, TransactionEvents, TransactionKind,
};
use tokio::time::Instant;
use tonic::{Code, Status};

/// How long one `submit` tries before it answers "not known yet".
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it waits for the checkpoint after execution.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// What is read of an executed transaction.
const READ: [&str; 6] = [
    "digest",
    "checkpoint",
    "effects.bcs",
    "effects.changed_objects.object_id",
    "effects.changed_objects.object_type",
    "events.bcs",
];

/// A transaction that executed, successfully or not.
pub(crate) struct Outcome {
    pub(crate) effects: TransactionEffects,
    executed: pb::ExecutedTransaction,
}

impl ChainClient {
    /// Until the transaction executed, is provably dead, or the time is over.
    pub(crate) async fn send(&self, transaction: &SignedTransaction) -> Result<Outcome, ChainError> {
        let digest = transaction.digest();
        let deadline = Instant::now() + SUBMIT_TIMEOUT;
        let mut pause = Backoff::new();
        loop {
            let error = match self.send_once(transaction).await {
                Ok(executed) => return self.wait_for_checkpoint(digest, executed).await,
                Err(status) => status,
            };
            match self.lookup(digest).await {
                Ok(Some(executed)) => return self.wait_for_checkpoint(digest, executed).await,
                Ok(None) if !is_transient(&error) => {
                    self.forget_gas_price();
                    return Err(self.refusal(transaction, &error).await);
                }
                _ => tracing::debug!(%digest, %error, "transaction not accepted yet"),
            }
            if Instant::now() >= deadline {
                return Err(ChainError::Timeout { digest });
            }
            pause.wait().await;
        }
    }

    /// Runs a signed transaction without sending it.
    pub(crate) async fn try_out(&self, transaction: &SignedTransaction) -> Result<Outcome, ChainError> {
        let request = pb::SimulateTransactionRequest::default()
            .with_transaction(transaction.transaction().clone())
            .with_read_mask(FieldMask::from_paths(READ.map(|field| format!("transaction.{field}"))))
            .with_do_gas_selection(false);
        let executed = self.simulate(request).await?.transaction.unwrap_or_default();
        let effects: TransactionEffects = decode("effects", executed.effects().bcs().value())?;
        Ok(Outcome { effects, executed })
    }

    async fn send_once(&self, transaction: &SignedTransaction) -> Result<pb::ExecutedTransaction, Status> {
        let request = pb::ExecuteTransactionRequest::default()
            .with_transaction(transaction.transaction().clone())
            .with_signatures(vec![transaction.signature().clone().into()])
            .with_read_mask(FieldMask::from_paths(READ));
        let answer = self.rpc().execution_client().execute_transaction(request).await?;
        answer.into_inner().transaction.ok_or_else(|| Status::unknown("empty answer"))
    }

    /// The executed transaction with this digest, if the full node knows it.
    pub(crate) async fn lookup(&self, digest: Digest) -> Result<Option<pb::ExecutedTransaction>, ChainError> {
        let request = pb::GetTransactionRequest::default()
            .with_digest(digest.to_string())
            .with_read_mask(FieldMask::from_paths(READ));
        match self.rpc().ledger_client().get_transaction(request).await {
            Ok(answer) => Ok(answer.into_inner().transaction),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.rpc_error(&status)),
        }
    }

    /// What a transaction did, `None` if it has not executed as far as the full node knows. A failed one
    /// is the error it was.
    pub async fn executed(&self, digest: Digest) -> Result<Option<Executed>, ChainError> {
        match self.lookup(digest).await? {
            Some(executed) => self.wait_for_checkpoint(digest, executed).await?.into_executed(self).map(Some),
            None => Ok(None),
        }
    }

    /// So that whoever reads next sees what was written.
    async fn wait_for_checkpoint(
        &self,
        digest: Digest,
        mut executed: pb::ExecutedTransaction,
    ) -> Result<Outcome, ChainError> {
        let deadline = Instant::now() + CHECKPOINT_TIMEOUT;
        let mut pause = Backoff::new();
        while executed.checkpoint.is_none() {
            match self.lookup(digest).await {
                Ok(Some(found)) if found.checkpoint.is_some() => executed = found,
                _ if Instant::now() >= deadline => {
                    tracing::warn!(%digest, "executed, but its checkpoint has not been seen");
                    break;
                }
                _ => pause.wait().await,
            }
        }
        let effects: TransactionEffects = decode("effects", executed.effects().bcs().value())?;
        if *effects.transaction_digest() != digest {
            let reason = "effects of another transaction".to_owned();
            return Err(ChainError::Malformed { what: "effects", reason });
        }
        Ok(Outcome { effects, executed })
    }

    /// What a definite refusal means: dead for ever, or wrong in itself.
    async fn refusal(&self, transaction: &SignedTransaction, refused: &Status) -> ChainError {
        match self.cause_of_death(transaction).await {
            Ok(Some(reason)) => ChainError::Dead { digest: transaction.digest(), reason },
            Ok(None) => ChainError::Rejected { reason: refused.message().to_owned() },
            Err(_) => ChainError::Timeout { digest: transaction.digest() },
        }
    }

    /// Why a transaction that has not executed never will, if that can be proved: one of its objects
    /// moved on to another version, or its last epoch is over.
    async fn cause_of_death(&self, transaction: &SignedTransaction) -> Result<Option<String>, ChainError> {
        if let Some(expires) = transaction.expires_epoch() {
            let epoch = self.gas_price().await?.epoch;
            if epoch > expires {
                return Ok(Some(format!("it expired with epoch {expires}")));
            }
        }
        for input in owned_inputs(transaction.transaction()) {
            let id = *input.object_id();
            match self.object(id).await? {
                Some(object) if object.version() <= input.version() => {}
                Some(_) => return Ok(Some(format!("another transaction used {id} first"))),
                None => return Ok(Some(format!("another transaction used up {id}"))),
            }
        }
        Ok(None)
    }
}

impl Outcome {
    /// The effects as the caller wants them: a failed execution is an error.
    pub(crate) fn into_executed(self, chain: &ChainClient) -> Result<Executed, ChainError> {
        let digest = *self.effects.transaction_digest();
        failure(self.effects.status(), chain.deployment(), digest)?;
        Ok(Executed {
            digest,
            checkpoint: self.executed.checkpoint,
            events: self.events(chain)?,
            gas_used: self.effects.gas_summary().net_gas_usage(),
            created: self.created().collect(),
        })
    }

    /// Shared objects just created need not be read before they are used.
    pub(crate) fn remember_shared(&self, chain: &ChainClient) {
        for change in self.effects.object_changes() {
            if let ObjectChange::Created { object_id, output_owner: Owner::Shared(version), .. } = change {
                chain.remember_shared(*object_id, *version);
            }
        }
    }

    fn events(&self, chain: &ChainClient) -> Result<Vec<atoma_types::onchain::Event>, ChainError> {
        let bytes = self.executed.events().bcs().value();
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let events: TransactionEvents = decode("events", bytes)?;
        let package = chain.deployment().package;
        let ours = events.0.iter().filter_map(|event| contract_event(package, &event.type_, &event.contents));
        Ok(ours
            .filter_map(|event| {
                event.inspect_err(|reason| tracing::warn!(reason, "event of a transaction left out")).ok()
            })
            .collect())
    }

    fn created(&self) -> impl Iterator<Item = Created> + '_ {
        self.effects.object_changes().filter_map(|change| match change {
            ObjectChange::Created { object_id, output_owner, .. } => Some(Created {
                id: *object_id,
                object_type: self.object_type(*object_id),
                owner: match output_owner {
                    Owner::Address(owner) => Some(*owner),
                    _ => None,
                },
            }),
            _ => None,
        })
    }

    fn object_type(&self, id: Address) -> Option<String> {
        let id = id.to_string();
        let changes = &self.executed.effects().changed_objects;
        let change = changes.iter().find(|change| change.object_id.as_deref() == Some(&id))?;
        change.object_type.clone()
    }
}

/// Objects that only one transaction can use at their version.
pub(crate) fn owned_inputs(transaction: &Transaction) -> impl Iterator<Item = &ObjectReference> {
    let inputs = match &transaction.kind {
        TransactionKind::ProgrammableTransaction(programmable) => programmable.inputs.as_slice(),
        _ => &[],
    };
    let inputs = inputs.iter().filter_map(|input| match input {
        Input::ImmutableOrOwned(reference) => Some(reference),
        _ => None,
    });
    transaction.gas_payment.objects.iter().chain(inputs)
}

/// A failed execution as an error.
pub(crate) fn failure(status: &ExecutionStatus, on: &Deployment, digest: Digest) -> Result<(), ChainError> {
    let ExecutionStatus::Failure { error, .. } = status else { return Ok(()) };
    match error {
        ExecutionError::MoveAbort { location, code } => Err(ChainError::Abort {
            abort: [on.package, on.code()]
                .contains(&location.package)
                .then(|| Abort::from_code(*code))
                .flatten(),
            code: *code,
            module: location.module.to_string(),
            function: location.function_name.as_ref().map_or_else(String::new, ToString::to_string),
        }),
        error => Err(ChainError::Failed { digest, reason: format!("{error:?}") }),
    }
}

struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF_FIRST)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}
