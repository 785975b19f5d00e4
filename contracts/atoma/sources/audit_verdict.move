/// Verifiers commit to a verdict, and reveal it when all have committed.
module atoma::audit_verdict;

use atoma::audit_conclude;
use atoma::audit_state::{Self, Audit, Seat};
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::errors;
use atoma::events;
use atoma::limits;
use atoma::math;
use atoma::terms::{Self, Step, Terms};
use std::bcs;
use sui::hash;

/// Bytes of a salt; fixed, so that a commitment opens in one way only.
const SALT_BYTES: u64 = 32;
/// A pass of an exact task brings its round's digest and the hash of the other's.
const DIGEST_BYTES: u64 = 64;
const HASH_BYTES: u64 = 32;

/// Seals a seat's verdict; the last of the round opens the revealing.
public(package) fun commit(
    terms: &Terms,
    claim: &mut Claim,
    verifier: u64,
    commit: vector<u8>,
    clock_ms: u64,
) {
    let audit = claim.running_in(audit_state::phase_commit());
    let index = seat_of(audit, verifier);
    assert!(audit.current()[index].state() == audit_state::seated(), errors::already_committed());
    limits::check_hash(&commit);
    let deadline_ms = deadline_ms(terms, clock_ms);

    let audit = claim.running_mut();
    audit.current_mut()[index].set_committed(commit);
    events::verdict_committed(terms.target(), terms.node(), audit.round(), verifier, commit);
    if (audit.in_state(audit_state::seated()).is_empty()) open_verdicts(terms, audit, deadline_ms);
}

public(package) fun deadline_ms(terms: &Terms, clock_ms: u64): u64 {
    math::add(clock_ms, terms.params().verdict_ms())
}

/// Every seat committed, or is dropped.
public(package) fun open_verdicts(terms: &Terms, audit: &mut Audit, deadline_ms: u64) {
    audit.start_phase(audit_state::phase_verdict(), deadline_ms);
    events::verdicts_opened(terms.target(), terms.node(), audit.round(), deadline_ms);
}

/// Opens a seat's verdict; the last of the round concludes it. `verdicts` has one byte per record; `digests`, for each
/// pass of an exact task, in order, `D_j ‖ H(D_other)`.
public(package) fun reveal<T>(
    db: &mut AtomaDb<T>,
    terms: &Terms,
    claim: &mut Claim,
    verifier: u64,
    verdicts: vector<u8>,
    digests: vector<u8>,
    salt: vector<u8>,
    clock_ms: u64,
    ctx: &TxContext,
): Step {
    let audit = claim.running_in(audit_state::phase_verdict());
    let index = seat_of(audit, verifier);
    check_opened(terms, claim, &audit.current()[index], &verdicts, &digests, &salt);

    let audit = claim.running_mut();
    audit.current_mut()[index].set_revealed(verdicts);
    let is_last = audit.in_state(audit_state::committed()).is_empty();
    events::verdict_revealed(terms.target(), terms.node(), audit.round(), verifier, verdicts, digests, salt);
    if (is_last) audit_conclude::conclude(db, terms, claim, clock_ms, ctx) else terms::step()
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
        seat.verifier() == verifier && seat.state() != audit_state::silent()
    });
    assert!(index.is_some(), errors::not_seated());
    index.destroy_some()
}

fun check_opened(
    terms: &Terms,
    claim: &Claim,
    seat: &Seat,
    verdicts: &vector<u8>,
    digests: &vector<u8>,
    salt: &vector<u8>,
) {
    let audit = claim.running();
    assert!(seat.state() == audit_state::committed(), errors::already_done());
    assert!(salt.length() == SALT_BYTES, errors::bad_argument());
    assert!(verdicts.length() == audit.records().length(), errors::bad_argument());
    assert!(verdicts.all!(|verdict| audit_conclude::is_verdict(*verdict)), errors::bad_argument());
    let hash = commitment(
        terms.target(),
        claim.count(),
        audit.round(),
        seat.verifier(),
        verdicts,
        digests,
        salt,
    );
    assert!(seat.commit() == &hash, errors::bad_commitment());
    check_digests(terms.exact(), audit, verdicts, digests);
}

/// Every pass of an exact task brings the digest that only re-execution gives.
fun check_digests(exact: bool, audit: &Audit, verdicts: &vector<u8>, digests: &vector<u8>) {
    let mut at = 0;
    verdicts.length().do!(|i| {
        if (exact && audit_conclude::is_pass(verdicts[i])) {
            assert!(digests.length() - at >= DIGEST_BYTES, errors::bad_digest());
            let own = hash::blake2b256(&slice(digests, at));
            let other = slice(digests, at + HASH_BYTES);
            assert!(&work(audit.round(), own, other) == audit.records()[i].work(), errors::bad_digest());
            at = at + DIGEST_BYTES;
        };
    });
    assert!(at == digests.length(), errors::bad_digest());
}

/// `work = H(H(D_1) ‖ H(D_2))` of the hash of this round's digest and the other's hash.
fun work(round: u8, own: vector<u8>, other: vector<u8>): vector<u8> {
    let (mut first, second) = if (round == 0) (own, other) else (other, own);
    first.append(second);
    hash::blake2b256(&first)
}

/// 32 bytes.
fun slice(bytes: &vector<u8>, start: u64): vector<u8> { vector::tabulate!(HASH_BYTES, |i| bytes[start + i]) }
