//! Buying, opening, serving, settling, closing, and money on its way out.

use super::known::{self, record_of};
use super::terms::COIN;
use super::{Director, Planned, user};
use crate::op::Op;
use atoma_contract::stack;
use atoma_types::onchain::{Channel, Node, Stack, Task};
use atoma_types::{Address, Hash32, NodeId, Record, Status};

/// Stacks that run at a time.
const STACKS_MAX: usize = 6;

impl Director {
    pub(super) fn commerce(&mut self) -> Option<Planned> {
        let running = self.world.stacks.values().filter(|stack| self.clock_ms < stack.ends_ms()).count();
        if running < 2 || (self.world.stacks.len() < STACKS_MAX && self.dice.one_in(10)) {
            return self.acquire();
        }
        let id = self.any_stack()?;
        self.stack_story(id)
    }

    /// What could come next of a stack.
    pub(super) fn stack_story(&mut self, id: Address) -> Option<Planned> {
        let stack = self.stack(id)?.clone();
        let has_ended = self.clock_ms >= stack.ends_ms();
        if self.clock_ms > stack.settle_until_ms() {
            return self.empty(&stack);
        }
        if stack.channels.iter().all(|row| row.granted.is_zero()) && !has_ended {
            return self.open(&stack);
        }
        match self.dice.below(36) {
            0..=4 if !has_ended => self.open(&stack),
            0..=18 => self.settle(&stack),
            19..=23 => self.dispute(&stack),
            24 if !has_ended => self.top_up(&stack),
            25 if self.dice.one_in(3) => Planned::new(stack.owner, Op::RequestClose { stack: id }),
            26 if self.dice.one_in(3) => self.revoke(&stack),
            27 if self.dice.one_in(3) => self.release(&stack),
            28 => self.reclaim(&stack),
            29 => self.withdraw(&stack),
            30 => self.sweep(&stack),
            31 if has_ended || self.dice.one_in(8) => self.refund(&stack),
            _ => self.settle(&stack),
        }
    }

    /// Of a stack whose last window is over, what is left to do.
    fn empty(&mut self, stack: &Stack) -> Option<Planned> {
        let kept = stack::credited(stack).and_then(|due| Ok(due.add(stack::committed(stack)?)?));
        let is_refunded = kept.is_ok_and(|kept| kept >= stack.balance);
        if is_refunded && stack.dues.is_empty() && stack.treasury_due.is_zero() && !self.dice.one_in(8) {
            // What is left is others' stories.
            return None;
        }
        match self.dice.below(8) {
            0 if !is_refunded => self.refund(stack),
            1..=3 if !stack.dues.is_empty() => self.withdraw(stack),
            4 if !stack.treasury_due.is_zero() => self.sweep(stack),
            5 => self.reclaim(stack),
            6 if self.dice.one_in(6) => self.settle(stack),
            _ if is_refunded && !self.dice.one_in(4) => None,
            _ => self.refund(stack),
        }
    }

    pub(super) fn money_out(&mut self) -> Option<Planned> {
        let market = self.any_market();
        let db = u8::try_from(market).ok()?;
        match self.dice.below(8) {
            0 | 1 => {
                let due: Vec<Address> = self.db(market).dues.rows().map(|(to, _)| to).collect();
                let sender = self.dice.pick(&due).unwrap_or_else(|| self.anybody());
                Planned::new(sender, Op::WithdrawDue { db })
            }
            2 => Planned::new(self.anybody(), Op::Collect { db, treasury: db }),
            3 => {
                let rows = self.db(market).nodes.values();
                let owing = rows.filter(|row| !row.bookings.is_empty() || !row.timeout_pot.is_zero());
                let owing: Vec<u64> = owing.map(|row| row.id.0).collect();
                let node = self.dice.pick(&owing).unwrap_or_else(|| self.any_node(market));
                Planned::new(self.anybody(), Op::SettleBookings { db, node })
            }
            4 => {
                let dispute = self.any_dispute()?;
                self.withdraw_dispute(dispute)
            }
            _ => {
                let id = self.any_stack()?;
                let stack = self.stack(id)?.clone();
                match self.dice.below(4) {
                    0 => self.refund(&stack),
                    1 => self.sweep(&stack),
                    _ => self.withdraw(&stack),
                }
            }
        }
    }

    fn acquire(&mut self) -> Option<Planned> {
        let market = self.any_market();
        if self.db(market).paused && !self.dice.one_in(4) {
            return self.unpause(market);
        }
        let task = self.sold_task(market);
        let row = self.db(market).task(atoma_types::TaskId(task)).ok()?.clone();
        let units = match self.dice.below(8) {
            0 => self.dice.edgy(1_000_000_000_000),
            1 => self.dice.edgy(1_000),
            _ => 1_000_000 + self.dice.below(50_000_000),
        };
        let ceiling = row.price_ceiling.0;
        let max_price = if self.dice.one_in(5) { self.dice.edgy(ceiling) } else { ceiling };
        let max_opens = self.dice.of([0, 1, 2, 64]);
        let open_fee = self.params(market).open_fee.0;
        let cost = u128::from(units) * u128::from(max_price) / 1_000_000;
        let surcharge = cost * u128::from(row.surcharge_permille) / 1_000;
        let price = u64::try_from(cost + surcharge + u128::from(open_fee) * u128::from(max_opens)).ok()?;
        let coin = match self.dice.below(12) {
            0 => price.saturating_sub(1),
            1 => u64::MAX,
            2..=4 => price.saturating_add(self.dice.edgy(COIN)),
            _ => price,
        };
        let some = row.echelons[..self.dice.index(row.echelons.len() + 1)].to_vec();
        let echelons = if row.exact && !self.dice.one_in(10) { Vec::new() } else { some };
        let buyer = self.any_user();
        let op = Op::Acquire {
            db: u8::try_from(market).ok()?,
            seed: self.dice.bytes(),
            coin,
            task,
            request_key: self.known.key(buyer.into()).public_key().0.to_vec(),
            units,
            max_price,
            selection: self.dice.of([0, 1, 2, 2, 2]),
            nodes: self.dice.of([1, 1, 2, 3]),
            max_opens,
            echelons,
        };
        Planned::new(user(buyer), op)
    }

    /// A task that is still sold, most often the first.
    fn sold_task(&mut self, market: usize) -> u64 {
        let is_sold = |row: &&Task| {
            let model = self.db(market).models.get(row.model.0);
            !row.deprecated && model.is_some_and(|model| !model.disabled)
        };
        let sold: Vec<u64> = self.db(market).tasks.values().filter(is_sold).map(|row| row.id.0).collect();
        match (sold.first(), self.dice.below(8)) {
            (_, 0) | (None, _) => self.any_task(market),
            (Some(_), 1) => self.dice.pick(&sold).unwrap_or(1),
            (Some(first), _) => *first,
        }
    }

    fn open(&mut self, stack: &Stack) -> Option<Planned> {
        let db = self.index(stack.db);
        let market = usize::from(db);
        let open: Vec<Channel> = stack.channels.iter().filter(|row| row.closed_ms == 0).cloned().collect();
        let node = match (self.dice.pick(&stack.drawn), self.dice.pick(&open)) {
            (Some(node), _) if !self.dice.one_in(16) => node.0,
            (_, Some(channel)) if self.dice.one_in(2) => channel.node.0,
            _ => self.any_server(market, stack),
        };
        let row = stack.channel(NodeId(node));
        let (granted, last_nonce) = row.map_or((0, 0), |row| (row.granted.0, row.grant_nonce));
        let free = stack.total_units.0.saturating_sub(stack.granted_units.0);
        let more = match self.dice.below(12) {
            0 => free.saturating_add(1),
            1..=3 => self.dice.edgy(free),
            _ => free / 2,
        };
        let offer = self.db(market).subscription(stack.task, NodeId(node)).ok();
        let most = match offer.map(|offer| offer.max_units.0) {
            Some(most) if !self.dice.one_in(16) => most,
            _ => u64::MAX,
        };
        let units = granted.saturating_add(more).min(most);
        let nonce = if self.dice.one_in(12) { last_nonce } else { self.known.next_nonce() };
        let max_price =
            if self.dice.one_in(8) { self.dice.edgy(stack.max_price.0) } else { stack.max_price.0 };
        let by_node = self.dice.one_in(2);
        let owner = self.node(stack.db, node)?.owner;
        let (sender, signature) = if by_node {
            let names = (stack.db, stack.id, node);
            let secret = self.known.secret(&stack.request_key);
            (owner, known::grant(secret, names, (units, max_price, nonce)))
        } else {
            (stack.owner, Vec::new())
        };
        let op = Op::OpenChannel { db, stack: stack.id, node, units, max_price, nonce, signature };
        Planned::new(sender, op)
    }

    /// A node that offers the stack's task, most often one that can serve it.
    fn any_server(&mut self, market: usize, stack: &Stack) -> u64 {
        let Ok(rows) = self.db(market).market(stack.task) else { return 1 };
        let fits = rows.subscriptions.values().filter(|row| row.price <= stack.max_price);
        let fits = fits.filter(|row| stack.echelons.contains(&row.echelon) && !row.slots.is_empty());
        let is_closed = |node: NodeId| stack.channel(node).is_some_and(|row| row.closed_ms > 0);
        let is_fit = |row: &&Node| row.disabled_ms == 0 && !is_closed(row.id);
        let rows = fits.filter_map(|row| self.db(market).nodes.get(row.node.0)).filter(is_fit);
        let fitting: Vec<u64> = rows.map(|row| row.id.0).take(4).collect();
        match self.dice.one_in(16) {
            true => self.any_node(market),
            false => self.dice.pick(&fitting).unwrap_or(1),
        }
    }

    /// Serves until the transcript goes beyond what is acknowledged, and settles some of it.
    fn settle(&mut self, stack: &Stack) -> Option<Planned> {
        let running: Vec<Channel> = stack.channels.iter().filter(|row| !row.released).cloned().collect();
        let row = match self.dice.one_in(12) {
            true => self.dice.pick(&stack.channels)?,
            false => self.dice.pick(&running).or_else(|| self.dice.pick(&stack.channels))?,
        };
        let node = row.node.0;
        let acknowledged = acknowledged(&row);
        let room = row.granted.0.saturating_sub(row.disputed_units.0);
        self.serve(stack, &row, room);
        let served = self.known.served_mut(stack.id, node);
        let count = served.count();
        let count = if self.dice.one_in(5) { self.dice.edgy(count).max(1) } else { count };
        let (units, root) = self.known.served(stack.id, node)?.at(count)?;
        let honest = (units, count, root.0.to_vec());
        let claims = match self.dice.below(16) {
            0 => (room, count, root.0.to_vec()),
            1 => (room.saturating_add(1), count, root.0.to_vec()),
            2 => (units, self.dice.of([0, u64::MAX, count + 1]), root.0.to_vec()),
            3 => (acknowledged.saturating_sub(1), count, root.0.to_vec()),
            4 => (acknowledged, count + 1, Hash32::of(b"other").0.to_vec()),
            _ => honest,
        };
        let names = (stack.db, stack.id, node);
        let voucher = known::voucher(self.known.secret(&stack.request_key), names, claims);
        let db = self.index(stack.db);
        if stack.level != 2 || self.dice.one_in(40) {
            let sender = self.anybody();
            return Planned::new(sender, Op::Settle { db, stack: stack.id, node, voucher });
        }
        let owner = self.node(stack.db, node)?.owner;
        Planned::new(owner, Op::SettleClaim { db, beacon: db, stack: stack.id, node, voucher })
    }

    fn serve(&mut self, stack: &Stack, row: &Channel, room: u64) {
        let acknowledged = acknowledged(row);
        let node = row.node.0;
        for _ in 0..8 {
            let served = self.known.served_mut(stack.id, node);
            let (count, total) = (served.count(), served.total());
            let left = room.saturating_sub(total);
            if left == 0 || (total > acknowledged && self.dice.one_in(2)) {
                break;
            }
            let units = match self.dice.below(8) {
                0 => 0,
                1 => self.dice.edgy(left),
                2 => left.min(1 + self.dice.below(1_000)),
                _ => left.min(100_000 + self.dice.below(3_000_000)),
            };
            let parts: [&[u8]; 3] = [stack.id.as_bytes(), &node.to_le_bytes(), &count.to_le_bytes()];
            let mut record = record_of(Hash32::of_parts(&parts), units);
            if self.dice.one_in(10) {
                record.work = Hash32::of(b"never executed");
            }
            if units > 0 && self.dice.one_in(10) {
                record.status = Status::Aborted;
            }
            self.known.served_mut(stack.id, node).append(Record { ..record });
        }
        if self.known.served_mut(stack.id, node).count() == 0 {
            let request = Hash32::of_parts(&[stack.id.as_bytes(), &node.to_le_bytes(), b"first"]);
            self.known.served_mut(stack.id, node).append(record_of(request, 0));
        }
    }

    fn top_up(&mut self, stack: &Stack) -> Option<Planned> {
        let units = match self.dice.below(4) {
            0 => self.dice.edgy(1_000_000_000_000),
            _ => 1 + self.dice.below(10_000_000),
        };
        let price = |units: u64| u128::from(units) * u128::from(stack.max_price.0) / 1_000_000;
        let total = stack.total_units.0.checked_add(units)?;
        let escrowed = price(total) * u128::from(stack.surcharge.permille) / 1_000;
        let more = escrowed.saturating_sub(u128::from(stack.surcharge.escrowed.0));
        let amount = u64::try_from(price(total) - price(stack.total_units.0) + more).ok()?;
        let coin = match self.dice.below(8) {
            0 => amount.saturating_sub(1),
            1 => u64::MAX,
            2 => amount.saturating_add(5),
            _ => amount,
        };
        Planned::new(stack.owner, Op::TopUp { db: self.index(stack.db), stack: stack.id, coin, units })
    }

    fn revoke(&mut self, stack: &Stack) -> Option<Planned> {
        let node = match self.dice.pick(&stack.channels) {
            Some(row) if self.dice.one_in(2) => row.node.0,
            _ => self.any_node(usize::from(self.index(stack.db))),
        };
        Planned::new(stack.owner, Op::RevokeChannel { stack: stack.id, node })
    }

    fn release(&mut self, stack: &Stack) -> Option<Planned> {
        let row = self.dice.pick(&stack.channels)?;
        let badge = self.badge_of(stack.db, row.node.0)?;
        let sender = self.anybody();
        Planned::new(sender, Op::ReleaseChannel { db: self.index(stack.db), stack: stack.id, badge })
    }

    fn reclaim(&mut self, stack: &Stack) -> Option<Planned> {
        let closed: Vec<Channel> = stack.channels.iter().filter(|row| row.closed_ms > 0).cloned().collect();
        let row = self.dice.pick(&closed).or_else(|| self.dice.pick(&stack.channels))?;
        let delay = if row.released { stack.params.dispute_window_ms } else { stack.params.close_delay_ms };
        let sender = self.anybody();
        let op = Op::Reclaim { db: self.index(stack.db), stack: stack.id, node: row.node.0 };
        match row.closed_ms {
            0 => Planned::new(sender, op),
            closed_ms => Planned::at(sender, closed_ms + delay + 1 - self.dice.below(2), op),
        }
    }

    fn refund(&mut self, stack: &Stack) -> Option<Planned> {
        let sender = if self.dice.one_in(3) { self.anybody() } else { stack.owner };
        Planned::new(sender, Op::Refund { stack: stack.id })
    }

    fn withdraw(&mut self, stack: &Stack) -> Option<Planned> {
        let to = self.dice.pick(&stack.dues).map(|due| due.to);
        let sender = to.unwrap_or_else(|| self.anybody());
        Planned::new(sender, Op::Withdraw { stack: stack.id })
    }

    fn sweep(&mut self, stack: &Stack) -> Option<Planned> {
        let treasury = self.index(stack.db);
        let sender = self.anybody();
        Planned::new(sender, Op::Sweep { stack: stack.id, treasury })
    }
}

/// Units that the channel's newest voucher acknowledges.
fn acknowledged(row: &Channel) -> u64 {
    let claimed = row.claim.as_ref().map_or(row.settled_units, |claim| claim.to_units);
    row.queued.as_ref().map_or(claimed, |queued| queued.units).0
}
