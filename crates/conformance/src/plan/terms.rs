//! Parameters of a play: within their bounds, often at them, and such that audits are frequent.

use crate::dice::Dice;
use atoma_contract::params::{VERIFIERS_SPARE, conviction_ppb, devnet};
use atoma_types::Amount;
use atoma_types::onchain::Params;

pub(crate) const COIN: u64 = 1_000_000;

/// Valid parameters.
pub(crate) fn roll(dice: &mut Dice, level: u8) -> Params {
    let mut params = devnet();
    amounts(dice, &mut params, level);
    rates(dice, &mut params, level);
    windows(dice, &mut params);
    bind(dice, &mut params);
    params
}

fn amounts(dice: &mut Dice, params: &mut Params, level: u8) {
    // At level 2 claims must be covered by the collateral.
    let small = if level == 2 && !dice.one_in(6) { 100 * COIN } else { dice.of([1, 1_000]) };
    let minimum = dice.of([small, 1_000 * COIN, 1_000 * COIN]);
    params.min_collateral = Amount(minimum);
    params.weight_cap = Amount(minimum * dice.of([1, 2, 4, 4, 4, 16, 1_000]));
    params.compensation_max = Amount(dice.edgy(minimum.min(50 * COIN)));
    params.registration_fee = Amount(dice.of([0, 1, COIN]));
    params.open_fee = Amount(dice.of([0, 1, 30_000]));
    params.bond = Amount(dice.of([0, 1, 500_000, 500_000]));
    params.answer_fee = Amount(dice.of([0, 1, 100_000, 600_000]));
    params.resolve_fee = Amount(dice.of([0, 1, 30_000, 2 * COIN]));
    params.min_claim = Amount(dice.of([0, 1, COIN]));
    params.verifier_pay_min = Amount(dice.of([0, 1, 60_000, 3 * COIN]));
}

fn rates(dice: &mut Dice, params: &mut Params, level: u8) {
    params.fraud_permille = dice.of([500, 999, 1_000]);
    params.timeout_permille = dice.of([0, 1, 100, 1_000]);
    params.verdict_permille = dice.of([0, 50, 1_000]);
    params.no_commit_permille = dice.of([0, 5, 333]);
    params.burn_permille = dice.of([500, 501, 750, 1_000]);
    params.compensation_times = dice.of([0, 1, 10]);
    params.p_min_ppb = dice.of([1_000_000, 300_000_000, 700_000_000, 1_000_000_000]);
    params.p_stat_ppb = dice.of([1_000_000, 500_000_000, 900_000_000, 1_000_000_000]);
    params.cost_permille = dice.of([1, 1_000, 1_000, if level == 2 { 20_000 } else { 100_000 }]);
    params.collusion_permille = dice.of([0, 1, 333, 333, 500]);
    params.records = dice.of([1, 1, 2, 4, 8]);
    params.verifiers = if level == 2 { dice.of([1, 1, 1, 2, 3]) } else { dice.of([1, 2, 3, 4]) };
    params.min_verifiers = params.verifiers + VERIFIERS_SPARE;
}

fn windows(dice: &mut Dice, params: &mut Params) {
    let unit = dice.of([1, 1_000, 1_000]);
    params.unit_ms = unit;
    let mut window = |most: u64| unit * (1 + dice.below(most));
    params.stack_life_ms = window(4_000);
    params.reveal_ms = window(20);
    params.commit_ms = window(20);
    params.verdict_ms = window(20);
    params.grace_ms = window(5);
    params.challenge_ms = window(40);
    params.dispute_window_ms = window(20);
    params.answer_window_ms = window(20);
    params.body_window_ms = window(20);
    params.queue_max_ms = window(30);
    params.close_delay_ms = params.dispute_window_ms + window(20) - unit;
    params.beat_min_ms = 1 + dice.below(2_000);
    params.answer_interval_max_ms = 1 + dice.below(params.queue_max_ms);
}

/// What must keep pace with the rest, at its least or a little more.
fn bind(dice: &mut Dice, params: &mut Params) {
    let mut spare = || params_unit(params.unit_ms, dice);
    let round = params.reveal_ms + 2 * params.commit_ms + params.verdict_ms + 4 * params.grace_ms;
    let (hold, exit, timelock) = (spare(), spare(), spare());
    params.hold_ms = params.challenge_ms + 2 * round + hold;
    params.exit_ms = exit_least(params) + exit;
    params.timelock_ms = params.stack_life_ms + params.exit_ms + timelock;
    params.safety_permille = safety_least(params.collusion_permille, params.verifiers);
}

fn params_unit(unit_ms: u64, dice: &mut Dice) -> u64 {
    unit_ms * dice.of([0, 0, 1, 10])
}

/// The shortest way out that bounds allow.
pub(crate) fn exit_least(params: &Params) -> u64 {
    let disputes =
        params.dispute_window_ms + params.queue_max_ms + params.answer_window_ms + params.body_window_ms;
    params.close_delay_ms + disputes + 2 * params.hold_ms + 4 * params.grace_ms
}

/// The least safety factor with these: `safety · q ≥ 1000 · (1 − r)`.
pub(crate) fn safety_least(collusion_permille: u64, verifiers: u64) -> u64 {
    let honest_ppb = 1_000_000_000 - collusion_permille * 1_000_000;
    let conviction = conviction_ppb(collusion_permille, verifiers).max(1);
    (1_000 * honest_ppb).div_ceil(conviction)
}

/// The parameters with one value changed, mostly to where a bound is.
pub(crate) fn change(dice: &mut Dice, params: &Params) -> Vec<u64> {
    let mut values = params.values();
    let index = dice.index(values.len());
    let value = values[index];
    values[index] = match dice.below(11) {
        0 => 0,
        1 => value + params.unit_ms,
        2 => value.saturating_sub(params.unit_ms),
        3 => value + 1,
        4 => value.saturating_sub(1),
        5 => value * 2,
        6 => dice.of([1_000, 1_001, 500, 499]),
        7 => dice.of([1_000_000_000, 1_000_000_001, 1_000_000, 999_999]),
        8 => dice.of([10_000_000_000, 10_000_001_000, 3_600_000, 3_600_001]),
        9 => dice.of([1_000_000_000_000_000, 1_000_000_000_000_001]),
        _ => u64::MAX,
    };
    if dice.one_in(12) {
        values.pop();
    }
    if dice.one_in(24) {
        values.push(1);
    }
    values
}
