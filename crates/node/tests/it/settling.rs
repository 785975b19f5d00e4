use crate::support::{Market, PATIENCE, PRICE, chat};
use atoma_chain::Call;
use atoma_node::{Parts, Settle};
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
    config.settle = Settle { every_ms: 20, units: 1, min_amount: 0, ..Settle::default() };
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
async fn dust_is_not_worth_gas_and_is_given_up_at_the_end() {
    let market = Market::open().await;
    let mut config = market.config();
    // Each answer pays 34 base units.
    config.settle =
        Settle { every_ms: 5, units: 1, age_ms: 0, min_amount: 35, withdraw_min: 1, ..Settle::default() };
    let handle = market.spawn(config, crate::support::mock(16, std::time::Duration::ZERO)).await;
    let node = handle.url();
    let (user, closing) = (market.user().await, market.user().await);
    let first = user.ask(&node, &chat(false, "please"), None).await;
    let dust = closing.ask(&node, &chat(false, "please"), None).await;
    for (user, answer) in [(&user, &first), (&closing, &dust)] {
        assert_eq!(user.acknowledge(&node, &user.voucher_for(answer.receipt())).await.status, 200);
    }
    closing.wallet.execute(&closing.chain, Call::RequestClose { stack: closing.stack }).await.unwrap();
    // The node writes the channel off: it is the one without which the other remains.
    let metrics = format!("{node}/metrics");
    let one_left = async {
        let metrics = || async { user.http.get(&metrics).send().await.unwrap().text().await.unwrap() };
        while !metrics().await.contains("\natoma_node_channels 1\n") {}
    };
    tokio::time::timeout(PATIENCE, one_left).await.unwrap();
    assert_eq!(user.on_chain().await.settled_units, Units::ZERO);

    let second = user.ask(&node, &chat(false, "please"), None).await;
    assert_eq!(user.acknowledge(&node, &user.voucher_for(second.receipt())).await.status, 200);
    user.until(&node, |channel| channel["settled_count"] == 2).await;
    handle.drain().await.unwrap();
    assert_eq!(closing.on_chain().await.settled_units, Units::ZERO);
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
async fn a_disabled_node_starts_to_settle_and_ends_when_nothing_is_left() {
    let market = Market::open().await;
    let mut config = market.config();
    config.settle.min_amount = u64::MAX;
    let handle = market.spawn(config, crate::support::mock(16, std::time::Duration::ZERO)).await;
    let (user, late) = (market.user().await, market.user().await);
    let answer = user.ask(&handle.url(), &chat(false, "please"), None).await;
    user.acknowledge(&handle.url(), &user.voucher_for(answer.receipt())).await;
    let unacknowledged = late.ask(&handle.url(), &chat(false, "please"), None).await;
    handle.drain().await.unwrap();
    assert_eq!(user.on_chain().await.settled_units, Units::ZERO);
    market.operator.execute(&market.chain, Call::DisableNode { node: market.node }).await.unwrap();

    let parts =
        Parts { engines: Vec::new(), ..market.parts(crate::support::mock(1, std::time::Duration::ZERO)) };
    let handle = atoma_node::spawn(market.config(), parts).await.unwrap();
    let node = handle.url();
    assert!(handle.is_disabled());
    let health = user.http.get(format!("{node}/health")).send().await.unwrap();
    assert_eq!(health.text().await.unwrap(), "{\"status\":\"settling\"}");
    assert_eq!(user.http.get(format!("{node}/ready")).send().await.unwrap().status(), 503);
    let stranger = market.user_with(atoma_types::onchain::Selection::Any).await;
    for user in [&late, &stranger] {
        let refused = user.ask(&node, &chat(false, "more"), None).await;
        assert_eq!(refused.code(), (402, "stack_ended".to_owned()));
        let body = refused.json();
        assert!(body["error"]["message"].as_str().unwrap().contains("disabled"), "{body}");
    }
    market.event(|event| matches!(event, Event::Settled(settled) if settled.stack == user.stack)).await;
    // What is acknowledged only now is settled, too.
    let voucher = late.voucher_for(unacknowledged.receipt());
    assert_eq!(late.acknowledge(&node, &voucher).await.status, 200);
    tokio::time::timeout(PATIENCE, handle.done()).await.unwrap();
    assert_eq!(late.on_chain().await.settled_units, unacknowledged.receipt().units);
    handle.drain().await.unwrap();
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
