/// What the functions on a claim need from the object that holds it, and what they leave for it to do.
///
/// Claims stand in a stack's channels and in disputes. What both share works on the `Claim` with its `Terms` and
/// returns a `Step` to the object that holds it, which moves the money.
module atoma::terms;

use atoma::params::Params;

/// The terms of a stack's or dispute's claim. Copies: what runs is judged by what it was made under.
public struct Terms has copy, drop {
    /// The stack or dispute; seeds and commitments are bound to it.
    target: address,
    /// Buyer of the units: gets bonds and compensation.
    owner: address,
    node: u64,
    task: u64,
    exact: bool,
    price: u64,
    /// Whose verifiers are drawn, their lists laid end to end.
    echelons: vector<u64>,
    params: Params,
}

/// What a step leaves to the object that holds the claim: its balance and dues.
public struct Step has drop {
    /// Whom to credit, and what, in order.
    to: vector<address>,
    amounts: vector<u64>,
    /// Leaves as the caller's coin.
    to_caller: u64,
    ending: u8,
}

// What became of a claim.

/// It goes on.
const NONE: u8 = 0;
/// Its money is escrow again.
const VOID: u8 = 1;
/// The same, and the node served its last.
const CONVICTED: u8 = 2;

public(package) fun new(
    target: address,
    owner: address,
    node: u64,
    task: u64,
    exact: bool,
    price: u64,
    echelons: vector<u64>,
    params: Params,
): Terms {
    Terms { target, owner, node, task, exact, price, echelons, params }
}

public(package) fun target(self: &Terms): address { self.target }

public(package) fun owner(self: &Terms): address { self.owner }

public(package) fun node(self: &Terms): u64 { self.node }

public(package) fun task(self: &Terms): u64 { self.task }

public(package) fun exact(self: &Terms): bool { self.exact }

public(package) fun price(self: &Terms): u64 { self.price }

public(package) fun echelons(self: &Terms): &vector<u64> { &self.echelons }

public(package) fun params(self: &Terms): &Params { &self.params }

/// A step after which the claim goes on, and which moves nothing yet.
public(package) fun step(): Step { Step { to: vector[], amounts: vector[], to_caller: 0, ending: NONE } }

public(package) fun credit(self: &mut Step, to: address, amount: u64) {
    self.to.push_back(to);
    self.amounts.push_back(amount);
}

public(package) fun pay_caller(self: &mut Step, amount: u64) { self.to_caller = amount }

public(package) fun end_void(self: &mut Step) { self.ending = VOID }

public(package) fun end_convicted(self: &mut Step) { self.ending = CONVICTED }

/// Whom to credit, and what, in order.
public(package) fun credits(self: &Step): (&vector<address>, &vector<u64>) { (&self.to, &self.amounts) }

public(package) fun to_caller(self: &Step): u64 { self.to_caller }

/// Whether the claim ended.
public(package) fun is_over(self: &Step): bool { self.ending != NONE }

public(package) fun is_convicted(self: &Step): bool { self.ending == CONVICTED }
