//! `Treasury`: what the market itself earned, and what was burned.

use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::{Result, VERSION};
use atoma_types::onchain::Abort;
use atoma_types::onchain::event::Collected;
use atoma_types::{Address, Amount};
use serde::{Deserialize, Serialize};

/// The shared treasury of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treasury {
    pub id: Address,
    pub version: u64,
    pub db: Address,
    /// `Balance<T>`: registration fees, swept surcharges, and slashes.
    pub balance: Amount,
    /// `Balance<T>`: coins taken out of use for ever. No entry point takes from it.
    pub burned: Amount,
}

impl Treasury {
    pub(crate) fn new(db: Address, ctx: &mut TxContext) -> Self {
        Self { id: ctx.fresh_id(), version: VERSION, db, balance: Amount::ZERO, burned: Amount::ZERO }
    }

    pub(crate) fn check(&self, db: &AtomaDb) -> Result {
        ensure(self.version == VERSION, Abort::Version)?;
        ensure(self.db == db.id, Abort::WrongDb)
    }
}

/// Moves what slashes burned and gave to the treasury out of the database's pool. By anyone, at any version.
pub fn collect(db: &mut AtomaDb, treasury: &mut Treasury, ctx: &mut TxContext) -> Result {
    ensure(treasury.db == db.id, Abort::WrongDb)?;
    let amount = db.to_burn.add(db.to_treasury)?;
    ensure(!amount.is_zero(), Abort::NothingDue)?;
    let pool = db.pool.sub(amount)?;
    let burned = treasury.burned.add(db.to_burn)?;
    let balance = treasury.balance.add(db.to_treasury)?;

    ctx.emit(Collected { burned: db.to_burn, treasury: db.to_treasury });
    db.pool = pool;
    db.to_burn = Amount::ZERO;
    db.to_treasury = Amount::ZERO;
    treasury.burned = burned;
    treasury.balance = balance;
    Ok(())
}
