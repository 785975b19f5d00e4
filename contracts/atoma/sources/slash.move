/// Taking collateral, and what becomes of it. For the modules of the package: no function here is an entry.
///
/// Of every slash at least half is burned. A compensation is capped; what is left is the treasury's. While an audit
/// of the node is open, the compensation is only booked: a node that expects to be convicted could otherwise pay
/// itself its own collateral first. A conviction forfeits bookings to the treasury.
///
/// For every `Slashed`: `amount + pot before = burned + treasury + compensation + pot after`.
module atoma::slash;

use atoma::db::AtomaDb;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::node_row::Node;
use atoma::params::Params;

/// Points of reputation that a timeout costs.
const TIMEOUT_POINTS: u64 = 10;
/// Points of reputation that a refusal costs.
const REFUSAL_POINTS: u64 = 1;

/// What one slash does with the collateral and the pot.
public struct Split has drop {
    amount: u64,
    burned: u64,
    treasury: u64,
    compensation: u64,
    booked: bool,
    pot: u64,
}

public(package) fun refusal_points(): u64 { REFUSAL_POINTS }

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
    row.fault(TIMEOUT_POINTS, ctx.epoch());
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
    row.fault(math::max(), ctx.epoch());
    if (row.disabled_ms() == 0) row.fix_exit(exit_after_ms, clock_ms, ctx.epoch());
    compensation
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
public(package) fun settle_bookings<T>(
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
    let is_full = row.bookings().length() >= limits::bookings_max();
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
