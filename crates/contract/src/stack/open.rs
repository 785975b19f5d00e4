//! Opening channels, and giving them more units.

use super::acquire::new_channel;
use super::with_credit;
use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::draw::{has_verifiers, may_serve};
use crate::limits::{self, ensure};
use crate::{ed25519, offer};
use atoma_types::message::Message;
use atoma_types::onchain::event::ChannelOpened;
use atoma_types::onchain::{Abort, Channel, Node, Selection, Stack};
use atoma_types::{Address, Amount, Grant, NodeId, Price, Units};

/// Arguments of [`open_channel`]: a grant, and its signature where the node brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub node: NodeId,
    /// All units of this channel, those granted before included.
    pub units: Units,
    pub max_price: Price,
    pub nonce: u64,
    pub signature: Vec<u8>,
}

/// Opens a node's channel or raises its grant. The owner's own call needs no signature; the node's owner
/// brings the grant signed with the stack's request key, and the node is credited the opening fee while
/// prepaid ones are left. A channel's price is the node's when it was opened.
pub fn open_channel(
    db: &AtomaDb,
    stack: &mut Stack,
    opening: Opening,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    let node = db.node(opening.node)?;
    ensure(clock_ms < stack.ends_ms(), Abort::StackEnded)?;
    let open_fee = authorize(stack, node, &opening, ctx)?;
    ensure(node.disabled_ms == 0, Abort::NodeDisabled)?;
    let channel = match stack.channel(opening.node) {
        Some(channel) => raised(db, stack, channel, &opening, ctx.epoch())?,
        None => opened(db, stack, node, &opening, clock_ms, ctx.epoch())?,
    };
    check_verifiers(db, stack, node.owner)?;
    let before = stack.channel(opening.node).map_or(Units::ZERO, |channel| channel.granted);
    let granted_units = stack.granted_units.add(opening.units.sub(before)?)?;
    ensure(granted_units <= stack.total_units, Abort::OverGranted)?;
    let opens_left = match open_fee {
        Some(_) => stack.opens_left.checked_sub(1).ok_or(Abort::Arithmetic)?,
        None => stack.opens_left,
    };
    let open_fee = open_fee.unwrap_or(Amount::ZERO);
    let dues = with_credit(stack.dues.clone(), channel.payout, open_fee)?;

    stack.granted_units = granted_units;
    stack.opens_left = opens_left;
    stack.dues = dues;
    ctx.emit(ChannelOpened {
        stack: stack.id,
        node: channel.node,
        price: channel.price,
        echelon: channel.echelon,
        granted: channel.granted,
        nonce: channel.grant_nonce,
        by: ctx.sender(),
        open_fee,
    });
    match stack.channels.iter_mut().find(|row| row.node == channel.node) {
        Some(row) => *row = channel,
        None => stack.channels.push(channel),
    }
    Ok(())
}

/// Who may open, and whether that earns a prepaid opening fee.
fn authorize(stack: &Stack, node: &Node, opening: &Opening, ctx: &TxContext) -> Result<Option<Amount>> {
    if ctx.sender() == stack.owner {
        return Ok(None);
    }
    ensure(ctx.sender() == node.owner, Abort::NotAuthorized)?;
    let grant = Grant {
        db: stack.db,
        stack: stack.id,
        node: opening.node,
        units: opening.units,
        max_price: opening.max_price,
        nonce: opening.nonce,
    };
    let is_signed = ed25519::verify(&stack.request_key, &grant.signed_bytes(), &opening.signature);
    ensure(is_signed, Abort::BadSignature)?;
    Ok((stack.opens_left > 0).then_some(stack.params.open_fee))
}

/// At level 2 enough verifiers must be opted in besides those of the node's owner.
fn check_verifiers(db: &AtomaDb, stack: &Stack, owner: Address) -> Result {
    let market = db.market(stack.task)?;
    let verifiers = market.verifiers_in(&stack.echelons)?;
    ensure(has_verifiers(market, &stack.params, stack.level, verifiers, owner), Abort::NotEnoughVerifiers)
}

/// The channel with its grant raised.
fn raised(db: &AtomaDb, stack: &Stack, channel: &Channel, opening: &Opening, epoch: u64) -> Result<Channel> {
    ensure(channel.closed_ms == 0, Abort::ChannelClosed)?;
    ensure(opening.nonce > channel.grant_nonce, Abort::StaleGrant)?;
    ensure(opening.units >= channel.granted, Abort::BadArgument)?;
    ensure(channel.price <= opening.max_price, Abort::PriceTooHigh)?;
    let (slot, _) = offer::at_epoch(db, stack.task, opening.node, epoch)?;
    ensure(opening.units <= slot.max_units, Abort::NotEligible)?;
    Ok(Channel { granted: opening.units, grant_nonce: opening.nonce, ..channel.clone() })
}

/// A new channel with a node that may serve this stack.
fn opened(
    db: &AtomaDb,
    stack: &Stack,
    node: &Node,
    opening: &Opening,
    clock_ms: u64,
    epoch: u64,
) -> Result<Channel> {
    ensure(stack.channels.len() < limits::CHANNELS_MAX, Abort::TooManyChannels)?;
    ensure(!opening.units.is_zero(), Abort::BadArgument)?;
    let is_drawn = stack.drawn.contains(&opening.node);
    ensure(stack.selection == Selection::Any || is_drawn, Abort::NotEligible)?;
    let (slot, echelon) = offer::at_epoch(db, stack.task, opening.node, epoch)?;
    ensure(stack.echelons.contains(&echelon), Abort::NotEligible)?;
    ensure(slot.price <= stack.max_price, Abort::PriceTooHigh)?;
    ensure(slot.price <= opening.max_price, Abort::PriceTooHigh)?;
    ensure(opening.units <= slot.max_units, Abort::NotEligible)?;
    let task = db.task(stack.task)?;
    ensure(may_serve(task, &stack.params, node, epoch, clock_ms), Abort::NotEligible)?;
    Ok(new_channel(opening.node, node.payout, slot.price, echelon, opening.units, opening.nonce))
}
