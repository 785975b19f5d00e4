//! Following the chain for transfers to the gateway, so that each is credited once.

use crate::store::{Store, StoreError, Transfer};
use atoma_chain::{ChainClient, ChainError, CoinTransfer};
use atoma_types::{Address, Amount};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Before the chain or the store is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// Frames without a transfer between two that are stored.
const FRAMES_PER_STORE: u32 = 256;

/// A step of the transfers to an address: what is behind the cursor, then the cursor.
#[derive(Clone, Debug)]
pub struct TransferFrame {
    pub transfer: Option<CoinTransfer>,
    /// Where to go on, strictly behind everything before it.
    pub cursor: String,
}

/// Transfers of the market's coin to one address, as the chain has them.
pub trait Transfers: Send + Sync + 'static {
    fn address(&self) -> Address;
    /// The cursor behind everything that happened.
    fn now(&self) -> BoxFuture<'_, Result<String, String>>;
    /// From a cursor; never ends by itself but for an error.
    fn follow(&self, from: &str) -> BoxStream<'static, Result<TransferFrame, String>>;
}

/// Transfers on a chain.
#[derive(Clone, Debug)]
pub struct ChainTransfers {
    chain: ChainClient,
    address: Address,
}

impl ChainTransfers {
    pub fn new(chain: ChainClient, address: Address) -> Self {
        Self { chain, address }
    }
}

impl Transfers for ChainTransfers {
    fn address(&self) -> Address {
        self.address
    }

    fn now(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let cursor = self.chain.transfers_now(self.address).await.map_err(|error| error.to_string())?;
            serde_json::to_string(&cursor).map_err(|error| error.to_string())
        })
    }

    fn follow(&self, from: &str) -> BoxStream<'static, Result<TransferFrame, String>> {
        let from = match serde_json::from_str(from) {
            Ok(from) => from,
            Err(error) => {
                let error = format!("the cursor in the database is unreadable: {error}");
                return futures::stream::iter([Err(error)]).boxed();
            }
        };
        let frame = |frame: Result<(Option<CoinTransfer>, _), ChainError>| {
            let (transfer, cursor) = frame.map_err(|error| error.to_string())?;
            let cursor = serde_json::to_string(&cursor).map_err(|error| error.to_string())?;
            Ok(TransferFrame { transfer, cursor })
        };
        self.chain.transfers_to(self.address, &from).map(frame).boxed()
    }
}

/// Notes where deposits begin, once: what the wallet got before there was a gateway is nobody's deposit.
pub(crate) async fn begin(store: &Store, transfers: &dyn Transfers) -> Result<(), BeginError> {
    if store.cursor().await?.is_none() {
        let now = transfers.now().await.map_err(BeginError::Chain)?;
        store.deposit(&[], Some(&now)).await?;
    }
    Ok(())
}

/// It is not known where deposits begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot follow deposits: {0}")]
    Chain(String),
}

/// Credits every transfer to the address until told to stop. What fails is tried again from the last cursor.
pub(crate) async fn follow(store: Store, transfers: std::sync::Arc<dyn Transfers>, stop: CancellationToken) {
    loop {
        let followed = tokio::select! {
            () = stop.cancelled() => return,
            followed = follow_once(&store, transfers.as_ref()) => followed,
        };
        if let Err(reason) = followed {
            tracing::warn!(reason, "cannot follow deposits now; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn follow_once(store: &Store, transfers: &dyn Transfers) -> Result<(), String> {
    let broken = |error: StoreError| error.to_string();
    let from = store.cursor().await.map_err(broken)?.ok_or("the cursor in the database is gone")?;
    let mut frames = transfers.follow(&from);
    let mut since = 0u32;
    while let Some(frame) = frames.next().await {
        let TransferFrame { transfer, cursor } = frame?;
        let deposit = transfer.and_then(|transfer| deposit(transfer, transfers.address()));
        since = since.saturating_add(1);
        if deposit.is_some() || since >= FRAMES_PER_STORE {
            store.deposit(deposit.as_slice(), Some(&cursor)).await.map_err(broken)?;
            since = 0;
        }
    }
    Ok(())
}

/// What the gateway moved itself, as it does when a stack's rest comes back, is no deposit.
fn deposit(transfer: CoinTransfer, to: Address) -> Option<Transfer> {
    let CoinTransfer { digest, sender, amount, checkpoint } = transfer;
    (sender != to && amount > Amount::ZERO).then_some(Transfer { digest, sender, amount, checkpoint })
}
