/// `AtomaDb`: nodes, models, tasks with their lists of offers, the parameters, and all collateral.
module atoma::db;

use atoma_base::errors::{Self, require};
use atoma_base::math;
use atoma_base::params::{Params, PendingParams};
use atoma_base::rows::{Model, Node, Task};
use atoma_base::slots::Market;
use sui::balance::{Self, Balance};
use sui::table::{Self, Table};

/// The shared database. Rows count from 1.
public struct AtomaDb<phantom T> has key {
    id: UID,
    version: u64,
    /// Stops purchases, nothing else.
    paused: bool,
    /// Read them with `params_at`.
    params: Params,
    pending: Option<PendingParams>,
    nodes: Table<u64, Node>,
    models: Table<u64, Model>,
    tasks: Table<u64, Task>,
    /// Offers by task.
    markets: Table<u64, Market>,
    /// What addresses may withdraw.
    dues: Table<address, u64>,
    /// Collateral, bookings and pots of all nodes, the dues, and what is to be burned or collected by the treasury.
    pool: Balance<T>,
    to_burn: u64,
    to_treasury: u64,
    dues_total: u64,
}

/// Version of the package; shared objects of another version are refused, except where money leaves.
public(package) macro fun package_version(): u64 { 1 }

public(package) fun new<T>(params: Params, ctx: &mut TxContext): AtomaDb<T> {
    AtomaDb {
        id: object::new(ctx),
        version: package_version!(),
        paused: false,
        params,
        pending: option::none(),
        nodes: table::new(ctx),
        models: table::new(ctx),
        tasks: table::new(ctx),
        markets: table::new(ctx),
        dues: table::new(ctx),
        pool: balance::zero(),
        to_burn: 0,
        to_treasury: 0,
        dues_total: 0,
    }
}

#[allow(lint(share_owned))]
public(package) fun share<T>(db: AtomaDb<T>) { transfer::share_object(db) }

/// The package's version, if `version` is older.
public(package) fun newer(version: u64): u64 {
    require(version < package_version!(), errors::version!());
    package_version!()
}

public(package) fun addr<T>(self: &AtomaDb<T>): address { self.id.to_address() }

public(package) fun version<T>(self: &AtomaDb<T>): u64 { self.version }

public(package) fun check_version<T>(self: &AtomaDb<T>) { check_package_version(self.version) }

public(package) fun check_package_version(version: u64) { require(version == package_version!(), errors::version!()) }

/// Aborts unless an object of this version belongs to this database.
public(package) fun check_object<T>(self: &AtomaDb<T>, version: u64, db: address) {
    check_package_version(version);
    self.check_db(db);
}

/// Aborts unless what names `db` belongs to this database.
public(package) fun check_db<T>(self: &AtomaDb<T>, db: address) {
    require(db == self.id.to_address(), errors::wrong_db!())
}

public(package) fun migrate<T>(self: &mut AtomaDb<T>) { self.version = newer(self.version) }

public(package) fun paused<T>(self: &AtomaDb<T>): bool { self.paused }

public(package) fun set_paused<T>(self: &mut AtomaDb<T>, paused: bool) { self.paused = paused }

/// The parameters of an epoch: new ones hold from the epoch after the one in which they were set.
public(package) fun params_at<T>(self: &AtomaDb<T>, epoch: u64): &Params {
    if (self.pending.is_some() && self.pending.borrow().pending_epoch() <= epoch) {
        self.pending.borrow().pending_params()
    } else {
        &self.params
    }
}

public(package) fun set_params<T>(self: &mut AtomaDb<T>, present: Params, pending: PendingParams) {
    self.params = present;
    self.pending = option::some(pending);
}

// Rows.

public(package) fun node<T>(self: &AtomaDb<T>, node: u64): &Node {
    require(self.nodes.contains(node), errors::unknown_node!());
    &self.nodes[node]
}

public(package) fun node_mut<T>(self: &mut AtomaDb<T>, node: u64): &mut Node {
    require(self.nodes.contains(node), errors::unknown_node!());
    &mut self.nodes[node]
}

public(package) fun has_node<T>(self: &AtomaDb<T>, node: u64): bool { self.nodes.contains(node) }

public(package) fun nodes<T>(self: &AtomaDb<T>): u64 { self.nodes.length() }

public(package) fun add_node<T>(self: &mut AtomaDb<T>, row: Node) { self.nodes.add(row.id(), row) }

public(package) fun model<T>(self: &AtomaDb<T>, model: u64): &Model {
    require(self.models.contains(model), errors::unknown_model!());
    &self.models[model]
}

public(package) fun model_mut<T>(self: &mut AtomaDb<T>, model: u64): &mut Model {
    require(self.models.contains(model), errors::unknown_model!());
    &mut self.models[model]
}

public(package) fun models<T>(self: &AtomaDb<T>): u64 { self.models.length() }

public(package) fun add_model<T>(self: &mut AtomaDb<T>, model: u64, row: Model) { self.models.add(model, row) }

public(package) fun task<T>(self: &AtomaDb<T>, task: u64): &Task {
    require(self.tasks.contains(task), errors::unknown_task!());
    &self.tasks[task]
}

public(package) fun task_mut<T>(self: &mut AtomaDb<T>, task: u64): &mut Task {
    require(self.tasks.contains(task), errors::unknown_task!());
    &mut self.tasks[task]
}

public(package) fun tasks<T>(self: &AtomaDb<T>): u64 { self.tasks.length() }

public(package) fun add_task<T>(self: &mut AtomaDb<T>, row: Task, market: Market) {
    self.markets.add(row.task_id(), market);
    self.tasks.add(row.task_id(), row);
}

public(package) fun market<T>(self: &AtomaDb<T>, task: u64): &Market {
    require(self.markets.contains(task), errors::unknown_task!());
    &self.markets[task]
}

public(package) fun market_mut<T>(self: &mut AtomaDb<T>, task: u64): &mut Market {
    require(self.markets.contains(task), errors::unknown_task!());
    &mut self.markets[task]
}

// Money.

/// What `to` may withdraw.
public(package) fun due_of<T>(self: &AtomaDb<T>, to: address): u64 {
    if (self.dues.contains(to)) self.dues[to] else 0
}

/// Credits part of the pool to an address. That the pool holds it is the caller's business.
public(package) fun credit<T>(self: &mut AtomaDb<T>, to: address, amount: u64) {
    if (amount == 0) return;
    let due = math::add(self.due_of(to), amount);
    self.dues_total = math::add(self.dues_total, amount);
    if (self.dues.contains(to)) {
        *&mut self.dues[to] = due;
    } else {
        self.dues.add(to, due);
    }
}

/// Takes what `to` is due, if anything, out of the pool.
public(package) fun take_due<T>(self: &mut AtomaDb<T>, to: address): Balance<T> {
    let amount = self.due_of(to);
    require(amount > 0, errors::nothing_due!());
    self.dues_total = math::sub(self.dues_total, amount);
    self.dues.remove(to);
    self.split_pool(amount)
}

public(package) fun join_pool<T>(self: &mut AtomaDb<T>, balance: Balance<T>) {
    math::add(self.pool.value(), balance.value());
    self.pool.join(balance);
}

public(package) fun split_pool<T>(self: &mut AtomaDb<T>, amount: u64): Balance<T> {
    math::sub(self.pool.value(), amount);
    self.pool.split(amount)
}

public(package) fun to_burn<T>(self: &AtomaDb<T>): u64 { self.to_burn }

public(package) fun to_treasury<T>(self: &AtomaDb<T>): u64 { self.to_treasury }

public(package) fun add_to_burn<T>(self: &mut AtomaDb<T>, amount: u64) {
    self.to_burn = math::add(self.to_burn, amount);
}

public(package) fun add_to_treasury<T>(self: &mut AtomaDb<T>, amount: u64) {
    self.to_treasury = math::add(self.to_treasury, amount);
}

/// Takes what is to be burned and what is the treasury's out of the pool.
public(package) fun take_collected<T>(self: &mut AtomaDb<T>): (Balance<T>, Balance<T>) {
    let (burned, treasury) = (self.to_burn, self.to_treasury);
    self.to_burn = 0;
    self.to_treasury = 0;
    (self.split_pool(burned), self.split_pool(treasury))
}

#[test_only]
public fun set_version_for_testing<T>(self: &mut AtomaDb<T>, version: u64) { self.version = version }

#[test_only]
public fun pool<T>(self: &AtomaDb<T>): u64 { self.pool.value() }
