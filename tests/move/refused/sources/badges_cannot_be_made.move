// A badge of somebody else's node, made by hand.
// refused: can only be instantiated within its defining module
module attacker::badges_cannot_be_made;

use atoma::node::NodeBadge;

public fun badges_cannot_be_made(db: address, ctx: &mut TxContext): NodeBadge {
    NodeBadge { id: object::new(ctx), db, node: 1 }
}
