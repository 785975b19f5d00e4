//! Administration, nodes, models, tasks, offers.

use super::{at, at_mut, coin, node_badge, task_badge};
use crate::op::{Op, Step};
use crate::world::{Stop, World};
use atoma_contract::model::NewModel;
use atoma_contract::node::{Registration, Rotation};
use atoma_contract::offer::Offer;
use atoma_contract::task::NewTask;
use atoma_contract::upgrade::{UpgradeCap, UpgradeReceipt};
use atoma_contract::{Genesis, TxContext, admin, model, node, offer, task, treasury, upgrade};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::AuditTerms;
use atoma_types::{Address, Amount, Hash32, ModelId, NodeId, Price, TaskId, Units};

/// Returns whether the step was one of these.
pub(super) fn call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    Ok(admin_call(world, step, ctx)? || node_call(world, step, ctx)? || offer_call(world, step, ctx)?)
}

fn admin_call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    let clock_ms = step.clock_ms;
    let World { caps, dbs, treasuries, beacons, locks, .. } = world;
    match &step.op {
        Op::NewCap {} => admin::init(ctx),
        Op::Create { cap, params } => {
            let Genesis { db, treasury, beacon } = admin::create(at_mut(caps, *cap)?, params, ctx)?;
            dbs.push(db);
            treasuries.push(treasury);
            beacons.push(beacon);
        }
        Op::SetParams { db, cap, params } => {
            admin::set_params(at_mut(dbs, *db)?, at(caps, *cap)?, params, ctx)?;
        }
        Op::SetPaused { db, cap, paused } => {
            admin::set_paused(at_mut(dbs, *db)?, at(caps, *cap)?, *paused, ctx)?;
        }
        Op::DisableModel { db, cap, model } => {
            admin::disable_model(at_mut(dbs, *db)?, at(caps, *cap)?, ModelId(*model), ctx)?;
        }
        Op::PayFromTreasury { treasury, cap, to, amount } => {
            let treasury = at_mut(treasuries, *treasury)?;
            admin::pay_from_treasury(treasury, at(caps, *cap)?, *to, Amount(*amount), ctx)?;
        }
        Op::Migrate { db, cap } => admin::migrate(at_mut(dbs, *db)?, at(caps, *cap)?, ctx)?,
        Op::MigrateTreasury { db, treasury } => {
            admin::migrate_treasury(at(dbs, *db)?, at_mut(treasuries, *treasury)?, ctx)?;
        }
        Op::MigrateBeacon { db, beacon } => {
            admin::migrate_beacon(at(dbs, *db)?, at_mut(beacons, *beacon)?, ctx)?;
        }
        Op::Lock { db, cap, package } => {
            let held = UpgradeCap { id: upgrade_cap_id(step.tx), package: *package, version: 1, policy: 0 };
            let lock = upgrade::lock(at(dbs, *db)?, at(caps, *cap)?, held, &[PACKAGE], ctx)?;
            locks.push(lock);
        }
        Op::Propose { db, lock, cap, digest } => {
            let (db, lock, cap) = (at(dbs, *db)?, at_mut(locks, *lock)?, at(caps, *cap)?);
            upgrade::propose(db, lock, cap, digest, clock_ms, ctx)?;
        }
        Op::Authorize { .. } => authorize(world, step, ctx)?,
        Op::Cancel { db, lock, cap } => {
            upgrade::cancel(at(dbs, *db)?, at_mut(locks, *lock)?, at(caps, *cap)?, ctx)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Two calls of one transaction: if the second aborts, the first did not happen either.
fn authorize(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<(), Stop> {
    let Op::Authorize { db, lock, cap, commit } = &step.op else { return Err(Stop::Missing) };
    let (mut locks, mut draft) = (world.locks.clone(), ctx.clone());
    let (db, cap) = (at(&world.dbs, *db)?, at(&world.caps, *cap)?);
    at(&locks, *commit)?;
    let ticket = upgrade::authorize(db, at_mut(&mut locks, *lock)?, cap, step.clock_ms, &mut draft)?;
    let package = Hash32::of_parts(&[ticket.cap.as_bytes(), ticket.package.as_bytes()]);
    let receipt = UpgradeReceipt { cap: ticket.cap, package: Address::new(package.0) };
    upgrade::commit(at_mut(&mut locks, *commit)?, receipt, &mut draft)?;
    (world.locks, *ctx) = (locks, draft);
    Ok(())
}

/// Where the Move VM of the tests has the packages.
pub(crate) const PACKAGE: Address = Address::ZERO;

/// Id of the upgrade cap that a transaction brings.
fn upgrade_cap_id(tx: u64) -> Address {
    let mut digest = [0xca; 32];
    digest[..8].copy_from_slice(&tx.to_le_bytes());
    Address::derive_id(sui_sdk_types::Digest::new(digest), 0)
}

fn node_call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    let clock_ms = step.clock_ms;
    let World { dbs, treasuries, node_badges: badges, .. } = world;
    match &step.op {
        Op::Register { db, treasury, coin: paid, payout, endpoint, receipt_key } => {
            let registration = Registration {
                payout: *payout,
                endpoint: endpoint.clone(),
                receipt_key: receipt_key.clone(),
            };
            let (db, treasury) = (at_mut(dbs, *db)?, at_mut(treasuries, *treasury)?);
            node::register(db, treasury, coin(*paid), registration, ctx)?;
        }
        Op::SetEndpoint { db, badge, endpoint } => {
            node::set_endpoint(at_mut(dbs, *db)?, node_badge(badges, *badge)?, endpoint.clone(), ctx)?;
        }
        Op::SetPayout { db, badge, payout } => {
            node::set_payout(at_mut(dbs, *db)?, node_badge(badges, *badge)?, *payout, ctx)?;
        }
        Op::SetAnswerInterval { db, badge, interval_ms } => {
            node::set_answer_interval(at_mut(dbs, *db)?, node_badge(badges, *badge)?, *interval_ms, ctx)?;
        }
        Op::AddCollateral { db, badge, coin: paid } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            node::add_collateral(db, badge, coin(*paid), clock_ms, ctx)?;
        }
        Op::RotateReceiptKey { db, badge, receipt_key } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            node::rotate_receipt_key(db, badge, receipt_key.clone(), ctx)?;
        }
        Op::RotateKey { db, badge, .. } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            node::rotate_key(db, badge, rotation(&step.op)?, clock_ms, ctx)?;
        }
        Op::Disable { db, badge } => {
            node::disable(at_mut(dbs, *db)?, node_badge(badges, *badge)?, clock_ms, ctx)?;
        }
        Op::Exit { db, badge } => node::exit(at_mut(dbs, *db)?, node_badge(badges, *badge)?, clock_ms, ctx)?,
        Op::SettleBookings { db, node } => {
            node::settle_bookings(at_mut(dbs, *db)?, NodeId(*node), clock_ms, ctx)?;
        }
        Op::WithdrawDue { db } => node::withdraw_due(at_mut(dbs, *db)?, ctx)?,
        Op::Collect { db, treasury } => {
            treasury::collect(at_mut(dbs, *db)?, at_mut(treasuries, *treasury)?, ctx)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn rotation(op: &Op) -> Result<Rotation, Stop> {
    let Op::RotateKey { evidence, blob, seal_key, device_types, counter, expires_ms, .. } = op else {
        return Err(Stop::Missing);
    };
    Ok(Rotation {
        evidence: evidence.clone(),
        blob: blob.clone(),
        seal_key: seal_key.clone(),
        device_types: device_types.clone(),
        counter: *counter,
        expires_ms: *expires_ms,
    })
}

fn offer_call(world: &mut World, step: &Step, ctx: &mut TxContext) -> Result<bool, Stop> {
    let clock_ms = step.clock_ms;
    let World { dbs, node_badges: badges, task_badges, .. } = world;
    match &step.op {
        Op::AddModel { db, label, modality, weights_root, creator_fee_permille } => {
            let new = NewModel {
                label: label.clone(),
                modality: *modality,
                weights_root: weights_root.clone(),
                creator_fee_permille: *creator_fee_permille,
            };
            model::add(at_mut(dbs, *db)?, new, ctx)?;
        }
        Op::CreateTask { db, .. } => task::create(at_mut(dbs, *db)?, new_task(&step.op)?, ctx)?,
        Op::DeprecateTask { db, badge } => {
            task::deprecate(at_mut(dbs, *db)?, task_badge(task_badges, *badge)?, ctx)?;
        }
        Op::SetWhitelist { db, badge, nodes } => {
            let nodes = nodes.iter().copied().map(NodeId).collect();
            task::set_whitelist(at_mut(dbs, *db)?, task_badge(task_badges, *badge)?, nodes, ctx)?;
        }
        Op::Subscribe { db, badge, task, price, max_units, echelon, verifier } => {
            let offer = Offer {
                task: TaskId(*task),
                price: Price(*price),
                max_units: Units(*max_units),
                echelon: *echelon,
                verifier: *verifier,
            };
            offer::subscribe(at_mut(dbs, *db)?, node_badge(badges, *badge)?, offer, clock_ms, ctx)?;
        }
        Op::Reprice { db, badge, task, price, max_units } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            offer::reprice(db, badge, TaskId(*task), Price(*price), Units(*max_units), clock_ms, ctx)?;
        }
        Op::SetVerifier { db, badge, task, verifier } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            offer::set_verifier(db, badge, TaskId(*task), *verifier, clock_ms, ctx)?;
        }
        Op::MoveVerifier { db, badge, task } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            offer::move_verifier(db, badge, TaskId(*task), clock_ms, ctx)?;
        }
        Op::Unsubscribe { db, badge, task } => {
            let (db, badge) = (at_mut(dbs, *db)?, node_badge(badges, *badge)?);
            offer::unsubscribe(db, badge, TaskId(*task), clock_ms, ctx)?;
        }
        Op::Evict { db, node, task } => {
            offer::evict(at_mut(dbs, *db)?, NodeId(*node), TaskId(*task), clock_ms, ctx)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn new_task(op: &Op) -> Result<NewTask, Stop> {
    let Op::CreateTask {
        db: _,
        role,
        model,
        level,
        exact,
        price_ceiling,
        weight_input,
        weight_output,
        surcharge_permille,
        min_collateral,
        min_reputation,
        whitelist,
        echelons,
        p_min_ppb,
        p_stat_ppb,
        verifiers,
        records,
        min_claim,
        challenge_ms,
        hold_ms,
    } = op
    else {
        return Err(Stop::Missing);
    };
    Ok(NewTask {
        role: *role,
        model: ModelId(*model),
        level: *level,
        exact: *exact,
        price_ceiling: Price(*price_ceiling),
        weights: UnitWeights { input: *weight_input, output: *weight_output },
        surcharge_permille: *surcharge_permille,
        min_collateral: Amount(*min_collateral),
        min_reputation: *min_reputation,
        whitelist: whitelist.iter().copied().map(NodeId).collect(),
        echelons: echelons.clone(),
        audit: AuditTerms {
            p_min_ppb: *p_min_ppb,
            p_stat_ppb: *p_stat_ppb,
            verifiers: *verifiers,
            records: *records,
            min_claim: Amount(*min_claim),
            challenge_ms: *challenge_ms,
            hold_ms: *hold_ms,
        },
    })
}
