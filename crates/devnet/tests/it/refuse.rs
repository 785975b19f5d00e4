//! What is refused before it runs: no gas, no trace.

use crate::support::{Net, SUI, address, key, owned, sui, transfer};
use sui_crypto::SuiSigner;
use sui_sdk_types::{
    Address, Argument, Command, Digest, MakeMoveVector, Transaction, TransactionExpiration, TransactionKind,
};
use sui_transaction_builder::{ObjectInput, TransactionBuilder};
use tonic::Code;

/// Executes, expects a refusal and gives its words; checks that the chain did not move.
async fn refused(net: &mut Net, transaction: &Transaction, signers: &[u8]) -> String {
    let before = tip(net).await;
    let signatures: Vec<_> =
        signers.iter().map(|seed| key(*seed).sign_transaction(transaction).unwrap()).collect();
    let status = net.execute(transaction, &signatures).await.err().expect("must be refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(tip(net).await, before);
    status.message().to_owned()
}

async fn tip(net: &mut Net) -> u64 {
    let request = sui_rpc::proto::sui::rpc::v2::GetServiceInfoRequest::default();
    net.client.ledger_client().get_service_info(request).await.unwrap().into_inner().checkpoint_height()
}

#[tokio::test]
async fn signatures_must_be_the_senders() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let gas = net.coins(address(&alice), &sui()).await.remove(0);
    let transaction = transfer(&gas, address(&alice), Address::TWO, SUI);
    assert!(refused(&mut net, &transaction, &[2]).await.contains("neither the sender"));
    assert!(refused(&mut net, &transaction, &[]).await.contains("Expect 1 signer signatures"));
    assert!(refused(&mut net, &transaction, &[1, 2]).await.contains("Expect 1 signer signatures"));
    let other = transfer(&gas, address(&alice), Address::TWO, 2 * SUI);
    let foreign = alice.sign_transaction(&other).unwrap();
    let status = net.execute(&transaction, &[foreign]).await.err().unwrap();
    assert!(status.message().contains("Signature is not valid"), "{status}");
    // A thief who names the owner's coins and signs for himself.
    let theft = transfer(&gas, address(&key(2)), Address::TWO, SUI);
    assert!(refused(&mut net, &theft, &[2]).await.contains("is owned by account address"));
}

#[tokio::test]
async fn a_sponsor_pays_when_both_sign() {
    let net = Net::start().await;
    let (alice, sponsor) = (net.funded(1).await, net.funded(2).await);
    let gas = net.coins(address(&sponsor), &sui()).await.remove(0);
    let coin = net.coins(address(&alice), &net.usd()).await.remove(0);
    let mut builder = TransactionBuilder::new();
    let (coin, to) = (builder.object(owned(&coin)), builder.pure(&Address::TWO));
    builder.transfer_objects(vec![coin], to);
    builder.set_sender(address(&alice));
    builder.set_sponsor(address(&sponsor));
    builder.set_gas_budget(10_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(&gas)]);
    let transaction = builder.try_build().unwrap();
    let both =
        [alice.sign_transaction(&transaction).unwrap(), sponsor.sign_transaction(&transaction).unwrap()];
    assert!(net.execute(&transaction, &both[..1]).await.is_err());
    net.execute(&transaction, &both).await.unwrap();
    assert_eq!(net.balance(address(&alice), &sui()).await, 100 * SUI);
}

#[tokio::test]
async fn old_and_wrong_objects_are_named() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let gas = net.coins(me, &sui()).await.remove(0);
    net.sign_and_execute(&alice, &transfer(&gas, me, Address::TWO, SUI)).await.unwrap();
    let stale = refused(&mut net, &transfer(&gas, me, Address::TWO, 2 * SUI), &[1]).await;
    let wanted = format!(
        "object {} version {} is unavailable for consumption, current version: {}",
        gas.object_id(),
        gas.version(),
        gas.version() + 1
    );
    assert!(stale.contains(&wanted), "{stale}");

    let gas = net.object(gas.object_id()).await.unwrap();
    let mut wrong = transfer(&gas, me, Address::TWO, SUI);
    let reference = sui_sdk_types::ObjectReference::new(gas.object_id(), gas.version(), Digest::ZERO);
    wrong.gas_payment.objects = vec![reference];
    assert!(refused(&mut net, &wrong, &[1]).await.contains("Invalid digest for object"));
    let unknown = sui_sdk_types::ObjectReference::new(Address::from_static("0x99"), 1, Digest::ZERO);
    wrong.gas_payment.objects = vec![unknown];
    assert!(refused(&mut net, &wrong, &[1]).await.contains("Could not find the referenced object"));
    let twice = sui_sdk_types::ObjectReference::new(gas.object_id(), gas.version(), gas.digest());
    wrong.gas_payment.objects = vec![twice.clone(), twice];
    assert!(refused(&mut net, &wrong, &[1]).await.contains("cannot appear more than once"));
}

#[tokio::test]
async fn gas_must_be_enough_and_of_sui() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let gas = net.coins(me, &sui()).await.remove(0);
    let usd = net.coins(me, &net.usd()).await.remove(0);
    let plain = transfer(&gas, me, Address::TWO, SUI);
    let with = |change: &dyn Fn(&mut Transaction)| {
        let mut changed = plain.clone();
        change(&mut changed);
        changed
    };
    let cases = [
        (with(&|tx| tx.gas_payment.price = 999), "under reference gas price"),
        (with(&|tx| tx.gas_payment.budget = 999_999), "is lower than min"),
        (with(&|tx| tx.gas_payment.budget = u64::MAX), "is higher than max"),
        (with(&|tx| tx.gas_payment.objects.clear()), "Missing gas payment"),
        (
            with(&|tx| {
                tx.gas_payment.objects =
                    vec![sui_sdk_types::ObjectReference::new(usd.object_id(), usd.version(), usd.digest())];
            }),
            "is not an owned object with type Coin<SUI>",
        ),
        (with(&|tx| tx.expiration = TransactionExpiration::Epoch(0)), ""),
        (
            with(&|tx| {
                tx.expiration = TransactionExpiration::ValidDuring {
                    min_epoch: Some(0),
                    max_epoch: Some(1),
                    min_timestamp: None,
                    max_timestamp: None,
                    chain: Digest::ZERO,
                    nonce: 0,
                };
            }),
            "this is another one",
        ),
    ];
    for (transaction, words) in cases.iter().filter(|(_, words)| !words.is_empty()) {
        let message = refused(&mut net, transaction, &[1]).await;
        assert!(message.contains(words), "{message}");
    }
    net.devnet.advance_epoch().await.unwrap();
    assert!(refused(&mut net, &cases[5].0, &[1]).await.contains("Transaction Expired"));
    let empty = with(&|tx| {
        let TransactionKind::ProgrammableTransaction(programmable) = &mut tx.kind else { panic!("kind") };
        programmable.commands.clear();
    });
    assert!(refused(&mut net, &empty, &[1]).await.contains("Empty command input"));
}

#[tokio::test]
async fn gas_that_does_not_cover_the_budget_is_refused() {
    let mut net = Net::start().await;
    let poor = key(5);
    net.devnet.fund(address(&poor), 5_000_000, 0).await.unwrap();
    let gas = net.coins(address(&poor), &sui()).await.remove(0);
    let message = refused(&mut net, &transfer(&gas, address(&poor), Address::TWO, 1), &[5]).await;
    assert!(
        message.contains("Balance of gas object 5000000 is lower than the needed amount: 10000000"),
        "{message}"
    );
}

#[tokio::test]
async fn shared_objects_are_taken_as_they_are_shared() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let gas = net.coins(me, &sui()).await.remove(0);
    let deployment = net.devnet.deployment().clone();
    let attempt = |input: ObjectInput| {
        let mut builder = TransactionBuilder::new();
        let db = builder.object(input);
        let task = builder.pure(&1u64);
        net.call(&mut builder, "views", "task", vec![db, task]);
        builder.set_sender(me);
        builder.set_gas_budget(10_000_000);
        builder.set_gas_price(1_000);
        builder.add_gas_objects([owned(&gas)]);
        builder.try_build().unwrap()
    };
    let db = net.object(deployment.db).await.unwrap();
    let wrong_start = attempt(ObjectInput::shared(deployment.db, 7, false));
    let as_owned = attempt(owned(&db));
    let clock = attempt(ObjectInput::shared(Address::from_static("0x6"), 1, true));
    let not_shared = attempt(ObjectInput::shared(net.coins(me, &net.usd()).await[0].object_id(), 1, true));
    assert!(refused(&mut net, &wrong_start, &[1]).await.contains("starts at version 1"));
    assert!(refused(&mut net, &as_owned, &[1]).await.contains("cannot be used as an owned one"));
    assert!(refused(&mut net, &clock, &[1]).await.contains("can only be read"));
    assert!(refused(&mut net, &not_shared, &[1]).await.contains("is not a shared object"));
}

#[tokio::test]
async fn nothing_may_look_at_a_draw_in_the_same_transaction() {
    let mut net = Net::start().await;
    let alice = net.funded(1).await;
    net.open_market(&alice).await;
    let me = address(&alice);
    let mut builder = net.purchase(me, 1_000, 10_000).await;
    let db = net.db(&mut builder, false);
    let task = builder.pure_unique(&1u64);
    net.call(&mut builder, "views", "task", vec![db, task]);
    let gas = net.coins(me, &sui()).await.remove(0);
    builder.set_sender(me);
    builder.set_gas_budget(50_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects([owned(&gas)]);
    let transaction = builder.try_build().unwrap();
    assert!(refused(&mut net, &transaction, &[1]).await.contains("TransferObjects or MergeCoins"));
}

#[tokio::test]
async fn odd_commands_fail_with_their_reason() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let gas = net.coins(me, &sui()).await.remove(0);
    let mut transaction = transfer(&gas, me, Address::TWO, SUI);
    let TransactionKind::ProgrammableTransaction(programmable) = &mut transaction.kind else {
        panic!("kind")
    };
    programmable.commands =
        vec![Command::MakeMoveVector(MakeMoveVector { type_: None, elements: vec![Argument::Result(9)] })];
    let done = net.sign_and_execute(&alice, &transaction).await.unwrap();
    assert!(matches!(done.effects.status, sui_sdk_types::ExecutionStatus::Failure { .. }));
}
