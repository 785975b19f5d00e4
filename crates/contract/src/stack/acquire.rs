//! Buying a stack.

use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::draw::{Drawing, STANDBY_TRIES_MAX, STANDBYS_MAX, TRIES_MAX, Wanted};
use crate::limits::{self, ensure};
use crate::{Result, VERSION};
use atoma_types::onchain::event::{ChannelOpened, StackAcquired};
use atoma_types::onchain::{Abort, Channel, Model, Selection, Stack, Task};
use atoma_types::{Amount, Hash32, NodeId, Price, PublicKey, TaskId, Units};

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
}

/// What the buyer escrows.
struct Escrow {
    surcharge: Amount,
    total: Amount,
}

/// What a purchase was checked to be.
struct Terms<'a> {
    task: &'a Task,
    model: &'a Model,
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
    let task = db.task(purchase.task)?;
    ensure(!task.deprecated, Abort::TaskDeprecated)?;
    let model = db.model(task.model)?;
    ensure(!model.disabled, Abort::ModelDisabled)?;
    let escrow = escrow(db, task, &purchase)?;
    ensure(coin.balance >= escrow.total, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(escrow.total)?;
    let expires_ms = clock_ms.checked_add(db.params.stack_life_ms).ok_or(Abort::Arithmetic)?;
    // The refund comes after this; it must be a time that can pass.
    expires_ms.checked_add(db.params.close_delay_ms).ok_or(Abort::Arithmetic)?;
    let drawn = draw(db, task, seed, selection, &purchase, ctx.epoch())?;
    let first = match (selection, drawn.first()) {
        (Selection::Single, Some(node)) => Some(whole_channel(db, &purchase, *node)?),
        _ => None,
    };

    coin.balance = change;
    let terms = Terms { task, model, escrow, selection, request_key, drawn, expires_ms };
    let mut stack = new_stack(db, &terms, &purchase, clock_ms, ctx);
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
    Ok((selection, request_key))
}

fn escrow(db: &AtomaDb, task: &Task, purchase: &Purchase) -> Result<Escrow> {
    let cost = purchase.max_price.cost(purchase.units)?;
    let surcharge = cost.share(task.surcharge_permille)?;
    let opens = db.params.open_fee.0.checked_mul(purchase.max_opens).ok_or(Abort::Arithmetic)?;
    let total = cost.add(surcharge)?.add(Amount(opens))?;
    Ok(Escrow { surcharge, total })
}

fn draw(
    db: &AtomaDb,
    task: &Task,
    seed: &[u8; 32],
    selection: Selection,
    purchase: &Purchase,
    epoch: u64,
) -> Result<Vec<NodeId>> {
    let mut drawing = Drawing::new(db, task, seed);
    match selection {
        Selection::Any => {}
        Selection::Single => {
            let wanted = Wanted { max_price: purchase.max_price, units: purchase.units, epoch };
            let left = drawing.draw(1, TRIES_MAX, &wanted)?;
            ensure(drawing.count() == 1, Abort::NoEligible)?;
            drawing.draw(1 + STANDBYS_MAX, left.min(STANDBY_TRIES_MAX), &wanted)?;
        }
        Selection::Limited => {
            // Each must be able to take an even part.
            let part = Units(purchase.units.0.div_ceil(purchase.nodes));
            let wanted = Wanted { max_price: purchase.max_price, units: part, epoch };
            drawing.draw(purchase.nodes, TRIES_MAX, &wanted)?;
            ensure(drawing.count() == purchase.nodes, Abort::NoEligible)?;
        }
    }
    Ok(drawing.drawn)
}

/// The drawn node's channel, with all units, at that node's price.
fn whole_channel(db: &AtomaDb, purchase: &Purchase, node: NodeId) -> Result<Channel> {
    let price = db.slot(purchase.task, node)?.subscription.price;
    Ok(new_channel(node, price, purchase.units, 0))
}

/// A channel in which nothing is settled.
pub(super) fn new_channel(node: NodeId, price: Price, granted: Units, grant_nonce: u64) -> Channel {
    Channel {
        node,
        price,
        granted,
        grant_nonce,
        settled_units: Units::ZERO,
        settled_count: 0,
        root: Hash32::of(&[]),
        paid: Amount::ZERO,
        closed: false,
    }
}

/// The stack with every term it will be judged by.
fn new_stack(db: &AtomaDb, terms: &Terms, purchase: &Purchase, clock_ms: u64, ctx: &mut TxContext) -> Stack {
    Stack {
        id: ctx.fresh_id(),
        version: VERSION,
        db: db.id,
        owner: ctx.sender(),
        request_key: terms.request_key,
        task: terms.task.id,
        level: terms.task.level,
        weights: terms.task.weights,
        max_price: purchase.max_price,
        total_units: purchase.units,
        granted_units: Units::ZERO,
        settled_units: Units::ZERO,
        selection: terms.selection,
        drawn: terms.drawn.clone(),
        creator: terms.model.creator,
        creator_fee_permille: terms.model.creator_fee_permille,
        surcharge: terms.escrow.surcharge,
        surcharge_earned: Amount::ZERO,
        open_fee: db.params.open_fee,
        opens_left: purchase.max_opens,
        created_ms: clock_ms,
        expires_ms: terms.expires_ms,
        close_requested_ms: 0,
        close_delay_ms: db.params.close_delay_ms,
        channels: Vec::new(),
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
        request_key: stack.request_key,
        units: stack.total_units,
        max_price: stack.max_price,
        selection: stack.selection,
        drawn: stack.drawn.clone(),
        balance: stack.balance,
        expires_ms: stack.expires_ms,
    }
}

fn opened(stack: &Stack, channel: &Channel) -> ChannelOpened {
    ChannelOpened {
        stack: stack.id,
        node: channel.node,
        price: channel.price,
        granted: channel.granted,
        nonce: channel.grant_nonce,
        by: stack.owner,
        open_fee: Amount::ZERO,
    }
}
