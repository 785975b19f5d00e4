//! What an operator does beside running the node: change its offers, look at it, and take it out of the market.

use crate::cli::Network;
use crate::home::Home;
use crate::network;
use crate::output::{Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::{Call, ChainClient, Wallet};
use atoma_node::{NodeConfig, Offering, Registration};
use atoma_types::TaskId;
use atoma_types::onchain::{Node, Slot};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the node itself may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A node as its folder has it.
struct Place {
    file: PathBuf,
    config: NodeConfig,
    wallet: Wallet,
    chain: ChainClient,
}

impl Place {
    async fn open(home: &Home, folder: &Path, network: &Network) -> Result<Self> {
        let (file, config) = configuration(folder)?;
        let wallet = Wallet::load(&config.wallet)?;
        let chain = network::connect_node(home, &config, network).await?;
        Ok(Self { file, config, wallet, chain })
    }

    async fn node(&self) -> Result<Node> {
        let found = self.chain.node(self.config.node).await?;
        found.with_context(|| format!("node {} is not in this market any more", self.config.node))
    }

    /// The offer of a task that has no end, from now or the next epoch on.
    async fn offer(&self, task: TaskId) -> Result<Option<Slot>> {
        if self.chain.task(task).await?.is_none() {
            bail!("task {task} does not exist in this market: look at atoma task list");
        }
        let offers = self.chain.all_offers(task).await?;
        Ok(offers.into_iter().find(|slot| slot.node == self.config.node && slot.is_standing()))
    }

    async fn execute(&self, what: &str, call: Call) -> Result<()> {
        let _step = Step::start(what);
        self.wallet.execute(&self.chain, call).await?;
        Ok(())
    }
}

/// The folder's `node.toml`.
pub(super) fn configuration(folder: &Path) -> Result<(PathBuf, NodeConfig)> {
    let file = folder.join("node.toml");
    if !file.exists() {
        bail!("no {}; register the node first: atoma node register {}", file.display(), folder.display());
    }
    let config = NodeConfig::load(&file)?;
    Ok((file, config))
}

/// Offers a task, or asks another price for one that is offered already.
pub(super) async fn subscribe(
    home: &Home,
    folder: &Path,
    offering: Offering,
    network: &Network,
    json: bool,
) -> Result<()> {
    let place = Place::open(home, folder, network).await?;
    let Offering { task, price, max_units } = offering;
    let is_offered = place.offer(task).await?.is_some();
    if is_offered {
        let reprice = Call::Reprice { node: place.config.node, task, price, max_units };
        place.execute("changing the offer", reprice).await?;
    } else {
        let node = place.node().await?;
        let registration = Registration {
            endpoint: node.endpoint,
            receipt_key: node.receipt_key,
            payout: None,
            collateral: None,
            offerings: vec![offering],
        };
        let step = Step::start("subscribing");
        atoma_node::register_if_needed(&place.chain, &place.wallet, &registration).await?;
        drop(step);
    }
    // A change, and an offer whose last one has not ended yet, wait for the next epoch.
    let epoch = place.chain.present_epoch().await?.number;
    let waits = place.offer(task).await?.is_some_and(|offer| offer.from_epoch > epoch);
    let is_new = !place.config.tasks.contains(&task);
    if is_new {
        add_task(&place, task)?;
    }
    if json {
        say!(
            "{}",
            json!({
                "node": place.config.node, "task": task, "price": price, "max_units": max_units,
                "from_next_epoch": waits, "restart": is_new,
            })
        );
        return Ok(());
    }
    let when = if waits { " from the next epoch on" } else { "" };
    say!("offering task {task} at {price}{when}");
    if is_offered {
        say!("stacks that exist keep their price");
    }
    if is_new {
        say!("wrote {}: start the node anew to serve it", place.file.display());
    }
    Ok(())
}

/// Into the list of tasks, and nothing else of the file.
fn add_task(place: &Place, task: TaskId) -> Result<()> {
    let text = std::fs::read_to_string(&place.file)?;
    let file = place.file.display();
    let text = with_task(&text, task)
        .with_context(|| format!("{file} has no line \"tasks = […]\": add {task} to its tasks yourself"))?;
    std::fs::write(&place.file, text).with_context(|| format!("cannot write {file}"))
}

fn with_task(text: &str, task: TaskId) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("tasks = [") && line.trim_end().ends_with(']'))?;
    let list = line.trim_end().strip_suffix(']')?.trim_end().trim_end_matches(',');
    let comma = if list.ends_with('[') { "" } else { ", " };
    Some(text.replacen(line, &format!("{list}{comma}{task}]"), 1))
}

/// Ends the offer of a task.
pub(super) async fn unsubscribe(
    home: &Home,
    folder: &Path,
    task: TaskId,
    network: &Network,
    json: bool,
) -> Result<()> {
    let place = Place::open(home, folder, network).await?;
    let is_offered = place.offer(task).await?.is_some();
    if is_offered {
        let call = Call::Unsubscribe { node: place.config.node, task };
        place.execute("ending the offer", call).await?;
    }
    match (json, is_offered) {
        (true, _) => say!("{}", json!({ "node": place.config.node, "task": task, "ended": is_offered })),
        (false, false) => say!("task {task} is not offered; nothing to do"),
        (false, true) => {
            say!("from the next epoch on no new stack of task {task} draws this node");
            say!("keep it running until those it has are over");
        }
    }
    Ok(())
}

/// Ends all offers, so that the node can stop once its stacks are over.
pub(super) async fn drain(home: &Home, folder: &Path, network: &Network, json: bool) -> Result<()> {
    let place = Place::open(home, folder, network).await?;
    let mut ended = Vec::new();
    for task in place.chain.tasks().await? {
        if place.offer(task.id).await?.is_some() {
            let call = Call::Unsubscribe { node: place.config.node, task: task.id };
            place.execute(&format!("ending the offer of task {}", task.id), call).await?;
            ended.push(task.id);
        }
    }
    let shown = folder.display();
    if json {
        say!("{}", json!({ "node": place.config.node, "ended": ended }));
        return Ok(());
    }
    let (count, offers) = (ended.len(), if ended.len() == 1 { "offer" } else { "offers" });
    say!(
        "{count} {offers} ended: from the next epoch on no new stack draws this node; it serves those it has"
    );
    say!("look    atoma node status {shown}   (it may stop once it has no channel)");
    say!("leave   atoma node withdraw {shown}");
    Ok(())
}

/// Takes a node out of the market: disables it, and later takes the collateral back.
pub(super) async fn withdraw(
    home: &Home,
    folder: &Path,
    yes: bool,
    network: &Network,
    json: bool,
) -> Result<()> {
    let place = Place::open(home, folder, network).await?;
    let node = place.node().await?;
    let again = format!("atoma node withdraw {}", folder.display());
    if node.disabled_ms == 0 {
        if !yes {
            bail!(
                "this disables node {} for good: it serves nothing any more, settles what it holds, and after the \
                 contract's delays its collateral of {} coins comes back; say so with --yes",
                node.id,
                node.collateral.display_coins()
            );
        }
        place.execute("disabling the node", Call::DisableNode { node: node.id }).await?;
        let node = place.node().await?;
        if json {
            let (exit_ms, exit_epoch) = (node.exit_ms, node.exit_epoch);
            say!(
                "{}",
                json!({ "node": node.id, "disabled": true, "exit_ms": exit_ms, "exit_epoch": exit_epoch })
            );
            return Ok(());
        }
        say!("disabled; keep the node running until it has settled (it ends by itself)");
        let wait = exit_wait(&place, &node).await?.unwrap_or_default();
        say!("next    {again}   {wait}");
        return Ok(());
    }
    if node.collateral.is_zero() {
        bail!("node {} has no collateral any more: it was taken already", node.id);
    }
    if let Some(wait) = exit_wait(&place, &node).await? {
        bail!("the collateral can be taken {wait}");
    }
    if node.open_audits > 0 || node.open_disputes > 0 {
        let (audits, disputes) = (node.open_audits, node.open_disputes);
        bail!(
            "{audits} audits and {disputes} disputes of this node are open; they end by time: try again later"
        );
    }
    let before = place.chain.balances(place.wallet.address()).await?.coin;
    place.execute("taking the collateral", Call::ExitNode { node: node.id }).await?;
    let after = place.chain.balances(place.wallet.address()).await?.coin;
    let got = after.saturating_sub(before);
    if json {
        say!("{}", json!({ "node": node.id, "returned": got, "to": place.wallet.address() }));
        return Ok(());
    }
    say!("{} coins came back to {}", got.display_coins(), place.wallet.address());
    Ok(())
}

/// When a disabled node's collateral can be taken; `None` if it can be now.
async fn exit_wait(place: &Place, node: &Node) -> Result<Option<String>> {
    let now = place.chain.now_ms().await?;
    let epoch = place.chain.present_epoch().await?.number;
    if now >= node.exit_ms && epoch >= node.exit_epoch {
        return Ok(None);
    }
    let seconds = node.exit_ms.saturating_sub(now).div_ceil(1_000);
    Ok(Some(format!("in {}, and not before epoch {} (this is {epoch})", duration(seconds), node.exit_epoch)))
}

/// What chain and node say of it.
pub(super) async fn status(home: &Home, folder: &Path, network: &Network, json: bool) -> Result<()> {
    let place = Place::open(home, folder, network).await?;
    let node = place.node().await?;
    let balances = place.chain.balances(place.wallet.address()).await?;
    let mut offers = Vec::new();
    for task in &place.config.tasks {
        offers.push((*task, place.offer(*task).await?));
    }
    let live = live(&place.config).await;
    if json {
        let offers: Vec<Value> =
            offers.iter().map(|(task, offer)| json!({ "task": task, "offer": offer })).collect();
        let wallet = json!({
            "address": place.wallet.address(), "gas_mist": balances.gas, "coin": balances.coin,
        });
        say!("{}", json!({ "node": node, "wallet": wallet, "offers": offers, "service": live }));
        return Ok(());
    }
    let state = if node.disabled_ms == 0 { "in the market" } else { "disabled" };
    say!("node        {} at {}, {state}", node.id, node.endpoint);
    say!("collateral  {} coins", node.collateral.display_coins());
    say!(
        "reputation  {}; {} convictions, {} audits and {} disputes open",
        node.reputation,
        node.convictions,
        node.open_audits,
        node.open_disputes
    );
    let coins = balances.coin.display_coins();
    say!("wallet      {}: {coins} coins, {} MIST for gas", place.wallet.address(), balances.gas);
    for (task, offer) in offers {
        match offer {
            Some(offer) => {
                say!("task {task:<6} at {}, at most {} units a stack", offer.price, offer.max_units)
            }
            None if node.disabled_ms != 0 => say!("task {task:<6} not offered"),
            None => say!("task {task:<6} not offered: atoma node subscribe {}", folder.display()),
        }
    }
    if node.disabled_ms != 0 && !node.collateral.is_zero() {
        let wait = exit_wait(&place, &node).await?.unwrap_or_else(|| "now".to_owned());
        say!("leaving     its collateral comes back {wait}: atoma node withdraw {}", folder.display());
    }
    match live {
        Value::Null => say!("service     does not answer at {}", place.config.listen),
        live => live.as_object().into_iter().flatten().for_each(|(name, value)| {
            say!("{name:<11} {}", value.as_str().map_or(value.to_string(), str::to_owned))
        }),
    }
    Ok(())
}

/// What the running service says: whether it is ready, and its gauges; null if it does not answer.
async fn live(config: &NodeConfig) -> Value {
    let Some(ready) = ask(config, "/ready").await else { return Value::Null };
    let ready = if ready.status().is_success() { "ready" } else { "not taking requests" };
    let mut live = serde_json::Map::from_iter([("service".to_owned(), json!(ready))]);
    let text = metrics(config).await.unwrap_or_default();
    for (shown, name) in [
        ("running", "atoma_node_running"),
        ("channels", "atoma_node_channels"),
        ("unsettled", "atoma_node_unsettled_units"),
    ] {
        live.extend(metric(&text, name).map(|value| (shown.to_owned(), json!(value))));
    }
    Value::Object(live)
}

async fn ask(config: &NodeConfig, path: &str) -> Option<reqwest::Response> {
    let asked = reqwest::Client::new().get(format!("http://{}{path}", config.listen));
    asked.timeout(ANSWER_TIMEOUT).send().await.ok()
}

/// The running service's numbers; `None` if it does not answer.
pub(super) async fn metrics(config: &NodeConfig) -> Option<String> {
    ask(config, "/metrics").await?.text().await.ok()
}

/// A number without labels.
pub(super) fn metric(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_added_to_the_list_and_nowhere_else() {
        let text = "# tasks = [9]\nnode = 1\ntasks = [1, 2]\nlisten = 'x'\n";
        let added = with_task(text, TaskId(7)).unwrap();
        assert_eq!(added, "# tasks = [9]\nnode = 1\ntasks = [1, 2, 7]\nlisten = 'x'\n");
        assert_eq!(with_task("tasks = []\n", TaskId(7)).unwrap(), "tasks = [7]\n");
        assert_eq!(with_task("tasks = [\n1]\n", TaskId(7)), None);
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([5, 130, 90_000].map(duration), ["5 s", "3 min", "25 h"]);
    }
}
