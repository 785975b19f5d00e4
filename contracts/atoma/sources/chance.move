/// What chance decides about a claim: whether it is audited, and of which records.
module atoma::chance;

use atoma::errors;
use atoma::math;
use atoma::params::Params;
use atoma::draw;
use std::bcs;
use sui::hash;

/// Chances are parts of this.
const PPB: u64 = 1_000_000_000;

/// Chance, in parts of 10^9, that a claim of `amount` is audited: so high that cheating costs more than it gains.
/// At least `p_min`, at most certain; statistical tasks have a fixed chance.
public(package) fun p_ppb(params: &Params, exact: bool, amount: u64, collateral: u64): u64 {
    if (!exact) return params.p_stat_ppb().min(PPB);
    let chance = needed(params, amount, collateral).max(params.p_min_ppb() as u128);
    chance.min(PPB as u128) as u64
}

/// Whether an audit with a chance of at most one deters from cheating on a claim of `amount`. A larger one gains more
/// than `collateral` and claim can lose, even if it is surely audited: some audits fail.
public(package) fun is_covered(params: &Params, exact: bool, amount: u64, collateral: u64): bool {
    !exact || needed(params, amount, collateral) <= (PPB as u128)
}

/// With cost ratio c, collusion share r and safety in permille, R the amount and S what a conviction takes of the
/// node's collateral: `ceil(safety·c·R·10^9 / (1000·(1000−r)·(R+S)))`. Bookings do not count: they are no longer the
/// node's.
fun needed(params: &Params, amount: u64, collateral: u64): u128 {
    let at_stake = (math::share(collateral, params.fraud_permille()) as u128) + (amount as u128);
    if (at_stake == 0) return PPB as u128;
    let honest = math::sub(1_000, params.collusion_permille());
    // The bounds of the parameters keep this within 128 bits.
    let gain = (params.safety_permille() as u128) * (params.cost_permille() as u128);
    let numerator = gain * (amount as u128) * (PPB as u128);
    let denominator = (1_000 * (honest as u128) * at_stake).max(1);
    numerator.divide_and_round_up(denominator)
}

/// The seed of one claim in its beacon round. `target` is the stack or dispute that holds it.
public(package) fun claim_seed(round_seed: &vector<u8>, target: address, node: u64, count: u64): vector<u8> {
    let mut bytes = *round_seed;
    bytes.append(bcs::to_bytes(&target));
    bytes.append(bcs::to_bytes(&node));
    bytes.append(bcs::to_bytes(&count));
    hash::blake2b256(&bytes)
}

/// Whether the claim with this seed is audited.
public(package) fun is_drawn(seed: &vector<u8>, p_ppb: u64): bool {
    draw::first_u64(&hash::blake2b256(seed)) % PPB < p_ppb
}

/// `count` units of `(from, to]`, one per value from 0 on, duplicates kept. Units, not leaves: one fat faked record
/// must be found in proportion to what it charges.
public(package) fun offsets(seed: &vector<u8>, from: u64, to: u64, count: u64): vector<u64> {
    let size = math::sub(to, from);
    assert!(size > 0, errors::arithmetic());
    vector::tabulate!(count, |i| from + 1 + draw::value(seed, i) % size)
}

/// The seed that the jury is drawn from.
public(package) fun jury_seed(seed: &vector<u8>): vector<u8> {
    let mut bytes = *seed;
    bytes.append(b"jury");
    hash::blake2b256(&bytes)
}
