//! `atoma model`: weights on this machine.

use crate::cli::Model as Arguments;
use crate::home::Home;
use crate::output::{self, Step, say};
use anyhow::Result;
use atoma_inference::minilm::{MiniLmConfig, MiniLmEngine};
use atoma_inference::upstream::UpstreamEngine;
use atoma_inference::{Engine, ModelState, ModelStore, ReferenceConfig, ReferenceEngine, Sampling};
use atoma_node::{EngineConfig, StoredModel};
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
pub(crate) struct Engines(Vec<Built>);

struct Built {
    config: EngineConfig,
    engine: Arc<dyn Engine>,
    /// The same, if it is one of other servers.
    upstream: Option<Arc<UpstreamEngine>>,
}

impl Engines {
    /// None, for a node that only settles.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Engine>> {
        self.0.iter().map(|built| Arc::clone(&built.engine)).collect()
    }

    /// Makes what is configured. Weights that are loaded already stay; servers are connected to anew, because what
    /// their configuration names, a key for example, may have changed.
    pub(crate) async fn configured(&self, home: &Home, configured: &[EngineConfig]) -> Result<Self> {
        let default = [EngineConfig::Reference(StoredModel { model: DEFAULT.to_owned() })];
        let configured = if configured.is_empty() { &default[..] } else { configured };
        let mut engines = Vec::with_capacity(configured.len());
        for config in configured {
            engines.push(self.build(home, config).await?);
        }
        Ok(Self(engines))
    }

    async fn build(&self, home: &Home, config: &EngineConfig) -> Result<Built> {
        let before = self.0.iter().find(|built| built.config.model() == config.model());
        let kept = before.filter(|built| built.config == *config).map(|built| Arc::clone(&built.engine));
        let (engine, upstream): (Arc<dyn Engine>, _) = match (config, kept) {
            (EngineConfig::Upstream(servers), _) => {
                let servers = (**servers).clone();
                let engine = match before.and_then(|built| built.upstream.as_ref()) {
                    Some(before) => before.reconnect(servers).await?,
                    None => UpstreamEngine::connect(servers).await?,
                };
                let engine = Arc::new(engine);
                (engine.clone(), Some(engine))
            }
            (_, Some(kept)) => (kept, None),
            (EngineConfig::Reference(stored), None) => (reference_engine(home, &stored.model).await?, None),
            (EngineConfig::Minilm(stored), None) => (minilm_engine(home, stored.model.clone()).await?, None),
        };
        Ok(Built { config: config.clone(), engine, upstream })
    }
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
