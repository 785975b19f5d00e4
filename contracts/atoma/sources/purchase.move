/// Buying a stack, and more units for one. Entry points in `stack`.
module atoma::purchase;

use atoma::db::AtomaDb;
use atoma::draw;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma::offer;
use atoma_base::params::{Self, Params};
use atoma_base::rows::{Model, Task};
use atoma_base::slots::Verifiers;
use atoma::stack_state::{Self, Channel, StackState};

/// Selections: the chain draws one node and opens its channel; draws some; lets the owner pick.
const SINGLE: u8 = 0;
const LIMITED: u8 = 1;
const ANY: u8 = 2;

/// What a buyer asks for, as it arrives.
public struct Purchase has copy, drop {
    task: u64,
    request_key: vector<u8>,
    units: u64,
    max_price: u64,
    selection: u8,
    /// How many nodes a Limited purchase draws; the others ignore it.
    nodes: u64,
    max_opens: u64,
    /// Echelons the buyer accepts; all of the task's if empty. Exact tasks take none: they agree everywhere.
    echelons: vector<u64>,
}

public(package) fun new(
    task: u64,
    request_key: vector<u8>,
    units: u64,
    max_price: u64,
    selection: u8,
    nodes: u64,
    max_opens: u64,
    echelons: vector<u64>,
): Purchase {
    Purchase { task, request_key, units, max_price, selection, nodes, max_opens, echelons }
}

public(package) fun is_any(selection: u8): bool { selection == ANY }

/// Checks a purchase that `paid` must cover and draws its nodes. Returns the stack's state, nothing granted yet, what
/// is escrowed, and the drawn node's channel of a Single purchase.
public(package) fun acquire<T>(
    db: &AtomaDb<T>,
    seed: vector<u8>,
    paid: u64,
    purchase: &Purchase,
    clock_ms: u64,
    ctx: &TxContext,
): (StackState, u64, Option<Channel>) {
    db.check_version();
    require(!db.paused(), errors::paused!());
    check_purchase(purchase);
    let (task, model) = sold(db, purchase.task);
    let echelons = accepted(task, &purchase.echelons);
    let params = params::of_task(db.params_at(ctx.epoch()), task);
    let verifiers = verifiers(db, task, &params, &echelons);
    let (surcharge, total) = escrow(&params, task.surcharge_permille(), purchase);
    require(paid >= total, errors::insufficient_payment!());
    let expires_ms = math::add(clock_ms, params.stack_life_ms());
    // The refund comes after this; it must be a time that can pass.
    math::add(expires_ms, params.close_delay_ms());
    let wanted = draw::new(seed, verifiers, purchase.max_price, part(purchase), ctx.epoch(), clock_ms);
    let drawn = drawn(db, wanted, task, &params, &echelons, purchase);
    let first = if (purchase.selection == SINGLE) {
        let (price, _, echelon) = offer::at_epoch(db, purchase.task, drawn[0], ctx.epoch());
        let payout = db.node(drawn[0]).payout();
        option::some(stack_state::new_channel(drawn[0], payout, price, echelon, purchase.units, 0))
    } else {
        option::none()
    };

    let state = stack_state::new(
        db.addr(),
        ctx.sender(),
        purchase.request_key,
        task,
        model,
        purchase.max_price,
        purchase.units,
        purchase.selection,
        drawn,
        echelons,
        surcharge,
        purchase.max_opens,
        clock_ms,
        expires_ms,
        params,
    );
    (state, total, first)
}

/// Announces the stack, and opens the drawn node's channel with all units.
public(package) fun announce(state: &mut StackState, stack: address, balance: u64, first: Option<Channel>) {
    events::stack_acquired(
        stack,
        state.owner(),
        state.task(),
        state.level(),
        *state.request_key(),
        state.total_units(),
        state.max_price(),
        state.selection(),
        *state.drawn(),
        *state.echelons(),
        state.surcharge_escrowed(),
        balance,
        state.expires_ms(),
    );
    first.do!(|channel| {
        let (node, price, echelon) = (channel.node(), channel.price(), channel.echelon());
        events::channel_opened(stack, node, price, echelon, channel.granted(), 0, state.owner(), 0);
        state.set_granted_units(channel.granted());
        state.add_channel(channel);
    });
}

/// Adds units to a running stack at its own highest price and surcharge. Returns what must be escrowed for them, of
/// at most `paid`.
public(package) fun top_up<T>(
    db: &AtomaDb<T>,
    stack: address,
    state: &mut StackState,
    paid: u64,
    units: u64,
    clock_ms: u64,
    ctx: &TxContext,
): u64 {
    db.check_version();
    state.check(db);
    require(!db.paused(), errors::paused!());
    require(ctx.sender() == state.owner(), errors::not_authorized!());
    require(clock_ms < state.ends_ms(), errors::stack_ended!());
    sold(db, state.task());
    require(units > 0, errors::bad_argument!());
    let total_units = math::add(state.total_units(), units);
    limits::check_quantity(total_units);
    let before = math::cost(state.total_units(), state.max_price());
    let cost = math::cost(total_units, state.max_price());
    let escrowed = math::share(cost, state.surcharge_permille());
    let surcharge = math::sub(escrowed, state.surcharge_escrowed());
    let amount = math::add(math::sub(cost, before), surcharge);
    require(paid >= amount, errors::insufficient_payment!());

    state.set_total_units(total_units);
    state.set_surcharge_escrowed(escrowed);
    events::stack_topped_up(stack, units, surcharge, amount);
    amount
}

fun check_purchase(purchase: &Purchase) {
    require(purchase.selection <= ANY, errors::bad_argument!());
    limits::check_key(&purchase.request_key);
    require(purchase.units > 0, errors::bad_argument!());
    limits::check_quantity(purchase.units);
    limits::check_quantity(purchase.max_price);
    require(purchase.nodes <= limits::drawn_max!(), errors::bad_argument!());
    require(purchase.selection != LIMITED || purchase.nodes > 0, errors::bad_argument!());
    require(purchase.max_opens <= limits::opens_max!(), errors::bad_argument!());
    limits::check_echelons(&purchase.echelons);
}

/// A task that is for sale, with its model.
fun sold<T>(db: &AtomaDb<T>, task: u64): (&Task, &Model) {
    let task = db.task(task);
    require(!task.deprecated(), errors::task_deprecated!());
    let model = db.model(task.model());
    require(!model.disabled(), errors::model_disabled!());
    (task, model)
}

fun accepted(task: &Task, wanted: &vector<u64>): vector<u64> {
    if (wanted.is_empty()) return *task.echelons();
    require(!task.exact(), errors::bad_argument!());
    wanted.do_ref!(|echelon| require(task.echelons().contains(echelon), errors::bad_argument!()));
    *wanted
}

/// The verifiers of these echelons, of whom at level 2 there must be enough.
fun verifiers<T>(db: &AtomaDb<T>, task: &Task, params: &Params, echelons: &vector<u64>): Verifiers {
    let verifiers = db.market(task.task_id()).verifiers_in(echelons);
    if (task.level() == 2) {
        params::check_terms(params);
        require(verifiers.suffice(0, params.min_verifiers()), errors::not_enough_verifiers!());
    };
    verifiers
}

/// The surcharge, and everything that the buyer escrows.
fun escrow(params: &Params, surcharge_permille: u64, purchase: &Purchase): (u64, u64) {
    let cost = math::cost(purchase.units, purchase.max_price);
    let surcharge = math::share(cost, surcharge_permille);
    let opens = math::mul(params.open_fee(), purchase.max_opens);
    (surcharge, math::add(math::add(cost, surcharge), opens))
}

/// Units that each drawn node must be able to take: all, or an even part.
fun part(purchase: &Purchase): u64 {
    if (purchase.selection != LIMITED) return purchase.units;
    purchase.units.divide_and_round_up(purchase.nodes)
}

fun drawn<T>(
    db: &AtomaDb<T>,
    mut drawing: draw::Drawing,
    task: &Task,
    params: &Params,
    echelons: &vector<u64>,
    purchase: &Purchase,
): vector<u64> {
    if (purchase.selection == ANY) return vector[];
    if (purchase.selection == LIMITED) {
        drawing.draw(db, task, params, echelons, purchase.nodes, draw::tries_max!());
        require(drawing.count() == purchase.nodes, errors::no_eligible!());
        return drawing.drawn()
    };
    let left = drawing.draw(db, task, params, echelons, 1, draw::tries_max!());
    require(drawing.count() == 1, errors::no_eligible!());
    let tries = left.min(draw::standby_tries_max!());
    drawing.draw(db, task, params, echelons, 1 + draw::standbys_max!(), tries);
    drawing.drawn()
}
