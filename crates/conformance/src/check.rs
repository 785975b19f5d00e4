//! The invariants, after every step.

use crate::op::{Op, Step};
use crate::wind_down;
use crate::world::{Outcome, World, context};
use atoma_contract::auditor::{Auditor, Violation, check_exit, check_node_exit};
use atoma_contract::{TxContext, VERSION};
use atoma_types::message::Message;
use atoma_types::onchain::{Dispute, Event, Stack};
use atoma_types::{Address, Amount, Grant, Hash32, NodeId, Price, RequestAuth, Signature, Units, Voucher};
use std::collections::BTreeMap;

type Check<T = ()> = Result<T, Violation>;

/// How often what takes long is checked, in steps.
const EXITS_EVERY: u64 = 16;

/// Watches a world.
#[derive(Debug, Default)]
pub struct Checker {
    /// One for each market.
    auditors: Vec<Auditor>,
    /// Most units that the user's key signed for, by stack and node.
    vouched: BTreeMap<(Address, NodeId), u64>,
    /// Units of all requests that the user's key signed and that were disputed.
    requested: BTreeMap<(Address, NodeId), u128>,
    steps: u64,
}

fn hold(rule: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

impl Checker {
    pub fn new() -> Self {
        Self::default()
    }

    /// Plays a step and checks everything that must hold of it and after it.
    pub fn play(&mut self, world: &mut World, step: &Step) -> Check<Outcome> {
        let before = world.clone();
        let market = world.market(&step.op);
        let outcome = world.play(step);
        self.steps += 1;
        match &outcome {
            Outcome::Done(ctx) => self.done(&before, world, step, market, ctx)?,
            Outcome::Aborted(abort) => {
                hold("an abort changes nothing", before == *world, || format!("{abort} in {step:?}"))?;
            }
            Outcome::Missing => {
                hold("nothing happens without objects", before == *world, || format!("{step:?}"))?
            }
        }
        Ok(outcome)
    }

    fn done(
        &mut self,
        before: &World,
        world: &World,
        step: &Step,
        market: Option<usize>,
        ctx: &TxContext,
    ) -> Check {
        let market = match &step.op {
            Op::Create { .. } => {
                self.auditors.push(Auditor::new());
                Some(self.auditors.len() - 1)
            }
            _ => market,
        };
        let Some(market) = market else {
            return hold("nothing is emitted beside markets", ctx.events.is_empty(), || format!("{step:?}"));
        };
        self.signed(before, step, ctx)?;
        self.auditors[market].observe(Amount(step.op.coin()), ctx)?;
        check_seats(world, market, ctx)?;
        self.books(world, market)?;
        self.exits(world, step)
    }

    /// Compares the market's books with what is stored.
    fn books(&self, world: &World, market: usize) -> Check {
        let db = &world.dbs[market];
        let stacks = world.stacks.values().filter(|stack| stack.db == db.id);
        let disputes = world.disputes.values().filter(|dispute| dispute.db == db.id);
        self.auditors[market].check(db, &world.treasuries[market], stacks.clone(), disputes)?;
        for stack in stacks {
            self.check_units(stack)?;
        }
        Ok(())
    }

    /// Nobody is paid for units that the user did not sign for.
    fn check_units(&self, stack: &Stack) -> Check {
        for row in &stack.channels {
            let key = (stack.id, row.node);
            let vouched = self.vouched.get(&key).copied().unwrap_or(0);
            let claimed = row.claim.as_ref().map_or(0, |claim| claim.to_units.0);
            let queued = row.queued.as_ref().map_or(0, |queued| queued.units.0);
            let most = row.settled_units.0.max(claimed).max(queued);
            hold("no payment beyond signed units", most <= vouched, || format!("{row:?}"))?;
            let requested = self.requested.get(&key).copied().unwrap_or(0);
            let disputed = u128::from(row.disputed_units.0);
            hold("no answer beyond signed requests", disputed <= requested, || format!("{row:?}"))?;
        }
        Ok(())
    }

    /// What was accepted as signed by the stack's key is so by the strict rule, too.
    fn signed(&mut self, before: &World, step: &Step, ctx: &TxContext) -> Check {
        let (stack, bytes, signature) = match &step.op {
            Op::Settle { stack, node, voucher, .. } | Op::SettleClaim { stack, node, voucher, .. }
                if !ctx.events.is_empty() =>
            {
                let row = self.vouched.entry((*stack, NodeId(*node))).or_default();
                *row = voucher.units.max(*row);
                let root = Hash32(voucher.root.clone().try_into().unwrap_or_default());
                let (node, units, count) = (NodeId(*node), Units(voucher.units), voucher.count);
                let db = db_of(before, stack);
                let voucher_of = Voucher { db, stack: *stack, node, units, count, root };
                (*stack, voucher_of.signed_bytes(), &voucher.signature)
            }
            Op::OpenChannel { stack, node, units, max_price, nonce, signature, .. }
                if before.stacks.get(stack).is_some_and(|stack| stack.owner != step.sender) =>
            {
                let grant = Grant {
                    db: db_of(before, stack),
                    stack: *stack,
                    node: NodeId(*node),
                    units: Units(*units),
                    max_price: Price(*max_price),
                    nonce: *nonce,
                };
                (*stack, grant.signed_bytes(), signature)
            }
            Op::OpenDispute {
                stack, node, hops, nonce, body_hash, max_units, expires_ms, signature, ..
            } => {
                *self.requested.entry((*stack, NodeId(*node))).or_default() += u128::from(*max_units);
                let auth = RequestAuth {
                    db: db_of(before, stack),
                    stack: *stack,
                    node: NodeId(*node),
                    hops: *hops,
                    nonce: *nonce,
                    body_hash: Hash32(body_hash.clone().try_into().unwrap_or_default()),
                    max_units: Units(*max_units),
                    expires_ms: *expires_ms,
                };
                (*stack, auth.signed_bytes(), signature)
            }
            _ => return Ok(()),
        };
        let fixed: Option<[u8; 64]> = signature.clone().try_into().ok();
        let key = before.stacks.get(&stack).map(|stack| stack.request_key);
        let verifies =
            key.zip(fixed).is_some_and(|(key, fixed)| key.verify_bytes(&bytes, &Signature(fixed)).is_ok());
        hold("what moves money is signed", verifies, || format!("{step:?}"))
    }

    /// Every stack can be emptied by time alone; now and then all of it is played to its end.
    fn exits(&self, world: &World, step: &Step) -> Check {
        if let Some(stack) = touched(world, &step.op)
            && let Some(market) = world.market_of(stack.db)
        {
            check_exit(stack, &world.treasuries[market])?;
        }
        if !self.steps.is_multiple_of(EXITS_EVERY) {
            return Ok(());
        }
        for stack in world.stacks.values() {
            if let Some(market) = world.market_of(stack.db) {
                check_exit(stack, &world.treasuries[market])?;
            }
        }
        for db in &world.dbs {
            let nodes: Vec<NodeId> = db.nodes.values().map(|node| node.id).collect();
            let count = u64::try_from(nodes.len()).unwrap_or(1).max(1);
            let chosen = usize::try_from(self.steps / EXITS_EVERY % count).unwrap_or(0);
            if let Some(node) = nodes.get(chosen) {
                check_node_exit(db, *node)?;
            }
        }
        Ok(())
    }

    /// Everything ends by time alone; and the books close.
    pub fn end(&self, world: &World, clock_ms: u64, epoch: u64) -> Check {
        wind_down::check(world, clock_ms, epoch)
    }
}

fn db_of(world: &World, stack: &Address) -> Address {
    world.stacks.get(stack).map_or(Address::ZERO, |stack| stack.db)
}

/// The stack that a call changed, if it still exists.
fn touched<'a>(world: &'a World, op: &Op) -> Option<&'a Stack> {
    let bytes = bcs::to_bytes(op).ok()?;
    world.stacks.values().find(|stack| bytes.windows(32).any(|window| window == stack.id.as_bytes()))
}

/// Nobody judges itself, or a node of its own owner; and everybody who judges may.
fn check_seats(world: &World, market: usize, ctx: &TxContext) -> Check {
    let db = &world.dbs[market];
    for event in &ctx.events {
        let (node, seated) = match event {
            Event::AuditOpened(event) => (event.node, &event.seats),
            Event::JurySeated(event) => (event.node, &event.jury),
            Event::SeatsReplaced(event) => (event.node, &event.seated),
            _ => continue,
        };
        let Some(judged) = db.nodes.get(node.0) else { continue };
        for (at, verifier) in seated.iter().enumerate() {
            let row = db.nodes.get(verifier.0);
            let is_other = row.is_some_and(|row| row.owner != judged.owner && row.id != node);
            hold("nobody judges its own", is_other, || format!("{event:?}"))?;
            let is_fit = row.is_some_and(|row| row.disabled_ms == 0 && row.convictions == 0);
            hold("who judges is enabled", is_fit, || format!("{event:?}"))?;
            hold("nobody sits twice", !seated[..at].contains(verifier), || format!("{event:?}"))?;
        }
    }
    Ok(())
}

/// Whether every object has the package's version: else most calls abort.
pub(crate) fn is_current(world: &World) -> bool {
    let of_db = world.dbs.iter().map(|db| db.version);
    let of_treasury = world.treasuries.iter().map(|treasury| treasury.version);
    let of_beacon = world.beacons.iter().map(|beacon| beacon.version);
    let of_stack = world.stacks.values().map(|stack: &Stack| stack.version);
    let of_dispute = world.disputes.values().map(|dispute: &Dispute| dispute.version);
    let shared = of_db.chain(of_treasury).chain(of_beacon);
    shared.chain(of_stack).chain(of_dispute).all(|version| version == VERSION)
}

/// A step that aborted left nothing in its context.
pub fn untouched(step: &Step) -> TxContext {
    context(step)
}
