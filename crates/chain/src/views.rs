//! The contract's view functions, called through a simulation that costs nothing and changes nothing.

use crate::ChainClient;
use crate::ChainError;
use crate::client::decode;
use crate::submit::failure;
use atoma_types::onchain::{Abort, Model, Node, Params, Slot, Subscription, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, TaskId};
use serde::de::DeserializeOwned;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Argument, Command, GasPayment, Identifier, Input, MoveCall, ProgrammableTransaction, SharedInput,
    Transaction, TransactionEffects, TransactionExpiration, TransactionKind,
};

/// What a simulated call may use; nobody pays it.
const VIEW_BUDGET: u64 = 10_000_000_000;

impl ChainClient {
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, ChainError> {
        known(self.db_view("node", &[id.0]).await, Abort::UnknownNode)
    }

    pub async fn nodes(&self) -> Result<Vec<Node>, ChainError> {
        self.db_view("nodes", &[]).await
    }

    pub async fn model(&self, id: ModelId) -> Result<Option<Model>, ChainError> {
        known(self.db_view("model", &[id.0]).await, Abort::UnknownModel)
    }

    pub async fn models(&self) -> Result<Vec<Model>, ChainError> {
        self.db_view("models", &[]).await
    }

    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, ChainError> {
        known(self.db_view("task", &[id.0]).await, Abort::UnknownTask)
    }

    pub async fn tasks(&self) -> Result<Vec<Task>, ChainError> {
        self.db_view("tasks", &[]).await
    }

    /// Every node's newest subscription to the task, those that ended included.
    pub async fn subscriptions(&self, task: TaskId) -> Result<Vec<Subscription>, ChainError> {
        self.db_view("subscriptions", &[task.0]).await
    }

    /// The offers that hold now.
    pub async fn offers(&self, task: TaskId) -> Result<Vec<Slot>, ChainError> {
        self.db_view("offers", &[task.0, self.epoch().await?]).await
    }

    /// The parameters that hold now.
    pub async fn params(&self) -> Result<Params, ChainError> {
        self.db_view("params", &[self.epoch().await?]).await
    }

    /// The parameters that will hold in the next epoch, unless they are set again.
    pub async fn next_params(&self) -> Result<Params, ChainError> {
        self.db_view("params", &[self.epoch().await?.saturating_add(1)]).await
    }

    /// What the treasury holds.
    pub async fn treasury(&self) -> Result<Amount, ChainError> {
        self.view("treasury", self.deployment().treasury, &[]).await
    }

    async fn db_view<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &[u64],
    ) -> Result<T, ChainError> {
        self.view(function, self.deployment().db, arguments).await
    }

    async fn view<T: DeserializeOwned>(
        &self,
        function: &'static str,
        object: Address,
        arguments: &[u64],
    ) -> Result<T, ChainError> {
        let transaction = self.view_call(function, object, arguments).await?;
        let mask = ["transaction.effects", "command_outputs"];
        let request = pb::SimulateTransactionRequest::default()
            .with_transaction(transaction)
            .with_read_mask(FieldMask::from_paths(mask))
            .with_checks(pb::simulate_transaction_request::TransactionChecks::Disabled)
            .with_do_gas_selection(false);
        let answer = self.simulate(request).await?;
        let effects: TransactionEffects = decode("effects", answer.transaction().effects().bcs().value())?;
        failure(effects.status(), self.deployment(), *effects.transaction_digest())?;
        let output = answer.command_outputs.first().and_then(|outputs| outputs.return_values.first());
        decode(function, output.map_or(&[][..], |output| output.value().value()))
    }

    async fn view_call(
        &self,
        function: &'static str,
        object: Address,
        arguments: &[u64],
    ) -> Result<Transaction, ChainError> {
        let version = self.initial_version(object).await?;
        let mut inputs = vec![Input::Shared(SharedInput::new(object, version, false))];
        inputs.extend(arguments.iter().map(|number| Input::Pure(number.to_le_bytes().to_vec())));
        let arguments = (0u16..).take(inputs.len()).map(Argument::Input).collect();
        let call = Command::MoveCall(MoveCall {
            package: self.deployment().code(),
            module: Identifier::from_static("views"),
            function: Identifier::from_static(function),
            type_arguments: vec![self.types().coin.clone()],
            arguments,
        });
        let price = self.gas_price().await?.mist;
        Ok(Transaction {
            kind: TransactionKind::ProgrammableTransaction(ProgrammableTransaction {
                inputs,
                commands: vec![call],
            }),
            sender: Address::ZERO,
            gas_payment: GasPayment { objects: vec![], owner: Address::ZERO, price, budget: VIEW_BUDGET },
            expiration: TransactionExpiration::None,
        })
    }

    pub(crate) async fn simulate(
        &self,
        request: pb::SimulateTransactionRequest,
    ) -> Result<pb::SimulateTransactionResponse, ChainError> {
        let answer = self.read(|mut rpc| {
            let request = request.clone();
            async move { rpc.execution_client().simulate_transaction(request).await }
        });
        Ok(answer.await?.into_inner())
    }
}

/// An unknown row is an answer, not an error.
fn known<T>(answer: Result<T, ChainError>, unknown: Abort) -> Result<Option<T>, ChainError> {
    match answer {
        Err(error) if error.abort() == Some(unknown) => Ok(None),
        answer => answer.map(Some),
    }
}
