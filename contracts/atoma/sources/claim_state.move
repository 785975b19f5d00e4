/// Level 2: what a node asks to be paid for, with everything that decides what becomes of it. Data and its sums alone;
/// `claim` and the modules beside it have the rules, and the object that holds the claim has the money.
module atoma::claim_state;

use atoma::audit_state::Audit;
use atoma::errors;
use atoma::math;

/// Units `(from_units, to_units]` of a channel.
public struct Claim has copy, drop, store {
    from_units: u64,
    to_units: u64,
    count: u64,
    root: vector<u8>,
    /// Cost of the units, the creator's fee included.
    amount: u64,
    /// Its share of the stack's surcharge, from which audits are paid first.
    surcharge: u64,
    /// What audits took of surcharge and amount.
    spent: u64,
    p_ppb: u64,
    /// Beacon round that decides, later than the newest when the claim was made.
    round: u64,
    /// The node's convictions when made.
    convictions: u64,
    made_ms: u64,
    /// Sizes of the verifiers' lists when made, one per echelon of the stack.
    sizes: vector<u64>,
    state: u8,
    /// When it became held; the hold counts from here.
    resolved_ms: u64,
    challenged: bool,
    /// The owner's bond while a challenge runs.
    bond: u64,
    audit: Option<Audit>,
}

/// A newer voucher than the running claim's.
public struct Queued has copy, drop, store {
    units: u64,
    count: u64,
    root: vector<u8>,
}

// Where a claim stands.

/// Its beacon round is not resolved yet.
public(package) fun waiting(): u8 { 0 }

/// Not audited, or passed: pays after the hold.
public(package) fun held_state(): u8 { 1 }

public(package) fun audited(): u8 { 2 }

/// The owner challenged a record; the next round seats its verifiers.
public(package) fun challenged_state(): u8 { 3 }

// Claims.

/// A claim that waits for its round.
public(package) fun new_claim(
    from_units: u64,
    to_units: u64,
    count: u64,
    root: vector<u8>,
    amount: u64,
    surcharge: u64,
    p_ppb: u64,
    round: u64,
    convictions: u64,
    made_ms: u64,
    sizes: vector<u64>,
): Claim {
    Claim {
        from_units,
        to_units,
        count,
        root,
        amount,
        surcharge,
        spent: 0,
        p_ppb,
        round,
        convictions,
        made_ms,
        sizes,
        state: waiting(),
        resolved_ms: 0,
        challenged: false,
        bond: 0,
        audit: option::none(),
    }
}

public(package) fun from_units(self: &Claim): u64 { self.from_units }

public(package) fun to_units(self: &Claim): u64 { self.to_units }

public(package) fun count(self: &Claim): u64 { self.count }

public(package) fun root(self: &Claim): &vector<u8> { &self.root }

public(package) fun amount(self: &Claim): u64 { self.amount }

public(package) fun surcharge(self: &Claim): u64 { self.surcharge }

public(package) fun spent(self: &Claim): u64 { self.spent }

public(package) fun p_ppb(self: &Claim): u64 { self.p_ppb }

public(package) fun round(self: &Claim): u64 { self.round }

public(package) fun convictions(self: &Claim): u64 { self.convictions }

public(package) fun made_ms(self: &Claim): u64 { self.made_ms }

public(package) fun sizes(self: &Claim): &vector<u64> { &self.sizes }

public(package) fun state(self: &Claim): u8 { self.state }

public(package) fun resolved_ms(self: &Claim): u64 { self.resolved_ms }

public(package) fun challenged(self: &Claim): bool { self.challenged }

public(package) fun bond(self: &Claim): u64 { self.bond }

public(package) fun audit(self: &Claim): &Option<Audit> { &self.audit }

/// The audit that runs, else `EWrongPhase`.
public(package) fun running(self: &Claim): &Audit {
    assert!(self.state == audited() && self.audit.is_some(), errors::wrong_phase());
    self.audit.borrow()
}

public(package) fun running_mut(self: &mut Claim): &mut Audit {
    assert!(self.state == audited() && self.audit.is_some(), errors::wrong_phase());
    self.audit.borrow_mut()
}

/// The audit that runs, in this phase, else `EWrongPhase`.
public(package) fun running_in(self: &Claim, phase: u8): &Audit {
    let audit = self.running();
    assert!(audit.phase() == phase, errors::wrong_phase());
    audit
}

/// What is left of a claim's amount and surcharge.
public(package) fun money(self: &Claim): u64 { math::sub(math::add(self.amount, self.surcharge), self.spent) }

/// What a claim keeps from being refunded: its money and a challenge's bond.
public(package) fun held(self: &Claim): u64 { math::add(self.money(), self.bond) }

/// What audits took of the amount, the surcharge being used up first.
public(package) fun overspent(self: &Claim): u64 { math::saturating_sub(self.spent, self.surcharge) }

/// Takes up to `wanted` out of the claim's money, then out of the bond; returns what there was.
public(package) fun take(self: &mut Claim, wanted: u64): u64 {
    let from_money = wanted.min(self.money());
    let from_bond = (wanted - from_money).min(self.bond);
    self.spent = math::add(self.spent, from_money);
    self.bond = self.bond - from_bond;
    from_money + from_bond
}

/// The claim is held. A challenge does not start its hold anew. Of an audit only the records stay.
public(package) fun hold(self: &mut Claim, clock_ms: u64) {
    self.state = held_state();
    if (!self.challenged) self.resolved_ms = clock_ms;
    if (self.audit.is_some()) self.audit.borrow_mut().end();
}

/// Its audit runs.
public(package) fun set_audited(self: &mut Claim, audit: Audit) {
    self.state = audited();
    self.audit = option::some(audit);
}

/// It waits for another round, which seats verifiers of now for the challenged record.
public(package) fun challenge(
    self: &mut Claim,
    round: u64,
    made_ms: u64,
    sizes: vector<u64>,
    bond: u64,
    audit: Audit,
) {
    self.state = challenged_state();
    self.challenged = true;
    self.round = round;
    self.made_ms = made_ms;
    self.sizes = sizes;
    self.bond = bond;
    self.audit = option::some(audit);
}

/// The bond leaves the claim; returns what there was.
public(package) fun take_bond(self: &mut Claim): u64 {
    let bond = self.bond;
    self.bond = 0;
    bond
}

// Queued vouchers.

public(package) fun new_queued(units: u64, count: u64, root: vector<u8>): Queued { Queued { units, count, root } }

public(package) fun queued_units(self: &Queued): u64 { self.units }

public(package) fun queued_count(self: &Queued): u64 { self.count }

public(package) fun queued_root(self: &Queued): &vector<u8> { &self.root }
