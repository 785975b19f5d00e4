//! Operations on the database: offers, keys, slashes, dues, parameters.

use super::{NOTHING, Plan, Planned, Sequence};
use crate::harness::*;
use atoma_contract::node::{self, Rotation};
use atoma_contract::offer::{self, Offer};
use atoma_contract::{admin, beacon, params, slash, task, treasury, views};
use atoma_types::onchain::{Abort, Params};
use atoma_types::{Address, Amount, NodeId, Price, TaskId, Units};

impl Sequence {
    pub(super) fn registry(&mut self) -> Planned {
        match self.dice.below(24) {
            0..=2 => self.reprice(),
            3 => self.unsubscribe(),
            4 => self.set_verifier(),
            5 => self.move_verifier(),
            6..=7 => self.evict(),
            8 if self.dice.one_in(2) => self.rotate_receipt_key(),
            8 => self.rotate_key(),
            9 => self.set_payout(),
            10 => self.set_answer_interval(),
            11 => self.add_collateral(),
            12..=14 => self.slash(),
            15 => self.audit_counter(),
            16 => self.settle_bookings(),
            17..=18 => self.withdraw_due(),
            19 => self.collect(),
            20 => self.set_params(),
            21 => self.pay_from_treasury(),
            22 => self.whitelist(),
            _ => self.beat(),
        }
    }

    fn any_task(&mut self) -> TaskId {
        TaskId(1 + self.dice.below(3))
    }

    fn reprice(&mut self) -> Planned {
        let (node, task) = (self.any_node(), self.any_task());
        let price = self.dice.edgy(2 * COIN + 1);
        let plan = if price > 2 * COIN { Plan::Abort } else { Plan::Either };
        let units = Units(1_000_000_000_000);
        let result = self.market.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::reprice(db, badge, task, Price(price), units, clock_ms, ctx)
        });
        ("reprice", plan, Some(result))
    }

    /// An offer for the sampled task, as a verifier or not.
    pub(super) fn offer_to_verify(&mut self) -> Planned {
        let node = self.any_node();
        let verifier = self.dice.one_in(2);
        let echelon = 15 * self.dice.below(2);
        let offer = Offer { task: TaskId(3), verifier, echelon, ..new_offer() };
        ("subscribe_sampled", Plan::Either, Some(self.market.subscribe_to(node, offer)))
    }

    fn unsubscribe(&mut self) -> Planned {
        let (node, task) = (self.any_node(), self.any_task());
        let result = self
            .market
            .by_badge(node, |db, badge, clock_ms, ctx| offer::unsubscribe(db, badge, task, clock_ms, ctx));
        ("unsubscribe", Plan::Either, Some(result))
    }

    fn set_verifier(&mut self) -> Planned {
        let node = self.any_node();
        let task = if self.dice.one_in(4) { self.any_task() } else { TaskId(3) };
        let (verifier, plan) = match self.dice.one_in(3) {
            true => (false, Plan::Either),
            false => (true, if task == TaskId(3) { Plan::Either } else { Plan::Abort }),
        };
        let result = self.market.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::set_verifier(db, badge, task, verifier, clock_ms, ctx)
        });
        ("set_verifier", plan, Some(result))
    }

    fn move_verifier(&mut self) -> Planned {
        let market = self.market.world.db.market(TaskId(3)).unwrap();
        let mut verifiers: Vec<_> = market.subscriptions.values().collect();
        verifiers.sort_by_key(|subscription| subscription.verifier_slot);
        let node = verifiers.last().map_or(NodeId(1), |subscription| subscription.node);
        let result = self.market.by_badge(node, |db, badge, clock_ms, ctx| {
            offer::move_verifier(db, badge, TaskId(3), clock_ms, ctx)
        });
        ("move_verifier", Plan::Either, Some(result))
    }

    fn evict(&mut self) -> Planned {
        let (task, clock_ms) = (self.any_task(), self.market.clock_ms);
        let disabled: Vec<NodeId> = views::nodes(&self.market.world.db, 1, 1_000)
            .iter()
            .filter(|node| node.disabled_ms != 0)
            .map(|node| node.id)
            .collect();
        let node = self.dice.pick(&disabled).unwrap_or(NodeId(1));
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            offer::evict(&mut world.db, node, task, clock_ms, ctx)
        });
        ("evict", Plan::Either, Some(result))
    }

    fn rotate_key(&mut self) -> Planned {
        let node = self.any_node();
        let newest = self.market.node(node).attestation.counter;
        let counter = newest + self.dice.below(2);
        let plan = if counter == newest { Plan::Abort } else { Plan::Either };
        let rotation = Rotation { seal_key: vec![7; 32], counter, ..Rotation::default() };
        let result = self
            .market
            .by_badge(node, |db, badge, clock_ms, ctx| node::rotate_key(db, badge, rotation, clock_ms, ctx));
        ("rotate_key", plan, Some(result))
    }

    fn rotate_receipt_key(&mut self) -> Planned {
        let node = self.any_node();
        let (key, plan) = match self.dice.one_in(3) {
            true => (vec![0; 31], Plan::Abort),
            false => (receipt_key(9), Plan::Either),
        };
        let result =
            self.market.by_badge(node, |db, badge, _, ctx| node::rotate_receipt_key(db, badge, key, ctx));
        ("rotate_receipt_key", plan, Some(result))
    }

    fn set_payout(&mut self) -> Planned {
        let (node, n) = (self.any_node(), u8::try_from(self.dice.below(8)).unwrap());
        let result =
            self.market.by_badge(node, |db, badge, _, ctx| node::set_payout(db, badge, payout(n), ctx));
        ("set_payout", Plan::Either, Some(result))
    }

    fn set_answer_interval(&mut self) -> Planned {
        let node = self.any_node();
        let interval_ms = self.dice.edgy(1_001);
        let plan = if (1..=1_000).contains(&interval_ms) { Plan::Either } else { Plan::Abort };
        let result = self
            .market
            .by_badge(node, |db, badge, _, ctx| node::set_answer_interval(db, badge, interval_ms, ctx));
        ("set_answer_interval", plan, Some(result))
    }

    fn add_collateral(&mut self) -> Planned {
        let node = self.any_node();
        let amount = self.dice.edgy(2_000 * COIN);
        let plan = if amount == 0 { Plan::Abort } else { Plan::Either };
        ("add_collateral", plan, Some(self.market.add_collateral(node, amount)))
    }

    /// What audits and disputes do to a node, at any time and in any order.
    fn slash(&mut self) -> Planned {
        let (node, to, clock_ms) = (self.any_node(), self.anybody(), self.market.clock_ms);
        let before = self.market.node(node).collateral;
        let (kind, permille) = (self.dice.below(12), self.dice.edgy(1_000));
        let amount = Amount(self.dice.edgy(100 * COIN));
        let terms = Params { burn_permille: 500 + self.dice.edgy(500), ..params::devnet() };
        let mut compensation = Amount::ZERO;
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            let db = &mut world.db;
            compensation = match kind {
                0 => slash::convict(db, node, &terms, amount, to, clock_ms, ctx)?,
                1..=6 => slash::timeout(db, node, &terms, amount, to, clock_ms, ctx)?,
                _ => {
                    slash::slash(db, node, &terms, permille, ctx)?;
                    Amount::ZERO
                }
            };
            Ok(())
        });
        let lost = before.sub(self.market.node(node).collateral).unwrap();
        assert!(compensation <= Amount(50 * COIN) || kind >= 7, "compensations are capped");
        let is_fraud = kind == 0;
        assert!(lost.0 <= before.0 / 10 + 1 || is_fraud || kind >= 7, "a timeout takes a tenth");
        let name = match kind {
            0 => "convict",
            1..=6 => "timeout",
            _ => "slash",
        };
        (name, Plan::Either, Some(result))
    }

    fn audit_counter(&mut self) -> Planned {
        let node = self.any_node();
        let open = self.market.node(node).open_audits;
        let (name, plan) = match (open, self.dice.one_in(2)) {
            (0, true) => ("close_audit", Plan::Abort),
            (_, true) => ("close_audit", Plan::Either),
            _ => ("open_audit", Plan::Either),
        };
        let result = self.market.call(STRANGER, Amount::ZERO, |world, _| match name {
            "close_audit" => slash::close_audit(&mut world.db, node),
            _ => slash::open_audit(&mut world.db, node),
        });
        (name, plan, Some(result))
    }

    fn settle_bookings(&mut self) -> Planned {
        let (node, clock_ms) = (self.any_node(), self.market.clock_ms);
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            node::settle_bookings(&mut world.db, node, clock_ms, ctx)
        });
        ("settle_bookings", Plan::Either, Some(result))
    }

    fn withdraw_due(&mut self) -> Planned {
        let dues: Vec<(Address, Amount)> =
            self.market.world.db.dues.rows().map(|(to, due)| (to, *due)).collect();
        let sender = match self.dice.pick(&dues) {
            Some((to, _)) if !self.dice.one_in(4) => to,
            _ => self.anybody(),
        };
        let due = self.market.world.db.due_of(sender).0;
        let result =
            self.market.call(sender, Amount::ZERO, |world, ctx| node::withdraw_due(&mut world.db, ctx));
        match &result {
            Ok(ctx) => assert_eq!(coins(ctx), due),
            Err(abort) => assert_eq!((*abort, due), (Abort::NothingDue, 0)),
        }
        ("withdraw_due", Plan::Either, Some(result))
    }

    fn collect(&mut self) -> Planned {
        let db = &self.market.world.db;
        let is_empty = db.to_burn.is_zero() && db.to_treasury.is_zero();
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            treasury::collect(&mut world.db, &mut world.treasury, ctx)
        });
        ("collect", if is_empty { Plan::Abort } else { Plan::Either }, Some(result))
    }

    fn set_params(&mut self) -> Planned {
        let present = views::params(&self.market.world.db, self.market.epoch);
        let (name, params) = match self.dice.below(6) {
            0 => ("set_params", Params { open_fee: Amount(self.dice.edgy(40_000)), ..present }),
            1 => ("set_params", Params { close_delay_ms: 15_000 + 1_000 * self.dice.below(9), ..present }),
            2 => ("set_params", Params { timeout_permille: self.dice.edgy(1_000), ..present }),
            3 => ("set_params", Params { exit_ms: present.exit_ms + 1_000, ..present }),
            4 => ("set_bad_params", Params { exit_ms: present.exit_ms - 1_000, ..present }),
            _ => ("set_bad_params", Params { burn_permille: self.dice.below(500), ..present }),
        };
        let plan = if name == "set_params" { Plan::Either } else { Plan::Abort };
        (name, plan, Some(self.market.set_params(&params)))
    }

    fn pay_from_treasury(&mut self) -> Planned {
        let (cap, to) = (self.market.cap.clone(), self.anybody());
        let has = self.market.world.treasury.balance.0;
        let amount = self.dice.edgy(has + 1);
        let plan = if (1..=has).contains(&amount) { Plan::Either } else { Plan::Abort };
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            admin::pay_from_treasury(&mut world.treasury, &cap, to, Amount(amount), ctx)
        });
        ("pay_from_treasury", plan, Some(result))
    }

    fn whitelist(&mut self) -> Planned {
        let nodes = match self.dice.below(3) {
            0 => vec![NodeId(1), NodeId(2), self.any_node()],
            _ => Vec::new(),
        };
        let badge = self.market.task_badges[&TaskId(1)].clone();
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            task::set_whitelist(&mut world.db, &badge, nodes, ctx)
        });
        ("set_whitelist", Plan::Either, Some(result))
    }

    fn beat(&mut self) -> Planned {
        let (seed, clock_ms) = (u8::try_from(self.dice.below(256)).unwrap(), self.market.clock_ms);
        let result = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
            beacon::beat(&world.db, &mut world.beacon, &[seed; 32], clock_ms, ctx)
        });
        ("beat", Plan::Either, Some(result))
    }

    /// The owner ends one node's grant, anybody frees what is over, the owner buys more.
    pub(super) fn stack_terms(&mut self) -> Planned {
        let Some(id) = self.any_stack() else { return NOTHING };
        let node = self.any_node();
        match self.dice.below(4) {
            0 => {
                let sender = self.anybody();
                let plan = if sender == USER { Plan::Either } else { Plan::Abort };
                ("revoke_channel", plan, Some(self.market.revoke(sender, id, node.0)))
            }
            1 => {
                let units = self.dice.edgy(1_000_000);
                let paid = self.dice.edgy(4 * COIN);
                ("top_up", Plan::Either, Some(self.market.top_up(USER, id, paid, units)))
            }
            _ => ("reclaim", Plan::Either, Some(self.market.reclaim(id, node.0))),
        }
    }

    /// Every node leaves, whatever happened to it, and everybody takes what is due: nothing stays in the pool.
    pub(super) fn everybody_leaves(&mut self) {
        let nodes = 1..=self.market.world.db.nodes.size();
        for node in nodes.clone().map(NodeId) {
            while self.market.node(node).open_audits > 0 {
                self.market
                    .call(STRANGER, Amount::ZERO, |world, _| slash::close_audit(&mut world.db, node))
                    .unwrap();
            }
            if self.market.node(node).disabled_ms == 0 {
                self.market.disable(node).unwrap();
            }
        }
        self.market.clock_ms += 10_000_000;
        self.market.epoch += 2;
        for node in nodes.map(NodeId) {
            let clock_ms = self.market.clock_ms;
            if !self.market.node(node).collateral.is_zero() {
                self.market.exit(STRANGER, node).unwrap();
            }
            let settled = self.market.call(STRANGER, Amount::ZERO, |world, ctx| {
                node::settle_bookings(&mut world.db, node, clock_ms, ctx)
            });
            assert!(settled.is_ok() || settled == Err(Abort::NothingDue));
        }
        let dues: Vec<Address> = self.market.world.db.dues.rows().map(|(to, _)| to).collect();
        for to in dues {
            self.market.call(to, Amount::ZERO, |world, ctx| node::withdraw_due(&mut world.db, ctx)).unwrap();
        }
        if !self.market.world.db.pool.is_zero() {
            self.market
                .call(STRANGER, Amount::ZERO, |world, ctx| {
                    treasury::collect(&mut world.db, &mut world.treasury, ctx)
                })
                .unwrap();
        }
        assert_eq!(self.market.world.db.pool, Amount::ZERO);
    }
}
