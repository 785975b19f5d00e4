//! `atoma contract status`, and of it what `upgrade status` shows: read from the chain, without a wallet.

use super::admin::note_treasury;
use super::report::Report;
use super::site::Site;
use super::{PARTS, Part, params, upgrade};
use crate::cli::Place;
use crate::home::Home;
use anyhow::Result;
use atoma_chain::{Deployed, Published};
use serde_json::json;

/// What there is to do about a package.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    Lock,
    /// What is proposed, and when it may be carried out.
    Proposal(Part, String),
}

pub(super) async fn run(home: &Home, place: &Place) -> Result<()> {
    let site = Site::open(home, place).await?;
    let mut report = Report::new(place.json);
    report.field("network", &site.profile.name);
    report.field("chain", site.chain.chain_id());
    if site.path.exists() {
        report.line("profile", site.path.display());
        report.set("profile", &site.path);
    }
    note_epoch(&site, &mut report).await?;
    let next = match site.profile.deployed.clone() {
        Some(deployed) if deployed.db.is_none() => {
            note_caps(&site, &deployed, &mut report).await?;
            site.command("init")
        }
        Some(deployed) => {
            let site = Site::of_market(home, place).await?;
            note_market(&site, &mut report).await?;
            let open = note_caps(&site, &deployed, &mut report).await?;
            next_step(&site, open)
        }
        None if site.has_only_the_first_market() => {
            note_market(&Site::of_market(home, place).await?, &mut report).await?;
            format!("this market is the devnet's own; {} makes another", site.command("publish"))
        }
        None => {
            let base = site.profile.base.as_ref();
            let so_far =
                base.map_or_else(|| "nothing".to_owned(), |base| format!("the base {}", base.package));
            report.line("deployed", so_far);
            report.set("base", base.map(|base| base.package));
            site.command("publish")
        }
    };
    report.field("next", next);
    report.finish();
    Ok(())
}

/// `upgrade status`.
pub(super) async fn of_upgrades(home: &Home, place: &Place) -> Result<()> {
    let site = Site::of_market(home, place).await?;
    let deployed = site.profile.published()?.clone();
    let mut report = Report::new(place.json);
    let open = note_packages(&site, &deployed, &mut report).await?;
    report.field("next", next_step(&site, open));
    report.finish();
    Ok(())
}

async fn note_epoch(site: &Site, report: &mut Report) -> Result<()> {
    let epoch = site.chain.present_epoch().await?;
    report.set("epoch", epoch.number);
    report.set("epoch_ends_ms", epoch.ends_ms);
    let now_ms = site.chain.now_ms().await?;
    match epoch.ends_ms {
        Some(ends_ms) => {
            report.line("epoch", format_args!("{}, ends {}", epoch.number, upgrade::wait(now_ms, ends_ms)))
        }
        None => report.line("epoch", epoch.number),
    }
    Ok(())
}

async fn note_market(site: &Site, report: &mut Report) -> Result<()> {
    let (database, epoch) = (site.chain.database().await?, site.chain.present_epoch().await?.number);
    report.field("database", site.chain.deployment().db);
    report.field("version", database.version);
    report.set("paused", database.paused);
    report.line("purchases", if database.paused { "PAUSED" } else { "go on" });
    note_treasury(report, site.chain.treasury().await?);
    let (present, next) = (database.params_at(epoch), database.params_at(epoch.saturating_add(1)));
    let differences = params::differences(present, next);
    if !differences.is_empty() {
        report.line("parameters", format_args!("change with epoch {}:", epoch.saturating_add(1)));
    }
    params::report(report, &differences);
    Ok(())
}

async fn note_caps(site: &Site, deployed: &Deployed, report: &mut Report) -> Result<Option<Open>> {
    let holder = site.holder(deployed.admin_cap).await?;
    report.line("AdminCap", format_args!("{}, held by {holder}", deployed.admin_cap));
    report.set("admin_cap", json!({ "id": deployed.admin_cap, "holder": holder }));
    note_packages(site, deployed, report).await
}

/// Both packages: what replaces them, and who can. Gives what is to be done first.
async fn note_packages(site: &Site, deployed: &Deployed, report: &mut Report) -> Result<Option<Open>> {
    let mut first = None;
    for part in PARTS {
        let package = part.of(deployed);
        let open = match package.upgrade_lock {
            None => Some(note_unlocked(site, part, package, report).await?),
            Some(_) => note_locked(site, part, report).await?,
        };
        first = match (first, open) {
            (_, Some(Open::Lock)) => Some(Open::Lock),
            (first, open) => first.or(open),
        };
    }
    Ok(first)
}

async fn note_unlocked(site: &Site, part: Part, package: &Published, report: &mut Report) -> Result<Open> {
    let holder = site.holder(package.upgrade_cap).await?;
    report.line(part.name(), package.code());
    report.line("lock", format_args!("UNLOCKED: its holder {holder} can replace the code at once"));
    report.push(
        "packages",
        json!({
            "package": part.name(), "first": package.package, "newest": package.code(), "locked": false,
            "upgrade_cap": package.upgrade_cap, "holder": holder,
        }),
    );
    Ok(Open::Lock)
}

async fn note_locked(site: &Site, part: Part, report: &mut Report) -> Result<Option<Open>> {
    let lock = upgrade::lock(site, part).await?;
    report.line(part.name(), format_args!("{}, version {}", lock.cap.package, lock.cap.version));
    report.line("lock", lock.id);
    let times = match &lock.proposal {
        Some(proposal) => Some(upgrade::window(site, proposal).await?),
        None => None,
    };
    let (mut open, mut state) = (None, None);
    match lock.proposal.as_ref().zip(times) {
        None => report.line("proposal", "none"),
        Some((proposal, window)) => {
            let ready = window.in_words(site.chain.now_ms().await?);
            report.line("proposal", proposal.digest);
            report.line("ready", &ready);
            let (ready_ms, last_ms) = (window.ready_ms, window.last_ms);
            state = Some(json!({ "digest": proposal.digest, "ready_ms": ready_ms, "last_ms": last_ms }));
            open = Some(Open::Proposal(part, ready));
        }
    }
    report.push(
        "packages",
        json!({
            "package": part.name(), "first": part.of(site.profile.published()?).package, "newest": lock.cap.package,
            "locked": true, "upgrade_cap": lock.cap.id, "lock": lock.id, "version": lock.cap.version, "proposal": state,
        }),
    );
    Ok(open)
}

fn next_step(site: &Site, open: Option<Open>) -> String {
    match open {
        None => "nothing: the market runs".to_owned(),
        Some(Open::Lock) => {
            format!("{}, before anybody pays in", site.command("upgrade lock --yes-forever"))
        }
        Some(Open::Proposal(part, ready)) => {
            let apply = site.command(&format!("upgrade apply --package {}", part.name()));
            format!("{apply} ({ready}), or `cancel`")
        }
    }
}
