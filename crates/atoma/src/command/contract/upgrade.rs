//! `atoma contract upgrade`: lock, propose, wait, apply.

use super::{Site, created};
use crate::cli::{Target, Upgrade as Arguments};
use crate::home::Home;
use crate::output::say;
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call, DeployCall, Deployed, UpgradeLock};
use atoma_types::Address;
use atoma_types::onchain::Event;

pub(super) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Lock { target, yes_forever } => lock(home, &target, yes_forever).await,
        Arguments::Propose { target, sources } => {
            let site = Site::of_market(home, &target).await?;
            let lock = lock_id(&site)?;
            let digest = site.compile(&sources).await?.digest();
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
            status(&site, &site.chain.upgrade_lock(lock_id(&site)?).await?).await
        }
        Arguments::Cancel(target) => {
            let site = Site::of_market(home, &target).await?;
            let lock = lock_id(&site)?;
            site.execute("cancelling", Call::Deploy(DeployCall::Cancel { lock })).await?;
            Ok(())
        }
        Arguments::Apply { target, sources } => {
            let mut site = Site::of_market(home, &target).await?;
            let lock = site.chain.upgrade_lock(lock_id(&site)?).await?;
            let proposal = lock.proposal.context("nothing is proposed: `atoma contract upgrade propose`")?;
            if site.chain.now_ms().await? < proposal.ready_ms {
                bail!("too early: the timelock ends {}", wait(&site, proposal.ready_ms).await?);
            }
            let package = site.compile(&sources).await?;
            if package.digest() != proposal.digest {
                bail!("proposed is {}, and these sources are another package", proposal.digest);
            }
            let call = DeployCall::Upgrade { lock: lock.id, package, replaces: lock.cap.package };
            let executed = site.execute("upgrading", Call::Deploy(call)).await?;
            let upgraded = created(&executed, |kind| kind == "package")?;
            say!("package     {upgraded}, version {}", lock.cap.version.saturating_add(1));
            let deployed = site.profile.published()?.clone();
            site.save(Deployed { upgraded: Some(upgraded), ..deployed })
        }
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
    if let Some(lock) = deployed.upgrade_lock {
        bail!("the upgrade cap is locked already, in {lock}");
    }
    if !is_sure && !site.dry_run {
        bail!("nobody can take the upgrade cap out again; repeat with --yes-forever");
    }
    let call = DeployCall::LockUpgrades { cap: deployed.upgrade_cap };
    let executed = site.execute("locking the upgrade cap", Call::Deploy(call)).await?;
    let locked = executed.events.iter().find_map(|event| match event {
        Event::UpgradeLocked(locked) => Some(locked.lock),
        _ => None,
    });
    let lock = locked.context("the cap was locked without its event")?;
    say!("lock        {lock}");
    site.save(Deployed { upgrade_lock: Some(lock), ..deployed })
}

fn lock_id(site: &Site) -> Result<Address> {
    let lock = site.profile.published()?.upgrade_lock;
    lock.context("the upgrade cap is not locked yet: `atoma contract upgrade lock`")
}

async fn status(site: &Site, lock: &UpgradeLock) -> Result<()> {
    say!("lock        {}", lock.id);
    say!("package     {}, version {}", lock.cap.package, lock.cap.version);
    match lock.proposal {
        None => say!("proposal    none"),
        Some(proposal) => {
            say!("proposal    {}", proposal.digest);
            say!("ready       {}", wait(site, proposal.ready_ms).await?);
        }
    }
    Ok(())
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
