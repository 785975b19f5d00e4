//! Every call, built and decoded again: module, function, the order of its arguments, and which shared
//! objects it writes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod deploy;

use super::*;
use crate::call::{AddModel, Case, CreateTask, OpenChannel, RotateKey, Shown, Subscribe, Target};
use crate::client::{CLOCK, RANDOM};
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::onchain::{AuditTerms, Selection};
use atoma_types::{
    Hash32, ModelId, Price, Record, RequestAuth, SecretKey, Signature, Signed, Status, TaskId, Units, Voucher,
};
use sui_sdk_types::{
    Argument as Wire, Command, Digest, Input, ProgrammableTransaction, Transaction, TransactionKind,
};

const PACKAGE: Address = Address::from_static("0xa70a");
const DB: Address = Address::from_static("0xdb");
const TREASURY: Address = Address::from_static("0x77");
const BEACON: Address = Address::from_static("0xbeac");
const SYSTEM: Address = Address::from_static("0xb11");
const DISPUTE: Address = Address::from_static("0xd15");
const BLOB: Address = Address::from_static("0xb10b");
const STACK: Address = Address::from_static("0x57");
const OTHER_STACK: Address = Address::from_static("0x58");
const BADGE: Address = Address::from_static("0xbad6e");
const OTHER_BADGE: Address = Address::from_static("0xbad6f");
const TASK_BADGE: Address = Address::from_static("0x7a5c");
const CAP: Address = Address::from_static("0xcab");
const COIN: Address = Address::from_static("0xc0");
const SMALL_COIN: Address = Address::from_static("0xc1");
const ME: Address = Address::from_static("0x3e");

fn deployment() -> Deployment {
    Deployment {
        network: "test".to_owned(),
        rpc_url: "http://127.0.0.1:1".to_owned(),
        package: PACKAGE,
        upgraded: None,
        db: DB,
        treasury: TREASURY,
        beacon: BEACON,
        walrus_package: Address::ZERO,
        walrus_system: SYSTEM,
        coin_type: format!("{}::usd::USD", Address::TWO),
    }
}

fn reference(id: Address) -> ObjectReference {
    ObjectReference::new(id, 7, Digest::ZERO)
}

fn transaction(call: &Call, coins: &[Address], exact: bool) -> Transaction {
    let deployment = deployment();
    let types = Types::new(&deployment).unwrap();
    call.check(&deployment).unwrap();
    let steps = call.steps(&deployment);
    let needs = needs(&steps);
    let shared = needs.shared.iter().map(|id| (*id, 3)).collect();
    let id_of = |held: Held| match held {
        Held::Node(NodeId(9)) => BADGE,
        Held::Node(_) => OTHER_BADGE,
        Held::Task(_) => TASK_BADGE,
        Held::Admin => CAP,
        Held::Object(id) => id,
    };
    let held = needs.held.iter().map(|held| (*held, reference(id_of(*held)))).collect();
    let inputs = Inputs {
        package: PACKAGE,
        types: &types,
        shared: &shared,
        held: &held,
        coins: coins.iter().copied().map(reference).collect(),
        exact,
    };
    let mut builder = build(steps, &inputs).unwrap();
    builder.set_sender(ME);
    builder.set_gas_price(1_000);
    builder.set_gas_budget(1);
    builder.add_gas_objects([owned(&reference(ME))]);
    let built = builder.try_build().unwrap();
    bcs::from_bytes(&bcs::to_bytes(&built).unwrap()).unwrap()
}

/// A transaction in words: one line per command.
fn words(call: &Call) -> Vec<String> {
    let transaction = transaction(call, &[COIN], false);
    let TransactionKind::ProgrammableTransaction(programmable) = &transaction.kind else { unreachable!() };
    programmable.commands.iter().map(|command| in_words(programmable, command)).collect()
}

fn in_words(programmable: &ProgrammableTransaction, command: &Command) -> String {
    let list = |arguments: &[Wire]| {
        arguments
            .iter()
            .map(|argument| argument_in_words(programmable, argument))
            .collect::<Vec<_>>()
            .join(" ")
    };
    match command {
        Command::MoveCall(call) => {
            assert_eq!(call.package, PACKAGE);
            let generic = (call.module.as_str(), call.function.as_str()) != ("upgrade", "commit");
            assert_eq!(call.type_arguments.len(), usize::from(generic));
            format!("{}::{} {}", call.module, call.function, list(&call.arguments))
        }
        Command::SplitCoins(split) => format!("split {} {}", list(&[split.coin]), list(&split.amounts)),
        Command::MergeCoins(merge) => {
            format!("merge {} {}", list(&[merge.coin]), list(&merge.coins_to_merge))
        }
        Command::TransferObjects(transfer) => {
            format!("send {} {}", list(&transfer.objects), list(&[transfer.address]))
        }
        Command::Publish(publish) => {
            format!("publish {} modules on {}", publish.modules.len(), publish.dependencies.len())
        }
        Command::Upgrade(upgrade) => {
            assert_eq!(upgrade.package, PACKAGE);
            let ticket = list(&[upgrade.ticket]);
            format!("upgrade {} modules on {} {ticket}", upgrade.modules.len(), upgrade.dependencies.len())
        }
        other => format!("{other:?}"),
    }
}

fn argument_in_words(programmable: &ProgrammableTransaction, argument: &Wire) -> String {
    let names = [
        (DB, "db"),
        (TREASURY, "treasury"),
        (BEACON, "beacon"),
        (SYSTEM, "system"),
        (DISPUTE, "dispute"),
        (BLOB, "blob"),
        (OTHER_BADGE, "badge2"),
        (TASK_BADGE, "task-badge"),
        (CAP, "cap"),
        (STACK, "stack"),
        (OTHER_STACK, "stack2"),
        (BADGE, "badge"),
        (COIN, "coin"),
        (SMALL_COIN, "coin2"),
        (CLOCK, "clock"),
        (RANDOM, "random"),
    ];
    let name = |id: Address| names.iter().find(|(known, _)| *known == id).unwrap().1;
    match argument {
        Wire::Gas => "gas".to_owned(),
        Wire::Result(index) | Wire::NestedResult(index, 0) => format!("#{index}"),
        Wire::Input(index) => match &programmable.inputs[usize::from(*index)] {
            Input::Pure(bytes) => hex(bytes),
            Input::Shared(shared) if shared.mutability().is_mutable() => {
                format!("&mut {}", name(shared.object_id()))
            }
            Input::Shared(shared) => {
                assert_eq!(shared.version(), 3);
                format!("&{}", name(shared.object_id()))
            }
            Input::ImmutableOrOwned(reference) => name(*reference.object_id()).to_owned(),
            other => format!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

/// Bytes as hex, with runs of the same byte shortened: `20 07*32`.
fn hex(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|left, right| left == right);
    let words: Vec<String> =
        runs.map(|run| {
            if run.len() == 1 { format!("{:02x}", run[0]) } else { format!("{:02x}*{}", run[0], run.len()) }
        })
        .collect();
    format!("[{}]", words.join(" "))
}

fn voucher(stack: Address) -> Signed<Voucher> {
    let message =
        Voucher { db: DB, stack, node: NodeId(9), units: Units(100), count: 2, root: Hash32([7; 32]) };
    Signed { message, signature: Signature([5; 64]) }
}

#[test]
fn node_calls() {
    let key = SecretKey::from_seed([1; 32]).public_key();
    let register = Call::RegisterNode(RegisterNode {
        payout: Address::new([8; 32]),
        endpoint: "ab".to_owned(),
        receipt_key: key,
        payment: Amount(5),
    });
    let expected = format!(
        "node::register &mut db &mut treasury #0 [08*32] [02 61 62] [20 {}",
        hex(&key.0).trim_start_matches('[')
    );
    assert_eq!(words(&register), ["split coin [05 00*7]".to_owned(), expected]);
    let node = NodeId(9);
    assert_eq!(
        words(&Call::SetEndpoint { node, endpoint: "ab".to_owned() }),
        ["node::set_endpoint &mut db badge [02 61 62]"]
    );
    assert_eq!(words(&Call::DisableNode { node }), ["node::disable &mut db badge &clock"]);
    assert_eq!(words(&Call::ExitNode { node }), ["node::exit &mut db badge &clock"]);
    let (payout, amount) = (Address::new([8; 32]), Amount(5));
    assert_eq!(words(&Call::SetPayout { node, payout }), ["node::set_payout &mut db badge [08*32]"]);
    assert_eq!(
        words(&Call::SetAnswerInterval { node, interval_ms: 4 }),
        ["node::set_answer_interval &mut db badge [04 00*7]"]
    );
    assert_eq!(
        words(&Call::AddCollateral { node, amount }),
        ["split coin [05 00*7]", "node::add_collateral &mut db badge #0 &clock"]
    );
    let rotate = RotateKey {
        node,
        evidence: vec![1; 32],
        blob: vec![2; 32],
        seal_key: vec![3; 3],
        device_types: vec![],
        counter: 4,
        expires_ms: 5,
    };
    assert_eq!(
        words(&Call::RotateKey(rotate)),
        ["node::rotate_key &mut db badge [20 01*32] [20 02*32] [03*4] [00] [04 00*7] [05 00*7] &clock"]
    );
    let rotated = words(&Call::RotateReceiptKey { node, receipt_key: key });
    assert!(rotated[0].starts_with("node::rotate_receipt_key &mut db badge [20 "), "{rotated:?}");
    assert_eq!(words(&Call::SettleBookings { node }), ["node::settle_bookings &mut db [09 00*7] &clock"]);
    assert_eq!(words(&Call::WithdrawDue), ["node::withdraw_due &mut db"]);
    assert_eq!(words(&Call::Collect), ["treasury::collect &mut db &mut treasury"]);
    assert_eq!(words(&Call::Beat), ["beacon::beat &db &mut beacon &random &clock"]);
}

#[test]
fn admin_calls() {
    let of = |call| words(&Call::Admin(call));
    assert_eq!(of(AdminCall::SetPaused(true)), ["admin::set_paused &mut db cap [01]"]);
    assert_eq!(of(AdminCall::DisableModel(ModelId(2))), ["admin::disable_model &mut db cap [02 00*7]"]);
    let to = Address::new([8; 32]);
    assert_eq!(
        of(AdminCall::PayFromTreasury { to, amount: Amount(5) }),
        ["admin::pay_from_treasury &mut treasury cap [08*32] [05 00*7]"]
    );
    let names = atoma_types::onchain::Params::NAMES.len();
    let params = atoma_types::onchain::Params::from_values(&vec![1; names]).unwrap();
    let set = of(AdminCall::SetParams(Box::new(params)));
    assert!(set[0].starts_with("admin::set_params &mut db cap [29 01 00*7 01 00*7"), "{set:?}");
}

#[test]
fn model_and_task_calls() {
    let add = Call::AddModel(AddModel {
        label: "m".to_owned(),
        modality: 2,
        weights_root: Hash32([7; 32]),
        creator_fee_permille: 50,
    });
    assert_eq!(words(&add), ["model::add &mut db [01 6d] [02] [20 07*32] [32 00*7]"]);
    let create = Call::CreateTask(CreateTask {
        role: 1,
        model: ModelId(2),
        level: 3,
        exact: true,
        price_ceiling: Price(4),
        weights: UnitWeights { input: 5, output: 6 },
        surcharge_permille: 7,
        min_collateral: Amount(8),
        min_reputation: 9,
        whitelist: vec![NodeId(10)],
        echelons: vec![11],
        audit: AuditTerms {
            p_min_ppb: 12,
            p_stat_ppb: 13,
            verifiers: 14,
            records: 15,
            min_claim: Amount(16),
            challenge_ms: 17,
            hold_ms: 18,
        },
    });
    assert_eq!(
        words(&create),
        [
            "task::create &mut db [01] [02 00*7] [03] [01] [04 00*7] [05 00*7] [06 00*7] [07 00*7] [08 00*7] [09 00*7] [01 0a 00*7] [01 0b 00*7] [0c 00*7] [0d 00*7] [0e 00*7] [0f 00*7] [10 00*7] [11 00*7] [12 00*7]"
        ]
    );
    let subscribe = Call::Subscribe(Subscribe {
        node: NodeId(9),
        task: TaskId(1),
        price: Price(2),
        max_units: Units(3),
        echelon: 4,
        verifier: true,
    });
    assert_eq!(
        words(&subscribe),
        ["offer::subscribe &mut db badge [01 00*7] [02 00*7] [03 00*7] [04 00*7] [01] &clock"]
    );
    let (node, task) = (NodeId(9), TaskId(1));
    assert_eq!(
        words(&Call::Reprice { node, task, price: Price(2), max_units: Units(3) }),
        ["offer::reprice &mut db badge [01 00*7] [02 00*7] [03 00*7] &clock"]
    );
    assert_eq!(
        words(&Call::SetVerifier { node, task, verifier: false }),
        ["offer::set_verifier &mut db badge [01 00*7] [00] &clock"]
    );
    assert_eq!(
        words(&Call::Unsubscribe { node, task }),
        ["offer::unsubscribe &mut db badge [01 00*7] &clock"]
    );
    assert_eq!(
        words(&Call::MoveVerifier { node, task }),
        ["offer::move_verifier &mut db badge [01 00*7] &clock"]
    );
    assert_eq!(words(&Call::Evict { node, task }), ["offer::evict &mut db [09 00*7] [01 00*7] &clock"]);
    assert_eq!(words(&Call::DeprecateTask { task }), ["task::deprecate &mut db task-badge"]);
    assert_eq!(
        words(&Call::SetWhitelist { task, nodes: vec![node] }),
        ["task::set_whitelist &mut db task-badge [01 09 00*7]"]
    );
}

#[test]
fn stack_calls() {
    let key = SecretKey::from_seed([1; 32]).public_key();
    let acquire = Call::AcquireStack(AcquireStack {
        task: TaskId(1),
        request_key: key,
        units: Units(2),
        max_price: Price(3),
        selection: Selection::Limited,
        nodes: 4,
        max_opens: 5,
        echelons: vec![7],
        payment: Amount(6),
    });
    let expected = format!(
        "stack::acquire &db &random #0 [01 00*7] [20 {} [02 00*7] [03 00*7] [01] [04 00*7] [05 00*7] [01 07 00*7] &clock",
        hex(&key.0).trim_start_matches('[')
    );
    assert_eq!(words(&acquire), ["split coin [06 00*7]".to_owned(), expected]);
    let open = |signature| {
        Call::OpenChannel(OpenChannel {
            stack: STACK,
            node: NodeId(9),
            units: Units(1),
            max_price: Price(2),
            nonce: 3,
            signature,
        })
    };
    assert_eq!(
        words(&open(None)),
        ["stack::open_channel &db &mut stack [09 00*7] [01 00*7] [02 00*7] [03 00*7] [00] &clock"]
    );
    assert_eq!(
        words(&open(Some(Signature([5; 64])))),
        ["stack::open_channel &db &mut stack [09 00*7] [01 00*7] [02 00*7] [03 00*7] [40 05*64] &clock"]
    );
    let stack = STACK;
    assert_eq!(
        words(&Call::ReleaseChannel { stack, node: NodeId(9) }),
        ["stack::release_channel &db &mut stack badge &clock"]
    );
    assert_eq!(words(&Call::RequestClose { stack }), ["stack::request_close &mut stack &clock"]);
    assert_eq!(words(&Call::Refund { stack }), ["stack::refund &mut stack &clock"]);
    assert_eq!(words(&Call::Withdraw { stack }), ["stack::withdraw &mut stack &clock"]);
    assert_eq!(words(&Call::Sweep { stack }), ["stack::sweep &mut stack &mut treasury &clock"]);
    let node = NodeId(9);
    assert_eq!(
        words(&Call::RevokeChannel { stack, node }),
        ["stack::revoke_channel &mut stack [09 00*7] &clock"]
    );
    assert_eq!(words(&Call::Reclaim { stack, node }), ["stack::reclaim &db &mut stack [09 00*7] &clock"]);
    assert_eq!(
        words(&Call::TopUp { stack, units: Units(2), payment: Amount(6) }),
        ["split coin [06 00*7]", "stack::top_up &db &mut stack #0 [02 00*7] &clock"]
    );
    let Call::OpenChannel(open) = open(None) else { return };
    let opened = "stack::open_channel &db &mut stack [09 00*7] [01 00*7] [02 00*7] [03 00*7] [00] &clock";
    let grow = |units, payment| Call::Grow(Grow { stack, units, payment, opens: vec![open.clone()] });
    assert_eq!(words(&grow(Units::ZERO, Amount::ZERO)), [opened]);
    assert_eq!(
        words(&grow(Units(2), Amount(6))),
        ["split coin [06 00*7]", "stack::top_up &db &mut stack #0 [02 00*7] &clock", opened]
    );
}

fn shown() -> Shown {
    let record = Record {
        request_hash: Hash32([1; 32]),
        response_hash: Hash32([2; 32]),
        input: 3,
        output: 4,
        units: Units(7),
        total_units: Units(7),
        count: 1,
        status: Status::Complete,
        work: Hash32([5; 32]),
    };
    Shown { record, index: 0, proof: vec![Hash32([6; 32])] }
}

/// `record index proof`.
const SHOWN: &str =
    "[8c 01 20 01*32 20 02*32 03 00*7 04 00*7 07 00*7 07 00*7 01 00*8 20 05*32] [00*8] [01 20 06*32]";

#[test]
fn claims_are_moved_on_in_channels_and_in_disputes() {
    let channel = Target::Channel { stack: STACK, node: NodeId(9) };
    let dispute = Target::Dispute { dispute: DISPUTE, node: NodeId(9) };
    let both = |step: ClaimStep| {
        let of = |target| words(&Call::OnClaim { target, step: step.clone() }).pop().unwrap();
        [of(channel), of(dispute)]
    };
    let expect = |step, channel: &str, dispute: &str| {
        assert_eq!(both(step), [channel, dispute].map(|text| text.replace("SHOWN", SHOWN)));
    };
    expect(
        ClaimStep::ResolvePay,
        "claim::resolve_pay &db &beacon &mut stack [09 00*7] &clock",
        "dispute::resolve_pay &db &beacon &mut dispute &clock",
    );
    expect(
        ClaimStep::ResolveAudit,
        "claim::resolve_audit &mut db &beacon &mut stack [09 00*7] &clock",
        "dispute::resolve_audit &mut db &beacon &mut dispute &clock",
    );
    expect(
        ClaimStep::Release,
        "claim::release_claim &db &beacon &mut stack [09 00*7] &clock",
        "dispute::release_claim &db &mut dispute &clock",
    );
    expect(
        ClaimStep::Challenge { payment: Amount(6), shown: shown() },
        "claim::challenge_record &mut db &beacon &mut stack [09 00*7] #0 SHOWN &clock",
        "dispute::challenge_record &mut db &beacon &mut dispute #0 SHOWN &clock",
    );
    expect(
        ClaimStep::RevealRecord { which: 2, shown: shown(), location: vec![3] },
        "audit::reveal_record &mut stack badge [02 00*7] SHOWN [01 03] &clock",
        "dispute::reveal_record &mut dispute badge [02 00*7] SHOWN [01 03] &clock",
    );
    expect(
        ClaimStep::PostRecordPart { which: 2, part: vec![3] },
        "audit::post_record_part &stack badge [02 00*7] [01 03]",
        "dispute::post_record_part &dispute badge [02 00*7] [01 03]",
    );
    expect(
        ClaimStep::CommitVerdict { verifier: NodeId(4), commit: Hash32([3; 32]) },
        "audit::commit_verdict &mut stack [09 00*7] badge2 [20 03*32] &clock",
        "dispute::commit_verdict &mut dispute badge2 [20 03*32] &clock",
    );
    let reveal = ClaimStep::RevealVerdict {
        verifier: NodeId(4),
        verdicts: vec![0],
        digests: vec![7; 64],
        salt: Hash32([3; 32]),
    };
    expect(
        reveal,
        "audit::reveal_verdict &mut db &mut stack [09 00*7] badge2 [01 00] [40 07*64] [20 03*32] &clock",
        "dispute::reveal_verdict &mut db &mut dispute badge2 [01 00] [40 07*64] [20 03*32] &clock",
    );
    expect(
        ClaimStep::MarkLate,
        "audit::mark_late &mut stack [09 00*7] &clock",
        "dispute::mark_audit_late &mut dispute &clock",
    );
    expect(
        ClaimStep::Expire,
        "audit::expire &mut db &mut stack [09 00*7] &clock",
        "dispute::expire_audit &mut db &mut dispute &clock",
    );
}

#[test]
fn dispute_calls() {
    let of = |dispute| words(&Call::Dispute(dispute)).pop().unwrap();
    let case = Case { stack: STACK, dispute: DISPUTE, node: NodeId(9) };
    let auth = RequestAuth {
        db: DB,
        stack: STACK,
        node: NodeId(9),
        hops: 1,
        nonce: 2,
        body_hash: Hash32([3; 32]),
        max_units: Units(4),
        expires_ms: 5,
    };
    let request = Signed { message: auth, signature: Signature([6; 64]) };
    assert_eq!(
        of(DisputeCall::Open { request, blob: BLOB, payment: Amount(7) }),
        "dispute::open &mut db &mut stack blob #0 [09 00*7] [01] [02 00*7] [20 03*32] [04 00*7] [05 00*7] [40 06*64] &clock"
    );
    let (record, index_and_proof) =
        SHOWN.split_once("] [").map(|(record, rest)| (format!("{record}]"), rest)).unwrap();
    assert_eq!(
        of(DisputeCall::AnswerServed { case, blob: BLOB, record: shown().record }),
        format!("dispute::answer_served &mut db &beacon &mut stack &mut dispute badge blob {record} &clock")
    );
    assert_eq!(
        of(DisputeCall::AnswerRefused { case, reason: 3, payment: Amount(7) }),
        "dispute::answer_refused &mut db &mut stack &mut dispute badge #0 [03]"
    );
    assert_eq!(
        of(DisputeCall::ShowAcknowledged { case, voucher: voucher(STACK), shown: shown() }),
        format!(
            "dispute::show_acknowledged &mut db &mut stack &mut dispute badge [09 00*7] [64 00*7] [02 00*7] [20 07*32] [40 05*64] {record} [{index_and_proof}"
        )
    );
    assert_eq!(of(DisputeCall::DemandBody { case }), "dispute::demand_body &db &mut dispute badge &clock");
    assert_eq!(
        of(DisputeCall::PostBody { dispute: DISPUTE, offset: 2, part: vec![3], is_last: true }),
        "dispute::post_body &mut dispute [02 00*7] [01 03] [01] &clock"
    );
    assert_eq!(of(DisputeCall::MarkLate { dispute: DISPUTE }), "dispute::mark_late &mut dispute &clock");
    assert_eq!(of(DisputeCall::Expire { case }), "dispute::expire &mut db &mut stack &mut dispute &clock");
    assert_eq!(of(DisputeCall::Withdraw { dispute: DISPUTE }), "dispute::withdraw &mut dispute");
}

#[test]
fn many_channels_settle_in_one_transaction() {
    let settle = |stack| {
        format!("stack::settle &db &mut {stack} [09 00*7] [64 00*7] [02 00*7] [20 07*32] [40 05*64] &clock")
    };
    let call = Call::Settle(vec![voucher(STACK), voucher(OTHER_STACK)]);
    assert_eq!(words(&call), [settle("stack"), settle("stack2")]);
    let claim = settle("stack").replace("stack::settle &db", "claim::settle &db &beacon");
    assert_eq!(words(&Call::Claim(vec![voucher(STACK)])), [claim]);
}

#[test]
fn a_payment_merges_what_it_must_and_splits_no_dust() {
    let send = Call::TransferCoin { to: Address::new([8; 32]), amount: Amount(6) };
    let commands = |coins: &[Address], exact| {
        let transaction = transaction(&send, coins, exact);
        let TransactionKind::ProgrammableTransaction(programmable) = &transaction.kind else {
            unreachable!()
        };
        programmable.commands.iter().map(|command| in_words(programmable, command)).collect::<Vec<_>>()
    };
    assert_eq!(commands(&[COIN], false), ["split coin [06 00*7]", "send #0 [08*32]"]);
    assert_eq!(commands(&[COIN], true), ["send coin [08*32]"]);
    assert_eq!(
        commands(&[COIN, SMALL_COIN], false),
        ["merge coin coin2", "split coin [06 00*7]", "send #1 [08*32]"]
    );
    assert_eq!(
        words(&Call::TransferGas { to: Address::new([8; 32]), amount: 6 }),
        ["split gas [06 00*7]", "send #0 [08*32]"]
    );
}

#[test]
fn calls_that_cannot_execute_are_refused_before_anything_is_reserved() {
    let foreign = Voucher { db: STACK, ..voucher(STACK).message }.sign(&SecretKey::from_seed([1; 32]));
    let refused = [
        Call::Settle(vec![]),
        Call::Settle(vec![voucher(STACK); Call::SETTLE_MAX + 1]),
        Call::Settle(vec![foreign.clone()]),
        Call::Claim(vec![foreign]),
        Call::Claim(vec![]),
        Call::TopUp { stack: STACK, units: Units(1), payment: Amount(0) },
        Call::Grow(Grow { stack: STACK, units: Units(1), payment: Amount(0), opens: vec![] }),
        Call::Grow(Grow { stack: STACK, units: Units::ZERO, payment: Amount(0), opens: vec![] }),
        Call::AddCollateral { node: NodeId(9), amount: Amount(0) },
        Call::TransferCoin { to: ME, amount: Amount(0) },
        Call::TransferGas { to: ME, amount: 0 },
    ];
    for call in refused {
        assert!(matches!(call.check(&deployment()), Err(ChainError::InvalidCall { .. })), "{call:?}");
    }
}
