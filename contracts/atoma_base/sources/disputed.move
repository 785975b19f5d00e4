/// What disputes do to a stack: which requests were disputed, how many disputes are open, and the units that they keep.
module atoma_base::disputed;

use atoma_base::errors::{Self, require};
use atoma_base::math;

/// What disputes do to a stack.
public struct Disputed has copy, drop, store {
    /// Units kept for disputes, oldest first.
    reserves: vector<Reserve>,
    /// Request nonces ever disputed.
    nonces: vector<u64>,
    open: u64,
}

/// Units of a channel that a dispute keeps until it ends.
public struct Reserve has copy, drop, store {
    dispute: address,
    node: u64,
    units: u64,
}

/// No dispute yet.
public fun none(): Disputed { Disputed { reserves: vector[], nonces: vector[], open: 0 } }

/// One more is open, which keeps units.
public fun open(self: &mut Disputed, dispute: address, node: u64, units: u64, nonce: u64) {
    self.reserves.push_back(Reserve { dispute, node, units });
    self.nonces.push_back(nonce);
    self.open = self.open + 1;
}

/// One less is open, and keeps nothing any more.
public fun end(self: &mut Disputed, dispute: address) {
    self.open = math::sub(self.open, 1);
    let at = self.index(dispute);
    at.do!(|at| self.reserves.remove(at));
}

/// How many are open.
public fun opened(self: &Disputed): u64 { self.open }

/// How many were ever opened.
public fun ever(self: &Disputed): u64 { self.nonces.length() }

public fun has_nonce(self: &Disputed, nonce: u64): bool { self.nonces.contains(&nonce) }

/// Nothing is open or kept.
public fun is_over(self: &Disputed): bool { self.open == 0 && self.reserves.is_empty() }

public fun reserves(self: &Disputed): &vector<Reserve> { &self.reserves }

/// Units that open disputes keep of a node's channel.
public fun units_of(self: &Disputed, node: u64): u64 {
    let mut units = 0;
    self.reserves.do_ref!(|reserve| if (reserve.node == node) units = math::add(units, reserve.units));
    units
}

/// What the dispute still keeps; settlements may have taken some of it.
public fun units_for(self: &Disputed, dispute: address): u64 {
    let at = self.index(dispute);
    if (at.is_some()) self.reserves[at.destroy_some()].units else 0
}

/// Makes the newest of this node's reserves give up `over` units, from the newest on, and returns those that
/// changed. Aborts `EOverClaimed` if they do not hold as many.
public fun shrink(self: &mut Disputed, node: u64, over: u64): vector<Reserve> {
    let (mut changed, mut left) = (vector[], over);
    let mut i = self.reserves.length();
    while (i > 0 && left > 0) {
        i = i - 1;
        let reserve = &mut self.reserves[i];
        if (reserve.node == node && reserve.units > 0) {
            let taken = reserve.units.min(left);
            reserve.units = reserve.units - taken;
            left = left - taken;
            changed.push_back(*reserve);
        };
    };
    require(left == 0, errors::over_claimed!());
    changed
}

public fun dispute(self: &Reserve): address { self.dispute }

public fun node(self: &Reserve): u64 { self.node }

public fun units(self: &Reserve): u64 { self.units }

fun index(self: &Disputed, dispute: address): Option<u64> {
    self.reserves.find_index!(|reserve| reserve.dispute == dispute)
}
