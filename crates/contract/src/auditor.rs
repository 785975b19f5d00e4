//! The conservation auditor: an account kept apart from the contract, compared with it after every call.
//!
//! [`Books`] rebuild every balance from events alone and check that each event follows from those before.
//! [`Auditor`] adds the coins that went in and came out, and compares the books with what is stored. Both
//! do their own arithmetic, in `u128` and without the contract's functions: a mistake there must not
//! repeat itself here.

mod books;
mod dispute;
mod registry;
mod stack;

pub use books::{BookingBook, Books, ChannelBook, ClaimBook, DisputeBook, NodeBook, StackBook};
pub use registry::check_node_exit;
pub use stack::check_exit;

use crate::context::{Owned, TxContext};
use crate::db::AtomaDb;
use crate::treasury::Treasury;
use atoma_types::onchain::{Dispute, Event, Stack};
use atoma_types::{Address, Amount};

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    pub rule: &'static str,
    pub detail: String,
}

pub(crate) type Audit<T = ()> = std::result::Result<T, Violation>;

/// Fails with `rule` unless both sides are equal.
fn same<T: PartialEq + std::fmt::Debug>(rule: &'static str, booked: T, found: T) -> Audit {
    hold(rule, booked == found, || format!("booked {booked:?}, found {found:?}"))
}

fn hold(rule: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Audit {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

/// Whose every coin that entered now is, in base units. What is credited inside an object counts as its
/// beneficiary's: `entered` is the sum of all the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Coins handed to entry points, less the change handed back.
    pub entered: u128,
    /// Earned by nodes, opening fees included.
    pub paid: u128,
    pub creator_fees: u128,
    /// Earned by whoever a slash or fee compensated.
    pub compensations: u128,
    /// Fees, surcharges and parts of slashes, swept, collected and spent or not.
    pub treasury: u128,
    pub burned: u128,
    /// Back with stacks' owners.
    pub refunded: u128,
    pub collateral_returned: u128,
    /// Earned by who resolved and verified claims.
    pub audit_pay: u128,
    /// In stacks, for units not settled and openings not made, claims included; in disputes, claims and bonds.
    pub escrow: u128,
    /// Of nodes, with what is booked against them or shared by timeouts.
    pub collateral: u128,
}

impl Totals {
    /// `entered` again, as the sum of where it went.
    pub fn accounted(&self) -> u128 {
        let outside = self.paid + self.creator_fees + self.compensations + self.treasury + self.burned;
        let returned = self.refunded + self.collateral_returned;
        outside + self.audit_pay + returned + self.escrow + self.collateral
    }
}

/// Books plus the coins that moved.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    books: Books,
    entered: u128,
    /// Coins handed out, change included.
    left: u128,
    change: u128,
}

impl Auditor {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Books one successful call: `entered` is what the coins handed to it were worth.
    pub fn observe(&mut self, entered: Amount, ctx: &TxContext) -> Audit {
        let (before, paid_before) = (self.books.inside(), self.books.paid_out);
        for event in &ctx.events {
            self.books.apply(event)?;
        }
        let left = check_coins(ctx)?;
        let after = self.books.inside();
        same("what went in and did not come out is inside", before + u128::from(entered.0), after + left)?;
        self.entered += u128::from(entered.0);
        self.left += left;
        let paid_out = self.books.paid_out - paid_before;
        hold("coins come out with their events", left >= paid_out, || format!("{left} < {paid_out}"))?;
        self.change += left - paid_out;
        self.check_effects(ctx)
    }

    /// New stacks are shared and deleted ones deleted, exactly as the events say.
    fn check_effects(&self, ctx: &TxContext) -> Audit {
        let (mut acquired, mut opened, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for event in &ctx.events {
            match event {
                Event::StackAcquired(event) => acquired.push(event.stack),
                Event::DisputeOpened(event) => opened.push(event.dispute),
                Event::StackDeleted(event) => deleted.push(event.stack),
                Event::DisputeDeleted(event) => deleted.push(event.dispute),
                _ => {}
            }
        }
        let shared: Vec<Address> = ctx.shared.iter().map(|stack| stack.id).collect();
        same("every stack bought is shared", acquired, shared)?;
        let disputes: Vec<Address> = ctx.disputes.iter().map(|dispute| dispute.id).collect();
        same("every dispute opened is shared", opened, disputes)?;
        same("everything deleted has its event", deleted, ctx.deleted.clone())
    }

    /// Compares the books with everything stored. `stacks` and `disputes` are all that exist.
    pub fn check<'a>(
        &self,
        db: &AtomaDb,
        treasury: &Treasury,
        stacks: impl IntoIterator<Item = &'a Stack>,
        disputes: impl IntoIterator<Item = &'a Dispute>,
    ) -> Audit {
        let mut stored = u128::from(treasury.balance.0) + u128::from(treasury.burned.0);
        stored += u128::from(db.pool.0);
        let mut count = 0;
        for stack in stacks {
            count += 1;
            stored += u128::from(stack.balance.0);
            self::stack::check(self.books.stack(stack.id)?, stack)?;
        }
        same("no stack is missing", self.books.stacks.len(), count)?;
        let mut count = 0;
        for dispute in disputes {
            count += 1;
            stored += u128::from(dispute.balance.0);
            dispute::check(self.books.dispute(dispute.id)?, dispute)?;
        }
        same("no dispute is missing", self.books.disputes.len(), count)?;
        same("entered = left + stored", self.entered, self.left + stored)?;
        let totals = self.totals();
        same("every coin is somebody's", totals.entered, totals.accounted())?;
        same("the treasury's balance", self.books.treasury, u128::from(treasury.balance.0))?;
        same("what was burned", self.books.burned, u128::from(treasury.burned.0))?;
        registry::check(&self.books, db)
    }

    pub fn totals(&self) -> Totals {
        let books = &self.books;
        let stacks_due: u128 = books.stacks.values().map(|stack| stack.treasury_due).sum();
        Totals {
            entered: self.entered - self.change,
            paid: books.paid,
            creator_fees: books.creator_fees,
            compensations: books.compensations,
            treasury: books.treasury + books.treasury_spent + books.to_treasury + stacks_due,
            burned: books.burned + books.to_burn,
            refunded: books.refunded,
            collateral_returned: books.collateral_returned,
            audit_pay: books.audit_pay,
            escrow: books.stacks.values().map(StackBook::escrow).sum::<u128>()
                + books.disputes.values().map(DisputeBook::escrow).sum::<u128>(),
            collateral: books.nodes.values().map(NodeBook::held).sum(),
        }
    }
}

/// The sum of all coins made. They go to the caller; only the treasury's holder names somebody else.
fn check_coins(ctx: &TxContext) -> Audit<u128> {
    let mut spent = Vec::new();
    for event in &ctx.events {
        if let Event::TreasuryPaid(event) = event {
            spent.push((event.to, event.amount));
        }
    }
    let mut left = 0u128;
    for transfer in &ctx.transfers {
        let Owned::Coin(coin) = &transfer.object else { continue };
        hold("no empty coin is made", coin.balance.0 > 0, || format!("{}", coin.id))?;
        match spent.iter().position(|paid| *paid == (transfer.to, coin.balance)) {
            Some(index) => {
                spent.remove(index);
            }
            None => same("coins go to nobody but the caller", ctx.sender(), transfer.to)?,
        }
        left += u128::from(coin.balance.0);
    }
    same("the treasury pays what it says", spent.len(), 0)?;
    Ok(left)
}
