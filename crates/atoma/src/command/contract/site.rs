//! A network as the commands find it, and whoever acts on it.

use super::compile::{self, Located};
use super::report::Report;
use crate::cli::{Part, Place, Sources, Target};
use crate::home::{self, Home};
use crate::output::Step;
use anyhow::{Context, Result, bail};
use atoma_chain::{Call, ChainClient, ChainError, Executed, Owner, Profile, Published, Wallet};
use atoma_types::Address;
use atoma_types::onchain::{PACKAGE_BYTES_MAX, Package};
use serde_json::json;
use std::path::PathBuf;

/// Where the base is as long as it is nowhere: for sizes, which do not depend on it.
pub(super) const NOWHERE: Address = Address::from_static("0xba5e");

/// A network.
pub(super) struct Site {
    pub(super) profile: Profile,
    /// Where the profile is kept.
    pub(super) path: PathBuf,
    pub(super) chain: ChainClient,
}

/// A network with the wallet that acts on it, and what is said about it.
pub(super) struct Operator {
    pub(super) site: Site,
    pub(super) wallet: Wallet,
    pub(super) dry_run: bool,
    pub(super) report: Report,
}

impl Site {
    /// Whatever is deployed there. Refuses another chain than the profile's.
    pub(super) async fn open(home: &Home, place: &Place) -> Result<Self> {
        let site = Self::open_any(home, place).await?;
        site.profile.check_chain(&site.chain)?;
        Ok(site)
    }

    /// The same, on whatever chain answers.
    pub(super) async fn open_any(home: &Home, place: &Place) -> Result<Self> {
        let folder = home.networks()?;
        let profile = Profile::load(&folder, &place.network)?;
        let mut deployment = profile.addresses();
        if let Some(url) = &place.rpc {
            deployment.rpc_url.clone_from(url);
        }
        let chain = ChainClient::open(deployment).await?;
        Ok(Self { path: Profile::path(&folder, &place.network), profile, chain })
    }

    /// Where the market must be there. A devnet's first market is, in no profile.
    pub(super) async fn of_market(home: &Home, place: &Place) -> Result<Self> {
        let profile = Profile::load(&home.networks()?, &place.network)?;
        if profile.chain_id.is_some() {
            profile.deployment()?;
        }
        let mut site = Self::open(home, place).await?;
        if site.has_only_the_first_market() {
            let deployment = atoma_chain::fetch_deployment(&site.chain.deployment().rpc_url).await?;
            site.chain = ChainClient::open(deployment).await?;
        } else {
            site.profile.deployment()?;
        }
        site.chain.check_market().await?;
        Ok(site)
    }

    /// Whether the only market there is the one that a devnet makes itself.
    pub(super) fn has_only_the_first_market(&self) -> bool {
        self.profile.deployed.is_none() && self.profile.chain_id.is_none()
    }

    /// A command line to go on with.
    pub(super) fn command(&self, command: &str) -> String {
        format!("`atoma contract {command} --network {}`", self.profile.name)
    }

    /// Whose an object is, in words.
    pub(super) async fn holder(&self, id: Address) -> Result<String> {
        Ok(match self.chain.owner_of(id).await? {
            Some(Owner::Address(owner)) => owner.to_string(),
            Some(Owner::Shared(_)) => "nobody: it is shared".to_owned(),
            Some(Owner::Object(parent)) => format!("object {parent}"),
            Some(_) => "nobody".to_owned(),
            None => "nobody: it is gone".to_owned(),
        })
    }

    /// Walrus's package, as first published and newest.
    pub(super) async fn walrus(&self) -> Result<Located> {
        let system = self.profile.walrus_system;
        let original = self.chain.package_of(system).await;
        let original =
            original.with_context(|| format!("the profile's walrus_system {system} is not on this chain"))?;
        Ok(Located { original, newest: self.chain.newest_package(original).await? })
    }

    /// The base package; with a base that is published, the market's on it.
    pub(super) async fn compile(
        &self,
        sources: &Sources,
        base: Option<Located>,
        report: &mut Report,
    ) -> Result<Package> {
        let walrus = self.walrus().await?;
        let package = compile::package(&sources.contracts, walrus, base).await?;
        let part = if base.is_some() { Part::Market } else { Part::Base };
        let name = part.package();
        let below: Vec<Address> = base.iter().flat_map(|base| [base.newest, walrus.newest]).collect();
        let expected = |id: &&Address| below.contains(id) || self.profile.framework.contains(id);
        if let Some(other) = package.dependencies().iter().find(|id| !expected(id)) {
            bail!("{name} depends on {other}, which the profile does not name");
        }
        if let Some(base) = base.filter(|base| !package.dependencies().contains(&base.newest)) {
            bail!("{name} was not linked to the base at {}", base.newest);
        }
        note_size(&package, part, report)?;
        Ok(package)
    }
}

/// Says how large a package is, and refuses one that Sui does not take.
pub(super) fn note_size(package: &Package, part: Part, report: &mut Report) -> Result<()> {
    let (name, size, modules) = (part.package(), package.size(), package.modules().len());
    report.line("size", format_args!("{size} bytes in {modules} modules: {name}"));
    report.set(&format!("{}_bytes", part.name()), size);
    if size > PACKAGE_BYTES_MAX {
        bail!("{name} is too large: Sui takes at most {PACKAGE_BYTES_MAX} bytes, nothing was signed");
    }
    Ok(())
}

impl Operator {
    pub(super) async fn open(home: &Home, target: &Target) -> Result<Self> {
        let wallet = target.payer.load(home)?;
        Self::with(Site::open(home, &target.place).await?, wallet, target).await
    }

    /// Where the market must be there.
    pub(super) async fn of_market(home: &Home, target: &Target) -> Result<Self> {
        let site = Site::of_market(home, &target.place).await?;
        Self::with(site, target.payer.load(home)?, target).await
    }

    /// Refuses a gas price above the profile's limit.
    pub(super) async fn with(site: Site, wallet: Wallet, target: &Target) -> Result<Self> {
        let (price, most) = (site.chain.reference_gas_price().await?, site.profile.gas_price_max_mist);
        if price > most {
            bail!("gas costs {price} MIST a unit, more than the profile's gas_price_max_mist = {most}");
        }
        let report = Report::new(target.place.json);
        Ok(Self { site, wallet, dry_run: target.dry_run, report })
    }

    /// Sends the call. With --dry-run it is only tried, and there is no result: another run's ids are others.
    pub(super) async fn execute(&mut self, what: &str, call: Call) -> Result<Option<Executed>> {
        let step = Step::start(what);
        let (wallet, chain) = (&self.wallet, &self.site.chain);
        let executed = match self.dry_run {
            true => wallet.dry_run(chain, call).await,
            false => wallet.execute(chain, call).await,
        };
        drop(step);
        let executed = executed.map_err(|error| match error {
            ChainError::InsufficientGas { .. } => {
                anyhow::Error::new(error).context(format!("{what} stopped; the next run goes on from here"))
            }
            error => error.into(),
        })?;
        let digest = (!self.dry_run).then(|| executed.digest.to_string());
        let gas_mist = executed.gas_used;
        self.report.push("transactions", json!({ "what": what, "digest": digest, "gas_mist": gas_mist }));
        match &digest {
            Some(digest) => self.report.line("transaction", digest),
            None => self.report.line("dry run", format_args!("{what} would succeed; nothing was sent")),
        }
        self.report.line("gas", format_args!("{gas_mist} MIST"));
        Ok(digest.map(|_| executed))
    }

    /// Writes what changed into the profile.
    pub(super) fn save(&mut self, change: impl FnOnce(&mut Profile)) -> Result<()> {
        change(&mut self.site.profile);
        // A profile belongs to the chain on which something was deployed.
        self.site.profile.chain_id = Some(self.site.chain.chain_id().to_owned());
        home::write_private(&self.site.path, self.site.profile.to_toml().as_bytes())?;
        self.report.line("profile", self.site.path.display());
        self.report.set("profile", &self.site.path);
        Ok(())
    }

    /// What remains to be done.
    pub(super) fn next(&mut self, step: &str) {
        self.report.field("next", step);
    }

    pub(super) fn finish(mut self) {
        self.report.set("dry_run", self.dry_run);
        self.report.finish();
    }
}

impl Located {
    pub(super) fn of(package: &Published) -> Self {
        Self { original: package.package, newest: package.code() }
    }
}

impl Part {
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Base => "the base package",
            Self::Market => "the market's package",
        }
    }
}
