//! A chain that misbehaves between a node and the real one.

use crate::support::{Market, mock};
use atoma_chain::{Call, ChainClient, ChainError, EventCursor, EventFrame, OpenChannel, Wallet};
use atoma_node::{ChainResult, Market as NodeMarket, NodeConfig, NodeHandle, Parts, Prepared, SuiMarket};
use atoma_types::onchain::{Event, Model, Node, Slot, Stack, Task};
use atoma_types::{Address, ModelId, NodeId, TaskId};
use futures::stream::BoxStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What comes of reading a stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Shown,
    /// As from a full node that lags.
    Hidden,
    Panic,
}

pub(crate) struct Interposed {
    inner: SuiMarket,
    chain: ChainClient,
    receipt_key: atoma_types::SecretKey,
    reads: Mutex<Reads>,
    /// Who opens every channel right before the node does.
    rival: Mutex<Option<Wallet>>,
}

impl Interposed {
    pub(crate) fn over(market: &Market, reads: Reads) -> Arc<Self> {
        Arc::new(Self {
            inner: SuiMarket::new(market.chain.clone(), market.operator.clone()),
            chain: market.chain.clone(),
            receipt_key: market.receipt_key.clone(),
            reads: Mutex::new(reads),
            rival: Mutex::new(None),
        })
    }

    pub(crate) fn set(&self, reads: Reads) {
        *self.reads.lock().unwrap() = reads;
    }

    pub(crate) fn race(&self, rival: &Wallet) {
        *self.rival.lock().unwrap() = Some(rival.clone());
    }

    pub(crate) async fn spawn(self: &Arc<Self>, config: NodeConfig) -> NodeHandle {
        let parts = Parts {
            market: self.clone(),
            receipt_key: self.receipt_key.clone(),
            engines: vec![mock(16, Duration::ZERO)],
        };
        atoma_node::spawn(config, parts).await.unwrap()
    }
}

impl NodeMarket for Interposed {
    fn address(&self) -> Address {
        self.inner.address()
    }

    fn db(&self) -> Address {
        self.inner.db()
    }

    fn now_ms(&self) -> ChainResult<'_, u64> {
        self.inner.now_ms()
    }

    fn stack(&self, id: Address) -> ChainResult<'_, Option<Stack>> {
        let reads = *self.reads.lock().unwrap();
        match reads {
            Reads::Shown => self.inner.stack(id),
            Reads::Hidden => Box::pin(async { Ok(None) }),
            Reads::Panic => Box::pin(async { panic!("reading a stack panics") }),
        }
    }

    fn node(&self, id: NodeId) -> ChainResult<'_, Option<Node>> {
        self.inner.node(id)
    }

    fn task(&self, id: TaskId) -> ChainResult<'_, Option<Task>> {
        self.inner.task(id)
    }

    fn model(&self, id: ModelId) -> ChainResult<'_, Option<Model>> {
        self.inner.model(id)
    }

    fn offers(&self, task: TaskId) -> ChainResult<'_, Vec<Slot>> {
        self.inner.offers(task)
    }

    fn events(&self, from: Option<EventCursor>) -> BoxStream<'static, Result<EventFrame, ChainError>> {
        self.inner.events(from)
    }

    fn prepare(&self, call: Call) -> ChainResult<'_, Prepared> {
        self.inner.prepare(call)
    }

    fn submit<'a>(&'a self, prepared: &'a Prepared) -> ChainResult<'a, Vec<Event>> {
        self.inner.submit(prepared)
    }

    fn execute(&self, call: Call) -> ChainResult<'_, Vec<Event>> {
        let rival = self.rival.lock().unwrap().clone();
        let (Some(rival), Call::OpenChannel(open)) = (rival, &call) else { return self.inner.execute(call) };
        let first = Call::OpenChannel(OpenChannel { signature: None, ..open.clone() });
        Box::pin(async move {
            rival.execute(&self.chain, first).await?;
            self.inner.execute(call).await
        })
    }
}
