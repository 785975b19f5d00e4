//! Requests that a node without room passes on to another node of their stack: who may answer instead, following the
//! request to the channel of who does, and finding out who did when no answer came.
//!
//! A request moves only on the signed word of the node that it was sent to, to a channel at a price that was accepted
//! for it, and once. From then on it is the other node's to be paid for, and a receipt of the first one is a lie.

use super::send::Failure;
use super::{Inner, Quote};
use crate::ApiError;
use crate::channel::{Alternate, Channel, Slot};
use crate::journal::JournalError;
use crate::ledger::{Disagreement, NotMoved};
use atoma_types::wire::{self, ALTERNATES_MAX, FORWARD_HEADER};
use atoma_types::{Forward, Grant, Hash32, NodeId, Receipt, Signed, Units};
use http::HeaderMap;
use std::sync::Arc;

impl Inner {
    /// Nodes that may answer a request in place of the one that it is sent to, with grants of which they may not have
    /// heard: all others of its stack or none, because the signature says no more than that another one may.
    pub(super) fn alternates(
        &self,
        channel: &Channel,
        quote: &Quote,
        max_units: Units,
    ) -> (Vec<NodeId>, Vec<Signed<Grant>>) {
        let (mut nodes, mut grants) = (Vec::new(), Vec::new());
        if quote.route.forward == Some(false) {
            return (nodes, grants);
        }
        for other in self.others(channel) {
            let node = other.identity().node;
            match other.as_alternate(max_units) {
                Alternate::Never => {}
                Alternate::May { price, .. } if price > quote.max_price || !quote.route.allows(node) => {
                    return (Vec::new(), Vec::new());
                }
                Alternate::May { able: true, .. } if nodes.len() < ALTERNATES_MAX => {
                    nodes.push(node);
                    grants.extend(other.newer_grant());
                }
                Alternate::May { .. } => {}
            }
        }
        (nodes, grants)
    }

    /// Channels of the same stack with other nodes.
    fn others(&self, channel: &Channel) -> Vec<Arc<Channel>> {
        let own = channel.identity();
        let all = self.pool(own.task).channels();
        let others = all.iter().filter(|other| {
            let other = other.identity();
            other.stack == own.stack && other.node != own.node
        });
        others.cloned().collect()
    }

    /// If an answer was passed on, moves its request to the channel of who gives it, and says who passed it on. What
    /// follows is then about that channel.
    pub(super) async fn follow(
        &self,
        mut slot: Slot,
        headers: &HeaderMap,
    ) -> Result<(Slot, Option<NodeId>), Failure> {
        let (Some(value), Some(request_hash)) = (headers.get(FORWARD_HEADER), slot.request()) else {
            return Ok((slot, None));
        };
        let channel = Arc::clone(slot.channel());
        let forward = value.to_str().ok().and_then(|text| wire::decode::<Signed<Forward>>(text).ok());
        let moved = match forward {
            Some(forward) if forward.message.request_hash == request_hash => {
                let to = self.others(&channel).into_iter().find(|to| self.is_between(&forward, &channel, to));
                match to {
                    Some(to) => self.hand_over(request_hash, &channel, &to).await.map(|()| to),
                    None => Err(NotHandedOver::Not(NotMoved::NotOpen)),
                }
            }
            _ => Err(NotHandedOver::Not(NotMoved::NotOpen)),
        };
        match moved {
            Ok(to) => {
                let from = channel.identity().node;
                tracing::debug!(%from, to = %to.identity().node, "a request was passed on");
                slot.follow(to);
                Ok((slot, Some(from)))
            }
            Err(NotHandedOver::Journal(error)) => Err(error.into()),
            Err(NotHandedOver::Not(NotMoved::Ended)) => {
                slot.refuse("it was passed on, and one of both nodes is not paid any more").await;
                Err(Failure::Elsewhere(ApiError::bad_gateway(
                    "the node passed the request on to a wrong one",
                )))
            }
            Err(NotHandedOver::Not(reason)) => {
                let reason = channel.end(Disagreement::Forward(reason.to_string()));
                Err(Failure::Elsewhere(super::send::disagreed(&reason)))
            }
        }
    }

    /// A node shows that it was given a request that was sent to another one. If no answer to it is being read any
    /// more, it is that node's to be paid for; if the other one was paid already, that one charged twice.
    pub(super) async fn learn_forward(&self, to: &Channel, forward: &Signed<Forward>) {
        let request_hash = forward.message.request_hash;
        if to.has_asked(&request_hash) {
            return;
        }
        let others = self.others(to);
        let Some(from) = others.iter().find(|from| self.is_between(forward, from, to)) else { return };
        if from.may_move(&request_hash) {
            if from.awaits(&request_hash)
                && let Err(NotHandedOver::Not(reason)) = self.hand_over(request_hash, from, to).await
            {
                tracing::warn!(%reason, "a node took over what it was not to");
            }
            return;
        }
        let paid = self.journal.receipt_of(to.identity().stack, request_hash).await;
        if let Ok(Some((receipt, _))) = paid
            && receipt.message.node == from.identity().node
        {
            from.end(Disagreement::Forwarded(request_hash));
        }
    }

    /// Absorbs a receipt, unless it may be for a request that another node passed on, without that one's word for it.
    pub(super) fn take_receipt(
        &self,
        channel: &Channel,
        receipt: &Signed<Receipt>,
    ) -> Result<(), Disagreement> {
        let request_hash = &receipt.message.request_hash;
        if !channel.has_asked(request_hash)
            && self.others(channel).iter().any(|other| other.may_move(request_hash))
        {
            return Ok(());
        }
        channel.absorb(receipt)
    }

    /// Reads the receipts of all other nodes of a stack. Returns whether each said that there are no more.
    pub(super) async fn catch_up_others(&self, channel: &Channel) -> bool {
        let mut all = true;
        for other in self.others(channel) {
            all &= other.summary().ended.is_some() || self.catch_up(&other).await;
        }
        all
    }

    /// Acknowledges in the background what was taken over: nothing else may be on its way to that node.
    pub(super) fn acknowledge_soon(self: &Arc<Self>, channel: Arc<Channel>) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move { inner.acknowledge(&channel).await });
    }

    /// Whether one node says that it passes something on to the other.
    fn is_between(&self, forward: &Signed<Forward>, from: &Channel, to: &Channel) -> bool {
        let Forward { db, stack, from: by, to: taker, .. } = &forward.message;
        let (from_id, to_id) = (from.identity(), to.identity());
        (*db, *stack, *by) == (self.market.db(), from_id.stack, from_id.node)
            && *taker == to_id.node
            && forward.verify(&from.receipt_key()).is_ok()
    }

    async fn hand_over(
        &self,
        request_hash: Hash32,
        from: &Channel,
        to: &Channel,
    ) -> Result<(), NotHandedOver> {
        let place = self.journal.move_place().await.map_err(NotHandedOver::Journal)?;
        let written = from.hand_over(request_hash, to, place).map_err(NotHandedOver::Not)?;
        written.map_err(NotHandedOver::Journal)
    }
}

enum NotHandedOver {
    Not(NotMoved),
    Journal(JournalError),
}
