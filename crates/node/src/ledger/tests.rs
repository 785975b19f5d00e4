#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

const GRANTED: u64 = 1_000;

fn user() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn node() -> SecretKey {
    SecretKey::from_seed([2; 32])
}

fn terms() -> Terms {
    Terms {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        task: TaskId(1),
        request_key: user().public_key(),
        weights: UnitWeights::default(),
        price: Price(100),
    }
}

fn limits() -> Limits {
    Limits {
        granted: Units(GRANTED),
        grant_nonce: 1,
        ends_ms: 1_000_000,
        settle_until_ms: 2_000_000,
        closed: false,
        settled_units: Units::ZERO,
        settled_count: 0,
    }
}

fn ledger() -> Ledger {
    Ledger::new(terms(), limits())
}

fn now() -> Now {
    Now { wall_ms: 500, chain_ms: 500 }
}

fn auth(nonce: u64, max_units: u64) -> RequestAuth {
    RequestAuth {
        db: Address::TWO,
        stack: Address::THREE,
        node: NodeId(1),
        hops: 0,
        nonce,
        body_hash: Hash32::of(&nonce.to_le_bytes()),
        max_units: Units(max_units),
        expires_ms: 60_000,
    }
}

fn usage(status: Status, input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        response_hash: Hash32::of(b"answer"),
        work: Hash32::ZERO,
        status,
        finished_ms: 600,
    }
}

fn serve(ledger: &mut Ledger, nonce: u64, output: u64) -> Signed<Receipt> {
    let ticket = ledger.admit(&auth(nonce, output + 1), now()).unwrap();
    ledger.start(&ticket);
    ledger.complete(&ticket, usage(Status::Complete, 1, output), &node()).unwrap()
}

fn voucher(ledger: &Ledger, count: u64) -> Signed<Voucher> {
    let (units, root) = ledger.at(count).unwrap();
    let voucher = Voucher { db: Address::TWO, stack: Address::THREE, node: NodeId(1), units, count, root };
    voucher.sign(&user())
}

#[test]
fn an_answer_is_charged_once_and_receipted() {
    let mut ledger = ledger();
    let receipt = serve(&mut ledger, 7, 9);
    assert!(receipt.verify(&node().public_key()).is_ok());
    assert_eq!(
        (receipt.message.units, receipt.message.total_units, receipt.message.count),
        (Units(10), Units(10), 1)
    );
    assert_eq!(receipt.message.root, ledger.root());
    assert_eq!(ledger.available(), Units(GRANTED - 10));
    assert_eq!(ledger.admit(&auth(7, 10), now()), Err(Refusal::Replayed(7)));
}

#[test]
fn a_released_ticket_leaves_no_trace() {
    let mut ledger = ledger();
    let ticket = ledger.admit(&auth(7, GRANTED), now()).unwrap();
    assert_eq!(ledger.available(), Units::ZERO);
    assert_eq!(ledger.admit(&auth(7, 1), now()), Err(Refusal::Replayed(7)));
    ledger.release(&ticket);
    assert_eq!(ledger.available(), Units(GRANTED));
    assert!(ledger.admit(&auth(7, 1), now()).is_ok());
}

#[test]
fn the_window_starts_at_one_and_grows_with_acknowledgements() {
    let mut ledger = ledger();
    let _ticket = ledger.admit(&auth(1, 1), now()).unwrap();
    assert_eq!(ledger.admit(&auth(2, 1), now()), Err(Refusal::WindowBusy));
    let mut ledger = self::ledger();
    serve(&mut ledger, 1, 1);
    assert_eq!(ledger.admit(&auth(2, 1), now()), Err(Refusal::MissingReceipt { from: 1 }));
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    let _both = (ledger.admit(&auth(2, 1), now()).unwrap(), ledger.admit(&auth(3, 1), now()).unwrap());
    assert_eq!(ledger.admit(&auth(4, 1), now()), Err(Refusal::WindowBusy));
}

#[test]
fn more_than_granted_is_refused_with_what_is_left() {
    let mut ledger = ledger();
    let wanted = Units(GRANTED + 1);
    assert_eq!(
        ledger.admit(&auth(1, wanted.0), now()),
        Err(Refusal::Insufficient { wanted, available: Units(GRANTED) })
    );
    assert_eq!(
        ledger.admit(&auth(1, u64::MAX), now()).err(),
        Some(Refusal::Insufficient { wanted: Units::MAX, available: Units(GRANTED) })
    );
    assert_eq!(ledger.admit(&auth(1, 0), now()), Err(Refusal::NoUnits));
}

#[test]
fn an_ended_or_closed_channel_takes_no_request() {
    let mut ledger = ledger();
    let late = Now { wall_ms: 500, chain_ms: 1_000_000 };
    assert_eq!(ledger.admit(&auth(1, 1), late), Err(Refusal::Ended));
    let long = RequestAuth { expires_ms: 2_000_001, ..auth(1, 1) };
    assert_eq!(ledger.admit(&long, now()), Err(Refusal::OutlivesStack));
    ledger.update_limits(Limits { closed: true, ..limits() });
    ledger.update_limits(limits());
    assert_eq!(ledger.admit(&auth(1, 1), now()), Err(Refusal::Ended));
}

#[test]
fn a_count_settled_behind_the_nodes_back_closes_the_channel_and_voids_nothing() {
    let mut ledger = ledger();
    let first = serve(&mut ledger, 1, 9);
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    let forked = Limits { settled_units: Units(1), settled_count: u64::MAX, ..limits() };
    let journaled = Journaled { nonces: vec![1], receipts: vec![first], voucher: ledger.voucher().cloned() };
    let restored = Ledger::restore(terms(), forked, journaled).unwrap();
    ledger.update_limits(forked);
    for mut ledger in [ledger, restored] {
        assert_eq!(ledger.admit(&auth(2, 1), now()), Err(Refusal::Ended));
        assert_eq!(ledger.unsettled().map(|(units, _)| units), Some(Units(9)));
        ledger.update_limits(Limits { settled_units: Units(10), settled_count: u64::MAX, ..limits() });
        assert_eq!(ledger.unsettled(), None);
    }
}

#[test]
fn a_closed_channel_waits_for_the_vouchers_of_its_receipts() {
    let mut ledger = ledger();
    serve(&mut ledger, 1, 9);
    assert!(
        !ledger.is_over(limits().settle_until_ms - 1, Amount::ZERO)
            && ledger.is_over(limits().settle_until_ms, Amount::ZERO)
    );
    ledger.update_limits(Limits { closed: true, ..limits() });
    assert!(!ledger.is_over(0, Amount::ZERO), "a voucher may still come");
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    assert!(!ledger.is_over(0, Amount::ZERO), "it is not settled");
    ledger.update_limits(Limits { settled_units: Units(10), settled_count: 1, ..limits() });
    assert!(ledger.is_over(0, Amount::ZERO));
    ledger.update_limits(Limits { settled_units: Units(10), settled_count: 2, ..limits() });
    assert!(
        !ledger.is_over(0, Amount::ZERO) && ledger.is_over(limits().settle_until_ms, Amount::ZERO),
        "the user forked it"
    );
}

#[test]
fn dust_is_given_up_at_the_end() {
    let mut ledger = Ledger::new(Terms { price: Price(1_000_000), ..terms() }, limits());
    serve(&mut ledger, 1, 9);
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    let worth = |ledger: &Ledger, least| ledger.unsettled_worth(Amount(least)).is_some();
    assert!(worth(&ledger, 10) && !worth(&ledger, 11));
    assert!(!ledger.is_over(0, Amount(11)), "more may come");
    ledger.update_limits(Limits { closed: true, ..limits() });
    assert!(ledger.is_over(0, Amount(11)) && !ledger.is_over(0, Amount(10)));
    // What was settled before does not make the rest worth more.
    ledger.update_limits(Limits { settled_units: Units(4), ..limits() });
    assert!(worth(&ledger, 6) && !worth(&ledger, 7));
}

#[test]
fn settled_units_and_counts_never_go_back() {
    let mut ledger = ledger();
    serve(&mut ledger, 1, 9);
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    ledger.update_limits(Limits { settled_units: Units(10), settled_count: 1, ..limits() });
    ledger.update_limits(limits());
    assert_eq!((ledger.limits().settled_units, ledger.limits().settled_count), (Units(10), 1));
    assert!(ledger.unsettled().is_none() && !ledger.limits().closed);
}

#[test]
fn failures_and_overruns_cost_nothing() {
    let mut ledger = ledger();
    let ticket = ledger.admit(&auth(1, 10), now()).unwrap();
    let receipt = ledger.complete(&ticket, usage(Status::Failed, 5, 5), &node()).unwrap();
    assert_eq!((receipt.message.status, receipt.message.units), (Status::Failed, Units::ZERO));
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    let ticket = ledger.admit(&auth(2, 10), now()).unwrap();
    let receipt = ledger.complete(&ticket, usage(Status::Complete, 5, 6), &node()).unwrap();
    assert_eq!((receipt.message.status, receipt.message.units), (Status::Failed, Units::ZERO));
    assert_eq!(
        ledger.complete(&ticket, usage(Status::Complete, 1, 1), &node()),
        Err(BookingError::NotInFlight)
    );
}

#[test]
fn vouchers_must_agree_with_the_transcript() {
    let mut ledger = ledger();
    serve(&mut ledger, 1, 1);
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    serve(&mut ledger, 2, 1);
    let good = voucher(&ledger, 2).message;
    let refused = |voucher: Voucher| ledger.clone().acknowledge(&voucher.sign(&user())).unwrap_err();
    assert_eq!(refused(Voucher { node: NodeId(2), ..good.clone() }), VoucherRefusal::Foreign);
    assert_eq!(refused(Voucher { count: 3, ..good.clone() }), VoucherRefusal::Ahead { voucher: 3, own: 2 });
    assert_eq!(refused(Voucher { units: Units(5), ..good.clone() }), VoucherRefusal::Mismatch { count: 2 });
    assert_eq!(
        refused(Voucher { root: Hash32::ZERO, ..good.clone() }),
        VoucherRefusal::Mismatch { count: 2 }
    );
    assert_eq!(
        refused(Voucher { units: Units(1), ..good.clone() }),
        VoucherRefusal::Backwards { voucher: 1, acknowledged: 2 }
    );
    assert_eq!(ledger.acknowledge(&good.sign(&user())), Ok(Acknowledged::Advanced));
    assert_eq!(ledger.acknowledge(&voucher(&ledger, 1)), Ok(Acknowledged::Unchanged));
    assert_eq!(ledger.acknowledged_count(), 2);
}

#[test]
fn old_receipts_leave_memory_once_acknowledged() {
    let mut ledger = ledger();
    for nonce in 0..200 {
        serve(&mut ledger, nonce, 0);
        ledger.acknowledge(&voucher(&ledger, nonce + 1)).unwrap();
    }
    assert_eq!(ledger.recent.len(), RECEIPTS_PER_PAGE);
    assert_eq!(ledger.recent_from(1), None);
    assert_eq!(ledger.recent_from(199).unwrap().len(), 2);
    assert_eq!(ledger.recent_from(201), Some(Vec::new()));
}

#[test]
fn a_journal_that_contradicts_itself_is_refused() {
    let mut ledger = ledger();
    let first = serve(&mut ledger, 1, 1);
    ledger.acknowledge(&voucher(&ledger, 1)).unwrap();
    let second = serve(&mut ledger, 2, 1);
    let restore = |receipts: Vec<Signed<Receipt>>, voucher| {
        Ledger::restore(terms(), limits(), Journaled { nonces: vec![1, 2], receipts, voucher }).map(|_| ())
    };
    assert_eq!(restore(vec![second.clone()], None), Err(RestoreError::Gap { expected: 1, found: 2 }));
    let mut wrong = second.clone();
    wrong.message.total_units = Units(9);
    assert_eq!(restore(vec![first.clone(), wrong], None), Err(RestoreError::Broken(2)));
    let ahead = voucher(&ledger, 2);
    assert!(matches!(restore(vec![first.clone()], Some(ahead.clone())), Err(RestoreError::Voucher(_))));
    assert_eq!(restore(vec![first, second], Some(ahead)), Ok(()));
}

/// One step of a client and a node that do what they like.
#[derive(Clone, Debug)]
enum Step {
    Admit { nonce: u64, units: u64 },
    Release(usize),
    Complete { pick: usize, input: u64, output: u64, status: u8 },
    Acknowledge { back: u64, lie: u64 },
    Grant(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40u64, 0..400u64).prop_map(|(nonce, units)| Step::Admit { nonce, units }),
        1 => any::<usize>().prop_map(Step::Release),
        4 => (any::<usize>(), 0..200u64, 0..250u64, 0..4u8)
            .prop_map(|(pick, input, output, status)| Step::Complete { pick, input, output, status }),
        4 => (0..4u64, 0..8u64).prop_map(|(back, lie)| Step::Acknowledge { back, lie }),
        1 => (0..3_000u64).prop_map(Step::Grant),
    ]
}

/// The books with everything that was journaled beside them.
struct World {
    live: Ledger,
    open: Vec<Ticket>,
    journaled: Journaled,
    granted_most: u64,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Admit { nonce, units } => {
                if let Ok(ticket) = self.live.admit(&auth(nonce, units), now()) {
                    self.live.start(&ticket);
                    self.journaled.nonces.push(ticket.nonce);
                    self.open.push(ticket);
                }
            }
            Step::Release(pick) => {
                if let Some(ticket) = self.take(pick) {
                    self.live.release(&ticket);
                }
            }
            Step::Complete { pick, input, output, status } => {
                if let Some(ticket) = self.take(pick) {
                    let usage = usage(Status::try_from(status).unwrap(), input, output);
                    let receipt = self.live.complete(&ticket, usage, &node()).unwrap();
                    self.journaled.receipts.push(receipt);
                }
            }
            Step::Acknowledge { back, lie } => {
                let count = self.live.count().saturating_sub(back);
                let mut voucher = voucher(&self.live, count).message;
                voucher.units = Units(voucher.units.0 + lie / 7);
                let signed = voucher.sign(&user());
                if self.live.acknowledge(&signed) == Ok(Acknowledged::Advanced) {
                    self.journaled.voucher = Some(signed);
                }
            }
            Step::Grant(units) => {
                let old = *self.live.limits();
                self.granted_most = self.granted_most.max(units);
                let granted = Units(units.max(old.granted.0));
                self.live.update_limits(Limits { granted, grant_nonce: old.grant_nonce + 1, ..old });
            }
        }
    }

    fn take(&mut self, pick: usize) -> Option<Ticket> {
        let index = pick.checked_rem(self.open.len())?;
        Some(self.open.swap_remove(index))
    }

    fn check(&self) {
        let ledger = &self.live;
        assert!(ledger.total_units().0 + ledger.reserved.0 <= self.granted_most.max(GRANTED));
        let unacknowledged = ledger.count() - ledger.acknowledged_count();
        assert!(unacknowledged + u64::try_from(ledger.in_flight()).unwrap() <= ledger.window());
        assert_eq!(ledger.reserved.0, self.open.iter().map(|ticket| ticket.max_units.0).sum::<u64>());
        if let Some(newest) = self.journaled.receipts.last() {
            let receipt = &newest.message;
            assert_eq!(
                (receipt.count, receipt.root, receipt.total_units),
                (ledger.count(), ledger.root(), ledger.total_units())
            );
        }
        let charged: u64 = self.journaled.receipts.iter().map(|receipt| receipt.message.units.0).sum();
        assert_eq!(charged, ledger.total_units().0);
    }

    fn check_restored(&self) {
        let restored = Ledger::restore(terms(), *self.live.limits(), self.journaled.clone()).unwrap();
        assert_eq!(restored.root(), self.live.root());
        assert_eq!(restored.totals, self.live.totals);
        assert_eq!(restored.nonces, self.live.nonces);
        assert_eq!(restored.voucher, self.live.voucher);
        assert_eq!(
            restored.recent_from(self.live.acknowledged_count() + 1),
            self.live.recent_from(self.live.acknowledged_count() + 1)
        );
        assert_eq!(restored.in_flight(), 0);
    }
}

proptest! {
    #[test]
    fn no_sequence_breaks_the_books(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World { live: ledger(), open: Vec::new(), journaled: Journaled::default(), granted_most: GRANTED };
        for step in steps {
            world.step(step);
            world.check();
        }
        world.check_restored();
    }
}
