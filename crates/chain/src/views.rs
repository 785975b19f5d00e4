//! The contract's view functions, called through a simulation that costs nothing and changes nothing.

use crate::ChainClient;
use crate::ChainError;
use crate::client::{contents_of, decode};
use crate::submit::failure;
use atoma_types::onchain::{Abort, Model, Node, Params, PendingParams, Slot, Subscription, Task};
use atoma_types::{Address, Amount, ModelId, NodeId, TaskId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Argument, Command, GasPayment, Identifier, Input, MoveCall, ProgrammableTransaction, SharedInput,
    Transaction, TransactionEffects, TransactionExpiration, TransactionKind,
};

/// Rows, or positions of a list, that one call reads: a transaction reads about a thousand.
const PAGE: u64 = 200;

/// The market's database, without its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Of the package that it was last moved to.
    pub version: u64,
    /// Whether purchases and top-ups are stopped.
    pub paused: bool,
    params: Params,
    /// Parameters that were set last, also if they hold by now.
    pub pending: Option<PendingParams>,
}

/// An epoch of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub number: u64,
    /// When it ends, in ms of Unix time, as far as the full node says.
    pub ends_ms: Option<u64>,
}

impl Database {
    /// The parameters of an epoch.
    pub fn params_at(&self, epoch: u64) -> &Params {
        match &self.pending {
            Some(pending) if epoch >= pending.epoch => &pending.params,
            _ => &self.params,
        }
    }
}

/// What a simulated call may use; nobody pays it.
const VIEW_BUDGET: u64 = 10_000_000_000;

impl ChainClient {
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, ChainError> {
        known(self.db_view("node", &[id.0]).await, Abort::UnknownNode)
    }

    pub async fn nodes(&self) -> Result<Vec<Node>, ChainError> {
        self.pages("nodes", &[], 1).await
    }

    pub async fn model(&self, id: ModelId) -> Result<Option<Model>, ChainError> {
        known(self.db_view("model", &[id.0]).await, Abort::UnknownModel)
    }

    pub async fn models(&self) -> Result<Vec<Model>, ChainError> {
        self.pages("models", &[], 1).await
    }

    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, ChainError> {
        known(self.db_view("task", &[id.0]).await, Abort::UnknownTask)
    }

    pub async fn tasks(&self) -> Result<Vec<Task>, ChainError> {
        self.pages("tasks", &[], 1).await
    }

    /// A node's newest subscription to the task, also if it ended.
    pub async fn subscription(&self, task: TaskId, node: NodeId) -> Result<Option<Subscription>, ChainError> {
        known(self.db_view("subscription", &[task.0, node.0]).await, Abort::NotSubscribed)
    }

    /// The offers that hold now.
    pub async fn offers(&self, task: TaskId) -> Result<Vec<Slot>, ChainError> {
        let epoch = self.epoch().await?;
        let mut offers = self.all_offers(task).await?;
        offers.retain(|slot| slot.is_live_at(epoch));
        Ok(offers)
    }

    /// The offers that hold now, those that begin with the next epoch, and those that ended and still have their
    /// position.
    pub async fn all_offers(&self, task: TaskId) -> Result<Vec<Slot>, ChainError> {
        let row: Task = self.db_view("task", &[task.0]).await?;
        let mut offers = Vec::new();
        for echelon in row.echelons {
            offers.extend(self.pages::<Slot>("offers", &[task.0, echelon], 0).await?);
        }
        Ok(offers)
    }

    /// The parameters that hold now.
    pub async fn params(&self) -> Result<Params, ChainError> {
        self.db_view("params", &[self.epoch().await?]).await
    }

    /// The parameters that will hold in the next epoch, unless they are set again.
    pub async fn next_params(&self) -> Result<Params, ChainError> {
        self.db_view("params", &[self.epoch().await?.saturating_add(1)]).await
    }

    /// The database as it is.
    pub async fn database(&self) -> Result<Database, ChainError> {
        /// Tables are their ids and sizes.
        #[derive(Deserialize)]
        struct Contents {
            _id: Address,
            version: u64,
            paused: bool,
            params: Params,
            pending: Option<PendingParams>,
            _tables: [(Address, u64); 5],
            _balances: [u64; 4],
        }
        let id = self.deployment().db;
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        let read: Contents = decode("database", contents_of(&object, &self.types().db)?)?;
        let Contents { version, paused, params, pending, .. } = read;
        Ok(Database { version, paused, params, pending })
    }

    /// The epoch at this moment, and when it ends.
    pub async fn present_epoch(&self) -> Result<Epoch, ChainError> {
        let answer = self.read(|mut rpc| {
            let mask = ["epoch", "start", "system_state.parameters"];
            let request = pb::GetEpochRequest::default().with_read_mask(FieldMask::from_paths(mask));
            async move { rpc.ledger_client().get_epoch(request).await }
        });
        let answer = answer.await?.into_inner();
        let epoch = answer.epoch();
        let start_ms = epoch.start.and_then(|start| {
            let (seconds, nanos) = (u64::try_from(start.seconds).ok()?, u64::try_from(start.nanos).ok()?);
            seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
        });
        let length_ms = epoch.system_state().parameters().epoch_duration_ms;
        let ends_ms = start_ms.zip(length_ms).and_then(|(start, length)| start.checked_add(length));
        Ok(Epoch { number: epoch.epoch(), ends_ms })
    }

    /// What the treasury holds.
    pub async fn treasury(&self) -> Result<Amount, ChainError> {
        self.view("treasury", self.deployment().treasury, &[]).await
    }

    /// Everything that `function` has, from the id or position `first` on.
    async fn pages<T: DeserializeOwned>(
        &self,
        function: &'static str,
        of: &[u64],
        first: u64,
    ) -> Result<Vec<T>, ChainError> {
        let (mut all, mut from) = (Vec::new(), first);
        loop {
            let page: Vec<T> = self.db_view(function, &[of, &[from, PAGE]].concat()).await?;
            let is_last = u64::try_from(page.len()).is_ok_and(|length| length < PAGE);
            all.extend(page);
            if is_last {
                return Ok(all);
            }
            from = from.saturating_add(PAGE);
        }
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
