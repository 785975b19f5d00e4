/// Read-only functions, called through simulation.
module atoma::views;

use atoma::db::AtomaDb;
use atoma_base::params::Params;
use atoma_base::rows::{Model, Node, Task};
use atoma_base::slots::{Self, Slot, Subscription};
use atoma::treasury::Treasury;

public fun node<T>(db: &AtomaDb<T>, id: u64): Node { *db.node(id) }

public fun model<T>(db: &AtomaDb<T>, id: u64): Model { *db.model(id) }

public fun task<T>(db: &AtomaDb<T>, id: u64): Task { *db.task(id) }

/// Every subscription to `task`, ended ones included, by node.
public fun subscriptions<T>(db: &AtomaDb<T>, task: u64): vector<Subscription> {
    let market = db.market(task);
    let mut all = vector[];
    db.nodes().do!(|i| if (market.has_subscription(i + 1)) all.push_back(*market.subscription(i + 1)));
    all
}

/// The offers that hold at `epoch`, by echelon and position.
public fun offers<T>(db: &AtomaDb<T>, task: u64, epoch: u64): vector<Slot> {
    let mut echelons = *db.task(task).echelons();
    sort(&mut echelons);
    let mut all = vector[];
    echelons.do!(|echelon| {
        let list = slots::list(db.market(task).lists(), echelon);
        list.size().do!(|i| if (list.slot(i).is_live_at(epoch)) all.push_back(*list.slot(i)));
    });
    all
}

public fun nodes<T>(db: &AtomaDb<T>): vector<Node> { vector::tabulate!(db.nodes(), |i| *db.node(i + 1)) }

public fun tasks<T>(db: &AtomaDb<T>): vector<Task> { vector::tabulate!(db.tasks(), |i| *db.task(i + 1)) }

public fun models<T>(db: &AtomaDb<T>): vector<Model> { vector::tabulate!(db.models(), |i| *db.model(i + 1)) }

/// The parameters of an epoch.
public fun params<T>(db: &AtomaDb<T>, epoch: u64): Params { *db.params_at(epoch) }

/// What the treasury holds, without what was burned.
public fun treasury<T>(treasury: &Treasury<T>): u64 { treasury.value() }

/// Few values: every one is put in its place among those before.
fun sort(values: &mut vector<u64>) {
    values.length().do!(|i| {
        let mut at = i;
        while (at > 0 && values[at - 1] > values[at]) {
            values.swap(at - 1, at);
            at = at - 1;
        };
    });
}
