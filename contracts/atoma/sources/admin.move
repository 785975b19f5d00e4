/// What the holder of the cap may do: set parameters within their bounds, stop purchases, retire models, spend the
/// treasury. It never reaches what already runs.
module atoma::admin;

use atoma::beacon::{Self, Beacon};
use atoma::db::{Self, AtomaDb};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use atoma_base::params;
use atoma::treasury::{Self, Treasury};

/// The right to administer one market. `db` is zero until it is created.
public struct AdminCap has key, store {
    id: UID,
    db: address,
}

/// The cap goes to the publisher.
fun init(ctx: &mut TxContext) { transfer::transfer(new_cap(ctx), ctx.sender()) }

/// Makes the cap's market, once, else `EAlreadyDone`. Aborts `EBadParams`.
public fun create<T>(cap: &mut AdminCap, params: vector<u64>, ctx: &mut TxContext) {
    let (db, treasury, beacon) = create_impl<T>(cap, params, ctx);
    db.share();
    treasury.share();
    beacon.share();
}

/// `create` without sharing what it makes.
public(package) fun create_impl<T>(
    cap: &mut AdminCap,
    params: vector<u64>,
    ctx: &mut TxContext,
): (AtomaDb<T>, Treasury<T>, Beacon) {
    require(cap.db == @0x0, errors::already_done!());
    let db = db::new<T>(params::checked(params), ctx);
    let treasury = treasury::new<T>(db.addr(), ctx);
    let beacon = beacon::new(db.addr(), ctx);
    cap.db = db.addr();
    events::market_created(db.addr(), treasury.addr(), beacon.addr(), params);
    (db, treasury, beacon)
}

/// Sets the parameters from the next epoch on, in place of any that were to come. What was bought keeps its own copy.
/// Aborts `EBadParams` outside of their bounds.
public fun set_params<T>(db: &mut AtomaDb<T>, cap: &AdminCap, params: vector<u64>, ctx: &TxContext) {
    db.check_version();
    cap.check(db.addr());
    let next = params::checked(params);
    let present = *db.params_at(ctx.epoch());
    params::check_change(&present, &next);
    let epoch = math::add(ctx.epoch(), 1);

    db.set_params(present, params::pending(next, epoch));
    events::params_set(params, epoch);
}

/// Stops purchases and top-ups, nothing else, or allows them again.
public fun set_paused<T>(db: &mut AtomaDb<T>, cap: &AdminCap, paused: bool) {
    db.check_version();
    cap.check(db.addr());

    db.set_paused(paused);
    events::pause_set(paused);
}

/// Retires a model for good: its tasks are not sold any more. Stacks that were bought run on. Aborts
/// `EModelDisabled` the second time.
public fun disable_model<T>(db: &mut AtomaDb<T>, cap: &AdminCap, model: u64) {
    db.check_version();
    cap.check(db.addr());
    let row = db.model_mut(model);
    require(!row.disabled(), errors::model_disabled!());

    row.disable();
    events::model_disabled(model);
}

/// Pays from the treasury. No deadline hangs on it, so it may hand the coin to somebody else. Aborts
/// `EInsufficientPayment` if there is less.
public fun pay_from_treasury<T>(
    treasury: &mut Treasury<T>,
    cap: &AdminCap,
    to: address,
    amount: u64,
    ctx: &mut TxContext,
) {
    db::check_package_version(treasury.version());
    cap.check(treasury.db());
    require(amount > 0, errors::bad_argument!());
    require(treasury.value() >= amount, errors::insufficient_payment!());

    events::treasury_paid(to, amount);
    transfer::public_transfer(treasury.split(amount).into_coin(ctx), to)
}

/// Moves the database to this version of the package, from an older one, else `EVersion`.
public fun migrate<T>(db: &mut AtomaDb<T>, cap: &AdminCap) {
    cap.check(db.addr());
    db.migrate();
    events::migrated(db.addr(), db.version());
}

/// Moves the treasury to the database's version. By anyone.
public fun migrate_treasury<T>(db: &AtomaDb<T>, treasury: &mut Treasury<T>) {
    db.check_version();
    db.check_db(treasury.db());
    treasury.migrate();
    events::migrated(treasury.addr(), treasury.version());
}

/// Moves the beacon to the database's version. By anyone.
public fun migrate_beacon<T>(db: &AtomaDb<T>, beacon: &mut Beacon) {
    db.check_version();
    db.check_db(beacon.db());
    beacon.migrate();
    events::migrated(beacon.addr(), beacon.version());
}

public(package) fun new_cap(ctx: &mut TxContext): AdminCap { AdminCap { id: object::new(ctx), db: @0x0 } }

/// Aborts `ENotAuthorized` unless this is the cap of that database.
public(package) fun check(self: &AdminCap, db: address) { require(self.db == db, errors::not_authorized!()) }
