//! What an operator may set. Read once, checked once; a bad value is one line that names it.

use atoma_inference::Endpoint;
use atoma_inference::upstream::{UpstreamConfig, UpstreamError};
use atoma_types::onchain::Deployment;
use atoma_types::{NodeId, TaskId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest request body of the protocol.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a configuration was refused. Messages fit one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("{field} {reason}")]
    Value { field: &'static str, reason: &'static str },
    #[error(transparent)]
    Engine(#[from] UpstreamError),
}

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Row of this node on chain, from `atoma node register`.
    pub node: NodeId,
    /// Tasks served; each task's model needs an engine.
    pub tasks: Vec<TaskId>,
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    pub journal: PathBuf,
    /// Key file for receipts, mode 0600.
    pub receipt_key: PathBuf,
    /// Keystore of the wallet that pays for settlements, mode 0600.
    pub wallet: PathBuf,
    /// Where the market is; left out, the caller says it.
    pub deployment: Option<Deployment>,
    /// What answers; left out, the reference engine with its small model.
    #[serde(default)]
    pub engines: Vec<EngineConfig>,
    #[serde(default)]
    pub admission: Admission,
    #[serde(default)]
    pub settle: Settle,
    #[serde(default)]
    pub limits: Limits,
}

/// One model and what runs it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EngineConfig {
    /// Servers that speak OpenAI's protocol.
    Upstream(Box<UpstreamConfig>),
    /// A GGUF model of the model store, in this process, reproducible to the bit.
    Reference(StoredModel),
    /// A model of the model store that embeds texts, in this process.
    Minilm(StoredModel),
}

/// A model by its name in the model store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredModel {
    pub model: String,
}

/// A file with nothing but engines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnginesFile {
    engines: Vec<EngineConfig>,
}

impl EngineConfig {
    /// The `[[engines]]` of a file that has nothing else.
    pub fn load_all(path: &Path) -> Result<Vec<Self>, ConfigError> {
        let EnginesFile { engines } = parse(path)?;
        check_engines(&engines)?;
        Ok(engines)
    }

    /// What it answers.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Upstream(config) => &config.endpoints,
            Self::Reference(_) => &[Endpoint::ChatCompletions, Endpoint::Completions],
            Self::Minilm(_) => &[Endpoint::Embeddings],
        }
    }

    /// The model's label in the market.
    pub fn model(&self) -> &str {
        match self {
            Self::Upstream(config) => &config.model,
            Self::Reference(stored) | Self::Minilm(stored) => &stored.model,
        }
    }
}

/// How many requests run, and how many wait for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    pub concurrent: usize,
    pub waiting: usize,
    pub wait_ms: u64,
}

/// When vouchers go on chain.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// How often to look.
    pub every_ms: u64,
    /// Settle a channel once this many units are acknowledged and unsettled,
    pub units: u64,
    /// or once some have been for this long,
    pub age_ms: u64,
    /// or once its stack ends within this time.
    pub before_end_ms: u64,
    /// Settle and withdraw nothing that pays less than this, in base units; what is below it when a channel
    /// closes is given up. About the price of a transaction's gas.
    pub min_amount: u64,
    /// Withdraw what the stack owes this wallet from this amount on, in base units; on ending, from
    /// [`Self::min_amount`] on.
    pub withdraw_min: u64,
}

/// Bounds on what one client may use.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Time for a request's head to arrive, and for the next one on the same connection.
    pub head_ms: u64,
    pub body_bytes: usize,
    /// Bodies in memory at once that are not yet admitted; as many may wait as in [`Admission`]. One channel
    /// holds at most an eighth of them.
    pub bodies: usize,
    /// Time for a body to arrive.
    pub body_ms: u64,
    /// Requests without room here that other nodes answer at once; 0 passes none on.
    pub forwards: usize,
    /// Kept bodies and responses, together.
    pub records_bytes: u64,
    /// How long running requests may finish in a drain.
    pub grace_ms: u64,
    /// Open channels for grants that earn no opening fee too; the gas is this node's.
    pub open_unpaid_grants: bool,
}

impl Default for Admission {
    fn default() -> Self {
        Self { concurrent: 8, waiting: 64, wait_ms: 10_000 }
    }
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            every_ms: 1_000,
            units: 1_000_000,
            age_ms: 3_600_000,
            before_end_ms: 60_000,
            min_amount: 10_000,
            withdraw_min: 1_000_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let atoma_http::Bounds { connections, head } = atoma_http::Bounds::default();
        Self {
            connections,
            head_ms: u64::try_from(head.as_millis()).unwrap_or(u64::MAX),
            body_bytes: BODY_BYTES_MAX,
            bodies: 64,
            body_ms: 30_000,
            forwards: 64,
            records_bytes: 4 << 30,
            grace_ms: 10_000,
            open_unpaid_grants: false,
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8_090))
}

impl NodeConfig {
    /// A node on a free loopback port that keeps everything in `dir`, for chains whose gas costs nothing.
    pub fn test(node: NodeId, tasks: Vec<TaskId>, dir: &Path) -> Self {
        Self {
            node,
            tasks,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            journal: dir.join("journal.sqlite"),
            receipt_key: dir.join("receipt.key"),
            wallet: dir.join("wallet.key"),
            deployment: None,
            engines: Vec::new(),
            admission: Admission::default(),
            settle: Settle { every_ms: 50, min_amount: 0, ..Settle::default() },
            limits: Limits::default(),
        }
    }

    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = parse(path)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses values that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |field, reason| Err(ConfigError::Value { field, reason });
        if self.node.0 == 0 {
            return value("node", "must be the id that registration gave (ids count from 1)");
        }
        if self.tasks.is_empty() {
            return value("tasks", "must name at least one task");
        }
        check_engines(&self.engines)?;
        if self.admission.concurrent == 0 || self.admission.concurrent > 16_384 {
            return value("admission.concurrent", "must be 1 to 16384");
        }
        if self.admission.waiting > 1_024 {
            return value("admission.waiting", "must be at most 1024");
        }
        if self.settle.every_ms == 0 {
            return value("settle.every_ms", "must be above 0");
        }
        if self.limits.connections == 0 || self.limits.connections > 65_536 {
            return value("limits.connections", "must be 1 to 65536");
        }
        if self.limits.head_ms == 0 {
            return value("limits.head_ms", "must be above 0");
        }
        if self.limits.body_bytes == 0 || self.limits.body_bytes > BODY_BYTES_MAX {
            return value("limits.body_bytes", "must be 1 to 4194304");
        }
        if self.limits.bodies == 0 || self.limits.bodies > 1_024 {
            return value("limits.bodies", "must be 1 to 1024");
        }
        if self.limits.body_ms == 0 {
            return value("limits.body_ms", "must be above 0");
        }
        if self.limits.forwards > 1_024 {
            return value("limits.forwards", "must be at most 1024");
        }
        Ok(())
    }
}

fn check_engines(engines: &[EngineConfig]) -> Result<(), ConfigError> {
    for (index, engine) in engines.iter().enumerate() {
        if engines.iter().take(index).any(|other| other.model() == engine.model()) {
            return Err(ConfigError::Value { field: "engines", reason: "must not name a model twice" });
        }
        if let EngineConfig::Upstream(upstream) = engine {
            upstream.check()?;
        }
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| syntax(path, &text, &error))
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
    let message = error.message().replace('\n', " ");
    let reason = match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    };
    ConfigError::Syntax { path: path.to_owned(), reason }
}

impl Admission {
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }
}

/// One channel may hold this part of the places for bodies.
const BODIES_SHARE: usize = 8;

impl Limits {
    /// Bodies of one channel in memory at once.
    pub(crate) fn bodies_of_channel(&self) -> usize {
        (self.bodies / BODIES_SHARE).max(1)
    }

    pub(crate) fn bounds(&self) -> atoma_http::Bounds {
        let head = Duration::from_millis(self.head_ms);
        atoma_http::Bounds { connections: self.connections, head }
    }

    pub(crate) fn body_time(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn load(text: &str) -> Result<NodeConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        NodeConfig::load(&path)
    }

    #[test]
    fn the_example_loads() {
        let config = load(include_str!("../node.example.toml")).unwrap();
        assert_eq!(config.node, NodeId(1));
        assert_eq!(config.admission.concurrent, 8);
    }

    /// Everything in the example that is commented out, taken at its word, is what holds without it.
    #[test]
    fn the_example_shows_every_engine() {
        let example = include_str!("../node.example.toml");
        let (_, engines) = example.split_once("# --- engines ---").unwrap();
        let (engines, _) = engines.split_once("# --- end of engines ---").unwrap();
        let engines: String =
            engines.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        let base = "node = 1\ntasks = [1]\njournal = 'j'\nreceipt_key = 'k'\nwallet = 'w'\n";
        let config = load(&format!("{base}{engines}")).unwrap();
        let kinds: Vec<&str> = config.engines.iter().map(EngineConfig::model).collect();
        assert_eq!(kinds, ["llama-3.3-70b", "smollm2-135m-instruct", "all-minilm-l6-v2"]);
        let EngineConfig::Upstream(upstream) = &config.engines[0] else { panic!("{:?}", config.engines[0]) };
        let defaults = atoma_inference::upstream::UpstreamLimits::default();
        assert_eq!(format!("{:?}", upstream.limits), format!("{defaults:?}"));
        assert_eq!(upstream.endpoints.len(), 2);
    }

    /// The guide's examples, as they stand there.
    #[test]
    fn the_guides_engines_load() {
        let guide = include_str!("../../../docs/engines.md");
        let base = "node = 1\ntasks = [1]\njournal = 'j'\nreceipt_key = 'k'\nwallet = 'w'\n";
        let examples: Vec<&str> =
            guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 6);
        for example in examples {
            assert!(!load(&format!("{base}{example}")).unwrap().engines.is_empty(), "{example}");
        }
    }

    #[test]
    fn bad_values_are_one_line_each() {
        let base = "node = 1\ntasks = [1]\njournal = 'j'\nreceipt_key = 'k'\nwallet = 'w'\n";
        assert!(load(base).is_ok());
        for bad in [
            "node = 'x'".to_owned(),
            format!("{base}nonsense = 1\n"),
            base.replace("node = 1", "node = 0"),
            base.replace("[1]", "[]"),
            format!("{base}[[engines]]\nkind = 'other'\n"),
            format!("{base}[[engines]]\nkind = 'reference'\nmodel = 'm'\nnonsense = 1\n"),
            format!("{base}[[engines]]\nkind = 'upstream'\nmodel = 'm'\nreplicas = []\ncontext_tokens = 9\n"),
            format!(
                "{base}[[engines]]\nkind = 'upstream'\nmodel = 'm'\nreplicas = ['http://a']\ncontext_tokens = 9\nendpoints = ['chat']\n"
            ),
            format!("{base}{0}{0}", "[[engines]]\nkind = 'reference'\nmodel = 'm'\n"),
            format!("{base}[admission]\nconcurrent = 0\n"),
            format!("{base}[limits]\nbody_bytes = 999999999\n"),
            format!("{base}[limits]\nbodies = 0\n"),
            format!("{base}[limits]\nconnections = 0\n"),
            format!("{base}[limits]\nhead_ms = 0\n"),
            format!("{base}[limits]\nbody_ms = 0\n"),
        ] {
            let message = load(&bad).unwrap_err().to_string();
            assert!(!message.contains('\n') && message.len() > 10, "{message}");
        }
    }
}
