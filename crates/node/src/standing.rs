//! Reads now and then what the chain says of this node, for whoever watches it.

use crate::channels::Channels;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(30);

pub(crate) async fn watch(channels: Channels, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shelf = channels.shelf();
        match shelf.market.node(shelf.node).await {
            Ok(Some(node)) => metrics.standing.set(&node),
            Ok(None) => tracing::warn!("the chain does not show this node"),
            Err(error) => tracing::debug!(%error, "cannot read this node's standing"),
        }
    }
}
