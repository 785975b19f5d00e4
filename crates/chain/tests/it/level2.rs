//! Level 2 from the purchase to the payment, over the chain: claims, the beacon, an audit with real digests.

use crate::support::{COIN, MAX_PRICE, PRICE, advance, devnet, funded, give, model, stack_of, task};
use atoma_chain::{
    AcquireStack, Call, ChainClient, ClaimStep, Executed, RegisterNode, RotateKey, Shown, Subscribe, Target,
    Wallet,
};
use atoma_devnet::Devnet;
use atoma_types::message::Message as _;
use atoma_types::onchain::{Abort, AuditTerms, ClaimState, Event, Selection};
use atoma_types::{
    Address, Amount, Hash32, NodeId, Record, SecretKey, Signed, Status, TaskId, Transcript, Units, Voucher,
};

/// Certainty, in parts of 10^9: every claim is audited.
const ALWAYS_PPB: u64 = 1_000_000_000;
/// What the contract wants opted in beside the node and its owner, at the devnet's parameters.
const VERIFIERS: u64 = 10;
/// A claim of ten records, of 20 cents each.
const RECORDS: u64 = 10;
const RECORD_UNITS: u64 = 100_000;

/// A stack at level 2 with one node that serves it and enough others to judge that.
struct Court {
    devnet: Devnet,
    chain: ChainClient,
    operator: Wallet,
    node: NodeId,
    /// Owns all verifiers.
    verifiers: Wallet,
    user: Wallet,
    key: SecretKey,
    stack: Address,
}

impl Court {
    async fn open(p_min_ppb: u64, surcharge_permille: u64) -> Self {
        let (devnet, chain) = devnet().await;
        let creator = funded(&chain).await;
        let (operator, verifiers, user) = (funded(&chain).await, funded(&chain).await, funded(&chain).await);
        give(&chain, verifiers.address(), 0, VERIFIERS * 1_001 * COIN).await;
        let added = creator.execute(&chain, Call::AddModel(model())).await.unwrap();
        let [Event::ModelAdded(added)] = &added.events[..] else { panic!("{added:?}") };
        let mut create = task(added.model);
        (create.level, create.exact, create.surcharge_permille) = (2, true, surcharge_permille);
        create.audit = AuditTerms { p_min_ppb, ..AuditTerms::default() };
        let created = creator.execute(&chain, Call::CreateTask(create)).await.unwrap();
        let [Event::TaskCreated(created)] = &created.events[..] else { panic!("{created:?}") };
        let task = created.task;
        let node = join(&chain, &operator, task, false).await;
        for _ in 0..VERIFIERS {
            join(&chain, &verifiers, task, true).await;
        }
        let key = user.request_key("stack");
        let acquire = Call::AcquireStack(AcquireStack {
            task,
            request_key: key.public_key(),
            units: Units(10_000_000),
            max_price: MAX_PRICE,
            selection: Selection::Any,
            nodes: 0,
            max_opens: 0,
            echelons: vec![],
            payment: Amount(100 * COIN),
        });
        let stack = stack_of(&user.execute(&chain, acquire).await.unwrap());
        let open = atoma_chain::OpenChannel {
            stack,
            node,
            units: Units(5_000_000),
            max_price: PRICE,
            nonce: 1,
            signature: None,
        };
        user.execute(&chain, Call::OpenChannel(open)).await.unwrap();
        Self { devnet, chain, operator, node, verifiers, user, key, stack }
    }

    fn target(&self) -> Target {
        Target::Channel { stack: self.stack, node: self.node }
    }

    async fn step(&self, by: &Wallet, step: ClaimStep) -> Result<Executed, Abort> {
        let call = Call::OnClaim { target: self.target(), step };
        by.execute(&self.chain, call).await.map_err(|error| error.abort().unwrap())
    }

    fn voucher(&self) -> Signed<Voucher> {
        let db = self.chain.deployment().db;
        let (stack, node, root) = (self.stack, self.node, transcript().root());
        let units = Units(RECORDS * RECORD_UNITS);
        Voucher { db, stack, node, units, count: RECORDS, root }.sign(&self.key)
    }

    /// Claims a million units, which cost two coins, and has the claim's round drawn.
    async fn claim(&self) {
        let voucher = self.voucher();
        let refused = self.user.execute(&self.chain, Call::Claim(vec![voucher.clone()])).await.unwrap_err();
        assert_eq!(refused.abort(), Some(Abort::NotAuthorized), "only the node claims");
        let claimed = self.operator.execute(&self.chain, Call::Claim(vec![voucher])).await.unwrap();
        assert!(matches!(&claimed.events[..], [Event::ClaimQueued(_), Event::ClaimMade(_)]), "{claimed:?}");
        assert_eq!(self.step(&self.user, ClaimStep::ResolvePay).await.unwrap_err(), Abort::NoSeed);
        self.user.execute(&self.chain, Call::Beat).await.unwrap();
        assert_eq!(self.chain.beacon().await.unwrap().round, 1);
    }

    async fn state(&self) -> Option<ClaimState> {
        let stack = self.chain.stack(self.stack).await.unwrap().unwrap();
        stack.channel(self.node).unwrap().claim.as_ref().map(|claim| claim.state)
    }
}

/// Registers a node, gives it a seal key, and subscribes it.
async fn join(chain: &ChainClient, wallet: &Wallet, task: TaskId, verifier: bool) -> NodeId {
    let register = Call::RegisterNode(RegisterNode {
        payout: wallet.address(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        receipt_key: wallet.request_key("receipts").public_key(),
        payment: Amount(1_001 * COIN),
    });
    let registered = wallet.execute(chain, register).await.unwrap();
    let [Event::NodeRegistered(registered)] = &registered.events[..] else { panic!("{registered:?}") };
    let node = registered.node;
    let rotate = RotateKey {
        node,
        evidence: vec![],
        blob: vec![],
        seal_key: vec![7; 32],
        device_types: vec![],
        counter: 1,
        expires_ms: 0,
    };
    wallet.execute(chain, Call::RotateKey(rotate)).await.unwrap();
    let offer = Subscribe { node, task, price: PRICE, max_units: Units(10_000_000), echelon: 0, verifier };
    wallet.execute(chain, Call::Subscribe(offer)).await.unwrap();
    node
}

/// The halves of the work digest, which only re-execution gives.
fn halves() -> [Hash32; 2] {
    [Hash32::of(b"\x01stream"), Hash32::of(b"\x02stream")]
}

/// Record `index` of the claim, from 0.
fn record(index: u64) -> Record {
    let [first, second] = halves().map(|half| Hash32::of(&half.0));
    Record {
        request_hash: Hash32::of(&index.to_le_bytes()),
        response_hash: Hash32::of(b"response"),
        input: RECORD_UNITS / 2,
        output: RECORD_UNITS / 2,
        units: Units(RECORD_UNITS),
        total_units: Units(RECORD_UNITS * (index + 1)),
        count: index + 1,
        status: Status::Complete,
        work: Hash32::of_parts(&[&first.0, &second.0]),
    }
}

fn transcript() -> Transcript {
    let mut transcript = Transcript::new();
    for index in 0..RECORDS {
        transcript.append(&record(index));
    }
    transcript
}

/// The record that unit `offset` belongs to.
fn shown(offset: u64) -> Shown {
    let index = (offset - 1) / RECORD_UNITS;
    let at = usize::try_from(index).unwrap();
    let proof = transcript().inclusion_proof(at, usize::try_from(RECORDS).unwrap()).unwrap();
    Shown { record: record(index), index, proof }
}

/// `H(target ‖ count ‖ round ‖ verifier ‖ verdicts ‖ digests ‖ salt)`.
fn commitment(stack: Address, verifier: NodeId, verdicts: &[u8], digests: &[u8], salt: Hash32) -> Hash32 {
    let numbers = (RECORDS.to_le_bytes(), verifier.0.to_le_bytes());
    Hash32::of_parts(&[stack.as_bytes(), &numbers.0, &[0], &numbers.1, verdicts, digests, &salt.0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawn_claim_is_audited_held_and_paid() {
    let court = Court::open(ALWAYS_PPB, 100).await;
    court.claim().await;
    assert_eq!(court.step(&court.user, ClaimStep::ResolvePay).await.unwrap_err(), Abort::Drawn);
    let opened = court.step(&court.user, ClaimStep::ResolveAudit).await.unwrap();
    let [Event::AuditOpened(audit)] = &opened.events[..] else { panic!("{opened:?}") };
    assert_eq!((audit.resolver, audit.offsets.len()), (court.user.address(), 1));
    let verifier = audit.seats[0];
    assert_ne!(verifier, court.node);

    let part = ClaimStep::PostRecordPart { which: 0, part: b"the whole record".to_vec() };
    court.step(&court.operator, part).await.unwrap();
    let shown = shown(audit.offsets[0]);
    let reveal = ClaimStep::RevealRecord { which: 0, shown, location: b"blob".to_vec() };
    let revealed = court.step(&court.operator, reveal).await.unwrap();
    assert!(matches!(&revealed.events[..], [Event::RecordRevealed(_), Event::CommitsOpened(_)]));

    let [first, second] = halves();
    let digests = [first.0, Hash32::of(&second.0).0].concat();
    let salt = Hash32::of(b"salt");
    let commit = commitment(court.stack, verifier, &[0], &digests, salt);
    court.step(&court.verifiers, ClaimStep::CommitVerdict { verifier, commit }).await.unwrap();
    let open = |digests| ClaimStep::RevealVerdict { verifier, verdicts: vec![0], digests, salt };
    let other = court.step(&court.verifiers, open(vec![0; 64])).await.unwrap_err();
    assert_eq!(other, Abort::BadCommitment);
    let concluded = court.step(&court.verifiers, open(digests)).await.unwrap();
    let passed = |event: &Event| matches!(event, Event::AuditConcluded(concluded) if concluded.outcome == 0);
    assert!(concluded.events.iter().any(passed), "{concluded:?}");
    assert_eq!(court.state().await, Some(ClaimState::Held));

    assert_eq!(court.step(&court.user, ClaimStep::Release).await.unwrap_err(), Abort::TooEarly);
    advance(&court.chain, court.chain.params().await.unwrap().hold_ms).await;
    let paid = court.step(&court.user, ClaimStep::Release).await.unwrap();
    let [Event::ClaimPaid(paid)] = &paid.events[..] else { panic!("{paid:?}") };
    // Two coins, less what the fee (3 cents) and the verifier (40) took beyond the surcharge (30).
    assert_eq!((paid.paid.0 + paid.creator_fee.0, paid.treasury), (1_870_000, Amount::ZERO));
    court.operator.execute(&court.chain, Call::Withdraw { stack: court.stack }).await.unwrap();
    court.verifiers.execute(&court.chain, Call::WithdrawDue).await.unwrap();
    court.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_not_drawn_waits_out_its_hold_or_is_challenged() {
    // The least chance there is. Should this seed draw the claim all the same, it is audited.
    let court = Court::open(0, 100).await;
    court.claim().await;
    match court.step(&court.user, ClaimStep::ResolvePay).await {
        Ok(held) => assert!(matches!(&held.events[..], [Event::ClaimHeld(_)]), "{held:?}"),
        Err(drawn) => return assert_eq!(drawn, Abort::Drawn),
    }
    let challenge = ClaimStep::Challenge { payment: Amount(COIN), shown: shown(1) };
    let challenged = court.step(&court.user, challenge).await.unwrap();
    let [Event::ClaimChallenged(challenged)] = &challenged.events[..] else { panic!("{challenged:?}") };
    assert_eq!(court.state().await, Some(ClaimState::Challenged));
    advance(&court.chain, court.chain.params().await.unwrap().beat_min_ms).await;
    court.user.execute(&court.chain, Call::Beat).await.unwrap();
    assert_eq!(challenged.round, court.chain.beacon().await.unwrap().round);
    let opened = court.step(&court.user, ClaimStep::ResolveAudit).await.unwrap();
    assert!(matches!(&opened.events[..], [Event::AuditOpened(_)]), "{opened:?}");
    court.devnet.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reveals_nothing_is_convicted() {
    let court = Court::open(ALWAYS_PPB, 0).await;
    court.claim().await;
    court.step(&court.user, ClaimStep::ResolveAudit).await.unwrap();
    assert_eq!(court.step(&court.user, ClaimStep::MarkLate).await.unwrap_err(), Abort::NotLate);
    let params = court.chain.params().await.unwrap();
    advance(&court.chain, params.reveal_ms + 1).await;
    court.step(&court.user, ClaimStep::MarkLate).await.unwrap();
    assert_eq!(court.step(&court.user, ClaimStep::Expire).await.unwrap_err(), Abort::NotLate);
    advance(&court.chain, params.grace_ms).await;
    let expired = court.step(&court.user, ClaimStep::Expire).await.unwrap();
    assert!(expired.events.iter().any(|event| matches!(event, Event::Convicted(_))), "{expired:?}");
    let row = court.chain.node(court.node).await.unwrap().unwrap();
    assert_eq!((row.collateral, row.convictions), (Amount::ZERO, 1));

    // What audits took of the claim is the user's again, and at least half of the slash is burned.
    court.user.execute(&court.chain, Call::WithdrawDue).await.unwrap();
    let collected = court.operator.execute(&court.chain, Call::Collect).await.unwrap();
    let [Event::Collected(collected)] = &collected.events[..] else { panic!("{collected:?}") };
    assert_eq!(collected.burned, Amount(500 * COIN));
    let evict = Call::Evict { node: court.node, task: TaskId(1) };
    court.user.execute(&court.chain, evict).await.unwrap();
    court.devnet.audit().unwrap();
}
