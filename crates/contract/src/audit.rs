//! The conservation auditor: an account kept apart from the contract, compared with it after every call.
//!
//! [`Books`] rebuild every balance from events alone and check that each event follows from those before.
//! [`Auditor`] adds the coins that went in and came out, and compares the books with what is stored. Both
//! do their own arithmetic, in `u128` and without the contract's functions: a mistake there must not
//! repeat itself here.

mod books;

pub use books::{Books, ChannelBook, NodeBook, StackBook};

use crate::context::{Owned, TxContext};
use crate::db::AtomaDb;
use crate::stack::{refund, sweep, withdraw};
use crate::treasury::Treasury;
use atoma_types::onchain::{Event, Stack};
use atoma_types::{Address, Amount};
use sui_sdk_types::Digest;

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

/// Whose every coin that entered now is, in base units. What is credited inside a stack counts as its
/// beneficiary's: `entered` is the sum of all the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Coins handed to entry points, less the change handed back.
    pub entered: u128,
    /// Earned by nodes, opening fees included.
    pub paid: u128,
    pub creator_fees: u128,
    /// Registration fees and surcharges, swept or not.
    pub treasury: u128,
    /// Back with stacks' owners.
    pub refunded: u128,
    pub collateral_returned: u128,
    /// In stacks, for units not settled and openings not made.
    pub escrow: u128,
    pub collateral: u128,
}

impl Totals {
    /// `entered` again, as the sum of where it went.
    pub fn accounted(&self) -> u128 {
        let outside = self.paid + self.creator_fees + self.treasury + self.refunded;
        outside + self.collateral_returned + self.escrow + self.collateral
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
        let mut left = 0u128;
        for transfer in &ctx.transfers {
            if let Owned::Coin(coin) = &transfer.object {
                same("coins go to nobody but the caller", ctx.sender(), transfer.to)?;
                hold("no empty coin is made", coin.balance.0 > 0, || format!("{}", coin.id))?;
                left += u128::from(coin.balance.0);
            }
        }
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
        let mut acquired = Vec::new();
        let mut deleted = Vec::new();
        for event in &ctx.events {
            match event {
                Event::StackAcquired(event) => acquired.push(event.stack),
                Event::StackDeleted(event) => deleted.push(event.stack),
                _ => {}
            }
        }
        let shared: Vec<Address> = ctx.shared.iter().map(|stack| stack.id).collect();
        same("every stack bought is shared", acquired, shared)?;
        same("every stack deleted has its event", deleted, ctx.deleted.clone())
    }

    /// Compares the books with everything stored. `stacks` are all that exist.
    pub fn check<'a>(
        &self,
        db: &AtomaDb,
        treasury: &Treasury,
        stacks: impl IntoIterator<Item = &'a Stack>,
    ) -> Audit {
        let mut stored = u128::from(treasury.balance.0) + u128::from(treasury.burned.0);
        stored += u128::from(db.collateral.0);
        let mut count = 0;
        for stack in stacks {
            count += 1;
            stored += u128::from(stack.balance.0);
            check_stack(self.books.stack(stack.id)?, stack)?;
            check_surcharge(db, stack)?;
        }
        same("no stack is missing", self.books.stacks.len(), count)?;
        same("entered = left + stored", self.entered, self.left + stored)?;
        let totals = self.totals();
        same("every coin is somebody's", totals.entered, totals.accounted())?;
        same("the treasury's balance", self.books.treasury, u128::from(treasury.balance.0))?;
        self.check_nodes(db)
    }

    fn check_nodes(&self, db: &AtomaDb) -> Audit {
        let mut collateral = 0;
        for node in db.nodes.values() {
            let book = self.books.node(node.id)?;
            same("a node's collateral", book.collateral, u128::from(node.collateral.0))?;
            same("a node's payout", book.payout, node.payout)?;
            same("a node's disabling", book.disabled_ms, node.disabled_ms)?;
            collateral += u128::from(node.collateral.0);
        }
        same("no node is missing", self.books.nodes.len(), db.nodes.values().count())?;
        same("the pool is the sum of all collateral", collateral, u128::from(db.collateral.0))
    }

    pub fn totals(&self) -> Totals {
        let books = &self.books;
        Totals {
            entered: self.entered - self.change,
            paid: books.paid,
            creator_fees: books.creator_fees,
            treasury: books.treasury + books.stacks.values().map(|stack| stack.treasury_due).sum::<u128>(),
            refunded: books.refunded,
            collateral_returned: books.collateral_returned,
            escrow: books.stacks.values().map(StackBook::escrow).sum(),
            collateral: books.nodes.values().map(|node| node.collateral).sum(),
        }
    }
}

fn check_stack(book: &StackBook, stack: &Stack) -> Audit {
    same("a stack's owner", book.owner, stack.owner)?;
    same("a stack's balance", book.balance, u128::from(stack.balance.0))?;
    let dues = stack.dues.iter().map(|due| (due.to, u128::from(due.amount.0))).collect();
    same("a stack's dues", &book.dues, &dues)?;
    same("one row per due", book.dues.len(), stack.dues.len())?;
    same("the treasury's due", book.treasury_due, u128::from(stack.treasury_due.0))?;
    same("granted units", book.granted(), u128::from(stack.granted_units.0))?;
    same("settled units", book.settled(), u128::from(stack.settled_units.0))?;
    hold("granted ≤ total", stack.granted_units <= stack.total_units, || format!("{}", stack.id))?;
    same("no channel is missing", book.channels.len(), stack.channels.len())?;
    for channel in &stack.channels {
        let found = ChannelBook {
            price: channel.price.0,
            granted: channel.granted.0,
            nonce: channel.grant_nonce,
            units: channel.settled_units.0,
            count: channel.settled_count,
            root: channel.root,
            released: channel.closed,
        };
        same("a channel", book.channels.get(&channel.node), Some(&found))?;
        hold("settled ≤ granted", channel.settled_units <= channel.granted, || format!("{channel:?}"))?;
        same("paid is the cost of what is settled", found.cost(), u128::from(channel.paid.0))?;
    }
    Ok(())
}

/// The surcharge is its share of the escrowed cost, and earned as units are settled.
fn check_surcharge(db: &AtomaDb, stack: &Stack) -> Audit {
    let Some(task) = db.tasks.get(stack.task.0) else {
        return Err(Violation { rule: "a stack's task exists", detail: format!("{}", stack.id) });
    };
    let cost = u128::from(stack.total_units.0) * u128::from(stack.max_price.0) / 1_000_000;
    let surcharge = cost * u128::from(task.surcharge_permille) / 1_000;
    same("the surcharge escrowed", surcharge, u128::from(stack.surcharge.0))?;
    let earned = surcharge * u128::from(stack.settled_units.0) / u128::from(stack.total_units.0);
    same("the surcharge earned", earned, u128::from(stack.surcharge_earned.0))
}

/// Plays a stack to its end by time alone, on a copy: a stranger refunds it, everybody withdraws, the
/// treasury is swept, and nothing is left. Whoever vanished before cannot stop any of these.
pub fn check_exit(stack: &Stack, treasury: &Treasury) -> Audit {
    let (mut stack, mut treasury) = (stack.clone(), treasury.clone());
    let inside = u128::from(stack.balance.0) + u128::from(treasury.balance.0);
    let late_ms = stack.settle_until_ms().saturating_add(1);
    let mut left = 0;
    let mut step = |sender: Address, call: &mut dyn FnMut(&mut TxContext) -> crate::Result| -> Audit<bool> {
        let mut ctx = TxContext::new(sender, u64::MAX, Digest::ZERO, 0);
        call(&mut ctx)
            .map_err(|abort| Violation { rule: "money leaves by time alone", detail: abort.to_string() })?;
        for transfer in &ctx.transfers {
            if let Owned::Coin(coin) = &transfer.object {
                left += u128::from(coin.balance.0);
            }
        }
        Ok(!ctx.deleted.is_empty())
    };
    let mut is_deleted = step(Address::ZERO, &mut |ctx| refund(&mut stack, late_ms, ctx))?;
    for due in stack.dues.clone() {
        is_deleted = step(due.to, &mut |ctx| withdraw(&mut stack, ctx))?;
    }
    if stack.treasury_due.0 > 0 {
        is_deleted = step(Address::ZERO, &mut |ctx| sweep(&mut stack, &mut treasury, ctx))?;
    }
    hold("an emptied stack is deleted", is_deleted, || format!("{}", stack.id))?;
    same("all of it came out", inside, left + u128::from(treasury.balance.0))
}
