//! `TransactionExecutionService`: execution and dry runs.

use super::render::{self, mask};
use super::{Service, resolve};
use crate::ledger::execute::{Mode, Outcome};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{SignedTransaction, Transaction, UserSignature};
use tonic::{Request, Response, Status};

/// Most signatures of one transaction: the sender's and the sponsor's.
const SIGNATURES_MAX: usize = 2;

#[tonic::async_trait]
impl pb::transaction_execution_service_server::TransactionExecutionService for Service {
    async fn execute_transaction(
        &self,
        request: Request<pb::ExecuteTransactionRequest>,
    ) -> Result<Response<pb::ExecuteTransactionResponse>, Status> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "effects.status,checkpoint");
        let transaction = request.transaction.as_ref().ok_or_else(|| missing("transaction"))?;
        let transaction =
            Transaction::try_from(transaction).map_err(|error| invalid("transaction", &error))?;
        let signed = SignedTransaction { transaction, signatures: signatures(&request.signatures)? };
        let chain = self.chain.clone();
        // Checks signatures and waits for the disk.
        let executed = tokio::task::spawn_blocking(move || chain.submit(signed))
            .await
            .map_err(|_| Status::internal("execution failed"))??;
        let mut reply = pb::ExecuteTransactionResponse::default();
        reply.transaction = Some(render::fresh(&executed, &mask));
        Ok(Response::new(reply))
    }

    async fn simulate_transaction(
        &self,
        request: Request<pb::SimulateTransactionRequest>,
    ) -> Result<Response<pb::SimulateTransactionResponse>, Status> {
        let request = request.into_inner();
        let mask = mask(request.read_mask.clone(), "*");
        let message = request.transaction.as_ref().ok_or_else(|| missing("transaction"))?;
        let now_ms = self.chain.now_ms();
        let ledger = self.chain.read();
        let lenient = request.checks() == pb::simulate_transaction_request::TransactionChecks::Disabled;
        let mut transaction = resolve::fill(&ledger, message, lenient)?;
        let selects = request.do_gas_selection();
        let mode = if lenient {
            Mode::Lenient
        } else if transaction.gas_payment.objects.is_empty() && !selects {
            Mode::MockGas
        } else {
            resolve::settle_gas(&ledger, message, &mut transaction, now_ms)?;
            Mode::Trial
        };
        let outcome = ledger.simulate(&transaction, now_ms, mode).map_err(crate::chain::SubmitError::from)?;
        let mut reply = pb::SimulateTransactionResponse::default();
        reply.suggested_gas_price = Some(crate::ledger::gas::REFERENCE_PRICE);
        if mask.subtree("command_outputs").is_some() {
            reply.command_outputs = command_outputs(&outcome);
        }
        if let Some(mask) = mask.subtree("transaction") {
            reply.transaction = Some(render::simulated(transaction, &outcome, &mask));
        }
        Ok(Response::new(reply))
    }
}

fn command_outputs(outcome: &Outcome) -> Vec<pb::CommandResult> {
    let output = |(tag, bytes): &(sui_sdk_types::TypeTag, Vec<u8>)| {
        let mut output = pb::CommandOutput::default();
        output.value = Some(render::bcs(tag.to_string(), bytes.clone()));
        output
    };
    let result = |values: &Vec<_>| {
        let mut result = pb::CommandResult::default();
        result.return_values = values.iter().map(output).collect();
        result
    };
    outcome.returns.iter().map(result).collect()
}

fn signatures(messages: &[pb::UserSignature]) -> Result<Vec<UserSignature>, Status> {
    if messages.len() > SIGNATURES_MAX {
        return Err(Status::invalid_argument(format!("at most {SIGNATURES_MAX} signatures are expected")));
    }
    messages
        .iter()
        .map(UserSignature::try_from)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("signatures", &error))
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("missing {field}"))
}

fn invalid(field: &str, error: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(format!("invalid {field}: {error}"))
}
