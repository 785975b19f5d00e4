/// `Treasury`: what the market itself earned, and what was burned.
module atoma::treasury;

use atoma::db::{Self, AtomaDb};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use sui::balance::{Self, Balance};

/// The shared treasury of one database.
public struct Treasury<phantom T> has key {
    id: UID,
    version: u64,
    db: address,
    /// Registration fees, swept surcharges, and slashes.
    balance: Balance<T>,
    /// Coins taken out of use for ever. No entry point takes from it.
    burned: Balance<T>,
}

/// Moves what slashes burned and gave to the treasury out of the database's pool. By anyone, at any version. Aborts
/// `EWrongDb`, `ENothingDue`.
public fun collect<T>(db: &mut AtomaDb<T>, treasury: &mut Treasury<T>) {
    db.check_db(treasury.db);
    require(math::add(db.to_burn(), db.to_treasury()) > 0, errors::nothing_due!());
    events::collected(db.to_burn(), db.to_treasury());
    let (burned, earned) = db.take_collected();
    math::add(treasury.burned.value(), burned.value());
    treasury.burned.join(burned);
    treasury.join(earned);
}

public(package) fun new<T>(db: address, ctx: &mut TxContext): Treasury<T> {
    Treasury {
        id: object::new(ctx),
        version: db::package_version!(),
        db,
        balance: balance::zero(),
        burned: balance::zero(),
    }
}

#[allow(lint(share_owned))]
public(package) fun share<T>(treasury: Treasury<T>) { transfer::share_object(treasury) }

public(package) fun check<T>(self: &Treasury<T>, db: &AtomaDb<T>) { db.check_object(self.version, self.db) }

public(package) fun migrate<T>(self: &mut Treasury<T>) { self.version = db::newer(self.version) }

public(package) fun addr<T>(self: &Treasury<T>): address { self.id.to_address() }

public(package) fun version<T>(self: &Treasury<T>): u64 { self.version }

public(package) fun db<T>(self: &Treasury<T>): address { self.db }

public(package) fun value<T>(self: &Treasury<T>): u64 { self.balance.value() }

public(package) fun burned<T>(self: &Treasury<T>): u64 { self.burned.value() }

public(package) fun join<T>(self: &mut Treasury<T>, balance: Balance<T>) {
    math::add(self.balance.value(), balance.value());
    self.balance.join(balance);
}

public(package) fun split<T>(self: &mut Treasury<T>, amount: u64): Balance<T> { self.balance.split(amount) }

#[test_only]
public fun set_version_for_testing<T>(self: &mut Treasury<T>, version: u64) { self.version = version }
