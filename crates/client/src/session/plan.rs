//! How a stack grows: which nodes are granted more of its units, and how many are bought for that. Pure.
//!
//! Half of what is bought for several nodes is granted at once, in even slices; the rest goes, slice by slice, to
//! those who used most of theirs. So grants follow use, and nothing that was granted must be taken back.

use atoma_types::{NodeId, Price, Units};

/// A stack that may grow.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    /// Bought and not granted to anybody.
    pub(super) ungranted: Units,
    /// Whether more may be bought for it.
    pub(super) may_top_up: bool,
    pub(super) channels: Vec<Part>,
    /// Who could be opened next, the best first.
    pub(super) others: Vec<Candidate>,
}

/// A channel that new requests can use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) node: NodeId,
    pub(super) price: Price,
    pub(super) granted: Units,
    /// Not used yet.
    pub(super) left: Units,
    /// Most that its node takes on, what is granted included; 0 if it offers nothing any more.
    pub(super) most: Units,
    /// Whether it answers well.
    pub(super) is_well: bool,
}

/// A node that has no channel in the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) node: NodeId,
    pub(super) price: Price,
    pub(super) most: Units,
}

/// What a stack should have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Units not used yet.
    pub(super) share: Units,
    /// Permille of that below which it grows.
    pub(super) low_permille: u64,
    /// Nodes over which requests spread.
    pub(super) nodes: usize,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) buy: Units,
    /// Node, all that it is granted then, and the price that it may have.
    pub(super) grants: Vec<(NodeId, Units, Price)>,
}

impl Wish {
    /// What a node is granted at a time.
    fn slice(&self) -> u64 {
        let parts = u64::try_from(self.nodes).unwrap_or(u64::MAX).saturating_mul(2);
        if self.nodes <= 1 { self.share.0 } else { (self.share.0 / parts).max(1) }
    }

    fn is_low(&self, left: u64, of: u64) -> bool {
        u128::from(left) * 1_000 < u128::from(of) * u128::from(self.low_permille)
    }
}

impl Part {
    fn room(&self) -> u64 {
        self.most.0.saturating_sub(self.granted.0)
    }
}

impl Candidate {
    fn as_part(&self) -> Part {
        let Self { node, price, most } = *self;
        Part { node, price, granted: Units::ZERO, left: Units::ZERO, most, is_well: true }
    }
}

impl Holding {
    /// Room for a request of so many units that found none. `None` if only another stack helps.
    pub(super) fn grow_for(&self, request: Units, wish: Wish) -> Option<Growth> {
        let mut parts = self.channels.clone();
        parts.extend(self.others.iter().map(Candidate::as_part));
        parts.sort_by_key(|part| (!part.is_well, u64::MAX - part.left.0));
        parts.into_iter().find_map(|part| {
            let missing = request.0.saturating_sub(part.left.0).max(1);
            let wanted = missing.max(wish.slice()).min(part.room());
            let given = if self.may_top_up { wanted } else { wanted.min(self.ungranted.0) };
            let buy = Units(given.saturating_sub(self.ungranted.0));
            let all = Units(part.granted.0.saturating_add(given));
            (given >= missing).then(|| Growth { buy, grants: vec![(part.node, all, part.price)] })
        })
    }

    /// What is due before anybody lacks anything. `None` if that is nothing, or only another stack helps.
    pub(super) fn grow_ahead(&self, wish: Wish) -> Option<Growth> {
        let mut well: Vec<_> = self.channels.iter().filter(|part| part.is_well).copied().collect();
        well.sort_by_key(|part| part.left);
        let opens = wish.nodes.saturating_sub(well.len());
        let opened: Vec<_> = self.others.iter().take(opens).map(Candidate::as_part).collect();
        let low = |part: &Part| wish.nodes <= 1 || wish.is_low(part.left.0, wish.slice());
        let left = well.iter().fold(self.ungranted.0, |sum, part| sum.saturating_add(part.left.0));
        let room = opened.iter().chain(&well).fold(0u64, |sum, part| sum.saturating_add(part.room()));
        let lacking = if self.may_top_up && wish.is_low(left, wish.share.0) {
            wish.share.0.saturating_sub(left).min(room.saturating_sub(self.ungranted.0))
        } else {
            0
        };
        // A drop is not worth a transaction: another stack is.
        let buy = if wish.is_low(left.saturating_add(lacking), wish.share.0) { 0 } else { lacking };
        let mut purse = self.ungranted.0.saturating_add(buy);
        let mut grants = Vec::new();
        for part in opened.into_iter().chain(well.into_iter().filter(low)) {
            let wanted = if wish.nodes <= 1 { purse } else { wish.slice() };
            let given = wanted.min(purse).min(part.room());
            purse = purse.saturating_sub(given);
            if given > 0 {
                grants.push((part.node, Units(part.granted.0.saturating_add(given)), part.price));
            }
        }
        (buy > 0 || !grants.is_empty()).then_some(Growth { buy: Units(buy), grants })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price(3);

    fn part(node: u64, granted: u64, left: u64) -> Part {
        let (node, granted, left) = (NodeId(node), Units(granted), Units(left));
        Part { node, price: PRICE, granted, left, most: Units(1_000), is_well: true }
    }

    fn other(node: u64) -> Candidate {
        Candidate { node: NodeId(node), price: PRICE, most: Units(1_000) }
    }

    fn wish(nodes: usize) -> Wish {
        Wish { share: Units(400), low_permille: 250, nodes }
    }

    fn growth(buy: u64, grants: &[(u64, u64)]) -> Option<Growth> {
        let grants = grants.iter().map(|(node, units)| (NodeId(*node), Units(*units), PRICE)).collect();
        Some(Growth { buy: Units(buy), grants })
    }

    fn holding(ungranted: u64, channels: &[Part], others: &[u64]) -> Holding {
        let others = others.iter().copied().map(other).collect();
        Holding { ungranted: Units(ungranted), may_top_up: true, channels: channels.to_vec(), others }
    }

    #[test]
    fn a_single_stack_is_topped_up_before_it_is_empty() {
        assert_eq!(holding(0, &[part(1, 400, 100)], &[]).grow_ahead(wish(1)), None);
        assert_eq!(holding(0, &[part(1, 400, 99)], &[]).grow_ahead(wish(1)), growth(301, &[(1, 701)]));
        // Its node takes on no more, or the stack ends soon: another one.
        assert_eq!(holding(0, &[part(1, 990, 9)], &[]).grow_ahead(wish(1)), None);
        let ending = Holding { may_top_up: false, ..holding(0, &[part(1, 400, 9)], &[]) };
        assert_eq!((ending.grow_ahead(wish(1)), ending.grow_for(Units(10), wish(1))), (None, None));
        // What was bought and not granted when a process died is.
        assert_eq!(holding(70, &[part(1, 400, 300)], &[]).grow_ahead(wish(1)), growth(0, &[(1, 470)]));
    }

    #[test]
    fn half_is_granted_in_slices_and_the_rest_goes_where_it_is_used() {
        let new = holding(400, &[], &[1, 2, 3]);
        assert_eq!(new.grow_ahead(wish(2)), growth(0, &[(1, 100), (2, 100)]));
        let used = holding(200, &[part(1, 100, 90), part(2, 100, 24)], &[3]);
        assert_eq!(used.grow_ahead(wish(2)), growth(0, &[(2, 200)]));
        let even = holding(200, &[part(1, 100, 90), part(2, 100, 30)], &[3]);
        assert_eq!(even.grow_ahead(wish(2)), None);
        // Below a quarter of all, more is bought; one that fails is replaced.
        let spent = holding(0, &[part(1, 300, 20), part(2, 100, 60)], &[3]);
        assert_eq!(spent.grow_ahead(wish(2)), growth(320, &[(1, 400)]));
        let failing = Part { is_well: false, ..part(2, 100, 60) };
        let spread = holding(200, &[part(1, 100, 90), failing], &[3]);
        assert_eq!(spread.grow_ahead(wish(2)), growth(0, &[(3, 100)]));
    }

    #[test]
    fn a_request_gets_what_it_lacks_or_a_slice() {
        let held = holding(50, &[part(1, 400, 10)], &[]);
        assert_eq!(held.grow_for(Units(30), wish(1)), growth(350, &[(1, 800)]));
        assert_eq!(held.grow_for(Units(610), wish(1)), growth(550, &[(1, 1_000)]));
        assert_eq!(held.grow_for(Units(611), wish(1)), None);
        let kept = Holding { may_top_up: false, ..held };
        assert_eq!(kept.grow_for(Units(60), wish(1)), growth(0, &[(1, 450)]));
        assert_eq!(kept.grow_for(Units(61), wish(1)), None);
        assert_eq!(holding(100, &[], &[7]).grow_for(Units(9), wish(2)), growth(0, &[(7, 100)]));
    }
}
