/// Arithmetic on amounts, units, prices and times. Where a result leaves `u64` these abort with `EArithmetic`;
/// the operators would abort with the VM's own error. Nothing here rounds twice.
module atoma_base::math;

use atoma_base::errors::{Self, require};

/// Units per priced lot.
const PRICE_LOT: u128 = 1_000_000;
/// Parts of a whole in which shares are given.
const PERMILLE: u128 = 1_000;

public macro fun max(): u64 { 0xffff_ffff_ffff_ffff }

public fun add(a: u64, b: u64): u64 {
    require(a <= max!() - b, errors::arithmetic!());
    a + b
}

public fun sub(a: u64, b: u64): u64 {
    require(a >= b, errors::arithmetic!());
    a - b
}

public fun mul(a: u64, b: u64): u64 { narrow((a as u128) * (b as u128)) }

public fun saturating_add(a: u64, b: u64): u64 { if (a <= max!() - b) a + b else max!() }

public fun saturating_sub(a: u64, b: u64): u64 { if (a >= b) a - b else 0 }

/// `floor(units * price / 10^6)`. Payments are differences of this function at cumulative counts, so that rounding
/// telescopes.
public fun cost(units: u64, price: u64): u64 { narrow((units as u128) * (price as u128) / PRICE_LOT) }

/// `floor(amount * permille / 1000)`.
public fun share(amount: u64, permille: u64): u64 {
    narrow((amount as u128) * (permille as u128) / PERMILLE)
}

/// `floor(amount * part / whole)`; zero of a zero whole.
public fun pro_rata(amount: u64, part: u64, whole: u64): u64 {
    if (whole == 0) return 0;
    narrow((amount as u128) * (part as u128) / (whole as u128))
}

public(package) fun narrow(value: u128): u64 {
    require(value <= (max!() as u128), errors::arithmetic!());
    value as u64
}
