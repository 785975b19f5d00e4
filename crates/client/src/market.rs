//! What a user needs of the chain, as a seam: the real one is [`ChainMarket`], tests bring their own.

use crate::catalog::Catalog;
use atoma_chain::{AcquireStack, Call, ChainClient, ChainError, SignedTransaction, Wallet};
use atoma_types::onchain::Stack;
use atoma_types::{Address, SecretKey};
use futures::future::BoxFuture;
use std::collections::HashMap;

/// Why the chain did not do it, sorted by what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// The same transaction will never execute: prepare another.
    #[error("{0}")]
    Dead(String),
    /// Nobody knows yet: submit the same transaction again.
    #[error("{0}")]
    Unknown(String),
    /// It was refused, and would be again.
    #[error("{0}")]
    Refused(String),
    /// The wallet has not enough for it.
    #[error("{0}")]
    Poor(String),
}

impl MarketError {
    /// What an error of a submission says about the purchase: only a chain that says so makes it safe to
    /// forget one.
    fn of_purchase(error: ChainError) -> Self {
        let message = error.to_string();
        match error {
            ChainError::Dead { .. } => Self::Dead(message),
            ChainError::Abort { .. } | ChainError::Failed { .. } | ChainError::Rejected { .. } => {
                Self::Refused(message)
            }
            _ => Self::Unknown(message),
        }
    }
}

impl From<ChainError> for MarketError {
    fn from(error: ChainError) -> Self {
        let message = error.to_string();
        match error {
            ChainError::Dead { .. } => Self::Dead(message),
            ChainError::InsufficientCoin { .. } | ChainError::InsufficientGas { .. } => Self::Poor(message),
            error if error.is_transient() => Self::Unknown(message),
            ChainError::Rpc { .. } => Self::Unknown(message),
            _ => Self::Refused(message),
        }
    }
}

/// A purchase that was signed and not sent. While it lives, its coins are not used for anything else.
#[derive(Clone)]
pub struct PreparedPurchase {
    /// What to keep before it is sent.
    pub bytes: Vec<u8>,
    live: Option<SignedTransaction>,
}

impl PreparedPurchase {
    /// One that was kept.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, live: None }
    }
}

/// The chain and the wallet, as far as buying and using stacks goes.
pub trait Market: Send + Sync + 'static {
    /// The market's database object.
    fn db(&self) -> Address;
    /// The key that signs for the stack bought under this label; always the same for the same label.
    fn request_key(&self, label: &str) -> SecretKey;
    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>>;
    /// `None` once it was deleted.
    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>>;
    /// Clock of the chain.
    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>>;
    fn prepare_purchase(
        &self,
        purchase: AcquireStack,
    ) -> BoxFuture<'_, Result<PreparedPurchase, MarketError>>;
    /// Sends a prepared purchase; the same bytes buy once, however often they are sent.
    fn submit_purchase(&self, prepared: PreparedPurchase) -> BoxFuture<'_, Result<Address, MarketError>>;
    fn request_close(&self, stack: Address) -> BoxFuture<'_, Result<(), MarketError>>;
    fn refund(&self, stack: Address) -> BoxFuture<'_, Result<(), MarketError>>;
}

/// A wallet on a chain.
#[derive(Clone)]
pub struct ChainMarket {
    chain: ChainClient,
    wallet: Wallet,
}

impl ChainMarket {
    pub fn new(chain: ChainClient, wallet: Wallet) -> Self {
        Self { chain, wallet }
    }

    async fn load_catalog(&self) -> Result<Catalog, MarketError> {
        let (models, tasks, nodes, params) = tokio::try_join!(
            self.chain.models(),
            self.chain.tasks(),
            self.chain.nodes(),
            self.chain.params()
        )?;
        let mut live = HashMap::new();
        for task in tasks.iter().filter(|task| !task.deprecated) {
            live.insert(task.id, self.chain.offers(task.id).await?);
        }
        Ok(Catalog::new(models, tasks, nodes, live, params))
    }
}

impl Market for ChainMarket {
    fn db(&self) -> Address {
        self.chain.deployment().db
    }

    fn request_key(&self, label: &str) -> SecretKey {
        self.wallet.request_key(label)
    }

    fn catalog(&self) -> BoxFuture<'_, Result<Catalog, MarketError>> {
        Box::pin(self.load_catalog())
    }

    fn stack(&self, id: Address) -> BoxFuture<'_, Result<Option<Stack>, MarketError>> {
        Box::pin(async move { Ok(self.chain.stack(id).await?) })
    }

    fn now_ms(&self) -> BoxFuture<'_, Result<u64, MarketError>> {
        Box::pin(async move { Ok(self.chain.now_ms().await?) })
    }

    fn prepare_purchase(
        &self,
        purchase: AcquireStack,
    ) -> BoxFuture<'_, Result<PreparedPurchase, MarketError>> {
        Box::pin(async move {
            let prepared = self.wallet.prepare(&self.chain, Call::AcquireStack(purchase)).await?;
            Ok(PreparedPurchase { bytes: prepared.to_bytes(), live: Some(prepared) })
        })
    }

    fn submit_purchase(&self, prepared: PreparedPurchase) -> BoxFuture<'_, Result<Address, MarketError>> {
        Box::pin(async move {
            let transaction = match prepared.live {
                Some(transaction) => transaction,
                None => SignedTransaction::from_bytes(&prepared.bytes).map_err(MarketError::of_purchase)?,
            };
            let executed = self.wallet.submit(&self.chain, &transaction).await;
            let executed = executed.map_err(MarketError::of_purchase)?;
            executed
                .acquired_stack()
                .ok_or_else(|| MarketError::Unknown(format!("{} names no stack", executed.digest)))
        })
    }

    fn request_close(&self, stack: Address) -> BoxFuture<'_, Result<(), MarketError>> {
        Box::pin(async move {
            self.wallet.execute(&self.chain, Call::RequestClose { stack }).await?;
            Ok(())
        })
    }

    fn refund(&self, stack: Address) -> BoxFuture<'_, Result<(), MarketError>> {
        Box::pin(async move {
            self.wallet.execute(&self.chain, Call::Refund { stack }).await?;
            Ok(())
        })
    }
}
