//! Reveals, verdicts, juries and challenges.

use crate::bench::*;
use crate::served::digest;
use atoma_contract::audit::{FAIL, INCONCLUSIVE, Opened, PASS, Proven, Reveal, UNREADABLE};
use atoma_types::onchain::{Abort, AuditPhase, AuditTerms, ClaimState, Event, SeatState};
use atoma_types::{Amount, Hash32, NodeId};

/// The same after a first verifier who found a fault: a jury sits.
fn tried() -> (Bench, Target) {
    let (mut bench, target) = Bench::audited();
    bench.judge(target, |_| FAIL);
    assert_eq!(bench.seats(target, SeatState::Seated).len(), 7);
    (bench, target)
}

fn first(bench: &Bench, target: Target) -> NodeId {
    bench.claim(target).audit.as_ref().unwrap().seats[0].verifier
}

fn outcome(bench: &Bench) -> u8 {
    let outcomes = bench.events.iter().rev().find_map(|event| match event {
        Event::AuditConcluded(concluded) => Some(concluded.outcome),
        _ => None,
    });
    outcomes.unwrap()
}

#[test]
fn only_the_record_that_was_drawn_meets_the_offset() {
    let (mut bench, target) = Bench::audited();
    let Target::Channel(id, _) = target else { unreachable!() };
    let good = bench.proof_of(target, 0);
    let other = (good.shown.index + 1) % 200;
    let wrong = bench.served.proven(id, SERVER, usize::try_from(other).unwrap(), 200);
    assert_eq!(abort(bench.reveal(target, Reveal { shown: wrong, ..good.clone() })), Abort::BadProof);
    let moved = Proven { index: other, ..good.shown.clone() };
    assert_eq!(abort(bench.reveal(target, Reveal { shown: moved, ..good.clone() })), Abort::BadProof);
    let mut tampered = good.shown.clone();
    tampered.record[139] ^= 1;
    assert_eq!(abort(bench.reveal(target, Reveal { shown: tampered, ..good.clone() })), Abort::BadProof);
    let short = Proven { record: good.shown.record[1..].to_vec(), ..good.shown.clone() };
    assert_eq!(abort(bench.reveal(target, Reveal { shown: short, ..good.clone() })), Abort::BadRecord);
    let mut thin = good.shown.clone();
    thin.proof[0].pop();
    assert_eq!(abort(bench.reveal(target, Reveal { shown: thin, ..good.clone() })), Abort::BadProof);
    let long = Reveal { location: vec![1; 129], ..good.clone() };
    assert_eq!(abort(bench.reveal(target, long)), Abort::BadArgument);
    assert_eq!(abort(bench.reveal(target, Reveal { which: 1, ..good.clone() })), Abort::BadArgument);
    bench.reveal(target, good.clone()).unwrap();
    assert_eq!(abort(bench.reveal(target, good)), Abort::WrongPhase);
}

/// Only the node reveals, only seats judge, and each once.
#[test]
fn nobody_acts_for_another() {
    let (mut bench, target) = Bench::audited();
    let Target::Channel(id, _) = target else { unreachable!() };
    let (shown, stranger) = (bench.proof_of(target, 0), bench.badges[&NodeId(2)].clone());
    let clock_ms = bench.clock_ms;
    let result = bench.call(STRANGER, 0, |world, ctx| {
        let stack = world.stacks.get_mut(&id).unwrap();
        atoma_contract::audit::reveal_record(stack, &stranger, shown, clock_ms, ctx)
    });
    assert_eq!(abort(result), Abort::UnknownChannel);
    bench.reveal_all(target);
    let verifier = first(&bench, target);
    let idle = (2..=LAST).map(NodeId).find(|node| *node != verifier).unwrap();
    assert_eq!(abort(bench.commit(target, idle, vec![1; 32])), Abort::NotSeated);
    assert_eq!(abort(bench.commit(target, verifier, vec![1; 31])), Abort::BadArgument);
    let opened = bench.verdict(target, verifier, PASS);
    assert_eq!(abort(bench.open_verdict(target, verifier, opened.clone())), Abort::WrongPhase);
    bench.badges.get_mut(&verifier).unwrap().db = STRANGER;
    assert_eq!(abort(bench.commit(target, verifier, vec![1; 32])), Abort::WrongDb);
}

/// A pass needs the digest that only re-execution gives; who guesses has committed to a verdict that it
/// cannot reveal.
#[test]
fn a_lazy_verifier_cannot_pass_without_the_work() {
    let (mut bench, target) = Bench::audited();
    bench.reveal_all(target);
    let verifier = first(&bench, target);
    let honest = bench.verdict(target, verifier, PASS);
    let lazy = Opened { digests: Vec::new(), ..honest.clone() };
    let hash = bench.commitment(target, verifier, &lazy);
    bench.commit(target, verifier, hash).unwrap();
    assert_eq!(abort(bench.open_verdict(target, verifier, lazy)), Abort::BadDigest);
    assert_eq!(abort(bench.open_verdict(target, verifier, honest)), Abort::BadCommitment);
    // It stays silent; the jury passes the claim; it loses.
    bench.run_out(target);
    bench.judge(target, |_| PASS);
    assert_eq!(bench.state(target), ClaimState::Held);
    assert_eq!(bench.collateral(verifier), 950 * COIN);
}

/// The other round's digest is public once the first verifier revealed; the jury needs its own.
#[test]
fn a_jury_cannot_copy_the_first_round_s_digest() {
    let (mut bench, target) = Bench::audited();
    bench.judge(target, |_| FAIL);
    bench.reveal_all(target);
    let Target::Channel(id, node) = target else { unreachable!() };
    let juror = bench.seats(target, SeatState::Seated)[0];
    let request =
        bench.served.request_at(id, node, bench.claim(target).audit.as_ref().unwrap().records[0].total_units);
    let mut digests = digest(request, 1).0.to_vec();
    digests.extend(Hash32::of(digest(request, 2).as_bytes()).0);
    let copied = Opened { verdicts: vec![PASS], digests, salt: vec![1; 32] };
    let hash = bench.commitment(target, juror, &copied);
    bench.commit(target, juror, hash).unwrap();
    bench.commit_all(target, |_| PASS);
    assert_eq!(abort(bench.open_verdict(target, juror, copied)), Abort::BadDigest);
}

#[test]
fn extra_or_missing_digests_and_verdicts_are_refused() {
    let (mut bench, target) = Bench::audited();
    bench.reveal_all(target);
    let verifier = first(&bench, target);
    let honest = bench.verdict(target, verifier, PASS);
    let spoilt = [
        (Opened { digests: [honest.digests.clone(), vec![0]].concat(), ..honest.clone() }, Abort::BadDigest),
        (Opened { digests: vec![0; 64], ..honest.clone() }, Abort::BadDigest),
        (Opened { verdicts: vec![FAIL], ..honest.clone() }, Abort::BadDigest),
        (Opened { verdicts: vec![PASS, PASS], ..honest.clone() }, Abort::BadArgument),
        (Opened { verdicts: Vec::new(), ..honest.clone() }, Abort::BadArgument),
        (Opened { verdicts: vec![4], ..honest.clone() }, Abort::BadArgument),
        (Opened { salt: vec![1; 31], ..honest.clone() }, Abort::BadArgument),
        (Opened { salt: vec![1; 33], ..honest.clone() }, Abort::BadArgument),
    ];
    let base = bench.world.clone();
    for (opened, expected) in spoilt {
        bench.world = base.clone();
        let hash = bench.commitment(target, verifier, &opened);
        bench.commit(target, verifier, hash).unwrap();
        assert_eq!(abort(bench.open_verdict(target, verifier, opened)), expected);
    }
}

/// The verifier is part of what is hashed: a copied commitment cannot be opened.
#[test]
fn copying_another_s_commitment_gains_nothing() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask {
        audit: AuditTerms { verifiers: 2, ..AuditTerms::default() },
        ..new_task()
    });
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.open_audit(target);
    bench.reveal_all(target);
    let seats = bench.seats(target, SeatState::Seated);
    assert_eq!(seats.len(), 2);
    assert_ne!(seats[0], seats[1]);
    let opened = bench.verdict(target, seats[0], PASS);
    let hash = bench.commitment(target, seats[0], &opened);
    bench.commit(target, seats[0], hash.clone()).unwrap();
    assert_eq!(abort(bench.commit(target, seats[0], hash.clone())), Abort::AlreadyCommitted);
    assert_eq!(abort(bench.open_verdict(target, seats[0], opened.clone())), Abort::WrongPhase);
    bench.commit(target, seats[1], hash).unwrap();
    bench.open_verdict(target, seats[0], opened.clone()).unwrap();
    assert_eq!(abort(bench.open_verdict(target, seats[0], opened.clone())), Abort::AlreadyDone);
    assert_eq!(abort(bench.open_verdict(target, seats[1], opened)), Abort::BadCommitment);
}

/// Neither the node nor another node of its owner judges it, under many seeds; verifiers are distinct.
#[test]
fn a_node_does_not_judge_its_owner() {
    let mut bench = Bench::new();
    for id in 16..=20 {
        bench.join(NodeId(id), operator(SERVER), 4_000 * COIN, true);
    }
    bench.clock_ms += 1;
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    let base = (bench.world.clone(), bench.auditor.clone());
    for n in 0..30u64 {
        (bench.world, bench.auditor) = base.clone();
        let p_ppb = bench.claim(target).p_ppb;
        let seed = bench.find_seed(target, |seed| {
            let is_drawn = atoma_contract::claim::chance::is_drawn(&seed, p_ppb);
            is_drawn && seed.0[31] % 32 == u8::try_from(n).unwrap()
        });
        bench.beat(seed).unwrap();
        bench.resolve_audit(target).unwrap();
        bench.judge(target, |_| FAIL);
        let audit = bench.claim(target).audit.clone().unwrap();
        let mut seated: Vec<NodeId> =
            audit.seats.iter().chain(&audit.jury).map(|seat| seat.verifier).collect();
        assert!(seated.iter().all(|node| (2..=LAST).contains(&node.0)), "{seated:?}");
        seated.sort();
        seated.dedup();
        assert_eq!(seated.len(), 8);
    }
}

#[test]
fn five_of_seven_convict() {
    for vote in [FAIL, UNREADABLE] {
        let (mut bench, target) = tried();
        let Target::Channel(id, _) = target else { unreachable!() };
        let first = first(&bench, target);
        bench.judge(target, |i| if i < 5 { vote } else { PASS });
        assert_eq!(outcome(&bench), 1);
        let node = bench.node(SERVER);
        assert_eq!((node.convictions, node.collateral.0, node.open_audits), (1, 0, 0));
        assert!(node.disabled_ms > 0);
        assert_eq!(node.reputation, 0);
        let channel = bench.channel(id);
        assert!(channel.claim.is_none() && channel.released && channel.closed_ms > 0);
        assert_eq!(channel.voided.0, 2 * COIN);
        assert_eq!(bench.collateral(first), 1_000 * COIN, "the first verifier was right");
        let losers = (2..=LAST).filter(|node| bench.collateral(NodeId(*node)) == 950 * COIN);
        assert_eq!(losers.count(), 2);
        // Half of a thousand is burned; what audits took of the amount goes to the owner.
        let db = &bench.world.db;
        let taken = 30_000 + 8 * 60_000 - 20_000;
        assert_eq!(db.due_of(USER).0, taken);
        assert_eq!(db.to_burn.0, 500 * COIN + 2 * 25 * COIN);
        assert_eq!(db.to_treasury.0, 500 * COIN - taken + 2 * 25 * COIN);
    }
}

/// Four of seven are not enough, whoever they are, and nobody is slashed.
#[test]
fn a_false_jury_needs_five() {
    for (fails, passes) in [(4, 3), (4, 0), (3, 4), (0, 4), (0, 0)] {
        let (mut bench, target) = tried();
        bench.judge(target, |i| match i {
            i if i < fails => FAIL,
            i if i < fails + passes => PASS,
            _ => INCONCLUSIVE,
        });
        assert_eq!(outcome(&bench), 2, "{fails} fail, {passes} pass");
        assert_eq!(bench.state(target), ClaimState::Held);
        assert!((1..=LAST).all(|node| bench.collateral(NodeId(node)) == 1_000 * COIN));
        bench.pass_hold(target);
        bench.release(target).unwrap();
    }
}

/// The first verifier accused an honest node: five of seven pass, it loses, the claim is held from then on.
#[test]
fn five_of_seven_acquit_and_the_accuser_pays() {
    let (mut bench, target) = tried();
    let accuser = first(&bench, target);
    bench.clock_ms += 3_000;
    bench.judge(target, |i| if i < 2 { FAIL } else { PASS });
    assert_eq!(outcome(&bench), 0);
    assert_eq!(bench.claim(target).resolved_ms, bench.clock_ms);
    assert_eq!(bench.collateral(accuser), 950 * COIN);
    assert_eq!(bench.collateral(SERVER), 1_000 * COIN);
}

/// Else it would be pay without work, and a jury at the node's expense.
#[test]
fn calling_what_others_can_judge_inconclusive_costs() {
    let (mut bench, target) = Bench::audited();
    bench.judge(target, |_| INCONCLUSIVE);
    let lazy = first(&bench, target);
    bench.judge(target, |i| if i == 0 { INCONCLUSIVE } else { PASS });
    assert_eq!(outcome(&bench), 0);
    assert_eq!(bench.collateral(lazy), 950 * COIN);
    let losers = (2..=LAST).filter(|node| bench.collateral(NodeId(*node)) == 950 * COIN);
    assert_eq!(losers.count(), 2);
}

#[test]
fn the_jury_sees_the_records_anew() {
    let (mut bench, target) = tried();
    let audit = bench.claim(target).audit.clone().unwrap();
    assert_eq!((audit.round, audit.phase, audit.records.len()), (1, AuditPhase::Reveal, 0));
    assert_eq!(audit.deadline_ms, bench.clock_ms + bench.params().reveal_ms);
    let seats: Vec<NodeId> = audit.seats.iter().map(|seat| seat.verifier).collect();
    assert!(audit.jury.iter().all(|seat| !seats.contains(&seat.verifier)));
    bench.run_out(target);
    assert_eq!((outcome(&bench), bench.node(SERVER).convictions), (4, 1));
}

/// Eight offsets in one leaf are met by one proof; each verifier is paid per record, not per offset.
#[test]
fn offsets_in_one_leaf_are_met_by_one_proof() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask {
        audit: AuditTerms { records: 8, ..AuditTerms::default() },
        ..new_task()
    });
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    assert_eq!(bench.claim(target).audit.as_ref().unwrap().offsets.len(), 8);
    let shown = bench.proof_of(target, 5);
    bench.reveal(target, shown).unwrap();
    let audit = bench.claim(target).audit.as_ref().unwrap();
    assert_eq!((audit.records.len(), audit.phase), (1, AuditPhase::Commit));
}

#[test]
fn several_records_are_judged_one_by_one() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask {
        audit: AuditTerms { records: 8, ..AuditTerms::default() },
        ..new_task()
    });
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.open_audit(target);
    bench.reveal_all(target);
    let records = bench.claim(target).audit.as_ref().unwrap().records.len();
    assert!(records > 4, "{records}");
    let verifier = first(&bench, target);
    let mut opened = bench.verdict(target, verifier, PASS);
    opened.verdicts[1] = FAIL;
    opened.digests.drain(64..128);
    let hash = bench.commitment(target, verifier, &opened);
    bench.commit(target, verifier, hash).unwrap();
    bench.open_verdict(target, verifier, opened).unwrap();
    assert_eq!(bench.seats(target, SeatState::Seated).len(), 7, "one failed record brings the jury");
    let pay = u64::try_from(records).unwrap() * 60_000;
    assert_eq!(bench.world.db.due_of(payout(verifier)).0, pay);
}

/// One response of a statistical task proves nothing: the claim is void and the node marked.
#[test]
fn a_statistical_task_voids_and_does_not_slash() {
    let mut bench = Bench::with_task(atoma_contract::task::NewTask { exact: false, ..new_task() });
    let id = bench.buy();
    let target = bench.claim_units(id, 2 * MILLION);
    assert_eq!(bench.claim(target).p_ppb, 50_000_000);
    bench.open_audit(target);
    bench.judge(target, |_| FAIL);
    bench.judge(target, |_| FAIL);
    assert_eq!(outcome(&bench), 5);
    let node = bench.node(SERVER);
    assert_eq!((node.convictions, node.collateral.0, node.disabled_ms), (0, 1_000 * COIN, 0));
    assert_eq!((node.reputation, node.open_audits), (40, 0));
    let channel = bench.channel(id);
    assert!(channel.claim.is_none() && channel.closed_ms == 0);
    assert_eq!(channel.voided.0, 2 * COIN);
    // Silence is fraud all the same.
    let target = bench.claim_units(id, 2 * MILLION);
    bench.open_audit(target);
    bench.run_out(target);
    assert_eq!(bench.node(SERVER).convictions, 1);
}

/// A held claim of 200 records, and the bond to challenge one.
fn held() -> (Bench, Target, u64) {
    let mut bench = Bench::new();
    let id = bench.buy();
    bench.serve(id, &[10_000; 200]);
    bench.settle(id).unwrap();
    let target = Target::Channel(id, SERVER);
    bench.hold(target);
    (bench, target, 60_000 + 30_000)
}

fn leaf(bench: &Bench, target: Target, index: usize) -> Proven {
    bench.served.proven(target.id(), SERVER, index, bench.claim(target).count)
}

#[test]
fn the_owner_may_challenge_one_record() {
    let (mut bench, target, bond) = held();
    let shown = leaf(&bench, target, 7);
    assert_eq!(abort(bench.challenge(STRANGER, target, bond, shown.clone())), Abort::NotAuthorized);
    assert_eq!(abort(bench.challenge(USER, target, bond - 1, shown.clone())), Abort::InsufficientPayment);
    let ctx = bench.challenge(USER, target, bond + 5, shown.clone()).unwrap();
    assert_eq!(coins(&ctx), 5);
    assert_eq!(bench.state(target), ClaimState::Challenged);
    assert_eq!(bench.node(SERVER).open_audits, 1, "the node's other claims wait");
    assert_eq!(abort(bench.challenge(USER, target, bond, shown)), Abort::NoClaim);
    bench.pass_hold(target);
    assert_eq!(abort(bench.release(target)), Abort::NoClaim);
    assert_eq!(abort(bench.resolve_audit(target)), Abort::NoSeed);
}

#[test]
fn a_challenge_that_passes_pays_the_node_for_its_trouble() {
    let (mut bench, target, bond) = held();
    let shown = leaf(&bench, target, 7);
    let resolved_ms = bench.claim(target).resolved_ms;
    bench.challenge(USER, target, bond, shown.clone()).unwrap();
    bench.clock_ms += 1_000;
    bench.beat([5; 32]).unwrap();
    bench.resolve_audit(target).unwrap();
    assert_eq!(bench.claim(target).audit.as_ref().unwrap().offsets, [80_000]);
    bench.judge(target, |_| PASS);
    let claim = bench.claim(target);
    assert_eq!((claim.state, claim.resolved_ms, claim.bond.0), (ClaimState::Held, resolved_ms, 0));
    assert_eq!(bench.due(target.id(), payout(SERVER)), bond);
    assert_eq!(abort(bench.challenge(USER, target, bond, shown)), Abort::AlreadyChallenged);
    assert_eq!(bench.node(SERVER).open_audits, 0);
    bench.pass_hold(target);
    bench.release(target).unwrap();
    // Fee and pay came out of the claim, the surcharge first; the bond made up for them.
    assert_eq!(bench.due(target.id(), payout(SERVER)), 1_800_000 - 70_000 + bond);
}

#[test]
fn a_challenge_that_convicts_returns_the_bond() {
    let (mut bench, target, bond) = held();
    let shown = leaf(&bench, target, 7);
    bench.challenge(USER, target, bond, shown).unwrap();
    bench.clock_ms += 1_000;
    bench.beat([5; 32]).unwrap();
    bench.resolve_audit(target).unwrap();
    bench.judge(target, |_| FAIL);
    bench.judge(target, |_| FAIL);
    assert_eq!(bench.node(SERVER).convictions, 1);
    assert_eq!(bench.due(target.id(), USER), bond);
    assert_eq!(bench.world.db.due_of(USER).0, 30_000 + 8 * 60_000 - 20_000);
    assert!(bench.channel(target.id()).claim.is_none());
}

/// The owner must not be refunded by challenging when nobody verifies.
#[test]
fn a_challenge_without_verifiers_leaves_the_claim_held() {
    let (mut bench, target, bond) = held();
    for node in 2..=LAST {
        crate::claiming::leave(&mut bench, NodeId(node));
    }
    let shown = leaf(&bench, target, 7);
    bench.challenge(USER, target, bond, shown).unwrap();
    bench.clock_ms += 10_000_000;
    bench.beat([5; 32]).unwrap();
    bench.resolve_audit(target).unwrap();
    assert_eq!(bench.state(target), ClaimState::Held);
    assert_eq!(bench.due(target.id(), USER), bond);
    assert_eq!(bench.node(SERVER).open_audits, 0);
    bench.release(target).unwrap();
}

#[test]
fn what_cannot_be_challenged() {
    let (mut bench, target, bond) = held();
    let shown = leaf(&bench, target, 7);
    let wrong = Proven { index: 8, ..shown.clone() };
    assert_eq!(abort(bench.challenge(USER, target, bond, wrong)), Abort::BadProof);
    bench.clock_ms = bench.claim(target).resolved_ms + bench.params().challenge_ms + 1;
    assert_eq!(abort(bench.challenge(USER, target, bond, shown)), Abort::ChallengeOver);
    // Of the next claim, a leaf of this one.
    bench.pass_hold(target);
    bench.release(target).unwrap();
    bench.serve(target.id(), &[10_000; 200]);
    bench.settle(target.id()).unwrap();
    bench.open_audit(target);
    bench.judge(target, |_| PASS);
    let old = leaf(&bench, target, 7);
    assert_eq!(abort(bench.challenge(USER, target, bond, old)), Abort::BadProof);
    // And the one that chance drew.
    let offset = bench.claim(target).audit.as_ref().unwrap().offsets[0];
    let index = bench.served.holder(target.id(), SERVER, offset);
    let drawn = leaf(&bench, target, index);
    assert_eq!(abort(bench.challenge(USER, target, bond, drawn)), Abort::AlreadyAudited);
    bench.convict_server();
    let other = leaf(&bench, target, if index == 399 { 398 } else { 399 });
    assert_eq!(abort(bench.challenge(USER, target, bond, other)), Abort::Convicted);
}

#[test]
fn records_can_be_posted_in_parts() {
    let (mut bench, target) = Bench::audited();
    let Target::Channel(id, _) = target else { unreachable!() };
    let badge = bench.badges[&SERVER].clone();
    let post = |bench: &mut Bench, which, length| {
        bench.call(STRANGER, 0, |world, ctx| {
            let stack = &world.stacks[&id];
            atoma_contract::audit::post_record_part(stack, &badge, which, vec![1; length], ctx)
        })
    };
    post(&mut bench, 0, 12_288).unwrap();
    assert_eq!(abort(post(&mut bench, 0, 12_289)), Abort::BadArgument);
    assert_eq!(abort(post(&mut bench, 0, 0)), Abort::BadArgument);
    assert_eq!(abort(post(&mut bench, 1, 1)), Abort::BadArgument);
    bench.reveal_all(target);
    post(&mut bench, 0, 1).unwrap();
    bench.commit_all(target, |_| PASS);
    assert_eq!(abort(post(&mut bench, 0, 1)), Abort::WrongPhase);
    assert_eq!(Amount(0), bench.claim(target).bond);
}
