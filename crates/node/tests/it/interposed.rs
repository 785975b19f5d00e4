//! A chain that misbehaves between a node and the real one.

use crate::support::{Market, mock};
use atoma_chain::{Call, ChainClient, ChainError, EventCursor, EventFrame, OpenChannel, Wallet};
use atoma_node::{ChainResult, Market as NodeMarket, NodeConfig, NodeHandle, Parts, Prepared, SuiMarket};
use atoma_types::onchain::{Event, Model, Node, Slot, Stack, Task};
use atoma_types::{Address, ModelId, NodeId, TaskId, Voucher};
use futures::stream::BoxStream;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whose vouchers are spoiled on their way to the chain.
    spoiled: Mutex<Option<Address>>,
    /// Whether what is submitted is executed, and the answer lost.
    deaf: AtomicBool,
    /// The vouchers of each settlement that was prepared.
    settlements: Mutex<Vec<Vec<Voucher>>>,
}

impl Interposed {
    pub(crate) fn over(market: &Market, reads: Reads) -> Arc<Self> {
        Arc::new(Self {
            inner: SuiMarket::new(market.chain.clone(), market.operator.clone()),
            chain: market.chain.clone(),
            receipt_key: market.receipt_key.clone(),
            reads: Mutex::new(reads),
            rival: Mutex::new(None),
            spoiled: Mutex::new(None),
            deaf: AtomicBool::new(false),
            settlements: Mutex::default(),
        })
    }

    pub(crate) fn set(&self, reads: Reads) {
        *self.reads.lock().unwrap() = reads;
    }

    pub(crate) fn race(&self, rival: &Wallet) {
        *self.rival.lock().unwrap() = Some(rival.clone());
    }

    pub(crate) fn spoil(&self, stack: Address) {
        *self.spoiled.lock().unwrap() = Some(stack);
    }

    pub(crate) fn deafen(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    pub(crate) fn settlements(&self) -> Vec<Vec<Voucher>> {
        self.settlements.lock().unwrap().clone()
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

    fn prepare(&self, mut call: Call) -> ChainResult<'_, Prepared> {
        if let Call::Settle(vouchers) = &mut call {
            let messages = vouchers.iter().map(|voucher| voucher.message.clone()).collect();
            self.settlements.lock().unwrap().push(messages);
            let spoiled = *self.spoiled.lock().unwrap();
            for voucher in vouchers.iter_mut().filter(|voucher| Some(voucher.message.stack) == spoiled) {
                voucher.message.count += 1;
            }
        }
        self.inner.prepare(call)
    }

    fn submit<'a>(&'a self, prepared: &'a Prepared) -> ChainResult<'a, Vec<Event>> {
        let submitted = self.inner.submit(prepared);
        if !self.deaf.load(Ordering::Relaxed) {
            return submitted;
        }
        Box::pin(async move {
            submitted.await?;
            Err(ChainError::Unreachable {
                url: "nowhere".to_owned(),
                reason: "the answer was lost".to_owned(),
            })
        })
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
