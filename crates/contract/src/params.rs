//! Parameters of the networks that we run.

use atoma_types::Amount;
use atoma_types::onchain::Params;

const COIN: u64 = 1_000_000;
const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Testnet and mainnet: windows are whole hours.
pub fn public() -> Params {
    Params {
        unit_ms: HOUR_MS,
        stack_life_ms: 30 * DAY_MS,
        close_delay_ms: DAY_MS,
        exit_ms: 14 * DAY_MS,
        min_collateral: Amount(1_000 * COIN),
        weight_cap: Amount(4_000 * COIN),
        registration_fee: Amount(COIN),
        open_fee: Amount(30_000),
    }
}

/// The local network: windows are whole seconds, amounts as on the public ones.
pub fn devnet() -> Params {
    Params {
        unit_ms: SECOND_MS,
        stack_life_ms: HOUR_MS,
        close_delay_ms: 20 * SECOND_MS,
        exit_ms: 640 * SECOND_MS,
        ..public()
    }
}
