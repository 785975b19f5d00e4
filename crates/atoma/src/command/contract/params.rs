//! `atoma contract params`: what holds, what comes, and changing it.

use super::report::Report;
use super::site::{Operator, Site};
use crate::cli::{Changes, Target};
use crate::home::Home;
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call};
use atoma_contract::params;
use atoma_types::onchain::{Event, Params};
use serde_json::json;
use std::collections::BTreeMap;

/// A parameter with its value before and after.
pub(super) type Difference = (&'static str, u64, u64);

pub(super) async fn run(home: &Home, target: &Target, changes: &Changes) -> Result<()> {
    if changes.changes.is_empty() && changes.file.is_none() {
        return show(&Site::of_market(home, &target.place).await?, target.place.json).await;
    }
    let mut operator = Operator::of_market(home, target).await?;
    let chain = &operator.site.chain;
    let (database, epoch) = (chain.database().await?, chain.present_epoch().await?.number);
    let next = database.params_at(epoch.saturating_add(1));
    let wanted = changed(next, changes)?;
    let differences = differences(next, &wanted);
    if differences.is_empty() {
        bail!("nothing would change: from the next epoch on these values hold already");
    }
    check(&wanted, Some(database.params_at(epoch)))?;
    report(&mut operator.report, &differences);
    let call = Call::Admin(AdminCall::SetParams(Box::new(wanted)));
    if let Some(executed) = operator.execute("setting the parameters", call).await? {
        let epoch = executed.events.iter().find_map(|event| match event {
            Event::ParamsSet(set) => Some(set.epoch),
            _ => None,
        });
        let epoch = epoch.context("the parameters were set without their event")?;
        operator.report.set("epoch", epoch);
        operator
            .report
            .line("epoch", format_args!("they hold from epoch {epoch} on{}", hint(&operator.site)));
    }
    operator.finish();
    Ok(())
}

async fn show(site: &Site, is_json: bool) -> Result<()> {
    let (database, epoch) = (site.chain.database().await?, site.chain.present_epoch().await?.number);
    let (present, next) = (database.params_at(epoch), database.params_at(epoch.saturating_add(1)));
    let mut report = Report::new(is_json);
    report.set("epoch", epoch);
    report.set("present", present);
    report.set("next", next);
    for ((name, now), then) in Params::NAMES.iter().zip(present.values()).zip(next.values()) {
        let name = format!("{name:<24}");
        match now == then {
            true => report.line(&name, now),
            false => report.line(&name, format_args!("{now}, from the next epoch on {then}")),
        }
    }
    report.line(
        "",
        format_args!("this is epoch {epoch}{}", if present == next { String::new() } else { hint(site) }),
    );
    report.finish();
    Ok(())
}

/// Epochs of a devnet do not end by themselves.
fn hint(site: &Site) -> String {
    match site.profile.is_of_devnet() {
        true => format!("; `atoma devnet advance --epochs 1 --network {}` ends this one", site.profile.name),
        false => String::new(),
    }
}

/// Parameters by the name that a profile gives them.
pub(super) fn named(name: &str) -> Result<Params> {
    match name {
        "public" => Ok(params::public()),
        "devnet" => Ok(params::devnet()),
        _ => bail!("no parameters are called {name:?}: the profile's `params` is `public` or `devnet`"),
    }
}

pub(super) fn differences(before: &Params, after: &Params) -> Vec<Difference> {
    let values = before.values().into_iter().zip(after.values());
    let all = Params::NAMES.iter().zip(values).map(|(name, (before, after))| (*name, before, after));
    all.filter(|(_, before, after)| before != after).collect()
}

pub(super) fn report(report: &mut Report, differences: &[Difference]) {
    for (name, before, after) in differences {
        report.line(&format!("{name:<24}"), format_args!("{before} -> {after}"));
        report.push("changes", json!({ "name": name, "before": before, "after": after }));
    }
}

/// `base` with the changes made.
pub(super) fn changed(base: &Params, changes: &Changes) -> Result<Params> {
    let mut wanted: BTreeMap<String, u64> = match &changes.file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let text = read.with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text).map_err(|error| {
                let reason = atoma_chain::toml_reason(&text, &error);
                anyhow::anyhow!("{} is not `name = value` lines: {reason}", path.display())
            })?
        }
        None => BTreeMap::new(),
    };
    let mut set = BTreeMap::new();
    for change in &changes.changes {
        let (name, value) =
            change.split_once('=').with_context(|| format!("{change:?} is not NAME=VALUE"))?;
        let value = value.trim().replace('_', "").parse().ok();
        let value: u64 = value.with_context(|| format!("{change:?}: the value is a whole number"))?;
        if set.insert(name.trim().to_owned(), value).is_some() {
            bail!("{} is set twice", name.trim());
        }
    }
    wanted.extend(set);
    let mut values = base.values();
    for (name, value) in wanted {
        let place = Params::NAMES.iter().position(|known| *known == name);
        *place.and_then(|at| values.get_mut(at)).with_context(|| unknown(&name))? = value;
    }
    Params::from_values(&values).context("the parameters are incomplete")
}

fn unknown(name: &str) -> String {
    let all = Params::NAMES.join(", ");
    if name.is_empty() {
        return format!("a parameter has no name before its `=`: known are {all}");
    }
    let nearest = Params::NAMES.iter().min_by_key(|known| distance(name, known));
    let meant = nearest.map_or_else(String::new, |nearest| format!(" (nearest is {nearest})"));
    format!("no parameter is called {name}{meant}: known are {all}")
}

/// How many letters must be inserted, removed or replaced to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, wanted) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[to + 1];
            row[to + 1] = replaced.min(row[to] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Refuses what the contract would refuse, before anything is signed.
pub(super) fn check(wanted: &Params, present: Option<&Params>) -> Result<()> {
    let of_change = || present.and_then(|present| params::violated_change(present, wanted));
    match of_change().or_else(|| params::violated(wanted)) {
        Some(rule) => bail!("out of bounds, nothing was signed: {rule}"),
        None => Ok(()),
    }
}
