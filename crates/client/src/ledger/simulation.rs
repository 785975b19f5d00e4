//! A user's ledger against a simulated node that may lie, with an auditor that knows the truth.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Bounds, Disagreement, Ledger, OpenRequest, Outcome, Terms};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::{
    Address, Hash32, NodeId, Price, Receipt, SecretKey, Signed, Status, Transcript, Units, Voucher,
};
use proptest::prelude::*;
use std::collections::VecDeque;

const WEIGHTS: UnitWeights = UnitWeights { input: 1_000, output: 2_000 };
pub(super) const MAX_UNITS: Units = Units(400);
pub(super) const BOUNDS: Bounds = Bounds { input: 200, output: 2_000, unseen: 16 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    InflatedUnits,
    InflatedTokens,
    WrongTotal,
    WrongRoot,
    RepeatedCount,
    SkippedCount,
    ForeignRequest,
    RepeatedRequest,
    OtherStack,
    OtherResponse,
    OtherKey,
    ChargedFailure,
    ZeroCount,
    /// For a request that it passed on.
    Doubled,
}

const LIES: [Lie; 13] = [
    Lie::InflatedUnits,
    Lie::InflatedTokens,
    Lie::WrongTotal,
    Lie::WrongRoot,
    Lie::RepeatedCount,
    Lie::SkippedCount,
    Lie::ForeignRequest,
    Lie::RepeatedRequest,
    Lie::OtherStack,
    Lie::OtherResponse,
    Lie::OtherKey,
    Lie::ChargedFailure,
    Lie::ZeroCount,
];

/// A node's books, and the truth about them.
pub(super) struct Node {
    key: SecretKey,
    pub(super) terms: Terms,
    transcript: Transcript,
    pub(super) total: Units,
    /// Units and root after each honest record.
    pub(super) truth: Vec<(Units, Hash32)>,
    last: Option<Receipt>,
}

impl Node {
    fn new(granted: u64) -> Self {
        Self::of(4, granted)
    }

    pub(super) fn of(id: u8, granted: u64) -> Self {
        let key = SecretKey::from_seed([5 + id; 32]);
        let terms = Terms {
            db: Address::TWO,
            stack: Address::THREE,
            node: NodeId(id.into()),
            receipt_key: key.public_key(),
            weights: WEIGHTS,
            price: Price(3),
            granted: Units(granted),
        };
        let (transcript, total, truth, last) = (Transcript::new(), Units::ZERO, Vec::new(), None);
        Self { key, terms, transcript, total, truth, last }
    }

    fn sign(&self, receipt: Receipt) -> Signed<Receipt> {
        receipt.sign(&self.key)
    }

    pub(super) fn answer(
        &mut self,
        request_hash: Hash32,
        status: Status,
        input: u64,
        output: u64,
        lie: Option<Lie>,
    ) -> Signed<Receipt> {
        let billable = status.is_billable();
        let units = if billable { WEIGHTS.units(input, output).unwrap() } else { Units::ZERO };
        let mut receipt = Receipt {
            db: self.terms.db,
            stack: self.terms.stack,
            node: self.terms.node,
            request_hash,
            response_hash: response_of(request_hash),
            input,
            output,
            units,
            total_units: self.total.add(units).unwrap(),
            count: u64::try_from(self.transcript.count()).unwrap() + 1,
            root: Hash32::ZERO,
            work: Hash32::ZERO,
            replica_hash: Hash32::ZERO,
            status,
            finished_ms: 0,
        };
        let key = match lie {
            Some(Lie::OtherKey) => SecretKey::from_seed([1; 32]),
            _ => self.key.clone(),
        };
        if let Some(lie) = lie {
            self.bend(&mut receipt, lie);
        }
        receipt.root = self.transcript.root_with(&receipt.record());
        if lie == Some(Lie::WrongRoot) {
            receipt.root = Hash32::of(b"another history");
        }
        self.transcript.append(&receipt.record());
        self.total = receipt.total_units;
        if lie.is_none() && self.truth.len() + 1 == self.transcript.count() {
            self.truth.push((self.total, receipt.root));
        }
        self.last = Some(receipt.clone());
        receipt.sign(&key)
    }

    fn bend(&self, receipt: &mut Receipt, lie: Lie) {
        match lie {
            Lie::InflatedUnits => {
                receipt.units.0 += 1;
                receipt.total_units.0 += 1;
            }
            Lie::InflatedTokens => {
                receipt.output += 1_000;
                receipt.status = Status::Complete;
                receipt.units = WEIGHTS.units(receipt.input, receipt.output).unwrap();
                receipt.total_units = self.total.add(receipt.units).unwrap();
            }
            Lie::WrongTotal => receipt.total_units.0 += 1,
            Lie::RepeatedCount => receipt.count -= 1,
            Lie::SkippedCount => receipt.count += 1_000,
            Lie::ForeignRequest => receipt.request_hash = Hash32::of(b"never asked"),
            Lie::RepeatedRequest => {
                receipt.request_hash =
                    self.last.as_ref().map_or(Hash32::of(b"never asked"), |last| last.request_hash);
            }
            Lie::OtherStack => receipt.stack = Address::TWO,
            Lie::OtherResponse => receipt.response_hash = Hash32::of(b"other bytes"),
            Lie::ChargedFailure => {
                receipt.status = Status::Failed;
                receipt.units = Units(1);
                receipt.total_units = Units(self.total.0 + 1);
            }
            Lie::ZeroCount => receipt.count = 0,
            Lie::WrongRoot | Lie::OtherKey | Lie::Doubled => {}
        }
    }
}

pub(super) fn response_of(request_hash: Hash32) -> Hash32 {
    Hash32::of(request_hash.as_bytes())
}

/// Whatever happened, a voucher covers nothing but what was honestly answered.
pub(super) fn audit(ledger: &Ledger, node: &Node) -> Option<Voucher> {
    let voucher = ledger.voucher()?;
    let (units, root) = node.truth[usize::try_from(voucher.count).unwrap() - 1];
    assert_eq!((voucher.units, voucher.root), (units, root));
    assert!(voucher.units <= node.terms.granted);
    Some(voucher)
}

#[derive(Clone, Debug)]
enum Step {
    Ask,
    Answer { which: usize, input: u64, output: u64, failed: bool },
    Deliver { which: usize },
    Finish { which: usize },
    GiveUp { which: usize },
    Repeat,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Ask),
        6 => (any::<usize>(), 0..60u64, 0..60u64, prop::bool::weighted(0.1))
            .prop_map(|(which, input, output, failed)| Step::Answer { which, input, output, failed }),
        6 => any::<usize>().prop_map(|which| Step::Deliver { which }),
        6 => any::<usize>().prop_map(|which| Step::Finish { which }),
        1 => any::<usize>().prop_map(|which| Step::GiveUp { which }),
        1 => Just(Step::Repeat),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..160)
}

/// The user, the node, and what travels between them.
struct World {
    ledger: Ledger,
    node: Node,
    asked: Vec<Hash32>,
    unfinished: Vec<Hash32>,
    on_the_way: Vec<Signed<Receipt>>,
    delivered: VecDeque<Signed<Receipt>>,
    settled: Vec<Receipt>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let node = Node::new(20_000);
        Self {
            ledger: Ledger::new(node.terms.clone()),
            node,
            asked: Vec::new(),
            unfinished: Vec::new(),
            on_the_way: Vec::new(),
            delivered: VecDeque::new(),
            settled: Vec::new(),
            next: 0,
        }
    }

    fn run(&mut self, step: &Step, lie: Option<Lie>) -> Result<(), Disagreement> {
        match *step {
            Step::Ask => self.ask(),
            Step::Answer { which, input, output, failed } => {
                let Some(request) = take(&mut self.asked, which) else { return Ok(()) };
                let status = if failed { Status::Failed } else { Status::Complete };
                let receipt = self.node.answer(request, status, input, output, lie);
                self.on_the_way.push(receipt);
            }
            Step::Deliver { which } => {
                let Some(receipt) = take(&mut self.on_the_way, which) else { return Ok(()) };
                self.delivered.push_back(receipt.clone());
                let settled = self.ledger.absorb(&receipt)?;
                self.settled.extend(settled.into_iter().map(|signed| signed.message));
            }
            Step::Finish { which } => {
                let Some(request) = take(&mut self.unfinished, which) else { return Ok(()) };
                let outcome = Outcome::Complete { response_hash: response_of(request), tokens: 1_000 };
                let settled = self.ledger.finish(request, outcome)?;
                self.settled.extend(settled.into_iter().map(|signed| signed.message));
            }
            Step::GiveUp { which } => {
                if let Some(request) = take(&mut self.unfinished.clone(), which) {
                    self.ledger.give_up(&request);
                }
            }
            Step::Repeat => {
                if let Some(receipt) = self.delivered.back().cloned() {
                    let settled = self.ledger.absorb(&receipt)?;
                    self.settled.extend(settled.into_iter().map(|signed| signed.message));
                }
            }
            Step::Restart => self.restart(),
        }
        Ok(())
    }

    fn ask(&mut self) {
        if self.ledger.reserve(MAX_UNITS).is_err() {
            return;
        }
        assert!(self.ledger.in_flight() <= self.ledger.window());
        let request = Hash32::of(&self.next.to_le_bytes());
        self.next += 1;
        self.ledger.issue(request, MAX_UNITS, BOUNDS, None);
        self.asked.push(request);
        self.unfinished.push(request);
    }

    /// The user comes back with what was stored: settled receipts, and requests without one.
    fn restart(&mut self) {
        if self.ledger.ended().is_some() {
            return;
        }
        let open = self.ledger.issued.iter().map(|(request_hash, issued)| OpenRequest {
            request_hash: *request_hash,
            max_units: MAX_UNITS,
            bounds: issued.bounds,
            refused: issued.outcome == Some(Outcome::Refused),
            forward_price: issued.forward_price,
        });
        let open: Vec<_> = open.collect();
        let count = self.ledger.count();
        let terms = self.node.terms.clone();
        self.ledger = Ledger::restore(terms, &self.settled, open, None).unwrap();
        assert_eq!(self.ledger.count(), count);
        self.unfinished.clear();
        // Receipts that waited in memory come again from the node.
        self.on_the_way.extend(self.delivered.iter().filter(|one| one.message.count > count).cloned());
    }

    fn finish_everything(&mut self) -> Result<(), Disagreement> {
        while !self.asked.is_empty() {
            self.run(&Step::Answer { which: 0, input: 1, output: 1, failed: false }, None)?;
        }
        while !self.unfinished.is_empty() {
            self.run(&Step::Finish { which: 0 }, None)?;
        }
        while !self.on_the_way.is_empty() {
            self.run(&Step::Deliver { which: 0 }, None)?;
        }
        Ok(())
    }
}

pub(super) fn take<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(which % from.len())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_node_is_acknowledged_in_full(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.run(step, None).unwrap();
            audit(&world.ledger, &world.node);
        }
        world.finish_everything().unwrap();
        let voucher = audit(&world.ledger, &world.node);
        prop_assert_eq!(voucher.map_or(0, |voucher| voucher.count), world.node.truth.len() as u64);
        prop_assert_eq!(world.ledger.in_flight(), 0);
        prop_assert_eq!(world.ledger.units_free().0, 20_000 - world.node.total.0);
    }

    #[test]
    fn a_lying_node_is_never_paid_for_the_lie(steps in steps(), lie in prop::sample::select(&LIES), at in 0..12usize) {
        let mut steps = steps;
        if lie == Lie::OtherResponse {
            // Nobody can say what the answer of a forgotten request was.
            steps.retain(|step| !matches!(step, Step::Restart | Step::GiveUp { .. }));
        }
        let mut world = World::new();
        let (mut answers, mut disagreed) = (0, None);
        for step in &steps {
            let lies = matches!(step, Step::Answer { .. }) && !world.asked.is_empty() && {
                answers += 1;
                answers > at
            };
            disagreed = world.run(step, lies.then_some(lie)).err();
            audit(&world.ledger, &world.node);
            if disagreed.is_some() {
                break;
            }
        }
        if disagreed.is_none() {
            disagreed = world.finish_everything().err();
        }
        let witnessed = !steps.iter().any(|step| matches!(step, Step::Restart | Step::GiveUp { .. }));
        if answers > at && witnessed {
            prop_assert!(disagreed.is_some(), "{lie:?} went unnoticed");
        }
        if let Some(reason) = disagreed {
            prop_assert_eq!(world.ledger.voucher(), None);
            prop_assert_eq!(world.ledger.ended(), Some(&reason));
            prop_assert!(world.ledger.reserve(Units(1)).is_err());
        }
    }
}

/// One request asked and answered with a lie: the reason given.
fn reason(lie: Lie, outcome: Option<Outcome>) -> Disagreement {
    let mut world = World::new();
    world.ask();
    let request = world.asked[0];
    world.run(&Step::Answer { which: 0, input: 5, output: 5, failed: false }, None).unwrap();
    world.run(&Step::Finish { which: 0 }, None).unwrap();
    world.run(&Step::Deliver { which: 0 }, None).unwrap();
    world.ask();
    let _ = request;
    if let Some(outcome) = outcome {
        world.ledger.finish(world.asked[0], outcome).unwrap();
    } else {
        world.run(&Step::Finish { which: 0 }, None).unwrap();
    }
    let lied = world.node.answer(world.asked[0], Status::Complete, 5, 50, Some(lie));
    world.ledger.absorb(&lied).unwrap_err()
}

#[test]
fn each_lie_has_its_precise_reason() {
    assert!(matches!(reason(Lie::InflatedUnits, None), Disagreement::Units { .. }));
    assert!(matches!(reason(Lie::InflatedTokens, None), Disagreement::OverMax { .. }));
    assert!(matches!(reason(Lie::WrongTotal, None), Disagreement::TotalUnits { .. }));
    assert_eq!(reason(Lie::WrongRoot, None), Disagreement::Root);
    assert_eq!(reason(Lie::RepeatedCount, None), Disagreement::TwoCounts(1));
    assert!(matches!(reason(Lie::SkippedCount, None), Disagreement::SkippedCount { most: 2, .. }));
    assert!(matches!(reason(Lie::ForeignRequest, None), Disagreement::UnknownRequest(_)));
    assert!(matches!(reason(Lie::RepeatedRequest, None), Disagreement::UnknownRequest(_)));
    assert_eq!(reason(Lie::OtherStack, None), Disagreement::Foreign);
    assert_eq!(reason(Lie::OtherResponse, None), Disagreement::ResponseHash);
    assert_eq!(reason(Lie::OtherKey, None), Disagreement::Signature);
    assert!(matches!(reason(Lie::ChargedFailure, None), Disagreement::ChargedForNothing { .. }));
}

/// What becomes of one answer with these counts after this outcome.
fn claim(status: Status, outcome: Outcome, input: u64, output: u64) -> Result<usize, Disagreement> {
    let mut world = World::new();
    world.ask();
    let request = world.asked[0];
    world.ledger.finish(request, outcome).unwrap();
    let receipt = world.node.answer(request, status, input, output, None);
    world.ledger.absorb(&receipt).map(|settled| settled.len())
}

#[test]
fn a_refusal_is_not_paid_later() {
    for status in [Status::Complete, Status::Aborted] {
        let found = claim(status, Outcome::Refused, 5, 0);
        assert!(matches!(found, Err(Disagreement::ChargedForNothing { .. })), "{found:?}");
    }
    for status in [Status::Failed, Status::Refused] {
        assert_eq!(claim(status, Outcome::Refused, 0, 0), Ok(1));
    }
}

#[test]
fn a_restart_forgets_neither_a_refusal_nor_what_a_request_allows() {
    for (outcome, input) in [(Outcome::Refused, 5), (Outcome::Unwitnessed, BOUNDS.input + 1)] {
        let mut world = World::new();
        world.ask();
        let request = world.asked[0];
        world.ledger.finish(request, outcome).unwrap();
        world.restart();
        assert_eq!(world.ledger.is_open(&request), outcome != Outcome::Refused);
        let receipt = world.node.answer(request, Status::Complete, input, 0, None);
        let reason = world.ledger.absorb(&receipt).unwrap_err();
        let refused = matches!(reason, Disagreement::ChargedForNothing { .. });
        assert!(refused || matches!(reason, Disagreement::Tokens { .. }), "{reason}");
        assert_eq!(refused, outcome == Outcome::Refused);
    }
}

#[test]
fn no_receipt_claims_more_tokens_than_its_request_allows() {
    let bounds = Bounds { input: 200, output: 100, unseen: 16 };
    let claim = |status, input, output| {
        let mut world = World::new();
        world.ledger.reserve(Units(1_000)).unwrap();
        let request = Hash32::of(b"request");
        world.ledger.issue(request, Units(1_000), bounds, None);
        world.ledger.finish(request, Outcome::Unwitnessed).unwrap();
        let receipt = world.node.answer(request, status, input, output, None);
        world.ledger.absorb(&receipt).map(|settled| settled.len())
    };
    for status in [Status::Complete, Status::Aborted, Status::Failed] {
        assert_eq!(claim(status, 200, 100), Ok(1));
        for (input, output) in [(201, 100), (200, 101), (1 << 32, 0), (0, 1 << 40)] {
            assert_eq!(claim(status, input, output), Err(Disagreement::Tokens { input, output, bounds }));
        }
    }
}

#[test]
fn no_answer_costs_more_output_than_what_arrived_and_what_need_not_show() {
    let response_hash = response_of(Hash32::of(&0u64.to_le_bytes()));
    let complete = Outcome::Complete { response_hash, tokens: 10 };
    for outcome in [complete, Outcome::Broken { tokens: 10 }] {
        for status in [Status::Complete, Status::Aborted] {
            assert_eq!(claim(status, outcome, 5, 26), Ok(1));
            let lie = Disagreement::UnseenOutput { output: 27, most: 26 };
            assert_eq!(claim(status, outcome, 5, 27), Err(lie));
        }
        assert_eq!(claim(Status::Failed, outcome, 5, 27), Ok(1));
    }
}

#[test]
fn the_window_grows_with_what_was_checked() {
    let mut world = World::new();
    for expected in 1..=70u64 {
        assert_eq!(world.ledger.window(), expected.min(super::WINDOW_MAX));
        world.ask();
        world.run(&Step::Answer { which: 0, input: 1, output: 1, failed: false }, None).unwrap();
        world.run(&Step::Finish { which: 0 }, None).unwrap();
        world.run(&Step::Deliver { which: 0 }, None).unwrap();
    }
    assert_eq!(world.ledger.in_flight(), 0);
}

#[test]
fn a_receipt_that_waits_for_an_earlier_one_shows() {
    let mut world = World::new();
    world.ask();
    world.run(&Step::Answer { which: 0, input: 1, output: 1, failed: false }, None).unwrap();
    // The user hung up and heard no more of it.
    world.ledger.finish(world.unfinished[0], Outcome::Broken { tokens: 1 }).unwrap();
    world.ledger.give_up(&world.unfinished[0]);
    world.ask();
    world.run(&Step::Answer { which: 0, input: 1, output: 1, failed: false }, None).unwrap();
    world.run(&Step::Finish { which: 1 }, None).unwrap();
    assert!(!world.ledger.has_gap());
    world.run(&Step::Deliver { which: 1 }, None).unwrap();
    assert!(world.ledger.has_gap());
    world.run(&Step::Deliver { which: 0 }, None).unwrap();
    assert_eq!((world.ledger.has_gap(), world.ledger.count()), (false, 2));
}

#[test]
fn two_receipts_for_one_count_end_the_channel() {
    let mut world = World::new();
    world.ask();
    let receipt = world.node.answer(world.asked[0], Status::Complete, 1, 1, None);
    world.ledger.absorb(&receipt).unwrap();
    let mut other = receipt.message.clone();
    other.finished_ms = 1;
    let other = world.node.sign(other);
    assert_eq!(world.ledger.absorb(&other), Err(Disagreement::TwoCounts(1)));
}

#[test]
fn a_cost_is_the_difference_at_the_totals() {
    let mut world = World::new();
    let mut sum = 0;
    for _ in 0..50 {
        world.ask();
        world.run(&Step::Answer { which: 0, input: 100, output: 100, failed: false }, None).unwrap();
        world.run(&Step::Finish { which: 0 }, None).unwrap();
        world.run(&Step::Deliver { which: 0 }, None).unwrap();
        sum += super::cost(world.node.terms.price, world.settled.last().unwrap()).unwrap().0;
    }
    assert_eq!(sum, world.node.terms.price.cost(world.ledger.total_units()).unwrap().0);
}
