/// The driver's calls that need no stack: the administrator's, the nodes', and those on tasks and offers. No coin comes
/// back in hand from any of them.
#[test_only]
module atoma::driver_registry;

use atoma::admin::{Self, AdminCap};
use atoma::beacon::Beacon;
use atoma::db::AtomaDb;
use atoma::driver_args::{Self as args, Tx};
use atoma::model;
use atoma::node::{Self, NodeBadge};
use atoma::offer;
use atoma::task::{Self, TaskBadge};
use atoma::treasury::{Self, Treasury};
use atoma::upgrade::{Self, UpgradeLock};
use sui::bcs::BCS;
use sui::clock::Clock;
use sui::package;
use sui::sui::SUI;

/// Calls of the administrator.
public fun admin_call(
    clock: &Clock,
    caps: &mut vector<AdminCap>,
    dbs: &mut vector<AtomaDb<SUI>>,
    treasuries: &mut vector<Treasury<SUI>>,
    beacons: &mut vector<Beacon>,
    locks: &mut vector<UpgradeLock>,
    tx: &Tx,
    tag: u32,
    b: &mut BCS,
) {
    if (tag == 0) {
        let mut ctx = tx.begin();
        caps.push_back(admin::new_cap(&mut ctx));
        return
    };
    let at = args::peel_index(b);
    if (tag == 1) {
        let (db, treasury, beacon) = admin::create_impl(&mut caps[at], b.peel_vec_u64(), &mut tx.begin());
        dbs.push_back(db);
        treasuries.push_back(treasury);
        beacons.push_back(beacon);
        return
    };
    let other = args::peel_index(b);
    if (tag == 5) {
        let (to, amount) = (b.peel_address(), b.peel_u64());
        let mut ctx = tx.begin();
        admin::pay_from_treasury(&mut treasuries[at], &caps[other], to, amount, &mut ctx);
        return
    };
    if (tag == 7) {
        admin::migrate_treasury(&dbs[at], &mut treasuries[other]);
        return
    };
    if (tag == 8) {
        admin::migrate_beacon(&dbs[at], &mut beacons[other]);
        return
    };
    if (tag == 9) {
        let cap = tx.upgrade_cap(b.peel_address());
        let lock = upgrade::lock_impl(&dbs[at], &caps[other], cap, &mut tx.begin());
        locks.push_back(lock);
        return
    };
    if (tag >= 10) return upgrade_call(clock, caps, dbs, locks, tx, tag, at, other, b);
    let (db, cap) = (&mut dbs[at], &caps[other]);
    match (tag) {
        2 => admin::set_params(db, cap, b.peel_vec_u64(), &tx.begin()),
        3 => admin::set_paused(db, cap, b.peel_bool()),
        4 => admin::disable_model(db, cap, b.peel_u64()),
        _ => admin::migrate(db, cap),
    }
}

fun upgrade_call(
    clock: &Clock,
    caps: &vector<AdminCap>,
    dbs: &vector<AtomaDb<SUI>>,
    locks: &mut vector<UpgradeLock>,
    tx: &Tx,
    tag: u32,
    at: u64,
    lock: u64,
    b: &mut BCS,
) {
    let cap = args::peel_index(b);
    let (db, cap) = (&dbs[at], &caps[cap]);
    match (tag) {
        10 => upgrade::propose(db, &mut locks[lock], cap, b.peel_vec_u8(), clock, &tx.begin()),
        11 => {
            let commit = args::peel_index(b);
            let ticket = upgrade::authorize(db, &mut locks[lock], cap, clock, &tx.begin());
            upgrade::commit(&mut locks[commit], package::test_upgrade(ticket));
        },
        _ => upgrade::cancel(db, &mut locks[lock], cap),
    }
}

/// Calls of nodes' owners, on the database.
public fun node_call(
    clock: &Clock,
    dbs: &mut vector<AtomaDb<SUI>>,
    treasuries: &mut vector<Treasury<SUI>>,
    badges: &vector<NodeBadge>,
    tx: &Tx,
    tag: u32,
    b: &mut BCS,
) {
    let db = &mut dbs[args::peel_index(b)];
    if (tag == 13) {
        let treasury = &mut treasuries[args::peel_index(b)];
        let coin = args::coin(b.peel_u64());
        let (payout, endpoint, key) = (b.peel_address(), args::peel_string(b), b.peel_vec_u8());
        node::register(db, treasury, coin, payout, endpoint, key, &mut tx.begin());
        return
    };
    if (tag == 22) {
        node::settle_bookings(db, b.peel_u64(), clock);
        return
    };
    if (tag == 23) {
        node::withdraw_due(db, &mut tx.begin());
        return
    };
    if (tag == 24) {
        treasury::collect(db, &mut treasuries[args::peel_index(b)]);
        return
    };
    let badge = &badges[args::peel_badge(b)];
    match (tag) {
        14 => node::set_endpoint(db, badge, args::peel_string(b), &tx.begin()),
        15 => node::set_payout(db, badge, b.peel_address(), &tx.begin()),
        16 => node::set_answer_interval(db, badge, b.peel_u64(), &tx.begin()),
        17 => {
            let coin = args::coin(b.peel_u64());
            node::add_collateral(db, badge, coin, clock, &tx.begin())
        },
        18 => node::rotate_receipt_key(db, badge, b.peel_vec_u8(), &tx.begin()),
        19 => {
            let (evidence, blob, seal_key) = (b.peel_vec_u8(), b.peel_vec_u8(), b.peel_vec_u8());
            let (device_types, counter, expires_ms) = (b.peel_vec_u8(), b.peel_u64(), b.peel_u64());
            node::rotate_key(
                db,
                badge,
                evidence,
                blob,
                seal_key,
                device_types,
                counter,
                expires_ms,
                clock,
                &tx.begin(),
            )
        },
        20 => node::disable(db, badge, clock, &tx.begin()),
        _ => node::exit(db, badge, clock, &mut tx.begin()),
    }
}

/// Calls on models, tasks and offers.
public fun offer_call(
    clock: &Clock,
    dbs: &mut vector<AtomaDb<SUI>>,
    node_badges: &vector<NodeBadge>,
    task_badges: &vector<TaskBadge>,
    tx: &Tx,
    tag: u32,
    b: &mut BCS,
) {
    let db = &mut dbs[args::peel_index(b)];
    if (tag == 25) {
        let (label, modality) = (args::peel_string(b), b.peel_u8());
        model::add(db, label, modality, b.peel_vec_u8(), b.peel_u64(), &tx.begin());
        return
    };
    if (tag == 26) {
        new_task(db, tx, b);
        return
    };
    if (tag == 34) {
        let (node, task) = (b.peel_u64(), b.peel_u64());
        offer::evict(db, node, task, clock, &tx.begin());
        return
    };
    let at = args::peel_badge(b);
    if (tag < 29) {
        let badge = &task_badges[at];
        if (tag == 27) task::deprecate(db, badge) else task::set_whitelist(db, badge, b.peel_vec_u64());
        return
    };
    let badge = &node_badges[at];
    let task = b.peel_u64();
    match (tag) {
        29 => {
            let (price, max_units, echelon, verifier) = (b.peel_u64(), b.peel_u64(), b.peel_u64(), b.peel_bool());
            offer::subscribe(db, badge, task, price, max_units, echelon, verifier, clock, &tx.begin())
        },
        30 => {
            let (price, max_units) = (b.peel_u64(), b.peel_u64());
            offer::reprice(db, badge, task, price, max_units, clock, &tx.begin())
        },
        31 => offer::set_verifier(db, badge, task, b.peel_bool(), clock, &tx.begin()),
        32 => offer::move_verifier(db, badge, task, clock, &tx.begin()),
        _ => offer::unsubscribe(db, badge, task, clock, &tx.begin()),
    }
}

fun new_task(db: &mut AtomaDb<SUI>, tx: &Tx, b: &mut BCS) {
    let (role, model, level, exact) = (b.peel_u8(), b.peel_u64(), b.peel_u8(), b.peel_bool());
    let price_ceiling = b.peel_u64();
    let (input, output) = (b.peel_u64(), b.peel_u64());
    let (surcharge_permille, min_collateral, min_reputation) = (b.peel_u64(), b.peel_u64(), b.peel_u64());
    let (whitelist, echelons) = (b.peel_vec_u64(), b.peel_vec_u64());
    let (p_min_ppb, p_stat_ppb, verifiers, records) = (b.peel_u64(), b.peel_u64(), b.peel_u64(), b.peel_u64());
    let (min_claim, challenge_ms, hold_ms) = (b.peel_u64(), b.peel_u64(), b.peel_u64());
    task::create(
        db,
        role,
        model,
        level,
        exact,
        price_ceiling,
        input,
        output,
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
        &mut tx.begin(),
    )
}
