/// What everything is judged by: the parameters, their layout and the bounds within which they may be set, what a task
/// makes of them, and the terms of a claim.
module atoma_base::params;

use atoma_base::errors::{Self, require};
use atoma_base::limits;
use atoma_base::math;
use atoma_base::rows::Task;

/// How many values there are.
const VALUES: u64 = 41;
/// Most minima of collateral that a draw weighs.
const WEIGHT_CAP_TIMES_MAX: u64 = 1_000;
/// Verifiers opted in beyond those of a first round: a jury of seven and two replacements.
const VERIFIERS_SPARE: u64 = 9;
/// Largest safety factor and cost ratio, so that the chance of an audit stays inside 128 bits.
const SAFETY_PERMILLE_MAX: u64 = 100_000;
const COST_PERMILLE_MAX: u64 = 100_000;

/// Parameters of the protocol, in three parts because a struct has at most 32 fields. Windows in ms are multiples
/// of `unit_ms`; shares are permille, chances parts of 10^9.
public struct Params has copy, drop, store {
    windows: Windows,
    amounts: Amounts,
    rates: Rates,
}

public struct Windows has copy, drop, store {
    unit_ms: u64,
    stack_life_ms: u64,
    close_delay_ms: u64,
    exit_ms: u64,
    beat_min_ms: u64,
    reveal_ms: u64,
    commit_ms: u64,
    verdict_ms: u64,
    grace_ms: u64,
    challenge_ms: u64,
    hold_ms: u64,
    dispute_window_ms: u64,
    answer_window_ms: u64,
    body_window_ms: u64,
    queue_max_ms: u64,
    answer_interval_max_ms: u64,
    timelock_ms: u64,
}

public struct Amounts has copy, drop, store {
    min_collateral: u64,
    /// Most a single draw weighs: a multiple of the minimum collateral.
    weight_cap: u64,
    registration_fee: u64,
    open_fee: u64,
    bond: u64,
    answer_fee: u64,
    resolve_fee: u64,
    min_claim: u64,
    compensation_max: u64,
    verifier_pay_min: u64,
}

public struct Rates has copy, drop, store {
    fraud_permille: u64,
    timeout_permille: u64,
    verdict_permille: u64,
    no_commit_permille: u64,
    burn_permille: u64,
    compensation_times: u64,
    p_min_ppb: u64,
    p_stat_ppb: u64,
    cost_permille: u64,
    collusion_permille: u64,
    safety_permille: u64,
    /// Verifiers of an audit's first round.
    verifiers: u64,
    /// Offsets that an audit draws.
    records: u64,
    min_verifiers: u64,
}

/// Parameters that replace the present ones from `epoch` on.
public struct PendingParams has copy, drop, store {
    params: Params,
    epoch: u64,
}

/// Takes all values in order. Aborts `EBadParams` if there are more or fewer, or if they are not within the bounds
/// that no administrator can leave.
public fun checked(mut values: vector<u64>): Params {
    require(values.length() == VALUES, errors::bad_params!());
    // Fields are read in order, from what is then the end.
    values.reverse();
    let windows = Windows {
        unit_ms: values.pop_back(),
        stack_life_ms: values.pop_back(),
        close_delay_ms: values.pop_back(),
        exit_ms: values.pop_back(),
        beat_min_ms: values.pop_back(),
        reveal_ms: values.pop_back(),
        commit_ms: values.pop_back(),
        verdict_ms: values.pop_back(),
        grace_ms: values.pop_back(),
        challenge_ms: values.pop_back(),
        hold_ms: values.pop_back(),
        dispute_window_ms: values.pop_back(),
        answer_window_ms: values.pop_back(),
        body_window_ms: values.pop_back(),
        queue_max_ms: values.pop_back(),
        answer_interval_max_ms: values.pop_back(),
        timelock_ms: values.pop_back(),
    };
    let amounts = Amounts {
        min_collateral: values.pop_back(),
        weight_cap: values.pop_back(),
        registration_fee: values.pop_back(),
        open_fee: values.pop_back(),
        bond: values.pop_back(),
        answer_fee: values.pop_back(),
        resolve_fee: values.pop_back(),
        min_claim: values.pop_back(),
        compensation_max: values.pop_back(),
        verifier_pay_min: values.pop_back(),
    };
    let rates = Rates {
        fraud_permille: values.pop_back(),
        timeout_permille: values.pop_back(),
        verdict_permille: values.pop_back(),
        no_commit_permille: values.pop_back(),
        burn_permille: values.pop_back(),
        compensation_times: values.pop_back(),
        p_min_ppb: values.pop_back(),
        p_stat_ppb: values.pop_back(),
        cost_permille: values.pop_back(),
        collusion_permille: values.pop_back(),
        safety_permille: values.pop_back(),
        verifiers: values.pop_back(),
        records: values.pop_back(),
        min_verifiers: values.pop_back(),
    };
    let params = Params { windows, amounts, rates };
    check_windows(&params.windows);
    check_amounts(&params.amounts);
    check_rates(&params.rates);
    require(params.windows.hold_ms >= hold_min_ms(&params.windows), errors::bad_params!());
    check_exit(&params.windows);
    check_safety(&params.rates);
    params
}

/// Aborts unless `params` may follow `before`: the unit never changes; exit and timelock never get shorter, because
/// what was bought under the longer ones may still be running.
public fun check_change(before: &Params, params: &Params) {
    require(params.windows.unit_ms == before.windows.unit_ms, errors::bad_params!());
    require(params.windows.exit_ms >= before.windows.exit_ms, errors::bad_params!());
    require(params.windows.timelock_ms >= before.windows.timelock_ms, errors::bad_params!());
}

/// What a purchase of this task is judged by: of each of the task's audit terms and the parameter the larger value,
/// the task's minimum of collateral where it is larger, the weight cap in the same proportion, and what follows
/// from these.
public fun of_task(params: &Params, task: &Task): Params {
    let (p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms, hold_ms) = task.audit();
    let Params { mut windows, mut amounts, mut rates } = *params;
    rates.p_min_ppb = rates.p_min_ppb.max(p_min_ppb);
    rates.p_stat_ppb = rates.p_stat_ppb.max(p_stat_ppb);
    rates.verifiers = rates.verifiers.max(verifiers);
    rates.records = rates.records.max(records);
    rates.min_verifiers = rates.min_verifiers.max(rates.verifiers + VERIFIERS_SPARE);
    amounts.min_claim = amounts.min_claim.max(min_claim);
    windows.challenge_ms = windows.challenge_ms.max(challenge_ms);
    amounts.min_collateral = amounts.min_collateral.max(task.min_collateral());
    amounts.weight_cap = scaled_cap(&params.amounts, amounts.min_collateral);
    windows.hold_ms = windows.hold_ms.max(hold_ms).max(hold_min_ms(&windows));
    Params { windows, amounts, rates }
}

/// Aborts unless collateral stays long enough for the terms of a task at level 2, whose hold may be longer than the
/// network's.
public fun check_terms(terms: &Params) {
    check_exit(&terms.windows);
    check_safety(&terms.rates);
}

/// The chance in parts of 10^9, rounded down, that a drawn cheat is convicted if a share r of the verifiers colludes
/// with it: `(1 − r^k) · P[Bin(7, 1 − r) ≥ 5]`. Every product is rounded down by itself, `r^k` up.
public fun conviction_ppb(collusion_permille: u64, verifiers: u64): u64 {
    let r = collusion_permille * (limits::ppb!() / 1_000);
    let h = limits::ppb!() - r;
    let h5 = power(h, 5);
    let h6 = times(h5, h);
    let h7 = times(h6, h);
    let jury = 21 * times(times(h5, r), r) + 7 * times(h6, r) + h7;
    times(limits::ppb!() - power_up(r, verifiers), jury)
}

/// A duty marked late at `late_ms`, 0 for not marked, is over `grace_ms` later, else `ENotLate`.
public fun check_expired(self: &Params, late_ms: u64, clock_ms: u64) {
    require(late_ms != 0, errors::not_late!());
    require(clock_ms >= math::add(late_ms, self.grace_ms()), errors::not_late!());
}

public fun pending(params: Params, epoch: u64): PendingParams { PendingParams { params, epoch } }

public fun pending_params(self: &PendingParams): &Params { &self.params }

public fun pending_epoch(self: &PendingParams): u64 { self.epoch }

fun check_windows(windows: &Windows) {
    let unit_ms = windows.unit_ms;
    require(unit_ms >= 1 && unit_ms <= limits::window_ms_max!(), errors::bad_params!());
    check_window(windows.stack_life_ms, unit_ms);
    check_window(windows.close_delay_ms, unit_ms);
    check_window(windows.exit_ms, unit_ms);
    check_window(windows.reveal_ms, unit_ms);
    check_window(windows.commit_ms, unit_ms);
    check_window(windows.verdict_ms, unit_ms);
    check_window(windows.grace_ms, unit_ms);
    check_window(windows.challenge_ms, unit_ms);
    check_window(windows.hold_ms, unit_ms);
    check_window(windows.dispute_window_ms, unit_ms);
    check_window(windows.answer_window_ms, unit_ms);
    check_window(windows.body_window_ms, unit_ms);
    check_window(windows.queue_max_ms, unit_ms);
    check_window(windows.timelock_ms, unit_ms);
    // Rates, not windows: any number of ms.
    let is_beat = windows.beat_min_ms >= 1 && windows.beat_min_ms <= limits::beat_ms_max!();
    require(is_beat, errors::bad_params!());
    check_window(windows.answer_interval_max_ms, 1);
    // A node at a longer interval could never be disputed.
    require(windows.answer_interval_max_ms <= windows.queue_max_ms, errors::bad_params!());
    require(windows.close_delay_ms >= windows.dispute_window_ms, errors::bad_params!());
    require(windows.timelock_ms >= windows.stack_life_ms + windows.exit_ms, errors::bad_params!());
}

/// A positive multiple of `unit_ms`.
fun check_window(window_ms: u64, unit_ms: u64) {
    let is_bounded = window_ms >= 1 && window_ms <= limits::window_ms_max!();
    require(is_bounded && window_ms % unit_ms == 0, errors::bad_params!())
}

fun check_amounts(amounts: &Amounts) {
    check_amount(amounts.min_collateral);
    check_amount(amounts.weight_cap);
    check_amount(amounts.registration_fee);
    check_amount(amounts.open_fee);
    check_amount(amounts.bond);
    check_amount(amounts.answer_fee);
    check_amount(amounts.resolve_fee);
    check_amount(amounts.min_claim);
    check_amount(amounts.compensation_max);
    check_amount(amounts.verifier_pay_min);
    require(amounts.min_collateral > 0, errors::bad_params!());
    require(amounts.weight_cap >= amounts.min_collateral, errors::bad_params!());
    // So that a task's own minimum can be scaled.
    require(amounts.weight_cap <= WEIGHT_CAP_TIMES_MAX * amounts.min_collateral, errors::bad_params!());
    require(amounts.compensation_max <= amounts.min_collateral, errors::bad_params!());
}

fun check_amount(amount: u64) { require(amount <= limits::amount_max!(), errors::bad_params!()) }

fun check_rates(rates: &Rates) {
    check_rate(rates.fraud_permille, 500, 1_000);
    check_rate(rates.timeout_permille, 0, 1_000);
    check_rate(rates.verdict_permille, 0, 1_000);
    check_rate(rates.no_commit_permille, 0, 1_000);
    check_rate(rates.burn_permille, 500, 1_000);
    check_rate(rates.compensation_times, 0, 10);
    check_rate(rates.p_min_ppb, 1_000_000, limits::ppb!());
    check_rate(rates.p_stat_ppb, 1_000_000, limits::ppb!());
    check_rate(rates.cost_permille, 1, COST_PERMILLE_MAX);
    check_rate(rates.collusion_permille, 0, 500);
    check_rate(rates.safety_permille, 0, SAFETY_PERMILLE_MAX);
    check_rate(rates.verifiers, 1, limits::verifiers_max!());
    check_rate(rates.records, 1, limits::records_max!());
    check_rate(rates.min_verifiers, rates.verifiers + VERIFIERS_SPARE, limits::amount_max!());
}

fun check_rate(rate: u64, least: u64, most: u64) { require(rate >= least && rate <= most, errors::bad_params!()) }

/// The shortest hold in which a challenge and both rounds of an audit end, each with graces and a replacement. Sums
/// of a few windows, each bounded, stay far inside the range.
fun hold_min_ms(windows: &Windows): u64 {
    let round_ms = windows.reveal_ms + 2 * windows.commit_ms + windows.verdict_ms + 4 * windows.grace_ms;
    windows.challenge_ms + 2 * round_ms
}

/// Collateral stays until everything that can still end against the node has ended.
fun check_exit(windows: &Windows) {
    let disputes_ms = windows.dispute_window_ms + windows.queue_max_ms + windows.answer_window_ms
        + windows.body_window_ms;
    let longest_ms = windows.close_delay_ms + disputes_ms + 2 * windows.hold_ms + 4 * windows.grace_ms;
    require(windows.exit_ms >= longest_ms, errors::bad_params!());
}

/// The safety factor must make up for what colluding verifiers hide: `safety · q ≥ 1000 · (1 − r)`.
fun check_safety(rates: &Rates) {
    let honest_ppb = (limits::ppb!() - rates.collusion_permille * 1_000_000) as u128;
    let conviction_ppb = conviction_ppb(rates.collusion_permille, rates.verifiers) as u128;
    require((rates.safety_permille as u128) * conviction_ppb >= 1_000 * honest_ppb, errors::bad_params!());
}

/// `a · b / 10^9`, rounded down.
fun times(a: u64, b: u64): u64 { math::narrow((a as u128) * (b as u128) / (limits::ppb!() as u128)) }

/// `a^exponent`, every product rounded down.
fun power(a: u64, exponent: u64): u64 {
    let mut product = limits::ppb!();
    exponent.do!(|_| product = times(product, a));
    product
}

/// `a^exponent`, every product rounded up.
fun power_up(a: u64, exponent: u64): u64 {
    let one = limits::ppb!() as u128;
    let mut product = limits::ppb!();
    exponent.do!(|_| product = math::narrow(((product as u128) * (a as u128)).divide_and_round_up(one)));
    product
}

/// As many of these minima as the parameters' cap is of the network's minimum.
fun scaled_cap(amounts: &Amounts, min_collateral: u64): u64 {
    math::narrow((min_collateral as u128) * (amounts.weight_cap as u128) / (amounts.min_collateral as u128))
}

// Values.

public fun unit_ms(self: &Params): u64 { self.windows.unit_ms }

public fun stack_life_ms(self: &Params): u64 { self.windows.stack_life_ms }

public fun close_delay_ms(self: &Params): u64 { self.windows.close_delay_ms }

public fun exit_ms(self: &Params): u64 { self.windows.exit_ms }

public fun beat_min_ms(self: &Params): u64 { self.windows.beat_min_ms }

public fun reveal_ms(self: &Params): u64 { self.windows.reveal_ms }

public fun commit_ms(self: &Params): u64 { self.windows.commit_ms }

public fun verdict_ms(self: &Params): u64 { self.windows.verdict_ms }

public fun grace_ms(self: &Params): u64 { self.windows.grace_ms }

public fun challenge_ms(self: &Params): u64 { self.windows.challenge_ms }

public fun hold_ms(self: &Params): u64 { self.windows.hold_ms }

public fun dispute_window_ms(self: &Params): u64 { self.windows.dispute_window_ms }

public fun answer_window_ms(self: &Params): u64 { self.windows.answer_window_ms }

public fun body_window_ms(self: &Params): u64 { self.windows.body_window_ms }

public fun queue_max_ms(self: &Params): u64 { self.windows.queue_max_ms }

public fun answer_interval_max_ms(self: &Params): u64 { self.windows.answer_interval_max_ms }

public fun timelock_ms(self: &Params): u64 { self.windows.timelock_ms }

public fun min_collateral(self: &Params): u64 { self.amounts.min_collateral }

public fun weight_cap(self: &Params): u64 { self.amounts.weight_cap }

public fun registration_fee(self: &Params): u64 { self.amounts.registration_fee }

public fun open_fee(self: &Params): u64 { self.amounts.open_fee }

public fun bond(self: &Params): u64 { self.amounts.bond }

public fun answer_fee(self: &Params): u64 { self.amounts.answer_fee }

public fun resolve_fee(self: &Params): u64 { self.amounts.resolve_fee }

public fun min_claim(self: &Params): u64 { self.amounts.min_claim }

public fun compensation_max(self: &Params): u64 { self.amounts.compensation_max }

public fun verifier_pay_min(self: &Params): u64 { self.amounts.verifier_pay_min }

public fun fraud_permille(self: &Params): u64 { self.rates.fraud_permille }

public fun timeout_permille(self: &Params): u64 { self.rates.timeout_permille }

public fun verdict_permille(self: &Params): u64 { self.rates.verdict_permille }

public fun no_commit_permille(self: &Params): u64 { self.rates.no_commit_permille }

public fun burn_permille(self: &Params): u64 { self.rates.burn_permille }

public fun compensation_times(self: &Params): u64 { self.rates.compensation_times }

public fun p_min_ppb(self: &Params): u64 { self.rates.p_min_ppb }

public fun p_stat_ppb(self: &Params): u64 { self.rates.p_stat_ppb }

public fun cost_permille(self: &Params): u64 { self.rates.cost_permille }

public fun collusion_permille(self: &Params): u64 { self.rates.collusion_permille }

public fun safety_permille(self: &Params): u64 { self.rates.safety_permille }

public fun verifiers(self: &Params): u64 { self.rates.verifiers }

public fun records(self: &Params): u64 { self.rates.records }

public fun min_verifiers(self: &Params): u64 { self.rates.min_verifiers }

// What the functions on a claim need from the object that holds it, and what they leave for it to do.
//
// Claims stand in a stack's channels and in disputes. What both share works on the `Claim` with its `Terms` and
// returns a `Step` to the object that holds it, which moves the money.

/// The terms of a stack's or dispute's claim. Copies: what runs is judged by what it was made under.
public struct Terms has copy, drop {
    /// The stack or dispute; seeds and commitments are bound to it.
    target: address,
    /// Buyer of the units: gets bonds and compensation.
    owner: address,
    node: u64,
    /// Where the node is credited.
    payout: address,
    task: u64,
    exact: bool,
    price: u64,
    /// Whose verifiers are drawn, their lists laid end to end.
    echelons: vector<u64>,
    params: Params,
}

/// What a step leaves to the object that holds the claim: its balance and dues.
public struct Step has drop {
    /// Whom to credit, and what, in order.
    to: vector<address>,
    amounts: vector<u64>,
    /// What the database owes others because of it.
    to_pool: u64,
    /// Leaves as the caller's coin.
    to_caller: u64,
    ending: u8,
}

// What became of a claim.

/// It goes on.
const NONE: u8 = 0;
/// Its money is escrow again.
const VOID: u8 = 1;
/// The same, and the node served its last.
const CONVICTED: u8 = 2;

public fun new_terms(
    target: address,
    owner: address,
    node: u64,
    payout: address,
    task: u64,
    exact: bool,
    price: u64,
    echelons: vector<u64>,
    params: Params,
): Terms {
    Terms { target, owner, node, payout, task, exact, price, echelons, params }
}

public fun target(self: &Terms): address { self.target }

public fun owner(self: &Terms): address { self.owner }

public fun node(self: &Terms): u64 { self.node }

public fun payout(self: &Terms): address { self.payout }

public fun task(self: &Terms): u64 { self.task }

public fun exact(self: &Terms): bool { self.exact }

public fun price(self: &Terms): u64 { self.price }

public fun echelons(self: &Terms): &vector<u64> { &self.echelons }

public fun params(self: &Terms): &Params { &self.params }

/// A step after which the claim goes on, and which moves nothing yet.
public fun step(): Step { Step { to: vector[], amounts: vector[], to_pool: 0, to_caller: 0, ending: NONE } }

public fun credit(self: &mut Step, to: address, amount: u64) {
    self.to.push_back(to);
    self.amounts.push_back(amount);
}

/// More that the database owes.
public fun pay_pool(self: &mut Step, amount: u64) { self.to_pool = math::add(self.to_pool, amount) }

public fun to_pool(self: &Step): u64 { self.to_pool }

public fun pay_caller(self: &mut Step, amount: u64) { self.to_caller = amount }

public fun end_void(self: &mut Step) { self.ending = VOID }

public fun end_convicted(self: &mut Step) { self.ending = CONVICTED }

/// Whom to credit, and what, in order.
public fun credits(self: &Step): (&vector<address>, &vector<u64>) { (&self.to, &self.amounts) }

public fun to_caller(self: &Step): u64 { self.to_caller }

/// Whether the claim ended.
public fun is_over(self: &Step): bool { self.ending != NONE }

public fun is_convicted(self: &Step): bool { self.ending == CONVICTED }
