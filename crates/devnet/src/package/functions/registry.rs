//! Administration, the beacon, nodes, models, tasks and offers.

use super::*;
use atoma_contract::admin::{self, AdminCap};
use atoma_contract::model::{self, NewModel};
use atoma_contract::node::{self, Registration, Rotation};
use atoma_contract::offer::{self, Offer};
use atoma_contract::task::{self, NewTask};
use atoma_contract::upgrade::{self, UpgradeLock};
use atoma_contract::{Coin, TaskBadge, Treasury, beacon, treasury};
use atoma_types::NodeId;
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::{Abort, AuditTerms};

pub(super) static FUNCTIONS: &[Function] = &[
    public("admin", "create", &[ADMIN_MUT, U64S], |m| {
        let mut cap: AdminCap = m.object()?;
        let made = admin::create(&mut cap, &m.pure::<Vec<u64>>()?, &mut m.ctx)?;
        m.put(cap.id, &cap)?;
        m.open_market(made)
    }),
    public("admin", "set_params", &[DB_MUT, ADMIN, U64S], |m| {
        as_admin(m, |db, cap, m| admin::set_params(db, cap, &m.pure::<Vec<u64>>()?, &mut m.ctx))
    }),
    public("admin", "set_paused", &[DB_MUT, ADMIN, BOOL], |m| {
        as_admin(m, |db, cap, m| admin::set_paused(db, cap, m.pure()?, &mut m.ctx))
    }),
    public("admin", "disable_model", &[DB_MUT, ADMIN, U64], |m| {
        as_admin(m, |db, cap, m| admin::disable_model(db, cap, m.pure()?, &mut m.ctx))
    }),
    public("admin", "pay_from_treasury", &[TREASURY_MUT, ADMIN, ADDRESS, U64], |m| {
        let mut treasury: Treasury = m.object()?;
        let cap: AdminCap = m.object()?;
        admin::pay_from_treasury(&mut treasury, &cap, m.pure()?, m.pure()?, &mut m.ctx)?;
        m.put(treasury.id, &treasury)
    }),
    public("admin", "migrate", &[DB_MUT, ADMIN], |m| {
        as_admin(m, |db, cap, m| admin::migrate(db, cap, &mut m.ctx))
    }),
    public("admin", "migrate_treasury", &[DB, TREASURY_MUT], |m| {
        let db = m.db()?;
        let mut treasury: Treasury = m.object()?;
        admin::migrate_treasury(&db, &mut treasury, &mut m.ctx)?;
        m.put(treasury.id, &treasury)
    }),
    public("admin", "migrate_beacon", &[DB, BEACON_MUT], |m| {
        let (db, mut beacon) = (m.db()?, m.beacon_mut()?);
        admin::migrate_beacon(&db, &mut beacon, &mut m.ctx)?;
        m.put_beacon(beacon)
    }),
    private("beacon", "beat", &[DB, BEACON_MUT, RANDOM, CLOCK], |m| {
        let (db, mut beacon, seed) = (m.db()?, m.beacon_mut()?, m.random()?);
        beacon::beat(&db, &mut beacon, &seed, m.clock()?, &mut m.ctx)?;
        m.put_beacon(beacon)
    }),
    public("upgrade", "lock", &[DB, ADMIN, UPGRADE_CAP], |m| {
        let db = m.db()?;
        let cap: AdminCap = m.object()?;
        let lock = upgrade::lock(&db, &cap, m.object()?, &m.own_packages(), &mut m.ctx)?;
        m.create(ObjectKind::UpgradeLock, &lock, None)
    }),
    public("upgrade", "propose", &[DB, UPGRADE_LOCK, ADMIN, BYTES, CLOCK], |m| {
        on_lock(m, |db, lock, cap, m| {
            upgrade::propose(db, lock, cap, &m.pure::<Vec<u8>>()?, m.clock()?, &mut m.ctx)
        })
    }),
    Function {
        returns: Returns::Ticket,
        ..public("upgrade", "authorize", &[DB, UPGRADE_LOCK, ADMIN, CLOCK], |m| {
            let mut ticket = None;
            on_lock(m, |db, lock, cap, m| {
                ticket = Some(upgrade::authorize(db, lock, cap, m.clock()?, &mut m.ctx)?);
                Ok(())
            })?;
            ticket.map_or(Err(Abort::NoProposal), |ticket| m.give_back(&ticket))
        })
    },
    Function {
        type_arguments: 0,
        ..public("upgrade", "commit", &[UPGRADE_LOCK, RECEIPT], |m| {
            let mut lock: UpgradeLock = m.object()?;
            upgrade::commit(&mut lock, m.pure()?, &mut m.ctx)?;
            m.put(lock.id, &lock)
        })
    },
    public("upgrade", "cancel", &[DB, UPGRADE_LOCK, ADMIN], |m| {
        on_lock(m, |db, lock, cap, m| upgrade::cancel(db, lock, cap, &mut m.ctx))
    }),
    public("node", "register", &[DB_MUT, TREASURY_MUT, COIN, ADDRESS, STRING, BYTES], |m| {
        on_db(m, |db, m| {
            let mut treasury: Treasury = m.object()?;
            let coin: Coin = m.object()?;
            let new = Registration { payout: m.pure()?, endpoint: m.pure()?, receipt_key: m.pure()? };
            node::register(db, &mut treasury, coin, new, &mut m.ctx)?;
            m.put(treasury.id, &treasury)
        })
    }),
    public("node", "set_endpoint", &[DB_MUT, NODE_BADGE, STRING], |m| {
        as_node(m, |db, badge, m| node::set_endpoint(db, badge, m.pure()?, &mut m.ctx))
    }),
    public("node", "set_payout", &[DB_MUT, NODE_BADGE, ADDRESS], |m| {
        as_node(m, |db, badge, m| node::set_payout(db, badge, m.pure()?, &mut m.ctx))
    }),
    public("node", "set_answer_interval", &[DB_MUT, NODE_BADGE, U64], |m| {
        as_node(m, |db, badge, m| node::set_answer_interval(db, badge, m.pure()?, &mut m.ctx))
    }),
    public("node", "add_collateral", &[DB_MUT, NODE_BADGE, COIN, CLOCK], |m| {
        as_node(m, |db, badge, m| node::add_collateral(db, badge, m.object()?, m.clock()?, &mut m.ctx))
    }),
    public("node", "rotate_receipt_key", &[DB_MUT, NODE_BADGE, BYTES], |m| {
        as_node(m, |db, badge, m| node::rotate_receipt_key(db, badge, m.pure()?, &mut m.ctx))
    }),
    public("node", "rotate_key", &[DB_MUT, NODE_BADGE, BYTES, BYTES, BYTES, BYTES, U64, U64, CLOCK], |m| {
        as_node(m, |db, badge, m| {
            let rotation = Rotation {
                evidence: m.pure()?,
                blob: m.pure()?,
                seal_key: m.pure()?,
                device_types: m.pure()?,
                counter: m.pure()?,
                expires_ms: m.pure()?,
            };
            node::rotate_key(db, badge, rotation, m.clock()?, &mut m.ctx)
        })
    }),
    public("node", "disable", &[DB_MUT, NODE_BADGE, CLOCK], |m| {
        as_node(m, |db, badge, m| node::disable(db, badge, m.clock()?, &mut m.ctx))
    }),
    public("node", "exit", &[DB_MUT, NODE_BADGE, CLOCK], |m| {
        as_node(m, |db, badge, m| node::exit(db, badge, m.clock()?, &mut m.ctx))
    }),
    public("node", "settle_bookings", &[DB_MUT, U64, CLOCK], |m| {
        on_db(m, |db, m| node::settle_bookings(db, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("node", "withdraw_due", &[DB_MUT], |m| on_db(m, |db, m| node::withdraw_due(db, &mut m.ctx))),
    public("model", "add", &[DB_MUT, STRING, U8, BYTES, U64], |m| {
        on_db(m, |db, m| {
            let new = NewModel {
                label: m.pure()?,
                modality: m.pure()?,
                weights_root: m.pure()?,
                creator_fee_permille: m.pure()?,
            };
            model::add(db, new, &mut m.ctx)
        })
    }),
    public("task", "create", TASK_CREATE, |m| {
        on_db(m, |db, m| {
            let new = new_task(m)?;
            task::create(db, new, &mut m.ctx)
        })
    }),
    public("task", "deprecate", &[DB_MUT, TASK_BADGE], |m| {
        on_db(m, |db, m| task::deprecate(db, &m.object::<TaskBadge>()?, &mut m.ctx))
    }),
    public("task", "set_whitelist", &[DB_MUT, TASK_BADGE, U64S], |m| {
        on_db(m, |db, m| {
            let badge: TaskBadge = m.object()?;
            task::set_whitelist(db, &badge, m.pure()?, &mut m.ctx)
        })
    }),
    public("offer", "subscribe", &[DB_MUT, NODE_BADGE, U64, U64, U64, U64, BOOL, CLOCK], |m| {
        as_node(m, |db, badge, m| {
            let offer = Offer {
                task: m.pure()?,
                price: m.pure()?,
                max_units: m.pure()?,
                echelon: m.pure()?,
                verifier: m.pure()?,
            };
            offer::subscribe(db, badge, offer, m.clock()?, &mut m.ctx)
        })
    }),
    public("offer", "reprice", &[DB_MUT, NODE_BADGE, U64, U64, U64, CLOCK], |m| {
        as_node(m, |db, badge, m| {
            offer::reprice(db, badge, m.pure()?, m.pure()?, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public("offer", "set_verifier", &[DB_MUT, NODE_BADGE, U64, BOOL, CLOCK], |m| {
        as_node(m, |db, badge, m| {
            offer::set_verifier(db, badge, m.pure()?, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public("offer", "move_verifier", &[DB_MUT, NODE_BADGE, U64, CLOCK], |m| {
        as_node(m, |db, badge, m| offer::move_verifier(db, badge, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("offer", "unsubscribe", &[DB_MUT, NODE_BADGE, U64, CLOCK], |m| {
        as_node(m, |db, badge, m| offer::unsubscribe(db, badge, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("offer", "evict", &[DB_MUT, U64, U64, CLOCK], |m| {
        on_db(m, |db, m| offer::evict(db, m.pure()?, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("treasury", "collect", &[DB_MUT, TREASURY_MUT], |m| {
        on_db(m, |db, m| {
            let mut held: Treasury = m.object()?;
            treasury::collect(db, &mut held, &mut m.ctx)?;
            m.put(held.id, &held)
        })
    }),
];

/// Role, model, level, exact; ceiling, two weights, surcharge, minimum collateral and reputation; whitelist,
/// echelons; the seven audit terms.
const TASK_CREATE: &[Param] =
    &[DB_MUT, U8, U64, U8, BOOL, U64, U64, U64, U64, U64, U64, U64S, U64S, U64, U64, U64, U64, U64, U64, U64];

fn new_task(m: &mut Machine) -> Step<NewTask> {
    Ok(NewTask {
        role: m.pure()?,
        model: m.pure()?,
        level: m.pure()?,
        exact: m.pure()?,
        price_ceiling: m.pure()?,
        weights: UnitWeights { input: m.pure()?, output: m.pure()? },
        surcharge_permille: m.pure()?,
        min_collateral: m.pure()?,
        min_reputation: m.pure()?,
        whitelist: m.pure::<Vec<NodeId>>()?,
        echelons: m.pure()?,
        audit: AuditTerms {
            p_min_ppb: m.pure()?,
            p_stat_ppb: m.pure()?,
            verifiers: m.pure()?,
            records: m.pure()?,
            min_claim: m.pure()?,
            challenge_ms: m.pure()?,
            hold_ms: m.pure()?,
        },
    })
}

/// For functions that begin `&mut AtomaDb, &AdminCap`.
fn as_admin(m: &mut Machine, run: impl FnOnce(&mut AtomaDb, &AdminCap, &mut Machine) -> Step) -> Step {
    on_db(m, |db, m| {
        let cap = m.object()?;
        run(db, &cap, m)
    })
}

/// For functions that begin `&AtomaDb, &mut UpgradeLock, &AdminCap`.
fn on_lock(
    m: &mut Machine,
    run: impl FnOnce(&AtomaDb, &mut UpgradeLock, &AdminCap, &mut Machine) -> Step,
) -> Step {
    let db = m.db()?;
    let mut lock: UpgradeLock = m.object()?;
    let cap: AdminCap = m.object()?;
    run(&db, &mut lock, &cap, m)?;
    m.put(lock.id, &lock)
}
