//! Where every coin is. The supply of both coins is fixed at genesis, so each sum must come out.

use super::{Ledger, genesis, object};
use crate::package::{ObjectKind, usd};
use atoma_contract::Treasury;
use atoma_types::onchain::{Dispute, Stack};
use sui_sdk_types::StructTag;

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
        let (sui, usd) = (object::sui(), usd());
        let tag_of = |kind: ObjectKind| kind.tag(&usd);
        let [stack, dispute, treasury]: [StructTag; 3] =
            [ObjectKind::Stack, ObjectKind::Dispute, ObjectKind::Treasury].map(tag_of);
        let mut totals = Totals {
            sui_supply: self.burned,
            sui_deposits: 0,
            sui_burned: self.burned,
            usd_supply: u128::from(self.world.db.pool.0),
            usd_coins: 0,
        };
        for object in self.objects() {
            totals.sui_deposits += u128::from(object.storage_rebate());
            let Some(data) = object.as_struct() else { continue };
            match object::coin(object) {
                Some((coin, balance)) if *coin == sui => totals.sui_supply += u128::from(balance),
                Some((coin, balance)) if *coin == usd => totals.usd_coins += u128::from(balance),
                _ if *data.object_type() == stack => {
                    let held = bcs::from_bytes::<Stack>(data.contents()).map_or(0, |stack| stack.balance.0);
                    totals.usd_supply += u128::from(held);
                }
                _ if *data.object_type() == dispute => {
                    let held = bcs::from_bytes::<Dispute>(data.contents()).map_or(0, |held| held.balance.0);
                    totals.usd_supply += u128::from(held);
                }
                _ if *data.object_type() == treasury => {
                    let held = bcs::from_bytes::<Treasury>(data.contents())
                        .map_or(0, |held| u128::from(held.balance.0) + u128::from(held.burned.0));
                    totals.usd_supply += held;
                }
                _ => {}
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
}
