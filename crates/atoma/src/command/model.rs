//! `atoma model`: weights on this machine.

use crate::cli::Model as Arguments;
use crate::home::Home;
use crate::output::{self, Step, say};
use anyhow::Result;
use atoma_inference::minilm::{MiniLmConfig, MiniLmEngine};
use atoma_inference::upstream::UpstreamEngine;
use atoma_inference::{Engine, ModelState, ModelStore, ReferenceConfig, ReferenceEngine, Sampling};
use atoma_node::EngineConfig;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// The model that is served and asked for unless another is named.
pub(crate) const DEFAULT: &str = "smollm2-135m-instruct";

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Pull { name } => say!("{}", pull(home, &name).await?.display()),
        Arguments::List { json } => list(home, json),
    }
    Ok(())
}

/// The model's file, fetched with a progress bar if it is not here yet.
async fn pull(home: &Home, name: &str) -> Result<PathBuf> {
    let bar = output::download_bar(name);
    let path = ModelStore::new(home.models())
        .pull(name, |progress| {
            bar.set_message(format!("{name}: {}", format!("{:?}", progress.stage).to_lowercase()));
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        })
        .await;
    bar.finish_and_clear();
    Ok(path?)
}

fn list(home: &Home, json: bool) {
    let models = ModelStore::new(home.models()).list();
    if json {
        let rows = models.iter().map(|model| {
            json!({
                "name": model.spec.name, "bytes": model.spec.bytes, "sha256": model.spec.sha256,
                "license": model.spec.license, "path": model.path, "state": state(model.state),
            })
        });
        say!("{}", json!(rows.collect::<Vec<_>>()));
        return;
    }
    for model in models {
        say!(
            "{:<26}{:>5} MB  {:<12}{}",
            model.spec.name,
            model.spec.bytes / 1_000_000,
            model.spec.license,
            state(model.state)
        );
    }
}

fn state(state: ModelState) -> String {
    match state {
        ModelState::Absent => "not here: `atoma model pull` fetches it".to_owned(),
        ModelState::Partial(bytes) => format!("{} MB fetched: `atoma model pull` goes on", bytes / 1_000_000),
        ModelState::Present => "here".to_owned(),
        ModelState::Damaged(_) => "damaged: `atoma model pull` fetches it again".to_owned(),
    }
}

/// What a node serves with: the engines that it names, or the reference engine with its small model.
pub(crate) async fn engines(home: &Home, configured: Vec<EngineConfig>) -> Result<Vec<Arc<dyn Engine>>> {
    if configured.is_empty() {
        return Ok(vec![reference_engine(home, DEFAULT).await?]);
    }
    let mut engines: Vec<Arc<dyn Engine>> = Vec::with_capacity(configured.len());
    for engine in configured {
        engines.push(match engine {
            EngineConfig::Upstream(config) => Arc::new(UpstreamEngine::connect(*config).await?),
            EngineConfig::Reference(stored) => reference_engine(home, &stored.model).await?,
            EngineConfig::Minilm(stored) => minilm_engine(home, stored.model).await?,
        });
    }
    Ok(engines)
}

/// The reference engine with its weights, fetched if need be.
pub(crate) async fn reference_engine(home: &Home, model: &str) -> Result<Arc<dyn Engine>> {
    let path = pull(home, model).await?;
    let step = Step::start("loading the model");
    let model = model.to_owned();
    let loaded = tokio::task::spawn_blocking(move || {
        // As the makers of SmolLM2 recommend.
        let defaults = Sampling { temperature: 0.2, top_p: 0.9, ..Sampling::default() };
        ReferenceEngine::load(&model, &path, &ReferenceConfig { defaults, ..ReferenceConfig::default() })
    });
    let engine = loaded.await??;
    drop(step);
    Ok(Arc::new(engine))
}

/// The engine that embeds texts, its weights fetched if need be.
async fn minilm_engine(home: &Home, model: String) -> Result<Arc<dyn Engine>> {
    let path = pull(home, &model).await?;
    let load = move || MiniLmEngine::load(&model, &path, &MiniLmConfig::default());
    Ok(Arc::new(tokio::task::spawn_blocking(load).await??))
}
