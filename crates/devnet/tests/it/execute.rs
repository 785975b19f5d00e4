//! What a transaction changes, and what it costs.

use crate::support::{Net, SUI, USD, address, key, owned, sui, transfer};
use std::collections::BTreeSet;
use std::time::Duration;
use sui_crypto::SuiSigner;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Address, ExecutionError, ExecutionStatus, IdOperation, Owner};
use sui_transaction_builder::TransactionBuilder;

#[tokio::test]
async fn a_transfer_moves_the_amount_and_costs_the_gas() {
    let net = Net::start().await;
    let (alice, bob) = (net.funded(1).await, address(&key(2)));
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    let transaction = transfer(&gas, address(&alice), bob, 3 * SUI);
    let done = net.sign_and_execute(&alice, &transaction).await.unwrap();

    assert_eq!(done.effects.status, ExecutionStatus::Success);
    assert_eq!(net.balance(bob, &sui()).await, 3 * SUI);
    let cost = done.effects.gas_used.net_gas_usage();
    let left = net.balance(address(&alice), &sui()).await;
    assert_eq!(i128::from(left), i128::from(100 * SUI) - i128::from(3 * SUI) - i128::from(cost));
    assert_eq!(done.effects.lamport_version, gas.version() + 1);
    let received = net.coins(bob, &sui()).await.remove(0);
    assert_eq!(received.version(), done.effects.lamport_version);
    assert_eq!(received.previous_transaction(), done.digest);
    assert_eq!(*received.owner(), Owner::Address(bob));
    let created =
        done.effects.changed_objects.iter().filter(|change| change.id_operation == IdOperation::Created);
    assert_eq!(created.map(|change| change.object_id).collect::<Vec<_>>(), [received.object_id()]);
    assert_eq!(done.effects.dependencies, [gas.previous_transaction()]);
}

#[tokio::test]
async fn the_same_bytes_again_give_the_first_result() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    let transaction = transfer(&gas, address(&alice), Address::TWO, SUI);
    let first = net.sign_and_execute(&alice, &transaction).await.unwrap();
    let again = net.sign_and_execute(&alice, &transaction).await.unwrap();
    assert_eq!(first.effects, again.effects);
    assert_eq!(net.balance(Address::TWO, &sui()).await, SUI);

    let mut request = pb::ExecuteTransactionRequest::default();
    request.transaction = Some(transaction.clone().into());
    request.signatures = vec![alice.sign_transaction(&transaction).unwrap().into()];
    request.read_mask = Some(FieldMask::from_str("*"));
    let waited =
        net.client.execute_transaction_and_wait_for_checkpoint(request, Duration::from_secs(20)).await;
    assert_eq!(waited.unwrap().into_inner().transaction().checkpoint(), 2);
}

#[tokio::test]
async fn execute_and_wait_sees_the_checkpoint() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    let transaction = transfer(&gas, address(&alice), Address::TWO, SUI);
    let mut request = pb::ExecuteTransactionRequest::default();
    request.transaction = Some(transaction.clone().into());
    request.signatures = vec![alice.sign_transaction(&transaction).unwrap().into()];
    let done = net.client.execute_transaction_and_wait_for_checkpoint(request, Duration::from_secs(20)).await;
    let checkpoint = done.unwrap().into_inner().transaction().checkpoint();

    let request =
        pb::GetCheckpointRequest::by_sequence_number(checkpoint).with_read_mask(FieldMask::from_str("*"));
    let found = net.client.ledger_client().get_checkpoint(request).await.unwrap().into_inner();
    let summary: sui_sdk_types::CheckpointSummary = found.checkpoint().summary().bcs().deserialize().unwrap();
    assert_eq!(summary.digest().to_string(), found.checkpoint().digest());
    assert_eq!(found.checkpoint().transactions()[0].digest(), transaction.digest().to_string());
    let request =
        pb::GetCheckpointRequest::by_sequence_number(checkpoint - 1).with_read_mask(FieldMask::from_str("*"));
    let before = net.client.ledger_client().get_checkpoint(request).await.unwrap().into_inner();
    assert_eq!(summary.previous_digest.unwrap().to_string(), before.checkpoint().digest());
}

#[tokio::test]
async fn an_abort_costs_gas_and_changes_nothing_else() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let owner = address(&alice);
    let usd = net.balance(owner, &net.usd()).await;
    // A stack that the payment does not cover: EInsufficientPayment.
    let builder = net.purchase(owner, 1_000_000, 10).await;
    let done = fixed_gas(&net, &alice, builder).await;

    let ExecutionStatus::Failure { error, command } = &done.effects.status else { panic!("must abort") };
    let ExecutionError::MoveAbort { location, code } = error else { panic!("{error:?}") };
    assert_eq!((*code, *command), (6, Some(1)));
    assert_eq!(location.package, atoma_devnet::PACKAGE);
    assert_eq!(
        (location.module.as_str(), location.function_name.as_ref().unwrap().as_str()),
        ("stack", "acquire")
    );
    assert!(done.events.is_empty() && done.effects.events_digest.is_none());
    assert!(done.effects.gas_used.computation_cost > 0);
    assert_eq!(net.balance(owner, &net.usd()).await, usd);
    assert!(done.effects.changed_objects.iter().all(|change| change.id_operation == IdOperation::None));
    for coin in net.coins(owner, &net.usd()).await.iter().take(1) {
        assert_eq!(coin.version(), done.effects.lamport_version, "an input's version rises even so");
    }
}

/// Signs with explicit gas: a dry run would have refused to build what is going to abort.
async fn fixed_gas(
    net: &Net,
    key: &sui_crypto::ed25519::Ed25519PrivateKey,
    mut builder: TransactionBuilder,
) -> crate::support::Done {
    let gas = net.coins(address(key), &sui()).await.into_iter().max_by_key(|coin| coin.version()).unwrap();
    builder.set_sender(address(key));
    builder.set_gas_budget(50_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(&gas)]);
    net.sign_and_execute(key, &builder.try_build().unwrap()).await.unwrap()
}

#[tokio::test]
async fn several_gas_coins_become_one() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    net.funded(1).await;
    let owner = address(&alice);
    let coins = net.coins(owner, &sui()).await;
    assert_eq!(coins.len(), 2);
    let mut builder = TransactionBuilder::new();
    let (gas, amount, to) = (builder.gas(), builder.pure(&(150 * SUI)), builder.pure(&Address::TWO));
    let sent = builder.split_coins(gas, vec![amount]);
    builder.transfer_objects(sent, to);
    builder.set_sender(owner);
    builder.set_gas_budget(10_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects(coins.iter().map(owned));
    let done = net.sign_and_execute(&alice, &builder.try_build().unwrap()).await.unwrap();
    assert_eq!(done.effects.status, ExecutionStatus::Success);
    assert_eq!(net.coins(owner, &sui()).await.len(), 1);
    assert_eq!(net.balance(Address::TWO, &sui()).await, 150 * SUI);
    let cost = done.effects.gas_used.net_gas_usage();
    assert_eq!(i128::from(net.balance(owner, &sui()).await), i128::from(50 * SUI) - i128::from(cost));
}

#[tokio::test]
async fn too_small_a_budget_is_spent_and_nothing_else() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let owner = address(&alice);
    let gas = net.coins(owner, &sui()).await.remove(0);
    let mut builder = TransactionBuilder::new();
    let (coin, to) = (builder.gas(), builder.pure(&Address::TWO));
    let amounts = (0..20u64).map(|_| builder.pure_unique(&1u64)).collect();
    let coins = builder.split_coins(coin, amounts);
    builder.transfer_objects(coins, to);
    builder.set_sender(owner);
    builder.set_gas_budget(2_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(&gas)]);
    let done = net.sign_and_execute(&alice, &builder.try_build().unwrap()).await.unwrap();
    let ExecutionStatus::Failure { error, .. } = &done.effects.status else { panic!("must fail") };
    assert_eq!(*error, ExecutionError::InsufficientGas);
    assert_eq!(net.balance(Address::TWO, &sui()).await, 0);
    let cost = done.effects.gas_used.net_gas_usage();
    assert!((1..=2_000_000).contains(&cost));
    assert_eq!(i128::from(net.balance(owner, &sui()).await), i128::from(100 * SUI) - i128::from(cost));
}

#[tokio::test]
async fn coins_are_split_merged_and_not_dropped() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let (owner, usd) = (address(&alice), net.usd());
    let mut builder = TransactionBuilder::new();
    let first = net.usd_coin(&mut builder, owner, 5 * USD).await;
    let (amount, to) = (builder.pure(&(2 * USD)), builder.pure(&Address::TWO));
    let second = builder.split_coins(first, vec![amount]);
    builder.merge_coins(second[0], vec![first]);
    builder.transfer_objects(second, to);
    let done = net.run(&alice, builder).await;
    assert_eq!(done.effects.status, ExecutionStatus::Success);
    assert_eq!(net.balance(Address::TWO, &usd).await, 5 * USD);
    let ids: BTreeSet<_> = done.effects.changed_objects.iter().map(|change| change.object_id).collect();
    assert_eq!(ids.len(), 3, "gas, source and the one coin that stayed");

    let mut builder = TransactionBuilder::new();
    net.usd_coin(&mut builder, owner, USD).await;
    let done = fixed_gas(&net, &alice, builder).await;
    let ExecutionStatus::Failure { error, .. } = done.effects.status else { panic!("must fail") };
    assert_eq!(error, ExecutionError::UnusedValueWithoutDrop { result: 0, subresult: 0 });
}
