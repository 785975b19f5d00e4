//! `atoma stack`: prepaid units.

use crate::cli::{Network, Payer, Stack as Arguments};
use crate::home::Home;
use crate::network;
use crate::output::{Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::ChainClient;
use atoma_client::market::ChainMarket;
use atoma_client::{Policy, Session, SessionConfig};
use atoma_types::onchain::Stack;
use atoma_types::{Address, Units};
use std::sync::Arc;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Buy { network, payer, model, units, max_price, choice } => {
            let policy = choice.of(Policy { units, max_price, ..Policy::default() });
            buy(home, &network, &payer, &model, policy).await
        }
        Arguments::Topup { stack, network, payer, units } => {
            top_up(home, &network, &payer, stack, units).await
        }
        Arguments::List { network, payer, json } => list(home, &network, &payer, json).await,
        Arguments::Show { stack, network, json } => {
            let chain = network::connect(home, &network).await?;
            show(&chain, &read(&chain, stack).await?, json).await
        }
        Arguments::Close { stack, network, payer } => close(home, &network, &payer, stack).await,
        Arguments::Refund { stack, network, payer } => refund(home, &network, &payer, stack).await,
    }
}

/// The session that `atoma connect` opens, too: they share one journal.
async fn session(home: &Home, chain: &ChainClient, payer: &Payer, policy: Policy) -> Result<Session> {
    let wallet = payer.load(home)?;
    let journal = home.folder("client")?.join("journal.sqlite");
    let market = Arc::new(ChainMarket::new(chain.clone(), wallet));
    Ok(Session::open(SessionConfig { journal, policy }, market).await?)
}

async fn buy(home: &Home, network: &Network, payer: &Payer, model: &str, policy: Policy) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let session = session(home, &chain, payer, policy).await?;
    let step = Step::start("buying");
    let id = session.buy(model).await?;
    drop(step);
    session.drain().await?;
    show(&chain, &read(&chain, id).await?, false).await
}

async fn top_up(home: &Home, network: &Network, payer: &Payer, id: Address, units: Units) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let session = session(home, &chain, payer, Policy::default()).await?;
    let step = Step::start("buying");
    session.top_up(id, units).await?;
    drop(step);
    session.drain().await?;
    show(&chain, &read(&chain, id).await?, false).await
}

async fn list(home: &Home, network: &Network, payer: &Payer, json: bool) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let session = session(home, &chain, payer, Policy::default()).await?;
    let stacks = session.stacks().await?;
    session.drain().await?;
    if json {
        say!("{}", serde_json::to_string(&stacks)?);
        return Ok(());
    }
    if stacks.is_empty() {
        eprintln!("no stacks yet: `atoma stack buy` buys one");
        return Ok(());
    }
    let now = chain.now_ms().await?;
    for view in stacks {
        let state =
            view.chain.as_ref().map_or_else(|| "gone from the chain".to_owned(), |stack| state(stack, now));
        say!("{} task {} {state}", view.stack, view.task);
    }
    Ok(())
}

async fn read(chain: &ChainClient, id: Address) -> Result<Stack> {
    chain
        .stack(id)
        .await?
        .with_context(|| format!("there is no stack {id}; it was fully refunded, or never bought here"))
}

async fn show(chain: &ChainClient, stack: &Stack, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string(stack)?);
        return Ok(());
    }
    let now = chain.now_ms().await?;
    say!("stack    {}", stack.id);
    say!("owner    {}", stack.owner);
    say!("task     {} at most {} per million units", stack.task, stack.max_price);
    say!(
        "units    {} bought, {} granted, {} settled",
        stack.total_units,
        stack.granted_units,
        stack.settled_units
    );
    say!("inside   {}", stack.balance.display_coins());
    say!("state    {}", state(stack, now));
    for channel in &stack.channels {
        say!(
            "node {:<4}{} granted at {}, {} settled in {} answers, {} paid{}",
            channel.node,
            channel.granted,
            channel.price,
            channel.settled_units,
            channel.settled_count,
            channel.paid.display_coins(),
            if channel.closed_ms != 0 { ", closed" } else { "" }
        );
    }
    for due in &stack.dues {
        say!("due      {} to {}", due.amount.display_coins(), due.to);
    }
    Ok(())
}

fn state(stack: &Stack, now_ms: u64) -> String {
    let seconds = |until: u64| until.saturating_sub(now_ms).div_ceil(1_000);
    if now_ms > stack.settle_until_ms() {
        "over: `atoma stack refund` returns the rest".to_owned()
    } else if now_ms >= stack.ends_ms() {
        format!("closing: refund in {} s", seconds(stack.settle_until_ms()))
    } else {
        format!("open for {} s", seconds(stack.ends_ms()))
    }
}

async fn close(home: &Home, network: &Network, payer: &Payer, id: Address) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let stack = read(&chain, id).await?;
    let owner = payer.load(home)?.address();
    if stack.owner != owner {
        bail!("stack {id} belongs to {}, not to {owner}", stack.owner);
    }
    let session = session(home, &chain, payer, Policy::default()).await?;
    let step = Step::start("acknowledging and closing");
    session.close(id).await?;
    session.drain().await?;
    drop(step);
    show(&chain, &read(&chain, id).await?, false).await
}

async fn refund(home: &Home, network: &Network, payer: &Payer, id: Address) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let owner = payer.load(home)?.address();
    let before = chain.balances(owner).await?.coin;
    let session = session(home, &chain, payer, Policy::default()).await?;
    session.refund(id).await?;
    session.drain().await?;
    let returned = chain.balances(owner).await?.coin.saturating_sub(before);
    say!("{} returned to {owner}", returned.display_coins());
    Ok(())
}
