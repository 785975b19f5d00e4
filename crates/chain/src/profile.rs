//! Networks as data: three that the program knows, and the user's own, which win over them. A profile says how to reach
//! a network and what is deployed there.

use crate::{ChainClient, Deployment};
use atoma_types::{Address, Hash32};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const KNOWN: [(&str, &str); 3] = [
    ("devnet", include_str!("../networks/devnet.toml")),
    ("testnet", include_str!("../networks/testnet.toml")),
    ("mainnet", include_str!("../networks/mainnet.toml")),
];
const NAME_BYTES_MAX: usize = 32;

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called, as in `--network NAME`.
    #[serde(skip)]
    pub name: String,
    /// The network; several profiles may be of one.
    pub network: String,
    /// gRPC endpoint of a full node.
    pub rpc_url: String,
    /// Where SUI is given away, if anywhere but on the full node itself, as a devnet does.
    pub faucet_url: Option<String>,
    /// Digest of the genesis checkpoint. Without one, any chain will do: a devnet is made anew.
    pub chain_id: Option<String>,
    /// What the market trades in: a canonical type tag.
    pub coin_type: String,
    /// Walrus's `System` object; its type names Walrus's package.
    pub walrus_system: Address,
    /// Packages that the contract may depend on besides Walrus.
    pub framework: Vec<Address>,
    /// Parameters that a new market starts with: `public` or `devnet`.
    pub params: String,
    /// Highest gas price, in MIST a unit, at which the contract's deployment goes on.
    pub gas_price_max_mist: u64,
    pub deployed: Option<Deployed>,
    /// The base package, from when it is published until the market that is built on it is.
    pub base: Option<Published>,
}

/// What is on a network. The market is there once all three of its objects are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// Walrus's package, as first published.
    pub walrus_package: Address,
    pub admin_cap: Address,
    pub db: Option<Address>,
    pub treasury: Option<Address>,
    pub beacon: Option<Address>,
    /// The package of plain values, on which the market's is built.
    pub base: Published,
    /// The market's package.
    pub market: Published,
}

/// A package on a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// As first published: types are its.
    pub package: Address,
    /// The newest version, if it was upgraded.
    pub upgraded: Option<Address>,
    /// Of the newest version's modules and dependencies, as an upgrade is authorized by.
    pub digest: Hash32,
    pub upgrade_cap: Address,
    /// Holds the upgrade cap, once that is locked.
    pub upgrade_lock: Option<Address>,
}

/// Why there is no such profile, or nothing behind it.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("no network is called {name:?}: known are {known}")]
    Unknown { name: String, known: String },
    #[error("{path}: {reason}")]
    Malformed { path: String, reason: String },
    #[error("the contract is not deployed on {name}: `atoma contract publish --network {name}`")]
    NoPackage { name: String },
    #[error(
        "the contract is published on {name}, but has no market yet: `atoma contract init --network {name}`"
    )]
    NoMarket { name: String },
    #[error("{url} is chain {found}, and the profile {name} is of chain {expected}: {advice}")]
    OtherChain { name: String, url: String, found: String, expected: String, advice: String },
}

impl Profile {
    /// The profile called `name`: the user's in `folder`, else one that the program knows.
    pub fn load(folder: &Path, name: &str) -> Result<Self, ProfileError> {
        let unknown = || ProfileError::Unknown { name: name.to_owned(), known: names(folder).join(", ") };
        if !is_name(name) {
            return Err(unknown());
        }
        let path = Self::path(folder, name);
        let malformed = |reason: String| ProfileError::Malformed { path: path.display().to_string(), reason };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(name, &text).map_err(malformed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let known = KNOWN.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
                Self::parse(name, known.1).map_err(malformed)
            }
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// Where the user's profile called `name` is.
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.toml"))
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let profile: Self = toml::from_str(text).map_err(|error| toml_reason(text, &error))?;
        Ok(Self { name: name.to_owned(), ..profile })
    }

    /// Whether the chain may be another one next time: a devnet is made anew.
    pub fn is_of_devnet(&self) -> bool {
        self.network == "devnet"
    }

    /// Refuses another chain than the profile's.
    pub fn check_chain(&self, chain: &ChainClient) -> Result<(), ProfileError> {
        let Some(expected) = self.chain_id.as_ref().filter(|id| *id != chain.chain_id()) else {
            return Ok(());
        };
        let name = self.name.clone();
        let advice = match self.is_of_devnet() {
            true => {
                format!("if the devnet was started anew, `atoma contract publish --network {name} --replace`")
            }
            false => "give the address of a full node of that chain with --rpc".to_owned(),
        };
        let (url, found) = (shown_url(&chain.deployment().rpc_url), chain.chain_id().to_owned());
        Err(ProfileError::OtherChain { name, url, found, expected: expected.clone(), advice })
    }

    /// Where the market is.
    pub fn deployment(&self) -> Result<Deployment, ProfileError> {
        let deployed = self.published()?;
        let (Some(_), Some(_), Some(_)) = (deployed.db, deployed.treasury, deployed.beacon) else {
            return Err(ProfileError::NoMarket { name: self.name.clone() });
        };
        Ok(self.addresses())
    }

    /// What was published, market or not.
    pub fn published(&self) -> Result<&Deployed, ProfileError> {
        self.deployed.as_ref().ok_or_else(|| ProfileError::NoPackage { name: self.name.clone() })
    }

    /// Every address as far as it is known; zero for what is not there.
    pub fn addresses(&self) -> Deployment {
        let found = |of: fn(&Deployed) -> Option<Address>| self.deployed.as_ref().and_then(of);
        let or_zero = |of| found(of).unwrap_or(Address::ZERO);
        Deployment {
            network: self.network.clone(),
            rpc_url: self.rpc_url.clone(),
            package: or_zero(|deployed| Some(deployed.market.package)),
            upgraded: found(|deployed| deployed.market.upgraded),
            db: or_zero(|deployed| deployed.db),
            treasury: or_zero(|deployed| deployed.treasury),
            beacon: or_zero(|deployed| deployed.beacon),
            walrus_package: or_zero(|deployed| Some(deployed.walrus_package)),
            walrus_system: self.walrus_system,
            coin_type: self.coin_type.clone(),
        }
    }

    /// The profile as its file has it.
    pub fn to_toml(&self) -> String {
        let mut text = "# Written by `atoma contract`.\n".to_owned();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name} = {value}");
        };
        line("network", format!("{:?}", self.network));
        line("rpc_url", format!("{:?}", self.rpc_url));
        if let Some(url) = &self.faucet_url {
            line("faucet_url", format!("{url:?}"));
        }
        if let Some(chain_id) = &self.chain_id {
            line("chain_id", format!("{chain_id:?}"));
        }
        line("coin_type", format!("{:?}", self.coin_type));
        line("walrus_system", format!("\"{}\"", self.walrus_system));
        let framework: Vec<String> = self.framework.iter().map(|id| format!("\"{id}\"")).collect();
        line("framework", format!("[{}]", framework.join(", ")));
        line("params", format!("{:?}", self.params));
        line("gas_price_max_mist", self.gas_price_max_mist.to_string());
        if let Some(deployed) = &self.deployed {
            text.push_str(&deployed.to_toml());
        }
        if let Some(base) = &self.base {
            text.push_str(&base.to_toml("base"));
        }
        text
    }
}

impl Deployed {
    fn to_toml(&self) -> String {
        let own = table(
            "deployed",
            [
                ("walrus_package", Some(self.walrus_package)),
                ("admin_cap", Some(self.admin_cap)),
                ("db", self.db),
                ("treasury", self.treasury),
                ("beacon", self.beacon),
            ],
        );
        own + &self.base.to_toml("deployed.base") + &self.market.to_toml("deployed.market")
    }
}

impl Published {
    /// The newest version.
    pub fn code(&self) -> Address {
        self.upgraded.unwrap_or(self.package)
    }

    fn to_toml(&self, name: &str) -> String {
        let ids = [
            ("package", Some(self.package)),
            ("upgraded", self.upgraded),
            ("upgrade_cap", Some(self.upgrade_cap)),
            ("upgrade_lock", self.upgrade_lock),
        ];
        format!("{}digest = \"{}\"\n", table(name, ids), self.digest)
    }
}

/// A table of those ids that there are.
fn table<const N: usize>(name: &str, ids: [(&str, Option<Address>); N]) -> String {
    let lines = ids.iter().filter_map(|(name, id)| id.map(|id| format!("{name} = \"{id}\"\n")));
    format!("\n[{name}]\n{}", lines.collect::<String>())
}

/// What is wrong with a TOML text, with its line, in one line.
pub fn toml_reason(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().split('\n').count());
    let message = error.message().replace('\n', ", ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

/// As much of an address as may be shown: path, query and user may be a key to it.
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The networks that the program knows, and those in `folder`.
fn names(folder: &Path) -> Vec<String> {
    let own = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".toml").map(str::to_owned)
    });
    let mut names: Vec<String> = KNOWN.iter().map(|(name, _)| (*name).to_owned()).chain(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn deployed() -> Deployed {
        Deployed {
            walrus_package: id(3),
            admin_cap: id(4),
            db: Some(id(6)),
            treasury: Some(id(7)),
            beacon: Some(id(8)),
            base: Published { upgraded: None, ..published(9) },
            market: published(1),
        }
    }

    fn published(first: u8) -> Published {
        Published {
            package: id(first),
            upgraded: Some(id(first + 1)),
            digest: Hash32([first; 32]),
            upgrade_cap: id(first + 2),
            upgrade_lock: None,
        }
    }

    fn id(byte: u8) -> Address {
        Address::new([byte; 32])
    }

    #[test]
    fn the_known_networks_say_that_nothing_is_deployed_there() {
        let folder = tempfile::tempdir().unwrap();
        for (name, _) in KNOWN {
            let profile = Profile::load(folder.path(), name).unwrap();
            assert_eq!(profile.network, name);
            profile.coin_type.parse::<sui_sdk_types::TypeTag>().unwrap();
            assert_eq!(profile.chain_id.is_none(), name == "devnet");
            let error = profile.deployment().unwrap_err().to_string();
            assert!(error.contains("not deployed") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_users_own_profile_wins_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut profile = Profile::load(folder.path(), "testnet").unwrap();
        profile.deployed = Some(deployed());
        profile.base = Some(published(20));
        std::fs::write(Profile::path(folder.path(), "testnet"), profile.to_toml()).unwrap();
        assert_eq!(Profile::load(folder.path(), "testnet").unwrap(), profile);
        let deployment = profile.deployment().unwrap();
        assert_eq!(
            (deployment.package, deployment.code()),
            (deployed().market.package, deployed().market.code())
        );

        profile.deployed = Some(Deployed { beacon: None, ..deployed() });
        assert!(matches!(profile.deployment(), Err(ProfileError::NoMarket { .. })));
    }

    #[test]
    fn what_is_not_a_name_or_not_a_profile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nowhere", "", "../etc/passwd", "Testnet"] {
            let error = Profile::load(folder.path(), name).unwrap_err();
            assert!(error.to_string().contains("devnet, mainnet, testnet"), "{error}");
        }
        std::fs::write(Profile::path(folder.path(), "mine"), "# Mine.\nnetwork = 3").unwrap();
        let error = Profile::load(folder.path(), "mine").unwrap_err().to_string();
        assert!(error.contains("mine.toml: line 2: invalid type: integer `3`"), "{error}");
    }

    #[test]
    fn what_of_an_address_may_be_a_key_is_not_shown() {
        for url in ["https://node.example:443/v1/secret", "https://node.example:443?key=secret"] {
            assert_eq!(shown_url(url), "https://node.example:443");
        }
        assert_eq!(shown_url("https://me:secret@node.example"), "https://node.example");
        assert_eq!(shown_url("node.example:9?secret"), "node.example:9");
    }
}
