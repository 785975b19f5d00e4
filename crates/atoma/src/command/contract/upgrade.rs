//! `atoma contract upgrade`: lock, propose, wait, apply; each of the two packages for itself.

use super::compile::{self, Located};
use super::report::Report;
use super::site::{Operator, Site};
use super::{PARTS, Part, created, status};
use crate::cli::{Sources, Target, Upgrade as Arguments};
use crate::home::Home;
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call, DeployCall, Owner, UpgradeLock, UpgradeProposal};
use atoma_contract::upgrade::USE_MS;
use atoma_types::Address;
use atoma_types::onchain::{Abort, Event, Package};

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Lock { target, yes_forever } => lock_both(home, &target, yes_forever).await,
        Arguments::Propose { target, part, sources, same_version } => {
            propose(home, &target, part, &sources, same_version).await
        }
        Arguments::Status(place) => status::of_upgrades(home, &place).await,
        Arguments::Cancel { target, part } => cancel(home, &target, part).await,
        Arguments::Apply { target, part, sources } => apply(home, &target, part, &sources).await,
        Arguments::Migrate(target) => migrate(home, &target).await,
    }
}

/// Each cap is tried, whatever became of the other.
async fn lock_both(home: &Home, target: &Target, is_sure: bool) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let deployed = operator.site.profile.published()?.clone();
    if let (Some(base), Some(market)) = (deployed.base.upgrade_lock, deployed.market.upgrade_lock) {
        bail!("the upgrade caps are locked already, in {base} and {market}");
    }
    if !is_sure && !operator.dry_run {
        bail!("nobody can take the upgrade caps out again; repeat with --yes-forever");
    }
    let mut failed = Vec::new();
    for part in PARTS {
        let name = part.name();
        match (part.of(&deployed).upgrade_lock, part.of(&deployed).upgrade_cap) {
            (Some(lock), _) => operator.report.line("lock", format_args!("{lock} ({name}), made already")),
            (None, cap) => {
                if let Err(error) = lock_one(&mut operator, part, cap).await {
                    failed.push(format!("the cap of the {name} is not locked: {error:#}"));
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    operator.finish();
    Ok(())
}

async fn lock_one(operator: &mut Operator, part: Part, cap: Address) -> Result<()> {
    if operator.site.chain.owner_of(cap).await? != Some(Owner::Address(operator.wallet.address())) {
        bail!("{cap} belongs to {}, not to this wallet", operator.site.holder(cap).await?);
    }
    let call = Call::Deploy(DeployCall::LockUpgrades { cap });
    let Some(executed) =
        operator.execute(&format!("locking the {}'s upgrade cap", part.name()), call).await?
    else {
        return Ok(());
    };
    let locked = executed.events.iter().find_map(|event| match event {
        Event::UpgradeLocked(locked) => Some(locked.lock),
        _ => None,
    });
    let lock = locked.context("the cap was locked without its event")?;
    operator.report.line("lock", format_args!("{lock} ({})", part.name()));
    operator.report.set(&format!("{}_lock", part.name()), lock);
    operator.save(|profile| {
        if let Some(deployed) = &mut profile.deployed {
            part.of_mut(deployed).upgrade_lock = Some(lock);
        }
    })
}

async fn propose(
    home: &Home,
    target: &Target,
    part: Part,
    sources: &Sources,
    same_version: bool,
) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let lock = lock(&operator.site, part).await?;
    if let Some(proposal) = &lock.proposal {
        let ready = window(&operator.site, proposal).await?.in_words(operator.site.chain.now_ms().await?);
        let cancel = operator.site.command(&format!("upgrade cancel --package {}", part.name()));
        bail!("proposal {} is pending, ready {ready}: {cancel} first", proposal.digest);
    }
    if part == Part::Market && !same_version {
        check_version(&operator.site, sources).await?;
    }
    let digest = compile(&operator.site, part, sources, &mut operator.report).await?.digest();
    if digest == part.of(operator.site.profile.published()?).digest {
        bail!("these sources are what is deployed: {digest}");
    }
    operator.report.field("digest", digest);
    let walrus = operator.site.walrus().await?.newest;
    if part == Part::Market {
        operator.report.field("walrus", walrus);
    }
    let call = Call::Deploy(DeployCall::Propose { lock: lock.id, digest });
    if let Some(executed) = operator.execute("proposing", call).await? {
        let ready_ms = executed.events.iter().find_map(|event| match event {
            Event::UpgradeProposed(proposed) => Some(proposed.ready_ms),
            _ => None,
        });
        let ready_ms = ready_ms.context("the upgrade was proposed without its event")?;
        let wait = wait(operator.site.chain.now_ms().await?, ready_ms);
        operator.report.line("ready", format_args!("at {ready_ms} ms of the chain's clock, {wait}"));
        operator.report.set("ready_ms", ready_ms);
        let apply = operator.site.command(&format!("upgrade apply --package {}", part.name()));
        operator.next(&format!("{apply}, {wait}"));
    }
    operator.finish();
    Ok(())
}

/// Refuses sources that are not of a newer version than the database: under one version old and new code both work.
async fn check_version(site: &Site, sources: &Sources) -> Result<()> {
    let (file, version) = compile::version(&sources.contracts)?;
    let present = site.chain.database().await?.version;
    if version <= present {
        bail!(
            "package_version!() in {} is {version}, and the database is at {present}: raise it, or propose with \
             --same-version, after which the code before the upgrade can be called as well",
            file.display()
        );
    }
    Ok(())
}

async fn cancel(home: &Home, target: &Target, part: Part) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let lock = lock(&operator.site, part).await?;
    match lock.proposal {
        None => operator.report.line("proposal", "there is none; nothing was sent"),
        Some(UpgradeProposal { digest, .. }) => {
            let call = Call::Deploy(DeployCall::Cancel { lock: lock.id });
            if operator.execute("cancelling", call).await?.is_some() {
                operator.report.line("withdrawn", format_args!("{digest} ({})", part.name()));
                operator.report.set("withdrawn", digest);
            }
        }
    }
    operator.finish();
    Ok(())
}

async fn apply(home: &Home, target: &Target, part: Part, sources: &Sources) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let lock = lock(&operator.site, part).await?;
    let nothing = || format!("nothing is proposed: {}", operator.site.command("upgrade propose"));
    let proposal = lock.proposal.with_context(nothing)?;
    let window = window(&operator.site, &proposal).await?;
    let now_ms = operator.site.chain.now_ms().await?;
    if now_ms < window.ready_ms {
        bail!("too early: the timelock ends {}", wait(now_ms, window.ready_ms));
    }
    if now_ms > window.last_ms {
        bail!("too late: the proposal lapsed; `cancel` it and `propose` again");
    }
    let package = compile(&operator.site, part, sources, &mut operator.report).await?;
    let digest = package.digest();
    if digest != proposal.digest {
        bail!("proposed is {}, and these sources are another package: {digest}", proposal.digest);
    }
    let call = Call::Deploy(DeployCall::Upgrade { lock: lock.id, package, replaces: lock.cap.package });
    if let Some(executed) = operator.execute("upgrading", call).await? {
        let upgraded = created(&executed, |kind| kind == "package")?;
        let version = lock.cap.version.saturating_add(1);
        operator.report.line("package", format_args!("{upgraded}, version {version}"));
        operator.report.set("package", upgraded);
        operator.report.set("version", version);
        operator.save(|profile| {
            if let Some(deployed) = &mut profile.deployed {
                let package = part.of_mut(deployed);
                (package.upgraded, package.digest) = (Some(upgraded), digest);
            }
        })?;
        let next = match part {
            Part::Base => "the market uses the base that it is linked to: upgrade it, too".to_owned(),
            Part::Market => {
                format!("{}, if the version was raised", operator.site.command("upgrade migrate"))
            }
        };
        operator.next(&next);
    }
    operator.finish();
    Ok(())
}

async fn migrate(home: &Home, target: &Target) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let version = operator.site.chain.database().await?.version;
    match operator.execute("migrating", Call::Admin(AdminCall::Migrate)).await {
        Err(error) if is_of_version(&error) => {
            let deployment = operator.site.chain.deployment();
            let newest = operator.site.chain.newest_package(deployment.package).await?;
            if newest != deployment.code() {
                bail!("the newest package is {newest}, and the profile says {}", deployment.code());
            }
            operator.report.line(
                "migrated",
                format_args!("nothing to migrate: database and package are both version {version}"),
            );
            operator.report.set("version", version);
        }
        Ok(Some(_)) => {
            let version = operator.site.chain.database().await?.version;
            operator
                .report
                .line("migrated", format_args!("database, treasury and beacon are at version {version}"));
            operator.report.set("version", version);
        }
        Ok(None) => {}
        Err(error) => return Err(error),
    }
    operator.finish();
    Ok(())
}

fn is_of_version(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<atoma_chain::ChainError>();
    refused.and_then(atoma_chain::ChainError::abort) == Some(Abort::Version)
}

/// The package as an upgrade has it. A market whose base is not the published one could not be published after its
/// timelock.
async fn compile(site: &Site, part: Part, sources: &Sources, report: &mut Report) -> Result<Package> {
    let published = &site.profile.published()?.base;
    let base = site.compile(sources, None, report).await?;
    if part == Part::Base {
        return Ok(base);
    }
    if base.digest() != published.digest {
        bail!("the base's sources are not those that are published: upgrade it first, with `--package base`");
    }
    site.compile(sources, Some(Located::of(published)), report).await
}

/// The lock around a package's cap.
pub(super) async fn lock(site: &Site, part: Part) -> Result<UpgradeLock> {
    let lock = part.of(site.profile.published()?).upgrade_lock;
    let lock = lock.with_context(|| {
        format!("the upgrade cap is not locked yet: {}", site.command("upgrade lock --yes-forever"))
    })?;
    Ok(site.chain.upgrade_lock(lock).await?)
}

/// When a proposal may be carried out, first and last, in ms of the chain's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) ready_ms: u64,
    pub(super) last_ms: u64,
}

impl Window {
    /// When it is ready, seen from now.
    pub(super) fn in_words(self, now_ms: u64) -> String {
        match now_ms > self.last_ms {
            true => "no more: it lapsed".to_owned(),
            false => wait(now_ms, self.ready_ms),
        }
    }
}

pub(super) async fn window(site: &Site, proposal: &UpgradeProposal) -> Result<Window> {
    let ready_ms = proposal.ready_ms(site.chain.params().await?.timelock_ms);
    Ok(Window { ready_ms, last_ms: ready_ms.saturating_add(USE_MS) })
}

/// How long until then.
pub(super) fn wait(now_ms: u64, until_ms: u64) -> String {
    match until_ms.saturating_sub(now_ms).div_ceil(1_000) {
        0 => "now".to_owned(),
        seconds @ 1..=7_200 => format!("in {seconds} s"),
        seconds => format!("in {} h", seconds.div_ceil(3_600)),
    }
}
