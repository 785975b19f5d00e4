//! The ledgers of one stack against two simulated nodes that pass requests on to each other, honestly or charging for
//! them as well.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::simulation::{BOUNDS, Lie, MAX_UNITS, Node, audit, response_of, take};
use super::{Disagreement, Ledger, NotMoved, OpenRequest, Outcome};
use atoma_types::{Hash32, Price, Receipt, Signed, Status};
use proptest::prelude::*;
use std::collections::HashSet;

const GRANTED: u64 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    Ask {
        at: usize,
    },
    /// The node that was asked answers.
    Serve {
        which: usize,
        output: u64,
    },
    /// The other one does. `doubles`: and so does the one that was asked.
    PassOn {
        which: usize,
        output: u64,
        doubles: bool,
    },
    /// The user reads who answers.
    Follow {
        which: usize,
    },
    /// The user has read it all.
    Finish {
        which: usize,
    },
    Deliver {
        which: usize,
    },
    Restart,
}

fn steps(doubles: f64) -> impl Strategy<Value = Vec<Step>> {
    let (which, output) = (any::<usize>(), 0..60u64);
    let step = prop_oneof![
        6 => (0..2usize).prop_map(|at| Step::Ask { at }),
        3 => (which, output.clone()).prop_map(|(which, output)| Step::Serve { which, output }),
        3 => (which, output, prop::bool::weighted(doubles))
            .prop_map(|(which, output, doubles)| Step::PassOn { which, output, doubles }),
        4 => which.prop_map(|which| Step::Follow { which }),
        6 => which.prop_map(|which| Step::Finish { which }),
        6 => which.prop_map(|which| Step::Deliver { which }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..160)
}

/// A request on its way through the world.
#[derive(Clone, Copy)]
struct Request {
    hash: Hash32,
    asked: usize,
    /// Who answers.
    answers: Option<usize>,
}

struct World {
    ledgers: [Ledger; 2],
    nodes: [Node; 2],
    requests: Vec<Request>,
    on_the_way: Vec<(usize, Signed<Receipt>)>,
    settled: [Vec<Receipt>; 2],
    doubled: HashSet<usize>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let nodes = [Node::of(4, GRANTED), Node::of(5, GRANTED)];
        let ledgers = nodes.each_ref().map(|node| {
            let mut ledger = Ledger::new(node.terms.clone());
            ledger.take_over();
            ledger
        });
        let (requests, on_the_way, settled) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        Self { ledgers, nodes, requests, on_the_way, settled, doubled: HashSet::new(), next: 0 }
    }

    fn price(&self) -> Price {
        self.nodes[0].terms.price
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Ask { at } => self.ask(at),
            Step::Serve { which, output } => {
                if let Some(request) = self.unanswered(which) {
                    let asked = self.requests[request].asked;
                    self.answer(request, asked, output);
                }
            }
            Step::PassOn { which, output, doubles } => {
                let Some(request) = self.unanswered(which) else { return };
                let Request { hash, asked, .. } = self.requests[request];
                self.answer(request, 1 - asked, output);
                if doubles {
                    self.doubled.insert(asked);
                    let lie = self.nodes[asked].answer(hash, Status::Complete, 5, output, Some(Lie::Doubled));
                    self.on_the_way.push((asked, lie));
                }
            }
            Step::Follow { which } => {
                let count = self.requests.len().max(1);
                if let Some(request) = self.requests.get(which % count).copied() {
                    self.follow(request);
                }
            }
            Step::Finish { which } => {
                let answered = |request: &Request| request.answers.is_some();
                let Some(at) = pick(&self.requests, which, answered) else { return };
                let request = self.requests.swap_remove(at);
                self.follow(request);
                let outcome = Outcome::Complete { response_hash: response_of(request.hash), tokens: 1_000 };
                let who = request.answers.unwrap();
                let settled = self.ledgers[who].finish(request.hash, outcome);
                self.settle(who, settled);
            }
            Step::Deliver { which } => {
                let Some((who, receipt)) = take(&mut self.on_the_way, which) else { return };
                let hash = receipt.message.request_hash;
                let is_unknown = self.ledgers[who].ended().is_none() && !self.ledgers[who].has_asked(&hash);
                if is_unknown && self.ledgers[1 - who].may_move(&hash) {
                    // Without the other node's word for it, it is not looked at; it comes again.
                    self.on_the_way.push((who, receipt));
                    return;
                }
                let settled = self.ledgers[who].absorb(&receipt);
                self.settle(who, settled);
            }
            Step::Restart => self.restart(),
        }
    }

    fn ask(&mut self, at: usize) {
        if self.ledgers[at].reserve(MAX_UNITS).is_err() {
            return;
        }
        let hash = Hash32::of(&self.next.to_le_bytes());
        self.next += 1;
        let price = self.price();
        self.ledgers[at].issue(hash, MAX_UNITS, BOUNDS, Some(price));
        self.requests.push(Request { hash, asked: at, answers: None });
    }

    fn unanswered(&self, which: usize) -> Option<usize> {
        pick(&self.requests, which, |request| request.answers.is_none())
    }

    fn answer(&mut self, request: usize, who: usize, output: u64) {
        let hash = self.requests[request].hash;
        self.requests[request].answers = Some(who);
        let receipt = self.nodes[who].answer(hash, Status::Complete, 5, output, None);
        self.on_the_way.push((who, receipt));
    }

    /// Moves a request to the ledger of who answers it.
    fn follow(&mut self, request: Request) {
        let Some(to) = request.answers.filter(|to| *to != request.asked) else { return };
        if self.ledgers[to].has_asked(&request.hash) {
            return;
        }
        if self.ledgers[to].ended().is_some() {
            let settled = self.ledgers[request.asked].finish(request.hash, Outcome::Refused);
            return self.settle(request.asked, settled);
        }
        let price = self.price();
        if let Ok(moved) = self.ledgers[request.asked].release(&request.hash, price) {
            self.ledgers[to].adopt(request.hash, moved);
        }
        let asked = &self.ledgers[request.asked];
        assert!(asked.ended().is_some() || !asked.has_asked(&request.hash));
    }

    fn settle(&mut self, who: usize, settled: Result<Vec<Signed<Receipt>>, Disagreement>) {
        match settled {
            Ok(settled) => self.settled[who].extend(settled.into_iter().map(|signed| signed.message)),
            // Whoever took over from one that is caught loses what is not followed yet, as any request in flight does.
            Err(reason) => {
                let caught = self.ledgers[1 - who].ended().is_some();
                assert!(self.doubled.contains(&who) || caught, "{reason}");
            }
        }
    }

    /// Both ledgers come back with what was stored; what is in flight is forgotten, and its receipts come again.
    fn restart(&mut self) {
        for who in 0..2 {
            let ledger = &self.ledgers[who];
            let open: Vec<_> = ledger
                .issued
                .iter()
                .map(|(request_hash, issued)| OpenRequest {
                    request_hash: *request_hash,
                    max_units: issued.max_units,
                    bounds: issued.bounds,
                    refused: issued.outcome == Some(Outcome::Refused),
                    forward_price: issued.forward_price,
                })
                .collect();
            let waiting: Vec<_> = ledger.waiting.values().map(|receipt| (who, receipt.clone())).collect();
            let ended = ledger.ended().map(ToString::to_string);
            let terms = ledger.terms().clone();
            let restored = Ledger::restore(terms, &self.settled[who], open, ended).unwrap();
            assert_eq!(restored.total_units(), ledger.total_units());
            self.ledgers[who] = restored;
            self.ledgers[who].take_over();
            self.on_the_way.extend(waiting);
        }
    }

    fn finish_everything(&mut self) {
        while let Some(request) = self.unanswered(0) {
            let asked = self.requests[request].asked;
            self.answer(request, asked, 1);
        }
        while !self.requests.is_empty() {
            self.run(&Step::Finish { which: 0 });
        }
        while !self.on_the_way.is_empty() {
            self.run(&Step::Deliver { which: 0 });
        }
    }

    fn audit(&self) {
        let mut seen = HashSet::new();
        for who in 0..2 {
            audit(&self.ledgers[who], &self.nodes[who]);
            assert!(self.settled[who].iter().all(|receipt| seen.insert(receipt.request_hash)), "paid twice");
            let open = self.ledgers[who].issued.keys();
            assert!(open.into_iter().all(|request| seen.insert(*request)), "set aside twice");
        }
    }
}

/// One of those that are as wanted.
fn pick<T>(from: &[T], which: usize, wanted: impl Fn(&T) -> bool) -> Option<usize> {
    let able: Vec<usize> = (0..from.len()).filter(|at| wanted(&from[*at])).collect();
    (!able.is_empty()).then(|| able[which % able.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn honest_nodes_are_acknowledged_in_full_whoever_answers(steps in steps(0.0)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.audit();
        }
        world.finish_everything();
        world.audit();
        for (ledger, node) in world.ledgers.iter().zip(&world.nodes) {
            let acknowledged = ledger.voucher().map_or(0, |voucher| voucher.count);
            prop_assert_eq!(acknowledged, node.truth.len() as u64);
            prop_assert_eq!(ledger.in_flight(), 0);
            prop_assert_eq!(ledger.units_free().0, GRANTED - node.total.0);
        }
    }

    #[test]
    fn who_passes_on_and_charges_is_not_paid_for_it(steps in steps(0.3)) {
        let mut world = World::new();
        // A user who forgets that it was told who answers pays whoever comes first.
        for step in steps.iter().filter(|step| !matches!(step, Step::Restart)) {
            world.run(step);
            world.audit();
        }
        world.finish_everything();
        world.audit();
        for who in &world.doubled {
            prop_assert!(world.ledgers[*who].ended().is_some());
            prop_assert_eq!(world.ledgers[*who].voucher(), None);
        }
    }
}

fn asked(forward_price: Option<Price>) -> (World, Hash32) {
    let mut world = World::new();
    let hash = Hash32::of(b"request");
    world.ledgers[0].reserve(MAX_UNITS).unwrap();
    world.ledgers[0].issue(hash, MAX_UNITS, BOUNDS, forward_price);
    (world, hash)
}

#[test]
fn a_request_moves_once_at_most_at_its_price_and_only_if_it_may() {
    let released = |world: &mut World, hash, price| world.ledgers[0].release(&hash, Price(price));
    let (mut world, hash) = asked(None);
    assert_eq!(released(&mut world, hash, 1).unwrap_err(), NotMoved::NotOpen);
    let (mut world, hash) = asked(Some(Price(3)));
    assert_eq!(released(&mut world, hash, 4).unwrap_err(), NotMoved::Dearer);
    let moved = released(&mut world, hash, 3).unwrap();
    assert_eq!((world.ledgers[0].in_flight(), world.ledgers[0].units_free().0), (0, GRANTED));
    assert_eq!(released(&mut world, hash, 3).unwrap_err(), NotMoved::NotOpen);
    world.ledgers[1].adopt(hash, moved);
    assert_eq!(world.ledgers[1].in_flight(), 1);
    assert_eq!(world.ledgers[1].release(&hash, Price(0)).unwrap_err(), NotMoved::NotOpen);
    let (mut world, hash) = asked(Some(Price(3)));
    world.ledgers[0].finish(hash, Outcome::Refused).unwrap();
    assert_eq!(released(&mut world, hash, 3).unwrap_err(), NotMoved::NotOpen);
}

#[test]
fn a_charge_for_what_was_passed_on_ends_the_channel_early_or_late() {
    for early in [true, false] {
        let (mut world, hash) = asked(Some(Price(3)));
        let lie = world.nodes[0].answer(hash, Status::Complete, 5, 5, None);
        if early {
            world.ledgers[0].absorb(&lie).unwrap();
        }
        let moved = world.ledgers[0].release(&hash, Price(3)).unwrap();
        world.ledgers[1].adopt(hash, moved);
        let late = world.ledgers[0].absorb(&lie).unwrap_err();
        let expected = if early { Disagreement::Forwarded(hash) } else { Disagreement::UnknownRequest(hash) };
        assert_eq!(late, expected);
        let receipt = world.nodes[1].answer(hash, Status::Complete, 5, 5, None);
        world.ledgers[1].finish(hash, Outcome::Unwitnessed).unwrap();
        assert_eq!(world.ledgers[1].absorb(&receipt).unwrap().len(), 1);
    }
}
