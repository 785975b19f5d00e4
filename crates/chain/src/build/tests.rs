//! Every call, built and decoded again: module, function, the order of its arguments, and which shared
//! objects it writes.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use atoma_types::amount::UnitWeights;
use atoma_types::message::Message as _;
use atoma_types::onchain::Selection;
use atoma_types::{Hash32, ModelId, Price, SecretKey, Signature, TaskId, Units};
use sui_sdk_types::{
    Argument as Wire, Command, Digest, Input, ProgrammableTransaction, Transaction, TransactionKind,
};

const PACKAGE: Address = Address::from_static("0xa70a");
const DB: Address = Address::from_static("0xdb");
const TREASURY: Address = Address::from_static("0x77");
const STACK: Address = Address::from_static("0x57");
const OTHER_STACK: Address = Address::from_static("0x58");
const BADGE: Address = Address::from_static("0xbad6e");
const COIN: Address = Address::from_static("0xc0");
const SMALL_COIN: Address = Address::from_static("0xc1");
const ME: Address = Address::from_static("0x3e");

fn deployment() -> Deployment {
    Deployment {
        network: "test".to_owned(),
        rpc_url: "http://127.0.0.1:1".to_owned(),
        package: PACKAGE,
        db: DB,
        treasury: TREASURY,
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
    let inputs = Inputs {
        package: PACKAGE,
        types: &types,
        shared: &shared,
        badge: needs.badge.map(|_| reference(BADGE)),
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
            assert_eq!(call.type_arguments.len(), 1);
            format!("{}::{} {}", call.module, call.function, list(&call.arguments))
        }
        Command::SplitCoins(split) => format!("split {} {}", list(&[split.coin]), list(&split.amounts)),
        Command::MergeCoins(merge) => {
            format!("merge {} {}", list(&[merge.coin]), list(&merge.coins_to_merge))
        }
        Command::TransferObjects(transfer) => {
            format!("send {} {}", list(&transfer.objects), list(&[transfer.address]))
        }
        other => format!("{other:?}"),
    }
}

fn argument_in_words(programmable: &ProgrammableTransaction, argument: &Wire) -> String {
    let names = [
        (DB, "db"),
        (TREASURY, "treasury"),
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
    assert_eq!(words(&Call::WithdrawCollateral { node }), ["node::withdraw_collateral &mut db badge &clock"]);
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
        price_ceiling: Price(4),
        weights: UnitWeights { input: 5, output: 6 },
        surcharge_permille: 7,
        min_collateral: Amount(8),
        min_reputation: 9,
        whitelist: vec![NodeId(10)],
    });
    assert_eq!(
        words(&create),
        [
            "task::create &mut db [01] [02 00*7] [03] [04 00*7] [05 00*7] [06 00*7] [07 00*7] [08 00*7] [09 00*7] [01 0a 00*7]"
        ]
    );
    let subscribe = Call::Subscribe(Subscribe {
        node: NodeId(9),
        task: TaskId(1),
        price: Price(2),
        max_units: Units(3),
        echelon: 4,
    });
    assert_eq!(words(&subscribe), ["task::subscribe &mut db badge [01 00*7] [02 00*7] [03 00*7] [04 00*7]"]);
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
        payment: Amount(6),
    });
    let expected = format!(
        "stack::acquire &db &random #0 [01 00*7] [20 {} [02 00*7] [03 00*7] [01] [04 00*7] [05 00*7] &clock",
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
        ["stack::release_channel &db &mut stack badge"]
    );
    assert_eq!(words(&Call::RequestClose { stack }), ["stack::request_close &mut stack &clock"]);
    assert_eq!(words(&Call::Refund { stack }), ["stack::refund &mut stack &clock"]);
    assert_eq!(words(&Call::Withdraw { stack }), ["stack::withdraw &mut stack"]);
    assert_eq!(words(&Call::Sweep { stack }), ["stack::sweep &mut stack &mut treasury"]);
}

#[test]
fn many_channels_settle_in_one_transaction() {
    let settle = |stack| {
        format!("stack::settle &db &mut {stack} [09 00*7] [64 00*7] [02 00*7] [20 07*32] [40 05*64] &clock")
    };
    let call = Call::Settle(vec![voucher(STACK), voucher(OTHER_STACK)]);
    assert_eq!(words(&call), [settle("stack"), settle("stack2")]);
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
        Call::Settle(vec![foreign]),
        Call::TransferCoin { to: ME, amount: Amount(0) },
        Call::TransferGas { to: ME, amount: 0 },
    ];
    for call in refused {
        assert!(matches!(call.check(&deployment()), Err(ChainError::InvalidCall { .. })), "{call:?}");
    }
}
