//! A key, and the coins it spends: from a [`Call`] to an executed transaction.

use crate::build::{self, Inputs, owned};
use crate::client::GasPrice;
use crate::keystore::WalletError;
use crate::pool::{Lease, Pool, Purse};
use crate::submit::{Outcome, owned_inputs};
use crate::{Call, ChainClient, ChainError, Executed, SignedTransaction};
use atoma_types::{Address, Hash32, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sui_crypto::SuiSigner;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::{Transaction, TransactionExpiration};
use sui_transaction_builder::TransactionBuilder;
use zeroize::Zeroizing;

/// How often one intent is prepared anew after a transaction that is provably dead.
const ATTEMPTS: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a transaction without an answer is submitted, half a minute each.
const SUBMISSIONS: u32 = 6;
/// Gas units a transaction may use, and per Move call in it; at the usual price 0.05 and 0.01 SUI. Only
/// what is used is paid.
pub(crate) const BUDGET_UNITS: u64 = 50_000;
const BUDGET_UNITS_PER_CALL: u64 = 10_000;
/// For the deposit of a package, which is 7,600 MIST a byte.
const BUDGET_MIST_PER_BYTE: u64 = 10_000;
/// That deposit, rounded up.
const DEPOSIT_MIST_PER_BYTE: u64 = 7_700;
/// A budget varies by this part of it.
const BUDGET_RANDOM_PART: u64 = 16;
/// A transaction not executed by the end of the next epoch never will be.
const LIFE_EPOCHS: u64 = 1;
const REQUEST_KEY_DOMAIN: &[u8] = b"atoma/request-key";

/// An ed25519 wallet. Clones share the key and the pool of coins, so that any number of transactions may
/// be in flight from one wallet.
#[derive(Clone)]
pub struct Wallet {
    inner: Arc<Inner>,
}

struct Inner {
    key: Ed25519PrivateKey,
    seed: Zeroizing<[u8; 32]>,
    address: Address,
    /// By chain and market.
    pools: Mutex<HashMap<(String, Address), Arc<Pool>>>,
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wallet({})", self.address())
    }
}

impl Wallet {
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let key = Ed25519PrivateKey::new(seed);
        let address = key.public_key().derive_address();
        let inner = Inner { key, seed: Zeroizing::new(seed), address, pools: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn from_key(key: &Ed25519PrivateKey) -> Result<Self, WalletError> {
        let malformed = |reason: String| WalletError::Malformed { place: "the key".to_owned(), reason };
        let flagged = Zeroizing::new(key.to_base64());
        let flagged = STANDARD.decode(flagged.as_bytes()).map_err(|error| malformed(error.to_string()))?;
        let flagged = Zeroizing::new(flagged);
        let seed = flagged.get(1..).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        seed.map(Self::from_seed).ok_or_else(|| malformed("not 32 bytes".to_owned()))
    }

    pub fn address(&self) -> Address {
        self.inner.address
    }

    pub(crate) fn key(&self) -> &Ed25519PrivateKey {
        &self.inner.key
    }

    /// A key for the protocol's messages, the same for the same label:
    /// H("atoma/request-key" ‖ seed ‖ label).
    pub fn request_key(&self, label: impl AsRef<[u8]>) -> SecretKey {
        let seed = Hash32::of_parts(&[REQUEST_KEY_DOMAIN, self.inner.seed.as_ref(), label.as_ref()]);
        SecretKey::from_seed(seed.0)
    }

    /// Builds and signs; sends nothing. What the transaction uses stays reserved while it lives, and goes
    /// back to the wallet if it is dropped unsent. With several prepared before the first is submitted,
    /// each needs coins of its own: coins are split only for those who wait.
    pub async fn prepare(&self, chain: &ChainClient, call: Call) -> Result<SignedTransaction, ChainError> {
        call.check(chain.deployment())?;
        let steps = call.steps(chain.deployment());
        let needs = build::needs(&steps);
        let price = chain.gas_price().await?;
        let mut shared = HashMap::with_capacity(needs.shared.len());
        for id in &needs.shared {
            shared.insert(*id, chain.initial_version(*id).await?);
        }
        // Coins first, gas last: who holds gas waits for nothing else.
        let pool = self.pool(chain);
        let mut lease = pool.lease();
        if !needs.coin.is_zero() {
            self.reserve(chain, &mut lease, Purse::Market, needs.coin.0).await?;
        }
        for held in &needs.held {
            self.reserve_held(chain, &mut lease, *held, &call).await?;
        }
        let budget = self.reserve_gas(chain, &mut lease, call.budget(price), needs.gas).await?;
        lease.market_out = needs.coin.0;
        let inputs = Inputs {
            package: chain.deployment().code(),
            types: chain.types(),
            shared: &shared,
            held: &lease.held(),
            coins: lease.coins(Purse::Market),
            exact: lease.value(Purse::Market) == needs.coin.0,
        };
        let builder = build::build(steps, &inputs)?;
        self.sign(call.name(), builder, lease, price, budget)
    }

    /// Sends, and waits for the checkpoint. Safe to repeat: an executed transaction gives its first
    /// result again. After [`ChainError::Timeout`], submit the same transaction again.
    pub async fn submit(
        &self,
        chain: &ChainClient,
        transaction: &SignedTransaction,
    ) -> Result<Executed, ChainError> {
        let executed = self.send(chain, transaction).await?.into_executed(chain)?;
        tracing::debug!(digest = %executed.digest, gas = executed.gas_used, "transaction executed");
        Ok(executed)
    }

    /// What the call would do, tried with this wallet's coins; nothing is sent, and a draw falls otherwise.
    pub async fn dry_run(&self, chain: &ChainClient, call: Call) -> Result<Executed, ChainError> {
        let transaction = self.prepare(chain, call).await?;
        chain.try_out(&transaction).await?.into_executed(chain)
    }

    /// [`Wallet::prepare`] and [`Wallet::submit`], insisting for some minutes; prepares anew only if the
    /// first is provably dead. What must not be lost in a crash goes through `prepare`, a journal and
    /// `submit` instead.
    pub async fn execute(&self, chain: &ChainClient, call: Call) -> Result<Executed, ChainError> {
        let mut pause = ATTEMPT_PAUSE;
        for _ in 1..ATTEMPTS {
            let transaction = Box::pin(self.prepare(chain, call.clone())).await?;
            match Box::pin(self.insist(chain, &transaction)).await {
                Err(ChainError::Dead { digest, reason }) => {
                    tracing::debug!(%digest, reason, call = call.name(), "preparing anew");
                }
                result => return result,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let transaction = Box::pin(self.prepare(chain, call)).await?;
        Box::pin(self.insist(chain, &transaction)).await
    }

    /// Submits the same transaction again while its outcome is not known.
    async fn insist(
        &self,
        chain: &ChainClient,
        transaction: &SignedTransaction,
    ) -> Result<Executed, ChainError> {
        for _ in 1..SUBMISSIONS {
            match self.submit(chain, transaction).await {
                Err(ChainError::Timeout { digest }) => {
                    tracing::warn!(%digest, "no answer yet, submitting the same transaction again");
                }
                result => return result,
            }
        }
        self.submit(chain, transaction).await
    }

    pub(crate) async fn send(
        &self,
        chain: &ChainClient,
        transaction: &SignedTransaction,
    ) -> Result<Outcome, ChainError> {
        if transaction.sender() != self.address() {
            let reason = format!("signed by {}, not by this wallet", transaction.sender());
            return Err(ChainError::InvalidCall { call: "submit", reason });
        }
        let lease = transaction.lease.clone().unwrap_or_else(|| {
            let mut lease = self.pool(chain).lease();
            lease.adopt(owned_inputs(transaction.transaction()));
            Arc::new(lease)
        });
        lease.sent(transaction.digest(), transaction.expires_epoch());
        let sent = chain.send(transaction).await;
        match &sent {
            Ok(outcome) => {
                lease.executed(&outcome.effects);
                outcome.remember_shared(chain);
            }
            Err(ChainError::Dead { .. }) => lease.dead(),
            Err(ChainError::Rejected { .. }) => lease.refused(),
            Err(_) => {}
        }
        sent
    }

    pub(crate) fn sign(
        &self,
        call: &'static str,
        mut builder: TransactionBuilder,
        lease: Lease,
        price: GasPrice,
        budget: u64,
    ) -> Result<SignedTransaction, ChainError> {
        let invalid = |reason: String| ChainError::InvalidCall { call, reason };
        builder.set_sender(self.address());
        builder.set_gas_price(price.mist);
        builder.set_gas_budget(budget.saturating_sub(distinction(budget)?));
        builder.add_gas_objects(lease.coins(Purse::Gas).iter().map(owned));
        let mut transaction: Transaction = builder.try_build().map_err(|error| invalid(error.to_string()))?;
        transaction.expiration = TransactionExpiration::Epoch(price.epoch.saturating_add(LIFE_EPOCHS));
        let signature =
            self.key().sign_transaction(&transaction).map_err(|error| invalid(error.to_string()))?;
        Ok(SignedTransaction::new(transaction, signature, Some(Arc::new(lease))))
    }

    pub(crate) fn pool(&self, chain: &ChainClient) -> Arc<Pool> {
        let key = (chain.chain_id().to_owned(), chain.deployment().db);
        let mut pools = self.inner.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(key).or_insert_with(|| Arc::new(Pool::new(self.address()))).clone()
    }
}

/// What a wallet needs, in MIST, to publish packages of these sizes one after the other, at this price a unit. The
/// last one's budget must be there, of those before it what they cost.
pub fn publishing_mist(price_mist: u64, sizes: &[usize]) -> u64 {
    let units = BUDGET_UNITS.saturating_add(BUDGET_UNITS_PER_CALL);
    let cost = |(at, size): (usize, &usize)| {
        let is_last = at.saturating_add(1) == sizes.len();
        let byte = if is_last { BUDGET_MIST_PER_BYTE } else { DEPOSIT_MIST_PER_BYTE };
        let size = u64::try_from(*size).unwrap_or(u64::MAX);
        units.saturating_mul(price_mist).saturating_add(byte.saturating_mul(size))
    };
    sizes.iter().enumerate().map(cost).fold(0, u64::saturating_add)
}

impl Call {
    fn budget(&self, price: GasPrice) -> u64 {
        let calls = match self {
            Self::Settle(vouchers) | Self::Claim(vouchers) => {
                u64::try_from(vouchers.len()).unwrap_or(u64::MAX)
            }
            Self::Grow(grow) => u64::try_from(grow.opens.len()).unwrap_or(u64::MAX).saturating_add(1),
            _ => 1,
        };
        let units = BUDGET_UNITS.saturating_add(BUDGET_UNITS_PER_CALL.saturating_mul(calls));
        let stored = if let Self::Deploy(deploy) = self { deploy.bytes() } else { 0 };
        units.saturating_mul(price.mist).saturating_add(BUDGET_MIST_PER_BYTE.saturating_mul(stored))
    }
}

/// A random part of the budget to leave out. Two processes with one wallet that want the same at the same
/// time must not sign the same bytes, or both intents would be one payment.
fn distinction(budget: u64) -> Result<u64, ChainError> {
    let random = getrandom::u64().map_err(|error| ChainError::InvalidCall {
        call: "sign",
        reason: format!("the system gave no randomness: {error}"),
    })?;
    Ok(random % (budget / BUDGET_RANDOM_PART).max(1))
}
