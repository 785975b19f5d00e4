//! `atoma contract`: the two packages and their market on a network, from publishing to upgrading.

mod compile;
mod params;
mod upgrade;

use crate::cli::{Changes, Contract as Arguments, Part, Sources, Target};
use crate::home::{self, Home};
use crate::output::{Step, say};
use anyhow::{Context, Result, bail};
use atoma_chain::{
    AdminCall, Call, ChainClient, Created, DeployCall, Deployed, Executed, Profile, Published, Wallet,
};
use atoma_types::onchain::{Event, PACKAGE_BYTES_MAX, Package};
use atoma_types::{Address, Hash32};
use compile::Located;
use std::path::PathBuf;

/// Where the base is as long as it is nowhere: for sizes, which do not depend on it.
const NOWHERE: Address = Address::from_static("0xba5e");

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

    /// Writes what changed into the profile.
    fn save(&mut self, change: impl FnOnce(&mut Profile)) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        change(&mut self.profile);
        // A profile belongs to the chain on which something was deployed.
        self.profile.chain_id = Some(self.chain.chain_id().to_owned());
        home::write_private(&self.path, self.profile.to_toml().as_bytes())?;
        say!("profile     {}", self.path.display());
        Ok(())
    }

    /// The base package; with a base that is published, the market's on it.
    async fn compile(&self, sources: &Sources, base: Option<Located>) -> Result<Package> {
        let original = self.chain.package_of(self.profile.walrus_system).await.with_context(|| {
            format!("the profile's walrus_system {} is not on this chain", self.profile.walrus_system)
        })?;
        let walrus = Located { original, newest: self.chain.newest_package(original).await? };
        let package = compile::package(&sources.contracts, walrus, base).await?;
        let name = if base.is_some() { "the market's package" } else { "the base package" };
        let below: Vec<Address> = base.iter().flat_map(|base| [base.newest, walrus.newest]).collect();
        let expected = |id: &&Address| below.contains(id) || self.profile.framework.contains(id);
        if let Some(other) = package.dependencies().iter().find(|id| !expected(id)) {
            bail!("{name} depends on {other}, which the profile does not name");
        }
        if let Some(base) = base.filter(|base| !package.dependencies().contains(&base.newest)) {
            bail!("{name} was not linked to the base at {}", base.newest);
        }
        say!("size        {} bytes in {} modules: {name}", package.size(), package.modules().len());
        if package.size() > PACKAGE_BYTES_MAX {
            bail!("{name} is too large: Sui takes at most {PACKAGE_BYTES_MAX} bytes, nothing was signed");
        }
        Ok(package)
    }

    /// Publishes the base, unless an earlier run did and went no further. None if that was only tried.
    async fn publish_base(&mut self, package: Package) -> Result<Option<Published>> {
        let digest = package.digest();
        if let Some(base) = self.profile.base.clone().filter(|base| base.digest == digest) {
            say!("base        {}, published already", base.package);
            return Ok(Some(base));
        }
        let call = DeployCall::Publish { package, to: self.wallet.address() };
        let executed = self.execute("publishing the base", Call::Deploy(call)).await?;
        let base = published(&executed, digest)?;
        say!("base        {}", base.package);
        self.save(|profile| profile.base = Some(base.clone()))?;
        Ok((!self.dry_run).then_some(base))
    }
}

impl Part {
    fn of(self, deployed: &Deployed) -> &Published {
        match self {
            Self::Base => &deployed.base,
            Self::Market => &deployed.market,
        }
    }

    fn of_mut(self, deployed: &mut Deployed) -> &mut Published {
        match self {
            Self::Base => &mut deployed.base,
            Self::Market => &mut deployed.market,
        }
    }
}

impl Located {
    fn of(package: &Published) -> Self {
        Self { original: package.package, newest: package.code() }
    }
}

async fn publish(home: &Home, target: &Target, sources: &Sources, replace: bool) -> Result<()> {
    let mut site = Site::open(home, target).await?;
    if let Some(deployed) = site.profile.deployed.as_ref().filter(|_| !replace) {
        let package = deployed.market.package;
        bail!("{} has package {package} already; --replace publishes another", target.network);
    }
    let walrus_package = site.chain.package_of(site.profile.walrus_system).await?;
    let base = site.compile(sources, None).await?;
    // Nothing is signed for a market that is too large.
    site.compile(sources, Some(Located { original: NOWHERE, newest: NOWHERE })).await?;
    let Some(base) = site.publish_base(base).await? else {
        say!("market      only compiled: it can be tried once the base has its address");
        return Ok(());
    };
    let package = site.compile(sources, Some(Located::of(&base))).await?;
    let digest = package.digest();
    let call = DeployCall::Publish { package, to: site.wallet.address() };
    let executed = site.execute("publishing the market", Call::Deploy(call)).await?;
    let market = published(&executed, digest)?;
    let admin_cap = created(&executed, |kind| kind.ends_with("::admin::AdminCap"))?;
    say!("package     {}", market.package);
    say!("AdminCap    {admin_cap}");
    say!("UpgradeCaps {} and the base's {}", market.upgrade_cap, base.upgrade_cap);
    let (db, treasury, beacon) = (None, None, None);
    let deployed = Deployed { walrus_package, admin_cap, db, treasury, beacon, base, market };
    site.save(|profile| (profile.deployed, profile.base) = (Some(deployed), None))
}

/// What the transaction published.
fn published(executed: &Executed, digest: Hash32) -> Result<Published> {
    Ok(Published {
        package: created(executed, |kind| kind == "package")?,
        upgraded: None,
        digest,
        upgrade_cap: created(executed, |kind| kind.ends_with("::package::UpgradeCap"))?,
        upgrade_lock: None,
    })
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
    site.save(|profile| profile.deployed = Some(Deployed { db, treasury, beacon, ..deployed }))
}

async fn set_paused(home: &Home, target: &Target, paused: bool) -> Result<()> {
    let site = Site::of_market(home, target).await?;
    site.execute("asking", Call::Admin(AdminCall::SetPaused(paused))).await?;
    say!("{}", if paused { "purchases stop" } else { "purchases go on" });
    Ok(())
}
