//! Parameters: the networks that we run, the bounds within which they may be set, and what a task makes of
//! them.

use crate::Result;
use crate::limits::ensure;
use atoma_types::Amount;
use atoma_types::onchain::{Abort, Params, Task};

const COIN: u64 = 1_000_000;
const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Longest window.
pub const WINDOW_MS_MAX: u64 = 10_000_000_000;
/// Longest time that must pass between two rounds of the beacon: claims wait for the next one.
pub const BEAT_MS_MAX: u64 = HOUR_MS;
/// Largest amount.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
/// A whole, in parts of which chances are given.
pub const PPB: u64 = 1_000_000_000;
/// Most minima of collateral that a draw weighs.
pub const WEIGHT_CAP_TIMES_MAX: u64 = 1_000;
pub const VERIFIERS_MAX: u64 = 4;
pub const RECORDS_MAX: u64 = 8;
/// Verifiers opted in beyond those of a first round: a jury of seven and two replacements.
pub const VERIFIERS_SPARE: u64 = 9;
/// Largest safety factor and cost ratio, so that the chance of an audit stays inside 128 bits.
pub const SAFETY_PERMILLE_MAX: u64 = 100_000;
pub const COST_PERMILLE_MAX: u64 = 100_000;

/// Testnet and mainnet: windows are whole hours.
pub fn public() -> Params {
    Params {
        unit_ms: HOUR_MS,
        stack_life_ms: 30 * DAY_MS,
        close_delay_ms: DAY_MS,
        exit_ms: 14 * DAY_MS,
        beat_min_ms: MINUTE_MS,
        reveal_ms: 12 * HOUR_MS,
        commit_ms: 4 * HOUR_MS,
        verdict_ms: 2 * HOUR_MS,
        grace_ms: HOUR_MS,
        challenge_ms: 20 * HOUR_MS,
        hold_ms: 72 * HOUR_MS,
        dispute_window_ms: 6 * HOUR_MS,
        answer_window_ms: 6 * HOUR_MS,
        body_window_ms: 6 * HOUR_MS,
        queue_max_ms: 12 * HOUR_MS,
        answer_interval_max_ms: 15 * MINUTE_MS,
        timelock_ms: 60 * DAY_MS,
        min_collateral: Amount(1_000 * COIN),
        weight_cap: Amount(4_000 * COIN),
        registration_fee: Amount(COIN),
        open_fee: Amount(30_000),
        bond: Amount(500_000),
        answer_fee: Amount(100_000),
        resolve_fee: Amount(30_000),
        min_claim: Amount(COIN),
        compensation_max: Amount(50 * COIN),
        verifier_pay_min: Amount(60_000),
        fraud_permille: 1_000,
        timeout_permille: 100,
        verdict_permille: 50,
        no_commit_permille: 5,
        burn_permille: 500,
        compensation_times: 10,
        p_min_ppb: 10_000_000,
        p_stat_ppb: 50_000_000,
        cost_permille: 1_000,
        collusion_permille: 333,
        safety_permille: 2_000,
        verifiers: 1,
        records: 1,
        min_verifiers: 10,
    }
}

/// The local network: windows are whole seconds, amounts as on the public ones.
pub fn devnet() -> Params {
    Params {
        unit_ms: SECOND_MS,
        stack_life_ms: HOUR_MS,
        close_delay_ms: 20 * SECOND_MS,
        exit_ms: 640 * SECOND_MS,
        beat_min_ms: SECOND_MS,
        reveal_ms: 10 * SECOND_MS,
        commit_ms: 20 * SECOND_MS,
        verdict_ms: 5 * SECOND_MS,
        grace_ms: 2 * SECOND_MS,
        challenge_ms: 24 * SECOND_MS,
        hold_ms: 150 * SECOND_MS,
        dispute_window_ms: 10 * SECOND_MS,
        answer_window_ms: 10 * SECOND_MS,
        body_window_ms: 5 * SECOND_MS,
        queue_max_ms: 20 * SECOND_MS,
        answer_interval_max_ms: SECOND_MS,
        timelock_ms: 5_000 * SECOND_MS,
        ..public()
    }
}

/// Aborts unless the parameters are within the bounds that no administrator can leave.
pub fn check(params: &Params) -> Result {
    check_windows(params)?;
    check_amounts(params)?;
    check_rates(params)?;
    ensure(params.hold_ms >= hold_min_ms(params), Abort::BadParams)?;
    check_exit(params)?;
    check_safety(params)
}

/// Aborts unless `params` may follow `before`: the unit never changes; exit and timelock never get shorter,
/// because what was bought under the longer ones may still be running.
pub fn check_change(before: &Params, params: &Params) -> Result {
    ensure(params.unit_ms == before.unit_ms, Abort::BadParams)?;
    ensure(params.exit_ms >= before.exit_ms, Abort::BadParams)?;
    ensure(params.timelock_ms >= before.timelock_ms, Abort::BadParams)
}

fn check_windows(params: &Params) -> Result {
    ensure(params.unit_ms >= 1 && params.unit_ms <= WINDOW_MS_MAX, Abort::BadParams)?;
    let unit_ms = params.unit_ms;
    check_window(params.stack_life_ms, unit_ms)?;
    check_window(params.close_delay_ms, unit_ms)?;
    check_window(params.exit_ms, unit_ms)?;
    check_window(params.reveal_ms, unit_ms)?;
    check_window(params.commit_ms, unit_ms)?;
    check_window(params.verdict_ms, unit_ms)?;
    check_window(params.grace_ms, unit_ms)?;
    check_window(params.challenge_ms, unit_ms)?;
    check_window(params.hold_ms, unit_ms)?;
    check_window(params.dispute_window_ms, unit_ms)?;
    check_window(params.answer_window_ms, unit_ms)?;
    check_window(params.body_window_ms, unit_ms)?;
    check_window(params.queue_max_ms, unit_ms)?;
    check_window(params.timelock_ms, unit_ms)?;
    // Rates, not windows: any number of ms.
    ensure((1..=BEAT_MS_MAX).contains(&params.beat_min_ms), Abort::BadParams)?;
    check_window(params.answer_interval_max_ms, 1)?;
    // A node at a longer interval could never be disputed.
    ensure(params.answer_interval_max_ms <= params.queue_max_ms, Abort::BadParams)?;
    ensure(params.close_delay_ms >= params.dispute_window_ms, Abort::BadParams)?;
    ensure(params.timelock_ms >= params.stack_life_ms + params.exit_ms, Abort::BadParams)
}

/// A positive multiple of `unit_ms` of at most [`WINDOW_MS_MAX`].
fn check_window(window_ms: u64, unit_ms: u64) -> Result {
    ensure((1..=WINDOW_MS_MAX).contains(&window_ms) && window_ms.is_multiple_of(unit_ms), Abort::BadParams)
}

fn check_amounts(params: &Params) -> Result {
    check_amount(params.min_collateral)?;
    check_amount(params.weight_cap)?;
    check_amount(params.registration_fee)?;
    check_amount(params.open_fee)?;
    check_amount(params.bond)?;
    check_amount(params.answer_fee)?;
    check_amount(params.resolve_fee)?;
    check_amount(params.min_claim)?;
    check_amount(params.compensation_max)?;
    check_amount(params.verifier_pay_min)?;
    ensure(!params.min_collateral.is_zero(), Abort::BadParams)?;
    ensure(params.weight_cap >= params.min_collateral, Abort::BadParams)?;
    // So that a task's own minimum, at most [`AMOUNT_MAX`], can be scaled.
    ensure(params.weight_cap.0 <= WEIGHT_CAP_TIMES_MAX * params.min_collateral.0, Abort::BadParams)?;
    ensure(params.compensation_max <= params.min_collateral, Abort::BadParams)
}

fn check_amount(amount: Amount) -> Result {
    ensure(amount.0 <= AMOUNT_MAX, Abort::BadParams)
}

fn check_rates(params: &Params) -> Result {
    ensure(params.fraud_permille >= 500 && params.fraud_permille <= 1_000, Abort::BadParams)?;
    ensure(params.timeout_permille <= 1_000, Abort::BadParams)?;
    ensure(params.verdict_permille <= 1_000, Abort::BadParams)?;
    ensure(params.no_commit_permille <= 1_000, Abort::BadParams)?;
    ensure(params.burn_permille >= 500 && params.burn_permille <= 1_000, Abort::BadParams)?;
    ensure(params.compensation_times <= 10, Abort::BadParams)?;
    ensure(params.p_min_ppb >= 1_000_000 && params.p_min_ppb <= PPB, Abort::BadParams)?;
    ensure(params.p_stat_ppb >= 1_000_000 && params.p_stat_ppb <= PPB, Abort::BadParams)?;
    ensure(params.cost_permille >= 1 && params.cost_permille <= COST_PERMILLE_MAX, Abort::BadParams)?;
    ensure(params.collusion_permille <= 500, Abort::BadParams)?;
    ensure(params.safety_permille <= SAFETY_PERMILLE_MAX, Abort::BadParams)?;
    ensure(params.verifiers >= 1 && params.verifiers <= VERIFIERS_MAX, Abort::BadParams)?;
    ensure(params.records >= 1 && params.records <= RECORDS_MAX, Abort::BadParams)?;
    ensure(params.min_verifiers >= params.verifiers + VERIFIERS_SPARE, Abort::BadParams)?;
    ensure(params.min_verifiers <= AMOUNT_MAX, Abort::BadParams)
}

/// The shortest hold in which a challenge and both rounds of an audit end, each with graces and a replacement.
/// Sums of a few windows, each at most [`WINDOW_MS_MAX`], stay far inside the range.
fn hold_min_ms(params: &Params) -> u64 {
    let round_ms = params.reveal_ms + 2 * params.commit_ms + params.verdict_ms + 4 * params.grace_ms;
    params.challenge_ms + 2 * round_ms
}

/// Collateral stays until everything that can still end against the node has ended.
fn check_exit(params: &Params) -> Result {
    let disputes_ms =
        params.dispute_window_ms + params.queue_max_ms + params.answer_window_ms + params.body_window_ms;
    let longest_ms = params.close_delay_ms + disputes_ms + 2 * params.hold_ms + 4 * params.grace_ms;
    ensure(params.exit_ms >= longest_ms, Abort::BadParams)
}

/// The safety factor must make up for what colluding verifiers hide: `safety · q ≥ 1000 · (1 − r)`.
fn check_safety(params: &Params) -> Result {
    let honest_ppb = u128::from(PPB - params.collusion_permille * 1_000_000);
    let conviction_ppb = u128::from(conviction_ppb(params.collusion_permille, params.verifiers));
    ensure(u128::from(params.safety_permille) * conviction_ppb >= 1_000 * honest_ppb, Abort::BadParams)
}

/// The chance in parts of 10^9, rounded down, that a drawn cheat is convicted if a share r of the verifiers
/// colludes with it: `(1 − r^k) · P[Bin(7, 1 − r) ≥ 5]`. Every product is rounded down by itself, `r^k` up.
pub fn conviction_ppb(collusion_permille: u64, verifiers: u64) -> u64 {
    let r = collusion_permille * (PPB / 1_000);
    let h = PPB - r;
    let h5 = power(h, 5);
    let h6 = times(h5, h);
    let h7 = times(h6, h);
    let jury = 21 * times(times(h5, r), r) + 7 * times(h6, r) + h7;
    times(PPB - power_up(r, verifiers), jury)
}

/// `a · b / 10^9`, rounded down.
fn times(a: u64, b: u64) -> u64 {
    narrow(u128::from(a) * u128::from(b) / u128::from(PPB))
}

/// `a^exponent`, every product rounded down.
fn power(a: u64, exponent: u64) -> u64 {
    (0..exponent).fold(PPB, |product, _| times(product, a))
}

/// `a^exponent`, every product rounded up.
fn power_up(a: u64, exponent: u64) -> u64 {
    let times_up = |product: u64| narrow((u128::from(product) * u128::from(a)).div_ceil(u128::from(PPB)));
    (0..exponent).fold(PPB, |product, _| times_up(product))
}

/// Parts of 10^9, and small multiples of them.
fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// What a purchase of this task is judged by: of each of the task's audit terms and the parameter the larger
/// value, the task's minimum of collateral where it is larger, the weight cap in the same proportion, and
/// what follows from these.
pub(crate) fn of_task(params: &Params, task: &Task) -> Result<Params> {
    let audit = &task.audit;
    let verifiers = params.verifiers.max(audit.verifiers);
    let min_collateral = params.min_collateral.max(task.min_collateral);
    let mut terms = Params {
        p_min_ppb: params.p_min_ppb.max(audit.p_min_ppb),
        p_stat_ppb: params.p_stat_ppb.max(audit.p_stat_ppb),
        verifiers,
        records: params.records.max(audit.records),
        min_verifiers: params.min_verifiers.max(verifiers + VERIFIERS_SPARE),
        min_claim: params.min_claim.max(audit.min_claim),
        challenge_ms: params.challenge_ms.max(audit.challenge_ms),
        min_collateral,
        weight_cap: scaled_cap(params, min_collateral)?,
        ..params.clone()
    };
    terms.hold_ms = params.hold_ms.max(audit.hold_ms).max(hold_min_ms(&terms));
    Ok(terms)
}

/// As many of these minima as the parameters' cap is of the network's minimum.
fn scaled_cap(params: &Params, min_collateral: Amount) -> Result<Amount> {
    let product = u128::from(min_collateral.0) * u128::from(params.weight_cap.0);
    let cap = product / u128::from(params.min_collateral.0);
    u64::try_from(cap).map(Amount).map_err(|_| Abort::Arithmetic)
}

/// Aborts unless collateral stays long enough for the terms of a task at level 2, whose hold may be longer
/// than the network's.
pub(crate) fn check_terms(terms: &Params) -> Result {
    check_exit(terms)?;
    check_safety(terms)
}
