//! Speed and reproducibility of the reference engine: `cargo xtask bench engine [--json]`.
//!
//! Everything goes through the public `Engine` interface, so the numbers include sampling, digests and response
//! building. The best of several rounds is reported: noise on a shared machine only ever slows things down.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoma_inference::{
    Endpoint, Engine, Generation, ModelStore, Outcome, ReferenceConfig, ReferenceEngine, Summary,
};
use bytes::Bytes;
use clap::Parser;
use serde::Serialize;
use serde_json::json;

const MODEL: &str = "smollm2-135m-instruct";
const PROMPT_TOKENS: u32 = 256;
const OUTPUT_TOKENS: u64 = 64;
const BATCH: usize = 4;

#[derive(Parser)]
#[command(about = "Measure the reference engine")]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Numbers of threads to measure with.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Rounds per measurement.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Directory of the weights [default: $ATOMA_HOME/models or ~/.atoma/models]
    #[arg(long)]
    models: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    model: &'static str,
    cpu: String,
    prompt_tokens: u32,
    output_tokens: u64,
    batch: usize,
    runs: Vec<Run>,
    /// Whether every run gave the same tokens and logits.
    deterministic: bool,
}

#[derive(Serialize)]
struct Run {
    threads: usize,
    isa: &'static str,
    load_seconds: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    batched_decode_tokens_per_second: f64,
    replay_tokens_per_second: f64,
    /// The work digest of the fixed request, over all its logits.
    digest: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let weights = runtime.block_on(weights(arguments.models.clone()))?;
    let mut runs = Vec::new();
    for threads in &arguments.threads {
        runs.push(measure(&runtime, &weights, *threads, arguments.rounds.max(1))?);
    }
    let deterministic = runs.windows(2).all(|pair| pair[0].digest == pair[1].digest);
    let report = Report {
        model: MODEL,
        cpu: cpu(),
        prompt_tokens: PROMPT_TOKENS,
        output_tokens: OUTPUT_TOKENS,
        batch: BATCH,
        runs,
        deterministic,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    ensure!(report.deterministic, "the digests differ: the engine is not deterministic");
    Ok(())
}

async fn weights(dir: Option<PathBuf>) -> Result<PathBuf> {
    let home = || match std::env::var_os("ATOMA_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".atoma")),
    };
    let dir = dir.or_else(|| home().map(|home| home.join("models"))).context("set HOME or pass --models")?;
    Ok(ModelStore::new(dir).pull(MODEL, |_| {}).await?)
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    weights: &std::path::Path,
    threads: usize,
    rounds: usize,
) -> Result<Run> {
    let config = ReferenceConfig { threads, ..ReferenceConfig::default() };
    let begun = Instant::now();
    let engine = ReferenceEngine::load(MODEL, weights, &config)?;
    let mut run = Run {
        threads,
        isa: engine.isa(),
        load_seconds: begun.elapsed().as_secs_f64(),
        prefill_tokens_per_second: 0.0,
        decode_tokens_per_second: 0.0,
        batched_decode_tokens_per_second: 0.0,
        replay_tokens_per_second: 0.0,
        digest: String::new(),
    };
    for _ in 0..rounds {
        round(runtime, &engine, &mut run)?;
    }
    Ok(run)
}

/// One round of everything; keeps the better number of each.
fn round(runtime: &tokio::runtime::Runtime, engine: &ReferenceEngine, run: &mut Run) -> Result<()> {
    let single = runtime.block_on(timed(start(engine, OUTPUT_TOKENS)?))?;
    let prompt = f64::from(PROMPT_TOKENS);
    better(&mut run.prefill_tokens_per_second, prompt / single.first);
    better(&mut run.decode_tokens_per_second, single.rate);
    run.digest = hex::encode(single.summary.work);

    let batch = (0..BATCH).map(|_| start(engine, OUTPUT_TOKENS)).collect::<Result<Vec<_>>>()?;
    let all = runtime.block_on(futures::future::try_join_all(batch.into_iter().map(timed)))?;
    // From when the last one began to speak: by then all of them decode together.
    let begun = all.iter().map(|one| one.first).fold(0.0, f64::max);
    let ended = all.iter().map(|one| one.last).fold(f64::INFINITY, f64::min);
    let tokens: f64 = all.iter().map(|one| one.tokens_between(begun, ended)).sum();
    better(&mut run.batched_decode_tokens_per_second, tokens / (ended - begun));
    for one in &all {
        ensure!(one.summary.work == single.summary.work, "batching changed the answer");
    }

    let begun = Instant::now();
    let sampling = atoma_inference::Sampling { temperature: 0.0, ..Default::default() };
    let outputs = &single.summary.output_ids;
    let replay = engine.replay(&single.summary.prompt_ids, outputs, &sampling)?;
    ensure!(replay.tokens_equal() && replay.digest() == single.summary.work, "replay differs");
    let fed: usize = outputs.iter().map(Vec::len).sum::<usize>() + single.summary.prompt_ids.len();
    better(&mut run.replay_tokens_per_second, fed as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

fn better(best: &mut f64, new: f64) {
    *best = best.max(new);
}

/// When one generation spoke, in seconds after its start.
struct Timed {
    first: f64,
    last: f64,
    /// Tokens per second from the first frame to the last.
    rate: f64,
    frames: Vec<(f64, u64)>,
    summary: Summary,
}

impl Timed {
    fn tokens_between(&self, begun: f64, ended: f64) -> f64 {
        let at =
            |time: f64| self.frames.iter().rfind(|(when, _)| *when <= time).map_or(0, |(_, tokens)| *tokens);
        at(ended).saturating_sub(at(begun)) as f64
    }
}

fn start(engine: &ReferenceEngine, tokens: u64) -> Result<(Instant, Generation)> {
    // Any ids will do; these are spread over the vocabulary.
    let ids: Vec<u32> = (0..PROMPT_TOKENS).map(|i| i.wrapping_mul(2_654_435_761) % 40_000 + 100).collect();
    let body = json!({
        "model": MODEL, "prompt": ids, "max_tokens": tokens, "temperature": 0, "seed": 0, "stream": true,
    });
    let prepared = engine.prepare(Endpoint::Completions, &Bytes::from(body.to_string()))?;
    Ok((Instant::now(), engine.run(prepared, tokens)?))
}

async fn timed((begun, mut generation): (Instant, Generation)) -> Result<Timed> {
    let mut frames = Vec::new();
    while let Some(frame) = generation.next().await {
        frames.push((begun.elapsed().as_secs_f64(), frame.output_tokens));
    }
    let summary = generation.finish().await;
    ensure!(summary.outcome == Outcome::Complete, "the generation ended early: {:?}", summary.outcome);
    let (first, last) = frames.first().zip(frames.last()).context("the generation said nothing")?;
    let rate = (last.1 - first.1) as f64 / (last.0 - first.0);
    Ok(Timed { first: first.0, last: last.0, rate, frames: frames.clone(), summary })
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(|| "unknown".to_owned(), |name| name.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn print(report: &Report) {
    println!("{} on {}", report.model, report.cpu);
    println!(
        "{PROMPT_TOKENS} prompt tokens, {OUTPUT_TOKENS} output tokens, batch of {BATCH}; tokens per second\n"
    );
    println!("threads  isa     load s  prefill  decode  batched  replay  digest");
    for run in &report.runs {
        println!(
            "{:>7}  {:<6}  {:>6.2}  {:>7.0}  {:>6.0}  {:>7.0}  {:>6.0}  {}",
            run.threads,
            run.isa,
            run.load_seconds,
            run.prefill_tokens_per_second,
            run.decode_tokens_per_second,
            run.batched_decode_tokens_per_second,
            run.replay_tokens_per_second,
            &run.digest[..16],
        );
    }
}
