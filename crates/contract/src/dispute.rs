//! Disputes over delivery: a signed request that was made available is answered, refused at a price, shown to
//! have been answered already, or costs the silent node.
//!
//! A dispute keeps units of the channel's grant until it ends, and holds the opener's bond. Its units are
//! counted apart from the transcript. At level 2 an answer is a claim of one record inside the dispute, with
//! the same audit, hold and challenge as a channel's.

mod answer;
mod body;
mod claim;
mod late;
mod open;
mod walrus;

pub use answer::{Acknowledged, Answer, answer_refused, answer_served, show_acknowledged};
pub use body::{Part, demand_body, post_body};
pub use claim::{
    challenge_record, commit_verdict, expire_audit, mark_audit_late, post_record_part, release_claim,
    resolve_audit, resolve_pay, reveal_record, reveal_verdict,
};
pub use late::{expire, mark_late};
pub use open::{Request, open};

use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::node::NodeBadge;
use crate::stack::with_credit;
use crate::{Result, VERSION, admin};
use atoma_types::onchain::event::{DisputeDeleted, DisputeEnded, DisputeWithdrawn, Migrated};
use atoma_types::onchain::{Abort, Dispute, DisputeState, Due, Stack};
use atoma_types::{Amount, Units};

/// A dispute with the stack whose units it keeps.
#[derive(Debug)]
pub struct Case<'a> {
    pub stack: &'a mut Stack,
    pub dispute: &'a mut Dispute,
}

impl Case<'_> {
    fn check(&self, db: &AtomaDb) -> Result {
        db.check_version()?;
        db.check_stack(self.stack)?;
        check_dispute(self.dispute)?;
        ensure(self.dispute.stack == self.stack.id, Abort::WrongDispute)
    }

    /// What the dispute still keeps; settlements may have taken some of it.
    fn reserved(&self) -> Units {
        let reserves = &self.stack.disputed.reserves;
        let own = reserves.iter().find(|reserve| reserve.dispute == self.dispute.id);
        own.map_or(Units::ZERO, |reserve| reserve.units)
    }
}

pub(crate) fn check_dispute(dispute: &Dispute) -> Result {
    ensure(dispute.version == VERSION, Abort::Version)
}

/// The node that must answer.
fn check_badge(dispute: &Dispute, badge: &NodeBadge) -> Result {
    ensure(badge.db == dispute.db, Abort::WrongDb)?;
    ensure(badge.node == dispute.node, Abort::NotAuthorized)
}

/// Moves a dispute to the database's version. By anyone: at an older version no duty of it could be done, and
/// neither bond nor claim would end.
pub fn migrate(db: &AtomaDb, dispute: &mut Dispute, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    ensure(dispute.db == db.id, Abort::WrongDb)?;
    dispute.version = admin::newer(dispute.version)?;
    ctx.emit(Migrated { object: dispute.id, version: dispute.version });
    Ok(())
}

/// Pays what the sender is due. Deletes a dispute that is over and empty.
pub fn withdraw(dispute: &mut Dispute, ctx: &mut TxContext) -> Result {
    let to = ctx.sender();
    let own = dispute.dues.iter().find(|due| due.to == to);
    let amount = own.map_or(Amount::ZERO, |due| due.amount);
    let balance = dispute.balance.sub(amount)?;
    let is_over = dispute.state == DisputeState::Ended && balance.is_zero();
    ensure(is_over || !amount.is_zero(), Abort::NothingDue)?;

    dispute.balance = balance;
    dispute.dues.retain(|due| due.to != to);
    if !amount.is_zero() {
        ctx.pay_sender(amount);
        ctx.emit(DisputeWithdrawn { dispute: dispute.id, to, amount });
    }
    if is_over {
        ctx.deleted.push(dispute.id);
        ctx.emit(DisputeDeleted { dispute: dispute.id });
    }
    Ok(())
}

/// How the bond is divided when the dispute has what it was opened for.
struct Bond {
    to_opener: Amount,
    to_node: Amount,
}

/// Credits the bond and ends the duty to answer: the stack gets its reserve back, the node one dispute less.
/// At level 2 an answered dispute goes on with its claim.
fn close(db: &mut AtomaDb, case: &mut Case, bond: Bond, state: DisputeState, ctx: &mut TxContext) -> Result {
    let Bond { to_opener, to_node } = bond;
    let dispute = &mut *case.dispute;
    let dues = with_credit(dispute.dues.clone(), dispute.opener, to_opener)?;
    let dues = with_credit(dues, dispute.payout, to_node)?;
    let open = case.stack.disputed.open.checked_sub(1).ok_or(Abort::Arithmetic)?;
    let open_disputes = db.node(dispute.node)?.open_disputes.checked_sub(1).ok_or(Abort::Arithmetic)?;

    db.node_mut(dispute.node)?.open_disputes = open_disputes;
    case.stack.disputed.open = open;
    case.stack.disputed.reserves.retain(|reserve| reserve.dispute != dispute.id);
    dispute.dues = dues;
    dispute.bond = Amount::ZERO;
    dispute.state = state;
    dispute.body_bytes = Vec::new();
    ctx.emit(DisputeEnded { dispute: dispute.id, to_opener, to_node });
    Ok(())
}

fn credit_all(dispute: &Dispute, credits: Vec<Due>) -> Result<Vec<Due>> {
    credits.into_iter().try_fold(dispute.dues.clone(), |dues, due| with_credit(dues, due.to, due.amount))
}

/// What an answered request costs its opener: the fee, as far as the bond has it.
fn answer_fee(dispute: &Dispute) -> Amount {
    dispute.params.answer_fee.min(dispute.bond)
}
