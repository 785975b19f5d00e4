//! The owner has a record re-executed that chance did not draw.

use super::resolve::new_audit;
use super::{Terms, channel, next_round};
use crate::audit::{self, Proven};
use crate::beacon::Beacon;
use crate::context::{Coin, TxContext};
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::{Result, slash, slots};
use atoma_types::onchain::event::ClaimChallenged;
use atoma_types::onchain::{Abort, Claim, ClaimState, Stack};
use atoma_types::{Amount, Hash32, NodeId, Units, transcript};

/// Arguments of [`challenge_record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub node: NodeId,
    pub shown: Proven,
}

/// A challenge that may be made.
pub(crate) struct Checked {
    leaf: Hash32,
    /// Last unit of the record, which names it.
    offset: u64,
    pub(crate) bond: Amount,
    sizes: Vec<u64>,
}

/// Challenges a leaf of the channel's held claim, once, in the first `challenge_ms` after it was resolved.
/// The coin pays the bond (the first verifiers' pay and the resolving fee); the rest stays the sender's.
pub fn challenge_record(
    db: &mut AtomaDb,
    beacon: &Beacon,
    stack: &mut Stack,
    mut coin: Coin,
    challenge: &Challenge,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    db.check_stack(stack)?;
    beacon.check(db)?;
    ensure(ctx.sender() == stack.owner, Abort::NotAuthorized)?;
    let (terms, mut claim) = channel::claim_of(stack, challenge.node)?;
    let checked = check(db, &terms, &claim, &challenge.shown, clock_ms)?;
    ensure(coin.balance >= checked.bond, Abort::InsufficientPayment)?;
    let change = coin.balance.sub(checked.bond)?;
    let balance = stack.balance.add(checked.bond)?;

    coin.balance = change;
    stack.balance = balance;
    start(db, beacon, &terms, &mut claim, checked, clock_ms, ctx)?;
    channel::put_claim(stack, challenge.node, claim)?;
    ctx.return_change(coin);
    Ok(())
}

/// Whether the shown leaf may be challenged, and for what bond.
pub(crate) fn check(
    db: &AtomaDb,
    terms: &Terms,
    claim: &Claim,
    shown: &Proven,
    clock_ms: u64,
) -> Result<Checked> {
    ensure(claim.state == ClaimState::Held, Abort::NoClaim)?;
    ensure(!claim.challenged, Abort::AlreadyChallenged)?;
    let until_ms = claim.resolved_ms.checked_add(terms.params.challenge_ms).ok_or(Abort::Arithmetic)?;
    ensure(clock_ms <= until_ms, Abort::ChallengeOver)?;
    // The claim is void already.
    ensure(db.node(terms.node)?.convictions == claim.convictions, Abort::Convicted)?;
    let record = audit::prove(shown, claim.count, &claim.root)?;
    ensure(is_inside(claim, record.units, record.total_units), Abort::BadProof)?;
    let offset = record.total_units.0;
    let was_audited = claim.audit.as_ref().is_some_and(|audit| audit::is_met(audit, offset));
    ensure(!was_audited, Abort::AlreadyAudited)?;
    let pay = audit::record_pay(terms, record.units)?;
    let pays = pay.0.checked_mul(terms.params.verifiers).ok_or(Abort::Arithmetic)?;
    let bond = Amount(pays).add(terms.params.resolve_fee)?;
    let sizes = slots::sizes(&db.market(terms.task)?.verifiers, &terms.echelons)?;
    Ok(Checked { leaf: transcript::leaf_hash(&record), offset, bond, sizes })
}

/// Whether a record has units, and they are the claim's.
fn is_inside(claim: &Claim, units: Units, total: Units) -> bool {
    !units.is_zero() && total > claim.from_units && audit::fits(units, total, claim.to_units)
}

/// The claim waits for the next round, which seats verifiers of now. The node counts as under audit at once,
/// so that its other claims wait for the outcome.
pub(crate) fn start(
    db: &mut AtomaDb,
    beacon: &Beacon,
    terms: &Terms,
    claim: &mut Claim,
    checked: Checked,
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    let round = next_round(beacon)?;
    slash::open_audit(db, terms.node)?;
    claim.state = ClaimState::Challenged;
    claim.challenged = true;
    claim.round = round;
    claim.made_ms = clock_ms;
    claim.sizes = checked.sizes;
    claim.bond = checked.bond;
    claim.audit = Some(new_audit(Hash32::ZERO, vec![checked.offset]));
    ctx.emit(ClaimChallenged {
        target: terms.target,
        node: terms.node,
        leaf: checked.leaf,
        bond: claim.bond,
        round: claim.round,
    });
    Ok(())
}
