//! Seeded sequences of claims, audits and disputes, mostly as they are meant and often enough not. Everything
//! is audited after every call. At the end time alone empties every object, and the books are rebuilt from
//! the events. A failure names its seed, which reproduces it.

use crate::bench::*;
use crate::claiming::add_collateral;
use crate::disputes::*;
use crate::served::record_of;
use atoma_contract::audit::{Opened, Reveal};
use atoma_contract::auditor::Books;
use atoma_contract::dispute::{self, Part};
use atoma_contract::{Result, TxContext, draw, stack};
use atoma_types::onchain::{Abort, AuditPhase, ClaimState, DisputeState, Event, SeatState, Stack};
use atoma_types::{Address, Hash32, NodeId};
use std::collections::{BTreeMap, BTreeSet};

const SEQUENCES: u64 = 150;
const OPERATIONS: u64 = 150;

struct Sequence {
    bench: Bench,
    seed: [u8; 32],
    next: u64,
    nonce: u64,
    /// What seats committed to, by target, round and verifier.
    opened: BTreeMap<(Address, u64, u8, NodeId), Opened>,
    succeeded: BTreeSet<&'static str>,
    aborted: BTreeSet<&'static str>,
}

type Done = Option<(&'static str, Result<TxContext>)>;

impl Sequence {
    fn new(seed: u64) -> Self {
        let bench = Bench::new();
        let seed = Hash32::of(&seed.to_le_bytes()).0;
        let (opened, succeeded, aborted) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { bench, seed, next: 0, nonce: 0, opened, succeeded, aborted }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next += 1;
        draw::value(&self.seed, self.next) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let len = u64::try_from(items.len()).unwrap();
        (len > 0).then(|| items[usize::try_from(self.below(len)).unwrap()].clone())
    }

    fn any_stack(&mut self) -> Option<Address> {
        let ids: Vec<Address> = self.bench.world.stacks.keys().copied().collect();
        self.pick(&ids)
    }

    fn any_dispute(&mut self) -> Option<Address> {
        let ids: Vec<Address> = self.bench.world.disputes.keys().copied().collect();
        self.pick(&ids)
    }

    fn targets(&self) -> Vec<Target> {
        let stacks = self
            .bench
            .world
            .stacks
            .values()
            .filter(|stack| stack.channel(SERVER).is_some_and(|row| row.claim.is_some()));
        let disputes = self.bench.world.disputes.values().filter(|dispute| dispute.claim.is_some());
        let channels = stacks.map(|stack| Target::Channel(stack.id, SERVER));
        channels.chain(disputes.map(|dispute| Target::Dispute(dispute.id))).collect()
    }

    fn any_target(&mut self) -> Option<Target> {
        let targets = self.targets();
        self.pick(&targets)
    }

    fn step(&mut self) {
        let done = match self.below(40) {
            0..=1 => self.buy(),
            2..=7 => self.settle(),
            8..=9 => self.beat(),
            10..=22 => self.claim(),
            23..=24 => self.open_dispute(),
            25..=29 => self.dispute(),
            30..=31 => self.leave(),
            32..=33 => self.withdraw(),
            _ => return self.time(),
        };
        self.note(done);
    }

    fn note(&mut self, done: Done) {
        match done {
            Some((name, Ok(_))) => drop(self.succeeded.insert(name)),
            Some((_, Err(abort))) => drop(self.aborted.insert(abort.name())),
            None => {}
        }
    }

    fn buy(&mut self) -> Done {
        let is_room = self.bench.world.stacks.len() < 3 && self.bench.node(SERVER).disabled_ms == 0;
        if !is_room {
            return None;
        }
        // Who was slashed makes up for it.
        self.bench.epoch += 1;
        for node in (1..=LAST).map(NodeId) {
            let missing = (1_000 * COIN).saturating_sub(self.bench.node(node).collateral.0);
            if missing > 0 {
                add_collateral(&mut self.bench, node, missing);
            }
        }
        self.bench.buy();
        None
    }

    /// Serves some records, and settles them, mostly by who may.
    fn settle(&mut self) -> Done {
        let id = self.any_stack()?;
        for _ in 0..self.below(4) {
            let most = [5, 1_000, 700_000, 3_000_000][usize::try_from(self.below(4)).unwrap()];
            let units = 1 + self.below(most);
            self.bench.serve(id, &[units]);
        }
        let count = self.bench.served.count(id, SERVER);
        if count == 0 {
            return None;
        }
        let count = count - self.below(count.min(3));
        let voucher = self.bench.voucher(id, count);
        let sender = if self.one_in(8) { USER } else { operator(SERVER) };
        Some(("settle", self.bench.settle_as(sender, id, voucher)))
    }

    /// Draws the next round; for one of the waiting claims as the dice say, else a claim is hardly ever drawn.
    fn beat(&mut self) -> Done {
        let waiting: Vec<Target> = self
            .targets()
            .into_iter()
            .filter(|target| self.bench.state(*target) == ClaimState::Waiting)
            .collect();
        let target = self.pick(&waiting);
        let is_drawn = self.one_in(2);
        let seed = match target {
            Some(target) => {
                let p_ppb = self.bench.claim(target).p_ppb;
                self.bench.find_seed(target, |seed| {
                    atoma_contract::claim::chance::is_drawn(&seed, p_ppb) == is_drawn
                        || p_ppb == 1_000_000_000
                })
            }
            None => Hash32::of(&self.next.to_le_bytes()).0,
        };
        Some(("beat", self.bench.beat(seed)))
    }

    /// Does what the claim waits for, or something else.
    fn claim(&mut self) -> Done {
        let target = self.any_target()?;
        let state = self.bench.state(target);
        match (state, self.below(8)) {
            (_, 0) => Some(("mark_late", self.bench.mark_late(target))),
            (_, 1) => Some(("expire", self.bench.expire(target))),
            (_, 2) => Some(("release_claim", self.bench.release(target))),
            (ClaimState::Held, 3..=4) => self.challenge(target),
            (ClaimState::Held, _) => {
                self.bench.pass_hold(target);
                Some(("release_claim", self.bench.release(target)))
            }
            (ClaimState::Audited, _) => {
                for _ in 0..self.below(20) {
                    let is_running =
                        self.targets().contains(&target) && self.bench.state(target) == ClaimState::Audited;
                    let done = if is_running { self.audit(target) } else { None };
                    self.note(done);
                }
                None
            }
            (_, 3) => Some(("resolve_pay", self.bench.resolve_pay(target))),
            _ => {
                let result = self.bench.resolve_audit(target);
                match result {
                    Err(Abort::NotDrawn) => Some(("resolve_pay", self.bench.resolve_pay(target))),
                    result => Some(("resolve_audit", result)),
                }
            }
        }
    }

    fn challenge(&mut self, target: Target) -> Done {
        let shown = match target {
            Target::Channel(id, node) => {
                let count = self.bench.claim(target).count;
                let index = usize::try_from(self.below(count)).unwrap();
                self.bench.served.proven(id, node, index, count)
            }
            Target::Dispute(id) => atoma_contract::audit::Proven {
                record: self.bench.answers[&id].to_bytes(),
                index: 0,
                proof: Vec::new(),
            },
        };
        Some(("challenge_record", self.bench.challenge(USER, target, 10 * COIN, shown)))
    }

    fn audit(&mut self, target: Target) -> Done {
        let audit = self.bench.claim(target).audit.clone().unwrap();
        if self.one_in(12) && audit.late_ms == 0 {
            self.bench.run_out(target);
            return None;
        }
        match audit.phase {
            AuditPhase::Reveal => {
                let good = self.bench.proof_of(target, 0);
                let spoilt = Reveal { which: self.below(2), location: vec![0; 200], ..good.clone() };
                let shown = if self.one_in(6) { spoilt } else { good };
                Some(("reveal_record", self.bench.reveal(target, shown)))
            }
            AuditPhase::Commit => {
                let seats = self.bench.seats(target, SeatState::Seated);
                let verifier = self.pick(&seats)?;
                let verdict = [0, 0, 0, 0, 1, 2, 3][usize::try_from(self.below(7)).unwrap()];
                // Jurors mostly agree with each other, so that juries decide either way.
                let verdict = if audit.round == 1 && !self.one_in(3) { audit.seed.0[0] % 2 } else { verdict };
                let opened = self.bench.verdict(target, verifier, verdict);
                let hash = self.bench.commitment(target, verifier, &opened);
                let count = self.bench.claim(target).round;
                self.opened.insert((target.id(), count, audit.round, verifier), opened);
                Some(("commit_verdict", self.bench.commit(target, verifier, hash)))
            }
            AuditPhase::Verdict => {
                let seats = self.bench.seats(target, SeatState::Committed);
                let verifier = self.pick(&seats)?;
                let round = self.bench.claim(target).round;
                let opened = self.opened[&(target.id(), round, audit.round, verifier)].clone();
                let salt = vec![0; if self.one_in(8) { 31 } else { 32 }];
                let opened = if self.one_in(8) { Opened { salt, ..opened } } else { opened };
                Some(("reveal_verdict", self.bench.open_verdict(target, verifier, opened)))
            }
        }
    }

    fn open_dispute(&mut self) -> Done {
        let id = self.any_stack()?;
        self.nonce += 1 - self.below(10) / 9;
        let units = 1 + self.below(1_000_000);
        let request = self.bench.request(id, self.nonce, units);
        Some(("open", self.bench.open_with(USER, id, &blob(), request)))
    }

    fn dispute(&mut self) -> Done {
        let id = self.any_dispute()?;
        let row = self.bench.disputed(id).clone();
        if !self.bench.world.stacks.contains_key(&row.stack) {
            assert!(matches!(row.state, DisputeState::Answered | DisputeState::Ended), "{row:?}");
            return None;
        }
        let choice = self.below(9);
        if choice >= 6 && row.state == DisputeState::Open {
            self.bench.clock_ms = self.bench.clock_ms.max(row.deadline_ms + self.below(4));
        }
        Some(match choice {
            0..=1 => {
                let units = 1 + self.below(row.max_units.0 + 1);
                let record = record_of(row.request_hash, units);
                let result = self.bench.answer_with(id, &blob(), &record);
                if result.is_ok() {
                    self.bench.answers.insert(id, record);
                }
                ("answer_served", result)
            }
            2 => ("answer_refused", self.bench.refuse(id, COIN)),
            3 => {
                let badge = self.bench.badges[&SERVER].clone();
                let clock_ms = self.bench.clock_ms;
                let result = self.bench.call(STRANGER, 0, |world, ctx| {
                    dispute::demand_body(
                        &world.db,
                        world.disputes.get_mut(&id).unwrap(),
                        &badge,
                        clock_ms,
                        ctx,
                    )
                });
                ("demand_body", result)
            }
            4..=5 => {
                let part = Part { offset: 0, bytes: BODY.to_vec(), is_last: !self.one_in(4) };
                let clock_ms = self.bench.clock_ms;
                let result = self.bench.call(USER, 0, |world, ctx| {
                    dispute::post_body(world.disputes.get_mut(&id).unwrap(), part, clock_ms, ctx)
                });
                ("post_body", result)
            }
            6..=7 => ("mark_dispute_late", self.bench.mark_dispute_late(id)),
            _ => {
                self.bench.clock_ms += 2_000;
                ("expire_dispute", self.bench.expire_dispute(id))
            }
        })
    }

    /// The owner leaves, or somebody refunds.
    fn leave(&mut self) -> Done {
        let id = self.any_stack()?;
        let clock_ms = self.bench.clock_ms;
        Some(match self.below(6) {
            0 => {
                let result = self.bench.call(USER, 0, |world, ctx| {
                    stack::request_close(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
                });
                ("request_close", result)
            }
            1 => {
                let result = self.bench.call(USER, 0, |world, ctx| {
                    stack::revoke_channel(world.stacks.get_mut(&id).unwrap(), SERVER, clock_ms, ctx)
                });
                ("revoke_channel", result)
            }
            2 => {
                let result = self.bench.call(STRANGER, 0, |world, ctx| {
                    stack::reclaim(&world.db, world.stacks.get_mut(&id).unwrap(), SERVER, clock_ms, ctx)
                });
                ("reclaim", result)
            }
            3 => {
                self.bench.clock_ms = self.bench.clock_ms.max(self.bench.stack(id).settle_until_ms() + 1);
                ("refund", self.bench.refund(STRANGER, id))
            }
            _ => ("refund", self.bench.refund(USER, id)),
        })
    }

    fn withdraw(&mut self) -> Done {
        if self.one_in(2) {
            let id = self.any_dispute()?;
            let dues = self.bench.disputed(id).dues.clone();
            let to = self.pick(&dues).map_or(STRANGER, |due| due.to);
            return Some(("withdraw_dispute", self.bench.withdraw_dispute(to, id)));
        }
        let id = self.any_stack()?;
        let dues = self.bench.stack(id).dues.clone();
        let to = self.pick(&dues).map_or(STRANGER, |due| due.to);
        let clock_ms = self.bench.clock_ms;
        let result = self
            .bench
            .call(to, 0, |world, ctx| stack::withdraw(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx));
        Some(("withdraw", result))
    }

    /// Moves on a little, or to just before, at or just after a deadline.
    fn time(&mut self) {
        let target = self.any_target();
        let deadline_ms = target.and_then(|target| {
            let audit = self.bench.claim(target).audit.as_ref()?;
            Some(if audit.late_ms == 0 { audit.deadline_ms } else { audit.late_ms + 2_000 })
        });
        let to = match (deadline_ms, self.below(3)) {
            (Some(deadline_ms), 0) => deadline_ms.saturating_sub(1) + self.below(3),
            (_, 1) => self.bench.clock_ms + self.below(1_500),
            _ => self.bench.clock_ms + 1_000,
        };
        self.bench.clock_ms = self.bench.clock_ms.max(to);
    }

    /// Whoever vanished: anybody brings everything to its end.
    fn end(mut self) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
        self.end_disputes();
        while !self.targets().is_empty() || self.has_queues() {
            self.end_claims();
        }
        self.empty();
        let rebuilt = Books::replay(&self.bench.events).unwrap();
        assert!(&rebuilt == self.bench.auditor.books(), "a fresh indexer differs");
        let decode =
            |event: &Event| Event::decode(event.name(), &event.contents().unwrap()).unwrap().unwrap();
        let decoded: Vec<Event> = self.bench.events.iter().map(decode).collect();
        assert!(decoded == self.bench.events);
        let totals = self.bench.auditor.totals();
        assert_eq!((totals.escrow, totals.entered), (0, totals.accounted()));
        assert_eq!((self.bench.node(SERVER).open_audits, self.bench.node(SERVER).open_disputes), (0, 0));
        (self.succeeded, self.aborted)
    }

    fn end_disputes(&mut self) {
        let ids: Vec<Address> = self.bench.world.disputes.keys().copied().collect();
        for id in ids {
            let row = self.bench.disputed(id);
            if !matches!(row.state, DisputeState::Open | DisputeState::BodyDemanded) {
                continue;
            }
            if row.late_ms == 0 {
                self.bench.clock_ms = self.bench.clock_ms.max(row.deadline_ms + 1);
                self.bench.mark_dispute_late(id).unwrap();
            }
            self.bench.clock_ms += 2_000;
            self.bench.expire_dispute(id).unwrap();
        }
    }

    fn has_queues(&self) -> bool {
        self.bench.world.stacks.values().any(|stack| stack.channel(SERVER).unwrap().queued.is_some())
    }

    fn end_claims(&mut self) {
        self.bench.clock_ms += 1_000;
        self.bench.beat(Hash32::of(&self.bench.clock_ms.to_le_bytes()).0).unwrap();
        for target in self.targets() {
            match self.bench.state(target) {
                ClaimState::Waiting | ClaimState::Challenged => {
                    match self.bench.resolve_audit(target) {
                        Err(Abort::NotDrawn) => self.bench.resolve_pay(target).unwrap(),
                        Err(Abort::Convicted) => self.bench.release(target).unwrap(),
                        other => other.unwrap(),
                    };
                }
                ClaimState::Held => {
                    self.bench.pass_hold(target);
                    let _ = self.bench.release(target);
                }
                ClaimState::Audited => {
                    let audit = self.bench.claim(target).audit.clone().unwrap();
                    if audit.late_ms == 0 {
                        self.bench.clock_ms = self.bench.clock_ms.max(audit.deadline_ms + 1);
                        self.bench.mark_late(target).unwrap();
                    }
                    self.bench.clock_ms += 2_000;
                    self.bench.expire(target).unwrap();
                }
            }
        }
        for stack in self.bench.world.stacks.clone().values() {
            let row = stack.channel(SERVER).unwrap();
            if row.claim.is_none() && row.queued.is_some() {
                self.bench.release(Target::Channel(stack.id, SERVER)).unwrap();
            }
        }
    }

    fn empty(&mut self) {
        for (id, row) in self.bench.world.disputes.clone() {
            for due in row.dues {
                self.bench.withdraw_dispute(due.to, id).unwrap();
            }
            // One that became empty before it ended.
            if self.bench.world.disputes.contains_key(&id) {
                self.bench.withdraw_dispute(STRANGER, id).unwrap();
            }
        }
        for id in self.bench.world.stacks.clone().into_keys() {
            self.bench.clock_ms = self.bench.clock_ms.max(self.bench.stack(id).settle_until_ms() + 1);
            let clock_ms = self.bench.clock_ms;
            self.bench.refund(STRANGER, id).unwrap();
            let dues = self.bench.world.stacks.get(&id).map(|stack| stack.dues.clone());
            for due in dues.unwrap_or_default() {
                let result = self.bench.call(due.to, 0, |world, ctx| {
                    stack::withdraw(world.stacks.get_mut(&id).unwrap(), clock_ms, ctx)
                });
                result.unwrap();
            }
            if self.bench.world.stacks.contains_key(&id) {
                let result = self.bench.call(STRANGER, 0, |world, ctx| {
                    let stack = world.stacks.get_mut(&id).unwrap();
                    stack::sweep(stack, &mut world.treasury, clock_ms, ctx)
                });
                result.unwrap();
            }
        }
        let left: Vec<&Stack> = self.bench.world.stacks.values().collect();
        assert!(
            left.is_empty() && self.bench.world.disputes.is_empty(),
            "{left:?} {:?}",
            self.bench.world.disputes
        );
    }
}

#[test]
fn every_coin_is_in_one_place_whatever_claims_and_disputes_do() {
    let (mut succeeded, mut aborted) = (BTreeSet::new(), BTreeSet::new());
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEQUENCES {
        let played = std::panic::catch_unwind(|| {
            let mut sequence = Sequence::new(seed);
            for _ in 0..OPERATIONS {
                sequence.step();
            }
            let ended = sequence.bench.events.iter().filter_map(|event| match event {
                Event::AuditConcluded(concluded) => Some(concluded.outcome),
                _ => None,
            });
            let ended: BTreeSet<u8> = ended.collect();
            (ended, sequence.end())
        });
        let (ended, (more_succeeded, more_aborted)) =
            played.unwrap_or_else(|_| panic!("sequence of seed {seed}"));
        outcomes.extend(ended);
        succeeded.extend(more_succeeded);
        aborted.extend(more_aborted);
    }
    let every = [
        "answer_refused",
        "answer_served",
        "beat",
        "challenge_record",
        "commit_verdict",
        "demand_body",
        "expire",
        "expire_dispute",
        "mark_dispute_late",
        "mark_late",
        "open",
        "post_body",
        "reclaim",
        "refund",
        "release_claim",
        "request_close",
        "resolve_audit",
        "resolve_pay",
        "reveal_record",
        "reveal_verdict",
        "revoke_channel",
        "settle",
        "withdraw",
        "withdraw_dispute",
    ];
    assert_eq!(succeeded, every.into(), "every entry point succeeded somewhere");
    assert!(aborted.len() >= 22, "{aborted:?}");
    assert!(outcomes.is_superset(&[0, 1, 2, 3, 4].into()), "{outcomes:?}");
}
