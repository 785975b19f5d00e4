//! What an operator sees and changes while the node serves: its numbers, its engines.

use crate::support::{MODEL, Market, PATIENCE, User, chat, mock};
use atoma_chain::Call;
use atoma_inference::Engine;
use atoma_inference::mock::{MockConfig, MockEngine};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Every series of the node's page of numbers.
async fn metrics(user: &User, node: &str) -> BTreeMap<String, f64> {
    let page = user.http.get(format!("{node}/metrics")).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/plain; version=0.0.4");
    let text = page.text().await.unwrap();
    let mut described = "";
    for line in text.lines() {
        let name = line.trim_start_matches("# TYPE ").split([' ', '{']).next().unwrap();
        if line.starts_with("# TYPE ") {
            described = name;
        } else if !line.starts_with('#') {
            assert!(name.starts_with(described), "{name} has no type");
        }
    }
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Asks until a series is as wanted.
async fn until(user: &User, node: &str, name: &str, wanted: f64) {
    let search = async { while metrics(user, node).await.get(name) != Some(&wanted) {} };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("{name} is not {wanted}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_tell_of_every_promise() {
    let market = Market::open().await;
    let mut config = market.config();
    config.settle.every_ms = 3_600_000;
    let handle = market.spawn(config, mock(16, Duration::ZERO)).await;
    let (node, user) = (handle.url(), market.user().await);
    let of = |metrics: &BTreeMap<String, f64>, name: &str| metrics[&format!("atoma_node_{name}")];

    let streamed = user.ask(&node, &chat(true, "please"), None).await;
    let served = metrics(&user, &node).await;
    for (name, value) in [
        ("completed_total", 1.0),
        ("units_total", 17.0),
        ("input_tokens_total", 1.0),
        ("output_tokens_total", 16.0),
        ("unacknowledged_units", 17.0),
        ("acknowledged_units_total", 0.0),
        ("unsettled_units", 0.0),
        ("request_seconds_count", 1.0),
        ("first_token_seconds_count", 1.0),
        ("request_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("running", 0.0),
        ("waiting", 0.0),
        ("channels", 1.0),
        ("engine_healthy{model=\"mock\"}", 1.0),
        ("engine_replicas{model=\"mock\"}", 1.0),
        ("engine_replicas_healthy{model=\"mock\"}", 1.0),
        ("settlement_failures_total", 0.0),
        ("collateral_at_risk_base_units", 0.0),
    ] {
        assert_eq!(of(&served, name), value, "{name}");
    }
    assert!(of(&served, "journal_lag_seconds") < 60.0 && of(&served, "journal_rows_waiting") < 10.0);
    assert!(!served.contains_key("atoma_node_settlement_deadline_seconds"));
    until(&user, &node, "atoma_node_collateral_base_units", 1_000_000_000.0).await;

    // The window is used up until the first answer is acknowledged.
    let refused = user.ask(&node, &chat(false, "more"), None).await;
    assert_eq!(refused.code(), (402, "missing_receipt".to_owned()));
    user.acknowledge(&node, &user.voucher_for(streamed.receipt())).await;
    let owed = metrics(&user, &node).await;
    for (name, value) in [
        ("refusals_total{code=\"missing_receipt\"}", 1.0),
        ("refused_total", 1.0),
        ("acknowledged_units_total", 17.0),
        ("unacknowledged_units", 0.0),
        ("unsettled_units", 17.0),
        ("unsettled_base_units", 34.0),
        ("settled_units_total", 0.0),
    ] {
        assert_eq!(of(&owed, name), value, "{name}");
    }
    let deadline = of(&owed, "settlement_deadline_seconds");
    user.wallet.execute(&user.chain, Call::RequestClose { stack: user.stack }).await.unwrap();
    let ends = user.on_chain().await.ends_ms();
    user.until(&node, |channel| channel["ends_ms"] == ends).await;
    let closing = metrics(&user, &node).await;
    assert!(of(&closing, "settlement_deadline_seconds") < deadline);
    assert_eq!(of(&closing, "channels_ending"), 1.0);
    handle.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_are_replaced_while_requests_run() {
    let market = Market::open().await;
    let handle = market.spawn(market.config(), mock(40, Duration::from_millis(20))).await;
    let (node, user) = (handle.url(), market.user().await);
    let other = |model: &str, tokens| -> Arc<dyn Engine> {
        Arc::new(MockEngine::new(MockConfig { model: model.to_owned(), tokens, ..MockConfig::default() }))
    };
    let body = chat(true, "please");
    let running = user.ask(&node, &body, None);
    let replaced = async {
        until(&user, &node, "atoma_node_running", 1.0).await;
        let error = handle.replace_engines(&[other("another", 1)]).unwrap_err();
        assert_eq!(error.model, MODEL);
        handle.count_refused_reload();
        handle.replace_engines(&[other("another", 1), other(MODEL, 3)]).unwrap();
    };
    let (before, ()) = tokio::join!(running, replaced);
    // What ran ended where it began.
    assert_eq!(before.receipt().output, 40);
    assert_eq!(user.acknowledge(&node, &user.voucher_for(before.receipt())).await.status, 200);
    let after = user.ask(&node, &body, None).await;
    assert_eq!(after.receipt().output, 3);
    let metrics = metrics(&user, &node).await;
    assert_eq!(metrics["atoma_node_reloads_total"], 1.0);
    assert_eq!(metrics["atoma_node_reload_failures_total"], 1.0);
    handle.drain().await.unwrap();
}
