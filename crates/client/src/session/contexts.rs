//! How long a context each node takes, as it says itself: shown to users, and relied on for nothing.

use super::Inner;
use super::send::read;
use crate::channel::lock;
use atoma_types::{NodeId, TaskId};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often nodes are asked, at most how many, and how many at once.
const ASK_EVERY: Duration = Duration::from_secs(60);
const NODES_MAX: usize = 256;
const AT_ONCE: usize = 16;
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_MAX: usize = 64 * 1024;

/// What nodes said last.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    tokens: HashMap<(TaskId, NodeId), u64>,
    asked: Option<Instant>,
}

#[derive(Deserialize)]
struct Said {
    tasks: Vec<SaidTask>,
}

#[derive(Deserialize)]
struct SaidTask {
    task: TaskId,
    context_tokens: u64,
}

impl Inner {
    /// Tokens that each node of a task that told it takes; the smallest of them.
    pub(super) fn context_of(&self, task: TaskId) -> Option<u64> {
        let (catalog, contexts) = (self.catalog(), lock(&self.contexts));
        let of = catalog.live_offers(task).filter_map(|offer| contexts.tokens.get(&(task, offer.node)));
        of.copied().min()
    }

    /// Asks every node in the background, if that was long ago.
    pub(super) fn ask_contexts(self: &Arc<Self>) {
        {
            let mut contexts = lock(&self.contexts);
            if contexts.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
                return;
            }
            contexts.asked = Some(Instant::now());
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let asked = inner.read_contexts();
            tokio::select! {
                () = inner.stopping.cancelled() => {}
                tokens = asked => lock(&inner.contexts).tokens = tokens,
            }
        });
    }

    async fn read_contexts(&self) -> HashMap<(TaskId, NodeId), u64> {
        let catalog = self.catalog();
        let nodes = catalog.offering_nodes().into_iter().take(NODES_MAX);
        let told = nodes.map(|node| async move {
            let endpoint = self.catalog().node(node)?.endpoint.trim_end_matches('/').to_owned();
            let response = self.http.get(format!("{endpoint}/v1/node")).timeout(CALL_TIMEOUT).send();
            let response = response.await.ok().filter(|response| response.status().is_success())?;
            let said: Said = serde_json::from_slice(&read(response, ANSWER_MAX).await.ok()?).ok()?;
            Some((node, said))
        });
        let told: Vec<_> = stream::iter(told).buffer_unordered(AT_ONCE).collect().await;
        let all = told.into_iter().flatten().flat_map(|(node, said)| {
            said.tasks.into_iter().map(move |one| ((one.task, node), one.context_tokens))
        });
        all.collect()
    }
}
