//! `atoma contract`: the package and its market on a network, from publishing to upgrading.

mod compile;
mod params;
mod upgrade;

use crate::cli::{Changes, Contract as Arguments, Sources, Target};
use crate::home::{self, Home};
use crate::output::{Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call, ChainClient, Created, DeployCall, Deployed, Executed, Profile, Wallet};
use atoma_types::Address;
use atoma_types::onchain::{Event, PACKAGE_BYTES_MAX, Package};
use std::path::PathBuf;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Publish { target, sources, replace } => publish(home, &target, &sources, replace).await,
        Arguments::Init { target, changes } => init(home, &target, &changes).await,
        Arguments::Params { target, changes, json } => params::run(home, &target, &changes, json).await,
        Arguments::Pause(target) => set_paused(home, &target, true).await,
        Arguments::Resume(target) => set_paused(home, &target, false).await,
        Arguments::Upgrade(arguments) => Box::pin(upgrade::run(home, arguments)).await,
    }
}

/// A network with the wallet that acts on it.
struct Site {
    profile: Profile,
    /// Where the profile is kept.
    path: PathBuf,
    chain: ChainClient,
    wallet: Wallet,
    dry_run: bool,
}

impl Site {
    /// Whatever is deployed there. Refuses another chain than the profile's, and a gas price above its limit.
    async fn open(home: &Home, target: &Target) -> Result<Self> {
        let folder = home.networks()?;
        let mut profile = Profile::load(&folder, &target.network)?;
        if let Some(url) = &target.rpc {
            profile.rpc_url.clone_from(url);
        }
        let wallet = target.payer.load(home)?;
        let path = Profile::path(&folder, &target.network);
        let chain = ChainClient::open(profile.addresses()).await?;
        if let Some(expected) = profile.chain_id.as_ref().filter(|id| *id != chain.chain_id()) {
            let (url, found) = (&profile.rpc_url, chain.chain_id());
            bail!("{url} is chain {found}, and {} is of chain {expected}", path.display());
        }
        let (price, most) = (chain.reference_gas_price().await?, profile.gas_price_max_mist);
        if price > most {
            bail!("gas costs {price} MIST a unit, more than the profile's gas_price_max_mist = {most}");
        }
        Ok(Self { profile, path, chain, wallet, dry_run: target.dry_run })
    }

    /// The same, where the market must be there. A devnet's first market is, in no profile.
    async fn of_market(home: &Home, target: &Target) -> Result<Self> {
        let profile = Profile::load(&home.networks()?, &target.network)?;
        if profile.chain_id.is_some() {
            profile.deployment()?;
        }
        let mut site = Self::open(home, target).await?;
        let deployment = match site.profile.deployed.is_none() && site.profile.chain_id.is_none() {
            true => atoma_chain::fetch_deployment(&site.profile.rpc_url).await?,
            false => site.profile.deployment()?,
        };
        site.chain = ChainClient::connect(deployment).await?;
        Ok(site)
    }

    /// Sends the call, or tries it.
    async fn execute(&self, what: &str, call: Call) -> Result<Executed> {
        let step = Step::start(what);
        let executed = match self.dry_run {
            true => self.wallet.dry_run(&self.chain, call).await?,
            false => self.wallet.execute(&self.chain, call).await?,
        };
        drop(step);
        match self.dry_run {
            true => say!("dry run     nothing was sent; it would execute"),
            false => say!("transaction {}", executed.digest),
        }
        say!("gas         {} MIST", executed.gas_used);
        Ok(executed)
    }

    /// Writes the profile with what is deployed now.
    fn save(&mut self, deployed: Deployed) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        // A profile belongs to the chain on which something was deployed.
        self.profile.chain_id = Some(self.chain.chain_id().to_owned());
        self.profile.deployed = Some(deployed);
        home::write_private(&self.path, self.profile.to_toml().as_bytes())?;
        say!("profile     {}", self.path.display());
        Ok(())
    }

    async fn compile(&self, sources: &Sources) -> Result<Package> {
        let original = self.chain.package_of(self.profile.walrus_system).await.with_context(|| {
            format!("the profile's walrus_system {} is not on this chain", self.profile.walrus_system)
        })?;
        let newest = self.chain.newest_package(original).await?;
        let package = compile::package(&sources.contracts, compile::Walrus { original, newest }).await?;
        let expected = |id: &&Address| **id == newest || self.profile.framework.contains(id);
        if let Some(other) = package.dependencies().iter().find(|id| !expected(id)) {
            bail!("the package depends on {other}, which the profile does not name");
        }
        say!("digest      {}", package.digest());
        say!("size        {} bytes in {} modules", package.size(), package.modules().len());
        if package.size() > PACKAGE_BYTES_MAX {
            bail!(
                "the package is too large: Sui takes at most {PACKAGE_BYTES_MAX} bytes, nothing was signed"
            );
        }
        Ok(package)
    }
}

async fn publish(home: &Home, target: &Target, sources: &Sources, replace: bool) -> Result<()> {
    let mut site = Site::open(home, target).await?;
    if let Some(deployed) = site.profile.deployed.as_ref().filter(|_| !replace) {
        bail!("{} has package {} already; --replace publishes another", target.network, deployed.package);
    }
    let walrus_package = site.chain.package_of(site.profile.walrus_system).await?;
    let package = site.compile(sources).await?;
    let call = DeployCall::Publish { package, to: site.wallet.address() };
    let executed = site.execute("publishing", Call::Deploy(call)).await?;
    let deployed = Deployed {
        package: created(&executed, |kind| kind == "package")?,
        upgraded: None,
        walrus_package,
        admin_cap: created(&executed, |kind| kind.ends_with("::admin::AdminCap"))?,
        upgrade_cap: created(&executed, |kind| kind.ends_with("::package::UpgradeCap"))?,
        upgrade_lock: None,
        db: None,
        treasury: None,
        beacon: None,
    };
    say!("package     {}", deployed.package);
    say!("AdminCap    {}", deployed.admin_cap);
    say!("UpgradeCap  {}", deployed.upgrade_cap);
    site.save(deployed)
}

/// The one object that the transaction created and whose type fits.
fn created(executed: &Executed, fits: impl Fn(&str) -> bool) -> Result<Address> {
    let is_it = |created: &&Created| created.object_type.as_deref().is_some_and(&fits);
    let found = executed.created.iter().find(is_it).map(|created| created.id);
    found.context("the transaction executed and did not create what it should have")
}

async fn init(home: &Home, target: &Target, changes: &Changes) -> Result<()> {
    Profile::load(&home.networks()?, &target.network)?.published()?;
    let mut site = Site::open(home, target).await?;
    let deployed = site.profile.published()?.clone();
    if let Some(db) = deployed.db {
        bail!("{} has its market already: database {db}", target.network);
    }
    let params = params::changed(&params::named(&site.profile.params)?, changes)?;
    params::check(&params, None)?;
    let call = DeployCall::Init { cap: deployed.admin_cap, params: Box::new(params) };
    let executed = site.execute("making the market", Call::Deploy(call)).await?;
    let made = executed.events.iter().find_map(|event| match event {
        Event::MarketCreated(made) => Some(made),
        _ => None,
    });
    let made = made.context("the market was made without its event")?;
    say!("database    {}", made.db);
    say!("treasury    {}", made.treasury);
    say!("beacon      {}", made.beacon);
    let (db, treasury, beacon) = (Some(made.db), Some(made.treasury), Some(made.beacon));
    site.save(Deployed { db, treasury, beacon, ..deployed })
}

async fn set_paused(home: &Home, target: &Target, paused: bool) -> Result<()> {
    let site = Site::of_market(home, target).await?;
    site.execute("asking", Call::Admin(AdminCall::SetPaused(paused))).await?;
    say!("{}", if paused { "purchases stop" } else { "purchases go on" });
    Ok(())
}
