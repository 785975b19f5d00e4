/// The data of an audit: what was drawn and shown, who judges it, and where it stands. Data alone; `audit` and
/// the modules beside it have the rules.
module atoma::audit_state;

/// Re-execution of drawn records by drawn verifiers.
public struct Audit has copy, drop, store {
    /// The claim's seed.
    seed: vector<u8>,
    /// Drawn units, each of which names the record that contains it.
    offsets: vector<u64>,
    records: vector<AuditedRecord>,
    /// Verifiers of round 0.
    seats: vector<Seat>,
    /// Verifiers of round 1; empty before.
    jury: vector<Seat>,
    round: u8,
    phase: u8,
    deadline_ms: u64,
    /// When the duty was marked late; 0 if it was not.
    late_ms: u64,
    /// First unused value of the seed, for replacements.
    next_value: u64,
    /// Whether silent seats of this round were replaced.
    replaced: bool,
}

/// A record that was revealed for an audit.
public struct AuditedRecord has copy, drop, store {
    /// H of the record's leaf.
    leaf: vector<u8>,
    units: u64,
    /// The channel's units including this record: it holds `(total_units - units, total_units]`.
    total_units: u64,
    work: vector<u8>,
    /// Where verifiers read the full record.
    location: vector<u8>,
}

/// A verifier in an audit.
public struct Seat has copy, drop, store {
    verifier: u64,
    /// The verdict's commitment; empty before.
    commit: vector<u8>,
    /// One byte per record; empty before.
    verdicts: vector<u8>,
    state: u8,
}

// What an audit waits for.

/// The node's records.
public(package) fun phase_reveal(): u8 { 0 }

public(package) fun phase_commit(): u8 { 1 }

public(package) fun phase_verdict(): u8 { 2 }

// What a seated verifier did.

public(package) fun seated(): u8 { 0 }

public(package) fun committed(): u8 { 1 }

public(package) fun revealed(): u8 { 2 }

public(package) fun silent(): u8 { 3 }

// Audits.

/// An audit in which nobody sits yet. The first values of the seed went to the offsets.
public(package) fun new(seed: vector<u8>, offsets: vector<u64>): Audit {
    let next_value = offsets.length();
    Audit {
        seed,
        offsets,
        records: vector[],
        seats: vector[],
        jury: vector[],
        round: 0,
        phase: phase_reveal(),
        deadline_ms: 0,
        late_ms: 0,
        next_value,
        replaced: false,
    }
}

public(package) fun seed(self: &Audit): &vector<u8> { &self.seed }

public(package) fun offsets(self: &Audit): &vector<u64> { &self.offsets }

public(package) fun records(self: &Audit): &vector<AuditedRecord> { &self.records }

public(package) fun seats(self: &Audit): &vector<Seat> { &self.seats }

public(package) fun jury(self: &Audit): &vector<Seat> { &self.jury }

public(package) fun round(self: &Audit): u8 { self.round }

public(package) fun phase(self: &Audit): u8 { self.phase }

public(package) fun deadline_ms(self: &Audit): u64 { self.deadline_ms }

public(package) fun late_ms(self: &Audit): u64 { self.late_ms }

public(package) fun replaced(self: &Audit): bool { self.replaced }

/// Whether a revealed record contains the unit.
public(package) fun is_met(self: &Audit, offset: u64): bool {
    self.records.any!(|shown| contains(shown.units, shown.total_units, offset))
}

/// Whether unit `offset` belongs to the record that ends at `total` and has `units`.
public(package) fun contains(units: u64, total: u64, offset: u64): bool {
    let start = if (total > units) total - units else 0;
    offset <= total && offset > start
}

/// The index of the first unused value; it counts as used.
public(package) fun take_value(self: &mut Audit): u64 {
    let index = self.next_value;
    self.next_value = index + 1;
    index
}

public(package) fun add_record(self: &mut Audit, record: AuditedRecord) { self.records.push_back(record) }

/// The next phase begins; nobody is late in it.
public(package) fun start_phase(self: &mut Audit, phase: u8, deadline_ms: u64) {
    self.phase = phase;
    self.deadline_ms = deadline_ms;
    self.late_ms = 0;
}

public(package) fun set_late(self: &mut Audit, late_ms: u64) { self.late_ms = late_ms }

/// Silent seats of this round were replaced: verifiers have another window.
public(package) fun set_replaced(self: &mut Audit, deadline_ms: u64) {
    self.replaced = true;
    self.deadline_ms = deadline_ms;
    self.late_ms = 0;
}

/// The verifiers of round 0 sit, and the node reveals.
public(package) fun seat_first(self: &mut Audit, verifiers: &vector<u64>, deadline_ms: u64) {
    self.seats = new_seats(verifiers);
    self.deadline_ms = deadline_ms;
}

/// From here on values are drawn from another seed.
public(package) fun reseed(self: &mut Audit, seed: vector<u8>) {
    self.seed = seed;
    self.next_value = 0;
}

/// Round 1 begins: the node reveals anew, the keys wrapped to the jury.
public(package) fun seat_jury(self: &mut Audit, verifiers: &vector<u64>, deadline_ms: u64) {
    self.jury = new_seats(verifiers);
    self.round = 1;
    self.replaced = false;
    self.records = vector[];
    self.start_phase(phase_reveal(), deadline_ms);
}

/// The audit is over. Only the records stay, which cannot be challenged again.
public(package) fun end(self: &mut Audit) {
    self.phase = phase_verdict();
    self.seats = vector[];
    self.jury = vector[];
}

// Records.

public(package) fun new_record(
    leaf: vector<u8>,
    units: u64,
    total_units: u64,
    work: vector<u8>,
    location: vector<u8>,
): AuditedRecord {
    AuditedRecord { leaf, units, total_units, work, location }
}

public(package) fun record_units(self: &AuditedRecord): u64 { self.units }

public(package) fun work(self: &AuditedRecord): &vector<u8> { &self.work }

// Seats.

/// The seats of the round that runs.
public(package) fun current(self: &Audit): &vector<Seat> { if (self.round == 0) &self.seats else &self.jury }

public(package) fun current_mut(self: &mut Audit): &mut vector<Seat> {
    if (self.round == 0) &mut self.seats else &mut self.jury
}

/// More seats in the round that runs.
public(package) fun add_seats(self: &mut Audit, verifiers: &vector<u64>) {
    self.current_mut().append(new_seats(verifiers))
}

/// Verifiers of the running round in `state`.
public(package) fun in_state(self: &Audit, state: u8): vector<u64> {
    let mut verifiers = vector[];
    self.current().do_ref!(|seat| if (seat.state == state) verifiers.push_back(seat.verifier));
    verifiers
}

/// Whether the verifier has or had a seat in either round.
public(package) fun sits(self: &Audit, verifier: u64): bool {
    self.seats.any!(|seat| seat.verifier == verifier) || self.jury.any!(|seat| seat.verifier == verifier)
}

public(package) fun verifier(self: &Seat): u64 { self.verifier }

public(package) fun commit(self: &Seat): &vector<u8> { &self.commit }

public(package) fun verdicts(self: &Seat): &vector<u8> { &self.verdicts }

public(package) fun state(self: &Seat): u8 { self.state }

public(package) fun set_committed(self: &mut Seat, commit: vector<u8>) {
    self.state = committed();
    self.commit = commit;
}

public(package) fun set_revealed(self: &mut Seat, verdicts: vector<u8>) {
    self.state = revealed();
    self.verdicts = verdicts;
}

/// Seats of the running round that did not commit lose their say.
public(package) fun silence(self: &mut Audit) {
    self.current_mut().do_mut!(|seat| if (seat.state == seated()) seat.state = silent());
}

fun new_seats(verifiers: &vector<u64>): vector<Seat> {
    verifiers.map_ref!(|verifier| Seat {
        verifier: *verifier,
        commit: vector[],
        verdicts: vector[],
        state: seated(),
    })
}
