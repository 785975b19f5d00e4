// A badge that was sold and kept.
// refused: Dereference requires the 'copy' ability
module attacker::a_badge_cannot_be_copied;

use atoma::node::NodeBadge;

public fun a_badge_cannot_be_copied(badge: &NodeBadge): NodeBadge {
    *badge
}
