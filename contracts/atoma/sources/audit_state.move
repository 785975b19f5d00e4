/// An audit: what was drawn and shown, who judges it, where it stands, and the steps that need nothing but the audit
/// itself. How it ends is in `claim_audit`.
module atoma::audit_state;

use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::math;
use atoma_base::message;
use atoma_base::params::Terms;
use std::bcs;
use sui::hash;

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
    units: u64,
    /// The channel's units including this record: it holds `(total_units - units, total_units]`.
    total_units: u64,
    work: vector<u8>,
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

// A verdict on one record.

const PASS: u8 = 0;
const FAIL: u8 = 1;
const UNREADABLE: u8 = 2;
/// The input is not self-contained.
const INCONCLUSIVE: u8 = 3;

// What an audit waits for.

/// The node's records.
public(package) macro fun phase_reveal(): u8 { 0 }

public(package) macro fun phase_commit(): u8 { 1 }

public(package) macro fun phase_verdict(): u8 { 2 }

// What a seated verifier did.

public(package) macro fun seated(): u8 { 0 }

public(package) macro fun committed(): u8 { 1 }

public(package) macro fun revealed(): u8 { 2 }

public(package) macro fun silent(): u8 { 3 }

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
        phase: phase_reveal!(),
        deadline_ms: 0,
        late_ms: 0,
        next_value,
        replaced: false,
    }
}

public(package) fun seed(self: &Audit): &vector<u8> { &self.seed }

public(package) fun offsets(self: &Audit): &vector<u64> { &self.offsets }

public(package) fun records(self: &Audit): &vector<AuditedRecord> { &self.records }

public(package) fun round(self: &Audit): u8 { self.round }

public(package) fun phase(self: &Audit): u8 { self.phase }

public(package) fun late_ms(self: &Audit): u64 { self.late_ms }

public(package) fun replaced(self: &Audit): bool { self.replaced }

/// Aborts `EWrongPhase` unless the audit is in this phase.
public(package) fun check_phase(self: &Audit, phase: u8) { require(self.phase == phase, errors::wrong_phase!()) }

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

/// The next phase begins; nobody is late in it.
public(package) fun start_phase(self: &mut Audit, phase: u8, deadline_ms: u64) {
    self.phase = phase;
    self.deadline_ms = deadline_ms;
    self.late_ms = 0;
}

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
    self.start_phase(phase_reveal!(), deadline_ms);
}

/// The audit is over. Only the records stay, which cannot be challenged again.
public(package) fun end(self: &mut Audit) {
    self.phase = phase_verdict!();
    self.seats = vector[];
    self.jury = vector[];
}

// Records.

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

public(package) fun set_committed(self: &mut Seat, commit: vector<u8>) {
    self.state = committed!();
    self.commit = commit;
}

public(package) fun set_revealed(self: &mut Seat, verdicts: vector<u8>) {
    self.state = revealed!();
    self.verdicts = verdicts;
}

/// Seats of the running round that did not commit lose their say.
public(package) fun silence(self: &mut Audit) {
    self.current_mut().do_mut!(|seat| if (seat.state == seated!()) seat.state = silent!());
}

fun new_seats(verifiers: &vector<u64>): vector<Seat> {
    verifiers.map_ref!(|verifier| Seat {
        verifier: *verifier,
        commit: vector[],
        verdicts: vector[],
        state: seated!(),
    })
}

// The node shows what was drawn.

/// Proves the record that a drawn unit belongs to. An offset in a record shown already is met by that; once all are
/// met, verifiers commit.
public(package) fun reveal_record(
    audit: &mut Audit,
    terms: &Terms,
    count: u64,
    root: &vector<u8>,
    to_units: u64,
    which: u64,
    record: vector<u8>,
    index: u64,
    proof: &vector<vector<u8>>,
    location: vector<u8>,
    clock_ms: u64,
) {
    audit.check_phase(phase_reveal!());
    let offset = offset_of(audit, which);
    require(location.length() <= limits::location_bytes_max!(), errors::bad_argument!());
    require(!audit.is_met(offset), errors::already_done!());
    let shown = message::prove(record, index, proof, count, root);
    let (units, total_units) = (shown.units(), shown.total_units());
    require(shown.fits(to_units) && contains(units, total_units, offset), errors::bad_proof!());
    let deadline_ms = math::add(clock_ms, terms.params().commit_ms());

    let round = audit.round;
    events::record_revealed(
        terms.target(),
        terms.node(),
        round,
        which,
        record,
        index,
        location,
        units,
        total_units,
    );
    audit.records.push_back(AuditedRecord { units, total_units, work: *shown.work() });
    if (audit.offsets.all!(|offset| audit.is_met(*offset))) {
        audit.start_phase(phase_commit!(), deadline_ms);
        events::commits_opened(terms.target(), terms.node(), round, deadline_ms);
    };
}

/// Publishes a part of a drawn record on chain, for verifiers who cannot read its blob. Stores nothing.
public(package) fun post_part(audit: &Audit, terms: &Terms, which: u64, part: vector<u8>) {
    require(audit.phase != phase_verdict!(), errors::wrong_phase!());
    offset_of(audit, which);
    require(!part.is_empty() && part.length() <= limits::part_bytes_max!(), errors::bad_argument!());

    events::record_part(terms.target(), terms.node(), which, part);
}

fun offset_of(audit: &Audit, which: u64): u64 {
    require(which < audit.offsets.length(), errors::bad_argument!());
    audit.offsets[which]
}

// Verifiers commit to a verdict, and reveal it when all have committed.

/// Bytes of a salt; fixed, so that a commitment opens in one way only.
const SALT_BYTES: u64 = 32;
/// A pass of an exact task brings its round's digest and the hash of the other's.
const DIGEST_BYTES: u64 = 64;
const HASH_BYTES: u64 = 32;

/// Seals a seat's verdict; the last of the round opens the revealing.
public(package) fun commit_verdict(
    audit: &mut Audit,
    terms: &Terms,
    verifier: u64,
    commit: vector<u8>,
    clock_ms: u64,
) {
    audit.check_phase(phase_commit!());
    let index = seat_of(audit, verifier);
    require(audit.current()[index].state == seated!(), errors::already_committed!());
    limits::check_hash(&commit);
    let deadline_ms = verdict_deadline_ms(terms, clock_ms);

    audit.current_mut()[index].set_committed(commit);
    events::verdict_committed(terms.target(), terms.node(), audit.round, verifier, commit);
    if (audit.in_state(seated!()).is_empty()) audit.open_verdicts(terms, deadline_ms);
}

public(package) fun verdict_deadline_ms(terms: &Terms, clock_ms: u64): u64 {
    math::add(clock_ms, terms.params().verdict_ms())
}

/// Every seat committed, or is dropped.
public(package) fun open_verdicts(audit: &mut Audit, terms: &Terms, deadline_ms: u64) {
    audit.start_phase(phase_verdict!(), deadline_ms);
    events::verdicts_opened(terms.target(), terms.node(), audit.round, deadline_ms);
}

/// Opens a seat's verdict; says whether it was the round's last. `verdicts` has one byte per record; `digests`, for
/// each pass of an exact task, in order, `D_j ‖ H(D_other)`.
public(package) fun reveal_verdict(
    audit: &mut Audit,
    terms: &Terms,
    count: u64,
    verifier: u64,
    verdicts: vector<u8>,
    digests: vector<u8>,
    salt: vector<u8>,
): bool {
    audit.check_phase(phase_verdict!());
    let index = seat_of(audit, verifier);
    check_opened(audit, terms, count, &audit.current()[index], &verdicts, &digests, &salt);

    audit.current_mut()[index].set_revealed(verdicts);
    events::verdict_revealed(terms.target(), terms.node(), audit.round, verifier, verdicts, digests, salt);
    audit.in_state(committed!()).is_empty()
}

/// What a verifier commits to.
public(package) fun commitment(
    target: address,
    count: u64,
    round: u8,
    verifier: u64,
    verdicts: &vector<u8>,
    digests: &vector<u8>,
    salt: &vector<u8>,
): vector<u8> {
    let mut bytes = bcs::to_bytes(&target);
    bytes.append(bcs::to_bytes(&count));
    bytes.push_back(round);
    bytes.append(bcs::to_bytes(&verifier));
    bytes.append(*verdicts);
    bytes.append(*digests);
    bytes.append(*salt);
    hash::blake2b256(&bytes)
}

/// The position of a verifier that has its say in the round, else `ENotSeated`.
fun seat_of(audit: &Audit, verifier: u64): u64 {
    let index = audit.current().find_index!(|seat| {
        seat.verifier == verifier && seat.state != silent!()
    });
    require(index.is_some(), errors::not_seated!());
    index.destroy_some()
}

fun check_opened(
    audit: &Audit,
    terms: &Terms,
    count: u64,
    seat: &Seat,
    verdicts: &vector<u8>,
    digests: &vector<u8>,
    salt: &vector<u8>,
) {
    require(seat.state == committed!(), errors::already_done!());
    require(salt.length() == SALT_BYTES, errors::bad_argument!());
    require(verdicts.length() == audit.records.length(), errors::bad_argument!());
    require(verdicts.all!(|verdict| is_verdict(*verdict)), errors::bad_argument!());
    let hash = commitment(
        terms.target(),
        count,
        audit.round,
        seat.verifier,
        verdicts,
        digests,
        salt,
    );
    require(&seat.commit == &hash, errors::bad_commitment!());
    check_digests(terms.exact(), audit, verdicts, digests);
}

/// Every pass of an exact task brings the digest that only re-execution gives.
fun check_digests(exact: bool, audit: &Audit, verdicts: &vector<u8>, digests: &vector<u8>) {
    let mut at = 0;
    verdicts.length().do!(|i| {
        if (exact && is_pass(verdicts[i])) {
            require(digests.length() - at >= DIGEST_BYTES, errors::bad_digest!());
            let own = hash::blake2b256(&slice(digests, at));
            let other = slice(digests, at + HASH_BYTES);
            require(&work_of(audit.round(), own, other) == audit.records()[i].work(), errors::bad_digest!());
            at = at + DIGEST_BYTES;
        };
    });
    require(at == digests.length(), errors::bad_digest!());
}

/// `work = H(H(D_1) ‖ H(D_2))` of the hash of this round's digest and the other's hash.
fun work_of(round: u8, own: vector<u8>, other: vector<u8>): vector<u8> {
    let (mut first, second) = if (round == 0) (own, other) else (other, own);
    first.append(second);
    hash::blake2b256(&first)
}

/// 32 bytes.
fun slice(bytes: &vector<u8>, start: u64): vector<u8> { vector::tabulate!(HASH_BYTES, |i| bytes[start + i]) }

fun is_verdict(verdict: u8): bool { verdict <= INCONCLUSIVE }

fun is_pass(verdict: u8): bool { verdict == PASS }

/// How many of the jury revealed this vote.
fun votes(audit: &Audit, verdict: u8): u64 { audit.jury.count!(|seat| has_voted(seat, verdict)) }

/// Verifiers of both rounds who voted otherwise than `verdict`, or committed and did not reveal. Who finds
/// inconclusive what five could judge did not look: it would be the pay without the work.
fun losers(audit: &Audit, verdict: u8): vector<u64> {
    let mut losers = vector[];
    audit.seats.do_ref!(|seat| if (has_lost(seat, verdict)) losers.push_back(seat.verifier));
    audit.jury.do_ref!(|seat| if (has_lost(seat, verdict)) losers.push_back(seat.verifier));
    losers
}

fun has_lost(seat: &Seat, verdict: u8): bool {
    seat.state == committed!()
        || (seat.state == revealed!() && vote(seat) != verdict)
}

fun has_voted(seat: &Seat, verdict: u8): bool { seat.state == revealed!() && vote(seat) == verdict }

/// How a revealed seat voted over all its records: one failed or unreadable record fails the claim.
fun vote(seat: &Seat): u8 {
    let verdicts = &seat.verdicts;
    if (verdicts.any!(|verdict| *verdict == FAIL || *verdict == UNREADABLE)) FAIL
    else if (verdicts.any!(|verdict| *verdict == INCONCLUSIVE)) INCONCLUSIVE
    else PASS
}

/// Whether the running round passed unanimously. Silent seats lost their say; what counts is that enough others are
/// there, which the commits saw to.
public(package) fun has_passed(audit: &Audit): bool {
    audit.current().all!(|seat| seat.state == silent!() || has_voted(seat, PASS))
}

/// How many of the jury passed all, and how many failed or could not read a record.
public(package) fun jury_votes(audit: &Audit): (u64, u64) { (votes(audit, PASS), votes(audit, FAIL)) }

/// Whom a jury that passed, or failed, the claim overruled.
public(package) fun overruled(audit: &Audit, is_pass: bool): vector<u64> {
    losers(audit, if (is_pass) PASS else FAIL)
}

/// Notes that the running phase's deadline has passed, else `ENotLate`; once, else `EAlreadyDone`.
public(package) fun mark_late(audit: &mut Audit, terms: &Terms, clock_ms: u64) {
    require(audit.late_ms == 0, errors::already_done!());
    require(clock_ms > audit.deadline_ms, errors::not_late!());

    audit.late_ms = clock_ms;
    events::marked_late(terms.target(), terms.node(), clock_ms);
}

#[test_only]
public fun verifier(self: &Seat): u64 { self.verifier }
