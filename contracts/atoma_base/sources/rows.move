/// Rows of the database: nodes, models, and tasks, which are models sold at a security level under terms that never
/// change. Data, and what changes it from more than one module.
module atoma_base::rows;

use atoma_base::errors::{Self, require};
use atoma_base::limits;
use atoma_base::math;
use std::string::String;

public struct Node has copy, drop, store {
    id: u64,
    owner: address,
    payout: address,
    endpoint: String,
    receipt_key: vector<u8>,
    seal: Seal,
    attestation: Attestation,
    collateral: u64,
    /// When collateral was last added. Draws for claims made before skip the node: else it could choose, knowing
    /// the seed, whether to have the minimum.
    raised_ms: u64,
    /// Compensations held back while an audit is open.
    bookings: vector<Booking>,
    /// What further timeouts share until `timeout_until_ms`; after that the treasury's.
    timeout_pot: u64,
    /// Until then no further timeout is slashed.
    timeout_until_ms: u64,
    /// How often it was convicted of fraud. A claim pays only if this did not change since it was made.
    convictions: u64,
    /// Reputation at `reputation_epoch`; it grows by one per epoch to at most 100.
    reputation: u64,
    reputation_epoch: u64,
    /// Time that the node declares to need per disputed request.
    answer_interval_ms: u64,
    /// When it will have answered every dispute opened so far, at that rate.
    queue_tail_ms: u64,
    /// 0 while enabled.
    disabled_ms: u64,
    /// When collateral can leave; fixed by disabling.
    exit_ms: u64,
    exit_epoch: u64,
    open_audits: u64,
    open_disputes: u64,
    /// Registry writes in `writes_epoch`.
    writes: u64,
    writes_epoch: u64,
    registered_epoch: u64,
}

/// To what key the node's secrets are encrypted: `key` from epoch `epoch` on, `old_key` before. What was encrypted to
/// `old_key` can be opened until `old_until_ms`. Empty: none.
public struct Seal has copy, drop, store {
    key: vector<u8>,
    epoch: u64,
    old_key: vector<u8>,
    old_until_ms: u64,
}

/// What a confidential node last attested. The chain stores, the client verifies. All empty: nothing.
public struct Attestation has copy, drop, store {
    /// H of the evidence.
    evidence: vector<u8>,
    /// Id of the blob that holds it.
    blob: vector<u8>,
    device_types: vector<u8>,
    counter: u64,
    /// 0 without evidence.
    expires_ms: u64,
}

/// A compensation that is paid once no audit is open any more, at latest at `until_ms`; a conviction before gives it
/// to the treasury.
public struct Booking has copy, drop, store {
    amount: u64,
    to: address,
    until_ms: u64,
}

public fun new_node(
    id: u64,
    owner: address,
    payout: address,
    endpoint: String,
    receipt_key: vector<u8>,
    collateral: u64,
    answer_interval_ms: u64,
    epoch: u64,
): Node {
    Node {
        id,
        owner,
        payout,
        endpoint,
        receipt_key,
        seal: Seal { key: vector[], epoch: 0, old_key: vector[], old_until_ms: 0 },
        attestation: Attestation {
            evidence: vector[],
            blob: vector[],
            device_types: vector[],
            counter: 0,
            expires_ms: 0,
        },
        collateral,
        raised_ms: 0,
        bookings: vector[],
        timeout_pot: 0,
        timeout_until_ms: 0,
        convictions: 0,
        reputation: limits::reputation_base!(),
        reputation_epoch: epoch,
        answer_interval_ms,
        queue_tail_ms: 0,
        disabled_ms: 0,
        exit_ms: 0,
        exit_epoch: 0,
        open_audits: 0,
        open_disputes: 0,
        writes: 0,
        writes_epoch: 0,
        registered_epoch: epoch,
    }
}

/// Counts a write of the node's in this epoch. The last check of the entry that makes it.
public fun count_write(self: &mut Node, epoch: u64) {
    let writes = if (self.writes_epoch == epoch) self.writes else 0;
    require(writes < limits::writes_max!(), errors::too_many_writes!());

    self.writes = writes + 1;
    self.writes_epoch = epoch;
}

/// Reputation at `epoch`: it grows by one per epoch, to at most 100.
public fun reputation_at(self: &Node, epoch: u64): u64 {
    let epochs = math::saturating_sub(epoch, self.reputation_epoch);
    math::saturating_add(self.reputation, epochs).min(limits::reputation_max!())
}

public fun reputation_epoch(self: &Node): u64 { self.reputation_epoch }

/// Takes points of reputation, which then grows from the present epoch on. Returns what is left.
public fun fault(self: &mut Node, points: u64, epoch: u64): u64 {
    self.reputation = math::saturating_sub(self.reputation_at(epoch), points);
    self.reputation_epoch = epoch;
    self.reputation
}

/// Disables the node and fixes when its collateral can leave. Returns when it was disabled, and from what time and epoch
/// on it can leave.
public fun fix_exit(self: &mut Node, exit_after_ms: u64, clock_ms: u64, epoch: u64): (u64, u64, u64) {
    // 0 means enabled.
    let at_ms = clock_ms.max(1);
    self.disabled_ms = at_ms;
    self.exit_ms = math::saturating_add(at_ms, exit_after_ms);
    self.exit_epoch = math::saturating_add(epoch, 2);
    (at_ms, self.exit_ms, self.exit_epoch)
}

/// The key in force stays so until the next epoch and can be used to open for two holds more, an epoch being shorter
/// than a hold. A key that was to come into force is replaced.
public fun rotate_seal(self: &mut Node, key: vector<u8>, hold_ms: u64, clock_ms: u64, epoch: u64) {
    let old_until_ms = math::saturating_add(math::saturating_add(clock_ms, hold_ms), hold_ms);
    let old_key = if (epoch >= self.seal.epoch) self.seal.key else self.seal.old_key;
    self.seal = Seal { key, epoch: math::saturating_add(epoch, 1), old_key, old_until_ms };
}

public fun attest(
    self: &mut Node,
    evidence: vector<u8>,
    blob: vector<u8>,
    device_types: vector<u8>,
    counter: u64,
    expires_ms: u64,
) {
    self.attestation = Attestation { evidence, blob, device_types, counter, expires_ms };
}

public fun add_collateral(self: &mut Node, amount: u64, clock_ms: u64) {
    self.collateral = math::add(self.collateral, amount);
    self.raised_ms = clock_ms;
}

public fun take_collateral(self: &mut Node, amount: u64) {
    self.collateral = math::sub(self.collateral, amount);
}

public fun convict(self: &mut Node) { self.convictions = math::saturating_add(self.convictions, 1) }

public fun book(self: &mut Node, amount: u64, to: address, until_ms: u64) {
    self.bookings.push_back(Booking { amount, to, until_ms });
}

// Fields.

public fun id(self: &Node): u64 { self.id }

public fun owner(self: &Node): address { self.owner }

public fun payout(self: &Node): address { self.payout }

public fun seal_key(self: &Node): &vector<u8> { &self.seal.key }

public fun seal_epoch(self: &Node): u64 { self.seal.epoch }

public fun seal_old_until_ms(self: &Node): u64 { self.seal.old_until_ms }

public fun attestation_counter(self: &Node): u64 { self.attestation.counter }

public fun attestation_expires_ms(self: &Node): u64 { self.attestation.expires_ms }

public fun collateral(self: &Node): u64 { self.collateral }

public fun raised_ms(self: &Node): u64 { self.raised_ms }

public fun bookings(self: &Node): &vector<Booking> { &self.bookings }

public fun timeout_pot(self: &Node): u64 { self.timeout_pot }

public fun timeout_until_ms(self: &Node): u64 { self.timeout_until_ms }

public fun convictions(self: &Node): u64 { self.convictions }

public fun answer_interval_ms(self: &Node): u64 { self.answer_interval_ms }

public fun queue_tail_ms(self: &Node): u64 { self.queue_tail_ms }

public fun disabled_ms(self: &Node): u64 { self.disabled_ms }

public fun exit_ms(self: &Node): u64 { self.exit_ms }

public fun exit_epoch(self: &Node): u64 { self.exit_epoch }

public fun open_audits(self: &Node): u64 { self.open_audits }

public fun open_disputes(self: &Node): u64 { self.open_disputes }

public fun set_payout(self: &mut Node, payout: address) { self.payout = payout }

public fun set_endpoint(self: &mut Node, endpoint: String) { self.endpoint = endpoint }

public fun set_receipt_key(self: &mut Node, key: vector<u8>) { self.receipt_key = key }

public fun set_bookings(self: &mut Node, bookings: vector<Booking>) { self.bookings = bookings }

public fun set_timeout_pot(self: &mut Node, pot: u64) { self.timeout_pot = pot }

public fun set_timeout_until_ms(self: &mut Node, until_ms: u64) { self.timeout_until_ms = until_ms }

public fun set_answer_interval_ms(self: &mut Node, ms: u64) { self.answer_interval_ms = ms }

public fun set_queue_tail_ms(self: &mut Node, ms: u64) { self.queue_tail_ms = ms }

public fun set_open_audits(self: &mut Node, audits: u64) { self.open_audits = audits }

public fun set_open_disputes(self: &mut Node, disputes: u64) { self.open_disputes = disputes }

public fun booked_amount(self: &Booking): u64 { self.amount }

public fun booked_to(self: &Booking): address { self.to }

public fun booked_until_ms(self: &Booking): u64 { self.until_ms }

// Rows of models and tasks: what is sold, at which level, under terms that never change.

/// What a task may offer.
public struct Model has copy, drop, store {
    id: u64,
    label: String,
    creator: address,
    modality: u8,
    weights_root: vector<u8>,
    creator_fee_permille: u64,
    disabled: bool,
}

/// A model at a security level under fixed terms.
public struct Task has copy, drop, store {
    id: u64,
    owner: address,
    role: u8,
    model: u64,
    /// 0 none, 1 confidential compute, 2 sampling consensus.
    level: u8,
    /// Whether answers are bit-reproducible and receipts carry a work digest.
    exact: bool,
    price_ceiling: u64,
    weights: UnitWeights,
    surcharge_permille: u64,
    min_collateral: u64,
    min_reputation: u64,
    /// Nodes that may offer; everyone if empty.
    whitelist: vector<u64>,
    /// Labels of the kinds of hardware whose answers agree with each other.
    echelons: vector<u64>,
    deprecated: bool,
    audit: AuditTerms,
}

/// Permille weights by which a task turns tokens into units.
public struct UnitWeights has copy, drop, store {
    input: u64,
    output: u64,
}

/// How a task tightens the parameters: of each term the larger value holds.
public struct AuditTerms has copy, drop, store {
    p_min_ppb: u64,
    p_stat_ppb: u64,
    verifiers: u64,
    records: u64,
    min_claim: u64,
    challenge_ms: u64,
    hold_ms: u64,
}

public fun new_model(
    id: u64,
    label: String,
    creator: address,
    modality: u8,
    weights_root: vector<u8>,
    creator_fee_permille: u64,
): Model {
    Model { id, label, creator, modality, weights_root, creator_fee_permille, disabled: false }
}

/// A task of these terms, else `EBadArgument`. Windows are multiples of `unit_ms`.
public fun new_task(
    id: u64,
    owner: address,
    role: u8,
    model: u64,
    level: u8,
    exact: bool,
    price_ceiling: u64,
    weight_input: u64,
    weight_output: u64,
    surcharge_permille: u64,
    min_collateral: u64,
    min_reputation: u64,
    whitelist: vector<u64>,
    echelons: vector<u64>,
    p_min_ppb: u64,
    p_stat_ppb: u64,
    verifiers: u64,
    records: u64,
    min_claim: u64,
    challenge_ms: u64,
    hold_ms: u64,
    unit_ms: u64,
): Task {
    require(role <= limits::role_max!() && level <= limits::level_max!(), errors::bad_argument!());
    limits::check_quantity(price_ceiling);
    limits::check_quantity(weight_input);
    limits::check_quantity(weight_output);
    require(weight_input != 0 || weight_output != 0, errors::bad_argument!());
    require(surcharge_permille <= limits::surcharge_permille_max!(), errors::bad_argument!());
    require(min_collateral <= limits::collateral_minimum_max!(), errors::bad_argument!());
    require(min_reputation <= limits::reputation_max!(), errors::bad_argument!());
    require(whitelist.length() <= limits::whitelist_max!(), errors::bad_argument!());
    require(!echelons.is_empty(), errors::bad_argument!());
    limits::check_echelons(&echelons);
    require(p_min_ppb <= limits::ppb!() && p_stat_ppb <= limits::ppb!(), errors::bad_argument!());
    require(verifiers <= limits::verifiers_max!(), errors::bad_argument!());
    require(records <= limits::records_max!(), errors::bad_argument!());
    require(min_claim <= limits::amount_max!(), errors::bad_argument!());
    check_window(challenge_ms, unit_ms);
    check_window(hold_ms, unit_ms);
    Task {
        id,
        owner,
        role,
        model,
        level,
        exact,
        price_ceiling,
        weights: UnitWeights { input: weight_input, output: weight_output },
        surcharge_permille,
        min_collateral,
        min_reputation,
        whitelist,
        echelons,
        deprecated: false,
        audit: AuditTerms { p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms, hold_ms },
    }
}

fun check_window(window_ms: u64, unit_ms: u64) {
    require(window_ms <= limits::window_ms_max!() && window_ms % unit_ms == 0, errors::bad_argument!())
}

// Models.

public fun creator(self: &Model): address { self.creator }

public fun creator_fee_permille(self: &Model): u64 { self.creator_fee_permille }

public fun disabled(self: &Model): bool { self.disabled }

public fun disable(self: &mut Model) { self.disabled = true }

// Tasks.

public fun task_id(self: &Task): u64 { self.id }

public fun model(self: &Task): u64 { self.model }

public fun level(self: &Task): u8 { self.level }

public fun exact(self: &Task): bool { self.exact }

public fun price_ceiling(self: &Task): u64 { self.price_ceiling }

public fun weights(self: &Task): UnitWeights { self.weights }

public fun surcharge_permille(self: &Task): u64 { self.surcharge_permille }

public fun min_collateral(self: &Task): u64 { self.min_collateral }

public fun min_reputation(self: &Task): u64 { self.min_reputation }

public fun echelons(self: &Task): &vector<u64> { &self.echelons }

public fun deprecated(self: &Task): bool { self.deprecated }

/// Whether the whitelist, if there is one, names the node.
public fun allows(self: &Task, node: u64): bool {
    self.whitelist.is_empty() || self.whitelist.contains(&node)
}

public fun deprecate(self: &mut Task) { self.deprecated = true }

public fun set_whitelist(self: &mut Task, nodes: vector<u64>) { self.whitelist = nodes }

// Audit terms.

/// p_min, p_stat, verifiers, records, min_claim, challenge_ms and hold_ms of the task.
public fun audit(self: &Task): (u64, u64, u64, u64, u64, u64, u64) {
    let AuditTerms { p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms, hold_ms } = self.audit;
    (p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms, hold_ms)
}
