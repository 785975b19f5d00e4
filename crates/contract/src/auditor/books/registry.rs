//! Collateral, slashes, bookings, dues.

use super::super::Audit;
use super::{Books, hold, same, take, violation};
use atoma_types::Address;
use atoma_types::onchain::Event;
use atoma_types::onchain::event::{BookingsSettled, CollateralWithdrawn, Collected, NodeRegistered, Slashed};

/// A node as its events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBook {
    pub payout: Address,
    pub collateral: u128,
    pub bookings: Vec<BookingBook>,
    pub pot: u128,
    pub disabled_ms: u64,
    pub exit_ms: u64,
}

/// A compensation held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingBook {
    pub to: Address,
    pub amount: u128,
}

impl NodeBook {
    /// Everything of it in the pool.
    pub fn held(&self) -> u128 {
        self.collateral + self.pot + self.booked()
    }

    pub fn booked(&self) -> u128 {
        self.bookings.iter().map(|booking| booking.amount).sum()
    }
}

impl Books {
    /// Returns whether the event was one of these.
    pub(super) fn apply_registry(&mut self, event: &Event) -> Audit<bool> {
        match event {
            Event::NodeRegistered(event) => self.registered(event)?,
            Event::NodePayoutChanged(event) => self.node_mut(event.node)?.payout = event.payout,
            Event::CollateralAdded(event) => {
                let node = self.node_mut(event.node)?;
                same("collateral is added to enabled nodes only", node.disabled_ms, 0)?;
                node.collateral += u128::from(event.amount.0);
            }
            Event::NodeDisabled(event) => {
                let node = self.node_mut(event.node)?;
                same("a node is disabled once", node.disabled_ms, 0)?;
                node.disabled_ms = event.at_ms;
                node.exit_ms = event.exit_ms;
            }
            Event::CollateralWithdrawn(event) => self.collateral_withdrawn(event)?,
            Event::Slashed(event) => self.slashed(event)?,
            Event::BookingsSettled(event) => self.bookings_settled(event)?,
            Event::DuesWithdrawn(event) => {
                let due = self.dues.remove(&event.to).unwrap_or_default();
                same("a withdrawal is what is due", due, event.amount.0.into())?;
                self.paid_out += due;
            }
            Event::Collected(event) => self.collected(event)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn registered(&mut self, event: &NodeRegistered) -> Audit {
        let book = NodeBook {
            payout: event.payout,
            collateral: event.collateral.0.into(),
            bookings: Vec::new(),
            pot: 0,
            disabled_ms: 0,
            exit_ms: 0,
        };
        let is_new = self.nodes.insert(event.node, book).is_none();
        hold("a node registers once", is_new, || format!("{event:?}"))?;
        self.treasury += u128::from(event.fee.0);
        Ok(())
    }

    fn collateral_withdrawn(&mut self, event: &CollateralWithdrawn) -> Audit {
        let node = self.node_mut(event.node)?;
        hold("collateral leaves disabled nodes only", node.disabled_ms > 0, || format!("{event:?}"))?;
        same("bookings are settled before collateral leaves", node.booked() + node.pot, 0)?;
        same("collateral leaves whole", node.collateral, event.amount.0.into())?;
        node.collateral = 0;
        self.collateral_returned += u128::from(event.amount.0);
        self.paid_out += u128::from(event.amount.0);
        Ok(())
    }

    /// What leaves collateral and pot goes to exactly these places, half of every slash being burned.
    fn slashed(&mut self, event: &Slashed) -> Audit {
        let node = self.node_mut(event.node)?;
        let (amount, burned) = (u128::from(event.amount.0), u128::from(event.burned.0));
        hold("no slash above the collateral", amount <= node.collateral, || format!("{event:?}"))?;
        hold("half of a slash is burned", 2 * burned >= amount && burned <= amount, || format!("{event:?}"))?;
        let compensation = u128::from(event.compensation.0);
        let placed = burned + u128::from(event.treasury.0) + compensation + u128::from(event.pot.0);
        same("a slash is all in its places", amount + node.pot, placed)?;
        node.collateral -= amount;
        node.pot = event.pot.0.into();
        if event.booked {
            node.bookings.push(BookingBook { to: event.to, amount: compensation });
        } else {
            self.credit(event.to, event.compensation.0);
            self.compensations += compensation;
        }
        self.to_burn += burned;
        self.to_treasury += u128::from(event.treasury.0);
        Ok(())
    }

    /// Bookings named are credited. What the treasury gets is the pot; or, where none is named and it is more, all
    /// bookings were forfeited too.
    fn bookings_settled(&mut self, event: &BookingsSettled) -> Audit {
        let node = self.node_mut(event.node)?;
        same("an amount for each booking", event.to.len(), event.amounts.len())?;
        for (to, amount) in event.to.iter().zip(&event.amounts) {
            let booking = BookingBook { to: *to, amount: amount.0.into() };
            let found = node.bookings.iter().position(|other| *other == booking);
            let index = found.ok_or_else(|| violation("what is settled was booked", event))?;
            node.bookings.remove(index);
        }
        let treasury = u128::from(event.treasury.0);
        let is_forfeit = event.to.is_empty() && treasury != node.pot;
        if is_forfeit {
            same("a conviction forfeits everything", treasury, node.booked() + node.pot)?;
            node.bookings.clear();
            node.pot = 0;
        } else if treasury > 0 {
            take("the pot holds what it gives", &mut node.pot, treasury)?;
            same("a pot ends whole", node.pot, 0)?;
        }
        self.to_treasury += treasury;
        for (to, amount) in event.to.iter().zip(&event.amounts) {
            self.credit(*to, amount.0);
            self.compensations += u128::from(amount.0);
        }
        Ok(())
    }

    fn collected(&mut self, event: &Collected) -> Audit {
        let found = (u128::from(event.burned.0), u128::from(event.treasury.0));
        same("everything is collected", (self.to_burn, self.to_treasury), found)?;
        self.burned += found.0;
        self.treasury += found.1;
        (self.to_burn, self.to_treasury) = (0, 0);
        Ok(())
    }
}
