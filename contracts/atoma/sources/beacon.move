/// `Beacon`: one random seed per round, for all claims of the market.
module atoma::beacon;

use atoma::db::{Self, AtomaDb};
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::math;
use sui::clock::Clock;
use sui::random::Random;
use sui::table::{Self, Table};

/// The shared beacon of one database. Seeds are kept for ever and never redrawn.
public struct Beacon has key {
    id: UID,
    version: u64,
    db: address,
    /// Round of the newest seed; 0 before the first.
    round: u64,
    last_ms: u64,
    /// By round, from 1.
    seeds: Table<u64, vector<u8>>,
}

/// Stores the next round's seed. By anyone, at most once per `beat_min_ms`, else `ETooEarly`. Nobody whose claim the
/// seed decides sees it before it is stored.
entry fun beat<T>(db: &AtomaDb<T>, beacon: &mut Beacon, random: &Random, clock: &Clock, ctx: &mut TxContext) {
    let seed = random.new_generator(ctx).generate_bytes(32);
    beat_impl(db, beacon, seed, clock, ctx)
}

/// `beat` with the one draw from `Random` in hand.
public(package) fun beat_impl<T>(
    db: &AtomaDb<T>,
    beacon: &mut Beacon,
    seed: vector<u8>,
    clock: &Clock,
    ctx: &TxContext,
) {
    db.check_version();
    beacon.check(db);
    let clock_ms = clock.timestamp_ms();
    let beat_min_ms = db.params_at(ctx.epoch()).beat_min_ms();
    let is_due = beacon.round == 0 || math::saturating_sub(clock_ms, beacon.last_ms) >= beat_min_ms;
    require(is_due, errors::too_early!());
    let round = math::add(beacon.round, 1);

    beacon.round = round;
    beacon.last_ms = clock_ms;
    beacon.seeds.add(round, seed);
    events::beacon_round(round, seed, clock_ms);
}

public(package) fun new(db: address, ctx: &mut TxContext): Beacon {
    Beacon {
        id: object::new(ctx),
        version: db::package_version!(),
        db,
        round: 0,
        last_ms: 0,
        seeds: table::new(ctx),
    }
}

#[allow(lint(share_owned))]
public(package) fun share(beacon: Beacon) { transfer::share_object(beacon) }

public(package) fun check<T>(self: &Beacon, db: &AtomaDb<T>) { db.check_object(self.version, self.db) }

public(package) fun migrate(self: &mut Beacon) { self.version = db::newer(self.version) }

public(package) fun addr(self: &Beacon): address { self.id.to_address() }

public(package) fun version(self: &Beacon): u64 { self.version }

public(package) fun db(self: &Beacon): address { self.db }

public(package) fun round(self: &Beacon): u64 { self.round }

/// The seed of a round that was drawn, else `ENoSeed`.
public(package) fun seed(self: &Beacon, round: u64): &vector<u8> {
    require(self.seeds.contains(round), errors::no_seed!());
    &self.seeds[round]
}

#[test_only]
public fun set_version_for_testing(self: &mut Beacon, version: u64) { self.version = version }
