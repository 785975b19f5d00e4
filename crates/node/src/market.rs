//! The chain as the node needs it: a seam, so that everything behind it can be tested without a chain.

use atoma_chain::{Call, ChainClient, ChainError, EventCursor, EventFrame, SignedTransaction, Wallet};
use atoma_types::onchain::{Event, Model, Node, Slot, Stack, Task};
use atoma_types::{Address, ModelId, NodeId, TaskId};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _};

pub type ChainResult<'a, T> = BoxFuture<'a, Result<T, ChainError>>;

/// A transaction that is signed and not yet submitted.
pub struct Prepared {
    /// What to journal: enough to submit it again after a crash.
    pub bytes: Vec<u8>,
    /// Keeps the wallet's coins reserved; absent when read back from a journal.
    pub held: Option<SignedTransaction>,
}

/// One wallet's view of one market.
pub trait Market: Send + Sync + 'static {
    /// Who signs and pays for this node's transactions.
    fn address(&self) -> Address;
    fn db(&self) -> Address;
    fn now_ms(&self) -> ChainResult<'_, u64>;
    fn stack(&self, id: Address) -> ChainResult<'_, Option<Stack>>;
    fn node(&self, id: NodeId) -> ChainResult<'_, Option<Node>>;
    fn task(&self, id: TaskId) -> ChainResult<'_, Option<Task>>;
    fn model(&self, id: ModelId) -> ChainResult<'_, Option<Model>>;
    /// The task's offers, also those that ended or are yet to begin.
    fn offers(&self, task: TaskId) -> ChainResult<'_, Vec<Slot>>;
    /// Events after `from`, or from now on.
    fn events(&self, from: Option<EventCursor>) -> BoxStream<'static, Result<EventFrame, ChainError>>;
    fn prepare(&self, call: Call) -> ChainResult<'_, Prepared>;
    /// Submitting the same transaction again is safe and gives the same events.
    fn submit<'a>(&'a self, prepared: &'a Prepared) -> ChainResult<'a, Vec<Event>>;
    fn execute(&self, call: Call) -> ChainResult<'_, Vec<Event>>;
}

/// The market on Sui.
#[derive(Clone)]
pub struct SuiMarket {
    chain: ChainClient,
    wallet: Wallet,
}

impl SuiMarket {
    pub fn new(chain: ChainClient, wallet: Wallet) -> Self {
        Self { chain, wallet }
    }
}

impl Market for SuiMarket {
    fn address(&self) -> Address {
        self.wallet.address()
    }

    fn db(&self) -> Address {
        self.chain.deployment().db
    }

    fn now_ms(&self) -> ChainResult<'_, u64> {
        Box::pin(self.chain.now_ms())
    }

    fn stack(&self, id: Address) -> ChainResult<'_, Option<Stack>> {
        Box::pin(self.chain.stack(id))
    }

    fn node(&self, id: NodeId) -> ChainResult<'_, Option<Node>> {
        Box::pin(self.chain.node(id))
    }

    fn task(&self, id: TaskId) -> ChainResult<'_, Option<Task>> {
        Box::pin(self.chain.task(id))
    }

    fn model(&self, id: ModelId) -> ChainResult<'_, Option<Model>> {
        Box::pin(self.chain.model(id))
    }

    fn offers(&self, task: TaskId) -> ChainResult<'_, Vec<Slot>> {
        Box::pin(self.chain.all_offers(task))
    }

    fn events(&self, from: Option<EventCursor>) -> BoxStream<'static, Result<EventFrame, ChainError>> {
        match from {
            Some(cursor) => self.chain.events(Some(cursor)).boxed(),
            None => self.chain.events_from_now().boxed(),
        }
    }

    fn prepare(&self, call: Call) -> ChainResult<'_, Prepared> {
        Box::pin(async move {
            let signed = self.wallet.prepare(&self.chain, call).await?;
            Ok(Prepared { bytes: signed.to_bytes(), held: Some(signed) })
        })
    }

    fn submit<'a>(&'a self, prepared: &'a Prepared) -> ChainResult<'a, Vec<Event>> {
        Box::pin(async move {
            let executed = match &prepared.held {
                Some(signed) => self.wallet.submit(&self.chain, signed).await?,
                None => {
                    self.wallet.submit(&self.chain, &SignedTransaction::from_bytes(&prepared.bytes)?).await?
                }
            };
            Ok(executed.events)
        })
    }

    fn execute(&self, call: Call) -> ChainResult<'_, Vec<Event>> {
        Box::pin(async move { Ok(self.wallet.execute(&self.chain, call).await?.events) })
    }
}
