//! Claims and audits, on stacks and in disputes, and disputes themselves.

use super::{Played, at, at_mut, blob, coin, node_badge, proven, settlement, stack};
use crate::op::{Op, Step, Target};
use crate::world::{Stop, World};
use atoma_contract::audit::{Opened, Reveal};
use atoma_contract::claim::Challenge;
use atoma_contract::dispute::{Acknowledged, Answer, Case, Part, Request};
use atoma_contract::{TxContext, audit, claim, dispute as entries};
use atoma_types::{NodeId, Units};

/// Returns whether the step was about a claim.
pub(super) fn call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    let clock_ms = step.clock_ms;
    if let Op::SettleClaim { db, beacon, stack: id, node, voucher } = &step.op {
        let (db, beacon) = (at(&world.dbs, *db)?, at(&world.beacons, *beacon)?);
        let stack = stack(&mut world.stacks, *id)?;
        claim::settle(db, beacon, stack, settlement(*node, voucher), clock_ms, ctx)?;
        return Ok(true);
    }
    match step.op.target() {
        Some(Target::Channel { stack, node }) => {
            on_channel(world, step, (stack, NodeId(node)), ctx).map(|()| true)
        }
        Some(Target::Dispute(dispute)) => on_dispute(world, step, dispute, ctx).map(|()| true),
        None => Ok(false),
    }
}

fn on_channel(
    world: &mut World,
    step: &Step,
    (id, node): (atoma_types::Address, NodeId),
    ctx: &mut TxContext,
) -> Played {
    let clock_ms = step.clock_ms;
    let World { dbs, beacons, stacks, node_badges: badges, .. } = world;
    let stack = stack(stacks, id)?;
    match &step.op {
        Op::ResolvePay { db, beacon, .. } => {
            claim::resolve_pay(at(dbs, *db)?, at(beacons, *beacon)?, stack, node, clock_ms, ctx)?;
        }
        Op::ResolveAudit { db, beacon, .. } => {
            claim::resolve_audit(at_mut(dbs, *db)?, at(beacons, *beacon)?, stack, node, clock_ms, ctx)?;
        }
        Op::ChallengeRecord { db, beacon, coin: paid, shown, .. } => {
            let challenge = Challenge { node, shown: proven(shown) };
            let (db, beacon) = (at_mut(dbs, *db)?, at(beacons, *beacon)?);
            claim::challenge_record(db, beacon, stack, coin(*paid), &challenge, clock_ms, ctx)?;
        }
        Op::ReleaseClaim { db, beacon, .. } => {
            claim::release_claim(at(dbs, *db)?, at(beacons, *beacon)?, stack, node, clock_ms, ctx)?;
        }
        Op::RevealRecord { badge, .. } => {
            audit::reveal_record(stack, node_badge(badges, *badge)?, reveal(&step.op)?, clock_ms, ctx)?;
        }
        Op::PostRecordPart { badge, which, part, .. } => {
            audit::post_record_part(stack, node_badge(badges, *badge)?, *which, part.clone(), ctx)?;
        }
        Op::CommitVerdict { badge, hash, .. } => {
            audit::commit_verdict(stack, node, node_badge(badges, *badge)?, hash.clone(), clock_ms, ctx)?;
        }
        Op::RevealVerdict { db, badge, .. } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            audit::reveal_verdict(db, stack, node, badge, opened(&step.op)?, clock_ms, ctx)?;
        }
        Op::MarkAuditLate { .. } => audit::mark_late(stack, node, clock_ms, ctx)?,
        Op::ExpireAudit { db, .. } => audit::expire(at_mut(dbs, *db)?, stack, node, clock_ms, ctx)?,
        _ => return Err(Stop::Missing),
    }
    Ok(())
}

fn on_dispute(world: &mut World, step: &Step, id: atoma_types::Address, ctx: &mut TxContext) -> Played {
    let clock_ms = step.clock_ms;
    let World { dbs, beacons, disputes, node_badges: badges, .. } = world;
    let dispute = super::dispute(disputes, id)?;
    match &step.op {
        Op::ResolvePay { db, beacon, .. } => {
            entries::resolve_pay(at(dbs, *db)?, at(beacons, *beacon)?, dispute, clock_ms, ctx)?;
        }
        Op::ResolveAudit { db, beacon, .. } => {
            entries::resolve_audit(at_mut(dbs, *db)?, at(beacons, *beacon)?, dispute, clock_ms, ctx)?;
        }
        Op::ChallengeRecord { db, beacon, coin: paid, shown, .. } => {
            let (db, beacon, shown) = (at_mut(dbs, *db)?, at(beacons, *beacon)?, proven(shown));
            entries::challenge_record(db, beacon, dispute, coin(*paid), &shown, clock_ms, ctx)?;
        }
        Op::ReleaseClaim { db, .. } => entries::release_claim(at(dbs, *db)?, dispute, clock_ms, ctx)?,
        Op::RevealRecord { badge, .. } => {
            entries::reveal_record(dispute, node_badge(badges, *badge)?, reveal(&step.op)?, clock_ms, ctx)?;
        }
        Op::PostRecordPart { badge, which, part, .. } => {
            entries::post_record_part(dispute, node_badge(badges, *badge)?, *which, part.clone(), ctx)?;
        }
        Op::CommitVerdict { badge, hash, .. } => {
            entries::commit_verdict(dispute, node_badge(badges, *badge)?, hash.clone(), clock_ms, ctx)?;
        }
        Op::RevealVerdict { db, badge, .. } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            entries::reveal_verdict(db, dispute, badge, opened(&step.op)?, clock_ms, ctx)?;
        }
        Op::MarkAuditLate { .. } => entries::mark_audit_late(dispute, clock_ms, ctx)?,
        Op::ExpireAudit { db, .. } => entries::expire_audit(at_mut(dbs, *db)?, dispute, clock_ms, ctx)?,
        _ => return Err(Stop::Missing),
    }
    Ok(())
}

/// Disputes over delivery.
pub(super) fn dispute(world: &mut World, step: &Step, ctx: &mut TxContext) -> Played {
    let clock_ms = step.clock_ms;
    let World { dbs, beacons, stacks, disputes, node_badges: badges, .. } = world;
    match &step.op {
        Op::OpenDispute { db, stack: id, blob: spec, coin: paid, .. } => {
            let blob = blob(spec, step.tx);
            let (db, stack) = (at_mut(dbs, *db)?, stack(stacks, *id)?);
            entries::open(db, stack, &blob, coin(*paid), request(&step.op)?, clock_ms, ctx)?;
        }
        Op::DemandBody { db, dispute: id, badge } => {
            let (dispute, badge) = (super::dispute(disputes, *id)?, node_badge(badges, *badge)?);
            entries::demand_body(at(dbs, *db)?, dispute, badge, clock_ms, ctx)?;
        }
        Op::PostBody { dispute: id, offset, part, is_last } => {
            let part = Part { offset: *offset, bytes: part.clone(), is_last: *is_last };
            entries::post_body(super::dispute(disputes, *id)?, part, clock_ms, ctx)?;
        }
        Op::MarkDisputeLate { dispute: id } => {
            entries::mark_late(super::dispute(disputes, *id)?, clock_ms, ctx)?;
        }
        Op::MigrateDispute { db, dispute: id } => {
            entries::migrate(at(dbs, *db)?, super::dispute(disputes, *id)?, ctx)?;
        }
        Op::WithdrawDispute { dispute: id } => entries::withdraw(super::dispute(disputes, *id)?, ctx)?,
        Op::AnswerServed { db, beacon, stack: of, dispute: id, badge, blob: spec, record } => {
            let case = &mut Case { stack: stack(stacks, *of)?, dispute: super::dispute(disputes, *id)? };
            let blob = blob(spec, step.tx);
            let answer = Answer { blob: &blob, record };
            let (db, beacon, badge) = (at_mut(dbs, *db)?, at(beacons, *beacon)?, node_badge(badges, *badge)?);
            entries::answer_served(db, beacon, case, badge, answer, clock_ms, ctx)?;
        }
        Op::AnswerRefused { db, stack: of, dispute: id, badge, coin: paid, reason } => {
            let case = &mut Case { stack: stack(stacks, *of)?, dispute: super::dispute(disputes, *id)? };
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            entries::answer_refused(db, case, badge, coin(*paid), *reason, ctx)?;
        }
        Op::ShowAcknowledged { db, stack: of, dispute: id, badge, node, voucher, shown } => {
            let case = &mut Case { stack: stack(stacks, *of)?, dispute: super::dispute(disputes, *id)? };
            let acknowledged = Acknowledged {
                node: NodeId(*node),
                units: Units(voucher.units),
                count: voucher.count,
                root: voucher.root.clone(),
                signature: voucher.signature.clone(),
                shown: proven(shown),
            };
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            entries::show_acknowledged(db, case, badge, &acknowledged, ctx)?;
        }
        Op::ExpireDispute { db, stack: of, dispute: id } => {
            let case = &mut Case { stack: stack(stacks, *of)?, dispute: super::dispute(disputes, *id)? };
            entries::expire(at_mut(dbs, *db)?, case, clock_ms, ctx)?;
        }
        _ => return Err(Stop::Missing),
    }
    Ok(())
}

fn request(op: &Op) -> Result<Request, Stop> {
    let Op::OpenDispute { node, hops, nonce, body_hash, max_units, expires_ms, signature, .. } = op else {
        return Err(Stop::Missing);
    };
    Ok(Request {
        node: NodeId(*node),
        hops: *hops,
        nonce: *nonce,
        body_hash: body_hash.clone(),
        max_units: Units(*max_units),
        expires_ms: *expires_ms,
        signature: signature.clone(),
    })
}

fn reveal(op: &Op) -> Result<Reveal, Stop> {
    let Op::RevealRecord { which, shown, location, .. } = op else { return Err(Stop::Missing) };
    Ok(Reveal { which: *which, shown: proven(shown), location: location.clone() })
}

fn opened(op: &Op) -> Result<Opened, Stop> {
    let Op::RevealVerdict { verdicts, digests, salt, .. } = op else { return Err(Stop::Missing) };
    Ok(Opened { verdicts: verdicts.clone(), digests: digests.clone(), salt: salt.clone() })
}
