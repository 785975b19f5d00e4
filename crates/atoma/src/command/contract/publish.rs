//! `atoma contract publish` and `init`: from nothing to a market.

use super::compile::Located;
use super::created;
use super::params;
use super::report::sui;
use super::site::{NOWHERE, Operator, Site};
use crate::cli::{Changes, Sources, Target};
use crate::home::{self, Home};
use anyhow::{Context, Result, bail};
use atoma_chain::{Call, DeployCall, Deployed, Executed, Owner, Profile, Published, publishing_mist};
use atoma_types::Hash32;
use atoma_types::onchain::{Event, Package};

pub(super) async fn publish(home: &Home, target: &Target, sources: &Sources, replace: bool) -> Result<()> {
    let wallet = target.payer.load(home)?;
    let mut site = Site::open_any(home, &target.place).await?;
    let old = site.profile.clone();
    match site.profile.check_chain(&site.chain) {
        // What was deployed on a devnet that is no more is nowhere.
        Err(_) if replace && old.is_of_devnet() => {
            (site.profile.deployed, site.profile.base, site.profile.chain_id) = (None, None, None);
        }
        checked => checked?,
    }
    if let Some(deployed) = site.profile.deployed.as_ref().filter(|_| !replace) {
        let package = deployed.market.package;
        bail!("{} has package {package} already; --replace publishes another", site.profile.name);
    }
    let mut operator = Operator::with(site, wallet, target).await?;
    let base = operator.site.compile(sources, None, &mut operator.report).await?;
    // Nothing is signed for a market that is too large.
    let nowhere = Located { original: NOWHERE, newest: NOWHERE };
    let market = operator.site.compile(sources, Some(nowhere), &mut operator.report).await?;
    let there = operator.published_base(&base, replace).await?;
    let sizes: &[usize] = if there.is_some() { &[market.size()] } else { &[base.size(), market.size()] };
    operator.check_gas(sizes).await?;
    if old.chain_id != operator.site.profile.chain_id {
        operator.keep(&old)?;
    }
    let base = match there {
        Some(base) => Some(base),
        None => operator.publish_base(base).await?,
    };
    let Some(base) = base else {
        operator.report.line("market", "was only compiled: it can be tried once the base has its address");
        operator.finish();
        return Ok(());
    };
    operator.publish_market(sources, base).await?;
    operator.finish();
    Ok(())
}

impl Operator {
    /// The base that an earlier run published before it broke off, if this wallet can go on with it.
    async fn published_base(&mut self, package: &Package, replace: bool) -> Result<Option<Published>> {
        let digest = package.digest();
        let site = &self.site;
        let Some(base) = site.profile.base.clone().filter(|base| base.digest == digest) else {
            return Ok(None);
        };
        let me = self.wallet.address();
        if site.chain.owner_of(base.upgrade_cap).await? != Some(Owner::Address(me)) {
            if replace {
                return Ok(None);
            }
            bail!(
                "the base {} is published, and its UpgradeCap {} belongs to {}, not to this wallet: go on with that \
                 one (--wallet FILE), have the cap sent to {me}, or publish both anew with --replace",
                base.package,
                base.upgrade_cap,
                site.holder(base.upgrade_cap).await?
            );
        }
        self.report.line("base", format_args!("{}, published already", base.package));
        self.report.set("base", base.package);
        Ok(Some(base))
    }

    /// Refuses to begin what the wallet cannot pay to its end.
    async fn check_gas(&mut self, sizes: &[usize]) -> Result<()> {
        let (chain, me) = (&self.site.chain, self.wallet.address());
        let needed = publishing_mist(chain.reference_gas_price().await?, sizes);
        let held = chain.balances(me).await?.gas;
        let missing = needed.saturating_sub(held);
        if missing > 0 {
            bail!(
                "publishing may take {}, and {me} has {}: send it {} and run this again; nothing was signed",
                sui(needed),
                sui(held),
                sui(missing)
            );
        }
        Ok(())
    }

    /// None if it was only tried.
    async fn publish_base(&mut self, package: Package) -> Result<Option<Published>> {
        let digest = package.digest();
        let call = DeployCall::Publish { package, to: self.wallet.address() };
        let executed = self.execute("publishing the base", Call::Deploy(call)).await?;
        let Some(executed) = executed else { return Ok(None) };
        let base = published(&executed, digest)?;
        self.report.field("base", base.package);
        self.save(|profile| profile.base = Some(base.clone()))?;
        Ok(Some(base))
    }

    async fn publish_market(&mut self, sources: &Sources, base: Published) -> Result<()> {
        let walrus_package = self.site.walrus().await?.original;
        let package = self.site.compile(sources, Some(Located::of(&base)), &mut self.report).await?;
        let digest = package.digest();
        let call = DeployCall::Publish { package, to: self.wallet.address() };
        let executed = self.execute("publishing the market", Call::Deploy(call)).await?;
        let Some(executed) = executed else { return Ok(()) };
        let market = published(&executed, digest)?;
        let admin_cap = created(&executed, |kind| kind.ends_with("::admin::AdminCap"))?;
        self.report.field("package", market.package);
        self.report.line("AdminCap", admin_cap);
        self.report
            .line("UpgradeCaps", format_args!("{} and the base's {}", market.upgrade_cap, base.upgrade_cap));
        self.report.set("admin_cap", admin_cap);
        self.report.set("upgrade_caps", [market.upgrade_cap, base.upgrade_cap]);
        if self.site.profile.deployed.is_some() {
            self.keep(&Profile { base: None, ..self.site.profile.clone() })?;
        }
        let (db, treasury, beacon) = (None, None, None);
        let deployed = Deployed { walrus_package, admin_cap, db, treasury, beacon, base, market };
        self.save(|profile| (profile.deployed, profile.base) = (Some(deployed), None))?;
        let next = self.site.command("init");
        self.next(&next);
        Ok(())
    }

    /// Keeps what is replaced.
    fn keep(&mut self, old: &Profile) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let path = self.site.path.with_extension("toml.old");
        home::write_private(&path, old.to_toml().as_bytes())?;
        self.report.line("replaced", format_args!("what the profile had is in {}", path.display()));
        self.report.set("replaced", path);
        Ok(())
    }
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

pub(super) async fn init(home: &Home, target: &Target, changes: &Changes) -> Result<()> {
    let profile = Profile::load(&home.networks()?, &target.place.network)?;
    let deployed = profile.published()?.clone();
    if let Some(db) = deployed.db {
        bail!("{} has its market already: database {db}", profile.name);
    }
    let defaults = params::named(&profile.params)?;
    let params = params::changed(&defaults, changes)?;
    params::check(&params, None)?;
    let mut operator = Operator::open(home, target).await?;
    params::report(&mut operator.report, &params::differences(&defaults, &params));
    let call = DeployCall::Init { cap: deployed.admin_cap, params: Box::new(params) };
    let Some(executed) = operator.execute("making the market", Call::Deploy(call)).await? else {
        operator.finish();
        return Ok(());
    };
    let made = executed.events.iter().find_map(|event| match event {
        Event::MarketCreated(made) => Some(made),
        _ => None,
    });
    let made = made.context("the market was made without its event")?;
    operator.report.field("database", made.db);
    operator.report.field("treasury", made.treasury);
    operator.report.field("beacon", made.beacon);
    let (db, treasury, beacon) = (Some(made.db), Some(made.treasury), Some(made.beacon));
    operator.save(|profile| profile.deployed = Some(Deployed { db, treasury, beacon, ..deployed }))?;
    let lock = operator.site.command("upgrade lock --yes-forever");
    operator.next(&format!("{lock}, before anybody pays in"));
    operator.finish();
    Ok(())
}
