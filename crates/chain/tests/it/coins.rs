//! Many transactions at once from one wallet.

use crate::support::{COIN, Market, devnet, funded, give, stack_of};
use atoma_chain::{Call, ChainError, Wallet};
use atoma_types::onchain::Selection;
use atoma_types::{Address, Amount, NodeId};
use futures::future::join_all;

const PARALLEL: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn one_coin_pays_for_twenty_transfers_at_once() {
    let (_devnet, chain) = devnet().await;
    let wallet = funded(&chain).await;
    let before = chain.balances(wallet.address()).await.unwrap();
    let sends = (1..=PARALLEL).map(|n| {
        let to = Address::new([u8::try_from(n).unwrap(); 32]);
        wallet.execute(&chain, Call::TransferCoin { to, amount: Amount(n) })
    });
    for sent in join_all(sends).await {
        sent.unwrap();
    }
    let after = chain.balances(wallet.address()).await.unwrap();
    assert_eq!(before.coin.0 - after.coin.0, (1..=PARALLEL).sum::<u64>());
    for n in 1..=PARALLEL {
        let to = Address::new([u8::try_from(n).unwrap(); 32]);
        assert_eq!(chain.balances(to).await.unwrap().coin, Amount(n));
    }
    let gas = (1..=PARALLEL)
        .map(|_| wallet.execute(&chain, Call::TransferGas { to: Address::new([99; 32]), amount: 1_000 }));
    for sent in join_all(gas).await {
        sent.unwrap();
    }
    assert_eq!(chain.balances(Address::new([99; 32])).await.unwrap().gas, PARALLEL * 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_stacks_are_bought_and_settled_at_once() {
    let market = Market::open().await;
    let chain = &market.chain;
    let user = funded(chain).await;
    let key = user.request_key("stack");
    let buys = (0..PARALLEL).map(|_| user.execute(chain, market.acquire(&key, Selection::Single)));
    let stacks: Vec<Address> =
        join_all(buys).await.into_iter().map(|bought| stack_of(&bought.unwrap())).collect();
    let settles = stacks.iter().map(|stack| {
        market.operator.execute(chain, Call::Settle(vec![market.voucher(*stack, &key, 1_000, 1)]))
    });
    for settled in join_all(settles).await {
        assert_eq!(settled.unwrap().events.len(), 1);
    }
    // A badge serves one transaction at a time; the wallet waits by itself.
    let releases = stacks.iter().map(|stack| {
        market.operator.execute(chain, Call::ReleaseChannel { stack: *stack, node: market.node })
    });
    for released in join_all(releases).await {
        released.unwrap();
    }
    let withdrawals =
        stacks.iter().map(|stack| market.operator.execute(chain, Call::Withdraw { stack: *stack }));
    for withdrawn in join_all(withdrawals).await {
        withdrawn.unwrap();
    }
    // 1,000 units at 2 coins per million, a tenth of it to the creator.
    let earned = PARALLEL * 1_800;
    assert_eq!(market.coins(&[&market.operator]).await, 8_999 * COIN + earned);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_with_one_key_get_in_each_others_way_and_both_arrive() {
    let (_devnet, chain) = devnet().await;
    let seed = [42; 32];
    let (one, two) = (Wallet::from_seed(seed), Wallet::from_seed(seed));
    give(&chain, one.address(), 5_000_000_000, 1_000).await;
    let to = Address::new([7; 32]);
    for _ in 0..5 {
        let (left, right) = futures::join!(
            one.execute(&chain, Call::TransferCoin { to, amount: Amount(1) }),
            two.execute(&chain, Call::TransferCoin { to, amount: Amount(1) }),
        );
        left.unwrap();
        right.unwrap();
    }
    assert_eq!(chain.balances(to).await.unwrap().coin, Amount(10), "each intent paid once");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_coins_are_merged_to_pay() {
    let (_devnet, chain) = devnet().await;
    let wallet = Wallet::generate().unwrap();
    for _ in 0..4 {
        give(&chain, wallet.address(), 20_000_000, 25).await;
    }
    let to = Address::new([7; 32]);
    wallet.execute(&chain, Call::TransferCoin { to, amount: Amount(90) }).await.unwrap();
    assert_eq!(chain.balances(to).await.unwrap().coin, Amount(90));
    assert_eq!(chain.balances(wallet.address()).await.unwrap().coin, Amount(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_wallets_are_told_what_they_lack() {
    let (_devnet, chain) = devnet().await;
    let wallet = Wallet::generate().unwrap();
    let to = Address::new([7; 32]);
    let refused = wallet.execute(&chain, Call::TransferGas { to, amount: 1 }).await.unwrap_err();
    assert!(matches!(refused, ChainError::InsufficientGas { available: 0, .. }), "{refused}");
    give(&chain, wallet.address(), 1_000_000_000, 3).await;
    let refused = wallet.execute(&chain, Call::TransferCoin { to, amount: Amount(4) }).await.unwrap_err();
    assert!(
        matches!(refused, ChainError::InsufficientCoin { needed: Amount(4), available: Amount(3), .. }),
        "{refused}"
    );
    // New money is found without being announced, and what was reserved before is free again.
    give(&chain, wallet.address(), 0, 3).await;
    wallet.execute(&chain, Call::TransferCoin { to, amount: Amount(4) }).await.unwrap();
    let node = NodeId(1);
    let refused = wallet.execute(&chain, Call::DisableNode { node }).await.unwrap_err();
    assert!(refused.to_string().contains("no badge of node 1"), "{refused}");
}
