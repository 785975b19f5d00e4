//! The claim that an answer is at level 2: the same functions as on a channel's claim.

use super::{check_badge, check_dispute, credit_all};
use crate::Result;
use crate::audit::{self, Opened, Proven, Reveal};
use crate::beacon::Beacon;
use crate::claim::{self, Ending, Step, Terms};
use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::stack::with_credit;
use atoma_types::Amount;
use atoma_types::onchain::event::{ClaimPaid, ClaimVoided};
use atoma_types::onchain::{Abort, Claim, Dispute, DisputeState};

/// Holds the claim: the seed did not draw it. Anyone may.
pub fn resolve_pay(
    db: &AtomaDb,
    beacon: &Beacon,
    dispute: &mut Dispute,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, dispute)?;
    let (terms, mut claim) = claim_of(dispute)?;
    claim::pay(beacon, &terms, &mut claim, clock_ms, ctx)?;
    dispute.claim = Some(claim);
    Ok(())
}

/// Opens the audit that the seed drew, or that a challenge asked for. Anyone may; the caller earns the fee.
pub fn resolve_audit(
    db: &mut AtomaDb,
    beacon: &Beacon,
    dispute: &mut Dispute,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, dispute)?;
    let (terms, mut claim) = claim_of(dispute)?;
    let step = claim::audit(db, beacon, &terms, &mut claim, clock_ms, ctx)?;
    finish(db, dispute, claim, step, ctx)
}

/// Challenges the answer; see [`claim::challenge_record`].
pub fn challenge_record(
    db: &mut AtomaDb,
    beacon: &Beacon,
    dispute: &mut Dispute,
    mut coin: Coin,
    shown: &Proven,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check(db, beacon, dispute)?;
    ensure(ctx.sender() == dispute.opener, Abort::NotAuthorized)?;
    let (terms, mut claim) = claim_of(dispute)?;
    let checked = claim::check_challenge(db, &terms, &claim, shown, clock_ms)?;
    ensure(coin.balance >= checked.bond, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(checked.bond)?;
    let balance = dispute.balance.add(checked.bond)?;

    coin.balance = change;
    dispute.balance = balance;
    claim::start_challenge(db, beacon, &terms, &mut claim, checked, clock_ms, ctx)?;
    dispute.claim = Some(claim);
    ctx.return_change(coin);
    Ok(())
}

/// Pays the claim after its hold, or returns it to the opener if the node was convicted since. Anyone may.
pub fn release_claim(db: &AtomaDb, dispute: &mut Dispute, clock_ms: u64, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_of(db, dispute)?;
    let (terms, claim) = claim_of(dispute)?;
    if !claim::ensure_released(db, &terms, &claim, clock_ms)? {
        return void(dispute, &claim, ctx);
    }
    let creator_fee = claim.amount.share(dispute.creator_fee_permille)?;
    let parts = claim::parts(&claim, creator_fee)?;
    // What audits left of the answer fee is the node's.
    let to_node = parts.to_node.add(parts.surcharge)?;
    let dues = with_credit(dispute.dues.clone(), dispute.payout, to_node)?;
    let dues = with_credit(dues, dispute.creator, parts.to_creator)?;

    dispute.dues = dues;
    end(dispute);
    ctx.emit(ClaimPaid {
        target: dispute.id,
        node: dispute.node,
        paid: to_node,
        creator_fee: parts.to_creator,
        treasury: Amount::ZERO,
    });
    Ok(())
}

/// See [`audit::reveal_record`].
pub fn reveal_record(
    dispute: &mut Dispute,
    badge: &NodeBadge,
    reveal: Reveal,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_dispute(dispute)?;
    check_badge(dispute, badge)?;
    let (terms, mut claim) = claim_of(dispute)?;
    audit::reveal(&terms, &mut claim, reveal, clock_ms, ctx)?;
    dispute.claim = Some(claim);
    Ok(())
}

/// See [`audit::post_record_part`].
pub fn post_record_part(
    dispute: &Dispute,
    badge: &NodeBadge,
    which: u64,
    part: Vec<u8>,
    ctx: &mut TxContext,
) -> Result {
    check_dispute(dispute)?;
    check_badge(dispute, badge)?;
    let (terms, claim) = claim_of(dispute)?;
    audit::post_part(&terms, &claim, which, part, ctx)
}

/// See [`audit::commit_verdict`].
pub fn commit_verdict(
    dispute: &mut Dispute,
    badge: &NodeBadge,
    commit: Vec<u8>,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    check_dispute(dispute)?;
    ensure(badge.db == dispute.db, Abort::WrongDb)?;
    let (terms, mut claim) = claim_of(dispute)?;
    audit::commit(&terms, &mut claim, badge.node, commit, clock_ms, ctx)?;
    dispute.claim = Some(claim);
    Ok(())
}

/// See [`audit::reveal_verdict`].
pub fn reveal_verdict(
    db: &mut AtomaDb,
    dispute: &mut Dispute,
    badge: &NodeBadge,
    opened: Opened,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    check_of(db, dispute)?;
    ensure(badge.db == dispute.db, Abort::WrongDb)?;
    let (terms, mut claim) = claim_of(dispute)?;
    let step = audit::open_verdict(db, &terms, &mut claim, badge.node, opened, clock_ms, ctx)?;
    finish(db, dispute, claim, step, ctx)
}

/// See [`audit::mark_late`].
pub fn mark_audit_late(dispute: &mut Dispute, clock_ms: u64, ctx: &mut TxContext) -> Result {
    check_dispute(dispute)?;
    let (terms, mut claim) = claim_of(dispute)?;
    audit::mark(&terms, &mut claim, clock_ms, ctx)?;
    dispute.claim = Some(claim);
    Ok(())
}

/// See [`audit::expire`].
pub fn expire_audit(db: &mut AtomaDb, dispute: &mut Dispute, clock_ms: u64, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    check_of(db, dispute)?;
    let (terms, mut claim) = claim_of(dispute)?;
    let step = audit::pass_deadline(db, &terms, &mut claim, clock_ms, ctx)?;
    finish(db, dispute, claim, step, ctx)
}

fn check(db: &AtomaDb, beacon: &Beacon, dispute: &Dispute) -> Result {
    db.check_version()?;
    check_of(db, dispute)?;
    beacon.check(db)
}

pub(super) fn check_of(db: &AtomaDb, dispute: &Dispute) -> Result {
    check_dispute(dispute)?;
    ensure(dispute.db == db.id, Abort::WrongDb)
}

fn claim_of(dispute: &Dispute) -> Result<(Terms, Claim)> {
    let claim = dispute.claim.clone().ok_or(Abort::NoClaim)?;
    Ok((Terms::of_dispute(dispute), claim))
}

/// Applies a step to the dispute: credits, the caller's coin, what becomes the database's to pay, and the claim's end
/// if it ended.
fn finish(db: &mut AtomaDb, dispute: &mut Dispute, claim: Claim, step: Step, ctx: &mut TxContext) -> Result {
    let balance = dispute.balance.sub(step.to_caller)?.sub(step.to_pool)?;
    let pool = db.pool.add(step.to_pool)?;
    let dues = credit_all(dispute, step.credits)?;

    db.pool = pool;
    dispute.balance = balance;
    dispute.dues = dues;
    ctx.pay_sender(step.to_caller);
    if step.ending != Ending::None {
        return void(dispute, &claim, ctx);
    }
    dispute.claim = Some(claim);
    Ok(())
}

/// What is left of the claim is the opener's.
fn void(dispute: &mut Dispute, claim: &Claim, ctx: &mut TxContext) -> Result {
    let amount = claim::money(claim)?;
    let dues = with_credit(dispute.dues.clone(), dispute.opener, amount)?;

    dispute.dues = dues;
    end(dispute);
    ctx.emit(ClaimVoided { target: dispute.id, node: dispute.node, amount });
    Ok(())
}

fn end(dispute: &mut Dispute) {
    dispute.claim = None;
    dispute.state = DisputeState::Ended;
}
