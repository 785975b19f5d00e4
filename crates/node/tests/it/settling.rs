use crate::support::{Market, PRICE, chat};
use atoma_chain::Call;
use atoma_node::Settle;
use atoma_types::Units;
use atoma_types::onchain::Event;

#[tokio::test(flavor = "multi_thread")]
async fn many_channels_settle_together_and_earnings_are_withdrawn() {
    let market = Market::open().await;
    let handle = market.start().await;
    let before = market.chain.balances(market.operator.address()).await.unwrap().coin;
    let users = [market.user().await, market.user().await, market.user().await];
    for user in &users {
        let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
        assert_eq!(user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await.status, 200);
    }
    handle.drain().await.unwrap();
    let mut earned = 0;
    for user in &users {
        let stack = user.on_chain().await;
        let channel = stack.channel(market.node).unwrap();
        assert_eq!((channel.settled_count, channel.settled_units.0), (1, 17));
        assert_eq!(channel.paid, PRICE.cost(channel.settled_units).unwrap());
        let fee = channel.paid.share(stack.creator_fee_permille).unwrap();
        earned += channel.paid.0 - fee.0;
    }
    let after = market.chain.balances(market.operator.address()).await.unwrap().coin;
    assert_eq!(after.0 - before.0, earned);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_settles_by_itself_and_only_once() {
    let market = Market::open().await;
    let mut config = market.config();
    config.settle = Settle { every_ms: 20, units: 1, ..Settle::default() };
    let handle = market.spawn(config, crate::support::mock(4, std::time::Duration::ZERO)).await;
    let user = market.user().await;
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await;
    user.until(&handle.url(), |channel| channel["settled_count"] == 1).await;
    assert_eq!(user.on_chain().await.settled_units, answer.receipt().units);
    handle.drain().await.unwrap();
    assert_eq!(user.on_chain().await.settled_units, answer.receipt().units);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_closes_is_settled_in_time() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await;
    user.wallet.execute(&user.chain, Call::RequestClose { stack: user.stack }).await.unwrap();
    market.event(|event| matches!(event, Event::Settled(settled) if settled.stack == user.stack)).await;
    let refused = user.ask(&handle.url(), &chat(false, "more"), None).await;
    assert_eq!(refused.code(), (402, "stack_ended".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_channel_is_settled_in_time() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await;
    let revoke = Call::RevokeChannel { stack: user.stack, node: market.node };
    user.wallet.execute(&user.chain, revoke).await.unwrap();
    market.event(|event| matches!(event, Event::Settled(settled) if settled.stack == user.stack)).await;
    let refused = user.ask(&handle.url(), &chat(false, "more"), None).await;
    assert_eq!(refused.status, 402, "{}", refused.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_node_settles_what_it_holds_and_serves_no_more() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await;
    market.operator.execute(&market.chain, Call::DisableNode { node: market.node }).await.unwrap();
    market.event(|event| matches!(event, Event::Settled(settled) if settled.stack == user.stack)).await;
    let refused = user.ask(&handle.url(), &chat(false, "more"), None).await;
    assert_eq!(refused.status, 402, "{}", refused.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_transcript_on_chain_ends_the_channel_and_the_node_is_paid() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user().await;
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    let receipt = answer.receipt();
    user.acknowledge(&handle.url(), &user.voucher_for(receipt)).await;
    // One unit and a huge count, signed by the user and settled before the node's own voucher.
    let forked = user.voucher(Units(1), 1_000, receipt.root);
    user.wallet.execute(&user.chain, Call::Settle(vec![forked])).await.unwrap();
    let paid = |event: &Event| matches!(event, Event::Settled(settled) if settled.stack == user.stack && settled.units == receipt.total_units);
    market.event(paid).await;
    let refused = user.ask(&handle.url(), &chat(false, "more"), None).await;
    assert_eq!(refused.status, 402, "{}", refused.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_is_seen() {
    let market = Market::open().await;
    let handle = market.start().await;
    let user = market.user_with(atoma_types::onchain::Selection::Any).await;
    user.open_channel(50, 1).await;
    let first = user.ask(&handle.url(), &chat(false, "too much"), None).await;
    assert_eq!(first.code(), (402, "insufficient_units".to_owned()));
    user.open_channel(1_000, 2).await;
    user.until(&handle.url(), |channel| channel["granted"] == 1_000).await;
    assert_eq!(user.ask(&handle.url(), &chat(false, "now it fits"), None).await.status, 200);
}
