//! Many channels settle in few transactions, and no voucher is lost.

use crate::interposed::{Interposed, Reads};
use crate::support::{Market, PRICE, User, chat};
use atoma_chain::Call;
use atoma_node::{NodeConfig, NodeHandle, Settle};
use atoma_types::Units;
use atoma_types::onchain::Event;
use futures::{StreamExt as _, stream};

/// A node that settles only when it is drained.
fn at_the_end(market: &Market) -> NodeConfig {
    NodeConfig {
        settle: Settle { every_ms: 3_600_000, min_amount: 0, ..Settle::default() },
        ..market.config()
    }
}

async fn users(market: &Market, count: usize) -> Vec<User> {
    stream::iter(0..count).map(|_| market.user()).buffered(8).collect().await
}

/// Everybody asks once and acknowledges.
async fn serve(handle: &NodeHandle, users: &[User]) {
    let url = handle.url();
    let served = stream::iter(users).map(|user| async {
        let answer = user.ask(&url, &chat(false, "please"), None).await;
        assert_eq!(user.acknowledge(&url, &user.voucher_for(answer.receipt())).await.status, 200);
    });
    served.buffer_unordered(8).collect::<()>().await;
}

async fn settled(user: &User) -> Units {
    user.on_chain().await.settled_units
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_channels_settle_in_two_transactions_the_most_urgent_first() {
    let market = Market::open().await;
    let chain = Interposed::over(&market, Reads::Shown);
    let handle = chain.spawn(at_the_end(&market)).await;
    let users = users(&market, 100).await;
    serve(&handle, &users).await;
    let closing = &users[70];
    closing.wallet.execute(&closing.chain, Call::RequestClose { stack: closing.stack }).await.unwrap();
    let ends = closing.on_chain().await.ends_ms();
    closing.until(&handle.url(), |channel| channel["ends_ms"] == ends).await;
    handle.drain().await.unwrap();
    let settlements = chain.settlements();
    assert_eq!(settlements.iter().map(Vec::len).collect::<Vec<_>>(), [64, 36]);
    assert_eq!(settlements[0][0].stack, closing.stack);
    for user in &users {
        assert_eq!(settled(user).await, Units(17));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_channel_does_not_hold_the_others_up() {
    let market = Market::open().await;
    let chain = Interposed::over(&market, Reads::Shown);
    let handle = chain.spawn(at_the_end(&market)).await;
    let users = users(&market, 16).await;
    serve(&handle, &users).await;
    let bad = &users[5];
    chain.spoil(bad.stack);
    handle.drain().await.unwrap();
    for user in &users {
        let expected = if user.stack == bad.stack { Units::ZERO } else { Units(17) };
        assert_eq!(settled(user).await, expected);
    }
    // The whole, then a half that goes through and one that does not, four times over.
    assert_eq!(chain.settlements().len(), 9);

    // The voucher is still there: a chain that takes it gets it.
    market.start().await.drain().await.unwrap();
    assert_eq!(settled(bad).await, Units(17));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_whose_answer_is_lost_in_a_crash_pays_once() {
    let market = Market::open().await;
    let chain = Interposed::over(&market, Reads::Shown);
    chain.deafen();
    let mut config = market.config();
    config.settle = Settle { every_ms: 20, units: 1, min_amount: 0, ..Settle::default() };
    let before = market.chain.balances(market.operator.address()).await.unwrap().coin;
    let handle = chain.spawn(config).await;
    let user = market.user().await;
    serve(&handle, std::slice::from_ref(&user)).await;
    market.event(|event| matches!(event, Event::Settled(settled) if settled.stack == user.stack)).await;
    drop(handle);

    let handle = market.start().await;
    let channel = user.channel(&handle.url()).await;
    assert_eq!(channel["settled_count"], 1);
    let again = user.ask(&handle.url(), &chat(false, "again"), None).await;
    let voucher = user.voucher_for(again.receipt());
    assert_eq!(user.acknowledge(&handle.url(), &voucher).await.status, 200);
    handle.drain().await.unwrap();
    let stack = user.on_chain().await;
    let paid = PRICE.cost(again.receipt().total_units).unwrap();
    assert_eq!(stack.channel(market.node).unwrap().paid, paid);
    let fee = paid.share(stack.creator_fee_permille).unwrap();
    let after = market.chain.balances(market.operator.address()).await.unwrap().coin;
    assert_eq!(after.0 - before.0, paid.0 - fee.0);
    market.devnet.audit().unwrap();
}
