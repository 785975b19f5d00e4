//! `atoma contract upgrade`: lock, propose, wait, apply; each of the two packages for itself.

use super::{Located, Site, created};
use crate::cli::{Part, Sources, Target, Upgrade as Arguments};
use crate::home::Home;
use crate::output::say;
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call, DeployCall, UpgradeLock, UpgradeProposal};
use atoma_contract::upgrade::USE_MS;
use atoma_types::Address;
use atoma_types::onchain::{Event, Package};

const PARTS: [(Part, &str); 2] = [(Part::Base, "base"), (Part::Market, "market")];

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Lock { target, yes_forever } => lock(home, &target, yes_forever).await,
        Arguments::Propose { target, part, sources } => {
            let site = Site::of_market(home, &target).await?;
            let lock = lock_id(&site, part)?;
            let digest = compile(&site, part, &sources).await?.digest();
            say!("digest      {digest}");
            let call = DeployCall::Propose { lock, digest };
            let executed = site.execute("proposing", Call::Deploy(call)).await?;
            let ready_ms = executed.events.iter().find_map(|event| match event {
                Event::UpgradeProposed(proposed) => Some(proposed.ready_ms),
                _ => None,
            });
            let ready_ms = ready_ms.context("the upgrade was proposed without its event")?;
            say!("ready       at {ready_ms} ms of the chain's clock, {}", wait(&site, ready_ms).await?);
            Ok(())
        }
        Arguments::Status(target) => {
            let site = Site::of_market(home, &target).await?;
            for (part, name) in PARTS {
                status(&site, name, &site.chain.upgrade_lock(lock_id(&site, part)?).await?).await?;
            }
            Ok(())
        }
        Arguments::Cancel { target, part } => {
            let site = Site::of_market(home, &target).await?;
            let lock = lock_id(&site, part)?;
            site.execute("cancelling", Call::Deploy(DeployCall::Cancel { lock })).await?;
            Ok(())
        }
        Arguments::Apply { target, part, sources } => apply(home, &target, part, &sources).await,
        Arguments::Migrate(target) => {
            let site = Site::of_market(home, &target).await?;
            site.execute("migrating", Call::Admin(AdminCall::Migrate)).await?;
            Ok(())
        }
    }
}

async fn lock(home: &Home, target: &Target, is_sure: bool) -> Result<()> {
    let mut site = Site::of_market(home, target).await?;
    let deployed = site.profile.published()?.clone();
    if let (Some(base), Some(market)) = (deployed.base.upgrade_lock, deployed.market.upgrade_lock) {
        bail!("the upgrade caps are locked already, in {base} and {market}");
    }
    if !is_sure && !site.dry_run {
        bail!("nobody can take the upgrade caps out again; repeat with --yes-forever");
    }
    for (part, name) in PARTS {
        let package = part.of(&deployed);
        if let Some(lock) = package.upgrade_lock {
            say!("lock        {lock} ({name}), made already");
            continue;
        }
        let call = DeployCall::LockUpgrades { cap: package.upgrade_cap };
        let executed = site.execute("locking an upgrade cap", Call::Deploy(call)).await?;
        let locked = executed.events.iter().find_map(|event| match event {
            Event::UpgradeLocked(locked) => Some(locked.lock),
            _ => None,
        });
        let lock = locked.context("the cap was locked without its event")?;
        say!("lock        {lock} ({name})");
        site.save(|profile| {
            if let Some(deployed) = &mut profile.deployed {
                part.of_mut(deployed).upgrade_lock = Some(lock);
            }
        })?;
    }
    Ok(())
}

async fn apply(home: &Home, target: &Target, part: Part, sources: &Sources) -> Result<()> {
    let mut site = Site::of_market(home, target).await?;
    let lock = site.chain.upgrade_lock(lock_id(&site, part)?).await?;
    let proposal = lock.proposal.context("nothing is proposed: `atoma contract upgrade propose`")?;
    let (ready_ms, last_ms) = window(&site, &proposal).await?;
    let now_ms = site.chain.now_ms().await?;
    if now_ms < ready_ms {
        bail!("too early: the timelock ends {}", wait(&site, ready_ms).await?);
    }
    if now_ms > last_ms {
        bail!("too late: the proposal lapsed; `cancel` it and `propose` again");
    }
    let package = compile(&site, part, sources).await?;
    let digest = package.digest();
    if digest != proposal.digest {
        bail!("proposed is {}, and these sources are another package", proposal.digest);
    }
    let call = DeployCall::Upgrade { lock: lock.id, package, replaces: lock.cap.package };
    let executed = site.execute("upgrading", Call::Deploy(call)).await?;
    let upgraded = created(&executed, |kind| kind == "package")?;
    say!("package     {upgraded}, version {}", lock.cap.version.saturating_add(1));
    if part == Part::Base {
        say!("next        the market uses the base that it is linked to: upgrade it, too");
    }
    site.save(|profile| {
        if let Some(deployed) = &mut profile.deployed {
            let package = part.of_mut(deployed);
            (package.upgraded, package.digest) = (Some(upgraded), digest);
        }
    })
}

/// The package as an upgrade has it. A market whose base is not the published one could not be published after its
/// timelock.
async fn compile(site: &Site, part: Part, sources: &Sources) -> Result<Package> {
    let published = &site.profile.published()?.base;
    let base = site.compile(sources, None).await?;
    if part == Part::Base {
        return Ok(base);
    }
    if base.digest() != published.digest {
        bail!("the base's sources are not those that are published: upgrade it first, with `--package base`");
    }
    site.compile(sources, Some(Located::of(published))).await
}

fn lock_id(site: &Site, part: Part) -> Result<Address> {
    let lock = part.of(site.profile.published()?).upgrade_lock;
    lock.context("the upgrade cap is not locked yet: `atoma contract upgrade lock`")
}

async fn status(site: &Site, name: &str, lock: &UpgradeLock) -> Result<()> {
    say!("{name:<12}{}, version {}", lock.cap.package, lock.cap.version);
    say!("lock        {}", lock.id);
    let Some(proposal) = &lock.proposal else {
        say!("proposal    none");
        return Ok(());
    };
    let (ready_ms, last_ms) = window(site, proposal).await?;
    say!("proposal    {}", proposal.digest);
    match site.chain.now_ms().await? > last_ms {
        true => say!("ready       no more: it lapsed"),
        false => say!("ready       {}", wait(site, ready_ms).await?),
    }
    Ok(())
}

/// When a proposal may be carried out, first and last, in ms of the chain's clock.
async fn window(site: &Site, proposal: &UpgradeProposal) -> Result<(u64, u64)> {
    let ready_ms = proposal.ready_ms(site.chain.params().await?.timelock_ms);
    Ok((ready_ms, ready_ms.saturating_add(USE_MS)))
}

/// How long until then.
async fn wait(site: &Site, until_ms: u64) -> Result<String> {
    let seconds = until_ms.saturating_sub(site.chain.now_ms().await?).div_ceil(1_000);
    Ok(match seconds {
        0 => "now".to_owned(),
        1..=7_200 => format!("in {seconds} s"),
        _ => format!("in {} h", seconds.div_ceil(3_600)),
    })
}
