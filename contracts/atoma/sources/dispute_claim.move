/// The claim that an answer is at level 2: what becomes of it and of its money. The same functions as on a channel's
/// claim; entry points in `dispute`.
module atoma::dispute_claim;

use atoma::beacon::Beacon;
use atoma::claim_release;
use atoma::claim_state::Claim;
use atoma::db::AtomaDb;
use atoma::dispute_state::DisputeState;
use atoma::events;
use atoma::math;
use atoma::terms::{Self, Step, Terms};

public(package) fun check<T>(db: &AtomaDb<T>, beacon: &Beacon, dispute: &DisputeState) {
    check_db(db, dispute);
    beacon.check(db);
}

/// Both are of this version, and the dispute is of this database.
public(package) fun check_db<T>(db: &AtomaDb<T>, dispute: &DisputeState) {
    db.check_version();
    dispute.check_version();
    db.check_db(dispute.db());
}

public(package) fun terms(id: address, dispute: &DisputeState): Terms {
    terms::new(
        id,
        dispute.opener(),
        dispute.node(),
        dispute.task(),
        dispute.exact(),
        dispute.price(),
        *dispute.echelons(),
        *dispute.params(),
    )
}

/// Applies a step to the dispute: credits, and the claim's end if it ended. The caller's coin is the entry point's.
public(package) fun finish(id: address, dispute: &mut DisputeState, step: &Step) {
    let (to, amounts) = step.credits();
    to.length().do!(|i| dispute.credit(to[i], amounts[i]));
    if (step.is_over()) void(id, dispute);
}

/// Pays the claim after its hold, or returns it to the opener if the node was convicted since.
public(package) fun release<T>(db: &AtomaDb<T>, id: address, dispute: &mut DisputeState, clock_ms: u64) {
    let terms = terms(id, dispute);
    let claim: Claim = *dispute.claim();
    if (!claim_release::check(db, &terms, &claim, clock_ms)) return void(id, dispute);
    let creator_fee = math::share(claim.amount(), dispute.creator_fee_permille());
    let (to_node, to_creator, fee_left) = claim_release::parts(&claim, creator_fee);
    // What audits left of the answer fee is the node's.
    let to_node = math::add(to_node, fee_left);
    let (node, creator) = (dispute.node(), dispute.creator());
    dispute.credit(db.node(node).payout(), to_node);
    dispute.credit(creator, to_creator);

    dispute.end_claim();
    events::claim_paid(id, node, to_node, to_creator, 0);
}

/// What is left of the claim is the opener's.
fun void(id: address, dispute: &mut DisputeState) {
    let (amount, opener) = (dispute.claim().money(), dispute.opener());
    dispute.credit(opener, amount);
    dispute.end_claim();
    events::claim_voided(id, dispute.node(), amount);
}
