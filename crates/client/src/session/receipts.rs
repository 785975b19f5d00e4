//! Fetching receipts that did not come with their answer, and acknowledging when no request carries the
//! voucher.

use super::send::read;
use super::{CATALOG_LIFE, Inner};
use crate::channel::{Channel, Completion, Sent, Told};
use crate::journal::JournalError;
use crate::ledger::Disagreement;
use atoma_types::wire;
use atoma_types::{Forward, Hash32, Receipt, Signed};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Pauses between looks for a receipt; then the request counts as lost.
const SEEK_PAUSES_MS: [u64; 7] = [0, 50, 100, 250, 500, 1_000, 2_000];
/// How often idle channels are looked at.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// Every so many looks, spent stacks are closed and refunded.
const TIDY_EVERY: u64 = 4;
/// Every so many looks, lost receipts are asked for again.
const LOST_EVERY: u64 = 4;
/// Every so many looks, busy channels are acknowledged, too.
const OWED_EVERY: u64 = 4;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest page of receipts.
const PAGE_MAX: usize = 256 * 1024;
/// Most pages read at once; a window fits into one.
const PAGES_MAX: usize = 4;

#[derive(Deserialize)]
struct Page {
    receipts: Vec<String>,
    #[serde(default)]
    forwards: Vec<String>,
}

/// What a node gives when asked for receipts.
struct Given {
    receipts: Vec<Signed<Receipt>>,
    /// For those of other nodes' requests.
    forwards: Vec<Signed<Forward>>,
}

impl Inner {
    /// Looks for a request's receipt in the background.
    pub(super) fn seek_receipt(self: &Arc<Self>, channel: Arc<Channel>, request: Option<Hash32>) {
        let Some(request_hash) = request else { return };
        let inner = Arc::clone(self);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            channel.give_up(&request_hash);
            return;
        };
        self.tasks.spawn_on(
            async move {
                inner.seek(&channel, &request_hash).await;
                channel.give_up(&request_hash);
            },
            &runtime,
        );
    }

    /// Looks for a receipt without which the answer is not accepted.
    pub(super) async fn require_receipt(
        &self,
        channel: &Channel,
        request: Option<Hash32>,
    ) -> Result<(), Disagreement> {
        if let Some(request_hash) = request {
            self.seek(channel, &request_hash).await;
            if !channel.is_open(&request_hash) {
                return channel.summary().ended.map_or(Ok(()), Err);
            }
        }
        Err(channel.end(Disagreement::NoReceipt))
    }

    pub(super) async fn completion_of(
        self: &Arc<Self>,
        sent: &Sent,
    ) -> Result<oneshot::Receiver<Completion>, JournalError> {
        // Where it was sent, or where it was passed on to: it moves once, and may do so meanwhile.
        let channels = self.channels_of(sent.stack);
        for channel in channels.iter().chain(&channels) {
            if let Some(paid) = channel.wait_for(sent.request_hash) {
                self.seek_receipt(Arc::clone(channel), Some(sent.request_hash));
                return Ok(paid);
            }
        }
        // It is not open any more: if it was settled, its receipt is on its way to the journal at the latest.
        self.journal.flush().await?;
        let completion = match self.journal.receipt_of(sent.stack, sent.request_hash).await? {
            Some((receipt, price)) => Completion::settled(receipt, price.unwrap_or(sent.price)),
            None => Completion::Unpaid { reason: "nothing is owed for it".into() },
        };
        let (told, paid) = Told::new(completion);
        told.tell();
        Ok(paid)
    }

    async fn seek(&self, channel: &Channel, request_hash: &Hash32) {
        for pause in SEEK_PAUSES_MS {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if !channel.is_open(request_hash) {
                return;
            }
            self.catch_up(channel).await;
            if channel.may_move(request_hash) {
                self.catch_up_others(channel).await;
            }
            if !channel.is_open(request_hash) {
                return;
            }
        }
    }

    /// Reads the receipts after the last one held. Returns whether the node said that there are no more.
    pub(super) async fn catch_up(&self, channel: &Channel) -> bool {
        for _ in 0..PAGES_MAX {
            let before = channel.summary().count;
            let from = before.saturating_add(1);
            let Some(Given { receipts, forwards }) = self.fetch_receipts(channel, from).await else {
                return false;
            };
            for forward in &forwards {
                self.learn_forward(channel, forward).await;
            }
            if receipts.iter().any(|receipt| self.take_receipt(channel, receipt).is_err()) {
                return false;
            }
            if receipts.is_empty() || channel.summary().count == before {
                return receipts.is_empty();
            }
        }
        false
    }

    /// Asks again for receipts that did not come. A request whose node still has none after its time is
    /// written off: a receipt that charges it later is a lie.
    async fn recover(&self, channel: &Channel) {
        let overdue = channel.overdue();
        let known = self.catch_up(channel).await;
        let elsewhere = !channel.may_move_any() || self.catch_up_others(channel).await;
        if known && elsewhere {
            for request_hash in &overdue {
                channel.write_off(request_hash).await;
            }
        }
    }

    async fn fetch_receipts(&self, channel: &Channel, from: u64) -> Option<Given> {
        let identity = channel.identity();
        let url = format!("{}/v1/receipts?stack={}&from={from}", self.endpoint(channel)?, identity.stack);
        let response = self.http.get(url).timeout(CALL_TIMEOUT).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let page: Page = serde_json::from_slice(&read(response, PAGE_MAX).await.ok()?).ok()?;
        Some(Given { receipts: decoded(&page.receipts)?, forwards: decoded(&page.forwards)? })
    }

    /// Hands the node the newest voucher, without a request.
    pub(super) async fn acknowledge(&self, channel: &Channel) {
        let (Some(voucher), Some(endpoint)) = (channel.voucher(), self.endpoint(channel)) else { return };
        if let Err(error) = self.journal.vouched(voucher.clone()).await {
            tracing::error!(%error, "a voucher cannot be kept, and is not sent");
            return;
        }
        let body = json!({"voucher": wire::encode(&voucher)});
        let sent =
            self.http.post(format!("{endpoint}/v1/vouchers")).timeout(CALL_TIMEOUT).json(&body).send().await;
        match sent {
            Ok(response) if response.status().is_success() => channel.set_acknowledged(voucher.message.count),
            Ok(response) => tracing::debug!(status = %response.status(), "a node refused a voucher"),
            Err(error) => tracing::debug!(%error, "a node took no voucher"),
        }
    }

    /// Fetches what is missing on every channel and acknowledges it, all channels at once.
    pub(super) async fn acknowledge_all(&self) {
        let channels: Vec<Arc<Channel>> =
            self.pools().iter().flat_map(|pool| pool.channels().as_ref().clone()).collect();
        let all = channels.iter().map(|channel| async {
            if channel.lacks_receipts() {
                self.catch_up(channel).await;
            }
            if channel.summary().owes_voucher {
                self.acknowledge(channel).await;
            }
        });
        futures::future::join_all(all).await;
    }

    fn endpoint(&self, channel: &Channel) -> Option<String> {
        let catalog = self.catalog();
        catalog.node(channel.identity().node).map(|node| node.endpoint.trim_end_matches('/').to_owned())
    }
}

fn decoded<T: DeserializeOwned>(texts: &[String]) -> Option<Vec<T>> {
    texts.iter().map(|text| wire::decode(text).ok()).collect()
}

/// Fetches receipts that others wait for, acknowledges on idle channels, reads the catalog again, and buys ahead, until the session stops.
pub(super) async fn keep(inner: Weak<Inner>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut supplied = Instant::now();
    for look in 0u64.. {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.fresh_catalog(CATALOG_LIFE).await;
        inner.read_chain_clock().await;
        inner.ask_contexts();
        if inner.policy.tidy
            && look % TIDY_EVERY == 0
            && let Err(error) = inner.tidy().await
        {
            tracing::warn!(%error, "cannot tidy up");
        }
        if supplied.elapsed() >= inner.policy.supply.refresh {
            supplied = Instant::now();
            inner.supply();
        }
        for pool in inner.pools() {
            for channel in pool.channels().iter() {
                if channel.summary().has_gap {
                    inner.catch_up(channel).await;
                }
                if look % LOST_EVERY == 0 && channel.lacks_receipts() {
                    inner.recover(channel).await;
                }
                let summary = channel.summary();
                if summary.owes_voucher && (summary.in_flight == 0 || look % OWED_EVERY == 0) {
                    inner.acknowledge(channel).await;
                }
            }
        }
    }
}
