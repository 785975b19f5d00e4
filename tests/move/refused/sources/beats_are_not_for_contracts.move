// A contract that draws the round's seed, looks at it, and aborts until it likes it.
// refused: Invalid call to internal function
module attacker::beats_are_not_for_contracts;

use atoma::beacon::{Self, Beacon};
use atoma::db::AtomaDb;
use sui::clock::Clock;
use sui::random::Random;
use sui::sui::SUI;

public fun beats_are_not_for_contracts(
    db: &AtomaDb<SUI>,
    beacon: &mut Beacon,
    random: &Random,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    beacon::beat(db, beacon, random, clock, ctx)
}
