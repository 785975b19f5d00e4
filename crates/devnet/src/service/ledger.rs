//! `LedgerService`: objects, transactions, checkpoints, epochs, and lists of what happened.

use super::render::{self, mask};
use super::{BATCH_MAX, BoxStream, Service};
use crate::filter::{Filter, address};
use crate::ledger::{Checkpoint, Ledger, gas, object};
use crate::scan::{self, Position, Query};
use futures::stream;
use pb::get_checkpoint_request::CheckpointId;
use std::sync::Arc;
use sui_rpc::field::FieldMaskTree;
use sui_rpc::merge::Merge;
use sui_rpc::proto::google::rpc::Status as ItemStatus;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_rpc::proto::timestamp_ms_to_proto;
use sui_sdk_types::Digest;
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::ledger_service_server::LedgerService for Service {
    async fn get_service_info(
        &self,
        _: Request<pb::GetServiceInfoRequest>,
    ) -> Reply<pb::GetServiceInfoResponse> {
        let now_ms = self.chain.now_ms();
        let ledger = self.chain.read();
        let mut info = pb::GetServiceInfoResponse::default();
        info.chain_id = Some(ledger.chain_id().to_string());
        info.chain = Some(crate::NETWORK.to_owned());
        info.epoch = Some(ledger.epoch());
        info.checkpoint_height = Some(ledger.tip());
        // Time passes on an idle devnet too: checkpoints are made on demand, so "now" is the honest answer.
        info.timestamp = Some(timestamp_ms_to_proto(now_ms));
        info.lowest_available_checkpoint = Some(0);
        info.lowest_available_checkpoint_objects = Some(0);
        info.server = Some(concat!("atoma-devnet/", env!("CARGO_PKG_VERSION")).to_owned());
        Ok(Response::new(info))
    }

    async fn get_object(&self, request: Request<pb::GetObjectRequest>) -> Reply<pb::GetObjectResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "object_id,version,digest");
        let found = self.find_object(request.object_id.as_deref(), request.version, &mask)?;
        Ok(Response::new(pb::GetObjectResponse::new(found)))
    }

    async fn batch_get_objects(
        &self,
        request: Request<pb::BatchGetObjectsRequest>,
    ) -> Reply<pb::BatchGetObjectsResponse> {
        let request = request.into_inner();
        check_batch(request.requests.len())?;
        let mask = mask(request.read_mask, "object_id,version,digest");
        let found = |wanted: &pb::GetObjectRequest| match self.find_object(
            wanted.object_id.as_deref(),
            wanted.version,
            &mask,
        ) {
            Ok(object) => pb::GetObjectResult::new_object(object),
            Err(status) => pb::GetObjectResult::new_error(item_status(&status)),
        };
        Ok(Response::new(pb::BatchGetObjectsResponse::new(request.requests.iter().map(found).collect())))
    }

    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Reply<pb::GetTransactionResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "digest");
        let found = self.find_transaction(request.digest.as_deref().unwrap_or_default(), &mask)?;
        Ok(Response::new(pb::GetTransactionResponse::new(found)))
    }

    async fn batch_get_transactions(
        &self,
        request: Request<pb::BatchGetTransactionsRequest>,
    ) -> Reply<pb::BatchGetTransactionsResponse> {
        let request = request.into_inner();
        check_batch(request.digests.len())?;
        let mask = mask(request.read_mask, "digest");
        let found = |digest: &String| match self.find_transaction(digest, &mask) {
            Ok(transaction) => pb::GetTransactionResult::new_transaction(transaction),
            Err(status) => pb::GetTransactionResult::new_error(item_status(&status)),
        };
        Ok(Response::new(pb::BatchGetTransactionsResponse::new(request.digests.iter().map(found).collect())))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Reply<pb::GetCheckpointResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "sequence_number,digest");
        let ledger = self.chain.read();
        let found = match &request.checkpoint_id {
            None => ledger.checkpoint(ledger.tip()),
            Some(CheckpointId::SequenceNumber(sequence)) => ledger.checkpoint(*sequence),
            Some(CheckpointId::Digest(text)) => ledger.checkpoint_by_digest(&digest(text)?),
            Some(_) => return Err(Status::invalid_argument("checkpoint_id is of an unknown kind")),
        };
        let found = found.ok_or_else(|| Status::not_found("Checkpoint not found"))?;
        Ok(Response::new(pb::GetCheckpointResponse::new(render::checkpoint(found, &mask))))
    }

    async fn get_epoch(&self, request: Request<pb::GetEpochRequest>) -> Reply<pb::GetEpochResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "epoch");
        let ledger = self.chain.read();
        let number = request.epoch.unwrap_or_else(|| ledger.epoch());
        let epoch =
            epoch(&ledger, number).ok_or_else(|| Status::not_found(format!("Epoch {number} not found")))?;
        Ok(Response::new(pb::GetEpochResponse::new(pb::Epoch::merge_from(&epoch, &mask))))
    }

    async fn list_checkpoints(
        &self,
        request: Request<pb::ListCheckpointsRequest>,
    ) -> Reply<BoxStream<pb::ListCheckpointsResponse>> {
        let request = request.into_inner();
        let query = Query::new(request.start_checkpoint, request.end_checkpoint, request.options.as_ref())?;
        let filter = Filter::of_transactions(request.filter.as_ref())?;
        let mask = mask(request.read_mask, "sequence_number,digest");
        let frames = scan::page(&self.chain.read(), &query, |checkpoint| {
            let matches = filter.matches_checkpoint(checkpoint);
            let position = Position::end_of(checkpoint.summary.sequence_number);
            matches.then(|| (position, render::checkpoint(checkpoint, &mask))).into_iter().collect()
        });
        Ok(replies(frames, |frame| {
            let mut reply = pb::ListCheckpointsResponse::default();
            reply.watermark = Some(frame.watermark());
            reply.end = frame.query_end();
            reply.checkpoint = frame.item;
            reply
        }))
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Reply<BoxStream<pb::ListTransactionsResponse>> {
        let request = request.into_inner();
        let query = Query::new(request.start_checkpoint, request.end_checkpoint, request.options.as_ref())?;
        let filter = Filter::of_transactions(request.filter.as_ref())?;
        let mask = mask(request.read_mask, "digest");
        let frames =
            scan::page(&self.chain.read(), &query, |checkpoint| transactions(checkpoint, &filter, &mask));
        Ok(replies(frames, |frame| {
            let mut reply = pb::ListTransactionsResponse::default();
            reply.watermark = Some(frame.watermark());
            reply.end = frame.query_end();
            reply.transaction = frame.item;
            reply
        }))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Reply<BoxStream<pb::ListEventsResponse>> {
        let request = request.into_inner();
        let query = Query::new(request.start_checkpoint, request.end_checkpoint, request.options.as_ref())?;
        let filter = Filter::of_events(request.filter.as_ref())?;
        let mask = mask(request.read_mask, "*");
        let frames = scan::page(&self.chain.read(), &query, |checkpoint| events(checkpoint, &filter, &mask));
        Ok(replies(frames, |frame| {
            let mut reply = pb::ListEventsResponse::default();
            reply.watermark = Some(frame.watermark());
            reply.end = frame.query_end();
            reply.event = frame.item;
            reply
        }))
    }
}

impl Service {
    fn find_object(
        &self,
        id: Option<&str>,
        version: Option<u64>,
        mask: &FieldMaskTree,
    ) -> Result<pb::Object, Status> {
        let id = address(id.ok_or_else(|| Status::invalid_argument("missing object_id"))?)?;
        let now_ms = self.chain.now_ms();
        let ledger = self.chain.read();
        let found = match version {
            None => ledger.object(id),
            Some(version) => ledger.object_at(id, version),
        };
        let missing = || match version {
            None => Status::not_found(format!("Object {id} not found")),
            Some(version) => Status::not_found(format!("Object {id} with version {version} not found")),
        };
        let found = found.ok_or_else(missing)?;
        // The stored clock stands at the newest checkpoint; who asks for it wants to know the time.
        if id == object::CLOCK
            && let Some(clock) = crate::ledger::genesis::clock(now_ms, found.version())
        {
            return Ok(render::object(&clock, mask));
        }
        Ok(render::object(found, mask))
    }

    fn find_transaction(&self, text: &str, mask: &FieldMaskTree) -> Result<pb::ExecutedTransaction, Status> {
        let digest = digest(text)?;
        let ledger = self.chain.read();
        let found = ledger.transaction(&digest);
        let found = found.ok_or_else(|| Status::not_found(format!("Transaction {digest} not found")))?;
        Ok(render::executed(found, mask))
    }
}

/// A checkpoint's matching transactions and where they are.
pub(super) fn transactions(
    checkpoint: &Arc<Checkpoint>,
    filter: &Filter,
    mask: &FieldMaskTree,
) -> Vec<(Position, pb::ExecutedTransaction)> {
    let sequence = checkpoint.summary.sequence_number;
    let matching =
        (0u32..).zip(&checkpoint.transactions).filter(|(_, executed)| filter.matches_transaction(executed));
    matching
        .map(|(index, done)| (Position::transaction(sequence, index), render::executed(done, mask)))
        .collect()
}

/// A checkpoint's matching events and where they are.
pub(super) fn events(
    checkpoint: &Arc<Checkpoint>,
    filter: &Filter,
    mask: &FieldMaskTree,
) -> Vec<(Position, pb::Event)> {
    let sequence = checkpoint.summary.sequence_number;
    let mut found = Vec::new();
    for (transaction, executed) in (0u32..).zip(&checkpoint.transactions) {
        for (index, event) in
            (0u32..).zip(&executed.events.0).filter(|(_, event)| filter.matches_event(event))
        {
            let position = Position::event(sequence, transaction, index);
            found.push((position, render::event(executed, index, event, mask)));
        }
    }
    found
}

fn replies<T, R: Send + 'static>(
    frames: Vec<scan::Frame<T>>,
    render: impl Fn(scan::Frame<T>) -> R,
) -> Response<BoxStream<R>> {
    let replies: Vec<Result<R, Status>> = frames.into_iter().map(|frame| Ok(render(frame))).collect();
    Response::new(Box::pin(stream::iter(replies)))
}

fn epoch(ledger: &Ledger, number: u64) -> Option<pb::Epoch> {
    let info = ledger.epoch_info(number)?;
    let mut epoch = pb::Epoch::default();
    epoch.epoch = Some(number);
    epoch.first_checkpoint = Some(info.first_checkpoint);
    epoch.last_checkpoint = info.end.map(|(checkpoint, _)| checkpoint);
    epoch.start = Some(timestamp_ms_to_proto(info.start_ms));
    epoch.end = info.end.map(|(_, at_ms)| timestamp_ms_to_proto(at_ms));
    epoch.reference_gas_price = Some(gas::REFERENCE_PRICE);
    let mut protocol = pb::ProtocolConfig::default();
    protocol.protocol_version = Some(crate::ledger::PROTOCOL_VERSION);
    epoch.protocol_config = Some(protocol);
    Some(epoch)
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("invalid digest {text:?}")))
}

fn check_batch(len: usize) -> Result<(), Status> {
    match len > BATCH_MAX {
        true => Err(Status::invalid_argument(format!(
            "number of batch requests exceeds the limit of {BATCH_MAX}"
        ))),
        false => Ok(()),
    }
}

fn item_status(status: &Status) -> ItemStatus {
    let (code, message) = (i32::from(status.code()), status.message().to_owned());
    ItemStatus { code, message, ..Default::default() }
}
