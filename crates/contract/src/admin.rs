//! What the holder of the cap may do: set parameters within their bounds, stop purchases, retire models, spend
//! the treasury. It never reaches what already runs.

use crate::beacon::Beacon;
use crate::context::{Owned, TxContext};
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::treasury::Treasury;
use crate::{Result, VERSION, params};
use atoma_types::onchain::event::{
    MarketCreated, Migrated, ModelDisabled, ParamsSet, PauseSet, TreasuryPaid,
};
use atoma_types::onchain::{Abort, Params, PendingParams};
use atoma_types::{Address, Amount, ModelId};
use serde::{Deserialize, Serialize};

/// The right to administer one market. `db` is zero until it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCap {
    pub id: Address,
    pub db: Address,
}

/// The shared objects of a new market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    pub db: AtomaDb,
    pub treasury: Treasury,
    pub beacon: Beacon,
}

/// What publishing does: the cap goes to the publisher.
pub fn init(ctx: &mut TxContext) {
    let cap = AdminCap { id: ctx.fresh_id(), db: Address::ZERO };
    let publisher = ctx.sender();
    ctx.transfer(Owned::AdminCap(cap), publisher);
}

/// Makes the cap's market, once.
pub fn create(cap: &mut AdminCap, values: &[u64], ctx: &mut TxContext) -> Result<Genesis> {
    ensure(cap.db == Address::ZERO, Abort::AlreadyDone)?;
    let params = checked(values)?;

    let db = AtomaDb::new(params, ctx);
    let treasury = Treasury::new(db.id, ctx);
    let beacon = Beacon::new(db.id, ctx);
    cap.db = db.id;
    ctx.emit(MarketCreated { db: db.id, treasury: treasury.id, beacon: beacon.id, params: values.to_vec() });
    Ok(Genesis { db, treasury, beacon })
}

/// A new market in one step: what [`init`] and [`create`] make, the cap included.
pub fn genesis(params: &Params, ctx: &mut TxContext) -> Result<(AdminCap, Genesis)> {
    let mut cap = AdminCap { id: ctx.fresh_id(), db: Address::ZERO };
    let genesis = create(&mut cap, &params.values(), ctx)?;
    Ok((cap, genesis))
}

/// Sets the parameters from the next epoch on, in place of any that were to come. What was bought keeps its own
/// copy.
pub fn set_params(db: &mut AtomaDb, cap: &AdminCap, values: &[u64], ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_cap(cap, db.id)?;
    let params = checked(values)?;
    params::check_change(db.params_at(ctx.epoch()), &params)?;
    let epoch = ctx.epoch().checked_add(1).ok_or(Abort::Arithmetic)?;

    db.params = db.params_at(ctx.epoch()).clone();
    db.pending = Some(PendingParams { params, epoch });
    ctx.emit(ParamsSet { params: values.to_vec(), epoch });
    Ok(())
}

fn checked(values: &[u64]) -> Result<Params> {
    let params = Params::from_values(values).ok_or(Abort::BadParams)?;
    params::check(&params)?;
    Ok(params)
}

/// Stops purchases and top-ups, nothing else, or allows them again.
pub fn set_paused(db: &mut AtomaDb, cap: &AdminCap, paused: bool, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_cap(cap, db.id)?;

    db.paused = paused;
    ctx.emit(PauseSet { paused });
    Ok(())
}

/// Retires a model for good: its tasks are not sold any more. Stacks that were bought run on.
pub fn disable_model(db: &mut AtomaDb, cap: &AdminCap, model: ModelId, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_cap(cap, db.id)?;
    let row = db.models.get_mut(model.0).ok_or(Abort::UnknownModel)?;
    ensure(!row.disabled, Abort::ModelDisabled)?;

    row.disabled = true;
    ctx.emit(ModelDisabled { model });
    Ok(())
}

/// Pays from the treasury. No deadline hangs on it, so it may hand the coin to somebody else.
pub fn pay_from_treasury(
    treasury: &mut Treasury,
    cap: &AdminCap,
    to: Address,
    amount: Amount,
    ctx: &mut TxContext,
) -> Result {
    ensure(treasury.version == VERSION, Abort::Version)?;
    check_cap(cap, treasury.db)?;
    ensure(!amount.is_zero(), Abort::BadArgument)?;
    ensure(treasury.balance >= amount, Abort::InsufficientPayment)?;
    let balance = treasury.balance.sub(amount)?;

    treasury.balance = balance;
    ctx.pay(amount, to);
    ctx.emit(TreasuryPaid { to, amount });
    Ok(())
}

/// Moves the database to this version of the package, from an older one.
pub fn migrate(db: &mut AtomaDb, cap: &AdminCap, ctx: &mut TxContext) -> Result {
    check_cap(cap, db.id)?;
    db.version = newer(db.version)?;
    ctx.emit(Migrated { object: db.id, version: db.version });
    Ok(())
}

/// Moves the treasury to the database's version. By anyone.
pub fn migrate_treasury(db: &AtomaDb, treasury: &mut Treasury, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    ensure(treasury.db == db.id, Abort::WrongDb)?;
    treasury.version = newer(treasury.version)?;
    ctx.emit(Migrated { object: treasury.id, version: treasury.version });
    Ok(())
}

/// Moves the beacon to the database's version. By anyone.
pub fn migrate_beacon(db: &AtomaDb, beacon: &mut Beacon, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    ensure(beacon.db == db.id, Abort::WrongDb)?;
    beacon.version = newer(beacon.version)?;
    ctx.emit(Migrated { object: beacon.id, version: beacon.version });
    Ok(())
}

/// This version, if `version` is older.
pub(crate) fn newer(version: u64) -> Result<u64> {
    ensure(version < VERSION, Abort::Version)?;
    Ok(VERSION)
}

pub(crate) fn check_cap(cap: &AdminCap, db: Address) -> Result {
    ensure(cap.db == db, Abort::NotAuthorized)
}
