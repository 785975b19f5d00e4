//! `Treasury`: what the market itself earned.

use crate::VERSION;
use crate::context::TxContext;
use atoma_types::{Address, Amount};
use serde::{Deserialize, Serialize};

/// The shared treasury of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treasury {
    pub id: Address,
    pub version: u64,
    pub db: Address,
    /// `Balance<T>`: registration fees and swept surcharges.
    pub balance: Amount,
    /// `Balance<T>`: coins taken out of use for ever.
    pub burned: Amount,
}

impl Treasury {
    pub(crate) fn new(db: Address, ctx: &mut TxContext) -> Self {
        Self { id: ctx.fresh_id(), version: VERSION, db, balance: Amount::ZERO, burned: Amount::ZERO }
    }
}
