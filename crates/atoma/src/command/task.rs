//! `atoma task`: what is sold in a market.

use crate::cli::{Network, Task as Arguments};
use crate::home::Home;
use crate::market;
use crate::network;
use crate::output::{Step, say};
use anyhow::Result;
use serde_json::json;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::List { network, json } => list(home, &network, json).await,
        Arguments::Create { model, price_ceiling, network, payer } => {
            let chain = network::connect(home, &network).await?;
            let wallet = payer.load(home)?;
            let step = Step::start("creating the task");
            let task = market::offer(&chain, &wallet, (&model, market::ROLE_CHAT), price_ceiling).await?;
            drop(step);
            say!("task    {task}: {model}");
            say!("next    nodes offer it: atoma node register DIR --task {task} …");
            Ok(())
        }
    }
}

async fn list(home: &Home, network: &Network, json: bool) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let models = chain.models().await?;
    let mut rows = Vec::new();
    for task in chain.tasks().await? {
        let label = models.iter().find(|model| model.id == task.model).map(|model| model.label.clone());
        let nodes = chain.offers(task.id).await?.len();
        rows.push((task, label.unwrap_or_default(), nodes));
    }
    if json {
        let rows = rows.iter().map(|(task, model, nodes)| {
            json!({
                "task": task.id, "model": model, "level": task.level, "price_ceiling": task.price_ceiling,
                "min_collateral": task.min_collateral, "deprecated": task.deprecated, "nodes": nodes,
            })
        });
        say!("{}", json!(rows.collect::<Vec<_>>()));
        return Ok(());
    }
    if rows.is_empty() {
        eprintln!("no tasks yet: `atoma task create` makes one");
        return Ok(());
    }
    say!("{:<6}{:<32}{:<7}{:<15}nodes", "task", "model", "level", "price ceiling");
    for (task, model, nodes) in rows {
        let deprecated = if task.deprecated { " (deprecated)" } else { "" };
        say!("{:<6}{model:<32}{:<7}{:<15}{nodes}{deprecated}", task.id, task.level, task.price_ceiling.0);
    }
    Ok(())
}
