//! What a gateway's operator decides, read once and checked.

use crate::store::{Database, Limits, StoreError};
use atoma_client::Policy;
use atoma_types::onchain::Selection;
use atoma_types::{Price, Units};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PRICE_MAX: u64 = 1_000_000_000_000;
const UNITS_MAX: u64 = 1_000_000_000_000;

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {reason}")]
    Read { path: String, reason: String },
    #[error("not a gateway configuration: {0}")]
    Syntax(String),
    #[error("{field} must be {must}, is {found}")]
    Value { field: &'static str, must: String, found: String },
}

/// A gateway's settings, as in `gateway.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Directory of the key database and the journal.
    pub data: PathBuf,
    /// Models for which stacks are bought before the first request.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub stacks: Stacks,
    #[serde(default)]
    pub supply: Supply,
    #[serde(default)]
    pub requests: Requests,
    /// A `postgres://` URL of the database that several gateways share. Without it, a file in `data`.
    #[serde(default)]
    pub database: Option<Secret>,
    #[serde(default)]
    pub accounts: Accounts,
    #[serde(default)]
    pub pricing: Pricing,
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who may have an account, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounts {
    /// Whether anybody may sign up.
    pub open: bool,
    /// How long a session lasts.
    pub session_hours: u64,
    /// Sign-ins and sign-ups in a minute, per login and per network address.
    pub sign_ins_per_login: u64,
    pub sign_ins_per_address: u64,
    /// Passwords that are hashed at once; each takes 19 MiB.
    pub password_hashes: usize,
    /// Whether the session's cookie is for TLS only.
    pub secure_cookies: bool,
    /// Limits of new accounts.
    pub limits: Limits,
}

/// What keys are charged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pricing {
    /// What is charged beyond the node's price, in permille of it.
    pub markup_permille: u64,
}

/// How stacks are bought.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stacks {
    /// Stacks per task over which requests spread.
    pub per_task: usize,
    /// Least units of each.
    pub units: u64,
    /// Most to pay per million units, in base units of the coin; the market's price if missing.
    pub max_price: Option<u64>,
    /// How nodes are chosen.
    pub selection: Choice,
    /// Over how many nodes a stack is spread, unless one is drawn.
    pub nodes: usize,
    /// A stack with less than this share of what it should have left is topped up, or replaced.
    pub low_water_permille: u64,
    /// Most stacks per task that were bought and not refunded.
    pub open_max: usize,
}

/// How the nodes of a stack are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The chain draws one.
    Single,
    /// The chain draws several.
    Limited,
    /// The gateway chooses by how they perform.
    Any,
}

impl From<Choice> for Selection {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Single => Self::Single,
            Choice::Limited => Self::Limited,
            Choice::Any => Self::Any,
        }
    }
}

/// How stacks are sized by use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supply {
    /// For how long what is bought should last, at the rate at which it is used.
    pub horizon_s: u64,
    /// The time over which that rate is an average.
    pub average_s: u64,
    /// How often stacks are looked at.
    pub refresh_ms: u64,
    /// Most units at hand of a task.
    pub units_max: u64,
    /// Stacks of a task that nobody asked for so long are closed.
    pub idle_s: u64,
}

/// How requests are admitted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requests {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Bodies in memory at once, being read or not yet answered; further ones are refused unread.
    pub bodies: usize,
    /// How many of them may belong to one key.
    pub bodies_per_key: usize,
    /// Time for a body to arrive.
    pub body_ms: u64,
    /// Requests that may wait for a node; further ones are refused.
    pub queue: usize,
    pub wait_ms: u64,
    /// Nodes to try before the first byte.
    pub attempts: u32,
    /// Output tokens to authorize where a request names no limit.
    pub default_output: u64,
    /// How long a node may take to give the receipt of an answer that broke off. Until it does, the most that
    /// the request may cost stays set aside.
    pub patience_ms: u64,
}

impl Default for Stacks {
    fn default() -> Self {
        Self {
            per_task: 3,
            units: 1_000_000,
            max_price: None,
            selection: Choice::Single,
            nodes: 3,
            low_water_permille: 200,
            open_max: 64,
        }
    }
}

impl Default for Supply {
    fn default() -> Self {
        Self { horizon_s: 600, average_s: 60, refresh_ms: 2_000, units_max: 1_000_000_000, idle_s: 86_400 }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            connections: atoma_http::Bounds::default().connections,
            bodies: 512,
            bodies_per_key: 256,
            body_ms: 60_000,
            queue: 1_024,
            wait_ms: 30_000,
            attempts: 3,
            default_output: 1_024,
            patience_ms: 600_000,
        }
    }
}

impl Requests {
    pub(crate) fn body_time(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            open: false,
            session_hours: 168,
            sign_ins_per_login: 10,
            sign_ins_per_address: 60,
            password_hashes: 2,
            secure_cookies: true,
            limits: Limits::default(),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8_080))
}

impl GatewayConfig {
    /// A gateway on a free port of localhost that keeps its data in `data`.
    pub fn local(data: &Path) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data: data.to_owned(),
            models: Vec::new(),
            stacks: Stacks::default(),
            supply: Supply::default(),
            requests: Requests::default(),
            database: None,
            accounts: Accounts::default(),
            pricing: Pricing::default(),
        }
    }

    /// Where accounts, keys and money are kept.
    pub fn database(&self) -> Result<Database, StoreError> {
        match &self.database {
            Some(url) => Database::postgres(&url.0),
            None => Ok(Database::File(self.data.join("keys.db"))),
        }
    }

    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax(one_line(&error)))?;
        config.check()?;
        Ok(config)
    }

    /// Every value within its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("stacks.per_task", self.stacks.per_task, 1, 1_024)?;
        within("stacks.units", self.stacks.units, 1_000, UNITS_MAX)?;
        within("stacks.max_price", self.stacks.max_price.unwrap_or(1), 1, PRICE_MAX)?;
        within("stacks.nodes", self.stacks.nodes, 1, 16)?;
        within("supply.horizon_s", self.supply.horizon_s, 1, 2_592_000)?;
        within("supply.average_s", self.supply.average_s, 1, 86_400)?;
        within("supply.refresh_ms", self.supply.refresh_ms, 1, 600_000)?;
        within("supply.units_max", self.supply.units_max, self.stacks.units, UNITS_MAX)?;
        within("supply.idle_s", self.supply.idle_s, 1, 31_536_000)?;
        within("stacks.low_water_permille", self.stacks.low_water_permille, 0, 999)?;
        within("stacks.open_max", self.stacks.open_max, self.stacks.per_task, 4_096)?;
        within("requests.connections", self.requests.connections, 1, 65_536)?;
        within("requests.bodies", self.requests.bodies, 1, 100_000)?;
        within("requests.bodies_per_key", self.requests.bodies_per_key, 1, self.requests.bodies)?;
        within("requests.body_ms", self.requests.body_ms, 1, 600_000)?;
        within("requests.queue", self.requests.queue, 1, 100_000)?;
        within("requests.wait_ms", self.requests.wait_ms, 1, 600_000)?;
        within("requests.attempts", self.requests.attempts, 1, 16)?;
        within("requests.default_output", self.requests.default_output, 1, 1_000_000)?;
        within("requests.patience_ms", self.requests.patience_ms, 1, 86_400_000)?;
        within("accounts.session_hours", self.accounts.session_hours, 1, 8_760)?;
        within("accounts.sign_ins_per_login", self.accounts.sign_ins_per_login, 1, 1_000_000)?;
        within("accounts.sign_ins_per_address", self.accounts.sign_ins_per_address, 1, 1_000_000)?;
        within("accounts.password_hashes", self.accounts.password_hashes, 1, 256)?;
        within("pricing.markup_permille", self.pricing.markup_permille, 0, 10_000)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            stacks_per_task: self.stacks.per_task,
            units: Units(self.stacks.units),
            max_price: self.stacks.max_price.map(Price),
            selection: self.stacks.selection.into(),
            nodes: self.stacks.nodes,
            supply: atoma_client::session::Supply {
                horizon: Duration::from_secs(self.supply.horizon_s),
                average: Duration::from_secs(self.supply.average_s),
                refresh: Duration::from_millis(self.supply.refresh_ms),
                units_max: Units(self.supply.units_max),
                idle: Duration::from_secs(self.supply.idle_s),
            },
            default_output: self.requests.default_output,
            ahead: true,
            tidy: true,
            low_water_permille: self.stacks.low_water_permille,
            stacks_open_max: self.stacks.open_max,
            queue: self.requests.queue,
            wait: Duration::from_millis(self.requests.wait_ms),
            attempts: self.requests.attempts,
            patience: Duration::from_millis(self.requests.patience_ms),
        }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    found: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if found >= least && found <= most {
        return Ok(());
    }
    Err(ConfigError::Value { field, must: format!("{least} to {most}"), found: found.to_string() })
}

/// What toml says, on one line.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_valid_and_shows_the_defaults() {
        let config = GatewayConfig::parse(include_str!("../gateway.example.toml")).unwrap();
        assert_eq!(config.stacks, Stacks::default());
        assert_eq!(config.supply, Supply::default());
        assert_eq!(config.requests, Requests::default());
        assert_eq!(config.listen, default_listen());
        assert_eq!((config.accounts, config.pricing), (Accounts::default(), Pricing::default()));
    }

    #[test]
    fn bad_values_are_one_clear_line() {
        let message = |text: &str| GatewayConfig::parse(text).unwrap_err().to_string();
        assert_eq!(message("data = 'd'\n[stacks]\nper_task = 0"), "stacks.per_task must be 1 to 1024, is 0");
        assert_eq!(
            message("data = 'd'\n[requests]\nattempts = 99"),
            "requests.attempts must be 1 to 16, is 99"
        );
        for text in ["", "data = 'd'\nmistake = 1", "data = 7", "=", "data = 'd'\nlisten = 'nowhere'"] {
            assert!(!message(text).contains('\n') && message(text).starts_with("not a gateway"), "{text}");
        }
    }
}
