//! The operator's books: what was charged and paid, and where the wallet's money is.

use super::caller::Caller;
use super::openapi::{Access, Doc, json_of};
use super::shape::{Shape, shape_of, shapes};
use super::{Shared, store_failed};
use crate::metrics::Gauge;
use crate::serve::Gateway;
use crate::store::Books;
use atoma_client::ApiError;
use atoma_client::session::{Holdings, StackHolding, Stocked};
use atoma_types::{Address, Amount};
use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;

pub(super) const BOOKS: Doc =
    Doc::get("The operator's books.", &[Access::Operator], json_of::<OperatorBooks>("200"));

/// The store's books, and what they stand on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OperatorBooks {
    #[serde(flatten)]
    books: Books,
    float: Option<Float>,
    supply: Vec<TaskSupply>,
}

impl Shape for OperatorBooks {
    fn schema() -> Value {
        let mut schema = Books::schema();
        schema["properties"]["float"] = Option::<Float>::schema();
        schema["properties"]["supply"] = Vec::<TaskSupply>::schema();
        schema
    }
}

shape_of! {
    Books: "credited = charged_to_accounts + owed_to_accounts; all charged = paid_to_nodes + earned." {
        credited: u64, unclaimed: u64, charged_to_accounts: u64, charged_to_operator: u64,
        owed_to_accounts: u64, reserved: u64, paid_to_nodes: u64, earned: u64, requests: u64, accounts: u64,
        keys: u64,
    }
}

shapes! {
    /// Where this gateway's money is, by its journal and the chain. Null while the chain cannot be read.
    sent struct Float {
        /// Coins in the wallet.
        wallet: Amount,
        /// SUI in the wallet.
        wallet_gas_mist: u64,
        /// paid_into_stacks = returned + consumed + unused.
        paid_into_stacks: Amount,
        returned: Amount,
        /// What nodes, creators and the treasury got or are owed.
        consumed: Amount,
        /// Of that, what nodes have not settled yet.
        owed_to_nodes: Amount,
        /// What comes back if nothing more is asked.
        unused: Amount,
        /// Of that, what comes back now, and what after the delays of its stacks.
        refundable_now: Amount,
        refundable_later: Amount,
        /// What is still in open stacks.
        open: Amount,
        /// Gas of the transactions that bought, topped up, granted, closed and refunded; less what came back.
        gas_mist: i64,
        /// What accounts could ask back: deposits less what they were charged.
        liable: Amount,
        /// Charged less consumed; without gas. Null where several gateways share the charges.
        result: Option<i64>,
        stacks: Vec<StackHeld>,
    }
    /// A stack that is not given back yet.
    sent struct StackHeld {
        stack: Address,
        task: u64,
        closing: bool,
        units: u64,
        units_used: u64,
        owed_to_nodes: Amount,
        unused: Amount,
        refundable_ms: u64,
    }
    /// How a task is supplied.
    sent struct TaskSupply {
        task: u64,
        /// Units used in a thousand seconds, at the present rate.
        units_per_1000_s: u64,
        units_at_hand: u64,
        stacks: usize,
        /// Why the last purchase failed, unless a later one succeeded.
        failure: Option<String>,
        /// Whether the wallet has not enough coins or gas.
        lacks_funds: bool,
    }
}

impl From<Stocked> for TaskSupply {
    fn from(stocked: Stocked) -> Self {
        Self {
            task: stocked.task.0,
            units_per_1000_s: stocked.rate,
            units_at_hand: stocked.units.0,
            stacks: stocked.stacks,
            failure: stocked.failure,
            lacks_funds: stocked.lacks_funds,
        }
    }
}

impl From<&StackHolding> for StackHeld {
    fn from(held: &StackHolding) -> Self {
        Self {
            stack: held.stack,
            task: held.task.0,
            closing: held.closing,
            units: held.units.0,
            units_used: held.units_used.0,
            owed_to_nodes: held.owed,
            unused: held.unused,
            refundable_ms: held.refundable_ms,
        }
    }
}

impl Float {
    /// `None` if the sums contradict each other, which no honest chain shows.
    fn of(holdings: &Holdings, books: &Books, is_shared: bool) -> Option<Self> {
        let sum = |of: fn(&&StackHolding) -> bool| {
            Amount::total(holdings.stacks.iter().filter(of).map(|stack| stack.unused)).ok()
        };
        let consumed = holdings.consumed().ok()?;
        let charged = i128::from(books.charged_to_accounts) + i128::from(books.charged_to_operator);
        let result = i64::try_from(charged - i128::from(consumed.0)).ok();
        Some(Self {
            wallet: holdings.wallet.coin,
            wallet_gas_mist: holdings.wallet.gas,
            paid_into_stacks: holdings.spent.paid,
            returned: holdings.spent.returned,
            consumed,
            owed_to_nodes: Amount::total(holdings.stacks.iter().map(|stack| stack.owed)).ok()?,
            unused: holdings.unused().ok()?,
            refundable_now: sum(|stack| stack.is_refundable)?,
            refundable_later: sum(|stack| stack.closing && !stack.is_refundable)?,
            open: sum(|stack| !stack.closing)?,
            gas_mist: holdings.spent.gas_mist,
            liable: Amount(books.owed_to_accounts).add(Amount(books.unclaimed)).ok()?,
            result: result.filter(|_| !is_shared),
            stacks: holdings.stacks.iter().map(StackHeld::from).collect(),
        })
    }
}

impl Gateway {
    async fn float(&self, books: &Books) -> Option<Float> {
        let holdings = self.session.holdings().await;
        let holdings =
            holdings.inspect_err(|error| tracing::warn!(%error, "the float cannot be read")).ok()?;
        let float = Float::of(&holdings, books, self.store.is_shared())?;
        self.metrics.set_float(float.wallet, float.unused, float.owed_to_nodes, float.liable, float.result);
        Some(float)
    }

    /// Reads the float again, for the metrics.
    pub(crate) async fn look_at_float(&self) {
        match self.store.books().await {
            Ok(books) => drop(self.float(&books).await),
            Err(error) => tracing::warn!(%error, "the books cannot be read"),
        }
    }

    /// How tasks are supplied, as gauges.
    pub(crate) fn supply_metrics(&self) -> [Gauge; 4] {
        let supply = self.session.supply();
        let sum = |of: fn(&Stocked) -> u64| supply.iter().map(of).fold(0, u64::saturating_add);
        [
            ("supply_units", "Units at hand.", sum(|one| one.units.0)),
            ("supply_units_per_1000_s", "Units used in 1,000 s, at the present rate.", sum(|one| one.rate)),
            (
                "supply_tasks_failing",
                "Tasks whose last purchase failed.",
                sum(|one| one.failure.is_some().into()),
            ),
            (
                "supply_lacks_funds",
                "Tasks for which the wallet cannot pay.",
                sum(|one| one.lacks_funds.into()),
            ),
        ]
    }
}

pub(super) async fn books(
    State(gateway): Shared,
    headers: HeaderMap,
) -> Result<Json<OperatorBooks>, ApiError> {
    match gateway.caller(&headers).await? {
        Caller::Operator => {}
        _ => return Err(ApiError::new(StatusCode::FORBIDDEN, "operator_only", "this is for the operator")),
    }
    gateway.ledger.flush().await.map_err(store_failed)?;
    let books = gateway.store.books().await.map_err(store_failed)?;
    let float = gateway.float(&books).await;
    let supply = gateway.session.supply().into_iter().map(TaskSupply::from).collect();
    Ok(Json(OperatorBooks { books, float, supply }))
}
