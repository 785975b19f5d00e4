//! Parameters: the networks that we run, the bounds within which they may be set, and what a task makes of
//! them.

use crate::Result;
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
    violated(params).map_or(Ok(()), |_| Err(Abort::BadParams))
}

/// Aborts unless `params` may follow `before`: the unit never changes; exit and timelock never get shorter,
/// because what was bought under the longer ones may still be running.
pub fn check_change(before: &Params, params: &Params) -> Result {
    violated_change(before, params).map_or(Ok(()), |_| Err(Abort::BadParams))
}

/// The first rule that the parameters break, in words for whoever set them.
pub fn violated(params: &Params) -> Option<String> {
    check_rules(params).err()
}

/// The same for the rules of a change.
pub fn violated_change(before: &Params, params: &Params) -> Option<String> {
    check_change_rules(before, params).err()
}

/// What a rule says, if it is broken.
type Rule = std::result::Result<(), String>;

fn rule(holds: bool, says: impl FnOnce() -> String) -> Rule {
    if holds { Ok(()) } else { Err(says()) }
}

fn check_rules(params: &Params) -> Rule {
    check_windows(params)?;
    check_amounts(params)?;
    check_rates(params)?;
    check_at_least(("hold_ms", params.hold_ms), HOLD_MIN, hold_min_ms(params))?;
    check_exit(params)?;
    check_safety(params)
}

fn check_change_rules(before: &Params, params: &Params) -> Rule {
    let unit_ms = before.unit_ms;
    rule(params.unit_ms == unit_ms, || format!("unit_ms never changes: it is {unit_ms}"))?;
    let never_shorter = |name, before_ms, ms| {
        rule(ms >= before_ms, || {
            format!("{name} never gets shorter: it is {before_ms}, and {ms} is asked for")
        })
    };
    never_shorter("exit_ms", before.exit_ms, params.exit_ms)?;
    never_shorter("timelock_ms", before.timelock_ms, params.timelock_ms)
}

fn check_windows(params: &Params) -> Rule {
    check_range("unit_ms", params.unit_ms, 1..=WINDOW_MS_MAX)?;
    let windows = [
        ("stack_life_ms", params.stack_life_ms),
        ("close_delay_ms", params.close_delay_ms),
        ("exit_ms", params.exit_ms),
        ("reveal_ms", params.reveal_ms),
        ("commit_ms", params.commit_ms),
        ("verdict_ms", params.verdict_ms),
        ("grace_ms", params.grace_ms),
        ("challenge_ms", params.challenge_ms),
        ("hold_ms", params.hold_ms),
        ("dispute_window_ms", params.dispute_window_ms),
        ("answer_window_ms", params.answer_window_ms),
        ("body_window_ms", params.body_window_ms),
        ("queue_max_ms", params.queue_max_ms),
        ("timelock_ms", params.timelock_ms),
    ];
    for (name, window_ms) in windows {
        check_range(name, window_ms, 1..=WINDOW_MS_MAX)?;
        let unit_ms = params.unit_ms;
        rule(window_ms.is_multiple_of(unit_ms), || {
            format!("{name} must be a multiple of unit_ms = {unit_ms}, and is {window_ms}")
        })?;
    }
    // Rates, not windows: any number of ms.
    check_range("beat_min_ms", params.beat_min_ms, 1..=BEAT_MS_MAX)?;
    // A node at a longer interval could never be disputed.
    check_range("answer_interval_max_ms", params.answer_interval_max_ms, 1..=params.queue_max_ms)?;
    check_at_least(("close_delay_ms", params.close_delay_ms), "dispute_window_ms", params.dispute_window_ms)?;
    let least_ms = params.stack_life_ms + params.exit_ms;
    check_at_least(("timelock_ms", params.timelock_ms), "stack_life_ms + exit_ms", least_ms)
}

fn check_amounts(params: &Params) -> Rule {
    let amounts = [
        ("min_collateral", params.min_collateral, 1),
        ("weight_cap", params.weight_cap, 0),
        ("registration_fee", params.registration_fee, 0),
        ("open_fee", params.open_fee, 0),
        ("bond", params.bond, 0),
        ("answer_fee", params.answer_fee, 0),
        ("resolve_fee", params.resolve_fee, 0),
        ("min_claim", params.min_claim, 0),
        ("compensation_max", params.compensation_max, 0),
        ("verifier_pay_min", params.verifier_pay_min, 0),
    ];
    for (name, amount, least) in amounts {
        check_range(name, amount.0, least..=AMOUNT_MAX)?;
    }
    // So that a task's own minimum, at most [`AMOUNT_MAX`], can be scaled.
    let least = params.min_collateral.0;
    check_range("weight_cap", params.weight_cap.0, least..=WEIGHT_CAP_TIMES_MAX * least)?;
    check_range("compensation_max", params.compensation_max.0, 0..=least)
}

fn check_rates(params: &Params) -> Rule {
    check_range("fraud_permille", params.fraud_permille, 500..=1_000)?;
    check_range("timeout_permille", params.timeout_permille, 0..=1_000)?;
    check_range("verdict_permille", params.verdict_permille, 0..=1_000)?;
    check_range("no_commit_permille", params.no_commit_permille, 0..=1_000)?;
    check_range("burn_permille", params.burn_permille, 500..=1_000)?;
    check_range("compensation_times", params.compensation_times, 0..=10)?;
    check_range("p_min_ppb", params.p_min_ppb, 1_000_000..=PPB)?;
    check_range("p_stat_ppb", params.p_stat_ppb, 1_000_000..=PPB)?;
    check_range("cost_permille", params.cost_permille, 1..=COST_PERMILLE_MAX)?;
    check_range("collusion_permille", params.collusion_permille, 0..=500)?;
    check_range("safety_permille", params.safety_permille, 0..=SAFETY_PERMILLE_MAX)?;
    check_range("verifiers", params.verifiers, 1..=VERIFIERS_MAX)?;
    check_range("records", params.records, 1..=RECORDS_MAX)?;
    check_range("min_verifiers", params.min_verifiers, params.verifiers + VERIFIERS_SPARE..=AMOUNT_MAX)
}

fn check_range(name: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Rule {
    rule(range.contains(&value), || {
        format!("{name} must be from {} to {}, and is {value}", range.start(), range.end())
    })
}

fn check_at_least((name, value): (&str, u64), sum: &str, least: u64) -> Rule {
    rule(value >= least, || format!("{name} must be at least {sum} = {least}, and is {value}"))
}

const HOLD_MIN: &str = "challenge_ms + 2·(reveal_ms + 2·commit_ms + verdict_ms + 4·grace_ms)";
const EXIT_MIN: &str = "close_delay_ms + dispute_window_ms + queue_max_ms + answer_window_ms + body_window_ms + \
                        2·hold_ms + 4·grace_ms";

/// The shortest hold in which a challenge and both rounds of an audit end, each with graces and a replacement.
/// Sums of a few windows, each at most [`WINDOW_MS_MAX`], stay far inside the range.
fn hold_min_ms(params: &Params) -> u64 {
    let round_ms = params.reveal_ms + 2 * params.commit_ms + params.verdict_ms + 4 * params.grace_ms;
    params.challenge_ms + 2 * round_ms
}

/// Collateral stays until everything that can still end against the node has ended.
fn check_exit(params: &Params) -> Rule {
    let disputes_ms =
        params.dispute_window_ms + params.queue_max_ms + params.answer_window_ms + params.body_window_ms;
    let longest_ms = params.close_delay_ms + disputes_ms + 2 * params.hold_ms + 4 * params.grace_ms;
    check_at_least(("exit_ms", params.exit_ms), EXIT_MIN, longest_ms)
}

/// The safety factor must make up for what colluding verifiers hide: `safety · q ≥ 1000 · (1 − r)`.
fn check_safety(params: &Params) -> Rule {
    let honest_ppb = u128::from(PPB - params.collusion_permille * 1_000_000);
    let conviction_ppb = u128::from(conviction_ppb(params.collusion_permille, params.verifiers));
    rule(u128::from(params.safety_permille) * conviction_ppb >= 1_000 * honest_ppb, || {
        format!(
            "safety_permille = {} does not make up for what {} colluding verifiers in a thousand hide (section 5 of \
             docs/contract.md): raise it, or lower collusion_permille",
            params.safety_permille, params.collusion_permille
        )
    })
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
    check_exit(terms).and_then(|()| check_safety(terms)).map_err(|_| Abort::BadParams)
}
