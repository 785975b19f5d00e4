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

/// A node's newest subscription to `task`, also if it ended.
public fun subscription<T>(db: &AtomaDb<T>, task: u64, node: u64): Subscription { *db.market(task).subscription(node) }

/// The offers at `count` positions of an echelon's list, from position `from` on, dead ones included; fewer at the
/// end of the list.
public fun offers<T>(db: &AtomaDb<T>, task: u64, echelon: u64, from: u64, count: u64): vector<Slot> {
    let list = slots::list(db.market(task).lists(), echelon);
    page!(from, count, list.size(), |position| *list.slot(position))
}

/// `count` nodes from id `from` on; fewer when there are no more. A transaction reads about a thousand rows.
public fun nodes<T>(db: &AtomaDb<T>, from: u64, count: u64): vector<Node> {
    page!(from.max(1), count, db.nodes() + 1, |id| *db.node(id))
}

public fun tasks<T>(db: &AtomaDb<T>, from: u64, count: u64): vector<Task> {
    page!(from.max(1), count, db.tasks() + 1, |id| *db.task(id))
}

public fun models<T>(db: &AtomaDb<T>, from: u64, count: u64): vector<Model> {
    page!(from.max(1), count, db.models() + 1, |id| *db.model(id))
}

/// The parameters of an epoch.
public fun params<T>(db: &AtomaDb<T>, epoch: u64): Params { *db.params_at(epoch) }

/// What the treasury holds, without what was burned.
public fun treasury<T>(treasury: &Treasury<T>): u64 { treasury.value() }

/// At most `$count` rows from `$from` on and before `$end`.
macro fun page<$Row>($from: u64, $count: u64, $end: u64, $row: |u64| -> $Row): vector<$Row> {
    let (mut at, count, end) = ($from, $count, $end);
    let mut rows = vector[];
    while (at < end && rows.length() < count) {
        rows.push_back($row(at));
        at = at + 1;
    };
    rows
}
