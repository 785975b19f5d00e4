//! Where every coin is. The supply of both coins is fixed at genesis, so each sum must come out.

use super::{Ledger, genesis, object};
use crate::package::{ObjectKind, usd};
use atoma_contract::Treasury;
use atoma_types::onchain::{Dispute, Stack};
use sui_sdk_types::{Object, TypeTag};

/// All coins of a network, in MIST and in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Coins, deposits and what was burned together.
    pub sui_supply: u128,
    /// Paid for storage and held by the objects.
    pub sui_deposits: u128,
    /// Paid for computation, and the part of deposits that is never given back.
    pub sui_burned: u128,
    /// Coins, stacks, disputes, the database's pool and the treasury together.
    pub usd_supply: u128,
    /// What of it is in somebody's coins.
    pub usd_coins: u128,
}

/// Coins were made or lost: a defect of the devnet or of the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the books do not balance: {0:?}")]
pub struct Unbalanced(pub Totals);

impl Ledger {
    pub(crate) fn audit(&self) -> Result<Totals, Unbalanced> {
        let mut totals = Totals {
            sui_supply: self.burned,
            sui_deposits: 0,
            sui_burned: self.burned,
            usd_supply: 0,
            usd_coins: 0,
        };
        let (sui, usd) = (object::sui(), usd());
        for object in self.objects() {
            totals.sui_deposits += u128::from(object.storage_rebate());
            match object::coin(object) {
                Some((coin, balance)) if *coin == sui => totals.sui_supply += u128::from(balance),
                Some((coin, balance)) if *coin == usd => totals.usd_coins += u128::from(balance),
                Some(_) => {}
                None => match self.held(object) {
                    Some((coin, held)) if coin == sui => totals.sui_supply += held,
                    Some((coin, held)) if coin == usd => totals.usd_supply += held,
                    _ => {}
                },
            }
        }
        totals.sui_supply += totals.sui_deposits;
        totals.usd_supply += totals.usd_coins;
        let expected = (u128::from(genesis::SUI_SUPPLY), u128::from(genesis::USD_SUPPLY));
        match (totals.sui_supply, totals.usd_supply) == expected {
            true => Ok(totals),
            false => Err(Unbalanced(totals)),
        }
    }
    /// What an object of a market holds, and of which coin.
    fn held(&self, object: &Object) -> Option<(TypeTag, u128)> {
        let data = object.as_struct()?;
        let tag = data.object_type();
        let coin = tag.type_params().first()?.clone();
        let package = *tag.address();
        let is = |kind: ObjectKind| *tag == kind.tag(package, &coin);
        let held = if self.world.origin(package) != package || !self.world.packages.contains_key(&package) {
            return None;
        } else if is(ObjectKind::Db) {
            u128::from(self.world.dbs.get(&object.object_id())?.pool.0)
        } else if is(ObjectKind::Stack) {
            u128::from(bcs::from_bytes::<Stack>(data.contents()).ok()?.balance.0)
        } else if is(ObjectKind::Dispute) {
            u128::from(bcs::from_bytes::<Dispute>(data.contents()).ok()?.balance.0)
        } else if is(ObjectKind::Treasury) {
            let treasury = bcs::from_bytes::<Treasury>(data.contents()).ok()?;
            u128::from(treasury.balance.0) + u128::from(treasury.burned.0)
        } else {
            return None;
        };
        Some((coin, held))
    }
}
