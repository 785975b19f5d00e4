//! `SubscriptionService`: live streams. A subscriber reads the ledger at its own pace and waits only for
//! the next checkpoint, so a slow one misses nothing and holds up nobody.

use super::ledger::{events, transactions};
use super::render::{self, mask};
use super::{BoxStream, Service};
use crate::chain::Chain;
use crate::filter::Filter;
use crate::ledger::Checkpoint;
use crate::scan::{Position, watermark};
use futures::stream;
use std::collections::VecDeque;
use std::sync::Arc;
use sui_rpc::proto::sui::rpc::v2 as pb;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<BoxStream<T>>, Status>;

#[tonic::async_trait]
impl pb::subscription_service_server::SubscriptionService for Service {
    async fn subscribe_checkpoints(
        &self,
        request: Request<pb::SubscribeCheckpointsRequest>,
    ) -> Reply<pb::SubscribeCheckpointsResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "sequence_number,digest");
        let filter = Filter::of_transactions(request.filter.as_ref())?;
        let reply = |cursor: u64, checkpoint| {
            let mut reply = pb::SubscribeCheckpointsResponse::default();
            reply.cursor = Some(cursor);
            reply.checkpoint = checkpoint;
            reply
        };
        // Unfiltered, every frame carries a checkpoint, the first one the newest there is.
        let first = |checkpoint: &Arc<Checkpoint>| {
            let found = (!filter.is_set()).then(|| render::checkpoint(checkpoint, &mask));
            reply(checkpoint.summary.sequence_number, found)
        };
        let feed = self.feed(first)?;
        Ok(feed.into_stream(move |checkpoint| {
            let found = filter.matches_checkpoint(checkpoint).then(|| render::checkpoint(checkpoint, &mask));
            vec![reply(checkpoint.summary.sequence_number, found)]
        }))
    }

    async fn subscribe_transactions(
        &self,
        request: Request<pb::SubscribeTransactionsRequest>,
    ) -> Reply<pb::SubscribeTransactionsResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "digest");
        let filter = Filter::of_transactions(request.filter.as_ref())?;
        let reply = |position, covered, transaction| {
            let mut reply = pb::SubscribeTransactionsResponse::default();
            reply.watermark = Some(watermark(position, covered));
            reply.transaction = transaction;
            reply
        };
        let feed = self.feed(|checkpoint| {
            let sequence = checkpoint.summary.sequence_number;
            reply(Position::end_of(sequence), Some(sequence), None)
        })?;
        Ok(feed.into_stream(move |checkpoint| {
            let found = transactions(checkpoint, &filter, &mask);
            framed(checkpoint, found, &reply)
        }))
    }

    async fn subscribe_events(
        &self,
        request: Request<pb::SubscribeEventsRequest>,
    ) -> Reply<pb::SubscribeEventsResponse> {
        let request = request.into_inner();
        let mask = mask(request.read_mask, "*");
        let filter = Filter::of_events(request.filter.as_ref())?;
        let reply = |position, covered, event| {
            let mut reply = pb::SubscribeEventsResponse::default();
            reply.watermark = Some(watermark(position, covered));
            reply.event = event;
            reply
        };
        let feed = self.feed(|checkpoint| {
            let sequence = checkpoint.summary.sequence_number;
            reply(Position::end_of(sequence), Some(sequence), None)
        })?;
        Ok(feed.into_stream(move |checkpoint| framed(checkpoint, events(checkpoint, &filter, &mask), &reply)))
    }
}

/// A checkpoint's items, then a frame that says that the checkpoint is through.
fn framed<T, R>(
    checkpoint: &Arc<Checkpoint>,
    items: Vec<(Position, T)>,
    reply: &impl Fn(Position, Option<u64>, Option<T>) -> R,
) -> Vec<R> {
    let sequence = checkpoint.summary.sequence_number;
    let items =
        items.into_iter().map(|(position, item)| reply(position, sequence.checked_sub(1), Some(item)));
    items.chain([reply(Position::end_of(sequence), Some(sequence), None)]).collect()
}

/// One subscriber.
struct Feed<R> {
    chain: Arc<Chain>,
    tip: watch::Receiver<u64>,
    /// Next checkpoint to deliver.
    next: u64,
    /// Frames of the checkpoint being delivered.
    ready: VecDeque<R>,
    _permit: OwnedSemaphorePermit,
}

impl Service {
    fn feed<R>(&self, first: impl FnOnce(&Arc<Checkpoint>) -> R) -> Result<Feed<R>, Status> {
        let permit = self.subscribers.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| Status::resource_exhausted("too many subscribers; close one and retry"))?;
        let tip = self.chain.follow();
        let ledger = self.chain.read();
        let newest = ledger.tip();
        let ready = ledger.checkpoint(newest).map(first).into_iter().collect();
        Ok(Feed { chain: self.chain.clone(), tip, next: newest + 1, ready, _permit: permit })
    }
}

impl<R: Send + 'static> Feed<R> {
    fn into_stream(
        self,
        render: impl Fn(&Arc<Checkpoint>) -> Vec<R> + Send + Sync + 'static,
    ) -> Response<BoxStream<R>> {
        let stream = stream::unfold((self, render), |(mut feed, render)| async move {
            let frame = feed.frame(&render).await?;
            Some((Ok(frame), (feed, render)))
        });
        Response::new(Box::pin(stream))
    }

    async fn frame(&mut self, render: &impl Fn(&Arc<Checkpoint>) -> Vec<R>) -> Option<R> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let next = self.next;
            self.tip.wait_for(|tip| *tip >= next).await.ok()?;
            let checkpoint = self.chain.read().checkpoint(next).cloned()?;
            self.ready = render(&checkpoint).into();
            self.next += 1;
        }
    }
}
