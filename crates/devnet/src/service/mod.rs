//! The RPC services over a running chain. Each is a thin shell: read the request, ask the ledger, render.

mod execution;
mod ledger;
mod move_package;
mod render;
mod resolve;
mod state;
mod subscription;

use crate::chain::{Chain, SubmitError};
use std::pin::Pin;
use std::sync::Arc;
use sui_rpc::proto::sui::rpc::v2 as pb;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::service::Routes;

/// Most streams that are open at a time.
const SUBSCRIBERS_MAX: usize = 512;
/// Most ids or digests of one batch request.
const BATCH_MAX: usize = 1_000;
/// Most entries of a page, and how many if none are asked for.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: u32 = 50;

type BoxStream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send + 'static>>;

/// What every service needs.
#[derive(Clone)]
pub(crate) struct Service {
    chain: Arc<Chain>,
    subscribers: Arc<Semaphore>,
}

/// All services, to be mounted on one server.
pub(crate) fn routes(chain: Arc<Chain>) -> Routes {
    let service = Service { chain, subscribers: Arc::new(Semaphore::new(SUBSCRIBERS_MAX)) };
    Routes::new(pb::ledger_service_server::LedgerServiceServer::new(service.clone()))
        .add_service(pb::transaction_execution_service_server::TransactionExecutionServiceServer::new(
            service.clone(),
        ))
        .add_service(pb::state_service_server::StateServiceServer::new(service.clone()))
        .add_service(pb::subscription_service_server::SubscriptionServiceServer::new(service.clone()))
        .add_service(pb::move_package_service_server::MovePackageServiceServer::new(service))
}

impl From<SubmitError> for Status {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(_) => Self::internal(error.to_string()),
            SubmitError::Stopped => Self::unavailable(error.to_string()),
            _ => Self::invalid_argument(error.to_string()),
        }
    }
}

fn page_size(asked: Option<u32>) -> usize {
    let asked = asked.filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT);
    usize::try_from(asked).unwrap_or(PAGE_MAX).min(PAGE_MAX)
}
