//! The market's life through the chain: buy, settle, close, refund.

use crate::support::{Done, Net, USD, address, clock, owned, request_key, sui};
use atoma_types::message::Message as _;
use atoma_types::onchain::{Event, Stack};
use atoma_types::{Hash32, NodeId, Units, Voucher};
use std::time::Duration;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Object, Owner};
use sui_transaction_builder::{Argument, ObjectInput, TransactionBuilder};

#[tokio::test]
async fn a_stack_is_bought_settled_and_refunded_to_the_last_unit() {
    let net = Net::start().await;
    let (operator, buyer) = (net.funded(1).await, net.funded(2).await);
    net.open_market(&operator).await;
    let before = net.balance(address(&buyer), &net.usd()).await;
    let done = net.run(&buyer, net.purchase(address(&buyer), 1_000_000, USD).await).await;
    let [Event::StackAcquired(acquired), Event::ChannelOpened(opened)] = &done.events[..] else {
        panic!("{:?}", done.events)
    };
    assert_eq!((opened.node, opened.granted), (NodeId(1), Units(1_000_000)));
    let stack = net.stack(acquired.stack).await.unwrap();
    assert_eq!(stack.balance, acquired.balance);
    let object = net.object(acquired.stack).await.unwrap();
    assert_eq!(*object.owner(), Owner::Shared(done.effects.lamport_version));
    assert_eq!(net.balance(address(&buyer), &net.usd()).await, before - stack.balance.0);

    settle(&net, &operator, &stack, 400_000, 1).await;
    let closing = net.on_stack(&buyer, &object, "request_close").await;
    assert!(matches!(closing.events[..], [Event::CloseRequested(_)]));
    net.devnet.advance_clock(Duration::from_secs(30)).await.unwrap();
    net.on_stack(&buyer, &object, "refund").await;
    let earned = net.balance(address(&operator), &net.usd()).await;
    net.on_stack(&operator, &object, "withdraw").await;
    assert_eq!(net.balance(address(&operator), &net.usd()).await, earned + 200_000);
    sweep(&net, &buyer, &object).await;
    assert!(net.object(acquired.stack).await.is_none(), "an empty stack is deleted");
    // 400,000 units at 0.5 per million, and the surcharge of 5 permille on them.
    assert_eq!(net.balance(address(&buyer), &net.usd()).await, before - 200_000 - 1_000);

    // A deleted shared object makes later transactions fail, not vanish.
    let mut builder = TransactionBuilder::new();
    let arguments = vec![builder.object(shared(&object)), clock(&mut builder)];
    net.call(&mut builder, "stack", "withdraw", arguments);
    assert!(net.failure(&buyer, builder).await.contains("InputObjectDeleted"));
}

async fn settle(net: &Net, by: &Ed25519PrivateKey, stack: &Stack, units: u64, count: u64) {
    let voucher = Voucher {
        db: stack.db,
        stack: stack.id,
        node: NodeId(1),
        units: Units(units),
        count,
        root: Hash32::of(b"root"),
    };
    let signature = voucher.clone().sign(&request_key()).signature;
    let object = net.object(stack.id).await.unwrap();
    let mut builder = TransactionBuilder::new();
    let mut arguments: Vec<Argument> = vec![net.db(&mut builder, false), builder.object(shared(&object))];
    arguments.extend([1, units, count].iter().map(|number| builder.pure_unique(number)));
    arguments.extend([builder.pure(&voucher.root), builder.pure(&signature)]);
    arguments.push(clock(&mut builder));
    net.call(&mut builder, "stack", "settle", arguments);
    let done = net.run(by, builder).await;
    assert!(matches!(done.events[..], [Event::Settled(_)]), "{:?}", done.effects.status);
}

async fn sweep(net: &Net, by: &Ed25519PrivateKey, stack: &Object) {
    let mut builder = TransactionBuilder::new();
    let (stack, treasury) = (builder.object(shared(stack)), net.treasury(&mut builder));
    let arguments = vec![stack, treasury, clock(&mut builder)];
    net.call(&mut builder, "stack", "sweep", arguments);
    let done = net.run(by, builder).await;
    assert!(matches!(done.events[0], Event::Swept(_)));
}

fn shared(object: &Object) -> ObjectInput {
    let Owner::Shared(start) = *object.owner() else { panic!("not shared") };
    ObjectInput::shared(object.object_id(), start, true)
}

impl Net {
    /// What a transaction that fails says.
    async fn failure(&self, key: &Ed25519PrivateKey, mut builder: TransactionBuilder) -> String {
        builder.set_sender(address(key));
        let gas = self.coins(address(key), &sui()).await.remove(0);
        builder.set_gas_budget(50_000_000);
        builder.set_gas_price(1_000);
        builder.add_gas_objects([owned(&gas)]);
        let done = self.sign_and_execute(key, &builder.try_build().unwrap()).await.unwrap();
        format!("{:?}", done.effects.status)
    }

    async fn on_stack(&self, key: &Ed25519PrivateKey, stack: &Object, name: &str) -> Done {
        let mut builder = TransactionBuilder::new();
        let arguments = vec![builder.object(shared(stack)), clock(&mut builder)];
        self.call(&mut builder, "stack", name, arguments);
        self.run(key, builder).await
    }
}

#[tokio::test]
async fn a_shared_object_taken_by_value_has_left_its_argument() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let done = net.run(&alice, net.purchase(address(&alice), 1_000, 10_000).await).await;
    let Event::StackAcquired(acquired) = &done.events[0] else { panic!("{:?}", done.events) };
    let stack = net.object(acquired.stack).await.unwrap();
    net.devnet.advance_clock(Duration::from_secs(10_000)).await.unwrap();

    let mut twice = TransactionBuilder::new();
    let arguments = vec![twice.object(shared(&stack)), clock(&mut twice)];
    net.call(&mut twice, "stack", "refund", arguments.clone());
    net.call(&mut twice, "stack", "refund", arguments);
    assert!(net.failure(&alice, twice).await.contains("InvalidValueUsage"));

    let mut read_only = TransactionBuilder::new();
    let Owner::Shared(start) = *stack.owner() else { panic!("not shared") };
    let reference = ObjectInput::shared(stack.object_id(), start, false);
    let arguments = vec![read_only.object(reference), clock(&mut read_only)];
    net.call(&mut read_only, "stack", "refund", arguments);
    assert!(net.failure(&alice, read_only).await.contains("InvalidObjectByValue"));

    let mut given = TransactionBuilder::new();
    let (object, to) = (given.object(shared(&stack)), given.pure(&address(&alice)));
    given.transfer_objects(vec![object], to);
    assert!(net.failure(&alice, given).await.contains("InvalidObjectByValue"));

    // Once is well: it is the same shared object afterwards, or none.
    let closed = net.on_stack(&alice, &stack, "refund").await;
    assert!(matches!(closed.events[..], [Event::Refunded(_), Event::StackDeleted(_)]), "{:?}", closed.events);
    assert!(net.object(acquired.stack).await.is_none());
}

#[tokio::test]
async fn events_and_objects_are_readable_as_json() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let done = net.run(&alice, net.purchase(address(&alice), 1_000, 10_000).await).await;
    let Event::StackAcquired(acquired) = &done.events[0] else { panic!("{:?}", done.events) };
    let request =
        pb::GetObjectRequest::new(&acquired.stack).with_read_mask(FieldMask::from_str("json,object_type"));
    let reply = net.client.clone().ledger_client().get_object(request).await.unwrap().into_inner();
    let json = format!("{:?}", reply.object().json);
    assert!(json.contains("total_units") && json.contains("\"1000\""), "{json}");
}
