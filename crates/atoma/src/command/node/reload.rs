//! `atoma node reload`: has a running node read its engines again. The node is told by a signal, and says what came of
//! it by its counters.

use super::operate;
use crate::output::{Step, say};
use anyhow::{Context, Result, bail};
use atoma_inference::upstream::UpstreamEngine;
use atoma_node::{EngineConfig, NodeConfig};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::Duration;

/// How often to look what came of it, and how many times: loading weights takes a while.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 6_000;

pub(super) async fn run(folder: &Path) -> Result<()> {
    let (file, config) = operate::configuration(folder)?;
    let shown = file.display();
    let running = atoma_node::running_process(&config.journal).context("cannot tell which process it is")?;
    let Some(process) = running else {
        bail!("the node does not run; it reads {shown} when it starts: atoma node run {shown}");
    };
    check(&config).await.with_context(|| format!("{shown} cannot be used, nothing was changed"))?;
    let before = counters(&config).await;
    let step = Step::start("reloading the engines");
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).context("no such process")?;
    kill_process(process, Signal::HUP).context("cannot tell the node")?;
    let Some(before) = before else {
        say!("told the node, which does not answer at {}: its log says what came of it", config.listen);
        return Ok(());
    };
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(now) = counters(&config).await else { continue };
        if now.refused > before.refused {
            bail!("the node kept its engines as they were: its log says why");
        }
        if now.done > before.done {
            drop(step);
            say!("reloaded the engines of {shown}; its other settings hold from the next start on");
            return Ok(());
        }
    }
    bail!("the node has not said yet what came of it: look into its log");
}

/// What can be seen to be wrong before the node is told.
async fn check(config: &NodeConfig) -> Result<()> {
    for engine in &config.engines {
        if let EngineConfig::Upstream(servers) = engine {
            UpstreamEngine::connect((**servers).clone()).await?;
        }
    }
    Ok(())
}

/// How many reloads the running node did, and how many it refused.
#[derive(Clone, Copy)]
struct Counters {
    done: u64,
    refused: u64,
}

async fn counters(config: &NodeConfig) -> Option<Counters> {
    let metrics = operate::metrics(config).await?;
    Some(Counters {
        done: operate::metric(&metrics, "atoma_node_reloads_total")?,
        refused: operate::metric(&metrics, "atoma_node_reload_failures_total")?,
    })
}
