//! Stacks and the beacon.

use super::{at, at_mut, coin, node_badge, settlement, stack};
use crate::op::{Op, Step};
use crate::world::{Stop, World};
use atoma_contract::stack::{Opening, Purchase};
use atoma_contract::{TxContext, beacon, stack as entries};
use atoma_types::{NodeId, Price, TaskId, Units};

/// Returns whether the step was one of these.
pub(super) fn call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    let clock_ms = step.clock_ms;
    let World { dbs, treasuries, beacons, stacks, node_badges: badges, .. } = world;
    match &step.op {
        Op::Acquire { db, seed, coin: paid, .. } => {
            entries::acquire(at(dbs, *db)?, seed, coin(*paid), purchase(&step.op)?, clock_ms, ctx)?;
        }
        Op::TopUp { db, stack: id, coin: paid, units } => {
            let (db, stack) = (at(dbs, *db)?, stack(stacks, *id)?);
            entries::top_up(db, stack, coin(*paid), Units(*units), clock_ms, ctx)?;
        }
        Op::OpenChannel { db, stack: id, node, units, max_price, nonce, signature } => {
            let opening = Opening {
                node: NodeId(*node),
                units: Units(*units),
                max_price: Price(*max_price),
                nonce: *nonce,
                signature: signature.clone(),
            };
            entries::open_channel(at(dbs, *db)?, stack(stacks, *id)?, opening, clock_ms, ctx)?;
        }
        Op::Settle { db, stack: id, node, voucher } => {
            let (db, stack) = (at(dbs, *db)?, stack(stacks, *id)?);
            entries::settle(db, stack, settlement(*node, voucher), clock_ms, ctx)?;
        }
        Op::RevokeChannel { stack: id, node } => {
            entries::revoke_channel(stack(stacks, *id)?, NodeId(*node), clock_ms, ctx)?;
        }
        Op::ReleaseChannel { db, stack: id, badge } => {
            let (db, stack, badge) = (at(dbs, *db)?, stack(stacks, *id)?, node_badge(badges, *badge)?);
            entries::release_channel(db, stack, badge, clock_ms, ctx)?;
        }
        Op::Reclaim { db, stack: id, node } => {
            entries::reclaim(at(dbs, *db)?, stack(stacks, *id)?, NodeId(*node), clock_ms, ctx)?;
        }
        Op::RequestClose { stack: id } => entries::request_close(stack(stacks, *id)?, clock_ms, ctx)?,
        Op::Refund { stack: id } => entries::refund(stack(stacks, *id)?, clock_ms, ctx)?,
        Op::Withdraw { stack: id } => entries::withdraw(stack(stacks, *id)?, clock_ms, ctx)?,
        Op::Sweep { stack: id, treasury } => {
            entries::sweep(stack(stacks, *id)?, at_mut(treasuries, *treasury)?, clock_ms, ctx)?;
        }
        Op::MigrateStack { db, stack: id } => entries::migrate(at(dbs, *db)?, stack(stacks, *id)?, ctx)?,
        Op::Beat { db, beacon: at_beacon, seed } => {
            beacon::beat(at(dbs, *db)?, at_mut(beacons, *at_beacon)?, seed, clock_ms, ctx)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn purchase(op: &Op) -> Result<Purchase, Stop> {
    let Op::Acquire { task, request_key, units, max_price, selection, nodes, max_opens, echelons, .. } = op
    else {
        return Err(Stop::Missing);
    };
    Ok(Purchase {
        task: TaskId(*task),
        request_key: request_key.clone(),
        units: Units(*units),
        max_price: Price(*max_price),
        selection: *selection,
        nodes: *nodes,
        max_opens: *max_opens,
        echelons: echelons.clone(),
    })
}
