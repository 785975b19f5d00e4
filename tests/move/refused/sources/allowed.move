// What any package may do; it shows that the others are refused for what they do.
module attacker::allowed;

use atoma::db::AtomaDb;
use atoma::node::{Self, NodeBadge};
use atoma::stack::{Self, Stack};
use sui::clock::Clock;
use sui::sui::SUI;

public fun leave_and_close(
    db: &mut AtomaDb<SUI>,
    badge: &NodeBadge,
    stack: &mut Stack<SUI>,
    clock: &Clock,
    ctx: &TxContext,
) {
    node::disable(db, badge, clock, ctx);
    stack::request_close(stack, clock, ctx)
}
