/// Nodes: registration, what they may change, the way out; and slashing, which takes their collateral.
module atoma::node;

use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::params::Params;
use atoma_base::rows::{Self, Node};
use atoma::treasury::Treasury;
use std::string::String;
use sui::clock::Clock;
use sui::coin::Coin;

/// The right to act for a node.
public struct NodeBadge has key, store {
    id: UID,
    db: address,
    node: u64,
}

/// Registers a node of the sender: the fee goes to the treasury, the rest of the coin is collateral. The badge goes
/// to the sender. Aborts `EInsufficientPayment` below the fee, `ECollateral` below fee and minimum.
public fun register<T>(
    db: &mut AtomaDb<T>,
    treasury: &mut Treasury<T>,
    coin: Coin<T>,
    payout: address,
    endpoint: String,
    receipt_key: vector<u8>,
    ctx: &mut TxContext,
) {
    db.check_version();
    treasury.check(db);
    limits::check_endpoint(&endpoint);
    limits::check_key(&receipt_key);
    let params = db.params_at(ctx.epoch());
    let (fee, minimum) = (params.registration_fee(), params.min_collateral());
    let answer_interval_ms = params.answer_interval_max_ms();
    require(coin.value() >= fee, errors::insufficient_payment!());
    let collateral = coin.value() - fee;
    require(collateral >= minimum, errors::collateral!());

    let mut paid = coin.into_balance();
    treasury.join(paid.split(fee));
    db.join_pool(paid);
    let node = db.nodes() + 1;
    let owner = ctx.sender();
    db.add_node(
        rows::new_node(
            node,
            owner,
            payout,
            endpoint,
            receipt_key,
            collateral,
            answer_interval_ms,
            ctx.epoch(),
        ),
    );
    let badge = NodeBadge { id: object::new(ctx), db: db.addr(), node };
    events::node_registered(node, owner, payout, endpoint, receipt_key, collateral, fee);
    transfer::transfer(badge, owner)
}

/// Changes where clients reach the node. By the badge of an enabled node; counts as a write.
public fun set_endpoint<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, endpoint: String, ctx: &TxContext) {
    check_enabled(db, badge);
    limits::check_endpoint(&endpoint);
    let node = db.node_mut(badge.node);
    node.count_write(ctx.epoch());

    node.set_endpoint(endpoint);
    events::node_endpoint_changed(badge.node, endpoint);
}

/// Changes who is credited for channels opened, and verdicts revealed, from now on. By the badge, of a disabled node
/// too, for the verdicts it still owes; counts as a write.
public fun set_payout<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, payout: address, ctx: &TxContext) {
    db.check_version();
    badge_node(db, badge);
    let node = db.node_mut(badge.node);
    node.count_write(ctx.epoch());

    node.set_payout(payout);
    events::node_payout_changed(badge.node, payout);
}

/// Declares how long the node needs per disputed request. By the badge of an enabled node; counts as a write.
public fun set_answer_interval<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, interval_ms: u64, ctx: &TxContext) {
    check_enabled(db, badge);
    let most_ms = db.params_at(ctx.epoch()).answer_interval_max_ms();
    require(interval_ms >= 1 && interval_ms <= most_ms, errors::bad_argument!());
    let node = db.node_mut(badge.node);
    node.count_write(ctx.epoch());

    node.set_answer_interval_ms(interval_ms);
    events::answer_interval_changed(badge.node, interval_ms);
}

/// Adds the whole coin to the collateral. By the badge of an enabled node; counts as a write. Slots weigh as before
/// until they are written anew.
public fun add_collateral<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    coin: Coin<T>,
    clock: &Clock,
    ctx: &TxContext,
) {
    check_enabled(db, badge);
    let amount = coin.value();
    require(amount > 0, errors::bad_argument!());
    db.join_pool(coin.into_balance());
    let node = db.node_mut(badge.node);
    node.add_collateral(amount, clock.timestamp_ms());
    node.count_write(ctx.epoch());
    events::collateral_added(badge.node, amount);
}

/// Changes the key that signs receipts, at once. By the badge of an enabled node; counts as a write.
public fun rotate_receipt_key<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    receipt_key: vector<u8>,
    ctx: &TxContext,
) {
    check_enabled(db, badge);
    limits::check_key(&receipt_key);
    let node = db.node_mut(badge.node);
    node.count_write(ctx.epoch());

    node.set_receipt_key(receipt_key);
    events::receipt_key_rotated(badge.node, receipt_key);
}

/// Publishes a seal key, valid from the next epoch on, and what attests it: H of the evidence, the blob that holds
/// it, until when it counts. A node that is not confidential leaves all of those empty and 0. By the badge of an
/// enabled node; counts as a write. The counter rises, else `EStaleCounter`, so that an old statement cannot be put
/// back.
public fun rotate_key<T>(
    db: &mut AtomaDb<T>,
    badge: &NodeBadge,
    evidence: vector<u8>,
    blob: vector<u8>,
    seal_key: vector<u8>,
    device_types: vector<u8>,
    counter: u64,
    expires_ms: u64,
    clock: &Clock,
    ctx: &TxContext,
) {
    let clock_ms = clock.timestamp_ms();
    check_enabled(db, badge);
    check_rotation(&evidence, &blob, &seal_key, &device_types, expires_ms, clock_ms);
    let hold_ms = db.params_at(ctx.epoch()).hold_ms();
    let node = db.node_mut(badge.node);
    require(counter > node.attestation_counter(), errors::stale_counter!());
    node.count_write(ctx.epoch());

    node.rotate_seal(seal_key, hold_ms, clock_ms, ctx.epoch());
    node.attest(evidence, blob, device_types, counter, expires_ms);
    events::key_rotated(
        badge.node,
        seal_key,
        node.seal_epoch(),
        node.seal_old_until_ms(),
        evidence,
        blob,
        device_types,
        counter,
        expires_ms,
    );
}

fun check_rotation(
    evidence: &vector<u8>,
    blob: &vector<u8>,
    seal_key: &vector<u8>,
    device_types: &vector<u8>,
    expires_ms: u64,
    clock_ms: u64,
) {
    let is_key = !seal_key.is_empty() && seal_key.length() <= limits::seal_key_bytes_max!();
    require(is_key, errors::bad_argument!());
    if (evidence.is_empty()) {
        let is_bare = blob.is_empty() && device_types.is_empty() && expires_ms == 0;
        require(is_bare, errors::bad_argument!());
        return
    };
    limits::check_hash(evidence);
    limits::check_hash(blob);
    require(device_types.length() <= limits::device_types_max!(), errors::bad_argument!());
    require(expires_ms > clock_ms, errors::bad_argument!());
}

/// Takes the node out of every draw and every new grant, for good. By the badge of an enabled node. What it holds it
/// may still settle, for the close delay. Works at any version: it is the first step of the way out.
public fun disable<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, clock: &Clock, ctx: &TxContext) {
    require(badge_node(db, badge).disabled_ms() == 0, errors::node_disabled!());
    let exit_after_ms = db.params_at(ctx.epoch()).exit_ms();

    fix_exit(db.node_mut(badge.node), exit_after_ms, clock.timestamp_ms(), ctx.epoch());
}

/// Pays the collateral to the sender, once nothing can end against the node any more. By the badge. Works at any
/// version: it is a way out. Aborts `ETooEarly`, `EOpenDuties`, `ENothingDue`.
public fun exit<T>(db: &mut AtomaDb<T>, badge: &NodeBadge, clock: &Clock, ctx: &mut TxContext) {
    let clock_ms = clock.timestamp_ms();
    let node = badge_node(db, badge);
    require(node.disabled_ms() != 0, errors::too_early!());
    require(clock_ms >= node.exit_ms() && ctx.epoch() >= node.exit_epoch(), errors::too_early!());
    require(node.open_audits() == 0 && node.open_disputes() == 0, errors::open_duties!());
    let amount = node.collateral();
    require(amount > 0, errors::nothing_due!());

    settle_ripe(db, badge.node, true, clock_ms);
    db.node_mut(badge.node).take_collateral(amount);
    let coin = db.split_pool(amount).into_coin(ctx);
    events::collateral_withdrawn(badge.node, ctx.sender(), amount);
    transfer::public_transfer(coin, ctx.sender())
}

/// Credits what was booked against a node and can be paid by now, else `ENothingDue`. By anyone, at any version.
public fun settle_bookings<T>(db: &mut AtomaDb<T>, node: u64, clock: &Clock) {
    let is_settled = settle_ripe(db, node, false, clock.timestamp_ms());
    require(is_settled, errors::nothing_due!());
}

/// Pays what the database owes the sender, at any version, else `ENothingDue`.
public fun withdraw_due<T>(db: &mut AtomaDb<T>, ctx: &mut TxContext) {
    let to = ctx.sender();
    let coin = db.take_due(to).into_coin(ctx);
    events::dues_withdrawn(to, coin.value());
    transfer::public_transfer(coin, to)
}

public(package) fun badge_db(self: &NodeBadge): address { self.db }

public(package) fun badge_id(self: &NodeBadge): u64 { self.node }

/// The node whose badge this is, else `EWrongDb`.
public(package) fun badge_node<T>(db: &AtomaDb<T>, badge: &NodeBadge): &Node {
    db.check_db(badge.db);
    db.node(badge.node)
}

/// The badge's node at this version, enabled, else `EVersion`, `EWrongDb`, `ENodeDisabled`.
public(package) fun check_enabled<T>(db: &AtomaDb<T>, badge: &NodeBadge): &Node {
    db.check_version();
    let node = badge_node(db, badge);
    require(node.disabled_ms() == 0, errors::node_disabled!());
    node
}

// Taking collateral, and what becomes of it. For the modules of the package: no function here is an entry.
//
// Of every slash at least half is burned. A compensation is capped; what is left is the treasury's. While an audit
// of the node is open, the compensation is only booked: a node that expects to be convicted could otherwise pay
// itself its own collateral first. A conviction forfeits bookings to the treasury.
//
// For every `Slashed`: `amount + pot before = burned + treasury + compensation + pot after`.

/// Points of reputation that a timeout costs.
const TIMEOUT_POINTS: u64 = 10;

/// What one slash does with the collateral and the pot.
public struct Split has drop {
    amount: u64,
    burned: u64,
    treasury: u64,
    compensation: u64,
    booked: bool,
    pot: u64,
}

/// Slashes a share of a node's collateral, without compensation: a verifier that voted against the jury or did not
/// do its duty.
public(package) fun slash<T>(db: &mut AtomaDb<T>, node: u64, terms: &Params, permille: u64) {
    let row = db.node(node);
    let (amount, burned, rest) = parts(row, terms, permille);
    let pot = row.timeout_pot();
    let split = Split { amount, burned, treasury: rest, compensation: 0, booked: false, pot };
    apply(db, node, &split, @0x0, 0);
}

/// Slashes a node that left a dispute unanswered. At most once per answer window: further timeouts within it share
/// what the first left of its half. The compensation is at most `compensation_times · cost` and the parameters'
/// maximum. Costs reputation every time. Returns the compensation.
public(package) fun timeout<T>(
    db: &mut AtomaDb<T>,
    node: u64,
    terms: &Params,
    cost: u64,
    to: address,
    clock_ms: u64,
    ctx: &TxContext,
): u64 {
    let row = db.node(node);
    let wanted = compensation_max(terms, cost);
    let is_further = clock_ms < row.timeout_until_ms();
    let split = if (is_further) from_pot(row, wanted) else from_collateral(row, terms, wanted);
    apply(db, node, &split, to, booked_until_ms(terms, clock_ms));
    let row = db.node_mut(node);
    if (!is_further) row.set_timeout_until_ms(math::saturating_add(clock_ms, terms.answer_window_ms()));
    fault(row, TIMEOUT_POINTS, ctx.epoch());
    split.compensation
}

/// Convicts a node of fraud: its bookings are forfeited, the fraud share of its collateral is slashed, its
/// reputation is gone and it is disabled for good. The compensation is at most `wanted`, what is not burned, and the
/// parameters' maximum. Returns the compensation.
public(package) fun convict<T>(
    db: &mut AtomaDb<T>,
    node: u64,
    terms: &Params,
    wanted: u64,
    to: address,
    clock_ms: u64,
    ctx: &TxContext,
): u64 {
    forfeit(db, node);
    let (amount, burned, rest) = parts(db.node(node), terms, terms.fraud_permille());
    let compensation = wanted.min(rest).min(terms.compensation_max());
    let split = Split { amount, burned, treasury: rest - compensation, compensation, booked: false, pot: 0 };
    apply(db, node, &split, to, 0);
    let exit_after_ms = db.params_at(ctx.epoch()).exit_ms();
    let row = db.node_mut(node);
    row.convict();
    fault(row, math::max!(), ctx.epoch());
    if (row.disabled_ms() == 0) fix_exit(row, exit_after_ms, clock_ms, ctx.epoch());
    compensation
}

/// Takes points of reputation.
public(package) fun fault(row: &mut Node, points: u64, epoch: u64) {
    let left = row.fault(points, epoch);
    events::fault(row.id(), left, epoch);
}

/// The same, unless a fault was noted in this epoch already.
public(package) fun fault_once(row: &mut Node, points: u64, epoch: u64) {
    if (row.reputation_epoch() < epoch) fault(row, points, epoch)
}

fun fix_exit(row: &mut Node, exit_after_ms: u64, clock_ms: u64, epoch: u64) {
    let (at_ms, exit_ms, exit_epoch) = row.fix_exit(exit_after_ms, clock_ms, epoch);
    events::node_disabled(row.id(), at_ms, exit_ms, exit_epoch);
}

/// An audit of the node begins: until it ends, compensations are booked and the collateral stays.
public(package) fun open_audit<T>(db: &mut AtomaDb<T>, node: u64) {
    let row = db.node_mut(node);
    let audits = math::add(row.open_audits(), 1);
    row.set_open_audits(audits);
}

/// An audit of the node ended.
public(package) fun close_audit<T>(db: &mut AtomaDb<T>, node: u64) {
    let row = db.node_mut(node);
    let audits = math::sub(row.open_audits(), 1);
    row.set_open_audits(audits);
}

/// Pays what bookings are ripe, all of them if no audit is open, and gives a pot that nobody can share any more to
/// the treasury. Returns whether there was anything.
public(package) fun settle_ripe<T>(
    db: &mut AtomaDb<T>,
    node: u64,
    is_leaving: bool,
    clock_ms: u64,
): bool {
    let row = db.node(node);
    let (bookings, pot, is_unaudited) = (*row.bookings(), row.timeout_pot(), row.open_audits() == 0);
    let is_pot_over = is_leaving || clock_ms >= row.timeout_until_ms();
    let treasury = if (is_pot_over) pot else 0;
    let (mut kept, mut to, mut amounts) = (vector[], vector[], vector[]);
    bookings.do!(|booking| {
        if (is_unaudited || clock_ms >= booking.booked_until_ms()) {
            to.push_back(booking.booked_to());
            amounts.push_back(booking.booked_amount());
        } else {
            kept.push_back(booking);
        }
    });
    if (to.is_empty() && treasury == 0) return false;
    db.add_to_treasury(treasury);

    to.length().do!(|i| db.credit(to[i], amounts[i]));
    let row = db.node_mut(node);
    row.set_bookings(kept);
    row.set_timeout_pot(pot - treasury);
    events::bookings_settled(node, to, amounts, treasury);
    true
}

/// Gives all bookings and the pot to the treasury.
fun forfeit<T>(db: &mut AtomaDb<T>, node: u64) {
    let row = db.node(node);
    let mut treasury = 0;
    row.bookings().do_ref!(|booking| treasury = math::add(treasury, booking.booked_amount()));
    treasury = math::add(treasury, row.timeout_pot());
    if (treasury == 0) return;
    db.add_to_treasury(treasury);

    let row = db.node_mut(node);
    row.set_bookings(vector[]);
    row.set_timeout_pot(0);
    events::bookings_settled(node, vector[], vector[], treasury);
}

/// A share of the collateral, the part of it that is burned (rounded up), and the rest.
fun parts(row: &Node, terms: &Params, permille: u64): (u64, u64, u64) {
    let amount = math::share(row.collateral(), permille).min(row.collateral());
    let rest = math::share(amount, 1_000 - terms.burn_permille());
    (amount, amount - rest, rest)
}

fun compensation_max(terms: &Params, cost: u64): u64 {
    let most = (cost as u128) * (terms.compensation_times() as u128);
    most.min(terms.compensation_max() as u128) as u64
}

fun booked_until_ms(terms: &Params, clock_ms: u64): u64 {
    math::saturating_add(math::saturating_add(clock_ms, terms.hold_ms()), terms.hold_ms())
}

/// A compensation while an audit is open is booked, or lost if there are too many bookings already.
fun payable(row: &Node, wanted: u64): (u64, bool) {
    let booked = row.open_audits() > 0;
    let is_full = row.bookings().length() >= limits::bookings_max!();
    if (booked && is_full) (0, false) else (wanted, booked && wanted > 0)
}

/// The first timeout of a window. What an older pot still holds is the treasury's.
fun from_collateral(row: &Node, terms: &Params, wanted: u64): Split {
    let (amount, burned, rest) = parts(row, terms, terms.timeout_permille());
    let (compensation, booked) = payable(row, wanted.min(rest));
    Split { amount, burned, treasury: row.timeout_pot(), compensation, booked, pot: rest - compensation }
}

/// A further timeout of a window.
fun from_pot(row: &Node, wanted: u64): Split {
    let (compensation, booked) = payable(row, wanted.min(row.timeout_pot()));
    let pot = row.timeout_pot() - compensation;
    Split { amount: 0, burned: 0, treasury: 0, compensation, booked, pot }
}

/// Moves the money. All sums are parts of the pool, which is in range.
fun apply<T>(db: &mut AtomaDb<T>, node: u64, split: &Split, to: address, until_ms: u64) {
    db.add_to_burn(split.burned);
    db.add_to_treasury(split.treasury);
    if (!split.booked) db.credit(to, split.compensation);
    let row = db.node_mut(node);
    row.take_collateral(split.amount);
    row.set_timeout_pot(split.pot);
    if (split.booked) row.book(split.compensation, to, until_ms);
    events::slashed(
        node,
        split.amount,
        split.burned,
        split.treasury,
        split.compensation,
        split.booked,
        split.pot,
        to,
    );
}

#[test_only]
public fun badge_for_testing<T>(db: &AtomaDb<T>, node: u64, ctx: &mut TxContext): NodeBadge {
    NodeBadge { id: object::new(ctx), db: db.addr(), node }
}
