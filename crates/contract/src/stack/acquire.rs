//! Buying a stack.

use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::draw::{Drawing, STANDBY_TRIES_MAX, STANDBYS_MAX, TRIES_MAX, Wanted};
use crate::limits::{self, ensure};
use crate::slots::Verifiers;
use crate::{Result, VERSION, offer, params};
use atoma_types::onchain::event::{ChannelOpened, StackAcquired};
use atoma_types::onchain::{Abort, Channel, Disputed, Model, Params, Selection, Stack, Surcharge, Task};
use atoma_types::{Address, Amount, Hash32, NodeId, Price, PublicKey, TaskId, Units};

/// Arguments of [`acquire`], as they arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    pub task: TaskId,
    pub request_key: Vec<u8>,
    pub units: Units,
    pub max_price: Price,
    /// A [`Selection`] as its byte.
    pub selection: u8,
    /// How many nodes a Limited purchase draws; the others ignore it.
    pub nodes: u64,
    pub max_opens: u64,
    /// Echelons the buyer accepts; all of the task's if empty. Exact tasks take none: they agree everywhere.
    pub echelons: Vec<u64>,
}

/// What the buyer escrows.
pub(super) struct Escrow {
    pub(super) surcharge: Amount,
    pub(super) total: Amount,
}

/// What a purchase was checked to be.
struct Terms<'a> {
    task: &'a Task,
    model: &'a Model,
    params: Params,
    echelons: Vec<u64>,
    escrow: Escrow,
    selection: Selection,
    request_key: PublicKey,
    drawn: Vec<NodeId>,
    expires_ms: u64,
}

/// Buys units of a task and shares the stack that holds them. `seed` is the one draw from `Random`. The
/// coin pays `cost(units, max_price)`, the surcharge on it and `open_fee · max_opens`; the rest stays the
/// sender's.
pub fn acquire(
    db: &AtomaDb,
    seed: &[u8; 32],
    mut coin: Coin,
    purchase: Purchase,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    ensure(!db.paused, Abort::Paused)?;
    let (selection, request_key) = check_purchase(&purchase)?;
    let (task, model) = sold(db, purchase.task)?;
    let echelons = accepted(task, &purchase.echelons)?;
    let params = params::of_task(db.params_at(ctx.epoch()), task)?;
    let verifiers = verifiers(db, task, &params, &echelons)?;
    let escrow = escrow(&params, task.surcharge_permille, &purchase)?;
    ensure(coin.balance >= escrow.total, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(escrow.total)?;
    let expires_ms = clock_ms.checked_add(params.stack_life_ms).ok_or(Abort::Arithmetic)?;
    // The refund comes after this; it must be a time that can pass.
    expires_ms.checked_add(params.close_delay_ms).ok_or(Abort::Arithmetic)?;
    let wanted = Wanted {
        task,
        terms: &params,
        echelons: &echelons,
        verifiers,
        max_price: purchase.max_price,
        units: part(selection, &purchase),
        epoch: ctx.epoch(),
        clock_ms,
    };
    let drawn = draw(db, seed, selection, purchase.nodes, wanted)?;
    let first = match (selection, drawn.first()) {
        (Selection::Single, Some(node)) => Some(whole_channel(db, &purchase, *node, ctx.epoch())?),
        _ => None,
    };

    coin.balance = change;
    let terms = Terms { task, model, params, echelons, escrow, selection, request_key, drawn, expires_ms };
    let mut stack = new_stack(db, terms, &purchase, clock_ms, ctx);
    ctx.emit(acquired(&stack));
    if let Some(channel) = first {
        ctx.emit(opened(&stack, &channel));
        stack.granted_units = channel.granted;
        stack.channels.push(channel);
    }
    ctx.shared.push(stack);
    ctx.return_change(coin);
    Ok(())
}

fn check_purchase(purchase: &Purchase) -> Result<(Selection, PublicKey)> {
    let selection = Selection::try_from(purchase.selection).map_err(|_| Abort::BadArgument)?;
    let request_key = limits::check_key(&purchase.request_key)?;
    ensure(!purchase.units.is_zero(), Abort::BadArgument)?;
    limits::check_quantity(purchase.units.0)?;
    limits::check_quantity(purchase.max_price.0)?;
    ensure(purchase.nodes <= limits::DRAWN_MAX, Abort::BadArgument)?;
    ensure(selection != Selection::Limited || purchase.nodes > 0, Abort::BadArgument)?;
    ensure(purchase.max_opens <= limits::OPENS_MAX, Abort::BadArgument)?;
    limits::check_echelons(&purchase.echelons)?;
    Ok((selection, request_key))
}

/// A task that is for sale, with its model.
pub(super) fn sold(db: &AtomaDb, task: TaskId) -> Result<(&Task, &Model)> {
    let task = db.task(task)?;
    ensure(!task.deprecated, Abort::TaskDeprecated)?;
    let model = db.model(task.model)?;
    ensure(!model.disabled, Abort::ModelDisabled)?;
    Ok((task, model))
}

fn accepted(task: &Task, wanted: &[u64]) -> Result<Vec<u64>> {
    if wanted.is_empty() {
        return Ok(task.echelons.clone());
    }
    ensure(!task.exact, Abort::BadArgument)?;
    for echelon in wanted {
        ensure(task.echelons.contains(echelon), Abort::BadArgument)?;
    }
    Ok(wanted.to_vec())
}

/// The verifiers of these echelons, of whom at level 2 there must be enough.
fn verifiers(db: &AtomaDb, task: &Task, params: &Params, echelons: &[u64]) -> Result<Verifiers> {
    let verifiers = db.market(task.id)?.verifiers_in(echelons)?;
    if task.level == 2 {
        params::check_terms(params)?;
        ensure(verifiers.suffice(0, params.min_verifiers), Abort::NotEnoughVerifiers)?;
    }
    Ok(verifiers)
}

fn escrow(params: &Params, surcharge_permille: u64, purchase: &Purchase) -> Result<Escrow> {
    let cost = purchase.max_price.cost(purchase.units)?;
    let surcharge = cost.share(surcharge_permille)?;
    let opens = params.open_fee.0.checked_mul(purchase.max_opens).ok_or(Abort::Arithmetic)?;
    let total = cost.add(surcharge)?.add(Amount(opens))?;
    Ok(Escrow { surcharge, total })
}

/// Units that each drawn node must be able to take: all, or an even part.
fn part(selection: Selection, purchase: &Purchase) -> Units {
    match selection {
        Selection::Limited => Units(purchase.units.0.div_ceil(purchase.nodes)),
        _ => purchase.units,
    }
}

fn draw(
    db: &AtomaDb,
    seed: &[u8; 32],
    selection: Selection,
    nodes: u64,
    wanted: Wanted,
) -> Result<Vec<NodeId>> {
    if selection == Selection::Any {
        return Ok(Vec::new());
    }
    let mut drawing = Drawing::new(db, wanted, seed)?;
    if selection == Selection::Limited {
        drawing.draw(nodes, TRIES_MAX)?;
        ensure(drawing.count() == nodes, Abort::NoEligible)?;
        return Ok(drawing.drawn);
    }
    let left = drawing.draw(1, TRIES_MAX)?;
    ensure(drawing.count() == 1, Abort::NoEligible)?;
    drawing.draw(1 + STANDBYS_MAX, left.min(STANDBY_TRIES_MAX))?;
    Ok(drawing.drawn)
}

/// The drawn node's channel, with all units, at that node's price.
fn whole_channel(db: &AtomaDb, purchase: &Purchase, node: NodeId, epoch: u64) -> Result<Channel> {
    let (slot, echelon) = offer::at_epoch(db, purchase.task, node, epoch)?;
    Ok(new_channel(node, db.node(node)?.payout, slot.price, echelon, purchase.units, 0))
}

/// A channel in which nothing is settled.
pub(super) fn new_channel(
    node: NodeId,
    payout: Address,
    price: Price,
    echelon: u64,
    granted: Units,
    grant_nonce: u64,
) -> Channel {
    Channel {
        node,
        payout,
        price,
        echelon,
        granted,
        grant_nonce,
        settled_units: Units::ZERO,
        settled_count: 0,
        root: Hash32::of(&[]),
        paid: Amount::ZERO,
        voided: Amount::ZERO,
        disputed_units: Units::ZERO,
        disputed_paid: Amount::ZERO,
        closed_ms: 0,
        released: false,
        claim: None,
        queued: None,
    }
}

/// The stack with every term it will be judged by.
fn new_stack(db: &AtomaDb, terms: Terms, purchase: &Purchase, clock_ms: u64, ctx: &mut TxContext) -> Stack {
    let permille = terms.task.surcharge_permille;
    Stack {
        id: ctx.fresh_id(),
        version: VERSION,
        db: db.id,
        owner: ctx.sender(),
        request_key: terms.request_key,
        task: terms.task.id,
        level: terms.task.level,
        exact: terms.task.exact,
        weights: terms.task.weights,
        max_price: purchase.max_price,
        total_units: purchase.units,
        granted_units: Units::ZERO,
        settled_units: Units::ZERO,
        claimed_units: Units::ZERO,
        selection: terms.selection,
        drawn: terms.drawn,
        echelons: terms.echelons,
        creator: terms.model.creator,
        creator_fee_permille: terms.model.creator_fee_permille,
        surcharge: Surcharge { permille, escrowed: terms.escrow.surcharge, used: Amount::ZERO },
        opens_left: purchase.max_opens,
        created_ms: clock_ms,
        expires_ms: terms.expires_ms,
        close_requested_ms: 0,
        params: terms.params,
        channels: Vec::new(),
        disputed: Disputed::default(),
        dues: Vec::new(),
        treasury_due: Amount::ZERO,
        balance: terms.escrow.total,
    }
}

fn acquired(stack: &Stack) -> StackAcquired {
    StackAcquired {
        stack: stack.id,
        owner: stack.owner,
        task: stack.task,
        level: stack.level,
        request_key: stack.request_key,
        units: stack.total_units,
        max_price: stack.max_price,
        selection: stack.selection,
        drawn: stack.drawn.clone(),
        echelons: stack.echelons.clone(),
        surcharge: stack.surcharge.escrowed,
        balance: stack.balance,
        expires_ms: stack.expires_ms,
    }
}

fn opened(stack: &Stack, channel: &Channel) -> ChannelOpened {
    ChannelOpened {
        stack: stack.id,
        node: channel.node,
        price: channel.price,
        echelon: channel.echelon,
        granted: channel.granted,
        nonce: channel.grant_nonce,
        by: stack.owner,
        open_fee: Amount::ZERO,
    }
}
