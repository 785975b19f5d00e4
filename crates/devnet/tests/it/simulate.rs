//! Dry runs: filling in what a client leaves out, estimating, and reading through views.

use crate::support::{Net, SUI, USD, address, owned, sui};
use atoma_types::onchain::{Node, Params, Slot, Subscription, Task};
use atoma_types::{Amount, NodeId};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Address, Input, Transaction, TransactionKind};
use sui_transaction_builder::{ObjectInput, TransactionBuilder};

#[tokio::test]
async fn a_bare_transaction_is_completed_and_fits_its_budget() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let deployment = net.devnet.deployment().clone();
    let badge =
        net.owned(address(&alice), &format!("{}::node::NodeBadge", deployment.package)).await.remove(0);
    let mut builder = TransactionBuilder::new();
    let db = builder.object(ObjectInput::new(deployment.db));
    let badge = builder.object(ObjectInput::new(badge.object_id()));
    let endpoint = builder.pure(&"http://other".to_owned());
    net.call(&mut builder, "node", "set_endpoint", vec![db, badge, endpoint]);
    builder.set_sender(address(&alice));
    let transaction = builder.build(&mut net.client.clone()).await.unwrap();
    assert!(shared_inputs(&transaction).iter().all(|shared| shared.mutability().is_mutable()));
    assert_eq!(transaction.gas_payment.objects.len(), 1);
    let done = net.sign_and_execute(&alice, &transaction).await.unwrap();
    assert!(matches!(done.effects.status, sui_sdk_types::ExecutionStatus::Success));
    let cost = done.effects.gas_used.net_gas_usage();
    assert!(cost <= i64::try_from(transaction.gas_payment.budget).unwrap());
    assert_eq!(net.view::<Node>("node", &[1]).await.endpoint, "http://other");
}

#[tokio::test]
async fn what_is_only_read_is_taken_immutably() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let mut builder = TransactionBuilder::new();
    let db = builder.object(ObjectInput::new(net.devnet.deployment().db));
    let one = builder.pure(&1u64);
    net.call(&mut builder, "views", "nodes", vec![db, one, one]);
    builder.set_sender(address(&alice));
    let transaction = builder.build(&mut net.client.clone()).await.unwrap();
    assert!(shared_inputs(&transaction).iter().all(|shared| !shared.mutability().is_mutable()));
}

#[tokio::test]
async fn gas_selection_covers_what_is_split_off() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.funded(1).await;
    let mut builder = TransactionBuilder::new();
    let (gas, amount, to) = (builder.gas(), builder.pure(&(150 * SUI)), builder.pure(&Address::TWO));
    let coins = builder.split_coins(gas, vec![amount]);
    builder.transfer_objects(coins, to);
    net.run(&alice, builder).await;
    assert_eq!(net.balance(Address::TWO, &sui()).await, 150 * SUI);
}

#[tokio::test]
async fn a_dry_run_that_aborts_says_why_and_moves_nothing() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let mut builder = net.purchase(address(&alice), 1_000_000, 10).await;
    builder.set_sender(address(&alice));
    let before = net.balance(address(&alice), &net.usd()).await;
    let error = builder.build(&mut net.client.clone()).await.err().unwrap();
    assert!(error.to_string().contains("MOVE_ABORT"), "{error}");
    assert_eq!(net.balance(address(&alice), &net.usd()).await, before);
}

#[tokio::test]
async fn a_read_only_borrow_cannot_be_written() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let mut builder = TransactionBuilder::new();
    let db = net.db(&mut builder, false);
    let label = builder.pure(&"m".to_owned());
    let (role, root, fee) = (builder.pure(&0u8), builder.pure(&vec![9u8; 32]), builder.pure(&0u64));
    net.call(&mut builder, "model", "add", vec![db, label, role, root, fee]);
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    builder.set_sender(address(&alice));
    builder.set_gas_budget(50_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(&gas)]);
    let done = net.sign_and_execute(&alice, &builder.try_build().unwrap()).await.unwrap();
    let text = format!("{:?}", done.effects.status);
    assert!(text.contains("InvalidObjectByMutRef"), "{text}");
}

#[tokio::test]
async fn views_return_what_is_stored() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let node = net.open_market(&alice).await;
    assert_eq!((node.owner, node.collateral), (address(&alice), Amount(1_000 * USD)));
    assert_eq!(net.view::<Vec<Node>>("nodes", &[1, 9]).await, [node]);
    assert_eq!(net.view::<Vec<Node>>("nodes", &[2, 9]).await, []);
    assert_eq!(net.view::<Subscription>("subscription", &[1, 1]).await.node, NodeId(1));
    assert_eq!(net.view::<Vec<Slot>>("offers", &[1, 0, 0, 9]).await.len(), 1);
    assert_eq!(net.view::<Vec<Task>>("tasks", &[1, 9]).await.len(), 1);
    assert_eq!(net.view::<Params>("params", &[0]).await, atoma_contract::params::devnet());
}

#[tokio::test]
async fn functions_are_described() {
    let net = Net::start().await;
    let package = net.devnet.deployment().package;
    let request = pb::GetFunctionRequest::new(&package, "stack", "settle");
    let reply = net.client.clone().package_client().get_function(request).await.unwrap().into_inner();
    let function = reply.function.unwrap();
    // db, stack, node, units, count, root, signature, clock, and the context.
    assert_eq!(function.parameters.len(), 9);
    assert_eq!(function.parameters[1].reference(), pb::open_signature::Reference::Mutable);
    let missing = pb::GetFunctionRequest::new(&package, "stack", "steal");
    assert!(net.client.clone().package_client().get_function(missing).await.is_err());
}

#[tokio::test]
async fn a_dry_run_without_gas_uses_made_up_gas() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let coin = net.coins(address(&alice), &net.usd()).await.remove(0);
    let mut builder = TransactionBuilder::new();
    let (coin, to) = (builder.object(owned(&coin)), builder.pure(&Address::TWO));
    builder.transfer_objects(vec![coin], to);
    builder.set_sender(address(&alice));
    builder.set_gas_budget(50_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([ObjectInput::owned(Address::TWO, 1, sui_sdk_types::Digest::ZERO)]);
    let mut transaction = builder.try_build().unwrap();
    transaction.gas_payment.objects.clear();
    let mut request = pb::SimulateTransactionRequest::default();
    request.transaction = Some(transaction.into());
    request.read_mask = Some(FieldMask::from_str("*"));
    let reply =
        net.client.clone().execution_client().simulate_transaction(request).await.unwrap().into_inner();
    assert!(reply.transaction().effects().status().success());
    assert_eq!(reply.suggested_gas_price(), 1_000);
}

fn shared_inputs(transaction: &Transaction) -> Vec<&sui_sdk_types::SharedInput> {
    let TransactionKind::ProgrammableTransaction(programmable) = &transaction.kind else { panic!("kind") };
    let shared = programmable.inputs.iter().filter_map(|input| match input {
        Input::Shared(shared) => Some(shared),
        _ => None,
    });
    shared.collect()
}
