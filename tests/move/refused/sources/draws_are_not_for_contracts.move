// A contract that buys, looks at who was drawn, and aborts until it likes it.
// refused: Invalid call to internal function
module attacker::draws_are_not_for_contracts;

use atoma::db::AtomaDb;
use atoma::stack;
use sui::clock::Clock;
use sui::coin::Coin;
use sui::random::Random;
use sui::sui::SUI;

public fun draws_are_not_for_contracts(
    db: &AtomaDb<SUI>,
    random: &Random,
    coin: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    stack::acquire(db, random, coin, 1, vector[], 1, 1, 0, 1, 1, vector[], clock, ctx)
}
