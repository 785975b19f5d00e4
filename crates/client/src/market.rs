//! What a user needs of the chain, as a seam: the real one is [`ChainMarket`], tests bring their own.

use crate::catalog::Catalog;
use atoma_chain::{Balances, Call, ChainClient, ChainError, Executed, SignedTransaction, Wallet};
use atoma_types::onchain::{Event, Stack};
use atoma_types::{Address, Amount, SecretKey};
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
    /// The wallet cannot pay for it: nothing was sent.
    #[error("{0}")]
    Funds(String),
}

impl MarketError {
    /// What an error of a submission says about the transaction: only a chain that says so makes it safe to
    /// forget one.
    fn of_submission(error: ChainError) -> Self {
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
            ChainError::InsufficientCoin { .. } | ChainError::InsufficientGas { .. } => Self::Funds(message),
            error if error.is_transient() => Self::Unknown(message),
            ChainError::Rpc { .. } => Self::Unknown(message),
            _ => Self::Refused(message),
        }
    }
}

/// A transaction that was signed and not sent. While it lives, its coins are not used for anything else.
#[derive(Clone)]
pub struct Prepared {
    /// What to keep before it is sent.
    pub bytes: Vec<u8>,
    live: Option<SignedTransaction>,
}

impl Prepared {
    /// One that was kept.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, live: None }
    }
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The stack that it bought.
    pub bought: Option<Address>,
    /// What went into a stack, and what came back out of one.
    pub paid: Amount,
    pub returned: Amount,
    /// Net gas; negative if the rebate for what was deleted is more.
    pub gas_mist: i64,
}

impl From<&Executed> for Done {
    fn from(executed: &Executed) -> Self {
        let mut done = Self { gas_mist: executed.gas_used, ..Self::default() };
        for event in &executed.events {
            match event {
                Event::StackAcquired(event) => {
                    (done.bought, done.paid) = (Some(event.stack), event.balance);
                }
                Event::StackToppedUp(event) => done.paid = event.amount,
                Event::Refunded(event) if !event.credited => done.returned = event.amount,
                _ => {}
            }
        }
        done
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
    /// What the wallet holds.
    fn balances(&self) -> BoxFuture<'_, Result<Balances, MarketError>>;
    /// Signs a transaction and sends nothing.
    fn prepare(&self, call: Call) -> BoxFuture<'_, Result<Prepared, MarketError>>;
    /// Sends a prepared transaction; the same bytes execute once, however often they are sent.
    fn submit(&self, prepared: Prepared) -> BoxFuture<'_, Result<Done, MarketError>>;
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

    fn balances(&self) -> BoxFuture<'_, Result<Balances, MarketError>> {
        Box::pin(async move { Ok(self.chain.balances(self.wallet.address()).await?) })
    }

    fn prepare(&self, call: Call) -> BoxFuture<'_, Result<Prepared, MarketError>> {
        Box::pin(async move {
            let prepared = self.wallet.prepare(&self.chain, call).await?;
            Ok(Prepared { bytes: prepared.to_bytes(), live: Some(prepared) })
        })
    }

    fn submit(&self, prepared: Prepared) -> BoxFuture<'_, Result<Done, MarketError>> {
        Box::pin(async move {
            let transaction = match prepared.live {
                Some(transaction) => transaction,
                None => SignedTransaction::from_bytes(&prepared.bytes).map_err(MarketError::of_submission)?,
            };
            let executed = self.wallet.submit(&self.chain, &transaction).await;
            Ok(Done::from(&executed.map_err(MarketError::of_submission)?))
        })
    }
}
