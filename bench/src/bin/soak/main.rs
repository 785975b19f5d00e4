//! Many requests while everything breaks: users hang up, engines fail, nodes and the gateway are killed and started
//! again. At the end the books of the keys, of the gateway, of the nodes and of the chain have to agree to the unit.
//!
//! Services run as in production, each in a process of its own, over real files; engines are an OpenAI-compatible server
//! of this program that misbehaves on request. What is random follows from the seed, but for timing.

mod engine;
mod faults;
mod load;

use anyhow::{Result, bail};
use atoma_bench::books;
use atoma_bench::fleet::{self, Fleet, Role, Size};
use clap::Parser;
use faults::Faults;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// As the product has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests at work in one node.
const CONCURRENT: usize = 64;
/// Few enough that some stacks are used up and replaced.
const STACK_UNITS: u64 = 100_000;
const STACKS: usize = 3;

#[derive(Debug, Parser)]
#[command(about = "Requests under faults; the books of all parties have to agree at the end")]
struct Arguments {
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `all`, `none`, or some of disconnects, engines, nodes, gateway.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    faults: Vec<Faults>,
    /// Requests at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// What this process is for another one.
    #[arg(long, hide = true, requires = "folder")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    /// Which node; where its engine is.
    #[arg(long, hide = true, default_value_t = 0)]
    index: usize,
    #[arg(long, hide = true, default_value = "")]
    engine: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (arguments.role, &arguments.folder) {
        (Some(role), Some(folder)) => fleet::run(role, folder, arguments.index, &arguments.engine).await,
        _ => soak(&arguments).await,
    }
}

async fn soak(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let chosen = faults::chosen(&arguments.faults);
    let engine = engine::serve(arguments.seed).await?;
    let nodes = arguments.nodes;
    let size = Size { nodes, concurrent: CONCURRENT, stacks: STACKS, stack_units: STACK_UNITS };
    let fleet = Arc::new(Fleet::start(folder.path(), &size, &engine.url)?);
    let bar = ProgressBar::new(arguments.requests)
        .with_style(ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} {msg}")?);
    let breaking = faults::run(Arc::clone(&fleet), engine.clone(), chosen.clone(), arguments.seed);
    let breaking = tokio::spawn(breaking);
    let plan = load::Plan {
        requests: arguments.requests,
        concurrency: arguments.concurrency,
        seed: arguments.seed,
        hang_up: chosen.contains(&Faults::Disconnects),
    };
    let seen = load::run(&fleet, &plan, &bar).await?;
    breaking.abort();
    let _ = breaking.await;
    engine.behave();
    bar.finish_and_clear();
    let books = books::close(&fleet).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "seen": seen, "books": books }))?);
    } else {
        println!("{seen}");
        seen.print_memory();
        books.print();
    }
    let growing = seen.growing(arguments.requests);
    if !growing.is_empty() {
        bail!("memory is not flat: {}", growing.join("; "));
    }
    if !books.agree() {
        bail!(
            "the books do not agree (again with --requests {} --seed {})",
            arguments.requests,
            arguments.seed
        );
    }
    Ok(())
}
