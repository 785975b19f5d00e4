//! Nothing is made and nothing is lost, whatever is done.

use crate::support::{Net, SUI, USD, address, key, owned, sui};
use atoma_types::onchain::Event;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::Address;
use sui_transaction_builder::TransactionBuilder;

const SUI_SUPPLY: u128 = 10_000_000_000_000_000_000;
const USD_SUPPLY: u128 = 1_000_000_000_000_000_000;

#[tokio::test]
async fn coins_are_conserved_over_a_random_sequence() {
    let net = Net::start().await;
    let keys = [net.funded(1).await, net.funded(2).await, net.funded(3).await];
    net.open_market(&keys[0]).await;
    let mut values = (0..).map(|index| atoma_contract::draw::value(&[42; 32], index));
    let mut next = |below: u64| values.next().unwrap() % below;
    let mut stacks = Vec::new();
    for _ in 0..60 {
        let actor = &keys[usize::try_from(next(3)).unwrap()];
        let to = address(&keys[usize::try_from(next(3)).unwrap()]);
        let amount = next(2 * USD) + 1;
        match next(4) {
            0 => send_sui(&net, actor, to, next(SUI) + 1).await,
            1 => send_usd(&net, actor, to, amount).await,
            2 => stacks.extend(buy(&net, actor, amount).await),
            _ => net.devnet.fund(to, amount, amount).await.unwrap(),
        }
        net.devnet.audit().unwrap();
    }
    assert!(!stacks.is_empty());
    let totals = net.devnet.audit().unwrap();
    assert_eq!(totals.sui_supply, SUI_SUPPLY);
    assert_eq!(totals.usd_supply, USD_SUPPLY);
    assert!(totals.sui_burned > 0 && totals.sui_deposits > 0);
}

async fn send_sui(net: &Net, from: &Ed25519PrivateKey, to: Address, amount: u64) {
    let mut builder = TransactionBuilder::new();
    let (gas, amount, to) = (builder.gas(), builder.pure(&amount), builder.pure(&to));
    let coins = builder.split_coins(gas, vec![amount]);
    builder.transfer_objects(coins, to);
    net.run(from, builder).await;
}

async fn send_usd(net: &Net, from: &Ed25519PrivateKey, to: Address, amount: u64) {
    let mut builder = TransactionBuilder::new();
    let coin = largest_usd(net, from).await;
    let (coin, amount, to) = (builder.object(coin), builder.pure(&amount), builder.pure(&to));
    let coins = builder.split_coins(coin, vec![amount]);
    builder.transfer_objects(coins, to);
    net.run(from, builder).await;
}

async fn largest_usd(net: &Net, owner: &Ed25519PrivateKey) -> sui_transaction_builder::ObjectInput {
    let coins = net.coins(address(owner), &net.usd()).await;
    owned(
        coins
            .iter()
            .max_by_key(|coin| {
                coin.as_struct().unwrap().contents()[32..].iter().rev().copied().collect::<Vec<_>>()
            })
            .unwrap(),
    )
}

/// Buys with what may be too little: then only gas goes.
async fn buy(net: &Net, buyer: &Ed25519PrivateKey, payment: u64) -> Option<Address> {
    let mut builder = net.purchase(address(buyer), 1_000_000, payment).await;
    builder.set_sender(address(buyer));
    let gas = net.coins(address(buyer), &sui()).await;
    builder.set_gas_budget(60_000_000);
    builder.set_gas_price(1_000);
    builder.add_gas_objects(gas.iter().map(owned));
    let done = net.sign_and_execute(buyer, &builder.try_build().unwrap()).await.unwrap();
    done.events.iter().find_map(|event| match event {
        Event::StackAcquired(acquired) => Some(acquired.stack),
        _ => None,
    })
}

#[tokio::test]
async fn the_faucet_only_moves_coins() {
    let net = Net::start().await;
    net.devnet.fund(address(&key(9)), 5, 6).await.unwrap();
    assert_eq!(net.balance(address(&key(9)), &sui()).await, 5);
    assert_eq!(net.balance(address(&key(9)), &net.usd()).await, 6);
    net.devnet.audit().unwrap();
}
