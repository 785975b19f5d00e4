//! What else the AdminCap is for: pausing, retiring a model, the treasury, and handing the caps over.

use super::report::Report;
use super::site::{Operator, Site};
use super::{PARTS, Part};
use crate::cli::Target;
use crate::home::Home;
use anyhow::{Result, bail};
use atoma_chain::{AdminCall, Call};
use atoma_types::{Address, Amount, ModelId};

pub(super) async fn set_paused(home: &Home, target: &Target, paused: bool) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let is_so = operator.site.chain.database().await?.paused == paused;
    operator.report.set("paused", paused);
    let purchases = if paused { "are stopped" } else { "go on" };
    if is_so {
        operator.report.line("purchases", format_args!("{purchases} already; nothing was sent"));
    } else if operator.execute("asking", Call::Admin(AdminCall::SetPaused(paused))).await?.is_some() {
        operator.report.line("purchases", purchases);
    }
    operator.finish();
    Ok(())
}

pub(super) async fn retire(home: &Home, target: &Target, id: ModelId, is_sure: bool) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let Some(model) = operator.site.chain.model(id).await? else { bail!("there is no model {id}") };
    operator.report.set("model", id);
    operator.report.line("model", format_args!("{id}, {}", model.label));
    if model.disabled {
        bail!("model {id} is retired already");
    }
    if !is_sure && !operator.dry_run {
        bail!("a retired model never comes back; repeat with --yes-forever");
    }
    if operator.execute("retiring the model", Call::Admin(AdminCall::DisableModel(id))).await?.is_some() {
        operator.report.line("retired", "its tasks are not sold any more; what was bought runs on");
    }
    operator.finish();
    Ok(())
}

pub(super) async fn treasury(home: &Home, target: &Target, pay: Option<(Amount, Address)>) -> Result<()> {
    let Some((amount, to)) = pay else {
        let site = Site::of_market(home, &target.place).await?;
        let mut report = Report::new(target.place.json);
        note_treasury(&mut report, site.chain.treasury().await?);
        report.finish();
        return Ok(());
    };
    let mut operator = Operator::of_market(home, target).await?;
    let held = operator.site.chain.treasury().await?;
    if held < amount {
        bail!("the treasury holds {}, less than {}", held.display_coins(), amount.display_coins());
    }
    let call = Call::Admin(AdminCall::PayFromTreasury { to, amount });
    if operator.execute("paying", call).await?.is_some() {
        operator.report.line("paid", format_args!("{} to {to}", amount.display_coins()));
        note_treasury(&mut operator.report, operator.site.chain.treasury().await?);
    }
    operator.finish();
    Ok(())
}

pub(super) fn note_treasury(report: &mut Report, held: Amount) {
    report.line("treasury", held.display_coins());
    report.set("treasury_balance", held);
}

pub(super) async fn hand_over(home: &Home, target: &Target, to: Address, is_sure: bool) -> Result<()> {
    let mut operator = Operator::of_market(home, target).await?;
    let deployed = operator.site.profile.deployed.clone();
    let unlocked = |part: &Part| {
        let package = deployed.as_ref().map(|deployed| part.of(deployed))?;
        package.upgrade_lock.is_none().then_some(package.upgrade_cap)
    };
    let objects: Vec<Address> = PARTS.iter().filter_map(unlocked).collect();
    if !is_sure && !operator.dry_run {
        bail!("this wallet can then do nothing more here, and {to} everything; repeat with --yes");
    }
    let what = match objects.len() {
        0 => "the AdminCap".to_owned(),
        count => format!("the AdminCap and {count} UpgradeCaps"),
    };
    let call = Call::HandOver { to, objects };
    if operator.execute("handing over", call).await?.is_some() {
        operator.report.line("handed over", format_args!("{what} to {to}"));
        operator.report.set("to", to);
    }
    operator.finish();
    Ok(())
}
