//! Finding what a transaction uses: coins free, awaited, listed or split off, badges and other objects.

use crate::build::{Held, owned};
use crate::client::{GasPrice, gas_type};
use crate::pool::{Coin, Lease, Pool, Purse, Take, busy};
use crate::submit::Outcome;
use crate::wallet::BUDGET_UNITS;
use crate::{Call, ChainClient, ChainError, Wallet};
use atoma_types::Amount;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use sui_sdk_types::{ObjectChange, ObjectReference, Owner, StructTag};
use sui_transaction_builder::{Argument, TransactionBuilder};
use tokio::time::Instant;

/// Longest wait for a coin or badge that other transactions of this wallet use.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(60);
/// A wallet that cannot afford the budget may go down to this part of it.
const BUDGET_LEAST: u64 = 10;

impl Wallet {
    /// Gas for `budget` and `out`, or for less than the budget if that is all there is. Returns the budget.
    pub(crate) async fn reserve_gas(
        &self,
        chain: &ChainClient,
        lease: &mut Lease,
        budget: u64,
        out: u64,
    ) -> Result<u64, ChainError> {
        lease.gas_out = out;
        let needed = budget.saturating_add(out);
        let short = match self.reserve(chain, lease, Purse::Gas, needed).await {
            Err(ChainError::InsufficientGas { address, available, .. }) => {
                let least = (budget / BUDGET_LEAST).saturating_add(out);
                (available >= least, ChainError::InsufficientGas { address, needed: least, available })
            }
            reserved => return reserved.map(|()| budget),
        };
        let (enough, error) = short;
        if !enough {
            return Err(error);
        }
        let value = self.pool(chain).take_all(lease, Purse::Gas);
        match value.checked_sub(out) {
            Some(budget) if budget > 0 => Ok(budget),
            _ => Err(error),
        }
    }

    /// Waits for, lists or splits coins until `lease` has some worth `amount`.
    pub(crate) async fn reserve(
        &self,
        chain: &ChainClient,
        lease: &mut Lease,
        purse: Purse,
        amount: u64,
    ) -> Result<(), ChainError> {
        let pool = self.pool(chain);
        let split_cost = match purse {
            Purse::Gas => split_budget(chain.gas_price().await?),
            Purse::Market => 0,
        };
        let deadline = Instant::now() + RESERVE_TIMEOUT;
        let mut listed = false;
        loop {
            let changed = pool.changed();
            match pool.take(lease, purse, amount, split_cost) {
                Take::Taken => return Ok(()),
                Take::Split { pieces, piece } => {
                    let coin = lease.split_off_last();
                    match self.split(chain, coin, purse, pieces, piece).await {
                        Err(ChainError::Dead { .. }) | Ok(()) => {}
                        Err(error) => return Err(error),
                    }
                }
                Take::Load(loading) => {
                    self.list(chain, &pool, purse).await?;
                    listed = true;
                    drop(loading);
                }
                Take::Wait => {
                    let _wanted = pool.want(purse, amount);
                    tokio::time::timeout_at(deadline, changed).await.map_err(|_| busy(purse))?;
                }
                Take::Short { .. } if !listed => pool.doubt(purse),
                Take::Short { available } => return Err(self.insufficient(purse, amount, available)),
            }
        }
    }

    fn insufficient(&self, purse: Purse, needed: u64, available: u64) -> ChainError {
        let address = self.address();
        match purse {
            Purse::Gas => ChainError::InsufficientGas { address, needed, available },
            Purse::Market => {
                ChainError::InsufficientCoin { address, needed: Amount(needed), available: Amount(available) }
            }
        }
    }

    /// Reads which coins there are, after settling the fate of what was given up.
    async fn list(&self, chain: &ChainClient, pool: &Arc<Pool>, purse: Purse) -> Result<(), ChainError> {
        for limbo in pool.limbo() {
            let over = match chain.lookup(limbo.digest).await? {
                Some(_) => true,
                None => match limbo.expires_epoch {
                    Some(expires) => chain.gas_price().await?.epoch > expires,
                    None => false,
                },
            };
            if over {
                pool.resolved(limbo.digest);
            }
        }
        let generation = pool.generation();
        let coin_type = match purse {
            Purse::Gas => StructTag::coin(gas_type()),
            Purse::Market => StructTag::coin(chain.types().coin.clone()),
        };
        let objects = chain.owned(self.address(), &coin_type, "object_id,version,digest,balance").await?;
        let coins = objects.iter().map(coin).collect::<Result<Vec<_>, _>>()?;
        pool.listed(purse, generation, coins);
        Ok(())
    }

    /// Splits one coin into several for tasks that wait, in a transaction of its own.
    fn split<'a>(
        &'a self,
        chain: &'a ChainClient,
        mut lease: Lease,
        purse: Purse,
        pieces: usize,
        piece: u64,
    ) -> BoxFuture<'a, Result<(), ChainError>> {
        Box::pin(async move {
            let price = chain.gas_price().await?;
            let budget = split_budget(price);
            let out = piece.saturating_mul(u64::try_from(pieces).unwrap_or(u64::MAX));
            let mut builder = TransactionBuilder::new();
            let coin = match purse {
                Purse::Gas => {
                    lease.gas_out = out;
                    builder.gas()
                }
                Purse::Market => {
                    lease.market_out = out;
                    self.reserve(chain, &mut lease, Purse::Gas, budget).await?;
                    let coins = lease.coins(Purse::Market);
                    let coin = coins.first().ok_or_else(|| busy(purse))?;
                    builder.object(owned(coin))
                }
            };
            let amount = builder.pure(&piece);
            let split: Vec<Argument> = builder.split_coins(coin, vec![amount; pieces]);
            let me = builder.pure(&self.address());
            builder.transfer_objects(split, me);
            let transaction = self.sign("split coins", builder, lease, price, budget)?;
            let outcome = self.send(chain, &transaction).await?;
            if let Some(lease) = &transaction.lease {
                lease.add(purse, self.new_coins(&outcome, piece));
            }
            outcome.into_executed(chain).map(|_| ())
        })
    }

    fn new_coins(&self, outcome: &Outcome, balance: u64) -> Vec<Coin> {
        let coin = |change| match change {
            ObjectChange::Created { object_id, output_version, output_digest, output_owner }
                if *output_owner == Owner::Address(self.address()) =>
            {
                let reference = ObjectReference::new(*object_id, output_version, *output_digest);
                Some(Coin { reference, balance })
            }
            _ => None,
        };
        outcome.effects.object_changes().filter_map(coin).collect()
    }

    pub(crate) async fn reserve_held(
        &self,
        chain: &ChainClient,
        lease: &mut Lease,
        held: Held,
        call: &Call,
    ) -> Result<(), ChainError> {
        let pool = self.pool(chain);
        let deadline = Instant::now() + RESERVE_TIMEOUT;
        let mut listed = false;
        loop {
            let changed = pool.changed();
            match pool.take_held(lease, held) {
                Take::Wait => {
                    let busy = ChainError::Busy { what: held.name() };
                    tokio::time::timeout_at(deadline, changed).await.map_err(|_| busy)?;
                }
                Take::Short { .. } if !listed => {
                    listed = true;
                    for (found, reference) in chain.held(self.address(), held).await? {
                        pool.listed_held(found, reference);
                    }
                }
                Take::Short { .. } => {
                    let reason = format!("{} holds no {held}", self.address());
                    return Err(ChainError::InvalidCall { call: call.name(), reason });
                }
                _ => return Ok(()),
            }
        }
    }
}

fn split_budget(price: GasPrice) -> u64 {
    BUDGET_UNITS.saturating_mul(price.mist)
}

fn coin(object: &sui_rpc::proto::sui::rpc::v2::Object) -> Result<Coin, ChainError> {
    let malformed = |reason: String| ChainError::Malformed { what: "a coin", reason };
    let id = object.object_id().parse().map_err(|error| malformed(format!("id: {error}")))?;
    let digest = object.digest().parse().map_err(|error| malformed(format!("digest: {error}")))?;
    Ok(Coin { reference: ObjectReference::new(id, object.version(), digest), balance: object.balance() })
}
